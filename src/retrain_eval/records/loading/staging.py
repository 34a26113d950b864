"""Each delivered file checked row by row, as SQL generated from its schema, inside DuckDB.

A CSV file is read once, as text, into a temporary table of typed values; a row that breaks a rule carries the broken
rules with it. A Parquet file is checked where it lies: its columns are compared in their own types, and only rows that
look wrong are read as text, so that what is refused, and the words, do not depend on the kind of file.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import duckdb
import pandas as pd
from msgspec import structs

from retrain_eval.common.errors import InputError, unknown_columns
from retrain_eval.common.periods import BOUNDS, PLAIN
from retrain_eval.common.sources import sql_name, sql_text
from retrain_eval.common.sql import oddly_written_sql
from retrain_eval.common.text.missing_values import is_missing_sql
from retrain_eval.common.text.raw_file import RawFile
from retrain_eval.common.withholding import WITHHELD, withhold_header, withhold_sql
from retrain_eval.records.layouts.delivery import LayoutDelivery
from retrain_eval.records.schema.dictionary import Check, Reading, checks, typed
from retrain_eval.records.schema.resource import Resource
from retrain_eval.records.schema.table_schema import Field

SCRATCH = "ingest_"  # how the names of the temporary tables begin
REFUSED = f"temp.{SCRATCH}refused"
REPEATED = f"temp.{SCRATCH}repeated"  # exact duplicates of an earlier row of the file: they are one row
_RAGGED = 0  # the rule that comes before those of the schema: nothing else can be said of such a row
# types of Parquet columns that say the same as their text would, by type of field; other columns are read as text
_NATIVE = {
    "integer": r"U?(TINY|SMALL)INT|U?INTEGER|BIGINT|DECIMAL\((\d|1[0-5]),\d+\)",
    "number": r"U?(TINY|SMALL)INT|U?INTEGER|BIGINT|DECIMAL\((\d|1[0-5]),\d+\)|DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
}


# markers such as "-99", "1999-01-01" and "true": a matter of how a value is written, which its text shows
_PLAIN_VALUE = re.compile(r"\d|true|false", re.IGNORECASE)


@dataclass(frozen=True)
class Staged:
    """A checked file: where its typed rows are, and which rows broke a rule.

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
        """Return SQL for the rows that no rule refuses, each once: ``hidden`` columns, then the declared ones."""
        columns = ", ".join([*hidden, _list(self.resource.columns)])
        refused = f"SELECT record FROM {REFUSED} WHERE staged = {self.number}"
        repeated = f"SELECT record FROM {REPEATED} WHERE staged = {self.number}"
        return f"SELECT {columns} FROM {self.table} s WHERE _record NOT IN ({refused} UNION ALL {repeated})"


def begin(con: duckdb.DuckDBPyConnection) -> None:
    """Make empty temporary tables of refusals and of repeated rows."""
    con.execute(f"CREATE OR REPLACE TEMP TABLE {REPEATED} (staged INTEGER NOT NULL, record BIGINT NOT NULL)")
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {REFUSED} (staged INTEGER NOT NULL, file VARCHAR NOT NULL, "
        'record BIGINT NOT NULL, line BIGINT, "column" VARCHAR, value VARCHAR, rule VARCHAR NOT NULL, '
        "message VARCHAR NOT NULL)"
    )


def stage(
    con: duckdb.DuckDBPyConnection, resource: Resource, raw: RawFile, *, number: int, update: bool, reading: Reading
) -> Staged:
    """Note every value of a file, whose header has been checked (`header_fault`), that breaks a rule of its row.

    Raises
    ------
    InputError
        If the file cannot be read to its end.
    """
    rules = checks(resource, reading)
    if isinstance(raw, LayoutDelivery):  # its identifiers are hashed already
        rules = raw.checks(resource, rules)
        reading = replace(reading, hashed=False)
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
            native = _native(resource, raw, reading)
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
        raise raw.parse_error(error) or error from None  # the engine quotes the line
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
    columns = []
    for name in resource.columns:
        column, markers = sql_name(name), resource.missing(name)
        value = f"CASE WHEN {is_missing_sql(column, markers, trimmed=False)} THEN NULL ELSE {column} END"
        if name not in raw.columns:
            value = "NULL::VARCHAR"
        elif name in native:
            is_nan = "nan" in markers and raw.types[raw.columns.index(name)] == "DOUBLE"
            value = f"nullif({column}, 'nan'::DOUBLE)" if is_nan else column
        elif resource.required(name):
            columns.append(f"{column} AS {_written(name)}")
        columns.append(f"{value} AS {column}")
    columns += map(sql_name, raw.hidden)
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
        f"CASE WHEN {check.condition} THEN {{'rule': {place}, 'value': {_shown(check)}}} END"
        for place, check in enumerate(rules, start=1)
    ]
    any_broken = " OR ".join(["false", *(f"({check.condition})" for check in rules)])
    return (
        f"CASE WHEN _ragged THEN [{{'rule': {_RAGGED}, 'value': NULL}}] "
        f"WHEN {any_broken} THEN list_filter([{', '.join(each)}], lambda one: one IS NOT NULL) END"
    )


def _written(name: str) -> str:
    """Return the column of `_texts` with what stands in the file for a value that must not be missing."""
    return sql_name(f"_written_{name}")


def _shown(check: Check) -> str:
    """Return SQL for the value that breaks a rule: of one that is missing, the text that says so."""
    return f"nullif({_written(check.column)}, '')" if check.rule == "required" else check.value


def _native(resource: Resource, raw: RawFile, reading: Reading) -> set[str]:
    """Return the columns of a Parquet file that need not be read as text.

    Periods that may be months are read as text, because the number 201903 is one.
    """
    found = set()
    for name, kind in zip(raw.columns, raw.types, strict=True):
        field = resource.field(name)
        if field.format == "period" and reading.frequency in (None, "month"):
            continue
        if any(map(_PLAIN_VALUE.search, resource.missing(name))):
            continue
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
        column = sql_name(check.column)
        if check.column in native and resource.field(check.column).type == "date" and check.rule == "type":
            conditions.append(f"NOT isfinite({column})")  # the rule itself is about text
        elif check.column in native:
            conditions.append(check.condition.replace(oddly_written_sql(column), "false"))  # so is this part of rules
        else:
            conditions.append(check.condition)
    return " OR ".join(f"({condition})" for condition in conditions)


def _plain(field: Field, reading: Reading) -> Field:
    """Return a field as a column of its own type has to meet it."""
    limits = field.constraints
    if field.format == "period":
        low, high = map(float, BOUNDS[reading.frequency or PLAIN])
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
            (_RAGGED, None, "fields", raw.ragged_rule, False),
            *((at, check.column, check.rule, check.message, check.number) for at, check in enumerate(rules, start=1)),
        ],
        columns=["place", "column", "rule", "message", "number"],
    )
    value = f"CASE WHEN d.number THEN {withhold_sql('one.value', number=True)} ELSE {withhold_sql('one.value')} END"
    con.register("described", described)
    con.execute(
        f"""
        INSERT INTO {REFUSED}
        SELECT {number}, {sql_text(raw.path.name)}, _record, NULL,
            d."column", {value}, d.rule, d.message
        FROM (SELECT _record, unnest(_broken) AS one FROM {broken} WHERE _broken IS NOT NULL)
        JOIN described d ON d.place = one.rule
        """
    )
    con.unregister("described")


def header_fault(resource: Resource, raw: RawFile) -> InputError | None:
    """Return what is wrong with a file's header: all columns that are not declared, all that are missing; or None."""
    columns = withhold_header(raw.columns, resource.columns)  # without a header, a file begins with a person's data
    strange = [name for name in columns if name not in resource.columns]
    odd = any(not re.fullmatch(r"[\w .()/%-]{1,64}", name) for name in columns)
    if odd and len(strange) == len(columns) and WITHHELD not in columns:  # another file: nothing of it is shown
        packed = len(columns) == 1 and any(mark in columns[0] for mark in ";\t|")
        hint = "the fields seem not to be separated by commas: save the file as comma-separated; " if packed else ""
        return InputError(
            f"the first line of the file does not name any column of {resource.name}",
            file=raw.path, row=1, rule=f"a header; this line has {len(columns)} field{'s' * (len(columns) > 1)}",
            fix=f"{hint}known: {', '.join(resource.columns)}",
        )  # fmt: skip
    whole = resource.fields_match != "superset"
    absent = [name for name in resource.columns if (whole or resource.required(name)) and name not in raw.columns]
    faults, rule, fix = [], "required", f"the file has: {', '.join(columns)}"
    if strange:
        error = unknown_columns(strange, resource.columns, kind=f"column of {resource.name}")
        faults.append(str(error).splitlines()[0])
        rule, fix = "header", str(error.fix)
        if len(columns) == 1 and any(mark in columns[0] for mark in ";\t|"):
            fix = "the fields seem not to be separated by commas: save the file as comma-separated"
        elif WITHHELD in columns:
            fix = f"the first line holds values: is it a header? the columns are {', '.join(resource.columns)}"
    if absent:
        several = len(absent) > 1
        names = f"column{'s' if several else ''} {', '.join(map(repr, absent))} of {resource.name}"
        faults.append(f"{names} {'are' if several else 'is'} missing")
    if not faults and resource.fields_match == "exact" and list(raw.columns) != resource.columns:
        faults.append(f"the columns of {resource.name} stand in another order than in its schema")
        rule, fix = "fieldsMatch: exact", f"order them: {', '.join(resource.columns)}; or say fieldsMatch: superset"
    if not faults:
        return None
    return InputError(
        "; ".join(faults),
        file=raw.path,
        row=1,
        column=", ".join(dict.fromkeys(strange or absent or columns)),
        rule=rule,
        fix=fix,
    )


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(sql_name, names))
