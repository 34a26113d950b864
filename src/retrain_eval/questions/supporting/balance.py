"""How alike the groups are, before matching and after it: covariates, common support, and earnings before the start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from retrain_eval.common.errors import DesignError
from retrain_eval.common.sources import Source
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.cohort import Cohort
from retrain_eval.questions.needs import Needs
from retrain_eval.questions.protocol import Inquiry, Question
from retrain_eval.questions.tables import Tables
from retrain_eval.sample.composition import baseline_paths, count_matched, count_overlap
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.sample.ties import count_ties, ties_table
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.covariates.covariates import CovariateMoments, covariate_balance, covariate_paths
from retrain_eval.tables.statistics import Ties

COVARIATES, TIES = "covariates/matched", "statistics/matched_ties"
OVERLAP, MATCHING = "counts/overlap", "counts/matching"


class Balance(Question):
    """Balance of covariates, common support, who was matched, ties, and mean earnings before the start."""

    name: ClassVar[str] = "balance"
    asks: ClassVar[str] = "How alike are the people who are compared?"
    needs: ClassVar[Needs] = Needs({"enrolment": ("entry",)}, ("match",), kinds=("waiting", "entry", "calendar"))
    results: ClassVar[tuple[str, ...]] = ()

    def collect(self, cohort: Cohort, facts: Additive | None, inquiry: Inquiry) -> Tables:
        """Sum covariates by arm and stage of matching, and count who was matched."""
        tables = Tables()
        with tables.attempt(COVARIATES, OVERLAP, MATCHING):
            tables.add(
                collect_balance(cohort.candidates, cohort.sample(cohort.spec()), cohort.study, before_of(inquiry))
            )
        return tables

    def answer(self, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return the balance table, ties, and earnings before the start."""
        answers = Answers()
        answer_balance(answers, tables, inquiry.study, before_of(inquiry))
        return answers

    def from_rows(self, cohort: Cohort, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return earnings before the start, where they are not among what people are matched on."""
        answers = Answers()
        if COVARIATES in tables:
            sample = cohort.sample(cohort.spec())
            baseline_from_rows(answers, tables, cohort.candidates, sample, inquiry.study, before_of(inquiry))
        return answers


def before_of(inquiry: Inquiry) -> Mapping[int, str]:
    """Return the periods before the start → column of earnings."""
    return inquiry.study.designs[inquiry.design].earnings_before


def collect_balance(
    candidates: Source,
    sample: MatchedSample,
    study: StudyFile,
    before: Mapping[int, str],
    amounts: Sequence[str] = (),
    implied: Sequence[str] = (),
) -> Tables:
    """Return the tables behind the balance of a matched sample.

    Parameters
    ----------
    candidates : DuckDB relation, DataFrame, Arrow table or path
        The people given to ``match``, with the study's strata as columns.
    sample : MatchedSample
    study : StudyFile
    before : mapping of int to str
        Period, or distance from the start → column of earnings.
    amounts, implied : sequence of str
        See `retrain_eval.study.run.Run.publish_sample`.
    """
    cuts: dict[str, tuple[float, ...]] = {}
    for stratum in study.strata.values():
        cuts[stratum.column] = (*cuts.get(stratum.column, ()), *stratum.bounds())
    covariates, tables = sample.covariates, Tables()
    # earlier amounts of the main outcome are cut where the outcome is: a difference would be of the few beyond the cap
    main = study.did and study.outcomes.get(study.did.outcome)
    caps = dict.fromkeys(before.values(), main.cap) if main and main.cap else {}
    tables[COVARIATES] = sample.covariate_moments(
        winsorise=study.release.winsorise,
        cuts=cuts,
        caps=caps,
        amounts=[name for name in dict.fromkeys([*before.values(), *amounts]) if name in covariates],
        implied=implied,
    )
    with tables.attempt(OVERLAP):
        tables[OVERLAP] = count_overlap(sample)
    tables[MATCHING] = count_matched(candidates, sample, by=list(study.strata))
    if (ties := count_ties(sample)) is not None:
        tables[TIES] = ties
    return tables


def answer_balance(answers: Answers, tables: Tables, study: StudyFile, before: Mapping[int, str]) -> None:
    """Add the balance table, ties and earnings before the start; `collect_balance` sums what they follow from.

    Parameters
    ----------
    answers : Answers
    tables : Tables
    study : StudyFile
    before : mapping of int to str
        Period, or distance from the start → column of earnings.
    """
    answers.table("balance", lambda: covariate_balance(tables.need(COVARIATES, CovariateMoments)))
    if OVERLAP in tables.absent:
        answers.say(f"no common support to show: {tables.absent[OVERLAP]}")
    if TIES in tables:
        answers.table("ties", ties_table(tables.need(TIES, Ties)))
    if not before or study.did is None or COVARIATES not in tables:
        return
    moments, columns = tables.need(COVARIATES, CovariateMoments), {column: time for time, column in before.items()}
    if set(columns) <= set(moments.cells["covariate"]):
        answers.table("baseline_paths", covariate_paths(moments, outcome=study.did.outcome, columns=columns))
    elif study.release.noisy:  # from people, means would be exact
        why = "its periods are not among the covariates that people are matched on"
        answers.withhold("baseline_paths", DesignError(why), "baseline_paths")


def baseline_from_rows(
    answers: Answers,
    tables: Tables,
    candidates: Source,
    sample: MatchedSample,
    study: StudyFile,
    before: Mapping[int, str],
) -> None:
    """Add earnings before the start from single people, where they follow from no table and numbers are exact."""
    moments = tables.need(COVARIATES, CovariateMoments)
    if before and study.did and not study.release.noisy and not set(before.values()) <= set(moments.cells["covariate"]):
        answers.table("baseline_paths", baseline_paths(candidates, sample, study.did.outcome, before))
