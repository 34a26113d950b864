"""What the columns of a file of text hold, decided over all of its rows; and what a use of a column does not allow.

A column is whole numbers (BIGINT) if every value is a whole number written without leading zeros and below 2^53;
numbers (DOUBLE) if every value is a number with a decimal point, and none of those without a point or exponent has a
leading zero or 2^53 and more; true or false (BOOLEAN) if every value is; and text otherwise. So identifiers such as
007 or 12345678901234567890 stay what they are. A missing value is of every type; one other text makes a column text.

The first rows only say which of these questions are worth asking of all rows: one counter-example settles a question.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb

from retrain_eval.errors import InputError
from retrain_eval.missing_values import MISSING_VALUES, is_missing_sql
from retrain_eval.rawfile import RawFile
from retrain_eval.sql import sql_name, sql_text
from retrain_eval.withholding import withhold

_EXACT = 2**53  # whole numbers below it are exact as floating-point numbers
_SAMPLE = 2_000
_SHOWN = 60
_QUESTIONS = ("values", "not_boolean", "not_whole", "not_number", "codes", "huge")
_GROUPED = r"\s*[+-]?\d+([,'’_\x{00A0}\x{202F} ]\d+)+(\.\d+)?\s*"  # 1,5 or 1,234.5 or 1 234


@dataclass(frozen=True)
class Roles:
    """What columns are used as: those of other names are nobody's concern.

    Attributes
    ----------
    numbers : tuple of str
        Every value must be a number, or missing.
    keys : tuple of str
        Identifiers: no value may be missing, and what is no plain whole number stays as it is written.
    covariates : tuple of str
        Numbers or categories: not a mixture, which is a number column with a value that is none.
    """

    numbers: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()


def is_number_sql(text: str) -> str:
    """Return the SQL condition that a text is a number: digits, a point, an exponent; inf, but not nan.

    DuckDB would also read underscores between digits.
    """
    number = f"TRY_CAST({text} AS DOUBLE)"
    return f"({number} IS NOT NULL AND NOT isnan({number}) AND NOT contains({text}, '_'))"


def _broken(text: str) -> dict[str, str]:
    """Return the SQL conditions of values that answer each question of `_QUESTIONS`."""
    there = f"{text} IS NOT NULL AND NOT {is_missing_sql(text)}"
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
    plain = raw.plain and len(raw.columns) > 1
    columns = ", ".join(map(sql_name, raw.columns))
    text = raw.fast_sql(MISSING_VALUES) if plain else f"SELECT {columns} FROM ({raw.sql()})"
    try:
        kinds = _kinds(con, raw, text, roles)
    except duckdb.Error as error:
        raise raw.row_error(con) or raw.parse_error(error) or error from error
    if not plain and (error := raw.row_error(con)) is not None:
        raise error
    selected = ", ".join(f"{_typed(name, kinds[name])} AS {sql_name(name)}" for name in raw.columns)
    return con.sql(f"SELECT {selected} FROM ({text})")


def _typed(name: str, kind: str) -> str:
    column = sql_name(name)
    if kind == "VARCHAR":
        return f"CASE WHEN {is_missing_sql(column)} THEN NULL ELSE {column} END"
    if kind == "BOOLEAN":
        return f"CASE lower(trim({column})) WHEN 'true' THEN true WHEN 'false' THEN false END"
    return f"TRY_CAST({column} AS BIGINT)" if kind == "BIGINT" else f"nullif(TRY_CAST({column} AS DOUBLE), 'nan')"


def _kinds(con: duckdb.DuckDBPyConnection, raw: RawFile, text: str, roles: Roles) -> dict[str, str]:
    """Return the type of each column."""
    first = _count(con, f"(FROM ({text}) LIMIT {_SAMPLE})", dict.fromkeys(raw.columns, _QUESTIONS))
    open_questions = {name: _worth_asking(first[name], name, roles) for name in raw.columns}
    rows, facts = _count_rows(con, f"({text})", open_questions)
    if rows != raw.rows:
        raise InputError(
            f"the file has {raw.rows} rows by its line breaks and {rows} by its quotes",
            file=raw.path,
            rule='a value that holds a quote is quoted: "so ""called"" value"',
        )
    again = [name for name in raw.columns if _kind(facts[name], name in roles.keys) is None]
    if again:
        facts |= _count(con, f"({text})", dict.fromkeys(again, (*_QUESTIONS, "number", "grouped")))
    kinds = {name: _kind(facts[name], name in roles.keys) or "VARCHAR" for name in raw.columns}
    for name in raw.columns:
        if name in roles.keys and facts[name]["values"] < rows:
            raise _refusal(con, raw, name, "missing")
        if name in roles.numbers and kinds[name] == "VARCHAR":
            kinds[name] = "DOUBLE"
            for fault in ("not_number", "huge"):
                if facts[name][fault]:
                    raise _refusal(con, raw, name, fault)
        if name in roles.covariates and kinds[name] == "VARCHAR":
            mixed = facts[name]["number"] and facts[name]["not_number"]
            if mixed or facts[name]["grouped"]:
                raise _refusal(con, raw, name, "mixed" if mixed else "grouped")
    return kinds


def _worth_asking(first: dict[str, int], name: str, roles: Roles) -> tuple[str, ...]:
    """Return the questions to ask of all rows, given the answers of the first ones."""
    if not first["values"]:
        return (*_QUESTIONS, "number", "grouped")
    asked: tuple[str, ...] = ("values",)
    if not first["not_boolean"]:
        return (*asked, "not_boolean")
    if not first["not_whole"]:
        return (*asked, "not_whole", "huge")
    if not first["not_number"] and name not in roles.keys:
        asked = (*asked, "not_number", "codes", "huge")
    elif name in (*roles.numbers, *roles.covariates):
        asked = (*asked, "not_number", "huge")
    return asked if name not in roles.covariates else (*asked, "number", "grouped")


def _kind(facts: dict[str, int], key: bool) -> str | None:
    """Return the type that the answers allow; None if more has to be asked.

    A question that was not asked has been answered by the first rows, but for those after the first that failed.
    """
    if facts["values"] == 0:
        return "BIGINT"
    if facts.get("not_boolean") == 0:
        return "BOOLEAN"
    if facts.get("not_whole") == 0:
        return "VARCHAR" if facts["huge"] else "BIGINT"
    if ("not_boolean" in facts or "not_whole" in facts) and "codes" not in facts:
        return None
    if key or facts.get("not_number", 1) or facts.get("codes", 1) or facts["huge"]:
        return "VARCHAR"
    return "DOUBLE"


def _count(
    con: duckdb.DuckDBPyConnection, source: str, questions: dict[str, Sequence[str]]
) -> dict[str, dict[str, int]]:
    return _count_rows(con, source, questions)[1]


def _count_rows(
    con: duckdb.DuckDBPyConnection, source: str, questions: dict[str, Sequence[str]]
) -> tuple[int, dict[str, dict[str, int]]]:
    """Return the number of rows and, by column and question, the number of values that answer it."""
    sums = [
        f"count(*) FILTER (WHERE {_broken(sql_name(name))[question]})"
        for name, asked in questions.items()
        for question in asked
    ]
    rows, *found = con.execute(f"SELECT {', '.join(['count(*)', *sums])} FROM {source}").fetchall()[0]
    answers = iter(found)
    return int(rows), {name: {question: int(next(answers)) for question in asked} for name, asked in questions.items()}


_FAULTS = {
    "missing": (
        "an identifier is missing",
        "the column identifies rows",
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


def fault(name: str, column: str, value: str | None, **place: object) -> InputError:
    """Return the error for a value that a column's use does not allow."""
    message, rule, fix = _FAULTS[name]
    shown = "" if value is None else withhold(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
    return InputError(message, column=column, value=repr(shown), rule=rule, fix=fix, **place)  # type: ignore[arg-type]


def fault_sql(name: str, text: str) -> str:
    """Return the SQL condition of the values that `fault` is about."""
    if name == "missing":
        return f"({text} IS NULL OR {is_missing_sql(text)})"
    return _broken(text)["not_number" if name == "mixed" else name]


def _refusal(con: duckdb.DuckDBPyConnection, raw: RawFile, name: str, kind: str) -> InputError:
    """Return the error for the first value with a fault."""
    column = sql_name(name)
    first = f"SELECT _record, {column} FROM ({raw.sql()}) WHERE {fault_sql(kind, column)} ORDER BY 1 LIMIT 1"
    [(record, value)] = con.execute(first).fetchall()
    return fault(kind, name, value, file=raw.path, row=raw.line(record))


def used(names: str | None | Iterable[str | None]) -> tuple[str, ...]:
    """Return names of columns, each once; None is no column.

    Examples
    --------
    >>> used("y"), used(["y", None, "a", "y"])
    (('y',), ('y', 'a'))
    """
    listed = [names] if isinstance(names, str) else names or ()
    return tuple(dict.fromkeys(name for name in listed if name is not None))
