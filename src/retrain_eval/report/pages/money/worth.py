"""Whether training is worth its cost, in words: the first sentences of the page."""

from __future__ import annotations

import pandas as pd

from retrain_eval.estimators.money.accounts import SOCIETY
from retrain_eval.estimators.money.net_benefit import EXTRAPOLATED
from retrain_eval.report.language.catalogue import _
from retrain_eval.report.page import Study
from retrain_eval.report.pages.money.accounts import (
    PERSPECTIVE_NAMES,
    costs_rounded,
    net_benefits,
    periods_counted,
    words_of,
)
from retrain_eval.report.words import Words
from retrain_eval.tables.ledger import OTHERS, PARTICIPANTS, TAXPAYERS


def say_worth(study: Study) -> str:
    """Say whether training is worth its cost: to society, to those who took part, and to taxpayers."""
    nets, words = net_benefits(study), words_of(study)
    if SOCIETY not in nets:
        reason = study.bundle.withheld.get("net_benefit") or _("its numbers are withheld")
        return _("What training is worth cannot be said: {reason}.", reason=reason)
    row = nets[SOCIETY]
    told = {
        "amount": words.amount(row["estimate"]),
        "interval": words.interval(row["ci_low"], row["ci_high"]),
        "periods": words.periods(periods_counted(study)),
    }
    if pd.isna(row["ci_low"]):
        first = _(
            "Over {periods} from its start, the net benefit of training to society is estimated at {amount} for each "
            "person trained; no interval can be given.",
            **told,
        )
    elif row["ci_low"] > 0:
        first = _(
            "Training is worth more than it costs: over {periods} from its start, the net benefit to society is "
            "{amount} for each person trained (95% interval {interval}).",
            **told,
        )
    elif row["ci_high"] < 0:
        first = _(
            "Training has cost more than it has brought: over {periods} from its start, the net benefit to society "
            "is {amount} for each person trained (95% interval {interval}).",
            **told,
        )
    else:
        first = _(
            "Whether training is worth its cost is not settled: over {periods} from its start, the net benefit to "
            "society is estimated at {amount} for each person trained, with a 95% interval of {interval}.",
            **told,
        )
    return " ".join([first, *_others_told(nets, words, rounded=costs_rounded(study))])


def _others_told(nets: dict[str, pd.Series], words: Words, *, rounded: bool) -> list[str]:
    """Return what the others gain or lose."""
    told = []
    for name in (PARTICIPANTS, TAXPAYERS, OTHERS):
        if name in nets and nets[name]["estimate"] != 0:
            row = nets[name]
            values = {"who": _(PERSPECTIVE_NAMES[name]), "amount": words.amount(row["estimate"])}
            if pd.isna(row["std_error"]) and rounded:
                told.append(_("To {who} it is {amount}: the cost per person is rounded to two digits.", **values))
            elif pd.isna(row["std_error"]):
                told.append(_("To {who} it is {amount}.", **values))
            else:
                interval = words.interval(row["ci_low"], row["ci_high"])
                told.append(_("To {who} it is {amount} ({interval}).", interval=interval, **values))
    return told


def say_limits(study: Study) -> str:
    """Say what the net benefits do not show: what is extrapolated, and what is not counted."""
    rows, words = study.result("net_benefit"), words_of(study)
    beyond = rows[(rows["estimand"] == EXTRAPOLATED) & rows["estimate"].notna()]
    sentences = []
    if len(beyond):
        sentences.append(
            _(
                "Of the earnings included, {amount} lie beyond the follow-up. They are assumed, not observed, and "
                "the intervals do not reflect the uncertainty of that assumption.",
                amount=words.amount(beyond["estimate"].iloc[0]),
            )
        )
    else:
        sentences.append(_("What training changes after the follow-up is not counted."))
    sentences.append(
        _(
            "Only earnings, and what follows from them at the rates below, are included: not health, crime or the "
            "value of time, nor what people who were not trained may lose to those who were."
        )
    )
    return " ".join(sentences)
