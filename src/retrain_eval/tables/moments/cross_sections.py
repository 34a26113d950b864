"""Repeated cross sections: the equivalent of `build_paths` for data in which each unit appears once."""

from __future__ import annotations

import duckdb

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.sources import query, require_columns, sql_name
from retrain_eval.common.sql import scratch
from retrain_eval.common.withholding import units_having
from retrain_eval.tables.moments.paths import Columns, Paths, check_options, check_values, distinct_times


def build_cross_sections(relation: duckdb.DuckDBPyRelation, columns: Columns) -> Paths:
    """Create one row per unit with the period in which it was observed, ``t``, and its outcome, ``y``.

    Rows without an outcome, or of weight zero, are left out.

    Raises
    ------
    InputError
        For the values that `retrain_eval.tables.moments.paths.build_paths` refuses, and a unit that has two rows.
    DesignError
        If no row is left, or there are more than 400 periods.
    """
    require_columns(relation, columns.names())
    check_options(columns, "refuse")
    check_values(relation, columns)
    times = distinct_times(relation, columns)
    units = units_having(columns.unit, "count(*) > 1")
    [(twice,)] = query(relation, f"SELECT count(*) FROM ({units})").fetchall()
    if twice:
        raise InputError(
            f"{twice} unit(s) have more than one row",
            row=units,
            column=columns.unit,
            rule="in repeated cross sections each unit appears once",
            fix="number the rows; or, for people seen in several periods, panel=True",
        )
    fixed = {
        "unit": sql_name(columns.unit),
        **columns.fixed(),
        "t": f"CAST({sql_name(columns.time)} AS BIGINT)",
        "y": f"CAST({sql_name(columns.outcome)} AS DOUBLE)",
    }
    selected = ", ".join(f"{expression} AS {name}" for name, expression in fixed.items())
    # in the order of units, so that sums of floats are reproducible
    rows = (
        f"SELECT {columns.labels()}* FROM (SELECT {selected} FROM source) WHERE y IS NOT NULL AND w > 0 ORDER BY unit"
    )
    with scratch(relation) as tables:
        table = tables.name("paths")
        query(relation, f"CREATE TEMP TABLE {table} AS {rows}")
        paths = Paths(relation, table, times, 0)
        if not paths.query(f"SELECT count(*) FROM {table}").fetchall()[0][0]:
            raise DesignError("no row has an outcome")
        tables.keep(table)
    return paths
