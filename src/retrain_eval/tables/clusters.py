"""The cells of a table in which each cluster occurs, and its sums there if there are few clusters.

Clusters are counted in the cells that an estimate uses, and the jackknife leaves out one at a time, so both need the
cells of each cluster. For many small clusters, such as matched sets, the number of clusters with the same cells is
sufficient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from retrain_eval.common.arrays import AnyInts, Bools, Floats, Index, Ints
from retrain_eval.common.numerics.jackknife import FEW
from retrain_eval.common.shown import summarised

# limits for keeping sums: most clusters, most numbers, and fewest people per cluster on average
MAX_CLUSTERS, MAX_NUMBERS, MEAN_SIZE = 2_000, 2_000_000, 10


@summarised
@dataclass(frozen=True)
class Clusters:
    """One row per cluster, or per set of cells with the number of clusters that occur in exactly these cells.

    Attributes
    ----------
    row, cell : int ndarray, shape (E,)
        Pairs of a row and one of its cells, ascending.
    count : int ndarray, shape (S,)
        Number of clusters of each row; 1 if sums are kept.
    n : int ndarray, shape (E,), optional
        People of the cluster in the cell.
    first : ndarray, shape (E, 1 + T), optional
        The cluster's part of ``OutcomeMoments.first[cell]``.
    withheld : bool
        Whether sums were kept and then removed for a release.
    """

    row: Ints
    cell: Ints
    count: Ints
    n: Ints | None = None
    first: Floats | None = None
    withheld: bool = False

    @property
    def total(self) -> int:
        """Number of clusters."""
        return int(self.count.sum())

    def table(self, n_cells: int) -> sparse.csr_array:
        """Return an indicator matrix of the cells of each row, shape (S, n_cells)."""
        ones = np.ones(len(self.row), dtype=np.int64)
        return sparse.csr_array((ones, (self.row, self.cell)), shape=(len(self.count), n_cells))

    def touching(self, uses: Bools) -> Bools:
        """Return whether each row occurs in any of the cells that an estimate uses: (R, C) to (S, R)."""
        found: Bools = (self.table(uses.shape[1]) @ sparse.csr_array(uses.T.astype(np.int64))).toarray() > 0
        return found

    def count_in(self, uses: Bools) -> Ints:
        """Return the number of clusters in the cells that each estimate uses: (R, C) to (R,).

        Examples
        --------
        >>> clusters = Clusters(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([5, 2]))
        >>> clusters.count_in(np.array([[True, False], [False, True]])).tolist()
        [5, 7]
        """
        return np.asarray(self.count @ self.touching(uses), dtype=np.int64)

    def subset(self, place: Ints) -> Clusters:
        """Return the clusters with cells renumbered by ``place``; cells with −1 are dropped."""
        kept = place[self.cell] >= 0
        rows, row = np.unique(self.row[kept], return_inverse=True)
        part = replace(
            self,
            row=row.astype(np.int64),
            cell=place[self.cell[kept]],
            count=self.count[rows],
            n=None if self.n is None else self.n[kept],
            first=None if self.first is None else self.first[kept],
        )
        return part._sorted()

    def merge(self, group: AnyInts) -> Clusters:
        """Return the clusters with cells added up; ``group`` is the new cell of each old one."""
        return replace(self, cell=np.asarray(group, dtype=np.int64)[self.cell])._sorted()

    def plus(self, other: Clusters, offset: int, shift: Floats) -> Clusters:
        """Return these clusters together with others, whose cells start at ``offset`` and whose sums are shifted."""
        sums = self.first is not None and other.first is not None
        mine, theirs = (self, other) if sums else (self.without_sums(), other.without_sums())
        both = replace(
            mine,
            row=np.concatenate([mine.row, theirs.row + len(mine.count)]),
            cell=np.concatenate([mine.cell, theirs.cell + offset]),
            count=np.concatenate([mine.count, theirs.count]),
            n=np.concatenate([mine.n, theirs.n]) if mine.n is not None and theirs.n is not None else None,
            first=np.vstack([self.first, other.first @ shift.T])
            if self.first is not None and other.first is not None
            else None,
            withheld=self.withheld or other.withheld,
        )
        return both._sorted()

    def leave_out(self, number: int) -> Clusters:
        """Return all clusters except one; sums must be kept."""
        kept = self.row != number
        return replace(
            self,
            row=self.row[kept] - (self.row[kept] > number),
            cell=self.cell[kept],
            count=np.delete(self.count, number),
            n=None if self.n is None else self.n[kept],
            first=None if self.first is None else self.first[kept],
        )

    def without_sums(self, *, withheld: bool = False) -> Clusters:
        """Return the clusters without sums: only sets of cells and the number of clusters with each."""
        return replace(self, n=None, first=None, withheld=self.withheld or withheld)._sorted()

    def frequent(self, least: int) -> Clusters:
        """Return the sets of cells with at least a minimum number of clusters; rarer sets would reveal small counts."""
        kept = (self.count >= least)[self.row]
        rows, row = np.unique(self.row[kept], return_inverse=True)
        return replace(self, row=row.astype(np.int64), cell=self.cell[kept], count=self.count[rows])

    def _sorted(self) -> Clusters:
        """Return sorted, unique pairs, with sums added up or rows with the same cells merged."""
        key = self.row * (int(self.cell.max(initial=0)) + 1) + self.cell
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.diff(key[order], prepend=-1))
        row, cell = self.row[order][starts], self.cell[order][starts]
        if self.first is None or self.n is None:
            row, cell, count = _signatures(row, cell, self.count)
            return replace(self, row=row, cell=cell, count=count, n=None, first=None)
        empty = len(starts) == 0
        n = self.n if empty else np.add.reduceat(self.n[order], starts)
        first = self.first if empty else np.add.reduceat(self.first[order], starts, axis=0)
        return replace(self, row=row, cell=cell, n=n, first=first)


def _signatures(row: Ints, cell: Ints, count: Ints) -> tuple[Ints, Ints, Ints]:
    """Merge rows that have the same cells."""
    sizes = np.bincount(row, minlength=len(count))
    rows, cells, counts, n = [row[:0]], [cell[:0]], [count[:0]], 0
    for size in np.unique(sizes[sizes > 0]):
        members = np.flatnonzero(sizes == size)
        matrix = cell[np.isin(row, members)].reshape(len(members), size)
        found, place = np.unique(matrix, axis=0, return_inverse=True)
        counts.append(np.bincount(place.ravel(), weights=count[members]).astype(np.int64))
        rows.append(np.repeat(np.arange(n, n + len(found)), size))
        cells.append(found.ravel())
        n += len(found)
    return np.concatenate(rows), np.concatenate(cells), np.concatenate(counts)


def keeps_sums(n_clusters: int, n_people: int) -> bool:
    """Return whether sums by cluster are kept: if clusters are few, or large, such as regions.

    Examples
    --------
    >>> keeps_sums(30, 60), keeps_sums(60, 120), keeps_sums(60, 6_000)
    (True, False, True)
    """
    return n_clusters < FEW or n_people >= MEAN_SIZE * n_clusters


class Collector:
    """Collects the contents of `Clusters` while clusters are read chunk by chunk."""

    def __init__(self) -> None:
        self._parts: list[tuple[Ints, Ints, Ints, Floats]] | None = []
        self._sets: list[Clusters] = []
        self.n_clusters = self._n_people = self._n_numbers = 0

    def add(self, cluster: Index, cell: Index, n: Ints, first: Floats) -> None:
        """Add complete clusters: ascending numbers, their cells, and the people and sums (E, 1 + T) in each cell."""
        _, row = np.unique(cluster, return_inverse=True)
        row, cell = row.astype(np.int64), cell.astype(np.int64)
        n_rows = int(row.max()) + 1
        if self._parts is not None:
            self._parts.append((row + self.n_clusters, cell, n, first))
        self._sets.append(Clusters(row, cell, np.ones(n_rows, dtype=np.int64)).without_sums())
        self.n_clusters += n_rows
        self._n_people += int(n.sum())
        self._n_numbers += first.size
        if self.n_clusters > MAX_CLUSTERS or self._n_numbers > MAX_NUMBERS:
            self._parts = None

    def clusters(self) -> Clusters:
        """Return the collected clusters."""
        if self._parts is None or not keeps_sums(self.n_clusters, self._n_people):
            return together(self._sets)
        row, cell, n, first = (np.concatenate(found) for found in zip(*self._parts, strict=True))
        return Clusters(row, cell, np.ones(self.n_clusters, dtype=np.int64), n, first)


def together(parts: Sequence[Clusters]) -> Clusters:
    """Return the clusters of several parts of one table, without sums."""
    starts = np.cumsum([0, *(len(part.count) for part in parts)])
    row = np.concatenate([part.row + start for part, start in zip(parts, starts[:-1], strict=True)])
    cell, count = (np.concatenate([getattr(part, name) for part in parts]) for name in ("cell", "count"))
    return Clusters(row, cell, count).without_sums()
