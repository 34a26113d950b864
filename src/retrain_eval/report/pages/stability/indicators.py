"""The indicators that agencies report."""

from __future__ import annotations

import re

import pandas as pd

from retrain_eval.report.language.catalogue import N_, _
from retrain_eval.report.numerals import percent
from retrain_eval.report.page import Study
from retrain_eval.report.tables import SUPPRESSED, Table
from retrain_eval.report.words import Words


def tabulate_indicators(study: Study) -> Table:
    """Tabulate what agencies report: one row per indicator, trained and controls side by side."""
    words, blocks, sources = study.words, [], []
    for result, name in _INDICATORS.items():
        rows = study.result(result)
        if rows.empty:
            continue
        sources.append(rows)
        for (estimand, time), block in rows.groupby(["estimand", "time"], sort=False, dropna=False):
            when = f"{time:g}"
            text = name.get(re.sub(r"^(same employer since) \w.*$", r"\1", str(estimand)), "")
            first = re.search(r" (\d+)$", str(estimand))
            title = _(text).format(
                time=when, durations=words.durations, period=_(words.period), first=first[1] if first else ""
            )
            block = block.assign(level=block["level"].replace("", "trained"))
            line = {"indicator": title, "group": _(name["group"])}
            for level in ("trained", "matched controls"):
                own = block[block["level"] == level]
                line[level] = _value(own.iloc[0], words) if len(own) and title else "—"
            if title:
                blocks.append(line)
    cells = pd.DataFrame(blocks)
    heads = {"indicator": _("Indicator"), "trained": _("Trained"), "matched controls": _("Matched controls")}
    return Table(cells, pd.concat(sources).dropna(axis=1, how="all"), labels=heads, groups="group")


def _value(row: pd.Series, words: Words) -> str:
    if pd.isna(row["estimate"]):
        return _(SUPPRESSED) if str(row["note"]).startswith("withheld") else _("not reached")
    if row["estimand"] == "median":
        return f"{row['estimate']:g}"
    digits = 1 if row["estimate"] < 0.1 else 0
    return _(
        "{share} ({low} to {high})",
        share=percent(row["estimate"], digits),
        low=percent(row["ci_low"], digits).removesuffix("%"),
        high=percent(row["ci_high"], digits),
    )


_INDICATORS = {
    "indicators_employed": {
        "group": N_("Employment after the start of training"),
        "employed": N_("Employed in {period} {time}"),
        "same employer since": N_("Of those employed in {period} {first}, with the same employer in {period} {time}"),
    },
    "indicators_ever": {"group": N_("Finding work"), "ended": N_("Found a job within {time} {durations}")},
    "indicators_first_job": {
        "group": N_("Finding work"),
        "median": N_("Median {durations} to the first job, from the start"),
    },
    "indicators_since_exit": {
        "group": N_("Finding work"),
        "median": N_("Median {durations} to the first job, from leaving the programme"),
    },
    "indicators_since_displacement": {
        "group": N_("Finding work"),
        "median": N_("Median {durations} to the first job, from displacement, of all who were displaced"),
    },
    "indicators_recall": {
        "group": N_("Finding work"),
        "share(recall)": N_("Of jobs found within {time} {durations}, back with the former employer"),
    },
    "indicators_retained": {
        "group": N_("Keeping work"),
        "retained by the same employer": N_("Job found lasts longer than {time} {durations}"),
    },
}
