"""First and second moments of a path table, read a chunk of units at a time.

DuckDB builds the paths and a matrix product sums them: for T periods this is one product of a matrix with itself, where
SQL would need T² / 2 sums. Chunks are in the order of units and products are computed in one thread, so that sums of
floats are reproducible bit for bit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from retrain_eval.common.arrays import Floats, Index
from retrain_eval.tables.clusters import Clusters, Collector
from retrain_eval.tables.moments.numbering import Cells, split_by
from retrain_eval.tables.moments.paths import Paths

Pairs = dict[tuple[int, int], Floats]

# numbers fetched at a time (5 MB), and numbers multiplied at a time (so that they fit a processor's cache)
_FETCHED, _MULTIPLIED = 650_000, 200_000


def unit_moments(paths: Paths, cells: Cells, reference: Floats) -> tuple[Floats, Pairs]:
    """Return Σz by cell, shape (C, 1 + T), and Σzzᵀ by cell, where z = w (1, Y − reference)."""
    size = 1 + len(reference)
    first = np.zeros((len(cells.table), size))
    second: Pairs = {}
    with threadpool_limits(1, user_api="blas"), np.errstate(over="ignore", invalid="ignore"):
        for cell, z in _units(paths, cells, reference):
            order = np.argsort(cell, kind="stable")
            cell, z = cell[order], z.take(order, axis=1)
            starts = np.flatnonzero(np.diff(cell, prepend=-1))
            for start, end in zip(starts, [*starts[1:], len(cell)], strict=True):
                c, part = int(cell[start]), z[:, start:end]
                first[c] += part.sum(axis=1)
                product = part @ part.T
                second[c, c] = second[c, c] + product if (c, c) in second else product
    return first, second


def cluster_moments(paths: Paths, cells: Cells, reference: Floats) -> tuple[Pairs, Clusters]:
    """Return Σ over clusters of products of their Σz, by pair of cells c ≤ d, and the cells of each cluster."""
    second: Pairs = defaultdict(lambda: np.zeros((1 + len(reference),) * 2))
    found = Collector()
    with (
        paths.by_cluster() as by_cluster,
        threadpool_limits(1, user_api="blas"),
        np.errstate(over="ignore", invalid="ignore"),
    ):
        for cluster, cell, n, totals in _cluster_totals(by_cluster, cells, reference):
            found.add(cluster, cell, n, totals.T)
            # the entries of a cluster are adjacent: compare each with itself, with the next, the one after …
            for step in range(len(cluster)):
                start = np.flatnonzero(cluster[step:] == cluster[: len(cluster) - step])
                if len(start) == 0:
                    break
                pair = cell[start] * len(cells.table) + cell[start + step]
                for rows in split_by(pair):
                    one = start[rows]
                    key = (int(cell[one[0]]), int(cell[one[0] + step]))
                    second[key] = second[key] + totals[:, one] @ totals[:, one + step].T
    return dict(sorted(second.items())), found.clusters()


def _cluster_totals(paths: Paths, cells: Cells, reference: Floats) -> Iterator[tuple[Index, Index, Index, Floats]]:
    """Yield cluster, cell, units and Σz of complete clusters from a table that is sorted by cluster and cell."""
    none = np.empty(0, np.intp)
    held = none, none, none, np.empty((1 + len(reference), 0))
    for cluster, cell, z in _units_by_cluster(paths, cells, reference):
        together = np.r_[held[0], cluster], np.r_[held[1], cell], np.r_[held[2], np.ones_like(cluster)]
        sums = np.hstack([held[3], z])
        key = together[0] * len(cells.table) + together[1]
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.diff(key[order], prepend=-1))
        totals, n = np.add.reduceat(sums[:, order], starts, axis=1), np.add.reduceat(together[2][order], starts)
        cluster, cell = together[0][order][starts], together[1][order][starts]
        # the last cluster may continue in the next chunk
        whole = int(np.searchsorted(cluster, cluster[-1]))
        held = cluster[whole:], cell[whole:], n[whole:], totals[:, whole:]
        if whole:
            yield cluster[:whole], cell[:whole], n[:whole], totals[:, :whole]
    if len(held[0]):
        yield held


def _units_by_cluster(paths: Paths, cells: Cells, reference: Floats) -> Iterator[tuple[Index, Index, Floats]]:
    def read(units: pa.Table) -> tuple[Index, Index, Floats]:
        return np.asarray(units["cluster"].to_numpy(), np.intp), cells.of(units), _weighted(units, reference)

    return map(read, _parts(paths, cells, ["cluster"]))


def _units(paths: Paths, cells: Cells, reference: Floats) -> Iterator[tuple[Index, Floats]]:
    def read(units: pa.Table) -> tuple[Index, Floats]:
        return cells.of(units), _weighted(units, reference)

    return map(read, _parts(paths, cells, []))


def _parts(paths: Paths, cells: Cells, more: list[str]) -> Iterator[pa.Table]:
    """Yield the units in order, a part at a time."""
    columns = [*_columns(paths, cells), *more]
    fetched, part = _rows(_FETCHED, len(columns)), _rows(_MULTIPLIED, len(columns))
    for units in paths.chunks(columns, fetched):
        for start in range(0, units.num_rows, part):
            yield units.slice(start, part)
        del units  # free memory before the next part is fetched


def _columns(paths: Paths, cells: Cells) -> list[str]:
    return [*cells.columns, "w", *paths.per_period]


def _rows(values: int, n_columns: int) -> int:
    return max(1024, values // n_columns)


def _weighted(units: pa.Table, reference: Floats) -> Floats:
    """Return z = w (1, Y − reference), shape (1 + T, n)."""
    z = np.empty((1 + len(reference), units.num_rows))
    z[0] = units["w"].to_numpy()
    for i, centre in enumerate(reference):
        np.subtract(units[f"y_{i}"].to_numpy(), centre, out=z[1 + i])
    z[1:] *= z[0]
    return z
