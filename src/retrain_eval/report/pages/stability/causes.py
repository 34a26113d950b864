"""Why spells end: the causes that compete to end them."""

from __future__ import annotations

import pandas as pd

from retrain_eval.estimators.figures.curves import curve_ends, curve_plot, with_start
from retrain_eval.estimators.figures.pieces import Plot, label_gap, p9
from retrain_eval.report.drawing import Figure
from retrain_eval.report.language.catalogue import N_, _
from retrain_eval.report.numerals import percent
from retrain_eval.report.page import Study
from retrain_eval.report.pages.stability.curves import released_points, whole_ticks
from retrain_eval.report.pages.stability.differences import arms, say_points
from retrain_eval.report.words import Words, listed

CAUSES = {
    "job_to_job": N_("moved to another employer"),
    "nonemployment": N_("left without a job"),
    "recall": N_("laid off and recalled"),
    "job of unknown hours": N_("job, hours unknown"),
    "completed": N_("completed"),
    "dropped_out": N_("dropped out"),
    "employed": N_("left for a job"),
    "transferred": N_("moved to another programme"),
    "other_reason": N_("left for another reason"),
    "no_reason": N_("left, reason not recorded"),
}


def draw_incidence_curves(rows: pd.DataFrame, words: Words, levels: list[str]) -> Figure:
    """Draw the share that has ended by each cause, one panel per cause, with pointwise 95% intervals."""
    curve = rows.assign(cause=rows["estimand"].str.extract(r"CIF\((.*)\)")[0])
    last = curve["time"].max()
    order = curve[curve["time"] == last].groupby("cause")["estimate"].max().sort_values(ascending=False)
    panels = {cause: _(CAUSES.get(str(cause), words.name(cause))) for cause in order.index}
    points = released_points(curve, words, levels)
    points["panel"] = pd.Categorical(points["cause"].map(panels), list(panels.values()))
    blocks = points.groupby(["panel", "group"], observed=True)
    data = pd.concat([with_start(block, 0.0) for _i, block in blocks], ignore_index=True)
    top = float(data["ci_high"].max())
    ends = curve_ends(data, ["panel"], 0.07 * top)

    def draw(narrow: bool) -> Plot:
        columns = 1 if narrow else len(panels)
        gap = (1 if narrow else 2) * label_gap(data["time"], narrow)
        return (
            curve_plot(data, ends, levels, gap=gap, points=points)
            + p9.facet_wrap("panel", ncol=columns)
            + p9.scale_x_continuous(
                breaks=whole_ticks(last, 7 if narrow else 4), expand=(0.03, 0, 0.5 if narrow else 0.95, 0)
            )
            + p9.scale_y_continuous(labels=lambda ys: [f"{y:.0%}" for y in ys], limits=(0, 1.05 * top))
            + p9.labs(x=words.durations, y="", subtitle=_("share that has ended this way"))
        )

    parts = []
    for cause, panel in panels.items():
        shares = curve[(curve["cause"] == cause) & (curve["time"] == last)].set_index("level")["estimate"]
        parts.append(f"{panel} {listed([f'{percent(shares[level])} ({words.name(level)})' for level in levels])}")
    alt = _(
        "Cumulative incidence by {last:g} {durations}: {join}.",
        last=last,
        durations=words.durations,
        join="; ".join(parts),
    )
    keep = ["level", "cause", "time", "estimate", "ci_low", "ci_high", "n_treated"]
    frame = curve[keep].rename(columns={"n_treated": "n_at_risk"})
    return Figure(draw, alt, frame, height=3.5, narrow_height=1.1 + 2.2 * len(panels))


def cause_labels(rows: pd.DataFrame, words: Words) -> list[str]:
    """Return the causes of ending in words, of rows whose estimand names them."""
    causes = rows["estimand"].str.extract(r"CIF\((.*?)\)")[0]
    return [_(CAUSES.get(str(cause), words.name(cause))) for cause in causes]


def say_causes(study: Study, result: str) -> str:
    """Say which causes of ending differ between the arms."""
    rows, words = study.result(f"{result}_difference"), study.words
    one, other = arms(study, f"{result}_difference")
    last = rows[rows["time"] == rows["time"].max()]
    parts = [
        f"{label} {say_points(row)}"
        for label, (_i, row) in zip(cause_labels(last, words), last.iterrows(), strict=True)
    ]
    return _(
        "By {time:g} {durations}, the difference between {arm} and {other} in the share that "
        "has ended in each way is: {differences}.",
        time=last["time"].iloc[0],
        durations=words.durations,
        arm=words.name(one),
        other=words.name(other),
        differences="; ".join(parts),
    )
