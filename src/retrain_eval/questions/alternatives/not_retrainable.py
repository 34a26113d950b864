"""For whom retraining does not work, what works for them instead, and whom to offer which programme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import pandas as pd

from retrain_eval.common.errors import DesignError
from retrain_eval.common.sources import sql_name, sql_text
from retrain_eval.estimators.effects.allocation import (
    ALTERNATIVE,
    HALF,
    HALVES,
    KIND,
    PROGRAMMES,
    RETRAINING,
    compared_programmes,
    policy_leaves,
    policy_value,
)
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.groups import adjust_groups, judged_groups
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.questions import NotRetrainable as Options
from retrain_eval.questions.alternatives.programme_costs import cost_of_kind
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.cohort import Cohort, Group, SampleSpec
from retrain_eval.questions.needs import Needs
from retrain_eval.questions.protocol import Inquiry, Question
from retrain_eval.questions.strata import check_levels, matched_within
from retrain_eval.questions.tables import Tables
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.moments.withheld_cells import MARK
from retrain_eval.tables.noise.person_keys import PERSON_KEY, has_keys
from retrain_eval.tables.statistics import Costs

ANY = "any programme"  # where programmes cannot be told apart
ALLOCATION, COST = "moments/allocation", "statistics/cost_"


class NotRetrainable(Question):
    """Tests of equivalence to none in the groups that the plan names, the alternative for them, and a rule.

    A pair belongs to the kind of programme, the groups and the half of its trainee.
    """

    name: ClassVar[str] = "not_retrainable"
    asks: ClassVar[str] = "For whom does retraining not work, and what works for them instead?"
    needs: ClassVar[Needs] = Needs(
        {"person": (), "enrolment": ("entry",), "wage_record": ("wages",)},
        ("did",),
        also={
            "the alternative and the rule": "programme.tier",
            "the rule, unless cost_retraining and cost_alternative are given,": "cost.amount",
        },
    )
    results: ClassVar[tuple[str, ...]] = ("programmes_in_{stratum}", "alternative_by_{stratum}", "policy")
    version: ClassVar[int] = 2

    def samples(self, inquiry: Inquiry) -> tuple[SampleSpec, ...]:
        """Return a sample matched within each group's stratum, and one within the covariates of the rule."""
        given = inquiry.given(Options)
        asked = [*((name,) for name in given.groups), *([given.covariates] if given.covariates else [])]
        specs = (SampleSpec(inquiry.design, matched_within(inquiry, names)) for names in asked)
        return tuple(dict.fromkeys(specs))

    def collect(self, cohort: Cohort, facts: Additive | None, inquiry: Inquiry) -> Tables:
        """Sum paths by group and kind of programme, and by covariates, kind and half; and costs by kind."""
        tables, given = Tables(), inquiry.given(Options)
        for name in given.groups:
            cohort.say(f"effects of retraining and of the alternative by {name}")
            with tables.attempt(f"moments/programmes_in_{name}"):
                group = by_kind(cohort.group(cohort.spec(*matched_within(inquiry, (name,)))), given.alternative)
                tables[f"moments/programmes_in_{name}"] = _marked(cohort, inquiry, group, (name, KIND))
        if not given.covariates:
            return tables
        cohort.say("a rule whom to offer which programme")
        with tables.attempt(ALLOCATION):
            group = by_kind(cohort.group(cohort.spec(*matched_within(inquiry, given.covariates))), given.alternative)
            halves = in_halves(replace(group, rows=cohort.keyed(group.rows)), inquiry.seed)
            tables[ALLOCATION] = _marked(cohort, inquiry, halves, (*given.covariates, KIND, HALF))
        of_alternative = f"tier IN ({', '.join(map(sql_text, given.alternative))})"
        for kind, condition in ((RETRAINING, f"NOT {of_alternative}"), (ALTERNATIVE, of_alternative)):
            if getattr(given, f"cost_{kind}") is None:
                with tables.attempt(f"{COST}{kind}"):
                    tables[f"{COST}{kind}"] = cost_of_kind(cohort.con, inquiry.study, cohort.keyed, kind, condition)
        return tables

    def answer(self, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return tests of equivalence by group, the alternative where people overlap, and a rule with its value."""
        answers, given = Answers(), inquiry.given(Options)
        self._groups(answers, tables, inquiry)
        if not given.covariates:
            return answers
        for name in (name for name in given.groups if name in given.covariates):
            for level in given.groups[name]:
                with answers.attempt(f"alternative_by_{name}"):
                    effects = self._cells(tables, inquiry)
                    if ALTERNATIVE not in _kinds(tables):
                        raise DesignError("too few people, or none, entered the alternative")
                    compared = compared_programmes(effects, name, level, given.overlap)
                    answers.effects(f"alternative_by_{name}", compared)
        with answers.attempt("policy"):
            effects = self._cells(tables, inquiry)
            levels = {name: list(inquiry.study.strata[name].levels()) for name in given.covariates}
            periods = inquiry.study.designs[inquiry.design].after + 1
            # what no one entered costs nothing here: the rule cannot offer it
            costs = [_cost(tables, given, kind) if kind in _kinds(tables) else 0.0 for kind in PROGRAMMES]
            answers.effects("policy", policy_value(effects, levels, periods, costs, given.depth))
            answers.table("allocation", policy_leaves(effects, levels, periods, costs, given.depth), of="policy")
        return answers

    def _groups(self, answers: Answers, tables: Tables, inquiry: Inquiry) -> None:
        """Add effects by group, and tests that are adjusted over all groups of the plan."""
        given, study = inquiry.given(Options), inquiry.study
        assert study.did is not None
        worth, family = study.did.smallest_worthwhile, sum(map(len, given.groups.values()))
        judged: dict[str, pd.DataFrame] = {}
        for name, levels in given.groups.items():
            result = f"programmes_in_{name}"
            with answers.attempt(result):
                moments = tables.need(f"moments/{result}", OutcomeMoments)
                effects = moments.att_gt(**study.did_options()).by(name, KIND).aggregate("simple")
                answers.effects(result, effects)
                if worth is None:
                    continue
                kind = ANY if set(moments.cells[KIND].astype(str)) == {ANY} else RETRAINING
                try:
                    judged[result] = judged_groups(effects, [f"{level} × {kind}" for level in levels], worth, family)
                except DesignError as error:
                    answers.withhold(result, error, "groups")
        if worth is None:
            answers.say("no tests of groups: [did] does not say which effect is the smallest worthwhile")
        if judged:
            adjusted = adjust_groups(pd.concat(judged.values(), ignore_index=True))
            start = 0
            for result, rows in judged.items():  # each with its own recipe
                part = adjusted.iloc[start : start + len(rows)]
                rows[["p_holm", "verdict", "n_needed"]] = part[["p_holm", "verdict", "n_needed"]].to_numpy()
                rows["n_needed"] = rows["n_needed"].astype("Int64")
                answers.table("groups", rows, of=result)
                start += len(rows)

    def _cells(self, tables: Tables, inquiry: Inquiry) -> EffectTable:
        """Return the effects by covariates × kind of programme × half."""
        moments, names = tables.need(ALLOCATION, OutcomeMoments), inquiry.given(Options).covariates
        if _kinds(tables) <= {ANY}:
            raise DesignError("kinds of programmes cannot be told apart, so that there is no alternative to compare")
        return moments.att_gt(**inquiry.study.did_options()).by(*names, KIND, HALF).aggregate("simple")


def _kinds(tables: Tables) -> set[str]:
    """Return the kinds of programmes of the people whom a rule is about."""
    moments = tables.need(ALLOCATION, OutcomeMoments)
    moments.require_strata([KIND])
    return set(moments.cells[KIND].astype(str))


def _marked(cohort: Cohort, inquiry: Inquiry, group: Group, names: tuple[str, ...]) -> OutcomeMoments:
    """Return the moments of the main outcome by strata, of which cells of few people will be withheld."""
    assert inquiry.study.did is not None
    moments = cohort.moments_of(group, inquiry.study.did.outcome, names)
    check_levels(moments)
    moments.mark(MARK)
    return moments


def by_kind(group: Group, alternative: Sequence[str]) -> Group:
    """Return a group with the kind of programme of the trainee of each pair: retraining, or the alternative.

    Without pairs, or where no programme that was entered has a tier, everyone has the same kind, "any programme".

    Parameters
    ----------
    group : Group
    alternative : sequence of str
        The tiers of programmes that are the alternative.
    """
    paired = group.cluster == "subclass" and "tier" in group.rows.columns
    apart = paired and bool(group.rows.filter("tier IS NOT NULL").limit(1).fetchall())
    if apart:
        tiers = ", ".join(map(sql_text, alternative))
        level = f"CASE WHEN tier IN ({tiers}) THEN '{ALTERNATIVE}' WHEN tier IS NOT NULL THEN '{RETRAINING}' END"
    kind = _enum(level, PROGRAMMES) if apart else _enum(sql_text(ANY), (ANY,))
    return replace(group, rows=group.rows.project(f"*, {kind} AS {KIND}"))


def in_halves(group: Group, seed: int) -> Group:
    """Return a group with the half to which each pair belongs, by a hash of its trainee, which is not released.

    Parameters
    ----------
    group : Group
        If rows have the keys of people, their record keys are hashed: the seed and the identifiers, which others may
        know, do not tell the half.
    seed : int
        Of the study.
    """
    of = f"{PERSON_KEY}.record" if has_keys(group.rows) else "person_id"
    trainee = f"max(CASE WHEN treat = 1 THEN CAST({of} AS VARCHAR) END) OVER (PARTITION BY subclass)"
    person = f"CASE WHEN subclass IS NULL THEN CAST({of} AS VARCHAR) ELSE {trainee} END"
    digit = f"ascii(md5('half {seed} ' || ({person})))"  # of sixteen digits, eight have an even code
    level = _enum(f"CASE WHEN {digit} % 2 = 0 THEN '{HALVES[0]}' ELSE '{HALVES[1]}' END", HALVES)
    return replace(group, rows=group.rows.project(f"*, {level} AS {sql_name(HALF)}"))


def _enum(level: str, levels: Sequence[str]) -> str:
    return f"CAST({level} AS ENUM({', '.join(map(sql_text, levels))}))"


def _cost(tables: Mapping[str, Additive], given: Options, kind: str) -> float:
    """Return the cost per person of a kind of programme: of the study file, else of the records."""
    stated: float | None = getattr(given, f"cost_{kind}")
    if stated is not None:
        return stated
    assert isinstance(tables, Tables)
    return tables.need(f"{COST}{kind}", Costs).per_person
