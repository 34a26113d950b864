"""Step curves of duration with bands, numbers at risk below and direct labels, for scripts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotnine
from matplotlib.ticker import MaxNLocator

p9: Any = plotnine  # its annotations cover only some of its functions

BLUE, VERMILION, INK, GREY, RULE = "#0072B2", "#D55E00", "#1d2a35", "#5b6873", "#dde3e8"
THEME = p9.theme_minimal(base_size=10) + p9.theme(
    text=p9.element_text(color=INK),
    axis_text=p9.element_text(color=GREY),
    panel_grid_minor=p9.element_blank(),
    panel_grid_major=p9.element_line(color=RULE, size=0.5),
    strip_text=p9.element_text(weight="bold", ha="left"),
    plot_subtitle=p9.element_text(size=9, color=GREY),
    legend_position="none",
)

_COLOURS = (BLUE, VERMILION, "#009E73", "#CC79A7", GREY)
_ESTIMATORS = ("kaplan_meier", "nelson_aalen", "aalen_johansen")
_AT_RISK = 7  # durations at which numbers at risk are printed


def is_curve(frame: pd.DataFrame) -> bool:
    """Whether the rows are curves of duration: several durations of a level, not a difference between levels."""
    several = frame.dropna(subset=["time"]).groupby(["estimand", "level"], dropna=False)["time"].nunique()
    curve = frame["estimator"].isin(_ESTIMATORS) & ~frame["estimand"].str.startswith("difference")
    return len(frame) > 0 and bool(curve.all()) and len(several) > 0 and int(several.max()) > 1


def curves(frame: pd.DataFrame, title: str, share: str) -> Any:
    """Draw one step curve per level, one panel per estimand; numbers at risk stand below in the curves' colours.

    A curve starts at its value before the first duration: survival at one, the others at zero. A step that a coarsened
    table has merged is drawn where the table has it, at its end.
    """
    names = frame["level"].fillna("all")
    levels, panels = list(dict.fromkeys(names)), list(dict.fromkeys(frame["estimand"]))
    data = frame.assign(group=names)[["group", "estimand", "time", "estimate", "ci_low", "ci_high", "n_treated"]]
    blocks = [block for _, block in data.groupby(["estimand", "group"], sort=False)]
    steps = pd.concat([_steps(block) for block in blocks], ignore_index=True)
    ends = pd.concat([block.tail(1) for block in blocks]).assign(y=lambda f: f["estimate"])
    for column in (steps, ends):
        column["estimand"] = pd.Categorical(column["estimand"], panels)
    top = float(np.nanmax([steps["ci_high"].max(), steps["estimate"].max(), 0.0]))
    last, row = float(data["time"].max()), 0.09 * top
    ends = _apart(ends, 0.05 * top)
    at_risk = _at_risk(data, levels, row).assign(
        estimand=lambda f: pd.Categorical(f["estimand"], panels),
        label=lambda f: [f"{int(n):,}" for n in f["n_treated"]],
    )
    lines = {level: -row * (place + 1.5) for place, level in enumerate(levels)}
    ticks = [tick for tick in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(0, top) if 0 <= tick <= top]
    drawn = (
        p9.ggplot(steps, p9.aes("time", "estimate", color="group"))
        + p9.geom_ribbon(p9.aes(ymin="ci_low", ymax="ci_high", fill="group"), alpha=0.14, color="none", na_rm=True)
        + p9.geom_line(size=0.8)
        + p9.geom_text(p9.aes("time", "y", label="group"), data=ends, ha="left", nudge_x=0.02 * last, size=8.5)
        + p9.geom_text(p9.aes("time", "y", label="label"), data=at_risk, size=7.5)
        + p9.scale_color_manual(values=dict(zip(levels, _COLOURS * len(levels), strict=False)))
        + p9.scale_fill_manual(values=dict(zip(levels, _COLOURS * len(levels), strict=False)))
        + p9.scale_x_continuous(expand=(0.02, 0, 0.3, 0))
        + p9.scale_y_continuous(breaks=[*ticks, *lines.values()], labels=[*(f"{tick:.2g}" for tick in ticks), *levels])
        + p9.labs(
            x=str(frame["outcome"].iloc[0]),
            y="",
            title=title,
            subtitle=f"Area: {share} intervals; below, numbers at risk",
        )
        + THEME
    )
    return drawn + p9.facet_wrap("estimand") if len(panels) > 1 else drawn


def _steps(block: pd.DataFrame) -> pd.DataFrame:
    """Return the corners of a step curve from its start on."""
    block = block.sort_values("time")
    start = 1.0 if str(block["estimand"].iloc[0]).startswith("surviv") else 0.0
    first = pd.DataFrame({"time": [0.0], "estimate": [start], "ci_low": [start], "ci_high": [start]})
    points = pd.concat([first, block[list(first.columns)].astype(float)], ignore_index=True)
    before = points.shift().assign(time=points["time"]).iloc[1:]
    corners = pd.concat([points.assign(order=1), before.assign(order=0)]).sort_values(["time", "order"])
    return corners.assign(group=block["group"].iloc[0], estimand=block["estimand"].iloc[0]).drop(columns="order")


def _apart(ends: pd.DataFrame, least: float) -> pd.DataFrame:
    """Push labels of curves that end close together apart, panel by panel."""
    moved = []
    for _, block in ends.groupby("estimand", sort=False, observed=True):
        block = block.sort_values("y")
        heights = block["y"].to_numpy(dtype=float, copy=True)
        for i in range(1, len(heights)):
            heights[i] = max(heights[i], heights[i - 1] + least)
        moved.append(block.assign(y=heights))
    return pd.concat(moved, ignore_index=True)


def _at_risk(data: pd.DataFrame, levels: list[str], row: float) -> pd.DataFrame:
    """Return the numbers at risk at some of the durations that the table has, with the height they stand at."""
    times = np.unique(data["time"].to_numpy(dtype=float))
    shown = times[np.unique(np.linspace(0, len(times) - 1, min(_AT_RISK, len(times))).round().astype(int))]
    rows = data[data["time"].isin(shown) & data["n_treated"].notna()].reset_index(drop=True)
    return rows.assign(y=[-row * (levels.index(level) + 1.5) for level in rows["group"]])
