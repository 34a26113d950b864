"""Standard errors of what is made from cell means: the sandwich of many clusters, the jackknife of few.

Every estimator asks `infer`, so that the same coefficient has the same interval whichever of them estimates it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd
from scipy import sparse

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.numerics.jackknife import FEW, cv3
from retrain_eval.common.numerics.joint import arms_df
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.effects.estimates import FEWEST_CLUSTERS, KEYS
from retrain_eval.tables.clusters import Clusters
from retrain_eval.tables.moments.leave_out import without_cluster
from retrain_eval.tables.moments.moments import MomentTable

CV3 = "CV3"


class CellInfluence(Protocol):
    """What inference reads of outcome moments, and of people where cells are not sufficient."""

    @property
    def outcome(self) -> str:
        """Name of the outcome."""
        ...

    @property
    def cells(self) -> pd.DataFrame:
        """Cohort, strata and ``n`` of each cell."""
        ...

    @property
    def cluster(self) -> str | None:
        """Column of the cluster; None means the unit."""
        ...

    @property
    def clusters(self) -> Clusters | None:
        """Which cells each cluster lies in."""
        ...

    @property
    def leaves_out(self) -> bool:
        """Whether each cluster can be left out."""
        ...

    def cells_used(self, influence: sparse.csr_array) -> Bools:
        """Return which cells have a part in each row of influence coefficients."""
        ...

    def covariance(self, influence: sparse.csr_array) -> Floats:
        """Return the covariance of estimates from their influence coefficients."""
        ...


@summarised
@dataclass(frozen=True)
class Inference:
    """Covariance of estimates, the clusters of each and its degrees of freedom, and facts for ``meta``.

    Without clusters, units are independent, and both are None. ``scale`` is the largest mean of which estimates are
    differences.
    """

    vcov: Floats
    n_clusters: Ints | None
    df: Floats | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    scale: float = 0.0

    @property
    def jackknifed(self) -> bool:
        """Whether the covariance is the cluster jackknife's."""
        return self.facts.get("variance") == CV3

    def meta(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Return facts about estimates with those about their covariance; a jackknife has no factor."""
        notes = (*facts.get("notes", ()), *self.facts.get("notes", ()))
        kept = {k: v for k, v in facts.items() if not (self.jackknifed and k == "small_sample_factor")}
        return {**kept, **self.facts, "notes": notes}


def infer(
    moments: CellInfluence,
    influence: sparse.csr_array,
    rows: pd.DataFrame,
    without: Callable[[], Floats],
    *,
    scale: float | Floats = 1.0,
) -> Inference:
    """Return the covariance of estimates: the cluster jackknife if one rests on few clusters, else the sandwich.

    Parameters
    ----------
    moments : MomentTable, or a substitute computed from rows of people
    influence : sparse array, shape (K, C · (1 + T))
    rows : DataFrame
        Keys and ``estimate`` of the K estimates.
    without : callable
        Returns the estimates without each cluster, shape (G, K), where ``moments.leaves_out``.
    scale : float or ndarray, shape (K, K)
        Small-sample factor of the sandwich. The jackknife needs none.

    Raises
    ------
    InputError
        If the moments are clustered and do not say which cells the clusters lie in.
    DesignError
        If no estimate rests on three clusters, or none can be made without each of its clusters.

    Notes
    -----
    Clusters are counted in the cells that an estimate uses, and in its treated and its untreated cells: 51 states of
    which two are treated are few clusters. Below 50 in either arm the jackknife (MacKinnon, Nielsen and Webb 2023) is
    used where sums by cluster are kept, or people are at hand. Of many small clusters, such as matched sets, no sums
    are kept: a level with few of them has the sandwich. Student's t has G − 1 degrees of freedom or, if fewer, those of
    a difference between means of the clusters of the two arms (`retrain_eval.common.numerics.joint.arms_df`): where
    each cluster holds both arms, G − 1.
    """
    clusters = moments.clusters
    size = float(np.nanmax(np.abs(moments.means()), initial=0.0)) if isinstance(moments, MomentTable) else 0.0
    if moments.cluster is None:
        return Inference(moments.covariance(influence) * scale, None, scale=size)
    if clusters is None:
        raise InputError(
            "these moments do not say which cells each cluster lies in: an earlier edition made them",
            column=moments.cluster,
            fix="make them again from the people",
        )
    uses = moments.cells_used(influence)
    constant = ~uses.any(axis=1)  # the reference period
    uses[constant] = uses.any(axis=0)
    n = clusters.count_in(uses)
    n_treated, n_control = _by_arm(moments, uses, n)
    fewest = np.minimum(n_treated, n_control)
    df = np.maximum(np.minimum(n - 1.0, arms_df(n_treated.astype(float), n_control.astype(float))), 1.0)
    too_few = (n < FEWEST_CLUSTERS) & ~constant
    notes = _too_few(rows, n, too_few)
    if too_few.any() and (too_few | constant).all():
        raise DesignError(
            f"the standard errors rest on {n[too_few].min()} cluster(s); at least {FEWEST_CLUSTERS} are needed for a "
            "standard error",
            public="there are too few clusters for a standard error",
        )
    few = (fewest < FEW) & ~constant & ~too_few
    facts: dict[str, Any] = {}
    if few.any() and moments.leaves_out:
        part = clusters.touching(uses) & ~constant
        found = without()
        vcov, facts = cv3(rows["estimate"].to_numpy(dtype=float), found, part), {"variance": CV3}
        refused = np.isnan(np.diag(vcov)) & ~too_few
        notes += _cannot_leave_out(rows, np.isnan(found) & part, n, refused)
        if refused.any() and (refused | too_few | constant).all():
            raise DesignError("no standard error can be given:" + "".join(f"\n  {note}" for note in notes))
    else:
        vcov = moments.covariance(influence) * scale
        alone = (fewest < 2) & ~constant & ~too_few
        vcov[alone] = vcov[:, alone] = np.nan
        notes += tuple(
            f"{_name(rows, k)}: no standard error, because one cluster holds all treated units or all controls"
            for k in np.flatnonzero(alone).tolist()
        )
        if alone.any() and (alone | too_few | constant).all():
            raise DesignError("no standard error can be given:" + "".join(f"\n  {note}" for note in notes))
        if few.any() and clusters.withheld:
            vcov[few] = vcov[:, few] = np.nan
            notes += ("standard errors from few clusters need the sums by cluster, which a release does not hold",)
    vcov[too_few] = vcov[:, too_few] = np.nan
    return Inference(vcov, n, df, {**facts, "notes": notes}, size)


def _by_arm(moments: CellInfluence, uses: Bools, n: Ints) -> tuple[Ints, Ints]:
    """Return the clusters in the treated and in the never treated cells of each estimate, ``n`` where it uses none."""
    assert moments.clusters is not None
    treated = moments.cells["cohort"].notna().to_numpy(dtype=bool)
    arms = [moments.clusters.count_in(uses & arm) for arm in (treated, ~treated)]
    one, other = (np.where((uses & arm).any(axis=1), k, n) for k, arm in zip(arms, (treated, ~treated), strict=True))
    return one, other


def _too_few(rows: pd.DataFrame, n: Ints, which: Bools) -> tuple[str, ...]:
    """Name the levels, or else the estimates, that rest on too few clusters."""
    notes = [
        f"{_name(rows, k)}: {n[k]} cluster(s); at least {FEWEST_CLUSTERS} are needed for a standard error"
        for k in np.flatnonzero(which).tolist()
    ]
    return tuple(dict.fromkeys(notes))


def _cannot_leave_out(rows: pd.DataFrame, missing: Bools, n: Ints, refused: Bools) -> tuple[str, ...]:
    """Name the estimates that some cluster cannot be left out of."""
    return tuple(
        f"{_name(rows, k)}: no standard error, because {missing[:, k].sum()} of its {n[k]} clusters cannot be left "
        "out: without it there is no treated or no control to compare"
        for k in np.flatnonzero(refused).tolist()
    )


def _name(rows: pd.DataFrame, k: int) -> str:
    keys = [f"{key} {rows[key].iloc[k]}" for key in KEYS[2:] if key in rows and pd.notna(rows[key].iloc[k])]
    return ", ".join(keys)


def sums_without(moments: MomentTable) -> tuple[Floats, Ints]:
    """Return ``first`` and ``n`` of the cells without each cluster, shape (G, C, 1 + T) and (G, C)."""
    clusters = moments.clusters
    assert clusters is not None
    assert clusters.n is not None
    assert clusters.first is not None
    shape = len(clusters.count), 1, 1
    first = np.tile(moments.first, shape)
    n = np.tile(moments.cells["n"].to_numpy(), shape[:2])
    first[clusters.row, clusters.cell] -= clusters.first
    n[clusters.row, clusters.cell] -= clusters.n
    return first, n


def touched(moments: MomentTable, names: Sequence[str], number: int) -> Bools:
    """Return the cells of all levels of some strata that a cluster lies in."""
    assert moments.clusters is not None
    inside = np.zeros(len(moments.cells), dtype=bool)
    inside[moments.clusters.cell[moments.clusters.row == number]] = True
    if not names:
        return np.ones(len(inside), dtype=bool)
    level = moments.cells.groupby(list(names), sort=False, dropna=False).ngroup().to_numpy()
    found: Bools = np.isin(level, level[inside])
    return found


def leave_each_out(
    moments: MomentTable,
    rows: pd.DataFrame,
    estimate: Callable[[MomentTable], pd.DataFrame],
    names: Sequence[str] = (),
) -> Callable[[], Floats]:
    """Return a function that gives the estimates without each cluster, shape (G, K).

    Parameters
    ----------
    moments : MomentTable
    rows : DataFrame
        Keys of the estimates.
    estimate : callable
        Makes such rows from other moments; a DesignError means that there are none.
    names : sequence of str
        Strata within whose levels it estimates: of the others, nothing changes.
    """

    def without() -> Floats:
        assert moments.clusters is not None
        place = {key: k for k, key in enumerate(keys_of(rows))}
        out = np.full((len(moments.clusters.count), len(rows)), np.nan)
        for number in range(len(out)):
            part = without_cluster(moments, number, touched(moments, names, number), products=False)
            if part is None:
                continue
            try:
                found = estimate(part)
            except DesignError:
                continue
            for key, value in zip(keys_of(found), found["estimate"].to_numpy(dtype=float), strict=True):
                if key in place:
                    out[number, place[key]] = value
        return out

    return without


def keys_of(rows: pd.DataFrame) -> list[tuple[object, ...]]:
    """Return the keys of rows, as one tuple for each; the outcome and the estimator are the same in all."""
    columns = [rows[name].astype(object).where(rows[name].notna(), None) for name in KEYS[2:] if name in rows]
    return list(zip(*columns, strict=True)) if columns else [()] * len(rows)
