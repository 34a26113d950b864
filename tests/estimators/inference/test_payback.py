"""Cumulative effects, lock-in depth, break-even and payback: by hand, by simulation, and where they are refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.inference.payback import BREAK_EVEN, COST, CUMULATIVE, LOCK_IN, PAYBACK, payback

PATH = [-200.0, -50.0, 150.0, 300.0, 400.0, 450.0]


def event_study(path: list[float], vcov: np.ndarray | None = None, before: int = 2) -> EffectTable:
    """Return an event study with periods before treatment and an overall row, as ``aggregate("dynamic")`` has them."""
    k = before + len(path)
    keys = {"outcome": "earnings", "estimator": "att_gt", "n_control": 200}
    effects = zip(range(-before, len(path)), [0.0] * before + path, strict=True)
    rows = [{**keys, "event_time": e, "estimate": b, "n_treated": 90 - abs(e)} for e, b in effects]
    whole = np.zeros((k + 1, k + 1))
    whole[before:k, before:k] = np.diag([400.0] * len(path)) if vcov is None else vcov
    mean = np.zeros(k + 1)
    mean[before:k] = 1 / len(path)
    whole[k] = mean @ whole
    whole[:, k] = whole[k]
    whole[k, k] = mean @ whole[:, k]
    overall = {**rows[-1], "event_time": pd.NA, "estimate": float(np.mean(path))}
    return EffectTable.build([*rows, overall], whole)


def marks(table: EffectTable) -> pd.DataFrame:
    frame = table.to_frame()
    return frame[frame["estimand"] != CUMULATIVE].set_index("estimand")


def test_sums_and_their_errors_are_those_of_arithmetic() -> None:
    rng = np.random.default_rng(1)
    root = rng.normal(size=(6, 6))
    vcov = root @ root.T * 100
    table = payback(event_study(PATH, vcov), cost=700)
    frame = table.to_frame()
    rows = frame[frame["estimand"] == CUMULATIVE]
    assert rows["estimate"].tolist() == np.cumsum(PATH).tolist()
    for e in range(6):
        by_hand = np.sqrt(sum(vcov[i, j] for i in range(e + 1) for j in range(e + 1)))
        assert rows["std_error"].iloc[e] == pytest.approx(by_hand, rel=1e-12)
    assert (rows["band_low"] < rows["ci_low"]).all()
    assert set(rows["n_treated"]) == {85}  # the fewest behind any period that enters
    found = marks(table)
    assert found["estimate"].to_dict() == {LOCK_IN: -200.0, BREAK_EVEN: 3.0, PAYBACK: 5.0, COST: 700.0}
    assert found.loc[LOCK_IN, "event_time"] == 0


def test_milestones_are_read_off_the_bands() -> None:
    table = payback(event_study(PATH), cost=700)
    frame, found = table.to_frame(), marks(table)
    rows = frame[frame["estimand"] == CUMULATIVE]
    for name, target in ((BREAK_EVEN, 0.0), (PAYBACK, 700.0)):
        assert found.loc[name, "ci_low"] == rows.loc[rows["band_high"] >= target, "event_time"].min()
        over = rows.loc[rows["band_low"] >= target, "event_time"]
        assert found.loc[name, "ci_high"] == (over.min() if len(over) else pytest.approx(np.nan, nan_ok=True))
        assert found.loc[name, "ci_low"] <= found.loc[name, "estimate"]
    assert found.loc[LOCK_IN, "ci_low"] < -200 < found.loc[LOCK_IN, "ci_high"]


def test_discounting_is_from_the_start_of_treatment() -> None:
    frame = payback(event_study(PATH), cost=0, discount=0.1).to_frame()
    rows = frame[frame["estimand"] == CUMULATIVE]
    assert rows["estimate"].to_numpy() == pytest.approx(np.cumsum(PATH / 1.1 ** np.arange(6)))
    assert rows["std_error"].iloc[1] == pytest.approx(20 * np.sqrt(1 + 1 / 1.21))


def test_what_is_never_reached_is_not_a_number() -> None:
    found = marks(payback(event_study([-100.0, -80.0, -90.0]), cost=50))
    assert found.loc[[BREAK_EVEN, PAYBACK], ["estimate", "ci_low", "ci_high"]].isna().all(axis=None)
    found = marks(payback(event_study([500.0, 100.0]), cost=0))
    assert found.loc[[BREAK_EVEN, PAYBACK], ["estimate", "ci_low", "ci_high"]].eq(0.0).all(axis=None)


def test_an_event_study_without_sampling_error_is_exact() -> None:
    found = marks(payback(event_study(PATH, np.zeros((6, 6))), cost=700))
    assert found.loc[PAYBACK, ["estimate", "ci_low", "ci_high"]].tolist() == [5.0, 5.0, 5.0]
    assert found.loc[LOCK_IN, ["ci_low", "ci_high"]].tolist() == [-200.0, -200.0]


@settings(max_examples=12, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=6), st.floats(0, 2e4), st.floats(0, 2e4))
def test_a_higher_cost_is_never_paid_back_sooner(path: list[float], one: float, other: float) -> None:
    study = event_study(path)
    low, high = (marks(payback(study, cost)).loc[PAYBACK] for cost in sorted((one, other)))
    for end in ("estimate", "ci_low", "ci_high"):
        assert not low[end] > high[end]  # NaN: not within follow-up
        assert not (np.isnan(low[end]) and not np.isnan(high[end]))


def test_the_order_of_rows_decides_nothing() -> None:
    study = event_study(PATH)
    order = np.random.default_rng(3).permutation(len(study))
    mixed = EffectTable(study.frame.iloc[order].reset_index(drop=True), study.vcov[np.ix_(order, order)], study.meta)
    pd.testing.assert_frame_equal(payback(study, 700).to_frame(), payback(mixed, 700).to_frame())


@pytest.mark.slow
def test_intervals_of_milestones_cover_the_truth() -> None:
    """At least 95%, less the error of 400 draws; the truth is the milestone of the path itself."""
    rng = np.random.default_rng(11)
    correlation = 0.6 ** np.abs(np.subtract.outer(range(6), range(6)))
    vcov = 90.0**2 * correlation
    truth = marks(payback(event_study(PATH, np.zeros((6, 6))), cost=500))["estimate"]
    draws = rng.multivariate_normal(PATH, vcov, size=400)
    covered = dict.fromkeys((LOCK_IN, BREAK_EVEN, PAYBACK), 0)
    for path in draws:
        found = marks(payback(event_study(list(path), vcov), cost=500))
        for name in covered:
            low, high = found.loc[name, "ci_low"], found.loc[name, "ci_high"]
            low, high = (np.inf if np.isnan(low) else low), (np.inf if np.isnan(high) else high)
            covered[name] += low <= truth[name] <= high
    for name, times in covered.items():
        assert times / len(draws) >= 0.93, name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f[f["event_time"] != 2], "one is missing"),
        (lambda f: f[f["event_time"] != 0], "starts at event time 0"),
        (lambda f: f[f["event_time"] < 0], "starts at event time 0"),
        (lambda f: f.assign(level="men", subgroup="sex"), "choose a level"),
    ],
)
def test_what_cannot_be_added_up_is_refused(change: object, says: str) -> None:
    study = event_study(PATH)
    frame = change(study.frame)
    keep = frame.index.to_numpy()
    part = EffectTable(frame.reset_index(drop=True), study.vcov[np.ix_(keep, keep)], study.meta)
    with pytest.raises(DesignError, match=says):
        payback(part, 100)


@pytest.mark.parametrize("options", [{"cost": -1.0}, {"cost": float("nan")}, {"cost": 1.0, "discount": -0.1}])
def test_a_cost_is_a_number(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="not negative"):
        payback(event_study(PATH), **options)
