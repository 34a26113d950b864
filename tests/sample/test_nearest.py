"""Greedy matching against the plainest way to write it: walk along all units, step by step, every time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import DesignError
from retrain_eval.sample.methods import nearest_search as nearest
from retrain_eval.sample.methods.line import Line, tie_width
from retrain_eval.sample.methods.nearest_search import match_with_replacement, match_without_replacement
from retrain_eval.sample.options import M_ORDERS
from retrain_eval.sample.pairs import Pairs


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores on a coarse grid (so that ties abound), treatment, stratum."""
    n = draw(st.integers(2, 24))
    score = np.array(draw(st.lists(st.integers(0, 8), min_size=n, max_size=n))) / 8
    treated = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    treated[:2] = True, False
    stratum = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    return score, treated, stratum


def walk(
    problem: tuple[np.ndarray, ...], t: int, free: set[int], caliper: float, passed: list[int]
) -> list[tuple[float, int]]:
    """Step by step through all units in a row, left and right in turn: controls in order of preference.

    ``passed`` are controls that an earlier search of ``t`` has reached: on their side it goes on from the outermost.
    """
    score, treated, stratum = problem
    row = sorted(range(len(score)), key=lambda i: (score[i], i))
    begins = [row.index(unit) for unit in (t, *passed)]
    places = {-1: min(begins), 1: max(begins)}
    found = []
    for _ in row:
        for side in (-1, 1):
            places[side] += side
            if 0 <= places[side] < len(row):
                c = row[places[side]]
                distance = abs(score[c] - score[t])
                if not treated[c] and c in free and stratum[c] == stratum[t] and distance <= caliper:
                    found.append((distance, c))
    return sorted(found, key=lambda pair: pair[0])  # stable: of equal distances the one met first


def plain_without(
    problem: tuple[np.ndarray, ...], ratio: int, m_order: str, caliper: float, seed: int
) -> tuple[dict[int, list[int]], int]:
    """Return who is matched with whom, in the order matched, and in how many choices another control was as near."""
    score, treated, _ = problem
    units = np.flatnonzero(treated).tolist()
    if m_order in ("largest", "smallest"):
        units.sort(key=lambda t: -score[t] if m_order == "largest" else score[t])
    if m_order == "random":
        units = [units[i] for i in np.random.default_rng(seed).permutation(len(units))]
    free = set(np.flatnonzero(~treated).tolist())
    matched: dict[int, list[int]] = {t: [] for t in units}
    n_tied = 0

    def nearest(t: int, *lost: int) -> list[tuple[float, int, int]]:
        return [(d, t, c) for d, c in walk(problem, t, free, caliper, [*matched[t], *lost])[:1]]

    for turn in range(ratio):
        waiting = [t for t in units if len(matched[t]) == turn]
        sign = {"closest": 1, "farthest": -1}.get(m_order, 0)
        queue = [pair for t in waiting for pair in nearest(t)] if sign else [(0.0, t, -1) for t in waiting]
        queue.sort(key=lambda pair: sign * pair[0])
        while queue:
            _, t, c = queue.pop(0)
            if c not in free:
                for pair in nearest(t, *([c] if sign else [])):  # the control that it has just lost
                    # first among equals for the closest, last for the farthest, and at once without such an order
                    ahead = [sign * p[0] < pair[0] if sign == 1 else p[0] >= pair[0] for p in queue] if sign else []
                    queue.insert(sum(ahead), pair)
                continue
            n_tied += sum(d == abs(score[t] - score[c]) for d, _ in walk(problem, t, free, caliper, [])) > 1
            matched[t].append(c)
            free.discard(c)
    return matched, n_tied


def as_dict(pairs: Pairs, problem: tuple[np.ndarray, ...]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {int(t): [] for t in np.flatnonzero(problem[1])}
    for t, c in zip(pairs.treated.tolist(), pairs.control.tolist(), strict=True):
        found[t].append(c)
    return found


@given(problems(), st.integers(1, 3), st.sampled_from(M_ORDERS), st.sampled_from([0.2, np.inf]))
@settings(max_examples=300, deadline=None)
def test_without_replacement_equals_walking_step_by_step(
    problem: tuple[np.ndarray, ...], ratio: int, m_order: str, caliper: float
) -> None:
    pairs = match_without_replacement(Line.build(*problem), ratio=ratio, m_order=m_order, caliper=caliper, seed=1)
    assert (as_dict(pairs, problem), pairs.ties_broken) == plain_without(problem, ratio, m_order, caliper, seed=1)
    assert pairs.choices == len(pairs.treated)
    np.testing.assert_array_equal(pairs.distance, np.abs(problem[0][pairs.treated] - problem[0][pairs.control]))


@given(problems(), st.integers(1, 3), st.sampled_from([0.2, np.inf]))
@settings(max_examples=200, deadline=None)
def test_with_replacement_equals_walking_step_by_step(
    problem: tuple[np.ndarray, ...], ratio: int, caliper: float
) -> None:
    line = Line.build(*problem)
    first = match_with_replacement(line, ratio=ratio, ties="first", caliper=caliper)
    every = as_dict(match_with_replacement(line, ratio=ratio, ties="all", caliper=caliper), problem)
    n_tied, everyone = 0, set(range(len(problem[0])))
    for t, mine in as_dict(first, problem).items():
        ranked = walk(problem, t, everyone, caliper, [])
        assert mine == [c for _, c in ranked[:ratio]]
        limit = ranked[:ratio][-1][0] if ranked else -1.0
        tied = {c for d, c in ranked if d <= limit}
        assert set(every[t]) == tied
        n_tied += len(tied) > len(mine)
    assert (first.ties_broken, first.choices) == (n_tied, len(set(first.treated.tolist())))


SAME = [0.5] * 6


@pytest.mark.parametrize(
    ("score", "treated", "stratum", "options", "pairs"),
    [
        # a used control counts as a step, so that the nearer one in the sequence is to the right
        (SAME, [0, 0, 1, 1, 0, 0], [0] * 6, {}, [(2, 1), (3, 4)]),
        # so does a treated unit: 1 is two steps to the left of 3, and 4 is one to the right
        ([0.5] * 5, [0, 0, 1, 1, 0], [0, 0, 1, 0, 0], {}, [(3, 4)]),
        # and a control of another stratum
        ([0.5] * 5, [0, 0, 0, 1, 0], [0, 1, 1, 0, 0], {}, [(3, 4)]),
        # at equal steps the left one
        ([0.25, 0.5, 0.75], [0, 1, 0], [0] * 3, {}, [(1, 0)]),
        # with ties in distance, not in score: 1 is a step away, 3 two steps
        ([0.25, 0.5, 0.5, 0.75], [0, 1, 1, 0], [0] * 4, {"m_order": "data"}, [(1, 0), (2, 3)]),
        # later searches go on from the earlier match: 1 is one step beyond 2, as 4 is one step from the unit
        (SAME, [0, 0, 0, 1, 0, 0], [0] * 6, {"ratio": 3}, [(3, 2), (3, 1), (3, 0)]),
        # a lost control counts as reached: 4 lost 3 to 2, so 1 is two steps from 3 and 5 one step from 4
        ([0.0, 0.25, 0.5, 0.5, 0.5, 0.75], [0, 0, 1, 0, 1, 0], [0] * 6, {"m_order": "closest"}, [(2, 3), (4, 5)]),
    ],
)
def test_steps_decide_between_controls_at_equal_distance(
    score: list[float], treated: list[int], stratum: list[int], options: dict[str, Any], pairs: list[tuple[int, int]]
) -> None:
    line = Line.build(np.array(score), np.array(treated) == 1, np.array(stratum))
    keywords: dict[str, Any] = {"ratio": 1, "m_order": "largest", "caliper": np.inf, "seed": 1}
    found = match_without_replacement(line, **(keywords | options))
    assert list(zip(found.treated.tolist(), found.control.tolist(), strict=True)) == pairs


def test_with_replacement_steps_are_counted_from_the_unit() -> None:
    """A control of the next unit to the right is one step away from 3, whoever took it before."""
    line = Line.build(np.full(6, 0.5), np.array([0, 0, 1, 1, 0, 0]) == 1, np.zeros(6, dtype=np.int64))
    found = match_with_replacement(line, ratio=2, ties="first", caliper=np.inf)
    assert found.treated.tolist() == [2, 2, 3, 3]
    assert found.control.tolist() == [1, 0, 4, 1]


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
