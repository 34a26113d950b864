"""Standard errors of a life table by cluster: how many clusters are behind each estimate, and the jackknife of few."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.numerics.jackknife import FEW, cv3
from retrain_eval.common.numerics.joint import arms_df
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.effects.estimates import FEWEST_CLUSTERS
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.life_table.spell_clusters import Group


@summarised
@dataclass(frozen=True)
class Clustering:
    """What the clusters say of some estimates.

    Attributes
    ----------
    n : int ndarray, shape (K,), or None
        Clusters with spells in the groups that each estimate uses; None: errors are not clustered.
    vcov : ndarray, shape (K, K), or None
        The cluster jackknife, where some estimate has few clusters; None: the sandwich is to be used.
    df : ndarray, shape (K,), or None
        Degrees of freedom of Student's t: G − 1 or, if fewer, those of the clusters of two arms.
    """

    n: Ints | None = None
    vcov: Floats | None = None
    df: Floats | None = None

    @property
    def name(self) -> str:
        """How the variance is made, for ``meta["variance"]``; empty for the sandwich."""
        return "" if self.vcov is None else "cluster jackknife (CV3)"


def clustering(
    table: LifeTable,
    estimate: Floats,
    uses: Sequence[Collection[Group]],
    again: Callable[[LifeTable], Floats],
    arms: Sequence[tuple[Collection[Group], Collection[Group]]] | None = None,
) -> Clustering:
    """Count the clusters behind estimates and, where some have few, leave out one cluster at a time.

    Parameters
    ----------
    table : LifeTable
    estimate : ndarray, shape (K,)
    uses : sequence of collection of groups, length K
        Groups of the table that each estimate uses.
    again : callable
        The estimates from a part of the table, in the same order; NaN where there is none.
    arms : sequence of two collections of groups, length K, optional
        Where an estimate compares groups with others: if either side has few clusters, there are few.

    Raises
    ------
    DesignError
        If no estimate has three clusters, or none can be made without each of them.
    """
    if table.cluster is None or table.clusters is None:
        return Clustering()
    spells, used = table.clusters.n, np.zeros((0, len(uses)), dtype=bool)
    if spells is None or not uses:
        known = {groups: table.clusters.count(groups) for groups in {frozenset(groups) for groups in uses}}
        n = np.array([known[frozenset(groups)] for groups in uses], dtype=np.int64)
    else:  # of some durations only, a cluster may have no spells left in its groups
        place = {group: number for number, group in enumerate(table.groups())}
        member = np.zeros((len(place), len(table.cells)))
        member[table.group_numbers(), np.arange(len(table.cells))] = 1.0
        there = (spells @ member.T) > 0
        used = np.column_stack([there[:, [place[group] for group in groups]].any(axis=1) for groups in uses])
        n = used.sum(axis=0)
    if len(n) and n.max() < FEWEST_CLUSTERS:
        raise DesignError(
            f"{n.max()} cluster(s) of {table.cluster!r} are too few for a standard error; "
            f"at least {FEWEST_CLUSTERS} are needed",
            public="there are too few clusters for a standard error",
        )
    fewest, df = _by_arm(table, n, arms)
    if (fewest >= FEW).all():
        return Clustering(n, df=df)
    if spells is None:
        if (fewest < 2).any():
            raise DesignError(
                f"no standard error can be given: one cluster of {table.cluster!r} holds all spells of one side of a "
                "comparison",
                public="no standard error can be given: all spells of one side of a comparison are in one cluster",
            )
        if table.clusters.withheld:
            raise DesignError(
                f"the spells of each of {n.min()} clusters of {table.cluster!r} are not known once durations are "
                "merged, and the cluster jackknife needs them; estimate before coarsen()",
                public="no standard error can be given: durations are merged, so that clusters are not known",
            )
        return Clustering(n, df=df)
    without = np.vstack([_or_none(again, part, len(estimate)) for part in leave_one_out(table)])
    vcov = cv3(estimate, without, used)
    if len(n) and np.isnan(np.diag(vcov)).all():
        lost = int((np.isnan(without) & used).any(axis=1).sum())
        raise DesignError(
            f"no standard error can be given: without {lost} of the {len(without)} clusters of {table.cluster!r}, left "
            "out one at a time, there is no estimate",
            public="no standard error can be given: without some of the clusters there is no estimate",
        )
    # of fewer than three clusters `EffectTable.build` gives no standard error, and says so if there is a variance
    few = (n < FEWEST_CLUSTERS) & np.isnan(np.diag(vcov))
    vcov[few] = vcov[:, few] = 0.0
    vcov[few, few] = 1.0
    return Clustering(n, vcov, df)


def _by_arm(
    table: LifeTable,
    n: Ints,
    arms: Sequence[tuple[Collection[Group], Collection[Group]]] | None,
) -> tuple[Ints, Floats]:
    """Return the clusters of the side that has fewer, and the degrees of freedom."""
    if arms is None or table.clusters is None:
        return n, np.maximum(n - 1.0, 1.0)
    # a side without groups, as of a number that is never zero, tells nothing
    sides = [[table.clusters.count(side) if side else k for side in both] for both, k in zip(arms, n, strict=True)]
    one, other = np.array(sides, dtype=float).reshape(-1, 2).T
    df = np.maximum(np.minimum(n - 1.0, arms_df(one, other)), 1.0)
    return np.minimum(np.minimum(one, other), n).astype(np.int64), df


def sides_of(groups: Sequence[Group], x: Floats) -> list[tuple[list[Group], list[Group]]]:
    """Return, for each column of a design, the groups for which it is not zero, and the others."""

    def of(which: Bools) -> list[Group]:
        return [group for group, chosen in zip(groups, which, strict=True) if chosen]

    return [(of(column != 0), of(column == 0)) for column in x.T]


def leave_one_out(table: LifeTable) -> Iterator[LifeTable]:
    """Yield the table without each of its clusters in turn, for estimates only: spells are taken as independent."""
    clusters = table.clusters
    if clusters is None or clusters.n is None or clusters.sum_w is None:
        return
    n, sum_w = table.cells["n"].to_numpy(), table.cells["sum_w"].to_numpy()
    alone = table.without_clusters()
    for j in range(clusters.n.shape[0]):
        left = n - np.rint(clusters.n[[j]].toarray()[0]).astype(np.int64)
        keep = left > 0
        weight = sum_w - clusters.sum_w[[j]].toarray()[0]
        cells = table.cells.assign(n=left, sum_w=weight, sum_w2=weight)[keep].reset_index(drop=True)
        yield replace(alone, cells=cells, n_people=int(left.sum()))


def _or_none(again: Callable[[LifeTable], Floats], part: LifeTable, size: int) -> Floats:
    """Return the estimates, or NaN for all where there are none without these spells."""
    if not len(part.cells):
        return np.full(size, np.nan)
    try:
        return again(part)
    except (DesignError, InputError):
        return np.full(size, np.nan)


def robust_test(statistic: float, df: int, clusters: int | None, *, at_null: bool = False) -> tuple[float, float]:
    """Return the denominator's degrees of freedom, infinite for χ², and the p-value of a test with a robust covariance.

    Parameters
    ----------
    statistic : float
        θ' V⁻ θ.
    df : int
        Its rank q.
    clusters : int or None
        Clusters, G, behind V. None, or 50 and more: χ².
    at_null : bool
        Whether V is a sum of squares of the clusters' scores, not of their deviations from the mean: then the statistic
        is at most G, and (G − 1) W/(G − W) is the one about the mean.

    Returns
    -------
    df_denominator, p_value : float
        Hotelling's F with q and G − q degrees of freedom. NaN where there are too few clusters for so many contrasts.

    Examples
    --------
    >>> [round(x, 3) for x in robust_test(4.0, 1, 10)]
    [9.0, 0.077]
    >>> [round(x, 3) for x in robust_test(4.0, 1, None)]
    [inf, 0.046]
    """
    if clusters is None or clusters >= FEW:
        return np.inf, float(special.chdtrc(df, statistic))
    denominator = float(clusters - df)
    if denominator < 1 or clusters < FEWEST_CLUSTERS:
        return denominator, np.nan
    if at_null:
        statistic = (clusters - 1) * statistic / max(clusters - statistic, 1e-300)
    return denominator, float(special.fdtrc(df, denominator, statistic * denominator / ((clusters - 1) * df)))
