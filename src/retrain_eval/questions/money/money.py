"""Who pays, who gains, and whether it is worth it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from retrain_eval.common.errors import DesignError
from retrain_eval.common.periods import PER_YEAR
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.estimators.money.net_benefit import benefit_over_time, net_benefit
from retrain_eval.estimators.money.ratios import value_for_money
from retrain_eval.plan.questions import Money as Options
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.cohort import Cohort
from retrain_eval.questions.effects.effect_over_time import table_of
from retrain_eval.questions.money.budget import LEDGER, budget
from retrain_eval.questions.needs import Needs
from retrain_eval.questions.protocol import Inquiry, Question
from retrain_eval.questions.tables import Tables
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.ledger import Ledger, ledger_rows, payer_of

DIGITS = 2  # of the cost per person, where a release protects people: see `Ledger.per_person`
FIELDS = {"taxpayers": "government", "participants": "participants", "others": "others"}  # payer → field of outlays


class Money(Question):
    """The ledger, net benefits of participants, taxpayers and society, benefit–cost ratio and MVPF.

    All follow from the moments of one path of earnings, whose joint covariance gives the intervals of sums and ratios,
    and from the ledger. What training cost is taken as known.
    """

    name: ClassVar[str] = "money"
    asks: ClassVar[str] = "Who pays, who gains, and is it worth it?"
    needs: ClassVar[Needs] = Needs(
        {"enrolment": ("entry",), "wage_record": ("wages",), "cost": ("funder", "component", "amount")}, ("did",)
    )
    results: ClassVar[tuple[str, ...]] = ("net_benefit", "benefit_over_time")

    def collect(self, cohort: Cohort, facts: Additive | None, inquiry: Inquiry) -> Tables:
        """Sum the paths of earnings around the start, and what was paid by whom."""
        tables, outcome = Tables(), inquiry.given(Options).outcome
        cohort.say("what training cost, and what it brought")
        with tables.attempt(table_of(outcome)):
            tables[table_of(outcome)] = cohort.moments(outcome, cohort.spec())
        with tables.attempt(LEDGER):
            tables[LEDGER] = budget(cohort.con, inquiry.study, cohort.keyed)
        return tables

    def answer(self, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return the ledger, net benefits by perspective, ratios, and benefits over time."""
        answers, options = Answers(), inquiry.given(Options)
        payers, digits = options.payers, DIGITS if inquiry.study.release.noisy else None
        answers.table("ledger", lambda: ledger_rows(tables.need(LEDGER, Ledger), payers, digits))
        with answers.attempt("net_benefit", "benefit_over_time"):
            path, terms = self._path(tables, inquiry), _terms(inquiry)
            over_time = benefit_over_time(path, options.rates, **terms)
            with answers.attempt("net_benefit"):
                outlays = outlays_of(tables.need(LEDGER, Ledger), options, digits)
                worth = net_benefit(path, options.rates, outlays, **terms)
                answers.effects("net_benefit", worth)
                answers.table("ratios", lambda: value_for_money(worth), of="net_benefit")
            answers.effects("benefit_over_time", over_time)
        return answers

    def _path(self, tables: Tables, inquiry: Inquiry) -> EffectTable:
        """Return the event study of earnings."""
        moments = tables.need(table_of(inquiry.given(Options).outcome), OutcomeMoments)
        return moments.att_gt(**inquiry.study.did_options()).aggregate("dynamic")


def _terms(inquiry: Inquiry) -> dict[str, Any]:
    """Return how benefits over time are added up."""
    options, per_year = inquiry.given(Options), PER_YEAR.get(inquiry.study.study.frequency)
    if per_year is None:
        raise DesignError("a yearly discount rate needs periods that are parts of a year")
    return {
        "discount_rate": options.discount_rate,
        "per_year": per_year,
        "horizon": options.horizon,
        "carried": options.carried if options.extrapolate else 0,
        "fade": options.fade,
    }


def outlays_of(ledger: Ledger, options: Options, digits: int | None = None) -> Mapping[str, float]:
    """Return what was paid per person who entered, by payer, and how much of it went to the participants.

    Parameters
    ----------
    ledger : Ledger
    options : Money
        The section ``[questions.money]``.
    digits : int, optional
        As for `Ledger.per_person`.

    Raises
    ------
    DesignError
        If the options have no place for a funder.

    Examples
    --------
    >>> import numpy as np
    >>> ledger = Ledger(("state", "state"), ("stipend", "tuition"), np.array([30_000, 50_000]), 2)
    >>> outlays = outlays_of(ledger, Options(tax_rate=0.2, discount_rate=0.03))
    >>> outlays["government"], outlays["stipends"]
    (400.0, 150.0)
    """
    cents = dict.fromkeys((*FIELDS.values(), "stipends"), 0)
    for funder, component, each in zip(
        ledger.funder, ledger.component, ledger.per_person(digits).tolist(), strict=True
    ):
        cents[FIELDS[payer_of(funder, options.payers)]] += each
        cents["stipends"] += each if component in options.stipends else 0
    return {name: amount / 100 for name, amount in cents.items()} | {"saved_elsewhere": options.saved_elsewhere}
