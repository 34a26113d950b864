"""The vocabulary of layouts as SQL: how the text of a field is read, and how columns follow from fields.

Of each there are two expressions: the value, NULL where the text is missing or cannot be read; and the fault, which is
the text that cannot be read, and NULL otherwise. Every text of a layout is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from retrain_eval.common.errors import InputError
from retrain_eval.common.sql import sql_text
from retrain_eval.common.text.missing_values import MISSING_VALUES, is_missing_sql
from retrain_eval.records.layouts.description import Column, Field, Part
from retrain_eval.records.layouts.library import fields_of

FORMATS = {
    "YYYYMMDD": (r"\d{8}", "%Y%m%d"),
    "YYYY-MM-DD": (r"\d{4}-\d{2}-\d{2}", "%Y-%m-%d"),
    "MM/DD/YYYY": (r"\d{1,2}/\d{1,2}/\d{4}", "%m/%d/%Y"),
    "DD/MM/YYYY": (r"\d{1,2}/\d{1,2}/\d{4}", "%d/%m/%Y"),
    "DD.MM.YYYY": (r"\d{1,2}\.\d{1,2}\.\d{4}", "%d.%m.%Y"),
    "DDMMMYYYY": (r"\d{1,2}[A-Za-z]{3}\d{4}", "%d%b%Y"),
}
_PLAIN = r"[+-]?\d+(\.\d+)?"
_GROUPED = r"[+-]?\$?\d{1,3}(,\d{3})+(\.\d+)?"
_BEHIND = r"\d+(\.\d+)?-"  # the sign stands behind the number
_BIRTH = re.compile(r"birth|born|(^|_)dob(_|$)|name|ssn|(^|_)id(_|$)")
AMOUNT = "DECIMAL(17,2)"
NO_FAULT = "NULL::VARCHAR"


class Expression(NamedTuple):
    """SQL for a value as text, and for the text that cannot be read."""

    value: str
    fault: str


def trimmed(field: Field, text: str) -> str:
    """Return SQL for the text of a field without spaces around it, and without hyphens where only digits count."""
    if field.digits:
        bare = f"replace(replace({text}, ' ', ''), '-', '')"
        return f"CASE WHEN contains({text}, ' ') OR contains({text}, '-') THEN {bare} ELSE {text} END"
    return f"CASE WHEN contains({text}, ' ') THEN trim({text}) ELSE {text} END"  # most texts have none


def without_missing(field: Field, text: str, missing: Sequence[str]) -> str:
    """Return SQL for a trimmed text, filled up with zeros; NULL where it stands for a missing value."""
    markers = tuple(dict.fromkeys((*MISSING_VALUES, *missing, *field.missing)))
    padded = text
    if field.pad:
        short = f"length({text}) < {field.pad} AND regexp_full_match({text}, '[0-9]+')"
        padded = f"CASE WHEN {short} THEN lpad({text}, {field.pad}, '0') ELSE {text} END"
    return f"CASE WHEN {is_missing_sql(text, markers, trimmed=False)} THEN NULL ELSE {padded} END"


def field_sql(field: Field, text: str, read: str, lookups: Mapping[str, Mapping[str, str]]) -> Expression:
    """Return SQL for a field from its text; a date is a DATE, anything else is text.

    Parameters
    ----------
    field : Field
    text : str
        Column with the text, without spaces around it and NULL where it is missing.
    read : str
        Column with the value, for the fault.
    lookups : mapping
        Reference tables.

    Examples
    --------
    >>> import duckdb
    >>> value, fault = field_sql(Field(names=("sex",), recode={"1": "male", "9": ""}), "t", "v", {})
    >>> read = f"SELECT t, {value} AS v FROM (VALUES ('1'), ('9'), ('x'), (NULL)) s(t)"
    >>> duckdb.sql(f"SELECT v, {fault} FROM ({read})").fetchall()
    [('male', None), (None, None), (None, 'x'), (None, None)]
    """
    unread = f"CASE WHEN {read} IS NULL AND {text} IS NOT NULL THEN {text} END"
    if field.date:
        return Expression(date_sql(field, text), unread)
    if field.number is not None:
        return Expression(number_sql(field, text), unread)
    if field.recode:
        cases = " ".join(f"WHEN {sql_text(code)} THEN {sql_text(value) if value else 'NULL'}"
                         for code, value in field.recode.items())  # fmt: skip
        known = ", ".join(map(sql_text, field.recode))
        return Expression(
            f"CASE {text} {cases} END", f"CASE WHEN {read} IS NULL AND {text} NOT IN ({known}) THEN {text} END"
        )
    if field.lookup:
        pairs = ", ".join(f"{sql_text(code)}: {sql_text(value)}" for code, value in lookups[field.lookup].items())
        return Expression(f"MAP {{{pairs}}}[{text}]", NO_FAULT)
    return Expression(text, NO_FAULT)


def date_sql(field: Field, text: str) -> str:
    """Return SQL for a date; 2024-02-29, also with a time of midnight, is read whatever the formats."""
    wanted = dict.fromkeys((*field.date, "YYYY-MM-DD"))
    cases = " ".join(f"WHEN regexp_full_match({text}, {sql_text(FORMATS[name][0])}) "
                     f"THEN try_strptime({text}, {sql_text(FORMATS[name][1])})" for name in wanted)  # fmt: skip
    midnight = rf"regexp_full_match({text}, '\d{{4}}-\d{{2}}-\d{{2}} 00:00:00(\.0+)?')"
    return f"CAST(CASE {cases} WHEN {midnight} THEN try_strptime({text}[1:10], '%Y-%m-%d') END AS DATE)"


def number_sql(field: Field, text: str) -> str:
    """Return SQL for a number as plain text: signs in front, a point before decimals, cents as hundredths."""
    if field.decimal_comma:
        text = f"replace(replace({text}, '.', ''), ',', '.')"
    plain = (
        f"CASE WHEN regexp_full_match({text}, {sql_text(_PLAIN)}) THEN {text} "
        f"WHEN regexp_full_match({text}, {sql_text(_GROUPED)}) THEN replace(replace({text}, ',', ''), '$', '') "
        f"WHEN regexp_full_match({text}, {sql_text(_BEHIND)}) THEN '-' || rtrim({text}, '-') END"
    )
    if field.number == "cents":
        whole = f"CASE WHEN NOT contains({text}, '.') THEN ({plain}) END"
        return f"CAST(CAST(TRY_CAST({whole} AS DECIMAL(15,0)) * 0.01::DECIMAL(2,2) AS {AMOUNT}) AS VARCHAR)"
    if field.number == "per_cent":
        return f"CAST(TRY_CAST(({plain}) AS DOUBLE) / 100 AS VARCHAR)"
    return plain


def column_sql(
    column: str | Column,
    made: str,
    fields: Mapping[str, Field],
    read: Mapping[str, Expression],
    frequency: str | None,
) -> Expression:
    """Return SQL for a column of a record, from the fields that have been read; ``made`` is the column itself."""
    one = Column(field=column) if isinstance(column, str) else column
    used = [read[name] for name in fields_of(one)]
    faults = [each.fault for each in used if each.fault != NO_FAULT]
    fault = f"coalesce({', '.join(faults)})" if faults else NO_FAULT
    if one.text is not None:
        return Expression(sql_text(one.text), NO_FAULT)
    if one.each:
        return Expression(f"[{', '.join(map(sql_text, one.each))}][_i + 1]", NO_FAULT)
    if one.quarter is not None:
        year, quarter = (read[name].value for name in one.quarter)
        return _quarter(year, quarter, made, frequency)
    if one.first_of:
        value = f"coalesce({', '.join(f'CAST({each.value} AS VARCHAR)' for each in used)})"
    elif one.joined:
        value = " || ' - ' || ".join(f"CAST({each.value} AS VARCHAR)" for each in used)
    elif one.at_least is not None:
        number = f"TRY_CAST({used[0].value} AS DOUBLE)"
        bound = one.at_least if isinstance(one.at_least, str) else _by_year(one.at_least, read, one.on)
        value = f"CAST({number} >= {bound} AS VARCHAR)" if bound else "NULL::VARCHAR"
    elif fields[one.field].date:
        value = part_sql(one.part, used[0].value, frequency)
    else:
        value = used[0].value
    if one.otherwise is not None:
        value = f"coalesce({value}, CASE WHEN {fault} IS NULL THEN {sql_text(one.otherwise)} END)"
    return Expression(value, fault)


def _by_year(bounds: Sequence[str], read: Mapping[str, Expression], day: str) -> str:
    """Return SQL for the bound of the year of a date; nothing where there are no bounds."""
    pairs = [text.split(":") for text in bounds]
    cases = " ".join(f"WHEN {year} THEN {bound}" for year, bound in pairs)
    return f"(CASE year({read[day].value}) {cases} END)" if cases else ""


def part_sql(part: Part, day: str, frequency: str | None) -> str:
    """Return SQL for a part of a date as text: the date, the year, the period that it lies in, or the day before."""
    if part == "year":
        return f"CAST(year({day}) AS VARCHAR)"
    if part == "day_before":
        return f"CAST(CAST({day} - 1 AS DATE) AS VARCHAR)"
    return label_of_day(day, frequency) if part == "period" else f"CAST({day} AS VARCHAR)"


def label_of_day(day: str, frequency: str | None) -> str:
    """Return SQL for the period of a date as files write it.

    Raises
    ------
    InputError
        If periods of the study are not those of a calendar.
    """
    labels = {
        "year": f"CAST(year({day}) AS VARCHAR)",
        "quarter": f"year({day}) || 'Q' || quarter({day})",
        "month": f"strftime({day}, '%Y-%m')",
    }
    if frequency not in labels:
        raise InputError("a layout that reads dates needs periods of a calendar", file="study.toml", column="frequency",
                         value=frequency, rule="year, quarter or month")  # fmt: skip
    return labels[frequency]


def _quarter(year: str, quarter: str, made: str, frequency: str | None) -> Expression:
    if frequency not in (None, "quarter"):
        raise InputError("the files of this layout are by quarter, the study is not", file="study.toml",
                         column="frequency", value=frequency, rule="quarter")  # fmt: skip
    good = rf"regexp_full_match({year} || 'Q' || {quarter}, '(19|20)\d\dQ(0?[1-4]|[Qq][1-4])')"
    value = f"CASE WHEN {good} THEN {year} || 'Q' || right({quarter}, 1) END"
    there = f"coalesce({year}, {quarter}) IS NOT NULL"
    return Expression(value, f"CASE WHEN {made} IS NULL AND {there} THEN concat_ws(' ', {year}, {quarter}) END")


def may_show(names: Sequence[str], fields: Mapping[str, Field]) -> bool:
    """Return whether the raw text of fields may stand in a message: codes, numbers and dates, not identifiers."""
    return all((fields[name].date or fields[name].number or fields[name].recode or "year" in name or "quarter" in name)
               and not _BIRTH.search(name) for name in names)  # fmt: skip
