"""Record types as Frictionless Table Schemas declare them, read and checked.

The JSON files in ``data_schemas/`` (Data Package and Table Schema, version 2) are the only place where a column
is declared. A study may carry its own ``data_schemas/`` folder; its record types stand beside the common ones
and need no code. What goes beyond Table Schema is listed in `retrain_eval.records.schema.descriptors`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import structs

from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.text.missing_values import texts_of
from retrain_eval.common.untrusted import MAX_BYTES, own_bytes
from retrain_eval.records.schema.descriptors import Constraints, DataPackage, Field, ForeignKey, TableSchema, listed
from retrain_eval.records.schema.resource import Resource
from retrain_eval.records.schema.rules import check_field, check_pair, check_reference

__all__ = ["RESERVED", "Constraints", "Field", "ForeignKey", "Package", "Resource", "load_package"]

T = TypeVar("T")
# names of the store's own tables, and of the lasting ones that are made from records. Temporary tables of
# `retrain_eval.common.sql_steps` need no entry: their names begin with an underscore, as no record type's can
RESERVED = (
    "archive", "baseline", "derived", "described", "imports", "job", "left_out", "loads", "panel", "paths", "places",
    "quality", "refused", "refused_row", "rejects", "schemas", "settings", "source", "spells", "superseded", "vintages",
)  # fmt: skip
_SCRATCH = "ingest_"  # what files are checked in


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
    >>> from retrain_eval.common.resources import resource
    >>> load_package(resource("data_schemas")).names  # doctest: +NORMALIZE_WHITESPACE
    ['person', 'displacement', 'programme', 'enrolment', 'wage_record', 'employer_link', 'coverage', 'linkage',
     'observation', 'credential', 'skill_gain', 'registrant', 'cost', 'price']
    """
    found: dict[str, Resource] = {}
    places: dict[str, Path] = {}
    for place, folder in enumerate(map(Path, folders)):
        declared = _declared(folder)
        if not declared and not place:  # what a study may add to is not there
            raise InputError("the folder holds no schema", file=folder, fix="add <record type>.json, a Table Schema")
        for name, title, description, path in declared:
            if name in places and _same(path, places[name]):
                continue  # a copy of the schemas that ship
            if name in places:
                raise InputError(f"record type {name!r} is declared twice", file=path, fix=f"also in {places[name]}")
            if name in RESERVED or name.startswith(_SCRATCH):
                raise InputError(f"a record type cannot be called {name!r}", file=path, rule="the store uses it")
            found[name], places[name] = _read(name, title, description, path), path
    for name, resource in found.items():
        for key in resource.foreign_keys:
            check_reference(resource, key, found, places[name])
    return Package(tuple(found[name] for name in _load_order(found)))


def _declared(folder: Path) -> list[tuple[str, str, str, Path]]:
    """List the name, title, description and schema file of each record type in a folder."""
    if not folder.is_dir():
        raise InputError("there is no folder of schemas here", file=folder)
    package = folder / "datapackage.json"
    if package.exists():
        listed = _decode(package, DataPackage).resources
        return [(item.name, item.title, item.description, folder / item.schema) for item in listed]
    files = sorted(folder.glob("*.json"))
    return [(file.stem, "", "", file) for file in files]


def _decode(file: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(own_bytes(file, "the schema", MAX_BYTES), type=kind)
    except FileNotFoundError:
        fix = f"put it back, or drop its entry from {file.parent / 'datapackage.json'}"
        raise InputError("there is no schema file", file=file, fix=fix) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # ValidationError is a DecodeError
        raise InputError("the schema does not hold", file=file, rule=str(error)) from None


def _read(name: str, title: str, description: str, file: Path) -> Resource:
    """Read one Table Schema and check what its JSON types cannot say."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise InputError(f"a record type cannot be called {name!r}", file=file, rule="lower case, digits, underscores")
    schema = _decode(file, TableSchema)
    names = [field.name for field in schema.fields]
    if not names or len(set(names)) < len(names):
        raise InputError("a schema needs fields, each with a name of its own", file=file, value=", ".join(names))
    primary = listed(schema.primary_key)
    foreign_keys = tuple(key.normal(name) for key in schema.foreign_keys)
    keys = (primary, *schema.unique_keys, *(foreign.fields for foreign in foreign_keys))
    for key in (*keys, *schema.order, *schema.distinct):
        for column in key:
            if column not in names:
                error = unknown("column in a key", column, names)
                raise InputError(str(error).splitlines()[0], file=file, fix=error.fix)
    for field in schema.fields:
        check_field(field, file)
    by_name = {field.name: field for field in schema.fields}
    for pair in (*schema.order, *schema.distinct):
        check_pair(by_name[pair[0]], by_name[pair[1]], pair in schema.order, file)
    fields = tuple(structs.replace(field, title=field.title or _readable(field.name)) for field in schema.fields)
    canonical = json.dumps(_without_words(msgspec.to_builtins(schema)), sort_keys=True, ensure_ascii=False)
    return Resource(
        name=name,
        title=title or schema.title or _readable(name),
        description=description or schema.description,
        fields=fields,
        primary_key=primary,
        unique_keys=schema.unique_keys,
        foreign_keys=foreign_keys,
        order=schema.order,
        distinct=schema.distinct,
        missing_values=texts_of(schema.missing_values),
        sha256=hashlib.sha256(canonical.encode()).hexdigest(),
        fields_match=schema.fields_match or "superset",
    )


def _readable(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _without_words(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without what it says of itself: two that differ in that alone are one version."""
    kept = {key: value for key, value in schema.items() if key not in ("name", "title", "description")}
    kept["fieldsMatch"] = kept["fieldsMatch"] or "superset"
    kept["primaryKey"] = list(listed(kept["primaryKey"]))
    kept["fields"] = [
        {key: value for key, value in field.items() if key not in ("example", "rdfType")} for field in kept["fields"]
    ]
    return kept


def _same(one: Path, other: Path) -> bool:
    """Return whether two schema files say the same."""
    try:
        return bool(msgspec.json.decode(one.read_bytes()) == msgspec.json.decode(other.read_bytes()))
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return False


def _load_order(resources: dict[str, Resource]) -> list[str]:
    """Return the names as declared, but each after those that it refers to."""
    refers = {
        name: [key.reference.resource for key in resource.foreign_keys if key.reference.resource != name]
        for name, resource in resources.items()
    }
    needed: dict[str, list[str]] = {}  # by record type: those that it needs and itself, in load order
    try:
        for name in TopologicalSorter(refers).static_order():
            needed[name] = _distinct(*(needed[other] for other in refers[name]), [name])
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise InputError("foreign keys refer to each other in a circle", value=circle) from None
    return _distinct(*(needed[name] for name in resources))


def _distinct(*lists: list[str]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(lists)))
