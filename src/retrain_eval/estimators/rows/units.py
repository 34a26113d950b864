"""Units read in chunks from a path table, so that memory does not grow with their number.

A *cell* is a cohort × strata, as in outcome moments. A *side* is a set of periods that the same rows observe: in a
balanced panel there is one, with all periods; otherwise every period is a side of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from retrain_eval.common.arrays import Bools, Floats, Index
from retrain_eval.common.errors import InputError
from retrain_eval.common.shown import summarised
from retrain_eval.tables.moments.numbering import Cells, codes, number_cells, split_by
from retrain_eval.tables.moments.paths import Columns, Paths

MAX_LEVELS = 1000
_CHUNK_VALUES = 1_000_000  # numbers held at a time, 8 MB: larger arrays cost more to allocate than to compute
_BALANCED, _GAPS, _ROWS = "balanced", "gaps", "rows"


@summarised
@dataclass(frozen=True)
class Units:
    """The units of one cell in a chunk, n of them.

    Attributes
    ----------
    cell : int
    weight : ndarray, shape (n,)
    x : ndarray, shape (q, n)
        Covariates, a constant first.
    y : ndarray, shape (T, n), or (1, n) for cross sections, or (0, n) where outcomes were not read
    period : int ndarray, shape (n,), or None
        Position of the period of each row of cross sections.
    cluster : int ndarray, shape (n,), or None
        Number of the cluster, ascending.
    one_side : bool
        Whether the same rows observe all periods.
    """

    cell: int
    weight: Floats
    x: Floats
    y: Floats
    period: Index | None
    cluster: Index | None
    one_side: bool

    def sides(self) -> Iterator[tuple[int, Index | slice, Floats]]:
        """Yield each side's number, its rows, and their outcomes, shape (periods of the side, rows)."""
        if self.one_side:
            yield 0, slice(None), self.y
        elif self.period is not None:
            for side in np.unique(self.period):
                rows = np.flatnonzero(self.period == side)
                yield int(side), rows, self.y[:, rows]
        else:
            for side, values in enumerate(self.y):
                rows = np.flatnonzero(~np.isnan(values))
                if len(rows):
                    yield side, rows, values[rows][None]


@summarised
@dataclass(frozen=True)
class UnitTable:
    """Where the units are, and how their columns become numbers; see `open_units`.

    Attributes
    ----------
    paths : Paths
    numbered : Cells
        The cells, and which one each unit is in.
    names : tuple of str, length q
        Columns of the covariates, for messages.
    binary : bool ndarray, shape (q,)
        Columns that are zero or one.
    reference : ndarray, shape (T,)
        Path that outcomes are measured from, so that sums of products keep their digits.
    """

    paths: Paths
    kind: str
    numbered: Cells
    names: tuple[str, ...]
    binary: Bools
    reference: Floats
    _centre: Floats
    _scale: Floats
    _categories: Mapping[str, pa.Array]  # covariates: column of the path table, its levels

    @property
    def cells(self) -> pd.DataFrame:
        """``cohort`` (NA = never treated), one column per stratum, ``n``; C rows."""
        return self.numbered.table

    @property
    def times(self) -> tuple[int, ...]:
        """The periods, ascending."""
        return self.paths.times

    @property
    def one_side(self) -> bool:
        """Whether the same rows observe all periods."""
        return self.kind == _BALANCED

    @property
    def n_sides(self) -> int:
        """Number of sides."""
        return 1 if self.one_side else len(self.times)

    def side(self, period: int) -> tuple[int, int]:
        """Return the side of a period and its position within the side."""
        return (0, period) if self.one_side else (period, 0)

    def groups(self, width: int, *, outcomes: bool = True, clusters: bool = False) -> Iterator[list[Units]]:
        """Yield the units chunk by chunk, each chunk split by cell, in the order of units.

        Parameters
        ----------
        width : int
            Numbers that the reader keeps for every unit: more of them, smaller chunks.
        outcomes : bool
            False reads covariates only, where sides do not depend on outcomes.
        clusters : bool
            Read in the order of clusters, and number them.
        """
        outcomes = outcomes or not self.one_side
        size = max(1024, _CHUNK_VALUES // (width + len(self.names) + (len(self.times) if outcomes else 0)))
        columns = self._columns(outcomes, clusters)
        with self.paths.by_cluster() if clusters else nullcontext(self.paths) as paths:
            for table in paths.chunks(columns, size):
                yield list(self._split(table, outcomes, clusters))

    def _columns(self, outcomes: bool, clusters: bool) -> list[str]:
        texts = dict.fromkeys([*self.numbered.columns, *self._categories])
        columns = ["w", *texts, *(f"x_{i}" for i in range(len(self._centre)))]
        if outcomes:
            columns += ["t", "y"] if self.kind == _ROWS else self.paths.per_period
        return [*columns, "cluster"] if clusters else columns

    def _split(self, table: pa.Table, outcomes: bool, clusters: bool) -> Iterator[Units]:
        cell = self.numbered.of(table)
        found = [(codes(table, name, levels), len(levels)) for name, levels in self._categories.items()]
        weight, cluster, period = _column(table, "w"), None, None
        numbers = _matrix(table, [f"x_{i}" for i in range(len(self._centre))], len(cell))
        if clusters:
            cluster = _column(table, "cluster").astype(np.intp)
        y = np.empty((0, len(cell)))
        if outcomes and self.kind == _ROWS:
            period = np.searchsorted(np.array(self.times), _column(table, "t").astype(np.int64))
            y = _matrix(table, ["y"], len(cell)) - self.reference[period]
        elif outcomes:
            y = _matrix(table, self.paths.per_period, len(cell)) - self.reference[:, None]
        for rows in split_by(cell):
            yield Units(
                cell=int(cell[rows[0]]),
                weight=weight[rows],
                x=self._design(numbers[:, rows], [(code[rows], n_levels) for code, n_levels in found]),
                y=y[:, rows],
                period=None if period is None else period[rows],
                cluster=None if cluster is None else cluster[rows],
                one_side=self.one_side,
            )

    def _design(self, numbers: Floats, categories: Sequence[tuple[Index, int]]) -> Floats:
        x = np.empty((len(self.names), numbers.shape[1]))
        x[0] = 1.0
        x[1 : 1 + len(numbers)] = (numbers - self._centre[:, None]) / self._scale[:, None]
        row = 1 + len(numbers)
        for code, n_levels in categories:
            x[row : row + n_levels] = code == np.arange(n_levels)[:, None]
            row += n_levels
        return x


def open_units(
    paths: Paths, columns: Columns, strata: Sequence[str], categories: Sequence[str], *, keep_gaps: bool, panel: bool
) -> UnitTable:
    """Describe the units of a path table: cells, levels, and a scale for every number.

    Parameters
    ----------
    paths : Paths
        From `build_paths`, `build_wide_paths` or `build_cross_sections`.
    columns : Columns
        Names of its columns; ``by`` holds strata and categories.
    strata : sequence of str
        Columns that identify cells, in addition to the cohort.
    categories : sequence of str
        Covariates that are categories.
    keep_gaps, panel : bool
        Whether a unit may lack periods; whether units are seen more than once.

    Raises
    ------
    InputError
        If a category has more than 1,000 levels, or a number is too large to be squared.
    """
    place = {name: i for i, name in enumerate(columns.by)}
    numbered = number_cells(paths, strata, [place[name] for name in strata])
    levels = {f"by_{place[name]}": _distinct(paths, place[name], name) for name in categories}
    centre, scale, binary = _scales(paths, columns.numbers)
    dummies = [f"{name} = {level}" for name, known in zip(categories, levels.values(), strict=True) for level in known]
    kind = _BALANCED if panel else _ROWS
    if keep_gaps and panel:
        missing = " OR ".join(f"{y} IS NULL" for y in paths.per_period)
        kind = (
            _GAPS if paths.query(f"SELECT count(*) FROM {paths.table} WHERE {missing}").fetchall()[0][0] else _BALANCED
        )
    return UnitTable(
        paths=paths,
        kind=kind,
        numbered=numbered,
        names=("the constant", *columns.numbers, *dummies),
        binary=np.array([True, *binary, *(True for _ in dummies)]),
        reference=_reference(paths, kind),
        _centre=centre,
        _scale=scale,
        _categories=levels,
    )


def _distinct(paths: Paths, i: int, name: str) -> pa.Array:
    found = paths.query(
        f"SELECT by_{i} FROM {paths.table} GROUP BY by_{i} ORDER BY min(key_{i}) NULLS LAST LIMIT {MAX_LEVELS + 1}"
    ).fetchall()
    if len(found) > MAX_LEVELS:
        raise InputError(f"more than {MAX_LEVELS} levels: is it really a category?", column=name)
    return pa.array([row[0] for row in found], pa.string())


def _scales(paths: Paths, names: Sequence[str]) -> tuple[Floats, Floats, list[bool]]:
    """Return a centre and a scale for every number, rounded so that they are reproducible; zero and one stay."""
    centre, scale, binary = np.zeros(len(names)), np.ones(len(names)), [False] * len(names)
    for i, name in enumerate(names):
        sql = f"SELECT avg(x_{i}), stddev_pop(x_{i}), bool_and(x_{i} IN (0, 1)) FROM {paths.table}"
        try:
            mean, sd, binary[i] = paths.query(sql).fetchall()[0]
        except duckdb.OutOfRangeException:
            mean = sd = math.inf
        if not math.isfinite(mean) or not math.isfinite(sd):
            raise InputError("the covariate is too large to be squared", column=name, fix="use a larger unit")
        if sd > 0 and not binary[i]:
            scale[i] = 10.0 ** math.floor(math.log10(sd))
            centre[i] = round(mean / scale[i]) * scale[i]
    return centre, scale, binary


def _reference(paths: Paths, kind: str) -> Floats:
    """Return a value of each period that occurs near its middle: a constant outcome becomes exactly zero."""
    if kind == _ROWS:
        found = dict(paths.query(f"SELECT t, quantile_disc(y, .5) FROM {paths.table} GROUP BY t").fetchall())
        return np.array([found.get(time, 0.0) for time in paths.times])
    # the first units in their order will do, where they were observed
    values = ", ".join(f"coalesce(quantile_disc({y}, .5), 0)" for y in paths.per_period)
    sql = f"SELECT {values} FROM (SELECT * FROM {paths.table} ORDER BY unit LIMIT 1024)"
    return np.array(paths.query(sql).fetchall()[0], dtype=np.float64)


def _column(table: pa.Table, name: str) -> Floats:
    return np.asarray(table[name].to_numpy())


def _matrix(table: pa.Table, names: Sequence[str], n: int) -> Floats:
    out = np.empty((len(names), n))
    for row, name in zip(out, names, strict=True):
        row[:] = table[name].to_numpy()
    return out
