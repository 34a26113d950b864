"""Greedy matching against the plainest way to write it: look at every control, every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.errors import DesignError
from retrain_eval.sample import nearest
from retrain_eval.sample.line import Line, tie_width
from retrain_eval.sample.nearest import Pairs, match_with_replacement, match_without_replacement


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores on a coarse grid (so that ties abound), treatment, stratum."""
    n = draw(st.integers(2, 24))
    score = np.array(draw(st.lists(st.integers(0, 8), min_size=n, max_size=n))) / 8
    treated = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    treated[:2] = True, False
    stratum = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    return score, treated, stratum


def candidates(problem: tuple[np.ndarray, ...], t: int, taken: set[int], caliper: float) -> list[tuple[float, int]]:
    """Free controls of t's stratum in order of preference: distance; left of right; the next on the line first."""
    score, treated, stratum = problem
    ranked = []
    for c in np.flatnonzero(~treated & (stratum == stratum[t])):
        distance, left = abs(score[c] - score[t]), (score[c], c) < (score[t], t)
        if c not in taken and distance <= caliper:
            steps = (-score[c], -c) if left else (score[c], c)
            ranked.append(((distance, not left, steps), (distance, int(c))))
    return [pair for _, pair in sorted(ranked)]


def plain_without(problem: tuple[np.ndarray, ...], ratio: int, m_order: str, caliper: float) -> dict[int, list[int]]:
    score, treated, _ = problem
    units = [int(t) for t in np.flatnonzero(treated)]
    if m_order != "data":
        units.sort(key=lambda t: -score[t] if m_order == "largest" else score[t])
    taken: set[int] = set()
    matched: dict[int, list[int]] = {t: [] for t in units}
    for turn in range(ratio):
        for t in units:
            found = candidates(problem, t, taken, caliper)
            if len(matched[t]) == turn and found:
                matched[t].append(found[0][1])
                taken.add(found[0][1])
    return matched


def as_dict(pairs: Pairs, problem: tuple[np.ndarray, ...]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {int(t): [] for t in np.flatnonzero(problem[1])}
    for t, c in zip(pairs.treated.tolist(), pairs.control.tolist(), strict=True):
        found[t].append(c)
    return found


@given(problems(), st.integers(1, 3), st.sampled_from(["largest", "smallest", "data"]), st.sampled_from([0.2, np.inf]))
@settings(max_examples=200, deadline=None)
def test_without_replacement_equals_looking_at_everyone(
    problem: tuple[np.ndarray, ...], ratio: int, m_order: str, caliper: float
) -> None:
    pairs = match_without_replacement(Line.build(*problem), ratio=ratio, m_order=m_order, caliper=caliper, seed=1)
    assert as_dict(pairs, problem) == plain_without(problem, ratio, m_order, caliper)
    np.testing.assert_array_equal(pairs.distance, np.abs(problem[0][pairs.treated] - problem[0][pairs.control]))


@given(problems(), st.integers(1, 3), st.sampled_from([0.2, np.inf]))
@settings(max_examples=200, deadline=None)
def test_with_replacement_equals_looking_at_everyone(
    problem: tuple[np.ndarray, ...], ratio: int, caliper: float
) -> None:
    line = Line.build(*problem)
    first = match_with_replacement(line, ratio=ratio, ties="first", caliper=caliper)
    every = as_dict(match_with_replacement(line, ratio=ratio, ties="all", caliper=caliper), problem)
    n_tied = 0
    for t, mine in as_dict(first, problem).items():
        ranked = candidates(problem, t, set(), caliper)
        assert mine == [c for _, c in ranked[:ratio]]
        limit = ranked[:ratio][-1][0] if ranked else -1.0
        tied = {c for d, c in ranked if d <= limit}
        assert set(every[t]) == tied
        n_tied += len(tied) > len(mine)
    assert first.ties_broken == n_tied


@given(problems(), st.sampled_from(["closest", "farthest"]), st.sampled_from([0.2, np.inf]))
@settings(max_examples=100, deadline=None)
def test_pairs_are_formed_in_order_of_distance(problem: tuple[np.ndarray, ...], m_order: str, caliper: float) -> None:
    """Replay: the pairs a global search forms, sorted by distance, each time find the best pair left."""
    pairs = match_without_replacement(Line.build(*problem), ratio=1, m_order=m_order, caliper=caliper, seed=1)
    assert len(set(pairs.control.tolist())) == len(pairs.control)
    # nobody who stayed alone has a free control within reach
    alone = set(np.flatnonzero(problem[1]).tolist()) - set(pairs.treated.tolist())
    taken = set(pairs.control.tolist())
    assert not any(candidates(problem, t, taken, caliper) for t in alone)
    if m_order == "closest":
        waiting, gone = set(np.flatnonzero(problem[1]).tolist()), set()
        for i in np.argsort(pairs.distance, kind="stable"):
            best = min((found[0][0] for t in waiting if (found := candidates(problem, t, gone, caliper))), default=None)
            assert pairs.distance[i] == best
            waiting.discard(int(pairs.treated[i]))
            gone.add(int(pairs.control[i]))


def test_ties_broken_are_counted() -> None:
    line = Line.build(np.array([0.5, 0.25, 0.75]), np.array([True, False, False]), np.zeros(3, dtype=np.int64))
    pairs = match_without_replacement(line, ratio=1, m_order="largest", caliper=np.inf, seed=1)
    assert (pairs.control.tolist(), pairs.ties_broken) == ([1], 1)


def test_random_order_follows_its_seed() -> None:
    rng = np.random.default_rng(3)
    score, treated = rng.random(200), np.arange(200) < 80
    line = Line.build(score, treated, np.zeros(200, dtype=np.int64))
    runs = [
        match_without_replacement(line, ratio=1, m_order="random", caliper=np.inf, seed=seed).control.tolist()
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_caliper_includes_its_edge() -> None:
    line = Line.build(np.array([0.5, 0.25]), np.array([True, False]), np.zeros(2, dtype=np.int64))
    for caliper, n in ((0.25, 1), (np.nextafter(0.25, 0), 0)):
        assert len(match_without_replacement(line, ratio=1, m_order="data", caliper=caliper, seed=1).treated) == n
        assert len(match_with_replacement(line, ratio=1, ties="all", caliper=caliper).treated) == n


def test_too_many_ties_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "MAX_PAIRS", 10)
    line = Line.build(np.zeros(12), np.arange(12) < 2, np.zeros(12, dtype=np.int64))
    with pytest.raises(DesignError, match="20 pairs"):
        match_with_replacement(line, ratio=1, ties="all", caliper=np.inf)


def test_distances_equal_but_for_rounding_are_ties() -> None:
    """0.3 − 0.2 and 0.2 − 0.1 differ in the last bit; on an estimated predictor the left one wins all the same."""
    score, treated = np.array([0.2, 0.1, 0.3]), np.array([True, False, False])
    assert abs(score[0] - score[1]) != abs(score[0] - score[2])
    flat = np.zeros(3, dtype=np.int64)
    for values in (score, -score):
        line = Line.build(values, treated, flat, tie_width(values))
        left = 1 if values is score else 2
        pairs = match_without_replacement(line, ratio=1, m_order="data", caliper=np.inf, seed=1)
        assert (pairs.control.tolist(), pairs.ties_broken) == ([left], 1)
        assert match_with_replacement(line, ratio=1, ties="first", caliper=np.inf).control.tolist() == [left]
        assert match_with_replacement(line, ratio=1, ties="all", caliper=np.inf).control.tolist() == [1, 2]
