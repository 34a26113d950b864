"""What would overturn the effect: breaks of parallel trends, hidden bias, and the order in which ties are settled."""

from __future__ import annotations

from itertools import islice
from typing import ClassVar

from retrain_eval.common.errors import DesignError, DisclosureError, RetrainEvalError
from retrain_eval.estimators.inference.robustness import robustness
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.cohort import Cohort
from retrain_eval.questions.effects.effect_over_time import table_of
from retrain_eval.questions.needs import Needs
from retrain_eval.questions.protocol import Inquiry, Question
from retrain_eval.questions.tables import Tables
from retrain_eval.sample.hidden_bias.hidden_bias import MAKE, HiddenBias, hidden_bias
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.sample.relabelled import relabelled
from retrain_eval.sample.ties import RELABELLINGS, ties_moved, ties_table
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.recipe import recipe_of
from retrain_eval.tables.statistics import CrossProducts, SignedRanks, Spread, Ties

EFFECT, PATH = "did", "event_study"  # the results that are in question
RANKS, SPREAD, PRODUCTS = (f"statistics/{EFFECT}_{name}" for name in ("rosenbaum", "e_values", "oster"))
TIES = f"statistics/{EFFECT}_ties"


class Sensitivity(Question):
    """Bounds on breaks of parallel trends, power of the pre-test, other bases; Rosenbaum, E-value, Oster; ties."""

    name: ClassVar[str] = "sensitivity"
    asks: ClassVar[str] = "What would overturn the effect?"
    needs: ClassVar[Needs] = Needs({"enrolment": ("entry",), "wage_record": ("wages",)}, ("did",))
    results: ClassVar[tuple[str, ...]] = ("base_moved_back", "placebo_starts")

    def collect(self, cohort: Cohort, facts: Additive | None, inquiry: Inquiry) -> Tables:
        """Sum what bounds follow from: paths, differences within pairs, and the spread of outcomes within arms."""
        tables, did = Tables(), inquiry.study.did
        assert did is not None
        with tables.attempt(table_of(did.outcome)):
            tables[table_of(did.outcome)] = cohort.moments(did.outcome, cohort.spec())
        if cohort.design.matched and table_of(did.outcome) in tables:
            cohort.say("what hidden bias would take")
            with tables.attempt(RANKS, SPREAD, PRODUCTS):
                sample = cohort.sample(cohort.spec())
                people = cohort.after(sample, did.outcome)
                # which bounds there are does not depend on the effect: `answer` reads it from the moments
                cap = inquiry.study.release.winsorise
                found = hidden_bias(people, sample, "after", estimate=0.0, std_error=1.0, winsorise=cap)
                tables.add(bias_tables(found, EFFECT))
                for note in found.notes:
                    cohort.say(note)
            with tables.attempt(TIES):
                sample = cohort.sample(cohort.spec())
                ties = _ties_moved(cohort, sample, did.outcome, inquiry)
                if ties is not None:
                    tables[TIES] = ties
        return tables

    def answer(self, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return the bounds of the event study, hidden bias of the mean effect, and how far ties move it."""
        answers, study = Answers(), inquiry.study
        assert study.did is not None
        try:
            moments = tables.need(table_of(study.did.outcome), OutcomeMoments)
        except DesignError as error:
            for table in ("bounds", "pretest_power", *MAKE):
                answers.withhold(PATH if table not in MAKE else EFFECT, error, table)
            return answers
        answer_robustness(answers, PATH, moments, study)
        if study.designs[inquiry.design].matched:
            _answer_hidden_bias(answers, tables, moments, study)
        if TIES in tables:
            answers.table("ties", ties_table(tables.need(TIES, Ties)), of=EFFECT)
        return answers


def answer_robustness(answers: Answers, name: str, moments: OutcomeMoments, study: StudyFile) -> None:
    """Add bounds, power of the pre-test, other base periods and placebo starts of an event study.

    Parameters
    ----------
    answers : Answers
    name : str
        The result that the event study is published under.
    moments : OutcomeMoments
        What it was estimated from.
    study : StudyFile
    """
    options = study.did_options()
    del options["base_period"]
    try:
        found = robustness(moments, **options)
    except (DesignError, DisclosureError) as error:
        for table in ("bounds", "pretest_power"):
            answers.withhold(name, error, table)
        return
    if len(found.bounds):
        answers.table("bounds", found.bounds, of=name)
        answers.table("pretest_power", found.power, of=name)
    for part, effects in found.effects.items():
        answers.effects(part, effects)
    for note in found.notes:
        answers.say(note)


def bias_tables(found: HiddenBias, name: str) -> Tables:
    """Return the sums that the bounds of an effect follow from, by the names of their files."""
    return Tables({f"statistics/{name}_{table}": statistic for table, statistic, _ in found.statistics()})


def answer_bias(answers: Answers, found: HiddenBias, name: str) -> None:
    """Add the bounds of an effect."""
    tables = found.tables()
    for table, statistic, options in found.statistics():
        answers.table(table, tables[table], of=name, recipe=recipe_of(MAKE[table], statistic, **options))


def _answer_hidden_bias(answers: Answers, tables: Tables, moments: OutcomeMoments, study: StudyFile) -> None:
    """Add the bounds of the mean effect, which follow from its statistics and from the effect."""
    try:
        spread = tables.need(SPREAD, Spread)
        effect = moments.att_gt(**study.did_options()).aggregate("simple").frame.iloc[0]
    except DesignError as error:
        for table in MAKE:
            answers.withhold(EFFECT, error, table)
        return
    found = HiddenBias(
        ranks=tables.need(RANKS, SignedRanks) if RANKS in tables else None,
        spread=spread,
        products=tables.need(PRODUCTS, CrossProducts) if PRODUCTS in tables else None,
        estimate=float(effect["estimate"]),
        std_error=float(effect["std_error"]),
        notes=(),
    )
    answer_bias(answers, found, EFFECT)


def _ties_moved(cohort: Cohort, sample: MatchedSample, outcome: str, inquiry: Inquiry) -> Ties | None:
    """Return how far the mean effect moves with the order of identifiers; None if few choices are ties."""

    def effects() -> list[float]:
        found = []
        for other in islice(relabelled(sample, inquiry.seed), RELABELLINGS):
            moments = cohort.moments_of(cohort.follow(other, [outcome]), outcome)
            effect = moments.att_gt(**inquiry.study.did_options()).aggregate("simple")
            found.append(float(effect.frame["estimate"].iloc[0]))
        return found

    try:
        return ties_moved(sample, effects, noisy=False)
    except RetrainEvalError as error:
        cohort.say(f"how far {EFFECT} moves with the order of identifiers is not known: {error}")
        return None
