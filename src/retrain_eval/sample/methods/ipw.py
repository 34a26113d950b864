"""Inverse-probability weighting with an estimated propensity score and Hajek-normalised weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import DesignError
from retrain_eval.sample.drawn import Drawn
from retrain_eval.sample.effect.influence import Part, odds_influence
from retrain_eval.sample.matched import MatchedSample, assemble_weighted
from retrain_eval.sample.models.design import Design
from retrain_eval.sample.models.formula import TreatmentFormula
from retrain_eval.sample.models.propensity import cell_counts, fit_propensity
from retrain_eval.sample.options import Options
from retrain_eval.sample.support import by_stratum, rows_of
from retrain_eval.sample.units import load_units


def match_ipw(
    relation: duckdb.DuckDBPyRelation, formula: TreatmentFormula, unit: str, options: Options
) -> MatchedSample:
    """Weight units by the inverse probability of being in their arm.

    Called through ``retrain_eval.match(..., method="ipw")``.

    Parameters
    ----------
    relation : DuckDBPyRelation
    formula : TreatmentFormula
        Terms of the logit for the score e.
    unit : str
    options : Options
        ``estimand``: ``ATT`` weighs treated units 1 and controls e/(1 − e); ``ATE`` 1/e and 1/(1 − e); ``ATO``, the
        effect where the arms overlap, 1 − e and e. ``exact`` fits a logit within each combination of these columns;
        combinations with a single arm are dropped.

    Returns
    -------
    MatchedSample
        No pairs and no ``subclass``: people are independent. Weights of an arm add up to its number of units, so its
        weighted mean is the Hajek estimate; none are cut off. ``audit["propensity"]`` holds the logit (per combination
        of the exact columns, where there are any).

    Raises
    ------
    DesignError
        If covariates separate the arms; the covariate is named.

    References
    ----------
    Hirano, K., Imbens, G. and Ridder, G. (2003), Econometrica 71, 1161-1189. Li, F., Morgan, K. and Zaslavsky, A.
    (2018), Journal of the American Statistical Association 113, 390-400 (the overlap weights, ATO).

    Examples
    --------
    >>> import pandas as pd, retrain_eval as rte
    >>> people = pd.DataFrame({"id": range(6), "trained": [1, 0, 0, 1, 1, 0], "female": [0, 0, 0, 1, 1, 1]})
    >>> sample = rte.match(people, "trained ~ female", unit="id", method="ipw")
    >>> sample.weights.filter("treat = 0").df().round(6).values.tolist()
    [[1.0, 0.0, 0.5], [2.0, 0.0, 0.5], [5.0, 0.0, 2.0]]
    """
    units = load_units(relation, unit, formula.treat, formula.covariates, options.exact)
    treated, total = cell_counts(units)
    # a cell in a stratum with one arm keeps a score of 0 or 1 and is not used
    score, used = (treated > 0).astype(float), np.zeros(len(total), dtype=bool)
    parts, reports = [], {}
    for label, cells in by_stratum(units, options.exact):
        try:
            fit = fit_propensity(formula, rows_of(units.cells, cells), treated[cells], total[cells])
        except DesignError as error:
            raise DesignError(f"{error}{f' Within {label}.' if label else ''}") from None
        score[cells], used[cells] = fit.score, True
        parts.append(Part(cells, tuple(fit.coefficients)))
        reports[label] = {
            "link": "logit",
            "coefficients": fit.coefficients,
            "aliased": list(fit.aliased),
            "iterations": fit.iterations,
            "mean_score": fit.mean_score,
            "n_cells": len(cells),
        }
    here = score[used]
    of_arm = [np.zeros(len(total)), np.zeros(len(total))]
    slope = (np.zeros(len(total)), np.zeros(len(total)))
    for arm, (weight, gradient) in enumerate(tilt(options.estimand, here)):
        if not np.isfinite(weight).all():
            raise DesignError("some scores are 1 to the last digit: no control is like these treated units")
        of_arm[arm][used], slope[arm][used] = weight, gradient
    of_unit = np.where(units.treated, of_arm[0][units.cell], of_arm[1][units.cell])
    for mine in (units.treated, ~units.treated):
        of_unit[mine] *= np.count_nonzero(of_unit[mine]) / of_unit[mine].sum()
    choices: dict[str, Any] = {
        "unit": unit,
        "formula": formula.text,
        "estimand": options.estimand,
        "method": "ipw",
        "exact": list(options.exact),
        "normalised": "Hajek",
        "propensity": reports if options.exact else reports[""],
    }
    drawn = Drawn.of_units(relation, unit, formula, units, of_unit, score=lambda: score)

    def terms(cells: pd.DataFrame) -> Design:
        return Design.build(formula, cells)

    def influence(y: Floats) -> Floats:
        return odds_influence(drawn, parts, terms, score, slope, y)

    facts = {"cluster": None, "score_min": float(here.min()), "score_max": float(here.max())}
    return assemble_weighted(replace(drawn, influence=influence), score, choices, facts)


def tilt(estimand: str, e: Floats) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Return the weight w of a treated unit and ∂ log w/∂(xᵀβ); then the same of a control.

    Examples
    --------
    >>> (treated, _), (control, _) = tilt("ATO", np.array([0.25]))
    >>> float(treated[0]), float(control[0])
    (0.75, 0.25)
    """
    if estimand == "ATT":
        return (np.ones_like(e), np.zeros_like(e)), (e / (1 - e), np.ones_like(e))
    if estimand == "ATE":
        return (1 / e, e - 1), (1 / (1 - e), e)
    return (1 - e, -e), (e, 1 - e)
