"""The base of all sums for a test or a bound: a kind, a file with one row, and counts of people."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from retrain_eval.common.arrays import Ints
from retrain_eval.common.errors import InputError, unknown
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.file import read_table, write_table
from retrain_eval.tables.recipe import Recipe

_FILE = "statistic"
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Statistic(Additive):
    """The base class of statistics: a kind, a file with one row, and counts of people."""

    noun = "statistics"
    kind: ClassVar[str] = ""
    same: ClassVar[tuple[str, ...]] = ()  # fields that two must share to be added
    scales: ClassVar[tuple[str, ...]] = ()  # the origin and the scale of sums
    inside: ClassVar[tuple[str, ...]] = ()  # fields that a release drops
    keyed: ClassVar[tuple[str, ...]] = ()  # those of them that are cell keys
    stamp: Mapping[str, str] = field(default_factory=dict, kw_only=True, repr=False)
    recipe: Recipe | None = field(default=None, init=False, repr=False)

    @property
    @abstractmethod
    def parts(self) -> tuple[Sequence[str], Ints]:
        """The names of the groups that are counted, and the number of people, or pairs, in each."""

    @property
    def cells(self) -> pd.DataFrame:
        """The counts of people with columns ``part`` and ``n``, like the cells of other additive tables."""
        names, n = self.parts
        return pd.DataFrame({"part": list(names), "n": n})

    @property
    def alike(self) -> Mapping[str, object]:
        """The fields that two statistics must share to be added."""
        values = {name: getattr(self, name) for name in self.same}
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}

    def empty(self) -> Self:
        """Return the same statistic with every sum zero."""
        kept = (*self.same, *self.inside, *self.scales)
        zero: dict[str, Any] = {
            name: np.zeros_like(value) if isinstance(value, np.ndarray) else type(value)(0)
            for name in _fields(type(self))
            if name not in kept and (value := getattr(self, name)) is not None
        }
        return replace(self.released(), **zero)

    @property
    def is_empty(self) -> bool:
        """Whether no one is counted."""
        return not self.parts[1].any()

    def released(self) -> Self:
        """Return the statistic without the fields that never leave the agency."""
        nothing: dict[str, Any] = dict.fromkeys(self.inside)
        return replace(self, **nothing)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write one row, a column per field."""
        values = {name: getattr(self, name) for name in _fields(type(self))}
        row = {name: _column(value) for name, value in values.items() if value is not None}
        write_table(path, _FILE, pa.table(row), {"kind": self.kind}, self.stamp)

    @classmethod
    def read_parquet(cls, path: str | os.PathLike[str]) -> Statistic:
        """Read a file written by `to_parquet`, of any kind.

        Raises
        ------
        InputError
            If the file holds something else.
        """
        table, facts, stamp = read_table(path, _FILE)
        kinds = {made.kind: made for made in Statistic.__subclasses__()}
        made = kinds.get(str(facts.get("kind")))
        if made is None:
            raise unknown("kind of statistic", str(facts.get("kind")), kinds)
        if table.num_rows != 1:
            raise InputError(f"the file holds {table.num_rows} rows", file=path, rule="one row")
        row = {name: value for name, value in table.to_pylist()[0].items() if name in _fields(made)}
        needed = [item.name for item in fields(made) if item.name in _fields(made) and item.default is MISSING]
        if missing := [name for name in needed if name not in row and name not in made.inside]:
            raise InputError("the file lacks a column", file=path, column=missing[0])
        try:
            values = {name: _array(value, np.uint64 if name in made.keyed else None) for name, value in row.items()}
            found = made(**values, stamp=stamp)
            sound = found.sound()
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise InputError("the file holds something else", file=path, rule=str(error).splitlines()[0]) from None
        if not sound:
            raise InputError(f"the numbers in the file are not valid {made.kind.replace('_', ' ')}", file=path)
        return found

    def sound(self) -> bool:
        """Return whether shapes and numbers are consistent."""
        n = self.parts[1]
        return bool(np.issubdtype(n.dtype, np.integer) and (n >= 0).all() and len(n) == len(self.parts[0]))


def both(join: Callable[[T, T], T], one: T | None, other: T | None) -> T | None:
    """Combine a field of two statistics if both have it."""
    return None if one is None or other is None else join(one, other)


def _fields(made: type[Statistic]) -> list[str]:
    return [item.name for item in fields(made) if item.init and not item.kw_only]


def _column(value: Any) -> Any:
    """Return a column of one row."""
    if not isinstance(value, np.ndarray):
        return [value]
    return pa.array([value.tolist()], pa.list_(pa.uint64())) if value.dtype == np.uint64 else [value.tolist()]


def _array(value: Any, dtype: Any = None) -> Any:
    """Return a list in its original type: a tuple of texts, or an array of numbers."""
    if not isinstance(value, list):
        return value
    return tuple(value) if all(isinstance(item, str | None) for item in value) else np.array(value, dtype)
