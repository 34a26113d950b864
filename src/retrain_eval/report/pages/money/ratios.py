"""What is gained for each unit of money: the marginal value of public funds and the benefit–cost ratio."""

from __future__ import annotations

import pandas as pd

from retrain_eval.estimators.money.ratios import (
    ALL_OF_IT,
    BCR,
    BOUNDED,
    MVPF,
    NO_COST,
    NO_LOWER,
    NO_RATIO,
    NO_UPPER,
    PAYS_FOR_ITSELF,
    RATIO,
    UNBOUNDED,
)
from retrain_eval.report.language.catalogue import N_, _
from retrain_eval.report.numerals import plain
from retrain_eval.report.page import Study
from retrain_eval.report.pages.money.accounts import words_of
from retrain_eval.report.tables import SUPPRESSED, Table
from retrain_eval.report.words import sentence

RATIO_NAMES = {MVPF: N_("marginal value of public funds"), BCR: N_("benefit–cost ratio")}


def say_ratios(study: Study) -> str:
    """Say what taxpayers get for their money."""
    rows = study.bundle.ratios
    assert rows is not None
    return " ".join(_said_of(row) for _i, row in rows.iterrows())


def _said_of(row: pd.Series) -> str:
    values = {"estimate": _estimate(row), "interval": _interval(row)}
    public = row["ratio"] == MVPF
    if row["verdict"] == NO_COST:
        return (
            _("Taxpayers paid nothing for training, so there is no marginal value of public funds.")
            if public
            else _("Nothing was spent on training, so there is no benefit–cost ratio.")
        )
    if row["verdict"] == PAYS_FOR_ITSELF:
        return (
            _paid_for(row)
            if public
            else _(
                "For society, the programme pays for itself: net spending is not positive, so there is no "
                "benefit–cost ratio."
            )
        )
    if row["verdict"] == NO_RATIO:
        return _("Money is saved at the expense of others, so that a ratio would mislead.")
    if public:
        return _(
            "For each unit of net cost to taxpayers, those who took part gain {estimate} (95% interval "
            "{interval}): the marginal value of public funds.",
            **values,
        )
    return _(
        "For each unit of money that society spends, it gains {estimate} (95% interval {interval}): the benefit–cost "
        "ratio.",
        **values,
    )


def _paid_for(row: pd.Series) -> str:
    """Say how sure it is that the programme pays for itself."""
    if row["interval"] == ALL_OF_IT:
        return _(
            "The programme pays for itself: taxpayers get back more than they spend over the whole 95% interval, so "
            "no ratio is given."
        )
    if row["interval"] == NO_UPPER:
        return _(
            "According to the estimates, the programme pays for itself: taxpayers get back what they spend. The 95% "
            "interval runs from a ratio of {low} to where it pays for itself.",
            low=plain(row["ci_low"], 2),
        )
    return _("According to the estimates, the programme pays for itself, but the 95% interval excludes no ratio.")


def tabulate_ratios(study: Study) -> Table:
    """Tabulate the benefit–cost ratio and the marginal value of public funds."""
    rows, words = study.bundle.ratios, words_of(study)
    assert rows is not None
    cells = pd.DataFrame(
        {
            "name": [sentence(_(RATIO_NAMES[str(name)])) for name in rows["ratio"]],
            "benefit": [words.amount(value) for value in rows["benefit"]],
            "cost": [words.amount(value) for value in rows["cost"]],
            "estimate": [_estimate(row) for _i, row in rows.iterrows()],
            "interval": [_interval(row) for _i, row in rows.iterrows()],
        }
    )
    labels = {
        "name": _("Ratio"),
        "benefit": _("Benefit"),
        "cost": _("Net cost"),
        "estimate": _("Benefit by cost"),
        "interval": _("95% interval"),
    }
    return Table(cells, rows, labels=labels)


def _estimate(row: pd.Series) -> str:
    texts = {PAYS_FOR_ITSELF: _("pays for itself"), NO_COST: _("no cost"), NO_RATIO: _("no ratio")}
    if row["verdict"] != RATIO:
        return texts[str(row["verdict"])]
    return _(SUPPRESSED) if pd.isna(row["estimate"]) else plain(row["estimate"], 2)


def _interval(row: pd.Series) -> str:
    low, high = plain(row["ci_low"], 2), plain(row["ci_high"], 2)
    return {
        BOUNDED: _("{low} to {high}", low=low, high=high),
        NO_UPPER: _("from {low} to where it pays for itself", low=low),
        NO_LOWER: _("up to {high}, without a lower limit", high=high),
        UNBOUNDED: _("no limit: the net cost may be zero"),
        ALL_OF_IT: _("pays for itself throughout"),
    }.get(str(row["interval"]), "—")
