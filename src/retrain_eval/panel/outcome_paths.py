"""Outcome paths kept in the store: one row per person, each outcome a fixed-size array over the periods.

It is the form that outcome moments read: built once from the panel, it spares every later estimate the long table.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import duckdb

from retrain_eval.common.errors import InputError, StoreError, unknown
from retrain_eval.common.sources import sql_name, sql_text
from retrain_eval.common.sql import loaded
from retrain_eval.common.withholding import units_having

SOURCES = ("panel", "quality")
_KEYS = ("person_id", "period", "cohort")
_CHUNK = 250_000  # people whose paths are in memory at once


def build_outcome_paths(
    con: duckdb.DuckDBPyConnection, outcomes: Sequence[str] = ("earnings", "employed")
) -> duckdb.DuckDBPyRelation:
    """Create the table ``paths`` from the panel and, where it is there, the table of employment quality.

    Nothing is done if the store holds the paths of these outcomes from the same panel and quality.

    Parameters
    ----------
    con : DuckDBPyConnection
        Connection on which `retrain_eval.build_panel` has run.
    outcomes : sequence of str
        Numeric columns of ``panel`` or ``quality``.

    Returns
    -------
    DuckDBPyRelation
        ``person_id, cohort``, and per outcome a ``DOUBLE[T]`` in the order of `path_periods`; NULL where it is unknown.

    Raises
    ------
    InputError
        If there is no panel, an outcome is not a numeric column, or a person has two rows for a period.
    StoreError
        If the paths that DuckDB has built do not hold the values of the long table.

    Examples
    --------
    >>> con = duckdb.connect()
    >>> _ = con.execute("CREATE TABLE panel AS SELECT p AS person_id, t AS period, 10.0 * t + length(p) AS earnings, "
    ...                 "NULL::INTEGER AS cohort FROM (VALUES ('a'), ('bb')) AS x(p), (VALUES (2), (1)) AS y(t)")
    >>> build_outcome_paths(con, ["earnings"]).order("person_id").fetchall()
    [('a', None, (11.0, 21.0)), ('bb', None, (12.0, 22.0))]
    >>> path_periods(con)
    [1, 2]
    """
    if not loaded(con, "panel"):
        raise InputError("there is no panel", fix="build_panel comes first")
    homes = {name: _home(con, name) for name in outcomes}
    if not homes or len(homes) < len(outcomes):
        raise InputError("outcomes are named once, and there is at least one", value=", ".join(outcomes))
    key = _key(con, homes)
    if key and loaded(con, "paths") and built(con, "paths") == key:
        return con.table("paths")
    periods = path_periods(con)
    people = con.execute(
        f"""
        SELECT person_id FROM (
          SELECT person_id, row_number() OVER (ORDER BY person_id) - 1 AS n FROM (SELECT DISTINCT person_id FROM panel)
        ) WHERE n % {_CHUNK} = 0 ORDER BY person_id
        """
    ).fetchall()
    bounds = [person for (person,) in people]
    con.execute("BEGIN")  # paths are whole or not there
    try:
        for place, low in enumerate(bounds or [""]):
            high = f"AND person_id < {_literal(bounds[place + 1])}" if place + 1 < len(bounds) else ""
            chunk = f"person_id >= {_literal(low)} {high}"
            sql = _paths_sql(homes, periods, chunk)
            con.execute(("CREATE OR REPLACE TABLE paths AS " if not place else "INSERT INTO paths ") + sql)
        [(twice,)] = con.execute(f"SELECT count(*) FROM paths WHERE _rows > {len(periods)}").fetchall()
        if twice:
            raise InputError(
                f"{twice:,} person(s) have two rows for a period of the panel",
                row=units_having("person_id", "count(*) > count(DISTINCT period)", "panel"),
                rule="one row per person and period",
            )
        _check_paths(con, homes)
        con.execute("ALTER TABLE paths DROP COLUMN _rows")
        con.execute("COMMIT")
    except BaseException:
        con.execute("ROLLBACK")
        raise
    mark_built(con, "paths", key)
    return con.table("paths")


def _paths_sql(homes: dict[str, str], periods: Sequence[int], chunk: str) -> str:
    """Return the SQL of the paths of some people: one aggregation per outcome, because wide ones leave the cache.

    Paths are joined by inner joins only: DuckDB 2.0.0 fills arrays on the empty side of an outer join with anything.
    """
    rows = f"(SELECT person_id, period FROM panel WHERE {chunk})"
    parts = [
        "people AS (SELECT person_id, any_value(cohort) AS cohort, count(*) AS _rows "
        f"FROM panel WHERE {chunk} GROUP BY person_id)"
    ]
    for place, (name, home) in enumerate(homes.items()):
        value = f"CAST({sql_name(name)} AS DOUBLE)"
        values = ", ".join(f"max({value}) FILTER (period = {period})" for period in periods)
        path = f"CAST([{values}] AS DOUBLE[{len(periods)}])"
        source = f"panel WHERE {chunk}" if home == "panel" else f"{rows} LEFT JOIN {home} USING (person_id, period)"
        parts.append(f"o_{place} AS (SELECT person_id, {path} AS path FROM {source} GROUP BY person_id)")
    columns = ", ".join(f"o_{place}.path AS {sql_name(name)}" for place, name in enumerate(homes))
    joins = " ".join(f"JOIN o_{place} USING (person_id)" for place in range(len(homes)))
    return f"WITH {', '.join(parts)} SELECT person_id, cohort, {columns}, _rows FROM people {joins} ORDER BY person_id"


def _check_paths(con: duckdb.DuckDBPyConnection, homes: dict[str, str]) -> None:
    """Refuse paths that do not hold what the long tables hold: as many values, with the same extremes."""
    for name, home in homes.items():
        column, value = sql_name(name), f"CAST({sql_name(name)} AS DOUBLE)"
        rows = f"SELECT count({value}), min({value}), max({value}) FROM {home}"
        if home != "panel":
            rows += " SEMI JOIN panel USING (person_id, period)"
        lists = f"CAST({column} AS DOUBLE[])"
        paths = f"SELECT sum(list_count({lists})), min(list_min({lists})), max(list_max({lists})) FROM paths"
        if con.execute(rows).fetchall() != con.execute(paths).fetchall():
            raise StoreError(f"the paths of {name} are not those of the table {home}; nothing was kept")


def path_periods(con: duckdb.DuckDBPyConnection) -> list[int]:
    """Return the periods of the panel, in the order of the arrays of ``paths``."""
    return [int(period) for (period,) in con.execute("SELECT DISTINCT period FROM panel ORDER BY 1").fetchall()]


def mark_built(con: duckdb.DuckDBPyConnection, name: str, key: str = "") -> None:
    """Note that a derived table has been made, under a key of its own or the one given."""
    con.execute("CREATE TABLE IF NOT EXISTS derived (name VARCHAR PRIMARY KEY, key VARCHAR NOT NULL)")
    con.execute("INSERT OR REPLACE INTO derived VALUES ($1, $2)", [name, key or uuid.uuid4().hex])


def built(con: duckdb.DuckDBPyConnection, name: str) -> str:
    """Return the key under which a derived table was made; empty if nobody noted it."""
    if not loaded(con, "derived"):
        return ""
    found = con.execute("SELECT key FROM derived WHERE name = $1", [name]).fetchall()
    return str(found[0][0]) if found else ""


def _key(con: duckdb.DuckDBPyConnection, homes: dict[str, str]) -> str:
    """Say what the paths depend on; empty if it is not known, so that they are built anew."""
    marks = {home: built(con, home) for home in ("panel", *homes.values())}
    if not all(marks.values()):
        return ""
    return "; ".join([*(f"{home} {mark}" for home, mark in sorted(marks.items())), *homes])


def _home(con: duckdb.DuckDBPyConnection, outcome: str) -> str:
    """Return the table that an outcome is a column of."""
    tables = [name for name in SOURCES if loaded(con, name)]
    known = []
    for table in tables:
        relation = con.table(table)
        numeric = [
            column
            for column, kind in zip(relation.columns, relation.types, strict=True)
            if column not in _KEYS and str(kind) not in ("VARCHAR", "BOOLEAN", "DATE")
        ]
        if outcome in numeric:
            return table
        known += numeric
    raise unknown("outcome", outcome, known)


def _literal(person: object) -> str:
    return sql_text(person) if isinstance(person, str) else str(person)
