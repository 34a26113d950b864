"""Who was studied: the sample flow from the register to the analysis, and who was found in the wage records."""

from __future__ import annotations

from typing import ClassVar

from retrain_eval.common.errors import DesignError
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.cohort import Cohort
from retrain_eval.questions.needs import Needs
from retrain_eval.questions.protocol import Inquiry, Question
from retrain_eval.questions.tables import Tables
from retrain_eval.sample.counting import count_flow, count_linked
from retrain_eval.tables.additive import Additive

FLOW, LINKAGE = "counts/flow", "counts/linkage"


class Sample(Question):
    """The sample flow, with the reason for each loss, and linkage rates by stratum."""

    name: ClassVar[str] = "sample"
    asks: ClassVar[str] = "Who was studied, and who was lost on the way?"
    needs: ClassVar[Needs] = Needs({"person": (), "enrolment": ("entry",)})
    results: ClassVar[tuple[str, ...]] = ()

    def collect(self, cohort: Cohort, facts: Additive | None, inquiry: Inquiry) -> Tables:
        """Count people step by step, and those who were found in the wage records."""
        tables = Tables()
        with tables.attempt(LINKAGE):
            tables[LINKAGE] = count_linked(cohort.to_link, "linked", cohort.strata)
        with tables.attempt(FLOW):
            sample = cohort.sample(cohort.spec()) if cohort.design.matched else None
            tables[FLOW] = count_flow(
                cohort.people,
                cohort.steps,
                sample,
                groups={"treated": cohort.treated, "control": cohort.may_be_control},
                refused=cohort.refused,
                refused_groups={
                    "treated": "enrolled",
                    "control": "true" if cohort.may_be_control == "true" else "NOT enrolled",
                },
                reasons=cohort.not_candidates,
            )
        return tables

    def answer(self, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return nothing besides the counts, which are printed as they are."""
        answers = Answers()
        for name in (FLOW, LINKAGE):
            if name in tables.absent:
                kind = name.partition("/")[2]
                answers.withhold(kind, DesignError(tables.absent[name]), kind)
        return answers
