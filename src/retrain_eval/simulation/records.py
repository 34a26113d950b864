"""From careers to the files that an agency would hold: one step per record type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from retrain_eval.common.sources import sql_text
from retrain_eval.common.sql_steps import Pipeline, step, table, temporary
from retrain_eval.simulation.careers import number_of_firms
from retrain_eval.simulation.dropout import DIGITAL_ACCESS, LITERACY_SCORE
from retrain_eval.simulation.funding import cost_sql
from retrain_eval.simulation.no_gain import DISABILITY
from retrain_eval.simulation.parameters import DELIVERIES, TIERS, Parameters
from retrain_eval.simulation.providers import name_sql, programme_id_sql, programmes_sql

RENAMED, SOLD = 0.004, 0.002  # share of firms per quarter that go on under another key, or sell a part
INFLATION = 0.006
_AI_TUTOR = r"E',\n            with AI tutor'"  # as the simulated data have it, with a line break


def build_records(con: duckdb.DuckDBPyConnection, people: int, quarters: int, start: int, p: Parameters) -> None:
    """Create the eleven record tables from ``sim_person, sim_career, sim_trained``."""
    RecordSteps(number_of_firms(people), quarters, start, p.unlinked, p.funded, p.providers).build(con)


@dataclass(frozen=True)
class RecordSteps(Pipeline):
    """The record tables of an agency.

    Attributes
    ----------
    firms, quarters : int
        How many there are.
    start : int
        The first quarter; the columns ``t`` count from it.
    unlinked : float
        Share of people who cannot be found in the wage records.
    funded : tuple of float
        Share of each funder.
    providers : int
        How many there are.
    """

    firms: int
    quarters: int
    start: int
    unlinked: float
    funded: tuple[float, ...]
    providers: int

    @table
    def price(self) -> str:
        """A region and a quarter: its price index and living wage; prices rise faster in some regions."""
        return f"""
            SELECT 'R' || r AS region, CAST({self.start} + t AS INTEGER) AS period,
              round(100 * exp({INFLATION} * t * (.9 + .025 * r)), 4) AS cpi,
              CAST(round(6600 * exp({INFLATION} * (t - {self.quarters - 1}) * (.9 + .025 * r)), 2) AS DECIMAL(12,2))
                AS living_wage
            FROM range(1, 9) AS a(r), range({self.quarters}) AS b(t)"""

    @temporary
    def sim_deflator(self) -> str:
        """A region and a quarter: the factor from its prices to those of the last quarter."""
        last = self.start + self.quarters - 1
        return f"""
            SELECT region, period - {self.start} AS t,
              max(cpi) FILTER (period = {last}) OVER (PARTITION BY region) / cpi AS factor
            FROM price"""

    @temporary
    def sim_rename(self) -> str:
        """A firm and a quarter from which it goes on under another key."""
        return f"""
            SELECT CAST(f AS INTEGER) AS firm, CAST(t AS INTEGER) AS t,
              CAST(row_number() OVER (PARTITION BY f ORDER BY t) AS INTEGER) AS gen
            FROM range({self.firms}) AS a(f), range(1, {self.quarters}) AS b(t)
            WHERE draw('rename', f, t) < {RENAMED}"""

    @temporary
    def sim_firm(self) -> str:
        """A firm and a quarter: the key that it has then."""
        return f"""
            SELECT CAST(f AS INTEGER) AS firm, CAST(b.t AS INTEGER) AS t,
              'E' || lpad(f::VARCHAR, 6, '0') || CASE WHEN count(r.t) = 0 THEN '' ELSE '-' || count(r.t) END
                AS employer_id
            FROM range({self.firms}) AS a(f) CROSS JOIN range({self.quarters}) AS b(t)
            LEFT JOIN sim_rename r ON r.firm = f AND r.t <= b.t
            GROUP BY f, b.t"""

    @table
    def employer_link(self) -> str:
        """An employer and one that took over its workers: most of them under another key, a part where it was sold."""
        return f"""
            SELECT a.employer_id AS from_employer_id, b.employer_id AS to_employer_id,
              CAST({self.start} + b.t AS INTEGER) AS period, round(.85 + .15 * draw('share', r.firm, r.t), 3) AS share
            FROM sim_rename r
            JOIN sim_firm a ON a.firm = r.firm AND a.t = r.t - 1
            JOIN sim_firm b ON b.firm = r.firm AND b.t = r.t
            UNION ALL
            SELECT DISTINCT a.employer_id, b.employer_id, CAST({self.start} + a.t AS INTEGER),
              round(.2 + .4 * draw('part', a.firm, a.t), 3)
            FROM sim_firm a JOIN sim_firm b ON b.t = a.t AND b.firm = (a.firm + 7) % {self.firms}
            WHERE a.t > 0 AND a.firm <> b.firm AND draw('sold', a.firm, a.t) < {SOLD}
            ORDER BY ALL"""

    @table
    def person(self) -> str:
        """A person of the register."""
        return f"""
            SELECT sim_id(n) AS person_id, CAST(birth_year AS INTEGER) AS birth_year,
              CASE WHEN female THEN 'female' ELSE 'male' END AS sex,
              [2, CASE WHEN draw('years of school', n, 0) < .8 THEN 3 ELSE 4 END,
                5 + CAST(floor(draw('years of school', n, 0) * 3) AS INTEGER)][school + 1] AS education,
              {DISABILITY} AS disability, region,
              {DIGITAL_ACCESS} AS digital_access,
              {LITERACY_SCORE} AS literacy_score
            FROM sim_person ORDER BY n"""

    @table
    def programme(self) -> str:
        """A programme: one of each tier and delivery, with and without an AI tutor."""
        tier, delivery = f"{_texts(TIERS)}[k % 3 + 1]", f"{_texts(DELIVERIES)}[(k // 3) % 3 + 1]"
        return f"""
            SELECT {programme_id_sql(self.providers, "k", "j")} AS programme_id,
              {tier} || ', ' || {delivery} || CASE WHEN k >= 9 THEN {_AI_TUTOR} ELSE '' END AS name,
              {name_sql(self.providers, "j")} AS provider, {tier} AS tier, {delivery} AS delivery,
              k >= 9 AS ai_assisted, (2 + k % 3)::VARCHAR || '1' AS target_isco,
              CAST([160, 320, 520][k % 3 + 1] AS INTEGER) AS hours
            FROM {programmes_sql(self.providers)} ORDER BY k, j"""

    @table
    def enrolment(self) -> str:
        """A person who entered training."""
        return f"""
            SELECT sim_id(n) AS person_id, {programme_id_sql(self.providers, "programme", "provider")} AS programme_id,
              CAST({self.start} + entry AS INTEGER) AS entry,
              sim_day({self.start} + entry, draw('first day', n, 0)) AS start,
              CASE WHEN left_in > entry THEN sim_day({self.start} + left_in, draw('last day', n, 0)) END AS "end",
              CAST({self.start} + left_in AS INTEGER) AS exit, completed,
              CASE WHEN completed THEN 'completed' WHEN left_in IS NULL THEN NULL
                WHEN quit THEN 'dropped_out' WHEN draw('reason', n, 0) < .7 THEN 'employed'
                ELSE 'dropped_out' END AS exit_reason
            FROM sim_trained JOIN sim_person USING (n) ORDER BY n"""

    @table
    def credential(self) -> str:
        """A person who completed training: what they were awarded."""
        return """
            SELECT person_id, CASE WHEN tier = 'foundation' THEN 'certificate' ELSE 'licence' END AS credential_type,
              CASE tier WHEN 'foundation' THEN 3 WHEN 'transition' THEN 4 ELSE 5 END AS level, provider AS issuer,
              coalesce("end", start) AS awarded_on
            FROM enrolment JOIN programme USING (programme_id) WHERE completed ORDER BY person_id"""

    @table
    def cost(self) -> str:
        """A programme, who paid, a component of its cost and a quarter: hours of those who entered times a rate."""
        return cost_sql(self.funded)

    @table
    def coverage(self) -> str:
        """A region and a quarter: available, but for the start of one region and two late quarters of another."""
        return f"""
            SELECT 'ui' AS source, 'R' || r AS region, CAST({self.start} + t AS INTEGER) AS period,
              NOT (r = 8 AND t < 2 OR r = 3 AND t BETWEEN {self.quarters - 4} AND {self.quarters - 3}) AS available
            FROM range(1, 9) AS a(r), range({self.quarters}) AS b(t) ORDER BY ALL"""

    @table
    def linkage(self) -> str:
        """A person: whether they could be found in the wage records."""
        return f"""
            SELECT sim_id(n) AS person_id, 'ui' AS source, CASE WHEN u < {self.unlinked} / 2 THEN 'unlinked'
                WHEN u < {self.unlinked} THEN 'ambiguous' ELSE 'linked' END AS status,
              round(CASE WHEN u < {self.unlinked} THEN .3 + .5 * draw('score', n, 0)
                ELSE .92 + .08 * draw('score', n, 0) END, 4) AS score
            FROM (SELECT n, draw('linked', n, 0) AS u FROM sim_person) ORDER BY n"""

    @temporary
    def sim_paid(self) -> str:
        """A person, an arm and a quarter with pay: nominal wages in cents, of the job and of a side job."""
        side = "CAST(round(pay * (.12 + .2 * draw('side pay', c.n, c.t)) / factor, 2) AS DECIMAL(12,2))"
        return f"""
            SELECT c.n, arm, c.t, firm, r, share, CAST(round(pay / factor, 2) AS DECIMAL(12,2)) AS wages, factor,
              CASE WHEN draw('side job', c.n, c.t // 4) < .06 THEN {side} END AS side_wages
            FROM sim_career c JOIN sim_person p USING (n) JOIN sim_deflator d ON d.region = p.region AND d.t = c.t
            WHERE employed AND pay > 0"""

    @step
    def observed(self) -> str:
        """The pay that happened: with training from entry on, without it before and for those who never entered."""
        return """
            SELECT * FROM sim_paid s WHERE arm = 1 AND t >= (SELECT entry FROM sim_trained x WHERE x.n = s.n)
            UNION ALL
            SELECT s.* FROM sim_paid s LEFT JOIN sim_trained x USING (n)
            WHERE arm = 0 AND (x.entry IS NULL OR t < x.entry)"""

    @step
    def jobs(self) -> str:
        """A person, a quarter and a job: the main one or a side job with another firm."""
        return f"""
            SELECT n, t, firm, r, share, wages FROM observed WHERE wages > 0
            UNION ALL
            SELECT n, t, (firm + 3) % {self.firms}, least(9, r + 2), NULL, side_wages
            FROM observed WHERE side_wages > 0"""

    @table
    def wage_record(self) -> str:
        """A job in a covered quarter; of half of those who are not linked the source has nothing."""
        return f"""
            SELECT sim_id(n) AS person_id, CAST({self.start} + j.t AS INTEGER) AS period, f.employer_id,
              CASE WHEN j.firm % 10 = 0 THEN 'U' || CAST(n % 4 AS VARCHAR) END AS unit_id, wages,
              CASE WHEN j.firm % 3 = 0 THEN NULL WHEN share IS NULL THEN round(60 + 60 * draw('side hours', n, j.t))
                ELSE round(share * (380 + 120 * draw('hours', n, j.t // 4))) END AS hours,
              r::VARCHAR || '1' AS isco, (11 + j.firm % 80)::VARCHAR AS naics, 'ui' AS source,
              draw('imputed', n, j.t) < .01 AS imputed
            FROM jobs j JOIN sim_firm f ON f.firm = j.firm AND f.t = j.t
            JOIN sim_person p USING (n)
            SEMI JOIN (FROM coverage WHERE available) c ON c.region = p.region AND c.period = {self.start} + j.t
            WHERE draw('linked', n, 0) >= {self.unlinked} / 2
            ORDER BY period, person_id, employer_id"""

    @table
    def displacement(self) -> str:
        """A person who was displaced, with the job that was lost."""
        return f"""
            SELECT sim_id(p.n) AS person_id, sim_day({self.start} + lost, draw('displaced on', p.n, 0)) AS displaced_on,
              employer_id, p.r0::VARCHAR || '1' AS isco, (11 + firm0 % 80)::VARCHAR AS naics,
              CAST(lost - job_start AS INTEGER) AS tenure, w.wages AS prior_wage,
              draw('layoff', firm0, lost) < .45 AS mass_layoff
            FROM sim_person p JOIN sim_firm f ON f.firm = p.firm0 AND f.t = p.lost
            JOIN sim_paid w ON w.n = p.n AND w.arm = 0 AND w.t = p.lost - 1
            WHERE displaced ORDER BY p.n"""


def _texts(items: Sequence[str]) -> str:
    """Return SQL for a list of texts."""
    return f"[{', '.join(map(sql_text, items))}]"
