"""The file of an additive table: Parquet, with the facts about the table in its metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from retrain_eval.common.errors import InputError
from retrain_eval.common.untrusted import in_a_line, parse_json


def write_table(
    path: str | os.PathLike[str], kind: str, table: pa.Table, facts: Mapping[str, Any], stamp: Mapping[str, str]
) -> None:
    """Write a table whose metadata has, under ``kind``, its facts and its stamp."""
    stamped = {**facts, "stamp": dict(stamp)} if stamp else facts
    pq.write_table(table.replace_schema_metadata({kind: json.dumps(stamped)}), path)


def read_table(path: str | os.PathLike[str], kind: str) -> tuple[pa.Table, dict[str, Any], dict[str, str]]:
    """Return the table, the facts and the stamp that `write_table` wrote; tables of earlier versions have no stamp.

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
    try:
        facts: dict[str, Any] = parse_json(packed.decode("utf-8"))
        stamp = facts.pop("stamp", {})
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(
            f"the facts of the {kind.replace('_', ' ')} cannot be read", file=path, rule=in_a_line(error)
        ) from None
    if not isinstance(stamp, dict) or not all(isinstance(value, str) for value in stamp.values()):
        raise InputError("the stamp is not a list of names and texts", file=path, column="stamp")
    return table, facts, stamp
