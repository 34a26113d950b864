"""When treatment is taken to begin: the base period moved back, and start dates at which nothing began."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from retrain_eval.common.arrays import Index
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.did.few_clusters import infer
from retrain_eval.estimators.did.group_time import GroupTimeEffects, mean_by_share
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.tables.recipe import recorded


@recorded
def base_moved_back(
    moments: OutcomeMoments, /, back: Sequence[int] = (0, 1, 2, 4), *, level: float = 0.95, **options: Any
) -> EffectTable:
    """Estimate the mean effect with the base period moved back, to see whether a dip before entry carries it.

    Parameters
    ----------
    moments : OutcomeMoments
    back : sequence of int
        Periods by which the base moves back; 0 is the usual one.
    level : float
        Confidence level.
    **options
        Keywords of `OutcomeMoments.att_gt`, but for ``anticipation``.

    Returns
    -------
    EffectTable
        One row per move, ``level`` "base moved back k": the simple average over the cohorts that every base
        leaves with a period before it. ``difference()`` compares with the first, by their joint covariance.

    Raises
    ------
    InputError
        For moves that are negative or repeated.
    DesignError
        If no cohort has a period before the earliest base, or a covariate is one that cells cannot hold.

    Notes
    -----
    Earnings fall before people enter training (Ashenfelter 1978): measured from the bottom of the dip, recovery passes
    for an effect. Heckman and Smith (1999) compare estimates from earlier bases.

    Examples
    --------
    >>> long = pd.DataFrame({"id": [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4], "t": [1, 2, 3] * 4,
    ...                      "g": [3] * 6 + [0] * 6, "y": [3.0, 1.0, 3.0, 3.2, 1.0, 3.4, 3.0, 3.0, 3.0, 3.1, 3.2, 3.1]})
    >>> from retrain_eval import outcome_moments
    >>> m = outcome_moments(long, unit="id", time="t", cohort="g", outcome="y")
    >>> base_moved_back(m, (0, 1)).to_frame()["estimate"].round(2).tolist()
    [2.25, 0.1]
    """
    _check(back, 0)
    found = [(f"base moved back {k}", *_average(moments, k, options, post=True)) for k in back]
    shared = set.intersection(*(set(effects.rows.loc[chosen, "cohort"]) for _, effects, chosen in found))
    if not shared:
        raise DesignError("no cohort has a period before the earliest base")
    return _table(moments, found, shared, "base period", level)


@recorded
def placebo_starts(
    moments: OutcomeMoments, /, shifts: Sequence[int] = (1, 2, 4), *, level: float = 0.95, **options: Any
) -> EffectTable:
    """Estimate effects of start dates at which nothing began: periods before treatment only.

    Parameters
    ----------
    moments : OutcomeMoments
    shifts : sequence of int
        Periods before the true start at which the pretended one lies.
    level : float
        Confidence level.
    **options
        Keywords of `OutcomeMoments.att_gt`, but for ``anticipation``.

    Returns
    -------
    EffectTable
        One row per shift, ``level`` "k before": the mean from the pretended start to the last period before the true
        one, over cohorts by their size. Zero but for sampling error if paths are parallel and nothing is anticipated.

    Raises
    ------
    InputError
        For shifts that are not above zero, or repeated.
    DesignError
        If no cohort has a period before a pretended start, or a covariate is one that cells cannot hold.

    Notes
    -----
    A cohort's effects in its last periods before treatment, measured from before the pretended start.

    Examples
    --------
    >>> long = pd.DataFrame({"id": [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4], "t": [1, 2, 3] * 4,
    ...                      "g": [3] * 6 + [0] * 6, "y": [3.0, 1.0, 3.0, 3.2, 1.0, 3.4, 3.0, 3.0, 3.0, 3.1, 3.2, 3.1]})
    >>> from retrain_eval import outcome_moments
    >>> m = outcome_moments(long, unit="id", time="t", cohort="g", outcome="y")
    >>> placebo_starts(m, (1,)).to_frame()["estimate"].round(2).tolist()
    [-2.15]
    """
    _check(shifts, 1)
    found = [(f"{k} before", *_average(moments, k, options, post=False)) for k in shifts]
    return _table(moments, found, None, "pretended start", level)


def _check(periods: Sequence[int], least: int) -> None:
    if not periods or len(set(periods)) < len(periods) or min(periods) < least:
        raise InputError(f"give different numbers of periods, each {least} or more", value=list(periods))


def _average(moments: OutcomeMoments, k: int, options: dict[str, Any], *, post: bool) -> tuple[GroupTimeEffects, Index]:
    """Return group-time effects from a base k periods earlier, and the rows to average."""
    if "anticipation" in options:
        raise InputError("anticipation is what this varies", column="anticipation", fix="leave it out")
    effects = moments.att_gt(anticipation=k, **options)
    if not isinstance(effects.moments, OutcomeMoments):
        raise DesignError(
            "the estimates of several base periods have a joint covariance only where cells hold the data"
        )
    event = effects.rows["event_time"].to_numpy(dtype=float)
    chosen = np.flatnonzero(event >= 0 if post else (event >= -k) & (event < 0))
    if len(chosen) == 0:
        raise DesignError(
            f"no cohort has a period to compare {k} periods before treatment",
            public=f"no cohort has a period to compare {k} periods before treatment",
        )
    return effects, chosen


def _table(
    moments: OutcomeMoments,
    found: Sequence[tuple[str, GroupTimeEffects, Index]],
    cohorts: set[float] | None,
    subgroup: str,
    level: float,
) -> EffectTable:
    rows, influence, without = [], [], []
    for name, effects, chosen in found:
        used = chosen if cohorts is None else chosen[effects.rows["cohort"].isin(cohorts).to_numpy()[chosen]]
        block = effects.rows.iloc[used]
        weight = block["weight"].to_numpy()
        share = weight / weight.sum()
        estimate = float(share @ block["estimate"].to_numpy())
        on_effects, on_shares = np.zeros((2, 1, len(effects.rows)))
        on_effects[0, used] = share
        on_shares[0, used] = (block["estimate"].to_numpy() - estimate) / weight.sum()
        without.append((effects, used))
        influence.append(effects.combine(sparse.csr_array(on_effects), sparse.csr_array(on_shares)))
        rows.append(
            {
                "outcome": moments.outcome,
                "estimator": "att_gt",
                "estimand": "ATT",
                "subgroup": subgroup,
                "level": name,
                "estimate": estimate,
                "n_treated": int(block.drop_duplicates("cohort")["n_treated"].sum()),
                "n_control": int(block["n_control"].min()),
            }
        )
    frame = pd.DataFrame(rows)
    inference = infer(
        moments,
        sparse.csr_array(sparse.vstack(influence)),
        frame,
        lambda: np.column_stack(
            [mean_by_share(*(part[:, used] for part in effects.without)) for effects, used in without]
        ),
    )
    return EffectTable.build(
        frame, inference.vcov, level=level, df=inference.df, n_clusters=inference.n_clusters, meta=inference.meta({})
    )
