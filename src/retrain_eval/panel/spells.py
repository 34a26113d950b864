"""Employment and non-employment spells with the causes of their ends, in SQL.

The step ``cause`` of `SpellSteps` says how a spell gets its cause; the steps before it say what the cause depends on.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from retrain_eval.common.errors import InputError
from retrain_eval.common.periods import a_year
from retrain_eval.common.sql import loaded, optional
from retrain_eval.common.sql_steps import Pipeline, intermediate, step, table
from retrain_eval.panel.calendar import frequency_of


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
    links = optional(con, "employer_link", "from_employer_id", "to_employer_id", "period INTEGER")
    SpellSteps(links, recall, quarterly=frequency in (None, "quarter")).build(con)
    return con.table("spells")


@dataclass(frozen=True)
class SpellSteps(Pipeline):
    """The spells, and the causes of their ends.

    Attributes
    ----------
    successions : str
        SELECT of ``from_employer_id, to_employer_id, period``.
    recall_within : int
        See `build_spells`.
    quarterly : bool
        Whether periods are quarters.
    """

    successions: str
    recall_within: int
    quarterly: bool

    @intermediate
    def _ranked_job(self) -> str:
        """A job and its rank among a person's jobs: the one that pays most over its life comes first."""
        return """
            SELECT *, row_number() OVER (PARTITION BY person_id ORDER BY wages DESC, first_period, employer_id) AS rank
            FROM job"""

    @step
    def paid(self) -> str:
        """A person and a period with a job: the rank of the main one."""
        return """
            SELECT person_id, period, min(rank) AS rank
            FROM (SELECT person_id, rank, unnest(range(first_period, last_period + 1)) AS period FROM _ranked_job)
            GROUP BY person_id, period"""

    @step
    def states(self) -> str:
        """A person and a known period: the rank of the main job, 0 without one. An unknown period has no state."""
        return """
            SELECT p.person_id, p.period, coalesce(paid.rank, 0) AS rank
            FROM panel p LEFT JOIN paid ON p.person_id = paid.person_id AND p.period = paid.period
            WHERE p.earnings IS NOT NULL"""

    @step
    def islands(self) -> str:
        """The same, with a number that consecutive periods in one state share."""
        return (
            "SELECT *, period - row_number() OVER (PARTITION BY person_id, rank ORDER BY period) AS island FROM states"
        )

    @intermediate
    def _state_run(self) -> str:
        """A spell: a run of consecutive periods in one state, between its first and last."""
        return """
            SELECT person_id, rank, min(period) AS entry, max(period) AS exit
            FROM islands GROUP BY person_id, rank, island"""

    @step
    def links(self) -> str:
        """An employer, its successor, and the period in which it went over."""
        return f"SELECT DISTINCT from_employer_id, to_employer_id, period FROM ({self.successions})"

    @step
    def named(self) -> str:
        """A spell with its job and the employers at the start and the end of that."""
        return """
            SELECT s.*, j.job, j.employer_id, j.last_employer_id
            FROM _state_run s LEFT JOIN _ranked_job j ON j.person_id = s.person_id AND j.rank = s.rank"""

    @step
    def neighbours(self) -> str:
        """A spell, whether another one adjoins it on either side, and the employers and periods of those."""
        return """
            SELECT *, row_number() OVER w AS spell,
              coalesce(lag(exit) OVER w = entry - 1, false) AS has_last,
              coalesce(lead(entry) OVER w = exit + 1, false) AS has_next,
              lag(last_employer_id) OVER w AS left_employer, lead(employer_id) OVER w AS next_employer,
              lag(exit) OVER w AS left_in, lead(entry) OVER w AS back_in
            FROM named WINDOW w AS (PARTITION BY person_id ORDER BY entry)"""

    @step
    def recalled(self) -> str:
        """A spell of non-employment that ends in a recall: with the same employer or its successor, and soon enough."""
        return f"""
            SELECT DISTINCT a.person_id, a.spell FROM neighbours a LEFT JOIN links l
              ON l.from_employer_id = a.left_employer AND l.to_employer_id = a.next_employer
                AND l.period BETWEEN a.left_in - 1 AND a.back_in
            WHERE a.rank = 0 AND a.has_last AND a.has_next AND exit - entry + 1 <= {self.recall_within}
              AND (a.left_employer = a.next_employer OR l.period IS NOT NULL)"""

    @step
    def ended(self) -> str:
        """A spell, and whether it ends in a recall."""
        return """
            SELECT a.*, r.spell IS NOT NULL AS recall FROM neighbours a LEFT JOIN recalled r
              ON r.person_id = a.person_id AND r.spell = a.spell"""

    @step
    def followed(self) -> str:
        """A spell, and what follows it: the rank of the next job (0: none), and whether a recall ends that."""
        return """
            SELECT *, lead(rank) OVER w AS next_rank, lead(recall) OVER w AS next_recall
            FROM ended WINDOW w AS (PARTITION BY person_id ORDER BY entry)"""

    @step
    def cause(self) -> str:
        """A spell and the cause of its end: the first of these rules that applies.

        A spell that no other follows at once is censored. Non-employment ends by recall or in a new job. A job ends in
        another one, in non-employment after which the employer takes the person back (recall), or in other
        non-employment.
        """
        return """
            SELECT *, CASE WHEN NOT has_next THEN 'censored'
              WHEN rank = 0 THEN CASE WHEN recall THEN 'recall' ELSE 'new_job' END
              WHEN next_rank > 0 THEN 'job_to_job'
              WHEN next_recall THEN 'recall' ELSE 'nonemployment' END AS cause
            FROM followed"""

    @table
    def spells(self) -> str:
        """A spell, as `build_spells` describes it."""
        quarters = "CAST(exit - entry + 1 AS INTEGER) AS quarters," if self.quarterly else ""
        return f"""
            SELECT person_id, CAST(spell AS INTEGER) AS spell,
              CASE WHEN rank = 0 THEN 'nonemployed' ELSE 'employed' END AS state, job, employer_id,
              CAST(entry AS INTEGER) AS entry, CAST(exit AS INTEGER) AS exit,
              CAST(exit - entry + 1 AS INTEGER) AS periods, {quarters} cause, NOT has_last AS left_truncated
            FROM cause"""
