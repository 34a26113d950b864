"""The method ``nearest``: from a formula and options to pairs and the sample they make."""

from __future__ import annotations

from dataclasses import replace

import duckdb
import numpy as np

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.shown import bound
from retrain_eval.sample.matched import MatchedSample, assemble
from retrain_eval.sample.methods.line import Line, tie_width
from retrain_eval.sample.methods.mahalanobis import check_size, match_metric, metric
from retrain_eval.sample.methods.nearest_search import match_with_replacement, match_without_replacement
from retrain_eval.sample.models.formula import TreatmentFormula
from retrain_eval.sample.models.propensity import cell_counts, fit_propensity
from retrain_eval.sample.options import DISTANCES, Options
from retrain_eval.sample.pairs import Pairs
from retrain_eval.sample.relabelled import in_order
from retrain_eval.sample.support import caliper_width, common_support, given_score
from retrain_eval.sample.units import Units, load_units, strata


def match_nearest(
    relation: duckdb.DuckDBPyRelation, formula: TreatmentFormula, unit: str, options: Options
) -> MatchedSample:
    """Match each treated unit with its nearest controls; see `retrain_eval.match`."""
    given = options.distance not in ("glm", *DISTANCES)
    others = [*options.exact, *([options.distance] if given else [])]
    units = load_units(relation, unit, formula.treat, formula.covariates, others)
    choices: dict[str, object] = {
        "unit": unit,
        "formula": formula.text,
        "estimand": "ATT",
        "method": "nearest",
        "distance": options.distance,
        "link": options.link,
        "exact": list(options.exact),
        "caliper": options.caliper,
        "caliper_sd": options.caliper_sd,
        "ratio": options.ratio,
        "replace": options.replace,
        "ties": options.ties,
        "m_order": options.order,
        "discard": options.discard,
        "seed": options.seed,
    }
    if options.distance in DISTANCES:
        by_covariates = bound(_match_covariates, formula, options)
        pairs = by_covariates(units)
        if len(pairs.treated) == 0:
            raise DesignError(_nobody(options, float("inf")))
        choices |= {"caliper_width": None, "propensity": None}
        again = bound(in_order, units, by_covariates)
        return assemble(relation, unit, formula, units, None, pairs, choices, again)
    score, propensity = _score(formula, units, options.distance, options.link or "logit")
    unit_score = units.of_units(score)
    kept = common_support(unit_score, units.treated, options.discard)
    who = slice(None) if kept.all() else kept  # a slice copies nothing
    width = caliper_width(unit_score[who], units.treated[who], options.caliper, options.caliper_sd)
    tie = tie_width(score) if options.link == "linear.logit" else 0.0
    by_score = bound(_match_units, score, width, tie, options)
    pairs = by_score(units)
    if len(pairs.treated) == 0:
        raise DesignError(_nobody(options, width))
    choices |= {
        "link": propensity["link"] if propensity else None,
        "caliper_width": None if options.caliper is None else width,
        "propensity": propensity,
        "n_treated_discarded": int((units.treated & ~kept).sum()),
        "n_control_discarded": int((~units.treated & ~kept).sum()),
    }
    again = bound(in_order, units, by_score)
    return assemble(relation, unit, formula, units, score, pairs, choices, again)


def _score(
    formula: TreatmentFormula, units: Units, distance: str, link: str
) -> tuple[Floats, dict[str, object] | None]:
    """Return the score of each cell and, if it was estimated, how."""
    if distance != "glm":
        return given_score(units, distance), None
    fit = fit_propensity(formula, units.cells, *cell_counts(units))
    return fit.score if link == "logit" else fit.linear, {
        "link": link,
        "coefficients": fit.coefficients,
        "aliased": list(fit.aliased),
        "iterations": fit.iterations,
        "mean_score": fit.mean_score,
        "n_cells": len(units.cells),
    }


def _check_ratio(ratio: int, n_control: int) -> None:
    if ratio > n_control:
        raise InputError(f"ratio is {ratio}, but there are only {n_control} control(s)", column="ratio", value=ratio)


def _match_units(of_cells: Floats, width: float, tie: float, options: Options, units: Units) -> Pairs:
    score = units.of_units(of_cells)
    kept = common_support(score, units.treated, options.discard)
    _check_ratio(options.ratio, int((~units.treated & kept).sum()))
    stratum = units.of_units(strata(units.cells, options.exact))
    if kept.all():
        line = Line.build(score, units.treated, stratum, tie)
    else:
        line = Line.build(score[kept], units.treated[kept], stratum[kept], tie)
        number = np.flatnonzero(kept)
        line = replace(line, treated=number[line.treated], control=number[line.control])
    if options.replace:
        return match_with_replacement(line, ratio=options.ratio, ties=options.ties, caliper=width)
    return match_without_replacement(line, ratio=options.ratio, m_order=options.order, caliper=width, seed=options.seed)


def _match_covariates(formula: TreatmentFormula, options: Options, units: Units) -> Pairs:
    _check_ratio(options.ratio, int((~units.treated).sum()))
    stratum = units.of_units(strata(units.cells, options.exact))
    check_size(units.treated, stratum)
    x = formula.design(units.cells, full_rank=False)[1]
    return match_metric(
        metric(x[units.cell], units.treated, options.distance),
        units.treated,
        stratum,
        ratio=options.ratio,
        replace=options.replace,
        ties=options.ties,
        m_order=options.order,
        seed=options.seed,
    )


def _nobody(options: Options, width: float) -> str:
    limits = []
    if options.exact:
        limits.append(f"with equal {', '.join(options.exact)}")
    if options.caliper is not None:
        limits.append(f"within the caliper of {options.caliper} SD ({width:.6g} on the score)")
    return f"no treated unit has a control {' and '.join(limits)}. Coarsen or widen it."
