"""Regressions saturated in cohort and period: Sun-Abraham, imputation, extended two-way fixed effects.

Observations with a dummy of their own do not inform the other coefficients. So all three are one computation: fit unit
and period effects on the observations without one, impute the rest, average what is observed less what is imputed
(Borusyak, Jaravel and Spiess 2024, Theorem 1; Wooldridge 2021, section 5). They differ in which observations have one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import sparse

from retrain_eval.common.arrays import Bools, Floats
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.did.comparisons import CONTROLS, require_known
from retrain_eval.estimators.did.few_clusters import keys_of, touched
from retrain_eval.estimators.did.group_time import GroupTimeEffects, averages, tabulate
from retrain_eval.estimators.did.imputation import Plan, group_time
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.tables.moments.leave_out import without_cluster
from retrain_eval.tables.moments.moments import MomentTable

SHARES = ("fixed", "estimated")
GROUP_TIME = "group_time"


def sun_abraham(
    moments: MomentTable,
    aggregation: str = "dynamic",
    by: str | Sequence[str] = (),
    *,
    anticipation: int = 0,
    shares: str = "fixed",
    small_sample: bool = True,
    seed: int = 20260101,
) -> EffectTable:
    """Estimate the interaction-weighted event study: cohort × event-time effects averaged by cohort size.

    Parameters
    ----------
    moments : MomentTable
    aggregation : {"dynamic", "simple", "group", "calendar", "group_time"}
        Average returned, as in `GroupTimeEffects.aggregate`; "group_time" keeps each cohort and period.
    by : str or sequence of str
        Strata: one regression per level, with the joint covariance.
    anticipation : int
        Periods before treatment in which effects may show already; the reference is the last period before them.
    shares : {"fixed", "estimated"}
        Whether the averages' standard errors carry the sampling error of the cohort sizes.
    small_sample : bool
        Multiply variances by G/(G−1) · (N−1)/(N−K) and use Student's t with G − 1 degrees of freedom.
    seed : int
        Seed of the draws behind simultaneous bands.

    Returns
    -------
    EffectTable

    Raises
    ------
    InputError
        For a keyword or a stratum that does not exist.
    DesignError
        If no effect can be estimated.

    Notes
    -----
    Sun and Abraham (2021, section 4.1). The controls are the never treated or, where there are none, the last cohort,
    and then its treated periods are left out. The reference is each cohort's last existing period before treatment.
    In a balanced panel the coefficients equal `att_gt` with never-treated controls and a universal base period.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval import outcome_moments
    >>> long = pd.DataFrame({"id": [1, 1, 2, 2, 3, 3, 4, 4], "t": [1, 2] * 4, "g": [2, 2, 2, 2, 0, 0, 0, 0],
    ...                      "y": [1.0, 4.0, 2.0, 5.5, 1.0, 2.0, 2.0, 3.5]})
    >>> m = outcome_moments(long, unit="id", time="t", cohort="g", outcome="y")
    >>> m.sun_abraham().to_frame()["estimate"].round(6).tolist()
    [0.0, 2.0, 2.0]
    """
    names = (by,) if isinstance(by, str) else tuple(by)
    plan = Plan("sun_abraham", True, anticipation, (), small_sample, shares, aggregation, names, seed)
    return _estimate(moments, plan)


def imputation(
    moments: MomentTable,
    aggregation: str = "dynamic",
    by: str | Sequence[str] = (),
    *,
    anticipation: int = 0,
    pretrends: int = 0,
    seed: int = 20260101,
) -> EffectTable:
    """Impute untreated outcomes from unit and period effects of untreated observations, and average the differences.

    Parameters
    ----------
    moments : MomentTable
    aggregation, by, anticipation, seed
        See `sun_abraham`.
    pretrends : int
        With "dynamic": the number of leads of treatment, estimated from untreated observations only and relative to all
        earlier periods. They test the assumptions and do not enter the fit of the effects.

    Returns
    -------
    EffectTable
        Event times from −``anticipation`` on, and the leads asked for.

    Raises
    ------
    InputError, DesignError
        See `sun_abraham`.

    Notes
    -----
    Borusyak, Jaravel and Spiess (2024, Theorem 2 and eq. 7): the conservative variance clustered by unit, with the
    effects that are subtracted from treated residuals averaged over cohort × period, without leaving out the unit, and
    without a small-sample factor. With weights these averages are weighted by w (theirs by w²): the estimates do not
    depend on it, and the variance is conservative with either.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval import outcome_moments
    >>> long = pd.DataFrame({"id": [1, 1, 2, 2, 3, 3, 4, 4], "t": [1, 2] * 4, "g": [2, 2, 2, 2, 0, 0, 0, 0],
    ...                      "y": [1.0, 4.0, 2.0, 5.5, 1.0, 2.0, 2.0, 3.5]})
    >>> m = outcome_moments(long, unit="id", time="t", cohort="g", outcome="y")
    >>> m.imputation("simple").to_frame()["estimate"].round(6).tolist()
    [2.0]
    """
    names = (by,) if isinstance(by, str) else tuple(by)
    if pretrends < 0 or (pretrends and aggregation != "dynamic"):
        raise InputError('pretrends is a number of leads, with aggregation="dynamic"', value=pretrends)
    plan = Plan("imputation", False, anticipation, (), False, "fixed", aggregation, names, seed, pretrends)
    return _estimate(moments, plan)


def etwfe(
    moments: MomentTable,
    aggregation: str = "dynamic",
    by: str | Sequence[str] = (),
    *,
    control: str = "not_yet_treated",
    covariates: Sequence[str] = (),
    anticipation: int = 0,
    small_sample: bool = True,
    seed: int = 20260101,
) -> EffectTable:
    """Estimate extended two-way fixed effects: a dummy for each cohort × treated period, covariates interacted.

    Parameters
    ----------
    moments : MomentTable
    control : {"not_yet_treated", "never_treated"}
        Dummies for treated periods only, so that cohorts serve as controls until treated; or for all periods but each
        cohort's last before treatment.
    covariates : sequence of str
        Strata of the moments: texts as categories, numbers linearly. They enter by period, and less their cohort mean
        by cohort × period.
    aggregation, by, anticipation, small_sample, seed
        See `sun_abraham`.

    Returns
    -------
    EffectTable

    Raises
    ------
    InputError, DesignError
        See `sun_abraham`.

    Notes
    -----
    Wooldridge (2021, eq. 6.33). Unit effects replace its cohort dummies; in a balanced panel, coefficients and
    clustered standard errors are the same. The cohort means of the covariates are treated as fixed.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval import outcome_moments
    >>> long = pd.DataFrame({"id": [1, 1, 2, 2, 3, 3, 4, 4], "t": [1, 2] * 4, "g": [2, 2, 2, 2, 0, 0, 0, 0],
    ...                      "y": [1.0, 4.0, 2.0, 5.5, 1.0, 2.0, 2.0, 3.5]})
    >>> m = outcome_moments(long, unit="id", time="t", cohort="g", outcome="y")
    >>> m.etwfe("simple").to_frame()["estimate"].round(6).tolist()
    [2.0]
    """
    require_known("control", control, CONTROLS)
    moments.require_strata(covariates, "covariate")
    names = (by,) if isinstance(by, str) else tuple(by)
    never = control == "never_treated"
    plan = Plan("etwfe", never, anticipation, tuple(covariates), small_sample, "fixed", aggregation, names, seed)
    return _estimate(moments, plan)


def _estimate(moments: MomentTable, plan: Plan) -> EffectTable:
    require_known("shares", plan.shares, SHARES)
    if plan.anticipation < 0:
        raise InputError("anticipation is a number of periods, zero or more", value=plan.anticipation)
    effects = _group_time(moments, plan)
    if plan.aggregation == GROUP_TIME:
        return effects.to_effects()
    rows, influence, without = averages(effects, plan.aggregation)
    if effects.leads is None:
        return tabulate(effects, plan.aggregation, rows, influence, without)
    leads, of_leads = effects.leads
    leads = leads.assign(outcome=moments.outcome, estimator=plan.estimator, estimand="ATT(e)")
    return tabulate(
        effects,
        plan.aggregation,
        pd.concat([leads, rows], ignore_index=True),
        sparse.csr_array(sparse.vstack([of_leads, influence])),
        lambda: np.column_stack([_leads_without(effects), without()]),
    )


def _group_time(moments: MomentTable, plan: Plan) -> GroupTimeEffects:
    """Fit each level and put them together."""
    groups: list[tuple[object, object, Bools | None]] = [(pd.NA, pd.NA, None)]
    if plan.by:
        groups = [(" × ".join(plan.by), " × ".join(level), mask) for level, mask in moments.levels(plan.by)]
    parts, factors, leads, df = [], [], [], np.inf
    for subgroup, level, mask in groups:
        try:
            part, factor, freedom, lead = group_time(moments, mask, plan, {"subgroup": subgroup, "level": level})
        except DesignError as error:
            if not plan.by:
                raise
            plan.notes.append(f"{subgroup} = {level} is left out: {error}")
            continue
        parts.append(part)
        leads += lead
        factors.append(factor)
        df = min(df, freedom)
    if not parts:
        raise DesignError("no effect can be estimated:\n  " + "\n  ".join(plan.notes))
    root = np.sqrt(np.repeat(factors, [len(part.rows) for part in parts]))[:, None]
    common = [part.common for part in parts if part.common is not None]

    def redo(number: int) -> GroupTimeEffects | None:
        part = without_cluster(moments, number, touched(moments, plan.by, number), products=False)
        if part is None or (plan.never and not _controls(part, plan.by).items() <= _controls(moments, plan.by).items()):
            return None
        with suppress(DesignError):
            return _group_time(part, replace(plan, notes=[], small_sample=False))
        return None

    return GroupTimeEffects(
        moments,
        {
            "covariates": plan.covariates,
            "anticipation": plan.anticipation,
            "shares": plan.shares,
            "small_sample_factor": factors if plan.by else factors[0],
            "cluster": moments.cluster,
            "seed": plan.seed,
        },
        pd.concat([part.rows for part in parts], ignore_index=True),
        sparse.csr_array(sparse.vstack([part.influence for part in parts]) * root),
        sparse.csr_array(sparse.vstack([part.cohort_influence for part in parts])),
        tuple(dict.fromkeys(plan.notes)),
        plan.estimator,
        df if plan.small_sample else None,
        (
            sparse.csr_array(sparse.block_diag([on for on, _ in common]) * root),
            np.vstack([maps for _, maps in common]),
        ),
        names=plan.by,
        seed=plan.seed,
        redo=redo,
        leads=(
            pd.concat([frame for frame, _ in leads], ignore_index=True),
            sparse.csr_array(sparse.vstack([influence for _, influence in leads])),
        )
        if leads
        else None,
    )


def _controls(moments: MomentTable, names: Sequence[str]) -> dict[tuple[str, ...], float]:
    """Return the cohort that is the control in each level: infinity for the never treated, else the last one."""
    cohort = moments.cells["cohort"].to_numpy(dtype=float, na_value=np.inf)
    cohort = np.where(cohort > moments.times[-1], np.inf, cohort)
    return {level: float(cohort[mask].max()) for level, mask in moments.levels(names)}


def _leads_without(effects: GroupTimeEffects) -> Floats:
    """Return the leads without each cluster, shape (G, leads)."""
    assert effects.leads is not None
    rows = effects.leads[0]
    place = {key: k for k, key in enumerate(keys_of(rows))}
    out = np.full((len(effects.redone), len(rows)), np.nan)
    for number, part in enumerate(effects.redone):
        if part is not None and part.leads is not None:
            for key, value in zip(keys_of(part.leads[0]), part.leads[0]["estimate"], strict=True):
                if key in place:
                    out[number, place[key]] = value
    return out
