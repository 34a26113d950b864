"""Descriptors of Data Package and Table Schema, version 2, as typed objects.

Beyond Table Schema, version 2:

=================  =========================  ==================================================================
property           of                         meaning
=================  =========================  ==================================================================
unit               a field                    unit of measurement, in words
precision, scale   a number                   digits in all and after the point: stored as DECIMAL, never rounded
format: period     an integer                 a period of the study's frequency: a year, ``2019Q1``, ``2019-03``, or
                                              a number (`retrain_eval.common.periods`)
identifier: true   a string                   it could name a person: never a social-security number, and stored as
                                              a keyed hash where the study says so
order              the schema, pairs of       where both are there, the first is at most the second
                   columns
distinct           the schema, pairs of       where both are there, they differ
                   columns
missingValues      the schema, or a field     texts that stand for a missing value. Where a schema has none, they are
                                              those of `retrain_eval.common.text.missing_values`, not only the empty
                                              text
=================  =========================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from retrain_eval.common.text.missing_values import MISSING_VALUES, Markers

FieldType = Literal["string", "integer", "number", "boolean", "date", "year"]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]*$")]
Names = str | tuple[str, ...]
Texts = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
_INT32 = 2**31 - 1
_SQL_TYPES = {"string": "VARCHAR", "number": "DOUBLE", "boolean": "BOOLEAN", "date": "DATE", "year": "INTEGER"}


class _Descriptor(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A JSON object in which a misspelt property is an error."""


class Constraints(_Descriptor, frozen=True, kw_only=True):
    """Constraints of a field, as Table Schema names them."""

    required: bool = False
    minimum: float | str | None = None
    maximum: float | str | None = None
    exclusive_minimum: float | None = None
    exclusive_maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    enum: tuple[str | int | float, ...] = ()


class Field(_Descriptor, frozen=True, kw_only=True):
    """A column; what extends Table Schema is said at the top of this module."""

    name: Name
    type: FieldType
    format: Literal["default", "period"] = "default"
    title: str = ""
    description: str = ""
    example: Any = None
    rdf_type: str = ""
    unit: str = ""
    precision: Annotated[int, msgspec.Meta(ge=1, le=15)] | None = None
    scale: Annotated[int, msgspec.Meta(ge=0, le=15)] | None = None
    identifier: bool = False
    missing_values: Markers | None = None
    true_values: Texts = ("true", "True", "TRUE", "1")
    false_values: Texts = ("false", "False", "FALSE", "0")
    constraints: Constraints = Constraints()

    @property
    def sql_type(self) -> str:
        """DuckDB type of the column."""
        low, high = self.constraints.minimum, self.constraints.maximum
        if self.type == "integer":
            if self.format == "period":
                return "INTEGER"
            small = isinstance(low, float) and isinstance(high, float) and low >= -_INT32 and high <= _INT32
            return "INTEGER" if small else "BIGINT"
        if self.precision is not None:
            return f"DECIMAL({self.precision},{self.scale or 0})"
        return _SQL_TYPES[self.type]


class Reference(_Descriptor, frozen=True, kw_only=True):
    """The other end of a foreign key."""

    resource: str = ""  # its own, where it is left out
    fields: Names


class ForeignKey(_Descriptor, frozen=True, kw_only=True):
    """Columns whose values must exist in another record type."""

    fields: Names
    reference: Reference

    def normal(self, resource: str) -> ForeignKey:
        """Return the key of a record type, in full."""
        target = Reference(resource=self.reference.resource or resource, fields=listed(self.reference.fields))
        return ForeignKey(fields=listed(self.fields), reference=target)


class TableSchema(_Descriptor, frozen=True, kw_only=True):
    """A Table Schema; what extends the standard is said at the top of this module."""

    schema_: str = msgspec.field(name="$schema", default="")
    name: str = ""
    title: str = ""
    description: str = ""
    fields_match: Literal["superset", "equal", "exact"] | None = None
    fields: tuple[Field, ...]
    primary_key: Names = ()
    unique_keys: tuple[tuple[str, ...], ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    order: tuple[tuple[str, str], ...] = ()
    distinct: tuple[tuple[str, str], ...] = ()
    missing_values: Markers = MISSING_VALUES


class _Described(_Descriptor, frozen=True, kw_only=True):
    """What a Data Package may say of itself and of a resource, and nothing here reads."""

    schema_: str = msgspec.field(name="$schema", default="")
    title: str = ""
    description: str = ""
    id: str = ""
    homepage: str = ""
    version: str = ""
    created: str = ""
    image: str = ""
    profile: str = ""
    keywords: tuple[str, ...] = ()
    licenses: tuple[dict[str, Any], ...] = ()
    sources: tuple[dict[str, Any], ...] = ()
    contributors: tuple[dict[str, Any], ...] = ()


class PackageResource(_Described, frozen=True, kw_only=True):
    """A record type of a Data Package."""

    name: Name
    type: Literal["table"] = "table"
    path: str | tuple[str, ...] = ""
    format: str = ""
    mediatype: str = ""
    encoding: str = ""
    bytes: int | None = None
    hash: str = ""
    schema: str


class DataPackage(_Described, frozen=True, kw_only=True):
    """A Data Package: the record types of a folder."""

    name: str = ""
    resources: tuple[PackageResource, ...]


def listed(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return columns as a list, which Table Schema writes as one name where there is one."""
    return (names,) if isinstance(names, str) else tuple(names)
