"""Where the fields of a layout stand in a raw file: spellings of headers, numbers of elements, positions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from retrain_eval.common.errors import InputError, together, unknown
from retrain_eval.common.shown import summarised
from retrain_eval.common.untrusted import shown
from retrain_eval.common.withholding import withhold_header
from retrain_eval.records.layouts.description import Field, Layout
from retrain_eval.records.layouts.raw_table import RawTable

_POSITIONS = re.compile(r"(\d{1,6})-(\d{1,6})")
Positions = tuple[int, int]
Place = str | Positions | None  # a header, positions, or nothing: the file does not have it


@summarised
@dataclass(frozen=True)
class Found:
    """Where each field stands: one place, or one for each repetition; and the fields that the file does not have."""

    places: Mapping[str, tuple[Place, ...]]
    unread: tuple[str, ...] = ()

    @property
    def absent(self) -> list[str]:
        """Fields that the file does not have at all."""
        return [name for name, places in self.places.items() if not any(places)]

    def where(self, field: str) -> str:
        """Return the place of a field in words, as messages name it.

        Examples
        --------
        >>> Found({"wage": ((77, 86),), "start": ("PIRL1302", None)}).where("wage")
        'positions 77-86'
        """
        return ", ".join(place if isinstance(place, str) else f"positions {place[0]}-{place[1]}"
                         for place in self.places.get(field, ()) if place is not None)  # fmt: skip


def normal(text: str) -> str:
    """Return a header without what does not count: case, spaces, hyphens, underscores and dots.

    Examples
    --------
    >>> normal("PIRL 108-C") == normal("pirl_108c")
    True
    """
    return re.sub(r"[\s_.\-]+", "", text).casefold()


def find_fields(layout: Layout, raw: RawTable, own: Mapping[str, str]) -> Found:
    """Return where the fields stand in a raw file.

    Parameters
    ----------
    layout : Layout
    raw : RawTable
    own : mapping
        Header, or positions such as ``77-86``, of fields that a study names itself.

    Raises
    ------
    InputError
        If a field that the layout requires is not there, a header could be two fields, or two headers one field.
    """
    for name in own:
        if name not in layout.fields:
            error = unknown(f"field of the layout {layout.name}", shown(name), layout.fields)
            raise InputError(str(error).splitlines()[0], file="study.toml", column="fields", fix=error.fix)
    headers: dict[str, list[str]] = {}
    for header in raw.columns:
        headers.setdefault(normal(header), []).append(header)
    places: dict[str, tuple[Place, ...]] = {}
    faults: list[InputError] = []
    for name, field in layout.fields.items():
        try:
            places[name] = _places(name, field, layout, raw, headers, own)
        except InputError as error:
            faults.append(error)
    known = [place for found in places.values() for place in found if place is not None]
    if not faults and not known:
        raise InputError(
            f"the first line of the file does not name any field of the layout {layout.name}",
            file=raw.path, row=1, rule=f"a header; this line has {len(raw.columns)} fields",
            fix="is this the right layout? [sources.NAME] fields = {field = \"header\"} names headers of your own",
        )  # fmt: skip
    taken: dict[Place, str] = {}
    for name, found in places.items():
        for place in set(found) - {None}:
            other = layout.fields[taken.get(place, name)]
            one = layout.fields[name]
            alike = (one.names, one.element) == (other.names, other.element)  # one column that is read in two ways
            if place in taken and isinstance(place, str) and not alike:
                faults.append(InputError("a column is two fields of the layout", file=raw.path, row=1,
                                         column=_safe(place), value=f"{taken[place]}, {name}"))  # fmt: skip
            taken[place] = name
    missing = [name for name, field in layout.fields.items() if field.required and not any(places.get(name, (None,)))]
    if missing and not faults:
        words = ", ".join(f"{name} ({_spelled(layout.fields[name], layout)})" for name in missing)
        faults.append(
            InputError(
                f"the file lacks fields that the layout {layout.name} needs: {words}",
                file=raw.path,
                row=1,
                rule="required",
                fix='[sources.NAME] fields = {field = "header"} names a header of your own',
            )
        )
    if faults:
        raise together(faults, "{n} fields cannot be found in the file")
    unread = tuple(header for header in raw.columns if header not in taken)
    return Found(places, tuple(withhold_header(unread, known=[str(place) for place in known] or ("",))))


def _spelled(field: Field, layout: Layout) -> str:
    """Return how a field would be spelled, for messages."""
    if field.at:
        return f"positions {field.at[0]}-{field.at[1]}"
    elements = (field.element,) if isinstance(field.element, str) else field.element
    if elements and elements[0] and layout.file.spellings:
        return layout.file.spellings[0].replace("{}", elements[0])
    return field.names[0] if field.names else "no spelling"


def _places(
    name: str, field: Field, layout: Layout, raw: RawTable, headers: Mapping[str, list[str]], own: Mapping[str, str]
) -> tuple[Place, ...]:
    if raw.fixed_width:
        if name in own:
            found = _POSITIONS.fullmatch(own[name])
            if not found or not 1 <= int(found[1]) <= int(found[2]):
                raise InputError("the place of a field is its first and last position", file="study.toml",
                                 column=name, value=shown(own[name]), rule="such as 77-86")  # fmt: skip
            return ((int(found[1]), int(found[2])),)
        return (field.at,)
    if name in own:
        exact = [header for header in raw.columns if header == own[name]] or headers.get(normal(own[name]), [])
        if len(exact) != 1:
            raise InputError(f"the file has no column for the field {name}" if not exact else
                             f"{len(exact)} columns could be the field {name}", file=raw.path, row=1,
                             column=shown(own[name]), rule="[sources.NAME] fields names this header")  # fmt: skip
        return (exact[0],)
    elements = (field.element,) if isinstance(field.element, str) else field.element
    places: list[Place] = []
    for element in elements:
        spelled = [text.replace("{}", element) for text in layout.file.spellings] if element else []
        places.append(_one(name, [*spelled, *(field.names if len(elements) == 1 else ())], raw, headers))
    return tuple(places)


def _one(name: str, spellings: list[str], raw: RawTable, headers: Mapping[str, list[str]]) -> str | None:
    """Return the one header that has one of these spellings; a star at the end is a space and further words."""
    found: list[str] = []
    for text in spellings:
        if text.endswith("*"):
            begun = re.compile(rf"{re.escape(text[:-1].strip())}\s+\D.*", re.IGNORECASE | re.DOTALL)
            found += [header for header in raw.columns if begun.fullmatch(header.strip())]
        else:
            found += headers.get(normal(text), [])
    found = list(dict.fromkeys(found))
    if len(found) > 1:
        raise InputError(f"{len(found)} columns could be the field {name}", file=raw.path, row=1,
                         column=", ".join(map(_safe, found)), rule="one column for each field",
                         fix=f"name the right one: [sources.NAME] fields = {{{name} = \"header\"}}")  # fmt: skip
    return found[0] if found else None


def _safe(header: str) -> str:
    return shown(withhold_header([header])[0])
