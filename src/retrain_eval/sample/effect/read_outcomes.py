"""Read the outcomes of the units in a sample, and no others."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.errors import InputError
from retrain_eval.common.sources import query, require_columns, sql_name
from retrain_eval.common.sql import scratch
from retrain_eval.common.withholding import rows_where, units_having
from retrain_eval.sample.scratch import store_table
from retrain_eval.sample.units import BATCH, INTEGER, NUMBER


def read_outcomes(relation: duckdb.DuckDBPyRelation, key: str, ids: pa.ChunkedArray, outcomes: Sequence[str]) -> Floats:
    """Return outcomes in the order of the ids.

    Parameters
    ----------
    relation : DuckDBPyRelation
        One row per id; others are not read.
    key : str
        Its column of ids.
    ids : pyarrow.ChunkedArray, length n
    outcomes : sequence of str, length K
        Numeric columns.

    Returns
    -------
    ndarray, shape (n, K)

    Raises
    ------
    InputError
        If a column does not exist or is not numeric, or an id has no row, several rows, or an outcome that is missing
        or not finite.
    """
    require_columns(relation, [key, *outcomes])
    types = {name: str(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}
    for name in outcomes:
        if not NUMBER.match(types[name]):
            raise InputError(f"an outcome of type {types[name]}", column=name, rule="outcomes are numbers")
    if pa.types.is_integer(ids.type) != bool(INTEGER.match(types[key])):
        raise InputError(
            f"the sample's ids are of type {ids.type}, this column is {types[key]}", column=key, fix="cast it"
        )
    n = len(ids)
    values: Floats = np.full((n, len(outcomes)), np.nan)
    columns = ", ".join(f"CAST(source.{sql_name(name)} AS DOUBLE) AS y{i}" for i, name in enumerate(outcomes))
    seen: Ints = np.zeros(n, dtype=np.int64)
    with scratch(relation) as tables:
        wanted = tables.name("match_outcomes")
        store_table(relation, {"id": ids}, wanted)
        sql = f"SELECT w._row AS place, {columns} FROM {wanted} AS w JOIN source ON source.{sql_name(key)} = w.id"
        for batch in query(relation, sql).to_arrow_reader(BATCH):
            place = batch.column("place").to_numpy()
            np.add.at(seen, place, 1)
            for i in range(len(outcomes)):
                values[place, i] = batch.column(f"y{i}").to_numpy(zero_copy_only=False)
    _check(key, seen, values, outcomes)
    return values


def _check(key: str, seen: Ints, values: Floats, outcomes: Sequence[str]) -> None:
    missing = {name: ~np.isfinite(values[:, i]) for i, name in enumerate(outcomes)}
    absent = f"FROM sample.weights.df() ANTI JOIN source USING ({sql_name(key)})"
    problems: list[tuple[Bools, str, str, str, str]] = [
        (seen == 0, key, "no row", "every unit of the sample has a row", absent),
        (seen > 1, key, "several rows", "one row per unit: choose the period first", units_having(key, "count(*) > 1")),
        *(
            (bad, name, "missing or not finite", "a number for every unit", rows_where(_not_finite(name)))
            for name, bad in missing.items()
        ),
    ]
    for bad, column, what, rule, listed in problems:
        if bad.any():
            raise InputError(
                f"{int(bad.sum())} unit(s) of the sample have {what}" + (f" in {column}" if column != key else ""),
                row=listed,
                column=column,
                rule=rule,
            )


def _not_finite(name: str) -> str:
    return f"{sql_name(name)} IS NULL OR NOT isfinite(CAST({sql_name(name)} AS DOUBLE))"
