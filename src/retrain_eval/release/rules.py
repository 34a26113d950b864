"""Disclosure rules: what may leave the agency.

The rule of this version is a minimum number of people behind every published number. Each function takes one kind
of result and returns it protected, with a line for every thing it withheld or merged.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from retrain_eval.effects import COUNTS, NUMBERS
from retrain_eval.errors import DisclosureError
from retrain_eval.lifetable import LifeTable
from retrain_eval.moments import OutcomeMoments
from retrain_eval.results import Results


def protect(results: Results, min_cell: int) -> tuple[Results, list[str]]:
    """Return the results as they may be published, and a record of what was withheld.

    Parameters
    ----------
    results : Results
        What the run found.
    min_cell : int
        Fewest people behind a published number.

    Returns
    -------
    Results, list of str

    Raises
    ------
    DisclosureError
        If a moments or life table cannot be made to hold the rule.

    Examples
    --------
    >>> flow = pd.DataFrame({"step": ["a", "b"], "group": "treated", "n": [185, 4], "reason": ""})
    >>> safe, record = protect(Results(tables={"flow": flow}), 10)
    >>> safe.tables["flow"]["n"].isna().tolist(), record
    ([False, True], ['Table flow: 1 count(s) below 10 are withheld.'])
    """
    safe, record = Results(), []
    for name, frame in results.tables.items():
        if name == "effects":
            safe.tables[name], notes = _effects(frame, min_cell)
        elif name == "overlap":
            safe.tables[name], notes = _overlap(frame, min_cell)
        elif name == "verdicts":
            safe.tables[name], notes = _verdicts(frame, min_cell)
        elif name in ("matching", "linkage"):
            safe.tables[name], notes = _strata(name, frame, min_cell)
        elif "n" in frame.columns:
            safe.tables[name], notes = _counts(name, frame, min_cell)
        else:
            safe.tables[name], notes = frame, []
        record += notes
    if "balance" in safe.tables:
        _check_balance(results.tables.get("overlap"), min_cell)
    for name in ("tests", "bounds", "pretest_power", "rosenbaum", "e_values", "oster"):
        if name in safe.tables:
            safe.tables[name], notes = _of_published(name, safe.tables[name], safe.tables.get("effects"), min_cell)
            record += notes
    for name, moments in results.moments.items():
        safe.moments[name], notes = _moments(name, moments, min_cell)
        record += notes
    for name, table in results.life_tables.items():
        _check_life_table(name, table, min_cell)
        safe.life_tables[name] = table
    return safe, record


def _effects(frame: pd.DataFrame, min_cell: int) -> tuple[pd.DataFrame, list[str]]:
    """Withhold estimates from fewer than ``min_cell`` people on either side, or from nobody knows how many."""
    counts = frame[list(COUNTS)].astype("Float64")
    small = (counts < min_cell).fillna(value=False).any(axis=1) | counts.isna().all(axis=1)
    frame = frame.copy()
    frame[list(COUNTS)] = frame[list(COUNTS)].astype("Int64")
    frame.loc[small, list(NUMBERS)] = float("nan")
    frame.loc[small, list(COUNTS)] = pd.NA
    frame["note"] = frame["note"].astype("str").where(~small, _note(min_cell))
    record = [
        f"Effects: {count} estimate(s) of {name} rest on fewer than {min_cell} and are withheld."
        for name, count in frame[small].groupby("result", sort=False).size().items()
    ]
    return frame, record


def _counts(name: str, frame: pd.DataFrame, min_cell: int) -> tuple[pd.DataFrame, list[str]]:
    """Withhold counts from 1 to ``min_cell`` − 1, and any mean beside them or beside no count at all."""
    small = ((frame["n"] != 0) & ~(frame["n"] >= min_cell)).to_numpy()
    frame = frame.copy()
    frame["n"] = frame["n"].astype("Int64").mask(small)
    if "mean" in frame.columns:
        frame["mean"] = frame["mean"].mask(small)
    return frame, [f"Table {name}: {small.sum()} count(s) below {min_cell} are withheld."] if small.any() else []


def _strata(name: str, frame: pd.DataFrame, min_cell: int) -> tuple[pd.DataFrame, list[str]]:
    """Withhold every level of a stratum if a count of one of them is small, or the number of those left out is.

    One level alone would follow from the others and the row over all people.
    """
    parts = [("n_treated", "n_treated_matched"), ("n_control", "n_control_matched")] if name == "matching" else []
    parts += [("n", "n_linked")] if name == "linkage" else []
    counts = frame[[column for pair in parts for column in pair]].astype("Float64")
    for whole, part in parts:
        counts[f"{whole} left out"] = counts[whole] - counts[part]
    small = ((counts > 0) & (counts < min_cell)).fillna(value=False).any(axis=1)
    everybody = frame["subgroup"].isna()
    kept = everybody | ~frame["subgroup"].isin(frame.loc[small, "subgroup"])
    safe, found = frame.copy(), []
    wholes = [whole for whole, _ in parts]
    for column in frame.columns.difference(["subgroup", "level"]):
        safe[column] = frame[column].mask(
            everybody & (frame[column].between(1, min_cell - 1) if column in wholes else small)
        )
    if (everybody & small).any():
        found = [f"Table {name}: a count below {min_cell} over all people is withheld."]
    gone = ", ".join(dict.fromkeys(frame.loc[~kept, "subgroup"].astype(str)))
    if gone:
        found.append(f"Table {name}: {gone} is withheld, because a level has a count below {min_cell}.")
    return safe[kept].reset_index(drop=True), found


def _overlap(frame: pd.DataFrame, min_cell: int) -> tuple[pd.DataFrame, list[str]]:
    """Pool neighbouring bins of a group until each holds ``min_cell`` people or none."""
    pooled: list[tuple[float, float, object, int]] = []
    for group, block in frame.groupby("group", sort=False):
        done: list[tuple[float, float, int]] = []
        start, held = None, 0
        for low, high, n in block.sort_values("bin_low")[["bin_low", "bin_high", "n"]].itertuples(index=False):
            start, held = low if start is None else start, held + int(n)
            if held == 0 or held >= min_cell:
                done.append((start, high, held))
                start, held = None, 0
        if start is not None:
            # what is left over joins the last bin that holds anybody; with nobody to join, it is withheld
            while done and done[-1][2] == 0:
                done.pop()
            if done:
                done[-1] = (done[-1][0], high, done[-1][2] + held)
        pooled += [(low, high, group, n) for low, high, n in done]
    merged = len(frame) - len(pooled)
    record = (
        [f"Common support: {merged} bin(s) of fewer than {min_cell} are pooled with a neighbour."] if merged else []
    )
    return pd.DataFrame(pooled, columns=["bin_low", "bin_high", "group", "n"]), record


def _check_balance(overlap: pd.DataFrame | None, min_cell: int) -> None:
    """Refuse means of covariates over too few people; the common support beside them says over how many."""
    if overlap is None:
        raise DisclosureError(
            "the balance table does not say how many people it compares; "
            'publish the common support with it: run.results.add_table("overlap", sample.overlap())'
        )
    for group, n in overlap.groupby("group", sort=False)["n"].sum().items():
        if n < min_cell:
            raise DisclosureError(f"the balance table compares {n} people of group {group!r}, fewer than {min_cell}")


def _verdicts(frame: pd.DataFrame, min_cell: int) -> tuple[pd.DataFrame, list[str]]:
    """Withhold what is said of levels with fewer than ``min_cell`` people on either side."""
    counts = frame[list(COUNTS)].astype("Float64")
    small = ((counts < min_cell).fillna(value=False).any(axis=1) | counts.isna().all(axis=1)).to_numpy()
    return frame[~small].reset_index(drop=True), (
        [f"Verdicts: {small.sum()} level(s) of fewer than {min_cell} are withheld."] if small.any() else []
    )


def _of_published(
    name: str, frame: pd.DataFrame, effects: pd.DataFrame | None, min_cell: int
) -> tuple[pd.DataFrame, list[str]]:
    """Leave out what is said of results not all of whose estimates are published: only they say how many people."""
    kept = pd.Series(data=False, index=frame.index)
    if effects is not None:
        withheld = effects.loc[effects["note"] == _note(min_cell), "result"]
        kept = frame["result"].isin(effects["result"]) & ~frame["result"].isin(withheld)
    names = ", ".join(map(str, frame.loc[~kept, "result"].unique()))
    what = name.replace("_", " ").capitalize()
    record = [f"{what}: those of {names} are withheld: not all their estimates are published."] if names else []
    return frame[kept].reset_index(drop=True), record


def _note(min_cell: int) -> str:
    return f"withheld: fewer than {min_cell}"


def _moments(name: str, moments: OutcomeMoments, min_cell: int) -> tuple[OutcomeMoments, list[str]]:
    """Sum out strata, the last first, until every cell, and every two that share sets, hold ``min_cell`` units."""
    record = []
    while (smallest := _smallest(moments)) < min_cell:
        if not moments.strata:
            raise DisclosureError(
                f"the moments {name!r} have a cohort of {smallest:g}, fewer than {min_cell}, and no strata left to "
                "merge; leave that cohort out of the study, or pool it with a neighbour"
            )
        record.append(f"Moments {name}: summed over {moments.strata[-1]}, whose smallest cell was below {min_cell}.")
        moments = moments.collapse(over=moments.strata[-1])
    if 0 < moments.n_dropped < min_cell:
        record.append(f"Moments {name}: the number of units left out, below {min_cell}, is withheld.")
        moments = replace(moments, n_dropped=0)
    return moments, record


def _smallest(moments: OutcomeMoments) -> float:
    """Return the fewest units of a cell, or matched sets that two cells share: of one set, the paths could be read.

    A product of two cells' weights within a set is one where every weight is its cell's mean.
    """
    n = moments.cells["n"].to_numpy()
    weight = moments.first[:, 0] / n
    shared = [block[0, 0] / (weight[c] * weight[d]) for (c, d), block in moments.second.items() if c != d]
    return float(round(min([n.min(), *shared]), 6))


def _check_life_table(name: str, table: LifeTable, min_cell: int) -> None:
    """Refuse a life table with a small count: it must be coarsened before it is read."""
    smallest = int(table.cells["n"].min())
    if smallest < min_cell:
        raise DisclosureError(
            f"the life table {name!r} has a count of {smallest}, fewer than {min_cell}; "
            f"coarsen it first: table.coarsen({min_cell})"
        )
