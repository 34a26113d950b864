"""Careers of synthetic people, quarter by quarter, with and without training: the same draws for both.

One statement per quarter moves everybody on. Every draw is a hash of (seed, what for, person, quarter), so nothing
depends on the order of rows or on threads.
"""

from __future__ import annotations

import duckdb

from retrain_eval.simulation.parameters import Parameters

FIRST_DISPLACED, DISPLACED_SPAN = 9, 12  # quarters of the window in which people are displaced
WAIT = 6  # training starts within so many quarters of displacement
OLDEST = 61  # age at displacement
FIRST_WORKED = 14  # age at which the earliest job may have begun: no tenure is longer than the years since
OCCUPATION_STEP = 0.06  # log wage from one occupation group to the next


def define_draws(con: duckdb.DuckDBPyConnection, seed: int) -> None:
    """Define the macros ``draw(what, n, t)``, uniform on (0, 1), and ``normal(what, n, t)``."""
    con.execute(
        "CREATE OR REPLACE TEMP MACRO draw(what, n, t) AS "
        f"(CAST(hash(hash({int(seed)}, what, n, t)) >> 11 AS DOUBLE) + 0.5) / 9007199254740992.0"
    )
    con.execute(
        "CREATE OR REPLACE TEMP MACRO normal(what, n, t) AS "
        "sqrt(-2 * ln(draw(what || ' radius', n, t))) * cos(2 * pi() * draw(what || ' angle', n, t))"
    )


def build_people(con: duckdb.DuckDBPyConnection, people: int, p: Parameters, start: int) -> None:
    """Create ``sim_person``: who everybody is, the job that will be lost, and the training they would get."""
    firms = max(people // 25, 20)
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE sim_person AS
        WITH drawn AS (
          SELECT CAST(n AS INTEGER) AS n, draw('age', n, 0) AS u_age, draw('education', n, 0) AS u_education,
            draw('displaced', n, 0) < {p.displaced} AS displaced,
            {FIRST_DISPLACED} + CAST(floor(draw('quarter', n, 0) * {DISPLACED_SPAN}) AS INTEGER) AS d,
            4 + CAST(floor(-18 * ln(draw('tenure', n, 0))) AS INTEGER) AS tenure
          FROM range({people}) AS t(n)
        ),
        described AS (
          SELECT *, CASE WHEN u_age < .12 THEN 0 WHEN u_age < .48 THEN 1 WHEN u_age < .80 THEN 2 ELSE 3 END AS band,
            CASE WHEN u_education < .22 THEN 0 WHEN u_education < .72 THEN 1 ELSE 2 END AS school
          FROM drawn
        ),
        placed AS (
          SELECT *, [19, 25, 40, 55][band + 1] + CAST(floor(draw('years', n, 0) * [6, 15, 15, 7][band + 1]) AS
            INTEGER) AS age,
            CASE WHEN displaced THEN d END AS lost,
            least(9, greatest(1, [7, 5, 3][school + 1] + CAST(floor(draw('occupation', n, 0) * 3) AS INTEGER) - 1))
              AS r0,
            CAST(floor(draw('programme', n, 0) * 18) AS INTEGER) AS programme
          FROM described
        ),
        employed AS (
          SELECT * REPLACE (least(tenure, 4 * (age - {FIRST_WORKED})) AS tenure),
            d - least(tenure, 4 * (age - {FIRST_WORKED})) AS job_start
          FROM placed
        )
        SELECT n, band, school, age, ({start} + coalesce(lost, 16)) // 4 - age AS birth_year,
          draw('sex', n, 0) < .48 AS female, 'R' || (1 + CAST(floor(draw('region', n, 0) * 8) AS INTEGER)) AS region,
          displaced, lost, job_start, tenure, r0, programme,
          programme % 3 AS tier, (programme // 3) % 3 AS delivery, programme >= 9 AS ai,
          CAST(floor(draw('firm', n, -1) * {firms}) AS INTEGER) AS firm0,
          ln(9300) + .13 * (school - 1) + [-.18, 0.0, .04, .02][band + 1] - .08 * (draw('sex', n, 0) < .48)::INT
            + {p.person_sd} * normal('ability', n, 0) AS base,
          [{", ".join(map(str, p.age_gain))}][band + 1] * [{", ".join(map(str, p.education_gain))}][school + 1]
            * [{", ".join(map(str, p.tier_gain))}][programme % 3 + 1]
            * [{", ".join(map(str, p.delivery_gain))}][(programme // 3) % 3 + 1]
            + {p.ai_gain} * (programme >= 9)::INT AS gain,
          [{", ".join(map(str, p.training_quarters))}][programme % 3 + 1] AS length
        FROM employed
        """
    )


def build_careers(con: duckdb.DuckDBPyConnection, people: int, quarters: int, p: Parameters) -> None:
    """Create ``sim_career``: state and real earnings of every person, arm (0 without training, 1 with) and quarter."""
    firms = max(people // 25, 20)
    steady = p.finding / (p.finding + p.separation)
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE sim_state AS
        SELECT n, 0 AS arm, displaced AND job_start <= 0 OR draw('start', n, 0) < {steady} AS employed,
          CASE WHEN displaced AND job_start <= 0 THEN firm0 ELSE CAST(floor(draw('firm', n, 0) * {firms}) AS INTEGER)
            END AS firm,
          CASE WHEN displaced AND job_start <= 0 THEN job_start ELSE 0 END AS since,
          {p.shock_sd} * normal('shock', n, 0) AS shock, r0 AS r, false AS recallable, 0 AS gap,
          NULL::INTEGER AS entry, NULL::INTEGER AS left_in, NULL::BOOLEAN AS completed
        FROM sim_person
        """
    )
    con.execute(f"CREATE OR REPLACE TEMP TABLE sim_career AS {_career(0, p)}")
    for t in range(1, quarters):
        if t > FIRST_DISPLACED:
            _enter_training(con, t, p)
        con.execute(f"CREATE OR REPLACE TEMP TABLE sim_next AS {_transition(t, firms, p)}")
        con.execute("DROP TABLE sim_state; ALTER TABLE sim_next RENAME TO sim_state")
        con.execute(f"INSERT INTO sim_career {_career(t, p)}")
    con.execute(
        "CREATE OR REPLACE TEMP TABLE sim_trained AS SELECT n, entry, left_in, completed FROM sim_state WHERE arm = 1"
    )
    con.execute("DROP TABLE sim_state")


def _enter_training(con: duckdb.DuckDBPyConnection, t: int, p: Parameters) -> None:
    """Let some of the displaced who have no job enter training: the odds depend on nothing but what records show."""
    odds = (
        f"{p.trained} / (1 - {p.trained}) * exp(.25 * (school - 1) + .10 * (t - lost) - .7 * ln(before / 9000) "
        "- .4 * (band = 3)::INT)"
    ).replace("t - lost", f"{t} - lost")
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE sim_entering AS
        WITH history AS (  -- earnings of the year before displacement, as the wage records show them
          SELECT c.n, CAST(sum(CAST(pay AS DECIMAL(18,6))) AS DOUBLE) / 4 AS before
          FROM sim_career c JOIN sim_person USING (n)
          WHERE arm = 0 AND c.t BETWEEN {t - WAIT - 4} AND {t - 2} AND c.t BETWEEN lost - 4 AND lost - 1 GROUP BY c.n
        )
        SELECT s.* FROM sim_state s JOIN sim_person USING (n) JOIN history USING (n)
        WHERE arm = 0 AND entry IS NULL AND NOT employed AND displaced AND {t} BETWEEN lost + 1 AND lost + {WAIT}
          AND draw('entry', n, {t}) < ({odds}) / (1 + {odds})
        """
    )
    con.execute(f"UPDATE sim_state SET entry = {t} WHERE n IN (SELECT n FROM sim_entering)")
    con.execute(f"INSERT INTO sim_state SELECT * REPLACE (1 AS arm, {t} AS entry) FROM sim_entering")
    con.execute("DROP TABLE sim_entering")


def _transition(t: int, firms: int, p: Parameters) -> str:
    """Return the SQL that moves everybody from quarter t − 1 to t."""
    return f"""
        WITH before AS (
          SELECT s.*, displaced, lost, job_start, firm0, r0, band, gain, length, tier,
            coalesce(displaced AND {t} BETWEEN greatest(job_start, 1) AND lost, false) AS held,
            coalesce(displaced AND {t} = lost + 1, false) AS loses,
            coalesce(displaced AND {t} > lost, false) AS after,
            arm = 1 AND left_in IS NULL AS training,
            CASE WHEN arm = 1 AND left_in IS NOT NULL THEN gain * CASE WHEN completed THEN 1 ELSE .4 END ELSE 0 END
              AS effect,
            CAST(floor(draw('firm', n, {t}) * {firms}) AS INTEGER) AS other_firm
          FROM sim_state s JOIN sim_person USING (n)
        ),
        rates AS (
          SELECT *,
            CASE WHEN after THEN {p.separation_displaced} ELSE {p.separation} END
              * CASE WHEN since > {t} - 4 THEN 1.35 ELSE .75 END * greatest(1 - {1 - p.separation_gain} * effect, .2)
                AS separation,
            CASE WHEN after THEN {p.finding_displaced} ELSE {p.finding} END * [1.1, 1.1, 1.0, .75][band + 1]
              * CASE WHEN training THEN {p.lock_in} ELSE 1 + {p.finding_gain - 1} * effect END AS finding
          FROM before
        ),
        moved AS (
          SELECT *, CASE
              WHEN held THEN true
              WHEN loses THEN draw('find', n, {t}) < .2
              WHEN employed THEN draw('leave', n, {t}) >= separation
              ELSE draw('find', n, {t}) < finding END AS works
          FROM rates
        ),
        placed AS (
          SELECT *, CASE
              WHEN held THEN firm0
              WHEN NOT works THEN firm
              WHEN loses THEN other_firm
              WHEN employed AND draw('move', n, {t}) >= {p.job_to_job} THEN firm
              WHEN NOT employed AND recallable AND gap <= 4 THEN firm
              ELSE other_firm END AS next_firm
          FROM moved
        ),
        begun AS (
          SELECT *, works AND (NOT employed OR next_firm <> firm OR {t} = job_start AND displaced) AS begins FROM placed
        )
        SELECT n, arm, works AS employed, next_firm AS firm, CASE WHEN begins THEN {t} ELSE since END AS since,
          {p.shock_persistence} * shock + {p.shock_sd} * sqrt(1 - {p.shock_persistence} ** 2) * normal('shock', n,
            {t}) AS shock,
          CASE WHEN held THEN r0 WHEN NOT (begins AND after) OR recallable THEN r
            ELSE least(9, r0 + (draw('down', n, 0) < {p.downgrade}
              AND NOT (effect > 0 AND tier > 0 AND draw('up', n, 0) < .6))::INT) END AS r,
          CASE WHEN employed AND NOT works THEN NOT loses AND draw('recall', n, {t}) < {p.recall} * CASE WHEN after
            THEN .4 ELSE 1 END
            WHEN works THEN false ELSE recallable END AS recallable,
          CASE WHEN works THEN 0 ELSE gap + 1 END AS gap, entry,
          -- training ends when it is over, or earlier with a job
          CASE WHEN arm = 1 AND left_in IS NULL AND (works OR {t} = entry + length - 1) THEN {t} ELSE left_in END AS
            left_in,
          CASE WHEN arm = 1 AND left_in IS NULL AND (works OR {t} = entry + length - 1)
            THEN {t} >= entry + length - 2 AND draw('complete', n, 0) < .9 ELSE completed END AS completed
        FROM begun
        """


def _career(t: int, p: Parameters) -> str:
    """Return the SQL of one quarter's earnings, in prices of the last quarter."""
    k = f"({t} - lost)"
    return f"""
        SELECT n, arm, {t} AS t, employed, firm, since, r, share,
          -- rounded, so that a last bit of the exponential never decides a cent
          CASE WHEN employed THEN round(share * exp(round(base + shock - {OCCUPATION_STEP} * (r - 5) + .001 * {t}
            - CASE WHEN NOT displaced THEN 0
                WHEN {k} <= 0 THEN {p.dip} * greatest({k} + {p.dip_quarters}, 0) / {p.dip_quarters}
                ELSE {p.loss} + {p.transitory_loss} * exp(-{k} / 8.0) END
            + CASE WHEN arm = 1 AND left_in < {t} THEN {p.wage_gain} * gain * CASE WHEN completed THEN 1 ELSE .4 END
              ELSE 0 END,
            9)), 6) ELSE 0 END AS pay
        FROM (
          SELECT *, CASE WHEN {t} = since OR {t} = lost AND displaced THEN .35 + .6 * draw('days', n, {t}) ELSE 1 END
            AS share
          FROM sim_state JOIN sim_person USING (n)
        )
        """
