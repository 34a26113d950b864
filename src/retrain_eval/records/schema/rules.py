"""What the JSON types of a Table Schema cannot say: bounds that suit a type, patterns, pairs, ends of foreign keys."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import duckdb

from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.sql import connect
from retrain_eval.records.schema.descriptors import Field, ForeignKey
from retrain_eval.records.schema.resource import Resource


def check_field(field: Field, file: Path) -> None:
    """Refuse constraints that do not suit the type of a field."""
    limits = field.constraints
    numeric = field.type in ("integer", "number", "year")

    def refuse(message: str, value: object) -> InputError:
        return InputError(message, file=file, column=field.name, value=value)

    if (field.precision is None) != (field.scale is None) or (field.precision is not None and field.type != "number"):
        raise refuse("precision and scale go together, on a number", (field.precision, field.scale))
    if field.precision is not None and field.scale is not None and field.scale > field.precision:
        raise refuse("the scale exceeds the precision", (field.precision, field.scale))
    for bound in (limits.minimum, limits.maximum):
        if bound is not None and (
            (isinstance(bound, str) and field.type != "date") or (isinstance(bound, float) and not numeric)
        ):
            raise refuse(f"a bound does not suit type {field.type}", bound)
    if (limits.exclusive_minimum, limits.exclusive_maximum) != (None, None) and not numeric:
        raise refuse(f"a bound does not suit type {field.type}", field.type)
    if field.format == "period" and field.type != "integer":
        raise refuse("a period is an integer", field.type)
    if field.identifier and field.type != "string":
        raise refuse("an identifier is a string", field.type)
    if field.identifier and limits.enum:
        raise refuse("the identifiers of persons are not listed in a schema", ", ".join(map(str, limits.enum)))
    for item in limits.enum:
        if (field.type == "string") != isinstance(item, str) or field.type in ("boolean", "date"):
            raise refuse(f"an enum value does not suit type {field.type}", item)
    texts = (limits.pattern, limits.min_length, limits.max_length)
    if field.type != "string" and any(text is not None for text in texts):
        raise refuse(f"pattern and length do not suit type {field.type}", field.type)
    if limits.pattern is not None and (error := _pattern_error(limits.pattern)):
        raise refuse(f"the pattern is not a regular expression: {error}", limits.pattern)


@cache
def _pattern_error(pattern: str) -> str | None:
    """Say what DuckDB has against a regular expression; None if nothing."""
    try:
        with connect() as con:
            con.execute("SELECT regexp_full_match('', $1)", [pattern]).fetchall()
    except duckdb.Error as error:
        return str(error)
    return None


def check_pair(first: Field, second: Field, ordered: bool, file: Path) -> None:
    """Refuse a pair of columns that cannot be compared."""
    pair = f"{first.name}, {second.name}"
    if first.name == second.name:
        raise InputError("a column is compared with itself", file=file, column=pair)
    if (first.type, first.format, first.identifier) != (second.type, second.format, second.identifier):
        raise InputError("columns that are compared are of one type", file=file, column=pair)
    if ordered and first.type in ("string", "boolean"):
        raise InputError(f"columns of type {first.type} have no order", file=file, column=pair)


def check_reference(resource: Resource, key: ForeignKey, known: dict[str, Resource], file: Path) -> None:
    """Refuse a foreign key to what is not a key of a record type, or of another type."""
    target = key.reference.resource
    if target not in known:
        error = unknown("record type in a foreign key", target, known)
        raise InputError(str(error).splitlines()[0], file=file, fix=error.fix)
    other = known[target]
    if key.reference.fields not in (other.primary_key, *other.unique_keys):
        raise InputError(
            f"{resource.name} refers to {target} ({', '.join(key.reference.fields)}), which is not a key of it",
            file=file,
            fix=f"the primary key is ({', '.join(other.primary_key)})",
        )
    ends = f"{', '.join(key.fields)} and {target}.{', '.join(key.reference.fields)}"
    here = [resource.field(column) for column in key.fields]
    there = [other.field(column) for column in key.reference.fields]
    if [(one.sql_type, one.format) for one in here] != [(one.sql_type, one.format) for one in there]:
        raise InputError("the ends of a foreign key differ in type", file=file, value=ends)
    if [one.identifier for one in here] != [one.identifier for one in there]:
        # one end would be hashed, the other not
        fix = 'say "identifier": true of both'
        raise InputError("one end of a foreign key is an identifier, the other is not", file=file, value=ends, fix=fix)
