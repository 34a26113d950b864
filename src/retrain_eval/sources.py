"""Where data comes from: a DuckDB relation, a pandas or Arrow table, or a CSV/Parquet path.

Everything downstream is SQL on a relation, so this is the only place that asks what the user handed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import duckdb
import pandas as pd
import pyarrow as pa

from retrain_eval.errors import InputError, unknown_columns

Source: TypeAlias = "duckdb.DuckDBPyRelation | pd.DataFrame | pa.Table | str | os.PathLike[str]"

_NUMBER_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
                 "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL")  # fmt: skip


def as_relation(source: Source, memory_limit: str | None = None) -> duckdb.DuckDBPyRelation:
    """Return the source as a DuckDB relation; run SQL on it with `query`.

    Parameters
    ----------
    source : DuckDBPyRelation, DataFrame, pyarrow.Table or path
        A relation keeps its own connection. Anything else is attached to a new in-memory database.
    memory_limit : str, optional
        DuckDB's bound for a new in-memory database, such as ``"4GB"``.

    Raises
    ------
    InputError
        If the type or the file suffix is not known, or the file does not exist.

    Examples
    --------
    >>> import pandas as pd
    >>> rel = as_relation(pd.DataFrame({"y": [1, 2, 3]}))
    >>> query(rel, "SELECT sum(y) FROM source").fetchall()
    [(6,)]
    """
    if isinstance(source, duckdb.DuckDBPyRelation):
        return source
    con = duckdb.connect()
    if memory_limit is not None:
        con.execute(f"SET memory_limit = {sql_text(memory_limit)}")
    if isinstance(source, pd.DataFrame):
        return con.from_df(source)
    if isinstance(source, pa.Table):
        return con.from_arrow(source)
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.exists():
            raise InputError("file not found", file=path, fix="give the path of an existing CSV or Parquet file")
        if path.suffix == ".parquet":
            return con.read_parquet(str(path))
        if path.suffix in {".csv", ".tsv"} or path.name.endswith(".csv.gz"):
            return con.read_csv(str(path))
        raise InputError("unknown file type", file=path, fix="use .csv, .csv.gz, .tsv or .parquet")
    raise InputError(
        f"cannot read a {type(source).__name__} as data",
        fix="give a DuckDB relation, a pandas DataFrame, an Arrow table or a path",
    )


def query(relation: duckdb.DuckDBPyRelation, sql: str) -> duckdb.DuckDBPyRelation:
    """Run SQL in which the relation is called ``source``, on the relation's own connection."""
    result = relation.query("source", sql)
    if result is None:  # a statement without a result, such as DROP TABLE
        return relation
    return result


def require_columns(
    relation: duckdb.DuckDBPyRelation, columns: Iterable[str], defaults: Mapping[str, str] | None = None
) -> None:
    """Raise ``InputError``, which names all of them, where the relation does not have some of ``columns``.

    ``defaults`` gives the parameter by column, for columns that the caller did not name: `unknown_columns`.
    """
    have = relation.columns
    missing = [column for column in columns if column not in have]
    if missing:
        raise unknown_columns(missing, have, defaults=defaults)


def numbers_among(relation: duckdb.DuckDBPyRelation, names: Iterable[str]) -> tuple[str, ...]:
    """Return those of the columns ``names`` whose type is a number."""
    kinds = dict(zip(relation.columns, (str(kind) for kind in relation.types), strict=True))
    return tuple(name for name in names if kinds[name].startswith(_NUMBER_TYPES))


def sql_name(name: str) -> str:
    """Quote an identifier for SQL."""
    return '"' + name.replace('"', '""') + '"'


def sql_text(value: str) -> str:
    """Quote a string literal for SQL."""
    return "'" + value.replace("'", "''") + "'"
