"""Do wages grow faster afterwards: growth models of log earnings of the employed, on matched rows.

A model with unit effects of an unbalanced panel is no function of outcome moments, so single rows are read. Who is
employed differs between the arms: the models compare the employed.
"""

from __future__ import annotations

from typing import ClassVar

from retrain_eval.common.errors import DesignError
from retrain_eval.estimators.rows.wage_trajectory import wage_trajectory
from retrain_eval.plan.questions import WagePath as Options
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.cohort import START, Cohort
from retrain_eval.questions.needs import Needs
from retrain_eval.questions.protocol import Inquiry, Question
from retrain_eval.questions.tables import Tables
from retrain_eval.tables.additive import Additive


class WagePath(Question):
    """Growth of log earnings in time since the start, and how it differs for the trained, by linearmodels."""

    name: ClassVar[str] = "wage_path"
    asks: ClassVar[str] = "Do wages grow faster afterwards?"
    needs: ClassVar[Needs] = Needs(
        {"enrolment": ("entry",), "wage_record": ("wages",)}, kinds=("waiting", "entry", "calendar", "randomised")
    )
    results: ClassVar[tuple[str, ...]] = tuple(
        f"wage_path_{model}" for model in ("fixed", "random", "correlated_random", "first_differences")
    )

    def collect(self, cohort: Cohort, facts: Additive | None, inquiry: Inquiry) -> Tables:
        """Return nothing: the models need rows."""
        return Tables()

    def answer(self, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return nothing: the models need rows."""
        return Answers()

    def from_rows(self, cohort: Cohort, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return the models, with errors clustered by matched set."""
        answers, options = Answers(), inquiry.given(Options)
        for model in options.models:
            with answers.attempt(f"wage_path_{model}"):
                group = cohort.group(cohort.spec())
                if "earnings" not in group.rows.columns:
                    raise DesignError("the study has no earnings among its outcomes")
                rows = group.rows.filter("earnings > 0 AND weight > 0").project(
                    f"match_id, clock, treat, subclass, {START} AS began, ln(earnings) AS log_earnings"
                )
                fit = wage_trajectory(
                    rows,
                    outcome="log_earnings",
                    unit="match_id",
                    time="clock",
                    exit="began",
                    treated="treat",
                    degree=options.degree,
                    model=model,
                    cluster=group.cluster,
                )
                answers.effects(f"wage_path_{model}", fit)
        return answers
