"""Nearest-neighbour matching on a score, in the order MatchIt 4.7 uses.

Units are numbered in the order of their ids. Controls stand on a line, sorted by (stratum, score, number), and each
treated unit has its place between them. Its nearest control is the closer of the first free one to its left and
the first free one to its right; the left one wins at equal distance. So ties are settled by (score, id) alone.

On an estimated linear predictor people of ages 29 and 31 are equally far from one of 30, but not to the last bit of a
computer's arithmetic. There distances count as equal within `Line.tie`, lest a processor's rounding chooses pairs.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from retrain_eval.errors import DesignError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

M_ORDERS = ("largest", "smallest", "data", "closest", "farthest", "random")
MAX_PAIRS = 20_000_000
_TIE = 1e-10  # of the range of an estimated linear predictor, whose coefficients have 12 digits


@dataclass(frozen=True)
class Pairs:
    """Who is matched to whom, by treated unit in id order and then in the order matched.

    Attributes
    ----------
    treated, control : int ndarray, shape (P,)
        Numbers of the units.
    distance : ndarray, shape (P,)
        Absolute difference of the scores.
    ties_broken : int
        Choices in which another control, free as well, was exactly as near.
    """

    treated: Ints
    control: Ints
    distance: Floats
    ties_broken: int


@dataclass(frozen=True)
class Line:
    """Controls in a row, and where each treated unit stands among them.

    Attributes
    ----------
    treated : int ndarray, shape (T,)
        Numbers of the treated units, ascending.
    treated_score : ndarray, shape (T,)
    control : int ndarray, shape (C,)
        Numbers of the controls, sorted by (stratum, score, number).
    control_score : ndarray, shape (C,)
    place : int ndarray, shape (T,)
        Controls ``place - 1`` and below are to the left, ``place`` and above to the right.
    low, high : int ndarray, shape (T,)
        Controls of the same stratum: ``low <= index < high``.
    tie : float
        Distances that differ by no more are equal.
    """

    treated: Ints
    treated_score: Floats
    control: Ints
    control_score: Floats
    place: Ints
    low: Ints
    high: Ints
    tie: float = 0.0

    @classmethod
    def build(cls, score: Floats, is_treated: npt.NDArray[np.bool_], stratum: Ints, tie: float = 0.0) -> Line:
        """Sort all units once; the rest follows from counting the controls before each treated unit."""
        order = sort_within(score, stratum)
        chooses = is_treated[order]
        at = np.flatnonzero(chooses)
        treated, control = np.flatnonzero(is_treated), order[~chooses]
        before = at - np.arange(len(at))  # controls before each, as they stand
        mine, n_strata = stratum[treated], int(stratum.max(initial=-1)) + 1
        size = np.bincount(stratum, minlength=n_strata) - np.bincount(mine, minlength=n_strata)
        ends = np.cumsum(size)
        return cls(
            treated=treated,
            treated_score=score[treated],
            control=control,
            control_score=score[control],
            place=before[np.argsort(order[at])],
            low=(ends - size)[mine],
            high=ends[mine],
            tie=tie,
        )

    def graded(self, distance: Floats) -> Floats:
        """Return distances of which equal ones are equal to the last bit."""
        return np.rint(distance / self.tie) if self.tie else distance


def tie_width(linear: Floats) -> float:
    """Return by how much distances on an estimated linear predictor may differ and yet be equal."""
    return _TIE * float(np.ptp(linear))


def sort_within(score: Floats, stratum: Ints) -> Ints:
    """Return the units by (stratum, score, number): strata are few, so they are dealt out before scores are sorted."""
    n_strata = int(stratum.max()) + 1 if len(stratum) else 0
    if n_strata * 16 > len(stratum):
        return np.lexsort((score, stratum))  # stable, so the unit's number is the last key
    dealt = np.argsort(stratum.astype(np.uint16 if n_strata <= 1 << 16 else np.int64), kind="stable")
    ends = np.cumsum(np.bincount(stratum, minlength=n_strata))
    for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        mine = dealt[start:end]
        dealt[start:end] = mine[_ascending(score[mine])]
    return dealt


def _ascending(score: Floats) -> Ints:
    """Sort, keeping the order of equal scores; NumPy's default is several times as fast, but does not keep it."""
    order = np.argsort(score)
    ranked = score[order]
    return np.argsort(score, kind="stable") if (ranked[1:] == ranked[:-1]).any() else order


def match_without_replacement(line: Line, *, ratio: int, m_order: str, caliper: float, seed: int) -> Pairs:
    """Give each treated unit up to ``ratio`` controls, each control used once; one round per match.

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
    return Pairs(line.treated[treated], line.control[control], distance, search.ties_broken)


class Search(Protocol):
    """Who is free, and who of them is nearest."""

    taken: set[int]

    def nearest(self, t: int) -> tuple[int, float] | None:
        """Return the nearest free control of treated unit ``t`` and its distance."""

    def take(self, t: int, control: int) -> None:
        """Give the control to ``t``; nobody else finds it from then on."""


def greedy(search: Search, order: Ints, ratio: int, m_order: str, tie: float) -> tuple[Ints, Ints, Floats]:
    """Let treated units choose in turn, one control a round; return pairs by treated unit and round.

    Parameters
    ----------
    search : Search
    order : int ndarray
        Treated units in the order in which they choose; ``closest`` and ``farthest`` begin with it.
    ratio : int
        Rounds. Who found nobody in one is left out of the next.
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
    """Give each treated unit its ``ratio`` nearest controls, which others may use too.

    Parameters
    ----------
    line : Line
        Treated units and controls.
    ratio : int
        Controls wanted for each treated unit.
    ties : {"all", "first"}
        ``all`` keeps every control as near as the last one chosen (Abadie and Imbens 2006); ``first`` keeps exactly
        ``ratio``, the left one before the right one at equal distance.
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
    order = np.argsort(line.graded(distance), axis=1, kind="stable")[:, :ratio]
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
    return Pairs(line.treated[row], line.control[picked], gap, n_ties)


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
        elif (pair := search.nearest(t)) is not None:
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
    _stand: list[tuple[int, int, int, float]] = field(init=False)

    def __post_init__(self) -> None:
        """Take numbers that are read one by one out of NumPy, where each reading would make an object."""
        line = self.line
        ends = line.place.tolist(), line.low.tolist(), line.high.tolist()
        self._stand = list(zip(*ends, line.treated_score.tolist(), strict=True))

    def nearest(self, t: int) -> tuple[int, float] | None:
        """Return the index and the distance of the nearest free control, None beyond the caliper."""
        left, right = self._sides(t)
        near = left[1] <= min(right[1] + self.line.tie, self.caliper)
        control = left if near else right
        return control if control[1] <= self.caliper and control[1] < np.inf else None

    def take(self, t: int, control: int) -> None:
        """Remove a control from the line, and note whether another one was as near."""
        distance = abs(self._stand[t][3] - self.line.control_score.item(control))
        self.taken.add(control)
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
