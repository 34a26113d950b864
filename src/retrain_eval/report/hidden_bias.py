"""The part of the page on assumptions that asks what something unseen would have to be like to explain the effect.

Each measure has its sentences and its table.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from retrain_eval.confounding import ALPHA
from retrain_eval.report.pages import Study
from retrain_eval.report.tables import Table, table
from retrain_eval.report.words import NBSP, p_value, percent, plain


def rows_of(study: Study, name: str) -> pd.DataFrame:
    """Return the rows of the first result that a table of the bundle speaks of."""
    rows: pd.DataFrame = getattr(study.bundle, name)
    first: pd.DataFrame = rows[rows["result"] == rows["result"].iloc[0]].reset_index(drop=True)
    return first


def say_rosenbaum(study: Study) -> str:
    """Say at which hidden bias the conclusion would fall."""
    rows = rows_of(study, "rosenbaum").sort_values("gamma")
    pairs = f"{int(rows['n_pairs'].iloc[0]):,} pairs whose outcomes differ"
    if rows["p_value"].iloc[0] > ALPHA:
        return (
            f"Over {pairs}, the test finds no effect even if matching left no hidden bias "
            f"({p_value(rows['p_value'].iloc[0])}): there is no conclusion that one could overturn."
        )
    held, lost = rows[rows["p_value"] <= ALPHA * (1 + 1e-6)], rows[rows["p_value"] > ALPHA * (1 + 1e-6)]
    told = f"Over {pairs}, without hidden bias the test gives {p_value(rows['p_value'].iloc[0])}. "
    if lost.empty:
        return told + (
            f"It stays below {ALPHA:g} even if, of two matched {study.words.units}, one had {held['gamma'].max():g} "
            "times the odds of training for reasons unseen."
        )
    gamma = float(held["gamma"].max())
    odds = f"{percent(gamma - 1)} higher odds" if gamma < 2 else f"{plain(gamma, 1)} times the odds"
    return told + (
        f"If, of two matched {study.words.units}, one had more than {odds} of training for reasons unseen that also "
        f"decide the outcome, it could be above {ALPHA:g}."
    )


def say_e_value(study: Study) -> str:
    """Say how strong a confounder would have to be."""
    row = rows_of(study, "e_values").iloc[0]
    told = (
        f"Something unseen would have to go with training and with the outcome by a risk ratio of "
        f"{plain(row['e_value'], 2)} each, beyond what is matched on, to explain the estimate away"
    )
    if row["e_value_limit"] <= 1:
        return told + "; the interval holds no effect as it is."
    return told + f", and of {plain(row['e_value_limit'], 2)} each to move its interval to no effect."


def say_oster(study: Study) -> str:
    """Say what selection on the unseen would have to be like."""
    rows, words = rows_of(study, "oster"), study.words
    first = rows.iloc[0]
    raw, adjusted = words.amount(first["beta_uncontrolled"]), words.amount(first["beta_controlled"])
    moved = (
        f"Over all {words.count(first['n'])}, the raw difference is {raw} and that with the matching's covariates in a "
        f"regression {adjusted}"
    )
    delta, star = float(first["delta"]), words.amount(first["beta_star"])
    if not np.isfinite(delta):
        return f"{moved}: the covariates move nothing, and tell nothing about what is not seen."
    if delta < 0:
        away = "up" if first["beta_controlled"] > first["beta_uncontrolled"] else "down"
        return (
            f"{moved}: what is seen moves the estimate {away}, away from no effect. Only something unseen that works "
            f"the other way would explain it away, {plain(abs(delta), 2)} times as strong; as strong in the same "
            f"direction, it would make the effect {star}."
        )
    return (
        f"{moved}. Selection on what is not seen would have to be {plain(delta, 2)} times as strong as on what is, to "
        f"explain it away; were it as strong, the effect would be {star}."
    )


def tabulate_rosenbaum(study: Study) -> Table:
    """Tabulate the bound of the p-value by strength of hidden bias."""
    rows = rows_of(study, "rosenbaum")
    shown = pd.DataFrame(
        {
            "gamma": [f"{gamma:.3g}" for gamma in rows["gamma"]],
            "p_value": [p_value(p).removeprefix(f"p{NBSP}").removeprefix(f"={NBSP}") for p in rows["p_value"]],
        }
    )
    return table(shown, rows, labels={"gamma": "Odds of training, ratio Γ", "p_value": "p‑value, at most"})


def tabulate_oster(study: Study) -> Table:
    """Tabulate Oster's δ and β* by what a full set of covariates could explain."""
    rows, words = rows_of(study, "oster"), study.words
    usual = ["1.3 times what the covariates explain" if r2 < 1 else "Everything" for r2 in rows["r2_max"]]
    shown = pd.DataFrame(
        {
            "label": usual,
            "r2_max": [plain(r2, 2) for r2 in rows["r2_max"]],
            "delta": [plain(delta, 2) if np.isfinite(delta) else "—" for delta in rows["delta"]],
            "beta_star": [words.amount(value) for value in rows["beta_star"]],
        }
    )
    labels = {"label": "If the unseen too, all could explain", "r2_max": "R² at most", "delta": "δ for no effect",
              "beta_star": "Effect at δ = 1"}  # fmt: skip
    return table(shown, rows, labels=labels)
