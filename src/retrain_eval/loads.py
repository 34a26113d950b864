"""The store's own two tables: every load, and every refused row."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import duckdb

from retrain_eval.ingest import REFUSED, Staged

TABLES = """
CREATE TABLE IF NOT EXISTS loads (
  id INTEGER PRIMARY KEY, time TIMESTAMP NOT NULL, resource VARCHAR NOT NULL, file VARCHAR NOT NULL,
  sha256 VARCHAR NOT NULL, schema_sha256 VARCHAR NOT NULL, rows_in BIGINT NOT NULL, rows_loaded BIGINT NOT NULL,
  rows_rejected BIGINT NOT NULL, status VARCHAR NOT NULL CHECK (status IN ('loaded', 'replaced', 'refused')));
CREATE TABLE IF NOT EXISTS rejects (
  load_id INTEGER NOT NULL, resource VARCHAR NOT NULL, file VARCHAR NOT NULL, line BIGINT NOT NULL,
  "column" VARCHAR, value VARCHAR, rule VARCHAR NOT NULL, message VARCHAR NOT NULL);
"""


class Held(NamedTuple):
    """A file whose rows stand in the store."""

    sha256: str
    schema_sha256: str
    rows_in: int
    rows_loaded: int
    rows_rejected: int


def held(con: duckdb.DuckDBPyConnection, resource: str) -> list[Held]:
    """Return the files that make up the content of a record type, in the order of their loads."""
    rows = con.execute(
        "SELECT sha256, schema_sha256, rows_in, rows_loaded, rows_rejected FROM loads "
        "WHERE resource = $1 AND status = 'loaded' ORDER BY id",
        [resource],
    ).fetchall()
    return [Held(*row) for row in rows]


def enter(con: duckdb.DuckDBPyConnection, staged: Staged, rejected: int, status: Literal["loaded", "refused"]) -> None:
    """Enter a file into ``loads`` and its refused rows into ``rejects``, inside the caller's transaction.

    A file that was refused before is listed once; a file that comes in the place of others marks them replaced.
    """
    name, raw = staged.resource.name, staged.raw
    again = "SELECT id FROM loads WHERE resource = $1 AND sha256 = $2 AND status = 'refused'"
    con.execute(f"DELETE FROM rejects WHERE load_id IN ({again})", [name, raw.sha256])
    con.execute(f"DELETE FROM loads WHERE id IN ({again})", [name, raw.sha256])
    if status == "loaded" and not staged.append:
        con.execute("UPDATE loads SET status = 'replaced' WHERE resource = $1 AND status = 'loaded'", [name])
    load_id = con.execute("SELECT coalesce(max(id), 0) + 1 FROM loads").fetchall()[0][0]
    now = datetime.now(UTC).replace(tzinfo=None)
    loaded = raw.rows - rejected if status == "loaded" else 0
    counts: Sequence[object] = (raw.rows, loaded, rejected)
    con.execute(
        "INSERT INTO loads VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        [load_id, now, name, raw.path.name, raw.sha256, staged.resource.sha256, *counts, status],
    )
    con.execute(
        f'INSERT INTO rejects SELECT $1, resource, file, line, "column", value, rule, message '
        f"FROM {REFUSED} WHERE resource = $2",
        [load_id, name],
    )


def fingerprint(con: duckdb.DuckDBPyConnection) -> str:
    """Return the hash of what is loaded: files, schemas and numbers of rows, whenever they came."""
    rows = con.execute(
        "SELECT resource, sha256, schema_sha256, rows_loaded FROM loads WHERE status = 'loaded' ORDER BY ALL"
    ).fetchall()
    return hashlib.sha256("\n".join(" ".join(map(str, row)) for row in rows).encode()).hexdigest()
