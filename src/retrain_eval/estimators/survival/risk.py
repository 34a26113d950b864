"""Risk sets: who could still end, and who did, at each duration of a life table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.errors import DesignError, InputError, too_small, unknown
from retrain_eval.common.levels import MISSING_LEVEL
from retrain_eval.common.shown import summarised
from retrain_eval.tables.life_table.event_codes import CENSORED
from retrain_eval.tables.life_table.life_table import LifeTable


@summarised
@dataclass(frozen=True)
class RiskSet:
    """One group's risk sets.

    Attributes
    ----------
    level : tuple of str
        The group, one level per column of the table's ``by``.
    cells : int ndarray
        Rows of ``table.cells`` that belong to the group.
    times : ndarray, shape (K,)
        Durations, ascending.
    n, n_events : int ndarray, shape (K,)
        Spells at risk just before each time, and spells that end at it.
    weight, events : ndarray, shape (K,)
        Their sums of weights.
    """

    level: tuple[str, ...]
    cells: Ints
    times: Floats
    n: Ints
    n_events: Ints
    weight: Floats
    events: Floats


def risk_sets(table: LifeTable, times: Floats | None = None) -> list[RiskSet]:
    """Return the risk sets of each group, in the table's order of groups.

    Without ``times``, each group has its own durations; with them, which must include all durations, all groups have
    these. A spell is at risk at t if entry < t ≤ duration: one censored at t is still at risk there.
    """
    group = table.group_numbers()
    entry, duration = table.cells["entry"].to_numpy(), table.cells["duration"].to_numpy()
    event = is_event(table)
    n, weight = table.cells["n"].to_numpy().astype(float), table.cells["sum_w"].to_numpy()
    found = []
    for number, level in enumerate(table.groups()):
        own = np.flatnonzero(group == number)
        grid = np.unique(duration[own]) if times is None else times
        place = np.searchsorted(grid, duration[own])
        # the first of the times at which the spell is under observation
        first = np.searchsorted(grid, entry[own], side="right")
        found.append(
            RiskSet(
                level=level,
                cells=own,
                times=grid,
                n=_at_risk(n[own], place, first, len(grid)).astype(np.int64),
                n_events=np.bincount(place, weights=n[own] * event[own], minlength=len(grid)).astype(np.int64),
                weight=_at_risk(weight[own], place, first, len(grid)),
                events=np.bincount(place, weights=weight[own] * event[own], minlength=len(grid)).astype(float),
            )
        )
    return found


def after(table: LifeTable, given: float) -> LifeTable:
    """Return the spells that last longer than ``given``, under observation from then.

    Its Kaplan–Meier curve is S(t)/S(given), and its covariance that of the ratio, since spells that left before have no
    influence on it.

    Raises
    ------
    InputError
        If ``given`` is not a duration, or a group has no spell that lasts longer.
    """
    if not 0 < given < np.inf:
        raise InputError(f"given must be a finite duration above zero, not {given}", column="given", value=given)
    keep = (table.cells["duration"] > given).to_numpy(dtype=bool)
    part = table.of_cells(keep)
    cells = part.cells
    part = replace(
        part,
        cells=cells.assign(entry=cells["entry"].clip(lower=given)),
        n_people=None if table.repeated else int(cells["n"].sum()),
    )
    gone = [group_name(level) or "all" for level in table.groups() if not len(cells) or level not in part.groups()]
    if gone:
        raise InputError(f"no spell of {gone[0]} lasts longer than {given:g}", column="given", value=given)
    return part


def group_name(parts: tuple[str, ...]) -> str:
    """Return the levels of a group, or the names of their columns, as one text; "" for the whole sample.

    Examples
    --------
    >>> group_name(("trained", "55+"))
    'trained × 55+'
    """
    return " × ".join(parts)


def _at_risk(values: Floats, last: Ints, first: Ints, size: int) -> Floats:
    """Sum ``values`` over the spells whose places from ``first`` to ``last`` include each place."""
    leaving = np.bincount(last, weights=values, minlength=size)
    entering = np.bincount(first, weights=values, minlength=size + 1)[1:]
    # from the end backwards, so that the last risk sets, which decide most, are sums of few terms
    sums: Floats = leaving[::-1].cumsum()[::-1] - entering[::-1].cumsum()[::-1]
    return sums


def is_event(table: LifeTable) -> Bools:
    """Return whether each cell's spells ended, rather than being censored."""
    event: Bools = (table.cells["cause"] != CENSORED).to_numpy(dtype=bool)
    return event


def known_levels(table: LifeTable) -> LifeTable:
    """Return the table without the groups of which a level is missing: they are shown, and take no part in tests."""
    levels = {name: [level for level in table.cells[name].unique() if level != MISSING_LEVEL] for name in table.by}
    if all(len(found) == table.cells[name].nunique() for name, found in levels.items()):
        return table
    if not all(levels.values()):
        raise DesignError("nothing to compare: the level of every spell is missing")
    return table.subset(**levels)


def require_groups(table: LifeTable, names: Iterable[str], further: Sequence[str] = ()) -> None:
    """Refuse what is neither a column of levels of the table nor among ``further``.

    Raises
    ------
    InputError
        For a name that is unknown.
    DesignError
        If the column was summed over, because its groups are too small.
    """
    for name in names:
        if name not in (*table.by, *further):
            raise too_small(name) if name in table.merged else unknown("column of levels", name, [*table.by, *further])


def censoring(table: LifeTable) -> str:
    """Return how many spells are censored, in words; that none is deserves a second look at the codes.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> spells = pd.DataFrame({"id": [1, 2, 3], "weeks": [1, 2, 2], "cause": 1})
    >>> censoring(life_table(spells, id="id", duration="weeks", cause="cause"))
    'no spell is censored: all 3 end in an event'
    """
    n, gone = table.n_spells, int(table.cells["n"].to_numpy()[~is_event(table)].sum())
    return f"{gone} of {n} spells are censored" if gone else f"no spell is censored: all {n} end in an event"


def require_independent_spells(table: LifeTable, fix: str) -> None:
    """Refuse a table in which people have several spells and nothing says how they hang together.

    Raises
    ------
    DesignError
        If an id is repeated and the table has no cluster.
    """
    if table.repeated and table.cluster is None:
        people = "fewer people" if table.n_people is None else f"{table.n_people} people"
        raise DesignError(f"{table.n_spells} spells of {people}: spells of one person are not independent. {fix}")
