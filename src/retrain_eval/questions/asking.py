"""Asking a question of a cohort: collect, add, make safe, answer."""

from __future__ import annotations

from collections.abc import Callable

import duckdb

from retrain_eval.common.errors import DesignError
from retrain_eval.common.sql import loaded
from retrain_eval.panel.coverage import uncovered_records
from retrain_eval.panel.panel import build_panel
from retrain_eval.panel.quality import build_quality
from retrain_eval.panel.spells import build_spells
from retrain_eval.plan.designs import AnyDesign
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.catalogue import COHORTS
from retrain_eval.questions.cohort import Cohort
from retrain_eval.questions.protocol import Inquiry, Question
from retrain_eval.questions.tables import Tables, safe_tables
from retrain_eval.tables.noise.person_keys import ReleaseKey


def prepare(con: duckdb.DuckDBPyConnection, study: StudyFile, say: Callable[[str], None]) -> dict[str, str]:
    """Build the panel, employment quality and spells; return what the records do not give, with the reason."""
    say("panel, employment quality and spells")
    build_panel(con, **study.panel_options())
    if left_out := uncovered_records(con):
        say(f"{left_out:,} wage records do not count: no coverage, person not linked, not observed, or incomplete")
    unavailable = {}
    try:
        build_quality(con, **study.quality_options())
    except DesignError as error:
        unavailable["quality"] = error.public
    if loaded(con, "job"):
        build_spells(con, recall_within=study.panel.recall_within)
    else:
        unavailable["spells"] = "the wage records name no employer, so that there are no jobs"
    return unavailable


def build_cohort(
    con: duckdb.DuckDBPyConnection,
    study: StudyFile,
    name: str,
    say: Callable[[str], None],
    key: ReleaseKey | None,
    unavailable: dict[str, str],
) -> Cohort:
    """Return the cohort of a design, on a connection for which `prepare` has run."""
    design: AnyDesign = study.designs[name]
    return COHORTS[design.kind](con, study, name, design, say, key, unavailable)


def gather(question: Question, cohort: Cohort, inquiry: Inquiry) -> Tables:
    """Return the tables of a question, as they may be added up and released, and those that stay at the agency."""
    summed = question.collect(cohort, question.facts(cohort, inquiry), inquiry)
    tables = safe_tables(summed, cohort.study.release)
    tables.add(question.derive(tables, inquiry))
    return tables


def answers_of(question: Question, cohort: Cohort, tables: Tables, inquiry: Inquiry) -> list[Answers]:
    """Return what follows from the tables, and what single rows alone can give.

    Raises
    ------
    InputError
        If the question publishes a result that its catalogue entry does not name.
    """
    found = [question.answer(tables, inquiry), question.from_rows(cohort, tables, inquiry)]
    for answers in found:
        question.check(answers, inquiry)
    return found
