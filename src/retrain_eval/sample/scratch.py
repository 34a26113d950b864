"""Tables of a sample on the connection of its source, and the hashes that identify a sample."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retrain_eval.common.arrays import Floats
from retrain_eval.common.sources import query, sql_name
from retrain_eval.common.sql import scratch_name
from retrain_eval.sample.units import BATCH


def pairs_hash(treated: pa.ChunkedArray, control: pa.ChunkedArray) -> str:
    """Return the SHA-256 of the pairs, one line each."""
    return _lines_hash(treated, control)


def weights_hash(ids: pa.ChunkedArray, weight: Floats) -> str:
    """Return the SHA-256 of the lines ``id <TAB> weight``, weights to 12 significant digits."""
    digits = 10.0 ** (11 - np.floor(np.log10(np.where(weight > 0, weight, 1.0))))
    return _lines_hash(ids, pa.chunked_array([np.rint(weight * digits) / digits]))


def _lines_hash(left: pa.ChunkedArray, right: pa.ChunkedArray) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(left), BATCH):
        first, second = (column.slice(start, BATCH).cast(pa.string()) for column in (left, right))
        lines = pc.binary_join_element_wise(first, second, "\t").to_pylist()
        digest.update("".join([f"{line}\n" for line in lines]).encode())
    return digest.hexdigest()


def store_table(relation: duckdb.DuckDBPyRelation, columns: Mapping[str, object], name: str) -> None:
    """Store a small temporary table on the connection of the source, its rows numbered in ``_row``."""
    retrain_eval_rows = pa.table(dict(columns))
    numbered = pa.array(np.arange(retrain_eval_rows.num_rows))
    retrain_eval_rows = retrain_eval_rows.append_column("_row", numbered)  # DuckDB reads this variable by its name
    relation.query("source", f"CREATE TEMP TABLE {name} AS SELECT * FROM retrain_eval_rows")


def keep_table(relation: duckdb.DuckDBPyRelation, columns: Mapping[str, object], what: str) -> duckdb.DuckDBPyRelation:
    """Store a small table on the connection of the source, and return it in row order."""
    name = scratch_name(f"match_{what}")
    store_table(relation, columns, name)
    listed = ", ".join(sql_name(column) for column in columns)
    return query(relation, f"SELECT {listed} FROM {name} ORDER BY _row ASC")
