"""Do wages grow faster afterwards: log earnings of the employed, with bounds for who is employed.

Earnings are those of people who work, and training may change who does. Three answers stand next to each other: how
much more log earnings grew of people employed before the start and at the end; bounds on the effect for people who
would be employed with and without training (Lee 2009); and growth models of single rows, in two programs.

A model with unit effects of an unbalanced panel is no function of outcome moments, so that single rows are read. If
amounts carry noise in a release, so does what the models read: of each person's log earnings, their mean carries the
log of the person's factor, and how they move about it the factor itself, which would cancel otherwise.
"""

from __future__ import annotations

from typing import ClassVar

import duckdb

from retrain_eval.common.errors import DesignError
from retrain_eval.common.sources import query, sql_name
from retrain_eval.estimators.did.means import mean_difference
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.stated import on_noisy_amounts
from retrain_eval.estimators.inference.lee_bounds import lee_bounds
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.estimators.rows.trajectory_peers import PEER_MODELS
from retrain_eval.estimators.rows.wage_trajectory import wage_trajectory
from retrain_eval.plan.questions import WagePath as Options
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.cohort import START, Cohort
from retrain_eval.questions.jobs.log_earnings import AFTER, CHANGE, EARNINGS, NO_ONE, log_earnings
from retrain_eval.questions.needs import Needs
from retrain_eval.questions.protocol import Inquiry, Question
from retrain_eval.questions.tables import Tables
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.noise.person_keys import PERSON_KEY, has_keys
from retrain_eval.tables.noise.sums import key_sum_sql

EFFECT, BOUNDS = "wage_path", "wage_path_bounds"
CHANGES, BANDS = "moments/log_earnings", "moments/log_earnings_bands"


class WagePath(Question):
    """The effect on log earnings from moments, Lee bounds from bands, and growth models of rows by two programs."""

    name: ClassVar[str] = "wage_path"
    asks: ClassVar[str] = "Do wages grow faster afterwards?"
    needs: ClassVar[Needs] = Needs(
        {"enrolment": ("entry",), "wage_record": ("wages",)}, kinds=("waiting", "entry", "calendar", "randomised")
    )
    results: ClassVar[tuple[str, ...]] = (
        EFFECT,
        BOUNDS,
        *(f"wage_path_{model}" for model in ("fixed", "random", "correlated_random", "first_differences")),
    )
    version: ClassVar[int] = 3

    def collect(self, cohort: Cohort, facts: Additive | None, inquiry: Inquiry) -> Tables:
        """Sum log earnings before and after, of people employed in both, and who is employed and earns how much."""
        tables, options = Tables(), inquiry.given(Options)
        cohort.say("log earnings of the employed")
        with tables.attempt(CHANGES, BANDS):
            people = log_earnings(cohort, options)
            with tables.attempt(CHANGES):
                tables[CHANGES] = people.changes()
            with tables.attempt(BANDS):
                tables[BANDS] = people.bands(options)
        return tables

    def answer(self, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return the difference in differences of log earnings, and the bounds."""
        answers = Answers()
        with answers.attempt(EFFECT):
            changes = tables.need(CHANGES, OutcomeMoments)
            if set(changes.cells["cohort"].isna()) != {True, False}:
                raise DesignError(NO_ONE)
            answers.effects(EFFECT, mean_difference(changes, AFTER))
        answers.effects(BOUNDS, lambda: lee_bounds(tables.need(BANDS, OutcomeMoments)))
        return answers

    def from_rows(self, cohort: Cohort, tables: Tables, inquiry: Inquiry) -> Answers:
        """Return the growth models, with errors clustered by matched set, by linearmodels and by pyfixest."""
        answers, options = Answers(), inquiry.given(Options)
        for model in options.models:
            with answers.attempt(f"wage_path_{model}"):
                rows, cluster = _rows(cohort)
                for engine in ("linearmodels", "pyfixest")[: 1 + (model in PEER_MODELS)]:
                    fit = wage_trajectory(
                        rows,
                        outcome=CHANGE,
                        unit="match_id",
                        time="clock",
                        exit="began",
                        treated="treat",
                        degree=options.degree,
                        model=model,
                        cluster=cluster,
                        engine=engine,
                    )
                    answers.effects(f"wage_path_{model}", _with_keys(fit, rows))
        return answers


def _rows(cohort: Cohort) -> tuple[duckdb.DuckDBPyRelation, str | None]:
    """Return a row per person and period in which they are employed, with log earnings that carry their noise."""
    group = cohort.group(cohort.spec())
    if EARNINGS not in group.rows.columns:
        raise DesignError("the records give no earnings")
    rows, cluster = cohort.keyed(group.rows), group.cluster
    log, key = f"ln({cohort.capped(EARNINGS)})", ""
    if has_keys(rows):
        mean = f"avg({log}) OVER (PARTITION BY match_id)"
        log, key = f"ln({PERSON_KEY}.factor) + {mean} + {PERSON_KEY}.factor * ({log} - {mean})", f", {PERSON_KEY}"
    listed = f", {sql_name(cluster)}" if cluster and cluster != "match_id" else ""
    made = query(
        rows,
        f"""
        SELECT match_id, clock, treat{listed}, {START} AS began, {log} AS {CHANGE}{key}
        FROM source WHERE {EARNINGS} > 0 AND weight > 0 AND clock >= {START}
        """,
    )
    return made, cluster


def _with_keys(fit: EffectTable, rows: duckdb.DuckDBPyRelation) -> EffectTable:
    """Return effects marked as made from noisy amounts, if they were; see `on_noisy_amounts`."""
    if not has_keys(rows):
        return fit
    units = f"SELECT match_id, treat, any_value({PERSON_KEY}) AS {PERSON_KEY} FROM source GROUP BY ALL"
    sums = ", ".join(key_sum_sql(f"treat = {arm}") for arm in (1, 0))
    [(treated, control)] = query(rows, f"SELECT {sums} FROM ({units})").fetchall()
    return on_noisy_amounts(fit, [treated] * len(fit), [control] * len(fit))
