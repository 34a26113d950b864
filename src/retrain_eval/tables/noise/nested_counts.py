"""Whole numbers nearest to changed nested counts, and how the variance of the changes reaches the steps between them.

Nested sets, such as those still at risk after each duration, have changed counts that need not decrease. The nearest
non-increasing sequence does (isotonic regression), without the bias that a running minimum has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import optimize, sparse

from retrain_eval.common.arrays import Floats, Ints

Row = Mapping[int, float]  # a sum of changes of published counts: number of the count → factor
_ROUNDS, _CLOSE = 500, 1e-6


def survivors(first: int, changed: Ints, never: int = 0, least: int = 0) -> Ints:
    """Return non-increasing counts nearest to the changed counts of nested sets, none above that of the whole.

    Parameters
    ----------
    first : int
        The published count of the whole.
    changed : int ndarray, shape (M,)
        Changed counts of the nested sets, from the largest set to the smallest.
    never : int
        js: no step between two counts is from 1 to this.
    least : int
        No count is below this.

    Returns
    -------
    int ndarray, shape (M,)
        Nearest in squares to the isotonic regression of the changed counts.

    Examples
    --------
    >>> survivors(20, np.array([21, 15, 17, 9])).tolist()
    [20, 16, 16, 9]
    >>> survivors(20, np.array([19, 18, 17, 9]), never=2).tolist()
    [20, 17, 17, 9]
    """
    fitted = _decreasing(changed.astype(np.float64)).clip(least, first)
    if not never:
        return np.asarray(np.rint(fitted), dtype=np.int64)
    room = np.full(len(fitted), first)  # one step may take all that are left
    steps = _nearest_steps(first - fitted, room, never, top=first - least)
    return first - np.cumsum(steps, dtype=np.int64)


def _nearest_steps(sums: Floats, room: Ints, never: int, top: int, whole: bool = False) -> Ints:
    """Return whole numbers whose cumulative sums are nearest to rising ones, each 0 or above ``never``.

    Parameters
    ----------
    sums : ndarray, shape (M,)
        They rise by at most ``room`` each time.
    room : int ndarray, shape (M,)
        The largest value of each number: 0, or above ``never``.
    never : int
    top : int
        The largest sum.
    whole : bool
        Whether what is left of ``room`` must be 0 or above ``never`` too.

    Notes
    -----
    Dynamic programming over the sums within ``never`` + 1 of those given; one of them can always be reached, because
    steps of nothing or all keep the distance below ``never`` + 1/2.
    """
    near = np.arange(-never - 1, never + 3)
    value, cost, came = np.zeros(1, np.int64), np.zeros(1), list[Ints]()
    values = [value]
    for target, most in zip(sums.tolist(), room.tolist(), strict=True):
        after = int(np.floor(target)) + near
        after = after[(after >= 0) & (after <= top)]
        step = after[:, None] - value
        allowed = (step == 0) | ((step > never) & (step <= most))
        if whole:
            allowed &= (step == most) | (step < most - never)
        total = np.where(allowed, cost, np.inf)
        came.append(total.argmin(axis=1))
        cost = total.min(axis=1) + (after - target) ** 2
        value = after
        values.append(value)
    place, found = int(cost.argmin()), np.zeros(len(room), np.int64)
    for turn in range(len(room) - 1, -1, -1):
        before = int(came[turn][place])
        found[turn] = values[turn + 1][place] - values[turn][before]
        place = before
    return found


def events_within(changed: Ints, ending: Ints, never: int = 0) -> Ints:
    """Return how many of those who end at each step end by one cause, nearest to changed nested counts.

    Parameters
    ----------
    changed : int ndarray, shape (M,)
        Changed numbers of those who end by the cause at each step or later.
    ending : int ndarray, shape (M,)
        Numbers of those who end at each step by any cause: 0, or above ``never``.
    never : int
        js: neither those who end by the cause nor the others are from 1 to this.

    Returns
    -------
    int ndarray, shape (M,)
        Each from 0 to ``ending``; their sums from each step on are the nearest to ``changed`` in squares, rounded.

    Notes
    -----
    Both the sums by the cause and those by the others are non-increasing: two cones, onto which Dykstra's algorithm
    projects in turn (Boyle and Dykstra 1986).

    Examples
    --------
    >>> events_within(np.array([9, 10, 2]), np.array([3, 9, 4])).tolist()
    [0, 8, 2]
    >>> events_within(np.array([9, 10, 2]), np.array([3, 9, 4]), never=2).tolist()
    [0, 9, 0]
    """
    later = ending[::-1].cumsum()[::-1].astype(np.float64)
    value, own, others = changed.astype(np.float64), np.zeros(len(changed)), np.zeros(len(changed))
    for _ in range(_ROUNDS):
        first = _decreasing(value + own).clip(0)
        own += value - first
        second = later - _decreasing(later - first - others).clip(0)
        others += first - second
        moved, value = np.abs(second - value).max(), second
        if moved < _CLOSE:
            break
    if never:
        return _nearest_steps(value[::-1], ending[::-1], never, top=int(ending.sum()), whole=True)[::-1]
    found, after = np.zeros(len(changed), np.int64), 0
    for step in range(len(changed) - 1, -1, -1):
        found[step] = min(max(int(np.rint(value[step])) - after, 0), int(ending[step]))
        after += int(found[step])
    return found


def _decreasing(values: Floats) -> Floats:
    fitted: Floats = optimize.isotonic_regression(values, increasing=False).x
    return fitted


def rows_of_survivors(first: int, counts: Ints, start: int) -> list[Row]:
    """Return the changes in the steps between nested counts; counts that are equal share one change.

    Parameters
    ----------
    first : int
        The published count of the whole.
    counts : int ndarray, shape (M,)
        As `survivors` returns them; the last step has none after it.
    start : int
        Number of the count of the whole; those of ``counts`` follow.

    Returns
    -------
    list of mapping, length M + 1
    """
    before, last, rows = {start: 1.0}, first, []
    for number, count in enumerate(counts.tolist(), start + 1):
        now = before if count == last else {number: 1.0}
        rows.append(less(before, now))
        before, last = now, count
    return [*rows, before]


def rows_within(found: Ints, ending: Ints, rows: Sequence[Row], start: int) -> list[Row]:
    """Return the changes in those who end by one cause, where ``rows`` are those in all who end at each step."""
    after: Row = {}
    own: list[Row] = []
    for step in range(len(found) - 1, -1, -1):
        now: Row = {start + step: 1.0}
        if found[step] == 0:
            now = after
        elif found[step] == ending[step]:
            now = less(after, {place: -factor for place, factor in rows[step].items()})
        own.insert(0, less(now, after))
        after = now
    return own


def less(one: Row, other: Row) -> dict[int, float]:
    """Return the difference of two sums of changes."""
    both = {place: one.get(place, 0.0) - other.get(place, 0.0) for place in {**one, **other}}
    return {place: factor for place, factor in both.items() if factor}


def matrix_of(rows: Sequence[Row], size: int) -> sparse.csr_array:
    """Return rows as a sparse matrix, shape (rows, size)."""
    row = np.repeat(np.arange(len(rows)), [len(of) for of in rows])
    place = np.array([place for of in rows for place in sorted(of)], dtype=np.int64)
    factor = np.array([of[place] for of in rows for place in sorted(of)], dtype=np.float64)
    return sparse.csr_array((factor, (row, place)), shape=(len(rows), size))
