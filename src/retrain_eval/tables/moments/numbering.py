"""The cell of each unit of a path table; cells are ordered by strata, then cohort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from retrain_eval.common.arrays import Floats, Index, Ints
from retrain_eval.common.shown import summarised
from retrain_eval.tables.moments.paths import Paths


@summarised
@dataclass(frozen=True)
class Cells:
    """The cells of a path table, and the mapping from units to cells.

    Attributes
    ----------
    table : DataFrame, C rows
        ``cohort`` (NA = never treated), one column per stratum, ``n``.
    group, order : str
        SQL that groups units by cell, and SQL for the order of cells, for other sums over the same path table.
    columns : tuple of str
        Columns of the path table that `of` reads.
    """

    table: pd.DataFrame
    group: str
    order: str
    columns: tuple[str, ...]
    _levels: tuple[pa.Array, ...]
    _cohorts: Floats
    _codes: Ints  # of the cells that exist, ascending
    _numbers: Index

    def of(self, units: pa.Table) -> Index:
        """Return the cell of each unit, shape (n,)."""
        code = _code(units, self.columns, self._cohorts, self._levels)
        return self._numbers[np.searchsorted(self._codes, code)]


def number_cells(paths: Paths, strata: Sequence[str], places: Sequence[int] | None = None) -> Cells:
    """Find the cells of a path table.

    Parameters
    ----------
    paths : Paths
    strata : sequence of str
        Names of the strata.
    places : sequence of int, optional
        Indices i of their columns ``by_i`` in the path table; by default the first ones.
    """
    by = list(range(len(strata)) if places is None else places)
    columns = ("cohort", *(f"by_{i}" for i in by))
    group = ", ".join(columns)
    order = ", ".join([*(f"min(key_{i}) NULLS LAST, by_{i}" for i in by), "cohort NULLS LAST"])
    found = paths.query(
        f"SELECT {group}, count(*)::BIGINT AS n FROM {paths.table} GROUP BY {group} ORDER BY {order}"
    ).to_arrow_table()
    levels = tuple(pa.array(pc.unique(found[name].combine_chunks())) for name in columns[1:])
    table = pd.DataFrame({"cohort": pd.array(found["cohort"].to_pylist(), dtype="Float64")})
    for name, column in zip(strata, columns[1:], strict=True):
        table[name] = pd.Series(found[column].to_pylist(), dtype="str")
    table["n"] = found["n"].to_numpy()
    cohorts = np.unique(_cohort(found))
    code = _code(found, columns, cohorts, levels)
    place = np.argsort(code)
    return Cells(table, group, order, columns, levels, cohorts, code[place], place)


def _code(units: pa.Table, columns: Sequence[str], cohorts: Floats, levels: Sequence[pa.Array]) -> Ints:
    """Return one number for each combination of cohort and levels."""
    code = np.searchsorted(cohorts, _cohort(units)).astype(np.int64)
    for name, known in zip(columns[1:], levels, strict=True):
        code = code * len(known) + codes(units, name, known)
    return code


def _cohort(units: pa.Table) -> Floats:
    return np.asarray(np.nan_to_num(units["cohort"].to_numpy(), nan=np.inf), np.float64)


def codes(units: pa.Table, name: str, levels: pa.Array) -> Index:
    """Return the position of each unit's level in ``levels``, shape (n,)."""
    return np.asarray(pc.index_in(units[name], levels).to_numpy(), dtype=np.intp)


def split_by(numbers: Index) -> list[Index]:
    """Return the positions of equal numbers, numbers ascending, positions in their order.

    Examples
    --------
    >>> [rows.tolist() for rows in split_by(np.array([7, 2, 7]))]
    [[1], [0, 2]]
    """
    if not len(numbers):  # all units of a chunk may have been dropped
        return []
    order = np.argsort(numbers, kind="stable")
    ends = np.flatnonzero(np.diff(numbers[order])) + 1
    return np.split(order, ends)
