"""Choose comparison units: the public verb `match`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import duckdb

from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.sources import Source, as_relation
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.sample.methods.cem import match_cem
from retrain_eval.sample.methods.ebal import match_ebal
from retrain_eval.sample.methods.ipw import match_ipw
from retrain_eval.sample.methods.nearest import match_nearest
from retrain_eval.sample.methods.riskset import match_riskset
from retrain_eval.sample.models.formula import TreatmentFormula, parse_formula
from retrain_eval.sample.options import DISTANCES, Cutpoints, Grouping, Options

_RESERVED = ("treat", "weight", "subclass", "match_id", "elapsed", "period", "censored_at", "_row", "person_key")
_Method = Callable[[duckdb.DuckDBPyRelation, TreatmentFormula, str, Options], MatchedSample]

__all__ = ["MatchedSample", "match"]


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
    cutpoints: Cutpoints = "sturges",
    grouping: Grouping | None = None,
    moments: int = 1,
    estimand: str = "ATT",
) -> MatchedSample:
    """Find the comparison group: match each treated unit with its nearest controls, or weight the controls.

    Parameters
    ----------
    source : DuckDB relation, DataFrame, Arrow table or path
        One row per unit, with covariates as they were before treatment.
    formula : str
        ``"treat ~ age + education + region"``: the treatment (0/1 or boolean) and the terms of the propensity score;
        for ``cem`` the columns to coarsen, for ``ebal`` the terms to balance.
    unit : str
        Column of the unit's id, integer or text. Ids take part in settling ties: integers by value, text by code point.
    method : {"nearest", "riskset", "cem", "ebal", "ipw"}
        ``nearest``: greedy nearest-neighbour matching. ``riskset``: the same among those who are still unemployed and
        untreated after the same elapsed time; see `retrain_eval.sample.methods.riskset.match_riskset`.
        ``cem``: all units in the same cell of coarsened covariates (`retrain_eval.sample.methods.cem.match_cem`).
        ``ebal``: controls weighted until their means equal those of the treated
        (`retrain_eval.sample.methods.ebal.match_ebal`). ``ipw``: controls weighted by the odds of treatment
        (`retrain_eval.sample.methods.ipw.match_ipw`).
    distance : str
        ``"glm"`` estimates a logit propensity score; ``"mahalanobis"`` and ``"robust_mahalanobis"`` compare the
        covariates themselves (`retrain_eval.sample.methods.mahalanobis.metric`); anything else names a numeric column
        that holds a score.
    exact : sequence of str
        Columns on which partners must be equal. ``ebal`` and ``ipw`` weight within each combination of them.
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
        exactly ``ratio``. Without replacement every tie is settled; see the notes.
    m_order : {"largest", "smallest", "data", "closest", "farthest", "random"}, optional
        Without replacement: who chooses first. ``data`` is the order of ids; ``random`` is drawn from ``seed``.
        Left out: ``largest``, or ``data`` where there is no score.
    seed : int
        Used by ``m_order="random"`` only.
    link : {"logit", "linear.logit"}, optional
        Whether the estimated score is the probability (if left out) or the linear predictor. Calipers are in
        standard deviations of the one chosen.
    discard : {"none", "treated", "control", "both"}
        The arms from which to drop, before matching, units whose score is outside the range of the other arm. The
        caliper then uses the standard deviation of the remaining units.
    start, entry, end : str, optional
        ``riskset`` only: columns with the periods in which unemployment began, training began (NULL = never), and
        unemployment ended (NULL = it lasts).
    allow_later_treated : bool
        ``riskset`` only: whether a control may be trained later.
    cutpoints : "sturges", or mapping of column to int, sequence of float or "sturges"
        ``cem`` only: how numbers are coarsened, into so many bins of equal width or at these cuts.
    grouping : mapping of column to lists of values, optional
        ``cem`` only: which values of a text column count as one, such as ``{"race": [["white", "hispan"]]}``.
    moments : int
        ``ebal`` only: 1 balances means, 2 variances too, 3 skewness too.
    estimand : {"ATT", "ATE", "ATO"}
        ``ipw`` only: weights for the effect on the treated, on all, or on those for whom treatment was in doubt.

    Returns
    -------
    MatchedSample

    Raises
    ------
    InputError
        For an unknown keyword, column or method, a keyword the method does not read, a missing or non-finite
        covariate, a repeated id, or a treatment that is not 0 or 1. The unit is named.
    DesignError
        If no unit is treated, or all are; if covariates separate the arms, or weights cannot balance them (the
        covariate is named); or if no treated unit has a control.

    Notes
    -----
    ``nearest`` and ``cem`` follow MatchIt 4.7.2 pair by pair, with the id in place of the row number: the order of
    rows and the number of threads change nothing.

    Ties: all units, of both arms and every stratum, are sorted by (score, id). Of two free controls at equal distance
    the one fewer steps away in this sequence is taken, where every unit passed is a step; at equal steps the left one.
    With ``ratio`` above 1 the search for a further control goes on from the earlier ones
    (`retrain_eval.sample.methods.nearest_search`). On the Mahalanobis distance, which has no sequence, the lowest id is
    taken. ``audit["ties_broken"]`` counts the choices in which another free control was as near, of
    ``audit["n_choices"]``; `retrain_eval.sample.ties.effects_relabelled` shows how much they matter.

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
    options = Options(
        method=method, distance=distance, link=link, exact=columns, caliper=caliper, caliper_sd=caliper_sd,
        ratio=ratio, replace=replace, ties=ties, m_order=m_order, discard=discard, seed=seed, start=start,
        entry=entry, end=end, allow_later_treated=allow_later_treated, cutpoints=cutpoints, grouping=grouping or None,
        moments=moments, estimand=estimand,
    )  # fmt: skip
    options.check()
    if unit.lower() in _RESERVED:
        raise InputError(f"the unit column cannot be called {unit!r}", column=unit, fix="rename it")
    parsed = parse_formula(formula)
    given = distance not in ("glm", *DISTANCES)
    relation = as_relation(
        source,
        numbers=(parsed.treat, distance if given else None, start, entry, end),
        keys=(unit,),
        covariates=[name for name in parsed.by_type if name not in columns and name not in (grouping or ())],
    )
    if given and distance not in relation.columns:
        raise unknown("distance", distance, ["glm", *DISTANCES, *relation.columns])
    if unit in (parsed.treat, *parsed.covariates):
        raise InputError("the unit id is part of the formula", column=unit, value=formula)
    if not given and not parsed.covariates and not (method == "cem" and columns):
        raise InputError("the formula needs a covariate", value=formula, fix='such as "treat ~ age"')
    methods: dict[str, _Method] = {"nearest": match_nearest, "cem": match_cem, "ebal": match_ebal, "ipw": match_ipw}
    if method == "riskset":
        return match_riskset(
            relation, parsed, unit, start=start, entry=entry, end=end, allow_later_treated=allow_later_treated,
            distance=distance, link=link, exact=columns, caliper=caliper, caliper_sd=caliper_sd, ratio=ratio,
            replace=replace, ties=ties, m_order=m_order, discard=discard,
        )  # fmt: skip
    return methods[method](relation, parsed, unit, options)
