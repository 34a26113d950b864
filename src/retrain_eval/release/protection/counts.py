"""Protect counts of people: changed counts that add up, and no count of few people nor one that would follow.

If only few people lie between two counts, the earlier one is withheld and the later one is published, because
estimates state the number of people they are based on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.errors import DisclosureError
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.rules import noise_stamp
from retrain_eval.release.protection.weights import published_weights
from retrain_eval.tables.counts import COUNTED, SampleCounts
from retrain_eval.tables.noise.cell_keys import APART, Keys, add_keys, add_sketches
from retrain_eval.tables.noise.changes import MAX_CHANGE
from retrain_eval.tables.noise.person_keys import PRIME
from retrain_eval.tables.noise.register import MOST, Register

Protected = tuple[pd.DataFrame, list[str]]
Sketches = Mapping[str, Ints | None]

# (whole, part): the second column counts some of the people of the first
PAIRS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "matching": (("n_treated", "n_treated_matched"), ("n_control", "n_control_matched")),
    "linkage": (("n", "n_linked"),),
}
_KEY = "key of "
NEAR = f"people differ from those of an earlier edition by fewer than {APART}"


def protect_counts(counts: SampleCounts, rules: Release, register: Register) -> tuple[SampleCounts, list[str]]:
    """Return counts as they may be published: changed, with those of few people withheld.

    Parameters
    ----------
    counts : SampleCounts
        The unprotected counts, with the keys of the people counted.
    rules : Release
    register : Register
        Published counts of the edition.

    Returns
    -------
    SampleCounts, list of str
        The protected counts, without keys, and a record of what was done. Without noise (public data), the exact
        counts.

    Raises
    ------
    DisclosureError
        If the counts have no keys.

    Notes
    -----
    The register changes the count of all people first, and then those of the levels of each stratum, or of the bins of
    a group, so that they add up; where they cannot, they are withheld. Rates follow from published counts. A step of a
    flow is withheld if few people stop between it and the next published step. If one level of a stratum has few people
    or none, all its levels are withheld, because that level would follow from the others. If few people of a level, or
    of all, were dropped, the count before dropping is withheld. Neighbouring bins are pooled until each holds enough
    people; bins must also hold enough people who were not matched, or none. A flow, a column of a stratum or the bins
    of a group are withheld if their people differ from those of a count of an earlier edition by fewer than ten.
    """
    if not rules.noisy:
        return SampleCounts.of(counts.kind, counts.cells, counts.stamp), []
    if counts.keys is None:
        raise DisclosureError(
            f"the counts of the kind {counts.kind!r} were counted without keys of people: count rows that have keys",
            public="it was counted without keys of people",
        )
    cells = counts.cells.assign(**{f"{_KEY}{name}": key for name, key in counts.keys.items()})
    sketches: Sketches = counts.sketches or dict.fromkeys(counts.keys)
    cells, record = _PROTECT[counts.kind](cells, rules.min_contributors, register, sketches)
    return SampleCounts.of(counts.kind, cells, {**counts.stamp, "noise": noise_stamp(rules)}), record


def _flow(cells: pd.DataFrame, minimum: int, register: Register, sketches: Sketches) -> Protected:
    stopped = cells["stopped"].to_numpy(dtype=float, na_value=np.nan)
    keys = cells[f"{_KEY}stopped"].to_numpy(dtype=np.uint64)
    hidden, stopped_sketch = np.isnan(stopped), sketches["stopped"]
    published = np.zeros(len(cells), dtype=np.int64)
    groups = [
        (group, rows.index.to_numpy(), *_reached(rows.index.to_numpy(), stopped, keys, stopped_sketch))
        for group, rows in cells.groupby("group", sort=False)
    ]
    # step by step, those that are withheld would tell how far the newcomers came
    near = [register.counted.few_apart(n, of, sketch)[~hidden[at]].any() for _, at, n, of, sketch in groups]
    if any(near):
        cells["stopped"] = pd.array([pd.NA] * len(cells), dtype="Int64")
        return cells, [f"Sample flow: withheld: {NEAR}."]
    known = int(hidden.sum())
    for group, at, reached, reached_keys, of in groups:
        pending = 0  # people between this step and the next published one
        for step in range(len(at))[::-1]:
            pending += 0 if hidden[at[step]] else int(stopped[at[step]])
            hidden[at[step]] |= 0 < pending < minimum
            pending = pending if hidden[at[step]] else 0
        shown = [step for step in range(len(at)) if not hidden[at[step]]]
        counts = [register.count(int(reached[step]), int(reached_keys[step])) for step in shown]
        counts = np.maximum.accumulate(counts[::-1])[::-1].tolist() if counts else []
        for step in [step for step, n in zip(shown, counts, strict=True) if 0 < n < minimum]:
            hidden[at[step]] = True
        pairs = [(step, n) for step, n in zip(shown, counts, strict=True) if not hidden[at[step]]]
        shown, counts = [step for step, _ in pairs], [n for _, n in pairs]
        for step, now, after in zip(shown, counts, [*counts, 0][1:], strict=True):
            published[at[step]] = now - after
        names = [f"counts/flow: {group}, {cells['step'].iloc[at[step]]}" for step in shown]
        register.counted.add(names, reached[shown], reached_keys[shown], None if of is None else of[shown])
    cells["stopped"] = pd.array(np.where(hidden, np.nan, published), dtype="Float64").astype("Int64")
    n = int(hidden.sum()) - known
    return cells, [f"Sample flow: {n} count(s) are withheld, of or next to fewer than {minimum}."] if n else []


def _reached(at: Ints, stopped: Floats, keys: Keys, sketch: Ints | None) -> tuple[Ints, Keys, Ints | None]:
    """Return the people who reached each step of a group, their keys and their sketches, from those who stopped."""
    reached = np.nan_to_num(stopped[at])[::-1].cumsum()[::-1].astype(np.int64)
    with np.errstate(over="ignore"):
        reached_keys = np.cumsum(keys[at][::-1], dtype=np.uint64)[::-1]
    return reached, reached_keys, None if sketch is None else np.cumsum(sketch[at][::-1], axis=0)[::-1] % PRIME


def _matching(cells: pd.DataFrame, minimum: int, register: Register, sketches: Sketches) -> Protected:
    exact = cells["n_control_matched"]
    cells, of_near = _without_near("matching", cells, register, sketches)
    cells, record = _strata("matching", cells, minimum)
    few, exact = cells["n_control_matched"].isna(), exact.loc[cells.index]
    cells, notes = _registered("matching", cells, minimum, register, sketches)
    for name in ("comparisons", "sum_w", "sum_w2"):
        cells[name] = cells[name].mask(few | cells["n_control_matched"].isna())
    for row in cells.index[cells["sum_w"].notna() & (exact > 0)]:
        n, published = int(exact[row]), int(cells.loc[row, "n_control_matched"])
        key = [int(cells.loc[row, f"{_KEY}n_control_matched"])]
        sums, whole = (float(cells.loc[row, "sum_w"]), float(cells.loc[row, "sum_w2"])), cells.loc[row, "subgroup"]
        cells.loc[row, ["sum_w", "sum_w2"]] = published_weights(*sums, n, published, key, whole=bool(pd.isna(whole)))
        if pd.notna(cells.loc[row, "comparisons"]):  # per control, to two digits: more would give both counts
            cells.loc[row, "comparisons"] = round(published * round(float(cells.loc[row, "comparisons"]) / n, 2))
    return cells.reset_index(drop=True), [*of_near, *record, *notes]


def _linkage(cells: pd.DataFrame, minimum: int, register: Register, sketches: Sketches) -> Protected:
    cells, of_near = _without_near("linkage", cells, register, sketches)
    cells, record = _strata("linkage", cells, minimum)
    cells, notes = _registered("linkage", cells, minimum, register, sketches)
    has_rate = cells["subgroup"].isna() | cells["n"].notna()
    return cells[has_rate].reset_index(drop=True), [*of_near, *record, *notes]


def _without_near(kind: str, cells: pd.DataFrame, register: Register, sketches: Sketches) -> Protected:
    """Withhold a column, over all people or by stratum, if a count of it is of nearly the people of an earlier one."""
    everyone, record = cells["subgroup"].isna(), list[str]()
    for name in COUNTED[kind]:
        n = cells[name].fillna(0).to_numpy(dtype=np.int64)
        near = register.counted.few_apart(n, cells[f"{_KEY}{name}"].to_numpy(np.uint64), sketches[name]) & (n > 0)
        of = cells["subgroup"].isin(cells.loc[near & ~everyone, "subgroup"]) | (everyone & near)
        if of.any():
            strata = ", ".join(dict.fromkeys(cells.loc[of & ~everyone, "subgroup"]))
            what = " and ".join(
                [*(["over all"] if (of & everyone).any() else []), *([f"by {strata}"] if strata else [])]
            )
            cells[name] = cells[name].mask(of)
            record.append(f"Table {kind}: {name} {what} is withheld: {NEAR}.")
    return cells, record


def _strata(kind: str, cells: pd.DataFrame, minimum: int) -> Protected:
    """Withhold small counts with their complements; the rows keep their index."""
    everyone, record = cells["subgroup"].isna(), list[str]()
    for whole, part in PAIRS[kind]:
        few = _few(cells[whole] - cells[part], minimum)
        of = cells["subgroup"].isin(cells.loc[few & ~everyone, "subgroup"])
        if (few & everyone).any():
            of[:] = True  # levels add up
        if of.any():
            cells[whole] = cells[whole].mask(of)
            names = "over all" if of.all() else "by " + ", ".join(dict.fromkeys(cells.loc[of, "subgroup"]))
            record.append(f"Table {kind}: {whole} {names} is withheld: fewer than {minimum} are left out of a group.")
    small = pd.DataFrame(
        {name: _few(cells[name], minimum) | (~everyone & _none(cells[name])) for pair in PAIRS[kind] for name in pair}
    )
    for name in small:
        cells[name] = cells[name].mask(everyone & small[name])
    if (small.any(axis=1) & everyone).any():
        record.append(f"Table {kind}: a count below {minimum} over all people is withheld.")
    # a single withheld level would follow from the other levels
    gone = ~everyone & cells["subgroup"].isin(cells.loc[small.any(axis=1), "subgroup"])
    if gone.any():
        names = ", ".join(dict.fromkeys(cells.loc[gone, "subgroup"]))
        record.append(f"Table {kind}: {names} is withheld, because a level has a count below {minimum}.")
    return cells[~gone].copy(), record


def _registered(kind: str, cells: pd.DataFrame, minimum: int, register: Register, sketches: Sketches) -> Protected:
    """Change counts: of all people first, then those of the levels of each stratum, which add up."""
    record = list[str]()
    everyone = cells["subgroup"].isna()
    exact = {name: cells[name].copy() for name in COUNTED[kind]}
    wholes: dict[str, int] = {}
    for row in cells.index[everyone]:
        for name in COUNTED[kind]:
            if pd.notna(exact[name][row]):
                wholes[name] = register.count(int(exact[name][row]), int(cells.loc[row, f"{_KEY}{name}"]))
                cells.loc[row, name] = wholes[name]
    for stratum, rows in cells[~everyone].groupby("subgroup", sort=False):
        for name in COUNTED[kind]:
            if rows[name].isna().any():
                cells.loc[rows.index, name] = pd.NA
                continue
            keys = rows[f"{_KEY}{name}"].to_numpy(dtype=np.uint64)
            whole = wholes.get(name)
            # if the whole is withheld, its levels must not add up to it
            found = None if whole is None else register.parts(whole, [int(n) for n in rows[name]], keys)
            if found is None or found.min() < minimum:
                why = "changed counts do not add up" if found is None else f"a changed count is below {minimum}"
                record.append(f"Table {kind}: {name} by {stratum} is withheld: {why}.")
                cells.loc[rows.index, name] = pd.NA
            else:
                cells.loc[rows.index, name] = found
    for whole_name, part in PAIRS[kind]:
        above = (cells[part] > cells[whole_name]).fillna(value=False).astype(bool)
        of = (cells["subgroup"].isin(cells.loc[above, "subgroup"]) & ~everyone) | (above & everyone)
        cells[whole_name] = cells[whole_name].mask(of)
    for name in COUNTED[kind]:
        shown = cells.index[cells[name].notna() & (exact[name] > 0).fillna(value=False)]
        of_level = cells.loc[shown, ["subgroup", "level"]].fillna("all").itertuples(index=False)
        names = [f"counts/{kind}: {name}, {subgroup} {level}" for subgroup, level in of_level]
        of_rows, keys = sketches[name], cells.loc[shown, f"{_KEY}{name}"].to_numpy(np.uint64)
        register.counted.add(
            names, exact[name][shown].to_numpy(np.int64), keys, None if of_rows is None else of_rows[shown]
        )
    return cells, record


def _overlap(cells: pd.DataFrame, minimum: int, register: Register, sketches: Sketches) -> Protected:
    record = list[str]()
    bins = cells[["bin_low", "bin_high"]].drop_duplicates().sort_values("bin_low")
    low, high = bins["bin_low"].to_numpy(), bins["bin_high"].to_numpy()
    of: dict[str, Ints] = {}
    keys: dict[str, Keys] = {}
    sketched: dict[str, Ints | None] = {}
    every_sketch = sketches["n"]
    for group, rows in cells.groupby("group", sort=False):
        rows = rows.sort_values("bin_low")
        of[str(group)] = rows["n"].to_numpy(dtype=np.int64)
        keys[str(group)] = rows[f"{_KEY}n"].to_numpy(dtype=np.uint64)
        sketched[str(group)] = None if every_sketch is None else every_sketch[rows.index]
    for before, after in (("treated", "treated matched"), ("control before", "control matched")):
        if after in of and before in of and 0 < of[before].sum() - of[after].sum() < minimum:
            of[before], keys[before], sketched[before] = of[after], keys[after], sketched[after]
            record.append(f"Common support: {before} are those matched; fewer than {minimum} were not.")
    matched = of.pop("treated matched", None)
    parts, pooled = list[pd.DataFrame](), 0
    for group, n in of.items():
        sides, or_none = [n], list[int]()
        if group in ("control before", "control matched") and {"control before", "control matched"} <= set(of):
            # subtracting the matched controls from all controls gives the unmatched ones
            every, chosen = of["control before"], of["control matched"]
            sides, or_none = [every, chosen, np.maximum(every - chosen, 0)], [2]
        elif group == "treated" and matched is not None:
            # distributions of covariates give the matched ones, so that those dropped would follow
            sides, or_none = [n, np.maximum(n - matched, 0)], [1]
        if n.sum() < minimum:
            record.append(f"Common support: {group} is withheld, fewer than {minimum}.")
            continue
        # so many that no published bin is below the minimum
        base = register.changes.base
        ends = pool_bins(np.array(sides), minimum + MAX_CHANGE + base // 2 + 2 * max(MOST, base), or_none)
        starts = np.array([0, *(ends[:-1] + 1)])
        pooled += len(bins) - len(ends)
        place = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=-1))
        sums, summed = np.add.reduceat(n, starts), add_keys(keys[group], place, len(ends))
        sketch, all_bins = sketched[group], np.zeros(len(ends), np.int64)
        pooled_sketch = None if sketch is None else add_sketches(sketch, place, len(ends))
        union = None if pooled_sketch is None else add_sketches(pooled_sketch, all_bins, 1)
        of_all = add_keys(summed, all_bins, 1)
        near = register.counted.few_apart(sums, summed, pooled_sketch).any()
        if near or register.counted.few_apart([n.sum()], of_all, union).any():
            record.append(f"Common support: {group} is withheld: {NEAR}.")
            continue
        whole = register.count(int(n.sum()), int(of_all[0]))
        published = register.parts(whole, sums.tolist(), summed)
        if published is None or published.min() < minimum:
            record.append(f"Common support: {group} is withheld: changed counts do not add up, or are too small.")
            continue
        parts.append(pd.DataFrame({"bin_low": low[starts], "bin_high": high[ends], "group": group, "n": published}))
        names = [f"counts/overlap: {group}, bin {number}" for number in range(len(ends))]
        register.counted.add(names, sums, summed, pooled_sketch)
        register.counted.add([f"counts/overlap: {group}"], [int(n.sum())], of_all, union)
    if pooled:
        record.append(f"Common support: {pooled} bin(s) of fewer than {minimum} are pooled with a neighbour.")
    return (pd.concat(parts, ignore_index=True) if parts else cells.iloc[:0]), record


def pool_bins(n: Ints, minimum: int, or_none: Sequence[int] = ()) -> Ints:
    """Return the last bin of each pool of neighbouring bins, such that every row has enough people in each pool.

    Parameters
    ----------
    n : int ndarray, shape (K, B)
        People by group and bin.
    minimum : int
    or_none : sequence of int
        Rows that may also have no one in a pool.

    Returns
    -------
    int ndarray
        Ascending; the last one is B − 1. A remainder at the end joins the last pool.

    Examples
    --------
    >>> pool_bins(np.array([[12, 4, 7, 0, 3], [0, 0, 30, 0, 0]]), 10).tolist()
    [4]
    >>> pool_bins(np.array([[12, 4, 7, 0, 3], [0, 0, 30, 0, 0]]), 10, or_none=[1]).tolist()
    [0, 4]
    """
    may_be_none = np.isin(np.arange(len(n)), or_none)
    ends: list[int] = []
    held = np.zeros(len(n), dtype=np.int64)
    for at in range(n.shape[1]):
        held = held + n[:, at]
        if ((held >= minimum) | ((held == 0) & may_be_none)).all():
            ends.append(at)
            held = np.zeros(len(n), dtype=np.int64)
    # what is left at the end joins the last pools until they are large enough together
    if not ends or ends[-1] != n.shape[1] - 1:
        while ends:
            ends.pop()
            held = n[:, (ends[-1] + 1 if ends else 0) :].sum(axis=1)
            if ((held >= minimum) | ((held == 0) & may_be_none)).all():
                break
        ends.append(n.shape[1] - 1)
    return np.array(ends, dtype=np.int64)


def _few(count: pd.Series[int], minimum: int) -> pd.Series[bool]:
    few: pd.Series[bool] = ((count > 0) & (count < minimum)).fillna(value=False).astype(bool)
    return few


def _none(count: pd.Series[int]) -> pd.Series[bool]:
    none: pd.Series[bool] = (count == 0).fillna(value=False).astype(bool)
    return none


_PROTECT: Mapping[str, Callable[[pd.DataFrame, int, Register, Sketches], Protected]] = {
    "flow": _flow,
    "matching": _matching,
    "linkage": _linkage,
    "overlap": _overlap,
}
