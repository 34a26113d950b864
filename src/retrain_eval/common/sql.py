"""Quoting for SQL, how a connection is opened, and tables that may be absent."""

from __future__ import annotations

from typing import Any

import duckdb

# no network access: no extension is fetched, and none that could read from a network is loaded
OFFLINE: dict[str, Any] = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}


def connect() -> duckdb.DuckDBPyConnection:
    """Open a connection in memory without network access."""
    return duckdb.connect(config=dict(OFFLINE))


def sql_name(name: str) -> str:
    """Quote an identifier for SQL."""
    return '"' + name.replace('"', '""') + '"'


def sql_text(value: str) -> str:
    """Quote a string literal for SQL."""
    return "'" + value.replace("'", "''") + "'"


def loaded(con: duckdb.DuckDBPyConnection, *names: str) -> bool:
    """Return whether all of these tables or views exist."""
    have = {row[0] for row in con.execute("SELECT table_name FROM information_schema.tables").fetchall()}
    return have.issuperset(names)


def no_rows(*columns: str) -> str:
    """Return a SELECT of these columns and no rows; a type may follow the name of a column.

    Examples
    --------
    >>> no_rows("person_id", "region VARCHAR")
    'SELECT NULL AS "person_id", NULL::VARCHAR AS "region" WHERE false'
    """
    return f"SELECT {', '.join(map(_null, columns))} WHERE false"


def select(con: duckdb.DuckDBPyConnection, table: str, *columns: str) -> str:
    """Return a SELECT of columns of a table; those that it lacks are NULL, of the type that may follow their name."""
    have = con.table(table).columns
    names = {column: column.partition(" ")[0] for column in columns}
    selected = [sql_name(name) if name in have else _null(column) for column, name in names.items()]
    return f"SELECT {', '.join(selected)} FROM {sql_name(table)}"


def optional(con: duckdb.DuckDBPyConnection, table: str, *columns: str) -> str:
    """Return a SELECT of columns of a table that may be absent, then without rows; see `select`.

    Examples
    --------
    >>> con = duckdb.connect()
    >>> _ = con.execute("CREATE TABLE person AS SELECT 'a' AS person_id")
    >>> optional(con, "person", "person_id", "region VARCHAR")
    'SELECT "person_id", NULL::VARCHAR AS "region" FROM "person"'
    >>> optional(con, "displacement", "person_id")
    'SELECT NULL AS "person_id" WHERE false'
    """
    return select(con, table, *columns) if loaded(con, table) else no_rows(*columns)


def _null(column: str) -> str:
    name, _, kind = column.partition(" ")
    return f"NULL{kind and '::'}{kind} AS {sql_name(name)}"


def oddly_written_sql(text: str) -> str:
    """Return the SQL condition that a text is no number although DuckDB takes it for one: 1_000 and +-5.

    Examples
    --------
    >>> import duckdb
    >>> texts = "(SELECT unnest(['1_000', '+-5', '-5']) AS text)"
    >>> sql = f"SELECT CAST(text AS DOUBLE), {oddly_written_sql('text')} FROM {texts}"
    >>> duckdb.sql(sql).fetchall()
    [(1000.0, True), (-5.0, True), (-5.0, False)]
    """
    return f"(contains({text}, '_') OR contains({text}, '+-'))"
