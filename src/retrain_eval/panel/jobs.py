"""Jobs: uninterrupted runs of pay by one employer, or by its successors.

Where a job ends is decided in two steps of `JobSteps`: ``islands`` (a period without pay ends a run) and ``pairs`` (a
run with a successor employer continues it).
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from retrain_eval.common.errors import InputError
from retrain_eval.common.sql import loaded, optional
from retrain_eval.common.sql_steps import Pipeline, intermediate, recursive, step, table
from retrain_eval.common.withholding import rows_where
from retrain_eval.panel.coverage import build_coverage, build_gaps, covered_records


def build_jobs(con: duckdb.DuckDBPyConnection, *, successor_share: float = 0.8) -> duckdb.DuckDBPyRelation:
    """Create the table ``job`` from wage records and successor employers.

    A job is a run of consecutive periods in which one employer pays. Where ``employer_link`` says that an employer went
    over to another, and a person's run with the first ends in that period or the one before while a run with the
    second starts in the same period or the next, both are one job; chains of successors are followed.

    Parameters
    ----------
    con : DuckDBPyConnection
        Connection of a store whose records are loaded. Records under no coverage do not count, nor
        those of a period in which their person is unknown; a job is not followed over such a period.
    successor_share : float
        Smallest share of an employer's workers that has to go over for the other to be its successor. Benedetto,
        Haltiwanger, Lane and McKinney (2007), *Journal of Business & Economic Statistics* 25(3), use 0.8.

    Returns
    -------
    DuckDBPyRelation
        ``person_id, job`` (from 1 in a person's order of start), ``employer_id`` (at its start), ``last_employer_id``
        (at its end), ``first_period, last_period, wages`` (nominal total), ``successor`` (whether firms changed
        within).

    Raises
    ------
    InputError
        If pay is recorded without an employer: where a job ends could not be seen.

    Examples
    --------
    >>> con = duckdb.connect()
    >>> _ = con.execute("CREATE TABLE wage_record AS SELECT * FROM (VALUES ('a', 8076, 'X', 9), ('a', 8077, 'X', 9), "
    ...                 "('a', 8078, 'Y', 8), ('a', 8080, 'Z', 7)) AS w(person_id, period, employer_id, wages)")
    >>> _ = con.execute("CREATE TABLE employer_link AS SELECT 'X' AS from_employer_id, 'Y' AS to_employer_id, "
    ...                 "8077 AS period, 0.9 AS share")
    >>> build_jobs(con).order("person_id, job").fetchall()
    [('a', 1, 'X', 'Y', 8076, 8078, 26.0, True), ('a', 2, 'Z', 'Z', 8080, 8080, 7.0, False)]
    """
    if not 0 < successor_share <= 1:
        raise InputError(
            "successor_share is a share", column="successor_share", value=successor_share, rule="0 < x <= 1"
        )
    if loaded(con, "coverage"):
        build_coverage(con)
    records = covered_records(con, build_gaps(con))
    without = "wages > 0 AND employer_id IS NULL"
    [(nameless,)] = con.execute(f"SELECT count(*) FROM ({records}) WHERE {without}").fetchall()
    if nameless:
        raise InputError(
            f"{nameless:,} wage records do not name an employer, so the end of a job cannot be seen",
            row=rows_where(without, "wage_record"),
            column="employer_id",
            fix="give every record an employer, or leave out what needs jobs and spells",
        )
    shares = optional(con, "employer_link", "from_employer_id", "to_employer_id", "period INTEGER", "share DOUBLE")
    JobSteps(records, shares, successor_share).build(con)
    return con.table("job")


@dataclass(frozen=True)
class JobSteps(Pipeline):
    """The jobs: where one begins and ends.

    Attributes
    ----------
    records : str
        SELECT of the wage records that count.
    shares : str
        SELECT of the columns of ``employer_link``.
    successor_share : float
        See `build_jobs`.
    """

    records: str
    shares: str
    successor_share: float

    @step
    def paid(self) -> str:
        """A person, an employer and a period with pay: their sum."""
        return f"""
            SELECT person_id, employer_id, period, sum(wages) AS wages
            FROM ({self.records}) WHERE wages > 0 GROUP BY person_id, employer_id, period"""

    @step
    def islands(self) -> str:
        """The same, with a number that consecutive periods share: a period without pay ends a run."""
        return """
            SELECT *, period - row_number() OVER (PARTITION BY person_id, employer_id ORDER BY period) AS island
            FROM paid"""

    @intermediate
    def _employer_run(self) -> str:
        """A run of consecutive periods in which one employer pays a person."""
        return """
            SELECT person_id, employer_id, min(period) AS first_period, max(period) AS last_period, sum(wages) AS wages
            FROM islands GROUP BY person_id, employer_id, island"""

    @step
    def links(self) -> str:
        """An employer that went over to another with at least the share of its workers that makes it a successor."""
        return f"""
            SELECT from_employer_id, to_employer_id, period
            FROM ({self.shares}) WHERE share >= {self.successor_share!r}"""

    @step
    def pairs(self) -> str:
        """A run and one that may continue it: with a successor, from its last period or the next."""
        return """
            SELECT DISTINCT a.person_id, a.employer_id, a.first_period, b.employer_id AS next_employer,
              b.first_period AS next_period, b.wages
            FROM _employer_run a
            JOIN links l ON l.from_employer_id = a.employer_id AND a.last_period BETWEEN l.period - 1 AND l.period
            JOIN _employer_run b ON b.person_id = a.person_id AND b.employer_id = l.to_employer_id
              AND b.first_period BETWEEN a.last_period AND a.last_period + 1"""

    @step
    def followed(self) -> str:
        """A run and the one that continues it: that with the highest wages, ties by employer and period."""
        return """
            SELECT * FROM pairs QUALIFY row_number() OVER (
              PARTITION BY person_id, employer_id, first_period ORDER BY wages DESC, next_employer, next_period) = 1"""

    @step
    def single(self) -> str:
        """The same, once per continuing run: it continues the earliest. So chains cannot fork."""
        return """
            SELECT * FROM followed QUALIFY row_number() OVER (
              PARTITION BY person_id, next_employer, next_period ORDER BY first_period, employer_id) = 1"""

    @recursive
    def chain(self) -> str:
        """A run of a chain: the run that the chain begins with, and the steps from there. A cycle has no first run."""
        return """
            SELECT s.person_id, s.employer_id, s.first_period, s.employer_id AS root_employer,
              s.first_period AS root_period, 0 AS step
            FROM single s ANTI JOIN single p
              ON p.person_id = s.person_id AND p.next_employer = s.employer_id AND p.next_period = s.first_period
            UNION ALL
            SELECT c.person_id, s.next_employer, s.next_period, c.root_employer, c.root_period, c.step + 1
            FROM chain c JOIN single s
              ON s.person_id = c.person_id AND s.employer_id = c.employer_id AND s.first_period = c.first_period"""

    @intermediate
    def _successor_run(self) -> str:
        """A run that follows or precedes another, from ``chain``."""
        return "FROM chain"

    @step
    def rooted(self) -> str:
        """A run, and the first run of its job: that of its chain, or itself."""
        return """
            SELECT r.*, coalesce(s.root_employer, r.employer_id) AS root_employer,
              coalesce(s.root_period, r.first_period) AS root_period, s.step
            FROM _employer_run r LEFT JOIN _successor_run s
              ON r.person_id = s.person_id AND r.employer_id = s.employer_id AND r.first_period = s.first_period"""

    @step
    def whole(self) -> str:
        """A job: the runs with one first run, from the first period of the first to the last period of the last."""
        return """
            SELECT person_id, root_employer AS employer_id,
              max_by(employer_id, coalesce(step, 0)) AS last_employer_id, min(first_period) AS first_period,
              max(last_period) AS last_period, CAST(sum(wages) AS DOUBLE) AS wages, count(*) > 1 AS successor
            FROM rooted GROUP BY person_id, root_employer, root_period"""

    @table
    def job(self) -> str:
        """A job, numbered in a person's order of start."""
        return """
            SELECT person_id, CAST(row_number() OVER w AS INTEGER) AS job, * EXCLUDE (person_id)
            FROM whole WINDOW w AS (PARTITION BY person_id ORDER BY first_period, employer_id)"""
