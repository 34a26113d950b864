r"""The hazard of entering training: a logit on person-periods that needs no row per person-period.

Let ``d_1 < … < d_J`` be the elapsed durations at which at least one person enters. With ``x`` fixed at the beginning of
unemployment, ``logit P(enters at d_j | still unemployed and untreated) = α_j + xᵀβ`` (Cox 1972, section 6;
Allison 1982, equation 5). A person is at risk at the first few of the ``d_j``, so the likelihood and its derivatives
only need sums over these per person: ``Σ_j p_j`` and ``Σ_j p_j (1 − p_j)``.

References
----------
Cox, D. (1972), Journal of the Royal Statistical Society B 34, 187-220.
Allison, P. (1982), Sociological Methodology 13, 61-98.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.errors import DesignError
from retrain_eval.common.shown import summarised
from retrain_eval.sample.models.design import Design
from retrain_eval.sample.models.formula import TreatmentFormula
from retrain_eval.sample.models.propensity import (
    SIGNIFICANT_DIGITS,
    START_ON_FEWER,
    THIN,
    logistic,
    maximum,
    separation,
    unstandardise,
)


@summarised
@dataclass(frozen=True)
class AtRisk:
    """How long people with the same covariates were at risk of entering.

    Attributes
    ----------
    cell : int ndarray, shape (R,)
        Row of the covariates.
    periods : int ndarray, shape (R,)
        Number of durations with entries at which they were at risk, counted from the first.
    enters : bool ndarray, shape (R,)
        Enters at the last of them.
    count : ndarray, shape (R,)
        People.
    """

    cell: Ints
    periods: Ints
    enters: Bools
    count: Floats

    @classmethod
    def build(cls, cell: Ints, periods: Ints, enters: Bools, n_cells: int) -> AtRisk:
        """Group equal people, if cells have several, and drop those who were never at risk."""
        here = periods > 0
        if n_cells == len(cell):
            return cls(cell[here], periods[here], enters[here], np.ones(int(here.sum())))
        width = int(periods.max(initial=0)) + 1
        key, count = np.unique((cell[here] * width + periods[here]) * 2 + enters[here], return_counts=True)
        return cls(key // 2 // width, key // 2 % width, key % 2 == 1, count.astype(float))

    def rows(self, rows: Ints, weight: Floats) -> AtRisk:
        """Return some rows, weighted."""
        return AtRisk(self.cell[rows], self.periods[rows], self.enters[rows], self.count[rows] * weight)


@summarised
@dataclass(frozen=True)
class EntryHazard:
    """A fitted hazard of entry.

    Attributes
    ----------
    coefficients : dict
        By column of the design.
    baseline : ndarray, shape (J,)
        α by duration; infinite if all or none of those at risk enter.
    aliased : tuple of str
    linear : ndarray, shape (C,)
        xᵀβ per cell: at each duration the hazard increases with it.
    iterations : int
    mean_score : float
    """

    coefficients: dict[str, float]
    baseline: Floats
    aliased: tuple[str, ...]
    linear: Floats
    iterations: int
    mean_score: float


def fit_entry_hazard(formula: TreatmentFormula, cells: pd.DataFrame, people: AtRisk) -> EntryHazard:
    """Fit the hazard of entry by maximum likelihood.

    Parameters
    ----------
    formula : TreatmentFormula
        Terms besides the duration's own intercepts.
    cells : DataFrame, C rows
        Covariates.
    people : AtRisk

    Raises
    ------
    DesignError
        If covariates separate those who enter from those who do not, so that no maximum exists; the covariate is named.
    InputError
        If a term of the formula is not finite.
    """
    total = np.bincount(people.cell, weights=people.count, minlength=len(cells)).astype(float)
    full = Design.build(formula, cells)
    full = Design(("(constant)", *full.names), (np.ones(full.n, dtype=np.uint8), *full.columns), full.n)
    kept = full.independent(total)  # the constant comes first: what it determines, the intercepts α determine as well
    centre, scale = full.keep(kept).standardise(total)
    design, centre, scale = full.keep(kept[1:]), centre[1:], scale[1:]
    likelihood = _Likelihood.build(design, centre, scale, people)
    start = likelihood.start()
    if len(people.cell) >= START_ON_FEWER:
        rows = np.flatnonzero(people.enters | (np.arange(len(people.cell)) % THIN == 0))
        fewer = people.rows(rows, np.where(people.enters[rows], 1.0, float(THIN)))
        thin = _Likelihood.build(design, centre, scale, fewer)
        if np.array_equal(thin.open_, likelihood.open_):
            first = maximum(thin.derivatives, start, float(fewer.count.sum()))
            start = start if first is None else first[0]
    fit = maximum(likelihood.derivatives, start, float(people.count.sum()))
    if fit is None:
        entered = np.bincount(people.cell[people.enters], minlength=len(cells)) > 0
        passed = np.bincount(people.cell, weights=people.periods - people.enters, minlength=len(cells)) > 0
        raise DesignError(separation(formula, cells, entered, passed))
    beta, iterations, mean_score = fit
    n_alpha = len(beta) - len(scale)
    raw = unstandardise(beta[n_alpha:], centre, scale, None)
    baseline = np.where(likelihood.entering > 0, np.inf, -np.inf)
    baseline[likelihood.open_] = beta[:n_alpha] - float((beta[n_alpha:] * centre / scale).sum())
    return EntryHazard(
        coefficients=dict(zip(design.names, raw.tolist(), strict=True)),
        baseline=np.array([float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in baseline]),
        aliased=tuple(name for j, name in enumerate(full.names) if j not in kept and name != "Intercept"),
        linear=design.linear(raw),
        iterations=iterations,
        mean_score=mean_score,
    )


@summarised
@dataclass(frozen=True)
class _Likelihood:
    design: Design
    centre: Floats
    scale: Floats
    people: AtRisk
    n_durations: int
    open_: Ints  # durations at which some enter and some do not; the others carry no information on β
    at_risk: Floats
    entering: Floats

    @classmethod
    def build(cls, design: Design, centre: Floats, scale: Floats, people: AtRisk) -> _Likelihood:
        n = int(people.periods.max(initial=0))
        last, enters = people.periods, people.enters
        entering = np.bincount(last[enters] - 1, weights=people.count[enters], minlength=n).astype(float)
        leaving = np.bincount(last, weights=people.count, minlength=n + 1).astype(float)
        at_risk = np.cumsum(leaving[::-1])[::-1][1:]
        return cls(
            design, centre, scale, people, n, np.flatnonzero((entering > 0) & (entering < at_risk)), at_risk, entering
        )

    def start(self) -> Floats:
        """Return the hazards by duration alone, and no effect of covariates."""
        share = self.entering[self.open_] / self.at_risk[self.open_]
        return np.concatenate([np.log(share / (1 - share)), np.zeros(len(self.scale))])

    def derivatives(self, theta: Floats) -> tuple[float, Floats, Floats]:
        """Return log-likelihood, gradient and information; people of a block stand by the time they were at risk."""
        n_alpha, p = len(self.open_), len(self.scale)
        alpha, beta = theta[:n_alpha], theta[n_alpha:]
        entering = self.entering[self.open_]
        value, score = float((entering * alpha).sum()), np.zeros(n_alpha + p)
        score[:n_alpha] = entering
        information = np.zeros((n_alpha + p, n_alpha + p))
        people = self.people
        for block in Design((), (), len(people.cell)).blocks():
            longest_first = np.argsort(self.n_durations - people.periods[block], kind="stable") + block.start
            periods, count = people.periods[longest_first], people.count[longest_first]
            cells = people.cell[longest_first]
            z = np.array([column[cells] for column in self.design.columns], dtype=float).reshape(p, len(cells))
            z = (z - self.centre[:, None]) / self.scale[:, None]
            base = np.einsum("ji,j->i", z, beta)
            ends = np.searchsorted(-periods, -self.open_, side="left")  # people with more periods than this index
            enters = np.flatnonzero(people.enters[longest_first] & np.isin(periods - 1, self.open_))
            value += float((count[enters] * base[enters]).sum())
            score[n_alpha:] += np.einsum("ji,i->j", z[:, enters], count[enters])
            expected, variance = np.zeros(len(cells)), np.zeros(len(cells))
            for a, end in enumerate(ends.tolist()):
                probability, softplus = logistic(base[:end] + alpha[a])
                weight = count[:end] * probability * (1 - probability)
                value -= float((count[:end] * softplus).sum())
                score[a] -= float((count[:end] * probability).sum())
                expected[:end] += probability
                variance[:end] += weight
                information[a, a] += weight.sum()
                information[a, n_alpha:] += np.einsum("ji,i->j", z[:, :end], weight)
            score[n_alpha:] -= np.einsum("ji,i->j", z, count * expected)
            information[n_alpha:, n_alpha:] += np.einsum("ji,ki->jk", z, z * variance)
        information[n_alpha:, :n_alpha] = information[:n_alpha, n_alpha:].T
        return value, score, information
