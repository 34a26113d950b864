"""Validation of delivered files as SQL generated from their schemas, inside DuckDB.

A CSV file is read once, as text, into a temporary table of typed values; a row that breaks a rule carries the broken
rules with it. A Parquet file is checked where it lies: its columns are compared in their own types, and only rows that
look wrong are read as text, so that what is refused, and the words, do not depend on the kind of file. Rules over
several rows (keys) follow as set operations. Nothing here writes to the store.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pandas as pd
from msgspec import structs

from retrain_eval.errors import InputError, unknown
from retrain_eval.identifiers import withhold, withhold_sql
from retrain_eval.periods import BOUNDS
from retrain_eval.rawfile import RawFile
from retrain_eval.schemas import Check, Reading, checks, typed
from retrain_eval.sources import sql_name, sql_text
from retrain_eval.table_schema import Field, ForeignKey, Resource

SCRATCH = "ingest_"  # how the names of the temporary tables begin
REFUSED = f"temp.{SCRATCH}refused"
_SHOWN = 5
_RAGGED = 0  # the rule that comes before those of the schema: nothing else can be said of such a row
_NOT_RAGGED = "NOT s._ragged"
# types of Parquet columns that say the same as their text would, by type of field; other columns are read as text
_NATIVE = {
    "integer": r"U?(TINY|SMALL)INT|U?INTEGER|BIGINT|DECIMAL\((\d|1[0-5]),\d+\)",
    "number": r"U?(TINY|SMALL)INT|U?INTEGER|BIGINT|DECIMAL\((\d|1[0-5]),\d+\)|DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
}


@dataclass(frozen=True)
class Staged:
    """A checked file: where its typed rows are, beside what broke a rule.

    Attributes
    ----------
    table : str
        SQL after FROM: ``_record``, ``_ragged`` and the resource's columns; a temporary table or the file itself.
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
        return f"SELECT {columns} FROM {self.table} s WHERE _record NOT IN ({refused})"


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
    """Note every value of a file that breaks a rule of its row.

    Raises
    ------
    InputError
        If a column is not declared, a required one is missing, or the file cannot be read to its end.
    """
    _check_header(resource, raw)
    rules = checks(resource, reading)
    try:
        if raw.delimiter or reading.hashed:  # a hash is dear: it is made once
            table = f"temp.{sql_name(f'{SCRATCH}staged_{number}')}"
            con.execute(
                f"CREATE OR REPLACE TEMP TABLE {table} AS "
                f"SELECT _record, _ragged, {_values(resource, reading)}, {_broken(rules)} AS _broken "
                f"FROM ({_texts(resource, raw)})"
            )
            _enter_broken(con, table, number, raw, rules)
            found = con.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
        else:
            native = _native(resource, raw)
            texts = f"({_texts(resource, raw, native)})"
            table = f"(SELECT _record, _ragged, {_values(resource, reading, native)} FROM {texts})"
            suspects = f"temp.{sql_name(f'{SCRATCH}suspect')}"
            con.execute(
                f"CREATE OR REPLACE TEMP TABLE {suspects} AS SELECT _record FROM {texts} "
                f"WHERE {_suspect(resource, reading, native)}"
            )
            if con.execute(f"SELECT count(*) FROM {suspects}").fetchall() != [(0,)]:
                rows = f"FROM ({_texts(resource, raw)}) SEMI JOIN {suspects} USING (_record)"
                _enter_broken(con, f"(SELECT _record, {_broken(rules)} AS _broken {rows})", number, raw, rules)
            found = raw.rows
    except duckdb.Error as error:
        raise raw.parse_error(error) or error from error
    raw.check_unchanged()
    if found != raw.rows:
        raise InputError(
            f"the file has {raw.rows} rows by its line breaks and {found} by its quotes",
            file=raw.path,
            rule='a value that holds a quote is quoted: "so ""called"" value"',
        )
    return Staged(resource, raw, table, number, update, reading)


def _texts(resource: Resource, raw: RawFile, native: Collection[str] = ()) -> str:
    """Return SQL for the columns of the record type as the file has them: text, but for ``native`` columns."""
    missing = ", ".join(map(sql_text, resource.missing_values))
    columns = [
        f"NULL::VARCHAR AS {sql_name(name)}"
        if name not in raw.columns
        else sql_name(name)
        if name in native
        else f"CASE WHEN {sql_name(name)} NOT IN ({missing}) THEN {sql_name(name)} END AS {sql_name(name)}"
        for name in resource.columns
    ]
    return f"SELECT _record, _ragged, {', '.join(columns)} FROM ({raw.sql(native)})"


def _values(resource: Resource, reading: Reading, native: Collection[str] = ()) -> str:
    """Return the typed columns, to be read from `_texts`."""
    return ", ".join(
        f"TRY_CAST({sql_name(field.name)} AS {field.sql_type}) AS {sql_name(field.name)}"
        if field.name in native
        else f"{typed(field, reading)} AS {sql_name(field.name)}"
        for field in resource.fields
    )


def _broken(rules: Sequence[Check]) -> str:
    """Return SQL for the list of rules that a row of `_texts` breaks, each with the value; NULL if there are none."""
    each = ["NULL::STRUCT(rule INTEGER, value VARCHAR)"]
    each += [
        f"CASE WHEN {check.condition} THEN {{'rule': {place}, 'value': {check.value}}} END"
        for place, check in enumerate(rules, start=1)
    ]
    any_broken = " OR ".join(["false", *(f"({check.condition})" for check in rules)])
    return (
        f"CASE WHEN _ragged THEN [{{'rule': {_RAGGED}, 'value': NULL}}] "
        f"WHEN {any_broken} THEN list_filter([{', '.join(each)}], lambda one: one IS NOT NULL) END"
    )


def _native(resource: Resource, raw: RawFile) -> set[str]:
    """Return the columns of a Parquet file that need not be read as text."""
    if any(resource.missing_values):  # such as "-99": a matter of how a number is written
        return set()
    found = set()
    for name, kind in zip(raw.columns, raw.types, strict=True):
        field = resource.field(name)
        known = re.fullmatch(_NATIVE.get(field.type, ""), kind)
        if known and (kind != "BOOLEAN" or ("true" in field.true_values and "false" in field.false_values)):
            found.add(name)
    return found


def _suspect(resource: Resource, reading: Reading, native: Collection[str]) -> str:
    """Return the condition that a row of `_texts` may break a rule; it holds for every row that does.

    The rules are those of the same columns declared more plainly: periods as whole numbers within bounds.
    """
    fields = tuple(_plain(field, reading) if field.name in native else field for field in resource.fields)
    conditions = ["false"]
    for check in checks(replace(resource, fields=fields), reading):
        if check.column in native and resource.field(check.column).type == "date" and check.rule == "type":
            conditions.append(f"NOT isfinite({sql_name(check.column)})")  # the rule itself is about text
        else:
            conditions.append(check.condition)
    return " OR ".join(f"({condition})" for condition in conditions)


def _plain(field: Field, reading: Reading) -> Field:
    """Return a field as a column of its own type has to meet it."""
    limits = field.constraints
    if field.format == "period" and reading.frequency in BOUNDS:
        low, high = map(float, BOUNDS[reading.frequency])
        if isinstance(limits.minimum, float):
            low = max(low, limits.minimum)
        if isinstance(limits.maximum, float):
            high = min(high, limits.maximum)
        limits = structs.replace(limits, minimum=low, maximum=high)
    return structs.replace(field, format="default", constraints=limits, true_values=("true",), false_values=("false",))


def _enter_broken(
    con: duckdb.DuckDBPyConnection, broken: str, number: int, raw: RawFile, rules: Sequence[Check]
) -> None:
    """Write each broken rule of each row into the table of refusals."""
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
        FROM (SELECT _record, unnest(_broken) AS one FROM {broken} WHERE _broken IS NOT NULL)
        JOIN described d ON d.number = one.rule
        """
    )
    con.unregister("described")


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


def check_kept(
    con: duckdb.DuckDBPyConnection, resource: Resource, rows: str, targets: Mapping[str, str | None]
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
    """
    for key in resource.foreign_keys:
        name = key.reference.resource
        if name not in targets:
            continue
        [(count, example)] = con.execute(
            f"SELECT count(*), min(CAST(s.{sql_name(key.fields[0])} AS VARCHAR)) "
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
