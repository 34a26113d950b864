"""SQL of job stability: how long joblessness and jobs last, one row per person or member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retrain_eval.common.sources import sql_name
from retrain_eval.common.sql_steps import Pipeline, step

ARMS = ("matched controls", "trained")


@dataclass(frozen=True)
class DisplacedSteps(Pipeline):
    """Joblessness after displacement, of everyone who is without a job then.

    Attributes
    ----------
    people : str
        Table of people, with ``displaced`` and strata.
    carried : tuple of str
        Strata and, if people have them, keys.
    duration, cause : str
        Names of the columns that are made.
    followed : int
        Periods after which spells are censored.
    """

    people: str
    carried: tuple[str, ...]
    duration: str
    cause: str
    followed: int

    @step
    def spell(self) -> str:
        """A person who is without a job in the period of displacement or the one after: the length and its end."""
        return f"""
            SELECT person_id, min_by(periods, entry) AS length, min_by(cause, entry) AS ending FROM spells
            JOIN {self.people} p USING (person_id)
            WHERE state = 'nonemployed' AND entry BETWEEN displaced AND displaced + 1
            GROUP BY person_id"""

    @step
    def whole(self) -> str:
        """A person with whole records while they are followed, and for two periods more, in which a job still shows.

        A gap in coverage comes by region and period, so that leaving people out for one selects no one by their jobs.
        """
        last = self.followed + 2
        return f"""
            SELECT person_id FROM panel WHERE to_displacement BETWEEN 0 AND {last}
            GROUP BY person_id HAVING count(earnings) = {last + 1}"""

    @step
    def jobless(self) -> str:
        """A person: how long joblessness lasted, at most as long as they are followed, and whether it had ended."""
        return f"""
            SELECT person_id, least(length, {self.followed}) AS {sql_name(self.duration)},
              CAST(ending <> 'censored' AND length <= {self.followed} AS INTEGER) AS {sql_name(self.cause)}
              {_listed(self.carried)}
            FROM spell JOIN {self.people} p USING (person_id) WHERE person_id IN (FROM whole)"""


@dataclass(frozen=True)
class DurationSteps(Pipeline):
    """Time to a job since the start, and the first job since then, of members of a sample.

    Members are without a job in the period before the start. A job found in the period of the start ends joblessness
    after one period. Jobs are those begun soon after the start, so that all of them can be followed for as long.

    Attributes
    ----------
    members : str
        Table of members: ``match_id, person_id, subclass, weight, treat, start`` and strata.
    carried : tuple of str
        Strata and, if people have them, keys.
    duration : str
        Name of the column of lengths.
    followed : int
        Periods after which joblessness is censored.
    begun_within, held_for : int
        Jobs begun within so many periods of the start are followed for so many.
    """

    members: str
    carried: tuple[str, ...]
    duration: str
    followed: int
    begun_within: int
    held_for: int

    @step
    def member(self) -> str:
        """A member, with the name of their arm."""
        controls, trained = (f"'{name}'" for name in ARMS)
        return f"""
            SELECT match_id, person_id, subclass, weight, "start" {_listed(self.carried)},
              CAST(CASE WHEN treat = 1 THEN {trained} ELSE {controls} END AS ENUM({controls}, {trained})) AS arm
            FROM {self.members}"""

    @step
    def jobless_since_start(self) -> str:
        """A member who is without a job in the period before the start: periods to a job, and how that spell ended."""
        return f"""
            SELECT member.*, least(exit - "start" + 2, {self.followed}) AS {sql_name(self.duration)},
              CASE WHEN exit - "start" + 2 <= {self.followed} AND cause <> 'censored' THEN cause END AS cause
            FROM member JOIN spells s ON s.person_id = member.person_id
              AND s.state = 'nonemployed' AND "start" - 1 BETWEEN s.entry AND s.exit"""

    @step
    def job(self) -> str:
        """A member with a job that began soon after the start: the first one."""
        return f"""
            SELECT match_id, min_by(periods, entry) AS length, min_by(cause, entry) AS ending
            FROM member JOIN spells s ON s.person_id = member.person_id
              AND s.state = 'employed' AND s.entry BETWEEN "start" AND "start" + {self.begun_within}
            GROUP BY match_id"""

    @step
    def first_job(self) -> str:
        """The same: how long the job lasted, at most as long as it is followed, and why it ended."""
        return f"""
            SELECT member.*, least(length, {self.held_for}) AS {sql_name(self.duration)},
              CASE WHEN length <= {self.held_for} AND ending <> 'censored' THEN ending END AS cause
            FROM member JOIN job USING (match_id)"""


def _listed(names: Sequence[str]) -> str:
    return "".join(f", {sql_name(name)}" for name in names)
