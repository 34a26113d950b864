"""Protect covariate moments: remove small counts, including those that follow from two stages by subtraction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from retrain_eval.common.errors import DisclosureError
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.distributions import protect_distribution
from retrain_eval.release.protection.merging import JOIN, round_counts
from retrain_eval.tables.covariates.covariates import APART, ARMS, BEFORE, INSIDE, RELEASED, SUMS, CovariateMoments
from retrain_eval.tables.moments.dominance import dominated


def protect_covariates(name: str, moments: CovariateMoments, rules: Release) -> tuple[CovariateMoments, list[str]]:
    """Merge rare levels of text columns, withhold covariates whose counts are still small, and round the counts.

    Parameters
    ----------
    name : str
        Name of the table, for the record.
    moments : CovariateMoments
        The unprotected moments.
    rules : Release

    Returns
    -------
    CovariateMoments, list of str
        The moments without the stage ``apart``, and a record of what was done.

    Notes
    -----
    Each value of a covariate with two or three values must occur for at least the minimum number of people, or for
    none, in each arm and stage. The same holds for combinations of two covariates whose counts follow by subtraction
    because other combinations are impossible. A few people must not dominate an amount. The same minimum applies to
    the people dropped by matching; if they are too few, the sums before matching are withheld and the sums after
    matching represent them.

    Raises
    ------
    DisclosureError
        If an arm has fewer people than the minimum.
    """
    rows = moments.cells
    for arm in ARMS:
        of = rows[(rows["arm"] == arm) & (rows["stage"] != APART)]
        if len(of) and (fewest := int(of["people"].min())) < rules.min_cell:
            raise DisclosureError(
                f"the covariate moments {name!r} compare {fewest} people of group {arm!r}, fewer than {rules.min_cell}",
                public=f"an arm has fewer than {rules.min_cell} people",
            )
    kept: list[pd.DataFrame] = []
    record: list[str] = []
    withheld = list(moments.withheld)
    told_nowhere: list[str] = []
    told: set[str] = set()
    for column, every in rows.groupby("column", sort=False):
        block, notes = _merged(every, rules)
        nothing_left = bool(notes) and len(block["covariate"].unique()) < 2  # all levels are one
        record += [f"Covariates {name}: {column} {note}" for note in notes]
        block = _beside(block, told)
        # a single withheld level of a text column would follow from the other levels
        gone = nothing_left or bool(_few(block[block["stage"] != APART], rules).any())
        for covariate, cells in block.groupby("covariate", sort=False):
            if gone:
                withheld.append(str(covariate))
                continue
            safe_cells = protect_distribution(cells, rules.min_cell)
            if any(cells["edges"].map(len)) and not any(safe_cells["edges"].map(len)):
                told_nowhere.append(str(covariate))
            kept.append(safe_cells)
            told.add(str(covariate))
    if len(withheld) > len(moments.withheld):
        listed = ", ".join(withheld[len(moments.withheld) :])
        record.append(
            f"Covariates {name}: {listed} withheld, of which a value has fewer than {rules.min_cell} people, or which "
            "few people dominate."
        )
    if told_nowhere:
        record.append(
            f"Covariates {name}: distribution functions of {', '.join(told_nowhere)} are withheld: between the points "
            f"at which they would be told, or with a value, are fewer than {rules.min_cell} people."
        )
    safe = pd.concat(kept, ignore_index=True) if kept else rows.iloc[:0]
    few = safe[(safe["stage"] == APART) & (safe["people"] > 0)]
    few = few[_few(few, rules)]
    for which_arm, in_few in few.groupby("arm", sort=False):
        every_one = len(in_few) == len(safe["covariate"].unique())
        which = "every covariate" if every_one else ", ".join(in_few["covariate"])
        record.append(
            f"Covariates {name}: {which_arm} before matching are taken to be those after it in {which}; the people by "
            f"whom they differ are fewer than {rules.min_cell}, or have a value that fewer share."
        )
    in_those = pd.MultiIndex.from_frame(few[["covariate", "arm"]])
    hidden = (safe["stage"] == BEFORE) & pd.MultiIndex.from_frame(safe[["covariate", "arm"]]).isin(in_those)
    safe = safe[(safe["stage"] != APART) & ~hidden].drop(columns=list(INSIDE)).reset_index(drop=True)
    return replace(moments, cells=_rounded(safe[list(RELEASED)], rules.round_counts), withheld=tuple(withheld)), record


def _beside(cells: pd.DataFrame, told: set[str]) -> pd.DataFrame:
    """Lower ``smallest`` to the smallest count that follows from combinations with covariates published already."""
    smallest = [
        min([smallest, *(n for other, n in zip(others, fewest, strict=True) if other in told)])
        for smallest, others, fewest in zip(cells["smallest"], cells["beside"], cells["fewest_beside"], strict=True)
    ]
    return cells.assign(smallest=smallest)


def _few(cells: pd.DataFrame, rules: Release) -> pd.Series[bool]:
    """Return the rows to withhold: too few people, a small count that follows, or an amount that a few dominate."""
    few: pd.Series[bool] = (cells["people"] < rules.min_cell) | (cells["smallest"] < rules.min_cell)
    if not len(cells):
        return few
    top = np.array(cells["largest"].tolist(), dtype=float)[:, None, :]
    total = cells["absolute"].to_numpy(dtype=float)[:, None]
    rule = {"n": rules.dominance_n, "share": rules.dominance_share, "p_percent": rules.p_percent}
    few |= dominated(top, total, **rule) & (top.sum(axis=(1, 2)) > 0)
    return few


def _merged(block: pd.DataFrame, rules: Release) -> tuple[pd.DataFrame, list[str]]:
    """Merge the rarest level of a text column with the next rarest one until no level is too rare."""
    notes = []
    while len(block["covariate"].unique()) > 1 and _few(block[block["stage"] != APART], rules).any():
        either = block[block["stage"] != APART].groupby("covariate", sort=False)["ones"].sum().sort_values()
        pair = [str(level) for level in block["covariate"].unique() if level in either.index[:2]]
        start = len(str(block["column"].iloc[0])) + 1  # levels are named column_level
        merged = JOIN.join([pair[0], *(level[start:] for level in pair[1:])])
        block = pd.concat(list(_joined(block, pair, merged)), ignore_index=True)
        notes.append(f"{merged[start:]} merged, because a level had fewer than {rules.min_cell} people.")
    return block, notes


def _joined(block: pd.DataFrame, pair: list[str], merged: str) -> Iterator[pd.DataFrame]:
    """Yield the rows of each level in order, with a pair merged: levels exclude each other, so their sums add up."""
    for level, cells in block.groupby("covariate", sort=False):
        if level == pair[1]:
            continue
        if level == pair[0]:
            other = block[block["covariate"] == pair[1]]
            sums = {name: cells[name].to_numpy() + other[name].to_numpy() for name in ("sum_wx", "sum_wx2", "ones")}
            cells = cells.assign(covariate=merged, **sums)
            without = cells["people"] - cells["ones"]
            everybody = (cells["ones"] == 0) | (without == 0)
            for name in ("beside", "fewest_beside"):  # these refer to the unmerged levels
                cells[name] = pd.Series([[] for _ in range(len(cells))], cells.index)
            cells["smallest"] = cells[["ones"]].assign(w=without).min(axis=1).mask(everybody, cells["people"])
        yield cells


def _rounded(cells: pd.DataFrame, base: int) -> pd.DataFrame:
    """Round the counts and scale all sums accordingly, which leaves means and variances unchanged."""
    if base == 1 or cells.empty:
        return cells
    people = round_counts(cells["people"].to_numpy(), base)
    factor = people / cells["people"].to_numpy()
    n = round_counts(cells["n"].to_numpy(), base)
    below = [(np.asarray(sums) * f).tolist() for sums, f in zip(cells["sum_below"], factor, strict=True)]
    return cells.assign(n=n, people=people, sum_below=below, **{name: cells[name] * factor for name in SUMS})
