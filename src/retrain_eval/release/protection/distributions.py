"""Distribution functions made safe: points are left out until between any two are enough people, or nobody."""

from __future__ import annotations

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Bools, Ints
from retrain_eval.release.protection.counts import pool_bins
from retrain_eval.tables.covariates.covariates import APART, BEFORE

_FREE = 3  # frequencies more than equations: a sum and a sum of squares are told as well
_FEWEST = 5  # bins, below which the treated before matching are left out instead of joining more


def protect_distribution(cells: pd.DataFrame, minimum: int) -> pd.DataFrame:
    """Leave out points of a covariate's distribution functions.

    Parameters
    ----------
    cells : DataFrame
        Rows of one covariate: each arm and stage.
    minimum : int
        Of people between two points that are told, also in the stage ``apart``. Those at which strata are cut are the
        last to go, since counts up to them are known. Where values are so few that their frequencies would follow
        from the counts, the sum and the sum of squares, and one is of fewer people, no point is left.

    Returns
    -------
    DataFrame
        With shorter lists ``edges`` and ``sum_below``; those of the treated before matching are empty where few of them
        are not matched, so that those after it stand for them.
    """
    if not len(cells["edges"].iloc[0]):
        return cells
    early = cells["stage"].isin([BEFORE, APART])
    few = cells.loc[(cells["stage"] == APART) & cells["people"].between(1, minimum - 1), "arm"]
    hidden = early & cells["arm"].isin(few)  # those after matching will stand for these
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
    """Return how many lie between each two edges, and beyond the last, by row."""
    below = np.array(cells[column].tolist(), dtype=float).reshape(len(cells), -1)
    if column == "people_below":
        below = np.column_stack([below, cells["people"].to_numpy(dtype=float)])
    return np.rint(np.diff(below, axis=1, prepend=0)).astype(np.int64)


def _ends(cells: pd.DataFrame, minimum: int) -> Ints:
    """Return the last bin of each pool: first within the cuts, then over those next to which there are too few."""
    people = _bins(cells, "people_below")
    cuts = np.append(np.flatnonzero(cells["forced"].iloc[0]) + 1, people.shape[1])
    ends = np.concatenate(
        [start + pool_bins(people[:, start:end], minimum) for start, end in zip([0, *cuts[:-1]], cuts, strict=True)]
    )
    return ends[pool_bins(np.add.reduceat(people, [0, *(ends[:-1] + 1)], axis=1), minimum)]


def _settled(cells: pd.DataFrame, ends: Ints, minimum: int) -> Bools:
    """Return in which rows the frequency of a rare value would follow from what is told."""
    values = np.add.reduceat(_bins(cells, "values_below"), [0, *(ends[:-1] + 1)], axis=1)
    free = np.maximum(values - 1, 0).sum(axis=1)
    rare = (cells["people"] > 0) & (cells["rarest"] < minimum)
    settled: Bools = (free < _FREE) & rare.to_numpy()
    return settled
