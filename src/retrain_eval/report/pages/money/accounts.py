"""The accounts of those who took part, of taxpayers, of other funders and of society, at the rates of the study."""

from __future__ import annotations

import msgspec
import pandas as pd

from retrain_eval.estimators.money.accounts import (
    BENEFITS,
    EARNINGS,
    EMPLOYER_TAX,
    FRINGE,
    INCOME_TAX,
    NET,
    SALES_TAX,
    SAVED,
    SOCIETY,
    STIPENDS,
    TRAINING,
)
from retrain_eval.plan.questions import Money
from retrain_eval.report.language.catalogue import N_, _
from retrain_eval.report.numerals import MINUS
from retrain_eval.report.page import Study
from retrain_eval.report.tables import Table
from retrain_eval.report.words import Words, sentence
from retrain_eval.tables.ledger import OTHERS, PARTICIPANTS, TAXPAYERS

PERSPECTIVE_NAMES = {
    PARTICIPANTS: N_("those who took part"),
    TAXPAYERS: N_("taxpayers"),
    OTHERS: N_("employers and other funders"),
    SOCIETY: N_("society"),
}
ITEM_NAMES = {
    EARNINGS: N_("earnings"),
    FRINGE: N_("fringe benefits"),
    INCOME_TAX: N_("taxes on earnings"),
    EMPLOYER_TAX: N_("taxes paid by employers"),
    SALES_TAX: N_("taxes on spending"),
    BENEFITS: N_("benefits withdrawn"),
    STIPENDS: N_("payments during training"),
    TRAINING: N_("cost of training"),
    SAVED: N_("other services not used"),
    NET: N_("net benefit"),
}


def account_rows(study: Study) -> pd.DataFrame:
    """Return the lines of the accounts with ``perspective`` and ``item``, but those that are withheld."""
    rows = study.result("net_benefit")
    rows = rows[rows["estimate"].notna() & rows["estimand"].str.contains(": ", regex=False)]
    parts = rows["estimand"].str.split(": ", n=1, expand=True).reindex(columns=[0, 1])
    return rows.assign(perspective=parts[0], item=parts[1]).reset_index(drop=True)


def net_benefits(study: Study) -> dict[str, pd.Series]:
    """Return the row of the net benefit of each perspective."""
    rows = account_rows(study)
    return {str(row["perspective"]): row for _i, row in rows[rows["item"] == NET].iterrows()}


def words_of(study: Study) -> Words:
    """Return the vocabulary of the outcome that is added up."""
    rows = pd.concat([study.result("net_benefit"), study.result("benefit_over_time")])
    return study.words if rows.empty else study.words.about(rows["outcome"].iloc[0])


def costs_rounded(study: Study) -> bool:
    """Return whether costs per person have two digits only: of a public budget, more would tell how many entered."""
    return study.bundle.rules.noisy


def say_rates(study: Study) -> str:
    """Say at which rates earnings are taxed and discounted: they are the study's, and taken as known."""
    options = options_of(study)
    if options is None:
        return ""
    named = {
        _("taxes on earnings {rate}", rate=_rate(options.tax_rate)): options.tax_rate,
        _("taxes paid by employers {rate}", rate=_rate(options.employer_tax_rate)): options.employer_tax_rate,
        _("benefits withdrawn {rate}", rate=_rate(options.benefit_withdrawal)): options.benefit_withdrawal,
        _("taxes on spending {rate}", rate=_rate(options.spending_tax_rate)): options.spending_tax_rate,
        _("fringe benefits {rate}", rate=_rate(options.fringe)): options.fringe,
    }
    rates = [text for place, (text, rate) in enumerate(named.items()) if rate or place == 0]
    text = _(
        "The study sets the rates, as shares of additional earnings: {rates}. Amounts are discounted at {discount} a "
        "year from the start of training, and the cost of training is treated as known and as paid at the start.",
        rates=_("; ").join(rates),
        discount=_rate(options.discount_rate),
    )
    if costs_rounded(study):
        more = _(
            "The cost per person is rounded to two digits, to protect people; intervals do not reflect the rounding."
        )
        return f"{text} {more}"
    return text


def _rate(value: float) -> str:
    """Return a rate as a percentage with the digits that the study gives."""
    return f"{100 * value:.4g}%".replace("-", MINUS)


def periods_counted(study: Study) -> int:
    """Return the number of periods whose effects are added up."""
    times = study.result("benefit_over_time")["event_time"]
    if times.notna().any():
        return int(times.max()) + 1
    options = options_of(study)
    return options.horizon or 0 if options else 0


def options_of(study: Study) -> Money | None:
    """Return the section ``[questions.money]`` of the study file, if it has one."""
    given = study.bundle.study.get("questions", {}).get("money")
    return None if given is None else msgspec.convert(given, Money)


def tabulate_accounts(study: Study) -> Table:
    """Tabulate the lines of each perspective's account, with intervals."""
    rows, words = account_rows(study), words_of(study)
    cells = pd.DataFrame(
        {
            "who": [sentence(_(PERSPECTIVE_NAMES[str(name)])) for name in rows["perspective"]],
            "line": [sentence(_(ITEM_NAMES[str(item)])) for item in rows["item"]],
            "amount": [words.amount(value, signed=True) for value in rows["estimate"]],
            "interval": [
                "—" if pd.isna(error) else words.interval(low, high)
                for error, low, high in zip(rows["std_error"], rows["ci_low"], rows["ci_high"], strict=True)
            ],
        }
    )
    labels = {"line": _("Line"), "amount": _("For each person trained"), "interval": _("95% interval")}
    columns = ["perspective", "item", "estimate", "std_error", "ci_low", "ci_high"]
    return Table(cells, rows[columns], stub="line", labels=labels, groups="who")
