"""Disclosure rules for the rows of tables: a minimum number of people behind every published number.

Each function takes one kind of table and returns it protected, with a line for every thing it withheld or merged. The
additive tables have rules of their own, in `retrain_eval.release.protect`.
"""

from __future__ import annotations

import pandas as pd

from retrain_eval.effects import COUNTS, NUMBERS
from retrain_eval.errors import DisclosureError

PART = "_part"  # column that says which part of the results a row belongs to
SAID_OF_RESULTS = ("tests", "bounds", "pretest_power", "rosenbaum", "e_values", "oster")


def apply(name: str, frame: pd.DataFrame, min_cell: int) -> tuple[pd.DataFrame, list[str]]:
    """Apply the rule of a table to its rows; doing it twice changes nothing."""
    if name == "effects":
        return _effects(frame, min_cell)
    if name == "overlap":
        return _overlap(frame, min_cell)
    if name == "verdicts":
        return _verdicts(frame, min_cell)
    if name in ("matching", "linkage"):
        return _strata(name, frame, min_cell)
    return _counts(name, frame, min_cell) if "n" in frame.columns else (frame, [])


def is_count(column: str) -> bool:
    """Whether a column counts people; those needed to settle a verdict are nobody yet."""
    return column == "n" or (column.startswith("n_") and column != "n_needed")


def round_table(frame: pd.DataFrame, base: int) -> pd.DataFrame:
    """Round the columns that count people, and make a rate beside them the ratio of what is printed."""
    frame = frame.copy()
    if base > 1:
        for name in frame.columns:
            if is_count(name):
                count = frame[name].astype("Float64")
                frame[name] = (((2 * count + base) // (2 * base)) * base).astype("Int64")
        if {"rate", "n", "n_linked"} <= set(frame.columns):
            frame["rate"] = (frame["n_linked"] / frame["n"]).astype("Float64")
    return frame


def _effects(frame: pd.DataFrame, min_cell: int) -> tuple[pd.DataFrame, list[str]]:
    """Withhold estimates from fewer than ``min_cell`` people on either side, or from nobody knows how many."""
    counts = frame[list(COUNTS)].astype("Float64")
    small = (counts < min_cell).fillna(value=False).any(axis=1) | counts.isna().all(axis=1)
    small &= ~is_withheld(frame)  # once is enough
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

    One level alone would follow from the others and the row over all people. Where only those left out by matching are
    few, it is enough to withhold how many there were; not so if they are few over all people, since levels add up.
    """
    parts = [("n_treated", "n_treated_matched"), ("n_control", "n_control_matched")] if name == "matching" else []
    parts += [("n", "n_linked")] if name == "linkage" else []
    everybody, found = frame["subgroup"].isna(), []
    counts = frame[[column for pair in parts for column in pair]].astype("Float64")
    if name == "matching":
        frame = frame.copy()
        for whole, part in parts:
            few = _few(counts[whole] - counts[part], min_cell)
            of = frame["subgroup"].isin(frame.loc[few & ~everybody, "subgroup"])
            if of.any() and not (few & everybody).any():
                frame[whole], counts[whole] = frame[whole].mask(of), counts[whole].mask(of)
                names = ", ".join(dict.fromkeys(frame.loc[of, "subgroup"].astype(str)))
                found.append(
                    f"Table matching: {whole} by {names} is withheld: of a level, fewer than {min_cell} are left."
                )
    for whole, part in parts:
        counts[f"{whole} left out"] = counts[whole] - counts[part]
    small = counts.apply(_few, min_cell=min_cell).any(axis=1)
    kept = everybody | ~frame["subgroup"].isin(frame.loc[small, "subgroup"])
    safe = frame.copy()
    wholes = [whole for whole, _ in parts]
    for column in frame.columns.difference(["subgroup", "level", PART]):
        safe[column] = frame[column].mask(
            everybody & (frame[column].between(1, min_cell - 1) if column in wholes else small)
        )
    if (everybody & small).any():
        found.append(f"Table {name}: a count below {min_cell} over all people is withheld.")
    gone = ", ".join(dict.fromkeys(frame.loc[~kept, "subgroup"].astype(str)))
    if gone:
        found.append(f"Table {name}: {gone} is withheld, because a level has a count below {min_cell}.")
    return safe[kept].reset_index(drop=True), found


def _few(count: pd.Series[float], min_cell: int) -> pd.Series[bool]:
    return ((count > 0) & (count < min_cell)).fillna(value=False).astype(bool)


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
    out = pd.DataFrame(pooled, columns=["bin_low", "bin_high", "group", "n"])
    return out.assign(**{PART: frame[PART].iloc[0]} if PART in frame.columns else {}), record


def check_balance(overlap: pd.DataFrame | None, min_cell: int) -> None:
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


def of_published(
    name: str, frame: pd.DataFrame, effects: pd.DataFrame | None, min_cell: int
) -> tuple[pd.DataFrame, list[str]]:
    """Leave out what is said of results not all of whose estimates are published: only they say how many people."""
    kept = pd.Series(data=False, index=frame.index)
    if effects is not None:
        withheld = effects.loc[is_withheld(effects), "result"]
        kept = frame["result"].isin(effects["result"]) & ~frame["result"].isin(withheld)
    names = ", ".join(map(str, frame.loc[~kept, "result"].unique()))
    what = name.replace("_", " ").capitalize()
    record = [f"{what}: those of {names} are withheld: not all their estimates are published."] if names else []
    return frame[kept].reset_index(drop=True), record


def _note(min_cell: int) -> str:
    return f"withheld: fewer than {min_cell}"


def is_withheld(effects: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows of a table of effects say that they are withheld."""
    return effects["note"].astype("str").str.startswith("withheld").fillna(value=False).astype(bool)
