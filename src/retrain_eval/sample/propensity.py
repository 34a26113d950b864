r"""Propensity scores: a logit on distinct covariate rows with counts.

With ``n_c`` units in cell ``c``, ``d_c`` of them treated, the log-likelihood is
``Σ_c d_c x_cᵀβ − n_c log(1 + exp(x_cᵀβ))``. Newton's method is run until the score
``Σ_c x_c (d_c − n_c p_c)`` vanishes and the last step was nil; coefficients are then rounded to 12 significant
digits, so that scores do not carry the noise of a processor and follow from the coefficients in the audit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit

from retrain_eval.errors import DesignError
from retrain_eval.sample.formula import TreatmentFormula

Array = npt.NDArray[np.float64]

TOLERANCE = 1e-10  # of the mean score and of the last step, on standardised columns
MAX_ITERATIONS = 40
SIGNIFICANT_DIGITS = 12
_ALIASED = 1e-10  # share of a column's length that earlier columns leave unexplained


@dataclass(frozen=True)
class Propensity:
    """A fitted logit.

    Attributes
    ----------
    coefficients : dict
        By column of the design.
    aliased : tuple of str
        Columns left out because earlier ones determine them (R prints NA for these).
    score : ndarray, shape (C,)
        P(treated | covariates) per cell.
    iterations : int
    mean_score : float
        Largest |derivative of the log-likelihood| per unit at the solution, on standardised columns.
    """

    coefficients: dict[str, float]
    aliased: tuple[str, ...]
    score: Array
    iterations: int
    mean_score: float


def fit_propensity(formula: TreatmentFormula, cells: pd.DataFrame, treated: Array, total: Array) -> Propensity:
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
    names, design = formula.design(cells)
    kept = _independent(design, total)
    x = np.ascontiguousarray(design[:, kept])
    centre, scale = _standardise(x, total)
    z = (x - centre) / scale
    fit = _newton(z, treated, total)
    if fit is None:
        raise DesignError(_separation(formula, cells, treated, total))
    beta, iterations, mean_score = fit

    raw = beta / scale
    constant = np.flatnonzero((x == 1).all(axis=0))
    if len(constant):
        raw[constant[0]] -= float((raw * centre).sum())
    raw = np.array([float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in raw])
    used = [names[j] for j in kept]
    return Propensity(
        coefficients=dict(zip(used, raw.tolist(), strict=True)),
        aliased=tuple(name for j, name in enumerate(names) if j not in kept),
        score=expit(_linear(x, raw)),
        iterations=iterations,
        mean_score=mean_score,
    )


def _linear(x: Array, beta: Array) -> Array:
    """Add column by column: BLAS may round equal rows differently, depending on where they stand."""
    total = np.zeros(len(x))
    for j, value in enumerate(beta):
        total += x[:, j] * value
    return total


def _independent(design: Array, total: Array) -> list[int]:
    """Return the columns that earlier columns do not determine, as R's pivoting keeps them."""
    length = np.sqrt(np.einsum("ij,ij,i->j", design, design, total))
    scaled = design / np.where(length > 0, length, 1.0) * np.sqrt(total)[:, None]
    triangle: Array = np.asarray(np.linalg.qr(scaled, mode="r"))  # keeps all inner products in a small matrix
    kept: list[int] = []
    basis = np.zeros((triangle.shape[0], 0))
    for j in range(design.shape[1]):
        rest = triangle[:, j]
        for _ in range(2):  # twice is enough (Gram-Schmidt)
            rest = rest - basis @ (basis.T @ rest)
        norm = float(np.linalg.norm(rest))
        if norm > _ALIASED:
            kept.append(j)
            basis = np.column_stack([basis, rest / norm])
    return kept


def _standardise(x: Array, total: Array) -> tuple[Array, Array]:
    """Centre and scale by weighted mean and SD; without a constant column the origin must stay."""
    constant = (x == 1).all(axis=0)
    n = total.sum()
    centre = np.einsum("ij,i->j", x, total) / n if constant.any() else np.zeros(x.shape[1])
    centre[constant] = 0.0
    spread = np.sqrt(np.einsum("ij,ij,i->j", x - centre, x - centre, total) / n)
    return centre, spread


def _newton(z: Array, treated: Array, total: Array) -> tuple[Array, int, float] | None:
    """Maximise the likelihood; None when it has no maximum. Sums avoid BLAS, whose threads change the last bit."""
    beta = np.zeros(z.shape[1])
    likelihood = -np.inf
    step = np.zeros_like(beta)
    n = float(total.sum())
    for iteration in range(MAX_ITERATIONS):
        eta = _linear(z, beta)
        value = float((treated * eta - total * np.logaddexp(0, eta)).sum())
        if value < likelihood - 1e-9 * n and iteration:
            step = step / 2
            beta = beta - step
            continue
        likelihood = value
        p = expit(eta)
        score = np.einsum("ij,i->j", z, treated - total * p)
        information = np.einsum("ij,ik->jk", z, z * (total * p * (1 - p))[:, None])
        try:
            step = np.linalg.solve(information, score)
        except np.linalg.LinAlgError:
            return None
        mean_score = float(np.abs(score).max()) / n
        if mean_score <= TOLERANCE and np.abs(step).max() <= TOLERANCE:
            return beta, iteration, mean_score
        beta = beta + step
    return None


def _separation(formula: TreatmentFormula, cells: pd.DataFrame, treated: Array, total: Array) -> str:
    """Say which covariate tells treated from controls without error."""
    has_treated, has_control = treated > 0, treated < total
    reasons: list[str] = []
    for name in formula.covariates:
        values = cells[name]
        if pd.api.types.is_numeric_dtype(values) and values.nunique() > 2:
            low, high = values[has_treated], values[has_control]
            if low.max() <= high.min() or low.min() >= high.max():
                reasons.append(f"{name!r} does not overlap between treated and controls")
            continue
        for level, rows in values.groupby(values):
            mine = rows.index.to_numpy()
            if not has_treated[mine].any() or not has_control[mine].any():
                only = "treated units" if has_treated[mine].any() else "controls"
                reasons.append(f"{name!r} = {level!r} has only {only}")
    what = "; ".join(reasons) if reasons else "a combination of " + ", ".join(repr(n) for n in formula.covariates)
    return (
        f"the covariates separate treated units from controls, so the propensity has no estimate: {what}. "
        "Merge the category, leave these units out (they have no counterpart), or drop the covariate."
    )
