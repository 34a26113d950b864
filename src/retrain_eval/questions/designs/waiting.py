"""Displaced people who enter a programme, against people still jobless and untrained after as long a time.

Who is compared with whom is decided at each duration of joblessness (`retrain_eval.sample.methods.riskset`). Controls
who enter a programme later are cut from then on, and those who do not are weighted by one over the chance to have
remained without one (`retrain_eval.sample.followup.censoring_weights`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from retrain_eval.common.shown import summarised
from retrain_eval.common.sources import query
from retrain_eval.common.sql_steps import Pipeline, step
from retrain_eval.plan.designs import Design
from retrain_eval.plan.designs import Waiting as Settings
from retrain_eval.questions.cohort import Cohort, Group
from retrain_eval.questions.designs.person import PersonColumns, complete, history
from retrain_eval.questions.needs import Needs
from retrain_eval.sample.followup.censoring import follow_outcomes
from retrain_eval.sample.followup.censoring_weights import weight_for_censoring
from retrain_eval.sample.matched import MatchedSample

MADE = ("displaced", "training", "back_at_work", "trainee")


@summarised
@dataclass(frozen=True)
class WaitingSteps(Pipeline):
    """One row per person: displacement, entry, the next job, history before them, and strata.

    Attributes
    ----------
    settings : Waiting
        The design's section.
    person : PersonColumns
    all_columns : str
        SELECT list of the columns that no stratum takes the place of.
    """

    settings: Settings
    person: PersonColumns
    all_columns: str

    @step
    def programmes(self) -> str:
        """A person who entered a programme: the attributes of the first one."""
        return self.person.programmes

    @step
    def occupations(self) -> str:
        """A displaced person: the occupation left."""
        return self.person.occupations

    @step
    def history(self) -> str:
        """A person: when displaced and trained, earnings up to displacement, and whether all that counts is known.

        The time without work ends when a programme starts: of people who enter none it is not known, and a control has
        been without work for as long as their trainee. A programme that starts in a period is decided on before a job
        is found in it, so waiting ends in the period after. Outcomes may come from any period between the earliest
        start less `before` and the latest plus `after`.
        """
        given = self.settings
        span = complete("to_displacement", given.wait[0] - given.before, given.wait[1] + given.after)
        return f"""
            SELECT person_id, any_value(period - to_displacement) AS displaced, any_value(cohort) AS training,
              any_value(cohort) - any_value(period - to_displacement) AS periods_without_work,
              1 + min(period) FILTER (employed = 1 AND to_displacement > 0) AS back_at_work
              {history(given.earnings_before, "to_displacement")},
              count(earnings) > 0 AS linked, {span} AS complete
            FROM panel GROUP BY person_id"""

    @step
    def described(self) -> str:
        """A person, with what is known of them at displacement."""
        return f"""
            SELECT history.*, isco_left{self.person.columns}
            FROM history JOIN person USING (person_id) LEFT JOIN programmes USING (person_id)
            LEFT JOIN occupations USING (person_id)"""

    @step
    def people(self) -> str:
        """A person, with strata: trainees enter before a job is found; people who enter just after are left out."""
        return f"""
            SELECT {self.all_columns}{self.person.levels},
              coalesce(training < coalesce(back_at_work, training + 1), false) AS trainee,
              complete AND coalesce(training <> back_at_work, true) AS eligible
            FROM described"""


class WaitingCohort(Cohort):
    """The displaced, from displacement; see the module."""

    @classmethod
    def needs(cls, design: Design) -> Needs:
        """Return the records that the design needs: also displacements."""
        return Needs({"person": (), "enrolment": ("entry",), "displacement": ("displaced_on",)})

    @property
    def settings(self) -> Settings:
        """The design's section."""
        assert isinstance(self.design, Settings)
        return self.design

    def build(self) -> duckdb.DuckDBPyRelation:
        """Return one row per person; see `WaitingSteps`."""
        person = PersonColumns.of(self.con, self.study, (*MADE, *self.design.earnings_before.values()), "displaced")
        return WaitingSteps(self.settings, person, person.without_namesakes(self.con)).relation("people", self.con)

    def follow(self, sample: MatchedSample | None, outcomes: Sequence[str]) -> Group:
        """Follow matched people around the start; controls who stay untrained stand for those whom entry cuts."""
        assert sample is not None
        given, covariates = self.settings, self.study.match_options()["formula"].partition("~")[2]
        weighted = weight_for_censoring(
            sample, self.at_risk(), f"enters ~ C(elapsed) + {covariates}", time="period", follow=given.after
        )
        between = (-given.before, given.after)
        rows = follow_outcomes(weighted, self.panel, time="period", outcomes=outcomes, between=between)
        # with pairs, a pair belongs to the group, and to the programme, of its trainee
        return Group(sample, self.of_trainee(rows, sample), self.members_of(weighted), "subclass")

    def at_risk(self) -> duckdb.DuckDBPyRelation:
        """Return a row per person and period in which they may enter: out of work and untrained when it begins."""
        first, last = self.settings.wait
        return query(
            self.people,
            f"""
            SELECT source.*, now.period, now.to_displacement AS elapsed,
              coalesce(now.period = training, false) AS enters
            FROM panel now JOIN panel before ON before.person_id = now.person_id AND before.period = now.period - 1
            JOIN source ON source.person_id = now.person_id
            WHERE complete AND now.to_displacement BETWEEN {first} AND {last} AND before.employed = 0
              AND (training IS NULL OR now.period <= training)
            """,
        )

    @property
    def to_link(self) -> duckdb.DuckDBPyRelation:
        """The displaced."""
        return self.people.filter("displaced IS NOT NULL")

    @property
    def steps(self) -> Mapping[str, tuple[str, str]]:
        """From the register to people whose whole span is observed."""
        return {
            "On the register": ("true", ""),
            "Displaced": ("displaced IS NOT NULL", "never displaced"),
            "Linked": ("linked", "not found in the wage records"),
            "Whole span observed": ("complete", "the span runs out of the records, or has a gap in coverage"),
        }

    @property
    def treated(self) -> str:
        """People who entered while they waited."""
        return "trainee"

    @property
    def may_be_control(self) -> str:
        """Everyone: a person who enters may have been a control before."""
        return "true"

    @property
    def not_candidates(self) -> Mapping[str, str]:
        """Why people whose span is observed are no candidates."""
        return {"control": "back at work before training could start"}

    def after(self, sample: MatchedSample, outcome: str) -> duckdb.DuckDBPyRelation:
        """Return the mean outcome since the start of each member, against waiting longer: nothing is cut."""
        between = (0, self.settings.after)
        rows = follow_outcomes(sample, self.panel, time="period", outcomes=[outcome], between=between, censor=False)
        key = ", any_value(person_key) AS person_key" if "person_key" in rows.columns else ""
        return rows.aggregate(f"match_id, treat, avg({self.capped(outcome)}) AS after{key}", "match_id, treat")
