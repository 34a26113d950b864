"""Medians and restricted means."""

from __future__ import annotations

import numpy as np
import pytest

from retrain_eval.common.errors import InputError
from retrain_eval.estimators.survival.curves import kaplan_meier
from retrain_eval.estimators.survival.spells import Spells
from retrain_eval.estimators.survival.summaries import quantile, rmst
from retrain_eval.tables.life_table.counting import life_table
from survival_cases import LUNG, NAMES, lung, one, spells


@pytest.mark.oracle
def test_lung_median_has_rs_interval() -> None:
    """R survival 3.5-3: 285 to 363 on the log scale."""
    median = Spells(lung(), **LUNG).quantile(conf_type="log").to_frame()
    assert median[["estimate", "ci_low", "ci_high"]].to_numpy().tolist() == [[310.0, 285.0, 363.0]]


def test_a_median_that_is_not_reached_is_missing() -> None:
    frame = quantile(one([1, 2, 3, 4, 5, 6], [1, 1, 0, 1, 1, 0], arm=list("aaabbb"))).to_frame()
    assert frame["level"].tolist() == ["a", "b"]
    assert frame["estimate"].tolist() == [2.0, 5.0]
    assert quantile(one([1, 2, 3], [1, 0, 0])).frame["estimate"].isna().all()
    assert quantile(one([1, 2, 3], [1, 0, 0]), 0.25).frame[["estimand", "estimate"]].to_numpy().tolist() == [
        ["quantile 0.25", 1.0]
    ]


def test_rounding_does_not_move_a_quantile() -> None:
    """After 1/10 leave ten times the curve is 0 but for the fourth of ten steps: 0.6 is reached at 4, not 5."""
    frame = quantile(one(list(range(1, 11)), [1] * 10), 0.4).frame
    assert frame["estimate"].item() == 4.0


def test_restricted_mean_of_everybody_ended_is_the_mean() -> None:
    data = spells().assign(cause=1)
    frame = rmst(life_table(data, **NAMES, by="arm"), tau=7.5).to_frame().set_index("level")
    means = data.groupby("arm")["quarters"].agg(["mean", "var", "size"])
    np.testing.assert_allclose(frame["estimate"], means["mean"].loc[frame.index], rtol=1e-12)
    # without censoring the variance is the mean's, divided by n
    variance = means["var"] * (means["size"] - 1) / means["size"] ** 2
    np.testing.assert_allclose(frame["std_error"] ** 2, variance.loc[frame.index], rtol=1e-10)
    assert (frame["ci_low"] < frame["estimate"]).all()
    assert frame["p_value"].isna().all()


def test_restricted_mean_is_the_area_under_the_curve() -> None:
    data = spells(seed=4).assign(w=lambda f: f["w"])
    table = life_table(data, **NAMES, weights="w", weight_type="probability")
    curve = kaplan_meier(table).frame
    fine = np.linspace(0, 4.25, 400_001)[:-1] + 4.25 / 800_000
    place = np.searchsorted(curve["time"].to_numpy(dtype=float), fine, side="right")
    area = np.append(1.0, curve["estimate"].to_numpy())[place].mean() * 4.25
    assert rmst(table, 4.25).frame["estimate"].item() == pytest.approx(area, abs=1e-5)


def test_what_is_not_identified_is_refused() -> None:
    table = one([1, 2, 3, 9], [1, 1, 0, 1], arm=list("aaab"))
    with pytest.raises(InputError, match="curve of a ends at 3 above zero"):
        rmst(table, tau=4)
    assert rmst(table.subset(arm="b"), tau=50).frame["estimate"].item() == 9.0
    for tau in (0, -1, np.inf, np.nan):
        with pytest.raises(InputError, match="tau must be"):
            rmst(table, tau=tau)
    with pytest.raises(InputError, match="between 0 and 1"):
        quantile(table, 1.0)
