"""Values of a study file that cannot be used: what is said of them, in the words of the file and with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from retrain_eval.common.errors import InputError

_AT = re.compile(r"(?P<said>.*?)(?: - at `\$(?P<place>.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<number>\d+)\]|(?P<any>\[\.\.\.\])")
_LACKS = re.compile(r"Object missing required field `(.+)`")
_EXPECTED = re.compile(
    r"Expected `(?P<kinds>[^`]+)`(?: (?P<sign>[<>]=?) (?P<bound>\S+?))?(?: of length (?P<length>(?:[<>]=? )?\d+))?"
    r"(?: matching regex (?P<pattern>.+?))?(?:, got .*)?"
)
_KINDS = {
    "int": "a whole number", "float": "a number", "str": "a text in quotes", "bool": "true or false",
    "array": "a list", "object": "a table",
}  # fmt: skip
_SIGNS = {">=": "of at least", "<=": "of at most", ">": "above", "<": "below"}
_FORMS = {"'^[a-z][a-z0-9_]*$'": "small letters, digits and _, with a letter first"}
Step = str | int


def unusable(error: msgspec.ValidationError, raw: Mapping[str, Any], kind: type[msgspec.Struct]) -> InputError:
    """Return what is wrong with a value: its section and key, the value itself, the rule, and how to mend it.

    Parameters
    ----------
    error : msgspec.ValidationError
        Why ``raw`` is no ``kind``.
    raw : mapping
        The study file as read.
    kind : type of Struct
        What it should be.

    Examples
    --------
    >>> from retrain_eval.plan.questions import Questions
    >>> raw = {"providers": {"placed_after": 0}}
    >>> try:
    ...     msgspec.convert(raw, Questions)
    ... except msgspec.ValidationError as error:
    ...     print(unusable(error, raw, Questions))
    placed_after of [providers] cannot be used
      column: placed_after
      value:  0
      rule:   a whole number of at least 1
      fix:    give such a value, or leave it out: it is then 4
    """
    matched = _AT.fullmatch(str(error))
    said, place = (matched["said"], matched["place"] or "") if matched else (str(error), "")
    steps = _named(place, str(error), raw, kind)
    if lacks := _LACKS.fullmatch(said):
        section = _section(steps)
        what = f"{lacks[1]} of {section} is missing" if steps else f"the section [{lacks[1]}] is missing"
        return InputError(what, fix=f"add {lacks[1]} to {section}" if steps else f"add [{lacks[1]}]")
    names = [step for step in steps if isinstance(step, str)]
    if len(names) < 2:  # a whole section
        what = f"[{names[0]}]" if names else "the study file"
        return InputError(f"{what} cannot be used", rule=_rule(said, ()))
    value = _at(raw, steps)
    if isinstance(value, Mapping):  # entries that do not go together: the section says which, and what to use
        what, _, use = said.partition("; ")
        own = f"of {_section(steps)}" in what
        return (
            InputError(what, fix=use or None)
            if own
            else InputError(f"{_section(steps)} cannot be used", rule=_rule(said, ()))
        )
    types, default = _declared(kind, names)
    fix = "give such a value"
    if default is not msgspec.NODEFAULT:
        fix += ", or leave it out" + (f": it is then {_shown(default)}" if _shown(default) else "")
    return InputError(
        f"{names[-1]} of {_section(names[:-1])} cannot be used",
        column=names[-1],
        value=value,
        rule=_rule(said, types),
        fix=fix,
    )


def in_file(error: InputError, path: Path) -> InputError:
    """Return an error that names the study file, if it names no file yet.

    Examples
    --------
    >>> print(in_file(InputError("no group", fix="add one"), Path("study.toml")))
    no group
      file:   study.toml
      fix:    add one
    """
    if error.file is not None or error.parts:
        return error
    return InputError(
        str(error).splitlines()[0],
        file=path,
        row=error.row,
        column=error.column,
        value=error.value,
        rule=error.rule,
        fix=error.fix,
    )


def check_once(place: str, asked: msgspec.Struct) -> None:
    """Refuse a list that names the same twice: strata asked together are the same in whatever order.

    Parameters
    ----------
    place : str
        The section, for the message.
    asked : Struct
        Its values.

    Raises
    ------
    InputError

    Examples
    --------
    >>> from retrain_eval.plan.questions import ForWhom
    >>> check_once("[questions.for_whom]", ForWhom(together=(("age", "sex"), ("sex", "age"))))
    Traceback (most recent call last):
    ...
    retrain_eval.common.errors.InputError: together in [questions.for_whom] repeats age and sex
      column: together
      value:  [['age', 'sex'], ['sex', 'age']]
      rule:   each is named once, in whatever order
      fix:    leave out what is named again
    """
    for column in asked.__struct_fields__:
        value = getattr(asked, column)
        lists = value.items() if isinstance(value, dict) else [("", value)]
        for key, names in lists:
            if not isinstance(names, tuple):
                continue
            alike = [frozenset(name) if isinstance(name, tuple) else name for name in names]
            twice = next((name for name, one in zip(names, alike, strict=True) if alike.count(one) > 1), None)
            if twice is not None:
                raise InputError(
                    f"{column}{f' of {key}' if key else ''} in {place} repeats {_told(twice)}",
                    column=column,
                    value=[list(name) if isinstance(name, tuple) else name for name in names],
                    rule="each is named once" + (", in whatever order" if isinstance(twice, tuple) else ""),
                    fix="leave out what is named again",
                )


def _told(name: object) -> str:
    return " and ".join(map(str, name)) if isinstance(name, tuple) else repr(name)


def _section(steps: list[Step] | list[str]) -> str:
    return f"[{'.'.join(str(step) for step in steps if isinstance(step, str))}]"


def _named(place: str, said: str, raw: Mapping[str, Any], kind: type[msgspec.Struct]) -> list[Step]:
    """Return the steps to a value, where a section of any name is named: it is the one that fails by itself."""
    steps: list[Step] = []
    for step in _STEP.finditer(place):
        if step["any"] is None:
            steps.append(step["name"] if step["number"] is None else int(step["number"]))
            continue
        within = _at(raw, steps)
        for name in within if isinstance(within, Mapping) else ():
            try:
                msgspec.convert(_with(raw, steps, {name: within[name]}), kind, strict=True)
            except msgspec.ValidationError as error:
                if str(error) == said:
                    steps.append(str(name))
                    break
        else:
            break
    return steps


def _at(raw: Any, steps: list[Step]) -> Any:
    for step in steps:
        raw = raw[step]
    return raw


def _with(raw: Any, steps: list[Step], value: Any) -> Any:
    """Return the same with another value at the end of these steps."""
    if not steps:
        return value
    first, *rest = steps
    changed = _with(raw[first], rest, value)
    if isinstance(raw, Mapping):
        return {**raw, first: changed}
    return [changed if number == first else item for number, item in enumerate(raw)]


def _declared(kind: Any, names: list[str]) -> tuple[tuple[Any, ...], Any]:
    """Return the choices of a key, if it has a closed list of them, and its default."""
    default: Any = msgspec.NODEFAULT
    for name in names:
        fields = [field for struct in _structs(kind) for field in msgspec.structs.fields(struct)]
        found = next((field for field in fields if field.encode_name == name), None)
        if found is not None:  # else it is the name of a section, such as [strata.NAME]
            kind, default = found.type, found.default
    return tuple(word for part in _parts(kind) if get_origin(part) is Literal for word in get_args(part)), default


def _parts(kind: Any) -> Iterator[Any]:
    yield kind
    if get_origin(kind) is not Literal:
        for part in get_args(kind):
            yield from _parts(part)


def _structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
    return (part for part in _parts(kind) if isinstance(part, type) and issubclass(part, msgspec.Struct))


def _rule(said: str, choices: tuple[Any, ...]) -> str:
    """Return what a value must be, in words."""
    if choices and said.startswith("Invalid enum value"):
        return f"one of {', '.join(map(str, choices))}"
    found = _EXPECTED.fullmatch(said)
    if found is None:
        return said.replace("`", "")
    kinds = [_KINDS.get(kind, kind) for kind in found["kinds"].split(" | ") if kind != "null"]
    rule = " or ".join(dict.fromkeys(kinds))
    if found["sign"]:
        rule += f" {_SIGNS[found['sign']]} {float(found['bound']):.15g}"
    if found["length"]:
        *sign, number = found["length"].split()
        rule += f" {' '.join(['with', *(['at least' if sign[0] == '>=' else 'at most'] if sign else [])])} {number} "
        rule += "entry" if number == "1" else "entries"
    if found["pattern"]:
        rule += f": {_FORMS.get(found['pattern'], 'of the form ' + found['pattern'])}"
    return rule


def _shown(default: Any) -> str:
    """Return a default as a study file states it; empty if there is none to state."""
    if default is None or isinstance(default, dict | tuple | msgspec.Struct):
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)
