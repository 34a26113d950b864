"""Which figure a table of estimates is drawn as."""

from __future__ import annotations

from typing import Any

from retrain_eval.estimators.effects.estimates import EstimateTable
from retrain_eval.estimators.figures.curves import draw_curves, is_curve
from retrain_eval.estimators.figures.effects import draw_event_studies, draw_forest


def plot(effects: EstimateTable, title: str = "") -> Any:
    """Draw a table of effects; see `EffectTable.plot`."""
    frame = effects.frame
    share = f"{100 * effects.confidence_level:g}%"
    if is_curve(frame):
        return draw_curves(frame, title, share)
    if frame["event_time"].notna().any():
        return draw_event_studies(frame[frame["event_time"].notna()], title, share)
    if frame["time"].nunique() > 1:
        return draw_event_studies(frame[frame["time"].notna()].assign(event_time=lambda d: d["time"]), title, share)
    return draw_forest(frame, title, share)
