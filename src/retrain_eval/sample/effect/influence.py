"""What each unit contributes to an effect whose weights are themselves estimated (M-estimation).

The weights solve estimating equations. Stacked with the equation of the effect, they give the influence of a unit: its
influence with known weights, plus its effect on the weights times their effect on the estimate. Weights depend on
covariates only, so everything except the outcome is computed once per cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.shown import summarised
from retrain_eval.sample.drawn import Drawn
from retrain_eval.sample.models.design import Design
from retrain_eval.sample.support import rows_of

Terms = Callable[[pd.DataFrame], Design]


@summarised
@dataclass(frozen=True)
class Part:
    """Cells whose weights were estimated together, and the terms of the model.

    Attributes
    ----------
    cells : int ndarray
    terms : tuple of str
        Names of independent columns, the constant among them.
    """

    cells: Ints
    terms: tuple[str, ...]


def known_weights_influence(treated: Bools, weight: Floats, y: Floats) -> Floats:
    """Return ±w (Y − Ȳ)/W in each arm: the influence on a difference of weighted means.

    Parameters
    ----------
    treated : bool ndarray, shape (R,)
    weight : ndarray, shape (R,)
    y : ndarray, shape (R, K)
    """
    out = np.empty_like(y)
    for arm, sign in ((treated, 1.0), (~treated, -1.0)):
        share = weight[arm] / weight[arm].sum()
        mean = (share[:, None] * y[arm]).sum(axis=0)
        out[arm] = sign * share[:, None] * (y[arm] - mean)
    return out


def odds_influence(
    drawn: Drawn, parts: Sequence[Part], terms: Terms, score: Floats, slope: tuple[Floats, Floats], y: Floats
) -> Floats:
    r"""Return the influence on a difference of means weighted by functions of an estimated propensity score.

    Parameters
    ----------
    drawn : Drawn
    parts : sequence of Part
        One per logit.
    terms : callable
        Computes the terms of the logit.
    score : ndarray, shape (C,)
    slope : pair of ndarray, shape (C,)
        ∂ log w / ∂(xᵀβ) of a treated unit and of a control.
    y : ndarray, shape (R, K)

    Notes
    -----
    With ``g = Σ_i ψ_i (∂ log w_i/∂η) x_i`` and the information ``H = Σ_i e_i (1 − e_i) x_i x_iᵀ`` it is
    ``ψ_i + (D_i − e_i) x_iᵀ H⁻¹ g`` (Stefanski and Boos 2002; Lunceford and Davidian 2004).
    """
    psi = known_weights_influence(drawn.treated, drawn.weight, y)
    cell, n_cells = drawn.units.cell[drawn.rows], len(score)
    count = np.bincount(cell, minlength=n_cells).astype(float)
    moved = psi * np.where(drawn.treated, slope[0][cell], slope[1][cell])[:, None]
    pull = by_cell(moved, cell, n_cells)
    step = np.zeros_like(pull)
    for part in parts:
        z = _terms_of(part, terms, drawn.units.cells, count)
        e = score[part.cells]
        step[part.cells] = z.projected(count[part.cells] * e * (1 - e), pull[part.cells])
    residual = drawn.treated - score[cell]
    return psi + residual[:, None] * step[cell]


def balancing_influence(drawn: Drawn, parts: Sequence[Part], terms: Terms, y: Floats) -> Floats:
    r"""Return the influence on a difference of means under weights that balance ``x`` exactly.

    Parameters
    ----------
    drawn, parts, terms, y
        As in `odds_influence`; the parts are the strata that were balanced separately.

    Notes
    -----
    With ``r = Y − xᵀγ``, where γ is the weighted regression of Y on x among controls, it is ``(r − τ)/n₁`` for the
    treated and ``−w r/W`` for controls: variation in balanced terms adds no noise (Zhao and Percival 2017).
    """
    treated, weight = drawn.treated, drawn.weight
    cell, n_cells = drawn.units.cell[drawn.rows], len(drawn.units.cells)
    control = np.where(treated, 0.0, weight)
    on_cell = np.bincount(cell, weights=control, minlength=n_cells).astype(float)
    product = by_cell(control[:, None] * y, cell, n_cells)
    fitted = np.zeros_like(product)
    for part in parts:
        z = _terms_of(part, terms, drawn.units.cells, on_cell)
        fitted[part.cells] = z.projected(on_cell[part.cells], product[part.cells])
    return known_weights_influence(treated, weight, y - fitted[cell])


def by_cell(values: Floats, cell: Ints, n_cells: int) -> Floats:
    """Add up rows, shape (R, K), by cell."""
    return np.column_stack([np.bincount(cell, weights=column, minlength=n_cells) for column in values.T]).astype(float)


def _terms_of(part: Part, terms: Terms, cells: pd.DataFrame, weight: Floats) -> Standardised:
    full = terms(rows_of(cells, part.cells))
    design = full.keep([full.names.index(name) for name in part.terms])
    return Standardised(design, *design.standardise(weight[part.cells]))


@summarised
@dataclass(frozen=True)
class Standardised:
    """Standardised terms, with the constant unchanged, read in blocks."""

    design: Design
    centre: Floats
    scale: Floats

    def _z(self, rows: slice) -> Floats:
        return np.asarray((self.design.values(rows) - self.centre[:, None]) / self.scale[:, None])

    def projected(self, weight: Floats, values: Floats) -> Floats:
        """Return zᵀ (Σ w z zᵀ)⁻¹ Σ z v for each row.

        Parameters
        ----------
        weight : ndarray, shape (C,)
        values : ndarray, shape (C, K)
            Of v. With v = w Y this is the weighted regression of Y on z.
        """
        p, k = len(self.scale), values.shape[1]
        cross, total = np.zeros((p, p)), np.zeros((p, k))
        for rows in self.design.blocks():
            z = self._z(rows)
            cross += np.einsum("ji,ki->jk", z, z * weight[rows])
            total += np.einsum("ji,ik->jk", z, values[rows])
        coefficients = np.linalg.solve(cross, total)
        out = np.empty((self.design.n, k))
        for rows in self.design.blocks():
            out[rows] = np.einsum("ji,jk->ik", self._z(rows), coefficients)
        return out
