"""Bounds under trends that are not parallel, and the power of looking at pre-trends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import datasets
import did_panels
import retrain_eval as rte
from did_cases import MOMENTS, staggered
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.honest import breakdown, relative_magnitude, smoothness
from retrain_eval.estimators.inference.pretest_power import pretest_power


def study(estimate: list[float], vcov: np.ndarray, reference: int) -> EffectTable:
    """An event study with the reference inserted as a zero."""
    b = np.insert(np.array(estimate, dtype=float), reference, 0.0)
    full = np.insert(np.insert(vcov, reference, 0.0, axis=0), reference, 0.0, axis=1)
    rows = [{"event_time": e - reference - 1, "estimate": value} for e, value in enumerate(b)]
    return EffectTable.build(rows, full)


def cov(k: int, rho: float = 0.5, scale: float = 0.01) -> np.ndarray:
    return scale * ((1 - rho) * np.eye(k) + rho)


@pytest.mark.oracle
@pytest.mark.parametrize("panel", ["counties", "wages"])
def test_intervals_beside_r_honest_did(panel: str) -> None:
    """Smoothness: the optimum is flat, so the length agrees to .2% and each end to 2% of it.

    Relative magnitudes: ours hold the conditional intervals and are at most 20% longer, since they do not use which
    steps look small.
    """
    effects = did_panels.moments(panel, (), weighted=False).att_gt().aggregate("dynamic")
    oracle = pd.read_csv(datasets.ORACLES / "did" / "moderndid_honest.csv")
    for row in oracle[oracle["panel"] == panel].itertuples():
        event_time = None if np.isnan(row.event_time) else int(row.event_time)
        call = smoothness if row.restriction == "smoothness" else relative_magnitude
        ours = call(effects, (row.m,), event_time=event_time).iloc[0]
        length, theirs = ours["ci_high"] - ours["ci_low"], row.ci_high - row.ci_low
        if row.restriction == "smoothness":
            assert length == pytest.approx(theirs, rel=2e-3), row
            assert ours["ci_low"] == pytest.approx(row.ci_low, abs=0.02 * theirs), row
        else:
            assert ours["ci_low"] <= row.ci_low + 1e-3 * theirs, row
            assert ours["ci_high"] >= row.ci_high - 1e-3 * theirs, row
            assert length < 1.2 * theirs, row


def test_identified_sets_by_linear_programme() -> None:
    """The set of the effect under each restriction, by maximising over all differences in trends."""
    from scipy.optimize import linprog

    b = [0.3, -0.1, 1.0, 1.4, 2.0]  # waves −3, −2, [−1], 0, 1, 2
    table = study(b, cov(5), 2)
    path = np.array([0.3, -0.1, 0.0])
    largest = np.abs(np.diff(path)).max()
    for m in (0.5, 2.0):
        step = np.array([[1, 0, 0], [-1, 1, 0], [0, -1, 1]])
        bias = linprog(-np.ones(3) / 3, np.vstack([step, -step]), np.full(6, m * largest), bounds=(None, None)).fun
        found = relative_magnitude(table, (m,)).iloc[0]
        mean = np.mean(b[2:])
        assert (found["low"], found["high"]) == pytest.approx((mean + bias, mean - bias))
        one = relative_magnitude(table, (m,), event_time=1).iloc[0]
        assert one["high"] - one["low"] == pytest.approx(4 * m * largest)


@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100))
@settings(max_examples=8, deadline=None)
def test_units_scale_through_and_more_freedom_is_wider(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(0, 0.1, (6, 6))
    b = rng.normal(0, 1, 6)
    one, two = study(list(b), root @ root.T, 3), study(list(scale * b), scale**2 * root @ root.T, 3)
    m = (0.0, 0.5, 1.0, 2.0)
    for call, unit in ((relative_magnitude, 1.0), (smoothness, scale)):
        a, c = call(one, m), call(two, tuple(unit * value for value in m))
        np.testing.assert_allclose(c["ci_low"], scale * a["ci_low"], rtol=1e-3, atol=1e-3 * scale)
        length = (a["ci_high"] - a["ci_low"]).to_numpy()
        assert (np.diff(length) > -1e-9).all()
    plain = relative_magnitude(one, (0.0,)).iloc[0]
    mean = one.frame["estimate"].to_numpy()[-3:].mean()
    error = np.sqrt((root @ root.T)[3:, 3:].mean())
    assert (plain["ci_low"], plain["ci_high"]) == pytest.approx((mean - 1.959964 * error, mean + 1.959964 * error))


def test_breakdown_is_where_the_interval_reaches_zero() -> None:
    table = study([0.1, -0.1, 1.0, 1.2], cov(4), 2)
    value = breakdown(table)
    assert not relative_magnitude(table, (value - 1e-6,))["includes_zero"].item()
    assert relative_magnitude(table, (value + 1e-6,))["includes_zero"].item()
    assert np.isnan(breakdown(study([0.1, 0.1, 0.01, 0.01], cov(4), 2)))
    assert breakdown(study([0.001, -0.001, 100.0, 120.0], cov(4, scale=1e-10), 2)) == 100.0


@pytest.mark.slow
def test_intervals_cover_where_trends_diverge_as_allowed() -> None:
    """400 draws: 95% at least, with δ at the edge of what each restriction allows."""
    rng = np.random.default_rng(1)
    vcov = cov(6, scale=0.02)
    root = np.linalg.cholesky(vcov)
    linear = 0.2 * np.array([-3, -2, -1, 1, 2, 3])
    bent = linear + 0.1 * np.array([3, 1, 0, 1, 3, 6])  # slope changes by .1 at each wave, always the same way
    ratchet = 0.3 * np.array([0, -1, 0, 1, 2, 3])  # steps before: .3 at most; after: all .3
    cases: list[tuple[Any, float, np.ndarray]] = [
        (smoothness, 0.0, linear),
        (smoothness, 0.1, bent),
        (relative_magnitude, 1.0, ratchet),
    ]
    for call, m, delta in cases:
        covered = 0
        for _ in range(400):
            table = study(list(delta + root @ rng.standard_normal(6)), vcov, 3)
            row = call(table, (m,)).iloc[0]
            covered += row["ci_low"] <= 0 <= row["ci_high"]
        assert covered / 400 > 0.925, (call.__name__, m)


def test_pretest_power_by_simulation() -> None:
    """The slopes are found as often as stated, and the bias among samples that pass is theirs."""
    table = study([0.0, 0.0, 0.0, 0.0, 0.0], cov(5, 0.7), 3)
    found = pretest_power(table, (0.5, 0.8))
    rng = np.random.default_rng(9)
    draws = rng.multivariate_normal(np.zeros(5), cov(5, 0.7), 200_000)
    waves = np.array([-3, -2, -1, 1, 2])
    for row in found.itertuples():
        shifted = draws + row.slope * waves
        passed = (np.abs(shifted[:, :3]) <= 1.959964 * 0.1).all(axis=1)
        assert 1 - passed.mean() == pytest.approx(row.power, abs=0.01)
        assert row.bias == pytest.approx(row.slope * 1.5)
        assert shifted[passed][:, 3:].mean() == pytest.approx(row.bias_if_passed, abs=0.01)
        assert row.bias_if_passed != pytest.approx(row.bias, abs=0.01)  # passing selects
    assert pretest_power(table).equals(pretest_power(table))


@pytest.mark.parametrize("call", [relative_magnitude, smoothness, pretest_power])
def test_tables_that_are_no_event_study_are_refused(call: Any) -> None:
    moments = rte.outcome_moments(staggered(np.random.default_rng(1)), **MOMENTS, by="band")
    for effects, words in (
        (moments.att_gt().by("band").aggregate(), "take the table of one level"),
        (moments.att_gt(base_period="varying").aggregate(), "one reference period"),
        (moments.att_gt().aggregate("simple"), "one reference period"),
        (moments.att_gt().aggregate(min_event=-1), "before the reference period"),
        (moments.att_gt().aggregate(max_event=-1), "one after treatment"),
    ):
        with pytest.raises(DesignError, match=words):
            call(effects)


def test_values_that_make_no_sense_are_refused() -> None:
    table = study([0.1, -0.1, 1.0, 1.2], cov(4), 2)
    with pytest.raises(InputError, match="m is zero or more"):
        relative_magnitude(table, (-1.0,))
    with pytest.raises(InputError, match="m is zero or more"):
        smoothness(table, (np.nan,))
    with pytest.raises(InputError, match="no effect at this event time"):
        smoothness(table, event_time=9)
    with pytest.raises(InputError, match="level must lie"):
        relative_magnitude(table, level=95)
    with pytest.raises(InputError, match="power lies between"):
        pretest_power(table, (0.01,))
    with pytest.raises(DesignError, match="no sampling error"):
        pretest_power(study([0.1, -0.1, 1.0, 1.2], np.diag([0, 0.1, 0.1, 0.1]), 2))


@pytest.mark.parametrize("power", [0.3, 0.5, 0.8, 0.95])
def test_pretest_power_with_one_period_is_in_closed_form(power: float) -> None:
    vcov = np.array([[0.04, 0.01, 0.012], [0.01, 0.05, 0.02], [0.012, 0.02, 0.06]])
    table = study([0.1, 1.0, 1.2], vcov, 1)
    row = pretest_power(table, (power,)).iloc[0]
    shift = row["slope"] / 0.2  # the one period before lies one period from the reference
    found = stats.norm.cdf(-1.959963984540054 - shift) + stats.norm.sf(1.959963984540054 - shift)
    assert found == pytest.approx(power, rel=1e-10)
    draws = np.random.default_rng(0).multivariate_normal(np.zeros(3), vcov, 400_000)
    through = np.abs(draws[:, 0] - row["slope"]) <= 1.959963984540054 * 0.2
    simulated = row["bias"] + draws[through, 1:].mean()
    assert row["bias_if_passed"] == pytest.approx(simulated, abs=4 * 0.25 / np.sqrt(through.sum()))
    assert pretest_power(table, (power,), seed=1).equals(pretest_power(table, (power,), seed=2))


@pytest.mark.parametrize("after", [[1.0], [1.0, 1.2]])
def test_pretest_power_is_of_the_test_that_the_interval_makes(after: list[float]) -> None:
    """With few clusters a coefficient is rejected beyond Student's t: a slope has to be steeper to be found."""
    rows = [{"event_time": e, "estimate": b} for e, b in enumerate([0.0, 0.0, *after], start=-2)]
    vcov = np.diag([0.01, 0, *[0.01] * len(after)])
    slope = pretest_power(EffectTable.build(rows, vcov, n_clusters=8), (0.5,))["slope"].item()
    critical = stats.t(7).ppf(0.975) * 0.1
    assert stats.norm.sf((critical - slope) / 0.1) + stats.norm.cdf((-critical - slope) / 0.1) == pytest.approx(0.5)
