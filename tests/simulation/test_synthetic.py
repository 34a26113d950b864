"""The synthetic agency: the same bits, valid files, published moments, and a truth that adds up."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import retrain_eval as rte
from retrain_eval.common.errors import InputError
from retrain_eval.records.store import Store
from retrain_eval.simulation.agency import RECORDS, Simulation
from retrain_eval.simulation.parameters import Parameters


@pytest.fixture(scope="module")
def agency() -> Simulation:
    return rte.simulate(people=4_000)


def bits(agency: Simulation) -> dict[str, str]:
    """Return one hash per record table, whatever the order of its rows, and of the truth."""
    found = {
        name: agency.con.sql(
            f"SELECT CAST(bit_xor(md5_number(CAST(t AS VARCHAR))) AS VARCHAR) FROM {name} t"
        ).fetchall()[0][0]
        for name in RECORDS
    }
    return found | {"truth": str(pd.util.hash_pandas_object(agency.truth).sum())}


@pytest.mark.slow
def test_one_seed_gives_the_same_bits_whatever_the_memory(agency: Simulation, tmp_path: Path) -> None:
    again = rte.simulate(people=4_000, memory_limit="1GB", database=tmp_path / "s.duckdb")
    assert bits(again) == bits(agency)
    other = bits(rte.simulate(people=4_000, seed=1))
    assert {name for name in RECORDS if other[name] == bits(agency)[name]} <= {"programme", "coverage", "price"}


@pytest.mark.slow
def test_the_published_moments_are_met() -> None:
    table = rte.simulate().calibration()
    assert table["ok"].all(), table.loc[~table["ok"], ["moment", "target", "simulated"]].to_string()


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_the_store_takes_every_file_without_a_reject(agency: Simulation, tmp_path: Path, form: str) -> None:
    files = agency.write(tmp_path, format=form, deliveries="year")
    assert set(files) == set(RECORDS)
    assert [file.stem for file in files["wage_record"]] == [f"wage_record_{year}" for year in range(2016, 2026)]
    with Store.open(tmp_path / "store.duckdb", frequency="quarter") as store:
        reports = store.ingest_all(files)
        assert sum(report.rows_rejected for report in reports) == 0
        assert sum(report.rows_superseded for report in reports) == 0
        for name in RECORDS:
            assert store.tables()[name] == agency.con.table(name).count("*").fetchall()[0][0]


@pytest.mark.parametrize(
    ("seed", "people", "start"),
    [*((seed, 1_500, "2016Q1") for seed in range(1, 7)), (16, 8_000, "2016Q1"), (9, 500, "1961Q1"), (9, 500, "2091Q1")],
)
def test_every_record_of_any_seed_and_start_passes_the_schemas(
    tmp_path: Path, seed: int, people: int, start: str
) -> None:
    made = rte.simulate(people=people, start=start, seed=seed)
    with Store.open(tmp_path / "store.duckdb", frequency="quarter") as store:
        reports = store.ingest_all(made.write(tmp_path))
        assert sum(report.rows_rejected for report in reports) == 0
    (impossible,) = made.con.sql(
        """
        SELECT count(*) FROM displacement JOIN person USING (person_id)
        WHERE tenure > 4 * (year(displaced_on) - birth_year - 14) OR tenure < 4
        """
    ).fetchall()[0]
    assert impossible == 0  # nobody held a job as a child


@pytest.mark.parametrize("start", ["1960Q4", "2091Q2"])
def test_records_beyond_the_years_of_the_schemas_are_not_made(start: str) -> None:
    with pytest.raises(InputError, match="no quarter to start in"):
        rte.simulate(people=500, quarters=40, start=start)


def test_the_truth_adds_up(agency: Simulation) -> None:
    truth = agency.truth
    assert (truth[truth["event_time"] < 0]["att"] == 0).all()
    keys = ["outcome", "cohort", "event_time"]
    whole = truth[truth["subgroup"].isna()].set_index(keys).sort_index()
    for subgroup, rows in truth.groupby("subgroup"):
        total = rows.assign(sum=rows["att"] * rows["n"]).groupby(keys)[["sum", "n"]].sum()
        assert (total["n"] == whole["n"]).all(), subgroup
        assert (total["sum"] / total["n"]).to_numpy() == pytest.approx(whole["att"].to_numpy(), abs=1e-9)
    path = whole.assign(sum=whole["att"] * whole["n"]).groupby(["outcome", "event_time"])[["sum", "n"]].sum()
    effect = path["sum"] / path["n"]
    for outcome in ("employed", "earnings"):
        assert effect[outcome, 1] < 0 < effect[outcome, 12]  # lock-in, then gain


def test_trainees_are_who_the_records_say(agency: Simulation) -> None:
    con = agency.con
    n, entered = con.sql("SELECT count(*), min(entry) FROM enrolment").fetchall()[0]
    assert n == agency.truth.query("outcome == 'earnings' and event_time == 0 and subgroup.isna()")["n"].sum()
    assert entered > 8064
    waits = con.sql(
        "SELECT min(w), max(w) FROM (SELECT entry - year(displaced_on) * 4 - quarter(displaced_on) + 1 AS w "
        "FROM enrolment JOIN displacement USING (person_id))"
    ).fetchall()
    assert waits == [(2, 6)]  # whoever lost a job in one quarter is without one from the next
    rte.build_panel(con)
    assert con.sql("SELECT count(*) FROM panel WHERE to_entry = -1 AND employed = 1").fetchall() == [(0,)]
    assert con.sql("SELECT count(*) > 0 FROM panel WHERE earnings IS NULL").fetchall() == [(True,)]


def test_without_effects_the_truth_is_zero() -> None:
    none = Parameters(lock_in=1, finding_gain=1, separation_gain=1, wage_gain=0)
    truth = rte.simulate(people=2_000, parameters=none).truth
    # who does not work for the sake of training may still move to another occupation afterwards
    employed = truth[truth["outcome"] == "employed"]
    assert (employed["att"] == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"people": 5}, "at least 100"), ({"quarters": 12}, "too short"), ({"start": "2016"}, "a quarter such as 2016Q1")],
)
def test_arguments_that_make_no_agency_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rte.simulate(**options)


def test_parameters_and_formats_are_checked(agency: Simulation, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be"):
        Parameters(finding=1.5)
    with pytest.raises(InputError, match="cannot be"):
        Parameters(wage_gain=-0.1)
    for options in ({"format": "xlsx"}, {"deliveries": "month"}):
        with pytest.raises(InputError, match="unknown"):
            agency.write(tmp_path, **options)
    (tmp_path / "there.duckdb").write_text("")
    with pytest.raises(InputError, match="exists already"):
        rte.simulate(people=200, database=tmp_path / "there.duckdb")
