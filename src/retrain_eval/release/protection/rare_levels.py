"""Rare levels, few dropped people and few people in a band: what is merged, dropped or not told apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Ints
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.counts import pool_bins
from retrain_eval.release.protection.merging import JOIN
from retrain_eval.tables.covariates.covariates import AFTER, BEFORE, BINARY, NUMBER, SUMS
from retrain_eval.tables.moments.edges import has_edges, of_times
from retrain_eval.tables.noise.person_keys import PRIME

_MODULUS = 2**64
_MANY = 10  # times the smallest number of people: so many dropped people can be shown in bands
_COARSE = 500  # least width of the bands beyond which there is no one, in thousandths of a log


def published_edges(block: pd.DataFrame, minimum: int) -> Ints:
    """Return the places of the edges between which each arm and stage has enough people.

    If matching dropped many people of an arm, enough of them or none are between two edges.
    """
    bands, or_none = list(np.diff(_ends(block), axis=1, prepend=0)), list[int]()
    for _, before, after in _stages(block):
        dropped = (_ends(before) - _ends(after))[0]
        if dropped[-1] >= _MANY * minimum:
            or_none.append(len(bands))
            bands.append(np.diff(dropped, prepend=0))
    return pool_bins(np.array(bands), minimum, or_none)[:-1]


def _ends(rows: pd.DataFrame) -> Ints:
    """Return the people below each edge, and all of them, by row."""
    below = np.array(rows["people_below"].tolist(), dtype=np.int64).reshape(len(rows), -1)
    return np.column_stack([below, rows["people"].to_numpy(dtype=np.int64)])


def without_few_dropped(block: pd.DataFrame, minimum: int) -> tuple[pd.DataFrame, list[str]]:
    """Drop the rows before matching of arms of which matching dropped a few people with a value; name these arms.

    The table of matching withholds such counts too. People with an amount are counted, and of a yes or no both sides.
    """
    kind, gone = block["kind"].iloc[0], list[str]()
    for arm, before, after in _stages(block) if kind != NUMBER else ():
        ones, people = (
            before[name].to_numpy(dtype=np.int64) - after[name].to_numpy(dtype=np.int64) for name in ("ones", "people")
        )
        dropped = np.concatenate([ones, people - ones]) if kind == BINARY else ones
        if ((dropped > 0) & (dropped < minimum)).any():
            gone.append(arm)
    return block[~(block["arm"].isin(gone) & (block["stage"] == BEFORE))], gone


def few_dropped_in_a_band(block: pd.DataFrame, minimum: int) -> list[str]:
    """Return the arms of which matching dropped a few people between two points of a distribution function."""
    if block["kind"].iloc[0] == BINARY:
        return []
    found, edges = list[str](), published_edges(block, minimum)
    for arm, before, after in _stages(block):
        n = np.diff((_ends(before) - _ends(after))[0, np.append(edges, -1)], prepend=0)
        if ((n > 0) & (n < minimum)).any():
            found.append(arm)
    return found


def _stages(block: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Yield the arms with rows before matching and after it."""
    for arm, rows in block.groupby("arm", sort=False):
        before, after = (rows[rows["stage"] == stage] for stage in (BEFORE, AFTER))
        if len(before) and len(after):
            yield str(arm), before, after


def merge_rare_levels(block: pd.DataFrame, minimum: int) -> tuple[pd.DataFrame, list[str]]:
    """Merge the rarest level of a text column with the next rarest one until no level is too rare."""
    notes = []
    while len(block["covariate"].unique()) > 2 and (block["ones"] < minimum).any() and not block["implied"].any():
        either = block.groupby("covariate", sort=False)["ones"].sum().sort_values(kind="stable")
        pair = [str(level) for level in block["covariate"].unique() if level in either.index[:2]]
        start = len(str(block["column"].iloc[0])) + 1  # levels are named column_level
        merged = JOIN.join([pair[0], *(level[start:] for level in pair[1:])])
        block = pd.concat(list(_joined(block, pair, merged)), ignore_index=True)
        notes.append(f"{merged[start:]} merged, because a level had fewer than {minimum} people.")
    return block, notes


def _joined(block: pd.DataFrame, pair: list[str], merged: str) -> Iterator[pd.DataFrame]:
    """Yield the rows of each level in order, with a pair merged: levels exclude each other, so their sums add up."""
    for level, cells in block.groupby("covariate", sort=False):
        if level == pair[1]:
            continue
        if level == pair[0]:
            other = block[block["covariate"] == pair[1]]
            sums = {name: cells[name].to_numpy() + other[name].to_numpy() for name in (*SUMS[2:], "ones", "ones_w")}
            keys = [
                np.uint64((int(a) + int(b)) % _MODULUS)
                for a, b in zip(cells["ones_key"], other["ones_key"], strict=True)
            ]
            rows = [
                (np.asarray(a, np.int64) + np.asarray(b, np.int64)) % PRIME
                for a, b in zip(cells["ones_rows"], other["ones_rows"], strict=True)
            ]
            sketches = pd.Series(rows, cells.index)
            cells = cells.assign(covariate=merged, ones_key=keys, ones_rows=sketches, **sums)
        yield cells


def pooled_edges(moments: OutcomeMoments, rules: Release) -> OutcomeMoments:
    """Return moments of people below each edge, with edges between which there are enough people of every cell.

    Below the first pool and above the last one, an edge beyond which there is no one is kept only if it is one of a
    coarse grid: the next one would tell who earns least, or most, within the width of a band.

    Parameters
    ----------
    moments : OutcomeMoments
        Marked as in `retrain_eval.tables.moments.edges`; others are returned as they are.
    rules : Release
    """
    if not has_edges(moments) or moments.keyed is None or len(moments.times) < 2:
        return moments
    below, edges = moments.keyed.count[:, :, 0], np.array(moments.times)
    minimum, last = rules.min_contributors * moments.keyed.most, len(edges) - 1
    step = int(np.diff(edges).min())
    coarse = edges % (step * -(-_COARSE // step)) == 0
    none = np.flatnonzero((below == 0).all(axis=0) & coarse)
    every = np.flatnonzero((below == below[:, -1:]).all(axis=0) & coarse)
    low, high = (int(none[-1]) if len(none) else -1), (int(every[0]) if len(every) else last)
    if low >= high:  # no one is below any edge
        return of_times(moments, np.array([last]))
    within = np.diff(np.column_stack([np.zeros(len(below), np.int64), below]), axis=1)[:, low + 1 : high + 1]
    ends = low + 1 + pool_bins(within, minimum)
    kept = sorted({*ends.tolist(), last, *([low] if low >= 0 else [])})
    return moments if len(kept) == len(edges) else of_times(moments, np.array(kept))
