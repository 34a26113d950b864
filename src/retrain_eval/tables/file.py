"""The file of an additive table: Parquet, with the facts about the table in its metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from retrain_eval.common.errors import InputError


def write_table(path: str | os.PathLike[str], kind: str, table: pa.Table, facts: Mapping[str, Any]) -> None:
    """Write a table whose kind is stored in the metadata under ``kind``."""
    pq.write_table(table.replace_schema_metadata({kind: json.dumps(facts)}), path)


def read_table(path: str | os.PathLike[str], kind: str) -> tuple[pa.Table, dict[str, Any]]:
    """Read what `write_table` wrote.

    Raises
    ------
    InputError
        If the file cannot be read, or holds something else.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError("the file cannot be read", file=path, rule=str(error).splitlines()[0]) from None
    packed = (table.schema.metadata or {}).get(kind.encode())
    if packed is None:
        raise InputError(f"the file holds no {kind.replace('_', ' ')}", file=path)
    facts: dict[str, Any] = json.loads(packed)
    return table, facts
