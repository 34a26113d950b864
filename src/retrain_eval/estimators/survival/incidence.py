r"""Cumulative incidence by cause of ending: Aalen–Johansen curves from a life table.

With ``d_k`` ending by cause ``k`` of ``Y`` at risk at each duration ``u`` of a group, and ``S`` its Kaplan–Meier curve,

    F_k(t) = Σ_{u≤t} S(u−) d_k/Y          Aalen and Johansen (1978), for competing risks

so that ``S(t) + Σ_k F_k(t) = 1``. The covariance is the infinitesimal jackknife, as in R's ``survfit`` of several
states: a unit of weight that enters at ``a``, leaves at ``b`` and, if it ends, ends by cause ``c`` has the influence

    ∂F_k(t) = 1{c=k, b≤t} S(b−)/Y_b − Σ_{a<u≤min(b,t)} S(u−) d_k/Y²
              − 1{c>0, b≤t} (F_k(t) − F_k(b))/(Y_b − d_b) + Σ_{u≤t} S(u−) d_k/Y · Σ_{a<v≤b, v<u} d/(Y(Y−d))

The first line is what it does to the hazard of the cause, the second what it does to the number who are left for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg import block_diag

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.errors import DesignError, InputError, unknown
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.survival.clustering import clustering
from retrain_eval.estimators.survival.curves import (
    INTERVALS,
    asked,
    facts,
    number_at_risk,
    require_rows,
    row_keys,
    variance_name,
    with_scaled_interval,
)
from retrain_eval.estimators.survival.risk import RiskSet, require_independent_spells, risk_sets
from retrain_eval.tables.life_table.event_codes import CENSORED
from retrain_eval.tables.life_table.life_table import LifeTable

_VARIANCES = ("jackknife", "aalen")


def cumulative_incidence(
    table: LifeTable,
    conf_type: str = "log-log",
    times: Sequence[float] | None = None,
    level: float = 0.95,
    variance: str = "jackknife",
) -> EffectTable:
    """Return the probability of having ended by each cause, by duration and group.

    Parameters
    ----------
    table : LifeTable
    conf_type : {"log-log", "log", "plain"}
        Scale on which the interval is symmetric; intervals stay within 0 and 1.
    times : sequence of float, optional
        Durations to report, each for the groups still observed then. None: every duration of a group.
    level : float
        Confidence level.
    variance : {"jackknife", "aalen"}
        The infinitesimal jackknife, robust to weights and clusters; or Aalen's (1978) with the correction for ties
        of Gray (1988), as ``cmprsk::cuminc`` reports it, for independent spells of equal weight.

    Returns
    -------
    EffectTable
        One row per group × cause × duration: ``estimand`` "CIF(cause)", ``time`` the duration t, ``estimate`` F_k(t).
        ``n_treated`` is the number of spells at risk just before t. Causes that a group does not have are zero
        there. ``vcov`` is the covariance between all rows: of causes, durations and groups. Where an estimate is zero
        its spread cannot be estimated, and standard error and interval are NaN.

    Raises
    ------
    DesignError
        If no spell ends, or people have several spells and the table has no cluster.
    InputError
        For an unknown keyword, more than 5,000 rows, or ``variance="aalen"`` with weights or a cluster.

    Notes
    -----
    Treating other causes as censoring and reading ``1 − S(t)`` overstates every one of them; this does not.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> spells = pd.DataFrame({"id": [1, 2, 3, 4], "weeks": [1, 2, 2, 3], "cause": ["job", "recall", None, "job"]})
    >>> table = life_table(spells, id="id", duration="weeks", cause="cause", censored=())
    >>> curve = cumulative_incidence(table, times=(1, 3))
    >>> curve.to_frame()[["estimand", "time", "estimate"]].to_dict("list")
    {'estimand': ['CIF(job)', 'CIF(job)', 'CIF(recall)', 'CIF(recall)'], 'time': [1.0, 3.0, 1.0, 3.0], \
'estimate': [0.25, 0.75, 0.0, 0.25]}
    """
    if conf_type not in INTERVALS:
        raise unknown("conf_type", conf_type, INTERVALS)
    if variance not in _VARIANCES:
        raise unknown("variance", variance, _VARIANCES)
    if variance == "aalen" and (table.weighted or table.cluster is not None):
        what = "probability weights" if table.weighted else "a cluster"
        raise InputError(f'variance="aalen" does not hold with {what}', fix='use variance="jackknife"')
    require_independent_spells(table, "Give cluster= the person's id; or a spell's own id as id= if they are.")
    causes = causes_of(table)
    groups = risk_sets(table)
    asked_times = [asked(risk, times) for risk in groups]
    require_rows(sum(len(at) for at in asked_times) * len(causes), times)
    rows, influence, blocks = [], [], []
    for risk, at in zip(groups, asked_times, strict=True):
        steps = _steps(table, risk, causes)
        place = np.searchsorted(risk.times, at, side="right")
        at_risk = number_at_risk(table, risk, at)
        for cause, curve in zip(causes, steps.incidence, strict=True):
            keys = row_keys(table, risk, f"CIF({cause})", "aalen_johansen")
            numbers = zip(at, curve[place], at_risk, strict=True)
            rows += [keys | {"time": time, "estimate": value, "n_treated": n} for time, value, n in numbers]
        if variance == "aalen":
            blocks.append(_aalen(risk, steps, place))
        if variance != "aalen" or table.noise is not None:
            influence.append(_influence(table, risk, steps, causes, at))
    by_cluster = clustering(
        table,
        np.array([row["estimate"] for row in rows], dtype=float),
        [[risk.level] for risk, at in zip(groups, asked_times, strict=True) for _ in range(len(at) * len(causes))],
        lambda part: _values(part, groups, asked_times, causes),
    )
    if by_cluster.vcov is not None:
        vcov = by_cluster.vcov
    else:
        stacked = sparse.csr_array(sparse.vstack(influence)) if influence else None
        vcov = block_diag(*blocks) if stacked is None else table.covariance(stacked)
        if blocks and stacked is not None:
            vcov = block_diag(*blocks) + table.noise_covariance(stacked)
    name = by_cluster.name or ("Aalen" if blocks else variance_name(table))
    result = EffectTable.build(
        rows, vcov, level=level, n_clusters=by_cluster.n, meta=facts(table, conf_type, name) | {"causes": causes}
    )
    return with_scaled_interval(result, INTERVALS[conf_type])


def _values(table: LifeTable, groups: Sequence[RiskSet], times: Sequence[Floats], causes: Sequence[str]) -> Floats:
    """Return the curves of each group at its times, from a part of its spells; NaN for a group that is gone."""
    left = {risk.level: risk for risk in risk_sets(table)}
    found = []
    for risk, at in zip(groups, times, strict=True):
        own = left.get(risk.level)
        if own is None:
            found.append(np.full(len(at) * len(causes), np.nan))
            continue
        place = np.searchsorted(own.times, at, side="right")
        found.append(_steps(table, own, causes).incidence[:, place].ravel())
    return np.concatenate(found)


def causes_of(table: LifeTable) -> tuple[str, ...]:
    """Return the causes by which spells end, in the order of their text.

    Raises
    ------
    DesignError
        If there is none.
    """
    found = tuple(sorted(set(table.cells["cause"]) - {CENSORED}))
    if not found:
        raise DesignError(
            f"none of {table.n_spells} spells ends: there is no cause to estimate",
            public="no spell ends, so that there is no cause to estimate",
        )
    return found


@summarised
@dataclass(frozen=True)
class _Steps:
    """A group's curves; places count from 0, before the first duration, so that shapes are (…, K + 1).

    ``before`` is S(t−) and ``after`` S(t) at each duration, shape (K,); ``events`` the weight that ends by cause,
    ``incidence`` F; ``rate`` is 1/(Y − d), zero where all end.
    """

    before: Floats
    after: Floats
    events: Floats
    incidence: Floats
    rate: Floats


def _steps(table: LifeTable, risk: RiskSet, causes: Sequence[str]) -> _Steps:
    duration, cause, weight = (table.cells[name].to_numpy()[risk.cells] for name in ("duration", "cause", "sum_w"))
    place = np.searchsorted(risk.times, duration)
    events = np.stack(
        [np.bincount(place, weights=np.where(cause == name, weight, 0.0), minlength=len(risk.times)) for name in causes]
    ).astype(float)
    # if all spells at risk end, weights may leave a rounding error, although the counts show that none are left
    last = risk.n_events == risk.n
    at_risk = np.where(last, risk.events, risk.weight)
    survival = np.append(1.0, np.cumprod(np.where(last, 0.0, 1 - risk.events / at_risk)))
    incidence = np.cumsum(survival[:-1] * events / at_risk, axis=1)
    rate = np.where(last, 0.0, 1 / np.where(last, 1.0, risk.weight - risk.events))
    return _Steps(survival[:-1], survival[1:], events, np.pad(incidence, ((0, 0), (1, 0))), rate)


def _influence(table: LifeTable, risk: RiskSet, steps: _Steps, causes: Sequence[str], at: Floats) -> sparse.coo_array:
    """Return the influence of a unit of weight in each cell, shape (causes × times, C)."""
    entered, duration, cause = (table.cells[name].to_numpy()[risk.cells] for name in ("entry", "duration", "cause"))
    ended = cause != CENSORED
    left = np.searchsorted(risk.times, duration)
    # places up to which: the time, the spell's end, its entry
    until, end = np.searchsorted(risk.times, at, side="right"), left + 1
    entry = np.searchsorted(risk.times, entered, side="right")
    to_end, to_entry = np.minimum.outer(until, end), np.minimum.outer(until, entry)
    over = until[:, None] >= end
    hazard = np.append(0.0, np.cumsum(risk.events / risk.weight * steps.rate))
    values = []
    for number, name in enumerate(causes):
        incidence = steps.incidence[number]
        step = np.diff(incidence)
        own_hazard = np.append(0.0, np.cumsum(step / risk.weight))
        mixed = np.append(0.0, np.cumsum(step * hazard[:-1]))
        later = incidence[until][:, None] - incidence[np.minimum.outer(until, end)]
        fewer = mixed[to_end] - mixed[to_entry] - hazard[entry] * (incidence[to_end] - incidence[to_entry])
        values.append(
            over * ((cause == name) * (steps.before / risk.weight)[left])
            - (own_hazard[to_end] - own_hazard[to_entry])
            - later * (ended * steps.rate[left] - (hazard[end] - hazard[entry]))
            + fewer
        )
    dense = np.vstack(values)
    rows, columns = np.indices(dense.shape)
    shape = (len(dense), len(table.cells))
    return sparse.coo_array((dense.ravel(), (rows.ravel(), risk.cells[columns.ravel()])), shape=shape)


def _aalen(risk: RiskSet, steps: _Steps, place: Ints) -> Floats:
    """Return the model covariance, shape (causes × times)²: each cause's deaths vary as if drawn on their own.

    A death by cause ``j`` at ``u`` moves F_k(t) by ``S(u−)/Y (1{j=k} − (F_k(t) − F_k(u))/S(u))``; ``d_j`` of ``Y``
    have the variance ``d_j (Y − d_j)/(Y − 1)``.
    """
    k, n = len(steps.events), len(risk.times)
    due = np.arange(1, n + 1) <= place[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        ahead = (steps.incidence[:, place][:, :, None] - steps.incidence[:, None, 1:]) / steps.after
    ahead = np.where(due & (steps.after > 0), ahead, 0.0)
    spread = steps.events * (risk.weight - steps.events) / np.maximum(risk.weight - 1, 1)
    total = np.zeros((k * len(place), k * len(place)))
    for j in range(k):
        moved = due * (steps.before / risk.weight) * ((np.arange(k) == j)[:, None, None] - ahead)
        flat = moved.reshape(-1, n)
        total += (flat * spread[j]) @ flat.T
    return total
