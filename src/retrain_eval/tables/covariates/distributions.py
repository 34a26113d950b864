"""Distribution functions of covariates at a few points: enough to compare them, too few to identify anyone.

The points are near the deciles of the matched treated, and at values that define another covariate or a stratum. People
between such a cut and a decile could be counted by subtraction, so a release checks both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.shown import summarised

DECILES = np.arange(1, 10) / 10
_ENOUGH = 100_000  # cells in which distinct values are counted; the others could only add some
_LISTED = 50  # with more distinct values, one of them is assumed to be rare


@summarised
@dataclass(frozen=True)
class Points:
    """Points at which distribution functions are computed.

    Attributes
    ----------
    edges : ndarray, shape (K,)
        Ascending; the function at each is the weight below it. They are round numbers, because a decile itself is the
        value of one person.
    forced : bool ndarray, shape (K,)
        Whether the count below is known from elsewhere: from a stratum or from another covariate.
    """

    edges: Floats
    forced: Bools

    @classmethod
    def none(cls) -> Points:
        """Return no points, for covariates with two values."""
        return cls(np.empty(0), np.empty(0, dtype=np.bool_))

    @classmethod
    def choose(cls, x: Floats, treated: Floats, cuts: Sequence[float], levels: Iterable[Bools]) -> Points:
        """Choose points for a covariate.

        Parameters
        ----------
        x : ndarray, shape (C,)
            Value of each cell with people.
        treated : ndarray, shape (C,)
            Weight of the matched treated.
        cuts : sequence of float
            Values at which strata are cut: one level below, another from the value on.
        levels : iterable of bool ndarray, shape (C,)
            Levels of other covariates. A level that consists of exactly a range of ``x`` adds the ends of the range.

        Examples
        --------
        >>> age = np.arange(20.0, 60.0)
        >>> Points.choose(age, np.ones(40), [25], [age >= 50]).edges.tolist()
        [24.0, 25.0, 28.0, 32.0, 36.0, 40.0, 44.0, 48.0, 50.0, 52.0, 56.0]
        """
        order = np.argsort(x, kind="stable")
        share = np.cumsum(treated[order]) / treated.sum()
        # rounding may put a share just below a decile
        at = np.searchsorted(share, DECILES - 1e-9)
        deciles = x[order][np.minimum(at, len(x) - 1)]
        ends = [*cuts, *(end for level in levels for end in _ends(x, level))]
        edges = np.unique([*_beyond(deciles, x), *ends])
        edges = edges[(edges > x.min()) & (edges <= x.max())]
        return cls(edges, np.isin(edges, ends))

    def below(self, x: Floats, amount: Floats | Ints) -> list[float]:
        """Return the weight below each edge."""
        place = np.searchsorted(self.edges, x, side="right")
        sums = np.bincount(place, weights=amount, minlength=len(self.edges) + 1)
        return [float(value) for value in np.cumsum(sums)[: len(self.edges)]]

    def values_below(self, x: Floats, people: Ints) -> list[int]:
        """Return a lower bound on the number of distinct values below each edge and, last, in total."""
        held = np.unique(x[people > 0][:_ENOUGH])
        return [*np.searchsorted(held, self.edges).tolist(), len(held)]


def rarest(x: Floats, people: Ints) -> int:
    """Return the smallest number of people who share a value; 1 if there are many values."""
    held = people > 0
    values = np.unique(x[held][:_ENOUGH])
    if len(values) > _LISTED:
        return 1
    values, place = np.unique(x[held], return_inverse=True)
    return int(np.bincount(place, weights=people[held]).min()) if len(values) else 0


def _beyond(values: Floats, x: Floats) -> Floats:
    """Return the next number with two significant digits beyond each value; whole numbers if all values are."""
    some = np.abs(x[x != 0])
    size = np.where(values == 0, np.median(some) if len(some) else 1.0, np.abs(values))
    size = np.minimum(size, max(float(np.ptp(x)), 1e-300))  # for years, only the digits that vary
    unit = 10.0 ** (np.floor(np.log10(size)) - 1)
    if (x == np.floor(x)).all():
        unit = np.maximum(unit, 1.0)
    return np.array([float(f"{value:.12g}") for value in (np.floor(values / unit) + 1) * unit])


def _ends(x: Floats, level: Bools) -> list[float]:
    """Return the ends of the range of values that a level consists of; empty if it is not a range."""
    if not level.any() or level.all():
        return []
    low, high = x[level].min(), x[level].max()
    others = x[~level]
    below, above = others[others < low], others[others > high]
    if len(below) + len(above) < len(others):
        return []
    found = [_roundest(below.max(), low)] if len(below) else []
    return [*found, *([_roundest(high, above.min())] if len(above) else [])]


def _roundest(low: float, high: float) -> float:
    """Return a number above ``low`` and at most ``high`` with as few digits as possible."""
    for digits in range(1, 17):
        value = float(f"{(low + high) / 2:.{digits}g}")
        if low < value <= high:
            return value
    return float(high)


def ecdf_distances(treated: Floats, control: Floats) -> tuple[float, float]:
    """Return the mean and the largest distance between two distribution functions at their common points.

    Examples
    --------
    >>> ecdf_distances(np.array([0.25, 0.75]), np.array([0.5, 0.75]))
    (0.125, 0.25)
    """
    gap = np.abs(treated - control)
    return (float(gap.mean()), float(gap.max())) if len(gap) else (float("nan"), float("nan"))
