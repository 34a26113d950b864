"""Where a quarter becomes zero or unknown: the steps from wage records to the panel, in SQL.

The decision is the step ``zero_or_unknown`` of `PanelSteps`. Its two reasons are steps as well: ``covered`` (a missing
record means zero) and ``unknown`` (it does not, whatever the source holds). Where coverage and gaps come from is in
`retrain_eval.panel.coverage`. ``print(PanelSteps(...))`` shows every step under the rule that it follows.
"""

from __future__ import annotations

from dataclasses import dataclass

from retrain_eval.common.sql import no_rows
from retrain_eval.common.sql_steps import Pipeline, step, table, temporary
from retrain_eval.panel.coverage import GAPS, PEOPLE, PERIODS

# what is read of a wage record; a column whose type is given may be absent
RECORD = ("person_id", "period", "wages", "employer_id VARCHAR", "hours DOUBLE", "naics VARCHAR", "isco VARCHAR")
PERSON = ("person_id", "region VARCHAR")
ENROLMENT = ("person_id", "programme_id VARCHAR", "entry", "exit INTEGER")
DISPLACEMENT = ("person_id", "displaced_on DATE")


@dataclass(frozen=True)
class PanelSteps(Pipeline):
    """The panel of some people; only their records and jobs are in memory.

    Attributes
    ----------
    no_record : {"coverage", "missing", "zero"}
        What a period without a wage record means; see `retrain_eval.build_panel`.
    records : str
        SELECT of the wage records, with the columns ``RECORD``.
    employers : bool
        Whether every record of pay names an employer, so that there are jobs.
    gaps : tuple of int, optional
        First and last period that a gap can bear on; None if no person has one.
    first, last : int
        Numbers of the first and the last of these people.
    """

    no_record: str
    records: str
    employers: bool
    gaps: tuple[int, int] | None
    first: int = 1
    last: int = 2**31 - 1

    @step
    def periods(self) -> str:
        """A period of the panel."""
        return "FROM temp._panel_period"

    @step
    def prices(self) -> str:
        """A region and a period: the factor from nominal to real wages."""
        return "FROM temp._panel_price"

    @step
    def people(self) -> str:
        """A person of this chunk, with the periods of displacement, entry and exit."""
        return f"FROM temp._panel_person WHERE n BETWEEN {self.first} AND {self.last}"

    @step
    def covered(self) -> str:
        """A class of people and a period: whether no record means zero, in it (`here`) and in both its neighbours.

        Without records of coverage that is so always (no_record = "zero") or never ("missing").
        """
        if self.no_record == "coverage":
            return f"""
                SELECT class, period, true AS here,
                  EXISTS (FROM {PERIODS} b WHERE b.class = c.class AND b.period = c.period - 1) AS before,
                  EXISTS (FROM {PERIODS} a WHERE a.class = c.class AND a.period = c.period + 1) AS after
                FROM {PERIODS} c"""
        zero = "true" if self.no_record == "zero" else "false"
        return f"""
            SELECT 0 AS class, period, {zero} AS here, {zero} AND period - 1 IN (FROM periods) AS before,
              {zero} AND period + 1 IN (FROM periods) AS after
            FROM periods"""

    @step
    def unknown(self) -> str:
        """A person and a period that is unknown, whatever the source holds: one in a gap (`build_gaps`)."""
        if self.gaps is None:
            return no_rows("n", "period")
        low, high = self.gaps
        return f"""
            SELECT DISTINCT n, unnest(range(greatest(since, {low}), least(until, {high}) + 1)) AS period
            FROM {GAPS} JOIN people USING (person_id)"""

    @step
    def wage_records(self) -> str:
        """A wage record of one of these people."""
        return f"""
            SELECT n, period, wages, employer_id, hours, naics, isco
            FROM ({self.records}) JOIN people USING (person_id)"""

    @step
    def employer_pay(self) -> str:
        """A person, a period and an employer: the sum of its wage records; occupation and industry of the highest."""
        return """
            SELECT n, period, employer_id, sum(wages) AS wages, sum(hours) AS hours,
              count(*) - count(hours) AS hours_missing,
              min_by({'naics': naics, 'isco': isco}, (-wages, naics, isco)) AS kind
            FROM wage_records GROUP BY n, period, employer_id"""

    @step
    def pay(self) -> str:
        """A person and a period with a wage record: the sum over employers; the main one pays most, ties by key."""
        return """
            SELECT n, period, sum(wages) AS wages, count(*) FILTER (wages > 0) AS n_employers,
              CASE WHEN sum(hours_missing) = 0 THEN sum(hours) END AS hours,
              min_by({'id': employer_id, 'kind': kind}, (-wages, employer_id)) AS main
            FROM employer_pay GROUP BY n, period"""

    @step
    def job_periods(self) -> str:
        """A person, one of their jobs, and a period that it lasts."""
        if not self.employers:
            return no_rows("n INTEGER", "period INTEGER", "first_period INTEGER", "last_period INTEGER")
        return """
            SELECT n, unnest(range(first_period, last_period + 1)) AS period, first_period, last_period
            FROM job JOIN people USING (person_id)"""

    @step
    def tenure(self) -> str:
        """A person and a period with a job: how long the longest has lasted, and whether jobs run over its ends."""
        return """
            SELECT n, period, max(period - first_period + 1) AS tenure, min(first_period) AS since,
              bool_or(first_period < period AND last_period > period) AS full_job,
              bool_or(first_period < period) AS back, bool_or(last_period > period) AS onward
            FROM job_periods GROUP BY n, period"""

    @step
    def recorded(self) -> str:
        """A person and a period, with what the records hold of it."""
        return """
            SELECT people.*, g.period, pay.* EXCLUDE (n, period), t.* EXCLUDE (n, period), r.factor
            FROM people CROSS JOIN periods g
            LEFT JOIN pay ON pay.n = people.n AND pay.period = g.period
            LEFT JOIN tenure t ON t.n = people.n AND t.period = g.period
            LEFT JOIN prices r ON r.region IS NOT DISTINCT FROM people.region AND r.period = g.period"""

    @step
    def zero_or_unknown(self) -> str:
        """A person and a period, `known` or not; `before` and `after`: no record would mean zero in its neighbours.

        Known is a period in which no record means zero (`covered`) and which lies in no gap (`unknown`). Its earnings
        are the sum of what was paid: zero without a record. Those of any other period are unknown, whatever was
        recorded. With no_record = "zero" every period outside a gap is known, with "missing" each that has a record.
        """
        here = {"coverage": "coalesce(c.here, false)", "missing": "wages IS NOT NULL", "zero": "true"}
        return f"""
            SELECT r.*, {here[self.no_record]} AND u.n IS NULL AS known,
              coalesce(c.before, false) AND earlier.n IS NULL AS before,
              coalesce(c.after, false) AND later.n IS NULL AS after
            FROM recorded r
            LEFT JOIN covered c ON c.class = r.class AND c.period = r.period
            LEFT JOIN unknown u ON u.n = r.n AND u.period = r.period
            LEFT JOIN unknown earlier ON earlier.n = r.n AND earlier.period = r.period - 1
            LEFT JOIN unknown later ON later.n = r.n AND later.period = r.period + 1"""

    @step
    def censored(self) -> str:
        """A person and a period: tenure is censored if nothing is known of the period before the job began."""
        return """
            SELECT z.*, tenure > 0 AND NOT (coalesce(c.before, false) AND u.n IS NULL) AS tenure_censored
            FROM zero_or_unknown z LEFT JOIN covered c ON c.class = z.class AND c.period = z.since
            LEFT JOIN unknown u ON u.n = z.n AND u.period = z.since - 1"""

    @table
    def panel(self) -> str:
        """A person and a period, as `build_panel` describes it: what is not known is NULL."""
        jobs = "true" if self.employers else "false"
        return f"""
            SELECT person_id, CAST(period AS INTEGER) AS period,
              CASE WHEN known THEN CAST(coalesce(wages, 0) AS DOUBLE) * factor END AS earnings,
              CASE WHEN known THEN CAST(coalesce(wages, 0) > 0 AS DOUBLE) END AS employed,
              CASE WHEN known AND {jobs} THEN CAST(coalesce(n_employers, 0) AS INTEGER) END AS n_employers,
              CASE WHEN known AND {jobs} AND wages > 0 THEN main.id END AS main_employer,
              CASE WHEN NOT {jobs} OR NOT known THEN NULL WHEN full_job THEN 1.0::DOUBLE
                WHEN tenure IS NULL OR (before AND after) OR (before AND NOT back) OR (after AND NOT onward) THEN 0.0
                END AS full_quarter,
              CASE WHEN known AND {jobs} THEN CAST(coalesce(tenure, 0) AS INTEGER) END AS tenure,
              CASE WHEN known AND {jobs} THEN coalesce(tenure_censored, false) END AS tenure_censored,
              CASE WHEN known AND wages > 0 THEN CAST(hours AS DOUBLE) END AS hours,
              CASE WHEN known AND wages > 0 THEN CAST(main.kind.naics AS VARCHAR) END AS naics,
              CASE WHEN known AND wages > 0 THEN CAST(main.kind.isco AS VARCHAR) END AS isco,
              period - displaced AS to_displacement, period - cohort AS to_entry, period - left_in AS to_exit, cohort
            FROM censored ORDER BY n, period"""


@dataclass(frozen=True)
class PersonSteps(Pipeline):
    """The people of the panel, numbered by their ids.

    Attributes
    ----------
    persons, enrolments, displacements : str
        SELECTs of the columns ``PERSON``, ``ENROLMENT`` and ``DISPLACEMENT``.
    displaced_in : str
        SQL for the period of ``min(displaced_on)``.
    coverage : bool
        Whether records of coverage are loaded.
    """

    persons: str
    enrolments: str
    displacements: str
    displaced_in: str
    coverage: bool

    @step
    def displaced(self) -> str:
        """A displaced person: the period of the first displacement."""
        return f"""
            SELECT person_id, CAST({self.displaced_in} AS INTEGER) AS displaced
            FROM ({self.displacements}) GROUP BY person_id"""

    @step
    def entered(self) -> str:
        """A person who entered a programme: the period of the first entry, and of the exit from that programme."""
        return f"""
            SELECT person_id, min(entry) AS cohort, first(exit ORDER BY entry, programme_id) AS left_in
            FROM ({self.enrolments}) GROUP BY person_id"""

    @temporary
    def _panel_person(self) -> str:
        """A person, numbered by id, with the class that coverage has put them in (0 without coverage)."""
        return f"""
            SELECT CAST(row_number() OVER (ORDER BY person_id) AS INTEGER) AS n, person_id, region,
              {"class" if self.coverage else "0 AS class"}, displaced, cohort, left_in
            FROM ({self.persons}) LEFT JOIN displaced USING (person_id) LEFT JOIN entered USING (person_id)
            {f"LEFT JOIN {PEOPLE} USING (person_id)" if self.coverage else ""}"""


@dataclass(frozen=True)
class PriceSteps(Pipeline):
    """The factors from nominal to real wages.

    Attributes
    ----------
    base : str
        SQL for the period whose prices earnings are in; empty if no prices are loaded.
    """

    base: str

    @step
    def regions(self) -> str:
        """A region that people live in."""
        return "SELECT DISTINCT region FROM temp._panel_person"

    @step
    def wanted(self) -> str:
        """A period that needs a price: one of the panel, or the base period."""
        return f"SELECT period FROM temp._panel_period UNION SELECT {self.base or 'NULL'}"

    @step
    def local(self) -> str:
        """A region and a period: the index of the region, else that of all regions."""
        return """
            SELECT r.region, w.period,
              coalesce(max(cpi) FILTER (p.region IS NOT NULL), max(cpi) FILTER (p.region IS NULL)) AS cpi
            FROM regions r CROSS JOIN wanted w
            LEFT JOIN price p ON p.period = w.period AND (p.region IS NULL OR p.region = r.region)
            GROUP BY ALL"""

    @temporary
    def _panel_price(self) -> str:
        """A region and a period: the index of the base period over that of the period; one without prices."""
        if not self.base:
            return "SELECT region, period, 1.0::DOUBLE AS factor FROM regions CROSS JOIN temp._panel_period"
        return f"""
            SELECT region, period,
              CAST(max(cpi) FILTER (period = {self.base}) OVER (PARTITION BY region) AS DOUBLE) / cpi AS factor
            FROM local"""
