"""Weights of a conditional difference-in-differences on cells: outcome regression, inverse probability, doubly robust.

Covariates are constant within a cell, so the logit is fitted on cells, the outcome regression on cell means, and the
influence of both stays constant within a cell: moments carry them exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit

from retrain_eval.common.arrays import Bools, Floats
from retrain_eval.common.errors import DesignError
from retrain_eval.common.numerics.linear_algebra import independent_columns
from retrain_eval.common.numerics.newton import Step, maximise, shortened
from retrain_eval.common.numerics.separation import separating_columns
from retrain_eval.common.shown import summarised

TRIM = 0.995  # controls with a higher propensity are left out, as DRDID leaves them out
_TOLERANCE = 1e-11  # largest change of a cell's log odds in the last step of the logit
_SEPARATED = 30.0  # log odds that no fitted probability has
_LONGEST = 5.0  # log odds: a longer step overshoots
_MAX_ITERATIONS = 100


@summarised
@dataclass(frozen=True)
class Contrast:
    """How much each cell's change counts in one comparison of treated with control cells.

    Attributes
    ----------
    slope : ndarray, shape (m,)
        ATT = Σ_c w_c slope_c ΔY_c, and the coefficient of ΔY in the influence function of a unit of the cell.
    n_trimmed : int
        Control cells that were left out because their propensity is above ``TRIM``.
    """

    slope: Floats
    n_trimmed: int
    _x: Floats
    _weight: Floats
    _treated: Bools
    _odds: Floats | None  # of being treated, controls only
    _score: Floats | None  # (m, K): influence of a unit of weight on the logit's coefficients
    _regression: Floats | None  # (K, m): the outcome regression's coefficients per change in a cell

    def intercept(self, change: Floats) -> Floats:
        """Return the constant term of the influence function in each cell, shape (m,), for mean changes (m,)."""
        arm = self._treated
        fitted = np.zeros(len(change)) if self._regression is None else self._x @ (self._regression @ change)
        residual = change - fitted
        constant: Floats = -self.slope * fitted
        weight = self._weight[arm]
        constant[arm] -= self.slope[arm] * (weight @ residual[arm] / weight.sum())
        if self._odds is not None and self._score is not None:
            share = self._weight * self._odds
            total = share.sum()
            mean = float(share @ residual / total)
            constant += self._odds * mean / total
            constant -= self._score @ (self._x.T @ (share * (residual - mean) / total))
        return constant


def contrast(method: str, x: Floats, weight: Floats, treated: Bools, names: list[str]) -> Contrast:
    """Return the weights of one comparison.

    Parameters
    ----------
    method : {"reg", "ipw", "dr"}
    x : ndarray, shape (m, K)
        Design of the cells, a constant first.
    weight : ndarray, shape (m,)
        Σw of the cells.
    treated : bool ndarray, shape (m,)
    names : list of str
        Names of the columns of ``x``, for messages.

    Raises
    ------
    DesignError
        If treated cells have covariates that no control has, or the covariates separate the two.

    Notes
    -----
    Sant'Anna and Zhao (2020): "reg" eq. 2.2 with a linear regression of the controls' changes; "ipw" the Hajek form
    of Abadie (2005), eq. 2.1; "dr" eq. 2.6 with logit and least squares (their "traditional" estimator). Influence
    functions with the estimation of both nuisances: their Theorem A.1.
    """
    # estimates depend on what the columns span only: an orthonormal basis keeps the digits
    root = np.sqrt(weight)[:, None]
    named, x = x, independent_columns(x * root)[1] / root
    total = weight[treated].sum()
    slope = np.where(treated, 1 / total, 0.0)
    odds: Floats | None = None
    score: Floats | None = None
    regression: Floats | None = None
    n_trimmed = 0
    if method in {"ipw", "dr"}:
        probability, information = _logit(x, named, weight, treated, names)
        trimmed = ~treated & (probability >= TRIM)
        n_trimmed = int(trimmed.sum())
        if (treated | trimmed).all():
            raise DesignError(f"every control has a propensity above {TRIM}")
        odds = np.where(treated | trimmed, 0.0, probability / np.where(treated | trimmed, 1.0, 1 - probability))
        inverse = np.linalg.pinv(information, hermitian=True)
        score = np.asarray(((treated - probability)[:, None] * x) @ inverse, dtype=np.float64)
        slope -= odds / float(weight @ odds)
    if method in {"reg", "dr"}:
        control = np.where(treated, 0.0, weight)
        if len(independent_columns(named * np.sqrt(control)[:, None])[0]) < x.shape[1]:
            raise DesignError(f"no control is like the treated in {_separating(named, treated, names)}")
        gram = (x * control[:, None]).T @ x
        regression = np.asarray(np.linalg.solve(gram, (x * control[:, None]).T), dtype=np.float64)
        # what the regression predicts for the treated, less what it predicts for the reweighted controls
        target = x[treated].T @ weight[treated] / total
        if odds is not None:
            target = target - x.T @ (weight * odds) / float(weight @ odds)
        slope -= np.where(treated, 0.0, x @ np.linalg.solve(gram, target))
    return Contrast(slope, n_trimmed, x, weight, treated, odds, score, regression)


def design(cells: pd.DataFrame, covariates: tuple[str, ...], numbers: tuple[str, ...]) -> tuple[Floats, list[str]]:
    """Return the design of all cells and its names: a constant, numbers as they are, a dummy for every level."""
    columns: list[Floats] = [np.ones(len(cells))]
    names = ["the constant"]
    for name in covariates:
        if name in numbers:
            columns.append(cells[name].to_numpy(dtype=np.float64))
            names.append(name)
            continue
        for level in dict.fromkeys(cells[name]):
            columns.append((cells[name] == level).to_numpy(dtype=np.float64))
            names.append(f"{name} = {level}")
    return np.column_stack(columns), names


def _logit(x: Floats, named: Floats, weight: Floats, treated: Bools, names: list[str]) -> tuple[Floats, Floats]:
    """Return P(treated) per cell and the information, by Newton's method; refuse separation."""
    # where a level has no treated cell the fitted log odds run to minus infinity, and the limit is probability zero
    empty = ((named == 0) | (named == 1)).all(axis=0) & ~(named[treated] != 0).any(axis=0)
    possible = ~(named[:, empty] != 0).any(axis=1)
    z, w, d = x[possible], weight[possible], treated[possible].astype(float)

    def derivatives(beta: Floats) -> tuple[None, Floats, Floats]:
        linear = z @ beta
        if float(np.abs(linear).max()) > _SEPARATED:
            raise _separated(named, treated, names)
        probability = expit(linear)
        return None, z.T @ (w * (d - probability)), (z * (w * probability * (1 - probability))[:, None]).T @ z

    def rule(score: Floats, information: Floats) -> Step:
        move = np.linalg.pinv(information, hermitian=True) @ score
        size = float(np.abs(z @ move).max())
        last = size < _TOLERANCE
        return Step(np.zeros_like(move) if last else shortened(move, size, _LONGEST), size, last)

    maximum = maximise(derivatives, np.zeros(z.shape[1]), rule, limit=_MAX_ITERATIONS)
    if maximum is None:
        raise _separated(named, treated, names)
    probability = np.zeros(len(weight))
    probability[possible] = expit(z @ maximum[0])
    return probability, (x * (weight * probability * (1 - probability))[:, None]).T @ x


def _separated(x: Floats, treated: Bools, names: list[str]) -> DesignError:
    return DesignError(f"treated and controls are separated by {_separating(x, treated, names)}")


def _separating(x: Floats, treated: Bools, names: list[str]) -> str:
    """Name the columns in which the treated have no counterpart."""
    ranges = [(x[arm].min(axis=0), x[arm].max(axis=0)) for arm in (treated, ~treated)]
    return separating_columns(names, ((x == 0) | (x == 1)).all(axis=0), *ranges)
