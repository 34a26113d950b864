"""Are the jobs better, and in which dimension: employment quality after Alkire and Foster, taken apart.

A person is deprived if the share of dimensions in which they are deprived reaches the cut-off. H is the share of people
who are. M0 is the mean over people of that share of dimensions, counted as zero for anyone who is not deprived. A
dimension contributes to M0 the share of people who are deprived, and deprived in it, over the number of dimensions; so
effects on the contributions add up to the effect on M0 (Alkire and Foster 2011, section 3).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

from retrain_eval.estimators.did.means import mean_paths
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.questions import JobQuality as Options
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.cohort import QUALITY, Cohort, outcomes_of
from retrain_eval.questions.effects.effect_over_time import shift_of, table_of
from retrain_eval.questions.needs import Needs
from retrain_eval.questions.protocol import Inquiry, Question
from retrain_eval.questions.tables import Tables
from retrain_eval.tables.additive import Additive

SCORE, HEADCOUNT = "m0", "deprived"
DIMENSION_NEEDS: Mapping[str, tuple[tuple[str, str], ...]] = {  # record types and columns
    "earnings": (("price", "living_wage"),),
    "tenure": (("wage_record", "employer_id"),),
    "occupation": (("wage_record", "isco"),),
}


class JobQuality(Question):
    """Event studies of M0, of H, and of the contribution of each dimension to M0."""

    name: ClassVar[str] = "job_quality"
    asks: ClassVar[str] = "Are the jobs better, and in which dimension?"
    needs: ClassVar[Needs] = Needs({"enrolment": ("entry",), "wage_record": ("wages",)}, ("did",))
    results: ClassVar[tuple[str, ...]] = (
        "event_study_m0",
        "event_study_deprived",
        *(f"event_study_{QUALITY}{name}" for name in ("earnings", "tenure", "stability", "occupation")),
    )

    def missing(self, have: Mapping[str, Collection[str]], study: StudyFile, kind: str = "") -> list[str]:
        """Return what a study lacks for the question: each dimension that is counted needs records of its own."""
        columns: dict[str, list[str]] = {}
        for name in study.quality.dimensions:
            for record, column in DIMENSION_NEEDS.get(name, ()):
                columns.setdefault(record, []).append(column)
        of_dimensions = Needs({record: tuple(names) for record, names in columns.items()})
        return [*super().missing(have, study, kind), *of_dimensions.missing(have, study)]

    def collect(self, cohort: Cohort, facts: Additive | None, inquiry: Inquiry) -> Tables:
        """Sum the paths of M0, of H and of the dimensions' contributions around the start."""
        tables = Tables()
        cohort.say("effects on employment quality and on its parts")
        for outcome in parts(inquiry):
            with tables.attempt(table_of(outcome)):
                tables[table_of(outcome)] = cohort.moments(outcome, cohort.spec())
        return tables

    def answer(self, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return an event study of each part."""
        answers, options = Answers(), inquiry.study.did_options()
        known = set(outcomes_of(inquiry.study)) if inquiry.study.questions.effect_over_time else set()
        for outcome in parts(inquiry):
            if outcome in known:  # published by effect_over_time
                continue
            with answers.attempt(f"event_study_{outcome}"):
                moments = tables.need(table_of(outcome), OutcomeMoments)
                answers.effects(f"event_study_{outcome}", moments.att_gt(**options).aggregate("dynamic"))
                answers.table("means", mean_paths(moments, shift=shift_of(inquiry)))
        return answers


def parts(inquiry: Inquiry) -> tuple[str, ...]:
    """Return the outcomes that are asked: M0, and its parts where the section asks for them."""
    return (SCORE, HEADCOUNT, *contributions(inquiry.study)) if inquiry.given(Options).parts else (SCORE,)


def contributions(study: StudyFile) -> tuple[str, ...]:
    """Return the names of the dimensions' contributions to M0, in the order of the study file."""
    return tuple(QUALITY + name for name in study.quality.dimensions)
