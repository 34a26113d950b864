"""Record types as Frictionless Table Schemas declare them: typed objects, read and checked.

The JSON files in ``data_schemas/`` (Data Package and Table Schema, version 2) are the only place where a column
is declared. A study may carry its own ``data_schemas/`` folder; its record types stand beside the common ones
and need no code.

Beyond Table Schema, version 2:

=================  =========================  ==================================================================
property           of                         meaning
=================  =========================  ==================================================================
unit               a field                    unit of measurement, in words
precision, scale   a number                   digits in all and after the point: stored as DECIMAL, never rounded
format: period     an integer                 a period of the study's frequency: a year, ``2019Q1``, ``2019-03``, or
                                              a number (`retrain_eval.periods`)
identifier: true   a string                   it could name a person: never a social-security number, and stored as
                                              a keyed hash where the study says so
order              the schema, pairs of       where both are there, the first is at most the second
                   columns
distinct           the schema, pairs of       where both are there, they differ
                   columns
=================  =========================  ==================================================================
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import duckdb
import msgspec

from retrain_eval.errors import InputError, unknown

T = TypeVar("T")
FieldType = Literal["string", "integer", "number", "boolean", "date", "year"]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]*$")]
Texts = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
# names of the store's own tables, and of those that are made from records
RESERVED = (
    "archive", "baseline", "coverage_classes", "coverage_people", "coverage_periods", "derived", "described",
    "employer_run", "job", "loads", "occupation_pay", "panel", "panel_period", "panel_person", "panel_price", "paths",
    "places", "quality", "ranked_job", "rejects", "schemas", "settings", "source", "spells", "state_run",
    "successor_run", "superseded", "vintages",
)  # fmt: skip
_SCRATCH = "ingest_"  # what files are checked in
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
    title: Annotated[str, msgspec.Meta(min_length=1)]
    description: Annotated[str, msgspec.Meta(min_length=1)]
    unit: str = ""
    precision: Annotated[int, msgspec.Meta(ge=1, le=15)] | None = None
    scale: Annotated[int, msgspec.Meta(ge=0, le=15)] | None = None
    identifier: bool = False
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

    resource: str
    fields: tuple[str, ...]


class ForeignKey(_Descriptor, frozen=True, kw_only=True):
    """Columns whose values must exist in another record type."""

    fields: tuple[str, ...]
    reference: Reference


class _TableSchema(_Descriptor, frozen=True, kw_only=True):
    schema_: str = msgspec.field(name="$schema", default="")
    fields_match: Literal["superset"]
    fields: tuple[Field, ...]
    primary_key: tuple[str, ...] = ()
    unique_keys: tuple[tuple[str, ...], ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    order: tuple[tuple[str, str], ...] = ()
    distinct: tuple[tuple[str, str], ...] = ()
    missing_values: Texts = ("",)


class _PackageResource(_Descriptor, frozen=True, kw_only=True):
    name: Name
    type: Literal["table"] = "table"
    title: str
    description: str
    path: str
    schema: str


class _DataPackage(_Descriptor, frozen=True, kw_only=True):
    schema_: str = msgspec.field(name="$schema", default="")
    name: str
    title: str = ""
    description: str = ""
    resources: tuple[_PackageResource, ...]


@dataclass(frozen=True)
class Resource:
    """A record type: its columns and keys.

    A file may leave out columns that are not required; it may not have columns that are not declared
    (``fieldsMatch: superset``). In ``unique_keys`` two missing values are the same value
    (``NULLS NOT DISTINCT``); the columns of ``primary_key`` are required.
    """

    name: str
    title: str
    description: str
    fields: tuple[Field, ...]
    primary_key: tuple[str, ...]
    unique_keys: tuple[tuple[str, ...], ...]
    foreign_keys: tuple[ForeignKey, ...]
    order: tuple[tuple[str, str], ...]
    distinct: tuple[tuple[str, str], ...]
    missing_values: tuple[str, ...]
    sha256: str

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return [field.name for field in self.fields]

    def field(self, column: str) -> Field:
        """Return a column by name."""
        return next(field for field in self.fields if field.name == column)

    def required(self, column: str) -> bool:
        """Whether a value must stand in every row."""
        return self.field(column).constraints.required or column in self.primary_key


@dataclass(frozen=True)
class Package:
    """Record types by name; iterates in load order, what is referred to first."""

    resources: tuple[Resource, ...]

    def __getitem__(self, name: str) -> Resource:
        for resource in self.resources:
            if resource.name == name:
                return resource
        raise unknown("record type", name, self.names)

    def __iter__(self) -> Iterator[Resource]:
        return iter(self.resources)

    @property
    def names(self) -> list[str]:
        """Names of the record types, in load order."""
        return [resource.name for resource in self.resources]


def load_package(*folders: str | Path) -> Package:
    """Read the record types declared in folders of Table Schemas.

    Parameters
    ----------
    *folders : str or Path
        Each holds a ``datapackage.json`` that names its schemas, or only schemas, ``<record type>.json``.

    Raises
    ------
    InputError
        If a folder or file is missing, is not JSON, has an unknown property or type, or a key names a column
        or record type that does not exist; or if a record type is declared twice.

    Examples
    --------
    >>> from retrain_eval.resources import resource
    >>> load_package(resource("data_schemas")).names  # doctest: +NORMALIZE_WHITESPACE
    ['person', 'displacement', 'programme', 'enrolment', 'wage_record', 'employer_link', 'coverage', 'linkage',
     'credential', 'cost', 'price']
    """
    found: dict[str, Resource] = {}
    places: dict[str, Path] = {}
    for folder in map(Path, folders):
        for name, title, description, path in _declared(folder):
            if name in places:
                raise InputError(f"record type {name!r} is declared twice", file=path, fix=f"also in {places[name]}")
            if name in RESERVED or name.startswith(_SCRATCH):
                raise InputError(f"a record type cannot be called {name!r}", file=path, rule="the store uses it")
            found[name], places[name] = _read(name, title, description, path), path
    for name, resource in found.items():
        for key in resource.foreign_keys:
            _check_reference(resource, key, found, places[name])
    return Package(tuple(found[name] for name in _load_order(found)))


def _declared(folder: Path) -> list[tuple[str, str, str, Path]]:
    """List the name, title, description and schema file of each record type in a folder."""
    if not folder.is_dir():
        raise InputError("there is no folder of schemas here", file=folder)
    package = folder / "datapackage.json"
    if package.exists():
        listed = _decode(package, _DataPackage).resources
        return [(item.name, item.title, item.description, folder / item.schema) for item in listed]
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InputError("the folder holds no schema", file=folder, fix="add <record type>.json, a Table Schema")
    return [(file.stem, file.stem.replace("_", " ").capitalize(), "", file) for file in files]


def _decode(file: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        raise InputError("there is no schema file", file=file) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # ValidationError is a DecodeError
        raise InputError("the schema does not hold", file=file, rule=str(error)) from None


def _read(name: str, title: str, description: str, file: Path) -> Resource:
    """Read one Table Schema and check what its JSON types cannot say."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise InputError(f"a record type cannot be called {name!r}", file=file, rule="lower case, digits, underscores")
    schema = _decode(file, _TableSchema)
    names = [field.name for field in schema.fields]
    if not names or len(set(names)) < len(names):
        raise InputError("a schema needs fields, each with a name of its own", file=file, value=", ".join(names))
    keys = (schema.primary_key, *schema.unique_keys, *(foreign.fields for foreign in schema.foreign_keys))
    for key in (*keys, *schema.order, *schema.distinct):
        for column in key:
            if column not in names:
                error = unknown("column in a key", column, names)
                raise InputError(str(error).splitlines()[0], file=file, fix=error.fix)
    for field in schema.fields:
        _check_field(field, file)
    by_name = {field.name: field for field in schema.fields}
    for pair in (*schema.order, *schema.distinct):
        _check_pair(by_name[pair[0]], by_name[pair[1]], pair in schema.order, file)
    canonical = json.dumps(msgspec.to_builtins(schema), sort_keys=True, ensure_ascii=False)
    return Resource(
        name=name,
        title=title,
        description=description,
        fields=schema.fields,
        primary_key=schema.primary_key,
        unique_keys=schema.unique_keys,
        foreign_keys=schema.foreign_keys,
        order=schema.order,
        distinct=schema.distinct,
        missing_values=schema.missing_values,
        sha256=hashlib.sha256(canonical.encode()).hexdigest(),
    )


def _check_field(field: Field, file: Path) -> None:
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
        with duckdb.connect() as con:
            con.execute("SELECT regexp_full_match('', $1)", [pattern]).fetchall()
    except duckdb.Error as error:
        return str(error)
    return None


def _check_pair(first: Field, second: Field, ordered: bool, file: Path) -> None:
    """Refuse a pair of columns that cannot be compared."""
    pair = f"{first.name}, {second.name}"
    if first.name == second.name:
        raise InputError("a column is compared with itself", file=file, column=pair)
    if (first.type, first.format, first.identifier) != (second.type, second.format, second.identifier):
        raise InputError("columns that are compared are of one type", file=file, column=pair)
    if ordered and first.type in ("string", "boolean"):
        raise InputError(f"columns of type {first.type} have no order", file=file, column=pair)


def _check_reference(resource: Resource, key: ForeignKey, known: dict[str, Resource], file: Path) -> None:
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


def _load_order(resources: dict[str, Resource]) -> list[str]:
    """Return the names as declared, but each after those that it refers to."""
    order: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise InputError("foreign keys run in a circle", value=" -> ".join((*path, name)))
        for key in resources[name].foreign_keys:
            if key.reference.resource not in (name, *order):
                visit(key.reference.resource, (*path, name))
        if name not in order:
            order.append(name)

    for name in resources:
        visit(name, ())
    return order
