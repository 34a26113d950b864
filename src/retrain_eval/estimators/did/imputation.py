"""Group-time effects by imputation: fit the untreated observations, average observed less imputed outcomes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy import sparse

from retrain_eval.common.arrays import Bools, Floats, Index
from retrain_eval.common.errors import DesignError
from retrain_eval.common.numerics.linear_algebra import independent_columns
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.did.comparisons import Coefficients
from retrain_eval.estimators.did.conditional import design
from retrain_eval.estimators.did.group_time import GroupTimeEffects
from retrain_eval.estimators.did.twfe import Fit, Panel, least_squares, panel, small_sample_factor
from retrain_eval.tables.moments.moments import MomentTable

Leads = list[tuple[pd.DataFrame, sparse.csr_array]]


@dataclass(frozen=True)
class Plan:
    """What tells the three estimators apart."""

    estimator: str
    never: bool
    anticipation: int
    covariates: tuple[str, ...] = ()
    small_sample: bool = True
    shares: str = "fixed"
    aggregation: str = "dynamic"
    by: tuple[str, ...] = ()
    seed: int = 20260101
    pretrends: int = 0
    notes: list[str] = field(default_factory=list)


def group_time(
    moments: MomentTable, mask: Bools | None, plan: Plan, keys: dict[str, object]
) -> tuple[GroupTimeEffects, float, float, Leads]:
    """Fit one level; return its group-time effects, small-sample factor, degrees of freedom and leads."""
    data = panel(moments, mask, pooled=not plan.covariates)
    plan.notes.extend(data.notes)
    own, observed, always = _dummies(data, plan)
    if not own.any():
        raise DesignError("no effect can be estimated" + "".join(f"\n  {note}" for note in dict.fromkeys(plan.notes)))
    x, columns = np.zeros((len(data.cohort), 0)), list[str]()
    if plan.covariates:
        cells = moments.cells.iloc[np.flatnonzero(data.member >= 0)].reset_index(drop=True)
        x, names = design(cells, plan.covariates, moments.numbers)
        independent, _ = independent_columns(x * np.sqrt(data.weight)[:, None])
        varying = independent[1:]  # the constant comes first
        x, columns = x[:, varying], [names[j] for j in varying]
    untreated = _fit(data, x, columns, observed & ~own)
    rows: list[dict[str, object]] = []
    own_part = Coefficients(1 + len(data.times), len(moments.cells))
    share_part = Coefficients(1 + len(data.times), len(moments.cells))
    on_common: list[Floats] = []
    n_moving = 0
    for g in data.cohorts:
        member = data.cohort == g
        treated = np.flatnonzero(own[member][0])
        before = np.flatnonzero(untreated.plain[member][0])
        # the reference period is shown as a row of zero
        for t in sorted([*treated, before[0]] if plan.never and len(treated) else treated):
            effect = 0.0
            on_common.append(np.zeros(len(untreated.maps)))
            if own[member][0, t]:
                effect, moving = _effect(data, untreated, member, before, int(t), len(rows), own_part)
                n_moving += moving
                on_common[-1] = untreated.difference(data.weight, member, before, int(t))
            everyone = data.cells_of(member)
            share_part.add(len(rows), everyone, 0, np.full(len(everyone), float(plan.shares == "estimated")))
            rows.append(keys | _row(data, g, int(t), effect, always if plan.never else untreated.plain[:, t]))
    part = GroupTimeEffects(
        moments,
        {},
        pd.DataFrame(rows),
        own_part.matrix(len(rows)),
        share_part.matrix(len(rows)),
        (),
        common=(sparse.csr_array(np.vstack(on_common)), data.spread(untreated.maps).toarray()),
    )
    leads = [_leads(data, untreated.plain, plan, keys)] if plan.pretrends else []
    if not plan.small_sample:
        return part, 1.0, np.inf, leads
    n_observations = int((data.n[:, None] * observed).sum())
    n_parameters = untreated.fit.n_parameters + _n_dummies(data, own) + n_moving
    full = replace(untreated.fit, n_parameters=n_parameters, n_observations=n_observations)
    return part, *small_sample_factor(moments, full, data), leads


@summarised
@dataclass(frozen=True)
class _Untreated:
    """The fit of untreated observations.

    Attributes
    ----------
    plain : bool ndarray, shape (C, T)
        Observations that it is fitted to.
    x : ndarray, shape (C, p)
    path : ndarray, shape (C, T)
        Untreated path of each row, up to the row's own level; NaN where no observation tells.
    maps : ndarray, shape (T · (1 + p), C, 1 + T)
        Influence coefficients of the period effects, then of the covariates' slopes in each period.
    """

    fit: Fit
    plain: Bools
    x: Floats
    path: Floats
    maps: Floats

    def difference(self, weight: Floats, member: Bools, before: Index, t: int) -> Floats:
        """Coefficients on ``maps`` of minus the untreated change of these rows, from ``before`` to ``t``."""
        step = np.zeros(self.path.shape[1])
        step[before] = 1 / len(before)
        step[t] -= 1
        centre = weight[member] @ self.x[member] / weight[member].sum()
        return np.concatenate([step, np.outer(step, centre).ravel()])


def _fit(data: Panel, x: Floats, columns: list[str], plain: Bools) -> _Untreated:
    n_times, p = len(data.times), x.shape[1]
    used = np.flatnonzero(plain.any(axis=0))
    # covariates × period, the first period being the reference
    by_period = np.zeros((*plain.shape, p * (len(used) - 1)))
    for j, t in enumerate(used[1:]):
        by_period[:, t, j * p : (j + 1) * p] = x
    names = [f"{column} × period {data.moments.times[t]}" for t in used[1:] for column in columns]
    fit = least_squares(data, by_period, names, plain)
    slopes = np.zeros((n_times, p))
    slopes[used[1:]] = fit.estimate.reshape(len(used) - 1, p)
    path = fit.period_effects + x @ slopes.T
    linear = np.zeros((n_times * (1 + p), *plain.shape))
    linear[:n_times] = fit.period_influence[:, :, 1:]
    for j, t in enumerate(used[1:]):
        linear[n_times + t * p : n_times + (t + 1) * p] = fit.influence[j * p : (j + 1) * p, :, 1:]
    # levels drop out: the coefficients of a row sum to zero over its periods
    constant = -(linear * np.where(plain, path, 0.0)).sum(axis=2)
    return _Untreated(fit, plain, x, path, np.concatenate([constant[:, :, None], linear], axis=2))


def _effect(
    data: Panel,
    untreated: _Untreated,
    member: Bools,
    before: Index,
    t: int,
    row: int,
    influence: Coefficients,
) -> tuple[float, int]:
    """Average the cohort's outcomes less its imputed ones in ``t``; return it, and how many covariates moved it.

    Add to ``influence`` what comes from the cohort itself.
    """
    share = data.weight[member] / data.weight[member].sum()
    residual = (data.mean - untreated.path)[member]
    gap = residual[:, t] - residual[:, before].mean(axis=1)
    estimate = float(share @ gap)
    # covariates less their cohort mean have a coefficient of their own in this cohort and period
    centred = untreated.x[member] - share @ untreated.x[member]
    moving, rank = _project(gap - estimate, centred, data.weight[member])
    per_weight = 1 / data.weight[member].sum()
    place = np.cumsum(member) - 1
    cells = data.cells_of(member)
    inside = place[data.member[cells]]
    path = untreated.path[member][inside]
    constant = -per_weight * (path[:, t] + estimate + moving[inside] - path[:, before].mean(axis=1))
    influence.add(row, cells, 0, constant)
    influence.add(row, cells, 1 + t, np.full(len(cells), per_weight))
    for b in before:
        influence.add(row, cells, 1 + int(b), np.full(len(cells), -per_weight / len(before)))
    return estimate, rank


def _n_dummies(data: Panel, own: Bools) -> int:
    return int(sum(own[data.cohort == g][0].sum() for g in data.cohorts))


def _leads(data: Panel, plain: Bools, plan: Plan, keys: dict[str, object]) -> tuple[pd.DataFrame, sparse.csr_array]:
    """Regress untreated observations on leads of treatment (Borusyak, Jaravel and Spiess 2024, test 1)."""
    event = np.where(np.isfinite(data.cohort)[:, None], data.times - data.cohort[:, None], np.nan)
    last = -plan.anticipation - 1
    present = sorted(set(event[plain & (event <= last)]))
    used = [e for e in present if e > last - plan.pretrends]
    x = np.stack([(event == e) & plain for e in used], axis=2).astype(float) if used else np.zeros((*plain.shape, 0))
    try:
        fit = least_squares(data, x, [f"lead {e:g}" for e in used], plain)
    except DesignError as error:
        raise DesignError(f"{error}; ask for fewer pretrends") from None
    counts = [{"n_treated": int(data.n[x[:, :, j].any(axis=1)].sum())} for j in range(len(used))]
    untreated = int(data.n[np.isinf(data.cohort)].sum())
    rows = [
        {**keys, "event_time": e, "estimate": fit.estimate[j], **counts[j], "n_control": untreated}
        for j, e in enumerate(used)
    ]
    columns = [*keys, "event_time", "estimate", "n_treated", "n_control"]
    return pd.DataFrame(rows, columns=columns), data.spread(fit.influence)


def _dummies(data: Panel, plan: Plan) -> tuple[Bools, Bools, Bools]:
    """Return which (row, period) has a dummy of its own, which is used at all, and which rows never have one.

    What is left out is noted.
    """
    times, start = data.times, data.cohort - plan.anticipation
    observed = np.ones(data.mean.shape, dtype=bool)
    last_control = np.isinf(data.cohort)
    if plan.never and not last_control.any():
        last = max(data.cohorts)
        plan.notes.append(
            f"no unit is never treated: cohort {last:g} is the control, and its treated periods are left out"
        )
        observed &= times < last - plan.anticipation
        last_control = data.cohort == last
    own = (times >= start[:, None]) & np.isfinite(start)[:, None]
    if plan.never:
        own = np.ones(data.mean.shape, dtype=bool)
        for c in np.flatnonzero(~last_control):
            before = np.flatnonzero(times < start[c])
            if len(before):
                own[c, before[-1]] = False
        own[last_control] = False
    own &= observed
    for g in data.cohorts:
        member, n = data.cohort == g, int(data.n[data.cohort == g].sum())
        why = ""
        if not (times < g - plan.anticipation).any():
            why = "has no period before treatment"
        elif n < 2:
            why = f"has {n} unit, which gives no standard error"
        if why:
            plan.notes.append(f"cohort {g:g} {why} and is left out")
            observed[member] = False
    own &= observed
    left = (data.n[:, None] * (observed & ~own)).sum(axis=0)
    controls = int(data.n[last_control].sum()) if plan.never else None
    if controls is not None and controls < 2:
        raise DesignError(
            f"there are {controls} untreated units to compare with; at least 2 are needed",
            public="there are too few untreated units to compare with",
        )
    for t in np.flatnonzero(own.any(axis=0) & (left < 2)):
        plan.notes.append(f"period {times[t]:g}: {left[t]} unit(s) left untreated to compare with")
        observed[:, t] = False
    return own & observed, observed, last_control


def _project(gap: Floats, x: Floats, weight: Floats) -> tuple[Floats, int]:
    """Return the fit of ``gap`` on covariates, and how many of them vary."""
    if x.shape[1] == 0:
        return np.zeros(len(gap)), 0
    root = np.sqrt(weight)
    coefficients, _, rank, _ = np.linalg.lstsq(x * root[:, None], gap * root, rcond=1e-10)
    fit: Floats = x @ coefficients
    return fit, int(rank)


def _row(data: Panel, g: float, t: int, estimate: float, controls: Bools) -> dict[str, object]:
    member, time = data.cohort == g, data.moments.times[t]
    return {
        "cohort": g,
        "time": time,
        "event_time": time - g,
        "estimate": estimate,
        "n_treated": int(data.n[member].sum()),
        "n_control": int(data.n[controls].sum()),
        "weight": float(data.weight[member].sum()),
    }
