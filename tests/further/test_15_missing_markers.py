"""Markers of missing values are missing in every record, by every route, and are no keys; they link nobody."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd
import pytest

import retrain_eval as rte
from further_cases import long_panel, moments, refused, right_or_refused
from retrain_eval.common.resources import resource
from retrain_eval.records.schema.dictionary import load_package
from retrain_eval.records.store import Store

MARKERS = ["NA", "NULL", "nan", "."]


def load(folder: Path, **files: str | pd.DataFrame) -> Store:
    """Load records from CSV text or, where a frame is given, from Parquet."""
    given = {"person": "person_id\nP1\nP2\n", "programme": "programme_id,name\nT,Welding\n"}
    given |= {"enrolment": "person_id,programme_id,entry\nP1,T,2021Q1\n", **files}
    paths: dict[str, Path] = {}
    for name, content in given.items():
        if isinstance(content, str):
            paths[name] = folder / f"{name}.csv"
            paths[name].write_text(content, encoding="utf-8")
        else:
            paths[name] = folder / f"{name}.parquet"
            content.to_parquet(paths[name], index=False)
    store = Store.open(folder / "store.duckdb", frequency="quarter")
    store.ingest_all(paths)
    return store


def test_every_record_type_declares_its_markers():
    package = load_package(resource("data_schemas"))
    for name in package.names:
        assert {"", "NA", "NULL", "nan", "."} <= set(package[name].missing_values)


@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_for_a_region_is_no_region(tmp_path, marker):
    with load(tmp_path, person=f"person_id,region\nP1,{marker}\nP2,North\n") as store:
        assert store.con.sql("SELECT region FROM person ORDER BY person_id").fetchall() == [(None,), ("North",)]


@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_in_a_parquet_file_is_no_value(tmp_path, marker):
    people = pd.DataFrame({"person_id": ["P1", "P2"], "region": [marker, "North"], "sex": ["female", marker]})
    with load(tmp_path, person=people) as store:
        found = store.con.sql("SELECT region, sex FROM person ORDER BY person_id").fetchall()
    assert found == [(None, "female"), ("North", None)]


@pytest.mark.parametrize(("column", "kind"), [("age", "number"), ("literacy_score", "decimal"), ("married", "boolean")])
def test_a_marker_for_a_number_or_a_boolean_is_missing_and_not_refused(tmp_path, column, kind):
    known = {"number": "41", "decimal": "210.5", "boolean": "true"}[kind]
    with load(tmp_path, person=f"person_id,{column}\nP1,NA\nP2,{known}\n") as store:
        missing = store.con.sql(f"SELECT {column} IS NULL FROM person ORDER BY person_id").fetchall()
    assert missing == [(True,), (False,)]


@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_is_no_person(tmp_path, marker):
    refused(lambda: load(tmp_path, person=f"person_id\nP1\n{marker}\n"), "person_id", "line 3")


@pytest.mark.parametrize("marker", ["NULL", "."])
def test_a_marker_is_no_programme_nor_the_person_of_a_wage(tmp_path, marker):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    refused(lambda: load(tmp_path / "a", programme=f"programme_id,name\nT,Welding\n{marker},Nothing\n"), "programme_id")
    wages = f"person_id,period,employer_id,wages\nP1,2020Q1,E1,5\n{marker},2020Q2,E1,5\n"
    refused(lambda: load(tmp_path / "b", wage_record=wages), "person_id", "line 3")


@pytest.mark.parametrize("marker", MARKERS)
def test_a_wage_that_is_a_marker_is_refused_with_its_line(tmp_path, marker):
    wages = f"person_id,period,employer_id,wages\nP1,2020Q1,E1,5\nP1,2020Q2,E1,{marker}\n"
    refused(lambda: load(tmp_path, wage_record=wages), "wages", "line 3")


@pytest.mark.parametrize("marker", MARKERS)
def test_unknown_employers_are_not_one_job(tmp_path, marker):
    wages = "person_id,period,employer_id,wages\n" + "".join(f"P1,2020Q{q},{marker},900\n" for q in (1, 2, 3))
    with load(tmp_path, wage_record=wages + "P2,2020Q1,E1,500\nP2,2020Q2,E1,500\n") as store:
        rte.build_panel(store.con, no_record="zero")
        found = store.con.sql("SELECT earnings, main_employer, tenure FROM panel WHERE person_id = 'P1'").fetchall()
        assert [row[0] for row in found] == [900.0] * 3
        assert {row[1] for row in found} == {None}
        right_or_refused(
            lambda: [row[0] for row in rte.build_jobs(store.con).project("employer_id").fetchall() if row[0] != "E1"],
            [],
            "employer",
        )


def test_an_employer_whose_name_contains_a_marker_is_an_employer(tmp_path):
    wages = "person_id,period,employer_id,wages\nP1,2020Q1,NAVY,900\nP1,2020Q2,NULLARBOR,900\n"
    with load(tmp_path, wage_record=wages) as store:
        found = store.con.sql("SELECT employer_id FROM wage_record ORDER BY period").fetchall()
    assert found == [("NAVY",), ("NULLARBOR",)]


def registers(mine: list[str | None], theirs: list[str | None]) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.register("a", pd.DataFrame({"person_id": range(len(mine)), "tax_id": pd.Series(mine, dtype="str")}))
    con.register(
        "b", pd.DataFrame({"record_id": range(70, 70 + len(theirs)), "tax_id": pd.Series(theirs, dtype="str")})
    )
    con.execute("CREATE TABLE trainee AS FROM a; CREATE TABLE payroll AS FROM b")
    return con


@pytest.mark.parametrize(
    ("marker", "form"), [*((marker, "exact") for marker in MARKERS), ("NULL", "identifier"), ("nan", "identifier")]
)
def test_markers_link_nobody(marker, form):
    con = registers([marker, "12-34"], [marker, "12-34"])
    found = rte.link_exactly(con, "trainee", "payroll", {"id": {"tax_id": form}})
    assert found.links.project("person_id, record_id").fetchall() == [(1, 71)]
    assert found.unresolved.project("person_id").fetchall() == [(0,)]


def test_a_marker_for_a_name_links_nobody_in_a_second_pass():
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE trainee AS FROM (VALUES (1, 'NA', '1990-01-01'), (2, 'Ann', '1991-01-01')) "
        "t(person_id, surname, born)"
    )
    con.execute(
        "CREATE TABLE payroll AS FROM (VALUES (7, 'NA', '1990-01-01'), (8, 'ANN', '1991-01-01')) "
        "t(record_id, surname, born)"
    )
    found = rte.link_exactly(con, "trainee", "payroll", {"name and date": {"surname": "name", "born": "date"}})
    assert found.links.project("person_id, record_id").fetchall() == [(2, 8)]


@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_among_outcomes_of_a_file_is_a_missing_outcome(tmp_path, marker):
    rng = pd.Series(range(40), dtype=float)
    long = long_panel(rng.to_numpy().reshape(20, 2), [2, 0] * 10)
    frame = long.assign(y=long["y"].astype(object))
    frame.loc[3, "y"] = marker
    path = tmp_path / "rows.csv"
    frame.to_csv(path, index=False)
    want = moments(long[long["id"] != 1], unbalanced="drop").att_gt().aggregate("simple").to_frame()["estimate"].item()
    right_or_refused(
        lambda: moments(path, unbalanced="drop").att_gt().aggregate("simple").to_frame()["estimate"].item(), want, "y"
    )
