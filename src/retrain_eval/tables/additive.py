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
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Self

import pandas as pd

from retrain_eval.common.errors import InputError
from retrain_eval.tables.recipe import Recipe


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
        def stamp(self) -> Mapping[str, str]:
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

    def mark(self, facts: Mapping[str, str]) -> None:
        """Add facts to the stamp of this table, and of no other.

        Raises
        ------
        InputError
            If the stamp has another value of one already: a table of another study is not relabelled.
        """
        for name, value in facts.items():
            if self.stamp.get(name, value) != value:
                raise InputError(
                    f"{self.noun} of another study: their {name} differs",
                    value=f"{self.stamp[name]} and {value}",
                    rule="what a study publishes means what its study file says",
                )
        object.__setattr__(self, "stamp", {**self.stamp, **facts})

    @property
    def is_empty(self) -> bool:
        """Whether there is no one in the table."""
        return not len(self.cells)

    @abstractmethod
    def empty(self) -> Self:
        """Return an empty table of the same kind: adding it changes nothing."""

    @abstractmethod
    def _plus(self, other: Self) -> Self:
        """Return the sums over the people of both tables, in canonical order; the two describe the same thing."""

    def _plus_empty(self, empty: Self) -> Self:
        """Return this table, with what one without people may still say."""
        return self

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
        if other.is_empty:
            return self._plus_empty(other)
        return other._plus_empty(self) if self.is_empty else self._plus(other)

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
    kinds_of = [str(getattr(table, "kind", "")).replace("_", " ") for table in (one, other)]
    if kinds_of[0] != kinds_of[1]:
        raise InputError(f"cannot add {one.noun} of two kinds", value=" and ".join(kinds_of))
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
