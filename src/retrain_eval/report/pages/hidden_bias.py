"""The part of the page on assumptions that asks what something unseen would have to be like to explain the effect.

Each measure has its sentences and its table.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from retrain_eval.estimators.inference.hidden_bias_bounds import ALPHA
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.numerals import NBSP, p_value, percent, plain
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table

SETTLED = 0.5  # a p-value beyond which more hidden bias says nothing new


def rows_of(study: Study, name: str) -> pd.DataFrame:
    """Return the rows of the first result that a table of the bundle speaks of."""
    rows: pd.DataFrame = getattr(study.bundle, name)
    first: pd.DataFrame = rows[rows["result"] == rows["result"].iloc[0]].reset_index(drop=True)
    return first


def say_rosenbaum(study: Study) -> str:
    """Say at which hidden bias the conclusion would fall."""
    rows = rows_of(study, "rosenbaum").sort_values("gamma")
    pairs = _("{value:,} pairs whose outcomes differ", value=int(rows["n_pairs"].iloc[0]))
    if rows["p_value"].iloc[0] > ALPHA:
        return _(
            "Over {pairs}, the test finds no effect even if matching left no hidden bias ({p_value}): "
            "there is no conclusion that one could overturn.",
            pairs=pairs,
            p_value=p_value(rows["p_value"].iloc[0]),
        )
    held, lost = rows[rows["p_value"] <= ALPHA * (1 + 1e-6)], rows[rows["p_value"] > ALPHA * (1 + 1e-6)]
    told = _(
        "Over {pairs}, without hidden bias the test gives {p_value}. ",
        pairs=pairs,
        p_value=p_value(rows["p_value"].iloc[0]),
    )
    if lost.empty:
        return told + (
            _(
                "It stays below {alpha:g} even if, of two matched {units}, one had {max:g} times the odds "
                "of training for reasons unseen.",
                alpha=ALPHA,
                units=study.words.units,
                max=held["gamma"].max(),
            )
        )
    gamma = float(held["gamma"].max())
    odds = (
        _("{percent} higher odds", percent=percent(gamma - 1))
        if gamma < 2
        else _("{plain} times the odds", plain=plain(gamma, 1))
    )
    return told + (
        _(
            "If, of two matched {units}, one had more than {odds} of training for reasons unseen that "
            "also decide the outcome, the p‑value could be above {alpha:g}.",
            units=study.words.units,
            odds=odds,
            alpha=ALPHA,
        )
    )


def say_e_value(study: Study) -> str:
    """Say how strong a confounder would have to be."""
    row = rows_of(study, "e_values").iloc[0]
    told = _(
        "Something unseen would have to go with training and with the outcome by a risk ratio of "
        "{plain} each, beyond what is matched on, to explain the estimate away",
        plain=plain(row["e_value"], 2),
    )
    if row["e_value_limit"] <= 1:
        return told + _("; the interval holds no effect as it is.")
    return told + _(", and of {plain} each to move its interval to no effect.", plain=plain(row["e_value_limit"], 2))


def say_oster(study: Study) -> str:
    """Say what selection on the unseen would have to be like."""
    rows, words = rows_of(study, "oster"), study.words
    first = rows.iloc[0]
    raw, adjusted = words.amount(first["beta_uncontrolled"]), words.amount(first["beta_controlled"])
    moved = _(
        "Over all {count}, the raw difference is {raw} and that with the matching's covariates in "
        "a regression {adjusted}",
        count=words.count(first["n"]),
        raw=raw,
        adjusted=adjusted,
    )
    delta, star = float(first["delta"]), words.amount(first["beta_star"])
    if not np.isfinite(delta):
        return _("{moved}: the covariates move nothing, and tell nothing about what is not seen.", moved=moved)
    if delta < 0:
        away = _("up") if first["beta_controlled"] > first["beta_uncontrolled"] else _("down")
        return _(
            "{moved}: what is seen moves the estimate {away}, away from no effect. Only something "
            "unseen that works the other way would explain it away, {plain} times as strong; as strong "
            "in the same direction, it would make the effect {star}.",
            moved=moved,
            away=away,
            plain=plain(abs(delta), 2),
            star=star,
        )
    return _(
        "{moved}. Selection on what is not seen would have to be {plain} times as strong as on "
        "what is, to explain it away; were it as strong, the effect would be {star}.",
        moved=moved,
        plain=plain(delta, 2),
        star=star,
    )


def tabulate_rosenbaum(study: Study) -> Table:
    """Tabulate the bound of the p-value by strength of hidden bias, until there is nothing left to lose."""
    rows = rows_of(study, "rosenbaum")
    rows = rows[(rows["p_value"] <= SETTLED).cumprod().astype(bool) | (rows["gamma"] == 1)]
    shown = pd.DataFrame(
        {
            "gamma": [f"{gamma:.3g}" for gamma in rows["gamma"]],
            "p_value": [p_value(p).removeprefix(f"p{NBSP}").removeprefix(f"={NBSP}") for p in rows["p_value"]],
        }
    )
    return Table(shown, rows, labels={"gamma": _("Odds of training, ratio Γ"), "p_value": _("p‑value, at most")})


def tabulate_oster(study: Study) -> Table:
    """Tabulate Oster's δ and β* by what a full set of covariates could explain."""
    rows, words = rows_of(study, "oster"), study.words
    shown = pd.DataFrame(
        {
            "r2_max": [plain(r2, 2) for r2 in rows["r2_max"]],
            "delta": [plain(delta, 2) if np.isfinite(delta) else "—" for delta in rows["delta"]],
            "beta_star": [words.amount(value) for value in rows["beta_star"]],
        }
    )
    labels = {"r2_max": _("R² at most"), "delta": _("δ for no effect"), "beta_star": _("Effect at δ = 1")}
    return Table(shown, rows, labels=labels)
