"""How people's time in a programme ends, as spells with competing causes, and whether people completed.

A person counts with the first programme that they entered. The period of entry is the first period of the spell, so
that a person who leaves in it has a spell of one period.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from retrain_eval.common.errors import DesignError
from retrain_eval.common.sources import sql_name, sql_text
from retrain_eval.common.sql import loaded, no_rows, select
from retrain_eval.common.sql_steps import Pipeline, step
from retrain_eval.questions.cohort import PROGRAMME, Cohort, Group
from retrain_eval.tables.noise.person_keys import PERSON_KEY, has_keys

COMPLETED, DROPPED_OUT, EMPLOYED, TRANSFERRED = "completed", "dropped_out", "employed", "transferred"
OTHER, NO_REASON = "other_reason", "no_reason"
CAUSES = (COMPLETED, DROPPED_OUT, EMPLOYED, TRANSFERRED, OTHER, NO_REASON)
STATUS = "completion_status"  # the stratum that separates completers
DID_COMPLETE, DID_NOT, NOT_KNOWN, NOT_TRAINED = "completed", "did not complete", "not known", "not trained"
UNDATED = 0.05  # largest share of people who left in a period that is not recorded


@dataclass(frozen=True)
class EndingSteps(Pipeline):
    """Spells in programmes.

    Attributes
    ----------
    enrolments, programmes : str
        SELECTs of ``person_id, programme_id, entry, exit, completed, exit_reason`` and of ``programme_id, delivery``.
    people : str
        Table of people, with their levels.
    levels : tuple of str
        Columns of people that are taken along.
    duration : str
        Name of the column of lengths.
    followed : int
        Periods after which spells are censored.
    transfer_within : int
        A person who enters another programme within so many periods of the exit was transferred.
    """

    enrolments: str
    programmes: str
    people: str
    levels: tuple[str, ...]
    duration: str
    followed: int
    transfer_within: int

    @step
    def enrolled(self) -> str:
        """A person and a programme that they entered, in order."""
        return f"""
            SELECT *, row_number() OVER (PARTITION BY person_id ORDER BY entry, programme_id) AS number
            FROM ({self.enrolments})"""

    @step
    def first(self) -> str:
        """A person: the first programme, and the period in which they entered the next one after leaving it."""
        return f"""
            SELECT a.*, min(b.entry) AS next FROM enrolled a
            LEFT JOIN enrolled b ON b.person_id = a.person_id AND b.number > a.number
              AND b.programme_id <> a.programme_id AND b.entry BETWEEN a.exit AND a.exit + {self.transfer_within}
            WHERE a.number = 1 GROUP BY ALL"""

    @step
    def last(self) -> str:
        """The last period of the records."""
        return "SELECT max(period) AS last FROM panel"

    @step
    def ended(self) -> str:
        """A person: why they left. Completion counts before any other reason, a transfer before dropping out."""
        reason = " ".join(
            f"WHEN exit_reason = '{code}' THEN '{cause}'"
            for code, cause in (("employed", EMPLOYED), ("dropped_out", DROPPED_OUT))
        )
        return f"""
            SELECT *, CASE WHEN exit IS NULL THEN NULL
                WHEN coalesce(completed, exit_reason = 'completed', false) THEN '{COMPLETED}'
                WHEN next IS NOT NULL THEN '{TRANSFERRED}' {reason}
                WHEN exit_reason IS NULL OR exit_reason = 'completed' THEN '{NO_REASON}' ELSE '{OTHER}' END AS ending,
              exit IS NULL AND (completed IS NOT NULL OR exit_reason IS NOT NULL) AS undated
            FROM first"""

    @step
    def delivered(self) -> str:
        """A programme: who delivers it."""
        return self.programmes

    @step
    def spell(self) -> str:
        """A person who entered: periods in the programme, at most as many as they are followed for, and the cause."""
        listed = "".join(f", p.{sql_name(name)}" for name in self.levels)
        delivery = ", ".join(map(sql_text, PROGRAMME["delivery"]))
        return f"""
            SELECT person_id, least(coalesce(exit, last) - entry + 1, {self.followed}) AS {sql_name(self.duration)},
              CASE WHEN exit - entry + 1 <= {self.followed} THEN ending END AS cause, undated,
              CAST(delivered.delivery AS ENUM({delivery})) AS delivery{listed}
            FROM ended CROSS JOIN last JOIN {self.people} p USING (person_id) LEFT JOIN delivered USING (programme_id)
            WHERE coalesce(exit, last) >= entry"""

    @step
    def status(self) -> str:
        """A person who entered: whether they completed."""
        return f"""
            SELECT person_id, CASE WHEN coalesce(completed, exit_reason = 'completed', false) THEN '{DID_COMPLETE}'
                WHEN completed IS NOT NULL OR exit IS NOT NULL THEN '{DID_NOT}' ELSE '{NOT_KNOWN}' END AS {STATUS}
            FROM first"""


def steps_of(cohort: Cohort, duration: str, followed: int, transfer_within: int) -> EndingSteps:
    """Return the steps for the people of a cohort."""
    con = cohort.con
    enrolments = select(
        con, "enrolment", "person_id", "programme_id VARCHAR", "entry", "exit INTEGER", "completed BOOLEAN",
        "exit_reason VARCHAR",
    )  # fmt: skip
    named = loaded(con, "programme")
    programmes = select(con, "programme", "programme_id", "delivery VARCHAR") if named else ""
    key = (PERSON_KEY,) if has_keys(cohort.people) else ()
    return EndingSteps(
        enrolments=enrolments,
        programmes=programmes or no_rows("programme_id VARCHAR", "delivery VARCHAR"),
        people=cohort.table,
        levels=(*cohort.study.questions.strata().keys() & set(cohort.people.columns), *key),
        duration=duration,
        followed=followed,
        transfer_within=transfer_within,
    )


def spells_in_programmes(cohort: Cohort, steps: EndingSteps) -> duckdb.DuckDBPyRelation:
    """Return a row per person who entered a programme: length, cause and levels, with keys.

    Raises
    ------
    DesignError
        If no one entered, or too many left in a period that is not recorded: to leave them out would understate every
        cause of leaving.
    """
    kept = cohort.kept("spells_in_programmes", steps.relation("spell", cohort.con))
    [(people, undated)] = cohort.con.sql(f"SELECT count(*), count(*) FILTER (undated) FROM {kept}").fetchall()
    if not people:
        raise DesignError("no one entered a programme")
    if undated > UNDATED * people:
        raise DesignError(
            f"of {undated} of {people} people it is recorded how they left the programme, and not when",
            public="of too many people it is recorded how they left the programme, and not in which period",
        )
    if undated:
        cohort.say(f"{undated:,} of {people:,} people who entered left in a period that is not recorded: left out")
    return cohort.keyed(cohort.con.sql(f"SELECT * EXCLUDE (undated) FROM {kept} WHERE NOT undated"))


def by_completion(cohort: Cohort, group: Group, steps: EndingSteps) -> Group:
    """Return the people compared, with the level of `STATUS`: in matched pairs, that of the trainee of the pair."""
    status = cohort.kept("completion", steps.relation("status", cohort.con))
    rows = cohort.kept("compared", group.rows)
    paired = group.cluster is not None and group.sample is not None and bool(group.sample.audit["n_pairs"])
    if paired:
        joined = f"""
            SELECT r.*, coalesce(s.{STATUS}, '{NOT_KNOWN}') AS {STATUS} FROM {rows} r
            JOIN (SELECT DISTINCT subclass, person_id FROM {rows} WHERE treat = 1) t ON t.subclass = r.subclass
            LEFT JOIN {status} s ON s.person_id = t.person_id"""
    else:
        joined = f"""
            SELECT r.*, CASE WHEN treat = 1 THEN coalesce(s.{STATUS}, '{NOT_KNOWN}') ELSE '{NOT_TRAINED}' END
              AS {STATUS}
            FROM {rows} r LEFT JOIN {status} s USING (person_id)"""
    return Group(group.sample, cohort.con.sql(joined), group.members, group.cluster)
