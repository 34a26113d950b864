"""Differences in means in one period, and mean paths, from outcome moments."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from retrain_eval.common.arrays import Bools, Floats
from retrain_eval.common.errors import DesignError, InputError, unknown
from retrain_eval.common.levels import is_missing
from retrain_eval.common.periods import stored_period
from retrain_eval.estimators.did.few_clusters import infer, sums_without
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.tables.moments.moments import MomentTable
from retrain_eval.tables.recipe import recorded

VCES = ("iid", "HC1", "CR1")


@recorded
def mean_difference(
    moments: MomentTable, time: int | str, *, vce: str | None = None, by: str | Sequence[str] = ()
) -> EffectTable:
    """Compare treated with never-treated units in one period: the coefficient of ``outcome ~ treated``.

    Parameters
    ----------
    moments : MomentTable
        Any number of cohorts and strata: all cohorts are pooled as treated.
    time : int or str
        Period compared, as stored or written ``2019Q1``.
    vce : {"iid", "HC1", "CR1"}, optional
        Homoskedastic, robust, or clustered by the moments' cluster, with the usual small-sample factors.
        None: CR1 where the moments are clustered, HC1 otherwise.
    by : str or sequence of str
        Strata to estimate within; their combinations where several. Levels keep their joint covariance.

    Returns
    -------
    EffectTable
        One row per level. Intervals use Student's t with n − 2 (iid, HC1) or G − 1 (CR1) degrees of freedom, for the n
        people and the G clusters of the level. Of few clusters, see `retrain_eval.estimators.did.few_clusters.infer`.

    Raises
    ------
    InputError
        For an unknown period or vce, or iid with weights.
    DesignError
        With fewer than two treated or two controls in a level, or fewer than three clusters in all of them.

    Notes
    -----
    ψ = w (Y − Ȳ)/W in each arm. Factors: HC1 n/(n − 2) (MacKinnon and White 1985); CR1
    G/(G − 1) · (n − 1)/(n − 2) (Cameron and Miller 2015, eq. 12).

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval import outcome_moments
    >>> long = pd.DataFrame({"id": [1, 2, 3, 4], "t": [1] * 4, "g": [1, 1, 0, 0], "y": [3.0, 5.0, 1.0, 2.0]})
    >>> m = outcome_moments(long, unit="id", time="t", cohort="g", outcome="y")
    >>> frame = mean_difference(m, 1).to_frame()
    >>> float(frame["estimate"].item()), round(float(frame["std_error"].item()), 4)
    (2.5, 1.118)
    """
    time = stored_period(time)
    if time not in moments.times:
        raise unknown("period", time, moments.times)
    vce = vce or ("CR1" if moments.cluster is not None else "HC1")
    if vce not in VCES:
        raise InputError(f"unknown vce={vce!r}", fix=f"use one of {', '.join(VCES)}")
    if (vce == "CR1") != (moments.cluster is not None):
        raise InputError(
            f"vce={vce!r} does not fit moments clustered by {moments.cluster or 'the unit'}",
            fix="build the moments with cluster= for CR1 and without it for iid and HC1",
        )
    if vce == "iid" and moments.weighted:
        raise InputError("homoskedastic standard errors are not defined with these weights", fix='use vce="HC1"')

    names = (by,) if isinstance(by, str) else tuple(by)
    coordinate = 1 + moments.times.index(time)
    treated = moments.cells["cohort"].notna().to_numpy()
    rows, influence = _differences(moments, time, names)
    n = rows[["n_treated", "n_control"]].sum(axis=1).to_numpy()
    if vce == "CR1":
        assert moments.clusters is not None
        clusters = moments.clusters.count_in(moments.cells_used(influence))
        root = np.sqrt(clusters / np.maximum(clusters - 1, 1) * (n - 1) / (n - 2))

        found = infer(
            moments, influence, rows, lambda: _without(moments, coordinate, names), scale=np.outer(root, root)
        )
        meta = found.meta({"vce": vce})
        return EffectTable.build(
            rows, found.vcov, df=found.df, n_clusters=found.n_clusters, scale=found.scale, meta=meta
        )
    vcov = moments.covariance(influence) * np.outer(np.sqrt(n / (n - 2)), np.sqrt(n / (n - 2)))
    if vce == "iid":
        masks = [mask for _, mask in _levels(moments, names)]
        vcov = np.diag([_homoskedastic(moments, mask & treated, mask & ~treated, coordinate) for mask in masks])
    return EffectTable.build(rows, vcov, df=n - 2.0, meta={"vce": vce})


def _levels(moments: MomentTable, names: tuple[str, ...]) -> list[tuple[tuple[str, ...], Bools]]:
    """Return the levels to compare in: too few of unknown level do not stand in the way of the others."""
    treated, n = moments.cells["cohort"].notna().to_numpy(), moments.cells["n"].to_numpy()
    return [
        (levels, mask)
        for levels, mask in moments.levels(names)
        if not any(map(is_missing, levels)) or min(n[mask & treated].sum(), n[mask & ~treated].sum()) >= 2
    ]


def _differences(moments: MomentTable, time: int, names: tuple[str, ...]) -> tuple[pd.DataFrame, sparse.csr_array]:
    """Return the rows of `mean_difference` without inference, and their influence."""
    treated, n = moments.cells["cohort"].notna().to_numpy(), moments.cells["n"].to_numpy()
    rows, influence = [], []
    for levels, mask in _levels(moments, names):
        phi, estimate = _difference(moments, mask & treated, mask & ~treated, 1 + moments.times.index(time))
        n_treated, n_control = (int(n[arm].sum()) for arm in (mask & treated, mask & ~treated))
        if min(n_treated, n_control) < 2 or n_treated + n_control < 3:
            raise DesignError(
                f"{n_treated} treated and {n_control} controls are too few for a standard error",
                public="there are too few people for a standard error",
            )
        influence.append(phi)
        rows.append(
            {
                "outcome": moments.outcome,
                "estimator": "moments",
                "estimand": "difference in means",
                "time": time,
                "subgroup": " × ".join(names) if names else pd.NA,
                "level": " × ".join(levels) if names else pd.NA,
                "estimate": estimate,
                "n_treated": n_treated,
                "n_control": n_control,
            }
        )
    if not rows:
        raise DesignError("no level has two treated and two controls")
    return pd.DataFrame(rows), sparse.csr_array(sparse.vstack(influence))


def _without(moments: MomentTable, coordinate: int, names: tuple[str, ...]) -> Floats:
    """Return the differences without each cluster, shape (G, levels)."""
    first, n = sums_without(moments)
    treated = moments.cells["cohort"].notna().to_numpy()
    out = []
    for _, mask in _levels(moments, names):
        arms = [(first[:, arm].sum(axis=1), n[:, arm].sum(axis=1)) for arm in (mask & treated, mask & ~treated)]
        enough = np.min([n_arm for _, n_arm in arms], axis=0) >= 2
        means = [np.divide(s[:, coordinate], s[:, 0], out=np.full(len(s), np.nan), where=enough) for s, _ in arms]
        out.append(means[0] - means[1])
    return np.column_stack(out)


@recorded
def mean_paths(moments: MomentTable, shift: int = 0) -> pd.DataFrame:
    """Return the weighted mean outcome of treated and control units by period.

    Parameters
    ----------
    moments : MomentTable
    shift : int
        Added to the periods: where they count from an event, what is to be zero.

    Returns
    -------
    DataFrame
        ``outcome, group`` (treated | control), ``time, mean, n``; all cohorts and strata pooled.
    """
    treated = moments.cells["cohort"].notna().to_numpy()
    rows = []
    for group, members in (("treated", treated), ("control", ~treated)):
        total = moments.first[members].sum(axis=0)
        n = int(moments.cells["n"].to_numpy()[members].sum())
        for i, t in enumerate(moments.times):
            mean = total[1 + i] / total[0] + moments.reference[i] if n else np.nan
            rows.append({"outcome": moments.outcome, "group": group, "time": t + shift, "mean": mean, "n": n})
    return pd.DataFrame(rows)


def _difference(
    moments: MomentTable, treated: Bools, control: Bools, coordinate: int
) -> tuple[sparse.csr_array, float]:
    phi = np.zeros(moments.first.shape)
    estimate = 0.0
    for sign, members, arm in ((1.0, treated, "treated"), (-1.0, control, "control")):
        weight, total = moments.first[members, 0].sum(), moments.first[members, coordinate].sum()
        if weight == 0:
            raise DesignError(f"there are no {arm} units to compare")
        phi[members, 0], phi[members, coordinate] = -sign * total / weight**2, sign / weight
        estimate += sign * total / weight
    # the reference path is common to both arms and drops out
    return sparse.csr_array(phi.reshape(1, -1)), float(estimate)


def _homoskedastic(moments: MomentTable, treated: Bools, control: Bools, coordinate: int) -> float:
    """Variance σ²(1/n₁ + 1/n₀) with the pooled residual variance; unit weights."""
    residual, counts = 0.0, []
    for arm in (treated, control):
        n, total = moments.first[arm, 0].sum(), moments.first[arm, coordinate].sum()
        squares = [moments.second[c, c][coordinate, coordinate] for c in map(int, np.flatnonzero(arm))]
        residual += float(np.sum(squares)) - total**2 / n
        counts.append(n)
    return float(residual / (sum(counts) - 2) * (1 / counts[0] + 1 / counts[1]))
