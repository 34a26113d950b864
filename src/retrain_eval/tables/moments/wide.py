"""Paths from rows that hold them as arrays: the equivalent of `build_paths` without a long table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import duckdb

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.periods import stored_period
from retrain_eval.common.sources import query, refuse_broken_rows, require_columns, sql_name
from retrain_eval.common.sql import scratch
from retrain_eval.common.withholding import rows_where, units_having
from retrain_eval.tables.moments.paths import MAX_PERIODS, Columns, Paths, check_options


def array_length(relation: duckdb.DuckDBPyRelation, column: str) -> int | None:
    """Return the length of a fixed-size array column; None for any other column."""
    if column not in relation.columns:
        return None
    kind = relation.types[relation.columns.index(column)]
    return int(str(kind.children[1][1])) if kind.id == "array" else None


def stored_periods(
    relation: duckdb.DuckDBPyRelation, time: str | Sequence[int | str], outcome: str
) -> tuple[int, ...] | None:
    """Return the periods of an outcome that is an array; None if ``time`` is a column of periods.

    Raises
    ------
    InputError
        If the outcome is an array and a column of periods is named, or the other way round.
    """
    is_array = array_length(relation, outcome) is not None
    if isinstance(time, str):
        if is_array:
            fix = "give the periods of its values: time=path_periods(con)"
            raise InputError("the outcome is a path, so time is not a column", column=outcome, value=time, fix=fix)
        return None
    if not is_array:
        what = "periods are given, but the outcome is not a fixed-size array"
        raise InputError(what, column=outcome, fix="name the column of periods")
    return tuple(map(stored_period, time))


def build_wide_paths(
    relation: duckdb.DuckDBPyRelation,
    columns: Columns,
    times: Sequence[int],
    *,
    unbalanced: str = "refuse",
    keep_gaps: bool = False,
) -> Paths:
    """Create one row per unit from rows whose outcome is an array over ``times``, refusing invalid rows.

    The keywords are those of `retrain_eval.tables.moments.paths.build_paths`.

    Raises
    ------
    InputError
        If a column is missing, the array has another length than ``times``, these do not ascend, a unit is missing
        or has two rows, a value or weight is not finite, a weight is negative, or a cluster or cohort cannot be read.
    DesignError
        If no unit is left, or some lack a period.
    """
    times = [int(time) for time in times]
    require_columns(relation, [name for name in columns.names() if name != columns.time])
    check_options(columns, unbalanced)
    length = array_length(relation, columns.outcome)
    if length != len(times) or times != sorted(set(times)) or not 0 < len(times) <= MAX_PERIODS:
        raise InputError(
            f"the paths have {length} values and {len(times)} periods are given",
            column=columns.outcome,
            rule=f"one ascending period for each value, at most {MAX_PERIODS}",
            fix="give their periods, in order: time=path_periods(con)",
        )
    _check_rows(relation, columns)
    ascending = _ascending(relation, columns)
    if not ascending:
        _refuse_repeated(relation, columns)
    fixed = {"unit": sql_name(columns.unit), **columns.fixed()}
    fixed |= {f"y_{i}": f"CAST({sql_name(columns.outcome)}[{i + 1}] AS DOUBLE)" for i in range(len(times))}
    selected = ", ".join(f"{expression} AS {name}" for name, expression in fixed.items())
    # in the order of units, so that sums of floats are reproducible bit for bit
    order = "" if ascending else " ORDER BY unit"
    rows = f"SELECT {columns.labels()}* FROM (SELECT {selected} FROM source){order}"
    with scratch(relation) as tables:
        table = tables.name("paths")
        query(relation, f"CREATE TEMP TABLE {table} AS {rows}")
        paths = Paths(relation, table, tuple(times), 0)
        # one sum shows whether anything is missing or infinite; only then is each value checked
        total = " + ".join(paths.per_period)
        odd = f"count(*) FILTER (({total}) IS NULL OR NOT isfinite({total}) OR w = 0)"
        n_odd, n_units = paths.query(f"SELECT {odd}, count(*) FROM {table}").fetchall()[0]
        if n_units == 0:
            raise DesignError("the source has no rows")
        incomplete = _leave_out(paths, columns, unbalanced, keep_gaps) if n_odd else 0
        tables.keep(table)
    return replace(paths, dropped=incomplete)


def _leave_out(paths: Paths, columns: Columns, unbalanced: str, keep_gaps: bool) -> int:
    """Refuse values that are not finite, refuse or delete units that lack one; return how many lack one."""
    times, table = paths.times, paths.table
    missing = (" AND " if keep_gaps else " OR ").join(f"{y} IS NULL" for y in paths.per_period)
    infinite = " OR ".join(f"NOT isfinite({y})" for y in paths.per_period)
    counts = ", ".join(f"count(*) FILTER ({rule})" for rule in (missing, infinite))
    incomplete, n_odd = paths.query(f"SELECT {counts} FROM {table}").fetchall()[0]
    finite = f"len(list_filter({sql_name(columns.outcome)}, lambda y: isfinite(y)))"
    listed = rows_where(f"coalesce({finite}, 0) < {len(times)}")
    if n_odd:
        raise InputError(
            f"{n_odd} row(s) break a rule",
            row=listed,
            column=columns.outcome,
            rule="the outcome must be finite",
            fix="correct or remove these rows",
        )
    if incomplete and unbalanced == "refuse" and not keep_gaps:
        raise DesignError(
            f"{incomplete} unit(s) are not observed in all {len(times)} periods. Complete them, or drop them "
            f'knowingly with unbalanced="drop" (column {columns.outcome!r}). They are listed by: {listed}',
            public="some people are not observed in all periods",
        )
    paths.query(f"DELETE FROM {table} WHERE ({missing}) OR w = 0")
    if not paths.query(f"SELECT count(*) FROM {table}").fetchall()[0][0]:
        raise DesignError(
            f"no unit is observed in all {len(times)} periods", public="no one is observed in all periods"
        )
    return int(incomplete)


def _check_rows(relation: duckdb.DuckDBPyRelation, columns: Columns) -> None:
    """Refuse invalid rows."""
    unit = sql_name(columns.unit)
    rules = {
        "the unit id must not be missing": (columns.unit, f"{unit} IS NULL"),
        "the cohort must be a number; NULL, 0 or +inf mean never treated": (
            columns.cohort,
            f"CAST({sql_name(columns.cohort)} AS DOUBLE) = '-inf'",
        ),
    }
    refuse_broken_rows(relation, rules | columns.rules())


def _ascending(relation: duckdb.DuckDBPyRelation, columns: Columns) -> bool:
    """Return whether units are in strictly ascending order, as in the table of `build_outcome_paths`."""
    unit = sql_name(columns.unit)
    steps = f"SELECT {unit} AS unit, lag({unit}) OVER () AS before FROM source"
    return bool(query(relation, f"SELECT coalesce(bool_and(unit > before), true) FROM ({steps})").fetchall()[0][0])


def _refuse_repeated(relation: duckdb.DuckDBPyRelation, columns: Columns) -> None:
    """Refuse units that have two rows."""
    twice = units_having(columns.unit, "count(*) > 1")
    [(n,)] = query(relation, f"SELECT count(*) FROM ({twice})").fetchall()
    if n:
        raise InputError(
            f"{n} unit(s) have more than one row",
            row=twice,
            column=columns.unit,
            rule="one row per unit where the outcome is a path",
        )
