"""Coarsen an additive table: merge levels, pool covariances, round counts. Means of the remaining cells stay exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import sparse

from retrain_eval.common.arrays import Ints
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.life_table.rare_levels import JOIN as JOIN
from retrain_eval.tables.stamps import relabelled_stamp

Sizes = list[tuple[float, tuple[int, ...]]]


def sizes(moments: OutcomeMoments) -> Sizes:
    """Return the number of units of each cell, and the number of matched sets that each pair of cells shares.

    If two cells shared a single set, its paths could be read off. The number of shared sets is the cross product of the
    cells' weights, each divided by its cell's mean weight.
    """
    n = moments.cells["n"].to_numpy()
    weight = moments.first[:, 0] / n
    found: Sizes = [(float(n[c]), (c,)) for c in range(len(n))]
    found += [
        (float(round(block[0, 0] / (weight[c] * weight[d]), 6)), (c, d))
        for (c, d), block in moments.second.items()
        if c != d
    ]
    return found


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


def pool_covariance(moments: OutcomeMoments, small: Sequence[int], needed: float) -> OutcomeMoments:
    """Return the moments with the covariance of small cells replaced by one pooled over them.

    Parameters
    ----------
    moments : OutcomeMoments
        Not clustered.
    small : sequence of int
        Cells whose own second moments must not be published.
    needed : float
        Smallest number of people for a covariance; the next larger cells are pooled too until it is reached.

    Returns
    -------
    OutcomeMoments
        Means are unchanged; standard errors use the pooled covariance for these cells.

    Notes
    -----
    With ``z = (1, Y − Ȳ_c)``, the cell's ``Σ w² z zᵀ`` becomes ``Σ_c w²`` times its mean over the pooled cells.
    """
    n = moments.cells["n"].to_numpy()
    pooled = list(small)
    for cell in np.argsort(n, kind="stable"):
        if n[pooled].sum() >= needed:
            break
        if cell not in pooled:
            pooled.append(int(cell))
    size = 1 + len(moments.times)
    shifts = []
    total, squares = np.zeros((size, size)), 0.0
    for c in pooled:
        centre = np.eye(size)
        centre[1:, 0] = moments.first[c, 1:] / moments.first[c, 0]
        inverse = np.linalg.inv(centre)
        total += inverse @ moments.second[c, c] @ inverse.T
        squares += moments.second[c, c][0, 0]
        shifts.append(centre)
    second = dict(moments.second)
    for c, centre in zip(pooled, shifts, strict=True):
        second[c, c] = centre @ (total * (moments.second[c, c][0, 0] / squares)) @ centre.T
    return replace(moments, second=second)


def round_moments(moments: OutcomeMoments, base: int) -> OutcomeMoments:
    """Return the moments with counts rounded and sums scaled accordingly; means and covariances do not change."""
    if base == 1:
        return moments
    n = moments.cells["n"].to_numpy()
    rounded = round_counts(n, base)
    factor = rounded / n
    second = {(c, d): block * np.sqrt(factor[c] * factor[d]) for (c, d), block in moments.second.items()}
    return replace(
        moments,
        cells=moments.cells.assign(n=rounded),
        first=moments.first * factor[:, None],
        second=second,
        n_clusters=int(rounded.sum()) if moments.clusters is None else moments.n_clusters,
        n_dropped=int(round_counts(np.array([moments.n_dropped]), base)[0]),
    )


def round_life_table(table: LifeTable, base: int) -> LifeTable:
    """Return the life table with counts rounded and sums of weights scaled accordingly."""
    if base == 1:
        return table
    n = table.cells["n"].to_numpy()
    rounded = round_counts(n, base)
    factor = rounded / n
    cells = table.cells.assign(n=rounded, sum_w=table.cells["sum_w"] * factor, sum_w2=table.cells["sum_w2"] * factor)
    root = sparse.diags_array(np.sqrt(factor))
    people = None if table.repeated else int(rounded.sum())
    return replace(
        table,
        cells=cells,
        products=None if table.products is None else sparse.csr_array(root @ table.products @ root),
        totals=None if table.totals is None else sparse.csr_array(table.totals @ root),
        n_people=people,
    )


def round_counts(n: Ints, base: int) -> Ints:
    """Round to the nearest multiple of ``base``, with halves rounded up.

    Examples
    --------
    >>> round_counts(np.array([12, 13, 185]), 5).tolist()
    [10, 15, 185]
    """
    return (np.floor_divide(2 * n + base, 2 * base) * base).astype(np.int64)
