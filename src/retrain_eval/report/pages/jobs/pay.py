"""The page on pay: whether it grows faster with training, for people who have a job."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from retrain_eval.estimators.figures.pieces import BLUE, GREY, ZERO, Plot, chart, p9, round_ticks
from retrain_eval.estimators.inference import lee_bounds as lee
from retrain_eval.plan.questions import WagePath
from retrain_eval.report.drawing import Figure
from retrain_eval.report.language.catalogue import N_, _
from retrain_eval.report.numerals import MINUS, percent, short_p
from retrain_eval.report.page import Study
from retrain_eval.report.tables import SUPPRESSED, Table

CHANGE, BOUNDS = "wage_path", "wage_path_bounds"
MOST = 200  # periods: more are never followed
_SHARES = {  # estimands that are shares of people
    lee.EMPLOYED: N_("Share with a job, trained"),
    lee.EMPLOYED_CONTROL: N_("Share with a job, controls"),
    lee.GAP: N_("Effect on the share with a job"),
    lee.TRIMMED: N_("Share left out of the group with more jobs"),
}
_LOGS = {
    lee.AMONG: N_("Pay of all who have a job, trained less controls"),
    lee.LOWER: N_("Lower bound on the effect on pay"),
    lee.UPPER: N_("Upper bound on the effect on pay"),
    lee.INTERVAL: N_("Effect on pay, between the bounds"),
    lee.COARSER: N_("Change of the bounds with bands twice as wide"),
}


def gain(log: float, *, signed: bool = False) -> str:
    """Return a difference in logs as a percentage.

    Examples
    --------
    >>> gain(0.0953), gain(-0.0953, signed=True), gain(0.0198, signed=True)
    ('10.0%', '−9.1%', '+2.0%')
    """
    if pd.isna(log):
        return _("not available")
    text = percent(float(np.expm1(log)), 1)
    if text.strip(MINUS) == percent(0.0, 1):
        return percent(0.0, 1)
    return f"+{text}" if signed and log > 0 else text


def between(low: float, high: float) -> str:
    """Return an interval of differences in logs as percentages."""
    return _("{low} to {high}", low=gain(low), high=gain(high))


def change(study: Study) -> dict[str, Any] | None:
    """Return how much more pay grew with training; None if it is not published."""
    rows = study.own(CHANGE)
    rows = rows[rows["estimate"].notna()]
    return None if rows.empty else {str(name): value for name, value in rows.iloc[0].items()}


def bound_rows(study: Study) -> dict[str, dict[str, Any]]:
    """Return the rows of the bounds by estimand; none where they are not published."""
    rows = {str(row["estimand"]): row for row in study.own(BOUNDS).to_dict("records")}
    known = all(name in rows and not pd.isna(rows[name]["estimate"]) for name in (lee.LOWER, lee.UPPER))
    return rows if known else {}  # type: ignore[return-value]


def last_periods(study: Study) -> int:
    """Return how many periods at the end of follow-up are compared."""
    file = study.bundle.study_file
    asked = file.questions.wage_path or WagePath()
    designs = [file.designs[asked.design]] if asked.design in file.designs else [*file.designs.values()]
    return asked.compared(file.study.frequency, designs[0].after if designs else MOST)


def say_pay(study: Study) -> str:
    """Say whether pay grew faster with training, or why that cannot be said."""
    row, words = change(study), study.words
    if row is None:
        reasons = [why for name, why in study.bundle.withheld.items() if name in (CHANGE, CHANGE.replace("_", " "))]
        if reasons:
            return _("Whether pay grows faster with training cannot be said: {reason}.", reason=reasons[0])
        return _("Whether pay grows faster with training cannot be said: it rests on too few people to be published.")
    given = {
        "periods": words.periods(last_periods(study)),
        "period": _(words.period),
        "controls": words.controls,
        "interval": between(row["ci_low"], row["ci_high"]),
    }
    if row["ci_low"] <= 0 <= row["ci_high"]:
        return _(
            "Whether pay grows faster with training is not settled: the pay in a {period} of {units} who had a job "
            "before it and have one in the last {periods} of follow-up differs by {gain} from what it would be had it "
            "grown as that of {controls} did (95% interval {interval}).",
            units=words.units,
            gain=gain(row["estimate"], signed=True),
            **given,
        )
    if row["estimate"] > 0:
        return _(
            "Pay grew faster with training: {units} who had a job before it and have one in the last {periods} of "
            "follow-up earn {gain} more in a {period} than if their pay had grown as that of {controls} did (95% "
            "interval {interval}).",
            units=words.units,
            gain=gain(row["estimate"]),
            **given,
        )
    return _(
        "Pay grew more slowly with training: {units} who had a job before it and have one in the last {periods} of "
        "follow-up earn {loss} less in a {period} than if their pay had grown as that of {controls} did (95% interval "
        "{interval}).",
        units=words.units,
        loss=gain(row["estimate"]).lstrip(MINUS),
        **given,
    )


def say_bounds(study: Study) -> str:
    """Say what the effect on pay is of those who would have a job either way, and how training changes who has one."""
    rows, words = bound_rows(study), study.words
    if not rows:
        reasons = [why for name, why in study.bundle.withheld.items() if name == BOUNDS]
        if reasons:
            return _(
                "The effect on the pay of people who would have a job either way cannot be bounded: {reason}.",
                reason=reasons[0],
            )
        return ""
    low, high, interval = (rows[name] for name in (lee.LOWER, lee.UPPER, lee.INTERVAL))
    return _(
        "Training may change who has a job as well: {trained} of the trained and {control} of {controls} have one in "
        "the last {periods} of follow-up. The effect on the pay of {units} who would have a job with training and "
        "without it is between {low} and {high} (95% interval {interval}).",
        trained=percent(rows[lee.EMPLOYED]["estimate"]),
        control=percent(rows[lee.EMPLOYED_CONTROL]["estimate"]),
        controls=words.controls,
        periods=words.periods(last_periods(study)),
        units=words.units,
        low=gain(low["estimate"], signed=True),
        high=gain(high["estimate"], signed=True),
        interval=between(interval["ci_low"], interval["ci_high"]),
    )


def say_limits(study: Study) -> str:
    """Say what the figures on pay do not show."""
    if change(study) is None and not bound_rows(study):
        return ""
    return _(
        "Pay is what someone earned in a {period} in which they earned anything: longer hours and a better hourly wage "
        "cannot be told apart, and {units} without a job are not counted.",
        period=_(study.words.period),
        units=study.words.units,
    )


def draw_pay(study: Study) -> Figure:
    """Draw the three answers: change in pay, pay of those with a job, and the bounds."""
    lines: list[dict[str, object]] = []
    row, rows = change(study), bound_rows(study)
    if row is not None:
        lines.append(_line(_("Growth of pay, job before and at the end"), row))
    if rows:
        lines.append(_line(_("Pay of all with a job at the end"), rows[lee.AMONG]))
        inner = {"low": rows[lee.LOWER]["estimate"], "high": rows[lee.UPPER]["estimate"]}
        ends = rows[lee.INTERVAL]
        lines.append(
            {"label": _("Pay of those who would have a job either way"), **inner,
             "ci_low": ends["ci_low"], "ci_high": ends["ci_high"], "bounds": True}
        )  # fmt: skip
    data = pd.DataFrame(lines)
    shown = data.assign(place=range(len(data), 0, -1))
    for column in ("low", "high", "ci_low", "ci_high"):
        shown[column] = 100 * np.expm1(shown[column].astype(float))
    title = _("difference in pay with training, per cent")

    def draw(narrow: bool) -> Plot:
        names = [textwrap.fill(str(label), 18 if narrow else 46) for label in shown["label"]]
        bars, points = shown[shown["bounds"]], shown[~shown["bounds"]]
        plot = (
            chart(shown, y="place", yend="place")
            + p9.geom_vline(xintercept=0, **ZERO)
            + p9.geom_segment(p9.aes(x="ci_low", xend="ci_high"), color=BLUE, size=0.8)
            + p9.scale_y_continuous(breaks=shown["place"].tolist(), labels=names, limits=(0.5, len(shown) + 0.5))
            + p9.scale_x_continuous(
                breaks=lambda limits: round_ticks(limits, 4 if narrow else 6),
                labels=lambda breaks: [f"{value:g}".replace("-", MINUS) for value in breaks],
            )
            + p9.labs(x=title, y="")
            + p9.theme(panel_grid_major_y=p9.element_blank())
        )
        if len(points):
            plot += p9.geom_point(p9.aes(x="low"), data=points, color=BLUE, size=3)
        if len(bars):
            plot += p9.geom_segment(p9.aes(x="low", xend="high"), data=bars, color=GREY, size=4)
        return plot

    said = [
        _("{label}: between {low} and {high} (95% interval {interval})", label=one["label"],
          low=gain(one["low"], signed=True), high=gain(one["high"], signed=True),
          interval=between(one["ci_low"], one["ci_high"]))
        if one["bounds"]
        else _("{label}: {gain} (95% interval {interval})", label=one["label"], gain=gain(one["low"], signed=True),
               interval=between(one["ci_low"], one["ci_high"]))
        for one in data.to_dict("records")
    ]  # fmt: skip
    alt = _("Difference in pay with training: {estimates}.", estimates="; ".join(said))
    return Figure(draw, alt, data.drop(columns="bounds"), 0.9 + 0.6 * len(data), 1.1 + 0.7 * len(data))


def _line(label: str, row: Mapping[str, Any]) -> dict[str, object]:
    ends = {"low": row["estimate"], "high": row["estimate"], "ci_low": row["ci_low"], "ci_high": row["ci_high"]}
    return {"label": label, **ends, "bounds": False}


def tabulate_pay(study: Study) -> Table:
    """Tabulate the change in pay, who has a job, and the bounds."""
    row, rows = change(study), study.own(BOUNDS)
    rows = rows if bound_rows(study) else rows.iloc[:0]
    blocks = [] if row is None else [pd.DataFrame([row]).assign(label=_("Growth of pay, job before and at the end"))]
    blocks.append(rows.assign(label=[_({**_SHARES, **_LOGS}.get(name, name)) for name in rows["estimand"]]))
    data = pd.concat([block for block in blocks if len(block)], ignore_index=True)
    share = data["estimand"].isin(_SHARES)
    cells = pd.DataFrame(
        {
            "label": data["label"],
            "estimate": [
                _interval_only(name, estimate) or (percent(estimate, 1) if of else gain(estimate, signed=True))
                for name, estimate, of in zip(data["estimand"], data["estimate"], share, strict=True)
            ],
            "interval": [
                "—" if pd.isna(low)
                else _("{low} to {high}", low=percent(low, 1), high=percent(high, 1)) if of else between(low, high)
                for low, high, of in zip(data["ci_low"], data["ci_high"], share, strict=True)
            ],
            "p": [
                "—" if of and name != lee.GAP else short_p(value)
                for name, of, value in zip(data["estimand"], share, data["p_value"], strict=True)
            ],
        }
    )  # fmt: skip
    labels = {
        "label": _("Estimate of"),
        "estimate": _("Estimate"),
        "interval": _("95% interval"),
        "p": _("p‑value"),
    }
    return Table(cells, data.drop(columns="label").dropna(axis=1, how="all"), stub="label", labels=labels)


def _interval_only(estimand: str, estimate: float) -> str:
    """Return what is printed in place of an estimate that is not there; empty if it is."""
    if not pd.isna(estimate):
        return ""
    return "—" if estimand == lee.INTERVAL else _(SUPPRESSED)
