"""The headline findings of a release, in words computed from its bundle.

The last lines of the command line and the first page of the book print the same sentences, so the verdict is
written once. A finding says what was estimated, how sure that is, and what it does not show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from retrain_eval.release.bundle import Bundle
from retrain_eval.report.pages import Study
from retrain_eval.report.words import listed, p_value, sentence
from retrain_eval.sample.balance import WWC_ADJUST
from retrain_eval.sample.verdict import RED


@dataclass(frozen=True)
class Finding:
    """One headline finding.

    Attributes
    ----------
    question : str
        What it answers: whether training works, for how long, for whom, and whether to believe it.
    number, measure, interval : str
        The figure to remember, what it measures, and its 95% interval as printed; the interval may be empty.
    statement : str
        The finding in one or two sentences.
    caveat : str
        What it does not show.
    """

    question: str
    number: str
    measure: str
    interval: str
    statement: str
    caveat: str


def headline_findings(bundle: Bundle, limit: int = 3) -> list[Finding]:
    """Return the headline findings of a bundle, most important first.

    Parameters
    ----------
    bundle : Bundle
        The release to read.
    limit : int
        At most this many. A question whose numbers are absent or suppressed is passed over.
    """
    study = Study(bundle)
    answers: tuple[Callable[[Study], Finding | None], ...] = (effect, duration, for_whom, credibility)
    found = [finding for answer in answers if (finding := answer(study)) is not None]
    found += [finding for name in study.results("km_") if (finding := survival(study, name)) is not None]
    return found[:limit]


def main_effect(study: Study) -> pd.Series | None:
    """Return the row the study stands on: the matched effect, else the overall of a DiD or event study."""
    for name in ("att_matched", "did", "group", "event_study"):
        rows = study.own(name)
        if name in ("group", "event_study") and len(rows):
            rows = rows[rows["cohort" if name == "group" else "event_time"].isna()]
        rows = rows[rows["estimate"].notna()]
        if len(rows):
            return rows.iloc[0]
    return None


def imbalance(study: Study) -> str:
    """Return how a headline begins where matching has not made the groups alike; nothing otherwise."""
    verdict = study.balance_verdict
    if verdict is None or verdict.light != RED:
        return ""
    names = listed([study.words.name(name) for name in verdict.failed])
    return (
        f"The groups compared are not alike enough for a verdict: after matching they still differ by more than "
        f"{WWC_ADJUST:g} standard deviations in {names}. What follows is not to be read as the effect of training. "
    )


def excludes_zero(row: pd.Series) -> bool:
    """Whether the 95% interval lies wholly on one side of zero."""
    return bool(row["ci_low"] > 0 or row["ci_high"] < 0)


def verdict(row: pd.Series) -> str:
    """Return what the interval allows one to conclude."""
    if excludes_zero(row):
        return "The interval excludes zero."
    return "The interval includes zero: these data cannot tell the effect from none."


def unplanned(study: Study, result: str) -> str:
    """Return a sentence for a result that the registered plan does not name; nothing for any other."""
    return " The registered plan does not name it: exploratory." if result in study.exploratory else ""


def effect(study: Study) -> Finding | None:
    """Say whether it works: the average effect on those trained."""
    row = main_effect(study)
    if row is None:
        return None
    words = study.words
    outcome, way = words.name(row["outcome"]), "raised" if row["estimate"] >= 0 else "lowered"
    compared = "matched" if "match" in study.bundle.study else "comparable"
    return Finding(
        question="Does it work?",
        number=words.amount(row["estimate"], signed=True),
        measure=f"{outcome}{words.per_period()}",
        interval=words.interval(row["ci_low"], row["ci_high"]),
        statement=f"{imbalance(study)}For the {words.units} trained, the estimate is that training {way} {outcome} by "
        f"{words.amount(abs(row['estimate']))}{words.per_period()} on average, against {compared} {words.units} "
        f"who were not trained. {verdict(row)}",
        caveat=f"An average over {words.count(row['n_treated'])}; it does not say what training did for any one "
        f"{words.unit}, and rests on the two groups faring alike had nobody been trained."
        + unplanned(study, str(row["result"])),
    )


def duration(study: Study) -> Finding | None:
    """Say how long it lasts: the last period followed against the first."""
    rows = study.own("event_study")
    if rows.empty:
        return None
    after = rows[(rows["event_time"] >= 0) & rows["estimate"].notna()].sort_values("event_time")
    if len(after) < 2:
        return None
    words, first, last = study.words, after.iloc[0], after.iloc[-1]
    return Finding(
        question="How long does it last?",
        number=words.amount(last["estimate"], signed=True),
        measure=f"{words.name(last['outcome'])}, {words.periods(last['event_time'])} on",
        interval=words.interval(last["ci_low"], last["ci_high"]),
        statement=f"{sentence(words.periods(last['event_time']))} after the start of training the effect is "
        f"{words.amount(last['estimate'])}{words.per_period()}, against {words.amount(first['estimate'])} "
        f"at the start. {verdict(last)}",
        caveat=f"Follow-up ends there: nothing here says what happens after {words.periods(last['event_time'])}.",
    )


def for_whom(study: Study) -> Finding | None:
    """Say for whom: the clearest difference between groups, or that none is clear."""
    blocks = [study.result(name) for name in study.results("difference_by_")]
    rows = pd.concat([block for block in blocks if len(block)]) if any(len(block) for block in blocks) else None
    if rows is None or rows["std_error"].notna().sum() == 0:
        return None
    rows = rows[rows["std_error"].notna()]
    row = rows.iloc[int((rows["estimate"].abs() / rows["std_error"]).to_numpy().argmax())]
    words = study.words
    levels = study.result("att_by_" + str(row["subgroup"]))
    levels = levels[levels["estimate"].notna()]
    each = listed([f"{words.amount(r['estimate'])} ({words.name(r['level'])})" for _, r in levels.iterrows()])
    trial = study.result("benchmark_by_" + str(row["subgroup"]))
    found = listed([f"{words.amount(r['estimate'])} ({words.name(r['level'])})" for _, r in trial.iterrows()])
    clear = excludes_zero(row)
    several = len(rows) > 1
    opening = "The difference is" if clear else "No clear difference between groups. It is"
    if several:
        opening = "The clearest difference is" if clear else "No clear difference between groups. The largest is"
    return Finding(
        question="For whom?",
        number=words.amount(row["estimate"], signed=True),
        measure=f"difference, {row['level']}",
        interval=words.interval(row["ci_low"], row["ci_high"]),
        statement=f"{opening} by {words.name(row['subgroup'])}: {each}. The interval of the difference "
        f"{'excludes' if clear else 'includes'} zero." + (f" The experiment found {found}." if found else ""),
        caveat=(
            f"One of {len(rows)} comparisons by difference-in-differences, without adjustment for looking at several; "
            if several
            else "By difference-in-differences; "
        )
        + "a group that differs is not thereby the reason for the difference."
        + unplanned(study, str(row["result"])),
    )


def credibility(study: Study) -> Finding | None:
    """Say whether to believe it: against the experiment where there is one, else against the time before training."""
    if len(study.result("truth")):
        return _truth(study)
    return _benchmark(study) if len(study.result("benchmark")) else _pre_trend(study)


def _truth(study: Study) -> Finding | None:
    row, own = study.result("truth").iloc[0], main_effect(study)
    if own is None or pd.isna(row["estimate"]):
        return None
    words = study.words
    covers = "covers" if own["ci_low"] <= row["estimate"] <= own["ci_high"] else "does not cover"
    return Finding(
        question="Can it be believed?",
        number=words.amount(row["estimate"], signed=True),
        measure="true effect in these synthetic data",
        interval="",
        statement=f"The generator of the data put in an average effect of {words.amount(row['estimate'])}"
        f"{words.per_period()}. The estimate is {words.amount(own['estimate'])}, and its interval {covers} the truth.",
        caveat="The generator selects people into training on what the records show. Reality may not be so kind.",
    )


def _benchmark(study: Study) -> Finding | None:
    row, own = study.result("benchmark").iloc[0], main_effect(study)
    if own is None or pd.isna(row["estimate"]):
        return None
    words, gap = study.words, own["estimate"] - row["estimate"]
    raw = study.result("unadjusted")
    without = (
        f" Without matching, the comparison would have said {words.amount(raw.iloc[0]['estimate'])}."
        if len(raw)
        else ""
    )
    return Finding(
        question="Can it be believed?",
        number=words.amount(row["estimate"], signed=True),
        measure="found by the experiment",
        interval=words.interval(row["ci_low"], row["ci_high"]),
        statement=f"The randomised experiment found {words.amount(row['estimate'])}; the matched estimate of "
        f"{words.amount(own['estimate'])} is {words.amount(abs(gap))} {'above' if gap >= 0 else 'below'} it.{without}",
        caveat="Agreement in this study does not prove that matching removes every difference elsewhere.",
    )


def _pre_trend(study: Study) -> Finding | None:
    rows = study.own("event_study")
    if rows.empty:
        return None
    before = rows[(rows["event_time"] < 0) & rows["std_error"].notna()]
    if before.empty:
        return None
    words, t = study.words, (before["estimate"].abs() / before["std_error"]).to_numpy()
    row = before.iloc[int(t.argmax())]
    drift = (
        "They were already drifting apart, so the effect is not to be read as caused by training alone."
        if excludes_zero(row)
        else "The interval includes zero."
        if study.matched_periods
        else "The interval includes zero: no sign that they were already drifting apart."
    )
    gap = words.amount(abs(row["estimate"]))
    periods = words.times(study.matched_periods) if study.matched_periods else ""
    chosen = (
        f" The controls were chosen to be alike in {periods}: agreement there is by construction." if periods else ""
    )
    return Finding(
        question="Can it be believed?",
        number=words.amount(row["estimate"], signed=True),
        measure="largest gap before training",
        interval=words.interval(row["ci_low"], row["ci_high"]),
        statement=f"Before training, the largest gap between the groups' paths was {gap}. {drift}",
        caveat="Like paths before training do not prove like paths afterwards." + chosen,
    )


def survival(study: Study, result: str) -> Finding | None:
    """Say how fast: the duration by which half have ended of each group and the log-rank test."""
    rows = study.result(result)
    levels = study.in_order(rows["level"], str(rows["subgroup"].iloc[0]))
    medians = {level: median_time(rows[rows["level"] == level]) for level in levels}
    known = {level: time for level, time in medians.items() if time is not None}
    if not known:
        return None
    words, test = study.words, study.test(result, "log-rank")
    subgroup = str(rows["subgroup"].iloc[0])
    each = listed([f"{time:g} ({words.name(level)})" for level, time in known.items()])
    p = f" Log-rank test: {p_value(float(test.iloc[0]['p_value']))}." if len(test) else ""
    span = sorted(known.values())
    return Finding(
        question=f"How fast, by {words.name(subgroup)}?",
        number=f"{span[0]:g}" if span[0] == span[-1] else f"{span[0]:g} to {span[-1]:g}",
        measure=f"{words.durations} until half had ended",
        interval="",
        statement=f"Half of the spells had ended by this number of {words.durations}: {each}.{p}",
        caveat=f"Groups differ in more than {words.name(subgroup)}: a difference here is not an effect of it.",
    )


def median_time(curve: pd.DataFrame) -> float | None:
    """Return the first duration at which the survival estimate is one half or less; None if it never is."""
    reached = curve[curve["estimate"] <= 0.5 + 1e-12]
    return None if reached.empty else float(reached["time"].min())
