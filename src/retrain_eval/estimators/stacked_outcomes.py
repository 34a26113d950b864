r"""Several outcomes of the same people in one table: their paths one after another, with all their products.

What holds between the outcomes of each person, such as that parts add up to a whole, then holds of everything that is
made from the table, protected or not; and ratios of outcomes get an error from the joint covariance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import sparse

from retrain_eval.common.arrays import Bools, Floats
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.did.few_clusters import infer, sums_without
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.tables.moments.moments import MomentTable
from retrain_eval.tables.recipe import recorded

STRIDE = 1_000  # between the times of one outcome and those of the next
FEWEST_DEPRIVED = 10  # people in an arm, for a ratio to have an error


def stacked_time(block: int, clock: int) -> int:
    """Return the time of an outcome's period in a stacked table.

    Examples
    --------
    >>> stacked_time(0, -7), stacked_time(2, -7)
    (-7, 1993)
    """
    return STRIDE * block + clock


def _blocks(moments: MomentTable) -> tuple[Floats, Floats]:
    """Return the outcome's number and the period of each time of a stacked table."""
    times = np.array(moments.times)
    block = (times + STRIDE // 2) // STRIDE
    clock = times - STRIDE * block
    numbers = np.unique(block)
    if any(not np.array_equal(clock[block == number], clock[block == numbers[0]]) for number in numbers):
        raise InputError(
            "these moments are not of stacked outcomes", column="time", rule="the same periods for each outcome"
        )
    return block.astype(float), clock.astype(float)


@recorded
def stacked_outcome(moments: OutcomeMoments, outcome: str, blocks: Sequence[int]) -> OutcomeMoments:
    """Return the moments of the sum of some of the outcomes that a table has.

    Parameters
    ----------
    moments : OutcomeMoments
        At times of `stacked_time`.
    outcome : str
        Name of the sum.
    blocks : sequence of int
        Numbers of the outcomes that are added; one gives that outcome.

    Raises
    ------
    InputError
        If the table has no such outcome, or its outcomes have different periods.

    Examples
    --------
    >>> from retrain_eval import outcome_moments
    >>> rows = pd.DataFrame({"id": [1, 1, 2, 2] * 2, "t": [0, 1] * 2 + [1000, 1001] * 2, "g": [1, 1, 0, 0] * 2,
    ...                      "y": [0.0, 1.0, 0.0, 0.5, 1.0, 1.0, 0.0, 0.0]})
    >>> stack = outcome_moments(rows, unit="id", time="t", cohort="g", outcome="y")
    >>> whole = stacked_outcome(stack, "whole", (0, 1))
    >>> whole.times, whole.means().tolist()
    ((0, 1), [[1.0, 2.0], [0.0, 0.5]])
    """
    block, clock = _blocks(moments)
    periods = np.unique(clock)
    if missing := [number for number in blocks if number not in block]:
        raise InputError("the table has no such outcome", value=missing[0], fix="give the numbers of its outcomes")
    move = np.zeros((1 + len(periods), 1 + len(block)))
    move[0, 0] = 1.0
    for number in blocks:
        at = np.flatnonzero(block == number)
        move[1 + np.searchsorted(periods, clock[at]), 1 + at] += 1.0
    clusters = moments.clusters
    if clusters is not None and clusters.first is not None:
        clusters = replace(clusters, first=clusters.first @ move.T)
    return replace(
        moments,
        outcome=outcome,
        times=tuple(int(t) for t in periods),
        first=moments.first @ move.T,
        second={pair: move @ part @ move.T for pair, part in moments.second.items()},
        reference=move[1:, 1:] @ moments.reference,
        clusters=clusters,
        largest=None,
        absolute=None,
        keyed=None,
        source=None,
    )


@recorded
def effect_on_ratio(
    moments: MomentTable,
    outcome: str,
    above: Sequence[int],
    below: int,
    base: int = 0,
    seed: int = 20260101,
) -> EffectTable:
    r"""Return the effect on a ratio of two means, such as the intensity A = M0 / H, by event time.

    Parameters
    ----------
    moments : MomentTable
        At times of `stacked_time`; treatment starts in period 1, as on the clock of a cohort.
    outcome : str
        Name of the ratio.
    above : sequence of int
        Numbers of the outcomes whose sum is the numerator.
    below : int
        Number of the outcome that is the denominator.
    base : int
        Period before the start from which the arms would have moved in parallel.
    seed : int
        Seed of the draws behind the simultaneous band.

    Returns
    -------
    EffectTable
        One row per event time. Periods in which fewer than ten people of an arm, or of the treated had they not been
        treated, have the denominator are left out.

    Raises
    ------
    DesignError
        If no period after the start is left.
    InputError
        If the table has no such outcome.

    Notes
    -----
    With M and H the means of numerator and denominator, 1 the treated, 0 the controls and b the base period,

        A₁(t) − ( M₁(b) + M₀(t) − M₀(b) ) / ( H₁(b) + H₀(t) − H₀(b) ),

    what the trained have less what parallel trends in M and in H imply for them. The error is by the delta method from
    the joint covariance of M and H. A is a mean over those who are deprived (Alkire and Foster 2011, section 3), who
    may be others with training than without it, so that the effect on it is one of composition as well.
    """
    block, clock = _blocks(moments)
    if missing := [number for number in (*above, below) if number not in block]:
        raise InputError("the table has no such outcome", value=missing[0], fix="give the numbers of its outcomes")
    treated = moments.cells["cohort"].notna().to_numpy(dtype=bool)
    if treated.all() or not treated.any():
        raise DesignError("there are no treated or no controls to compare")
    periods = np.unique(clock)
    if base not in periods:
        raise DesignError(f"the base period {base} is not in the table")
    top, under = (
        np.array([[(c == t) & (b in wanted) for b, c in zip(block, clock, strict=True)] for t in periods], dtype=float)
        for wanted in (tuple(above), (below,))
    )
    at = int(np.flatnonzero(periods == base)[0])
    n = [int(moments.cells["n"].to_numpy()[arm].sum()) for arm in (treated, ~treated)]
    means = _means(moments.first, moments.reference, treated)
    kept = _enough(means, under, at, n)
    if not (kept & (periods > 0)).any():
        raise DesignError(
            f"in no period after the start are {FEWEST_DEPRIVED} people of each group deprived, so that there is no "
            "ratio to compare",
            public="in no period are enough people of each group deprived, so that there is no ratio to compare",
        )
    values, slopes = _ratio(means, top, under, at)
    rows = pd.DataFrame(
        {
            "outcome": outcome,
            "estimator": "ratio of means",
            "estimand": "ATT",
            "event_time": periods[kept] - 1,
            "estimate": values[kept],
            "n_treated": n[0],
            "n_control": n[1],
        }
    )
    influence = _influence(moments, treated, means, slopes[kept])
    inference = infer(moments, influence, rows, lambda: _without(moments, treated, top, under, at)[:, kept])
    varies = np.diag(inference.vcov) > 1e-24
    return EffectTable.build(
        rows,
        inference.vcov,
        band=varies,
        df=inference.df,
        n_clusters=inference.n_clusters,
        seed=seed,
        meta=inference.meta({"base": base}),
    )


def _means(first: Floats, reference: Floats, treated: Bools) -> Floats:
    """Return the mean of each arm at each time, shape (2, T); NaN of an arm without people."""
    found = np.full((2, len(reference)), np.nan)
    for a, arm in enumerate((treated, ~treated)):
        total = first[arm].sum(axis=0)
        if total[0] > 0:
            found[a] = total[1:] / total[0] + reference
    return found


def _implied(means: Floats, pick: Floats, at: int) -> Floats:
    """Return the treated's mean had they moved as the controls did since the base period, by period."""
    found: Floats = pick[at] @ means[0] + pick @ means[1] - pick[at] @ means[1]
    return found


def _enough(means: Floats, under: Floats, at: int, n: Sequence[int]) -> Bools:
    """Return the periods in which enough people have the denominator."""
    slack = FEWEST_DEPRIVED - 1e-9
    arms = (under @ means[0] * n[0], under @ means[1] * n[1], _implied(means, under, at) * n[0])
    found: Bools = np.all([counts >= slack for counts in arms], axis=0)
    return found


def _ratio(means: Floats, top: Floats, under: Floats, at: int) -> tuple[Floats, Floats]:
    """Return the effect on the ratio by period, and its derivatives by the means, shape (periods, 2, T)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        own = (top @ means[0], under @ means[0])
        implied = (_implied(means, top, at), _implied(means, under, at))
        slopes = np.zeros((len(top), *means.shape))
        for sign, (over, beneath) in ((1.0, own), (-1.0, implied)):
            change = sign * (top / beneath[:, None] - (over / beneath**2)[:, None] * under)
            if sign > 0:
                slopes[:, 0] += change
            else:
                slopes[:, 1] += change
                base = sign * (top[at] / beneath[:, None] - (over / beneath**2)[:, None] * under[at])
                slopes[:, 0] += base
                slopes[:, 1] -= base
        values = own[0] / own[1] - implied[0] / implied[1]
    slopes[at] = 0.0
    values[at] = 0.0 if np.isfinite(values[at]) else np.nan
    return values, slopes


def _influence(moments: MomentTable, treated: Bools, means: Floats, slopes: Floats) -> sparse.csr_array:
    """Return the influence coefficients of functions of means on the coordinates (1, Y − reference) of each cell."""
    phi = np.zeros((len(slopes), *moments.first.shape))
    for a, arm in enumerate((treated, ~treated)):
        weight = moments.first[arm, 0].sum()
        phi[:, arm, 1:] = slopes[:, a, None, :] / weight
        phi[:, arm, 0] = -(slopes[:, a] @ (means[a] - moments.reference))[:, None] / weight
    return sparse.csr_array(phi.reshape(len(slopes), -1))


def _without(moments: MomentTable, treated: Bools, top: Floats, under: Floats, at: int) -> Floats:
    """Return the effects on the ratio without each cluster, shape (G, periods)."""
    first, _ = sums_without(moments)
    found = np.array([_ratio(_means(one, moments.reference, treated), top, under, at)[0] for one in first])
    return np.where(np.isfinite(found), found, np.nan)
