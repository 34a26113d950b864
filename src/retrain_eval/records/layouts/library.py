"""The layouts that ship and those of a study: read as untrusted text, and checked before anything is compiled."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import msgspec

from retrain_eval.common.errors import InputError, together, unknown
from retrain_eval.common.resources import resource
from retrain_eval.common.untrusted import own_bytes, parse_toml, shown
from retrain_eval.records.layouts.description import Column, Field, Layout, Option, RecordRule

Chosen = Mapping[str, str | float | tuple[str, ...]]
_REFERENCE = re.compile(r"\$([a-z][a-z0-9_]*)")
_MOST = 2_000  # fields, columns and codes of a layout in all


def shipped_layouts() -> dict[str, Path]:
    """Return the layouts that the package ships, by name."""
    folder = resource("data_schemas") / "layouts"
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def read_shipped(path: Path) -> Layout:
    """Return a layout as readers look at it: an option that has to be chosen has its first choice."""
    raw = parse_toml(own_bytes(path, "the layout"))
    options = msgspec.convert(raw.get("options", {}), dict[str, Option], strict=True)
    return read_layout(
        path, {name: one.choices[0] for name, one in options.items() if one.choices and not one.default}
    )[0]


def find_layout(name: str, folder: Path) -> Path:
    """Return the file of a layout: one that ships, or a file next to the study, such as ``my-wages.toml``.

    Raises
    ------
    InputError
        If there is none; the shipped ones are listed.
    """
    shipped = shipped_layouts()
    if name in shipped:
        return shipped[name]
    if name.endswith(".toml") and (folder / name).is_file():
        return folder / name
    error = unknown("layout", shown(name), shipped)
    fix = f"{error.fix}; or a file next to the study such as my-wages.toml"
    raise InputError(str(error).splitlines()[0], file=folder / name if name.endswith(".toml") else None, fix=fix)


def read_layout(path: Path, chosen: Chosen | None = None) -> tuple[Layout, str]:
    """Return a layout with the options that a study chooses, and the SHA-256 of both.

    Raises
    ------
    InputError
        If the file is not TOML, says what no layout can say, or refers to fields that it does not declare; or if an
        option does not exist or cannot have this value.
    """
    try:
        content = own_bytes(path, "the layout")
        raw = parse_toml(content)
    except InputError:
        raise
    except OSError as error:
        raise InputError("the layout cannot be read", file=path, rule=error.strerror) from None
    except (ValueError, RecursionError) as error:
        raise InputError("the layout is not valid TOML", file=path, rule=shown(error, 300)) from None
    values = _options(raw, chosen or {}, path)
    try:
        layout = msgspec.convert(_filled(raw, values, path), Layout, strict=True)
    except msgspec.ValidationError as error:
        raise InputError("the layout does not hold", file=path, rule=shown(error, 300)) from None
    if faults := list(_faults(layout, path)):
        raise together(faults, "{n} entries of the layout do not hold")
    canonical = msgspec.json.encode(sorted((name, value) for name, value in values.items()))
    return layout, hashlib.sha256(content + b"\0" + canonical).hexdigest()


def _options(raw: Mapping[str, Any], chosen: Chosen, path: Path) -> dict[str, str | tuple[str, ...]]:
    """Return the value of every option: the study's choice, or the default."""
    try:
        options = msgspec.convert(raw.get("options", {}), dict[str, Option], strict=True)
    except msgspec.ValidationError as error:
        raise InputError("the layout does not hold", file=path, rule=f"[options]: {shown(error, 300)}") from None
    for name in chosen:
        if name not in options:
            fault = unknown(f"option of the layout {path.stem}", shown(name), options)
            raise InputError(str(fault).splitlines()[0], file="study.toml", column="options", fix=fault.fix)
    return {name: _value(name, option, chosen.get(name, option.default)) for name, option in options.items()}


def _value(name: str, option: Option, value: object) -> str | tuple[str, ...]:
    """Return the value of an option as text, or as a list of codes."""
    if not option.choices and isinstance(option.default, tuple):
        return tuple(map(str, value)) if isinstance(value, (tuple, list)) else (str(value),)
    text = str(value)
    if option.choices:
        if not text and option.default == "" and "" not in option.choices:
            raise InputError(
                f"the option {name} of the layout has to be chosen",
                file="study.toml",
                column="options",
                rule=f"one of {', '.join(option.choices)}",
                fix=f"--option {name}={option.choices[0]}, or in [sources.NAME]: "
                f'options = {{{name} = "{option.choices[0]}"}}',
            )
        if text not in option.choices:
            fault = unknown(f"value of the option {name}", shown(text), option.choices)
            raise InputError(str(fault).splitlines()[0], file="study.toml", column=name, fix=fault.fix)
    elif text:
        try:
            number = Decimal(text)
        except InvalidOperation:
            number = Decimal("nan")
        if not number.is_finite() or abs(number) > 10**12:
            raise InputError("an option must be a number", file="study.toml", column=name, value=shown(text))
    return text


def _filled(item: Any, values: Mapping[str, str | tuple[str, ...]], path: Path) -> Any:
    """Return a layout with the chosen text wherever an option is named."""
    if isinstance(item, str) and (found := _REFERENCE.fullmatch(item)):
        if found[1] not in values:
            error = unknown("option", f"${found[1]}", values)
            raise InputError(str(error).splitlines()[0], file=path, fix=error.fix)
        value = values[found[1]]
        return list(value) if isinstance(value, tuple) else value
    if isinstance(item, dict):
        return {key: value if key == "options" else _filled(value, values, path) for key, value in item.items()}
    if isinstance(item, list):
        filled = [(_filled(one, values, path), one) for one in item]
        return [part for new, old in filled for part in (new if isinstance(old, str) and isinstance(new, list)
                                                         else [new])]  # fmt: skip
    return item


def _faults(layout: Layout, path: Path) -> Iterator[InputError]:
    """Yield what the types of a layout cannot say."""

    def fault(message: str, place: str, value: object = None) -> InputError:
        return InputError(message, file=path, column=place, value=value if value is None else shown(value))

    sizes = [len(layout.fields), *(len(one.recode) for one in layout.fields.values())]
    sizes += [len(rule.columns) for rule in layout.records.values()]
    if sum(sizes) > _MOST or not layout.fields or not layout.records or not layout.origins:
        yield fault(
            f"a layout has origins, fields and records, and at most {_MOST:,} fields, codes and columns", "name"
        )
    for name, one in layout.fields.items():
        yield from (fault(text, f"fields.{name}") for text in _field_faults(name, one, layout))
    known = set(layout.fields)
    for name, rule in layout.records.items():
        for place, used in _uses(rule):
            if used and used not in known:
                yield fault(
                    "a record refers to a field that the layout does not declare", f"records.{name}.{place}", used
                )
        yield from (fault(text, f"records.{name}") for text in _record_faults(rule, layout))
    if layout.crosswalk is not None and layout.crosswalk.field not in known:
        yield fault("the crosswalk refers to a field that the layout does not declare", "crosswalk",
                    layout.crosswalk.field)  # fmt: skip


def _field_faults(name: str, one: Field, layout: Layout) -> Iterator[str]:
    ways = [bool(one.date), one.number is not None, bool(one.recode)]
    if sum(ways) > 1:
        yield "a field is a date, a number or a code"
    if not (one.names or one.element or one.at):
        yield "a field needs names, an element or positions"
    if one.element and not layout.file.spellings:
        yield "an element needs [file] spellings"
    if any(text.count("{}") != 1 for text in layout.file.spellings):
        yield "a spelling of [file] holds {} once, where the number of the element stands"
    if one.at is not None and not 1 <= one.at[0] <= one.at[1] <= 100_000:
        yield "positions are the first and the last, from 1"
    if one.lookup and not re.fullmatch(r"[a-z][a-z0-9_-]*", one.lookup):
        yield "a lookup is the name of a reference table, without .csv"
    if name.startswith("_"):
        yield "the name of a field begins with a letter"


def _record_faults(rule: RecordRule, layout: Layout) -> Iterator[str]:
    for name, one in rule.columns.items():
        if isinstance(one, Column):
            given = (one.field, one.first_of, one.joined, one.quarter, one.text, one.each)
            if sum(value not in ("", (), None) for value in given) != 1:
                yield f"column {name}: exactly one of field, first_of, joined, quarter, text and each is given"
            if one.each and len(one.each) != rule.repeat:
                yield f"column {name}: each has {len(one.each)} texts, and repeat is {rule.repeat}"
            if one.part != "value" and (not one.field or not layout.fields.get(one.field, Field()).date):
                yield f"column {name}: the {one.part} is that of a date"
            if one.at_least is not None and (not one.field or layout.fields.get(one.field, Field()).number is None):
                yield f"column {name}: at_least compares a number"
            number, of_year = r"\d{1,12}(\.\d{1,6})?", r"\d{4}:\d{1,12}(\.\d{1,6})?"
            bounds = (one.at_least,) if isinstance(one.at_least, str) and one.at_least else one.at_least or ()
            if any(not re.fullmatch(number if isinstance(one.at_least, str) else of_year, text) for text in bounds):
                yield f'column {name}: at_least is a number, or a list such as ["2019:220", "2020:225"]'
            if bounds and isinstance(one.at_least, tuple) and not layout.fields.get(one.on, Field()).date:
                yield f"column {name}: a list in at_least needs a date in on, whose year decides"
    if rule.netting is not None and rule.splitting is not None:
        yield "lines are netted or spells are split, not both"
    if rule.splitting is not None and rule.repeat > 1:
        yield "spells are split of rows that hold one record each"
    if (rule.netting is not None or rule.splitting is not None) and rule.one_per:
        yield "one_per does not go with netting or splitting"
    for used in used_fields(rule):
        elements = layout.fields.get(used, Field()).element
        if isinstance(elements, tuple) and len(elements) != rule.repeat:
            yield f"field {used} has {len(elements)} elements, and repeat is {rule.repeat}"
    own = set(rule.columns)
    wanted = [*rule.one_per]
    if rule.netting is not None:
        wanted.append(rule.netting.amount)
    if rule.splitting is not None:
        wanted += [*rule.splitting.main, *rule.splitting.any]
        if own & {rule.splitting.amount, rule.splitting.period}:
            yield "the amount and the period of a split spell follow from it, and are not columns"
    if missing := [name for name in wanted if name not in own]:
        yield f"columns that the record does not have: {', '.join(missing)}"


def _uses(rule: RecordRule) -> Iterator[tuple[str, str]]:
    """Yield each place of a record rule that names a field, and the name."""
    for name, one in rule.columns.items():
        for used in fields_of(one):
            yield f"columns.{name}", used
    for condition in rule.where:
        yield "where", condition.field
    yield "latest", rule.latest
    if rule.splitting is not None:
        yield from (("splitting", used) for used in (rule.splitting.begin, rule.splitting.end, rule.splitting.daily))


def fields_of(column: str | Column) -> tuple[str, ...]:
    """Return the fields that a column follows from.

    Examples
    --------
    >>> fields_of("sex"), fields_of(Column(quarter=("year", "quarter"))), fields_of(Column(text="UI"))
    (('sex',), ('year', 'quarter'), ())
    """
    if isinstance(column, str):
        return (column,)
    named = (column.field,) if column.field else ()
    dated = (column.on,) if column.on else ()
    return (*named, *column.first_of, *column.joined, *(column.quarter or ()), *dated)


def used_fields(rule: RecordRule) -> tuple[str, ...]:
    """Return the fields that a record rule needs, each once."""
    return tuple(dict.fromkeys(used for _, used in _uses(rule) if used))
