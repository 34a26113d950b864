"""Versions of a record type's schema: whether rows loaded under an earlier one hold under a later one."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from retrain_eval.records.schema.resource import Resource

_TEXTS = ("title", "description", "unit", "example", "rdfType")  # what changes no row


def definition(resource: Resource) -> str:
    """Return what a schema says about rows, as canonical JSON: columns, rules and keys, but no descriptions."""
    fields = {
        field.name: {key: value for key, value in msgspec.to_builtins(field).items() if key not in _TEXTS}
        for field in resource.fields
    }
    rules = {name: getattr(resource, name) for name in ("missing_values", "primary_key", "unique_keys")}
    pairs = {name: getattr(resource, name) for name in ("order", "distinct")}
    references = [
        [list(key.fields), key.reference.resource, list(key.reference.fields)] for key in resource.foreign_keys
    ]
    return json.dumps({"fields": fields, **rules, **pairs, "foreign_keys": references}, sort_keys=True)


def difference(old: str, new: str) -> str | None:
    """Say why rows of an old definition do not hold under a new one; None if they do.

    They do where nothing but descriptions has changed, columns have been added that may be missing, or a column takes
    further values beside those that it took.

    Examples
    --------
    >>> text = '{"fields": {"id": {"type": "%s", "constraints": {}}%s}, "missing_values": [""], "primary_key": ["id"], '
    >>> text += '"unique_keys": [], "order": [], "distinct": [], "foreign_keys": []}'
    >>> more = ', "age": {"type": "integer", "constraints": {"required": %s}}'
    >>> was = text % ("string", "")
    >>> difference(was, text % ("string", more % "false"))
    >>> difference(was, text % ("string", more % "true")), difference(was, text % ("integer", ""))
    ("the new column 'age' must not be missing", "column 'id' has changed")
    >>> difference(text % ("string", more % "false"), was)
    "column 'age' is no longer declared"
    """
    before, after = json.loads(old), json.loads(new)
    for name, field in before["fields"].items():
        if name not in after["fields"]:
            return f"column {name!r} is no longer declared"
        if _without_new_values(after["fields"][name], field) != field:
            return f"column {name!r} has changed"
    added = {name: field for name, field in after["fields"].items() if name not in before["fields"]}
    for name, field in added.items():
        if field["constraints"].get("required"):
            return f"the new column {name!r} must not be missing"
    for rule, words in (("missing_values", "what is missing"), ("primary_key", "the primary key"),
                        ("unique_keys", "a unique key")):  # fmt: skip
        if before[rule] != after[rule]:
            return f"{words} has changed"
    for rule, words in (("order", "order"), ("distinct", "difference"), ("foreign_keys", "reference")):
        for item in after[rule]:
            # a rule about a column that earlier rows do not have holds for them
            if item not in before[rule] and not set(_columns(item)) & set(added):
                return f"there is a new rule of {words} for {', '.join(_columns(item))}"
    return None


def _without_new_values(field: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return a field as if it took only the listed values that it took before.

    Examples
    --------
    >>> was, now = ({"constraints": {"enum": values}} for values in (["a"], ["a", "b"]))
    >>> _without_new_values(now, was) == was, _without_new_values(was, now) == now
    (True, False)
    """
    values, known = (one["constraints"].get("enum", []) for one in (field, before))
    if not values or not known:
        return field
    return {**field, "constraints": {**field["constraints"], "enum": [value for value in values if value in known]}}


def _columns(rule: list[Any]) -> list[str]:
    """Return the columns of a pair, or of a foreign key."""
    return rule[0] if isinstance(rule[0], list) else rule
