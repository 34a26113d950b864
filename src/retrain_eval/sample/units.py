"""Load the units to be matched: one row each, checked, sorted by id, with their covariates as shared cells.

A cell is a distinct row of covariates. Units with equal covariates share a cell, so they get the same score to
the last bit, and everything that depends on covariates alone is computed once per cell. With continuous covariates
nearly every unit would be a cell; beyond `MAX_CELLS` of them each unit becomes its own, in the order of ids, which
spares the search for distinct rows.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from retrain_eval.errors import DesignError, InputError, unknown
from retrain_eval.sources import query, sql_name

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MAX_LEVELS = 100
MAX_CELLS = 250_000
BATCH = 122_880  # rows at a time; changes nothing but memory
INTEGER = re.compile(r"U?(TINYINT|SMALLINT|INTEGER|BIGINT)$")
NUMBER = re.compile(r"(U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|FLOAT|DOUBLE|BOOLEAN|DECIMAL\(.*\))$")
_TEXT = re.compile(r"(VARCHAR|ENUM\(.*\))$", re.DOTALL)


@dataclass(frozen=True)
class Units:
    """The units in ascending order of id: integers by value, text by code point.

    Attributes
    ----------
    ids : pyarrow.ChunkedArray, length n
    treated : bool ndarray, shape (n,)
    cell : int ndarray, shape (n,)
        Row of ``cells``.
    cells : DataFrame
        Rows of the columns asked for, numbers as float64, the rest as text: distinct ones in ascending order, or
        (beyond `MAX_CELLS`) those of all units in theirs, with text as categories.
    more : dict of ndarray, each of shape (n,)
        Columns that are no part of the cells, float64 with NaN where missing.
    """

    ids: pa.ChunkedArray
    treated: npt.NDArray[np.bool_]
    cell: Ints
    cells: pd.DataFrame
    more: dict[str, Floats]


def load_units(
    relation: duckdb.DuckDBPyRelation,
    unit: str,
    treat: str,
    covariates: Sequence[str],
    others: Sequence[str],
    more: Sequence[str] = (),
    *,
    both_arms: bool = True,
) -> Units:
    """Read units, treatment and cells from a relation with one row per unit.

    Parameters
    ----------
    relation : DuckDBPyRelation
        One row per unit.
    unit, treat : str
        Columns of the id (integer or text) and of the treatment (0/1 or boolean).
    covariates, others : sequence of str
        Columns that make the cells. Covariates are numbers, booleans or text; the others (a given score, exact
        strata) may be of any type.
    more : sequence of str
        Whole numbers that come along and may be missing.
    both_arms : bool
        Refuse a source in which nobody, or everybody, is treated.

    Raises
    ------
    InputError
        For a column that does not exist or has no usable type, a missing or repeated id, a treatment that is not
        0 or 1, a covariate that is missing or not finite (the first unit is named), or a text covariate with
        more than `MAX_LEVELS` values.
    DesignError
        If there is no row, no treated unit, or no control.
    """
    names = list(dict.fromkeys([*covariates, *others]))
    types = {name: str(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}
    for name in (unit, treat, *names, *more):
        if name not in types:
            raise unknown("column", name, relation.columns)
    _check_types(types, unit, treat, covariates)
    # adding zero turns -0.0 into 0.0, which would otherwise be a cell of its own
    keys = {
        name: f"CAST({sql_name(name)} AS DOUBLE) + 0.0"
        if NUMBER.match(types[name])
        else f"CAST({sql_name(name)} AS VARCHAR)"
        for name in names
    }
    rows = f"retrain_units_{uuid.uuid4().hex}"
    columns = [f"k{i}" for i in range(len(names))]
    chosen = [f"{key} AS {column}" for key, column in zip(keys.values(), columns, strict=True)]
    chosen.extend(f"CAST({sql_name(name)} AS DOUBLE) AS m{i}" for i, name in enumerate(more))
    query(
        relation,
        f"CREATE TEMP TABLE {rows} AS SELECT {sql_name(unit)} AS id, CAST({sql_name(treat)} AS DOUBLE) AS t"
        + "".join(f", {column}" for column in chosen)
        + " FROM source",
    )
    try:
        numbers = {column for column, name in zip(columns, names, strict=True) if NUMBER.match(types[name])}
        _check_rows(relation, rows, unit, treat, dict(zip(columns, names, strict=True)), numbers)
        few = _approximate_cells(relation, rows, columns) <= MAX_CELLS
        read = _distinct_cells if few else _every_unit
        frame, cell, flow = read(relation, rows, columns, numbers, [f"m{i}" for i in range(len(more))])
    finally:
        query(relation, f"DROP TABLE IF EXISTS {rows}")
    frame.columns = pd.Index(names)
    _check_levels(frame, [name for name in covariates if _TEXT.match(types[name])])
    extra = {name: flow.more[f"m{i}"] for i, name in enumerate(more)}
    units = Units(ids=flow.ids(), treated=flow.treated, cell=cell, cells=frame, more=extra)
    _check_units(units, unit, treat, both_arms)
    return units


def _approximate_cells(relation: duckdb.DuckDBPyRelation, rows: str, columns: Sequence[str]) -> int:
    """Return about how many distinct rows there are, the same whatever the order and the number of threads."""
    if not columns:
        return 1
    counted = query(relation, f"SELECT approx_count_distinct(hash({', '.join(columns)})) FROM {rows}").fetchall()
    return int(counted[0][0])


class _Flow:
    """Columns of an ordered query, read batch by batch into arrays, so that they are in memory once."""

    def __init__(self, relation: duckdb.DuckDBPyRelation, rows: str, sql: str, kinds: dict[str, npt.DTypeLike]) -> None:
        n = int(query(relation, f"SELECT count(*) FROM {rows}").fetchall()[0][0])
        self.treated = np.empty(n, dtype=np.bool_)
        self.more: dict[str, npt.NDArray[Any]] = {name: np.empty(n, dtype=kind) for name, kind in kinds.items()}
        self._ids: list[pa.Array] = []
        start = 0
        reader = query(relation, sql).to_arrow_reader(BATCH)
        self._kind = reader.schema.field("id").type
        for batch in reader:
            here = slice(start, start + batch.num_rows)
            ids = batch.column("id")
            self._ids.append(pa.concat_arrays([ids[:1], ids[1:]]))  # a copy: a column keeps its whole batch in memory
            self.treated[here] = batch.column("t").to_numpy(zero_copy_only=False) == 1
            for name, column in self.more.items():
                column[here] = batch.column(name).to_numpy(zero_copy_only=False)
            start = here.stop

    def ids(self) -> pa.ChunkedArray:
        return pa.chunked_array(self._ids, type=self._kind)


def _distinct_cells(
    relation: duckdb.DuckDBPyRelation, rows: str, columns: Sequence[str], numbers: set[str], more: Sequence[str]
) -> tuple[pd.DataFrame, Ints, _Flow]:
    """Return the distinct rows in ascending order, and which of them each unit has."""
    cells = f"retrain_cells_{uuid.uuid4().hex}"
    listed = ", ".join(columns)
    ascending = ", ".join(f"{column} ASC" for column in columns)
    try:
        query(
            relation,
            f"CREATE TEMP TABLE {cells} AS SELECT row_number() OVER (ORDER BY {ascending}) - 1 AS cell, {listed} "
            f"FROM (SELECT DISTINCT {listed} FROM {rows})",
        )
        frame = query(relation, f"SELECT {listed} FROM {cells} ORDER BY cell ASC").df()
        chosen = ", ".join(["id", "t", "cell", *more])
        sql = f"SELECT {chosen} FROM {rows} JOIN {cells} USING ({listed}) ORDER BY id ASC"
        flow = _Flow(relation, rows, sql, {"cell": np.int64, **dict.fromkeys(more, np.float64)})
    finally:
        query(relation, f"DROP TABLE IF EXISTS {cells}")
    return frame, flow.more.pop("cell"), flow


def _every_unit(
    relation: duckdb.DuckDBPyRelation, rows: str, columns: Sequence[str], numbers: set[str], more: Sequence[str]
) -> tuple[pd.DataFrame, Ints, _Flow]:
    """Read the columns of each unit; text comes as the number of its level."""
    levels = {column: f"retrain_levels_{column}_{uuid.uuid4().hex}" for column in columns if column not in numbers}
    try:
        for column, table in levels.items():
            query(
                relation,
                f"CREATE TEMP TABLE {table} AS SELECT {column}, row_number() OVER (ORDER BY {column} ASC) - 1 "
                f"AS code_{column} FROM (SELECT DISTINCT {column} FROM {rows})",
            )
        joins = "".join(f" JOIN {table} USING ({column})" for column, table in levels.items())
        read = [f"code_{column} AS {column}" if column in levels else column for column in columns]
        kinds: dict[str, npt.DTypeLike] = {column: np.int32 if column in levels else np.float64 for column in columns}
        flow = _Flow(
            relation,
            rows,
            f"SELECT {', '.join(['id', 't', *read, *more])} FROM {rows}{joins} ORDER BY id ASC",
            {**kinds, **dict.fromkeys(more, np.float64)},
        )
        values: dict[str, object] = {}
        for column in columns:
            data = flow.more.pop(column)
            if column in levels:
                known = query(relation, f"SELECT {column} FROM {levels[column]} ORDER BY code_{column} ASC").fetchall()
                values[column] = pd.Categorical.from_codes(data, pd.Index([text for (text,) in known], dtype="str"))
            else:
                values[column] = data
    finally:
        for table in levels.values():
            query(relation, f"DROP TABLE IF EXISTS {table}")
    return pd.DataFrame(values, copy=False), np.arange(len(flow.treated), dtype=np.int64), flow


def _check_types(types: dict[str, str], unit: str, treat: str, covariates: Sequence[str]) -> None:
    if not INTEGER.match(types[unit]) and types[unit] != "VARCHAR":
        raise InputError(
            f"a unit id of type {types[unit]} has no exact order",
            column=unit,
            rule="ids are integers or text",
            fix=f"CAST({unit} AS BIGINT) or CAST({unit} AS VARCHAR)",
        )
    if not NUMBER.match(types[treat]):
        raise InputError(f"the treatment is of type {types[treat]}", column=treat, rule="0/1 or boolean")
    for name in covariates:
        if not NUMBER.match(types[name]) and not _TEXT.match(types[name]):
            raise InputError(
                f"a covariate of type {types[name]} has no meaning in a logit",
                column=name,
                rule="numbers, booleans or text",
                fix="compute a number from it first, such as the age at entry from a date",
            )


def _check_rows(
    relation: duckdb.DuckDBPyRelation, rows: str, unit: str, treat: str, names: dict[str, str], numbers: set[str]
) -> None:
    """Name the first unit that breaks a rule, in one pass over the rows."""
    rules = {
        "the unit id must not be missing": (unit, "id", "id IS NULL"),
        "the treatment must be 0 or 1": (treat, "t", "t IS NULL OR t NOT IN (0, 1)"),
    }
    for key, name in names.items():
        broken = f"{key} IS NULL" + (f" OR NOT isfinite({key})" if key in numbers else "")
        rules[f"{name} must be present and finite for every unit"] = (name, key, broken)
    counts = ", ".join(f"count(*) FILTER (WHERE {condition})" for _, _, condition in rules.values())
    found = query(relation, f"SELECT {counts} FROM {rows}").fetchall()[0]
    for (rule, (column, key, condition)), n_bad in zip(rules.items(), found, strict=True):
        if n_bad:
            row = f"SELECT id, {key} FROM {rows} WHERE {condition} ORDER BY id ASC LIMIT 1"
            identifier, value = query(relation, row).fetchall()[0]
            raise InputError(
                f"{n_bad} unit(s) break a rule",
                row=f"{unit}={identifier!r}" + (" is the first" if n_bad > 1 else ""),
                column=column,
                value="missing" if value is None else value,
                rule=rule,
                fix="correct these rows, leave them out, or give missing values a category of their own",
            )


def _check_levels(cells: pd.DataFrame, texts: Sequence[str]) -> None:
    for name in texts:
        n_levels = cells[name].nunique()
        if n_levels > MAX_LEVELS:
            raise InputError(
                f"text covariate with {n_levels} different values",
                column=name,
                value=cells[name].iloc[0],
                rule=f"at most {MAX_LEVELS} categories",
                fix="if it is meant to be a number, one value is not; else group the categories",
            )


def _check_units(units: Units, unit: str, treat: str, both_arms: bool) -> None:
    n = len(units.treated)
    if n == 0:
        raise DesignError("the source has no rows")
    repeated = pc.equal(units.ids.slice(1), units.ids.slice(0, n - 1)).to_numpy()
    if repeated.any():
        first = units.ids[int(np.argmax(repeated))].as_py()
        raise InputError(
            f"{int(repeated.sum())} row(s) repeat a unit id; the first is {first!r}",
            row=f"{unit}={first!r}",
            column=unit,
            rule="one row per unit",
            fix="match on one row per person, with covariates as they were before treatment",
        )
    for present, who in ((units.treated.any(), "treated unit"), (not units.treated.all(), "control")):
        if both_arms and not present:
            raise DesignError(f"no {who}: {treat!r} is {int(units.treated[0])} for all {n} units")
