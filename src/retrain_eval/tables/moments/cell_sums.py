"""Sums by cell: cells that fall together are added up, and a cluster is taken out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

if TYPE_CHECKING:
    from retrain_eval.tables.moments.moments import OutcomeMoments

Array = npt.NDArray[np.float64]
Pairs = Mapping[tuple[int, int], Array]


def merge_cells(
    cells: pd.DataFrame, keys: list[str], first: Array, second: Pairs
) -> tuple[pd.DataFrame, Array, dict[tuple[int, int], Array], npt.NDArray[np.integer]]:
    """Sum rows of ``cells`` that have the same keys; return cells, both moments, and the new cell of each row."""
    group = cells.groupby(keys, dropna=False, sort=False).ngroup().to_numpy()
    n_groups = int(group.max()) + 1
    merged = cells[keys].drop_duplicates().reset_index(drop=True)
    merged["n"] = np.bincount(group, weights=cells["n"].to_numpy(), minlength=n_groups).astype(int)
    total = np.zeros((n_groups, first.shape[1]))
    np.add.at(total, group, first)
    blocks: dict[tuple[int, int], Array] = {}
    for (a, b), block in second.items():
        c, d = int(group[a]), int(group[b])
        # two distinct cells that fall together contribute both ways round; stored pairs have c <= d
        parts = [((c, d), block)] if c != d or a == b else [((c, c), block), ((c, c), block.T)]
        for (row, column), part in parts:
            key, value = ((row, column), part) if row <= column else ((column, row), part.T)
            blocks[key] = blocks[key] + value if key in blocks else value
    return merged, total, blocks, group


def without_cluster(
    moments: OutcomeMoments, number: int, among: npt.NDArray[np.bool_] | None = None, *, products: bool = True
) -> OutcomeMoments | None:
    """Return the moments of the people outside one cluster, whose sums are kept.

    Parameters
    ----------
    moments : OutcomeMoments
    number : int
        Row of ``moments.clusters``.
    among : bool ndarray, shape (C,), optional
        Cells to keep at all.
    products : bool
        Whether second moments are wanted as well.

    Returns
    -------
    OutcomeMoments or None
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
    second: dict[tuple[int, int], Array] = {}
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
        source=None,
    )
