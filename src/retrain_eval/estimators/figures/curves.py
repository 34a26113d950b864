"""Curves of duration with bands, numbers at risk below and direct labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from retrain_eval.estimators.figures.pieces import (
    COLOURS,
    INK,
    SHAPES,
    Plot,
    chart,
    label_gap,
    p9,
    push_apart,
    round_ticks,
)

_ESTIMATORS = ("kaplan_meier", "nelson_aalen", "aalen_johansen")
_VALUES = ["estimate", "ci_low", "ci_high"]


def is_curve(frame: pd.DataFrame) -> bool:
    """Whether the rows are curves of duration: several durations of a level, not a difference between levels."""
    several = frame.dropna(subset=["time"]).groupby(["estimand", "level"], dropna=False)["time"].nunique()
    curve = frame["estimator"].isin(_ESTIMATORS) & ~frame["estimand"].str.startswith("difference")
    return len(frame) > 0 and bool(curve.all()) and len(several) > 0 and int(several.max()) > 1


def draw_curves(frame: pd.DataFrame, title: str, share: str) -> Plot:
    """Draw one step curve per level, one panel per estimand, with the numbers at risk below.

    A curve starts at its value before the first duration: survival at one, the others at zero. Where a coarsened table
    has merged durations, the step is drawn at the end of the merged interval, as in the table.
    """
    levels = frame["level"].fillna("all")
    groups, panels = list(dict.fromkeys(levels)), list(dict.fromkeys(frame["estimand"]))
    curves = frame.assign(group=levels, estimand=pd.Categorical(frame["estimand"], panels))
    blocks = [block for _, block in curves.groupby(["estimand", "group"], sort=False, observed=True)]
    starts = [1.0 if str(block["estimand"].iloc[0]).startswith("surviv") else 0.0 for block in blocks]
    steps = pd.concat(
        [as_steps(with_start(block, start)) for block, start in zip(blocks, starts, strict=True)], ignore_index=True
    )
    steps["estimand"] = pd.Categorical(steps["estimand"], panels)
    top = float(np.nanmax([steps["ci_high"].max(), steps["estimate"].max(), 0.0]))
    ends = curve_ends(steps.assign(label=steps["group"]), ["estimand"], 0.05 * top)
    heights = {group: -0.09 * top * (place + 1.5) for place, group in enumerate(groups)}
    ticks = round_ticks((0, top), 5)
    plot = (
        curve_plot(steps, ends, groups, gap=label_gap(steps["time"]))
        + numbers_at_risk(curves, heights, 7)
        + p9.scale_x_continuous(expand=(0.05, 0, 0.3, 0))
        + p9.scale_y_continuous(
            breaks=[*ticks, *heights.values()], labels=[*(f"{tick:.2g}" for tick in ticks), *groups]
        )
        + p9.labs(
            x=str(frame["outcome"].iloc[0]),
            y="",
            title=title,
            subtitle=f"Area: {share} intervals; below, numbers at risk",
        )
    )
    return plot + p9.facet_wrap("estimand") if len(panels) > 1 else plot


def curve_plot(
    data: pd.DataFrame, ends: pd.DataFrame, groups: Sequence[str], *, gap: float, points: pd.DataFrame | None = None
) -> Plot:
    """Draw one line per group with its interval as an area, and a label at its end.

    Parameters
    ----------
    data : DataFrame
        ``time, group, estimate, ci_low, ci_high`` of every corner.
    ends : DataFrame
        ``time, group, estimate, label``: where the labels stand.
    groups : sequence of str
        In the order of their colours.
    gap : float
        The space between a line and its label.
    points : DataFrame, optional
        Rows of ``data`` that are marked by a point.
    """
    colours = dict(zip(groups, COLOURS * len(groups), strict=False))
    plot = (
        chart(data, x="time", y="estimate", color="group")
        + p9.geom_ribbon(p9.aes(ymin="ci_low", ymax="ci_high", fill="group"), alpha=0.14, color="none", na_rm=True)
        + p9.geom_line(size=0.8)
        + p9.geom_text(p9.aes(label="label"), data=ends, ha="left", nudge_x=gap, size=8.5)
        + p9.scale_color_manual(colours)
        + p9.scale_fill_manual(colours)
    )
    if points is not None:
        shapes = dict(zip(groups, SHAPES * len(groups), strict=False))
        plot += p9.geom_point(p9.aes(shape="group"), data=points, size=1.8)
        plot += p9.scale_shape_manual(shapes)
    return plot


def numbers_at_risk(curves: pd.DataFrame, heights: Mapping[str, float], count: int) -> Plot:
    """Print the numbers at risk just before some durations, one row per group.

    Parameters
    ----------
    curves : DataFrame
        ``time, group, n_treated``.
    heights : mapping
        Group → the height of its row.
    count : int
        At most about so many durations, far enough apart for the numbers not to touch.
    """
    times: list[float] = []
    every = np.unique(curves["time"].to_numpy(dtype=float))
    for time in every:
        if not times or time - times[-1] >= every[-1] / count:
            times.append(float(time))
    printed = curves["time"].isin(times) & curves["group"].isin(list(heights)) & curves["n_treated"].notna()
    rows = curves[printed].reset_index(drop=True)
    rows = rows.assign(
        y=rows["group"].map(dict(heights)).astype(float), label=[f"{int(n):,}" for n in rows["n_treated"]]
    )
    return p9.geom_text(p9.aes("time", "y", label="label"), data=rows, size=8, color=INK, inherit_aes=False)


def with_start(curve: pd.DataFrame, start: float) -> pd.DataFrame:
    """Put the start, where the value is known, before the points of one curve."""
    first = curve.iloc[:1].assign(time=0.0, **dict.fromkeys(_VALUES, start))
    return pd.concat([first, curve.sort_values("time")], ignore_index=True).astype(dict.fromkeys(_VALUES, float))


def as_steps(curve: pd.DataFrame) -> pd.DataFrame:
    """Return the corners of one step curve: at each duration the value before it, then its own."""
    before = curve.assign(**{name: curve[name].shift() for name in _VALUES}).iloc[1:]
    corners = pd.concat([before.assign(order=0), curve.assign(order=1)])
    return corners.sort_values(["time", "order"]).drop(columns="order").reset_index(drop=True)


def curve_ends(data: pd.DataFrame, panels: Sequence[str], gap: float) -> pd.DataFrame:
    """Return the last point of each group in each panel; points that lie close together are pushed apart."""
    ends = data.groupby([*panels, "group"], sort=False, observed=True).tail(1).sort_values([*panels, "estimate"])
    blocks = [block for _, block in ends.groupby(list(panels), observed=True)] if panels else [ends]
    return pd.concat([block.assign(estimate=push_apart(block["estimate"], gap)) for block in blocks], ignore_index=True)
