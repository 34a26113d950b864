"""The part of the page on jobs that takes employment quality apart: by dimension, and how many and how badly."""

from __future__ import annotations

import pandas as pd

from retrain_eval.report.drawing import Figure
from retrain_eval.report.estimates import draw_estimates, excludes_zero, tabulate_estimates
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.page import INTENSITY, QUALITY, Study
from retrain_eval.report.tables import Table
from retrain_eval.report.words import sentence

SCORE, HEADCOUNT = "m0", "deprived"


def last_rows(study: Study) -> pd.DataFrame:
    """Return the effects on M0, on what each dimension contributes, on H and on A, at the end of follow-up."""
    outcomes = [name.removeprefix("event_study_") for name in study.results("event_study_")]
    parts = [name for name in outcomes if name.startswith(QUALITY)]
    blocks: list[pd.DataFrame] = []
    last: float | None = None
    for name in (*parts, SCORE, HEADCOUNT, INTENSITY):
        rows = study.own(f"event_study_{name}")
        rows = rows[rows["event_time"].notna()].sort_values("event_time")
        if rows.empty:
            continue
        last = rows["event_time"].max() if last is None else last
        blocks.append(rows[rows["event_time"] == last].assign(label=sentence(study.words.name(name))))
    if not blocks:
        return pd.DataFrame(columns=["outcome", "estimate", "ci_low", "ci_high", "label"])
    return pd.concat(blocks, ignore_index=True)


def say_parts(study: Study) -> str:
    """Say which dimension most of the effect on employment quality comes from."""
    rows = last_rows(study)
    known = rows[rows["estimate"].notna() & rows["std_error"].notna()]
    parts, whole = known[known["outcome"].str.startswith(QUALITY)], known[known["outcome"] == SCORE]
    if parts.empty or whole.empty:
        return _("By dimension the effect on employment quality rests on too few people to be published.")
    words, total = study.words.about(SCORE), whole.iloc[0]
    sign = 1 if total["estimate"] >= 0 else -1
    most = parts.iloc[int((sign * parts["estimate"]).to_numpy().argmax())]
    text = {
        "when": words.at(total["event_time"], calendar=False),
        "whole": words.amount(total["estimate"], signed=True),
        "interval": words.interval(total["ci_low"], total["ci_high"]),
    }
    if not excludes_zero(total):
        return _(
            "{when}, an effect on M0 is not established: {whole} ({interval}). What the dimensions contribute adds up "
            "to it.",
            **(text | {"when": sentence(text["when"])}),
        )
    return _(
        "{when}, the effect on M0 is {whole} ({interval}). The dimensions add up to it; the largest part, {part} "
        "({part_interval}), comes from this one: {name}.",
        **(text | {"when": sentence(text["when"])}),
        part=words.amount(most["estimate"], signed=True),
        part_interval=words.interval(most["ci_low"], most["ci_high"]),
        name=words.name(most["outcome"]),
    )


def say_intensity(study: Study) -> str:
    """Say whether those in employment of poor quality are deprived in fewer dimensions, and what that does not show."""
    rows = last_rows(study)
    rows = rows[(rows["outcome"] == INTENSITY) & rows["estimate"].notna() & rows["std_error"].notna()]
    if rows.empty:
        reasons = [why for name, why in study.bundle.withheld.items() if name == f"event_study_{INTENSITY}"]
        if reasons:
            return _(
                "How badly people in employment of poor quality fare (A) cannot be compared: {reason}.",
                reason=reasons[0],
            )
        return _(
            "How badly people in employment of poor quality fare (A) is not compared: too few people remain at the "
            "end of follow-up."
        )
    row, words = rows.iloc[0], study.words.about(INTENSITY)
    return _(
        "Among people in employment of poor quality, the average share of dimensions in which they are deprived (A) "
        "differs by {amount} ({interval}) from what parallel trends imply. They are not the same people with training "
        "and without it: if those who are a little deprived leave it first, A rises.",
        amount=words.amount(row["estimate"], signed=True),
        interval=words.interval(row["ci_low"], row["ci_high"]),
    )


def draw_parts(study: Study) -> Figure:
    """Draw what each dimension contributes to the effect on M0, and M0 itself."""
    rows = last_rows(study)
    rows = rows[rows["outcome"].str.startswith(QUALITY) | (rows["outcome"] == SCORE)]
    shapes = ["other" if name == SCORE else "own" for name in rows["outcome"]]
    title = _("effect at the end of follow-up")
    return draw_estimates(rows.assign(shape=shapes), study.words.about(SCORE), title=title)


def tabulate_parts(study: Study) -> Table:
    """Tabulate what each dimension contributes to the effect on M0, M0, H and A."""
    return tabulate_estimates(last_rows(study), study.words.about(SCORE), heading=_("Effect on"))
