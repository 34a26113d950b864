"""Units sorted by their score, with the controls separate: where nearest-neighbour matching searches.

On an estimated linear predictor, people of ages 29 and 31 are equally far from one of 30, but not to the last bit of
a computer's arithmetic. There distances count as equal within `Line.tie`, so that rounding does not choose pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.shown import summarised

_TIE = 1e-10  # of the range of an estimated linear predictor, whose coefficients have 12 digits


@summarised
@dataclass(frozen=True)
class Line:
    """Controls in a row, where each treated unit belongs among them, and all units in one sequence.

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
    positions : callable
        Returns the positions of the treated units and of the controls in the sequence of all units, sorted by
        (score, number) whatever their arm and stratum: steps between two units are counted there. Many samples have no
        tie that needs them, so they are computed when first asked for.
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
    positions: Callable[[], tuple[Ints, Ints]]
    tie: float = 0.0

    @classmethod
    def build(cls, score: Floats, is_treated: Bools, stratum: Ints, tie: float = 0.0) -> Line:
        """Sort all units once; the rest follows from counting the controls before each treated unit."""
        order = sort_within(score, stratum)
        chooses = is_treated[order]
        at = np.flatnonzero(chooses)
        by_number = np.argsort(order[at])
        treated, control = np.flatnonzero(is_treated), order[~chooses]
        before = at - np.arange(len(at))  # controls before each, in the order of the row
        mine, n_strata = stratum[treated], int(stratum.max(initial=-1)) + 1
        size = np.bincount(stratum, minlength=n_strata) - np.bincount(mine, minlength=n_strata)
        ends = np.cumsum(size)

        @cache
        def positions() -> tuple[Ints, Ints]:
            if n_strata <= 1:
                return at[by_number], np.flatnonzero(~chooses)
            place = sequence(score)
            return place[treated], place[control]

        return cls(
            treated=treated,
            treated_score=score[treated],
            control=control,
            control_score=score[control],
            place=before[by_number],
            low=(ends - size)[mine],
            high=ends[mine],
            positions=positions,
            tie=tie,
        )

    def graded(self, distance: Floats) -> Floats:
        """Return distances rounded such that equal ones are equal to the last bit."""
        return np.rint(distance / self.tie) if self.tie else distance


def tie_width(linear: Floats) -> float:
    """Return by how much distances on an estimated linear predictor may differ and yet be equal."""
    return _TIE * float(np.ptp(linear))


def sequence(score: Floats) -> Ints:
    """Return the position of each unit in the sequence of all units by (score, number).

    Examples
    --------
    >>> sequence(np.array([0.5, 0.2, 0.5])).tolist()
    [1, 0, 2]
    """
    order = _ascending(score)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place


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
