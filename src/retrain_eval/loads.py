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

from retrain_eval.ingest import REFUSED, Staged, same_key
from retrain_eval.schemas import ddl
from retrain_eval.sources import sql_name, sql_text
from retrain_eval.table_schema import Resource

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


def in_force(con: duckdb.DuckDBPyConnection, name: str, vintage: int, hidden: Sequence[str] = ()) -> str | None:
    """Return SQL for the rows of a record type at a vintage, ``hidden`` columns first; None if it has none."""
    files = held(con, name, vintage)
    if not files:
        return None
    table = _table(name, files[-1].schema_sha256)
    columns = con.sql(f"FROM {table} LIMIT 0").columns[len(HIDDEN) :]
    wanted = ", ".join(f"t.{sql_name(column)}" for column in (*hidden, *columns))
    ids = ", ".join(str(file.id) for file in files)
    mine = f"resource = {sql_text(name)} AND by_load <= {files[-1].id}"
    gone = con.execute(f"SELECT count(*) FROM archive.superseded WHERE {mine}").fetchall()[0][0]
    rows = f"SELECT {wanted} FROM {table} t"
    if gone:
        rows += f" ANTI JOIN (FROM archive.superseded WHERE {mine}) s ON t._load = s._load AND t._record = s._record"
    return f"{rows} WHERE t._load IN ({ids})"


def write(con: duckdb.DuckDBPyConnection, staged: Staged, vintage: int, rejected: int) -> int:
    """Append a checked file to the archive inside the caller's transaction; return how many rows it supersedes."""
    resource = staged.resource
    load_id = _next_id(con)
    table = _table(resource.name, resource.sha256)
    known = con.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'archive' AND table_name = $1",
        [_table_name(resource.name, resource.sha256)],
    ).fetchall()[0][0]
    if not known:
        con.execute(ddl(resource, table, HIDDEN))
    superseded = 0
    key = key_of(resource)
    before = in_force(con, resource.name, vintage, ("_load", "_record")) if staged.update else None
    if before is not None and key:
        found = con.execute(
            f"INSERT INTO archive.superseded SELECT {sql_text(resource.name)}, t._load, t._record, {load_id} "
            f"FROM ({before}) t SEMI JOIN ({staged.rows()}) s ON {same_key(key, 't', 's')}"
        ).fetchall()
        superseded = int(found[0][0])
    try:
        con.execute(f"INSERT INTO {table} {staged.rows(f'{load_id}', '_record')}")
    except duckdb.Error as error:
        raise staged.raw.parse_error(error) or error from error
    staged.raw.check_unchanged()  # a Parquet file is read again here
    loaded = staged.raw.rows - rejected
    _enter(con, staged, load_id, vintage, (loaded, rejected, superseded), "loaded")
    return superseded


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


def _next_id(con: duckdb.DuckDBPyConnection) -> int:
    return int(con.execute("SELECT coalesce(max(id), 0) + 1 FROM loads").fetchall()[0][0])


def _table_name(resource: str, schema_sha256: str) -> str:
    """Name a table by record type and version of the schema: a changed schema starts a new one."""
    return f"{resource}_{schema_sha256[:8]}"


def _table(resource: str, schema_sha256: str) -> str:
    return f"archive.{sql_name(_table_name(resource, schema_sha256))}"
