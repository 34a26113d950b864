"""Where and when a source of wage records was there, and for whom: what makes the absence of a record a zero."""

from __future__ import annotations

import duckdb

from retrain_eval.errors import DesignError

PEOPLE, PERIODS = "temp.coverage_people", "temp.coverage_periods"


def loaded(con: duckdb.DuckDBPyConnection, *names: str) -> bool:
    """Return whether all of these tables or views exist."""
    have = {row[0] for row in con.execute("SELECT table_name FROM information_schema.tables").fetchall()}
    return have.issuperset(names)


def build_coverage(con: duckdb.DuckDBPyConnection) -> None:
    """Make two small temporary tables: the class of each person, and the periods that each class is covered in.

    A class is a region and the sources that a person was linked to, so there are few. A row of ``coverage`` about a
    region comes before one about every region. Whoever has no row in ``linkage`` counts as linked to every source;
    whoever has some, only to those with the status ``linked``.

    Raises
    ------
    DesignError
        If no record of coverage says that a source was available.
    """
    linked = "SELECT NULL AS person_id, NULL AS sources WHERE false"
    if loaded(con, "linkage"):
        linked = (
            "SELECT person_id, list_sort(coalesce(list(source) FILTER (status = 'linked'), [])) AS sources "
            "FROM linkage GROUP BY person_id"
        )
    region = "region" if "region" in con.table("person").columns else "NULL::VARCHAR AS region"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE coverage_classes AS
        WITH people AS (SELECT person_id, {region} FROM person), linked AS ({linked})
        SELECT person_id, region, sources, dense_rank() OVER (ORDER BY region, sources) AS class
        FROM people LEFT JOIN linked USING (person_id)
        """
    )
    con.execute(f"CREATE OR REPLACE TEMP TABLE {PEOPLE} AS SELECT person_id, class FROM temp.coverage_classes")
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {PERIODS} AS
        WITH classes AS (SELECT DISTINCT class, region, sources FROM temp.coverage_classes),
        sources AS (
          SELECT class, source, period, coalesce(bool_or(available) FILTER (coverage.region IS NOT NULL),
            bool_or(available) FILTER (coverage.region IS NULL)) AS available
          FROM classes JOIN coverage ON coverage.region IS NULL OR coverage.region = classes.region
          WHERE sources IS NULL OR list_contains(sources, source)
          GROUP BY class, source, period
        )
        SELECT DISTINCT class, period FROM sources WHERE available
        """
    )
    con.execute("DROP TABLE temp.coverage_classes")
    if con.execute("SELECT count(*) FROM coverage WHERE available").fetchall() == [(0,)]:
        raise DesignError("no record of coverage says that a source of wage records was available")


def covered_records(con: duckdb.DuckDBPyConnection) -> str:
    """Return SQL for the wage records that count: all of them, or those under coverage where it is known."""
    if not loaded(con, "coverage"):
        return "SELECT * FROM wage_record"
    return (
        f"SELECT w.* FROM wage_record w JOIN {PEOPLE} p ON w.person_id = p.person_id "
        f"SEMI JOIN {PERIODS} c ON c.class = p.class AND c.period = w.period"
    )


def uncovered_records(con: duckdb.DuckDBPyConnection) -> int:
    """Return how many wage records the panel leaves out: under no coverage, or of people not linked to their source.

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
    if not loaded(con, "coverage"):
        return 0
    build_coverage(con)
    everything = con.execute("SELECT count(*) FROM wage_record").fetchall()[0][0]
    counted = con.execute(f"SELECT count(*) FROM ({covered_records(con)})").fetchall()[0][0]
    return int(everything - counted)
