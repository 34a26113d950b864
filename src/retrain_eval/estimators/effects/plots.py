"""Figures of effects: an event study with both intervals, or a forest plot. For scripts; the report draws its own."""

from __future__ import annotations

from typing import Any

import pandas as pd

from retrain_eval.common.errors import InputError
from retrain_eval.estimators.curve_plots import BLUE, GREY, THEME, VERMILION, curves, is_curve, p9
from retrain_eval.estimators.effects.estimates import EstimateTable


def plot(effects: EstimateTable, title: str = "") -> Any:
    """Draw a table of effects; see `EffectTable.plot`."""
    frame = effects.frame
    if is_curve(frame):
        return curves(frame, title, share_of(effects))
    if frame["event_time"].notna().any():
        return _event_study(frame[frame["event_time"].notna()], title, share_of(effects))
    if frame["time"].notna().any() and len(set(frame["time"].dropna())) > 1:
        return _event_study(
            frame[frame["time"].notna()].assign(event_time=lambda d: d["time"]), title, share_of(effects)
        )
    return _forest(frame, title, share_of(effects))


def share_of(effects: EstimateTable) -> str:
    """Return the confidence level in words."""
    return f"{100 * float(str(effects.meta.get('level', 0.95))):g}%"


def _event_study(rows: pd.DataFrame, title: str, share: str) -> Any:
    """Points with pointwise intervals as bars and the simultaneous band as an area, one panel per level."""
    data = rows.assign(
        event_time=rows["event_time"].astype(float),
        when=(rows["event_time"] >= 0).map({True: "after", False: "before"}),
        panel=rows["level"].fillna("") if rows["level"].notna().any() else "",
    )
    band = data.dropna(subset=["band_low"])
    what = f"Estimate; bars: {share} intervals" + (", area: simultaneous band" if len(band) else "")
    drawn = p9.ggplot(data, p9.aes("event_time", "estimate")) + p9.geom_hline(yintercept=0, color=GREY, size=0.5)
    if len(band):
        # a piece on each side of the reference period: nothing is estimated between them
        drawn += p9.geom_ribbon(
            p9.aes(ymin="band_low", ymax="band_high", group="when"), data=band, fill=BLUE, alpha=0.12
        )
    drawn += p9.geom_linerange(p9.aes(ymin="ci_low", ymax="ci_high", color="when"), data=data.dropna(subset=["ci_low"]))
    drawn += p9.geom_point(p9.aes(color="when", shape="when"), size=2)
    drawn += p9.scale_color_manual(values={"after": BLUE, "before": VERMILION})
    drawn += p9.scale_shape_manual(values={"after": "o", "before": "s"})
    drawn += p9.labs(x="Periods since treatment began", y="", title=title, subtitle=what)
    if len(set(data["panel"])) > 1:
        drawn += p9.facet_wrap("panel")
    return drawn + THEME


def _forest(frame: pd.DataFrame, title: str, share: str) -> Any:
    """One line per row, named by level, cohort or estimand; its people beside the name."""
    if len(frame) == 0:
        raise InputError("there is nothing to draw", fix="give a table with rows")
    names = [_name(row) for row in frame.to_dict("records")]
    if len(set(names)) < len(names):
        names = [f"{name} ({i})" for i, name in enumerate(names, start=1)]
    data = frame.assign(name=pd.Categorical(names, categories=names[::-1]))
    drawn = p9.ggplot(data, p9.aes("estimate", "name")) + p9.geom_vline(xintercept=0, color=GREY, size=0.5)
    band = data.dropna(subset=["band_low"])
    if len(band):
        drawn += p9.geom_errorbarh(
            p9.aes(xmin="band_low", xmax="band_high"), data=band, color=BLUE, alpha=0.3, height=0.15
        )
    drawn += p9.geom_errorbarh(
        p9.aes(xmin="ci_low", xmax="ci_high"), data=data.dropna(subset=["ci_low"]), color=BLUE, height=0.0, size=0.9
    )
    drawn += p9.geom_point(color=BLUE, size=2.2)
    return drawn + p9.labs(x="", y="", title=title, subtitle=f"Estimate and {share} interval") + THEME


def _name(row: dict[Any, Any]) -> str:
    parts = [str(row["level"])] if pd.notna(row["level"]) else []
    if pd.notna(row["cohort"]):
        parts.append(f"cohort {row['cohort']:g}")
    if not parts:
        parts.append(str(row["estimand"]))
    people = f" (n = {int(row['n_treated']):,})" if pd.notna(row["n_treated"]) else ""
    return ", ".join(parts) + people
