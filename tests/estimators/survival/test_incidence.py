"""Cumulative incidence by cause: rows, identities, simulation, hard inputs; for R see `test_r_survival`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.survival.curves import kaplan_meier
from retrain_eval.estimators.survival.incidence import cumulative_incidence
from retrain_eval.estimators.survival.spells import Spells
from retrain_eval.tables.life_table.counting import life_table
from survival_cases import NAMES, PROBABILITY, one, sandwich, spells

CAUSES = ("job", "recall")


def by_rows(data: pd.DataFrame, weight: np.ndarray) -> np.ndarray:
    """Aalen–Johansen by the definition, spell by spell; causes × durations, flat."""
    survival, total, found = 1.0, np.zeros(2), []
    for time in np.unique(data["quarters"]):
        at_risk = weight[((data["entry"] < time) & (data["quarters"] >= time)).to_numpy()].sum()
        now = (data["quarters"] == time).to_numpy()
        hazard = np.array([weight[now & (data["cause"] == cause).to_numpy()].sum() for cause in CAUSES]) / at_risk
        total = total + survival * hazard
        survival *= 1 - hazard.sum()
        found.append(total)
    return np.array(found).T.ravel()


@given(seed=st.integers(0, 10_000), truncated=st.booleans(), weighted=st.booleans())
@settings(max_examples=20, deadline=None)
def test_cells_equal_rows(seed: int, truncated: bool, weighted: bool) -> None:
    data = spells(seed=seed, truncated=truncated)
    frame = cumulative_incidence(
        life_table(data, **NAMES, entry="entry", by="arm", **(PROBABILITY if weighted else {}))
    ).frame
    for arm, rows in data.groupby("arm"):
        weight = rows["w"].to_numpy() if weighted else np.ones(len(rows))
        np.testing.assert_allclose(frame.loc[frame["level"] == arm, "estimate"], by_rows(rows, weight), atol=1e-12)


@given(seed=st.integers(0, 10_000), truncated=st.booleans(), clustered=st.booleans())
@settings(max_examples=8, deadline=None)
def test_covariance_is_that_of_the_rows_influence(seed: int, truncated: bool, clustered: bool) -> None:
    """The influence of a row is the derivative of the curves by its weight: here by central differences."""
    data = spells(40, seed, truncated)
    options = PROBABILITY | ({"cluster": "provider"} if clustered else {})
    with sandwich():
        curve = cumulative_incidence(life_table(data, **NAMES, entry="entry", **options))
    weight, step, influence = data["w"].to_numpy(), 1e-5, []
    for row in range(len(data)):
        shift = step * (np.arange(len(data)) == row)
        low, high = (by_rows(data, weight + sign * shift) for sign in (-1, 1))
        influence.append(weight[row] * (high - low) / (2 * step))
    total = np.array(influence)
    if clustered:
        total = pd.DataFrame(total).groupby(data["provider"].to_numpy()).sum().to_numpy()
    np.testing.assert_allclose(curve.vcov, total.T @ total, rtol=0, atol=2e-8)


@given(seed=st.integers(0, 10_000), truncated=st.booleans(), weighted=st.booleans(), clustered=st.booleans())
@settings(max_examples=20, deadline=None)
def test_incidences_and_survival_add_up_to_one(seed: int, truncated: bool, weighted: bool, clustered: bool) -> None:
    """And so do their errors: the sum of causes has the variance of the survival curve."""
    options = (PROBABILITY if weighted else {}) | ({"cluster": "provider"} if clustered else {})
    robust = weighted or clustered
    table = life_table(spells(seed=seed, truncated=truncated), **NAMES, entry="entry", by="arm", **options)
    curves, survival = cumulative_incidence(table), kaplan_meier(table)
    sums = np.zeros((len(survival), len(curves)))
    for row, key in enumerate(survival.frame[["level", "time"]].itertuples(index=False)):
        sums[row, (curves.frame["level"] == key.level) & (curves.frame["time"] == key.time)] = 1
    np.testing.assert_allclose(sums @ curves.frame["estimate"] + survival.frame["estimate"], 1.0, rtol=0, atol=1e-12)
    if robust or not truncated:  # unweighted and truncated, Greenwood's formula is not the jackknife
        np.testing.assert_allclose(sums @ curves.vcov @ sums.T, survival.vcov, rtol=0, atol=1e-12)
    known = curves.frame.dropna(subset="ci_low")
    assert ((known["ci_low"] >= 0) & (known["ci_high"] <= 1)).all()
    assert ((known["ci_low"] <= known["estimate"]) & (known["estimate"] <= known["ci_high"])).all()


@given(seed=st.integers(0, 10_000), scale=st.floats(1e-6, 1e6))
@settings(max_examples=10, deadline=None)
def test_rescaled_probability_weights_change_nothing(seed: int, scale: float) -> None:
    data = spells(seed=seed)
    options = PROBABILITY | {"by": "arm", "cluster": "provider"}
    a, b = (cumulative_incidence(life_table(d, **NAMES, **options)) for d in (data, data.assign(w=data["w"] * scale)))
    np.testing.assert_allclose(a.frame["estimate"], b.frame["estimate"], rtol=1e-10)
    np.testing.assert_allclose(a.vcov, b.vcov, rtol=1e-8, atol=1e-14)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_frequency_weights_are_repeated_rows_in_any_order(seed: int) -> None:
    data = spells(seed=seed)
    repeated = data.loc[data.index.repeat(data["copies"])].assign(id=lambda f: np.arange(len(f)))
    a = cumulative_incidence(life_table(data, **NAMES, by="arm", weights="copies", weight_type="frequency"))
    b = cumulative_incidence(life_table(repeated.sample(frac=1, random_state=seed), **NAMES, by="arm"))
    pd.testing.assert_frame_equal(a.frame, b.frame)
    np.testing.assert_allclose(a.vcov, b.vcov, atol=1e-14)


def test_a_cause_that_a_group_does_not_have_is_zero_there() -> None:
    frame = cumulative_incidence(one([1, 2, 1, 2], ["job", "recall", "job", None], arm=list("aabb"))).frame
    own = frame[(frame["level"] == "b") & (frame["estimand"] == "CIF(recall)")]
    assert own["estimate"].tolist() == [0.0, 0.0]
    assert own[["std_error", "ci_low", "ci_high"]].isna().all(axis=None)


def test_one_person_and_everybody_at_once() -> None:
    assert cumulative_incidence(one([2.5], ["退休"])).frame[["estimand", "estimate"]].to_numpy().tolist() == [
        ["CIF(退休)", 1.0]
    ]
    curve = cumulative_incidence(one([4, 4, 4, 4], ["a", "a", "a", "b"]))
    assert curve.frame["estimate"].tolist() == [0.75, 0.25]
    np.testing.assert_allclose(curve.vcov, np.array([[1, -1], [-1, 1]]) * 0.75 * 0.25 / 4, atol=1e-15)


def test_what_cannot_be_said_is_refused() -> None:
    with pytest.raises(DesignError, match="none of 3 spells ends"):
        cumulative_incidence(one([1, 2, 3], [0, None, 0]))
    with pytest.raises(InputError, match="unknown conf_type"):
        cumulative_incidence(one([1], [1]), conf_type="logit")
    with pytest.raises(InputError, match="unknown variance 'greenwood'"):
        cumulative_incidence(one([1], [1]), variance="greenwood")
    with pytest.raises(InputError, match="does not hold with probability weights"):
        Spells(spells(), **NAMES, **PROBABILITY).cumulative_incidence(variance="aalen")
    with pytest.raises(DesignError, match="60 spells of 30 people"):
        Spells(spells().assign(id=lambda f: f["id"] // 2), **NAMES).cumulative_incidence()
    with pytest.raises(InputError, match="no group is observed"):
        cumulative_incidence(one([1, 2], [1, 1]), times=(9,))


@pytest.mark.parametrize("weighted", [False, True])
def test_intervals_cover_the_truth(weighted: bool) -> None:
    """400 samples of 400; with constant hazards F_k(t) = h_k/h (1 − (1−h)**t); ±3 simulation errors is ±0.033."""
    rng = np.random.default_rng(12)
    n = 400 * 400
    ended, left = rng.geometric(0.2, n), rng.integers(2, 12, n)
    cause = np.where(ended <= left, rng.choice(["job", "recall"], n, p=[0.7, 0.3]), "0")
    columns = {"quarters": np.minimum(ended, left), "cause": cause, "w": rng.uniform(0.2, 3, n)}
    data = pd.DataFrame({"id": np.arange(n), "sample": np.arange(n) % 400, **columns})
    table = life_table(data, **NAMES, by="sample", **(PROBABILITY if weighted else {}))
    frame = cumulative_incidence(table, times=(2, 5, 8)).frame
    share = frame["estimand"].map({"CIF(job)": 0.7, "CIF(recall)": 0.3})
    truth = share * (1 - 0.8 ** frame["time"].astype(float))
    covered = (frame["ci_low"] <= truth) & (truth <= frame["ci_high"])
    rates = covered.groupby([frame["estimand"], frame["time"]]).mean()
    assert (np.abs(rates - 0.95) < 0.033).all(), rates
