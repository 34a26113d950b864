"""Person × period panel from wage records.

No record is not zero: it is zero where coverage says that the source was available, or where the study says that its
source covers all people in every period; and only while the person could be seen in it: linked, observed, and without a
refused wage record in the period. The step ``zero_or_unknown`` of `retrain_eval.panel.panel_steps` decides this.
"""

from __future__ import annotations

from dataclasses import replace

import duckdb

from retrain_eval.common.errors import DesignError, InputError, unknown
from retrain_eval.common.periods import period_label, stored_period
from retrain_eval.common.sql import loaded, optional, select
from retrain_eval.panel.calendar import displacement_sql, frequency_of
from retrain_eval.panel.coverage import PERIODS, build_coverage, build_gaps
from retrain_eval.panel.jobs import build_jobs
from retrain_eval.panel.outcome_paths import mark_built
from retrain_eval.panel.panel_steps import (
    DISPLACEMENT,
    ENROLMENT,
    PERSON,
    RECORD,
    PanelSteps,
    PersonSteps,
    PriceSteps,
)

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
        What a period without a wage record means: zero by the records of ``coverage`` ("coverage", the
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
    steps = PanelSteps(
        no_record=no_record or ("coverage" if known else "missing"),
        records=select(con, "wage_record", *RECORD),
        employers=employers,
        gaps=_span(con) if gaps else None,
    )
    [(people,)] = con.execute("SELECT max(n) FROM temp._panel_person").fetchall()
    con.execute("BEGIN")  # a panel is whole or not there
    try:
        for first in range(1, max(people or 0, 1) + 1, _CHUNK):
            sql = replace(steps, first=first, last=first + _CHUNK - 1).sql()
            con.execute(("CREATE OR REPLACE TABLE panel AS " if first == 1 else "INSERT INTO panel ") + sql)
        con.execute("COMMIT")
    except BaseException:
        con.execute("ROLLBACK")
        raise
    mark_built(con, "panel")
    con.execute("DROP TABLE temp._panel_person; DROP TABLE temp._panel_period; DROP TABLE temp._panel_price")
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
    inside = "" if window is None else f"WHERE period BETWEEN {window[0]} AND {window[1]}"
    con.execute(f"CREATE OR REPLACE TEMP TABLE _panel_period AS SELECT period FROM ({source}) {inside} ORDER BY period")
    unseen = "SELECT NOT EXISTS (FROM {}) AND EXISTS (FROM person)"
    if loaded(con, "coverage") and con.execute(unseen.format(PERIODS)).fetchall() == [(True,)]:
        raise DesignError(
            "no person is linked to a source that coverage says was available for them, so nothing is known of anyone"
        )
    if con.execute("SELECT count(*) FROM temp._panel_period").fetchall() == [(0,)]:
        raise DesignError(
            f"no period of the records lies in the window {window}" if window else "there are no periods",
            public="no period of the records lies in the window of the study",
        )


def _build_people(con: duckdb.DuckDBPyConnection) -> None:
    day = "min(displaced_on)"
    PersonSteps(
        persons=select(con, "person", *PERSON),
        enrolments=select(con, "enrolment", *ENROLMENT),
        displacements=optional(con, "displacement", *DISPLACEMENT),
        displaced_in=displacement_sql(frequency_of(con, "temp._panel_period"), day)
        if loaded(con, "displacement")
        else "0",
        coverage=loaded(con, "coverage"),
    ).build(con)


def _build_prices(con: duckdb.DuckDBPyConnection, base_period: int | None) -> None:
    if not loaded(con, "price"):
        if base_period is not None:
            fix = "name their file under [records]: price = ..., or drop base_period"
            raise InputError("there are no records of price for base_period to refer to", value=base_period, fix=fix)
        PriceSteps("").build(con)
        return
    PriceSteps("(SELECT max(period) FROM price)" if base_period is None else str(base_period)).build(con)
    covered = f"SEMI JOIN {PERIODS} c ON c.period = f.period" if loaded(con, "coverage") else ""
    missing = con.execute(
        f"SELECT f.region, f.period FROM temp._panel_price f {covered} WHERE factor IS NULL ORDER BY ALL LIMIT 1"
    ).fetchall()
    if missing:
        raise InputError(
            f"there is no price for region {missing[0][0]!r} in period "
            f"{period_label(missing[0][1], frequency_of(con, 'temp._panel_period'))} or in the base period",
            column="cpi",
            rule="a consumer price index for every covered region and period, and for the base period",
            fix="complete the records of price; a row without a region is for every region",
        )


def _span(con: duckdb.DuckDBPyConnection) -> tuple[int, int]:
    """Return the first and the last period that a gap can bear on: those of records and panel, and their neighbours."""
    periods = "SELECT period FROM wage_record UNION ALL FROM temp._panel_period"
    [(low, high)] = con.execute(f"SELECT min(period) - 1, max(period) + 1 FROM ({periods})").fetchall()
    return low, high
