"""The page on outcomes other than the main one."""

from __future__ import annotations

from retrain_eval.report.drawing import Figure
from retrain_eval.report.event_study import draw_event_study, tabulate_event_study
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table
from retrain_eval.report.words import sentence


def heading(study: Study, name: str) -> str:
    """Return the heading of an outcome, marked where the plan does not name it."""
    return sentence(study.marked(f"event_study_{name}", study.words.name(name)))


def say_outcome(study: Study, name: str) -> str:
    """Say what training did to another outcome: at its lowest and highest, and at the end."""
    rows = study.own(f"event_study_{name}")
    after = rows[(rows["event_time"] >= 0) & rows["estimate"].notna()].sort_values("event_time")
    if after.empty:
        return _("Every estimate rests on too few people to be published.")
    words, last = study.words.about(name), after.iloc[-1]
    by_size = after.sort_values("estimate")
    low, high = by_size.iloc[0], by_size.iloc[-1]
    sentences = [
        _(
            "{amount} ({at})",
            amount=words.amount(row["estimate"], signed=True),
            at=words.at(row["event_time"], calendar=False),
        )
        for row in (low, high)
    ]
    return _(
        "The effect on the {name} is lowest at {lowest} and highest at {highest}. At the end of "
        "follow-up, {at}, it is {estimate}.",
        name=words.name(name),
        lowest=sentences[0],
        highest=sentences[1],
        at=words.at(last["event_time"], calendar=False),
        estimate=words.with_interval(last, signed=True),
    )


def draw_outcome(study: Study, name: str) -> Figure:
    """Draw the effect on an outcome by time from the start of training, next to the truth where it is known."""
    truth = study.result(f"truth_event_study_{name}")
    return draw_event_study(study.own(f"event_study_{name}"), study.words.about(name), truth, _("truth"))


def tabulate_outcome(study: Study, name: str) -> Table:
    """Tabulate the effect on an outcome by time from the start of training."""
    return tabulate_event_study(study.own(f"event_study_{name}"), study.words.about(name))
