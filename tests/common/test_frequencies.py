"""Months, weeks and two-week intervals, from files to a release."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from retrain_eval.common.errors import InputError
from retrain_eval.panel.panel import build_panel
from retrain_eval.panel.quality import build_quality
from retrain_eval.panel.spells import build_spells
from retrain_eval.plan.study_file import read_study
from retrain_eval.records.store import Store
from retrain_eval.release.verification.verify import verify
from retrain_eval.study.folder import Study
from retrain_eval.study.template import new_study

EFFECT, PERIODS, ENTRY = 300.0, 8, 4
MARCH = 2019 * 12 + 2
WRITTEN = ("{}-{:02}", "{}M{:02}", "{}{:02}")


def as_month(period: int) -> str:
    """Write a month in one of three ways."""
    return WRITTEN[period % 3].format(period // 12, period % 12 + 1)


def make(folder: Path, frequency: str, first: int, write: Callable[[int], str]) -> Path:
    """Start a study of 60 trainees and 200 others, who gain ``EFFECT`` a period from the fifth period on."""
    rng = np.random.default_rng(3)
    trained = np.arange(260) < 60
    ids = [f"P{i:03d}" for i in range(260)]
    ability = rng.normal(0, 300, 260) - 100 * trained
    wages = []
    for t in range(PERIODS):
        level = 2500 + 10 * t + ability + rng.normal(0, 100, 260) + EFFECT * (trained & (t >= ENTRY))
        wages.append(pd.DataFrame({"person_id": ids, "period": write(first + t), "wages": level.clip(0).round(2)}))
    new_study(folder)
    tables = {
        "person": pd.DataFrame({"person_id": ids, "age": rng.integers(20, 65, 260)}),
        "programme": pd.DataFrame([{"programme_id": "T1", "name": "Welding"}]),
        "enrolment": pd.DataFrame({"person_id": ids[:60], "programme_id": "T1", "entry": write(first + ENTRY)}),
        "wage_record": pd.concat(wages),
    }
    for name, frame in tables.items():
        frame.to_csv(folder / "data" / f"{name}.csv", index=False)
    text = (folder / "study.toml").read_text(encoding="utf-8")
    earnings = " + ".join(f"earnings_{write(first + t).replace('-', 'M')}" for t in (2, 3))
    text = text.replace("earnings_2018 + earnings_2019", earnings).replace('"year"  ', f'"{frequency}"  ')
    text = text.replace("cuts = [25, 40, 55]", "cuts = [40]").replace(
        text[text.index("labels = [") :].split("\n")[0], ""
    )
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("frequency", "first", "write"),
    [("month", MARCH, as_month), ("week", 11, str), ("two-week interval", 1, str)],
    ids=["month", "week", "two weeks"],
)
def test_a_study_goes_from_files_to_a_verified_release(
    tmp_path: Path, frequency: str, first: int, write: Callable[[int], str]
) -> None:
    folder = make(tmp_path / "mine", frequency, first, write)
    study = Study.open(folder)
    assert study.file.study.frequency == frequency
    assert study.file.match_periods() == (first + 2, first + 3)
    results = study.run()
    effects = results.tables["effects"].set_index("result")
    assert effects.loc["did", "estimate"] == pytest.approx(EFFECT, abs=60)
    dynamic = effects.loc["event_study"]
    assert dynamic["event_time"].dropna().tolist() == list(range(-ENTRY, PERIODS - ENTRY))
    assert set(effects.loc["att_by_age_band", "level"]) == {"under 40", "40 and over"}
    bundle = study.release("2020")
    assert verify(bundle.path).ok
    with Store.open(study.store_path, package=study.package, frequency=frequency) as store:
        panel = store.con.sql("SELECT min(period), max(period), count(DISTINCT period), min(cohort) FROM panel")
        assert panel.fetchall() == [(first, first + PERIODS - 1, PERIODS, first + ENTRY)]
        assert (
            store.con.sql("SELECT view_name FROM duckdb_views() WHERE NOT internal AND NOT temporary").fetchall() == []
        )


def test_group_time_effects_of_weeks_are_those_of_the_same_numbers(tmp_path: Path) -> None:
    folder = make(tmp_path / "mine", "week", 11, str)
    with Study.open(folder).ingest() as store:
        build_panel(store.con, "missing")
        rows = store.con.sql("SELECT * REPLACE (period + 100 AS period, cohort + 100 AS cohort) FROM panel")
        options = {"unit": "person_id", "time": "period", "cohort": "cohort", "outcome": "earnings"}
        weeks, shifted = (
            rte.outcome_moments(source, **options).att_gt().aggregate("dynamic").to_frame()
            for source in (store.con.table("panel"), rows)
        )
    weeks, shifted = (
        frame.dropna(subset="event_time").set_index("event_time")["estimate"] for frame in (weeks, shifted)
    )
    assert weeks.index.tolist() == list(range(-ENTRY, PERIODS - ENTRY))
    assert weeks.to_dict() == pytest.approx(shifted.to_dict())
    assert weeks.loc[0:].tolist() == pytest.approx([EFFECT] * 4, abs=100)


def test_months_in_numbers_of_a_parquet_file_are_months(tmp_path: Path) -> None:
    duckdb.sql("SELECT 'a' AS person_id").write_parquet(str(tmp_path / "person.parquet"))
    duckdb.sql(
        "SELECT 'a' AS person_id, unnest([201911, 201912, 202001, 24242]) AS period, 5.0 AS wages"
    ).write_parquet(str(tmp_path / "wages.parquet"))
    with Store.open(tmp_path / "s.duckdb", frequency="month") as store:
        store.ingest_all({"person": tmp_path / "person.parquet", "wage_record": tmp_path / "wages.parquet"})
        found = store.con.sql("SELECT period FROM wage_record ORDER BY 1").fetchall()
    assert found == [(24238,), (24239,), (24240,), (24242,)]


@pytest.mark.parametrize("frequency", ["week", "two-week interval"])
@pytest.mark.parametrize("written", ["201903", "2019-W03", "2019-03", "0"])
def test_a_week_of_a_calendar_is_refused(tmp_path: Path, frequency: str, written: str) -> None:
    (tmp_path / "person.csv").write_text("person_id\na\n")
    (tmp_path / "wages.csv").write_text(f"person_id,period,wages\na,{written},5\n")
    with Store.open(tmp_path / "s.duckdb", frequency=frequency) as store:
        files = {"person": tmp_path / "person.csv", "wage_record": tmp_path / "wages.csv"}
        with pytest.raises(InputError, match="counted one after the other"):
            store.ingest_all(files)


@pytest.mark.parametrize("word", ["weekly", "fortnight", "Month", "day"])
def test_another_frequency_is_refused_with_the_choices(tmp_path: Path, word: str) -> None:
    folder = make(tmp_path / "mine", word, MARCH, as_month)
    with pytest.raises(InputError, match="known: year, quarter, month, week, two-week interval"):
        read_study(folder)
    with pytest.raises(InputError, match="known: year, quarter, month, week, two-week interval"):
        Store.open(tmp_path / "s.duckdb", frequency=word)


def employed(con: duckdb.DuckDBPyConnection, frequency: str, periods: range, out: range = range(0)) -> None:
    """Make records of two people with one employer each; person a has none in the periods ``out``."""
    con.execute("CREATE TABLE settings AS SELECT 'frequency' AS name, $1 AS value", [frequency])
    con.execute("CREATE TABLE person AS SELECT unnest(['a', 'b']) AS person_id")
    con.execute("CREATE TABLE enrolment (person_id VARCHAR, programme_id VARCHAR, entry INTEGER)")
    con.execute(
        "CREATE TABLE wage_record AS SELECT person_id, CAST(period AS INTEGER) AS period, 'X' AS employer_id, "
        f"100 AS wages FROM person, range({periods.start}, {periods.stop}) AS t(period) "
        f"WHERE person_id = 'b' OR NOT (period >= {out.start} AND period < {out.stop})"
    )


def test_a_day_of_displacement_lies_in_its_month() -> None:
    con = duckdb.connect()
    employed(con, "month", range(MARCH, MARCH + 6))
    con.execute("CREATE TABLE displacement AS SELECT 'a' AS person_id, DATE '2019-05-31' AS displaced_on")
    build_panel(con, "zero")
    clock = con.sql("SELECT to_displacement FROM panel WHERE person_id = 'a' ORDER BY period").fetchall()
    assert [n for (n,) in clock] == [-2, -1, 0, 1, 2, 3]


def test_a_day_lies_in_no_numbered_week() -> None:
    con = duckdb.connect()
    employed(con, "week", range(1, 7))
    con.execute("CREATE TABLE displacement AS SELECT 'a' AS person_id, DATE '2019-05-31' AS displaced_on")
    with pytest.raises(InputError, match="cannot be placed among numbered periods"):
        build_panel(con, "zero")


@pytest.mark.parametrize(
    ("frequency", "first", "year"),
    [("quarter", 8076, 4), ("month", MARCH, 12), ("week", 1, 52), ("two-week interval", 1, 26)],
)
def test_what_is_judged_over_a_year_is_judged_over_a_year_of_periods(frequency: str, first: int, year: int) -> None:
    con = duckdb.connect()
    away = range(first + 2 * year, first + 3 * year)  # back after exactly a year
    employed(con, frequency, range(first, first + 5 * year), away)
    build_panel(con, "zero")
    build_quality(con, dimensions=("tenure", "stability"))
    mine = "person_id = 'a'"
    rows = con.sql(
        f"SELECT d_tenure, d_stability FROM quality WHERE {mine} AND period >= {away.stop} ORDER BY period"
    ).fetchall()
    assert [tenure for tenure, _ in rows] == [1.0] * (year - 1) + [0.0] * (year + 1)
    assert [stable for _, stable in rows] == [1.0] * (year - 1) + [0.0] * (year + 1)
    build_spells(con)
    found = con.sql(f"SELECT periods, cause FROM spells WHERE {mine} ORDER BY entry").fetchall()
    assert found == [(2 * year, "recall"), (year, "recall"), (2 * year, "censored")]
    build_spells(con, recall_within=year - 1)
    assert con.sql(f"SELECT cause FROM spells WHERE {mine} ORDER BY entry LIMIT 1").fetchall() == [("nonemployment",)]
    assert ("quarters" in con.table("spells").columns) is (frequency == "quarter")
