r"""Outcome moments: the small additive table behind every difference-in-differences.

One row per cell (cohort × strata). For the path ``Y`` of outcomes over ``T`` periods, measured from a fixed
reference path, and the weight ``w``, put ``z_i = w_i (1, Y_i)``. A cell ``c`` keeps

* ``n``, the number of units,
* ``first[c] = Σ_i z_i``, and
* ``second[c, d] = Σ_j (Σ_{i∈j∩c} z_i)(Σ_{i∈j∩d} z_i)ᵀ`` over clusters ``j``; with one unit per cluster only ``c = d``.

Every estimate is a function of cell means, and its influence function is linear in the path inside a cell,
``ψ_j = Σ_c φ_cᵀ z_jc``, so ``Cov(θ_k, θ_l) = Σ_{c,d} φ_kcᵀ second[c, d] φ_ld`` exactly, without records of people.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy import sparse

from retrain_eval.common.arrays import Bools, Floats, Index
from retrain_eval.common.errors import InputError, too_small, unknown
from retrain_eval.common.levels import is_missing
from retrain_eval.common.periods import parse_period
from retrain_eval.common.shown import summarised
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.clusters import Clusters
from retrain_eval.tables.moments.cell_sums import merge_cells
from retrain_eval.tables.moments.dominance import merge, merge_totals
from retrain_eval.tables.moments.keyed_sums import KeyedSums
from retrain_eval.tables.moments.moments_file import read_moments, write_moments
from retrain_eval.tables.recipe import Recipe, recorded
from retrain_eval.tables.stamps import in_order, without_levels

Pairs = Mapping[tuple[int, int], Floats]

INCOMPLETE = "(incomplete paths)"
_LEFT = 1e-14  # share of the terms of a variance that rounding leaves of it
_ROUNDING = 1e-12  # coefficients below this share of the row's largest one are rounding error


@summarised
@dataclass(frozen=True)
class MomentTable(Additive):
    """First and second moments of outcome paths by cell; `retrain_eval.OutcomeMoments` adds the estimators.

    Attributes
    ----------
    outcome : str
        Name of the outcome.
    times : tuple of int, length T
        The periods that exist, ascending.
    strata : tuple of str
        Names of the stratum columns.
    cells : DataFrame, C rows
        ``cohort`` (first treated period, NA = never treated), one column per stratum, ``n`` (units).
    first : ndarray, shape (C, 1 + T)
        Σw and Σw·(Y − reference).
    second : mapping (c, d) → ndarray, shape (1 + T, 1 + T)
        Σ over clusters of the outer product of their sums in cells c ≤ d; pairs that share no cluster are absent.
    reference : ndarray, shape (T,)
        Path subtracted from the outcome: rounded period means, so that squares keep their precision.
    cluster : str or None
        Column of the cluster; None means the unit itself.
    n_clusters, n_dropped : int
        Number of clusters, and of units dropped because a period is missing.
    weighted : bool
        Whether weights were given.
    numbers : tuple of str
        Strata that are numbers, which enter linearly as covariates.
    by_person : tuple of str
        Covariates with too many distinct values for cells, or ``"(incomplete paths)"``: `att_gt` reads them from the
        source.
    clusters : Clusters, optional
        The cells of each cluster, and its sums there if clusters are few. None if each unit is its own cluster.
    largest, absolute : ndarray, shapes (C, T, 5) and (C, T), optional
        The largest contributions w·|Y| to each cell and period, and Σ w·|Y|; they never leave the agency.
    keyed : KeyedSums, optional
        What the protected table is made from, if the source had the keys of people; they never leave the agency.
    source : callable, optional
        `retrain_eval.att_gt` on the source of these moments. Moments that were read, added or subset have none.
    stamp : dict of str
        What the numbers mean beyond these fields; see `Additive`.
    """

    noun = "moments"

    outcome: str
    times: tuple[int, ...]
    strata: tuple[str, ...]
    cells: pd.DataFrame
    first: Floats
    second: Pairs
    reference: Floats
    cluster: str | None = None
    n_clusters: int = 0
    n_dropped: int = 0
    weighted: bool = False
    numbers: tuple[str, ...] = ()
    by_person: tuple[str, ...] = ()
    source: Callable[..., Any] | None = field(default=None, compare=False, repr=False)
    clusters: Clusters | None = field(default=None, compare=False, repr=False)
    largest: Floats | None = field(default=None, compare=False, repr=False)
    absolute: Floats | None = field(default=None, compare=False, repr=False)
    keyed: KeyedSums | None = field(default=None, compare=False, repr=False)
    stamp: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    recipe: Recipe | None = field(default=None, init=False, compare=False, repr=False)

    def means(self) -> Floats:
        """Return the weighted mean path of each cell, shape (C, T), in the outcome's unit."""
        return self.first[:, 1:] / self.first[:, :1] + self.reference

    def covariance(self, influence: sparse.csr_array) -> Floats:
        """Return the covariance of estimates from their influence coefficients.

        Parameters
        ----------
        influence : sparse array, shape (K, C · (1 + T))
            Row k holds φ_k, cell by cell, on the coordinates ``(1, Y − reference)``.

        Returns
        -------
        ndarray, shape (K, K)
        """
        size = 1 + len(self.times)
        total = len(self.cells) * size
        rows, columns, values = [], [], []
        inner_row, inner_column = np.divmod(np.arange(size * size), size)
        for (a, b), block in self.second.items():
            for c, d, values_cd in ((a, b, block), (b, a, block.T)) if a != b else ((a, b, block),):
                rows.append(c * size + inner_row)
                columns.append(d * size + inner_column)
                values.append(values_cd.ravel())
        matrix = sparse.csr_array(
            (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(total, total)
        )
        product = influence @ matrix @ influence.T
        dense: Floats = product.toarray()
        # where all paths are alike, what is left of the variance is rounding
        most = abs(influence) @ np.sqrt(np.clip(matrix.diagonal(), 0, None))
        constant = np.diag(dense) <= _LEFT * most**2
        dense[constant] = dense[:, constant] = 0.0
        return (dense + dense.T) / 2

    def cells_used(self, influence: sparse.csr_array) -> Bools:
        """Return which cells enter each row of influence coefficients, shape (K, C)."""
        size, entries = 1 + len(self.times), sparse.coo_array(influence)
        row, column = entries.coords
        largest = np.zeros((influence.shape[0], len(self.cells)))
        np.maximum.at(largest, (row, column // size), np.abs(entries.data))
        used: Bools = largest > _ROUNDING * largest.max(axis=1, keepdims=True, initial=0.0)
        return used

    @property
    def leaves_out(self) -> bool:
        """Whether sums by cluster are kept, so that each cluster can be left out."""
        return self.clusters is not None and self.clusters.first is not None

    def levels(self, names: Sequence[str]) -> list[tuple[tuple[str, ...], Bools]]:
        """Return the combinations of levels of the named strata by first appearance, missing last, with their cells."""
        self.require_strata(names)
        columns = [self.cells[name].astype(str) for name in names]
        found = list(zip(*columns, strict=True)) if columns else [()] * len(self.cells)
        order = sorted(dict.fromkeys(found), key=lambda part: any(map(is_missing, part)))
        return [(levels, np.array([levels == other for other in found], dtype=bool)) for levels in order]

    def require_strata(self, names: Iterable[str], kind: str = "stratum") -> None:
        """Refuse what is no stratum of the table.

        Raises
        ------
        InputError
            For a name that is unknown.
        DesignError
            If the table is protected: groups that are too small were added up, so that they are strata no longer.
        """
        for name in names:
            if name not in self.strata:
                raise too_small(name) if "noise" in self.stamp else unknown(kind, name, self.strata)

    # ---- combining -------------------------------------------------------------------------------------------

    @property
    def alike(self) -> Mapping[str, object]:
        """The paths, strata and clusters, which two tables must share to be added."""
        names = ("outcome", "times", "strata", "cluster", "weighted", "numbers", "by_person")
        return {name: getattr(self, name) for name in names}

    def empty(self) -> Self:
        """Return moments with no people, for the same paths and strata."""
        return replace(
            self,
            cells=self.cells.iloc[:0],
            first=self.first[:0],
            second={},
            n_clusters=0,
            n_dropped=0,
            source=None,
            clusters=None if self.clusters is None else self.clusters.subset(np.full(len(self.cells), -1)),
            largest=None if self.largest is None else self.largest[:0],
            absolute=None if self.absolute is None else self.absolute[:0],
            keyed=self.keyed and self.keyed.subset(np.arange(0), np.full(len(self.cells), -1)),
        )

    def _plus(self, other: Self) -> Self:
        shift = np.eye(1 + len(self.times))
        shift[1:, 0] = other.reference - self.reference
        keys = ["cohort", *self.strata]
        stacked = pd.concat([self.cells, other.cells], ignore_index=True)
        first = np.vstack([self.first, other.first @ shift.T])
        offset = len(self.cells)
        second = dict(self.second) | {
            (a + offset, b + offset): shift @ block @ shift.T for (a, b), block in other.second.items()
        }
        cells, first, second, group = merge_cells(stacked, keys, first, second, self._order)
        mine, theirs = self.clusters, other.clusters
        clusters = mine.plus(theirs, offset, shift).merge(group) if mine and theirs else None
        both = self.keyed.beside(other.keyed, shift) if self.keyed and other.keyed else None
        return replace(
            self,
            cells=cells,
            first=first,
            second=second,
            n_clusters=self.n_clusters + other.n_clusters,
            n_dropped=self.n_dropped + other.n_dropped,
            clusters=clusters,
            source=None,
            largest=merge([self.largest, other.largest], group, len(cells)),
            absolute=merge_totals([self.absolute, other.absolute], group, len(cells)),
            keyed=both and both.merged(group, len(cells)),
        )

    def _plus_empty(self, empty: Self) -> Self:
        return replace(self, n_dropped=self.n_dropped + empty.n_dropped, source=None)

    def _order(self, cells: pd.DataFrame) -> Index:
        """Return the positions of cells in canonical order: by strata, each `in_order`, then by cohort."""
        ranks = []
        for name in self.strata:
            levels = in_order(set(cells[name].astype(str)), name, self.stamp)
            ranks.append(cells[name].astype(str).map(levels.index).to_numpy(dtype=int))
        return np.lexsort([cells["cohort"].to_numpy(dtype=float, na_value=np.inf), *reversed(ranks)])

    @recorded
    def subset(self, /, **levels: object) -> Self:
        """Return the moments of the cells whose strata (or ``cohort``) have the given level, or one of a list.

        Examples
        --------
        >>> import pandas as pd
        >>> from retrain_eval import outcome_moments
        >>> long = pd.DataFrame({"id": [1, 1, 2, 2], "t": [1, 2, 1, 2], "g": [2, 2, 0, 0],
        ...                      "y": [1.0, 3.0, 1.0, 1.5], "sex": ["f", "f", "m", "m"]})
        >>> m = outcome_moments(long, unit="id", time="t", cohort="g", outcome="y", by="sex")
        >>> len(m.subset(sex="f").cells)
        1
        """
        keep = np.ones(len(self.cells), dtype=bool)
        for name, wanted in levels.items():
            if name not in ("cohort", *self.strata):
                raise unknown("stratum", name, ("cohort", *self.strata))
            given = wanted if isinstance(wanted, (list, tuple, set)) else [wanted]
            values = [parse_period(v) if name == "cohort" and isinstance(v, str) else v for v in given]
            present = set(self.cells[name].dropna())
            for value in values:
                if value not in present:
                    raise unknown(f"level of {name}", value, sorted(present))
            keep &= self.cells[name].isin(values).to_numpy(dtype=bool)
        if not keep.any():
            raise InputError("no cell has all these levels", value=levels, fix="ask for levels that occur together")
        return self.of_cells(keep)

    def of_cells(self, keep: Bools) -> Self:
        """Return the moments of some cells, at least one; ``keep`` has shape (C,)."""
        index = np.flatnonzero(keep)
        place = np.where(keep, np.cumsum(keep) - 1, -1)
        second = {(int(place[a]), int(place[b])): block for (a, b), block in self.second.items() if keep[a] and keep[b]}
        clusters = None if self.clusters is None else self.clusters.subset(place)
        n_clusters = int(self.cells["n"].to_numpy()[index].sum()) if clusters is None else clusters.total
        cells = self.cells.iloc[index].reset_index(drop=True)
        largest, absolute = (None if found is None else found[index] for found in (self.largest, self.absolute))
        part = replace(self, cells=cells, first=self.first[index], second=second, n_clusters=n_clusters, source=None)
        keyed = self.keyed and self.keyed.subset(index, place)
        return replace(part, clusters=clusters, largest=largest, absolute=absolute, keyed=keyed)

    @recorded
    def collapse(self, over: str | Iterable[str]) -> Self:
        """Return the moments with the strata ``over`` summed out."""
        gone = (over,) if isinstance(over, str) else tuple(over)
        for name in gone:
            if name not in self.strata:
                raise unknown("stratum", name, self.strata)
        strata = tuple(name for name in self.strata if name not in gone)
        cells = self.cells.drop(columns=list(gone))
        cells, first, second, group = merge_cells(cells, ["cohort", *strata], self.first, self.second)
        largest = merge([self.largest], group, len(cells))
        absolute = merge_totals([self.absolute], group, len(cells))
        numbers = tuple(name for name in self.numbers if name in strata)
        whole = replace(self, strata=strata, cells=cells, first=first, second=second, numbers=numbers, source=None)
        clusters = None if self.clusters is None else self.clusters.merge(group)
        stamp = without_levels(self.stamp, gone)
        keyed = self.keyed and self.keyed.merged(group, len(cells))
        return replace(whole, clusters=clusters, largest=largest, absolute=absolute, keyed=keyed, stamp=stamp)

    # ---- keeping ---------------------------------------------------------------------------------------------

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write one row per cell: keys, ``n``, ``first``, and the ``second`` moments with each later cell."""
        write_moments(self, path)

    @classmethod
    def read_parquet(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `to_parquet` wrote.

        Raises
        ------
        InputError
            If the file holds something else.
        """
        return cls(**read_moments(path))
