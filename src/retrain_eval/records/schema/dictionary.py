"""What follows from the Table Schemas: tables, validation rules, the data dictionary.

Nothing here names a column; `retrain_eval.records.schema.table_schema` reads the declarations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
from msgspec import structs

from retrain_eval.common.periods import BOUNDS, PLAIN, label_sql, period_sql
from retrain_eval.common.periods import rule as period_rule
from retrain_eval.common.sources import sql_name, sql_text
from retrain_eval.common.sql import oddly_written_sql
from retrain_eval.common.withholding import WITHHELD, withhold_sql
from retrain_eval.records.identifiers import ENVIRONMENT, looks_like_ssn_sql, pseudonym_sql
from retrain_eval.records.schema.resource import Resource
from retrain_eval.records.schema.table_schema import (
    Constraints,
    Field,
    Package,
    load_package,
)

__all__ = ["Check", "Package", "Reading", "Resource", "checks", "ddl", "dictionary", "load_package", "typed"]

_EXACT = 2**53  # whole numbers below it are exact as floating-point numbers
_NOUNS = {
    "integer": "a whole number",
    "number": "a number",
    "date": "a date YYYY-MM-DD",
    "year": "a year",
}
_BIRTH = re.compile(r"birth|born|(^|_)dob(_|$)")
_SSN_MESSAGE = (
    "looks like a social-security number, which is not stored as it is: "
    f'set identifiers = "hmac" in [ingest] with a key in {ENVIRONMENT}, or put a letter before ids that are none'
)


@dataclass(frozen=True)
class Reading:
    """How files of a study are to be read.

    Attributes
    ----------
    frequency : str, optional
        What periods are: one of `retrain_eval.common.periods.FREQUENCIES`. None takes any of them.
    hashed : bool
        Whether identifiers are kept as keyed hashes only.
    """

    frequency: str | None = None
    hashed: bool = False


Rule = tuple[str, str, str]  # its name, the SQL condition that breaks it, the message


class Check(NamedTuple):
    """A validation rule.

    ``condition`` and ``value`` are SQL on the raw text columns: true where the rule is broken, and the value to show
    then, which still has to pass `withhold_sql`; ``number`` is whether its column is of another type than text.
    ``column`` names two columns where the rule compares them.
    """

    rule: str
    column: str
    condition: str
    message: str
    value: str
    number: bool = False


def ddl(resource: Resource, table: str | None = None, hidden: tuple[str, ...] = ()) -> str:
    """Return the SQL that creates the resource's table, its columns commented.

    ``table`` is its name in SQL where it is not the resource's own; ``hidden`` are definitions of further columns
    that come first. Keys are not declared as indexes: they are checked as sets when a file is loaded, which keeps
    memory bounded where an index on tens of millions of rows would not.
    """
    table = table or sql_name(resource.name)
    columns = [f"  {definition}" for definition in hidden]
    columns += [
        f"  {sql_name(field.name)} {field.sql_type}{' NOT NULL' if resource.required(field.name) else ''}"
        for field in resource.fields
    ]
    lines = [f"CREATE TABLE {table} (", ",\n".join(columns), ");"]
    lines += [
        f"COMMENT ON COLUMN {table}.{sql_name(field.name)} IS {sql_text(field.description)};"
        for field in resource.fields
    ]
    return "\n".join(lines)


def typed(field: Field, reading: Reading = Reading()) -> str:
    """Return the SQL that turns the column's text into its type; NULL where it is not of that type."""
    column = sql_name(field.name)
    if field.identifier and reading.hashed:
        return pseudonym_sql(column)
    if field.format == "period":
        return period_sql(column, reading.frequency)
    if field.type == "string":
        return column
    if field.type == "boolean":
        true, false = (", ".join(map(sql_text, values)) for values in (field.true_values, field.false_values))
        return f"CASE WHEN {column} IN ({true}) THEN true WHEN {column} IN ({false}) THEN false END"
    return f"TRY_CAST({column} AS {field.sql_type})"


def checks(resource: Resource, reading: Reading = Reading()) -> list[Check]:
    """Return the rules that concern one row, in the order in which they are reported.

    Keys are not among them: they concern several rows. A rule on a missing value holds, except ``required``.

    Examples
    --------
    >>> from retrain_eval.common.resources import resource
    >>> for check in checks(load_package(resource("data_schemas"))["wage_record"]):
    ...     if check.column == "wages":
    ...         print(check.rule, "|", check.column, "|", check.message)
    required | wages | must not be missing
    finite | wages | must be a finite number
    type | wages | must be a number
    scale | wages | must have at most 2 decimals
    precision | wages | must be smaller than 10000000000
    minimum | wages | must be at least 0
    """
    found: list[Check] = []
    for field in resource.fields:
        column, value = sql_name(field.name), typed(field, reading)
        shown, number = safe_value(resource, field, column), field.type != "string"
        if resource.required(field.name):
            found.append(Check("required", field.name, f"{column} IS NULL", "must not be missing", "NULL"))
        rules = [
            *_type_rules(field, column, value, reading),
            *_bounds(field, value, reading),
            *_text_rules(field, column, value),
        ]
        found += [Check(rule, field.name, condition, message, shown, number) for rule, condition, message in rules]
        if field.identifier and not reading.hashed:
            found.append(Check("ssn", field.name, looks_like_ssn_sql(column), _SSN_MESSAGE, sql_text(WITHHELD)))
    for rule, pairs, operator, words in (
        ("order", resource.order, ">", "must not come after"),
        ("distinct", resource.distinct, "=", "must differ from"),
    ):
        for pair in pairs:
            fields = [resource.field(name) for name in pair]
            first, second = (typed(field, reading) for field in fields)
            condition, message = f"({first}) {operator} ({second})", f"{pair[0]} {words} {pair[1]}"
            texts = [safe_value(resource, field, sql_name(field.name)) for field in fields]
            parts = zip(texts, fields, strict=True)
            shown = " || ', ' || ".join(
                f"({withhold_sql(text, number=field.type != 'string')})" for text, field in parts
            )
            found.append(Check(rule, ", ".join(pair), condition, message, shown))
    return found


def withheld_fields(resource: Resource) -> set[str]:
    """Return the columns of a record type whose values are never shown in messages or lists of refusals.

    In record types about people these are identifiers, dates of birth, and free texts such as names and employers.
    Texts with listed values are shown, and so are references to record types that are not about people.

    Examples
    --------
    >>> from retrain_eval.common.resources import resource
    >>> package = load_package(resource("data_schemas"))
    >>> sorted(withheld_fields(package["enrolment"])), sorted(withheld_fields(package["programme"]))
    (['person_id'], [])
    """
    if not any(field.identifier for field in resource.fields):
        return set()
    people = {field.name for field in resource.fields if field.identifier}
    refers = {name for key in resource.foreign_keys if not people & set(key.fields) for name in key.fields}
    texts = {field.name for field in resource.fields if field.type == "string" and not field.constraints.enum}
    births = {field.name for field in resource.fields if field.type == "date" and _BIRTH.search(field.name)}
    return people | births | (texts - refers)


def safe_value(resource: Resource, field: Field, value: str) -> str:
    """Return SQL for a column's text as messages and ``rejects`` may hold it.

    Identifiers and free text are withheld (`withheld_fields`): file and line are enough to find them. What looks like a
    person's number in any other column, since refused rows often have their columns mixed up, is withheld where the
    value is written down (`withhold_sql`): its patterns are too slow to compile for each rule.
    """
    return sql_text(WITHHELD) if field.name in withheld_fields(resource) else value


def dictionary(package: Package) -> pd.DataFrame:
    """Return the data dictionary: one row per column of every record type.

    Returns
    -------
    DataFrame
        Columns ``resource, column, title, type, unit, required, constraints, description``.
    """
    rows = [
        {
            "resource": resource.name,
            "column": field.name,
            "title": field.title,
            "type": field.type,
            "unit": field.unit,
            "required": resource.required(field.name),
            "constraints": "; ".join(_in_words(resource, field)),
            "description": field.description,
        }
        for resource in package
        for field in resource.fields
    ]
    columns = ["resource", "column", "title", "type", "unit", "required", "constraints", "description"]
    return pd.DataFrame(rows, columns=columns)


def _type_rules(field: Field, column: str, value: str, reading: Reading) -> list[Rule]:
    """Return the rules that a text must meet to be of the field's type, none of which lets a cast round."""
    present = f"{column} IS NOT NULL"
    noun = _NOUNS.get(field.type, "")
    if field.format == "period":
        return _period_rules(column, value, reading)
    if field.type in ("integer", "year"):
        # '5.7' would be cast to 6: the number itself must be whole
        exact = f"coalesce(TRY_CAST({column} AS DOUBLE) = {value} AND NOT {oddly_written_sql(column)}, false)"
        return [("type", f"{present} AND NOT {exact}", f"must be {noun}")]
    if field.type == "number":
        number = f"TRY_CAST({column} AS DOUBLE)"
        rules = [
            ("finite", f"NOT isfinite({number})", "must be a finite number"),
            ("type", f"{present} AND ({number} IS NULL OR {oddly_written_sql(column)})", f"must be {noun}"),
        ]
        if field.precision is None:
            digits = f"regexp_full_match(CAST({column} AS VARCHAR), '\\s*[+-]?\\d+\\s*')"
            broken = f"isfinite({number}) AND abs({number}) >= {_EXACT} AND {digits}"
            rules.append(("precision", broken, f"must be smaller than {_EXACT}, to be kept exactly"))
        else:
            # NULL where the number has more digits than the column holds
            whole = 10.0 ** (field.precision - (field.scale or 0))
            rules += [
                (
                    "scale",
                    f"isfinite({number}) AND abs({number}) < {whole:.0f} AND NOT coalesce({number} = {value}, false)",
                    f"must have at most {field.scale or 0} decimals",
                ),
                (
                    "precision",
                    f"isfinite({number}) AND abs({number}) >= {whole:.0f}",
                    f"must be smaller than {whole:.0f}",
                ),
            ]
        return rules
    if field.type == "boolean":
        known = ", ".join((*field.true_values, *field.false_values))
        return [("type", f"{present} AND ({value}) IS NULL", f"must be one of {known}")]
    if field.type == "date":
        # a timestamp at midnight is how Parquet writers often store a date
        same = f"replace({column}, ' 00:00:00', '') = CAST({value} AS VARCHAR)"
        exact = f"coalesce(isfinite({value}) AND {same}, false)"
        return [("type", f"{present} AND NOT {exact}", f"must be {noun}")]
    return []


def _period_rules(column: str, value: str, reading: Reading) -> list[Rule]:
    """Return the rules of a period: a whole number or a label, within the bounds of the frequency."""
    label = label_sql(column, reading.frequency)
    same = f"TRY_CAST({column} AS DOUBLE) = TRY_CAST({column} AS INTEGER)"
    whole = f"coalesce({same} AND NOT {oddly_written_sql(column)}, false)"
    message = f"must be {period_rule(reading.frequency)}"
    rules = [("type", f"{column} IS NOT NULL AND NOT ({label} OR {whole})", message)]
    low, high = _period_bounds(reading)
    rules.append(("period", f"({value}) NOT BETWEEN {low} AND {high}", message))
    return rules


def _period_bounds(reading: Reading) -> tuple[int, int]:
    return BOUNDS[reading.frequency or PLAIN]


def _bounds(field: Field, value: str, reading: Reading) -> list[Rule]:
    limits = _plausible(field)
    least, most = _period_bounds(reading) if field.format == "period" else (None, None)
    rules: list[Rule] = []
    for rule, bound, operator, words, implied in (
        ("minimum", limits.minimum, "<", "at least", least),
        ("maximum", limits.maximum, ">", "at most", most),
        ("exclusiveMinimum", limits.exclusive_minimum, "<=", "above", None),
        ("exclusiveMaximum", limits.exclusive_maximum, ">=", "below", None),
    ):
        if isinstance(bound, str):
            rules.append((rule, f"{value} {operator} {sql_text(bound)}::DATE", f"must be {words} {bound}"))
        elif bound is not None:
            # the rule "period" says the same or more
            if implied is not None and (bound <= implied if rule == "minimum" else bound >= implied):
                continue
            finite = f"isfinite({value}) AND " if field.sql_type == "DOUBLE" else ""
            shown = f"{bound:g}" if bound % 1 else f"{bound:.0f}"
            rules.append((rule, f"{finite}{value} {operator} {bound:.17g}", f"must be {words} {shown}"))
    return rules


def _plausible(field: Field) -> Constraints:
    """Return the constraints of a field; a date without bounds is one of the years that periods have."""
    limits = field.constraints
    if field.type != "date":
        return limits
    first, last = (f"{year}-{day}" for year, day in zip(BOUNDS["year"], ("01-01", "12-31"), strict=True))
    return structs.replace(limits, minimum=limits.minimum or first, maximum=limits.maximum or last)


def _text_rules(field: Field, column: str, value: str) -> list[Rule]:
    """Return the rules on the text as it is written, and on the values that are listed."""
    limits = field.constraints
    rules: list[Rule] = []
    if limits.min_length is not None:
        message = f"must have at least {limits.min_length} character(s)"
        rules.append(("minLength", f"length({column}) < {limits.min_length}", message))
    if limits.max_length is not None:
        message = f"must have at most {limits.max_length} characters"
        rules.append(("maxLength", f"length({column}) > {limits.max_length}", message))
    if limits.pattern is not None:
        condition = f"NOT regexp_full_match({column}, {sql_text(limits.pattern)})"
        rules.append(("pattern", condition, f"must match {limits.pattern}"))
    if limits.enum:
        known = ", ".join(sql_text(item) if isinstance(item, str) else str(item) for item in limits.enum)
        rules.append(("enum", f"{value} NOT IN ({known})", f"must be one of {', '.join(map(str, limits.enum))}"))
    return rules


def _in_words(resource: Resource, field: Field) -> Iterator[str]:
    """Yield the constraints of a column, keys included, as a reader of the dictionary meets them."""
    limits = field.constraints
    if field.name in resource.primary_key:
        yield "primary key" if len(resource.primary_key) == 1 else f"primary key ({', '.join(resource.primary_key)})"
    for key in resource.unique_keys:
        if field.name in key:
            yield f"unique ({', '.join(key)})"
    for foreign in resource.foreign_keys:
        if field.name in foreign.fields:
            target = foreign.reference.fields[foreign.fields.index(field.name)]
            yield f"refers to {foreign.reference.resource or resource.name}.{target}"
    period = field.format == "period"
    if period:
        yield "a period"
    if field.identifier:
        yield "no social-security number"
    for words, bound in (
        ("at least", limits.minimum),
        ("at most", limits.maximum),
        ("above", limits.exclusive_minimum),
        ("below", limits.exclusive_maximum),
    ):
        if bound is not None and not period:
            yield f"{words} {bound:g}" if isinstance(bound, float) else f"{words} {bound}"
    for pair in resource.order:
        if field.name == pair[0]:
            yield f"not after {pair[1]}"
        elif field.name == pair[1]:
            yield f"not before {pair[0]}"
    for pair in resource.distinct:
        if field.name in pair:
            yield f"differs from {pair[1 - pair.index(field.name)]}"
    if field.precision is not None:
        yield f"at most {field.scale or 0} decimals"
    if limits.min_length is not None:
        yield f"at least {limits.min_length} character(s)"
    if limits.max_length is not None:
        yield f"at most {limits.max_length} characters"
    if limits.pattern is not None:
        yield f"matches {limits.pattern}"
    if limits.enum:
        yield f"one of {', '.join(map(str, limits.enum))}"
