"""Where and when a source of wage records was there, and for whom: what makes the absence of a record a zero."""

from __future__ import annotations

import duckdb

from retrain_eval.common.errors import DesignError

PEOPLE, PERIODS, GAPS = "temp.coverage_people", "temp.coverage_periods", "temp.coverage_gaps"
GONE = ("deceased", "moved", "institutionalised")  # reasons of exit after which a person is no longer observed
_FIRST, _LAST = 0, 2_000_000_000  # before and after every period


def loaded(con: duckdb.DuckDBPyConnection, *names: str) -> bool:
    """Return whether all of these tables or views exist."""
    have = {row[0] for row in con.execute("SELECT table_name FROM information_schema.tables").fetchall()}
    return have.issuperset(names)


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
    linked, sources = "SELECT NULL AS person_id, NULL AS sources WHERE false", "sources"
    if loaded(con, "linkage"):
        linked = (
            "SELECT person_id, list_sort(coalesce(list(source) FILTER (status = 'linked'), [])) AS sources "
            "FROM linkage GROUP BY person_id"
        )
        sources = "coalesce(sources, [])"
    region = "region" if "region" in con.table("person").columns else "NULL::VARCHAR AS region"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE coverage_classes AS
        WITH people AS (SELECT person_id, {region} FROM person), linked AS ({linked}),
        whole AS (SELECT person_id, region, {sources} AS sources FROM people LEFT JOIN linked USING (person_id))
        SELECT person_id, region, sources, dense_rank() OVER (ORDER BY region, sources) AS class FROM whole
        """
    )
    con.execute(f"CREATE OR REPLACE TEMP TABLE {PEOPLE} AS SELECT person_id, class FROM temp.coverage_classes")
    rows = "SELECT source, region, period, available, false AS refused FROM coverage"
    if loaded(con, "refused_row"):  # what could not be read of a key may be anything
        rows += """
          UNION ALL BY NAME SELECT c.source, r.key['region'] AS region, c.period, false AS available, true AS refused
          FROM refused_row r JOIN (SELECT DISTINCT source, period FROM coverage) c
            ON coalesce(r.key['source'], c.source) = c.source AND coalesce(r.period, c.period) = c.period
          WHERE r.resource = 'coverage'"""
    here = "bool_or(available) FILTER ({0}) AND NOT bool_or(refused) FILTER ({0})"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {PERIODS} AS
        WITH classes AS (SELECT DISTINCT class, region, sources FROM temp.coverage_classes), told AS ({rows}),
        sources AS (
          SELECT class, source, period, coalesce({here.format("told.region IS NOT NULL")},
            {here.format("told.region IS NULL")}) AS available
          FROM classes JOIN told ON told.region IS NULL OR told.region = classes.region
          WHERE sources IS NULL OR list_contains(sources, source)
          GROUP BY class, source, period
        )
        SELECT DISTINCT class, period FROM sources WHERE available
        """
    )
    con.execute("DROP TABLE temp.coverage_classes")
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
    >>> con.sql("FROM temp.coverage_gaps ORDER BY ALL").fetchall()
    [('a', 0, 8075), ('a', 8080, 8081)]
    """
    parts = []
    if loaded(con, "refused_row"):
        parts.append(
            f"SELECT person_id, coalesce(period, {_FIRST}) AS since, coalesce(period, {_LAST}) AS until "
            "FROM refused_row WHERE resource = 'wage_record' AND person_id IS NOT NULL"
        )
    seen = "SELECT NULL AS person_id WHERE false"
    if loaded(con, "observation"):
        seen = "SELECT person_id FROM observation"
        ends = f'SELECT person_id, coalesce("from", {_FIRST}) AS a, coalesce("to", {_LAST}) AS b FROM observation'
        parts.append(
            f"""
            SELECT person_id, 1 + coalesce(max(b) OVER (PARTITION BY person_id ORDER BY a, b
              ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), {_FIRST - 1}) AS since, a - 1 AS until FROM ({ends})
            UNION ALL SELECT person_id, max(b) + 1, {_LAST} FROM ({ends}) GROUP BY person_id"""
        )
    if loaded(con, "enrolment") and "exit_reason" in (columns := con.table("enrolment").columns):
        left = "coalesce(exit, entry)" if "exit" in columns else "entry"
        reasons = ", ".join(f"'{reason}'" for reason in GONE)
        parts.append(
            f"""
            SELECT person_id, max({left}) FILTER (exit_reason IN ({reasons})) + 1 AS since, {_LAST} AS until
            FROM enrolment WHERE person_id NOT IN ({seen}) GROUP BY person_id HAVING since > max(entry)"""
        )
    if loaded(con, "linkage") and not loaded(con, "coverage"):  # coverage knows of links itself
        linked = "SELECT person_id FROM linkage WHERE status = 'linked'"
        parts.append(
            f"SELECT person_id, {_FIRST} AS since, {_LAST} AS until FROM person WHERE person_id NOT IN ({linked})"
        )
    nothing = "SELECT NULL::VARCHAR AS person_id, NULL::INTEGER AS since, NULL::INTEGER AS until WHERE false"
    rows = " UNION ALL ".join(parts or [nothing])
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {GAPS} AS SELECT DISTINCT person_id, CAST(since AS INTEGER) AS since, "
        f"CAST(until AS INTEGER) AS until FROM ({rows}) WHERE since <= until"
    )
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
