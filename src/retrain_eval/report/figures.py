"""The figures of the report, each drawn from one table of a release bundle."""

from __future__ import annotations

import textwrap
from functools import partial

import pandas as pd

from retrain_eval.report.drawing import (
    BLUE,
    GREY,
    GROUPS,
    VERMILION,
    ZERO,
    Figure,
    Plot,
    amounts,
    axis_of_periods,
    chart,
    every,
    few,
    nudge,
    p9,
    ticks_of_periods,
)
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import signed
from retrain_eval.report.tables import few_clusters
from retrain_eval.report.words import Words, listed

START = -0.5  # training begins between event times -1 and 0


def mean_paths(means: pd.DataFrame, words: Words) -> Figure:
    """Draw the mean outcome of the trained and of their controls, period by period."""
    data = means.assign(label=means["group"].map({"treated": _("trained"), "control": words.controls}))
    last = data[data["time"] == data["time"].max()]
    first = data[data["time"] == data["time"].min()]

    def draw(narrow: bool) -> Plot:
        room = 0.62 if narrow else 0.26
        return (
            chart(data, x="time", y="mean", color="group")
            + p9.geom_line(p9.aes(linetype="group"), size=1)
            + p9.geom_point(p9.aes(shape="group"), size=2.8)
            + p9.geom_text(p9.aes(label="label"), data=last, ha="left", nudge_x=nudge(data["time"], narrow), size=8.5)
            + p9.scale_color_manual(GROUPS)
            + p9.scale_shape_manual({"treated": "o", "control": "s"})
            + p9.scale_linetype_manual({"treated": "solid", "control": "dashed"})
            + p9.scale_x_continuous(**ticks_of_periods(data["time"], words), expand=(0.04, 0, room, 0))
            + p9.scale_y_continuous(labels=amounts(words), limits=(min(0, data["mean"].min()), None))
            + p9.labs(
                x=axis_of_periods(data["time"], words),
                y="",
                subtitle=_("mean {name}", name=words.name(data["outcome"].iloc[0])),
            )
            + p9.theme(panel_grid_major_x=p9.element_blank())
        )

    dated = words.calendar(list(data["time"]))
    says = [
        _(
            "{label} from {amount} {at} to {amount_2} {at_2}",
            label=row.label,
            amount=words.amount(row.mean),
            at=words.at(row.time, dated),
            amount_2=words.amount(last.set_index("group")["mean"][row.group]),
            at_2=words.at(last["time"].iloc[0], dated),
        )
        for row in first.itertuples()
    ]
    return Figure(
        draw,
        _("Mean {name}: {listed}.", name=words.name(data["outcome"].iloc[0]), listed=listed(says)),
        means,
        height=3.8,
    )


def event_study(
    rows: pd.DataFrame, words: Words, benchmark: pd.DataFrame | None = None, name: str = "experiment"
) -> Figure:
    """Draw effects by time from training: pointwise interval as a bar, simultaneous band as a thin line.

    Parameters
    ----------
    rows : DataFrame
        Event-study rows of ``effects.csv``.
    words : Words
        The study's vocabulary.
    benchmark : DataFrame, optional
        Another event study, drawn beside: of the experiment, or the truth of synthetic data.
    name : str
        What the other is called.
    """
    sets = {words.controls: rows} | ({name: benchmark} if benchmark is not None and len(benchmark) else {})
    data = pd.concat([frame.assign(source=name) for name, frame in sets.items()])
    data = data[data["event_time"].notna() & data["estimate"].notna()].reset_index(drop=True)
    times = sorted(data["event_time"].unique())
    shift = 0.0 if len(sets) == 1 else 0.012 * (times[-1] - times[0] or 1)
    data["x"] = data["event_time"] + data["source"].map({words.controls: -shift, name: shift})
    last, outcome = data[data["event_time"] == times[-1]], words.name(data["outcome"].iloc[0])

    subtitle = _("effect on {outcome}", outcome=outcome)

    def draw(narrow: bool) -> Plot:
        shown = every(times, (8 if narrow else 24) // len(sets))
        plot = (
            chart(data, x="x", y="estimate", color="source", shape="source")
            + p9.geom_hline(yintercept=0, **ZERO)
            + p9.geom_vline(xintercept=START, linetype="dashed", **ZERO)
            + p9.geom_linerange(p9.aes(ymin="band_low", ymax="band_high"), size=0.6, na_rm=True)
            + p9.geom_linerange(p9.aes(ymin="ci_low", ymax="ci_high"), size=1.8, na_rm=True)
            + p9.geom_point(size=2 if narrow and len(times) > 12 else 3, fill="white", stroke=0.9)
            + p9.scale_color_manual({words.controls: BLUE, name: VERMILION})
            + p9.scale_shape_manual({words.controls: "o", name: "s"})
            + p9.scale_x_continuous(
                breaks=shown,
                labels=[signed(time) for time in shown],
                expand=(0.06, 0, (0.5 if narrow else 0.25) if len(sets) > 1 else 0.06, 0),
            )
            + p9.scale_y_continuous(labels=amounts(words))
            + p9.labs(x=_("{periods} from the start of training", periods=words.several), y="", subtitle=subtitle)
            + p9.theme(panel_grid_major_x=p9.element_blank())
        )
        if len(sets) > 1:
            apart = 0.06 * (data["ci_high"].max() - data["ci_low"].min())
            ends = last.sort_values("estimate").assign(y=lambda f: f["estimate"] + [-apart, apart])
            ends["x"] = times[-1] + 2 * shift + nudge(data["event_time"], narrow)
            plot += p9.geom_text(p9.aes("x", "y", label="source"), data=ends, ha="left", size=8.5)
        return plot

    own = data[(data["source"] == words.controls) & data["std_error"].notna()]
    before, after = own[own["event_time"] < 0], own[own["event_time"] >= 0]
    says = [_("Event study.")]
    if len(before):
        span = words.interval(before["estimate"].min(), before["estimate"].max())
        says.append(_("Before training, estimates lie between {span}.", span=span))
    for _i, row in (after if len(after) <= 3 else after.iloc[[0, -1]]).iterrows():
        interval = words.interval(row["ci_low"], row["ci_high"])
        says.append(
            _(
                "At {period} {event_time:g}: {amount} (95% interval {interval}).",
                period=_(words.period),
                event_time=row["event_time"],
                amount=words.amount(row["estimate"]),
                interval=interval,
            )
        )
    says += [note] if (note := few_clusters(rows)) else []
    keep = ["source", "event_time", "estimate", "ci_low", "ci_high", "band_low", "band_high"]
    return Figure(draw, " ".join(says), data[keep])


def estimates(rows: pd.DataFrame, words: Words, *, panel: str | None = None, title: str = "") -> Figure:
    """Draw estimates with intervals, one to a line, in the order given: comparisons and forest plots.

    Parameters
    ----------
    rows : DataFrame
        Columns ``label, outcome, estimate, ci_low, ci_high``, and ``panel`` where lines are grouped.
    words : Words
        The study's vocabulary.
    panel : str, optional
        Column that groups the lines.
    title : str
        The axis title; by default, an effect on the outcome.
    """
    data = rows[rows["estimate"].notna()].reset_index(drop=True)
    data["label"] = pd.Categorical(data["label"], list(dict.fromkeys(data["label"]))[::-1])
    if panel is not None:
        data[panel] = pd.Categorical(data[panel], list(dict.fromkeys(data[panel])))
    title = title or _("effect on {name}", name=words.name(data["outcome"].iloc[0]))
    data["text"] = [words.amount(value, signed=True) for value in data["estimate"]]
    shape = "shape" if "shape" in data else None
    data["shape"] = data[shape] if shape else "own"

    def draw(narrow: bool) -> Plot:
        wrap = partial(textwrap.fill, width=18 if narrow else 40)
        plot = (
            chart(data, x="estimate", y="label")
            + p9.geom_vline(xintercept=0, **ZERO)
            + p9.geom_segment(p9.aes(x="ci_low", xend="ci_high", yend="label", color="shape"), size=1.5)
            + p9.geom_point(p9.aes(color="shape", shape="shape"), size=3, fill="white", stroke=0.9)
            + p9.geom_label(
                p9.aes(label="text", color="shape"),
                nudge_y=0.33,
                size=8.5,
                fill="white",
                label_size=0,
                label_padding=0.05,
            )
            + p9.scale_color_manual({"own": BLUE, "experiment": VERMILION, "other": GREY})
            + p9.scale_shape_manual({"own": "o", "experiment": "s", "other": "^"})
            + p9.scale_x_continuous(
                labels=amounts(words),
                breaks=lambda limits: few(limits, 4 if narrow else 6),
                expand=(0.05, 0, 0.12 if narrow else 0.05, 0),
            )
            + p9.scale_y_discrete(expand=(0, 0.45, 0, 0.6), labels=lambda labels: [wrap(label) for label in labels])
            + p9.labs(x=title, y="")
            + p9.theme(panel_grid_major_y=p9.element_blank())
        )
        return plot if panel is None else plot + p9.facet_wrap(panel, ncol=1, scales="free_y")

    says = [
        f"{row['label']} {words.amount(row['estimate'])} ({words.interval(row['ci_low'], row['ci_high'])})"
        for _i, row in data.iterrows()
    ]
    panels = data[panel].nunique() if panel else 0
    size = 0.9 + 0.52 * len(data) + 0.4 * panels
    keep = [*([panel] if panel else []), "label", "estimate", "ci_low", "ci_high"]
    return Figure(draw, _("Estimates with 95% intervals: {join}.", join="; ".join(says)), data[keep], size, size + 0.2)
