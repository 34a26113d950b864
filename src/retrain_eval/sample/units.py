"""Load the units to be matched: one row each, checked, sorted by id, with their covariates as shared cells.

A cell is a distinct row of covariates. Units with equal covariates share a cell, so they get the same score to
the last bit, and everything that depends on covariates alone is computed once per cell.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from retrain_eval.errors import DesignError, InputError, unknown
from retrain_eval.sources import query, sql_name

Ints = npt.NDArray[np.int64]

MAX_LEVELS = 100
_INTEGER = re.compile(r"U?(TINYINT|SMALLINT|INTEGER|BIGINT)$")
_NUMBER = re.compile(r"(U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|FLOAT|DOUBLE|BOOLEAN|DECIMAL\(.*\))$")
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
        Distinct rows of the columns asked for, in ascending order; numbers as float64, the rest as text.
    """

    ids: pa.ChunkedArray
    treated: npt.NDArray[np.bool_]
    cell: Ints
    cells: pd.DataFrame


def load_units(
    relation: duckdb.DuckDBPyRelation, unit: str, treat: str, covariates: Sequence[str], others: Sequence[str]
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
    for name in (unit, treat, *names):
        if name not in types:
            raise unknown("column", name, relation.columns)
    _check_types(types, unit, treat, covariates)
    # adding zero turns -0.0 into 0.0, which would otherwise be a cell of its own
    keys = {
        name: f"CAST({sql_name(name)} AS DOUBLE) + 0.0"
        if _NUMBER.match(types[name])
        else f"CAST({sql_name(name)} AS VARCHAR)"
        for name in names
    }
    suffix = uuid.uuid4().hex
    rows, cells = f"retrain_units_{suffix}", f"retrain_cells_{suffix}"
    columns = [f"k{i}" for i in range(len(names))]
    chosen = ", ".join(f"{key} AS {column}" for key, column in zip(keys.values(), columns, strict=True))
    query(
        relation,
        f"CREATE TEMP TABLE {rows} AS SELECT {sql_name(unit)} AS id, CAST({sql_name(treat)} AS DOUBLE) AS t, {chosen} "
        "FROM source",
    )
    try:
        numbers = {column for column, name in zip(columns, names, strict=True) if _NUMBER.match(types[name])}
        _check_rows(relation, rows, unit, treat, dict(zip(columns, names, strict=True)), numbers)
        listed = ", ".join(columns)
        ascending = ", ".join(f"{column} ASC" for column in columns)
        query(
            relation,
            f"CREATE TEMP TABLE {cells} AS SELECT row_number() OVER (ORDER BY {ascending}) - 1 AS cell, {listed} "
            f"FROM (SELECT DISTINCT {listed} FROM {rows})",
        )
        frame = query(relation, f"SELECT {listed} FROM {cells} ORDER BY cell ASC").df()
        table = query(
            relation, f"SELECT id, t, cell FROM {rows} JOIN {cells} USING ({listed}) ORDER BY id ASC"
        ).to_arrow_table()
    finally:
        query(relation, f"DROP TABLE IF EXISTS {rows}")
        query(relation, f"DROP TABLE IF EXISTS {cells}")
    frame.columns = pd.Index(names)
    _check_levels(frame, [name for name in covariates if _TEXT.match(types[name])])
    units = Units(
        ids=table["id"],
        treated=table["t"].to_numpy() == 1,
        cell=table["cell"].to_numpy().astype(np.int64),
        cells=frame,
    )
    _check_units(units, unit, treat)
    return units


def _check_types(types: dict[str, str], unit: str, treat: str, covariates: Sequence[str]) -> None:
    if not _INTEGER.match(types[unit]) and types[unit] != "VARCHAR":
        raise InputError(
            f"a unit id of type {types[unit]} has no exact order",
            column=unit,
            rule="ids are integers or text",
            fix=f"CAST({unit} AS BIGINT) or CAST({unit} AS VARCHAR)",
        )
    if not _NUMBER.match(types[treat]):
        raise InputError(f"the treatment is of type {types[treat]}", column=treat, rule="0/1 or boolean")
    for name in covariates:
        if not _NUMBER.match(types[name]) and not _TEXT.match(types[name]):
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


def _check_units(units: Units, unit: str, treat: str) -> None:
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
        if not present:
            raise DesignError(f"no {who}: {treat!r} is {int(units.treated[0])} for all {n} units")
