"""Merge rare causes and levels of a life table before durations are merged, to preserve the curve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Ints
from retrain_eval.common.levels import POOLS, pooled_levels
from retrain_eval.tables.life_table.event_codes import CENSORED
from retrain_eval.tables.life_table.spell_table import ANY, Table, merge_cells
from retrain_eval.tables.stamps import relabelled_stamp

JOIN = " + "  # between the names of what is merged


def without_rare(table: Table, min_cell: int) -> Table:
    """Return the table with rare causes and rare levels of the last column merged, or the table itself if none are."""
    causes = merged_causes(table.cells, table.group_numbers(), min_cell)
    if any(old != new for old, new in causes.items()):
        one = len(causes) > 1 and len(set(causes.values())) == 1
        names = dict.fromkeys(causes, ANY) if one else causes
        said = ("causes",) if one else tuple(dict.fromkeys(new for old, new in causes.items() if old != new))
        cells = table.cells.assign(cause=table.cells["cause"].replace(names))
        return merge_cells(replace(table, merged=(*table.merged, *said)), cells, table.by)
    n = np.bincount(table.group_numbers(), table.cells["n"].to_numpy(), len(table.groups()))
    return without_rare_levels(table, n.astype(np.int64), min_cell)


def without_rare_levels(table: Table, n: Ints, least: int) -> Table:
    """Return the table with rare levels of its last column merged, or the table itself if none are.

    Parameters
    ----------
    table : SpellTable
    n : int ndarray
        Spells of each group.
    least : int
        The smallest number that a group may have; a column of which one level would be left is not merged.
    """
    if not table.by:
        return table
    groups = pd.Series(n, index=pd.MultiIndex.from_tuples(table.groups()))
    totals = groups.groupby(level=-1, sort=False).min()
    if table.by[-1] in POOLS:
        levels = pooled_levels({str(name): int(k) for name, k in totals.items()}, least, POOLS[table.by[-1]])
    else:
        levels = merged_levels(totals, least)
    said = tuple(dict.fromkeys(new for old, new in levels.items() if old != new))
    if not said or len(set(levels.values())) == 1:
        return table
    clusters = table.clusters and table.clusters.regrouped(lambda group: (*group[:-1], levels[group[-1]]))
    cells = table.cells.assign(**{table.by[-1]: table.cells[table.by[-1]].replace(levels)})
    stamp = relabelled_stamp(table.stamp, table.by[-1], levels)
    return merge_cells(replace(table, merged=(*table.merged, *said), clusters=clusters, stamp=stamp), cells, table.by)


def less_detailed(table: Table) -> Table | None:
    """Return the table with its causes merged or, if they are, without its last stratum; None if it has neither."""
    ended = table.cells["cause"] != CENSORED
    if len(table.cells["cause"][ended].unique()) > 1:
        cells = table.cells.assign(cause=table.cells["cause"].mask(ended, ANY))
        return merge_cells(replace(table, merged=(*table.merged, "causes")), cells, table.by)
    if not table.by:
        return None
    return replace(table.collapse(table.by[-1]), merged=(*table.merged, table.by[-1]))


def merged_causes(cells: pd.DataFrame, group: Ints, min_cell: int) -> dict[str, str]:
    """Return a name for each cause of ending; causes that are rare in some group share a name.

    The rarest cause is merged with the next rarest until each cause has no spell or ``min_cell`` in each group.

    Examples
    --------
    >>> cells = pd.DataFrame({"cause": ["0", "job", "recall", "death"], "n": [50, 40, 4, 8]})
    >>> merged_causes(cells, np.zeros(4, dtype=int), 10)
    {'job': 'job', 'recall': 'recall + death', 'death': 'recall + death'}
    """
    ended = cells[cells["cause"] != CENSORED]
    of = group[ended.index.to_numpy()]
    counts = pd.crosstab(of, ended["cause"].to_numpy(), values=ended["n"].to_numpy(), aggfunc="sum").fillna(0)
    parts = {name: [name] for name in ended["cause"].unique()}
    while len(parts) > 1:
        totals = {name: counts[members].sum(axis=1) for name, members in parts.items()}
        if all(((n == 0) | (n >= min_cell)).all() for n in totals.values()):
            break
        least, next_least = sorted(parts, key=lambda name: int(totals[name].sum()))[:2]
        members = [name for name in ended["cause"].unique() if name in parts[least] + parts[next_least]]
        del parts[least], parts[next_least]
        parts[JOIN.join(members)] = members
    names = {old: new for new, members in parts.items() for old in members}
    return {name: names[name] for name in ended["cause"].unique()}


def merged_levels(totals: pd.Series[int], min_cell: int) -> dict[str, str]:
    """Return a name for each level, in order; a level with too few spells is merged with its smaller neighbour.

    Parameters
    ----------
    totals : Series
        The smallest number of spells in any group of the level, by level, from low to high.

    Examples
    --------
    >>> merged_levels(pd.Series({"<25": 40, "25+": 4, "55+": 30}), 10)
    {'<25': '<25', '25+': '25+ + 55+', '55+': '25+ + 55+'}
    """
    parts = [([str(name)], int(n)) for name, n in totals.items()]
    while len(parts) > 1 and min(n for _, n in parts) < min_cell:
        at = min(range(len(parts)), key=lambda i: parts[i][1])
        near = min((i for i in (at - 1, at + 1) if 0 <= i < len(parts)), key=lambda i: parts[i][1])
        first, second = sorted((at, near))
        parts[first : second + 1] = [(parts[first][0] + parts[second][0], parts[first][1] + parts[second][1])]
    return {name: JOIN.join(members) for members, _ in parts for name in members}
