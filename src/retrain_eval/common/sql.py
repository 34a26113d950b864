"""Quoting for SQL, how a connection is opened, temporary tables, and tables that may be absent."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import duckdb

from retrain_eval.common.errors import unknown_columns

# no network access: no extension is fetched, and none that could read from a network is loaded
OFFLINE: dict[str, Any] = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}


def connect() -> duckdb.DuckDBPyConnection:
    """Open a connection in memory without network access."""
    return duckdb.connect(config=dict(OFFLINE))


class Scratch:
    """Names of temporary tables that `scratch` drops."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def name(self, what: str) -> str:
        """Return a name that no other table has, of a table that is dropped."""
        self.names.append(scratch_name(what))
        return self.names[-1]

    def keep(self, *names: str) -> None:
        """Do not drop these tables."""
        self.names = [name for name in self.names if name not in names]


@contextmanager
def scratch(con: duckdb.DuckDBPyConnection | duckdb.DuckDBPyRelation) -> Iterator[Scratch]:
    """Give names to temporary tables of a connection, or of that of a relation, and drop the tables at the end.

    Examples
    --------
    >>> con = duckdb.connect()
    >>> with scratch(con) as tables:
    ...     name = tables.name("example")
    ...     _ = con.execute(f"CREATE TEMP TABLE {name} AS SELECT 1")
    ...     [name == row[0] for row in con.execute("SHOW TABLES").fetchall()]
    [True]
    >>> con.execute("SHOW TABLES").fetchall()
    []
    """
    tables = Scratch()
    try:
        yield tables
    finally:
        for name in tables.names:
            drop = f"DROP TABLE IF EXISTS {name}"
            with suppress(duckdb.Error):  # of a transaction that failed: the error that made it fail matters more
                con.execute(drop) if isinstance(con, duckdb.DuckDBPyConnection) else con.query("source", drop)


def scratch_name(what: str) -> str:
    """Return a name for a temporary table that no other table has."""
    return f"retrain_{what}_{uuid.uuid4().hex}"


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
    """Return a SELECT of columns of a table.

    A column whose type follows its name may be absent, and is NULL then; case does not matter, as in SQL.

    Raises
    ------
    InputError
        If the table lacks a column without a type.
    """
    have = {column.casefold() for column in con.table(table).columns}
    selected, missing = [], []
    for column in columns:
        name, _, kind = column.partition(" ")
        if name.casefold() in have:
            selected.append(sql_name(name))
        elif kind:
            selected.append(_null(column))
        else:
            missing.append(name)
    if missing:
        raise unknown_columns(missing, con.table(table).columns, kind=f"column of {table}")
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


def stable_sum(value: str) -> str:
    """Return SQL that sums values in ascending order: the same bits whatever the order of rows and the threads.

    Examples
    --------
    >>> stable_sum("weight")
    'sum(weight ORDER BY weight)'
    """
    return f"sum({value} ORDER BY {value})"
