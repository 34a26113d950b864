r"""Kaplan–Meier and Nelson–Aalen curves from a life table.

With ``d`` ending of ``Y`` at risk (sums of weights) at each duration ``u`` of a group,

    S(t) = Π_{u≤t} (1 − d/Y)          Kaplan and Meier (1958)
    H(t) = Σ_{u≤t} d/Y                Nelson (1972), Aalen (1978)

Unweighted: ``Cov(S(s), S(t)) = S(s) S(t) Σ_{u≤min(s,t)} d/(Y(Y−d))`` (Greenwood 1926) and
``Cov(H(s), H(t)) = Σ_{u≤min(s,t)} d/Y²`` (Aalen 1978). With probability weights or a cluster the covariance is the
infinitesimal jackknife (Therneau and Grambsch 2000, section 7.2; R's ``survfit(robust = TRUE)``): the influence of a
unit of weight that entered at ``a`` and left at ``b`` is

    ∂S(t) = −S(t) [ 1{event, b≤t} / (Y_b − d_b) − Σ_{a<u≤min(b,t)} d/(Y(Y−d)) ]
    ∂H(t) = 1{event, b≤t} / Y_b − Σ_{a<u≤min(b,t)} d/Y²

Without weights, clusters and left truncation it equals Greenwood's formula.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.linalg import block_diag

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.errors import DesignError, InputError, unknown
from retrain_eval.common.numerics.joint import t_quantile
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.survival.clustering import clustering
from retrain_eval.estimators.survival.risk import (
    RiskSet,
    censoring,
    group_name,
    is_event,
    require_independent_spells,
    risk_sets,
)
from retrain_eval.tables.life_table.event_codes import CENSORED
from retrain_eval.tables.life_table.life_table import LifeTable

Interval = Callable[[Floats, Floats, Floats], tuple[Floats, Floats]]

MAX_ROWS = 5_000


def kaplan_meier(
    table: LifeTable, conf_type: str = "log-log", times: Sequence[float] | None = None, level: float = 0.95
) -> EffectTable:
    """Return the Kaplan–Meier survival curve of each group.

    Parameters
    ----------
    table : LifeTable
    conf_type : {"log-log", "log", "plain"}
        Scale on which the interval is symmetric; intervals stay within 0 and 1.
    times : sequence of float, optional
        Durations to report, each for the groups still observed then. None: every duration of a group.
    level : float
        Confidence level.

    Returns
    -------
    EffectTable
        One row per group × duration: ``time`` the duration t, ``estimate`` S(t), the probability of lasting longer
        than t. ``n_treated`` is the number of spells at risk just before t, unweighted: the people behind the
        row, as the disclosure rule needs them; ``n_control`` is NA. ``p_value`` is NaN, no hypothesis being
        tested. Where S is 1 or 0 its spread cannot be estimated, and standard error and interval are NaN. ``vcov`` is
        the covariance between all rows: zero between groups unless a cluster reaches over several.

    Raises
    ------
    DesignError
        If people have several spells and the table has no cluster.
    InputError
        For an unknown ``conf_type``, or more than 5,000 rows.

    Notes
    -----
    Formulas: see the module. With probability weights or a cluster the variance is robust; ``meta`` says which.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> spells = pd.DataFrame({"id": [1, 2, 3, 4], "weeks": [1, 2, 2, 3], "cause": [1, 1, 0, 1]})
    >>> curve = kaplan_meier(life_table(spells, id="id", duration="weeks", cause="cause"))
    >>> curve.to_frame()[["time", "estimate", "n_treated"]].to_dict("list")
    {'time': [1.0, 2.0, 3.0], 'estimate': [0.75, 0.5, 0.0], 'n_treated': [4, 3, 1]}
    """
    return _curve(table, _KAPLAN_MEIER, conf_type, times, level)


def nelson_aalen(
    table: LifeTable, conf_type: str = "log", times: Sequence[float] | None = None, level: float = 0.95
) -> EffectTable:
    """Return the Nelson–Aalen cumulative hazard of each group.

    Parameters and rows are those of `kaplan_meier`, with ``estimand`` "cumulative hazard", H(t) in ``estimate`` and
    ``conf_type`` "log" or "plain".

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> spells = pd.DataFrame({"id": [1, 2, 3, 4], "weeks": [1, 2, 2, 3], "cause": [1, 1, 0, 1]})
    >>> curve = nelson_aalen(life_table(spells, id="id", duration="weeks", cause="cause"))
    >>> curve.to_frame()["estimate"].round(4).tolist()
    [0.25, 0.5833, 1.5833]
    """
    return _curve(table, _NELSON_AALEN, conf_type, times, level)


# ---- the curve and its covariance ----------------------------------------------------------------------------------


@summarised
@dataclass(frozen=True)
class _Steps:
    """A curve at a group's own durations, and what its covariance is made of.

    ``value`` is the curve and ``start`` its value before the first duration; an influence on it is ``scale`` times
    that on the sum; ``rate`` is the influence on the sum of a unit of weight that ends, and ``variance`` the
    cumulative sum of ``rate · d/Y``.
    """

    value: Floats
    start: float
    scale: Floats
    rate: Floats
    variance: Floats


def _survival(risk: RiskSet) -> _Steps:
    # if all spells at risk end, weights may leave a rounding error, although the counts show that none are left
    last = risk.n_events == risk.n
    hazard = np.where(last, 1.0, risk.events / risk.weight)
    rate = np.where(last, 0.0, 1 / np.where(last, 1.0, risk.weight - risk.events))
    value = np.cumprod(1 - hazard)
    return _Steps(value, 1.0, value, rate, np.cumsum(hazard * rate))


def _hazard(risk: RiskSet) -> _Steps:
    hazard, rate = risk.events / risk.weight, 1 / risk.weight
    return _Steps(np.cumsum(hazard), 0.0, np.ones(len(hazard)), rate, np.cumsum(hazard * rate))


@summarised
@dataclass(frozen=True)
class _Kind:
    """What is estimated, how its interval and its variance are made, and its largest possible value."""

    estimator: str
    estimand: str
    steps: Callable[[RiskSet], _Steps]
    intervals: Mapping[str, Interval]
    ceiling: float
    model_variance: str


def _curve(table: LifeTable, kind: _Kind, conf_type: str, times: Sequence[float] | None, level: float) -> EffectTable:
    if conf_type not in kind.intervals:
        raise unknown("conf_type", conf_type, kind.intervals)
    require_independent_spells(table, "Give cluster= the person's id; or a spell's own id as id= if they are.")
    robust = table.robust
    groups = risk_sets(table)
    asked_times = [asked(risk, times) for risk in groups]
    require_rows(sum(len(at) for at in asked_times), times)
    rows, blocks, influence = [], [], []
    for risk, at in zip(groups, asked_times, strict=True):
        steps = kind.steps(risk)
        # place 0 is before the first duration
        place = np.searchsorted(risk.times, at, side="right")
        value, scale = np.append(steps.start, steps.value)[place], np.append(0.0, steps.scale)[place]
        keys = row_keys(table, risk, kind.estimand, kind.estimator)
        numbers = zip(at, value, number_at_risk(table, risk, at), strict=True)
        rows += [keys | {"time": time, "estimate": estimate, "n_treated": n} for time, estimate, n in numbers]
        if robust:
            influence.append(_influence(table, risk, steps, at, scale))
        else:
            variance = np.append(0.0, steps.variance)[place]
            blocks.append(np.outer(scale, scale) * np.minimum.outer(variance, variance))
    by_cluster = clustering(
        table,
        np.array([row["estimate"] for row in rows], dtype=float),
        [[risk.level] for risk, at in zip(groups, asked_times, strict=True) for _ in at],
        lambda part: _values(part, kind, groups, asked_times),
    )
    if by_cluster.vcov is not None:
        vcov = by_cluster.vcov
    elif robust:
        vcov = table.covariance(sparse.csr_array(sparse.vstack(influence)))
    else:
        vcov = block_diag(*blocks)
    meta = facts(table, conf_type, by_cluster.name or variance_name(table, kind.model_variance))
    result = EffectTable.build(rows, vcov, level=level, n_clusters=by_cluster.n, meta=meta)
    return with_scaled_interval(result, kind.intervals[conf_type], kind.ceiling)


def _values(table: LifeTable, kind: _Kind, groups: Sequence[RiskSet], times: Sequence[Floats]) -> Floats:
    """Return the curve of each group at its times, from a part of its spells; NaN for a group that is gone."""
    left = {risk.level: risk for risk in risk_sets(table)}
    found = []
    for risk, at in zip(groups, times, strict=True):
        own = left.get(risk.level)
        if own is None:
            found.append(np.full(len(at), np.nan))
            continue
        steps = kind.steps(own)
        found.append(np.append(steps.start, steps.value)[np.searchsorted(own.times, at, side="right")])
    return np.concatenate(found)


def asked(risk: RiskSet, times: Sequence[float] | None) -> Floats:
    """Return the times to report: all, or those asked for at which the group is still observed."""
    if times is None:
        return risk.times
    at = np.unique(np.asarray(times, dtype=float))
    if not np.isfinite(at).all() or (at <= 0).any():
        raise InputError("times must be finite and above zero", column="times", value=list(times))
    observed: Floats = at[at <= risk.times[-1]]
    return observed


def number_at_risk(table: LifeTable, risk: RiskSet, at: Floats) -> Ints:
    """Return the number of spells at risk just before each time."""
    entry, duration, n = (table.cells[name].to_numpy()[risk.cells] for name in ("entry", "duration", "n"))
    return np.array([n[(entry < time) & (duration >= time)].sum() for time in at], dtype=np.int64)


def _influence(table: LifeTable, risk: RiskSet, steps: _Steps, at: Floats, scale: Floats) -> sparse.coo_array:
    """Return the influence of a unit of weight in each cell on the curve at each time, shape (K, C)."""
    entry, duration = (table.cells[name].to_numpy()[risk.cells] for name in ("entry", "duration"))
    cumulative = np.append(0.0, steps.variance)

    def until(limit: Floats) -> Floats:
        sums: Floats = cumulative[np.searchsorted(risk.times, limit, side="right")]
        return sums

    exposure = until(np.minimum.outer(at, duration)) - until(np.minimum.outer(at, entry))
    ended = is_event(table)[risk.cells] * steps.rate[np.searchsorted(risk.times, duration)]
    values = scale[:, None] * (ended * (duration <= at[:, None]) - exposure)
    rows, columns = np.indices(values.shape)
    shape = (len(at), len(table.cells))
    return sparse.coo_array((values.ravel(), (rows.ravel(), risk.cells[columns.ravel()])), shape=shape)


def variance_name(table: LifeTable, otherwise: str = "infinitesimal jackknife, by spell") -> str:
    """Return how a variance is made: robust where spells have weights or clusters."""
    if table.cluster is not None:
        return f"infinitesimal jackknife, clustered by {table.cluster}"
    return "infinitesimal jackknife, by spell" if table.weighted or table.noise is not None else otherwise


def facts(table: LifeTable, conf_type: str, variance: str) -> dict[str, object]:
    """Return the entries of a curve's ``meta`` that describe how it was estimated."""
    return {
        "conf_type": conf_type,
        "variance": variance,
        "spells": table.n_spells,
        "people": table.n_people,
        "weighted": table.weighted,
        "cluster": table.cluster,
        "grid": table.grid,
        "stopped": table.stopped,
        "censoring": censoring(table),
        "notes": () if (table.cells["cause"] == CENSORED).any() else (censoring(table),),
    }


def require_rows(n_rows: int, times: Sequence[float] | None) -> None:
    """Refuse a curve without rows, or with more than a covariance can hold."""
    if n_rows == 0:
        if times is not None and not len(times):
            raise DesignError("none of the requested durations is kept in the coarsened table")
        raise InputError("no group is observed for so long", column="times", value=list(times or ()))
    if n_rows > MAX_ROWS:
        raise InputError(
            f"the curve would have {n_rows:,} rows, and a covariance of that many squared",
            rule=f"at most {MAX_ROWS:,} rows",
            fix="give times=..., or round the duration to a coarser unit",
        )


def with_scaled_interval(table: EffectTable, interval: Interval, ceiling: float = 1.0) -> EffectTable:
    """Return the table with an interval that is symmetric on another scale, at the table's own level."""
    estimate, error = table.frame["estimate"].to_numpy(), table.frame["std_error"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = interval(estimate, error, t_quantile(table.df, 0.5 + table.confidence_level / 2))
    unknown_spread = np.isnan(error)  # where 1 ** NaN would be 1
    low, high = (np.where(unknown_spread, np.nan, end) for end in (low, np.minimum(high, ceiling)))
    return with_interval(table, low, high)


def with_interval(table: EffectTable, low: Floats, high: Floats) -> EffectTable:
    """Return the table with this interval and no p-value: that a level is zero is not a hypothesis of interest."""
    return replace(table, frame=table.frame.assign(ci_low=low, ci_high=high, p_value=np.nan))


def row_keys(table: LifeTable, risk: RiskSet, estimand: str, estimator: str = "kaplan_meier") -> dict[str, object]:
    """Return the keys of a group's row in an EffectTable."""
    return {
        "outcome": table.duration,
        "estimator": estimator,
        "estimand": estimand,
        "subgroup": group_name(table.by) or None,
        "level": group_name(risk.level) or None,
    }


# ---- intervals -----------------------------------------------------------------------------------------------------


def _plain(estimate: Floats, error: Floats, z: Floats) -> tuple[Floats, Floats]:
    return np.clip(estimate - z * error, 0, None), estimate + z * error


def _log(estimate: Floats, error: Floats, z: Floats) -> tuple[Floats, Floats]:
    ratio = np.exp(z * error / estimate)
    return estimate / ratio, estimate * ratio


def _log_log(estimate: Floats, error: Floats, z: Floats) -> tuple[Floats, Floats]:
    power = np.exp(z * error / (estimate * np.log(estimate)))
    return estimate ** (1 / power), estimate**power


# intervals of a probability, by the scale on which they are symmetric
INTERVALS: Mapping[str, Interval] = {"log-log": _log_log, "log": _log, "plain": _plain}
_KAPLAN_MEIER = _Kind("kaplan_meier", "survival", _survival, INTERVALS, 1.0, "Greenwood")
_NELSON_AALEN = _Kind("nelson_aalen", "cumulative hazard", _hazard, {"log": _log, "plain": _plain}, np.inf, "Aalen")
