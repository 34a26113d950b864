"""Coarsen an additive table: merge levels, pool covariances, round counts. Means of the remaining cells stay exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd

from retrain_eval.common.levels import POOLS
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.tables.life_table.rare_levels import JOIN as JOIN
from retrain_eval.tables.stamps import relabelled_stamp


def merge_smallest_level(
    moments: OutcomeMoments, stratum: str, cells: tuple[int, ...], order: Sequence[str]
) -> dict[str, str]:
    """Return new names for the levels of a stratum, with the level of the small cell merged into a neighbour.

    Parameters
    ----------
    moments : OutcomeMoments
    stratum : str
    cells : tuple of int
        The small cell, or the two cells that share few sets.
    order : sequence of str
        Levels from low to high, if they are ordered; other levels follow in order of appearance.

    Returns
    -------
    dict of str → str
        Old → new name. If only two levels are left, both get the same name, and the stratum is then summed out.
    """
    names = moments.cells[stratum].astype("str")
    if stratum in POOLS:
        return _pooled(names, moments.cells["n"], {str(names[cell]) for cell in cells}, POOLS[stratum])
    parts = {name: name.split(JOIN) for name in names.unique()}
    place = {level: number for number, level in enumerate(order)}
    levels = sorted(parts, key=lambda name: min(place.get(part, len(place)) for part in parts[name]))
    if len(cells) == 2 and names[cells[0]] != names[cells[1]]:
        pair = {str(names[cells[0]]), str(names[cells[1]])}  # merge the two levels that share few sets
    elif len(levels) == 1:
        return {levels[0]: levels[0]}
    else:
        small = levels.index(str(names[cells[0]]))
        near = [levels[i] for i in (small - 1, small + 1) if 0 <= i < len(levels)]
        total = moments.cells["n"].groupby(names).sum()
        pair = {levels[small], min(near, key=lambda name: int(total[name]))}
    merged = JOIN.join(name for name in levels if name in pair)
    return {name: merged if name in pair else name for name in levels}


def _pooled(names: pd.Series, n: pd.Series[int], small: set[str], pool: str) -> dict[str, str]:
    """Return new names for levels without neighbours: small ones join the pool, or the smallest joins a small pool."""
    total = {str(name): int(size) for name, size in n.groupby(names, sort=False).sum().items()}
    left = [name for name in total if name != pool and name not in small]
    if small == {pool} and left:
        small = {pool, min(left, key=lambda name: (total[name], name))}
    return {name: pool if name in small else name for name in total}


def relabel(moments: OutcomeMoments, stratum: str, names: Mapping[str, str]) -> OutcomeMoments:
    """Return the moments with the levels of a stratum renamed; levels that get the same name are added up."""
    renamed = [names.get(name, name) for name in moments.cells[stratum].astype("str")]
    cells = moments.cells.assign(**{stratum: renamed})
    helper = "_merged"
    # add a helper stratum and sum it out again, so that `collapse` adds up cells with equal names
    wide = replace(
        moments,
        strata=(*moments.strata, helper),
        cells=cells.assign(**{helper: moments.cells[stratum]}),
        stamp=relabelled_stamp(moments.stamp, stratum, names),
    )
    return wide.collapse(over=helper)
