"""The design of a regression on a life table: a formula in terms of its columns of levels, evaluated once per group.

A column whose levels are all numbers enters linearly, unless the formula wraps it in ``C(...)``; any other column is a
factor, coded against a reference level. All terms are functions of the group, so the design has one row per group,
however many spells it holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Bools, Floats
from retrain_eval.common.errors import DesignError, InputError, unknown
from retrain_eval.common.formulas.matrix import model_matrix, model_spec
from retrain_eval.common.formulas.parser import read_formula
from retrain_eval.common.formulas.tree import Formula, category, columns_of
from retrain_eval.common.levels import MISSING_LEVEL
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.survival.risk import is_event, require_groups
from retrain_eval.tables.life_table.event_codes import CENSORED
from retrain_eval.tables.life_table.life_table import LifeTable

_SHAPE = 'write it as "arm + age_band", using the columns of levels'


@summarised
@dataclass(frozen=True)
class Model:
    """A formula read against the columns of a life table.

    Attributes
    ----------
    formula : Formula
        The right-hand side, with its intercept.
    frame : DataFrame, one row per group of the table
        The columns of the formula: numbers if they enter linearly, ordered categories with the reference level first
        if they are factors.
    reference : dict
        Factor → reference level.
    """

    formula: Formula
    frame: pd.DataFrame
    reference: dict[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns read."""
        return self.formula.columns

    @property
    def linear(self) -> tuple[str, ...]:
        """Columns that enter as numbers."""
        return tuple(name for name in self.columns if name not in self.reference)

    def matrix(self, frame: pd.DataFrame) -> tuple[list[str], Floats]:
        """Return the names and values of the design's columns without the intercept, one row per row of ``frame``.

        Raises
        ------
        InputError
            If a term cannot be computed, or is not finite somewhere.
        """
        names, values = model_matrix(self.formula, frame, model_spec(self.formula, frame))
        kept = [place for place, name in enumerate(names) if name != "Intercept"]
        values = values[:, kept]
        for name, column in zip(named := [names[place] for place in kept], values.T, strict=True):
            if not np.isfinite(column).all():
                raise InputError(
                    f"term {name!r} is not a finite number in some groups",
                    column=name,
                    rule="every term is finite in every group",
                    fix="change the term, such as log1p(x) for log(x), or leave these spells out",
                )
        return named, values


def read_model(
    table: LifeTable,
    formula: str,
    reference: Mapping[str, str] | None = None,
    extra: Mapping[str, Sequence[str]] | None = None,
) -> Model:
    """Read ``"arm + C(region) + arm:age_band"`` against the columns of levels of a life table.

    Parameters
    ----------
    table : LifeTable
    formula : str
        The right-hand side. ``a*b`` means ``a + b + a:b``.
    reference : mapping, optional
        Factor → reference level. By default the first level in the table's order, which is the column's own.
    extra : mapping, optional
        Further factors that the caller adds: name → levels.

    Raises
    ------
    InputError
        For an invalid formula, an unknown column or level, or a removed intercept.
    """
    further = dict(extra or {})
    read = read_formula(formula.strip().removeprefix("~"))
    if read.left is not None:
        raise InputError("the formula has a left-hand side: the spells are the outcome", value=formula, fix=_SHAPE)
    if not read.intercept:
        raise InputError("the baseline hazard takes the place of the intercept", value=formula, fix="do not remove it")
    columns = read.columns
    require_groups(table, columns, tuple(further))
    if not columns:
        raise InputError("the formula names no column", value=formula, fix=_SHAPE)
    wrapped = {category(factor) for factor in read.factors}
    # a column is a factor if it is only used inside C(): C(age) + age needs the numbers, and is collinear anyway
    bare = {name for factor in read.factors if category(factor) is None for name in columns_of(factor)}
    groups = pd.DataFrame(table.groups(), columns=list(table.by), dtype="str")
    frame, first = pd.DataFrame(index=groups.index), {}
    for name in columns:
        if name in further:
            order = list(further[name])
        else:
            order = levels_in_order(table, name)
            if (name in bare or name not in wrapped) and _numeric(name, order):
                frame[name] = [_number(level) for level in groups[name]]
                continue
        first[name] = _reference(name, order, dict(reference or {}))
        order = [first[name], *(other for other in order if other != first[name])]
        if name not in further:
            frame[name] = pd.Categorical(groups[name], order)
    for name in reference or {}:
        if name not in first:
            raise unknown("factor in the formula", name, first)
    return Model(read, frame, first)


def levels_in_order(table: LifeTable, name: str) -> list[str]:
    """Return the levels of a column in the column's own order: numbers ascending, otherwise as the table lists them.

    Groups are sorted by all columns, so a level that is missing from the first block of groups appears too late. The
    order is therefore merged from all blocks.
    """
    found = [str(level) for level in table.cells[name].unique()]
    if all(_number(level) is not None for level in found):
        return sorted(found, key=lambda level: (_number(level), level))
    place = table.by.index(name)
    # dictionaries instead of sets, whose order depends on the hash of text
    after: dict[str, dict[str, None]] = {level: {} for level in found}
    blocks: dict[tuple[str, ...], list[str]] = {}
    for group in table.groups():
        block = blocks.setdefault(group[:place], [])
        if group[place] not in block:
            block.append(group[place])
    for block in blocks.values():
        for before, later in pairwise(block):
            after[later][before] = None
    try:
        order = list(TopologicalSorter(after).static_order())
        return sorted(order, key=lambda level: level == MISSING_LEVEL)
    except CycleError:  # added tables may list their groups in different orders
        return sorted(found, key=lambda level: (level == MISSING_LEVEL, level))


def event_of(table: LifeTable, cause: object) -> Bools:
    """Return whether each cell's spells end by ``cause``, or by any cause if it is None.

    Raises
    ------
    InputError
        If no spell in the table has this cause.
    DesignError
        If every spell is censored.
    """
    event = is_event(table)
    if not event.any():
        raise DesignError("every spell is censored: there is no event to model")
    if cause is None:
        return event
    known = sorted(set(table.cells["cause"].unique()) - {CENSORED})
    if str(cause) not in known:
        raise unknown("cause", cause, known)
    return event & (table.cells["cause"] == str(cause)).to_numpy(dtype=bool)


def require_events_by_level(table: LifeTable, model: Model, event: Bools) -> None:
    """Refuse a factor with a level that has no events.

    Raises
    ------
    DesignError
        Names the level.
    """
    for name in model.reference:
        if name not in table.by:
            continue
        happened = set(table.cells.loc[event, name].unique())
        for value in table.cells[name].unique():
            if value not in happened:
                raise DesignError(
                    f"no event in level {value!r} of {name!r}: its log hazard ratio is infinite. "
                    "Leave these spells out, merge the level with another, or stratify by it",
                    public="of one group compared all end, or none, so that there is no finite estimate",
                )


def _number(level: str) -> float | None:
    try:
        value = float(level)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _numeric(name: str, levels: Sequence[str]) -> bool:
    """Return whether all levels of a column are numbers; refuse a column of numbers with missing values."""
    known = [level for level in levels if level != MISSING_LEVEL]
    numbers = bool(known) and all(_number(level) is not None for level in known)
    if numbers and len(known) < len(levels):
        raise InputError(
            f"column {name!r} is of numbers, some of which are missing",
            column=name,
            fix=f"leave these spells out, or use C({name}) to give the missing a level of their own",
        )
    return numbers


def _reference(name: str, levels: Sequence[str], asked: Mapping[str, str]) -> str:
    if name not in asked:
        return levels[0]
    if str(asked[name]) not in levels:
        raise unknown(f"level of {name}", asked[name], levels)
    return str(asked[name])
