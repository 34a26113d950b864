r"""The partial likelihood of Cox's model on cells of spells, with Efron's or Breslow's treatment of ties.

At an event time of a stratum, ``d`` spells with mean weight ``m`` end. With ``r = exp(xᵀβ)``, the sums ``S₀ = Σ w r``
and ``S₁ = Σ w r x`` over the risk set, and ``E₀`` and ``E₁`` over the events, Efron (1977) removes the tied deaths one
after the other, the k-th, k = 0, …, d − 1, after a share ``f = k/d`` of them is gone:

    log L = Σ_ended w xᵀβ − Σ_t m Σ_k log(S₀ − f E₀)

Breslow (1974) sets f = 0. Weights enter through their mean and deaths through their number (Therneau and Grambsch 2000,
section 3.3); hence a cell must keep both its count and its weight. Sums over k of ``f^a/(S₀ − f E₀)^b`` are scalars per
event time, so the cost of a step grows with the numbers of cells and deaths, not with deaths times covariates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.shown import summarised

TIES = ("efron", "breslow")
_CHUNK = 1_000_000


@summarised
@dataclass(frozen=True)
class RiskCells:
    """Cells of identical spells, aligned with the event times of their strata.

    Attributes
    ----------
    x : ndarray, shape (C, p)
        Covariates, preferably centred.
    n, weight : ndarray, shape (C,)
        Number of spells and sum of weights.
    event : bool ndarray, shape (C,)
        Whether the spells end by the cause of interest.
    first, stop : int ndarray, shape (C,)
        The cell is at risk at event times ``first`` to ``stop − 1``; one that ends does so at the last of them.
    start : int ndarray, shape (S + 1,)
        First event time of each stratum, and the end of the last.
    time : ndarray, shape (T,)
        The event times, stratum after stratum.
    efron : bool
    """

    x: Floats
    n: Floats
    weight: Floats
    event: Bools
    first: Ints
    stop: Ints
    start: Ints
    time: Floats
    efron: bool

    @classmethod
    def place(
        cls,
        x: Floats,
        n: Floats,
        weight: Floats,
        event: Bools,
        entry: Floats,
        duration: Floats,
        stratum: Ints,
        efron: bool,
    ) -> RiskCells:
        """Find the event times of each stratum, and those at which each cell is at risk: entry < t ≤ duration."""
        times, rank = np.unique(duration, return_inverse=True)
        size = len(times) + 1
        keys = np.unique(stratum[event] * size + rank[event])
        late = np.searchsorted(times, entry, side="right")
        return cls(
            x,
            n,
            weight,
            event,
            np.searchsorted(keys, stratum * size + late),
            np.searchsorted(keys, stratum * size + rank, side="right"),
            np.searchsorted(keys, np.arange(stratum.max(initial=0) + 2) * size),
            times[keys % size],
            efron,
        )

    @cached_property
    def deaths(self) -> Floats:
        """Number of spells that end at each event time, shape (T,)."""
        return self._ending(self.n)

    @cached_property
    def mean_weight(self) -> Floats:
        """Their mean weight, shape (T,)."""
        return self._ending(self.weight) / self.deaths

    def at_risk(self, values: Floats) -> Floats:
        """Sum over the risk set of each event time, shape (T,) or (T, p)."""
        leaving, entering = self._sums(self.stop - 1, values), self._sums(self.first, values)
        total = np.empty_like(leaving)
        for low, high in zip(self.start[:-1], self.start[1:], strict=True):
            # summed backwards, so that the last risk sets, which matter most, are sums of few terms
            total[low:high] = leaving[low:high][::-1].cumsum(axis=0)[::-1]
            total[low : high - 1] -= entering[low + 1 : high][::-1].cumsum(axis=0)[::-1]
        return total

    def _ending(self, values: Floats) -> Floats:
        return _bin(self.stop[self.event] - 1, values[self.event], len(self.time))

    def _sums(self, place: Ints, values: Floats) -> Floats:
        ever = self.stop > self.first
        return _bin(place[ever], values[ever], len(self.time))

    def at(self, beta: Floats) -> Likelihood:
        """Return the partial likelihood at ``beta``."""
        return Likelihood.of(self, beta)


@summarised
@dataclass(frozen=True)
class Likelihood:
    """The partial likelihood at one value of the coefficients.

    Attributes
    ----------
    log : float
    score : ndarray, shape (p,)
    """

    cells: RiskCells
    relative: Floats
    s1: Floats
    e1: Floats
    ties: _TieSums
    log: float
    score: Floats

    @classmethod
    def of(cls, cells: RiskCells, beta: Floats) -> Likelihood:
        """Evaluate the likelihood, with hazards relative to the largest one to avoid overflow."""
        linear = cells.x @ beta
        linear -= linear.max(initial=-np.inf)
        relative = np.exp(linear)
        hazard = cells.weight * relative
        s0, s1 = cells.at_risk(hazard), cells.at_risk(hazard[:, None] * cells.x)
        e0, e1 = cells._ending(hazard), cells._ending(hazard[:, None] * cells.x)
        ties = _TieSums.of(s0, e0 if cells.efron else np.zeros_like(e0), cells.deaths)
        ended, m = cells.weight * cells.event, cells.mean_weight
        return cls(
            cells,
            relative,
            s1,
            e1,
            ties,
            float(ended @ linear - m @ ties.log),
            ended @ cells.x - m @ (s1 * ties.one[0][:, None] - e1 * ties.one[1][:, None]),
        )

    def information(self, scale: Floats | None = None) -> Floats:
        """Return Σ_t ``scale``(t) × the information at t, shape (p, p); without ``scale``, minus the Hessian."""
        cells, ties, s1, e1 = self.cells, self.ties, self.s1, self.e1
        m = cells.mean_weight if scale is None else cells.mean_weight * scale
        # Σ_t A_t S₂(t) = Σ_cells w r x xᵀ Σ_{t at risk} A_t: summing over time first avoids a p × p matrix per time
        exposure = self._exposure(m * ties.one[0])
        own = np.where(cells.event, (m * ties.one[1])[cells.stop - 1], 0.0)
        square = cells.x.T @ ((cells.weight * self.relative * (exposure - own))[:, None] * cells.x)
        cross = s1.T @ ((m * ties.two[1])[:, None] * e1)
        outer = s1.T @ ((m * ties.two[0])[:, None] * s1) + e1.T @ ((m * ties.two[2])[:, None] * e1) - cross - cross.T
        found: Floats = square - outer
        return (found + found.T) / 2

    def score_over(self, scale: Floats) -> Floats:
        """Return Σ_t ``scale``(t) × the score at t, shape (p,)."""
        cells, ties = self.cells, self.ties
        m = cells.mean_weight * scale
        ended = np.where(cells.event, cells.weight * scale[cells.stop - 1], 0.0)
        expected: Floats = m @ (self.s1 * ties.one[0][:, None] - self.e1 * ties.one[1][:, None])
        return ended @ cells.x - expected

    def influence(self, scale: Floats | None = None) -> Floats:
        """Return the score of a unit of weight in each cell, shape (C, p): the score residual.

        A tied death is at risk for the share 1 − f of the k-th step, and its observed part is the mean over k
        (Therneau and Grambsch 2000, section 4.3). ``scale`` weighs the event times.
        """
        cells, ties, s1, e1 = self.cells, self.ties, self.s1, self.e1
        g = np.ones(len(cells.time)) if scale is None else scale
        m = (cells.mean_weight * g)[:, None]
        one, two = ([part[:, None] for part in parts] for parts in (ties.one, ties.two))
        mean = (s1 * one[0] - e1 * one[1]) / cells.deaths[:, None]
        found = self._exposure(m * (s1 * two[0] - e1 * two[1])) - self._exposure(m * one[0]) * cells.x
        found *= self.relative[:, None]
        last, x = cells.stop[cells.event] - 1, cells.x[cells.event]
        spared = (m * one[1])[last] * x - (m * (s1 * two[1] - e1 * two[2]))[last]
        found[cells.event] += self.relative[cells.event, None] * spared + g[last, None] * (x - mean[last])
        return found

    def _exposure(self, values: Floats) -> Floats:
        """Sum ``values`` over the event times at which each cell is at risk."""
        sums = np.concatenate([np.zeros_like(values[:1]), values.cumsum(axis=0)])
        found: Floats = sums[self.cells.stop] - sums[self.cells.first]
        return found


@summarised
@dataclass(frozen=True)
class _TieSums:
    """Sums over the deaths k of an event time, each of shape (T,), with ``q = 1/(S₀ − f E₀)``.

    ``one`` holds Σ q and Σ f q; ``two`` Σ q², Σ f q² and Σ f² q²; ``log`` is Σ log(S₀ − f E₀).
    """

    one: tuple[Floats, Floats]
    two: tuple[Floats, Floats, Floats]
    log: Floats

    @classmethod
    def of(cls, s0: Floats, e0: Floats, deaths: Floats) -> _TieSums:
        q = 1 / s0
        if not e0.any():
            return cls((deaths * q, 0 * q), (deaths * q * q, 0 * q, 0 * q), deaths * np.log(s0))
        sums = np.stack([q, 0 * q, q * q, 0 * q, 0 * q, np.log(s0)])
        tied = np.flatnonzero(deaths > 1)
        count = deaths[tied].astype(np.int64)
        # in blocks, so that memory use does not depend on the number of deaths
        for block in np.split(tied, np.flatnonzero(np.diff(np.cumsum(count) // _CHUNK)) + 1):
            if not len(block):
                continue
            d = deaths[block].astype(np.int64)
            begin = np.cumsum(d) - d
            f = (np.arange(d.sum()) - np.repeat(begin, d)) / np.repeat(d, d)
            left = np.repeat(s0[block], d) - f * np.repeat(e0[block], d)
            q = 1 / left
            fq = f * q
            parts = (q, fq, q * q, fq * q, fq * fq, np.log(left))
            sums[:, block] = [np.add.reduceat(part, begin) for part in parts]
        return cls((sums[0], sums[1]), (sums[2], sums[3], sums[4]), sums[5])


def _bin(place: Ints, values: Floats, size: int) -> Floats:
    if values.ndim == 1:
        return np.bincount(place, weights=values, minlength=size).astype(float)
    columns = [np.bincount(place, weights=column, minlength=size) for column in values.T]
    return np.stack(columns, axis=1) if columns else np.zeros((size, 0))
