r"""Discrete-time hazard from a life table: the probability of ending in a period, given survival to its start.

A spell that is at risk in the periods t = entry + 1, …, duration is one Bernoulli trial per period, of which only the
last can be a success (Allison 1982; Jenkins 1995). With ``h = F(xᵀβ)``, F the complementary log-log or the logistic
distribution, the likelihood is that of a binomial regression on group × period, with the number at risk as trials and
the number of events as successes. With the complementary log-log, β is the log hazard ratio of Cox's model in
continuous time (Prentice and Gloeckler 1978).

The model-based covariance is the inverse expected information; with probability weights or a cluster, it is the
sandwich. All spells of a cell have the same score, ``Σ_t (y_t − h_t) F'_t / (h_t (1 − h_t)) x_t`` per unit of weight,
so the sandwich needs no rows either: the cell accounts for the dependence between periods of a spell, and the table's
products for that between spells of a person.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import sparse, special

from retrain_eval.common.arrays import Bools, Floats
from retrain_eval.common.errors import DesignError, InputError, unknown
from retrain_eval.common.levels import missing_terms
from retrain_eval.common.numerics.linear_algebra import dependent_columns
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.survival.clustering import clustering
from retrain_eval.estimators.survival.regression.cox import wald_test
from retrain_eval.estimators.survival.regression.model import (
    Model,
    event_of,
    read_model,
    require_events_by_level,
)
from retrain_eval.estimators.survival.regression.trials import Trials, intervals_of, score, trials_of
from retrain_eval.estimators.survival.risk import censoring, require_independent_spells
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.life_table.spell_clusters import Group

PERIOD = "period"
_RUNAWAY = 12.0  # an effect of e^12 over the range of a term is treated as infinite
_NEVER = 1e-9
_BASELINE = re.compile(rf"Intercept|{PERIOD}\[[^:]*\]")


def discrete_hazard(
    table: LifeTable,
    formula: str,
    link: str = "cloglog",
    bins: Sequence[float] | None = None,
    cause: object = None,
    reference: Mapping[str, str] | None = None,
    level: float = 0.95,
) -> EffectTable:
    """Fit a discrete-time hazard model by maximum likelihood.

    Parameters
    ----------
    table : LifeTable
        Durations must be whole periods.
    formula : str
        In terms of the columns of levels and ``period``: ``"arm + age_band"`` for one effect at all durations,
        ``"arm:period"`` for one effect in each period (lock-in: negative first, positive later), ``"arm * period"`` for
        the first period's effect and the differences of the others from it. The baseline is always included.
    link : {"cloglog", "logit"}
        Coefficients are log hazard ratios of the underlying continuous time, or log odds ratios.
    bins : sequence of float, optional
        Last periods of the intervals in which the baseline, and ``period`` in the formula, are constant: ``(2, 4, 8)``
        makes 1–2, 3–4, 5–8 and, if spells last longer, the rest. None: one interval per period.
    cause : optional
        The cause whose hazard is modelled, with other causes censored in their period. None: any cause.
    reference : mapping, optional
        Factor → reference level; see `retrain_eval.estimators.survival.regression.cox.cox`.
    level : float
        Confidence level.

    Returns
    -------
    EffectTable
        One row per coefficient of the formula, followed by those of the baseline: ``estimand`` is the name,
        ``n_treated`` the number of spells at risk in a period in which the term is not zero, ``n_control`` the others.
        ``meta`` is as for `retrain_eval.estimators.survival.regression.cox.cox`.

    Raises
    ------
    InputError
        For an unknown column, level, cause or link, durations that are not whole, or bins that do not ascend.
    DesignError
        If there are no events, terms are collinear (named), a coefficient is infinite because none or all of the spells
        end where it applies (named), or people have several spells and there is no cluster.

    Notes
    -----
    Periods in which none or all of the spells at risk end have a hazard of zero or one whatever the other coefficients.
    They are left out, which does not change the other estimates, and are listed in ``meta["notes"]``. With all
    interactions of factors and single periods, fitted hazards equal those of the life table.

    Examples
    --------
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> rows = pd.DataFrame({"id": range(8), "quarters": [1, 2, 2, 2, 1, 1, 2, 2], "cause": [1, 1, 0, 0, 1, 1, 1, 0],
    ...                      "arm": ["control"] * 4 + ["trained"] * 4})
    >>> table = life_table(rows, id="id", duration="quarters", cause="cause", by="arm")
    >>> effects = discrete_hazard(table, "arm:period", link="logit").to_frame().head(2)
    >>> effects[["estimand", "estimate"]].round(3).to_dict("list")
    {'estimand': ['arm[T.trained]:period[1]', 'arm[T.trained]:period[2]'], 'estimate': [1.099, 0.693]}
    """
    if link not in _LINKS:
        raise unknown("link", link, _LINKS)
    if PERIOD in table.by:
        raise InputError(f"{PERIOD!r} is the name of the baseline's intervals", column=PERIOD, fix="rename the column")
    require_independent_spells(table, "Give cluster= the person's id; or a spell's own id as id= if they are.")
    event = event_of(table, cause)
    trials, notes = trials_of(table, event, intervals_of(table, bins))
    labels = sorted(set(trials.label), key=lambda label: float(label.split("–")[0]))
    model = read_model(table, f"{formula} + {PERIOD}", reference, extra={PERIOD: labels})
    require_events_by_level(table, model, event)
    names, x = _design(model, trials, labels)
    slope = _LINKS[link]
    beta = _fit(table, trials, x, names, link)
    hazard, rate = slope(x @ beta)
    information = x.T @ ((trials.at_risk * rate**2 / (hazard * (1 - hazard)))[:, None] * x)
    inverse: Floats = np.asarray(np.linalg.inv(information), dtype=float)
    robust = table.weighted or table.cluster is not None
    by_cluster = clustering(
        table,
        beta,
        [table.groups()] * len(names),
        lambda part: _again(part, names, formula, link, bins, cause, model.reference),
        _sides(table, trials, x),
    )
    covariance = inverse
    if by_cluster.vcov is not None:
        covariance = by_cluster.vcov
    elif robust or table.noise is not None:
        influence = sparse.csr_array((score(table, event, trials, x, hazard, rate) @ inverse).T)
        covariance = table.covariance(influence) if robust else inverse + table.noise_covariance(influence)
    # the formula's terms first, then the baseline
    baseline = np.array([_BASELINE.fullmatch(name) is not None for name in names])
    order = np.argsort(baseline, kind="stable")
    rows = [_row(table, trials, names[j], beta[j], x[:, j]) for j in order]
    beta, covariance = beta[order], covariance[np.ix_(order, order)]
    terms = np.flatnonzero((~baseline & ~missing_terms(names))[order])
    clusters = None if by_cluster.df is None else int(by_cluster.df.min()) + 1
    meta = {
        "formula": formula,
        "link": link,
        "periods": labels,
        "cause": None if cause is None else str(cause),
        "reference": model.reference,
        "linear": tuple(name for name in model.linear if name != PERIOD),
        "variance": by_cluster.name or ("inverse expected information" if not robust else _sandwich_name(table)),
        "events": int(table.cells["n"].to_numpy()[event].sum()),
        "spells": table.n_spells,
        "people": table.n_people,
        "weighted": table.weighted,
        "cluster": table.cluster,
        "grid": table.grid,
        "stopped": table.stopped,
        "censoring": censoring(table),
        "log_likelihood": _log_likelihood(trials, hazard),
        "tests": {"wald": wald_test(beta[terms], covariance[np.ix_(terms, terms)], clusters)} if len(terms) else {},
        "notes": notes,
    }
    return EffectTable.build(rows, covariance, level=level, df=by_cluster.df, n_clusters=by_cluster.n, meta=meta)


def _sides(table: LifeTable, trials: Trials, x: Floats) -> list[tuple[list[Group], list[Group]]]:
    """Return, for each column, the groups with a trial in which it is not zero, and those with one in which it is."""
    groups = table.groups()

    def of(which: Bools) -> list[Group]:
        return [groups[i] for i in np.unique(trials.group[which])]

    return [(of(column != 0), of(column == 0)) for column in x.T]


def _again(
    part: LifeTable,
    names: list[str],
    formula: str,
    link: str,
    bins: Sequence[float] | None,
    cause: object,
    reference: Mapping[str, str],
) -> Floats:
    """Return the coefficients from a subset of the spells, in the order of the full fit; NaN if not estimable."""
    kept = {name: level for name, level in reference.items() if name != PERIOD}
    frame = discrete_hazard(part, formula, link, bins, cause, kept).frame
    found = dict(zip(frame["estimand"], frame["estimate"], strict=True))
    return np.array([found.get(name, np.nan) for name in names])


# ---- fit ---------------------------------------------------------------------------------------------------------


def _design(model: Model, trials: Trials, labels: list[str]) -> tuple[list[str], Floats]:
    frame = model.frame.iloc[trials.group].reset_index(drop=True)
    first = model.reference[PERIOD]
    frame[PERIOD] = pd.Categorical(trials.label, [first, *(label for label in labels if label != first)])
    names, x = model.matrix(frame)
    return ["Intercept", *names], np.column_stack([np.ones(len(frame)), x])


def _cloglog(linear: Floats) -> tuple[Floats, Floats]:
    rate = np.exp(linear)
    return -np.expm1(-rate), rate * np.exp(-rate)


def _logit(linear: Floats) -> tuple[Floats, Floats]:
    hazard = 1 / (1 + np.exp(-linear))
    return hazard, hazard * (1 - hazard)


_LINKS: dict[str, Callable[[Floats], tuple[Floats, Floats]]] = {"cloglog": _cloglog, "logit": _logit}


def _fit(table: LifeTable, trials: Trials, x: Floats, names: list[str], link: str) -> Floats:
    """Return the maximum-likelihood coefficients; refuse terms without a finite estimate."""
    # scaled to the unit interval, so that a coefficient is the effect over the whole range of its term
    low, width = x.min(axis=0), np.ptp(x, axis=0)
    low[0], width[0] = 0.0, 1.0
    unit = (x - low) / np.where(width > 0, width, 1.0)
    dependent = dependent_columns(unit.T @ (trials.at_risk[:, None] * unit), names)
    if dependent:
        name, others = dependent[0]
        made = f"is a combination of {', '.join(map(repr, others))}" if others else "never differs"
        raise DesignError(
            f"these terms are collinear: {name!r} {made}. Leave one out",
            public="the groups and periods compared cannot be told apart",
        )
    _require_both_outcomes(trials, x, names)
    from statsmodels.genmod.families import Binomial, links
    from statsmodels.genmod.generalized_linear_model import GLM
    from statsmodels.tools.sm_exceptions import PerfectSeparationWarning

    family = Binomial(link=links.CLogLog() if link == "cloglog" else links.Logit())
    counts = np.column_stack([trials.events, trials.at_risk - trials.events])
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        warnings.simplefilter("ignore", PerfectSeparationWarning)  # refused below, by name
        result = GLM(counts, unit, family=family).fit(maxiter=200, tol=1e-13, tol_criterion="params")
    effect = np.asarray(result.params, dtype=float)
    far = [name for name, value in zip(names[1:], effect[1:], strict=True) if not abs(value) <= _RUNAWAY]
    if far:
        raise DesignError(
            f"the coefficient of {', '.join(map(repr, far))} is infinite: these terms separate events from non-events. "
            "Merge levels, merge periods with bins=, or leave the terms out",
            public="of one group compared all end, or none, so that there is no finite estimate",
        )
    hazard, _ = _LINKS[link](unit @ effect)
    extreme = np.flatnonzero(~((hazard > _NEVER) & (hazard < 1 - _NEVER)))
    if len(extreme):
        trial = extreme[0]
        who = " × ".join(
            f"{name} {level}" for name, level in zip(table.by, table.groups()[trials.group[trial]], strict=True)
        )
        raise DesignError(
            f"the fitted hazard of {who or 'all'} in period {trials.label[trial]} is zero or one: a coefficient is "
            "infinite. Merge levels, or merge periods with bins=",
            public="of one group compared all end, or none, so that there is no finite estimate",
        )
    if not result.converged:
        raise DesignError(
            "the likelihood did not converge in 200 steps; simplify the formula",
            public="the likelihood of the model has no maximum that could be found",
        )
    beta: Floats = effect / width
    beta[0] -= beta[1:] @ low[1:]
    return beta


def _require_both_outcomes(trials: Trials, x: Floats, names: list[str]) -> None:
    """Refuse a 0/1 term if none or all of the spells end where it applies."""
    for name, column in zip(names, x.T, strict=True):
        if not np.isin(column, (0.0, 1.0)).all():
            continue
        events, trials_here = trials.events @ column, trials.at_risk @ column
        share = events / trials_here
        if share <= 0 or share >= 1 - 1e-12:
            who = "no spell" if share <= 0 else "every spell"
            raise DesignError(
                f"{who} at risk ends where {name!r} applies, so its coefficient is infinite. "
                "Merge levels, or merge periods with bins=",
                public="of one group compared all end, or none, so that there is no finite estimate",
            )


# ---- description of a fit ------------------------------------------------------------------------------------------


def _row(table: LifeTable, trials: Trials, name: str, estimate: float, column: Floats) -> dict[str, object]:
    ever = trials.ever(table, column != 0)
    n = table.cells["n"].to_numpy()
    return {
        "outcome": table.duration,
        "estimator": "discrete_hazard",
        "estimand": name,
        "estimate": estimate,
        "n_treated": int(n[ever].sum()),
        "n_control": int(n[~ever].sum()) if not ever.all() else None,
    }


def _log_likelihood(trials: Trials, hazard: Floats) -> float:
    return float(
        special.xlogy(trials.events, hazard).sum() + special.xlog1py(trials.at_risk - trials.events, -hazard).sum()
    )


def _sandwich_name(table: LifeTable) -> str:
    return "sandwich, by spell" if table.cluster is None else f"sandwich, clustered by {table.cluster}"
