"""The base period moved back, and start dates at which nothing began."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from did_cases import MOMENTS, staggered
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.inference.robustness import robustness
from retrain_eval.estimators.inference.timing import base_moved_back, placebo_starts


def dipped(rng: np.random.Generator, n: int = 400, dip: float = -1.0) -> pd.DataFrame:
    """Two cohorts of periods 1 to 8 whose outcome falls in the period before treatment, and comes back."""
    cohort = rng.choice([0, 5, 7], n)
    frame = pd.DataFrame(
        {"id": np.repeat(np.arange(n), 8), "t": np.tile(np.arange(1, 9), n), "g": np.repeat(cohort, 8)}
    )
    frame["y"] = np.repeat(rng.normal(0, 1, n), 8) + rng.normal(0, 0.5, len(frame))
    frame["y"] += dip * ((frame["g"] > 0) & (frame["t"] == frame["g"] - 1)) + 0.5 * (
        (frame["g"] > 0) & (frame["t"] >= frame["g"])
    )
    return frame


def test_a_dip_before_entry_is_found() -> None:
    moments = rte.outcome_moments(dipped(np.random.default_rng(1)), **MOMENTS)
    table = base_moved_back(moments, (0, 1, 2))
    assert list(table.frame["level"]) == ["base moved back 0", "base moved back 1", "base moved back 2"]
    estimate = table.frame["estimate"].to_numpy()
    assert estimate[0] == pytest.approx(1.5, abs=0.2)
    assert estimate[1:] == pytest.approx([0.5, 0.5], abs=0.2)
    gap = table.difference().frame
    assert (gap["p_value"] < 1e-6).all()
    placebo = placebo_starts(moments, (1, 2)).frame
    assert placebo["estimate"].to_numpy() == pytest.approx([-1.0, -0.5], abs=0.2)
    assert (placebo["p_value"] < 1e-6).all()


def test_rows_are_averages_of_group_time_effects() -> None:
    """The first row is the usual average; each placebo that of the effects before treatment; by their covariance."""
    moments = rte.outcome_moments(dipped(np.random.default_rng(2), n=120), **MOMENTS)
    usual = moments.att_gt().aggregate("simple")
    first = base_moved_back(moments, (0, 1))
    assert first.frame["estimate"][0] == pytest.approx(usual.frame["estimate"].item(), abs=1e-12)
    assert first.vcov[0, 0] == pytest.approx(usual.vcov.item(), rel=1e-9)
    back = moments.att_gt(anticipation=1).aggregate("simple")
    assert first.frame["estimate"][1] == pytest.approx(back.frame["estimate"].item(), abs=1e-12)
    assert first.vcov[1, 1] == pytest.approx(back.vcov.item(), rel=1e-9)
    one = moments.att_gt(anticipation=1).aggregate("dynamic").frame.set_index("event_time")
    placebo = placebo_starts(moments, (1,)).frame.iloc[0]
    assert placebo["estimate"] == pytest.approx(one.loc[-1, "estimate"], abs=1e-12)
    assert placebo["std_error"] == pytest.approx(one.loc[-1, "std_error"], rel=1e-9)


def test_the_same_cohorts_are_compared() -> None:
    """A cohort without a period before the earliest base is left out of all rows."""
    data = staggered(np.random.default_rng(3))
    moments = rte.outcome_moments(data, **MOMENTS)
    table = base_moved_back(moments, (0, 3))
    assert len(set(table.frame["n_treated"])) == 1
    only = rte.outcome_moments(data[data["g"].isin([0, 6])], **MOMENTS).att_gt().aggregate("simple").frame
    assert table.frame["n_treated"][0] == only["n_treated"].item()
    assert table.frame["estimate"][0] == pytest.approx(only["estimate"].item(), abs=1e-12)


def test_the_checks_condition_on_the_covariates_of_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    data = staggered(np.random.default_rng(6))
    unit = data[MOMENTS["unit"]]
    data = data.assign(band=np.where(unit % 3 == 0, "a", "b"), score=np.sin(unit.astype(float)))
    moments = rte.outcome_moments(data, **MOMENTS, covariates=("band",))
    options: dict[str, Any] = {"method": "ipw", "covariates": ("band",)}
    found = robustness(moments, **options)
    pd.testing.assert_frame_equal(found.event_study.frame, moments.att_gt(**options).aggregate("dynamic").frame)
    plain = robustness(moments).event_study.frame["estimate"]
    assert not np.allclose(found.event_study.frame["estimate"], plain)
    for name, call in (("base_moved_back", base_moved_back), ("placebo_starts", placebo_starts)):
        moves = tuple(
            int(level.split()[0 if name == "placebo_starts" else -1]) for level in found.effects[name].frame["level"]
        )
        pd.testing.assert_frame_equal(found.effects[name].frame, call(moments, moves, **options).frame)
    # a covariate that tells people apart has no cells, over which several base periods could be compared
    monkeypatch.setattr("retrain_eval.estimators.outcome_moments.MAX_COMBINATIONS", 2)
    people = rte.outcome_moments(data, **MOMENTS, covariates=("score",))
    left = robustness(people, covariates=("score",))
    assert not left.effects
    assert all(
        "only where cells hold the data" in note for note in left.notes if "base moved" in note or "placebo" in note
    )
    assert len(left.bounds)


@pytest.mark.slow
def test_under_no_dip_the_placebo_rejects_as_often_as_stated() -> None:
    rng = np.random.default_rng(4)
    p_values = [
        placebo_starts(rte.outcome_moments(dipped(rng, n=80, dip=0), **MOMENTS), (2,)).frame["p_value"].item()
        for _ in range(400)
    ]
    assert 0.03 <= np.mean(np.array(p_values) < 0.05) <= 0.075


@pytest.mark.parametrize(
    ("call", "periods", "options", "error", "words"),
    [
        (base_moved_back, (0, -1), {}, InputError, "0 or more"),
        (base_moved_back, (1, 1), {}, InputError, "different"),
        (base_moved_back, (), {}, InputError, "different"),
        (placebo_starts, (0,), {}, InputError, "1 or more"),
        (placebo_starts, (1,), {"anticipation": 1}, InputError, "anticipation"),
        (base_moved_back, (0, 9), {}, DesignError, "no group-time effect"),
        (placebo_starts, (9,), {}, DesignError, "no group-time effect"),
    ],
)
def test_what_cannot_be_is_refused(
    call: Any, periods: tuple[int, ...], options: dict[str, Any], error: type[Exception], words: str
) -> None:
    moments = rte.outcome_moments(dipped(np.random.default_rng(5), n=60), **MOMENTS)
    with pytest.raises(error, match=words):
        call(moments, periods, **options)
