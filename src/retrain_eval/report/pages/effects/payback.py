"""When a programme has paid for itself: what is lost at first, when it is made up, when the gain exceeds the cost."""

from __future__ import annotations

import pandas as pd

from retrain_eval.estimators.figures.effects import BEFORE_START
from retrain_eval.estimators.figures.pieces import BLUE, GREY, ZERO, Plot, chart, p9
from retrain_eval.estimators.inference.payback import BREAK_EVEN, COST, CUMULATIVE, LOCK_IN, PAYBACK
from retrain_eval.report.drawing import Figure, amounts
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table
from retrain_eval.report.words import Words


def cumulative_effects(study: Study) -> pd.DataFrame:
    """Return the cumulative effects by time from the start of training."""
    rows = study.result("payback")
    return rows[rows["estimand"] == CUMULATIVE].sort_values("event_time").reset_index(drop=True)


Mark = dict[str, float]


def _marks(study: Study) -> dict[str, Mark]:
    """Return the milestones by name, each with its numbers."""
    rows = study.result("payback").drop_duplicates("estimand", keep="last")
    columns = ["event_time", "estimate", "ci_low", "ci_high"]
    numbers = rows[columns].astype("float64").to_numpy()
    named = zip(rows["estimand"].astype(str), numbers, strict=True)
    return {name: dict(zip(columns, row, strict=True)) for name, row in named}


def say_payback(study: Study) -> str:
    """Say how deep the lock-in is, and when the effect has made up for it and for the cost."""
    rows, words = _marks(study), study.words
    if pd.isna(rows[COST]["estimate"]):
        return _("Too few people stand behind these sums to publish them.")
    depth, cost = rows[LOCK_IN], rows[COST]
    sentences = []
    if depth["estimate"] < 0:
        sentences.append(
            _(
                "At its lowest, {at}, the effect is {amount}{per_period} ({interval}): people in training "
                "earn less than they would have.",
                at=words.at(depth["event_time"], calendar=False),
                amount=words.amount(depth["estimate"]),
                per_period=words.per_period(),
                interval=words.interval(depth["ci_low"], depth["ci_high"]),
            )
        )
    else:
        sentences.append(_("In no period do the trained earn less than they would have."))
    sentences.append(_("What they lost at first is made up {when}.", when=_when(rows[BREAK_EVEN], words)))
    sentences.append(
        _(
            "Training cost {amount} for each person trained, rounded to two digits. The gain exceeds that {when}.",
            amount=words.amount(cost["estimate"]),
            when=_when(rows[PAYBACK], words),
        )
    )
    return " ".join(sentences)


def _when(row: Mark, words: Words) -> str:
    """Say by when a sum has reached its mark, with the interval of that time."""
    low, high = row["ci_low"], row["ci_high"]
    if pd.isna(row["estimate"]):
        if pd.isna(low):
            return _("at no time within the periods followed")
        return _(
            "at no time within the periods followed, by the estimates; {periods} on at the earliest",
            periods=words.periods(low),
        )
    found = _("{periods} after the start of training", periods=words.periods(row["estimate"]))
    if pd.isna(high):
        return _(
            "{when} by the estimates; the 95% interval runs from {periods} to beyond the follow-up",
            when=found,
            periods=words.periods(low),
        )
    return _("{when} (95% interval {low:g} to {periods})", when=found, low=low, periods=words.periods(high))


def draw_payback(study: Study) -> Figure:
    """Draw the cumulative effect with its band, and the cost."""
    data, words = cumulative_effects(study), study.words
    cost = _marks(study)[COST]["estimate"]

    def plot(narrow: bool) -> Plot:
        return (
            chart(data, x="event_time", y="estimate")
            + p9.geom_hline(yintercept=0, **ZERO)
            + p9.geom_vline(xintercept=BEFORE_START, linetype="dashed", **ZERO)
            + p9.geom_hline(yintercept=cost, linetype="dotted", color=GREY, size=0.9)
            + p9.annotate(
                "text",
                x=0,
                y=cost,
                label=_("cost {amount}", amount=words.amount(cost)),
                ha="left",
                va="bottom",
                size=8.5,
                color=GREY,
            )
            + p9.geom_ribbon(p9.aes(ymin="band_low", ymax="band_high"), fill=BLUE, alpha=0.14, na_rm=True)
            + p9.geom_line(color=BLUE, size=1)
            + p9.geom_point(color=BLUE, size=2.4)
            + p9.scale_y_continuous(labels=amounts(words))
            + p9.labs(
                x=_("{periods} from the start of training", periods=words.several),
                y="",
                subtitle=_("cumulative effect on {name}", name=words.name(data["outcome"].iloc[0])),
            )
        )

    last = data.iloc[-1]
    alt = _(
        "Cumulative effect on {name}: {first} in the first {period}, {lowest} at its lowest, "
        "{last} after {periods}, against a cost of {cost}.",
        name=words.name(last["outcome"]),
        first=words.amount(data["estimate"].iloc[0]),
        period=_(words.period),
        lowest=words.amount(data["estimate"].min()),
        last=words.amount(last["estimate"]),
        periods=words.periods(last["event_time"] + 1),
        cost=words.amount(cost),
    )
    columns = ["event_time", "estimate", "ci_low", "ci_high", "band_low", "band_high"]
    return Figure(plot, alt, data[columns], height=3.8)


def tabulate_payback(study: Study) -> Table:
    """Tabulate lock-in depth, break-even and payback with their intervals."""
    rows, words = _marks(study), study.words
    depth = rows[LOCK_IN]
    cells = pd.DataFrame(
        [
            {
                "what": _("Lowest effect in one period"),
                "estimate": words.amount(depth["estimate"]),
                "interval": words.interval(depth["ci_low"], depth["ci_high"]),
            },
            *(
                {
                    "what": label,
                    "estimate": _time(rows[name]["estimate"], words),
                    "interval": _(
                        "{low} to {high}",
                        low=_time(rows[name]["ci_low"], words),
                        high=_time(rows[name]["ci_high"], words),
                    ),
                }
                for name, label in ((BREAK_EVEN, _("Losses made up after")), (PAYBACK, _("Cost exceeded after")))
            ),
            {
                "what": _("Cost per person trained, rounded to two digits"),
                "estimate": words.amount(rows[COST]["estimate"]),
                "interval": "—",
            },
        ]
    )
    columns = ["estimand", "event_time", "estimate", "ci_low", "ci_high"]
    data = study.result("payback").query("estimand != @CUMULATIVE")[columns]
    labels = {"what": _("Milestone"), "estimate": _("Estimate"), "interval": _("95% interval")}
    return Table(cells, data, labels=labels)


def _time(value: float, words: Words) -> str:
    return _("not within follow-up") if pd.isna(value) else words.periods(value)
