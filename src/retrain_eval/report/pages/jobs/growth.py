"""The part of the page on pay that shows growth models of single rows, by two programs."""

from __future__ import annotations

import pandas as pd

from retrain_eval.report.estimates import tabulate_estimates
from retrain_eval.report.language.catalogue import N_, _
from retrain_eval.report.numerals import tiny
from retrain_eval.report.page import PEERS, Study
from retrain_eval.report.tables import Table
from retrain_eval.report.words import sentence

MODELS = {
    "wage_path_fixed": N_("Fixed effects"),
    "wage_path_random": N_("Random effects"),
    "wage_path_correlated_random": N_("Correlated random effects"),
    "wage_path_first_differences": N_("First differences"),
}


def model_rows(study: Study) -> pd.DataFrame:
    """Return the coefficients of the growth models, by each program that estimates them."""
    blocks = [study.result(name).assign(model=_(label)) for name, label in MODELS.items() if len(study.result(name))]
    if not blocks:
        return pd.DataFrame(columns=["model", "term", "program", "line", "estimate", "std_error"])
    rows = pd.concat(blocks, ignore_index=True)
    rows["term"] = [_term(study, name) for name in rows["estimand"]]
    rows["program"] = [name if name in PEERS else "linearmodels" for name in rows["estimator"]]
    lines = zip(rows["term"], rows["program"], strict=True)
    rows["line"] = [_("{term} ({program})", term=sentence(term), program=program) for term, program in lines]
    order = {name: place for place, name in enumerate(dict.fromkeys(rows["term"]))}
    return rows.sort_values(
        ["model", "term", "program"],
        key=lambda column: column.map(order).fillna(0) if column.name == "term" else column,
        kind="stable",
    ).reset_index(drop=True)


def _term(study: Study, name: str) -> str:
    """Return what a coefficient is, in words."""
    period = _(study.words.period)
    base, _hat, power = name.removeprefix("treated:").partition("^")
    if name == "treated":
        return _("log pay at the start, trained less controls")
    if base != "since_exit":
        return study.words.name(name)
    if power and name.startswith("treated:"):
        return _("growth of log pay a {period}, trained less controls, power {power}", period=period, power=power)
    if power:
        return _("growth of log pay a {period}, power {power}", period=period, power=power)
    if name.startswith("treated:"):
        return _("growth of log pay a {period}, trained less controls", period=period)
    return _("growth of log pay a {period}, controls", period=period)


def say_models(study: Study) -> str:
    """Say how closely two programs agree on the growth of pay."""
    rows = model_rows(study)
    rows = rows[rows["std_error"].notna()]
    both = rows[rows.duplicated(["model", "term"], keep=False)]
    if both.empty:
        return ""
    pairs = both.groupby(["model", "term"], sort=False)
    spreads = pairs["estimate"].agg(lambda values: values.max() - values.min()) / pairs["std_error"].max()
    errors = pairs["std_error"].agg(lambda values: (values.max() - values.min()) / values.max())
    return _(
        "Two programs, linearmodels and pyfixest, make {pairs} estimates each. The largest difference between them is "
        "{estimates} of a standard error; that between their standard errors is {errors} of their size.",
        pairs=len(pairs),
        estimates=tiny(float(spreads.max())),
        errors=tiny(float(errors.max())),
    )


def tabulate_models(study: Study) -> Table:
    """Tabulate the growth models, one line for each program."""
    words = study.words.about("log_earnings")
    return tabulate_estimates(model_rows(study), words, key="line", groups="model", heading=_("Estimate of"))
