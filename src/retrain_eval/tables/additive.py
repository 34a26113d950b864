"""The base of all additive tables: sums over people, so that tables of two disjoint groups of people can be added.

====================  ==================================================================================
table                 one row per
====================  ==================================================================================
`MomentTable`         cohort × strata: first and second moments of the outcome path
`SpellTable`          levels × entry × duration × cause: spells and their weights
`CovariateMoments`    covariate × arm × stage of matching: sums and distribution functions
`SampleCounts`        step or level × group: people
`Statistic`           test or bound: the sums from which it is computed
====================  ==================================================================================
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Self

import pandas as pd

from retrain_eval.common.errors import InputError
from retrain_eval.common.levels import is_missing
from retrain_eval.tables.recipe import Recipe

_LEVELS, _BETWEEN = "levels of ", " | "


class Additive(ABC):
    """A table of sums over people.

    Attributes
    ----------
    cells : DataFrame
        One row per cell, with the number of people in it.
    stamp : dict of str
        What the numbers mean beyond the table's own fields: currency, base period, frequency, caps, registered levels,
        matching options. A run fills it from the study file; otherwise it only has the levels that column types state.
    """

    @property
    @abstractmethod
    def noun(self) -> str:
        """The name of the table in messages."""

    if TYPE_CHECKING:  # fields of most tables, which a property of this class would give a default

        @property
        def stamp(self) -> dict[str, str]:
            """What the numbers mean."""

        @property
        def recipe(self) -> Recipe | None:
            """How the table was made."""

        @property
        def cells(self) -> pd.DataFrame:
            """One row per cell."""

    @property
    @abstractmethod
    def alike(self) -> Mapping[str, object]:
        """The fields that two tables must share to be added."""

    @abstractmethod
    def empty(self) -> Self:
        """Return an empty table of the same kind: adding it changes nothing."""

    @abstractmethod
    def _plus(self, other: Self) -> Self:
        """Return the sums over the people of both tables, in canonical order; the two describe the same thing."""

    @abstractmethod
    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the table to a Parquet file."""

    @classmethod
    @abstractmethod
    def read_parquet(cls, path: str | os.PathLike[str]) -> Additive:
        """Read what `to_parquet` wrote."""

    def __add__(self, other: Self) -> Self:
        """Return the table of the union of two disjoint groups of people, which share no person and no cluster.

        Raises
        ------
        InputError
            If the two are not tables of one kind, or do not describe the same thing; the difference is named.
        """
        check_addable(self, other)
        return self._plus(other)

    def subset(self, /, **levels: object) -> Self:
        """Return the table of the people with these levels.

        Raises
        ------
        InputError
            If the table has no such column of levels.
        """
        raise InputError(f"{self.noun} have no levels to choose from", value=", ".join(levels))

    def collapse(self, over: str | Iterable[str]) -> Self:
        """Return the table with columns of levels summed out.

        Raises
        ------
        InputError
            If the table has no such column of levels.
        """
        raise InputError(f"{self.noun} have no levels to sum over", value=over)


def check_addable(one: Additive, other: Additive) -> None:
    """Refuse two tables that do not describe the same thing."""
    if not isinstance(other, Additive) or one.noun != other.noun:
        kinds = f"{one.noun} and {getattr(other, 'noun', f'a {type(other).__name__}')}"
        raise InputError(f"{kinds} do not add up", fix="add tables of one kind")
    mine, theirs = one.alike, other.alike
    for name in mine:
        if mine[name] != theirs[name]:
            raise InputError(
                f"cannot add {one.noun} whose {name} differ",
                value=f"{mine[name]} and {theirs[name]}",
                fix="build both alike",
            )
    for name in sorted({*one.stamp, *other.stamp}):
        here, there = one.stamp.get(name, "not stated"), other.stamp.get(name, "not stated")
        if here != there:
            raise InputError(
                f"cannot add {one.noun} whose {name} differ",
                value=f"{here} and {there}",
                rule="tables add where their stamps are equal",
                fix="run both from one study file",
            )


def in_order(levels: Iterable[str], column: str, stamp: Mapping[str, str]) -> list[str]:
    """Return the levels of a column in canonical order: as registered in the stamp, else numeric or alphabetical.

    A missing level comes last.

    Examples
    --------
    >>> in_order({"10", "9", "(missing)"}, "tenure", {})
    ['9', '10', '(missing)']
    >>> in_order({"40 and over", "under 40"}, "age", levels_stamp({"age": ["under 40", "40 and over"]}))
    ['under 40', '40 and over']
    """
    registered = stamp.get(_LEVELS + column, "").split(_BETWEEN)
    place = {level: number for number, level in enumerate(registered)}
    return sorted(levels, key=lambda level: (is_missing(level), place.get(level, len(place)), _natural(level)))


def levels_stamp(levels: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the stamp of columns with registered levels, in order; tables with other levels cannot be added."""
    return {_LEVELS + column: _BETWEEN.join(names) for column, names in levels.items()}


def relabelled_stamp(stamp: Mapping[str, str], column: str, names: Mapping[str, str]) -> dict[str, str]:
    """Return a stamp with renamed levels of a column; merged levels share one name.

    Examples
    --------
    >>> stamp = levels_stamp({"age": ["under 25", "25 to 39", "40 and over"]})
    >>> relabelled_stamp(stamp, "age", {"under 25": "under 40", "25 to 39": "under 40"})
    {'levels of age': 'under 40 | 40 and over'}
    """
    registered = stamp.get(_LEVELS + column)
    if registered is None:
        return dict(stamp)
    levels = dict.fromkeys(names.get(level, level) for level in registered.split(_BETWEEN))
    return {**stamp, **levels_stamp({column: list(levels)})}


def without_levels(stamp: Mapping[str, str], columns: Iterable[str]) -> dict[str, str]:
    """Return a stamp without the levels of columns that are summed out."""
    gone = {_LEVELS + column for column in columns}
    return {name: value for name, value in stamp.items() if name not in gone}


def _natural(level: str) -> tuple[bool, float, str]:
    """Return the sort key of a level: numbers by value, before texts."""
    try:
        return False, float(level), level
    except ValueError:
        return True, 0.0, level
