"""Balance and overlap, against a plain calculation on rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from matching_samples import LALONDE, lalonde
from retrain_eval.errors import InputError
from retrain_eval.sample.balance import COLUMNS, overlap_table
from retrain_eval.sample.match import match


def weighted_variance(x: pd.Series, w: pd.Series) -> float:
    """`Hmisc::wtd.var(normwt)`-like: Σw(x − x̄)² / (Σw − Σw²/Σw), as MatchIt's summary."""
    mean = np.average(x, weights=w)
    return float((w * (x - mean) ** 2).sum() / (w.sum() - (w**2).sum() / w.sum()))


@pytest.mark.parametrize("options", [{}, {"caliper": 0.2}, {"replace": True}, {"replace": True, "ratio": 3}])
def test_equals_rows(options: dict[str, object]) -> None:
    data = lalonde()
    sample = match(data, LALONDE, "id", **options)  # type: ignore[arg-type]
    rows = data.merge(sample.weights.df()[["id", "weight"]], on="id", how="left").fillna({"weight": 0.0})
    treated, control = rows[rows["treat"] == 1], rows[rows["treat"] == 0]
    table = sample.balance()
    assert tuple(table.columns) == COLUMNS
    table = table.set_index("covariate")
    for name in ("age", "educ", "re74", "re75"):
        row, sd = table.loc[name], treated[name].std()
        after = np.average(control[name], weights=control["weight"])
        assert row["mean_treated"] == pytest.approx(treated[name].mean())
        assert row["mean_control_before"] == pytest.approx(control[name].mean())
        assert row["mean_control_after"] == pytest.approx(after)
        assert row["smd_before"] == pytest.approx((treated[name].mean() - control[name].mean()) / sd)
        matched_mean = np.average(treated[name], weights=treated["weight"])
        assert row["smd_after"] == pytest.approx((matched_mean - after) / sd)
        assert row["variance_ratio_before"] == pytest.approx(treated[name].var() / control[name].var())
        ratio = weighted_variance(treated[name], treated["weight"]) / weighted_variance(
            control[name], control["weight"]
        )
        assert row["variance_ratio_after"] == pytest.approx(ratio)
    p = (treated["race"] == "black").mean()
    difference = p - (control["race"] == "black").mean()
    assert table.loc["race_black", "smd_before"] == pytest.approx(difference / np.sqrt(p * (1 - p)))
    binary = table.loc[["race_black", "race_hispan", "race_white", "married", "nodegree"]]
    assert binary[["variance_ratio_before", "variance_ratio_after"]].isna().to_numpy().all()


def test_exact_columns_are_shown_and_balanced() -> None:
    table = match(lalonde(), "treat ~ age", "id", exact=["race"]).balance().set_index("covariate")
    assert list(table.index) == ["distance", "age", "race_black", "race_hispan", "race_white"]
    assert table["smd_after"].iloc[2:].to_numpy() == pytest.approx(0, abs=1e-12)


def test_constant_among_treated() -> None:
    """Equal arms differ by nothing; arms that differ by an unknown number of standard deviations say NaN."""
    data = lalonde().assign(site=1.0, man=lambda d: np.where(d["treat"] == 1, 1.0, d["id"] % 2))
    table = match(data, "treat ~ age + site + man", "id", distance="age").balance().set_index("covariate")
    assert table.loc["site", "smd_before"] == 0
    assert np.isnan(table.loc["man", "smd_before"])


def test_balance_is_a_copy() -> None:
    sample = match(lalonde(), LALONDE, "id")
    table = sample.balance()
    table["smd_after"] = 0.0
    assert sample.balance()["smd_after"].abs().max() > 0.9


def test_overlap_counts_everyone_once() -> None:
    sample = match(lalonde(), LALONDE, "id", caliper=0.2)
    table = sample.overlap()
    assert list(table.columns) == ["bin_low", "bin_high", "group", "n"]
    assert table.groupby("group")["n"].sum().to_dict() == {
        "treated": 185,
        "control before": 429,
        "control matched": 113,
    }
    assert (table["bin_low"].min(), table["bin_high"].max(), len(table)) == (0.0, 1.0, 60)


def test_overlap_bins_hold_their_lower_end() -> None:
    table = overlap_table(np.array([0.0, 0.5, 1.0]), {"treated": np.array([1, 2, 4])}, bins=2)
    assert table["n"].tolist() == [1, 6]
    wide = overlap_table(np.array([-3.2, 5.0]), {"treated": np.array([1, 1])}, bins=10)
    assert (wide["bin_low"].min(), wide["bin_high"].max(), wide["n"].sum()) == (-4.0, 6.0, 2)


@pytest.mark.parametrize("bins", [0, 2.5, True])
def test_bins_must_be_a_count(bins: object) -> None:
    with pytest.raises(InputError, match="bins must be"):
        match(lalonde(), LALONDE, "id").overlap(bins)  # type: ignore[arg-type]


def test_a_caliper_shows_in_the_mean_of_the_matched_treated() -> None:
    whole, cut = (match(lalonde(), LALONDE, "id", caliper=caliper).balance() for caliper in (None, 0.2))
    assert whole["mean_treated"].equals(whole["mean_treated_after"])
    spread = (cut["mean_treated"] - cut["mean_control_before"]) / cut["smd_before"]
    after = (cut["mean_treated_after"] - cut["mean_control_after"]) / spread
    pd.testing.assert_series_equal(after, cut["smd_after"], check_names=False)
    assert not cut["mean_treated"].equals(cut["mean_treated_after"])
