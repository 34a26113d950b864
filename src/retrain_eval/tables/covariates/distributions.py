"""Distribution functions of covariates at a few points: enough to compare them, too few to identify anyone.

The points are round numbers, half a standard deviation apart or less, and the values at which strata are cut. They
depend on the data only through a mean and a standard deviation of many people, never on the value of one person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.shown import summarised

MOST = 40  # points
_REACH = 3  # standard deviations from the mean


@summarised
@dataclass(frozen=True)
class Points:
    """Points at which distribution functions are computed.

    Attributes
    ----------
    edges : ndarray, shape (K,)
        Ascending; the function at each is the weight below it.
    """

    edges: Floats

    @classmethod
    def none(cls) -> Points:
        """Return no points, for covariates with two values."""
        return cls(np.empty(0))

    @classmethod
    def choose(cls, x: Floats, arms: Sequence[Floats | Ints], cuts: Sequence[float] = ()) -> Points:
        """Choose points for a covariate: a grid over three standard deviations about the mean of each arm.

        Where no value is below zero and many are near it, there are finer points below the first step.

        Parameters
        ----------
        x : ndarray, shape (C,)
            Value of each cell.
        arms : sequence of ndarray, shape (C,)
            People of each arm in each cell. The grid is as fine as the arm that varies least needs it.
        cuts : sequence of float
            Values at which strata are cut: one level below, another from the value on.

        Examples
        --------
        >>> age = np.arange(20.0, 60.0)
        >>> Points.choose(age, [np.ones(40)], [25, 48]).edges.tolist()
        [25.0, 30.0, 35.0, 40.0, 45.0, 48.0, 50.0, 55.0]
        """
        means = [float(np.average(x, weights=people)) for people in arms]
        spreads = [
            float(np.sqrt(np.average((x - mean) ** 2, weights=people)))
            for mean, people in zip(means, arms, strict=True)
        ]
        low, high = (min(m - _REACH * s for m, s in zip(means, spreads, strict=True)),
                     max(m + _REACH * s for m, s in zip(means, spreads, strict=True)))  # fmt: skip
        varying = [spread for spread in spreads if spread > 1e-12 * max(map(abs, [low, high, 1e-300]))]
        held = x[np.sum(arms, axis=0) > 0]
        edges = np.array(sorted(cuts), dtype=float)
        whole = is_whole(held)
        if varying:
            step = _round(min(varying) / 2, whole=whole)
            while (high - low) / step > MOST:
                step = _round(2.5 * step, whole=whole)
            steps = np.arange(np.floor(low / step), np.ceil(high / step) + 1)
            grid = [*(steps * step), *(_near_zero(step) if low < 0 <= held.min() else ())]
            edges = np.unique([*edges, *(float(f"{value:.12g}") for value in grid if not whole or value == int(value))])
        return cls(edges[(edges > held.min()) & (edges <= held.max())])

    def below(self, x: Floats, amount: Floats | Ints) -> list[float]:
        """Return the weight below each edge."""
        place = np.searchsorted(self.edges, x, side="right")
        sums = np.bincount(place, weights=amount, minlength=len(self.edges) + 1)
        return [float(value) for value in np.cumsum(sums)[: len(self.edges)]]


def _near_zero(step: float) -> list[float]:
    """Return finer points below one step: a grid of equal steps would not tell small amounts apart."""
    power = 10.0 ** np.floor(np.log10(step) - 2)
    return [power * 10**k * digit for k in range(4) for digit in (1, 2, 5) if power * 10**k * digit < step]


def is_whole(x: Floats) -> bool:
    """Return whether all values are whole numbers."""
    return bool((x == np.floor(x)).all())


def _round(size: float, *, whole: bool) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is at most ``size``; at least 1 if values are whole."""
    power = 10.0 ** np.floor(np.log10(size))
    found = max(power * digit for digit in (1, 2, 5) if digit == 1 or power * digit <= size)
    return max(float(f"{found:.12g}"), 1.0) if whole else float(f"{found:.12g}")


def middles(edges: Floats, *, whole: bool) -> Floats:
    """Return the value that represents each of the K + 1 bands between, below and above K edges.

    It is the middle of the band, of whole numbers the mean of those in it; the first and the last band are taken to be
    as wide as their neighbours.

    Examples
    --------
    >>> middles(np.array([20.0, 30.0, 35.0]), whole=True).tolist()
    [14.5, 24.5, 32.0, 37.0]
    """
    width = np.diff(edges) if len(edges) > 1 else np.array([max(abs(float(edges[0])), 1.0)])
    ends = np.concatenate([[edges[0] - width[0]], edges, [edges[-1] + width[-1]]])
    found: Floats = (ends[:-1] + ends[1:]) / 2 - (0.5 if whole else 0.0)
    return found


def ecdf_distances(treated: Floats, control: Floats) -> tuple[float, float]:
    """Return the mean and the largest distance between two distribution functions at their common points.

    Examples
    --------
    >>> ecdf_distances(np.array([0.25, 0.75]), np.array([0.5, 0.75]))
    (0.125, 0.25)
    """
    gap = np.abs(treated - control)
    return (float(gap.mean()), float(gap.max())) if len(gap) else (float("nan"), float("nan"))
