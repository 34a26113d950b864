"""Are the jobs better, and in which dimension: employment quality after Alkire and Foster, taken apart.

A person is deprived if the share of dimensions in which they are deprived reaches the cut-off. H is the share of people
who are. M0 is the mean over people of that share of dimensions, counted as zero for anyone who is not deprived. A
dimension contributes to M0 the share of people who are deprived, and deprived in it, over the number of dimensions; so
effects on the contributions add up to the effect on M0. A = M0 / H is the mean share of dimensions among those who are
deprived (Alkire and Foster 2011, section 3).

All of them come from one table in which the paths of the contributions and of H stand one after another, M0 being the
sum of the contributions. So the parts add up to M0 in a release as well, whatever protection changes, and A has an
error from the joint covariance of M0 and H.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from retrain_eval.common.sources import query, sql_name
from retrain_eval.estimators.did.means import mean_paths
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.estimators.outcome_moments import outcome_moments
from retrain_eval.estimators.stacked_outcomes import effect_on_ratio, stacked_outcome, stacked_time
from retrain_eval.plan.questions import JobQuality as Options
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.cohort import QUALITY, START, Cohort, outcomes_of
from retrain_eval.questions.effects.effect_over_time import shift_of, table_of
from retrain_eval.questions.needs import Needs
from retrain_eval.questions.protocol import Inquiry, Question
from retrain_eval.questions.tables import Tables
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.noise.person_keys import PERSON_KEY, has_keys

SCORE, HEADCOUNT, INTENSITY = "m0", "deprived", "intensity"
STACK = "moments/quality_parts"
DIMENSION_NEEDS: Mapping[str, tuple[tuple[str, str], ...]] = {  # record types and columns
    "earnings": (("price", "living_wage"),),
    "tenure": (("wage_record", "employer_id"),),
    "occupation": (("wage_record", "isco"),),
}


class JobQuality(Question):
    """Event studies of M0, of H, of A, and of the contribution of each dimension to M0."""

    name: ClassVar[str] = "job_quality"
    asks: ClassVar[str] = "Are the jobs better, and in which dimension?"
    needs: ClassVar[Needs] = Needs({"enrolment": ("entry",), "wage_record": ("wages",)}, ("did",))
    results: ClassVar[tuple[str, ...]] = (
        "event_study_m0",
        "event_study_deprived",
        f"event_study_{INTENSITY}",
        *(f"event_study_{QUALITY}{name}" for name in ("earnings", "tenure", "stability", "occupation")),
    )
    version: ClassVar[int] = 2

    def missing(self, have: Mapping[str, Collection[str]], study: StudyFile, kind: str = "") -> list[str]:
        """Return what a study lacks for the question: each dimension that is counted needs records of its own."""
        columns: dict[str, list[str]] = {}
        for name in study.quality.dimensions:
            for record, column in DIMENSION_NEEDS.get(name, ()):
                columns.setdefault(record, []).append(column)
        of_dimensions = Needs({record: tuple(names) for record, names in columns.items()})
        return [*super().missing(have, study, kind), *of_dimensions.missing(have, study)]

    def collect(self, cohort: Cohort, facts: Additive | None, inquiry: Inquiry) -> Tables:
        """Sum the paths of the dimensions' contributions and of H around the start, in one table; or those of M0."""
        tables = Tables()
        cohort.say("effects on employment quality and on its parts")
        if inquiry.given(Options).parts:
            with tables.attempt(STACK):
                tables[STACK] = stacked_moments(cohort, (*contributions(inquiry.study), HEADCOUNT))
        else:
            with tables.attempt(table_of(SCORE)):
                tables[table_of(SCORE)] = cohort.moments(SCORE, cohort.spec())
        return tables

    def answer(self, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return an event study of M0 and of each part; of A where enough people are deprived."""
        answers, options, shift = Answers(), inquiry.study.did_options(), shift_of(inquiry)
        if not inquiry.given(Options).parts:
            if not (inquiry.study.questions.effect_over_time and SCORE in outcomes_of(inquiry.study)):
                _answer_path(answers, SCORE, lambda: tables.need(table_of(SCORE), OutcomeMoments), options, shift)
            return answers
        dimensions = contributions(inquiry.study)
        every = tuple(range(len(dimensions)))
        paths = {SCORE: every, HEADCOUNT: (len(every),), **{name: (k,) for k, name in enumerate(dimensions)}}
        for outcome, blocks in paths.items():
            _answer_path(
                answers,
                outcome,
                partial(_stacked, tables, outcome, blocks),
                options,
                shift,
            )
        answers.effects(
            f"event_study_{INTENSITY}",
            lambda: effect_on_ratio(
                tables.need(STACK, OutcomeMoments),
                INTENSITY,
                every,
                len(every),
                START - 1 - options["anticipation"],
                inquiry.seed,
            ),
        )
        return answers


def _stacked(tables: Tables, outcome: str, blocks: tuple[int, ...]) -> OutcomeMoments:
    """Return the moments of an outcome that is the sum of some paths of the stacked table."""
    return stacked_outcome(tables.need(STACK, OutcomeMoments), outcome, blocks)


def _answer_path(
    answers: Answers, outcome: str, moments: Callable[[], OutcomeMoments], options: Mapping[str, Any], shift: int
) -> None:
    """Add the event study of an outcome, and its means by arm."""
    with answers.attempt(f"event_study_{outcome}"):
        found = moments()
        answers.effects(f"event_study_{outcome}", found.att_gt(**options).aggregate("dynamic"))
        answers.table("means", mean_paths(found, shift=shift))


def stacked_moments(cohort: Cohort, outcomes: Sequence[str]) -> OutcomeMoments:
    """Return moments of the paths of several outcomes, one after another, of people who have all of them.

    Raises
    ------
    DesignError
        If the records do not give an outcome, or no one is compared.
    """
    group = cohort.group(cohort.spec())
    for outcome in outcomes:
        if outcome not in group.rows.columns:
            cohort.check_outcome(outcome)
    rows = cohort.keyed(group.rows)
    fixed = ["match_id", "cohort", "weight", *([group.cluster] if group.cluster else [])]
    fixed = [*dict.fromkeys(fixed), *([PERSON_KEY] if has_keys(rows) else [])]
    names = ", ".join(map(sql_name, fixed))
    selects = [
        f"SELECT {names}, clock + {stacked_time(k, 0)} AS clock, {sql_name(name)} AS quality_parts FROM source"
        for k, name in enumerate(outcomes)
    ]
    stacked = query(rows, " UNION ALL ".join(selects))
    return outcome_moments(
        stacked,
        unit="match_id",
        time="clock",
        cohort="cohort",
        outcome="quality_parts",
        weights="weight",
        cluster=group.cluster,
        unbalanced="drop",
        kind="score",
    )


def contributions(study: StudyFile) -> tuple[str, ...]:
    """Return the names of the dimensions' contributions to M0, in the order of the study file."""
    return tuple(QUALITY + name for name in study.quality.dimensions)
