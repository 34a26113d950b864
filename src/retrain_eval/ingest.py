"""Validation of delivered files as SQL generated from their schemas, inside DuckDB.

Each file is read once, as text, into a temporary table of typed values; a row that breaks a rule carries the
broken rules with it. Rules over several rows (keys) follow as set operations. Nothing here writes to the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd

from retrain_eval.errors import InputError, unknown
from retrain_eval.identifiers import withhold, withhold_sql
from retrain_eval.rawfile import RawFile
from retrain_eval.schemas import Reading, checks, typed
from retrain_eval.sources import sql_name, sql_text
from retrain_eval.table_schema import ForeignKey, Resource

SCRATCH = "ingest_"  # how the names of the temporary tables begin
REFUSED = f"temp.{SCRATCH}refused"
_SHOWN = 5
_RAGGED = 0  # the rule that comes before those of the schema: nothing else can be said of such a row
_NOT_RAGGED = f"(s._broken IS NULL OR s._broken[1].rule <> {_RAGGED})"


@dataclass(frozen=True)
class Staged:
    """A file whose typed rows lie in a temporary table, beside what broke a rule.

    Attributes
    ----------
    table : str
        Temporary table: ``_record``, the resource's columns, ``_broken`` (rule and value of each broken rule).
    number : int
        Of the file within the load, from 0; ``staged`` in the table of refusals.
    update : bool
        Whether the rows come on top of those in the store, or in their place.
    reading : Reading
        How the file was read.
    """

    resource: Resource
    raw: RawFile
    table: str
    number: int
    update: bool
    reading: Reading

    def rows(self, *hidden: str) -> str:
        """Return SQL for the rows that no rule refuses: ``hidden`` columns, then those of the record type."""
        columns = ", ".join([*hidden, _list(self.resource.columns)])
        refused = f"SELECT record FROM {REFUSED} WHERE staged = {self.number}"
        return f"SELECT {columns} FROM {self.table} WHERE _broken IS NULL AND _record NOT IN ({refused})"


def begin(con: duckdb.DuckDBPyConnection) -> None:
    """Make an empty temporary table of refusals."""
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {REFUSED} (staged INTEGER NOT NULL, file VARCHAR NOT NULL, "
        'record BIGINT NOT NULL, line BIGINT, "column" VARCHAR, value VARCHAR, rule VARCHAR NOT NULL, '
        "message VARCHAR NOT NULL)"
    )


def stage(
    con: duckdb.DuckDBPyConnection, resource: Resource, raw: RawFile, *, number: int, update: bool, reading: Reading
) -> Staged:
    """Read a file into a temporary table and note every value that breaks a rule of its row.

    Raises
    ------
    InputError
        If a column is not declared, a required one is missing, or the file cannot be read to its end.
    """
    _check_header(resource, raw)
    staged = Staged(resource, raw, f"temp.{sql_name(f'{SCRATCH}staged_{number}')}", number, update, reading)
    rules = checks(resource, reading)
    missing = ", ".join(map(sql_text, resource.missing_values))
    texts = [
        f"CASE WHEN {sql_name(name)} NOT IN ({missing}) THEN {sql_name(name)} END AS {sql_name(name)}"
        if name in raw.columns
        else f"NULL::VARCHAR AS {sql_name(name)}"
        for name in resource.columns
    ]
    values = [f"{typed(field, reading)} AS {sql_name(field.name)}" for field in resource.fields]
    broken = ["NULL::STRUCT(rule INTEGER, value VARCHAR)"]
    broken += [
        f"CASE WHEN {check.condition} THEN {{'rule': {place}, 'value': {check.value}}} END"
        for place, check in enumerate(rules, start=1)
    ]
    any_broken = " OR ".join(["false", *(f"({check.condition})" for check in rules)])
    try:
        con.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE {staged.table} AS
            WITH source AS ({raw.sql()}),
            texts AS (SELECT _record, _ragged, {", ".join(texts)} FROM source)
            SELECT _record, {", ".join(values)},
                CASE WHEN _ragged THEN [{{'rule': {_RAGGED}, 'value': NULL}}]
                     WHEN {any_broken} THEN list_filter([{", ".join(broken)}], lambda one: one IS NOT NULL)
                END AS _broken
            FROM texts
            """
        )
    except duckdb.Error as error:
        raise raw.parse_error(error) or error from error
    raw.check_unchanged()
    found = con.execute(f"SELECT count(*) FROM {staged.table}").fetchall()[0][0]
    if found != raw.rows:
        raise InputError(
            f"the file has {raw.rows} rows by its line breaks and {found} by its quotes",
            file=raw.path,
            rule='a value that holds a quote is quoted: "so ""called"" value"',
        )
    described = pd.DataFrame(
        [
            (_RAGGED, None, "fields", f"the row must have {len(raw.columns)} fields, as the header has"),
            *((place, check.column, check.rule, check.message) for place, check in enumerate(rules, start=1)),
        ],
        columns=["number", "column", "rule", "message"],
    )
    con.register("described", described)
    con.execute(
        f"""
        INSERT INTO {REFUSED}
        SELECT {number}, {sql_text(raw.path.name)}, _record, NULL,
            d."column", one.value, d.rule, d.message
        FROM (SELECT _record, unnest(_broken) AS one FROM {staged.table} WHERE _broken IS NOT NULL)
        JOIN described d ON d.number = one.rule
        """
    )
    con.unregister("described")
    return staged


def check_unique(con: duckdb.DuckDBPyConnection, staged: Staged) -> None:
    """Refuse every row whose primary or unique key another row of the file has too; missing values are equal.

    Keys of tens of millions of rows would not fit in memory: their 64-bit hashes do, and only rows whose hash
    is met twice are compared by the keys themselves.
    """
    resource = staged.resource
    for rule, key in [("primaryKey", resource.primary_key), *(("uniqueKeys", key) for key in resource.unique_keys)]:
        if not key:
            continue
        columns, whole = _list(key), _whole_key(resource, key)
        hashed = f"hash({columns})"
        twice = f"{SCRATCH}twice"
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE {twice} AS SELECT {hashed} AS h FROM {staged.table} s WHERE {whole} "
            "GROUP BY h HAVING count(*) > 1"
        )
        if con.execute(f"SELECT count(*) FROM {twice}").fetchall() == [(0,)]:
            continue
        suspects = f"SELECT {columns} FROM {staged.table} s SEMI JOIN {twice} t ON {hashed} = t.h WHERE {whole}"
        _refuse(
            con,
            staged,
            key,
            rule,
            "must be unique",
            f"JOIN (SELECT {columns} FROM ({suspects}) GROUP BY ALL HAVING count(*) > 1) r "
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


def check_kept(con: duckdb.DuckDBPyConnection, resource: Resource, targets: Mapping[str, str | None]) -> None:
    """Raise ``InputError`` if rows in the store would refer to rows that a load takes away.

    Parameters
    ----------
    con : DuckDBPyConnection
        The store.
    resource : Resource
        A record type that stays as it is.
    targets : mapping
        By record type that is loaded: SQL for its rows after the load.
    """
    for key in resource.foreign_keys:
        name = key.reference.resource
        if name not in targets:
            continue
        [(count, example)] = con.execute(
            f"SELECT count(*), min(CAST(s.{sql_name(key.fields[0])} AS VARCHAR)) "
            f"FROM {sql_name(resource.name)} s {_orphans(key, targets[name])}"
        ).fetchall()
        if count:
            raise InputError(
                f"{count:,} rows of {resource.name} in the store refer to a {name} that the new file lacks",
                column=", ".join(key.fields),
                value=example,
                rule="foreignKeys",
                fix=f"load {name} and {resource.name} together",
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


def refusal(con: duckdb.DuckDBPyConnection, staged: Sequence[Staged], refused: Mapping[int, int]) -> InputError:
    """Return the error that says on one screen which rows were refused and why."""
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
        f"    {file} line {line}: {column + ' ' if column else ''}{_short(value)} {message} ({rule})"
        for file, line, column, value, rule, message in first
    ]
    file, line, column, value, rule, _ = first[0]
    error = InputError("\n".join([*lines, ""]), fix="mend the file; every refused row is listed in the table rejects")
    error.file, error.row, error.column, error.value, error.rule = file, line, column, value, rule
    return error


def _check_header(resource: Resource, raw: RawFile) -> None:
    for name in map(withhold, raw.columns):  # a file without a header begins with a person
        if name not in resource.columns:
            error = unknown(f"column of {resource.name}", name, resource.columns)
            fix = error.fix
            if len(raw.columns) == 1 and any(mark in name for mark in ";\t|"):
                fix = "the fields seem not to be separated by commas: save the file as comma-separated"
            raise InputError(str(error).splitlines()[0], file=raw.path, row=1, column=name, rule="header", fix=fix)
    for name in resource.columns:
        if resource.required(name) and name not in raw.columns:
            raise InputError(
                f"column {name!r} of {resource.name} is missing",
                file=raw.path,
                row=1,
                column=name,
                rule="required",
                fix=f"the file has: {', '.join(raw.columns)}",
            )


def _refuse(
    con: duckdb.DuckDBPyConnection, staged: Staged, key: Sequence[str], rule: str, message: str, which: str
) -> None:
    texts = [withhold_sql(f"CAST(s.{sql_name(name)} AS VARCHAR)") for name in key]
    shown = ", ".join(f"coalesce({text}, '(missing)')" for text in texts)
    con.execute(
        f"""
        INSERT INTO {REFUSED}
        SELECT {staged.number}, {sql_text(staged.raw.path.name)}, s._record, NULL,
            {sql_text(", ".join(key))}, concat_ws(', ', {shown}), {sql_text(rule)}, {sql_text(message)}
        FROM {staged.table} s {which} AND {_NOT_RAGGED}
        """
    )


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


def _whole_key(resource: Resource, key: Sequence[str]) -> str:
    """Return the condition that the key could be read: a value of it that is required is there."""
    needed = [f"s.{sql_name(name)} IS NOT NULL" for name in key if resource.required(name)]
    return " AND ".join([*needed, _NOT_RAGGED])


def _short(value: str | None) -> str:
    if value is None:
        return ""
    return repr(value if len(value) <= 40 else value[:37] + "...")


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(sql_name, names))
