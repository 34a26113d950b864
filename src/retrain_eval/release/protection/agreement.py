"""Check that tables which were counted separately agree about the same people.

None of these tables follows from another, so none can be re-derived. A release whose tables contradict each other is
refused; `verify` may therefore report a contradiction as an alteration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from retrain_eval.plan.study_file import Release
from retrain_eval.release.results import Results
from retrain_eval.tables.covariates.covariates import AFTER, BEFORE, CovariateMoments

ARMS = ("treated", "control")
OVERLAP = {"treated": ("treated", BEFORE), "control before": ("control", BEFORE), "control matched": ("control", AFTER)}
# counts that the levels of a stratum must add up to
_ADD_UP: Mapping[str, tuple[str, ...]] = {
    "matching": ("n_treated", "n_treated_matched", "n_control", "n_control_matched"),
    "linkage": ("n", "n_linked"),
}


def contradictions(results: Results, rules: Release) -> list[str]:
    """Return the contradictions between two tables, or two rows of one table, about the same people.

    Parameters
    ----------
    results : Results
        As published, with counts rounded and small counts withheld. Withheld counts are not compared.
    rules : Release

    Returns
    -------
    list of str
        One line per contradiction.
    """
    base, tables = rules.round_counts, results.tables
    people = _people(results)
    found = [line for name, moments in results.covariates.items() for line in _of_one_arm(name, moments)]
    if "matching" in tables:
        everybody, parts = _split(tables["matching"])
        found += _against(everybody, people)
        found += _sums("matching", everybody, parts, base)
        found += _within("matching", tables["matching"], [("n_treated_matched", "n_treated")])
        if parts["n_control"].notna().any() or people.get(("control", BEFORE)) is not None:
            found += _within("matching", tables["matching"], [("n_control_matched", "n_control")])
        found += _within_size(tables["matching"], base)
        found += _effective(results, everybody, rules)
        if "flow" in tables:
            found += [*_declines(tables["flow"]), *_flow_holds(tables["flow"], everybody)]
    if "overlap" in tables:
        found += _overlap(tables["overlap"], people, base)
    if "linkage" in tables:
        everybody, parts = _split(tables["linkage"])
        found += _sums("linkage", everybody, parts, base)
        found += _within("linkage", tables["linkage"], [("n_linked", "n")])
    return found


def _of_one_arm(name: str, moments: CovariateMoments) -> Iterator[str]:
    """Check that all covariates of an arm cover the same people, and that shares are of zeros and ones."""
    for (arm, stage), rows in moments.cells.groupby(["arm", "stage"], sort=False):
        for column in ("n", "people", "sum_w", "sum_w2"):
            values = rows[column].to_numpy(dtype=float)
            if not np.allclose(values, values[0], rtol=1e-9, atol=0):
                yield f"covariates/{name}: {column} of {arm}, {stage}, is not the same for all covariates"
        shares = rows[rows["binary"].astype(bool)]
        for covariate, one, two in shares[["covariate", "sum_wx", "sum_wx2"]].itertuples(index=False):
            if not np.isclose(one, two, rtol=1e-9, atol=1e-9):
                yield f"covariates/{name}: {covariate} of {arm}, {stage}, is not 0 or 1"


def _people(results: Results) -> dict[tuple[str, str], int]:
    """Return the number of people in each arm and stage according to the covariate moments."""
    found: dict[tuple[str, str], int] = {}
    for moments in results.covariates.values():
        for (arm, stage), rows in moments.cells.groupby(["arm", "stage"], sort=False):
            found[str(arm), str(stage)] = int(rows["people"].max())
    return found


def _split(frame: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame]:
    """Return the row for all people, and the rows for levels of strata."""
    whole = frame["subgroup"].isna()
    return frame[whole].iloc[0], frame[~whole]


def _against(everybody: pd.Series, people: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """Compare the counts of the matching table with those of the covariate moments."""
    for arm in ARMS:
        for stage, column in ((BEFORE, f"n_{arm}"), (AFTER, f"n_{arm}_matched")):
            known = people.get((arm, stage))
            if known is not None and pd.notna(everybody[column]) and int(everybody[column]) != known:
                yield f"matching, {column}: {int(everybody[column])}, and {known} people in the covariate moments"


def _sums(name: str, everybody: pd.Series, parts: pd.DataFrame, base: int) -> Iterator[str]:
    """Check that the levels of each stratum add up to the count for all people."""
    for stratum, rows in parts.groupby("subgroup", sort=False):
        for column in _ADD_UP[name]:
            if rows[column].isna().any() or pd.isna(everybody[column]):
                continue
            slack = (len(rows) + 1) * (base // 2)
            if abs(int(rows[column].sum()) - int(everybody[column])) > slack:
                yield (
                    f"{name}, {column}: levels of {stratum} add up to {int(rows[column].sum())}, "
                    f"and all are {int(everybody[column])}"
                )


def _within(name: str, frame: pd.DataFrame, pairs: list[tuple[str, str]]) -> Iterator[str]:
    for part, whole in pairs:
        counts = frame[[part, whole]].astype("Float64")
        for row in np.flatnonzero((counts[part] > counts[whole]).fillna(value=False)):
            yield f"{name}, row {row + 1}: {part} {counts[part].iloc[row]:g} of {whole} {counts[whole].iloc[row]:g}"


def _within_size(matching: pd.DataFrame, base: int) -> Iterator[str]:
    """Check that the effective number of controls does not exceed the number of controls."""
    n = matching["n_control_matched"].astype("Float64") + base
    for row in np.flatnonzero((matching["ess_control"].astype("Float64") > n).fillna(value=False)):
        effective, all_of = matching["ess_control"].iloc[row], n.iloc[row] - base
        yield f"matching, row {row + 1}: {effective:g} effective of {all_of:g} controls"


def _effective(results: Results, everybody: pd.Series, rules: Release) -> Iterator[str]:
    """Compare the effective number of controls with the weights in the covariate moments, if each row is one person."""
    for moments in results.covariates.values():
        rows = moments.cells[(moments.cells["arm"] == "control") & (moments.cells["stage"] == AFTER)]
        told = everybody["ess_control"]
        if rows.empty or pd.isna(told) or rows["n"].iloc[0] != rows["people"].iloc[0]:
            continue
        effective = float(rows["sum_w"].iloc[0] ** 2 / rows["sum_w2"].iloc[0])
        # rounding the counts scales this number by the same factor
        slack = 10.0 ** (np.floor(np.log10(effective)) + 1 - rules.significant_figures) + rules.round_counts - 1
        if abs(float(told) - effective) > slack:
            yield f"matching, ess_control: {told:g}, and {effective:g} by the weights in the covariate moments"


def _flow_holds(flow: pd.DataFrame, everybody: pd.Series) -> Iterator[str]:
    """Check that the numbers of candidates and of matched people occur among the steps of the flow."""
    for arm in ARMS:
        counts = flow.loc[flow["group"] == arm, "n"]
        if counts.isna().any() or not len(counts):
            continue
        for column in (f"n_{arm}", f"n_{arm}_matched"):
            if pd.notna(everybody[column]) and int(everybody[column]) not in set(counts.astype(int)):
                yield f"flow, {arm}: no step has the {int(everybody[column])} people that matching says ({column})"


def _declines(flow: pd.DataFrame) -> Iterator[str]:
    """Yield the steps of a flow that have more people than the step before."""
    for group, rows in flow.groupby("group", sort=False):
        counts = rows["n"].dropna().astype(int)
        for step, before, now in zip(rows.loc[counts.index, "step"][1:], counts, counts[1:], strict=False):
            if now > before:
                yield f"flow, {group}, {step}: {now} people of {before}"


def _overlap(overlap: pd.DataFrame, people: Mapping[tuple[str, str], int], base: int) -> Iterator[str]:
    """Check that the bins of each group are contiguous, cover the same range and add up to the people of the group."""
    ends = overlap.groupby("group", sort=False).agg(low=("bin_low", "min"), high=("bin_high", "max"))
    for group, rows in overlap.groupby("group", sort=False):
        of = people.get(OVERLAP.get(str(group), ("", "")))
        if of is not None and abs(int(rows["n"].sum()) - of) > (len(rows) + 1) * (base // 2):
            yield f"overlap, {group}: bins add up to {int(rows['n'].sum())}, and {of} people in the covariate moments"
        low, high = rows["bin_low"].to_numpy(), rows["bin_high"].to_numpy()
        if not (np.allclose(low[1:], high[:-1], rtol=0, atol=1e-9) and (high > low).all()):
            yield f"overlap, {group}: bins do not follow each other"
        if abs(low[0] - ends["low"].min()) > 1e-9 or abs(high[-1] - ends["high"].max()) > 1e-9:
            yield f"overlap, {group}: bins from {low[0]:g} to {high[-1]:g}, and those of another group are wider"
