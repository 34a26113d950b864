"""Nearest-neighbour matching on a score, with ties settled as in MatchIt 4.7.2.

Units are numbered in the order of their ids, and all of them, treated and controls of every stratum, form one sequence
sorted by (score, number). From a treated unit the search walks to the left and to the right. On each side it finds the
first free control of the stratum; the control at the smaller distance wins. At equal distance the one that is fewer
steps away in the sequence wins, where every unit passed counts as a step, whatever its arm or stratum and whether it is
free. If the steps are equal too, the left one wins.

The search for a further control of the same treated unit does not start again from the unit: on the side of an
earlier match it goes on from there, and steps are counted from there. So does the search for a replacement where a pair
that was meant to be formed (``closest``, ``farthest``) has lost its control to another unit.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Protocol

import numpy as np

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.errors import DesignError
from retrain_eval.sample.methods.line import Line
from retrain_eval.sample.pairs import Pairs

MAX_PAIRS = 20_000_000


def match_without_replacement(line: Line, *, ratio: int, m_order: str, caliper: float, seed: int) -> Pairs:
    """Match each treated unit with up to ``ratio`` controls, each control used once; one round per match.

    Parameters
    ----------
    line : Line
        Treated units and controls.
    ratio : int
        Rounds. In each round every treated unit that was matched in all earlier ones takes its nearest free control.
    m_order : str
        Who chooses first, one of `M_ORDERS`: by score (``largest``, ``smallest``), by id (``data``), by the distance
        of the pair (``closest``, ``farthest``), or in ``random`` order by ``seed``.
    caliper : float
        Largest distance allowed, inclusive; infinity for none.
    seed : int
        Used by ``random`` only.
    """
    search = _Search(line, caliper)
    treated, control, distance = greedy(search, visits(line.treated_score, m_order, seed), ratio, m_order, line.tie)
    return Pairs(line.treated[treated], line.control[control], distance, len(treated), search.ties_broken)


class Search(Protocol):
    """Which controls are free, and which of them is nearest."""

    taken: set[int]

    def nearest(self, t: int, lost: int | None = None) -> tuple[int, float] | None:
        """Return the nearest free control of treated unit ``t`` and its distance; ``lost`` is the one found before."""

    def take(self, t: int, control: int) -> None:
        """Give the control to ``t``; no other unit finds it from then on."""


def greedy(search: Search, order: Ints, ratio: int, m_order: str, tie: float) -> tuple[Ints, Ints, Floats]:
    """Let treated units choose in turn, one control a round; return pairs by treated unit and round.

    Parameters
    ----------
    search : Search
    order : int ndarray
        Treated units in the order in which they choose; ``closest`` and ``farthest`` begin with it.
    ratio : int
        Rounds. A unit that found no control in one is left out of the next.
    m_order : str
        One of `M_ORDERS`.
    tie : float
        Distances that differ by no more are equal to ``closest`` and ``farthest``.
    """
    waiting: list[int] = order.tolist()
    found: list[tuple[int, int, float]] = []
    for _ in range(ratio):
        if m_order in {"closest", "farthest"}:
            matched = list(_by_distance(search, waiting, 1.0 if m_order == "closest" else -1.0, tie))
        else:
            matched = []
            for t in waiting:
                if (pair := search.nearest(t)) is not None:
                    search.take(t, pair[0])
                    matched.append((t, *pair))
        found.extend(matched)
        still = {t for t, _, _ in matched}
        waiting = [t for t in waiting if t in still]
    treated = np.array([t for t, _, _ in found], dtype=np.int64)
    by_unit = np.argsort(treated, kind="stable")  # keeps the rounds in order
    control = np.array([c for _, c, _ in found], dtype=np.int64)
    distance = np.array([d for _, _, d in found], dtype=float)
    return treated[by_unit], control[by_unit], distance[by_unit]


def match_with_replacement(line: Line, *, ratio: int, ties: str, caliper: float) -> Pairs:
    """Match each treated unit with its ``ratio`` nearest controls, which other units may use too.

    Parameters
    ----------
    line : Line
        Treated units and controls.
    ratio : int
        Controls wanted for each treated unit.
    ties : {"all", "first"}
        ``all`` keeps every control as near as the last one chosen (Abadie and Imbens 2006); ``first`` keeps exactly
        ``ratio``: at equal distance those fewer steps away and, after equal steps, the left one.
    caliper : float
        Largest distance allowed, inclusive; infinity for none.

    Raises
    ------
    DesignError
        If keeping all ties would make more than `MAX_PAIRS` pairs.
    """
    steps = np.arange(ratio)
    # the k nearest lie among k controls on either side; lefts come first, so a stable sort lets the left one win
    index = np.hstack([line.place[:, None] - 1 - steps, line.place[:, None] + steps])
    inside = (index >= line.low[:, None]) & (index < line.high[:, None])
    distance = np.full(index.shape, np.inf)
    distance[inside] = _distance(line, np.nonzero(inside)[0], index[inside])
    distance[distance > caliper] = np.inf
    order = _by_steps(line, index, line.graded(distance))[:, :ratio]
    chosen, near = np.take_along_axis(index, order, axis=1), np.take_along_axis(distance, order, axis=1)
    found = np.isfinite(near)

    # a tie is a control beyond the chosen ones that is exactly as near as the farthest of them
    farthest = np.where(found, near, -np.inf).max(axis=1)
    first, last = _reach(line, np.minimum(farthest + line.tie, caliper))
    matched = found.any(axis=1)
    size = np.where(matched, last - first, 0)
    if ties == "first":
        row, column = np.nonzero(found)
        picked, gap = chosen[row, column], near[row, column]
        n_ties = int((size > found.sum(axis=1)).sum())
    else:
        if size.sum() > MAX_PAIRS:
            raise DesignError(
                f'ties="all" would make {int(size.sum()):,} pairs (at most {MAX_PAIRS:,}): many controls share a '
                'score. Use ties="first", exact strata, or weighting.'
            )
        row = np.repeat(np.arange(len(size)), size)
        picked = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size) + first[row]
        gap = _distance(line, row, picked)
        nearest_first = np.lexsort((line.control[picked], line.graded(gap), row))
        row, picked, gap = row[nearest_first], picked[nearest_first], gap[nearest_first]
        n_ties = 0
    return Pairs(line.treated[row], line.control[picked], gap, int(matched.sum()), n_ties)


def _by_steps(line: Line, index: Ints, distance: Floats) -> Ints:
    """Sort controls, lefts first, by distance; where some are equally near, by steps, and then the left one first."""
    order = np.argsort(distance, axis=1, kind="stable")
    ranked = np.take_along_axis(distance, order, axis=1)
    tied = np.flatnonzero(((ranked[:, 1:] == ranked[:, :-1]) & np.isfinite(ranked[:, 1:])).any(axis=1))
    if len(tied):
        treated_at, control_at = line.positions()
        steps = np.abs(control_at[np.clip(index[tied], 0, len(control_at) - 1)] - treated_at[tied, None])
        order[tied] = np.lexsort((steps, distance[tied]), axis=1)  # stable, so lefts stay first
    return order


def _distance(line: Line, row: Ints, index: Ints) -> Floats:
    return np.abs(line.treated_score[row] - line.control_score[index])


def _reach(line: Line, distance: Floats) -> tuple[Ints, Ints]:
    """Return the range of controls at most ``distance`` away from each treated unit."""
    first = _bisect(line, line.low, line.place, distance, beyond_first=True)
    last = _bisect(line, line.place, line.high, distance, beyond_first=False)
    return first, last


def _bisect(line: Line, low: Ints, high: Ints, distance: Floats, *, beyond_first: bool) -> Ints:
    """Find where controls within ``distance`` begin (or end) by the distance itself: score ± distance is rounded."""
    low, high = low.copy(), high.copy()
    while (open_ := np.flatnonzero(low < high)).size:
        middle = (low[open_] + high[open_]) // 2
        within = _distance(line, open_, middle) <= distance[open_]
        upwards = within != beyond_first
        low[open_[upwards]] = middle[upwards] + 1
        high[open_[~upwards]] = middle[~upwards]
    return low


def visits(score: Floats, m_order: str, seed: int) -> Ints:
    """Return the order in which treated units, given in the order of their ids, choose."""
    if m_order == "largest":
        return np.argsort(-score, kind="stable")
    if m_order == "smallest":
        return np.argsort(score, kind="stable")
    if m_order == "random":
        return np.random.default_rng(seed).permutation(len(score))
    return np.arange(len(score))


def _by_distance(search: Search, waiting: list[int], sign: float, tie: float) -> Iterator[tuple[int, int, float]]:
    """Match the closest (or farthest) pair next.

    At equal distance treated units take turns by id, but one that has just lost its control and found another is
    served before (closest) or after (farthest) those that wait with the same distance, as MatchIt inserts it.
    """

    def rank(distance: float) -> float:
        return sign * (round(distance / tie) if tie else distance)

    queue: list[tuple[float, int, int, int, float]] = []
    for t in waiting:
        if (pair := search.nearest(t)) is not None:
            queue.append((rank(pair[1]), len(queue), t, *pair))
    heapq.heapify(queue)
    turn = 0 if sign > 0 else len(queue)
    while queue:
        _, _, t, control, distance = heapq.heappop(queue)
        if control not in search.taken:
            search.take(t, control)
            yield t, control, distance
        elif (pair := search.nearest(t, control)) is not None:
            turn += -1 if sign > 0 else 1
            heapq.heappush(queue, (rank(pair[1]), turn, t, *pair))


@dataclass
class _Search:
    """Free controls on the line. Taken ones point past themselves (union-find), so a search jumps over them."""

    line: Line
    caliper: float
    taken: set[int] = field(default_factory=set)
    ties_broken: int = 0
    _left: dict[int, int] = field(default_factory=dict)
    _right: dict[int, int] = field(default_factory=dict)
    _matched: dict[int, list[int]] = field(default_factory=dict)
    _stand: list[tuple[int, int, int, float]] = field(init=False)

    def __post_init__(self) -> None:
        """Convert arrays that are read one element at a time to lists, because each NumPy access creates an object."""
        line = self.line
        ends = line.place.tolist(), line.low.tolist(), line.high.tolist()
        self._stand = list(zip(*ends, line.treated_score.tolist(), strict=True))

    def nearest(self, t: int, lost: int | None = None) -> tuple[int, float] | None:
        """Return the index and the distance of the nearest free control, None beyond the caliper."""
        left, right = self._sides(t)
        if left[1] == right[1] == np.inf:
            return None
        if abs(left[1] - right[1]) <= self.line.tie and max(left[1], right[1]) <= self.caliper:
            return left if self._left_first(t, left[0], right[0], lost) else right
        control = min(left, right, key=itemgetter(1))
        return control if control[1] <= self.caliper else None

    def _left_first(self, t: int, left: int, right: int, lost: int | None) -> bool:
        """Return whether the left of two controls at equal distance is at most as many steps away as the right one.

        Steps are counted from the outermost earlier match on each side, from the control just lost, or from the unit.
        """
        treated_at, control_at = self.line.positions()
        at = treated_at.item(t)
        passed = [at, *(control_at.item(c) for c in self._matched.get(t, ()))]
        if lost is not None:
            passed.append(control_at.item(lost))
        return bool(min(passed) - control_at.item(left) <= control_at.item(right) - max(passed))

    def take(self, t: int, control: int) -> None:
        """Remove a control from the line, and note whether another one was as near."""
        distance = abs(self._stand[t][3] - self.line.control_score.item(control))
        self.taken.add(control)
        self._matched.setdefault(t, []).append(control)
        self._left[control], self._right[control] = control - 1, control + 1
        self.ties_broken += any(abs(gap - distance) <= self.line.tie for _, gap in self._sides(t))

    def _sides(self, t: int) -> tuple[tuple[int, float], tuple[int, float]]:
        place, low, high, score = self._stand[t]
        score_of = self.line.control_score.item
        left, right = _follow(self._left, place - 1), _follow(self._right, place)
        return (
            (left, abs(score - score_of(left)) if left >= low else np.inf),
            (right, abs(score - score_of(right)) if right < high else np.inf),
        )


def _follow(pointers: dict[int, int], start: int) -> int:
    """Follow pointers to the first index without one, and point all passed at it."""
    end = start
    while end in pointers:
        end = pointers[end]
    while start != end:
        pointers[start], start = end, pointers[start]
    return end
