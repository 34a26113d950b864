"""What the page on how long spells last says in words, computed from the release."""

from __future__ import annotations

import re
from math import exp

import pandas as pd

from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import MINUS, p_value, percent, plain
from retrain_eval.report.page import Study
from retrain_eval.report.pages.duration_tables import cause_labels
from retrain_eval.report.words import Words, listed


def arms(study: Study, result: str) -> list[str]:
    """Return the two arms of a difference: the one that is looked at, and the one that it is compared with."""
    said = str(study.result(result)["estimand"].iloc[0]).rpartition(": ")[2]
    return said.split(" minus ")


def waiting(study: Study) -> str:
    """Say how much longer or shorter the trained are without a job."""
    row = study.result("jobless_since_start_mean_difference").iloc[0]
    words, means = study.words, study.result("jobless_since_start_mean").set_index("level")["estimate"]
    one, other = arms(study, "jobless_since_start_mean_difference")
    return _(
        "Over the first {time:g} {durations} the trained were without a job for {plain}, their "
        "matched controls for {plain_2} {durations} on average. {differ}",
        time=row["time"],
        durations=words.durations,
        plain=plain(means[one], 2),
        plain_2=plain(means[other], 2),
        differ=_differ(row, words),
    )


def holding(study: Study) -> str:
    """Say which share holds the first job, and how much longer the trained do."""
    rows, words = study.result("first_job_difference"), study.words
    row, mean = rows.iloc[-1], study.result("first_job_mean_difference").iloc[0]
    curve = study.result("first_job")
    at = curve[curve["time"] == row["time"]].set_index("level")["estimate"]
    one, other = arms(study, "first_job_difference")
    return _(
        "After {time:g} {durations}, {percent} of the trained who had found a job still held it, and {percent_2} of "
        "their controls: a difference of {points}. Over these {time_2:g} {durations}, the mean length of their jobs "
        "differs by {signed} {durations} (95% interval {signed_2} to {signed_3}).",
        time=row["time"],
        durations=words.durations,
        percent=percent(at[one]),
        percent_2=percent(at[other]),
        points=_points(row),
        time_2=mean["time"],
        signed=_signed(mean["estimate"]),
        signed_2=_signed(mean["ci_low"]),
        signed_3=_signed(mean["ci_high"]),
    )


def locked_in(study: Study) -> str:
    """Say in which periods the trained find work more slowly, and in which faster."""
    rows, words = period_ratios(study, "lock_in"), study.words
    named = [f"{row['period']} ({plain(exp(row['estimate']), 2)})" for _i, row in rows.iterrows()]
    slow = [name for name, below in zip(named, rows["ci_high"] < 0, strict=True) if below]
    fast = [name for name, above in zip(named, rows["ci_low"] > 0, strict=True) if above]
    said = []
    if slow:
        said.append(
            _(
                "found work more slowly than their controls in {durations} {listed}",
                durations=words.durations,
                listed=listed(slow),
            )
        )
    if fast:
        said.append(
            _("faster in {durations} {listed}", durations=words.durations, listed=listed(fast))
            if slow
            else _("found work faster in {listed}", listed=listed(fast))
        )
    if not said:
        return _("In no period does the interval of the hazard ratio exclude one.")
    return _("Those still without a job {join}, by the ratio in brackets.", join=_(", and ").join(said))


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
        f"{label} {_points(row)}" for label, (_i, row) in zip(cause_labels(last, words), last.iterrows(), strict=True)
    ]
    return _(
        "By {value:g} {durations}, the difference between {name} and {name_2} in the share that "
        "has ended in each way is: {join}.",
        value=last["time"].iloc[0],
        durations=words.durations,
        name=words.name(one),
        name_2=words.name(other),
        join="; ".join(said),
    )


def claimed_longer(study: Study) -> str:
    """Say how much longer joblessness lasts in one group than in the other."""
    row, words = study.result("mean_difference").iloc[0], study.words
    one, other = arms(study, "mean_difference")
    span = _("Over the first {time:g} {durations}, joblessness", time=row["time"], durations=words.durations)
    if row["ci_low"] * row["ci_high"] <= 0:
        return _("{span} does not last clearly longer in either group.", span=span)
    way = _("longer") if row["estimate"] > 0 else _("shorter")
    low, high = sorted(abs(row[name]) for name in ("ci_low", "ci_high"))
    return _(
        "{span} lasts {plain} {durations} {way} (95% interval {plain_2} to {plain_3}) where "
        "insurance was {name} than where it was {name_2}.",
        span=span,
        plain=plain(abs(row["estimate"]), 2),
        durations=words.durations,
        way=way,
        plain_2=plain(low, 2),
        plain_3=plain(high, 2),
        name=words.name(one),
        name_2=words.name(other),
    )


def trend(study: Study) -> str:
    """Say whether one hazard ratio describes all durations."""
    tests = study.test("cox")
    tests = tests[tests["test"].str.startswith("trend of ")]
    said = []
    for _i, row in tests[tests["test"] != "trend of (all)"].iterrows():
        said.append(f"{term(str(row['test']).removeprefix('trend of '), study.words)}: {p_value(row['p_value'])}")
    whole = tests[tests["test"] == "trend of (all)"].iloc[0]
    verdict = _("is rejected") if whole["p_value"] < 0.05 else _("is not rejected")
    return _(
        "That the ratios hold at all durations {verdict} (χ²\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{plain} on {df:g} "
        "degrees of freedom, {p_value}; {join}).",
        verdict=verdict,
        plain=plain(whole["statistic"], 1),
        df=whole["df"],
        p_value=p_value(whole["p_value"]),
        join="; ".join(said),
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
    way = _("longer") if row["estimate"] > 0 else _("shorter")
    sure = (
        _("The interval excludes zero.")
        if row["ci_low"] > 0 or row["ci_high"] < 0
        else _("The interval includes zero.")
    )
    said = _("{signed} to {signed_2}", signed=_signed(row["ci_low"]), signed_2=_signed(row["ci_high"]))
    size = f"{plain(abs(row['estimate']), 2)} {words.durations}"
    return _(
        "Training made joblessness {size} {way} (95% interval {said}). {sure}", size=size, way=way, said=said, sure=sure
    )


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", MINUS)


def _points(row: pd.Series) -> str:
    numbers = [f"{100 * row[name]:+.1f}".replace("-", MINUS) for name in ("estimate", "ci_low", "ci_high")]
    return _(
        "{numbers} percentage points ({numbers_2} to {numbers_3})",
        numbers=numbers[0],
        numbers_2=numbers[1],
        numbers_3=numbers[2],
    )
