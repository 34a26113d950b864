"""Staggered panels with a known effect, for tests of difference-in-differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from retrain_eval import OutcomeMoments

MOMENTS = {"unit": "id", "time": "t", "cohort": "g", "outcome": "y"}


def staggered(
    rng: np.random.Generator, n: int = 80, *, never: bool = True, effect: float = 1.0, growth: float = 0.5
) -> pd.DataFrame:
    """Cohorts 3, 4 and 6 of periods 1 to 6; the effect grows with event time, and doubles in cohort 4."""
    cohort = rng.choice([0, 3, 4, 6] if never else [3, 4, 6], n)
    cohort[:6] = [3, 3, 4, 4, 6, 6]
    if never:
        cohort[6:8] = 0
    times = np.arange(1, 7)
    frame = pd.DataFrame({"id": np.repeat(np.arange(n), 6), "t": np.tile(times, n), "g": np.repeat(cohort, 6)})
    frame["w"] = np.repeat(rng.uniform(0.5, 2.0, n), 6)
    frame["school"] = np.repeat(np.arange(n) // 4, 6)
    frame["band"] = np.where(frame["id"] % 2 == 0, "a", "b")
    frame["x"] = np.repeat(rng.normal(0, 1, n).round(3), 6)
    frame["y"] = np.repeat(rng.normal(0, 1, n), 6) + 0.3 * frame["t"] + rng.normal(0, 1, len(frame))
    frame["y"] += true_effect(frame, effect, growth)
    return frame


def true_effect(frame: pd.DataFrame, effect: float, growth: float) -> pd.Series:
    event = frame["t"] - frame["g"]
    treated = (frame["g"] > 0) & (event >= 0)
    return treated * (effect + growth * event) * np.where(frame["g"] == 4, 2, 1)


def sandwich(moments: OutcomeMoments) -> OutcomeMoments:
    """The moments without their clusters' own sums, so that few clusters have the sandwich, not the jackknife."""
    clusters = moments.clusters
    return replace(moments, clusters=None if clusters is None else clusters.without_sums())
