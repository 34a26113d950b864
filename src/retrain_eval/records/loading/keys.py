"""Rules over several rows of staged files, as set operations inside DuckDB: keys, references, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from retrain_eval.common.errors import InputError
from retrain_eval.common.files import PRIVATE
from retrain_eval.common.periods import shown_sql
from retrain_eval.common.sources import sql_name, sql_text
from retrain_eval.common.text.csv_cells import guarded_sql
from retrain_eval.common.withholding import WITHHELD, withhold_sql
from retrain_eval.records.loading.staging import REFUSED, REPEATED, SCRATCH, Staged
from retrain_eval.records.schema.dictionary import Reading, withheld_fields
from retrain_eval.records.schema.resource import Resource
from retrain_eval.records.schema.table_schema import ForeignKey

_SHOWN = 5
_NOT_RAGGED = "NOT s._ragged"
_COLUMN = 'r."column"'


def check_unique(con: duckdb.DuckDBPyConnection, staged: Staged) -> None:
    """Refuse every row whose primary or unique key another row of the file has too; missing values are equal.

    Rows that are the same in every column are one row: the first is kept, the others are counted (`REPEATED`). Where
    rows with one key differ, which of them is right cannot be known, and all of them are refused.

    Keys of tens of millions of rows would not fit in memory: their 64-bit hashes do, and only rows whose hash
    is met twice are compared by the keys themselves.
    """
    resource = staged.resource
    for rule, key in [("primaryKey", resource.primary_key), *(("uniqueKeys", key) for key in resource.unique_keys)]:
        if not key:
            continue
        columns = _list(key)
        repeated = f"SELECT record FROM {REPEATED} WHERE staged = {staged.number}"
        whole = f"{whole_key(resource, key)} AND s._record NOT IN ({repeated})"
        hashed = f"hash({columns})"
        twice = f"{SCRATCH}twice"
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE {twice} AS SELECT {hashed} AS h FROM {staged.table} s WHERE {whole} "
            "GROUP BY h HAVING count(*) > 1"
        )
        if con.execute(f"SELECT count(*) FROM {twice}").fetchall() == [(0,)]:
            continue
        suspects = f"SELECT * FROM {staged.table} s SEMI JOIN {twice} t ON {hashed} = t.h WHERE {whole}"
        broken = f"SELECT record FROM {REFUSED} WHERE staged = {staged.number}"
        con.execute(
            f"""
            INSERT INTO {REPEATED}
            SELECT {staged.number}, unnest(list_sort(records)[2:]) FROM (
              SELECT list(_record) AS records FROM ({suspects}) GROUP BY {columns}
              HAVING count(*) > 1 AND count(DISTINCT row({_list(resource.columns)})) = 1
                AND NOT bool_or(_record IN ({broken})))
            """
        )
        _refuse(
            con,
            staged,
            key,
            rule,
            "must be unique",
            f"JOIN (SELECT {columns} FROM ({suspects}) s WHERE {whole} GROUP BY ALL HAVING count(*) > 1) r "
            f"ON {same_key(key, 's', 'r')} WHERE {whole}",
        )


def check_reference(con: duckdb.DuckDBPyConnection, staged: Staged, key: ForeignKey, target: str | None) -> None:
    """Refuse rows that refer to what does not exist among the rows of ``target``, a SQL query (None: no rows)."""
    _refuse(
        con,
        staged,
        key.fields,
        "foreignKeys",
        f"must exist in {key.reference.resource}",
        _orphans(key, target),
    )


def check_kept(
    con: duckdb.DuckDBPyConnection,
    resource: Resource,
    rows: str,
    targets: Mapping[str, str | None],
    reading: Reading,
) -> None:
    """Raise ``InputError`` if rows in the store would refer to rows that a load takes away.

    Parameters
    ----------
    con : DuckDBPyConnection
        The store.
    resource : Resource
        A record type.
    rows : str
        SQL for its rows in the store that stay as they are.
    targets : mapping
        By record type that is loaded: SQL for its rows after the load.
    reading : Reading
        How files are read.
    """
    for key in resource.foreign_keys:
        name = key.reference.resource
        if name not in targets:
            continue
        [(count, example)] = con.execute(
            f"SELECT count(*), min({shown_key(resource, key.fields, 's', reading)}) "
            f"FROM ({rows}) s {_orphans(key, targets[name])}"
        ).fetchall()
        if count:
            raise InputError(
                f"{count:,} rows of {resource.name} in the store refer to a {name} that the new file lacks",
                column=", ".join(key.fields),
                value=example,
                rule="foreignKeys",
                fix=f"load {name} and {resource.name} together",
            )


def check_order(tied: Sequence[Staged], con: duckdb.DuckDBPyConnection) -> None:
    """Raise ``InputError`` if files whose names leave their order open have different rows with one key."""
    resource = tied[0].resource if tied else None
    key = resource and (resource.primary_key or (resource.unique_keys[0] if resource.unique_keys else ()))
    if resource is None or not key:
        return
    rows = " UNION ALL ".join(
        f"SELECT {number} AS _file, {_list(resource.columns)} FROM {one.table} s WHERE {whole_key(resource, key)}"
        for number, one in enumerate(tied)
    )
    shown = shown_key(resource, key, "s", tied[0].reading)
    found = con.execute(
        f"SELECT {shown}, min(_file), max(_file) FROM ({rows}) s GROUP BY {_list(key)} "
        f"HAVING min(_file) < max(_file) AND count(DISTINCT row({_list(resource.columns)})) > 1 ORDER BY ALL LIMIT 1"
    ).fetchall()
    for value, first, last in found:
        names = [tied[number].raw.path.name for number in (first, last)]
        raise InputError(
            f"which of {names[0]} and {names[1]} is the later delivery is not clear, and both have a row of "
            f"{resource.name} with this key",
            column=", ".join(key),
            value=value,
            rule="of new files the numbers in their names decide, then the shorter name comes first",
            fix=f'list all files in their order in study.toml: {resource.name} = ["first.csv", "second.csv"]',
        )


def find_lines(con: duckdb.DuckDBPyConnection, staged: Sequence[Staged]) -> None:
    """Fill in the line of the file on which each refused row starts."""
    for one in staged:
        mine = f"staged = {one.number}"
        found = con.execute(f"SELECT DISTINCT record FROM {REFUSED} WHERE {mine} ORDER BY record").fetchall()
        records = np.array(found, dtype=np.int64).ravel()
        if len(records):
            con.register("places", pd.DataFrame({"record": records, "line": one.raw.lines(records)}))
            con.execute(f"UPDATE {REFUSED} r SET line = p.line FROM places p WHERE r.record = p.record AND {mine}")
            con.unregister("places")


def write_refusals(con: duckdb.DuckDBPyConnection, staged: Sequence[Staged], target: Path) -> bool:
    """Write every refused row to a CSV file, one line per rule that a row broke; return whether it could be written.

    Columns: ``resource, file, line, column, value, rule, message``. Identifiers and free text are withheld: the line
    says where they are. If nothing was refused, the list of an earlier attempt is removed.
    """
    try:
        if con.execute(f"SELECT count(*) FROM {REFUSED}").fetchall() == [(0,)]:
            target.unlink(missing_ok=True)
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        names = ", ".join(f"({one.number}, {sql_text(one.resource.name)})" for one in staged)
        work = target.with_name(f".{target.name}.new")
        work.unlink(missing_ok=True)
        work.touch(mode=PRIVATE[1])
        con.execute(
            f'COPY (SELECT n.resource, {guarded_sql("r.file")} AS file, r.line, {guarded_sql(_COLUMN)} AS "column", '
            f"{guarded_sql('r.value')} AS value, r.rule, {guarded_sql('r.message')} AS message FROM {REFUSED} r "
            f"JOIN (VALUES {names}) n(staged, resource) USING (staged) "
            f'ORDER BY r.staged, r.line, r."column", r.rule) '
            f"TO {sql_text(str(work))} (FORMAT csv, HEADER, USE_TMP_FILE false)"
        )
        work.replace(target)
    except (OSError, duckdb.IOException):  # a folder that is only read; the refusal itself is more important
        return False
    return True


def refusal(
    con: duckdb.DuckDBPyConnection, staged: Sequence[Staged], refused: Mapping[int, int], listed: str
) -> InputError:
    """Return the error that says on one screen which rows were refused and why; ``listed`` is where all of them are."""
    counts = con.execute(f"SELECT file, rule, count(*) FROM {REFUSED} GROUP BY ALL ORDER BY ALL").fetchall()
    first = con.execute(
        f'SELECT file, line, "column", value, rule, message FROM {REFUSED} '
        f'ORDER BY staged, line, "column" LIMIT {_SHOWN}'
    ).fetchall()
    rows = [f"{refused.get(one.number, 0):,} of {one.raw.rows:,} rows of {one.raw.path}" for one in staged]
    rows = [text for text in rows if not text.startswith("0 ")]
    lines = [f"{'; '.join(rows)} refused, nothing was loaded", "", "  by rule:"]
    lines += [f"    {file}  {rule}: {count:,}" for file, rule, count in counts]
    lines += ["", f"  the first {len(first)}:" if len(first) > 1 else "  it is:"]
    lines += [
        f"    {file} line {line}: {_place(column, value)}{message} ({rule})"
        for file, line, column, value, rule, message in first
    ]
    file, line, column, value, rule, _ = first[0]
    error = InputError("\n".join([*lines, ""]), fix=f"correct the file; {listed}")
    error.file, error.row, error.column, error.value, error.rule = file, line, column, value, rule
    return error


def _refuse(
    con: duckdb.DuckDBPyConnection, staged: Staged, key: Sequence[str], rule: str, message: str, which: str
) -> None:
    shown = shown_key(staged.resource, key, "s", staged.reading)
    con.execute(
        f"""
        INSERT INTO {REFUSED}
        SELECT {staged.number}, {sql_text(staged.raw.path.name)}, s._record, NULL,
            {sql_text(", ".join(key))}, {shown}, {sql_text(rule)}, {sql_text(message)}
        FROM {staged.table} s {which} AND {_NOT_RAGGED}
        """
    )


def shown_key(resource: Resource, key: Sequence[str], table: str, reading: Reading) -> str:
    """Return SQL for a key as messages and ``rejects`` hold it: ``person_id=(withheld), period=2019Q1``.

    Only the value if the key is one column. Periods are written as in files. Missing values are marked as missing, and
    whatever could identify a person is withheld, hashed or not: the line says where to look.
    """
    parts, secret = [], withheld_fields(resource)
    for name in key:
        field, column = resource.field(name), f"{table}.{sql_name(name)}"
        if field.format == "period":
            text = withhold_sql(shown_sql(column, reading.frequency))
        elif name in secret:
            text = f"CASE WHEN {column} IS NOT NULL THEN {sql_text(WITHHELD)} END"
        else:
            text = withhold_sql(f"CAST({column} AS VARCHAR)")
        label = f"{sql_text(name + '=')} || " if len(key) > 1 else ""
        parts.append(f"{label}coalesce({text}, '(missing)')")
    return f"concat_ws(', ', {', '.join(parts)})"


def _orphans(key: ForeignKey, target: str | None) -> str:
    """Return the join that keeps the rows of ``s`` whose key is whole and not among those of ``target``."""
    present = " AND ".join(f"s.{sql_name(name)} IS NOT NULL" for name in key.fields)
    if target is None:
        return f"WHERE {present}"
    pairs = zip(key.fields, key.reference.fields, strict=True)
    same = " AND ".join(f"s.{sql_name(mine)} = r.{sql_name(theirs)}" for mine, theirs in pairs)
    return f"ANTI JOIN (SELECT {_list(key.reference.fields)} FROM ({target})) r ON {same} WHERE {present}"


def same_key(key: Sequence[str], one: str, other: str) -> str:
    """Return the condition that two rows have one key, missing values being equal."""
    return " AND ".join(f"{one}.{sql_name(name)} IS NOT DISTINCT FROM {other}.{sql_name(name)}" for name in key)


def whole_key(resource: Resource, key: Sequence[str]) -> str:
    """Return the condition that the key could be read: a value of it that is required is there."""
    needed = [f"s.{sql_name(name)} IS NOT NULL" for name in key if resource.required(name)]
    return " AND ".join([*needed, _NOT_RAGGED])


def _place(column: str | None, value: str | None) -> str:
    """Return where in its row a fault is: the column and its value, or each column of a key with its own."""
    if value is not None and column is not None and value.startswith(column.split(", ")[0] + "="):
        return f"{value} "
    shown = "" if value is None else repr(value if len(value) <= 40 else value[:37] + "...")
    return f"{column} {shown} " if column else shown


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(sql_name, names))
