"""Stamps: what the numbers of an additive table mean, and in which order levels stand."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence

import duckdb

from retrain_eval.common.levels import is_missing
from retrain_eval.common.sources import numbers_among, stated_levels

_LEVELS, NUMBERS = "levels of ", "numbers"


def levels_of(relation: duckdb.DuckDBPyRelation, columns: Sequence[str]) -> dict[str, str]:
    """Return the stamp of columns of levels: those that their type states, and which are numbers."""
    return levels_stamp(stated_levels(relation, columns), numbers_among(relation, columns))


def winsorise_stamp(quantile: float | None) -> dict[str, str]:
    """Return the stamp of amounts that were cut at a quantile, or that were not although they are amounts (1)."""
    return {} if quantile is None else {"winsorise": f"{quantile:g}"}


def in_order(levels: Iterable[str], column: str, stamp: Mapping[str, str]) -> list[str]:
    """Return the levels of a column in canonical order: as registered in the stamp, by value, or as texts.

    It is the order of a table that is filled from people: a missing level comes last.

    Examples
    --------
    >>> in_order({"10", "9", "(missing)"}, "tenure", {})
    ['10', '9', '(missing)']
    >>> in_order({"10", "9"}, "tenure", levels_stamp({}, ["tenure"]))
    ['9', '10']
    >>> in_order({"40 and over", "under 40"}, "age", levels_stamp({"age": ["under 40", "40 and over"]}))
    ['under 40', '40 and over']
    """
    place = {level: number for number, level in enumerate(_registered(stamp, column))}
    by_value = stamp.get(_LEVELS + column) == NUMBERS

    def key(level: str) -> tuple[bool, float, str]:
        return is_missing(level), _value(level) if by_value else place.get(level, len(place)), level

    return sorted(levels, key=key)


def levels_stamp(levels: Mapping[str, Sequence[str]], numbers: Iterable[str] = ()) -> dict[str, str]:
    """Return the stamp of columns whose levels are registered, in their order, and of those that are numbers.

    Tables with other registered levels do not add.
    """
    registered = {_LEVELS + column: json.dumps(list(names), ensure_ascii=False) for column, names in levels.items()}
    return {**dict.fromkeys((_LEVELS + column for column in numbers), NUMBERS), **registered}


def _registered(stamp: Mapping[str, str], column: str) -> list[str]:
    """Return the levels of a column in a stamp, which may come from a file; none where it has no list of texts."""
    try:
        levels = json.loads(stamp.get(_LEVELS + column, "[]"))
    except (ValueError, RecursionError):  # such as `NUMBERS`
        return []
    return [str(level) for level in levels] if isinstance(levels, list) else []


def relabelled_stamp(stamp: Mapping[str, str], column: str, names: Mapping[str, str]) -> dict[str, str]:
    """Return a stamp in which levels of a column have other names, one for several where they were merged.

    Examples
    --------
    >>> stamp = levels_stamp({"age": ["under 25", "25 to 39", "40 and over"]})
    >>> relabelled_stamp(stamp, "age", {"under 25": "under 40", "25 to 39": "under 40"})
    {'levels of age': '["under 40", "40 and over"]'}
    """
    levels = dict.fromkeys(names.get(level, level) for level in _registered(stamp, column))
    return {**stamp, **(levels_stamp({column: list(levels)}) if levels else {})}


def without_levels(stamp: Mapping[str, str], columns: Iterable[str]) -> dict[str, str]:
    """Return a stamp without the levels of columns that are summed out."""
    gone = {_LEVELS + column for column in columns}
    return {name: value for name, value in stamp.items() if name not in gone}


def _value(level: str) -> float:
    """Return the number that a level is; infinity where it is none."""
    try:
        value = float(level)
    except ValueError:
        return math.inf
    return value if math.isfinite(value) else math.inf
