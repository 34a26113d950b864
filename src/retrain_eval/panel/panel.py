"""Person × period panel from wage records, in SQL.

No record is not zero: it is zero where coverage says that the source was there, or where the study says that its
source covers everybody in every period; and only while the person could be seen in it: linked, observed, and without a
refused wage record in the period.
"""

from __future__ import annotations

import duckdb

from retrain_eval.common.errors import DesignError, InputError, unknown
from retrain_eval.common.periods import period_label, stored_period
from retrain_eval.panel.calendar import displacement_sql, frequency_of
from retrain_eval.panel.coverage import GAPS, PEOPLE, PERIODS, build_coverage, build_gaps, loaded
from retrain_eval.panel.jobs import build_jobs
from retrain_eval.panel.outcome_paths import mark_built

NO_RECORD = ("coverage", "missing", "zero")
_CHUNK = 250_000  # people whose records are in memory at once


def build_panel(
    con: duckdb.DuckDBPyConnection,
    no_record: str | None = None,
    *,
    window: tuple[int | str, int | str] | None = None,
    base_period: int | str | None = None,
    successor_share: float = 0.8,
) -> duckdb.DuckDBPyRelation:
    """Create the table ``panel``, one row per person and period, and the table ``job`` where employers are known.

    Parameters
    ----------
    con : DuckDBPyConnection
        Connection of a store whose records are loaded: person, enrolment and wage_record; coverage, linkage,
        observation, displacement, employer_link and price where there are any.
    no_record : {"coverage", "missing", "zero"}, optional
        What a covered period without a wage record means: zero by the records of ``coverage`` ("coverage", the
        default where they are loaded), unknown ("missing", the default elsewhere), or zero always ("zero", right
        only where the source covers every person in every period). Whatever it is, a person is unknown in a period
        with a refused wage record, outside the time of ``observation`` (or after death, a move or an institution as
        ``exit_reason``), and always where ``linkage`` is loaded and does not say ``linked``.
    window : tuple of int or str, optional
        First and last period, as stored or written ``2019Q1``. By default the periods that coverage says are
        available, else those that occur in the wage records.
    base_period : int or str, optional
        Period whose prices earnings are in; by default the last one in ``price``. Without prices they are nominal.
    successor_share : float
        See `retrain_eval.build_jobs`.

    Returns
    -------
    DuckDBPyRelation
        ``person_id, period``; ``earnings`` (real, of all employers; NULL where not covered or unknown, whatever
        records there are); ``employed`` (1.0 if earnings are above zero); ``n_employers``; ``main_employer`` (highest
        wages, ties by key) with its ``naics`` and ``isco``; ``hours`` (NULL if any is missing); ``full_quarter`` (1.0
        if some job pays in the period and in both neighbours); ``tenure`` (periods that the longest-running job has
        lasted, 0 without one) and ``tenure_censored`` (that job ran when coverage began);
        ``to_displacement, to_entry, to_exit`` (periods since the first displacement, the first entry into a
        programme, and the exit from it); ``cohort``
        (period of first entry; NULL = never). What needs employers is NULL unless every record of pay names one.

    Raises
    ------
    InputError
        If a record type or a price is missing, a keyword is unknown, or coverage is loaded and would be ignored.
    DesignError
        If there are no periods.

    Notes
    -----
    Full-quarter employment as in Abowd, Stephens, Vilhuber et al. (2009), the LEHD infrastructure files: employment
    in the quarter before, in the quarter and in the one after. It is NULL where a neighbour is not covered and could
    decide.

    Examples
    --------
    >>> con = duckdb.connect()
    >>> _ = con.execute("CREATE TABLE person AS SELECT unnest(['a', 'b']) AS person_id")
    >>> _ = con.execute("CREATE TABLE enrolment AS SELECT 'a' AS person_id, 2021 AS entry")
    >>> _ = con.execute("CREATE TABLE wage_record AS SELECT * FROM (VALUES ('a', 2020, 10.5), ('a', 2020, 2.0), "
    ...                 "('b', 2020, 0.0), ('b', 2021, 7.0)) AS w(person_id, period, wages)")
    >>> build_panel(con).project("person_id, period, earnings, employed").order("ALL").fetchall()
    [('a', 2020, 12.5, 1.0), ('a', 2021, None, None), ('b', 2020, 0.0, 0.0), ('b', 2021, 7.0, 1.0)]
    """
    window = None if window is None else (stored_period(window[0]), stored_period(window[1]))
    base_period = None if base_period is None else stored_period(base_period)
    if no_record is not None and no_record not in NO_RECORD:
        raise unknown("no_record", no_record, NO_RECORD)
    for name in ("person", "enrolment", "wage_record"):
        if not loaded(con, name):
            raise InputError(f"no records of {name} are loaded", fix=f"name their file under [records]: {name} = ...")
    known = loaded(con, "coverage")
    if known and no_record in ("missing", "zero"):
        fix = 'use no_record = "coverage", or leave the coverage records out'
        raise InputError(f"records of coverage are loaded, and no_record={no_record!r} would ignore them", fix=fix)
    if no_record == "coverage" and not known:
        raise InputError("no records of coverage are loaded", fix="name their file under [records]: coverage = ...")
    if known:
        build_coverage(con)
    employers = _employers(con)
    if employers:
        build_jobs(con, successor_share=successor_share)
    else:
        con.execute("DROP TABLE IF EXISTS job")
    gaps = build_gaps(con)
    _build_periods(con, window)
    _build_people(con)
    _build_prices(con, base_period)
    last = con.execute("SELECT max(n) FROM temp.panel_person").fetchall()[0][0] or 0
    con.execute("BEGIN")  # a panel is whole or not there
    try:
        for first in range(1, max(last, 1) + 1, _CHUNK):
            sql = _panel_sql(con, no_record or ("coverage" if known else "missing"), employers, gaps, first)
            con.execute(("CREATE OR REPLACE TABLE panel AS " if first == 1 else "INSERT INTO panel ") + sql)
        con.execute("COMMIT")
    except BaseException:
        con.execute("ROLLBACK")
        raise
    mark_built(con, "panel")
    con.execute("DROP TABLE temp.panel_person; DROP TABLE temp.panel_period; DROP TABLE temp.panel_price")
    return con.table("panel")


def _employers(con: duckdb.DuckDBPyConnection) -> bool:
    """Return whether every record of pay names an employer: only then can jobs be seen."""
    if "employer_id" not in con.table("wage_record").columns:
        return False
    named, paid = con.execute("SELECT count(employer_id), count(*) FROM wage_record WHERE wages > 0").fetchall()[0]
    return bool(named == paid > 0)


def _build_periods(con: duckdb.DuckDBPyConnection, window: tuple[int, int] | None) -> None:
    source = "SELECT DISTINCT period FROM wage_record"
    if loaded(con, "coverage"):
        source = f"SELECT DISTINCT period FROM {PERIODS}"
    elif loaded(con, "refused_row"):  # a period of which every record was refused is one
        source += (
            " UNION SELECT period FROM refused_row SEMI JOIN person USING (person_id) "
            "WHERE resource = 'wage_record' AND period IS NOT NULL"
        )
    kept = "" if window is None else f"WHERE period BETWEEN {window[0]} AND {window[1]}"
    con.execute(f"CREATE OR REPLACE TEMP TABLE panel_period AS SELECT period FROM ({source}) {kept} ORDER BY period")
    unseen = "SELECT NOT EXISTS (FROM {}) AND EXISTS (FROM person)"
    if loaded(con, "coverage") and con.execute(unseen.format(PERIODS)).fetchall() == [(True,)]:
        raise DesignError(
            "no person is linked to a source that coverage says was available for them: nothing is known of anybody"
        )
    if con.execute("SELECT count(*) FROM temp.panel_period").fetchall() == [(0,)]:
        raise DesignError(f"no period of the records lies in the window {window}" if window else "there are no periods")


def _build_people(con: duckdb.DuckDBPyConnection) -> None:
    """Make a table of people, numbered by their ids, with the periods of displacement, entry and exit."""
    have = con.table("person").columns
    displaced = "SELECT NULL AS person_id, NULL AS displaced WHERE false"
    if loaded(con, "displacement"):
        period = displacement_sql(frequency_of(con, "temp.panel_period"), "min(displaced_on)")
        displaced = f"SELECT person_id, CAST({period} AS INTEGER) AS displaced FROM displacement GROUP BY person_id"
    left_in = (
        "first(exit ORDER BY entry, programme_id)" if "exit" in con.table("enrolment").columns else "NULL::INTEGER"
    )
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE panel_person AS
        WITH displaced AS ({displaced}),
        entered AS (SELECT person_id, min(entry) AS cohort, {left_in} AS left_in FROM enrolment GROUP BY person_id)
        SELECT CAST(row_number() OVER (ORDER BY person_id) AS INTEGER) AS n, person_id,
          {"region" if "region" in have else "NULL::VARCHAR AS region"},
          {"class" if loaded(con, "coverage") else "0 AS class"}, displaced, cohort, left_in
        FROM person LEFT JOIN displaced USING (person_id) LEFT JOIN entered USING (person_id)
        {f"LEFT JOIN {PEOPLE} USING (person_id)" if loaded(con, "coverage") else ""}
        """
    )


def _build_prices(con: duckdb.DuckDBPyConnection, base_period: int | None) -> None:
    """Make the factor that turns nominal into real wages, by region and period; one where there are no prices."""
    regions = "SELECT DISTINCT region FROM temp.panel_person"
    if not loaded(con, "price"):
        if base_period is not None:
            fix = "name their file under [records]: price = ..., or drop base_period"
            raise InputError("there are no records of price for base_period to refer to", value=base_period, fix=fix)
        con.execute(
            "CREATE OR REPLACE TEMP TABLE panel_price AS "
            f"SELECT region, period, 1.0::DOUBLE AS factor FROM ({regions}) CROSS JOIN panel_period"
        )
        return
    base = "(SELECT max(period) FROM price)" if base_period is None else str(base_period)
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE panel_price AS
        WITH wanted AS (SELECT period FROM temp.panel_period UNION SELECT {base}),
        local AS (
          SELECT r.region, w.period, coalesce(max(cpi) FILTER (p.region IS NOT NULL), max(cpi) FILTER (p.region IS
            NULL)) AS cpi
          FROM ({regions}) r CROSS JOIN wanted w
          LEFT JOIN price p ON p.period = w.period AND (p.region IS NULL OR p.region = r.region)
          GROUP BY ALL
        )
        SELECT region, period, CAST(max(cpi) FILTER (period = {base}) OVER (PARTITION BY region) AS DOUBLE) / cpi AS
          factor
        FROM local
        """
    )
    covered = f"SEMI JOIN {PERIODS} c ON c.period = f.period" if loaded(con, "coverage") else ""
    missing = con.execute(
        f"SELECT f.region, f.period FROM temp.panel_price f {covered} WHERE factor IS NULL ORDER BY ALL LIMIT 1"
    ).fetchall()
    if missing:
        raise InputError(
            f"there is no price for region {missing[0][0]!r} in period "
            f"{period_label(missing[0][1], frequency_of(con, 'temp.panel_period'))} or in the base period",
            column="cpi",
            rule="a consumer price index for every covered region and period, and for the base period",
            fix="complete the records of price; a row without a region is for every region",
        )


def _panel_sql(con: duckdb.DuckDBPyConnection, no_record: str, employers: bool, gaps: bool, first: int) -> str:
    """Return the SQL for the panel of one chunk of people; only their records and jobs are in memory."""
    have = con.table("wage_record").columns
    column = {name: name if name in have else f"NULL AS {name}" for name in ("employer_id", "hours", "naics", "isco")}
    if no_record == "coverage":
        flags = f"""
          SELECT class, period, true AS here,
            EXISTS (FROM {PERIODS} b WHERE b.class = c.class AND b.period = c.period - 1) AS before,
            EXISTS (FROM {PERIODS} a WHERE a.class = c.class AND a.period = c.period + 1) AS after
          FROM {PERIODS} c"""
        here = "coalesce(f.here, false)"
    else:
        zero = "true" if no_record == "zero" else "false"
        flags = f"""
          SELECT 0 AS class, period, {zero} AS here, {zero} AND period - 1 IN (FROM temp.panel_period) AS before,
            {zero} AND period + 1 IN (FROM temp.panel_period) AS after
          FROM temp.panel_period"""
        here = "true" if no_record == "zero" else "pay.wages IS NOT NULL"
    tenure = (
        "SELECT 0 AS n, 0 AS period, 0 AS tenure, false AS censored, false AS full_job, false AS back, false AS onward"
    )
    if employers:
        tenure = """
          SELECT n, unnest(range(first_period, last_period + 1)) AS period, first_period, last_period
          FROM job JOIN people USING (person_id)"""
        tenure = f"""
          SELECT n, period, max(period - first_period + 1) AS tenure, min(first_period) AS since,
            bool_or(first_period < period AND last_period > period) AS full_job,
            bool_or(first_period < period) AS back, bool_or(last_period > period) AS onward
          FROM ({tenure}) GROUP BY n, period"""
    else:
        tenure = f"SELECT t.*, 0 AS since FROM ({tenure}) t WHERE false"
    jobs = "true" if employers else "false"
    unknown_in = "SELECT 0 AS n, 0 AS period WHERE false"
    if gaps:
        spans = "SELECT period FROM wage_record UNION ALL FROM temp.panel_period"
        low, high = con.execute(f"SELECT min(period) - 1, max(period) + 1 FROM ({spans})").fetchall()[0]
        unknown_in = (
            f"SELECT DISTINCT n, unnest(range(greatest(since, {low}), least(until, {high}) + 1)) AS period "
            f"FROM {GAPS} JOIN people USING (person_id)"
        )
    return f"""
        WITH people AS (FROM temp.panel_person WHERE n BETWEEN {first} AND {first + _CHUNK - 1}),
        flags AS ({flags}),
        employer AS (
          SELECT n, period, employer_id, sum(wages) AS wages, sum(hours) AS hours, count(*) - count(hours) AS
            hours_missing,
            min_by({{'naics': naics, 'isco': isco}}, (-wages, naics, isco)) AS kind
          FROM (
            SELECT n, period, wages, {", ".join(column.values())} FROM wage_record JOIN people USING (person_id)
          )
          GROUP BY n, period, employer_id
        ),
        pay AS (
          SELECT n, period, sum(wages) AS wages, count(*) FILTER (wages > 0) AS n_employers,
            CASE WHEN sum(hours_missing) = 0 THEN sum(hours) END AS hours,
            min_by({{'id': employer_id, 'kind': kind}}, (-wages, employer_id)) AS main
          FROM employer GROUP BY n, period
        ),
        tenure AS ({tenure}),
        unknown_in AS ({unknown_in}),
        joined AS (
          SELECT people.*, g.period, {here} AND u.n IS NULL AS covered,
            coalesce(f.before, false) AND earlier.n IS NULL AS before,
            coalesce(f.after, false) AND later.n IS NULL AS after,
            pay.* EXCLUDE (n, period), t.* EXCLUDE (n, period), r.factor
          FROM people CROSS JOIN temp.panel_period g
          LEFT JOIN flags f ON f.class = people.class AND f.period = g.period
          LEFT JOIN pay ON pay.n = people.n AND pay.period = g.period
          LEFT JOIN tenure t ON t.n = people.n AND t.period = g.period
          LEFT JOIN unknown_in u ON u.n = people.n AND u.period = g.period
          LEFT JOIN unknown_in earlier ON earlier.n = people.n AND earlier.period = g.period - 1
          LEFT JOIN unknown_in later ON later.n = people.n AND later.period = g.period + 1
          LEFT JOIN temp.panel_price r ON r.region IS NOT DISTINCT FROM people.region AND r.period = g.period
        )
        SELECT person_id, CAST(period AS INTEGER) AS period,
          CASE WHEN covered THEN CAST(coalesce(wages, 0) AS DOUBLE) * factor END AS earnings,
          CASE WHEN covered THEN CAST(coalesce(wages, 0) > 0 AS DOUBLE) END AS employed,
          CASE WHEN covered AND {jobs} THEN CAST(coalesce(n_employers, 0) AS INTEGER) END AS n_employers,
          CASE WHEN covered AND {jobs} AND wages > 0 THEN main.id END AS main_employer,
          CASE WHEN NOT {jobs} OR NOT covered THEN NULL WHEN full_job THEN 1.0::DOUBLE
            WHEN tenure IS NULL OR (before AND after) OR (before AND NOT back) OR (after AND NOT onward) THEN 0.0
            END AS full_quarter,
          CASE WHEN covered AND {jobs} THEN CAST(coalesce(tenure, 0) AS INTEGER) END AS tenure,
          CASE WHEN covered AND {jobs} THEN coalesce(tenure_censored, false) END AS tenure_censored,
          CASE WHEN covered AND wages > 0 THEN CAST(hours AS DOUBLE) END AS hours,
          CASE WHEN covered AND wages > 0 THEN CAST(main.kind.naics AS VARCHAR) END AS naics,
          CASE WHEN covered AND wages > 0 THEN CAST(main.kind.isco AS VARCHAR) END AS isco,
          period - displaced AS to_displacement, period - cohort AS to_entry, period - left_in AS to_exit, cohort
        FROM (
          SELECT j.*, tenure > 0 AND NOT (coalesce(s.before, false) AND u.n IS NULL) AS tenure_censored
          FROM joined j LEFT JOIN flags s ON s.class = j.class AND s.period = j.since
          LEFT JOIN unknown_in u ON u.n = j.n AND u.period = j.since - 1
        )
        ORDER BY n, period
        """
