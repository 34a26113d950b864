"""The file of a store: whether it is a store, who may read it, and why DuckDB could not open it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from retrain_eval.common.disk import is_full, reason
from retrain_eval.common.errors import StoreError
from retrain_eval.common.files import PRIVATE, private_file
from retrain_eval.records import identifiers
from retrain_eval.records.loading import loads


def connect(path: Path, config: Mapping[str, Any], *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file that only its owner can read, and create its folder if necessary."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE[0])
    if path.exists() and not is_duckdb(path):
        raise StoreError(f"{path} is not a store: it is not a DuckDB file; ingest into a new one")
    con = duckdb.connect(str(path), config=dict(config), read_only=read_only)
    make_private(path)
    return con


def make_private(path: Path) -> None:
    """Make a store and its log readable only by their owner."""
    for file in (path, Path(f"{path}.wal")):
        private_file(file)


def key_of(con: duckdb.DuckDBPyConnection, path: Path) -> bytes:
    """Return the key in the environment that hashes identifiers, if it is the store's.

    Raises
    ------
    InputError
        If the environment has none.
    StoreError
        If the store was filled with a different key.
    """
    key = identifiers.read_key()
    known = con.execute("SELECT value FROM settings WHERE name = 'identifiers'").fetchall()
    if known and known != [(identifiers.key_check(key),)]:
        raise StoreError(f"{identifiers.ENVIRONMENT} holds a different key from that of the store {path}")
    return key


def check_layout(con: duckdb.DuckDBPyConnection, path: Path) -> bool:
    """Refuse a file that is not a store, or has an earlier layout; return whether it is empty."""
    tables = [name for (name,) in con.execute("SELECT table_name FROM duckdb_tables() WHERE NOT temporary").fetchall()]
    if tables and "loads" not in tables:
        raise StoreError(f"{path} is not a store: it is a DuckDB file with other tables; ingest into a new one")
    if tables and "vintage" not in con.sql("FROM loads LIMIT 0").columns:
        raise StoreError(
            f"the store {path} was made by an earlier version, without vintages; "
            "delete it and load the record files again"
        )
    return not tables


def check_vintage(con: duckdb.DuckDBPyConnection, path: Path, as_of: int | None) -> None:
    """Refuse a vintage that does not exist."""
    last = loads.last_vintage(con)
    if as_of is not None and not 1 <= as_of <= last:
        have = f"1 to {last}" if last > 1 else "1" if last else "none: nothing is loaded"
        raise StoreError(f"the store {path} has no vintage {as_of}; it has {have}")


def is_duckdb(path: Path) -> bool:
    """Look for DuckDB's magic bytes; DuckDB itself would open a CSV file, and fetch an extension for a SQLite one."""
    with path.open("rb") as file:
        return file.read(12)[8:] == b"DUCK"


def sweep(path: Path) -> None:
    """Remove what a killed process had spilled to disk: we hold the store, so no other process can be using it."""
    for file in Path(f"{path}.tmp").glob("duckdb_temp_*"):
        owner = re.match(r"duckdb_temp_(\d+)_", file.name)
        if owner and int(owner[1]) != os.getpid():
            file.unlink(missing_ok=True)


def open_error(path: Path, text: str) -> StoreError:
    """Say why DuckDB could not open the file."""
    if "Could not set lock" in text:
        holder = re.search(r"PID (\d+)", text)
        who = f"process {holder[1]}" if holder else "another process"
        return StoreError(f"the store {path} is in use by {who}; wait until it has finished, or stop it")
    if "different configuration" in text:
        return StoreError(f"the store {path} is already open in this process with another memory limit or access mode")
    if "version" in text.lower() and "newer" in text.lower():
        return StoreError(f"the store {path} was written by a newer DuckDB than {duckdb.__version__}; upgrade duckdb")
    first = text.splitlines()[0]
    if is_full(text):
        return StoreError(f"the store {path} cannot be written: {reason(duckdb.IOException(text), path)}")
    for known in ("Permission denied", "Read-only file system"):
        if known in text:
            return StoreError(f"the store {path} cannot be written: {known}")
    return StoreError(f"the store {path} cannot be opened: {first}; if the file is damaged, ingest into a new store")
