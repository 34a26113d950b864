"""Jobs: uninterrupted runs of pay by one employer, or by its successors."""

from __future__ import annotations

import duckdb

from retrain_eval.common.errors import InputError
from retrain_eval.common.withholding import rows_where
from retrain_eval.panel.coverage import build_coverage, build_gaps, covered_records, loaded


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
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE employer_run AS
        WITH paid AS (
          SELECT person_id, employer_id, period, sum(wages) AS wages
          FROM ({records}) WHERE wages > 0 GROUP BY person_id, employer_id, period
        ),
        numbered AS (
          SELECT *, period - row_number() OVER (PARTITION BY person_id, employer_id ORDER BY period) AS island FROM paid
        )
        SELECT person_id, employer_id, min(period) AS first_period, max(period) AS last_period, sum(wages) AS wages
        FROM numbered GROUP BY person_id, employer_id, island
        """
    )
    _follow_successors(con, successor_share)
    con.execute(
        """
        CREATE OR REPLACE TABLE job AS
        WITH joined AS (
          SELECT r.*, coalesce(s.root_employer, r.employer_id) AS root_employer, coalesce(s.root_period, r.first_period)
            AS root_period, s.step
          FROM employer_run r LEFT JOIN successor_run s
            ON r.person_id = s.person_id AND r.employer_id = s.employer_id AND r.first_period = s.first_period
        ),
        whole AS (
          SELECT person_id, root_employer AS employer_id,
            max_by(employer_id, coalesce(step, 0)) AS last_employer_id, min(first_period) AS first_period,
            max(last_period) AS last_period, CAST(sum(wages) AS DOUBLE) AS wages,
            count(*) > 1 AS successor
          FROM joined GROUP BY person_id, root_employer, root_period
        )
        SELECT person_id, CAST(row_number() OVER w AS INTEGER) AS job, * EXCLUDE (person_id)
        FROM whole WINDOW w AS (PARTITION BY person_id ORDER BY first_period, employer_id)
        """
    )
    con.execute("DROP TABLE temp.employer_run; DROP TABLE temp.successor_run")
    return con.table("job")


def _follow_successors(con: duckdb.DuckDBPyConnection, successor_share: float) -> None:
    """Make the temporary table of the runs that follow or precede another: its root, and the step from it.

    Each run has at most one that follows it and one that it follows, so chains cannot fork; a circle of
    links has no root, and stays apart.
    """
    links = "SELECT NULL AS from_employer_id, NULL AS to_employer_id, NULL AS period WHERE false"
    if loaded(con, "employer_link"):
        links = f"SELECT from_employer_id, to_employer_id, period FROM employer_link WHERE share >= {successor_share!r}"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE successor_run AS
        WITH RECURSIVE links AS ({links}),
        pairs AS (
          SELECT DISTINCT a.person_id, a.employer_id, a.first_period, b.employer_id AS next_employer,
            b.first_period AS next_period, b.wages
          FROM employer_run a
          JOIN links l ON l.from_employer_id = a.employer_id AND a.last_period BETWEEN l.period - 1 AND l.period
          JOIN employer_run b ON b.person_id = a.person_id AND b.employer_id = l.to_employer_id
            AND b.first_period BETWEEN a.last_period AND a.last_period + 1
        ),
        followed AS (
          SELECT * FROM pairs QUALIFY row_number() OVER (
            PARTITION BY person_id, employer_id, first_period ORDER BY wages DESC, next_employer, next_period) = 1
        ),
        single AS (
          SELECT * FROM followed QUALIFY row_number() OVER (
            PARTITION BY person_id, next_employer, next_period ORDER BY first_period, employer_id) = 1
        ),
        chain AS (
          SELECT s.person_id, s.employer_id, s.first_period, s.employer_id AS root_employer,
            s.first_period AS root_period, 0 AS step
          FROM single s ANTI JOIN single p
            ON p.person_id = s.person_id AND p.next_employer = s.employer_id AND p.next_period = s.first_period
          UNION ALL
          SELECT c.person_id, s.next_employer, s.next_period, c.root_employer, c.root_period, c.step + 1
          FROM chain c JOIN single s
            ON s.person_id = c.person_id AND s.employer_id = c.employer_id AND s.first_period = c.first_period
        )
        FROM chain
        """
    )
