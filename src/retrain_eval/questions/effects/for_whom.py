"""Who gains: by age, education and other strata, and by the programme that people entered."""

from __future__ import annotations

from typing import ClassVar

from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.questions import ForWhom as Options
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.cohort import PROGRAMME, Cohort, SampleSpec
from retrain_eval.questions.levels import answer_levels
from retrain_eval.questions.needs import Needs
from retrain_eval.questions.protocol import Inquiry, Question
from retrain_eval.questions.tables import Tables
from retrain_eval.tables.additive import Additive


class ForWhom(Question):
    """Effects on the main outcome in each level of a stratum, differences between levels, and verdicts.

    By programme each pair belongs to the programme of its trainee; by stratum people are matched within its levels.
    """

    name: ClassVar[str] = "for_whom"
    asks: ClassVar[str] = "Who gains, by age, by education and by the programme that they entered?"
    needs: ClassVar[Needs] = Needs({"person": (), "enrolment": ("entry",), "wage_record": ("wages",)}, ("did",))
    results: ClassVar[tuple[str, ...]] = ("att_by_{stratum}", "difference_by_{stratum}")

    def samples(self, inquiry: Inquiry) -> tuple[SampleSpec, ...]:
        """Return the main sample, and one matched within the levels of each stratum."""
        main = SampleSpec(inquiry.design)
        if not inquiry.study.designs[inquiry.design].matched:
            return (main,)
        return (main, *(SampleSpec(inquiry.design, (name,)) for name in strata(inquiry)))

    def collect(self, cohort: Cohort, facts: Additive | None, inquiry: Inquiry) -> Tables:
        """Sum the paths of the main outcome by programme, and by stratum."""
        tables, study = Tables(), inquiry.study
        assert study.did is not None
        for name in programmes(inquiry):
            cohort.say(f"effects by {name}, each pair by the programme of its trainee")
            with tables.attempt(f"moments/pairs_by_{name}"):
                tables[f"moments/pairs_by_{name}"] = cohort.moments(study.did.outcome, cohort.spec(), name)
        within = " matched within each group" if cohort.design.matched else ""
        for name in strata(inquiry):
            cohort.say(f"effects by {(study.strata[name].title or name).lower()},{within}".rstrip(","))
            with tables.attempt(f"moments/matched_by_{name}"):
                spec = cohort.spec(*([name] if cohort.design.matched else []))
                tables[f"moments/matched_by_{name}"] = cohort.moments(study.did.outcome, spec, name)
        return tables

    def answer(self, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return effects by level, their differences, verdicts and tests of equal effects."""
        answers, study = Answers(), inquiry.study
        assert study.did is not None
        options, worth = study.did_options(), study.did.smallest_worthwhile
        kinds = dict.fromkeys(programmes(inquiry), "pairs_by") | dict.fromkeys(strata(inquiry), "matched_by")
        for name, kind in kinds.items():
            answer_levels(
                answers,
                name,
                lambda name=name, kind=kind: (  # type: ignore[misc]
                    tables.need(f"moments/{kind}_{name}", OutcomeMoments).att_gt(**options).by(name).aggregate("simple")
                ),
                seed=inquiry.seed,
                smallest_worthwhile=worth,
            )
        return answers


def strata(inquiry: Inquiry) -> tuple[str, ...]:
    """Return the strata that are asked: those of the section, else all of the study."""
    return inquiry.given(Options).strata or tuple(inquiry.study.strata)


def programmes(inquiry: Inquiry) -> tuple[str, ...]:
    """Return the attributes of the programme that are asked: of the section, else those that the plan names."""
    return inquiry.given(Options).programmes or tuple(
        name for name in inquiry.study.plan.subgroups if name in PROGRAMME
    )
