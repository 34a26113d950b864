"""Disclosure rules for the rows of tables: a minimum number of people behind every published number.

Each function takes one kind of table and returns the protected table and one line for everything it withheld or merged.
Additive tables have their own rules, in `retrain_eval.release.protection.protect`.
"""

from __future__ import annotations

import pandas as pd

from retrain_eval.estimators.effects.estimates import COUNTS, NUMBERS
from retrain_eval.plan.study_file import Release
from retrain_eval.release.results import is_withheld
from retrain_eval.tables.noise.changes import Changes

PART = "_part"  # column with the number of the part that a row belongs to
JUDGED = ("verdicts", "cells", "groups", "providers")  # tables with a row for each level that is judged
SAID_OF_RESULTS = (
    "tests",
    "bounds",
    "pretest_power",
    "rosenbaum",
    "e_values",
    "oster",
    "ties",
    "ratios",
    "allocation",
)


def changes_of(rules: Release) -> Changes:
    """Return how counts are changed under these rules."""
    return Changes(rules.count_variance, rules.count_gap, rules.round_counts)


def noise_stamp(rules: Release) -> str:
    """Return what the numbers of a protected table went through; tables under other rules do not add."""
    return (
        f"amounts {rules.noise_smallest:g} to {rules.noise_largest:g}, "
        f"counts v = {rules.count_variance:g}, js = {rules.count_gap}"
    )


def apply(name: str, frame: pd.DataFrame, min_cell: int) -> tuple[pd.DataFrame, list[str]]:
    """Apply the rule of a table to its rows; applying it again changes nothing."""
    if name == "effects":
        return _effects(frame, min_cell)
    if name in JUDGED:
        return _of_levels(name, frame, min_cell)
    return _counts(name, frame, min_cell) if "n" in frame.columns else (frame, [])


def is_count(column: str) -> bool:
    """Return whether a column counts people; ``n_needed`` counts hypothetical people and is exempt."""
    return column == "n" or (column.startswith("n_") and column != "n_needed")


def round_table(frame: pd.DataFrame, base: int) -> pd.DataFrame:
    """Round the columns that count people."""
    frame = frame.copy()
    if base > 1:
        for name in frame.columns:
            if is_count(name):
                count = frame[name].astype("Float64")
                frame[name] = (((2 * count + base) // (2 * base)) * base).astype("Int64")
    return frame


def _effects(frame: pd.DataFrame, min_cell: int) -> tuple[pd.DataFrame, list[str]]:
    """Withhold estimates with fewer than ``min_cell`` people in either arm, or with an unknown number of people."""
    counts = frame[list(COUNTS)].astype("Float64")
    small = (counts < min_cell).fillna(value=False).any(axis=1) | counts.isna().all(axis=1)
    small &= ~is_withheld(frame)  # not those that are withheld already
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
    """Withhold counts from 1 to ``min_cell`` − 1, and any mean whose count is small or missing."""
    n = frame["n"].astype("Float64")
    small = ((n != 0) & ~(n >= min_cell)).fillna(value=True).to_numpy(dtype=bool)
    hides = frame[[column for column in ("n", "mean") if column in frame.columns]].notna().any(axis=1) & small
    frame = frame.copy()
    frame["n"] = frame["n"].astype("Int64").mask(small)
    if "mean" in frame.columns:
        frame["mean"] = frame["mean"].mask(small)
    return frame, [f"Table {name}: {hides.sum()} count(s) below {min_cell} are withheld."] if hides.any() else []


def _of_levels(name: str, frame: pd.DataFrame, min_cell: int) -> tuple[pd.DataFrame, list[str]]:
    """Drop the rows about levels with fewer than ``min_cell`` people in either arm."""
    counts = frame[list(COUNTS)].astype("Float64")
    small = ((counts < min_cell).fillna(value=False).any(axis=1) | counts.isna().all(axis=1)).to_numpy()
    return frame[~small].reset_index(drop=True), (
        [f"{name.capitalize()}: {small.sum()} level(s) of fewer than {min_cell} are withheld."] if small.any() else []
    )


def of_published(
    name: str, frame: pd.DataFrame, effects: pd.DataFrame | None, min_cell: int
) -> tuple[pd.DataFrame, list[str]]:
    """Drop rows about results whose estimates are not all published, because only estimates state the number of people.

    Rows that are about a sample, not a result, are kept.
    """
    kept = frame["result"].isna()
    if effects is not None:
        withheld = effects.loc[is_withheld(effects), "result"]
        kept |= frame["result"].isin(effects["result"]) & ~frame["result"].isin(withheld)
    names = ", ".join(map(str, frame.loc[~kept, "result"].unique()))
    what = name.replace("_", " ").capitalize()
    record = [f"{what}: those of {names} are withheld: not all their estimates are published."] if names else []
    return frame[kept].reset_index(drop=True), record


def _note(min_cell: int) -> str:
    return f"withheld: fewer than {min_cell}"
