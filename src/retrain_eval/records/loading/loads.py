"""What the store keeps beside the records: every load, every refused row, and which rows are in force.

Records are append-only. Rows lie in the schema ``archive``, one table per record type and version of its Table
Schema, with the load that brought them (``_load``) and their place in its file (``_record``). A load either takes
the place of the earlier ones of its type ("replace") or adds to them ("update"); a row with a key that is held
already supersedes it. Which rows are in force at a vintage follows from these two facts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import duckdb

from retrain_eval.common.sources import sql_name, sql_text
from retrain_eval.records.loading.keys import same_key
from retrain_eval.records.loading.staging import REFUSED, REPEATED, Staged
from retrain_eval.records.schema.dictionary import ddl
from retrain_eval.records.schema.resource import Resource
from retrain_eval.records.schema.versions import definition, difference

TABLES = """
CREATE SCHEMA IF NOT EXISTS archive;
CREATE TABLE IF NOT EXISTS loads (
  id INTEGER PRIMARY KEY, vintage INTEGER, time TIMESTAMP NOT NULL, resource VARCHAR NOT NULL, file VARCHAR NOT NULL,
  sha256 VARCHAR NOT NULL, schema_sha256 VARCHAR NOT NULL, mode VARCHAR NOT NULL CHECK (mode IN ('replace', 'update')),
  rows_in BIGINT NOT NULL, rows_loaded BIGINT NOT NULL, rows_rejected BIGINT NOT NULL,
  rows_superseded BIGINT NOT NULL, status VARCHAR NOT NULL CHECK (status IN ('loaded', 'refused')));
CREATE TABLE IF NOT EXISTS rejects (
  load_id INTEGER NOT NULL, resource VARCHAR NOT NULL, file VARCHAR NOT NULL, line BIGINT NOT NULL,
  "column" VARCHAR, value VARCHAR, rule VARCHAR NOT NULL, message VARCHAR NOT NULL);
CREATE TABLE IF NOT EXISTS archive.superseded (
  resource VARCHAR NOT NULL, _load INTEGER NOT NULL, _record BIGINT NOT NULL, by_load INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS archive.refused (
  resource VARCHAR NOT NULL, _load INTEGER NOT NULL, _record BIGINT NOT NULL, person_id VARCHAR, period INTEGER,
  key MAP(VARCHAR, VARCHAR));
CREATE TABLE IF NOT EXISTS archive.schemas (
  sha256 VARCHAR NOT NULL, resource VARCHAR NOT NULL, definition VARCHAR NOT NULL, PRIMARY KEY (resource, sha256));
CREATE TABLE IF NOT EXISTS imports (
  load_id INTEGER NOT NULL, source VARCHAR NOT NULL, layout VARCHAR NOT NULL, raw_sha256 VARCHAR NOT NULL,
  place INTEGER NOT NULL, what VARCHAR NOT NULL, records BIGINT NOT NULL, money DECIMAL(20,4) NOT NULL);
CREATE TABLE IF NOT EXISTS settings (name VARCHAR PRIMARY KEY, value VARCHAR NOT NULL);
"""
HIDDEN = ("_load INTEGER NOT NULL", "_record BIGINT NOT NULL")
Mode = Literal["replace", "update"]


class Held(NamedTuple):
    """A load whose rows are in force, as far as none supersedes them."""

    id: int
    vintage: int
    sha256: str
    schema_sha256: str
    rows_in: int
    rows_loaded: int
    rows_rejected: int


def held(con: duckdb.DuckDBPyConnection, resource: str, vintage: int) -> list[Held]:
    """Return the loads that make up a record type at a vintage, oldest first."""
    rows = con.execute(
        """
        SELECT id, vintage, sha256, schema_sha256, rows_in, rows_loaded, rows_rejected FROM loads
        WHERE resource = $1 AND vintage <= $2 AND id >= (
          SELECT coalesce(max(id), 0) FROM loads WHERE resource = $1 AND vintage <= $2 AND mode = 'replace')
        ORDER BY id
        """,
        [resource, vintage],
    ).fetchall()
    return [Held(*row) for row in rows]


def last_vintage(con: duckdb.DuckDBPyConnection) -> int:
    """Return the latest complete vintage; 0 if nothing is loaded."""
    return int(con.execute("SELECT coalesce(max(vintage), 0) FROM loads").fetchall()[0][0])


def in_force(
    con: duckdb.DuckDBPyConnection, resource: Resource, vintage: int, hidden: Sequence[str] = (), where: str = ""
) -> str | None:
    """Return SQL for the rows of a record type at a vintage, ``hidden`` columns first; None if it has none.

    Columns that the schema has gained since are missing in them; where it has changed otherwise, rows are shown as
    they were loaded. ``where`` are further conditions on the archive's table ``t``.
    """
    name = resource.name
    files = held(con, name, vintage)
    if not files:
        return None
    gained = {} if change(con, resource, files) else {field.name: field.sql_type for field in resource.fields}
    mine = f"resource = {sql_text(name)} AND by_load <= {files[-1].id}"
    gone = con.execute(f"SELECT count(*) FROM archive.superseded WHERE {mine}").fetchall()[0][0]
    anti = f"ANTI JOIN (FROM archive.superseded WHERE {mine}) s ON t._load = s._load AND t._record = s._record"
    parts = []
    for schema in dict.fromkeys(file.schema_sha256 for file in files):
        table = _table(name, schema)
        columns = con.sql(f"FROM {table} LIMIT 0").columns[len(HIDDEN) :]
        wanted = [f"t.{sql_name(column)}" for column in (*hidden, *columns)]
        wanted += [f"NULL::{kind} AS {sql_name(column)}" for column, kind in gained.items() if column not in columns]
        # the loads from the first to the last are all in force: a replacement starts anew
        loads = f"t._load BETWEEN {files[0].id} AND {files[-1].id}"
        parts.append(f"SELECT {', '.join(wanted)} FROM {table} t {anti if gone else ''} WHERE {loads}{where}")
    return " UNION ALL BY NAME ".join(parts)


def change(con: duckdb.DuckDBPyConnection, resource: Resource, files: Sequence[Held]) -> str | None:
    """Say why the rows of some loads do not hold under the schema as it is now; None if they do."""
    earlier = {file.schema_sha256 for file in files} - {resource.sha256}
    found = con.execute(
        "SELECT definition FROM archive.schemas WHERE resource = $1 AND list_contains($2::VARCHAR[], sha256) "
        "ORDER BY sha256",
        [resource.name, sorted(earlier)],
    ).fetchall()
    return next(filter(None, (difference(text, definition(resource)) for (text,) in found)), None)


def write(con: duckdb.DuckDBPyConnection, staged: Staged, vintage: int, rejected: int) -> tuple[int, int]:
    """Append a checked file to the archive inside the caller's transaction; return its id, and rows it supersedes."""
    resource = staged.resource
    load_id = _next_id(con)
    table = _table(resource.name, resource.sha256)
    known = con.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'archive' AND table_name = $1",
        [_table_name(resource.name, resource.sha256)],
    ).fetchall()[0][0]
    if not known:
        con.execute(ddl(resource, table, HIDDEN))
        con.execute(
            "INSERT INTO archive.schemas VALUES ($1, $2, $3)", [resource.sha256, resource.name, definition(resource)]
        )
    superseded = 0
    key = key_of(resource)
    if staged.update and key and held(con, resource.name, vintage):
        before = in_force(con, resource, vintage, ("_load", "_record"), _span(con, staged, key))
        found = con.execute(
            f"INSERT INTO archive.superseded SELECT {sql_text(resource.name)}, t._load, t._record, {load_id} "
            f"FROM ({before}) t SEMI JOIN ({staged.rows()}) s ON {same_key(key, 't', 's')}"
        ).fetchall()
        superseded = int(found[0][0])
    try:
        con.execute(f"INSERT INTO {table} {staged.rows(f'{load_id}', '_record')}")
    except duckdb.Error as error:
        raise staged.raw.parse_error(error) or error from None  # the engine quotes the line
    staged.raw.check_unchanged()  # a Parquet file is read again here
    loaded = staged.raw.rows - rejected - repeated(con, staged)
    _enter(con, staged, load_id, vintage, (loaded, rejected, superseded), "loaded")
    return load_id, superseded


def repeated(con: duckdb.DuckDBPyConnection, staged: Staged) -> int:
    """Return how many rows of a staged file are exact duplicates of an earlier one."""
    rows = con.execute(f"SELECT count(*) FROM {REPEATED} WHERE staged = {staged.number}").fetchall()
    return int(rows[0][0])


def enter_refused(con: duckdb.DuckDBPyConnection, staged: Staged, rejected: int) -> None:
    """Keep the refused rows of a file that was not loaded, inside the caller's transaction."""
    _enter(con, staged, _next_id(con), None, (0, rejected, 0), "refused")


def key_of(resource: Resource) -> tuple[str, ...]:
    """Return the columns by which a later row supersedes an earlier one."""
    return resource.primary_key or (resource.unique_keys[0] if resource.unique_keys else ())


def fingerprint(con: duckdb.DuckDBPyConnection, names: Sequence[str], vintage: int) -> str:
    """Return a hash of what is in force at a vintage: files, schemas and numbers of rows, whenever they came."""
    lines = [
        " ".join(map(str, (name, file.sha256, file.schema_sha256, file.rows_loaded)))
        for name in sorted(names)
        for file in held(con, name, vintage)
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _enter(
    con: duckdb.DuckDBPyConnection,
    staged: Staged,
    load_id: int,
    vintage: int | None,
    counts: tuple[int, int, int],
    status: str,
) -> None:
    """Enter a file and its refused rows; what is known of an earlier refusal of the same file goes."""
    raw, mode = staged.raw, "update" if staged.update else "replace"
    name = staged.resource.name
    again = "SELECT id FROM loads WHERE resource = $1 AND sha256 = $2 AND status = 'refused'"
    con.execute(f"DELETE FROM rejects WHERE load_id IN ({again})", [name, raw.sha256])
    con.execute(f"DELETE FROM loads WHERE id IN ({again})", [name, raw.sha256])
    now = datetime.now(UTC).replace(tzinfo=None)
    facts = [load_id, vintage, now, name, raw.path.name, raw.sha256, staged.resource.sha256, mode, raw.rows]
    places = ", ".join(f"${i}" for i in range(1, 14))
    con.execute(f"INSERT INTO loads VALUES ({places})", [*facts, *counts, status])
    con.execute(
        f'INSERT INTO rejects SELECT $1, $2, file, line, "column", value, rule, message '
        f"FROM {REFUSED} WHERE staged = $3",
        [load_id, name, staged.number],
    )


def _span(con: duckdb.DuckDBPyConnection, staged: Staged, key: Sequence[str]) -> str:
    """Return conditions that a row of ``t`` can have a key of the file: most of what came before is not even read.

    It is on numbers and dates that cannot be missing, such as the period.
    """
    resource, conditions = staged.resource, ""
    for column in key:
        if resource.required(column) and resource.field(column).type not in ("string", "boolean"):
            name = sql_name(column)
            bounds = f"CAST(min({name}) AS VARCHAR), CAST(max({name}) AS VARCHAR)"
            low, high = con.execute(f"SELECT {bounds} FROM ({staged.rows()})").fetchall()[0]
            if low is not None:
                ends = [f"CAST({sql_text(end)} AS {resource.field(column).sql_type})" for end in (low, high)]
                conditions += f" AND t.{name} BETWEEN {' AND '.join(ends)}"
    return conditions


def _next_id(con: duckdb.DuckDBPyConnection) -> int:
    return int(con.execute("SELECT coalesce(max(id), 0) + 1 FROM loads").fetchall()[0][0])


def _table_name(resource: str, schema_sha256: str) -> str:
    """Name a table by record type and version of the schema: a changed schema starts a new one."""
    return f"{resource}_{schema_sha256[:8]}"


def _table(resource: str, schema_sha256: str) -> str:
    return f"archive.{sql_name(_table_name(resource, schema_sha256))}"
