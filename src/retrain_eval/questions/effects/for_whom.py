"""Who gains: by age, education and other strata, by several of them together, and by the programme people entered."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar

from retrain_eval.common.errors import DesignError
from retrain_eval.estimators.effects.cells import cell_verdicts, interactions
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.heterogeneity import equal_effects
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.questions import ForWhom as Options
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.cohort import PROGRAMME, Cohort, SampleSpec
from retrain_eval.questions.levels import answer_levels
from retrain_eval.questions.needs import Needs
from retrain_eval.questions.protocol import Inquiry, Question
from retrain_eval.questions.strata import cells_of, check_levels, matched_within
from retrain_eval.questions.tables import Tables
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.moments.withheld_cells import MARK


class ForWhom(Question):
    """Effects on the main outcome by stratum and by programme, and in the cells of several strata together.

    By programme each pair belongs to the programme of its trainee; by strata people are matched within their levels.
    """

    name: ClassVar[str] = "for_whom"
    asks: ClassVar[str] = "Who gains, by age, education and other strata, by several together, and by programme?"
    needs: ClassVar[Needs] = Needs(
        {"person": (), "enrolment": ("entry",), "wage_record": ("wages",)},
        ("did",),
        also={"results by programme": "programme.tier or programme.delivery"},
    )
    results: ClassVar[tuple[str, ...]] = ("att_by_{stratum}", "difference_by_{stratum}", "cells_by_{strata}")

    def publishes(self, inquiry: Inquiry) -> Iterator[str]:
        """Yield the names of results, also those of the cells of strata that are asked together."""
        yield from super().publishes(inquiry)
        yield from map(cells_of, inquiry.given(Options).together)

    def samples(self, inquiry: Inquiry) -> tuple[SampleSpec, ...]:
        """Return the main sample, and one matched within the levels of each stratum, and of those asked together."""
        main = SampleSpec(inquiry.design)
        if not inquiry.study.designs[inquiry.design].matched:
            return (main,)
        asked = [*((name,) for name in strata(inquiry)), *inquiry.given(Options).together]
        specs = (SampleSpec(inquiry.design, matched_within(inquiry, names)) for names in asked)
        return tuple(dict.fromkeys((main, *specs)))

    def collect(self, cohort: Cohort, facts: Additive | None, inquiry: Inquiry) -> Tables:
        """Sum the paths of the main outcome by programme, by stratum, and by the cells of several strata."""
        tables, study = Tables(), inquiry.study
        assert study.did is not None
        for name in programmes(inquiry):
            cohort.say(f"effects by {name}, each pair by the programme of its trainee")
            with tables.attempt(f"moments/pairs_by_{name}"):
                tables[f"moments/pairs_by_{name}"] = cohort.moments(study.did.outcome, cohort.spec(), name)
        for name in strata(inquiry):
            cohort.say(f"effects by {(study.strata[name].title or name).lower()}{_within(cohort)}")
            with tables.attempt(f"moments/matched_by_{name}"):
                spec = cohort.spec(*matched_within(inquiry, (name,)))
                tables[f"moments/matched_by_{name}"] = cohort.moments(study.did.outcome, spec, name)
        for names in inquiry.given(Options).together:
            titles = " and ".join((study.strata[name].title or name).lower() for name in names)
            cohort.say(f"effects by {titles} together{_within(cohort)}")
            table = f"moments/{cells_of(names)}"
            with tables.attempt(table):
                spec = cohort.spec(*matched_within(inquiry, names))
                moments = cohort.moments(study.did.outcome, spec, names)
                check_levels(moments)
                moments.mark(MARK)
                tables[table] = moments
        return tables

    def answer(self, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return effects by level and by cell, differences between levels, verdicts and joint tests."""
        answers, study = Answers(), inquiry.study
        assert study.did is not None
        options, worth = study.did_options(), study.did.smallest_worthwhile
        kinds = dict.fromkeys(programmes(inquiry), "pairs_by") | dict.fromkeys(strata(inquiry), "matched_by")
        for name, kind in kinds.items():
            answer_levels(
                answers,
                name,
                partial(_by_level, tables, f"moments/{kind}_{name}", name, options),
                seed=inquiry.seed,
                smallest_worthwhile=worth,
            )
        for names in inquiry.given(Options).together:
            result = cells_of(names)
            with answers.attempt(result):
                moments = tables.need(f"moments/{result}", OutcomeMoments)
                _answer_cells(answers, result, moments.att_gt(**options).by(*names).aggregate("simple"), worth)
        return answers


def _by_level(tables: Tables, name: str, by: str, options: dict[str, Any]) -> EffectTable:
    """Return the mean effect in each level."""
    return tables.need(name, OutcomeMoments).att_gt(**options).by(by).aggregate("simple")


def _answer_cells(answers: Answers, result: str, cells: EffectTable, worth: float | None) -> None:
    """Add the effects in the cells of several strata, joint tests and, if it is known what matters, verdicts."""
    answers.effects(result, cells)
    try:
        answers.table("tests", equal_effects(cells), of=result)
        answers.table("tests", interactions(cells), of=result)
        if worth is not None:
            answers.table("cells", cell_verdicts(cells, worth), of=result)
    except DesignError as error:
        answers.say(f"no verdicts on {result}: {error}")


def _within(cohort: Cohort) -> str:
    return ", matched within each group" if cohort.design.matched else ""


def strata(inquiry: Inquiry) -> tuple[str, ...]:
    """Return the strata that are asked: those of the section, else all of the study."""
    return inquiry.given(Options).strata or tuple(inquiry.study.strata)


def programmes(inquiry: Inquiry) -> tuple[str, ...]:
    """Return the attributes of the programme that are asked: of the section, else those that the plan names."""
    return inquiry.given(Options).programmes or tuple(
        name for name in inquiry.study.plan.subgroups if name in PROGRAMME
    )
