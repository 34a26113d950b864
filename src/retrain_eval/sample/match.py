"""Choose comparison units: the public verb `match`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from retrain_eval.errors import DesignError, InputError, unknown
from retrain_eval.sample.formula import TreatmentFormula, parse_formula
from retrain_eval.sample.matched import MatchedSample, assemble
from retrain_eval.sample.nearest import (
    M_ORDERS,
    Line,
    Pairs,
    match_with_replacement,
    match_without_replacement,
)
from retrain_eval.sample.propensity import fit_propensity
from retrain_eval.sample.units import Units, load_units
from retrain_eval.sources import Source, as_relation

Floats = npt.NDArray[np.float64]

METHODS = ("nearest",)
CALIPER_SDS = ("full", "pooled")
TIES = ("all", "first")
_RESERVED = ("treat", "weight", "subclass", "_row")

__all__ = ["MatchedSample", "match"]


@dataclass(frozen=True)
class _Options:
    method: str
    distance: str
    exact: tuple[str, ...]
    caliper: float | None
    caliper_sd: str
    ratio: int
    replace: bool
    ties: str
    m_order: str
    seed: int

    def check(self) -> None:
        if self.method not in METHODS:
            raise unknown("matching method", self.method, METHODS)
        for name, value, known in (
            ("caliper_sd", self.caliper_sd, CALIPER_SDS),
            ("ties", self.ties, TIES),
            ("m_order", self.m_order, M_ORDERS),
        ):
            if value not in known:
                raise unknown(name, value, known)
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
    m_order: str = "largest",
    seed: int = 20260101,
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
    method : {"nearest"}
        Greedy nearest-neighbour matching.
    distance : str
        ``"glm"`` estimates a logit propensity score; anything else names a numeric column that holds a score.
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
    m_order : {"largest", "smallest", "data", "closest", "farthest", "random"}
        Without replacement: who chooses first. ``data`` is the order of ids; ``random`` is drawn from ``seed``.
    seed : int
        Used by ``m_order="random"`` only.

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
    options = _Options(method, distance, columns, caliper, caliper_sd, ratio, replace, ties, m_order, seed)
    options.check()
    if unit.lower() in _RESERVED:
        raise InputError(f"the unit column cannot be called {unit!r}", column=unit, fix="rename it")
    parsed = parse_formula(formula)
    relation = as_relation(source)
    if distance != "glm" and distance not in relation.columns:
        raise unknown("distance", distance, ["glm", *relation.columns])
    if unit in (parsed.treat, *parsed.covariates):
        raise InputError("the unit id is part of the formula", column=unit, value=formula)
    if distance == "glm" and not parsed.covariates:
        raise InputError("a propensity score needs a covariate", value=formula, fix='such as "treat ~ age"')
    others = [*columns, *([distance] if distance != "glm" else [])]
    units = load_units(relation, unit, parsed.treat, parsed.covariates, others)
    score, propensity = _score(parsed, units, distance)
    width = _caliper_width(score[units.cell], units.treated, caliper, caliper_sd)
    pairs = _match_units(units, score, width, options)
    if len(pairs.treated) == 0:
        raise DesignError(_nobody(options, width))
    choices = {
        "unit": unit,
        "formula": formula,
        "estimand": "ATT",
        **asdict(options),
        "exact": list(columns),
        "caliper_width": None if caliper is None else width,
        "propensity": propensity,
    }
    shown = list(dict.fromkeys([*parsed.covariates, *columns]))
    return assemble(relation, unit, units, score, pairs, shown, choices)


def _score(formula: TreatmentFormula, units: Units, distance: str) -> tuple[Floats, dict[str, object] | None]:
    """Return the score of each cell and, if it was estimated, how."""
    if distance != "glm":
        column = units.cells[distance]
        if not pd.api.types.is_numeric_dtype(column):
            raise InputError("the distance must be a numeric column", column=distance, value=column.iloc[0])
        return column.to_numpy(dtype=float), None
    n_cells = len(units.cells)
    treated = np.bincount(units.cell[units.treated], minlength=n_cells).astype(float)
    total = np.bincount(units.cell, minlength=n_cells).astype(float)
    fit = fit_propensity(formula, units.cells, treated, total)
    return fit.score, {
        "link": "logit",
        "coefficients": fit.coefficients,
        "aliased": list(fit.aliased),
        "iterations": fit.iterations,
        "mean_score": fit.mean_score,
        "n_cells": n_cells,
    }


def _caliper_width(score: Floats, treated: npt.NDArray[np.bool_], caliper: float | None, sd: str) -> float:
    if caliper is None:
        return float("inf")
    if sd == "full":
        deviation = float(np.std(score, ddof=1))
    else:
        arms = (score[treated], score[~treated])
        if min(len(arm) for arm in arms) < 2:
            raise DesignError('caliper_sd="pooled" needs two units in each arm; use "full"')
        deviation = float(np.sqrt(sum(np.var(arm, ddof=1) for arm in arms) / 2))
    return caliper * deviation


def _match_units(units: Units, score: Floats, width: float, options: _Options) -> Pairs:
    n_control = int((~units.treated).sum())
    if options.ratio > n_control:
        raise InputError(
            f"ratio is {options.ratio}, but there are only {n_control} control(s)", column="ratio", value=options.ratio
        )
    stratum = np.zeros(len(units.cells), dtype=np.int64)
    if options.exact:
        stratum = strata(units.cells, options.exact)
    line = Line.build(score[units.cell], units.treated, stratum[units.cell])
    if options.replace:
        return match_with_replacement(line, ratio=options.ratio, ties=options.ties, caliper=width)
    return match_without_replacement(
        line, ratio=options.ratio, m_order=options.m_order, caliper=width, seed=options.seed
    )


def strata(cells: pd.DataFrame, exact: Sequence[str]) -> npt.NDArray[np.int64]:
    """Number the combinations of the exact columns, from 0 and without gaps, in ascending order."""
    code = np.zeros(len(cells), dtype=np.int64)
    for name in exact:
        level, levels = pd.factorize(cells[name], sort=True)
        code = code * len(levels) + level
        # without gaps after each column, so that the product of many levels cannot overflow
        if (possible := int(code.max(initial=0)) + 1) <= 4 * len(code):
            there = np.bincount(code, minlength=possible) > 0
            code = (np.cumsum(there) - 1)[code]
        else:
            code = np.unique(code, return_inverse=True)[1]
    return code


def _nobody(options: _Options, width: float) -> str:
    limits = []
    if options.exact:
        limits.append(f"with equal {', '.join(options.exact)}")
    if options.caliper is not None:
        limits.append(f"within the caliper of {options.caliper} SD ({width:.6g} on the score)")
    return f"no treated unit has a control {' and '.join(limits)}. Coarsen or widen it."
