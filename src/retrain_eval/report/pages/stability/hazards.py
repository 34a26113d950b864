"""Hazard ratios: in each period, and from Cox models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import exp

import numpy as np
import pandas as pd

from retrain_eval.estimators.figures.effects import forest_plot
from retrain_eval.estimators.figures.pieces import BLUE, Plot, p9
from retrain_eval.report.drawing import Figure
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import p_value, plain, short_p
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table
from retrain_eval.report.words import Words, listed

_RATIOS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0)


def period_ratios(study: Study, result: str) -> pd.DataFrame:
    """Return the effect in each period of a discrete hazard model, with the period in words."""
    rows = study.result(result)
    period = rows["estimand"].str.extract(r"^[^:]+:period\[(.*)\]$")[0]
    return rows.assign(period=period)[period.notna()].reset_index(drop=True)


def say_lock_in(study: Study) -> str:
    """Say in which periods the trained find work more slowly, and in which faster."""
    rows, words = period_ratios(study, "lock_in"), study.words
    named = [f"{row['period']} ({plain(exp(row['estimate']), 2)})" for _i, row in rows.iterrows()]
    slow = [name for name, below in zip(named, rows["ci_high"] < 0, strict=True) if below]
    fast = [name for name, above in zip(named, rows["ci_low"] > 0, strict=True) if above]
    parts = []
    if slow:
        parts.append(
            _(
                "found work more slowly than their controls in {durations} {listed}",
                durations=words.durations,
                listed=listed(slow),
            )
        )
    if fast:
        parts.append(
            _("faster in {durations} {listed}", durations=words.durations, listed=listed(fast))
            if slow
            else _("found work faster in {listed}", listed=listed(fast))
        )
    if not parts:
        return _("In no period does the interval of the hazard ratio exclude one.")
    return _("Those still without a job {found}, by the ratio in brackets.", found=_(", and ").join(parts))


def draw_hazard_ratios(rows: pd.DataFrame, labels: list[str], title: str) -> Figure:
    """Draw hazard ratios with 95% intervals on a logarithmic axis, one to a line, in the order given."""
    data = rows.assign(
        label=pd.Categorical(labels, labels[::-1]),
        group="own",
        **{name: np.exp(rows[name].astype(float)) for name in ("estimate", "ci_low", "ci_high")},
    )
    data["text"] = [plain(value, 2) for value in data["estimate"]]
    ends = min(1.0, data["ci_low"].min()), max(1.0, data["ci_high"].max())
    ticks = [tick for tick in _RATIOS if ends[0] / 1.1 <= tick <= ends[1] * 1.1]

    def draw(narrow: bool) -> Plot:
        return (
            forest_plot(data, {"own": BLUE}, {"own": "o"}, reference=1)
            + p9.scale_x_log10(breaks=ticks, labels=lambda xs: [f"{x:g}" for x in xs])
            + p9.scale_y_discrete(expand=(0, 0.45, 0, 0.6))
            + p9.labs(x=title, y="")
        )

    parts = [
        _(
            "{label} {ratio} ({low} to {high})",
            label=label,
            ratio=plain(row["estimate"], 2),
            low=plain(row["ci_low"], 2),
            high=plain(row["ci_high"], 2),
        )
        for label, row in zip(labels, data.to_dict("records"), strict=True)
    ]
    columns = data[["label", "estimate", "ci_low", "ci_high"]]
    size = 0.9 + 0.5 * len(data)
    return Figure(
        draw, _("Hazard ratios with 95% intervals: {join}.", join="; ".join(parts)), columns, size, size + 0.2
    )


def tabulate_ratios(rows: pd.DataFrame, labels: Sequence[str]) -> Table:
    """Tabulate hazard ratios."""
    cells = pd.DataFrame(
        {
            "label": list(labels),
            "ratio": [plain(exp(value), 2) for value in rows["estimate"]],
            "interval": [
                _("{low} to {high}", low=plain(exp(low), 2), high=plain(exp(high), 2))
                for low, high in zip(rows["ci_low"], rows["ci_high"], strict=True)
            ],
            "p": [short_p(value) for value in rows["p_value"]],
        }
    )
    heads = {"label": _("Compared"), "ratio": _("Hazard ratio"), "interval": _("95% interval"), "p": _("p‑value")}
    return Table(cells, rows.dropna(axis=1, how="all"), labels=heads)


def say_trend(study: Study) -> str:
    """Say whether one hazard ratio describes all durations."""
    tests = study.test("cox")
    tests = tests[tests["test"].str.startswith("trend of ")]
    parts = []
    for _i, row in tests[tests["test"] != "trend of (all)"].iterrows():
        parts.append(f"{term(str(row['test']).removeprefix('trend of '), study.words)}: {p_value(row['p_value'])}")
    whole = tests[tests["test"] == "trend of (all)"].iloc[0]
    verdict = _("is rejected") if whole["p_value"] < 0.05 else _("is not rejected")
    return _(
        "That the ratios hold at all durations {verdict} (χ²\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{statistic} on {df:g} "
        "degrees of freedom, {p_value}; {terms}).",
        verdict=verdict,
        statistic=plain(whole["statistic"], 1),
        df=whole["df"],
        p_value=p_value(whole["p_value"]),
        terms="; ".join(parts),
    )


def term(name: str, words: Words) -> str:
    """Return a coefficient's name as a reader meets it.

    Examples
    --------
    >>> term("ui[T.claimed]", Words(labels={"ui": "unemployment insurance"}))
    'unemployment insurance: claimed'
    """
    match = re.fullmatch(r"(\w+)\[T\.(.*)\]", name)
    return f"{words.name(match[1])}: {words.name(match[2])}" if match else name


def draw_lock_in(study: Study) -> Figure:
    """Draw the hazard ratio of finding a job in each period, trained to controls."""
    rows, unit = period_ratios(study, "lock_in"), _(study.words.period)
    labels = [_("{unit} {period}", unit=unit, period=period) for period in rows["period"]]
    return draw_hazard_ratios(rows, labels, _("hazard ratio of finding a job, trained to controls"))


def draw_insurance(study: Study) -> Figure:
    """Draw the hazard ratio of finding a job in each interval, by unemployment insurance."""
    rows = period_ratios(study, "cox_by_period")
    labels = [_("interval {period}", period=period) for period in rows["period"]]
    return draw_hazard_ratios(rows, labels, _("hazard ratio of finding a job, insurance claimed to not claimed"))


def tabulate_cox(study: Study) -> Table:
    """Tabulate the hazard ratios of Cox models, for any job and for each kind."""
    results = {_("any job"): "cox", _("full-time job"): "cox_full-time", _("part-time job"): "cox_part-time"}
    rows = pd.concat([study.result(result).assign(job=job) for job, result in results.items()], ignore_index=True)
    names = zip(rows["job"], rows["estimand"], strict=True)
    return tabulate_ratios(rows, [f"{job}, {term(name, study.words)}" for job, name in names])
