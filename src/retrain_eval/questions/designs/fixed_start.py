"""What designs share in which each person has one start: of the programme, of the register, or of an experiment.

Everyone is compared on a clock that starts in one period, `retrain_eval.questions.cohort.START`, so that effects are by
time since the start. A design says in which calendar period each person starts, who is treated, and who is matched.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from retrain_eval.common.errors import DesignError
from retrain_eval.common.sources import query, sql_name
from retrain_eval.common.sql_steps import Pipeline, step
from retrain_eval.questions.cohort import START, Cohort, Group
from retrain_eval.questions.designs.person import PersonColumns, complete, history
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.sample.models.formula import parse_formula
from retrain_eval.tables.noise.person_keys import PERSON_KEY, has_keys

MADE = ("trained",)


@dataclass(frozen=True)
class FixedStartSteps(Pipeline):
    """One row per person: the start, whether treated, history before it, and strata.

    Attributes
    ----------
    starts_of : str
        SELECT of ``person_id, start, treat, outside``: the period of the start, whether the person is treated (1, 0),
        and whether the design leaves the person out.
    span : str
        Condition, in a GROUP BY of the panel: earnings are known in every period that counts.
    earnings : mapping of int → str
        Period since the start → column of earnings.
    person : PersonColumns
    all_columns : str
        SELECT list of the columns that no stratum takes the place of.
    known : str
        Condition: what people are matched on is known.
    """

    starts_of: str
    span: str
    earnings: Mapping[int, str]
    person: PersonColumns
    all_columns: str
    known: str

    @step
    def programmes(self) -> str:
        """A person who entered a programme: the attributes of the first one."""
        return self.person.programmes

    @step
    def occupations(self) -> str:
        """A displaced person: the occupation left."""
        return self.person.occupations

    @step
    def starts(self) -> str:
        """A person: the period of their start, and whether they are treated."""
        return self.starts_of

    @step
    def history(self) -> str:
        """A person: earnings before the start, and whether those of every period that counts are known.

        Time without work counts the periods between the last one of work and the start; where no work is recorded
        before it, all periods whose employment is known.
        """
        earnings = history(self.earnings, 'period - "start"')
        return f"""
            SELECT person_id, "start", treat, outside{earnings}, count(earnings) > 0 AS linked,
              coalesce("start" - 1 - max(period) FILTER (employed = 1 AND period < "start"),
                count(employed) FILTER (period < "start")) AS periods_without_work,
              coalesce(any_value(period - to_displacement) <= "start", false) AS displaced_before,
              {self.span} AS complete
            FROM panel JOIN starts USING (person_id) GROUP BY person_id, "start", treat, outside"""

    @step
    def described(self) -> str:
        """A person, with what is known of them at the start."""
        return f"""
            SELECT history.* EXCLUDE (displaced_before), treat AS trained,
              CASE WHEN displaced_before THEN isco_left END AS isco_left{self.person.columns}
            FROM history JOIN person USING (person_id) LEFT JOIN programmes USING (person_id)
            LEFT JOIN occupations USING (person_id)"""

    @step
    def levelled(self) -> str:
        """A person, with strata."""
        return f"SELECT {self.all_columns}{self.person.levels} FROM described"

    @step
    def people(self) -> str:
        """A person; eligible are those whose outcomes, and whatever they are matched on, are known."""
        return f"""
            SELECT *, {self.known} AS known, NOT outside AND complete AND {self.known} AS eligible FROM levelled"""


class FixedStartCohort(Cohort):
    """People of whom each has one start; see the module."""

    @abstractmethod
    def starts(self) -> str:
        """Return a SELECT of ``person_id, start, treat, outside``; see `FixedStartSteps`."""

    @property
    @abstractmethod
    def population(self) -> tuple[str, str]:
        """The first step of the flow, and why people are outside the design."""

    def span(self) -> str:
        """Return the condition, in a GROUP BY of the panel, that a person is known in every period that counts."""
        return complete('period - "start"', -self.design.before, self.design.after)

    def build(self) -> duckdb.DuckDBPyRelation:
        """Return one row per person; see `FixedStartSteps`."""
        given = self.design
        columns = PersonColumns.of(
            self.con, self.study, (*MADE, "known", "outside", *self.design.earnings_before.values()), '"start"'
        )
        return FixedStartSteps(
            starts_of=self.starts(),
            span=self.span(),
            earnings=given.earnings_before,
            person=columns,
            all_columns=columns.without_namesakes(self.con),
            known=self._known(),
        ).relation("people", self.con)

    def follow(self, sample: MatchedSample | None, outcomes: Sequence[str]) -> Group:
        """Follow the people compared around their start."""
        own = self._weighted(sample)
        given = self.design
        levels = "" if sample is not None and sample.cluster and sample.audit["n_pairs"] else self._own_levels()
        listed = "".join(f", panel.{sql_name(name)}" for name in outcomes)
        key = f", source.{PERSON_KEY}" if has_keys(own) else ""
        rows = query(
            own,
            f"""
            SELECT source.person_id AS match_id, source.person_id, source.treat, source.weight, source.subclass,
              panel.period - p."start" AS event_time, panel.period - p."start" + {START} AS clock,
              CASE WHEN source.treat = 1 THEN {START} END AS cohort, panel.period{listed}{levels}{key}
            FROM source JOIN {self.table} p ON p.person_id = source.person_id
            JOIN ({self.panel_sql}) panel ON panel.person_id = source.person_id
            WHERE panel.period - p."start" BETWEEN {-given.before} AND {given.after}
            """,
        )
        if not levels:
            assert sample is not None
            rows = self.of_trainee(rows, sample)
        strata = "".join(f", p.{sql_name(name)}" for name in self.strata)
        members = query(
            own,
            f"""
            SELECT source.person_id AS match_id, source.person_id, source.subclass, source.weight, source.treat,
              p."start"{strata}{key}
            FROM source JOIN {self.table} p ON p.person_id = source.person_id
            """,
        )
        return Group(sample, rows, members, None if sample is None else sample.cluster)

    @property
    def steps(self) -> Mapping[str, tuple[str, str]]:
        """From the design's people to those whose whole span is observed."""
        name, reason = self.population
        steps = {"On the register": ("true", ""), name: ("NOT outside", reason)}
        if self.design.matched:
            steps["What is matched on is known"] = ("known", "something that people are matched on is not recorded")
        return {
            **steps,
            "Linked": ("linked", "not found in the wage records"),
            "Whole span observed": ("complete", "the span runs out of the records, or has a gap in coverage"),
        }

    @property
    def treated(self) -> str:
        """The treated."""
        return "treat = 1"

    def after(self, sample: MatchedSample, outcome: str) -> duckdb.DuckDBPyRelation:
        """Return the candidates with the mean of an outcome since the start."""
        return query(
            self.candidates,
            f"""
            SELECT source.*, mean_after.after FROM source JOIN (
              SELECT p.person_id, avg({self.capped(outcome, "panel.")}) AS after FROM {self.table} p
              JOIN ({self.panel_sql}) panel ON panel.person_id = p.person_id
              WHERE panel.period - p."start" BETWEEN 0 AND {self.design.after} GROUP BY p.person_id
            ) mean_after USING (person_id)
            """,
        )

    def _known(self) -> str:
        """Return the condition that the covariates of ``[match]``, and what is matched exactly, are known."""
        if not self.design.matched:
            return "true"
        options = self.study.match_options()
        names = dict.fromkeys((*parse_formula(options["formula"]).covariates, *options["exact"]))
        return " AND ".join(f"{sql_name(name)} IS NOT NULL" for name in names) or "true"

    def _weighted(self, sample: MatchedSample | None) -> duckdb.DuckDBPyRelation:
        """Return ``person_id, treat, weight, subclass`` and keys of the people compared."""
        if sample is None:
            people = self.candidates
            arms = {arm for (arm,) in people.project("treat").distinct().fetchall()}
            if arms != {0, 1}:
                raise DesignError(f"everyone is {'treated' if arms == {1} else 'untreated'}, so no one can be compared")
            return people.project("*, 1.0 AS weight, NULL::INTEGER AS subclass")
        rows = sample.weights.filter("weight > 0")
        return rows if "subclass" in rows.columns else rows.project("*, NULL::INTEGER AS subclass")

    def _own_levels(self, people: str = "p") -> str:
        """Return SELECT items of a person's own strata, and of the programme of the treated."""
        return "".join(f", {people}.{sql_name(name)}" for name in (*self.levels, *self.programmes))
