"""What the page on how long spells last says in words, computed from the release."""

from __future__ import annotations

import re
from math import exp

import pandas as pd

from retrain_eval.report.duration_tables import cause_labels
from retrain_eval.report.pages import Study
from retrain_eval.report.words import MINUS, NBSP, Words, listed, p_value, percent, plain


def arms(study: Study, result: str) -> list[str]:
    """Return the two arms of a difference: the one that is looked at, and the one that it is compared with."""
    said = str(study.result(result)["estimand"].iloc[0]).rpartition(": ")[2]
    return said.split(" minus ")


def waiting(study: Study) -> str:
    """Say how much longer or shorter the trained are without a job."""
    row = study.result("jobless_since_start_mean_difference").iloc[0]
    words, means = study.words, study.result("jobless_since_start_mean").set_index("level")["estimate"]
    one, other = arms(study, "jobless_since_start_mean_difference")
    return (
        f"Over the first {row['time']:g} {words.durations} the trained were without a job for {plain(means[one], 2)}, "
        f"their matched controls for {plain(means[other], 2)} {words.durations} on average. {_differ(row, words)}"
    )


def holding(study: Study) -> str:
    """Say which share holds the first job, and how much longer the trained do."""
    rows, words = study.result("first_job_difference"), study.words
    row, mean = rows.iloc[-1], study.result("first_job_mean_difference").iloc[0]
    curve = study.result("first_job")
    at = curve[curve["time"] == row["time"]].set_index("level")["estimate"]
    one, other = arms(study, "first_job_difference")
    return (
        f"After {row['time']:g} {words.durations}, {percent(at[one])} of the trained who had found a job still held "
        f"it, and {percent(at[other])} of their controls: a difference of {_points(row)}. Over these {mean['time']:g} "
        f"{words.durations} their jobs lasted {_signed(mean['estimate'])} {words.durations} "
        f"(95% interval {_signed(mean['ci_low'])} to {_signed(mean['ci_high'])}) compared with those of their controls."
    )


def locked_in(study: Study) -> str:
    """Say in which periods the trained find work more slowly, and in which faster."""
    rows, words = period_ratios(study, "lock_in"), study.words
    named = [f"{row['period']} ({plain(exp(row['estimate']), 2)})" for _, row in rows.iterrows()]
    slow = [name for name, below in zip(named, rows["ci_high"] < 0, strict=True) if below]
    fast = [name for name, above in zip(named, rows["ci_low"] > 0, strict=True) if above]
    said = []
    if slow:
        said.append(f"found work more slowly than their controls in {words.durations} {listed(slow)}")
    if fast:
        said.append(f"faster in {words.durations} {listed(fast)}" if slow else f"found work faster in {listed(fast)}")
    if not said:
        return "In no period does the interval of the hazard ratio exclude one."
    return f"Those still without a job {', and '.join(said)}, by the ratio in brackets."


def period_ratios(study: Study, result: str) -> pd.DataFrame:
    """Return the effect in each period of a discrete hazard model, with the period in words."""
    rows = study.result(result)
    period = rows["estimand"].str.extract(r"^[^:]+:period\[(.*)\]$")[0]
    return rows.assign(period=period)[period.notna()].reset_index(drop=True)


def ends(study: Study, result: str) -> str:
    """Say which causes of ending differ between the arms."""
    rows, words = study.result(f"{result}_difference"), study.words
    one, other = arms(study, f"{result}_difference")
    last = rows[rows["time"] == rows["time"].max()]
    said = [
        f"{label} {_points(row)}" for label, (_, row) in zip(cause_labels(last, words), last.iterrows(), strict=True)
    ]
    return (
        f"By {last['time'].iloc[0]:g} {words.durations}, the difference between {words.name(one)} and "
        f"{words.name(other)} in the share that has ended in each way is: {'; '.join(said)}."
    )


def claimed_longer(study: Study) -> str:
    """Say how much longer joblessness lasts in one group than in the other."""
    row, words = study.result("mean_difference").iloc[0], study.words
    one, other = arms(study, "mean_difference")
    span = f"Over the first {row['time']:g} {words.durations}, joblessness"
    if row["ci_low"] * row["ci_high"] <= 0:
        return f"{span} does not last clearly longer in either group."
    way = "longer" if row["estimate"] > 0 else "shorter"
    low, high = sorted(abs(row[name]) for name in ("ci_low", "ci_high"))
    return (
        f"{span} lasts {plain(abs(row['estimate']), 2)} {words.durations} {way} (95% interval {plain(low, 2)} to "
        f"{plain(high, 2)}) where insurance was {words.name(one)} than where it was {words.name(other)}."
    )


def trend(study: Study) -> str:
    """Say whether one hazard ratio describes all durations."""
    tests = study.test("cox")
    tests = tests[tests["test"].str.startswith("trend of ")]
    said = []
    for _, row in tests[tests["test"] != "trend of (all)"].iterrows():
        said.append(f"{term(str(row['test']).removeprefix('trend of '), study.words)}: {p_value(row['p_value'])}")
    whole = tests[tests["test"] == "trend of (all)"].iloc[0]
    verdict = "is rejected" if whole["p_value"] < 0.05 else "is not rejected"
    return (
        f"That the ratios hold at all durations {verdict} (χ²{NBSP}={NBSP}{plain(whole['statistic'], 1)} on "
        f"{whole['df']:g} degrees of freedom, {p_value(whole['p_value'])}; {'; '.join(said)})."
    )


def term(name: str, words: Words) -> str:
    """Return a coefficient's name as a reader meets it.

    Examples
    --------
    >>> term("ui[T.claimed]", Words(labels={"ui": "unemployment insurance"}))
    'unemployment insurance: claimed'
    """
    found = re.fullmatch(r"(\w+)\[T\.(.*)\]", name)
    return f"{words.name(found[1])}: {words.name(found[2])}" if found else name


def _differ(row: pd.Series, words: Words) -> str:
    way = "longer" if row["estimate"] > 0 else "shorter"
    sure = "The interval excludes zero." if row["ci_low"] > 0 or row["ci_high"] < 0 else "The interval includes zero."
    said = f"{_signed(row['ci_low'])} to {_signed(row['ci_high'])}"
    size = f"{plain(abs(row['estimate']), 2)} {words.durations}"
    return f"Training made joblessness {size} {way} (95% interval {said}). {sure}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", MINUS)


def _points(row: pd.Series) -> str:
    numbers = [f"{100 * row[name]:+.1f}".replace("-", MINUS) for name in ("estimate", "ci_low", "ci_high")]
    return f"{numbers[0]} percentage points ({numbers[1]} to {numbers[2]})"
