"""Balance and overlap, against a plain calculation on rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matching_samples import LALONDE, lalonde
from retrain_eval.common.errors import InputError
from retrain_eval.sample.balance.balance import Arm, ecdf_distance, overlap_table
from retrain_eval.sample.match import match
from retrain_eval.tables.covariates.balance_rows import COLUMNS, Summary, effect_size


def weighted_variance(x: pd.Series, w: pd.Series) -> float:
    """`Hmisc::wtd.var(normwt)`-like: Σw(x − x̄)² / (Σw − Σw²/Σw), as MatchIt's summary."""
    mean = np.average(x, weights=w)
    return float((w * (x - mean) ** 2).sum() / (w.sum() - (w**2).sum() / w.sum()))


@pytest.mark.parametrize("options", [{}, {"caliper": 0.2}, {"replace": True}, {"replace": True, "ratio": 3}])
def test_equals_rows(options: dict[str, object]) -> None:
    data = lalonde()
    sample = match(data, LALONDE, "id", **options)
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
        match(lalonde(), LALONDE, "id").overlap(bins)


def test_a_caliper_shows_in_the_mean_of_the_matched_treated() -> None:
    whole, cut = (match(lalonde(), LALONDE, "id", caliper=caliper).balance() for caliper in (None, 0.2))
    assert whole["mean_treated"].equals(whole["mean_treated_after"])
    spread = (cut["mean_treated"] - cut["mean_control_before"]) / cut["smd_before"]
    after = (cut["mean_treated_after"] - cut["mean_control_after"]) / spread
    pd.testing.assert_series_equal(after, cut["smd_after"], check_names=False)
    assert not cut["mean_treated"].equals(cut["mean_treated_after"])


# variance ratio, eCDF mean and max, before and after: as printed in the vignette "MatchIt: Getting Started" by
# summary(matchit(treat ~ age + educ + race + married + nodegree + re74 + re75, lalonde))
VIGNETTE = {
    "distance": (0.9211, 0.3774, 0.6444, 0.7566, 0.1321, 0.4216),
    "age": (0.4400, 0.0813, 0.1577, 0.4568, 0.0847, 0.2541),
    "educ": (0.4959, 0.0347, 0.1114, 0.5721, 0.0239, 0.0757),
    "race_black": (None, 0.6404, 0.6404, None, 0.3730, 0.3730),
    "race_hispan": (None, 0.0827, 0.0827, None, 0.1568, 0.1568),
    "race_white": (None, 0.5577, 0.5577, None, 0.2162, 0.2162),
    "married": (None, 0.3236, 0.3236, None, 0.0216, 0.0216),
    "nodegree": (None, 0.1114, 0.1114, None, 0.0703, 0.0703),
    "re74": (0.5181, 0.2248, 0.4470, 1.3289, 0.0469, 0.2757),
    "re75": (0.9563, 0.1342, 0.2876, 1.4956, 0.0452, 0.2054),
}


@pytest.mark.oracle
@pytest.mark.parametrize("name", VIGNETTE)
def test_distributions_equal_matchit(name: str) -> None:
    row = match(lalonde(), LALONDE, "id").balance().set_index("covariate").loc[name]
    measures = ("variance_ratio", "ecdf_mean", "ecdf_max")
    found = [row[f"{measure}_{when}"] for when in ("before", "after") for measure in measures]
    for ours, theirs in zip(found, VIGNETTE[name], strict=True):
        assert np.isnan(ours) if theirs is None else ours == pytest.approx(theirs, abs=5.1e-5)


def test_effect_sizes_are_those_of_the_what_works_clearinghouse() -> None:
    """Against the handbook's formulas on rows: pooled SD of the analytic sample, and logits over 1.65."""
    data = lalonde()
    sample = match(data, LALONDE, "id", caliper=0.2)
    rows = data[data["id"].isin(sample.weights.df()["id"])]
    treated, control = rows[rows["treat"] == 1], rows[rows["treat"] == 0]
    table = sample.balance().set_index("covariate")
    small = 1 - 3 / (4 * len(rows) - 9)
    for name in ("age", "re74"):
        pooled = np.sqrt((treated[name].var() + control[name].var()) / 2)  # arms are of one size
        g = small * (treated[name].mean() - control[name].mean()) / pooled
        assert table.loc[name, "effect_size_after"] == pytest.approx(g, rel=1e-12)
    p, q = treated["nodegree"].mean(), control["nodegree"].mean()
    cox = small * (np.log(p / (1 - p)) - np.log(q / (1 - q))) / 1.65
    assert table.loc["nodegree", "effect_size_after"] == pytest.approx(cox, rel=1e-12)
    says = {"satisfied": (0, 0.05), "needs adjustment": (0.05, 0.25), "not satisfied": (0.25, np.inf)}
    for _, row in table.iterrows():
        low, high = says[row["wwc"]]
        assert low <= abs(row["effect_size_after"]) <= high
    assert set(table["wwc"]) >= {"satisfied", "needs adjustment"}


def share(ones: int, n: int) -> Summary:
    """An arm of zeros (cell 0) and ones (cell 1)."""
    return Arm.build(np.repeat([0, 1], [n - ones, ones]), np.ones(n), 2).summary(np.array([0.0, 1.0]))


def test_a_share_of_nothing_in_one_arm_has_no_logit_and_is_judged_by_g() -> None:
    size = effect_size(share(2, 200), share(0, 200), binary=True)
    pooled = np.sqrt((0.01 * 0.99 * 200 / 199) / 2)
    assert size == pytest.approx((1 - 3 / (4 * 400 - 9)) * 0.01 / pooled)
    assert effect_size(share(0, 50), share(0, 50), binary=True) == 0


def test_rounding_is_no_difference() -> None:
    """A weighted mean of a constant is that constant only up to rounding; its standard deviation is nothing."""
    data = lalonde().assign(site=0.1)
    table = match(data, "treat ~ age + site", "id", distance="age", replace=True, ratio=3).balance()
    row = table.set_index("covariate").loc["site"]
    assert row[["smd_after", "effect_size_after"]].tolist() == [0, 0]
    assert row["wwc"] == "satisfied"


def test_arms_that_do_not_vary_and_differ_fail() -> None:
    data = lalonde().assign(man=lambda d: d["treat"] * 3.0 + 1)
    row = match(data, "treat ~ age + man", "id", distance="age").balance().set_index("covariate").loc["man"]
    assert np.isnan(row["effect_size_after"])
    assert row["wwc"] == "not satisfied"


@given(
    rows=st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=30).filter(
        lambda rows: sum(a for _, a, _ in rows) and sum(b for *_, b in rows)
    )
)
@settings(max_examples=100, deadline=None)
def test_distance_of_distributions_is_that_of_the_step_functions(rows: list[tuple[int, int, int]]) -> None:
    x, a, b = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    apart = [abs(a[x <= at].sum() / a.sum() - b[x <= at].sum() / b.sum()) for at in np.unique(x)]
    mean, largest = ecdf_distance(x, a, b)
    assert mean == pytest.approx(np.mean(apart), abs=1e-12)
    assert largest == pytest.approx(max(apart), abs=1e-12)
    assert ecdf_distance(x[::-1], a[::-1], b[::-1]) == pytest.approx((mean, largest), abs=1e-12)
