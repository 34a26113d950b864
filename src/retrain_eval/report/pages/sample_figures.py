"""The figures on who is compared with whom: love plot, common support, and paths before the programme."""

from __future__ import annotations

import textwrap
from functools import partial

import pandas as pd

from retrain_eval.report.drawing import (
    BLUE,
    GREY,
    VERMILION,
    ZERO,
    Figure,
    Plot,
    amounts,
    axis_of_periods,
    chart,
    nudge,
    p9,
    ticks_of_periods,
)
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.words import Words


def love_plot(balance: pd.DataFrame, words: Words) -> Figure:
    """Draw standardised mean differences before and after matching, largest first (Stuart 2010)."""
    named = balance.assign(covariate=[words.covariate(name) for name in balance["covariate"]])
    order = named.sort_values("smd_before", key=abs)["covariate"].tolist()
    data = named.melt("covariate", ["smd_before", "smd_after"], var_name="sample", value_name="smd")
    data["sample"] = data["sample"].map({"smd_before": _("before matching"), "smd_after": _("after matching")})
    data["covariate"] = pd.Categorical(data["covariate"], order)
    data["smd"] = data["smd"].abs()
    top = data[data["covariate"] == order[-1]].assign(side=["right", "left"])
    top["at"] = [top["smd"].iloc[0], max(top["smd"].iloc[1], 0.1) + 0.02 * data["smd"].max()]
    worst = balance[["smd_before", "smd_after"]].abs().max()
    axis = _("absolute standardised mean difference")
    within = int((balance["smd_after"].abs() <= 0.1).sum())

    short = partial(textwrap.fill, width=20)

    def draw(narrow: bool) -> Plot:
        lifts = (1.2 if narrow else 0.5, 0.5)  # narrow: no room side by side
        names = [
            p9.geom_text(p9.aes("at", label="sample", color="sample", ha="side"), data=row, nudge_y=lift, size=8.5)
            for (_i, row), lift in zip(top.groupby("side", sort=False), lifts, strict=True)
        ]
        return (
            chart(data, x="smd", y="covariate")
            + p9.geom_vline(xintercept=0, **ZERO)
            + p9.geom_vline(xintercept=0.1, linetype="dashed", **ZERO)
            + p9.geom_point(p9.aes(color="sample", shape="sample"), size=2.8)
            + names
            + p9.scale_color_manual({_("before matching"): VERMILION, _("after matching"): BLUE})
            + p9.scale_shape_manual({_("before matching"): "s", _("after matching"): "o"})
            + p9.scale_y_discrete(
                labels=lambda covariates: [short(name) if narrow else name for name in covariates],
                expand=(0, 0.6, 0, 1.5 if narrow else 0.9),
            )
            + p9.scale_x_continuous(expand=(0.02, 0, 0.12, 0))
            + p9.labs(x=short(axis, width=24) if narrow else axis, y="")
            + p9.theme(panel_grid_major_y=p9.element_blank())
        )

    alt = _(
        "Love plot of {balance} covariates. The largest absolute standardised mean difference "
        "falls from {smd_before:.2f} before matching to {smd_after:.2f} after; {within} of "
        "{balance} lie within 0.1 after matching.",
        balance=len(balance),
        smd_before=worst["smd_before"],
        smd_after=worst["smd_after"],
        within=within,
    )
    lines = sum(short(name).count("\n") for name in order)
    size = 1.0 + 0.3 * len(balance)
    return Figure(draw, alt, balance, height=size, narrow_height=size + 0.15 * lines)


def overlap(bins: pd.DataFrame, words: Words) -> Figure:
    """Draw the distribution of each group over the score: common support.

    Bins may be of unequal width, because small ones are pooled: heights are densities.
    """
    filled = bins[bins["n"] > 0]
    share = filled["n"] / filled.groupby("group")["n"].transform("sum")
    data = filled.assign(density=share / (filled["bin_high"] - filled["bin_low"]))
    known = {
        "treated": _("trained"),
        "control before": _("all possible controls"),
        "control matched": _("matched controls"),
    }
    names = {group: known.get(group, group) for group in dict.fromkeys(data["group"])}
    data["panel"] = pd.Categorical(data["group"].map(names), list(names.values()))
    colours = dict(zip(names.values(), (BLUE, GREY, VERMILION), strict=False))

    probability = data["bin_low"].min() >= 0 and data["bin_high"].max() <= 1
    label = _("estimated probability of training (propensity score)") if probability else _("matching score")

    def draw(narrow: bool) -> Plot:
        return (
            chart(data, xmin="bin_low", xmax="bin_high", ymax="density", fill="panel")
            + p9.geom_rect(ymin=0, color="white", size=0.3)
            + p9.facet_wrap("panel", ncol=1, scales="free_y")
            + p9.scale_fill_manual(colours)
            + p9.labs(
                x=label,
                y="",
                subtitle=_("density of {units}", units=words.units),
            )
            + p9.theme(axis_text_y=p9.element_blank(), panel_grid_major_y=p9.element_blank())
        )

    middle = {names[str(group)]: _median_bin(rows) for group, rows in data.groupby("group", sort=False)}
    alt = (
        _("Distribution of the {score}. Median: ", score=label)
        + _("; ").join(f"{name} {value:.2f}" for name, value in middle.items())
        + _(".")
    )
    return Figure(draw, alt, bins, height=4.6, narrow_height=4.8)


def _median_bin(rows: pd.DataFrame) -> float:
    rows = rows.sort_values("bin_low")
    row = rows[rows["n"].cumsum() >= rows["n"].sum() / 2].iloc[0]
    return float((row["bin_low"] + row["bin_high"]) / 2)


def baseline_paths(paths: pd.DataFrame, words: Words) -> Figure:
    """Draw the mean outcome before the programme: of the trained, of all possible controls and of the matched ones."""
    names = {
        "treated": _("trained"),
        "control before": _("all possible controls"),
        "control matched": _("matched controls"),
    }
    if not _same(paths, "treated", "treated matched"):
        names |= {"treated": _("all trained"), "treated matched": _("trained, matched")}
    colours = {"treated": BLUE, "treated matched": BLUE, "control before": GREY, "control matched": VERMILION}
    lines = {"treated": "solid", "treated matched": "dotted", "control before": "dashdot", "control matched": "dashed"}
    shapes = {"treated": "o", "treated matched": "D", "control before": "^", "control matched": "s"}
    data = paths[paths["group"].isin(list(names)) & paths["mean"].notna()].reset_index(drop=True)
    outcome = words.name(data["outcome"].iloc[0])
    first, last = data["time"].min(), data["time"].max()
    ends = data[data["time"] == last].assign(label=lambda d: d["group"].map(names)).sort_values("mean")
    apart = 0.07 * float(data["mean"].max() - min(0, data["mean"].min()))
    ends["at"] = spread(ends["mean"].tolist(), apart)

    def draw(narrow: bool) -> Plot:
        return (
            chart(data, x="time", y="mean", color="group")
            + p9.geom_line(p9.aes(linetype="group"), size=1)
            + p9.geom_point(p9.aes(shape="group"), size=2.4)
            + p9.geom_text(
                p9.aes(y="at", label="label"), data=ends, ha="left", nudge_x=nudge(data["time"], narrow), size=8.5
            )
            + p9.scale_color_manual(colours)
            + p9.scale_linetype_manual(lines)
            + p9.scale_shape_manual(shapes)
            + p9.scale_x_continuous(
                **ticks_of_periods(data["time"], words), expand=(0.04, 0, 0.75 if narrow else 0.32, 0)
            )
            + p9.scale_y_continuous(labels=amounts(words), limits=(min(0, data["mean"].min()), None))
            + p9.labs(x=axis_of_periods(data["time"], words), y="", subtitle=_("mean {outcome}", outcome=outcome))
            + p9.theme(panel_grid_major_x=p9.element_blank())
        )

    says = []
    for group, name in names.items():
        means = data[data["group"] == group].set_index("time")["mean"]
        span = [words.amount(means[time]) for time in dict.fromkeys((first, last)) if time in means.index]
        says.append(f"{name} {' to '.join(span)}")
    dated = words.calendar(list(data["time"]))
    when = (
        words.at(first, dated)
        if first == last
        else _("from {time} to {time_2}", time=words.time(first, dated), time_2=words.time(last, dated))
    )
    return Figure(
        draw,
        _("Mean {outcome} before the programme, {when}: {join}.", outcome=outcome, when=when, join="; ".join(says)),
        paths,
        height=3.8,
    )


def spread(values: list[float], apart: float) -> list[float]:
    """Return ascending values moved up just so far that neighbours keep their distance: labels must not overlap.

    Examples
    --------
    >>> spread([1.0, 1.1, 4.0], 0.5)
    [1.0, 1.5, 4.0]
    """
    placed: list[float] = []
    for value in values:
        placed.append(max(value, placed[-1] + apart) if placed else value)
    return placed


def _same(paths: pd.DataFrame, one: str, other: str) -> bool:
    a, b = (paths[paths["group"] == group].set_index("time")["mean"] for group in (one, other))
    return bool(a.equals(b))
