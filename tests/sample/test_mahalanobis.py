"""Matching on covariates: against distances written out, and what the metric must not depend on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import rankdata

from matching_samples import LALONDE, lalonde
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.sample.match import match
from retrain_eval.sample.methods import mahalanobis
from retrain_eval.sample.methods.mahalanobis import match_metric, metric

OPTIONS = {"ratio": 1, "replace": False, "ties": "first", "m_order": "data", "seed": 1}


def sample(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.integers(0, 3, n), rng.normal(0, 100, n), rng.random(n)]).astype(float)
    treated = rng.random(n) < 0.4
    treated[:2] = True, False
    return x, treated, rng.integers(0, 2, n)


def within(x: np.ndarray, treated: np.ndarray) -> np.ndarray:
    """Inverse of the covariance within arms."""
    parts = [np.atleast_2d(np.cov(x[arm].T)) * (arm.sum() - 1) for arm in (treated, ~treated) if arm.sum() > 1]
    return np.linalg.inv(sum(parts) / (len(x) - 2))


@given(st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_distances_are_those_of_the_definition(seed: int) -> None:
    x, treated, _ = sample(60, seed)
    ours = cdist(metric(x, treated, "mahalanobis"), metric(x, treated, "mahalanobis"))
    assert ours == pytest.approx(cdist(x, x, "mahalanobis", VI=within(x, treated)), abs=1e-8)
    ranks = rankdata(x, axis=0)
    scale = np.std(np.arange(1, 61), ddof=1) / ranks.std(axis=0, ddof=1)
    inverse = np.linalg.inv(np.cov(ranks.T) * np.outer(scale, scale))
    robust = metric(x, treated, "robust_mahalanobis")
    expected = cdist(ranks * scale, ranks * scale, "mahalanobis", VI=inverse)
    assert cdist(robust, robust) == pytest.approx(expected, abs=1e-8)


@given(st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_units_of_measurement_change_nothing(seed: int) -> None:
    x, treated, _ = sample(40, seed)
    other = x @ np.array([[2.0, 0, 1], [0, 0.001, 0], [0, 3, 5]]) + 7
    a, b = metric(x, treated, "mahalanobis"), metric(other, treated, "mahalanobis")
    assert cdist(a, a) == pytest.approx(cdist(b, b), abs=1e-6)


@given(st.integers(0, 1000), st.integers(1, 3), st.booleans())
@settings(max_examples=60, deadline=None)
def test_pairs_equal_looking_at_everyone(seed: int, ratio: int, replace: bool) -> None:
    x, treated, stratum = sample(40, seed)
    x = np.round(x / 50)  # whole numbers, so that equal distances are equal to the last bit
    pairs = match_metric(x, treated, stratum, **{**OPTIONS, "ratio": ratio, "replace": replace})
    got = {int(t): pairs.control[pairs.treated == t].tolist() for t in np.flatnonzero(treated)}
    expected: dict[int, list[int]] = {int(t): [] for t in np.flatnonzero(treated)}
    free = set(np.flatnonzero(~treated).tolist())
    for turn in range(ratio):
        for t, mine in expected.items():
            gaps = sorted((float(((x[c] - x[t]) ** 2).sum()), c) for c in free - set(mine) if stratum[c] == stratum[t])
            if gaps and len(mine) == turn:
                mine.append(gaps[0][1])
                if not replace:
                    free.discard(gaps[0][1])
    assert got == expected


def test_all_ties_are_kept() -> None:
    x = np.array([[0.0], [1.0], [-1.0], [1.0], [5.0]])
    treated = np.array([True, False, False, False, False])
    pairs = match_metric(x, treated, np.zeros(5, dtype=np.int64), **{**OPTIONS, "replace": True, "ties": "all"})
    assert pairs.control.tolist() == [1, 2, 3]
    first = match_metric(x, treated, np.zeros(5, dtype=np.int64), **{**OPTIONS, "replace": True})
    assert (first.control.tolist(), first.ties_broken) == ([1], 1)


@pytest.mark.parametrize("distance", ["mahalanobis", "robust_mahalanobis"])
@pytest.mark.parametrize("m_order", [None, "closest", "farthest", "random"])
def test_lalonde_shuffled(distance: str, m_order: str | None) -> None:
    first = match(lalonde(), LALONDE, "id", distance=distance, m_order=m_order, exact="race")
    again = match(
        lalonde().sample(frac=1, random_state=1), LALONDE, "id", distance=distance, m_order=m_order, exact="race"
    )
    assert first.audit["pairs_sha256"] == again.audit["pairs_sha256"]
    assert first.audit["m_order"] == (m_order or "data")
    assert first.audit["n_treated_matched"] == 116
    assert list(first.balance()["covariate"])[:2] == ["age", "educ"]
    with pytest.raises(DesignError, match="no score"):
        first.overlap()


def test_covariates_that_determine_each_other_and_none_that_vary() -> None:
    data = lalonde().assign(black=lambda d: d["race"] == "black", again=lambda d: 1 - d["black"], one=1.0)
    alone = match(data, "treat ~ age + black", "id", distance="mahalanobis")
    both = match(data, "treat ~ age + black + again + one", "id", distance="mahalanobis")
    assert alone.audit["n_pairs"] == both.audit["n_pairs"] == 185
    nothing = match(data, "treat ~ one", "id", distance="mahalanobis")
    assert nothing.pairs.df()["distance"].eq(0).all()
    assert nothing.pairs.df()["control_id"].tolist() == list(range(186, 371))


def test_huge_problems_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mahalanobis, "MAX_DISTANCES", 1000)
    with pytest.raises(DesignError, match="would need 79,365 distances"):
        match(lalonde(), LALONDE, "id", distance="mahalanobis")
    with pytest.raises(DesignError, match="distances"):
        match(lalonde(), LALONDE, "id", distance="mahalanobis", exact="race")
    monkeypatch.setattr(mahalanobis, "MAX_PAIRS", 10)
    monkeypatch.setattr(mahalanobis, "MAX_DISTANCES", 10**9)
    with pytest.raises(DesignError, match="more than 10 pairs"):
        match(lalonde(), LALONDE, "id", distance="mahalanobis", replace=True)


@pytest.mark.parametrize("options", [{"caliper": 0.2}, {"discard": "both"}, {"m_order": "largest"}, {"link": "logit"}])
def test_options_that_need_a_score(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match="score"):
        match(lalonde(), LALONDE, "id", distance="mahalanobis", **options)


def test_treated_alone_in_their_stratum() -> None:
    data = pd.DataFrame({"id": range(6), "t": [1, 1, 0, 0, 0, 1], "x": [1.0, 2, 1, 2, 3, 4], "g": list("aabbba")})
    with pytest.raises(DesignError, match="with equal g"):
        match(data, "t ~ x", "id", distance="mahalanobis", exact="g")
