"""Quoting for SQL, and how a connection is opened."""

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
