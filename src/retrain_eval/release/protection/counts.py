"""Protect counts of people: withhold small counts and counts that follow from two published ones.

If only few people lie between two counts, the earlier one is withheld and the later one is published, because
estimates state the number of people they are based on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Ints
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.merging import round_counts
from retrain_eval.tables.counts import SUMS, SampleCounts

Protected = tuple[pd.DataFrame, list[str]]

# (whole, part): the second column counts some of the people of the first
PAIRS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "matching": (("n_treated", "n_treated_matched"), ("n_control", "n_control_matched")),
    "linkage": (("n", "n_linked"),),
}


def protect_counts(counts: SampleCounts, rules: Release) -> tuple[SampleCounts, list[str]]:
    """Withhold or pool counts of fewer people than the minimum, and round the others.

    Parameters
    ----------
    counts : SampleCounts
        The unprotected counts.
    rules : Release

    Returns
    -------
    SampleCounts, list of str
        The protected counts, and a record of what was done.

    Notes
    -----
    A step of a flow is withheld if few people stop between it and the next published step. If one level of a stratum
    has few people, all its levels are withheld, because that level would follow from the others. If few people of a
    level, or of all, were dropped, the count before dropping is withheld. Neighbouring bins are pooled until each
    holds enough people or none; bins of controls must also hold enough unmatched controls, or none.
    """
    cells, record = _PROTECT[counts.kind](counts.cells.copy(), rules.min_cell)
    return SampleCounts.of(counts.kind, _rounded(counts.kind, cells, rules.round_counts), counts.stamp), record


def _flow(cells: pd.DataFrame, minimum: int) -> Protected:
    stopped = cells["stopped"].to_numpy(dtype=float, na_value=np.nan)
    hidden = np.isnan(stopped)
    known = int(hidden.sum())
    for _, rows in cells.groupby("group", sort=False):
        pending = 0.0  # people between this step and the next published one
        for at in rows.index[::-1]:
            pending += 0.0 if np.isnan(stopped[at]) else stopped[at]
            hidden[at] |= 0 < pending < minimum
            if not hidden[at]:
                stopped[at], pending = pending, 0.0
    cells["stopped"] = pd.array(np.where(hidden, np.nan, stopped), dtype="Float64").astype("Int64")
    n = int(hidden.sum()) - known
    return cells, [f"Sample flow: {n} count(s) are withheld, of or next to fewer than {minimum}."] if n else []


def _matching(cells: pd.DataFrame, minimum: int) -> Protected:
    cells, record = _strata("matching", cells, minimum)
    of_few = cells["n_control_matched"].isna()
    for name in ("comparisons", "sum_w", "sum_w2"):
        cells[name] = cells[name].mask(of_few)
    return cells, record


def _linkage(cells: pd.DataFrame, minimum: int) -> Protected:
    cells, record = _strata("linkage", cells, minimum)
    has_rate = cells["subgroup"].isna() | cells["n"].notna()
    return cells[has_rate].reset_index(drop=True), record


def _strata(kind: str, cells: pd.DataFrame, minimum: int) -> Protected:
    everybody, record = cells["subgroup"].isna(), list[str]()
    for whole, part in PAIRS[kind]:
        few = _few(cells[whole] - cells[part], minimum)
        of = cells["subgroup"].isin(cells.loc[few & ~everybody, "subgroup"])
        if (few & everybody).any():
            of[:] = True  # levels add up
        if of.any():
            cells[whole] = cells[whole].mask(of)
            names = "over all" if of.all() else "by " + ", ".join(dict.fromkeys(cells.loc[of, "subgroup"]))
            record.append(f"Table {kind}: {whole} {names} is withheld: fewer than {minimum} are left out of a group.")
    small = pd.DataFrame({name: _few(cells[name], minimum) for pair in PAIRS[kind] for name in pair})
    for name in small:
        cells[name] = cells[name].mask(everybody & small[name])
    if (small.any(axis=1) & everybody).any():
        record.append(f"Table {kind}: a count below {minimum} over all people is withheld.")
    # a single withheld level would follow from the other levels
    gone = ~everybody & cells["subgroup"].isin(cells.loc[small.any(axis=1), "subgroup"])
    if gone.any():
        names = ", ".join(dict.fromkeys(cells.loc[gone, "subgroup"]))
        record.append(f"Table {kind}: {names} is withheld, because a level has a count below {minimum}.")
    return cells[~gone].reset_index(drop=True), record


def _overlap(cells: pd.DataFrame, minimum: int) -> Protected:
    record = list[str]()
    wide = cells.pivot_table(index=["bin_low", "bin_high"], columns="group", values="n", sort=True)
    of = {str(group): wide[group].to_numpy(dtype=np.int64) for group in cells["group"].unique()}
    for before, after in (("treated", "treated matched"), ("control before", "control matched")):
        if after in of and 0 < of[before].sum() - of[after].sum() < minimum:
            of[before] = of[after]
            record.append(f"Common support: {before} are those matched; fewer than {minimum} were not.")
    of.pop("treated matched", None)
    parts, pooled = list[pd.DataFrame](), 0
    low, high = (wide.index.get_level_values(name) for name in ("bin_low", "bin_high"))
    for group, n in of.items():
        rows = [n]
        if group in ("control before", "control matched") and {"control before", "control matched"} <= set(of):
            # subtracting the matched controls from all controls gives the unmatched ones
            before, after = of["control before"], of["control matched"]
            rows = [before, after, np.maximum(before - after, 0)]
        ends = pool_bins(np.array(rows), minimum)
        starts = [0, *(ends[:-1] + 1)]
        pooled += len(wide) - len(ends)
        sums = np.add.reduceat(n, starts)
        parts.append(pd.DataFrame({"bin_low": low[starts], "bin_high": high[ends], "group": group, "n": sums}))
    if pooled:
        record.append(f"Common support: {pooled} bin(s) of fewer than {minimum} are pooled with a neighbour.")
    found = pd.concat(parts, ignore_index=True)
    return found[(found["n"] == 0) | (found["n"] >= minimum)].reset_index(drop=True), record


def pool_bins(n: Ints, minimum: int) -> Ints:
    """Return the last bin of each pool of neighbouring bins, such that every row has enough people or none in a pool.

    Parameters
    ----------
    n : int ndarray, shape (K, B)
        People by group and bin.
    minimum : int

    Returns
    -------
    int ndarray
        Ascending. A remainder at the end joins the last pool. Bins beyond the last person are not pooled.

    Examples
    --------
    >>> pool_bins(np.array([[12, 4, 7, 0, 3], [0, 0, 30, 0, 0]]), 10).tolist()
    [0, 4]
    """
    ends: list[int] = []
    held = np.zeros(len(n), dtype=np.int64)
    sums: list[Ints] = []
    last = int(np.flatnonzero(n.any(axis=0)).max(initial=-1))
    for at in range(last + 1):
        held = held + n[:, at]
        if ((held == 0) | (held >= minimum)).all():
            ends.append(at)
            sums.append(held)
            held = np.zeros(len(n), dtype=np.int64)
    while sums and not ((held == 0) | (held >= minimum)).all():
        held = held + sums.pop()
        ends.pop()
    if last >= 0 and (not ends or ends[-1] != last):
        ends.append(last)
    return np.array([*ends, *range(last + 1, n.shape[1])], dtype=np.int64)


def _few(count: pd.Series[int], minimum: int) -> pd.Series[bool]:
    few: pd.Series[bool] = ((count > 0) & (count < minimum)).fillna(value=False).astype(bool)
    return few


def _rounded(kind: str, cells: pd.DataFrame, base: int) -> pd.DataFrame:
    """Round the counts and scale sums of weights accordingly, which leaves the ratios computed from them unchanged."""
    if base == 1 or cells.empty:
        return cells
    if kind == "flow":
        for _, rows in cells.groupby("group", sort=False):
            # round the people at each step; those who stop are the differences
            published = rows.index[rows["stopped"].notna()][::-1]
            came = np.cumsum(rows.loc[published, "stopped"].to_numpy(dtype=np.int64))
            stopped = np.diff(round_counts(came, base), prepend=np.int64(0))
            cells["stopped"] = cells["stopped"].mask(
                cells.index.isin(published), pd.Series(stopped, published, dtype="Int64")
            )
        return cells
    for name in [name for name in SUMS[kind] if name.startswith("n")]:
        exact = cells[name]
        known = exact.notna()
        rounded = round_counts(exact[known].to_numpy(dtype=np.int64), base)
        cells[name] = pd.Series(rounded, exact.index[known], dtype="Int64").reindex(exact.index)
        if name == "n_control_matched":
            factor = (cells[name] / exact.mask(exact == 0)).astype("Float64").fillna(1.0)
            for amount in ("comparisons", "sum_w", "sum_w2"):
                cells[amount] = cells[amount] * factor
    return cells


_PROTECT: Mapping[str, Callable[[pd.DataFrame, int], Protected]] = {
    "flow": _flow,
    "matching": _matching,
    "overlap": _overlap,
    "linkage": _linkage,
}
