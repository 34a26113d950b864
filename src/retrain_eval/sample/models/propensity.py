r"""Propensity scores: a logit on distinct covariate rows with counts.

With ``n_c`` units in cell ``c``, ``d_c`` of them treated, the log-likelihood is
``Σ_c d_c x_cᵀβ − n_c log(1 + exp(x_cᵀβ))``. Newton's method is run until the score
``Σ_c x_c (d_c − n_c p_c)`` vanishes and the last step was nil; coefficients are then rounded to 12 significant
digits, so that scores do not carry the noise of a processor and follow from the coefficients in the audit.

Sums run over blocks of rows, so that millions of distinct rows need no matrix of their own. There Newton's method
starts from the maximum for all treated rows and every `THIN`-th other one, which leaves a few passes over all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy.special import expit

from retrain_eval.common.arrays import Bools, Floats
from retrain_eval.common.errors import DesignError
from retrain_eval.common.numerics.newton import Derivatives, Step, maximise
from retrain_eval.common.numerics.separation import arms_by_level, ranges_apart
from retrain_eval.common.shown import summarised
from retrain_eval.sample.models.design import Design
from retrain_eval.sample.models.formula import TreatmentFormula
from retrain_eval.sample.units import Units

LINKS = ("logit", "linear.logit")
TOLERANCE = 1e-10  # of the mean score and of the last step, on standardised columns
MAX_ITERATIONS = 40
SIGNIFICANT_DIGITS = 12
_LARGEST_ERROR = 1e4  # standard error of a coefficient of a standardised column
THIN = 20
START_ON_FEWER = 400_000  # rows from which on a start from fewer rows pays


@summarised
@dataclass(frozen=True)
class Propensity:
    """A fitted logit.

    Attributes
    ----------
    coefficients : dict
        By column of the design.
    aliased : tuple of str
        Columns left out because earlier ones determine them (R prints NA for these).
    linear : ndarray, shape (C,)
        The linear predictor per cell, xᵀβ.
    iterations : int
        Newton steps over all rows.
    mean_score : float
        Largest |derivative of the log-likelihood| per unit at the solution, on standardised columns.
    """

    coefficients: dict[str, float]
    aliased: tuple[str, ...]
    linear: Floats
    iterations: int
    mean_score: float

    @property
    def score(self) -> Floats:
        """P(treated | covariates) per cell."""
        return np.asarray(expit(self.linear))


def fit_propensity(formula: TreatmentFormula, cells: pd.DataFrame, treated: Floats, total: Floats) -> Propensity:
    """Fit P(treated | covariates) by maximum likelihood.

    Parameters
    ----------
    formula : TreatmentFormula
        Terms of the logit.
    cells : DataFrame, C rows
        Distinct rows of covariates.
    treated, total : ndarray, shape (C,)
        Treated units and all units of each cell.

    Raises
    ------
    DesignError
        If covariates separate treated from controls, so that no maximum exists; the covariate is named.
    InputError
        If a term of the formula is not finite.

    References
    ----------
    McCullagh, P. and Nelder, J. (1989), Generalized Linear Models, section 4.4.
    Albert, A. and Anderson, J. (1984), Biometrika 71, 1-10 (when the maximum does not exist).
    """
    full = Design.build(formula, cells)
    kept = full.independent(total)
    design = full.keep(kept)
    centre, scale = design.standardise(total)
    start = np.zeros(len(kept))
    if design.n >= START_ON_FEWER:
        start = _start(design, centre, scale, treated, total)
    fit = _maximise(design, centre, scale, treated, total, start)
    if fit is None:
        raise DesignError(separation(formula, cells, treated > 0, treated < total))
    beta, iterations, mean_score = fit
    raw = unstandardise(beta, centre, scale, design.constant())
    return Propensity(
        coefficients=dict(zip(design.names, raw.tolist(), strict=True)),
        aliased=tuple(name for j, name in enumerate(full.names) if j not in kept),
        linear=design.linear(raw),
        iterations=iterations,
        mean_score=mean_score,
    )


def unstandardise(beta: Floats, centre: Floats, scale: Floats, constant: int | None) -> Floats:
    """Return coefficients of the columns as they are, rounded to `SIGNIFICANT_DIGITS`."""
    raw = beta / scale
    if constant is not None:
        raw[constant] -= float((raw * centre).sum())
    return np.array([float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in raw])


def _start(design: Design, centre: Floats, scale: Floats, treated: Floats, total: Floats) -> Floats:
    """Fit all rows with a treated unit and every `THIN`-th of the others, in their order, with the weight of all."""
    others = np.flatnonzero(treated == 0)[::THIN]
    rows = np.sort(np.concatenate([np.flatnonzero(treated > 0), others]))
    weight = np.where(treated[rows] > 0, 1.0, float(THIN)) * total[rows]
    zero = np.zeros(len(scale))
    fit = _maximise(design.rows(rows), centre, scale, treated[rows], weight, zero)
    return zero if fit is None else fit[0]


def maximum(
    derivatives: Derivatives, start: Floats, n: float, limit: int = MAX_ITERATIONS
) -> tuple[Floats, int, float] | None:
    """Maximise a concave likelihood of standardised columns; None when it has no maximum.

    Parameters
    ----------
    derivatives : callable
        Log-likelihood, gradient and information at some coefficients.
    start : ndarray
    n : float
        Number of units, by which likelihood and gradient are judged.
    limit : int
        Steps tried at most; a step that overshoots is halved.

    Returns
    -------
    tuple of ndarray, int and float
        Coefficients, Newton steps, and the largest derivative per unit.
    """
    mean_score = np.inf

    def rule(score: Floats, information: Floats) -> Step:
        nonlocal mean_score
        move = np.asarray(np.linalg.solve(information, score), dtype=np.float64)
        mean_score, size = float(np.abs(score).max(initial=0.0)) / n, float(np.abs(move).max(initial=0.0))
        if mean_score > TOLERANCE or size > TOLERANCE:
            return Step(move, size)
        # where a maximum lies at infinity, the steps end when probabilities are 0 or 1 to the last bit
        if np.abs(np.diag(np.linalg.inv(information))).max(initial=0.0) > _LARGEST_ERROR**2:
            raise np.linalg.LinAlgError("the information vanishes")
        return Step(np.zeros_like(move), size, last=True)

    try:
        reached = maximise(derivatives, start, rule, rounding=1e-9 * n, limit=limit)
    except np.linalg.LinAlgError:
        return None
    return None if reached is None else (*reached, mean_score)


def _maximise(
    design: Design, centre: Floats, scale: Floats, treated: Floats, total: Floats, start: Floats
) -> tuple[Floats, int, float] | None:
    def derivatives(beta: Floats) -> tuple[float, Floats, Floats]:
        return _derivatives(design, centre, scale, treated, total, beta)

    return maximum(derivatives, start, float(total.sum()))


def _derivatives(
    design: Design, centre: Floats, scale: Floats, treated: Floats, total: Floats, beta: Floats
) -> tuple[float, Floats, Floats]:
    """Return the log-likelihood, its gradient and the information.

    Only the information comes from BLAS, whose threads may change its last bit: it tells how far to step to where the
    gradient vanishes, not where that is.
    """
    p = len(beta)
    value, score, information = 0.0, np.zeros(p), np.zeros((p, p))
    for rows in design.blocks():
        z = design.values(rows)
        z -= centre[:, None]
        z /= scale[:, None]
        eta = np.einsum("ji,j->i", z, beta)
        probability, softplus = logistic(eta)
        d, n = treated[rows], total[rows]
        value += float((d * eta - n * softplus).sum())
        score += np.einsum("ji,i->j", z, d - n * probability)
        information += z @ (z * (n * probability * (1 - probability))).T
    return value, score, information


def logistic(eta: Floats) -> tuple[Floats, Floats]:
    """Return 1/(1 + exp(−η)) and log(1 + exp(η)), from one exponential."""
    eta = np.maximum(eta, -700.0)  # beyond, the exponential has no number
    odds_against = np.exp(-eta)
    return 1 / (1 + odds_against), eta + np.log1p(odds_against)


def separation(
    formula: TreatmentFormula,
    cells: pd.DataFrame,
    has_treated: Bools,
    has_control: Bools,
) -> str:
    """Return the message that names the covariates which separate the treated from the controls."""
    reasons: list[str] = []
    for name in formula.covariates:
        values = cells[name]
        if pd.api.types.is_numeric_dtype(values) and values.nunique() > 2:
            treated, control = (
                (np.array(x.min()), np.array(x.max())) for x in (values[has_treated], values[has_control])
            )
            if ranges_apart(treated, control, touching=True):
                reasons.append(f"{name!r} does not overlap between treated and controls")
            continue
        arms = arms_by_level(values, has_treated, has_control)
        for level, treated_only in arms.loc[arms["treated"] != arms["control"], "treated"].items():
            reasons.append(f"{name!r} = {level!r} has only {'treated units' if treated_only else 'controls'}")
    what = "; ".join(reasons) if reasons else "a combination of " + ", ".join(repr(n) for n in formula.covariates)
    return (
        f"the covariates separate treated units from controls, so the propensity has no estimate: {what}. "
        "Merge the category, leave these units out (they have no counterpart), or drop the covariate."
    )


def pooled_score(formula: TreatmentFormula, units: Units) -> Callable[[], Floats]:
    """Return a deferred propensity score of each cell, for methods that use it only to show overlap."""

    @cache
    def score() -> Floats:
        return fit_propensity(formula, units.cells, *cell_counts(units)).score

    return score


def cell_counts(units: Units) -> tuple[Floats, Floats]:
    """Return how many units each cell has: treated, and all."""
    n_cells = len(units.cells)
    if units.apart:
        return units.treated.astype(float), np.ones(n_cells)
    treated: Floats = np.bincount(units.cell[units.treated], minlength=n_cells).astype(float)
    return treated, np.bincount(units.cell, minlength=n_cells).astype(float)
