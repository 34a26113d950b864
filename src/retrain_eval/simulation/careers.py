"""Careers of synthetic people, quarter by quarter, with and without training: the same draws for both.

One statement per quarter moves all people on (`QuarterSteps`). Every draw is a hash of (seed, what for, person,
quarter), so nothing depends on the order of rows or on threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from retrain_eval.common.sql_steps import Pipeline, step, temporary
from retrain_eval.simulation.dropout import quits_sql
from retrain_eval.simulation.no_gain import factor
from retrain_eval.simulation.parameters import Parameters
from retrain_eval.simulation.providers import gain_sql, provider_sql

FIRST_DISPLACED, DISPLACED_SPAN = 9, 12  # quarters of the window in which people are displaced
WAIT = 6  # training starts within so many quarters of displacement
OLDEST = 61  # age at displacement
FIRST_WORKED = 14  # age at which the earliest job may have begun: no tenure is longer than the years since
OCCUPATION_STEP = 0.06  # log wage from one occupation group to the next


def number_of_firms(people: int) -> int:
    """Return how many firms employ a register of people."""
    return max(people // 25, 20)


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
    """Create ``sim_person``: who each person is, the job that will be lost, and the training they would get."""
    RegisterSteps(people, p, start).build(con)


@dataclass(frozen=True)
class RegisterSteps(Pipeline):
    """The people of the register.

    Attributes
    ----------
    people : int
        Their number.
    p : Parameters
    start : int
        The first quarter.
    """

    people: int
    p: Parameters
    start: int

    @step
    def drawn(self) -> str:
        """A person: what is drawn for them first."""
        return f"""
            SELECT CAST(n AS INTEGER) AS n, draw('age', n, 0) AS u_age, draw('education', n, 0) AS u_education,
              draw('displaced', n, 0) < {self.p.displaced} AS displaced,
              {FIRST_DISPLACED} + CAST(floor(draw('quarter', n, 0) * {DISPLACED_SPAN}) AS INTEGER) AS d,
              4 + CAST(floor(-18 * ln(draw('tenure', n, 0))) AS INTEGER) AS tenure
            FROM range({self.people}) AS t(n)"""

    @step
    def described(self) -> str:
        """The same, with age band and education."""
        return """
            SELECT *, CASE WHEN u_age < .12 THEN 0 WHEN u_age < .48 THEN 1 WHEN u_age < .80 THEN 2 ELSE 3 END AS band,
              CASE WHEN u_education < .22 THEN 0 WHEN u_education < .72 THEN 1 ELSE 2 END AS school
            FROM drawn"""

    @step
    def placed(self) -> str:
        """The same, with age, quarter of displacement, first occupation group and programme."""
        return """
            SELECT *,
              [19, 25, 40, 55][band + 1]
                + CAST(floor(draw('years', n, 0) * [6, 15, 15, 7][band + 1]) AS INTEGER) AS age,
              CASE WHEN displaced THEN d END AS lost,
              least(9, greatest(1, [7, 5, 3][school + 1] + CAST(floor(draw('occupation', n, 0) * 3) AS INTEGER) - 1))
                AS r0,
              CAST(floor(draw('programme', n, 0) * 18) AS INTEGER) AS programme
            FROM described"""

    @step
    def employed(self) -> str:
        """The same, with the start of the job that is lost: not before the age at which people begin to work."""
        return f"""
            SELECT * REPLACE (least(tenure, 4 * (age - {FIRST_WORKED})) AS tenure),
              d - least(tenure, 4 * (age - {FIRST_WORKED})) AS job_start
            FROM placed"""

    @temporary
    def sim_person(self) -> str:
        """A person: what careers depend on."""
        p = self.p
        return f"""
            SELECT n, band, school, age, ({self.start} + coalesce(lost, 16)) // 4 - age AS birth_year,
              draw('sex', n, 0) < .48 AS female,
              'R' || (1 + CAST(floor(draw('region', n, 0) * 8) AS INTEGER)) AS region,
              displaced, lost, job_start, tenure, r0, programme,
              programme % 3 AS tier, (programme // 3) % 3 AS delivery, programme >= 9 AS ai,
              {provider_sql(p)} AS provider,
              CAST(floor(draw('firm', n, -1) * {number_of_firms(self.people)}) AS INTEGER) AS firm0,
              ln(9300) + .13 * (school - 1) + [-.18, 0.0, .04, .02][band + 1] - .08 * (draw('sex', n, 0) < .48)::INT
                + {p.person_sd} * normal('ability', n, 0) AS base,
              [{", ".join(map(str, p.age_gain))}][band + 1]
                * [{", ".join(map(str, p.education_gain))}][school + 1]
                * [{", ".join(map(str, p.tier_gain))}][programme % 3 + 1]
                * [{", ".join(map(str, p.delivery_gain))}][(programme // 3) % 3 + 1]
                + {p.ai_gain} * (programme >= 9)::INT{gain_sql(p)} AS gain,
              [{", ".join(map(str, p.training_quarters))}][programme % 3 + 1] AS length,
              {quits_sql(p)} AS quits
            FROM employed"""


def build_careers(con: duckdb.DuckDBPyConnection, people: int, quarters: int, p: Parameters) -> None:
    """Create ``sim_career``: state and real earnings of every person, arm (0 without training, 1 with) and quarter."""
    firms = number_of_firms(people)
    steady = p.finding / (p.finding + p.separation)
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE sim_state AS
        SELECT n, 0 AS arm, displaced AND job_start <= 0 OR draw('start', n, 0) < {steady} AS employed,
          CASE WHEN displaced AND job_start <= 0 THEN firm0 ELSE CAST(floor(draw('firm', n, 0) * {firms}) AS INTEGER)
            END AS firm,
          CASE WHEN displaced AND job_start <= 0 THEN job_start ELSE 0 END AS since,
          {p.shock_sd} * normal('shock', n, 0) AS shock, r0 AS r, false AS recallable, 0 AS gap,
          NULL::INTEGER AS entry, NULL::INTEGER AS left_in, NULL::BOOLEAN AS completed, false AS quit
        FROM sim_person
        """
    )
    con.execute(f"CREATE OR REPLACE TEMP TABLE sim_career AS {_career(0, p)}")
    for t in range(1, quarters):
        if t > FIRST_DISPLACED:
            _enter_training(con, t, p)
        QuarterSteps(t, firms, p).build(con)
        con.execute("DROP TABLE sim_state; ALTER TABLE sim_next RENAME TO sim_state")
        con.execute(f"INSERT INTO sim_career {_career(t, p)}")
    con.execute(
        "CREATE OR REPLACE TEMP TABLE sim_trained AS SELECT n, entry, left_in, completed, quit FROM sim_state "
        "WHERE arm = 1"
    )
    con.execute("DROP TABLE sim_state")


def _enter_training(con: duckdb.DuckDBPyConnection, t: int, p: Parameters) -> None:
    EntrySteps(t, p.trained).build(con)
    con.execute(f"UPDATE sim_state SET entry = {t} WHERE n IN (SELECT n FROM sim_entering)")
    con.execute(f"INSERT INTO sim_state SELECT * REPLACE (1 AS arm, {t} AS entry) FROM sim_entering")
    con.execute("DROP TABLE sim_entering")


@dataclass(frozen=True)
class EntrySteps(Pipeline):
    """Those who enter training in quarter ``t``: the odds depend only on what the records show.

    Attributes
    ----------
    t : int
    trained : float
        Scale of the odds.
    """

    t: int
    trained: float

    @step
    def history(self) -> str:
        """A displaced person: earnings of the year before displacement, as the wage records show them."""
        return f"""
            SELECT c.n, CAST(sum(CAST(pay AS DECIMAL(18,6))) AS DOUBLE) / 4 AS before
            FROM sim_career c JOIN sim_person USING (n)
            WHERE arm = 0 AND c.t BETWEEN {self.t - WAIT - 4} AND {self.t - 2} AND c.t BETWEEN lost - 4 AND lost - 1
            GROUP BY c.n"""

    @temporary
    def sim_entering(self) -> str:
        """The state of a person who enters: displaced a short time ago, and without a job."""
        odds = (
            f"{self.trained} / (1 - {self.trained}) * exp(.25 * (school - 1) + .10 * ({self.t} - lost) "
            "- .7 * ln(before / 9000) - .4 * (band = 3)::INT)"
        )
        return f"""
            SELECT s.* FROM sim_state s JOIN sim_person USING (n) JOIN history USING (n)
            WHERE arm = 0 AND entry IS NULL AND NOT employed AND displaced
              AND {self.t} BETWEEN lost + 1 AND lost + {WAIT}
              AND draw('entry', n, {self.t}) < ({odds}) / (1 + {odds})"""


@dataclass(frozen=True)
class QuarterSteps(Pipeline):
    """The states of quarter ``t``, from those of the quarter before.

    Attributes
    ----------
    t, firms : int
        The quarter, and the number of firms.
    p : Parameters
    """

    t: int
    firms: int
    p: Parameters

    @step
    def before(self) -> str:
        """A person and an arm: the state before, what is fixed for this quarter, and the effect of training."""
        return f"""
            SELECT s.*, displaced, lost, job_start, firm0, r0, band, gain, length, tier, quits,
              coalesce(displaced AND {self.t} BETWEEN greatest(job_start, 1) AND lost, false) AS held,
              coalesce(displaced AND {self.t} = lost + 1, false) AS loses,
              coalesce(displaced AND {self.t} > lost, false) AS after,
              arm = 1 AND left_in IS NULL AS training,
              CASE WHEN arm = 1 AND left_in IS NOT NULL THEN gain * CASE WHEN completed THEN 1 ELSE .4 END
                {factor(self.p, "entry")} ELSE 0 END AS effect,
              CAST(floor(draw('firm', n, {self.t}) * {self.firms}) AS INTEGER) AS other_firm
            FROM sim_state s JOIN sim_person USING (n)"""

    @step
    def rates(self) -> str:
        """The same, with the probabilities to lose a job and to find one."""
        t, p = self.t, self.p
        return f"""
            SELECT *,
              CASE WHEN after THEN {p.separation_displaced} ELSE {p.separation} END
                * CASE WHEN since > {t} - 4 THEN 1.35 ELSE .75 END
                * greatest(1 - {1 - p.separation_gain} * effect, .2) AS separation,
              CASE WHEN after THEN {p.finding_displaced} ELSE {p.finding} END * [1.1, 1.1, 1.0, .75][band + 1]
                * CASE WHEN training THEN {p.lock_in} ELSE 1 + {p.finding_gain - 1} * effect END AS finding
            FROM before"""

    @step
    def moved(self) -> str:
        """The same, with whether they work."""
        return f"""
            SELECT *, CASE
                WHEN held THEN true
                WHEN loses THEN draw('find', n, {self.t}) < .2
                WHEN employed THEN draw('leave', n, {self.t}) >= separation
                ELSE draw('find', n, {self.t}) < finding END AS works
            FROM rates"""

    @step
    def placed(self) -> str:
        """The same, with the firm: a recall is a return to the last one."""
        return f"""
            SELECT *, CASE
                WHEN held THEN firm0
                WHEN NOT works THEN firm
                WHEN loses THEN other_firm
                WHEN employed AND draw('move', n, {self.t}) >= {self.p.job_to_job} THEN firm
                WHEN NOT employed AND recallable AND gap <= 4 THEN firm
                ELSE other_firm END AS next_firm
            FROM moved"""

    @step
    def begun(self) -> str:
        """The same, with whether a job begins, and whether training is dropped."""
        return f"""
            SELECT *, works AND (NOT employed OR next_firm <> firm OR {self.t} = job_start AND displaced) AS begins,
              training AND NOT works AND draw('drop out', n, {self.t}) < quits AS drops
            FROM placed"""

    @temporary
    def sim_next(self) -> str:
        """A person and an arm: the state. Training ends when it is over, or earlier with a job or without it."""
        t, p = self.t, self.p
        return f"""
            SELECT n, arm, works AS employed, next_firm AS firm, CASE WHEN begins THEN {t} ELSE since END AS since,
              {p.shock_persistence} * shock
                + {p.shock_sd} * sqrt(1 - {p.shock_persistence} ** 2) * normal('shock', n, {t}) AS shock,
              CASE WHEN held THEN r0 WHEN NOT (begins AND after) OR recallable THEN r
                ELSE least(9, r0 + (draw('down', n, 0) < {p.downgrade}
                  AND NOT (effect > 0 AND tier > 0 AND draw('up', n, 0) < .6))::INT) END AS r,
              CASE WHEN employed AND NOT works
                  THEN NOT loses AND draw('recall', n, {t}) < {p.recall} * CASE WHEN after THEN .4 ELSE 1 END
                WHEN works THEN false ELSE recallable END AS recallable,
              CASE WHEN works THEN 0 ELSE gap + 1 END AS gap, entry,
              CASE WHEN training AND (works OR drops OR {t} = entry + length - 1) THEN {t} ELSE left_in END AS left_in,
              CASE WHEN training AND (works OR drops OR {t} = entry + length - 1)
                THEN NOT drops AND {t} >= entry + length - 2 AND draw('complete', n, 0) < .9 ELSE completed END
                AS completed,
              quit OR drops AS quit
            FROM begun"""


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
              {factor(p, "entry")} ELSE 0 END,
            9)), 6) ELSE 0 END AS pay
        FROM (
          SELECT *, CASE WHEN {t} = since OR {t} = lost AND displaced THEN .35 + .6 * draw('days', n, {t}) ELSE 1 END
            AS share
          FROM sim_state JOIN sim_person USING (n)
        )
        """
