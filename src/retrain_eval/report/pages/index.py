"""The first page: the headline findings of a release, computed from its bundle.

The command line prints the same sentences. A finding says what was estimated, how certain it is, and what it does not
show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd

from retrain_eval.common.levels import is_missing, missing
from retrain_eval.release.bundle import Bundle
from retrain_eval.report.estimates import excludes_zero, median_time
from retrain_eval.report.html import Html
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import p_value
from retrain_eval.report.page import Study
from retrain_eval.report.words import listed, sentence
from retrain_eval.sample.balance.rating import RED
from retrain_eval.tables.covariates.balance_rows import WWC_ADJUST


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
    findings = [finding for answer in answers if (finding := answer(study)) is not None]
    findings += [finding for name in study.results("km_") if (finding := survival(study, name)) is not None]
    return findings[:limit]


def imbalance(study: Study) -> str:
    """Return how a headline begins where matching has not made the groups alike; nothing otherwise."""
    verdict = study.balance_verdict
    if verdict is None or verdict.light != RED:
        return ""
    names = listed([study.words_before.covariate(name) for name in verdict.failed])
    return _(
        "The groups compared are not alike enough for a verdict: after matching they still differ "
        "by more than {wwc_adjust:g} standard deviations in {names}. What follows is not to be "
        "read as the effect of training. ",
        wwc_adjust=WWC_ADJUST,
        names=names,
    )


def verdict(row: pd.Series) -> str:
    """Return what the interval allows one to conclude."""
    if excludes_zero(row):
        return _("The interval excludes zero.")
    return _("The interval includes zero: these data cannot tell the effect from none.")


def unplanned(study: Study, result: str) -> str:
    """Return a sentence for a result that the registered plan does not name; nothing for any other."""
    return _(" The registered plan does not name it: exploratory.") if result in study.exploratory else ""


def effect(study: Study) -> Finding | None:
    """Say whether it works: the average effect on those trained."""
    row = study.main_effect
    if row is None:
        return None
    words = study.words
    outcome, way = words.name(row["outcome"]), _("raised") if row["estimate"] >= 0 else _("lowered")
    compared = _("matched") if "match" in study.bundle.study else _("comparable")
    return Finding(
        question=_("Does it work?"),
        number=words.amount(row["estimate"], signed=True),
        measure=f"{outcome}{words.per_period()}",
        interval=words.interval(row["ci_low"], row["ci_high"]),
        statement=_(
            "{imbalance}For the {units} trained, the estimate is that training {way} {outcome} by "
            "{amount}{per_period} on average, against {compared} {units} who were not trained. "
            "{verdict}",
            imbalance=imbalance(study),
            units=words.units,
            way=way,
            outcome=outcome,
            amount=words.amount(abs(row["estimate"])),
            per_period=words.per_period(),
            compared=compared,
            verdict=verdict(row),
        ),
        caveat=_(
            "An average over {count}; it does not say what training did for any one {unit}, and rests "
            "on the two groups faring alike had nobody been trained.",
            count=words.count(row["n_treated"]),
            unit=_(words.unit),
        )
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
        question=_("How long does it last?"),
        number=words.amount(last["estimate"], signed=True),
        measure=_("{name}, {periods} on", name=words.name(last["outcome"]), periods=words.periods(last["event_time"])),
        interval=words.interval(last["ci_low"], last["ci_high"]),
        statement=_(
            "{periods} after the start of training the effect is {last}{per_period}, against "
            "{first} at the start. {verdict}",
            periods=sentence(words.periods(last["event_time"])),
            last=words.amount(last["estimate"]),
            per_period=words.per_period(),
            first=words.amount(first["estimate"]),
            verdict=verdict(last),
        ),
        caveat=_(
            "Follow-up ends there: nothing here says what happens after {periods}.",
            periods=words.periods(last["event_time"]),
        ),
    )


def for_whom(study: Study) -> Finding | None:
    """Say for whom: the clearest difference between groups, or that none is clear."""
    blocks = [study.result(name) for name in study.results("difference_by_")]
    rows = pd.concat([block for block in blocks if len(block)]) if any(len(block) for block in blocks) else None
    if rows is None or rows["std_error"].notna().sum() == 0:
        return None
    rows = rows[rows["std_error"].notna() & ~missing(rows["level"])]
    if rows.empty:
        return None
    row = rows.iloc[int((rows["estimate"].abs() / rows["std_error"]).to_numpy().argmax())]
    words = study.words
    levels = study.result("att_by_" + str(row["subgroup"]))
    levels = levels[levels["estimate"].notna() & ~missing(levels["level"])]
    each = listed([f"{words.amount(r['estimate'])} ({words.name(r['level'])})" for _i, r in levels.iterrows()])
    trial = study.result("benchmark_by_" + str(row["subgroup"]))
    trial = trial[~missing(trial["level"])]
    found = listed([f"{words.amount(r['estimate'])} ({words.name(r['level'])})" for _i, r in trial.iterrows()])
    clear = excludes_zero(row)
    several = len(rows) > 1
    opening = _("The difference is") if clear else _("No clear difference between groups. It is")
    if several:
        opening = _("The clearest difference is") if clear else _("No clear difference between groups. The largest is")
    return Finding(
        question=_("For whom?"),
        number=words.amount(row["estimate"], signed=True),
        measure=_("difference, {level}", level=words.name(row["level"])),
        interval=words.interval(row["ci_low"], row["ci_high"]),
        statement=_(
            "{opening} by {name}: {each}. The interval of the difference {excludes} zero.",
            opening=opening,
            name=words.name(row["subgroup"]),
            each=each,
            excludes=_("excludes") if clear else _("includes"),
        )
        + (_(" The experiment found {effects}.", effects=found) if found else ""),
        caveat=(
            _(
                "One of {rows} comparisons by difference-in-differences, without adjustment for looking at several; ",
                rows=len(rows),
            )
            if several
            else _("By difference-in-differences; ")
        )
        + _("a group that differs is not thereby the reason for the difference.")
        + unplanned(study, str(row["result"])),
    )


def credibility(study: Study) -> Finding | None:
    """Say whether to believe it: against the experiment where there is one, else against the time before training."""
    if len(study.result("truth")):
        return _truth(study)
    return _benchmark(study) if len(study.result("benchmark")) else _pre_trend(study)


def _truth(study: Study) -> Finding | None:
    row, own = study.result("truth").iloc[0], study.main_effect
    if own is None or pd.isna(row["estimate"]):
        return None
    words = study.words
    covers = _("covers") if own["ci_low"] <= row["estimate"] <= own["ci_high"] else _("does not cover")
    return Finding(
        question=_("Can it be believed?"),
        number=words.amount(row["estimate"], signed=True),
        measure=_("true effect in these synthetic data"),
        interval="",
        statement=_(
            "The generator of the data put in an average effect of {truth}{per_period}. The estimate "
            "is {estimate}, and its interval {covers} the truth.",
            truth=words.amount(row["estimate"]),
            per_period=words.per_period(),
            estimate=words.amount(own["estimate"]),
            covers=covers,
        ),
        caveat=_("The generator selects people into training on what the records show. Reality may not be so kind."),
    )


def _benchmark(study: Study) -> Finding | None:
    row, own = study.result("benchmark").iloc[0], study.main_effect
    if own is None or pd.isna(row["estimate"]):
        return None
    words, gap = study.words, own["estimate"] - row["estimate"]
    raw = study.result("unadjusted")
    without = (
        _(" Without matching, the comparison would have said {amount}.", amount=words.amount(raw.iloc[0]["estimate"]))
        if len(raw)
        else ""
    )
    return Finding(
        question=_("Can it be believed?"),
        number=words.amount(row["estimate"], signed=True),
        measure=_("found by the experiment"),
        interval=words.interval(row["ci_low"], row["ci_high"]),
        statement=_(
            "The randomised experiment found {experiment}; the matched estimate of {estimate} is "
            "{gap} {side} it.{without}",
            experiment=words.amount(row["estimate"]),
            estimate=words.amount(own["estimate"]),
            gap=words.amount(abs(gap)),
            side=_("above") if gap >= 0 else _("below"),
            without=without,
        ),
        caveat=_("Agreement in this study does not prove that matching removes every difference elsewhere."),
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
        _("They were already drifting apart, so the effect is not to be read as caused by training alone.")
        if excludes_zero(row)
        else _("The interval includes zero.")
        if study.matched_periods
        else _("The interval includes zero: no sign that they were already drifting apart.")
    )
    gap = words.amount(abs(row["estimate"]))
    periods = study.words_before.times(study.matched_periods) if study.matched_periods else ""
    chosen = (
        _(" The controls were chosen to be alike in {periods}: agreement there is by construction.", periods=periods)
        if periods
        else ""
    )
    return Finding(
        question=_("Can it be believed?"),
        number=words.amount(row["estimate"], signed=True),
        measure=_("largest gap before training"),
        interval=words.interval(row["ci_low"], row["ci_high"]),
        statement=_(
            "Before training, the largest gap between the groups' paths was {gap}. {drift}", gap=gap, drift=drift
        ),
        caveat=_("Like paths before training do not prove like paths afterwards.") + chosen,
    )


def survival(study: Study, result: str) -> Finding | None:
    """Say how fast: the duration by which half have ended of each group and the log-rank test."""
    rows = study.result(result)
    levels = study.in_order(rows["level"], str(rows["subgroup"].iloc[0]))
    medians = {level: median_time(rows[rows["level"] == level]) for level in levels if not is_missing(level)}
    known = {level: time for level, time in medians.items() if time is not None}
    if not known:
        return None
    words, test = study.words, study.test(result, "log-rank")
    subgroup = str(rows["subgroup"].iloc[0])
    each = listed([f"{time:g} ({words.name(level)})" for level, time in known.items()])
    p = _(" Log-rank test: {p_value}.", p_value=p_value(float(test.iloc[0]["p_value"]))) if len(test) else ""
    span = sorted(known.values())
    return Finding(
        question=_("How fast, by {name}?", name=words.name(subgroup)),
        number=f"{span[0]:g}" if span[0] == span[-1] else _("{low:g} to {high:g}", low=span[0], high=span[-1]),
        measure=_("{durations} until half had ended", durations=words.durations),
        interval="",
        statement=_(
            "Half of the spells had ended by this number of {durations}: {each}.{p}",
            durations=words.durations,
            each=each,
            p=p,
        ),
        caveat=_(
            "Groups differ in more than {name}: a difference here is not an effect of it.", name=words.name(subgroup)
        ),
    )


def finding_cards(findings: Sequence[Finding]) -> Html:
    """Return each finding with its number, its interval, and what it does not show."""
    cards = []
    ninety_five, caveat = escape(_("95% interval")), escape(_("What this does not show."))
    for finding in findings:
        interval = f"{ninety_five}<br>{escape(finding.interval)}" if finding.interval else ""
        interval = f'<span class="interval">{interval}</span>' if interval else ""
        cards.append(
            '<section class="finding">'
            f"<h2>{escape(finding.question)}</h2>"
            f'<p class="figure"><span class="number">{escape(finding.number)}</span>'
            f'<span class="measure">{escape(finding.measure)}</span>{interval}</p>'
            f'<div><p class="statement">{escape(finding.statement)}</p>'
            f'<p class="caveat"><strong>{caveat}</strong> {escape(finding.caveat)}</p></div>'
            "</section>"
        )
    return Html(f'<div class="findings">{"".join(cards)}</div>')
