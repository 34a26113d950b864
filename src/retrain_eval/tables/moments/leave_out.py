"""Outcome moments without the people of one cluster."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from retrain_eval.common.arrays import Bools, Floats
from retrain_eval.tables.moments.moments import MomentTable


def without_cluster(
    moments: MomentTable, number: int, among: Bools | None = None, *, products: bool = True
) -> MomentTable | None:
    """Return the moments of the people outside one cluster, whose sums are kept.

    Parameters
    ----------
    moments : MomentTable
    number : int
        Row of ``moments.clusters``.
    among : bool ndarray, shape (C,), optional
        Cells to keep; by default all.
    products : bool
        Whether to compute second moments as well.

    Returns
    -------
    MomentTable or None
        None if no one is left.
    """
    clusters = moments.clusters
    assert clusters is not None
    assert clusters.n is not None
    assert clusters.first is not None
    mine = clusters.row == number
    cells, own = clusters.cell[mine], clusters.first[mine]
    n, first = moments.cells["n"].to_numpy().copy(), moments.first.copy()
    n[cells] -= clusters.n[mine]
    first[cells] -= own
    kept = n > 0 if among is None else (n > 0) & among
    if not kept.any():
        return None
    index = np.flatnonzero(kept)
    place = np.full(len(n), -1, dtype=np.int64)
    place[index] = np.arange(len(index))
    others = clusters.leave_out(number).subset(place)
    second: dict[tuple[int, int], Floats] = {}
    if products:
        shared = others.table(len(index))
        together = (shared.T @ shared).toarray() > 0
        sums = dict(zip(cells.tolist(), own, strict=True))
        for (a, b), block in moments.second.items():
            if place[a] >= 0 and place[b] >= 0 and together[place[a], place[b]]:
                less = np.outer(sums[a], sums[b]) if a in sums and b in sums else 0.0
                second[int(place[a]), int(place[b])] = block - less
    return replace(
        moments,
        cells=moments.cells.assign(n=n).iloc[index].reset_index(drop=True),
        first=first[index],
        second=second,
        clusters=others,
        n_clusters=others.total,
        largest=None,
        absolute=None,
        keyed=None,
        source=None,
    )
