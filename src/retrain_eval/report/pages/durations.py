"""Figures of how long spells last: curves with numbers at risk, causes of ending, hazard ratios."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd

from retrain_eval.report.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    PINK,
    RULE,
    VERMILION,
    ZERO,
    Figure,
    Plot,
    chart,
    nudge,
    p9,
)
from retrain_eval.report.language.catalogue import N_, _
from retrain_eval.report.numerals import percent, plain
from retrain_eval.report.words import Words, listed

COLOURS, SHAPES = (BLUE, VERMILION, GREEN, PINK, GREY), ("o", "s", "^", "D", "v")
CAUSES = {
    "job_to_job": N_("moved to another employer"),
    "nonemployment": N_("left without a job"),
    "recall": N_("laid off and recalled"),
    "job of unknown hours": N_("job, hours unknown"),
}
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_RATIOS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0)
_ROW = 0.11  # height of a row of numbers at risk, in shares


def survival_curves(curve: pd.DataFrame, words: Words, event: str, levels: list[str]) -> Figure:
    """Draw Kaplan-Meier curves with pointwise 95% intervals, one per level, labelled at their ends.

    A release merges durations until each holds enough people, so the curve is known at the points released
    and is drawn straight between them. Below stand the numbers at risk just before some of these durations.
    """
    data = pd.concat([_from_one(curve[curve["level"] == level], 1.0) for level in levels], ignore_index=True)
    data["level"] = pd.Categorical(data["level"], levels)
    ends = _ends(data, words, apart=0.06)
    longest = max(len(label) for label in ends["label"])
    rows = {level: -_ROW * (place + 1.3) for place, level in enumerate(levels)}

    def draw(narrow: bool) -> Plot:
        at_risk = _at_risk(curve, levels, 4 if narrow else 8)
        at_risk["y"] = at_risk["level"].map(rows).astype(float)
        names = [textwrap.fill(words.name(level), 13 if narrow else 24) for level in levels]
        room = max(0.45, 0.034 * longest) if narrow else max(0.2, 0.0145 * longest)
        return (
            # half of a number stands left of the first duration
            _lines(data, ends, levels, narrow, room, before=0.12 if narrow else 0.05)
            + p9.geom_hline(yintercept=list(_SHARES), color=RULE, size=0.5)
            + p9.geom_text(p9.aes("time", "y", label="label"), data=at_risk, size=8, color=INK, inherit_aes=False)
            + p9.scale_y_continuous(
                breaks=[*_SHARES, *rows.values()],
                labels=[*(f"{share:.0%}" for share in _SHARES), *names],
                limits=(min(rows.values()) - 0.05, 1.02),
                expand=(0.01, 0),
            )
            + p9.labs(x=words.durations, y="", subtitle=_("share {event}; below, numbers at risk", event=event))
            + p9.theme(panel_grid_major_y=p9.element_blank())
        )

    at = float(data["time"].max()) / 2
    says = [f"{words.name(level)} {percent(_last_before(data[data['level'] == level], at))}" for level in levels]
    alt = _(
        "Kaplan-Meier curves. Share {event} after {at:g} {durations}: {listed}.",
        event=event,
        at=at,
        durations=words.durations,
        listed=listed(says),
    )
    keep = ["level", "time", "estimate", "ci_low", "ci_high", "n_treated"]
    frame = curve[keep].rename(columns={"n_treated": "n_at_risk"})
    return Figure(draw, alt, frame, height=4.1 + 0.25 * len(levels), narrow_height=4.3 + 0.3 * len(levels))


def incidence_curves(curve: pd.DataFrame, words: Words, levels: list[str]) -> Figure:
    """Draw the share that has ended by each cause, one panel per cause, with pointwise 95% intervals."""
    curve = curve.assign(cause=curve["estimand"].str.extract(r"CIF\((.*)\)")[0])
    last = curve["time"].max()
    order = curve[curve["time"] == last].groupby("cause")["estimate"].max().sort_values(ascending=False)
    panels = {cause: _(CAUSES.get(str(cause), words.name(cause))) for cause in order.index}
    blocks = []
    for cause in panels:
        own = curve[curve["cause"] == cause]
        for level in levels:
            block = _from_one(own[own["level"] == level], 0.0)
            blocks.append(block.assign(panel=panels[cause]))
    data = pd.concat(blocks, ignore_index=True)
    data["level"] = pd.Categorical(data["level"], levels)
    data["panel"] = pd.Categorical(data["panel"], list(panels.values()))
    top = float(data["ci_high"].max())
    ends = pd.concat([_ends(block, words, 0.07 * top) for _i, block in data.groupby("panel", observed=True)])

    def draw(narrow: bool) -> Plot:
        return (
            _lines(data, ends, levels, narrow, 0.5 if narrow else 0.95, panels=1 if narrow else 2)
            + p9.facet_wrap("panel", ncol=1 if narrow else len(panels))
            + p9.scale_y_continuous(labels=lambda ys: [f"{y:.0%}" for y in ys], limits=(0, 1.05 * top))
            + p9.labs(x=words.durations, y="", subtitle=_("share that has ended this way"))
        )

    says = []
    for cause, panel in panels.items():
        rows = curve[(curve["cause"] == cause) & (curve["time"] == last)].set_index("level")["estimate"]
        says.append(f"{panel} {listed([f'{percent(rows[level])} ({words.name(level)})' for level in levels])}")
    alt = _(
        "Cumulative incidence by {last:g} {durations}: {join}.",
        last=last,
        durations=words.durations,
        join="; ".join(says),
    )
    keep = ["level", "cause", "time", "estimate", "ci_low", "ci_high", "n_treated"]
    frame = curve[keep].rename(columns={"n_treated": "n_at_risk"})
    return Figure(draw, alt, frame, height=3.5, narrow_height=1.1 + 2.2 * len(panels))


def hazard_ratios(rows: pd.DataFrame, labels: list[str], title: str) -> Figure:
    """Draw hazard ratios with 95% intervals on a logarithmic axis, one to a line, in the order given."""
    data = rows.assign(
        label=pd.Categorical(labels, labels[::-1]),
        **{name: np.exp(rows[name].astype(float)) for name in ("estimate", "ci_low", "ci_high")},
    )
    data["text"] = [plain(value, 2) for value in data["estimate"]]
    ends = min(1.0, data["ci_low"].min()), max(1.0, data["ci_high"].max())
    ticks = [tick for tick in _RATIOS if ends[0] / 1.1 <= tick <= ends[1] * 1.1]

    def draw(narrow: bool) -> Plot:
        return (
            chart(data, x="estimate", y="label")
            + p9.geom_vline(xintercept=1, **ZERO)
            + p9.geom_segment(p9.aes(x="ci_low", xend="ci_high", yend="label"), color=BLUE, size=1.5)
            + p9.geom_point(color=BLUE, size=3, fill="white", stroke=0.9)
            + p9.geom_label(
                p9.aes(label="text"), nudge_y=0.33, size=8.5, color=BLUE, fill="white", label_size=0, label_padding=0.05
            )
            + p9.scale_x_log10(breaks=ticks, labels=lambda xs: [f"{x:g}" for x in xs])
            + p9.scale_y_discrete(expand=(0, 0.45, 0, 0.6))
            + p9.labs(x=title, y="")
            + p9.theme(panel_grid_major_y=p9.element_blank())
        )

    says = [
        _(
            "{label} {plain} ({plain_2} to {plain_3})",
            label=label,
            plain=plain(row["estimate"], 2),
            plain_2=plain(row["ci_low"], 2),
            plain_3=plain(row["ci_high"], 2),
        )
        for label, row in zip(labels, data.to_dict("records"), strict=True)
    ]
    keep = data[["label", "estimate", "ci_low", "ci_high"]]
    size = 0.9 + 0.5 * len(data)
    return Figure(draw, _("Hazard ratios with 95% intervals: {join}.", join="; ".join(says)), keep, size, size + 0.2)


def _lines(
    data: pd.DataFrame,
    ends: pd.DataFrame,
    levels: list[str],
    narrow: bool,
    room: float,
    panels: int = 1,
    before: float = 0.03,
) -> Plot:
    """Draw one line per level with its interval, points where the release has them, and a label at the end.

    ``before`` and ``room`` are the space left of the lines and right of them, in widths of the panel.
    """
    colours = dict(zip(levels, COLOURS, strict=False))
    aside = panels * nudge(data["time"], narrow)
    return (
        chart(data, x="time", y="estimate", color="level")
        + p9.geom_ribbon(p9.aes(ymin="ci_low", ymax="ci_high", fill="level"), alpha=0.14, color="none", na_rm=True)
        + p9.geom_line(size=0.8)
        + p9.geom_point(p9.aes(shape="level"), data=data[data["time"] > 0], size=1.8)
        + p9.geom_text(p9.aes(label="label"), data=ends, ha="left", nudge_x=aside, size=8.5)
        + p9.scale_color_manual(colours)
        + p9.scale_fill_manual(colours)
        + p9.scale_shape_manual(dict(zip(levels, SHAPES, strict=False)))
        + p9.scale_x_continuous(
            breaks=_whole_ticks(float(data["time"].max()), 4 if panels > 1 else 7), expand=(before, 0, room, 0)
        )
    )


def _whole_ticks(last: float, count: int) -> list[int]:
    """Return about ``count`` whole durations up to the last."""
    step = next(step for step in (1, 2, 4, 5, 8, 10, 20, 50, 100, 1_000, 10_000) if last / step <= count)
    return list(range(0, int(last) + 1, step))


def _from_one(curve: pd.DataFrame, start: float) -> pd.DataFrame:
    """Put the start, where the share is known, before the points of a curve."""
    columns = ["estimate", "ci_low", "ci_high"]
    first = pd.DataFrame(
        {"time": [0.0], "level": curve["level"].iloc[:1].to_numpy(), **{name: [start] for name in columns}}
    )
    points = curve.sort_values("time")[["time", "level", *columns]]
    points[columns] = points[columns].clip(0, 1)
    return pd.concat([first, points], ignore_index=True)


def _ends(data: pd.DataFrame, words: Words, apart: float) -> pd.DataFrame:
    """Return the last point of each level with its label; labels of curves that end close together are pushed apart."""
    ends = data.groupby("level", sort=False, observed=True).tail(1)
    ends = ends.assign(label=ends["level"].astype(str).map(words.name)).sort_values("estimate").reset_index(drop=True)
    heights = ends["estimate"].to_numpy(dtype=float, copy=True)
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + apart)
    return ends.assign(estimate=heights)


def _at_risk(curve: pd.DataFrame, levels: list[str], count: int) -> pd.DataFrame:
    """Return the numbers at risk at up to ``count`` of the durations released, so far apart that they do not touch."""
    times = np.unique(curve["time"].to_numpy(dtype=float))
    shown: list[float] = []
    for time in times:
        if not shown or time - shown[-1] >= times[-1] / count:
            shown.append(time)
    rows = curve[curve["time"].isin(shown) & curve["level"].isin(levels) & curve["n_treated"].notna()]
    rows = rows.assign(label=[f"{int(n):,}" for n in rows["n_treated"]])
    return rows[["level", "time", "label"]].reset_index(drop=True)


def _last_before(curve: pd.DataFrame, at: float) -> float:
    return float(curve.loc[curve["time"] <= at, "estimate"].iloc[-1])
