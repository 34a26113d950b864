"""Event studies, and estimates one to a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from retrain_eval.common.errors import InputError
from retrain_eval.estimators.figures.pieces import BLUE, VERMILION, ZERO, Plot, chart, p9

BEFORE_START = -0.5  # treatment starts between event times -1 and 0


def event_study_plot(
    data: pd.DataFrame,
    colours: Mapping[str, str],
    shapes: Mapping[str, str],
    *,
    area: bool = False,
    point: float = 3,
) -> Plot:
    """Draw estimates over event time: pointwise intervals as thick bars, simultaneous bands as thin ones or as an area.

    Parameters
    ----------
    data : DataFrame
        ``event_time, group, estimate, ci_low, ci_high, band_low, band_high``.
    colours, shapes : mapping
        Of each group.
    area : bool
        Draw the band as an area. Each group has its own: nothing is estimated between two groups.
    point : float
        Size of a point.
    """
    band, bounds = data.dropna(subset=["band_low"]), {"ymin": "band_low", "ymax": "band_high"}
    plot = chart(data, x="event_time", y="estimate", color="group", shape="group") + p9.geom_hline(yintercept=0, **ZERO)
    if len(band) and area:
        plot += p9.geom_ribbon(p9.aes(**bounds, group="group"), data=band, fill=BLUE, color="none", alpha=0.12)
    elif len(band):
        plot += p9.geom_linerange(p9.aes(**bounds), data=band, size=0.6)
    return (
        plot
        + p9.geom_linerange(p9.aes(ymin="ci_low", ymax="ci_high"), data=data.dropna(subset=["ci_low"]), size=1.8)
        + p9.geom_point(size=point, fill="white", stroke=0.9)
        + p9.scale_color_manual(dict(colours))
        + p9.scale_shape_manual(dict(shapes))
    )


def forest_plot(
    data: pd.DataFrame,
    colours: Mapping[str, str],
    shapes: Mapping[str, str],
    *,
    reference: float = 0,
    bands: bool = False,
) -> Plot:
    """Draw estimates with their intervals and their values, one to a line.

    Parameters
    ----------
    data : DataFrame
        ``label, group, text, estimate, ci_low, ci_high``, and ``band_low, band_high`` for bands; labels from the bottom
        up.
    colours, shapes : mapping
        Of each group.
    reference : float
        The value of no effect.
    bands : bool
        Draw simultaneous bands as thin lines behind the intervals.
    """
    plot = chart(data, x="estimate", y="label", color="group") + p9.geom_vline(xintercept=reference, **ZERO)
    if bands and data["band_low"].notna().any():
        band = p9.aes(x="band_low", xend="band_high", yend="label")
        plot += p9.geom_segment(band, data=data.dropna(subset=["band_low"]), size=0.6)
    return (
        plot
        + p9.geom_segment(
            p9.aes(x="ci_low", xend="ci_high", yend="label"), data=data.dropna(subset=["ci_low"]), size=1.5
        )
        + p9.geom_point(p9.aes(shape="group"), size=3, fill="white", stroke=0.9)
        + p9.geom_label(p9.aes(label="text"), nudge_y=0.33, size=8.5, fill="white", label_size=0, label_padding=0.05)
        + p9.scale_color_manual(dict(colours))
        + p9.scale_shape_manual(dict(shapes))
        + p9.theme(panel_grid_major_y=p9.element_blank())
    )


def draw_event_studies(rows: pd.DataFrame, title: str, share: str) -> Plot:
    """Draw an event study, one panel per level."""
    data = rows.assign(
        event_time=rows["event_time"].astype(float),
        group=(rows["event_time"] >= 0).map({True: "after", False: "before"}),
        panel=rows["level"].fillna("") if rows["level"].notna().any() else "",
    )
    bands = ", area: simultaneous band" if data["band_low"].notna().any() else ""
    plot = event_study_plot(
        data, {"after": BLUE, "before": VERMILION}, {"after": "o", "before": "s"}, area=True, point=2
    ) + p9.labs(
        x="Periods since treatment began", y="", title=title, subtitle=f"Estimate; bars: {share} intervals{bands}"
    )
    return plot + p9.facet_wrap("panel") if len(set(data["panel"])) > 1 else plot


def draw_forest(frame: pd.DataFrame, title: str, share: str) -> Plot:
    """Draw one line per row, named by level, cohort or estimand, with its number of people."""
    if len(frame) == 0:
        raise InputError("there is nothing to draw", fix="give a table with rows")
    names = [_name(row) for row in frame.to_dict("records")]
    if len(set(names)) < len(names):
        names = [f"{name} ({i})" for i, name in enumerate(names, start=1)]
    data = frame.assign(
        label=pd.Categorical(names, categories=names[::-1]),
        group="own",
        text=[f"{value:.3g}" for value in frame["estimate"]],
    )
    subtitle = f"Estimate and {share} interval"
    return (
        forest_plot(data, {"own": BLUE}, {"own": "o"}, bands=True)
        + p9.scale_y_discrete(expand=(0, 0.45, 0, 0.6))
        + p9.labs(x="", y="", title=title, subtitle=subtitle)
    )


def _name(row: dict[Any, Any]) -> str:
    parts = [str(row["level"])] if pd.notna(row["level"]) else []
    if pd.notna(row["cohort"]):
        parts.append(f"cohort {row['cohort']:g}")
    if not parts:
        parts.append(str(row["estimand"]))
    people = f" (n = {int(row['n_treated']):,})" if pd.notna(row["n_treated"]) else ""
    return ", ".join(parts) + people
