"""Who drops out for lack of digital access or of basic skills, and what figures for completers alone would hide.

How time in the programme ends is asked of everyone who entered, matched or not: completion, dropping out, a job, a
transfer and other reasons compete (Aalen and Johansen 1978), by access, literacy and who delivers the programme. The
effect on the main outcome is that on everyone who entered, in each group, and next to it that on completers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from retrain_eval.common.errors import DesignError, too_small
from retrain_eval.common.levels import is_missing
from retrain_eval.estimators.did.selected import selected_effects
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.heterogeneity import equal_effects
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.estimators.survival.gray import gray_test
from retrain_eval.estimators.survival.incidence import causes_of
from retrain_eval.estimators.survival.risk import group_name, risk_sets
from retrain_eval.estimators.survival.spells import Spells
from retrain_eval.plan.questions import ACCESS, LITERACY
from retrain_eval.plan.questions import DigitalDivide as Options
from retrain_eval.plan.rules import Release
from retrain_eval.plan.study_file import StudyFile
from retrain_eval.questions.access.programme_ends import (
    DID_COMPLETE,
    NOT_TRAINED,
    STATUS,
    by_completion,
    spells_in_programmes,
    steps_of,
)
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.cohort import Cohort, SampleSpec
from retrain_eval.questions.jobs.job_stability import conf_type, duration_of
from retrain_eval.questions.levels import answer_levels, level_names
from retrain_eval.questions.needs import Needs
from retrain_eval.questions.protocol import Inquiry, Question
from retrain_eval.questions.tables import LIFE, Tables
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.life_table.rare_levels import JOIN
from retrain_eval.tables.noise.changes import MAX_CHANGE

ENDS, ENTRANTS, COMPLETERS, DELIVERY = "programme_ends", "entrants", "completers", "delivery"
# wholes before their parts: a release publishes the counts of a whole first
GROUPS: tuple[tuple[str, ...], ...] = (
    (), (ACCESS,), (LITERACY,), (DELIVERY,), (ACCESS, LITERACY), (ACCESS, DELIVERY), (ACCESS, LITERACY, DELIVERY),
)  # fmt: skip
UNRECORDED: Mapping[str, str] = {
    ACCESS: "no one's digital access is recorded (person.digital_access)",
    LITERACY: "no one's literacy score is recorded (person.literacy_score)",
    DELIVERY: "it is not recorded who delivers the programmes (programme.delivery)",
}


def ends_by(groups: tuple[str, ...]) -> str:
    """Return the name of the result on how time in a programme ends, by these groups.

    Examples
    --------
    >>> ends_by(()), ends_by(("access_level", "delivery"))
    ('programme_ends', 'programme_ends_by_access_level_and_delivery')
    """
    return f"{ENDS}_by_{'_and_'.join(groups)}" if groups else ENDS


class DigitalDivide(Question):
    """Cumulative incidence of each way of leaving a programme, and effects on everyone who entered and on completers.

    Where people are matched, they are matched anew within the levels of access and of literacy, as in `ForWhom`.
    """

    name: ClassVar[str] = "digital_divide"
    asks: ClassVar[str] = "Who drops out because of a lack of access or of basic skills?"
    needs: ClassVar[Needs] = Needs(
        {"person": (), "enrolment": ("entry", "exit", "completed"), "wage_record": ("wages",)},
        ("did",),
        also={
            "every result": "person.digital_access or person.literacy_score",
            "results by digital access": "person.digital_access",
            "results by literacy": "person.literacy_score",
            "results by who delivers": "programme.delivery",
        },
    )
    results: ClassVar[tuple[str, ...]] = (
        *map(ends_by, GROUPS),
        *(f"{ends_by(groups)}_difference" for groups in GROUPS if groups),
        *(f"{ends_by(groups)}_gap" for groups in GROUPS if len(groups) == 2),
        COMPLETERS,
        *(name for of in (ENTRANTS, COMPLETERS) for by in (ACCESS, LITERACY) for name in level_names(by, of)),
    )

    def missing(self, have: Mapping[str, Collection[str]], study: StudyFile, kind: str = "") -> list[str]:
        """Return what a study lacks for the question: one of digital access and literacy is enough to ask it."""
        lacking = super().missing(have, study, kind)
        if "person" in have and not {"digital_access", "literacy_score"} & set(have["person"]):
            lacking.append("person.digital_access or person.literacy_score")
        return lacking

    def samples(self, inquiry: Inquiry) -> tuple[SampleSpec, ...]:
        """Return the main sample, and one matched within the levels of access and of literacy each."""
        main = SampleSpec(inquiry.design)
        if not inquiry.study.designs[inquiry.design].matched:
            return (main,)
        return (main, *(SampleSpec(inquiry.design, (name,)) for name in (ACCESS, LITERACY)))

    def collect(self, cohort: Cohort, facts: Additive | None, inquiry: Inquiry) -> Tables:
        """Count how time in programmes ended, and sum paths of the main outcome by access, literacy and completion."""
        tables, study, options = Tables(), inquiry.study, inquiry.given(Options)
        assert study.did is not None
        steps = steps_of(cohort, duration_of(study), options.followed, options.transfer_within)
        cohort.say("how time in programmes ended, by digital access, literacy and delivery")
        with tables.attempt(*(LIFE + ends_by(groups) for groups in GROUPS)):
            rows = spells_in_programmes(cohort, steps)
            present = [
                name
                for name in (ACCESS, LITERACY, DELIVERY)
                if name in rows.columns and rows.filter(f"{name} IS NOT NULL").limit(1).fetchall()
            ]
            for groups in GROUPS:
                with tables.attempt(LIFE + ends_by(groups)):
                    _require(groups, present)
                    found = Spells(rows, id="person_id", by=groups, duration=steps.duration, censored=())
                    tables[LIFE + ends_by(groups)] = found.table
        cohort.say("effects on everyone who entered and on completers")
        for by in ("", ACCESS, LITERACY):
            with tables.attempt(*([entered_by(by)] if by else []), completed_by(by)):
                _require((by,) if by else (), cohort.levels)
                spec = cohort.spec(*([by] if by and cohort.design.matched else []))
                if by:
                    tables[entered_by(by)] = cohort.moments(study.did.outcome, spec, by)
                group = by_completion(cohort, cohort.group(spec), steps)
                levels = (by, STATUS) if by else (STATUS,)
                tables[completed_by(by)] = cohort.moments_of(group, study.did.outcome, levels)
        return tables

    def answer(self, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return incidences by cause with differences and tests, effects by group, and those on completers."""
        answers, study = Answers(), inquiry.study
        assert study.did is not None
        for groups in GROUPS:
            _answer_ends(answers, tables, groups, inquiry)
        options = study.did_options()
        for by in (ACCESS, LITERACY):
            answer_levels(answers, by, partial(_on_everyone, tables, by, options), seed=inquiry.seed, of=ENTRANTS)
            if answers.has(level_names(by, ENTRANTS)[1]):
                answers.table(
                    "tests", partial(_equal_on_everyone, tables, by, options), of=level_names(by, ENTRANTS)[0]
                )
        with answers.attempt(COMPLETERS):
            answers.effects(COMPLETERS, _on_completers(tables, "", inquiry))
        for by in (ACCESS, LITERACY):
            answer_levels(answers, by, partial(_on_completers, tables, by, inquiry), seed=inquiry.seed, of=COMPLETERS)
        return answers


def _on_everyone(tables: Tables, by: str, options: dict[str, Any]) -> EffectTable:
    """Return the effect on everyone who entered, by a group."""
    return tables.need(entered_by(by), OutcomeMoments).att_gt(**options).by(by).aggregate("simple")


def _equal_on_everyone(tables: Tables, by: str, options: dict[str, Any]) -> pd.DataFrame:
    """Return the test that the effects on everyone who entered are equal."""
    return equal_effects(_on_everyone(tables, by, options))


def entered_by(by: str) -> str:
    """Return the name of the moments of everyone who entered, by a group."""
    return f"moments/entered_by_{by}"


def completed_by(by: str) -> str:
    """Return the name of the moments by completion, and perhaps by a group."""
    return f"moments/completed_by_{by}" if by else "moments/completed"


def _require(groups: tuple[str, ...], present: Collection[str]) -> None:
    """Refuse groups that the records do not give."""
    for name in groups:
        if name not in present:
            raise DesignError(UNRECORDED[name])


def _answer_ends(answers: Answers, tables: Tables, groups: tuple[str, ...], inquiry: Inquiry) -> None:
    """Add the incidence of each way of leaving, differences between groups, and Gray's tests."""
    name, conf = ends_by(groups), conf_type(inquiry.study)
    difference = [f"{name}_difference"] if groups else []
    gap = [f"{name}_gap"] if len(groups) == 2 else []
    with answers.attempt(name, *difference, *gap):
        spells = tables.spells(name)
        _require_columns(spells.table, groups)
        times = (_horizon(spells.table, inquiry.study.release),)
        if len(groups) < 2:
            answers.effects(name, spells.cumulative_incidence(conf_type=conf))
        else:
            answers.effects(name, spells.cumulative_incidence(conf_type=conf, times=times))
        if groups:
            apart = spells.incidence_difference(times=times, between=groups[0])
            answers.effects(difference[0], apart)
        if gap:
            if apart.frame["level"].nunique() < 2:
                raise DesignError(
                    f"fewer than two levels of {groups[1]} are left to compare",
                    public=f"fewer than two levels of {groups[1].replace('_', ' ')} are left to compare",
                )
            answers.effects(gap[0], apart.difference())
        if len(groups) == 1:
            for cause in causes_of(spells.table):
                answers.table("tests", partial(gray_test, spells.table, cause), of=name)


def _require_columns(table: LifeTable, groups: tuple[str, ...]) -> None:
    """Refuse a table that had to be summed over a column of groups."""
    for name in groups:
        if name not in table.by:
            raise too_small(name)


def _horizon(table: LifeTable, rules: Release) -> float:
    """Return the last duration at which enough people of every group are in the programme for it to be released."""
    least = rules.min_contributors + MAX_CHANGE if rules.noisy else 1
    ends = []
    for risk in risk_sets(table):
        if not is_missing(group_name(risk.level)):
            enough = np.flatnonzero(risk.n >= least)
            ends.append(risk.times[enough[-1] if len(enough) else 0])
    if not ends:
        raise DesignError("of no one is it recorded in which group they are")
    return float(min(ends))


def _on_completers(tables: Tables, by: str, inquiry: Inquiry) -> EffectTable:
    """Return the effect on everyone who entered, on completers, and the difference.

    Raises
    ------
    DesignError
        If no one completed, or everyone did, or completers cannot be shown apart.
    """
    moments = tables.need(completed_by(by), OutcomeMoments)
    treated = moments.cells["cohort"].notna()
    levels = set(moments.cells.loc[treated, STATUS].astype(str)) if STATUS in moments.strata else set()
    if not levels or any(JOIN in level for level in levels):
        raise DesignError("people who completed, or who did not, are too few to be shown apart")
    if DID_COMPLETE not in levels:
        raise DesignError("no one who entered and is compared is recorded as having completed")
    if levels == {DID_COMPLETE}:
        raise DesignError("everyone who is compared completed: figures for completers are figures for everyone")
    options = inquiry.study.did_options()
    return selected_effects(moments, STATUS, DID_COMPLETE, by=by, shared=NOT_TRAINED, **options)
