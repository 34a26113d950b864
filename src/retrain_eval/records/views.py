"""Views that a study's script leaves in its store, and that refer to tables of a connection that has ended."""

from __future__ import annotations

import re
from collections.abc import Collection

import duckdb

from retrain_eval.common.sources import sql_name

_OWN = "SELECT view_name, sql FROM duckdb_views() WHERE NOT internal AND NOT temporary AND schema_name = 'main'"


def drop_passing_views(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Drop the views on temporary tables, such as a sample's weights, and return their names: for the end of a run.

    Examples
    --------
    >>> con = duckdb.connect()
    >>> _ = con.execute("CREATE TEMP TABLE paths AS SELECT 1 AS weight; CREATE TABLE panel AS SELECT 2 AS period")
    >>> made = con.table("paths").create_view("weights"), con.table("panel").create_view("periods")
    >>> drop_passing_views(con)
    ['weights']
    """
    tables = con.execute("SELECT table_name FROM duckdb_tables() WHERE temporary").fetchall()
    if not tables:
        return []
    passing = re.compile("|".join(rf"\b{re.escape(name)}\b" for (name,) in tables))
    return _drop(con, [name for name, sql in con.execute(_OWN).fetchall() if passing.search(sql)])


def drop_broken_views(con: duckdb.DuckDBPyConnection, known: Collection[str]) -> list[str]:
    """Drop the views on tables that no longer exist, and return their names: for what earlier versions left behind.

    Parameters
    ----------
    con : DuckDBPyConnection
    known : collection of str
        Names of record types: a view on one is kept, also where it is not shown.

    Examples
    --------
    >>> con = duckdb.connect()
    >>> _ = con.execute("CREATE TABLE panel AS SELECT 1 AS weight")
    >>> made = con.table("panel").create_view("weights")
    >>> _ = con.execute("DROP TABLE panel")
    >>> drop_broken_views(con, ())
    ['weights']
    """
    broken = []
    for name, _sql in con.execute(_OWN).fetchall():
        try:
            con.execute(f"DESCRIBE {sql_name(name)}")
        except duckdb.CatalogException as error:
            missing = re.search(r"with name (\S+) does not exist", str(error))
            if missing and missing[1].strip('"') not in known:
                broken.append(str(name))
    return _drop(con, broken)


def _drop(con: duckdb.DuckDBPyConnection, names: list[str]) -> list[str]:
    for name in names:
        con.execute(f"DROP VIEW IF EXISTS main.{sql_name(name)}")
    return names
