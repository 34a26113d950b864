"""Choose comparison units: the public verb `match`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from retrain_eval.errors import DesignError, InputError, unknown
from retrain_eval.sample.formula import TreatmentFormula, parse_formula
from retrain_eval.sample.mahalanobis import DISTANCES, check_size, match_metric, metric
from retrain_eval.sample.matched import MatchedSample, assemble
from retrain_eval.sample.nearest import (
    M_ORDERS,
    Line,
    Pairs,
    match_with_replacement,
    match_without_replacement,
    tie_width,
)
from retrain_eval.sample.propensity import LINKS, fit_propensity
from retrain_eval.sample.riskset import match_riskset
from retrain_eval.sample.scores import CALIPER_SDS, DISCARDS, caliper_width, common_support, given_score, strata
from retrain_eval.sample.units import Units, load_units
from retrain_eval.sources import Source, as_relation

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

METHODS = ("nearest", "riskset")
TIES = ("all", "first")
_RESERVED = ("treat", "weight", "subclass", "match_id", "elapsed", "period", "censored_at", "_row")

__all__ = ["MatchedSample", "match"]


@dataclass(frozen=True)
class _Options:
    method: str
    distance: str
    link: str | None
    exact: tuple[str, ...]
    caliper: float | None
    caliper_sd: str
    ratio: int
    replace: bool
    ties: str
    m_order: str
    discard: str
    seed: int

    def check(self) -> None:
        for name, value, known in (
            ("matching method", self.method, METHODS),
            ("link", self.link, (None, *LINKS)),
            ("caliper_sd", self.caliper_sd, CALIPER_SDS),
            ("ties", self.ties, TIES),
            ("m_order", self.m_order, M_ORDERS),
            ("discard", self.discard, DISCARDS),
        ):
            if value not in known:
                raise unknown(name, value, [item for item in known if item])
        if self.link is not None and self.distance != "glm":
            raise InputError("link is read by the estimated score only", column="link", fix='with distance="glm"')
        if self.distance in DISTANCES:
            by_score = {
                "caliper": self.caliper is not None,
                "discard": self.discard != "none",
                "m_order": self.m_order in {"largest", "smallest"},
            }
            for name, wrong in by_score.items():
                if wrong:
                    raise InputError(
                        f"{name} needs a score, and {self.distance} is a distance between two units",
                        column=name,
                        value=getattr(self, name),
                        fix='match on distance="glm", or leave this out',
                    )
        if not _is_whole(self.ratio) or self.ratio < 1:
            raise InputError("ratio must be a whole number, at least 1", column="ratio", value=self.ratio)
        caliper = self.caliper
        if caliper is not None and not (isinstance(caliper, (int, float)) and np.isfinite(caliper) and caliper > 0):
            raise InputError(
                "caliper must be a positive number of standard deviations", column="caliper", value=caliper
            )
        if not _is_whole(self.seed) or self.seed < 0:
            raise InputError("seed must be a whole number, zero or more", column="seed", value=self.seed)
        if not isinstance(self.replace, bool):
            raise InputError("replace must be True or False", column="replace", value=self.replace)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def match(
    source: Source,
    formula: str,
    unit: str,
    method: str = "nearest",
    distance: str = "glm",
    exact: Sequence[str] = (),
    caliper: float | None = None,
    caliper_sd: str = "full",
    ratio: int = 1,
    replace: bool = False,
    ties: str = "all",
    m_order: str | None = None,
    seed: int = 20260101,
    *,
    link: str | None = None,
    discard: str = "none",
    start: str | None = None,
    entry: str | None = None,
    end: str | None = None,
    allow_later_treated: bool = True,
) -> MatchedSample:
    """Match each treated unit with its nearest controls.

    Parameters
    ----------
    source : DuckDB relation, DataFrame, Arrow table or path
        One row per unit, with covariates as they were before treatment.
    formula : str
        ``"treat ~ age + education + region"``: the treatment (0/1 or boolean) and the terms of the propensity score.
    unit : str
        Column of the unit's id, integer or text. Ids settle ties: integers by value, text by code point.
    method : {"nearest", "riskset"}
        ``nearest``: greedy nearest-neighbour matching. ``riskset``: the same among those who are still unemployed and
        untreated after as long a time; see `retrain_eval.sample.riskset.match_riskset` for what differs.
    distance : str
        ``"glm"`` estimates a logit propensity score; ``"mahalanobis"`` and ``"robust_mahalanobis"`` compare the
        covariates themselves (`retrain_eval.sample.mahalanobis.metric`); anything else names a numeric column that
        holds a score.
    exact : sequence of str
        Columns on which partners must be equal.
    caliper : float, optional
        Largest distance allowed, in standard deviations of the score on its own scale, inclusive.
    caliper_sd : {"full", "pooled"}
        Whose deviation: of all units (as MatchIt), or √((s₁² + s₀²)/2) of the two arms.
    ratio : int
        Controls wanted for each treated unit.
    replace : bool
        Whether a control may serve several treated units.
    ties : {"all", "first"}
        With replacement: keep every control exactly as near as the last one chosen (Abadie and Imbens 2006), or
        exactly ``ratio``. Without replacement ties are always settled by id.
    m_order : {"largest", "smallest", "data", "closest", "farthest", "random"}, optional
        Without replacement: who chooses first. ``data`` is the order of ids; ``random`` is drawn from ``seed``.
        Left out: ``largest``, or ``data`` where there is no score.
    seed : int
        Used by ``m_order="random"`` only.
    link : {"logit", "linear.logit"}, optional
        Whether the estimated score is the probability (if left out) or the linear predictor. Calipers are in
        standard deviations of the one chosen.
    discard : {"none", "treated", "control", "both"}
        Whom to leave out beforehand because nobody of the other arm has a score as small, or as large. The
        caliper's deviation is then that of those who stay.
    start, entry, end : str, optional
        ``riskset`` only: columns with the periods in which unemployment began, training began (NULL = never), and
        unemployment ended (NULL = it lasts).
    allow_later_treated : bool
        ``riskset`` only: whether a control may be trained later.

    Returns
    -------
    MatchedSample

    Raises
    ------
    InputError
        For an unknown keyword, column or method, a missing or non-finite covariate, a repeated id, or a treatment
        that is not 0 or 1. The unit is named.
    DesignError
        If nobody is treated, or everybody is; if covariates separate the arms (the covariate is named); or if no
        treated unit finds a control.

    Notes
    -----
    Follows MatchIt 4.7.2 pair by pair, with the id in place of the row number: the order of rows and the number of
    threads change nothing. The order of choices is told in `retrain_eval.sample.nearest`.

    References
    ----------
    Ho, D., Imai, K., King, G. and Stuart, E. (2011), MatchIt, Journal of Statistical Software 42(8).
    Abadie, A. and Imbens, G. (2006), Econometrica 74, 235-267.

    Examples
    --------
    >>> import pandas as pd
    >>> people = pd.DataFrame({
    ...     "person": [1, 2, 3, 4, 5, 6], "trained": [1, 1, 0, 0, 0, 0], "age": [25, 41, 24, 33, 40, 58],
    ... })
    >>> sample = match(people, "trained ~ age", unit="person")
    >>> sample.pairs.df()[["treated_id", "control_id"]].to_numpy().tolist()
    [[1, 3], [2, 5]]
    """
    columns = (exact,) if isinstance(exact, str) else tuple(exact)
    order = m_order if m_order is not None else "data" if distance in DISTANCES or method == "riskset" else "largest"
    options = _Options(
        method, distance, link, columns, caliper, caliper_sd, ratio, replace, ties, order, discard, seed
    )  # fmt: skip
    options.check()
    if unit.lower() in _RESERVED:
        raise InputError(f"the unit column cannot be called {unit!r}", column=unit, fix="rename it")
    parsed = parse_formula(formula)
    relation = as_relation(source)
    given = distance not in ("glm", *DISTANCES)
    if given and distance not in relation.columns:
        raise unknown("distance", distance, ["glm", *DISTANCES, *relation.columns])
    if unit in (parsed.treat, *parsed.covariates):
        raise InputError("the unit id is part of the formula", column=unit, value=formula)
    if not given and not parsed.covariates:
        raise InputError("a propensity score needs a covariate", value=formula, fix='such as "treat ~ age"')
    if method == "riskset":
        return match_riskset(
            relation, parsed, unit, start=start, entry=entry, end=end, allow_later_treated=allow_later_treated,
            distance=distance, link=link, exact=columns, caliper=caliper, caliper_sd=caliper_sd, ratio=ratio,
            replace=replace, ties=ties, m_order=m_order, discard=discard,
        )  # fmt: skip
    for name, value in (("start", start), ("entry", entry), ("end", end)):
        if value is not None:
            raise InputError(f"{name} is read by riskset only", column=name, value=value, fix='method="riskset"')
    units = load_units(relation, unit, parsed.treat, parsed.covariates, [*columns, *([distance] if given else [])])
    choices: dict[str, object] = {
        "unit": unit,
        "formula": formula,
        "estimand": "ATT",
        **asdict(options),
        "exact": list(columns),
    }
    shown = list(dict.fromkeys([*parsed.covariates, *columns]))
    if distance in DISTANCES:
        pairs = _match_covariates(parsed, units, options)
        if len(pairs.treated) == 0:
            raise DesignError(_nobody(options, float("inf")))
        choices |= {"caliper_width": None, "propensity": None}
        return assemble(relation, unit, units, None, pairs, shown, choices)
    score, propensity = _score(parsed, units, distance, link or "logit")
    unit_score = score[units.cell]
    kept = common_support(unit_score, units.treated, discard)
    width = caliper_width(unit_score[kept], units.treated[kept], caliper, caliper_sd)
    tie = tie_width(score) if link == "linear.logit" else 0.0
    pairs = _match_units(units, unit_score, kept, width, tie, options)
    if len(pairs.treated) == 0:
        raise DesignError(_nobody(options, width))
    choices |= {
        "link": propensity["link"] if propensity else None,
        "caliper_width": None if caliper is None else width,
        "propensity": propensity,
        "n_treated_discarded": int((units.treated & ~kept).sum()),
        "n_control_discarded": int((~units.treated & ~kept).sum()),
    }
    return assemble(relation, unit, units, score, pairs, shown, choices)


def _score(
    formula: TreatmentFormula, units: Units, distance: str, link: str
) -> tuple[Floats, dict[str, object] | None]:
    """Return the score of each cell and, if it was estimated, how."""
    if distance != "glm":
        return given_score(units, distance), None
    n_cells = len(units.cells)
    treated = np.bincount(units.cell[units.treated], minlength=n_cells).astype(float)
    total = np.bincount(units.cell, minlength=n_cells).astype(float)
    fit = fit_propensity(formula, units.cells, treated, total)
    return fit.score if link == "logit" else fit.linear, {
        "link": link,
        "coefficients": fit.coefficients,
        "aliased": list(fit.aliased),
        "iterations": fit.iterations,
        "mean_score": fit.mean_score,
        "n_cells": n_cells,
    }


def _check_ratio(ratio: int, n_control: int) -> None:
    if ratio > n_control:
        raise InputError(f"ratio is {ratio}, but there are only {n_control} control(s)", column="ratio", value=ratio)


def _match_units(units: Units, score: Floats, kept: Bools, width: float, tie: float, options: _Options) -> Pairs:
    _check_ratio(options.ratio, int((~units.treated & kept).sum()))
    stratum = strata(units.cells, options.exact)[units.cell]
    if kept.all():
        line = Line.build(score, units.treated, stratum, tie)
    else:
        line = Line.build(score[kept], units.treated[kept], stratum[kept], tie)
        number = np.flatnonzero(kept)
        line = replace(line, treated=number[line.treated], control=number[line.control])
    if options.replace:
        return match_with_replacement(line, ratio=options.ratio, ties=options.ties, caliper=width)
    return match_without_replacement(
        line, ratio=options.ratio, m_order=options.m_order, caliper=width, seed=options.seed
    )


def _match_covariates(formula: TreatmentFormula, units: Units, options: _Options) -> Pairs:
    _check_ratio(options.ratio, int((~units.treated).sum()))
    stratum = strata(units.cells, options.exact)[units.cell]
    check_size(units.treated, stratum)
    x = formula.design(units.cells, full_rank=False)[1]
    return match_metric(
        metric(x[units.cell], units.treated, options.distance),
        units.treated,
        stratum,
        ratio=options.ratio,
        replace=options.replace,
        ties=options.ties,
        m_order=options.m_order,
        seed=options.seed,
    )


def _nobody(options: _Options, width: float) -> str:
    limits = []
    if options.exact:
        limits.append(f"with equal {', '.join(options.exact)}")
    if options.caliper is not None:
        limits.append(f"within the caliper of {options.caliper} SD ({width:.6g} on the score)")
    return f"no treated unit has a control {' and '.join(limits)}. Coarsen or widen it."
