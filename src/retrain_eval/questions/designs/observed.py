"""Everyone who ever enters, against everyone else as they are: no one is matched, so differences describe.

Periods are those of the calendar, and people who enter later may be controls until then, as ``[did] control`` says.
"""

from __future__ import annotations

from collections.abc import Sequence

from retrain_eval.common.sources import query, sql_name
from retrain_eval.questions.cohort import Group
from retrain_eval.questions.designs.fixed_start import FixedStartCohort
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.tables.noise.person_keys import PERSON_KEY, has_keys


class ObservedCohort(FixedStartCohort):
    """Everyone with a panel; see the module."""

    shift = 0  # rows are on the calendar

    def starts(self) -> str:
        """Return a SELECT of each person's first entry; controls have no start."""
        return """
            SELECT person_id, min(entry) AS "start", CAST(count(entry) > 0 AS INTEGER) AS treat, false AS outside
            FROM person LEFT JOIN enrolment USING (person_id) GROUP BY person_id"""

    def span(self) -> str:
        """Return the condition that a person is known in every period of the panel."""
        return "count(earnings) = count(*)"

    @property
    def population(self) -> tuple[str, str]:
        """Everyone."""
        return "Studied", ""

    def follow(self, sample: MatchedSample | None, outcomes: Sequence[str]) -> Group:
        """Return everyone's panel, by calendar period."""
        own = self._weighted(sample)
        listed = "".join(f", panel.{sql_name(name)}" for name in outcomes)
        key = f", source.{PERSON_KEY}" if has_keys(own) else ""
        rows = query(
            own,
            f"""
            SELECT source.person_id AS match_id, source.person_id, treat, weight, subclass, panel.period AS clock,
              CASE WHEN treat = 1 THEN source."start" END AS cohort,
              panel.period{listed}{self._own_levels("source")}{key}
            FROM source JOIN ({self.panel_sql}) panel ON panel.person_id = source.person_id
            """,
        )
        strata = "".join(f", {sql_name(name)}" for name in (*self.strata, *([PERSON_KEY] if key else [])))
        members = own.project(f'person_id AS match_id, person_id, subclass, weight, treat, "start"{strata}')
        return Group(sample, rows, members, None)
