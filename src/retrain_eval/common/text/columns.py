"""What the columns of a file of text hold, decided over all of its rows; and what a use of a column does not allow.

A column is whole numbers (BIGINT) if every value is a whole number written without leading zeros and below 2^53;
numbers (DOUBLE) if every value is a number with a decimal point, and none of those without a point or exponent has a
leading zero or 2^53 and more; true or false (BOOLEAN) if every value is; and text otherwise. So identifiers such as
007 or 12345678901234567890 stay what they are. A missing value is of every type; one other text makes a column text.

The first rows suggest types, and all rows are read as them in one pass that stops at the first value that is not
clearly of its type; then the questions are asked of every value. What the first rows suggest decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb

from retrain_eval.common.errors import InputError
from retrain_eval.common.sql import oddly_written_sql, scratch_name, sql_name, sql_text
from retrain_eval.common.text.missing_values import MISSING_VALUES, is_missing_sql
from retrain_eval.common.text.raw_file import RawFile
from retrain_eval.common.withholding import WITHHELD, withhold

_EXACT = 2**53  # whole numbers below it are exact as floating-point numbers
_SAMPLE = 2_000
_SHOWN = 60
_QUESTIONS = ("values", "not_boolean", "not_whole", "not_number", "codes", "huge")
_UNCLEAR = "a value needs a closer look"
_CLEAR_NUMBER = r"-?(0|[1-9]\d{0,14})(\.\d+)?([eE][+-]?\d+)?"
_GROUPED = r"\s*[+-]?\d+([,'’_\x{00A0}\x{202F} ]\d+)+(\.\d+)?\s*"  # 1,5 or 1,234.5 or 1 234


@dataclass(frozen=True)
class Roles:
    """What columns are used as; other columns are not checked.

    Attributes
    ----------
    numbers : tuple of str
        Every value must be a number, or missing.
    keys : tuple of str
        Identifiers: no value may be missing, and what is no plain whole number stays as it is written.
    covariates : tuple of str
        Numbers or categories: not a mixture, which is a number column with a value that is none.
    codes : tuple of str
        What became of someone, where missing says something itself (not yet): only the empty text is missing.
    """

    numbers: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()

    def markers(self, name: str) -> tuple[str, ...]:
        """Return the texts that stand for a missing value of a column."""
        return ("",) if name in self.codes else MISSING_VALUES


def is_number_sql(text: str) -> str:
    """Return the SQL condition that a text is a number: digits, a point, an exponent; inf, but not nan.

    DuckDB would also read underscores between digits, and two signs.
    """
    number = f"TRY_CAST({text} AS DOUBLE)"
    return f"({number} IS NOT NULL AND NOT isnan({number}) AND NOT {oddly_written_sql(text)})"


def _broken(text: str, markers: Sequence[str] = MISSING_VALUES) -> dict[str, str]:
    """Return the SQL conditions of values that answer each question of `_QUESTIONS`."""
    there = f"{text} IS NOT NULL AND NOT {is_missing_sql(text, markers)}"
    whole = f"coalesce(CAST(TRY_CAST({text} AS BIGINT) AS VARCHAR) = trim({text}), false)"
    digits = rf"regexp_full_match({text}, '\s*[+-]?\d+\s*')"
    return {
        "values": there,
        "not_boolean": f"lower(trim({text})) NOT IN ('true', 'false') AND {there}",
        "not_whole": f"NOT {whole} AND {there}",
        "not_number": f"NOT {is_number_sql(text)} AND {there}",
        "codes": rf"regexp_matches({text}, '^\s*[+-]?0\d')",
        "huge": f"abs(TRY_CAST({text} AS DOUBLE)) >= {_EXACT} AND {digits}",
        "number": f"{is_number_sql(text)} AND {there}",
        "grouped": f"contains({text}, ',') AND regexp_full_match({text}, {sql_text(_GROUPED)})",
    }


def read_text(con: duckdb.DuckDBPyConnection, raw: RawFile, roles: Roles) -> duckdb.DuckDBPyRelation:
    """Return a CSV file as a relation with the types that all of its rows allow.

    Raises
    ------
    InputError
        If a row has other fields than the header, or a column does not hold what it is used as. The line and the
        value are named.
    """
    table = scratch_name("file")
    try:
        if not (raw.plain and len(raw.columns) > 1 and _read_clear(con, raw, roles, table)):
            _read_closely(con, raw, roles, table)
    except duckdb.Error as error:
        raise raw.row_error(con) or raw.parse_error(error) or error from None  # the engine quotes the line
    return con.table(table)


def _read_clear(con: duckdb.DuckDBPyConnection, raw: RawFile, roles: Roles, table: str) -> bool:
    """Make the table in one pass, if all rows are clearly of the types that the first ones suggest."""
    text = raw.fast_sql(("",) if any(name in roles.codes for name in raw.columns) else MISSING_VALUES)
    facts = _count(con, f"(FROM ({text}) LIMIT {_SAMPLE})", dict.fromkeys(raw.columns, _QUESTIONS), roles)
    kinds = {name: _kind(facts[name], name in roles.keys) for name in raw.columns}
    if any(not facts[name]["values"] or (name in roles.numbers and kinds[name] == "VARCHAR") for name in raw.columns):
        return False
    selected = ", ".join(f"{_clear(name, kinds[name], roles)} AS {sql_name(name)}" for name in raw.columns)
    try:
        found = con.execute(f"CREATE TEMP TABLE {table} AS SELECT {selected} FROM ({text})").fetchall()
    except duckdb.InvalidInputException as error:
        if _UNCLEAR in str(error):
            return False
        raise
    _check_count(raw, int(found[0][0]))
    return True


def _clear(name: str, kind: str, roles: Roles) -> str:
    """Return SQL for a value of a type that stops where the type or the use of the column needs a closer look."""
    text, stop = sql_name(name), f"error('{_UNCLEAR}')"
    null = stop if name in roles.keys else "NULL"
    if kind == "BIGINT":
        whole = f"TRY_CAST({text} AS BIGINT)"
        clear = f"CAST({whole} AS VARCHAR) = {text} AND {whole} BETWEEN {1 - _EXACT} AND {_EXACT - 1}"
        return f"CASE WHEN {text} IS NULL THEN {null} WHEN {clear} THEN {whole} ELSE {stop} END"
    if kind == "DOUBLE":
        clear = f"regexp_full_match({text}, '{_CLEAR_NUMBER}')"
        return f"CASE WHEN {text} IS NULL THEN {null} WHEN {clear} THEN CAST({text} AS DOUBLE) ELSE {stop} END"
    if kind == "BOOLEAN":
        return (
            f"CASE WHEN {text} IS NULL THEN {null} WHEN {text} IN ('true', 'True', 'TRUE') THEN true "
            f"WHEN {text} IN ('false', 'False', 'FALSE') THEN false ELSE {stop} END"
        )
    spaced = is_missing_sql(text, roles.markers(name))
    if not roles.codes:  # without spaces around them, they are NULL already
        spaced = f"(starts_with({text}, ' ') OR ends_with({text}, ' ')) AND {spaced}"
    odd = f"WHEN {is_number_sql(text)} OR contains({text}, ',') THEN {stop} " if name in roles.covariates else ""
    return f"CASE WHEN {text} IS NULL OR ({spaced}) THEN {null} {odd}ELSE {text} END"


def _read_closely(con: duckdb.DuckDBPyConnection, raw: RawFile, roles: Roles, table: str) -> None:
    """Make the table after every value has been asked what it is."""
    columns = ", ".join(map(sql_name, raw.columns))
    text = f"(SELECT _ragged, {columns} FROM ({raw.sql()}))"
    if (error := raw.row_error(con)) is not None:
        raise error
    kinds = _kinds(con, raw, text, roles)
    selected = ", ".join(f"{_typed(name, kinds[name], roles)} AS {sql_name(name)}" for name in raw.columns)
    con.execute(f"CREATE TEMP TABLE {table} AS SELECT {selected} FROM {text}")


def _check_count(raw: RawFile, rows: int) -> None:
    if rows != raw.rows:
        raise InputError(
            f"the file has {raw.rows} rows by its line breaks and {rows} by its quotes",
            file=raw.path,
            rule='a value that holds a quote is quoted: "so ""called"" value"',
        )


def _typed(name: str, kind: str, roles: Roles) -> str:
    column = sql_name(name)
    if kind == "VARCHAR":
        return f"CASE WHEN {is_missing_sql(column, roles.markers(name))} THEN NULL ELSE {column} END"
    if kind == "BOOLEAN":
        return f"CASE lower(trim({column})) WHEN 'true' THEN true WHEN 'false' THEN false END"
    return f"TRY_CAST({column} AS BIGINT)" if kind == "BIGINT" else f"nullif(TRY_CAST({column} AS DOUBLE), 'nan')"


def _kinds(con: duckdb.DuckDBPyConnection, raw: RawFile, text: str, roles: Roles) -> dict[str, str]:
    """Return the type of each column; refuse what the use of a column does not allow."""
    facts = _count(con, text, dict.fromkeys(raw.columns, (*_QUESTIONS, "number", "grouped")), roles)
    rows = int(con.execute(f"SELECT count(*) FROM {text}").fetchall()[0][0])
    _check_count(raw, rows)
    kinds = {name: _kind(facts[name], name in roles.keys) for name in raw.columns}
    for name in raw.columns:
        if name in roles.keys and facts[name]["values"] < rows:
            raise _refusal(con, raw, name, "missing")
        if name in roles.numbers and kinds[name] == "VARCHAR":
            kinds[name] = "DOUBLE"
            for kind in ("not_number", "huge"):
                if facts[name][kind]:
                    raise _refusal(con, raw, name, kind)
        if name in roles.covariates and kinds[name] == "VARCHAR":
            mixed = facts[name]["number"] and facts[name]["not_number"]
            if mixed or facts[name]["grouped"]:
                raise _refusal(con, raw, name, "mixed" if mixed else "grouped")
    return kinds


def _kind(facts: dict[str, int], key: bool) -> str:
    """Return the type that the answers allow."""
    if facts["values"] == 0:
        return "BIGINT"
    if facts["not_boolean"] == 0:
        return "BOOLEAN"
    if facts["not_whole"] == 0:
        return "VARCHAR" if facts["huge"] else "BIGINT"
    return "VARCHAR" if key or facts["not_number"] or facts["codes"] or facts["huge"] else "DOUBLE"


def _count(
    con: duckdb.DuckDBPyConnection, source: str, questions: dict[str, Sequence[str]], roles: Roles
) -> dict[str, dict[str, int]]:
    """Return, by column and question, the number of values that answer it."""
    asked = [(name, question) for name, each in questions.items() for question in each]
    sums = ", ".join(
        f"count(*) FILTER (WHERE {_broken(sql_name(name), roles.markers(name))[question]})" for name, question in asked
    )
    found = con.execute(f"SELECT {sums} FROM {source}").fetchall()[0]
    answers: dict[str, dict[str, int]] = {name: {} for name in questions}
    for (name, question), number in zip(asked, found, strict=True):
        answers[name][question] = int(number)
    return answers


_FAULTS = {
    "missing": (
        "an identifier is missing",
        "the column identifies rows",
        "give every row its identifier, or leave the row out",
    ),
    "marker": (
        "an identifier stands for a missing value",
        f"none of {', '.join(map(repr, MISSING_VALUES))} identifies anyone",
        "give every row its identifier, or leave the row out",
    ),
    "not_number": (
        "a value is not a number",
        "the column is used as a number: digits, with a point before decimals",
        "correct it; leave the cell empty if the value is missing",
    ),
    "huge": (
        "a whole number has too many digits to be kept as a number",
        "the column is used as a number, which has 15 digits",
        "is this an identifier?",
    ),
    "mixed": (
        "a column of numbers holds a value that is not a number",
        "a covariate is a number or a category, and one such value would make it a category",
        "correct it or leave the cell empty; if the column is a category, put a letter before its numbers",
    ),
    "grouped": (
        "a number is written with a comma",
        "numbers are written with a point before decimals and nothing between thousands",
        "write 1234.5 for 1.234,5 or 1,234.5",
    ),
}


def fault(name: str, column: str, value: str | None, *, n: int = 1, of: int = 1, **place: object) -> InputError:
    """Return the error for a value that a column's use does not allow: the first of ``n`` among ``of`` values.

    If nearly all values are not numbers, another column was meant, and the value may be a name: it is withheld. So is a
    number with too many digits, which is usually an identifier.
    """
    message, rule, fix = _FAULTS[name]
    other = name == "huge" or (name == "not_number" and n > 1 and 10 * n > 9 * of)
    shown = "" if value is None else WITHHELD if other else withhold(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    return InputError(message, column=column, value=repr(shown), rule=rule, fix=fix, **place)


def fault_sql(name: str, text: str) -> str:
    """Return the SQL condition of the values that `fault` is about."""
    if name in ("missing", "marker"):
        marker = is_missing_sql(text)
        return marker if name == "marker" else f"({text} IS NULL OR {marker})"
    return _broken(text)["not_number" if name == "mixed" else name]


def _refusal(con: duckdb.DuckDBPyConnection, raw: RawFile, name: str, kind: str) -> InputError:
    """Return the error for the first value with a fault."""
    column = sql_name(name)
    broken = f"SELECT _record, {column} AS value FROM ({raw.sql()}) WHERE {fault_sql(kind, column)}"
    first = f"SELECT _record, value, count(*) OVER () FROM ({broken}) ORDER BY 1 LIMIT 1"
    [(record, value, n)] = con.execute(first).fetchall()
    return fault(kind, name, value, n=n, of=raw.rows, file=raw.path, row=raw.line(record))


def used(names: str | Iterable[str | None] | None) -> tuple[str, ...]:
    """Return names of columns, each once; None is no column.

    Examples
    --------
    >>> used("y"), used(["y", None, "a", "y"])
    (('y',), ('y', 'a'))
    """
    listed = [names] if isinstance(names, str) else names or ()
    return tuple(dict.fromkeys(name for name in listed if name is not None))
