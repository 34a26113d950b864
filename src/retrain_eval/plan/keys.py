"""Keys of a study file: those that no section declares, and words that are none of a key's choices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from retrain_eval.common.errors import InputError, together, unknown


def check_keys(raw: Mapping[str, Any], kind: Any, place: str, path: Path) -> None:
    """Name every key that no section declares, with the nearest one that exists, and every word that is no choice."""
    faults = list(_faults(raw, kind, place, path))
    if faults:
        raise together(faults, "{n} entries of the study file do not hold")


def _faults(raw: Mapping[str, Any], kind: Any, place: str, path: Path) -> Iterator[InputError]:
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    for key, value in raw.items():
        if key not in fields:
            error = unknown(f"key in [{place}]" if place else "section", key, fields)
            yield InputError(str(error).splitlines()[0], file=path, fix=error.fix)
            continue
        if (kinds := _tagged(fields[key])) and isinstance(value, Mapping):  # [designs]: a section says which it is
            for name, section in value.items():
                if isinstance(section, Mapping):
                    yield from _faults_of_kind(section, kinds, f"{key}.{name}", path)
            continue
        choices = _choices(fields[key])
        for word in (value if isinstance(value, list) else [value]) if choices else []:
            if isinstance(word, str) and word not in choices:
                error = unknown(f"{key} in [{place}]", word, choices)
                yield InputError(str(error).splitlines()[0], file=path, column=key, value=word, fix=error.fix)
        for nested in (fields[key], *get_args(fields[key])):
            if isinstance(nested, type) and issubclass(nested, msgspec.Struct) and isinstance(value, Mapping):
                # [strata] holds named sections, the others are sections themselves
                named = fields[key] is not nested and None.__class__ not in get_args(fields[key])
                inside = f"{place}.{key}" if place else key
                for name, section in value.items() if named else [("", value)]:
                    if isinstance(section, Mapping):
                        yield from _faults(section, nested, f"{inside}.{name}" if named else inside, path)


def _faults_of_kind(
    section: Mapping[str, Any], kinds: Mapping[str, Any], place: str, path: Path
) -> Iterator[InputError]:
    """Yield the faults of a section that says by its ``kind`` which keys it may have."""
    kind = section.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        error = unknown(f"kind of [{place}]", "" if kind is None else kind, kinds)
        yield InputError(str(error).splitlines()[0], file=path, column="kind", fix=error.fix)
        return
    yield from _faults({key: value for key, value in section.items() if key != "kind"}, kinds[kind], place, path)


def _tagged(kind: Any) -> dict[str, Any]:
    """Return, by their kind, the sections that a dictionary of named sections may hold; none of any other type."""
    if get_origin(kind) is not dict:
        return {}
    structs = [part for part in get_args(get_args(kind)[1]) if isinstance(part, type)]
    tags = {part.__struct_config__.tag: part for part in structs if issubclass(part, msgspec.Struct)}
    return {str(tag): part for tag, part in tags.items() if tag is not None}


def _choices(kind: Any) -> tuple[str, ...]:
    """Return the words that a key may hold, where they are listed; none where it may hold any."""
    if get_origin(kind) is Literal:
        return tuple(word for word in get_args(kind) if isinstance(word, str))
    return tuple(word for part in get_args(kind) for word in _choices(part))
