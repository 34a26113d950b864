"""The synthetic agency: `simulate` makes it, `Simulation` holds its records and its truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pandas as pd

from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.periods import BOUNDS, parse_period
from retrain_eval.common.shown import summarised
from retrain_eval.common.sources import sql_name, sql_text
from retrain_eval.common.sql_steps import Pipeline, step, table, temporary
from retrain_eval.simulation.calibration import MOMENTS, Moment, measure
from retrain_eval.simulation.careers import (
    DISPLACED_SPAN,
    FIRST_DISPLACED,
    OLDEST,
    WAIT,
    build_careers,
    build_people,
    define_draws,
)
from retrain_eval.simulation.parameters import AGE_BANDS, DELIVERIES, EDUCATION, TIERS, Parameters
from retrain_eval.simulation.providers import name_sql
from retrain_eval.simulation.records import build_records

RECORDS = ("person", "displacement", "programme", "enrolment", "wage_record", "employer_link", "coverage", "linkage",
           "credential", "cost", "price")  # fmt: skip
FORMATS = ("parquet", "csv")
_SHORTEST = FIRST_DISPLACED + DISPLACED_SPAN + WAIT + 2


@summarised
@dataclass(frozen=True)
class Simulation:
    """A synthetic agency.

    Attributes
    ----------
    con : DuckDBPyConnection
        One table per record type; `retrain_eval.build_panel` runs on it. And ``effect``, which no agency could have:
        ``person_id, event_time, on_earnings, on_employed``, what training changed for each of the trained.
    truth : DataFrame
        ``outcome`` (earnings, real; employed), ``cohort, event_time, subgroup, level`` (missing for all trained),
        ``att`` (mean of the outcome with training less that without, over the trained of the cell), ``n``.
    parameters : Parameters
    """

    con: duckdb.DuckDBPyConnection
    truth: pd.DataFrame
    parameters: Parameters

    def write(self, folder: str | Path, format: str = "parquet", deliveries: str = "one") -> dict[str, list[Path]]:
        """Write a file per record type and return them.

        Parameters
        ----------
        folder : str or Path
            An existing folder.
        format : {"parquet", "csv"}
        deliveries : {"one", "year"}
            Wage records in one file, or in one per year, ``wage_record_2019.parquet``, as they would come in.
        """
        if format not in FORMATS:
            raise unknown("format", format, FORMATS)
        if deliveries not in ("one", "year"):
            raise unknown("deliveries", deliveries, ("one", "year"))
        folder, written = Path(folder), dict[str, list[Path]]()
        if not folder.is_dir():
            raise InputError("folder not found", file=folder, fix="name an existing folder")
        for name in RECORDS:
            parts: Mapping[str, str] = {name: f"FROM {sql_name(name)}"}
            if name == "wage_record" and deliveries == "year":
                years = self.con.sql("SELECT DISTINCT period // 4 FROM wage_record ORDER BY 1").fetchall()
                parts = {f"{name}_{year}": f"FROM {name} WHERE period // 4 = {year}" for (year,) in years}
            written[name] = [folder / f"{stem}.{format}" for stem in parts]
            options = "FORMAT parquet" if format == "parquet" else "FORMAT csv, HEADER"
            for file, rows in zip(written[name], parts.values(), strict=True):
                self.con.execute(f"COPY ({rows}) TO {sql_text(str(file))} ({options})")
        return written

    def calibration(self) -> pd.DataFrame:
        """Measure the panel and the spells against the published moments the parameters were set by.

        Returns
        -------
        DataFrame
            ``moment, source, target, tolerance, simulated, ok``; a moment of people who do not exist, such as trainees
            where nobody is trained, is missing and not ok.
        """
        measured = measure(self.con, self.truth)
        rows = [self._row(moment, measured[moment.name]) for moment in MOMENTS]
        return pd.DataFrame(rows)

    @staticmethod
    def _row(moment: Moment, simulated: float) -> dict[str, object]:
        ok = abs(simulated - moment.target) <= moment.tolerance
        return {"moment": moment.name, "source": moment.source, "target": moment.target, "tolerance": moment.tolerance,
                "simulated": simulated, "ok": ok}  # fmt: skip


def simulate(
    people: int = 20_000,
    quarters: int = 40,
    start: int | str = "2016Q1",
    seed: int = 20260101,
    *,
    parameters: Parameters | None = None,
    memory_limit: str = "2GB",
    database: str | Path | None = None,
) -> Simulation:
    """Make a synthetic agency: people, displacements, employers, training, wage records and the truth.

    Its periods are quarters; no other frequency is simulated.

    A register of workers of eight regions, most of whom lose a job to automation in the third to sixth year. Some of
    them enter training within six quarters of displacement; the odds depend on education, age, earnings and the time
    without a job, on nothing that the records do not show. Both careers of every trainee, with and without training,
    are drawn with the same numbers, so the truth is exact for these people.

    Parameters
    ----------
    people : int
        Size of the register.
    quarters : int
        Length of the records, at least 29.
    start : int or str
        First quarter.
    seed : int
        The same seed gives the same bits, whatever the number of threads.
    parameters : Parameters
        Every rate and effect, each with its source.
    memory_limit : str
        DuckDB's bound.
    database : str or Path, optional
        A new DuckDB file to work in, for registers that memory does not hold.

    Returns
    -------
    Simulation

    Raises
    ------
    InputError
        For fewer than 100 people, too few quarters, or a file that exists.

    Examples
    --------
    >>> agency = simulate(people=500)
    >>> agency.con.table("person").columns[:4]
    ['person_id', 'birth_year', 'sex', 'education']
    >>> bool((agency.truth.query("event_time < 0")["att"] == 0).all())
    True
    """
    for name, value in (("people", people), ("quarters", quarters), ("seed", seed)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise InputError(f"{name} is a whole number", column=name, value=value, fix="give an integer")
    if parameters is not None and not isinstance(parameters, Parameters):
        raise InputError("these are no parameters", value=parameters, fix="give Parameters(...)")
    if people < 100:
        raise InputError("a synthetic agency needs people", column="people", value=people, rule="at least 100")
    if quarters < _SHORTEST:
        raise InputError("the records are too short", column="quarters", value=quarters, rule=f"at least {_SHORTEST}")
    if database is not None and Path(database).exists():
        raise InputError("the file exists already", file=Path(database), fix="name a new one")
    if database is not None and not Path(database).parent.is_dir():
        raise InputError("folder not found", file=Path(database).parent, fix="name a file in an existing folder")
    parameters = parameters or Parameters()
    first = parse_period(start)
    low, high = BOUNDS["quarter"]
    low += 4 * OLDEST  # nobody is born before the first year that the schemas allow, and no record lies beyond the last
    if not low <= first <= high - quarters + 1:
        raise InputError(
            "this is no quarter to start in",
            column="start",
            value=start,
            rule=f"{low // 4}Q1 or later, as birth years begin with {BOUNDS['year'][0]}; ending by {BOUNDS['year'][1]}",
            fix="a quarter such as 2016Q1",
        )
    con = duckdb.connect(str(database) if database is not None else ":memory:", config={"memory_limit": memory_limit})
    define_draws(con, seed)
    con.execute("CREATE TEMP MACRO sim_id(n) AS 'A' || lpad(n::VARCHAR, 8, '0')")
    con.execute(
        "CREATE TEMP MACRO sim_day(period, u) AS "
        "make_date(period // 4, period % 4 * 3 + 1, 1) + CAST(floor(u * 88) AS INTEGER)"
    )
    build_people(con, people, parameters, first)
    build_careers(con, people, quarters, parameters)
    build_records(con, people, quarters, first, parameters)
    truth = _truth(con, quarters, first, parameters.providers)
    for (name,) in con.execute(
        "SELECT table_name FROM duckdb_tables() WHERE starts_with(table_name, 'sim_')"
    ).fetchall():
        con.execute(f"DROP TABLE {sql_name(name)}")
    return Simulation(con, truth, parameters)


@dataclass(frozen=True)
class EffectSteps(Pipeline):
    """What training changed: the difference of both arms' outcomes, person by person.

    Attributes
    ----------
    quarters : int
        How many there are.
    """

    quarters: int

    @step
    def grid(self) -> str:
        """A person who entered training, and a quarter."""
        return f"SELECT x.n, x.entry, t FROM sim_trained x, range({self.quarters}) AS a(t)"

    @step
    def paid(self) -> str:
        """A person, an arm and a quarter with pay: real earnings of all jobs."""
        return """
            SELECT n, arm, t, CAST((wages + coalesce(side_wages, 0)) * factor AS DECIMAL(18,4)) AS earnings
            FROM sim_paid"""

    @temporary
    def sim_effect(self) -> str:
        """A person who entered training and a quarter: earnings and employment with training less those without."""
        return """
            SELECT g.n, g.entry, g.t,
              CASE WHEN g.t < entry THEN 0 ELSE coalesce(a.earnings, 0) - coalesce(b.earnings, 0) END AS earnings,
              CASE WHEN g.t < entry THEN 0
                ELSE coalesce((a.earnings > 0)::INTEGER, 0) - coalesce((b.earnings > 0)::INTEGER, 0) END AS employed
            FROM grid g
            LEFT JOIN paid a ON a.n = g.n AND a.t = g.t AND a.arm = 1
            LEFT JOIN paid b ON b.n = g.n AND b.t = g.t AND b.arm = 0"""

    @table
    def effect(self) -> str:
        """The same, as the study reads it."""
        return """
            SELECT sim_id(n) AS person_id, CAST(t - entry AS INTEGER) AS event_time,
              CAST(earnings AS DOUBLE) AS on_earnings, CAST(employed AS INTEGER) AS on_employed
            FROM sim_effect ORDER BY n, t"""


def _truth(con: duckdb.DuckDBPyConnection, quarters: int, first: int, providers: int) -> pd.DataFrame:
    """Take the difference of both arms' outcomes, kept by person, and its mean by cohort, event time and subgroup."""
    named = {"age_band": ("band", AGE_BANDS), "education_level": ("school", EDUCATION), "tier": ("tier", TIERS),
             "delivery": ("delivery", DELIVERIES)}  # fmt: skip
    levels = {"": "NULL::VARCHAR"}
    levels |= {name: f"[{', '.join(map(sql_text, labels))}][{column} + 1]" for name, (column, labels) in named.items()}
    levels["provider"] = name_sql(providers, "provider")
    EffectSteps(quarters).build(con)
    parts = []
    for subgroup, level in levels.items():
        name = sql_text(subgroup) if subgroup else "NULL::VARCHAR"
        parts += [
            f"SELECT '{outcome}' AS outcome, CAST({first} + entry AS INTEGER) AS cohort, "
            f"CAST(t - entry AS INTEGER) AS event_time, {name} AS subgroup, {level} AS level, "
            f"CAST(sum(coalesce({outcome}, 0)) AS DOUBLE) / count(*) AS att, count(*) AS n "
            f"FROM sim_effect JOIN sim_person USING (n) GROUP BY ALL"
            for outcome in ("earnings", "employed")
        ]
    frame: pd.DataFrame = con.sql(
        f"SELECT * FROM ({' UNION ALL '.join(parts)}) ORDER BY outcome, subgroup NULLS FIRST, level, cohort, event_time"
    ).df()
    return frame
