"""Protect distribution functions: drop points until every interval between two points holds enough people, or none."""

from __future__ import annotations

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Bools, Ints
from retrain_eval.release.protection.counts import pool_bins
from retrain_eval.tables.covariates.covariates import APART, BEFORE

_FREE = 3  # surplus of unknown frequencies over equations: the sum and the sum of squares are published as well
_FEWEST = 5  # with fewer bins, drop the treated before matching rather than merge more bins


def protect_distribution(cells: pd.DataFrame, minimum: int) -> pd.DataFrame:
    """Drop points of a covariate's distribution functions that would reveal small counts.

    Parameters
    ----------
    cells : DataFrame
        Rows of one covariate: each arm and stage.
    minimum : int
        Smallest number of people between two published points, in the stage ``apart`` too. Points at which strata are
        cut are dropped last, because the counts up to them are known anyway. If a covariate has so few values that
        their frequencies would follow from the counts, the sum and the sum of squares, and one of these values has
        fewer people than the minimum, all points are dropped.

    Returns
    -------
    DataFrame
        The rows with shorter lists ``edges`` and ``sum_below``. If only few of the treated were not matched, the lists
        of the treated before matching are empty, and those after matching represent them.
    """
    if not len(cells["edges"].iloc[0]):
        return cells
    early = cells["stage"].isin([BEFORE, APART])
    few = cells.loc[(cells["stage"] == APART) & cells["people"].between(1, minimum - 1), "arm"]
    hidden = early & cells["arm"].isin(few)  # the rows after matching represent these
    ends = _ends(cells[~hidden], minimum)
    without = hidden | (early & (cells["arm"] == "treated"))
    if len(ends) < _FEWEST and len(_ends(cells[~without], minimum)) > len(ends):
        hidden, ends = without, _ends(cells[~without], minimum)
    if _settled(cells[~hidden], ends, minimum).any():
        ends = ends[-1:]
    edges, told = [], []
    for row, left_out in zip(cells.to_dict("records"), hidden, strict=True):
        keep = [] if left_out else ends[:-1].tolist()
        edges.append([row["edges"][at] for at in keep])
        told.append([row["sum_below"][at] for at in keep])
    return cells.assign(edges=pd.Series(edges, cells.index), sum_below=pd.Series(told, cells.index))


def _bins(cells: pd.DataFrame, column: str) -> Ints:
    """Return the counts between consecutive edges and beyond the last edge, one row per row of ``cells``."""
    below = np.array(cells[column].tolist(), dtype=float).reshape(len(cells), -1)
    if column == "people_below":
        below = np.column_stack([below, cells["people"].to_numpy(dtype=float)])
    return np.rint(np.diff(below, axis=1, prepend=0)).astype(np.int64)


def _ends(cells: pd.DataFrame, minimum: int) -> Ints:
    """Return the last bin of each pool: bins are pooled within the cuts first, then across cuts with too few people."""
    people = _bins(cells, "people_below")
    cuts = np.append(np.flatnonzero(cells["forced"].iloc[0]) + 1, people.shape[1])
    ends = np.concatenate(
        [start + pool_bins(people[:, start:end], minimum) for start, end in zip([0, *cuts[:-1]], cuts, strict=True)]
    )
    return ends[pool_bins(np.add.reduceat(people, [0, *(ends[:-1] + 1)], axis=1), minimum)]


def _settled(cells: pd.DataFrame, ends: Ints, minimum: int) -> Bools:
    """Return whether the frequency of a rare value would follow from the published numbers, for each row."""
    values = np.add.reduceat(_bins(cells, "values_below"), [0, *(ends[:-1] + 1)], axis=1)
    free = np.maximum(values - 1, 0).sum(axis=1)
    rare = (cells["people"] > 0) & (cells["rarest"] < minimum)
    settled: Bools = (free < _FREE) & rare.to_numpy()
    return settled
