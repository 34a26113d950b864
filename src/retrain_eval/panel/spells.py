"""Employment and non-employment spells with the causes of their ends, in SQL."""

from __future__ import annotations

import duckdb

from retrain_eval.common.errors import InputError
from retrain_eval.common.periods import a_year
from retrain_eval.panel.calendar import frequency_of
from retrain_eval.panel.coverage import loaded


def build_spells(con: duckdb.DuckDBPyConnection, *, recall_within: int | None = None) -> duckdb.DuckDBPyRelation:
    """Create the table ``spells``: every covered period of a person belongs to exactly one.

    With several jobs in a period, the state is the job that pays most over its life (then the earlier, then the first
    by employer), so that a side job never interrupts the main one. The rules are written out, history by history, in
    ``tests/spec/spells.md``.

    Parameters
    ----------
    con : DuckDBPyConnection
        Connection on which `retrain_eval.build_panel` has run.
    recall_within : int, optional
        Longest non-employment, in periods, after which a return to the same employer is a recall; by default a year: 4
        quarters, 12 months, 52 weeks, 26 two-week intervals, but 4 years in an annual study.

    Returns
    -------
    DuckDBPyRelation
        ``person_id, spell`` (from 1), ``state`` (employed | nonemployed), ``job`` and ``employer_id`` (NULL without
        a job), ``entry, exit`` (first and last period), ``periods`` (their number; also ``quarters`` where they are
        quarters), ``cause``, ``left_truncated``.
        Causes of a job: ``job_to_job`` (another one in the next period), ``recall`` (back with the same employer, or
        its successor, after at most ``recall_within`` periods), ``nonemployment``, ``censored``. Causes of
        non-employment: ``recall``, ``new_job``, ``censored``. A gap in coverage censors, and left-truncates what
        follows.

    Raises
    ------
    InputError
        If there is no panel or no job table, or ``recall_within`` is negative.

    Notes
    -----
    Recalls as in Fujita and Moscarini (2017), *American Economic Review* 107(12); job-to-job moves between main jobs of
    adjacent quarters as in Hyatt, McEntarfer, McKinney, Tibbets and Walton (2014), LEHD working paper. A separation in
    the last periods can still turn out to be a recall after the records end; it counts as non-employment.

    Examples
    --------
    >>> con = duckdb.connect()
    >>> _ = con.execute("CREATE TABLE panel AS SELECT 'a' AS person_id, period, 0.0 AS earnings "
    ...                 "FROM range(8076, 8081) AS t(period)")
    >>> _ = con.execute("CREATE TABLE job AS SELECT 'a' AS person_id, 1 AS job, 'X' AS employer_id, "
    ...                 "'X' AS last_employer_id, 8076 AS first_period, 8078 AS last_period, 30.0 AS wages")
    >>> build_spells(con).order("spell").project("state, entry, exit, quarters, cause, left_truncated").fetchall()
    [('employed', 8076, 8078, 3, 'nonemployment', True), ('nonemployed', 8079, 8080, 2, 'censored', False)]
    """
    if recall_within is not None and recall_within < 0:
        raise InputError("recall_within is a number of periods", column="recall_within", value=recall_within)
    for name in ("panel", "job"):
        if not loaded(con, name):
            raise InputError(
                f"there is no table {name}", fix="build the panel from wage records that name employers first"
            )
    frequency = frequency_of(con, "panel")
    recall = a_year(frequency) if recall_within is None else int(recall_within)
    quarters = "CAST(exit - entry + 1 AS INTEGER) AS quarters," if frequency in (None, "quarter") else ""
    links = "SELECT NULL AS from_employer_id, NULL AS to_employer_id, NULL AS period WHERE false"
    if loaded(con, "employer_link"):
        links = "SELECT DISTINCT from_employer_id, to_employer_id, period FROM employer_link"
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE ranked_job AS
        SELECT *, row_number() OVER (PARTITION BY person_id ORDER BY wages DESC, first_period, employer_id) AS rank
        FROM job
        """
    )
    con.execute(
        """
        CREATE OR REPLACE TEMP TABLE state_run AS
        WITH paid AS (
          SELECT person_id, period, min(rank) AS rank
          FROM (SELECT person_id, rank, unnest(range(first_period, last_period + 1)) AS period FROM ranked_job)
          GROUP BY person_id, period
        ),
        states AS (
          SELECT p.person_id, p.period, coalesce(paid.rank, 0) AS rank
          FROM panel p LEFT JOIN paid ON p.person_id = paid.person_id AND p.period = paid.period
          WHERE p.earnings IS NOT NULL
        ),
        numbered AS (
          SELECT *, period - row_number() OVER (PARTITION BY person_id, rank ORDER BY period) AS island FROM states
        )
        SELECT person_id, rank, min(period) AS entry, max(period) AS exit
        FROM numbered GROUP BY person_id, rank, island
        """
    )
    con.execute(
        f"""
        CREATE OR REPLACE TABLE spells AS
        WITH links AS ({links}),
        named AS (
          SELECT s.*, j.job, j.employer_id, j.last_employer_id
          FROM state_run s LEFT JOIN ranked_job j ON j.person_id = s.person_id AND j.rank = s.rank
        ),
        around AS (
          SELECT *, row_number() OVER w AS spell,
            coalesce(lag(exit) OVER w = entry - 1, false) AS has_last,
            coalesce(lead(entry) OVER w = exit + 1, false) AS has_next,
            -- a spell of non-employment between two jobs of one stretch: who left it, who took the person on
            lag(last_employer_id) OVER w AS left_employer, lead(employer_id) OVER w AS next_employer,
            lag(exit) OVER w AS left_in, lead(entry) OVER w AS back_in
          FROM named WINDOW w AS (PARTITION BY person_id ORDER BY entry)
        ),
        recalled AS (
          SELECT DISTINCT a.person_id, a.spell FROM around a LEFT JOIN links l
            ON l.from_employer_id = a.left_employer AND l.to_employer_id = a.next_employer
              AND l.period BETWEEN a.left_in - 1 AND a.back_in
          WHERE a.rank = 0 AND a.has_last AND a.has_next AND exit - entry + 1 <= {recall}
            AND (a.left_employer = a.next_employer OR l.period IS NOT NULL)
        ),
        ended AS (
          SELECT a.*, r.spell IS NOT NULL AS recall FROM around a LEFT JOIN recalled r
            ON r.person_id = a.person_id AND r.spell = a.spell
        ),
        caused AS (
          SELECT *, lead(rank) OVER w AS next_rank, lead(recall) OVER w AS next_recall
          FROM ended WINDOW w AS (PARTITION BY person_id ORDER BY entry)
        )
        SELECT person_id, CAST(spell AS INTEGER) AS spell,
          CASE WHEN rank = 0 THEN 'nonemployed' ELSE 'employed' END AS state, job, employer_id,
          CAST(entry AS INTEGER) AS entry, CAST(exit AS INTEGER) AS exit,
          CAST(exit - entry + 1 AS INTEGER) AS periods, {quarters}
          CASE WHEN NOT has_next THEN 'censored'
            WHEN rank = 0 THEN CASE WHEN recall THEN 'recall' ELSE 'new_job' END
            WHEN next_rank > 0 THEN 'job_to_job'
            WHEN next_recall THEN 'recall' ELSE 'nonemployment' END AS cause,
          NOT has_last AS left_truncated
        FROM caused
        """
    )
    con.execute("DROP TABLE temp.ranked_job; DROP TABLE temp.state_run")
    return con.table("spells")
