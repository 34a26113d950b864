"""From careers to the files an agency would hold: one table per record type."""

from __future__ import annotations

import duckdb

from retrain_eval.simulation.parameters import DELIVERIES, TIERS, Parameters

RENAMED, SOLD = 0.004, 0.002  # share of firms per quarter that go on under another key, or sell a part
INFLATION = 0.006


def build_records(con: duckdb.DuckDBPyConnection, people: int, quarters: int, start: int, p: Parameters) -> None:
    """Create the eleven record tables from ``sim_person, sim_career, sim_trained``."""
    firms = max(people // 25, 20)
    last = start + quarters - 1
    texts = {name: "[" + ", ".join(f"'{item}'" for item in items) + "]" for name, items in
             (("tier", TIERS), ("delivery", DELIVERIES))}  # fmt: skip
    con.execute(
        f"""
        CREATE TABLE price AS
        SELECT 'R' || r AS region, CAST({start} + t AS INTEGER) AS period,
          round(100 * exp({INFLATION} * t * (.9 + .025 * r)), 4) AS cpi,
          CAST(round(6600 * exp({INFLATION} * (t - {quarters - 1}) * (.9 + .025 * r)), 2) AS DECIMAL(12,2)) AS
            living_wage
        FROM range(1, 9) AS a(r), range({quarters}) AS b(t);
        CREATE TEMP TABLE sim_deflator AS
        SELECT region, period - {start} AS t, max(cpi) FILTER (period = {last}) OVER (PARTITION BY region) / cpi AS
          factor FROM price;

        CREATE TEMP TABLE sim_rename AS
        SELECT CAST(f AS INTEGER) AS firm, CAST(t AS INTEGER) AS t, CAST(row_number() OVER (PARTITION BY f ORDER BY
          t) AS INTEGER) AS gen
        FROM range({firms}) AS a(f), range(1, {quarters}) AS b(t) WHERE draw('rename', f, t) < {RENAMED};
        CREATE TEMP TABLE sim_firm AS
        SELECT CAST(f AS INTEGER) AS firm, CAST(b.t AS INTEGER) AS t, 'E' || lpad(f::VARCHAR, 6, '0') || CASE WHEN
            count(r.t) = 0 THEN '' ELSE '-' || count(r.t) END AS employer_id
        FROM range({firms}) AS a(f) CROSS JOIN range({quarters}) AS b(t) LEFT JOIN sim_rename r ON r.firm = f AND r.t
          <= b.t
        GROUP BY f, b.t;
        CREATE TABLE employer_link AS
        SELECT a.employer_id AS from_employer_id, b.employer_id AS to_employer_id, CAST({start} + b.t AS INTEGER) AS
          period,
          round(.85 + .15 * draw('share', r.firm, r.t), 3) AS share
        FROM sim_rename r JOIN sim_firm a ON a.firm = r.firm AND a.t = r.t - 1 JOIN sim_firm b ON b.firm = r.firm AND
          b.t = r.t
        UNION ALL
        SELECT DISTINCT a.employer_id, b.employer_id, CAST({start} + a.t AS INTEGER), round(.2 + .4 * draw('part',
          a.firm, a.t), 3)
        FROM sim_firm a JOIN sim_firm b ON b.t = a.t AND b.firm = (a.firm + 7) % {firms}
        WHERE a.t > 0 AND a.firm <> b.firm AND draw('sold', a.firm, a.t) < {SOLD}
        ORDER BY ALL;

        CREATE TABLE person AS
        SELECT sim_id(n) AS person_id, CAST(birth_year AS INTEGER) AS birth_year,
          CASE WHEN female THEN 'female' ELSE 'male' END AS sex,
          [2, CASE WHEN draw('years of school', n, 0) < .8 THEN 3 ELSE 4 END,
            5 + CAST(floor(draw('years of school', n, 0) * 3) AS INTEGER)][school + 1] AS education,
          draw('disability', n, 0) < .08 AS disability, region, draw('digital', n, 0) < .75 + .1 * school AS
            digital_access,
          round(least(500, greatest(0, 250 + 25 * school + 45 * normal('literacy', n, 0))), 1) AS literacy_score
        FROM sim_person ORDER BY n;

        CREATE TABLE programme AS
        SELECT 'P' || lpad(k::VARCHAR, 2, '0') AS programme_id,
          {texts["tier"]}[k % 3 + 1] || ', ' || {texts["delivery"]}[(k // 3) % 3 + 1] || CASE WHEN k >= 9 THEN ',
            with AI tutor' ELSE '' END
            AS name, 'Provider ' || chr(65 + CAST(k % 6 AS INTEGER)) AS provider, {texts["tier"]}[k % 3 + 1] AS tier,
          {texts["delivery"]}[(k // 3) % 3 + 1] AS delivery, k >= 9 AS ai_assisted,
          (2 + k % 3)::VARCHAR || '1' AS target_isco, CAST([160, 320, 520][k % 3 + 1] AS INTEGER) AS hours
        FROM range(18) AS a(k);

        CREATE TABLE enrolment AS
        SELECT sim_id(n) AS person_id, 'P' || lpad(programme::VARCHAR, 2, '0') AS programme_id,
          CAST({start} + entry AS INTEGER) AS entry, sim_day({start} + entry, draw('first day', n, 0)) AS start,
          CASE WHEN left_in > entry THEN sim_day({start} + left_in, draw('last day', n, 0)) END AS "end",
          CAST({start} + left_in AS INTEGER) AS exit, completed,
          CASE WHEN completed THEN 'completed' WHEN left_in IS NULL THEN NULL
            WHEN draw('reason', n, 0) < .7 THEN 'employed' ELSE 'dropped_out' END AS exit_reason
        FROM sim_trained JOIN sim_person USING (n) ORDER BY n;

        CREATE TABLE credential AS
        SELECT person_id, CASE WHEN tier = 'foundation' THEN 'certificate' ELSE 'licence' END AS credential_type,
          CASE tier WHEN 'foundation' THEN 3 WHEN 'transition' THEN 4 ELSE 5 END AS level, provider AS issuer,
          coalesce("end", start) AS awarded_on
        FROM enrolment JOIN programme USING (programme_id) WHERE completed ORDER BY person_id;

        CREATE TABLE cost AS
        SELECT programme_id, 'state' AS funder, component, entry AS period,
          CAST(sum(round(hours * CASE component WHEN 'tuition' THEN 9.5 WHEN 'stipend' THEN 4 ELSE 1.5 END, 2)) AS
            DECIMAL(14,2)) AS amount
        FROM enrolment JOIN programme USING (programme_id), (VALUES ('tuition'), ('stipend'), ('support')) AS
          c(component)
        GROUP BY ALL ORDER BY ALL;

        CREATE TABLE coverage AS
        SELECT 'ui' AS source, 'R' || r AS region, CAST({start} + t AS INTEGER) AS period,
          NOT (r = 8 AND t < 2 OR r = 3 AND t BETWEEN {quarters - 4} AND {quarters - 3}) AS available
        FROM range(1, 9) AS a(r), range({quarters}) AS b(t) ORDER BY ALL;

        CREATE TABLE linkage AS
        SELECT sim_id(n) AS person_id, 'ui' AS source, CASE WHEN u < {p.unlinked} / 2 THEN 'unlinked'
            WHEN u < {p.unlinked} THEN 'ambiguous' ELSE 'linked' END AS status,
          round(CASE WHEN u < {p.unlinked} THEN .3 + .5 * draw('score', n, 0) ELSE .92 + .08 * draw('score', n, 0)
            END, 4) AS score
        FROM (SELECT n, draw('linked', n, 0) AS u FROM sim_person) ORDER BY n;
        """
    )
    _wages(con, start, firms, p)
    con.execute(
        f"""
        CREATE TABLE displacement AS
        SELECT sim_id(p.n) AS person_id, sim_day({start} + lost, draw('displaced on', p.n, 0)) AS displaced_on,
          employer_id,
          p.r0::VARCHAR || '1' AS isco, (11 + firm0 % 80)::VARCHAR AS naics, CAST(lost - job_start AS INTEGER) AS
            tenure,
          w.wages AS prior_wage, draw('layoff', firm0, lost) < .45 AS
            mass_layoff
        FROM sim_person p JOIN sim_firm f ON f.firm = p.firm0 AND f.t = p.lost
        JOIN sim_paid w ON w.n = p.n AND w.arm = 0 AND w.t = p.lost - 1
        WHERE displaced ORDER BY p.n
        """
    )


def _wages(con: duckdb.DuckDBPyConnection, start: int, firms: int, p: Parameters) -> None:
    """Create the observed wage records and, for the truth, real earnings of both arms from the same cents."""
    side = "CAST(round(pay * (.12 + .2 * draw('side pay', c.n, c.t)) / factor, 2) AS DECIMAL(12,2))"
    con.execute(
        f"""
        CREATE TEMP TABLE sim_paid AS
        SELECT c.n, arm, c.t, firm, r, share, CAST(round(pay / factor, 2) AS DECIMAL(12,2)) AS wages, factor,
          CASE WHEN draw('side job', c.n, c.t // 4) < .06 THEN {side} END AS side_wages
        FROM sim_career c JOIN sim_person p USING (n) JOIN sim_deflator d ON d.region = p.region AND d.t = c.t
        WHERE employed AND pay > 0;

        CREATE TABLE wage_record AS
        WITH observed AS (
          SELECT * FROM sim_paid s WHERE arm = 1 AND t >= (SELECT entry FROM sim_trained x WHERE x.n = s.n)
          UNION ALL
          SELECT s.* FROM sim_paid s LEFT JOIN sim_trained x USING (n) WHERE arm = 0 AND (x.entry IS NULL OR t <
            x.entry)
        ),
        jobs AS (
          SELECT n, t, firm, r, share, wages FROM observed WHERE wages > 0
          UNION ALL
          SELECT n, t, (firm + 3) % {firms}, least(9, r + 2), NULL, side_wages FROM observed WHERE side_wages > 0
        )
        SELECT sim_id(n) AS person_id, CAST({start} + j.t AS INTEGER) AS period, f.employer_id,
          CASE WHEN j.firm % 10 = 0 THEN 'U' || CAST(n % 4 AS VARCHAR) END AS unit_id, wages,
          CASE WHEN j.firm % 3 = 0 THEN NULL WHEN share IS NULL THEN round(60 + 60 * draw('side hours', n, j.t))
            ELSE round(share * (380 + 120 * draw('hours', n, j.t // 4))) END AS hours,
          r::VARCHAR || '1' AS isco, (11 + j.firm % 80)::VARCHAR AS naics, 'ui' AS source, draw('imputed', n, j.t) <
            .01 AS imputed
        FROM jobs j JOIN sim_firm f ON f.firm = j.firm AND f.t = j.t
        JOIN sim_person p USING (n)
        SEMI JOIN (FROM coverage WHERE available) c ON c.region = p.region AND c.period = {start} + j.t
        WHERE draw('linked', n, 0) >= {p.unlinked} / 2  -- of those not found in the source there is nothing
        ORDER BY period, person_id, employer_id
        """
    )
