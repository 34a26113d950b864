r"""Entropy balancing: the most even weights of controls under which their means equal those of the treated.

The weights ``q_i ∝ exp(λᵀx_i)`` minimise ``Σ q log q`` under ``Σ q_i x_i = x̄₁``, with ``λ`` the minimum of the dual
``log Σ_i exp(λᵀ(x_i − x̄₁))``. It is convex; Newton's steps are halved where they overshoot. Convergence is not
claimed but tested: the means under the final weights are compared with those of the treated, term by term.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pandas as pd

from retrain_eval.common.arrays import AnyArray, Floats
from retrain_eval.common.errors import DesignError
from retrain_eval.common.numerics.separation import ranges_apart
from retrain_eval.common.shown import bound, summarised
from retrain_eval.sample.drawn import Drawn
from retrain_eval.sample.effect.influence import Part, balancing_influence
from retrain_eval.sample.matched import MatchedSample, assemble_weighted
from retrain_eval.sample.models.design import Design
from retrain_eval.sample.models.formula import TreatmentFormula
from retrain_eval.sample.models.propensity import cell_counts, maximum, pooled_score, unstandardise
from retrain_eval.sample.options import Options
from retrain_eval.sample.support import by_stratum, rows_of
from retrain_eval.sample.units import load_units

FEW = 100_000  # rows up to which contradicting terms are looked for
MAX_ITERATIONS = 200
TOLERANCE = 1e-8  # largest difference of means allowed, in standard deviations over both arms


@summarised
@dataclass(frozen=True)
class Balanced:
    """Weights of controls by cell, and the terms they balance.

    Attributes
    ----------
    weight : ndarray, shape (C,)
        Of one control of each cell; they add up to the number of treated units over all controls.
    terms : tuple of str
        The terms balanced, the constant first, none determined by others.
    coefficients : dict
        λ by term.
    max_imbalance : float
        Largest |difference of means| over all terms, in standard deviations over both arms.
    iterations : int
    """

    weight: Floats
    terms: tuple[str, ...]
    coefficients: dict[str, float]
    max_imbalance: float
    iterations: int


def match_ebal(
    relation: duckdb.DuckDBPyRelation, formula: TreatmentFormula, unit: str, options: Options
) -> MatchedSample:
    """Weight controls until the terms of the formula have the means they have among the treated.

    Called through ``retrain_eval.match(..., method="ebal")``.

    Parameters
    ----------
    relation : DuckDBPyRelation
    formula : TreatmentFormula
        Its terms are balanced; of a category, every level.
    unit : str
    options : Options
        ``moments`` adds the squares (2), and the cubes (3), of every term with more than two values. ``exact``
        balances within each combination of these columns; combinations with a single arm are dropped.

    Returns
    -------
    MatchedSample
        No pairs and no ``subclass``: people are independent. ``audit["balancing"]`` holds λ, the largest imbalance
        left and the tolerance (per combination of the exact columns, where there are any).

    Raises
    ------
    DesignError
        If no weights balance a term (it is named), because a mean of the treated is outside the range of the controls
        or at its edge, or because terms contradict each other.

    References
    ----------
    Hainmueller, J. (2012), Political Analysis 20(1), 25-46. Zhao, Q. and Percival, D. (2017), Journal of Causal
    Inference 5(1): the estimate is doubly robust.

    Examples
    --------
    >>> import pandas as pd, retrain_eval as rte
    >>> people = pd.DataFrame({"id": range(5), "trained": [1, 1, 0, 0, 0], "age": [30, 40, 20, 30, 60]})
    >>> sample = rte.match(people, "trained ~ age", unit="id", method="ebal")
    >>> rows = sample.weights.df().merge(people, on="id").query("treat == 0")
    >>> round(float((rows["weight"] * rows["age"]).sum() / rows["weight"].sum()), 9)
    35.0
    """
    units = load_units(relation, unit, formula.treat, formula.covariates, options.exact)
    treated, total = cell_counts(units)
    weight, parts, reports = np.zeros(len(total)), [], {}
    for label, cells in by_stratum(units, options.exact):
        try:
            fit = balance(formula, rows_of(units.cells, cells), treated[cells], total[cells], options.moments)
        except DesignError as error:
            raise DesignError(f"{error}{f' Within {label}.' if label else ''}") from None
        weight[cells] = fit.weight
        parts.append(Part(cells, fit.terms))
        reports[label] = {
            "coefficients": fit.coefficients,
            "max_imbalance": fit.max_imbalance,
            "iterations": fit.iterations,
        }
    used = np.zeros(len(total), dtype=bool)
    for part in parts:
        used[part.cells] = True
    scale = (total - treated)[used].sum() / treated[used].sum()
    of_unit = np.where(units.treated, used[units.cell].astype(float), weight[units.cell] * scale)
    choices = {
        "unit": unit,
        "formula": formula.text,
        "estimand": "ATT",
        "method": "ebal",
        "exact": list(options.exact),
        "moments": options.moments,
        "tolerance": TOLERANCE,
        "balancing": reports if options.exact else reports[""],
    }
    drawn = Drawn.of_units(relation, unit, formula, units, of_unit, score=pooled_score(formula, units))

    def influence(y: Floats) -> Floats:
        return balancing_influence(drawn, parts, bound(terms, formula, moments=options.moments), y)

    return assemble_weighted(replace(drawn, influence=influence), None, choices, {"cluster": None})


def terms(formula: TreatmentFormula, cells: pd.DataFrame, *, moments: int) -> Design:
    """Return the constant, the terms of the formula, and their powers up to ``moments``.

    Powers are those of (x - middle) / half the range, which is equivalent but numerically stable. Terms with two values
    have none, because their powers are collinear.
    """
    plain = Design.build(formula, cells)
    names: list[str] = ["Intercept"]
    columns: list[AnyArray] = [np.ones(plain.n, dtype=np.uint8)]
    for name, column in zip(plain.names, plain.columns, strict=True):
        low, high = float(column.min()), float(column.max())
        if low < high:
            names.append(name)
            columns.append(column)
        if moments > 1 and not ((column == low) | (column == high)).all():
            x = (column - (low + high) / 2) / ((high - low) / 2)
            names.extend(f"{name}^{power}" for power in range(2, moments + 1))
            columns.extend(x**power for power in range(2, moments + 1))
    return Design(tuple(names), tuple(columns), plain.n)


def balance(formula: TreatmentFormula, cells: pd.DataFrame, treated: Floats, total: Floats, moments: int) -> Balanced:
    """Find the weights of controls in one stratum.

    Parameters
    ----------
    formula : TreatmentFormula
    cells : DataFrame, C rows
        Distinct rows of covariates.
    treated, total : ndarray, shape (C,)
        Treated units and all units of each cell; both arms must occur.
    moments : int

    Raises
    ------
    DesignError
        If there are no such weights; the term is named.
    """
    control = total - treated
    everything = terms(formula, cells, moments=moments)
    _check_range(everything, treated, control)
    kept = everything.independent(control)
    design = everything.keep(kept)
    centre, scale = design.standardise(total)
    inner, centre, scale = design.keep(range(1, len(kept))), centre[1:], scale[1:]
    fit = maximum(_Dual(inner, centre, scale, treated, control), np.zeros(len(scale)), 1.0, MAX_ITERATIONS)
    if fit is None:
        raise DesignError(_contradiction(inner, centre, scale, treated, control))
    raw = unstandardise(fit[0], centre, scale, None)
    linear = inner.linear(raw)
    weight = np.where(control > 0, np.exp(np.minimum(linear - linear[control > 0].max(), 0.0)), 0.0)
    weight *= treated.sum() / (control * weight).sum()
    worst, name = _imbalance(everything, treated, control * weight, total)
    if worst > TOLERANCE:
        raise DesignError(
            f"ebal leaves {name!r} unbalanced by {worst:.2g} standard deviations (tolerance {TOLERANCE:g}). "
            "Controls cannot be weighted to the treated: drop the term, or leave out those without a counterpart."
        )
    coefficients = dict(zip(inner.names, raw.tolist(), strict=True))
    return Balanced(weight, design.names, coefficients, worst, fit[1])


@summarised
@dataclass(frozen=True)
class _Dual:
    """Minus the dual, its gradient and its curvature, on standardised terms about the means of the treated."""

    design: Design
    centre: Floats
    scale: Floats
    treated: Floats
    control: Floats

    def __call__(self, beta: Floats) -> tuple[float, Floats, Floats]:
        p, n = len(beta), float(self.treated.sum())
        target: Floats = np.zeros(p)
        eta = np.zeros(self.design.n)
        for rows in self.design.blocks():
            z = self._z(rows)
            target += np.einsum("ji,i->j", z, self.treated[rows]) / n
            eta[rows] = np.einsum("ji,j->i", z, beta)
        top = float(eta[self.control > 0].max())
        mass, first, second = 0.0, np.zeros(p), np.zeros((p, p))
        for rows in self.design.blocks():
            z = self._z(rows) - target[:, None]
            weight = self.control[rows] * np.exp(np.minimum(eta[rows] - top, 0.0))
            mass += float(weight.sum())
            first += np.einsum("ji,i->j", z, weight)
            second += np.einsum("ji,ki->jk", z, z * weight)
        mean = first / mass
        value = np.log(mass) + top - float(np.einsum("j,j->", target, beta))
        return -value, -mean, second / mass - np.outer(mean, mean)

    def _z(self, rows: slice) -> Floats:
        return np.asarray((self.design.values(rows) - self.centre[:, None]) / self.scale[:, None])


def _check_range(design: Design, treated: Floats, control: Floats) -> None:
    """Refuse a mean of the treated that no positive weights of the controls can reach."""
    means = np.array([float((column * treated).sum() / treated.sum()) for column in design.columns])
    ends = [(float(column[control > 0].min()), float(column[control > 0].max())) for column in design.columns]
    lows, highs = np.array(ends).T
    for j in np.flatnonzero(ranges_apart((means, means), (lows, highs), touching=True)):
        low, high = ends[j]
        between = f"lie between {low:.6g} and {high:.6g}" if low < high else f"all have {low:.6g}"
        raise DesignError(
            f"no weights balance {design.names[j]!r}: its mean among the treated is {means[j]:.6g}, and controls "
            f"{between}. Merge the category, leave these units out (they have no counterpart), or drop the term."
        )


def _contradiction(design: Design, centre: Floats, scale: Floats, treated: Floats, control: Floats) -> str:
    """Return the message that names the terms whose removal, one at a time, makes balance possible."""
    freed = []
    for j in range(len(scale)) if design.n <= FEW else ():
        others = [i for i in range(len(scale)) if i != j]
        dual = _Dual(design.keep(others), centre[others], scale[others], treated, control)
        if maximum(dual, np.zeros(len(others)), 1.0, MAX_ITERATIONS) is not None:
            freed.append(repr(design.names[j]))
    what = f" Without any one of these it would: {', '.join(freed)}." if freed else ""
    return (
        f"no weights balance these terms together: {', '.join(map(repr, design.names))}. Controls reach the mean of "
        f"the treated in each, but not in all at once.{what} Drop a term, or leave out treated units without a "
        "counterpart."
    )


def _imbalance(design: Design, treated: Floats, weight: Floats, total: Floats) -> tuple[float, str]:
    """Return the largest difference of means, in standard deviations over both arms, and the term."""
    worst, where = 0.0, ""
    for name, column in zip(design.names, design.columns, strict=True):
        mean = float((column * total).sum() / total.sum())
        spread = float(np.sqrt((total * (column - mean) ** 2).sum() / total.sum()))
        gap = abs(float((column * treated).sum() / treated.sum() - (column * weight).sum() / weight.sum()))
        gap = gap / spread if spread > 0 else gap
        if gap > worst:
            worst, where = gap, name
    return worst, where
