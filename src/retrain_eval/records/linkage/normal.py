"""Normal forms of identifiers: what must be equal for two records to agree, and the same form in both registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from retrain_eval.common.errors import InputError, unknown, unknown_columns
from retrain_eval.common.sources import missing_texts, sql_name, sql_text
from retrain_eval.common.text.missing_values import MISSING_VALUES, is_missing_sql
from retrain_eval.common.withholding import rows_where, units_having

_DAY = r"\d{{4}}-\d{{2}}-\d{{2}}( 00:00:00)?"  # DuckDB would read years of any length
# name of the form → SQL of a text; an empty result is a missing identifier
FORMS: Mapping[str, str] = {
    "exact": "{0}",
    "identifier": "regexp_replace(upper({0}), '[^0-9A-Z]', '', 'g')",
    "name": "regexp_replace(upper(strip_accents({0})), '[^\\p{{L}}]', '', 'g')",
    "date": f"CASE WHEN regexp_full_match({{0}}, '{_DAY}') THEN CAST(TRY_CAST({{0}} AS DATE) AS VARCHAR) END",
}


def normalise(
    con: duckdb.DuckDBPyConnection,
    table: str,
    key: str,
    forms: Mapping[str, str],
    missing: Sequence[str],
    name: str,
) -> None:
    """Make a temporary table of a register's identifiers in normal form: ``id`` and the fields.

    Parameters
    ----------
    con : DuckDBPyConnection
    table, key : str
        The register and its key.
    forms : mapping of str to str
        Field → one of `FORMS`.
    missing : sequence of str
        Values, in normal form, that stand for no value: ``"UNKNOWN"``, ``"000000000"``. So do, as they are written, the
        texts of `retrain_eval.common.text.missing_values`, but for the records of a `Store`, whose schemas have their
        own.
    name : str
        Of the temporary table.

    Raises
    ------
    InputError
        If the register, a column or a form does not exist, a key is missing or repeated, or a date cannot be read.
    """
    tables = [name for (name, *_) in con.execute("SHOW TABLES").fetchall()]
    if table not in tables:
        raise unknown("table", table, tables)
    columns = con.table(table).columns
    absent = [column for column in (key, *forms) if column not in columns]
    if absent:
        defaults = {"person_id": "person", "record_id": "record"}
        raise unknown_columns(absent, columns, defaults={key: defaults[key]} if key in defaults else None,
                              kind=f"column of {table}")  # fmt: skip
    for form in forms.values():
        if form not in FORMS:
            raise unknown("normal form", form, FORMS)
    _check_key(con, table, key)
    parts, markers = [], missing_texts(con)
    for field, form in forms.items():
        written = f"trim(CAST({sql_name(field)} AS VARCHAR))"
        text = f"CASE WHEN {is_missing_sql(written, markers, trimmed=False)} THEN NULL ELSE {written} END"
        shaped = f"nullif({FORMS[form].format(text)}, '')"
        for value in missing:
            shaped = f"nullif({shaped}, {sql_text(value)})"
        if form == "date":
            _check_dates(con, table, key, field, text, missing)
        parts.append(f"{shaped} AS {sql_name(field)}")
    con.execute(f"CREATE TEMP TABLE {name} AS SELECT {sql_name(key)} AS id, {', '.join(parts)} FROM {sql_name(table)}")


def _check_key(con: duckdb.DuckDBPyConnection, table: str, key: str) -> None:
    column = sql_name(key)
    marker = is_missing_sql(f"CAST({column} AS VARCHAR)", missing_texts(con))
    for (value,) in con.execute(f"SELECT {column} FROM {sql_name(table)} WHERE {marker} ORDER BY 1 LIMIT 1").fetchall():
        raise InputError(
            f"a key of {table} stands for a missing value",
            row=rows_where(marker, sql_name(table)),
            column=key,
            value=value,
            rule=f"none of {', '.join(map(repr, MISSING_VALUES))} identifies anyone",
            fix="give every person an identifier",
        )
    repeated = units_having(key, f"count(*) > 1 OR {column} IS NULL", sql_name(table))
    [(n, missing)] = con.execute(f"SELECT count(*), count(*) - count({column}) FROM ({repeated})").fetchall()
    if n:
        raise InputError(
            f"{table} has a row without a key" if missing else f"{n} key(s) of {table} have several rows",
            row=repeated,
            column=key,
            rule="one row per person in each register",
            fix="settle duplicates within the register first",
        )


def _check_dates(
    con: duckdb.DuckDBPyConnection, table: str, key: str, field: str, text: str, missing: Sequence[str]
) -> None:
    shaped = FORMS["date"].format(text)
    known = "".join(f" AND {text} <> {sql_text(value)}" for value in missing)
    unreadable = rows_where(f"{text} <> ''{known} AND {shaped} IS NULL", sql_name(table))
    [(n,)] = con.execute(f"SELECT count(*) FROM ({unreadable})").fetchall()
    if n:
        raise InputError(
            f"{n} date(s) of {table} cannot be read",
            row=unreadable,
            column=field,
            rule="dates are written YYYY-MM-DD",
            fix="write them so, or name the value in missing= if it stands for no date",
        )
