"""Which providers do better than expected: effects by provider, shrunken to the mean of all, with ranks.

Each trainee is compared with controls who were like them before the start, so what a provider's trainees brought along
is not counted as its effect. A provider with few trainees, or few controls, is not shown apart. Whether some people
gain more than others, wherever they are trained, is taken into account with ``adjust``: each provider then counts as if
it trained the same mix of levels of that stratum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import duckdb

from retrain_eval.common.errors import DesignError, DisclosureError
from retrain_eval.common.levels import MISSING_LEVEL, OTHERS, pooled_levels
from retrain_eval.common.sources import query, sql_text
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.inference.providers import (
    FEWEST_PEOPLE,
    equal_providers,
    large_providers,
    provider_spread,
    provider_table,
    shares_by_level,
    standardised,
)
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.questions import Providers as Options
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.cohort import PROVIDER, Cohort
from retrain_eval.questions.needs import Needs
from retrain_eval.questions.protocol import Inquiry, Question
from retrain_eval.questions.providing.record_steps import ProviderSteps
from retrain_eval.questions.tables import LIFE, Tables
from retrain_eval.sample.counting import count_linked
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.counts import SampleCounts
from retrain_eval.tables.life_table.counting import life_table
from retrain_eval.tables.life_table.life_table import LifeTable

EFFECTS, ADJUSTED = "provider_effects", "provider_effects_adjusted"
PAIRS = "moments/providers"
SHARES = ("completed", "employed")  # life tables of one duration, and the cause that is counted
MOST = 200  # providers that are named; of more, the smallest are pooled


class Providers(Question):
    """Effects by provider, their spread, a test that they are equal, shrunken effects, ranks, and simple counts."""

    name: ClassVar[str] = "providers"
    asks: ClassVar[str] = "Which providers do better than expected?"
    needs: ClassVar[Needs] = Needs(
        {"enrolment": ("entry",), "programme": ("provider",), "wage_record": ("wages",)},
        ("did",),
        kinds=("waiting", "entry", "calendar"),
    )
    results: ClassVar[tuple[str, ...]] = (EFFECTS, ADJUSTED)

    def facts(self, cohort: Cohort, inquiry: Inquiry) -> Additive | None:
        """Count trainees by provider: which ones are too small is known of all people only."""
        try:
            return count_linked(_trainees(cohort).project("*, true AS found"), "found", [PROVIDER])
        except (DesignError, DisclosureError):  # `collect` says why
            return None

    def collect(self, cohort: Cohort, facts: Additive | None, inquiry: Inquiry) -> Tables:
        """Sum paths by provider, with small ones pooled, and count who completed and who found work."""
        tables, study, given = Tables(), inquiry.study, inquiry.given(Options)
        assert study.did is not None
        names = _names(facts, max(study.release.min_contributors, FEWEST_PEOPLE))
        cohort.say("effects by provider, each pair by the provider of its trainee")
        adjusted = f"{PAIRS}_by_{given.adjust}"
        by_provider = [f"{LIFE}providers_{name}" for name in SHARES]
        with tables.attempt(PAIRS, *([adjusted] if given.adjust else []), *by_provider):
            group = cohort.group(cohort.spec())
            if group.sample is None or not group.sample.audit["n_pairs"]:
                raise DesignError("the matching method makes no pairs, so that no control belongs to a provider")
            rows = replace(group, rows=_pooled(group.rows, names))
            tables[PAIRS] = cohort.moments_of(rows, study.did.outcome, PROVIDER)
            if given.adjust:
                with tables.attempt(adjusted):
                    tables[adjusted] = cohort.moments_of(rows, study.did.outcome, (PROVIDER, given.adjust))
            steps = ProviderSteps(
                cohort.kept("trainees", _pooled(_trainees(cohort), names)),
                given.placed_after,
                _knows_completion(cohort),
            )
            for name in SHARES:
                with tables.attempt(f"{LIFE}providers_{name}"):
                    spells = cohort.keyed(steps.relation(name, cohort.con))
                    tables[f"{LIFE}providers_{name}"] = life_table(
                        spells, "person_id", "once", "ending", by=PROVIDER, censored=()
                    )
        return tables

    def answer(self, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return effects by provider, the test of equal effects, their spread, and shrunken effects with ranks."""
        answers, options = Answers(), inquiry.study.did_options()
        adjust = inquiry.given(Options).adjust

        def own() -> EffectTable:
            moments = tables.need(PAIRS, OutcomeMoments)
            return moments.att_gt(**options).by(PROVIDER).aggregate("simple")

        def alike() -> EffectTable:
            moments = tables.need(f"{PAIRS}_by_{adjust}", OutcomeMoments)
            return standardised(moments.att_gt(**options).by(PROVIDER, str(adjust)).aggregate("simple"))

        _compare(answers, EFFECTS, own, inquiry.seed)
        if adjust:
            _compare(answers, ADJUSTED, alike, inquiry.seed)
        for name in SHARES:
            try:
                table = tables.need(f"{LIFE}providers_{name}", LifeTable)
                answers.table("shares", shares_by_level(table, outcome=name))
            except (DesignError, DisclosureError) as error:
                answers.withhold(f"share {name} by provider", error, "shares")
        return answers


def _compare(answers: Answers, name: str, make: Callable[[], EffectTable], seed: int) -> None:
    """Add effects by provider, and what follows from them."""
    with answers.attempt(name):
        effects = large_providers(make(), FEWEST_PEOPLE)
        answers.effects(name, effects)
        answers.table("tests", lambda: equal_providers(effects), of=name)
        answers.table("provider_spread", lambda: provider_spread(effects), of=name)
        answers.table("providers", lambda: provider_table(effects, seed=seed), of=name)


def _trainees(cohort: Cohort) -> duckdb.DuckDBPyRelation:
    """Return a row per trainee of the sample, with the start and the provider."""
    members = cohort.kept("members", cohort.group(cohort.spec()).members)
    return cohort.keyed(
        cohort.con.sql(
            f'SELECT m.person_id, m."start", p.{PROVIDER} FROM {members} m JOIN {cohort.table} p USING (person_id) '
            "WHERE m.treat = 1"
        )
    )


def _names(facts: Additive | None, fewest: int) -> dict[str, str]:
    """Return the name under which each provider is shown: its own, or that of the pool."""
    if not isinstance(facts, SampleCounts):
        return {}
    rows = facts.cells[facts.cells["level"].notna() & (facts.cells["level"] != MISSING_LEVEL)]
    people = {str(level): int(n) for level, n in zip(rows["level"], rows["n"], strict=True)}
    largest = sorted(people.values(), reverse=True)
    least = max(fewest, largest[MOST] + 1) if len(largest) > MOST else fewest
    return pooled_levels(people, least, OTHERS)


def _pooled(rows: duckdb.DuckDBPyRelation, names: dict[str, str]) -> duckdb.DuckDBPyRelation:
    """Return rows with small providers under the name of the pool."""
    small = ", ".join(sql_text(name) for name, shown in names.items() if shown == OTHERS)
    pooled = f"WHEN {PROVIDER} IN ({small}) THEN {sql_text(OTHERS)} " if small else ""
    unknown = f"WHEN {PROVIDER} = {sql_text(MISSING_LEVEL)} THEN NULL"
    return query(rows, f"SELECT * REPLACE (CASE {unknown} {pooled}ELSE {PROVIDER} END AS {PROVIDER}) FROM source")


def _knows_completion(cohort: Cohort) -> bool:
    """Return whether the records say who has completed."""
    return "completed" in cohort.con.table("enrolment").columns
