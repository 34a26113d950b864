"""Where and when a source of wage records was there, and for whom: what makes the absence of a record a zero."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from retrain_eval.common.errors import DesignError
from retrain_eval.common.sql import loaded, no_rows, optional, select
from retrain_eval.common.sql_steps import Pipeline, intermediate, step, temporary

PEOPLE, PERIODS, GAPS = "temp._coverage_people", "temp._coverage_periods", "temp._coverage_gaps"
GONE = ("deceased", "moved", "institutionalised")  # reasons of exit after which a person is no longer observed
_FIRST, _LAST = 0, 2_000_000_000  # before and after every period


@dataclass(frozen=True)
class CoverageSteps(Pipeline):
    """The class of each person, and the periods in which the absence of a record means zero for a class.

    Attributes
    ----------
    persons, refused : str
        SELECTs of ``person_id, region``, and of ``resource, period, key`` of refused rows.
    links : bool
        Whether records of linkage are loaded.
    """

    persons: str
    links: bool
    refused: str

    @step
    def linked(self) -> str:
        """A person with a record of linkage: the sources that they are linked to."""
        if not self.links:
            return no_rows("person_id", "sources")
        return """
            SELECT person_id, list_sort(coalesce(list(source) FILTER (status = 'linked'), [])) AS sources
            FROM linkage GROUP BY person_id"""

    @step
    def placed(self) -> str:
        """A person: their region, and the sources that can hold them (NULL: all of them)."""
        sources = "coalesce(sources, [])" if self.links else "sources"
        return (
            f"SELECT person_id, region, {sources} AS sources FROM ({self.persons}) LEFT JOIN linked USING (person_id)"
        )

    @intermediate
    def _coverage_class(self) -> str:
        """A person: their class, which has one region and one list of sources."""
        return "SELECT person_id, region, sources, dense_rank() OVER (ORDER BY region, sources) AS class FROM placed"

    @temporary
    def _coverage_people(self) -> str:
        """A person: their class."""
        return "SELECT person_id, class FROM _coverage_class"

    @step
    def classes(self) -> str:
        """A class: its region and its sources."""
        return "SELECT DISTINCT class, region, sources FROM _coverage_class"

    @step
    def reported(self) -> str:
        """A record of coverage, or a refused one: what could not be read of its key may be anything."""
        return f"""
            SELECT source, region, period, available, false AS refused FROM coverage
            UNION ALL BY NAME SELECT c.source, r.key['region'] AS region, c.period, false AS available, true AS refused
            FROM ({self.refused}) r JOIN (SELECT DISTINCT source, period FROM coverage) c
              ON coalesce(r.key['source'], c.source) = c.source AND coalesce(r.period, c.period) = c.period
            WHERE r.resource = 'coverage'"""

    @step
    def source_periods(self) -> str:
        """A class, one of its sources and a period: available, by the row of the region, else by that of all regions.

        A source of which a row was refused is not available.
        """
        here = "bool_or(available) FILTER ({0}) AND NOT bool_or(refused) FILTER ({0})"
        return f"""
            SELECT class, source, period, coalesce({here.format("r.region IS NOT NULL")},
              {here.format("r.region IS NULL")}) AS available
            FROM classes JOIN reported r ON r.region IS NULL OR r.region = classes.region
            WHERE sources IS NULL OR list_contains(sources, source)
            GROUP BY class, source, period"""

    @temporary
    def _coverage_periods(self) -> str:
        """A class and a period in which one of its sources was available."""
        return "SELECT DISTINCT class, period FROM source_periods WHERE available"


@dataclass(frozen=True)
class GapSteps(Pipeline):
    """The periods in which a person is unknown, whatever the source holds: one step per reason.

    Attributes
    ----------
    refused, observations, enrolments : str
        SELECTs of the columns that the steps read.
    links : bool
        Whether records of linkage say whose records can be seen; with records of coverage, coverage does.
    """

    refused: str
    observations: str
    enrolments: str
    links: bool

    @step
    def refused_records(self) -> str:
        """A refused wage record: its period is unknown, or every period where that could not be read."""
        return f"""
            SELECT person_id, coalesce(period, {_FIRST}) AS since, coalesce(period, {_LAST}) AS until
            FROM ({self.refused}) WHERE resource = 'wage_record' AND person_id IS NOT NULL"""

    @step
    def windows(self) -> str:
        """A window of observation, open ends filled."""
        return f"""
            SELECT person_id, coalesce("from", {_FIRST}) AS a, coalesce("to", {_LAST}) AS b
            FROM ({self.observations})"""

    @step
    def unobserved(self) -> str:
        """A person with windows of observation, and the periods before, between and after them."""
        return f"""
            SELECT person_id, 1 + coalesce(max(b) OVER (PARTITION BY person_id ORDER BY a, b
              ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), {_FIRST - 1}) AS since, a - 1 AS until FROM windows
            UNION ALL SELECT person_id, max(b) + 1, {_LAST} FROM windows GROUP BY person_id"""

    @step
    def left_for_good(self) -> str:
        """A person without a window who left a programme by death, a move or an institution: the periods after."""
        reasons = ", ".join(f"'{reason}'" for reason in GONE)
        return f"""
            SELECT person_id, max(coalesce(exit, entry)) FILTER (exit_reason IN ({reasons})) + 1 AS since,
              {_LAST} AS until
            FROM ({self.enrolments}) WHERE person_id NOT IN (SELECT person_id FROM windows)
            GROUP BY person_id HAVING since > max(entry)"""

    @step
    def unlinked(self) -> str:
        """A person who is linked to no source: every period."""
        if not self.links:
            return no_rows("person_id", "since", "until")
        return f"""
            SELECT person_id, {_FIRST} AS since, {_LAST} AS until FROM person
            WHERE person_id NOT IN (SELECT person_id FROM linkage WHERE status = 'linked')"""

    @temporary
    def _coverage_gaps(self) -> str:
        """A person and a span of periods in which nothing is known of them, for any of the reasons."""
        reasons = ("refused_records", "unobserved", "left_for_good", "unlinked")
        rows = " UNION ALL ".join(f"FROM {reason}" for reason in reasons)
        return f"""
            SELECT DISTINCT person_id, CAST(since AS INTEGER) AS since, CAST(until AS INTEGER) AS until
            FROM ({rows}) WHERE since <= until"""


def build_coverage(con: duckdb.DuckDBPyConnection) -> None:
    """Make two small temporary tables: the class of each person, and the periods that each class is covered in.

    A class is a region and the sources that a person was linked to, so there are few. A row of ``coverage`` about a
    region comes before one about every region; where it was refused, the source does not count as available. Where
    ``linkage`` is loaded, a person is linked to the sources with the status ``linked`` and to no other: without a row,
    to none. Where it is not, everyone is linked to every source.

    Raises
    ------
    DesignError
        If no record of coverage says that a source was available.
    """
    CoverageSteps(
        persons=select(con, "person", "person_id", "region VARCHAR"),
        links=loaded(con, "linkage"),
        refused=optional(con, "refused_row", "resource", "period INTEGER", "key MAP(VARCHAR, VARCHAR)"),
    ).build(con)
    if con.execute("SELECT count(*) FROM coverage WHERE available").fetchall() == [(0,)]:
        raise DesignError("no record of coverage says that a source of wage records was available")


def build_gaps(con: duckdb.DuckDBPyConnection) -> bool:
    """Make a temporary table of the periods in which a person is unknown, whatever the source holds of others.

    It has ``person_id, since, until``. A person is unknown in a period

    - with a wage record that was refused, and in every period where the period of that record could not be read;
    - outside every window of ``observation``, where the person has one; without one, after leaving a programme because
      of death, a move or an institution (``exit_reason``), unless the person entered another programme later;
    - always, where ``linkage`` is loaded and does not say that the person was linked to any source (with records of
      coverage, `build_coverage` says so, source by source).

    Returns
    -------
    bool
        Whether there are any.

    Examples
    --------
    >>> con = duckdb.connect()
    >>> _ = con.execute("CREATE TABLE observation AS SELECT * FROM (VALUES ('a', 8076, 8079), ('a', 8082, NULL)) "
    ...                 'AS t(person_id, "from", "to")')
    >>> build_gaps(con)
    True
    >>> con.sql("FROM temp._coverage_gaps ORDER BY ALL").fetchall()
    [('a', 0, 8075), ('a', 8080, 8081)]
    """
    GapSteps(
        refused=optional(con, "refused_row", "resource", "person_id", "period INTEGER"),
        observations=optional(con, "observation", "person_id", "from INTEGER", "to INTEGER"),
        enrolments=optional(con, "enrolment", "person_id", "entry INTEGER", "exit INTEGER", "exit_reason VARCHAR"),
        links=loaded(con, "linkage") and not loaded(con, "coverage"),
    ).build(con)
    return bool(con.execute(f"SELECT count(*) FROM {GAPS}").fetchall() != [(0,)])


def covered_records(con: duckdb.DuckDBPyConnection, gaps: bool) -> str:
    """Return SQL for the wage records that count: those under coverage, where it is known, and in no gap.

    `build_coverage` and `build_gaps` have run; ``gaps`` is what the latter returned.
    """
    rows = "SELECT w.* FROM wage_record w"
    if loaded(con, "coverage"):
        rows += (
            f" JOIN {PEOPLE} p ON w.person_id = p.person_id "
            f"SEMI JOIN {PERIODS} c ON c.class = p.class AND c.period = w.period"
        )
    if gaps:
        rows += f" ANTI JOIN {GAPS} g ON g.person_id = w.person_id AND w.period BETWEEN g.since AND g.until"
    return rows


def uncovered_records(con: duckdb.DuckDBPyConnection) -> int:
    """Return how many wage records the panel leaves out.

    They lie under no coverage, are of people not linked to their source, outside the time that their person is
    observed, or in a period of which another record was refused.

    Examples
    --------
    >>> con = duckdb.connect()
    >>> _ = con.execute("CREATE TABLE person AS SELECT 'a' AS person_id")
    >>> _ = con.execute("CREATE TABLE wage_record AS SELECT 'a' AS person_id, unnest([1, 2]) AS period, 5 AS wages")
    >>> _ = con.execute("CREATE TABLE coverage AS SELECT 'ui' AS source, '' AS region, 1 AS period, true AS available")
    >>> _ = con.execute("UPDATE coverage SET region = NULL")
    >>> uncovered_records(con)
    1
    """
    if loaded(con, "coverage"):
        build_coverage(con)
    counted = covered_records(con, build_gaps(con))
    everything = con.execute("SELECT count(*) FROM wage_record").fetchall()[0][0]
    return int(everything - con.execute(f"SELECT count(*) FROM ({counted})").fetchall()[0][0])
