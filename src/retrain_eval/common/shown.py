"""What an object shows of itself in a notebook, a log or a traceback: its kind and size, never people.

A dataclass prints its fields, and a DuckDB relation, a frame or an array prints its rows: twenty people, because a cell
ended with the name of a sample. So every dataclass of the package that can hold rows is `summarised`,
and ``tests/attacks/test_person_rows.py`` fails for one that is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

Kind = TypeVar("Kind", bound=type)

_NAMES = 8  # of columns or keys
_LONGEST = 60  # characters of a text


class bound(partial[Any]):
    """A partial function that does not print its arguments, which can be frames of people.

    Examples
    --------
    >>> bound(sum, [730411001])
    <function sum>
    """

    def __repr__(self) -> str:
        return f"<function {getattr(self.func, '__name__', '')}>".replace(" >", ">")


def summarised(kind: Kind) -> Kind:
    """Make the objects of a dataclass show a summary of their fields instead of the contents.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import pandas as pd
    >>> @summarised
    ... @dataclass(frozen=True)
    ... class Drawn:
    ...     unit: str
    ...     people: pd.DataFrame
    >>> Drawn("ssn", pd.DataFrame({"ssn": ["123-45-6789"], "pay": [100.0]}))
    Drawn(unit='ssn', people=<DataFrame of 1 row: ssn, pay>)
    """
    shown: Callable[[Any], str] = summary
    setattr(kind, "__repr__", shown)  # noqa: B010 - an assignment to a method is an error to mypy
    return kind


def summary(holder: Any) -> str:
    """Return the name of an object's class and a summary of each field that is shown."""
    parts = [
        f"{field.name}={described(getattr(holder, field.name, None))}"
        for field in fields(holder)
        if field.repr and not field.name.startswith("_")
    ]
    return f"{type(holder).__name__}({', '.join(parts)})"


def described(value: object) -> str:
    """Return a plain value, or the kind and size of an object; never its contents.

    Examples
    --------
    >>> described(3), described("pay"), described(("age", "sex")), described(np.array([123456789]))
    ('3', "'pay'", "('age', 'sex')", '<ndarray (1)>')
    >>> described({"123-45-6789": 1.0, "pay": 2.0}), described(described)
    ('<dict of 2>', '<function>')
    """
    kind = type(value).__name__
    if value is None or isinstance(value, (bool, int, float, np.generic)):
        return str(value)
    if isinstance(value, Path):
        return repr(str(value))
    if isinstance(value, str):
        return repr(value) if len(value) <= _LONGEST else f"<text of {len(value)} characters>"
    if isinstance(value, (tuple, list)):
        return repr(value) if _are_names(value) else f"<{kind} of {len(value)}>"
    shape = getattr(value, "shape", None)
    names = getattr(value, "column_names", getattr(value, "columns", None))  # of Arrow tables; of frames and relations
    if names is not None:
        # counting the rows of a relation takes a query
        rows = shape[0] if isinstance(shape, tuple) and kind != "DuckDBPyRelation" else None
        counted = "" if rows is None else f" of {rows} row{'' if rows == 1 else 's'}"
        return f"<{kind}{counted}: {_listed(names)}>"
    if isinstance(shape, tuple):
        return f"<{kind} ({', '.join(map(str, shape))})>"
    if callable(value):
        return "<function>"
    if isinstance(value, Sized):
        return f"<{kind} of {len(value)}>"
    return f"<{kind}>"


def _are_names(values: tuple[Any, ...] | list[Any]) -> bool:
    return len(values) <= _NAMES and all(isinstance(value, str) and len(value) <= _LONGEST for value in values)


def _listed(names: Iterable[object]) -> str:
    """Return the first column names; a name that is not text may be a value, so only its type is shown."""
    texts = [name if isinstance(name, str) else f"<{type(name).__name__}>" for name in names]
    return ", ".join([*texts[:_NAMES], *(["…"] if len(texts) > _NAMES else [])])
