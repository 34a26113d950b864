"""Where data comes from: a DuckDB relation, a pandas or Arrow table, or a CSV/Parquet path.

Everything downstream is SQL on a relation, so this is the only place that asks what the user handed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TypeAlias, cast

import duckdb
import pandas as pd
import pyarrow as pa

from retrain_eval.common.errors import InputError, unknown_columns
from retrain_eval.common.sql import connect
from retrain_eval.common.sql import sql_name as sql_name
from retrain_eval.common.sql import sql_text as sql_text
from retrain_eval.common.text.columns import Roles, fault, fault_sql, read_text, used
from retrain_eval.common.text.missing_values import MISSING_VALUES, is_missing_sql
from retrain_eval.common.text.raw_file import open_raw
from retrain_eval.common.withholding import rows_where, withhold_header

Source: TypeAlias = "duckdb.DuckDBPyRelation | pd.DataFrame | pa.Table | str | os.PathLike[str]"

Columns: TypeAlias = "str | Iterable[str | None] | None"

_SETTLED = "retrain_settled"  # alias of a relation whose missing values are NULL
_KEPT = f"SELECT getvariable('{_SETTLED}')"
_FILE = "retrain_file"  # variable of a connection that was made for one file: its path
_NUMBER_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
                 "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL")  # fmt: skip


def as_relation(
    source: Source,
    memory_limit: str | None = None,
    *,
    numbers: Columns = (),
    keys: Columns = (),
    covariates: Columns = (),
    codes: Columns = (),
) -> duckdb.DuckDBPyRelation:
    """Return the source as a DuckDB relation; run SQL on it with `query`.

    Texts that stand for a missing value (`retrain_eval.common.text.missing_values`) and NaN are NULL in it. The columns
    of a CSV file have the types that all of its rows allow (`retrain_eval.common.text.columns`).

    Parameters
    ----------
    source : DuckDBPyRelation, DataFrame, pyarrow.Table or path
        A relation keeps its own connection. Anything else is attached to a new in-memory database.
    memory_limit : str, optional
        DuckDB's bound for a new in-memory database, such as ``"4GB"``.
    numbers, keys, covariates, codes : str, None, or sequence of them
        Columns by what they are used as (`retrain_eval.common.text.columns.Roles`): text in which all values are
        numbers becomes numbers, and a value that its use does not allow is refused. Columns that do not exist are not
        looked at; `require_columns` refuses them.

    Raises
    ------
    InputError
        If the type or the file suffix is not known, the file does not exist, is not UTF-8 or not a table; or if a
        column does not hold what it is used as: file, line (row, where there is no file), column and value are named.

    Notes
    -----
    On the connection of a `Store` texts are not looked at again: there the schemas say what stands for a missing value.

    Examples
    --------
    >>> import pandas as pd
    >>> rel = as_relation(pd.DataFrame({"y": [1, 2, 3]}))
    >>> query(rel, "SELECT sum(y) FROM source").fetchall()
    [(6,)]
    """
    roles = Roles(used(numbers), used(keys), used(covariates), used(codes))
    if isinstance(source, duckdb.DuckDBPyRelation):
        return _settled(source, roles)
    con = connect()
    if isinstance(source, pd.DataFrame):  # a column of objects has the type that all rows allow, not a sample of them
        con.execute(f"SET pandas_analyze_sample = {max(len(source), 1)}")
    if memory_limit is not None:
        con.execute(f"SET memory_limit = {sql_text(memory_limit)}")
    if isinstance(source, pd.DataFrame):
        return _settled(con.from_df(source), roles)
    if isinstance(source, pa.Table):
        return _settled(con.from_arrow(source), roles)
    if isinstance(source, (str, os.PathLike)):
        raw = open_raw(os.fspath(source), hashed=False)
        con.execute(f"SET VARIABLE {_FILE} = {sql_text(str(raw.path))}")
        if raw.delimiter:
            return read_text(con, raw, roles).set_alias(f"{_SETTLED}_table")
        return _settled(con.sql(f"SELECT * FROM {raw.parquet()}"), roles)
    raise InputError(
        f"cannot read a {type(source).__name__} as data",
        fix="give a DuckDB relation, a pandas DataFrame, an Arrow table or a path",
    )


def keep_texts(con: duckdb.DuckDBPyConnection) -> None:
    """Let `as_relation` take texts on a connection as they are: what is missing there is NULL already."""
    con.execute(f"SET VARIABLE {_SETTLED} = true")


def missing_texts(con: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    """Return the texts that stand for a missing value in the tables of a connection; see `keep_texts`."""
    return () if con.execute(_KEPT).fetchall() == [(True,)] else MISSING_VALUES


def is_table(relation: duckdb.DuckDBPyRelation) -> bool:
    """Whether a relation is a table, which is cheap to read again; also with missing values made NULL."""
    return relation.type == "TABLE_RELATION" or relation.alias == f"{_SETTLED}_table"


def _settled(relation: duckdb.DuckDBPyRelation, roles: Roles) -> duckdb.DuckDBPyRelation:
    """Return the relation with NULL for NaN and for texts that stand for a missing value, and text as its roles ask."""
    kinds = dict(zip(relation.columns, map(str, relation.types), strict=True))
    settled = relation.alias.startswith(_SETTLED) or query(relation, _KEPT).fetchall() == [(True,)]
    changed = {}
    for name, kind in kinds.items() if not settled else ():
        if name in roles.codes:
            continue
        column = sql_name(name)
        if kind in ("FLOAT", "DOUBLE"):
            changed[name] = f"nullif({column}, 'nan'::{kind})"
        elif kind == "VARCHAR" or (kind.startswith("ENUM(") and any(sql_text(m) in kind for m in MISSING_VALUES)):
            text = column if kind == "VARCHAR" else f"CAST({column} AS VARCHAR)"
            changed[name] = f"CASE WHEN {is_missing_sql(text)} THEN NULL ELSE {column} END"
    texts = [name for name, kind in kinds.items() if kind == "VARCHAR"]
    for name in texts:
        column = sql_name(name)
        if name in roles.keys and name in changed:
            _refuse(relation, name, "marker")
        if name in roles.numbers:
            for kind in ("not_number", "huge"):
                _refuse(relation, name, kind)
            changed[name] = f"CAST({changed.get(name, column)} AS DOUBLE)"
    if not changed:
        return relation
    alias = f"{_SETTLED}_table" if is_table(relation) else _SETTLED
    selected = ", ".join(f"{changed.get(name, sql_name(name))} AS {sql_name(name)}" for name in kinds)
    return relation.project(selected).set_alias(alias)


def _refuse(relation: duckdb.DuckDBPyRelation, name: str, kind: str) -> None:
    """Raise ``InputError`` for the first value of a text column with a fault, if there is one."""
    column = sql_name(name)
    broken = fault_sql(kind, column)
    [(n, of)] = query(relation, f"SELECT count(*) FILTER ({broken}), count({column}) FROM source").fetchall()
    if not n:
        return
    numbered = f"SELECT row_number() OVER () AS place, {column} FROM source"
    first = query(relation, f"SELECT place, {column} FROM ({numbered}) WHERE {broken} ORDER BY place LIMIT 1")
    for place, value in first.fetchall():
        raise fault(kind, name, value, n=n, of=of, **(_place(relation, name, value) or {"row": place}))


def _place(relation: duckdb.DuckDBPyRelation, name: str, value: str) -> dict[str, object] | None:
    """Return the file and line of the first value like this in a column, if the relation was read from a file.

    A relation may be asked for more than once, and first without roles; so the connection knows the file.
    """
    for (path,) in query(relation, f"SELECT getvariable('{_FILE}')").fetchall():
        if path is None:
            return None
        try:
            raw = open_raw(path, hashed=False)
        except InputError:  # gone since it was read
            return None
        if name in raw.columns:
            like = f"SELECT _record FROM ({raw.sql()}) WHERE {sql_name(name)} = {sql_text(value)} ORDER BY 1 LIMIT 1"
            for (record,) in query(relation, like).fetchall():
                return {"file": raw.path, "row": raw.line(record)}
    return None


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
        raise unknown_columns(missing, withhold_header(have), defaults=defaults)


def numbers_among(relation: duckdb.DuckDBPyRelation, names: Iterable[str]) -> tuple[str, ...]:
    """Return those of the columns ``names`` whose type is a number."""
    kinds = dict(zip(relation.columns, (str(kind) for kind in relation.types), strict=True))
    return tuple(name for name in names if kinds[name].startswith(_NUMBER_TYPES))


def stated_levels(relation: duckdb.DuckDBPyRelation, columns: Iterable[str]) -> dict[str, list[str]]:
    """Return the levels, in their order, of the columns whose type states them: an ENUM, or a pandas Categorical.

    Levels in alphabetical order state nothing: pandas sorts those that it finds in a column.

    Examples
    --------
    >>> import pandas as pd
    >>> ages = pd.Categorical(["40 and over"], ["under 40", "40 and over"], ordered=True)
    >>> stated_levels(as_relation(pd.DataFrame({"age": ages, "sex": "f"})), ["age", "sex"])
    {'age': ['under 40', '40 and over']}
    """
    types = dict(zip(relation.columns, relation.types, strict=True))
    enums = {name: types[name] for name in columns if name in types and types[name].id == "enum"}
    values = {name: cast(list[str], dict(kind.children)["values"]) for name, kind in enums.items()}
    texts = {name: [str(level) for level in levels] for name, levels in values.items()}
    return {name: levels for name, levels in texts.items() if levels != sorted(levels)}


def refuse_broken_rows(
    relation: duckdb.DuckDBPyRelation, rules: Mapping[str, tuple[str, str]], *, order: str | None = None
) -> None:
    """Refuse rows that break a rule; the message says how many, and how to list them.

    Parameters
    ----------
    relation : DuckDBPyRelation
    rules : mapping of str to (str, str)
        Rule → column, and the SQL condition of rows that break it.
    order : str, optional
        SQL order in which the first such row is looked for, whose value is shown; None: no value.

    Raises
    ------
    InputError
        For the first rule that some row breaks.
    """
    counts = ", ".join(f"count(*) FILTER (WHERE {condition})" for _, condition in rules.values())
    broken = query(relation, f"SELECT {counts} FROM source").fetchall()[0]
    for (rule, (column, condition)), n_broken in zip(rules.items(), broken, strict=True):
        if n_broken:
            first = f"SELECT {sql_name(column)} FROM source WHERE {condition} ORDER BY {order} LIMIT 1"
            raise InputError(
                f"{n_broken} row(s) break a rule",
                row=rows_where(condition),
                column=column,
                value=None if order is None else query(relation, first).fetchall()[0][0],
                rule=rule,
                fix="correct or remove these rows",
            )
