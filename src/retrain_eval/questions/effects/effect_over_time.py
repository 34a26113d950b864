"""Whether it works, how long the effect lasts, and when it has paid for itself."""

from __future__ import annotations

from typing import ClassVar

from retrain_eval.common.errors import DesignError
from retrain_eval.common.sql import loaded
from retrain_eval.estimators.did.means import mean_paths
from retrain_eval.estimators.inference.payback import payback
from retrain_eval.estimators.inference.pretrend import pretrend_test
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.questions import EffectOverTime as Options
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.cohort import START, Cohort, outcomes_of
from retrain_eval.questions.effects.costs import COST, cost_of_training
from retrain_eval.questions.needs import Needs
from retrain_eval.questions.protocol import Inquiry, Question
from retrain_eval.questions.tables import Tables
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.statistics import Costs


class EffectOverTime(Question):
    """Event studies of the main outcome and of those that the plan names, the mean effect, and payback."""

    name: ClassVar[str] = "effect_over_time"
    asks: ClassVar[str] = "Does it work, how long does the effect last, and when has it paid for itself?"
    needs: ClassVar[Needs] = Needs(
        {"enrolment": ("entry",), "wage_record": ("wages",)}, ("did",), also={"payback": "cost.amount"}
    )
    results: ClassVar[tuple[str, ...]] = ("did", "event_study", "event_study_{outcome}", "payback")

    def collect(self, cohort: Cohort, facts: Additive | None, inquiry: Inquiry) -> Tables:
        """Sum the paths of each outcome around the start, and what training cost."""
        tables, spec = Tables(), cohort.spec()
        for outcome in outcomes(inquiry):
            cohort.say(f"effect on {outcome} over time")
            with tables.attempt(table_of(outcome)):
                tables[table_of(outcome)] = cohort.moments(outcome, spec)
        if inquiry.given(Options).payback and loaded(cohort.con, "cost"):
            with tables.attempt(COST):
                tables[COST] = cost_of_training(cohort.con, inquiry.study, cohort.keyed)
        return tables

    def answer(self, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return the event study of each outcome; of the main one also the mean effect, its pre-trend and payback."""
        answers, study, shift = Answers(), inquiry.study, shift_of(inquiry)
        assert study.did is not None
        options = study.did_options()
        for outcome in outcomes(inquiry):
            result = "event_study" if outcome == study.did.outcome else f"event_study_{outcome}"
            with answers.attempt(result):
                moments = tables.need(table_of(outcome), OutcomeMoments)
                answers.effects(result, moments.att_gt(**options).aggregate("dynamic"))
                answers.table("means", mean_paths(moments, shift=shift))
        wanted = [*(["payback"] if inquiry.given(Options).payback else [])]
        with answers.attempt("did", *wanted):
            effects = tables.need(table_of(study.did.outcome), OutcomeMoments).att_gt(**options)
            over_time = effects.aggregate("dynamic")
            answers.effects("did", effects.aggregate("simple"))
            answers.table("tests", lambda: pretrend_test(over_time), of="event_study")
            if wanted:
                answers.effects("payback", lambda: payback(over_time, _cost(tables)))
        return answers


def outcomes(inquiry: Inquiry) -> tuple[str, ...]:
    """Return the outcomes that are asked: those of the section, else the main one and those of the plan.

    Employment quality and its parts, which add up, are left to job_quality where it is asked about them.
    """
    quality, study = inquiry.study.questions.job_quality, inquiry.study
    theirs = ("m0", "deprived") if quality is not None and quality.parts else ()
    asked = inquiry.given(Options).outcomes or outcomes_of(study)
    return tuple(name for name in asked if name not in theirs or (study.did and name == study.did.outcome))


def table_of(outcome: str) -> str:
    """Return the name of the moments of an outcome."""
    return f"moments/matched_{outcome}"


def shift_of(inquiry: Inquiry) -> int:
    """Return what is added to the times of moments, so that the start is zero: nothing if they are of the calendar."""
    return 0 if inquiry.study.designs[inquiry.design].kind == "observed" else -START


def _cost(tables: Tables) -> float:
    """Return the cost of training per person who entered it, to two digits."""
    if COST not in tables and COST not in tables.absent:
        raise DesignError("no records of cost say what training cost")
    return tables.need(COST, Costs).per_person
