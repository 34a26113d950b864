"""What was refused is listed whole: every fault at once, keys by their columns, and in a file also in a rehearsal."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from retrain_eval.cli import app
from retrain_eval.common.errors import InputError
from retrain_eval.records.store import Store
from retrain_eval.study.folder import Study
from retrain_eval.study.template import new_study

PERSON = "person_id,age\nP1,31\nP2,27\n"
TWICE = "person_id,period,wages\nP1,2019-03,100\nP1,201903,150\nP2,2019M04,100\n"


def write(folder: Path, **files: str) -> dict[str, Path]:
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.csv" for name in files}


def listed(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("dry_run", [True, False])
def test_every_refused_row_is_listed_in_a_file(tmp_path: Path, dry_run: bool) -> None:
    wages = TWICE + "".join(f"P{n},2019-05,1\n" for n in range(3, 40))
    files, target = write(tmp_path, person=PERSON, wage_record=wages), tmp_path / "out" / "refusals.csv"
    with Store.open(tmp_path / "s.duckdb", frequency="month") as store:
        with pytest.raises(InputError) as caught:
            store.ingest_all(files, dry_run=dry_run, refusals=target)
        assert str(target) in str(caught.value)
        assert ("rejects" in str(caught.value)) is not dry_run
        assert store.rejects().empty is dry_run
    rows = listed(target)
    assert len(rows) == 2 + 37
    assert rows[0] == {
        "resource": "wage_record",
        "file": "wage_record.csv",
        "line": "2",
        "column": "person_id, period, employer_id, unit_id",
        "value": "person_id=(withheld), period=2019-03, employer_id=(missing), unit_id=(missing)",
        "rule": "uniqueKeys",
        "message": "must be unique",
    }
    assert {row["line"] for row in rows[2:]} == {str(line) for line in range(5, 42)}
    assert {(row["rule"], row["column"]) for row in rows[2:]} == {("foreignKeys", "person_id")}


def test_tolerated_refusals_are_listed_and_a_file_without_any_takes_the_list_away(tmp_path: Path) -> None:
    target = tmp_path / "refusals.csv"
    with Store.open(tmp_path / "s.duckdb", frequency="month") as store:
        files = write(tmp_path, person=PERSON, wage_record=TWICE + "P1,2019-05,-3\n")
        wages = store.ingest_all(files, tolerate=0.9, refusals=target)[1]
        assert "listed in" in str(wages)
        assert wages.refusals == str(target)
        assert [row["rule"] for row in listed(target)] == ["uniqueKeys", "uniqueKeys", "minimum"]
        store.ingest_all(files, tolerate=0.9, refusals=target)  # nothing new: the list still holds
        assert target.exists()
        store.ingest_all(write(tmp_path, wage_record="person_id,period,wages\nP1,2019-03,1\n"), refusals=target)
        assert not target.exists()


def test_a_list_that_cannot_be_written_does_not_hide_the_refusal(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    files = write(tmp_path, person=PERSON.replace("27", "x"))
    with Store.open(tmp_path / "s.duckdb") as store, pytest.raises(InputError, match="1 of 2 rows"):
        store.ingest_all(files, dry_run=True, refusals=tmp_path / "file" / "refusals.csv")


def test_what_could_be_a_social_security_number_is_not_listed(tmp_path: Path) -> None:
    files = write(tmp_path, person="person_id,age\n123-45-6789,31\nP2,123456789\n")
    with Store.open(tmp_path / "s.duckdb") as store, pytest.raises(InputError):
        store.ingest_all(files, dry_run=True, refusals=tmp_path / "r.csv")
    text = (tmp_path / "r.csv").read_text()
    assert "6789" not in text
    assert "(withheld)" in text


def test_a_hashed_key_is_shown_with_its_period_and_without_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRAIN_EVAL_KEY", "5bd1e995c2b2ae3d27d4eb4f165667c5")
    files = write(tmp_path, person=PERSON, wage_record="person_id,period,wages\nP1,2019Q1,1\nP1,2019-Q1,2\n")
    with Store.open(tmp_path / "s.duckdb", frequency="quarter", identifiers="hmac") as store:
        with pytest.raises(InputError) as caught:
            store.ingest_all(files)
        store.ingest_all(write(tmp_path, person=PERSON))
        [(hashed,)] = store.con.execute("SELECT person_id FROM person WHERE age = 31").fetchall()
    assert "line 2: person_id=(withheld), period=2019Q1, employer_id=(missing)" in str(caught.value)
    assert hashed[:8] not in str(caught.value)
    assert "P1" not in str(caught.value)


def test_all_columns_and_all_files_are_named_in_one_attempt(tmp_path: Path) -> None:
    strange = [f"x{n}" for n in range(36)]
    files = write(
        tmp_path,
        person="id,agee\nP1,31\n",
        wage_record=f"person_id,period,{','.join(strange)}\nP1,2019,{','.join('1' * 36)}\n",
        price="period,cpi,cpi\n2019,1,1\n",
    )
    with Store.open(tmp_path / "s.duckdb") as store, pytest.raises(InputError) as caught:
        store.ingest_all({**files, "coverage": tmp_path / "gone.csv"})
    text = str(caught.value)
    assert text.startswith("4 faults in files and their headers")
    assert "unknown columns of wage_record " + ", ".join(map(repr, strange)) in text
    assert "column 'wages' of wage_record is missing" in text
    for told in ("'id', 'agee'", "'person_id' of person is missing", "did you mean 'age' for 'agee'", "'cpi' stands"):
        assert told in text
    assert str(tmp_path / "gone.csv") in text


def test_one_fault_reads_as_it_did(tmp_path: Path) -> None:
    files = write(tmp_path, person="person_id,agee\nP1,31\n")
    with Store.open(tmp_path / "s.duckdb") as store, pytest.raises(InputError) as caught:
        store.ingest_all(files)
    assert str(caught.value).startswith("unknown column of person 'agee'\n")
    assert (caught.value.file, caught.value.row, caught.value.column) == (files["person"], 1, "agee")


def test_rows_that_would_lose_what_they_refer_to_are_shown_by_their_whole_key(tmp_path: Path) -> None:
    schemas = tmp_path / "schemas"
    schemas.mkdir()
    columns = [{"name": "site", "type": "string"}, {"name": "period", "type": "integer", "format": "period"}]
    key = {"fields": ["site", "period"], "reference": {"resource": "plan", "fields": ["site", "period"]}}
    (schemas / "plan.json").write_text(json.dumps({"fields": columns, "primaryKey": ["site", "period"]}))
    (schemas / "visit.json").write_text(json.dumps({"fields": columns, "foreignKeys": [key]}))
    from retrain_eval.records.schema.dictionary import load_package

    text = "site,period\nA,2019-03\nB,2019-04\n"
    with Store.open(tmp_path / "s.duckdb", package=load_package(schemas), frequency="month") as store:
        store.ingest_all(write(tmp_path, plan=text, visit=text))
        with pytest.raises(InputError, match="site=A, period=2019-03"):
            store.ingest_all(write(tmp_path, plan="site,period\nB,2019-04\n"))


def test_a_rehearsal_of_a_study_lists_what_it_refuses(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    new_study(folder)
    write(
        folder / "data",
        person=PERSON.replace("27", "old"),
        programme="programme_id,name\nT1,Welding\n",
        enrolment="person_id,programme_id,entry\nP1,T1,2020\n",
        wage_record="person_id,period,wages\nP1,2019,1\n",
    )
    told = CliRunner().invoke(app, ["ingest", str(folder), "--dry-run"])
    assert isinstance(told.exception, InputError)
    target = folder / "store" / "refusals.csv"
    assert str(target) in str(told.exception)
    assert [(row["file"], row["line"], row["value"]) for row in listed(target)] == [("person.csv", "3", "old")]
    assert not (folder / "store" / "study.duckdb").exists()
    write(folder / "data", person=PERSON)
    with Study.open(folder).ingest(dry_run=True) as store:
        assert store.vintage == 0
    assert not target.exists()


def test_a_load_says_how_far_it_has_come(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    files = write(tmp_path, person=PERSON, wage_record="person_id,period,wages\nP1,2019,1\n")
    with Store.open(tmp_path / "s.duckdb") as store:
        store.ingest_all(files, watch=lambda text, share: told.append((text, share)))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert 0 <= shares[0] < shares[-1] <= 1
    assert [text.split()[0] for text, _ in told].count("checking") == 6
    assert any(text == "checking the 2 rows of person.csv" for text, _ in told)
    assert any(text == "writing wage_record.csv" for text, _ in told)


def test_views_that_outlive_their_tables_are_not_left_in_a_store(tmp_path: Path) -> None:
    path = tmp_path / "s.duckdb"
    with Store.open(path) as store:
        store.ingest_all(write(tmp_path, person=PERSON))
        store.con.execute("CREATE TEMP TABLE drawn AS SELECT 1 AS weight; CREATE TABLE kept AS SELECT 2 AS x")
        store.con.table("drawn").create_view("weights")
        store.con.table("kept").create_view("own")
        store.con.execute("CREATE VIEW people AS SELECT * FROM person")
    assert views(path) == {"own", "people"}
    with duckdb.connect(str(path)) as con:  # as an earlier version left it
        con.execute("CREATE TABLE gone AS SELECT 1 AS weight; CREATE VIEW weights_within AS SELECT * FROM gone")
        con.execute("DROP TABLE gone")
    Store.open(path, read_only=True).close()
    assert views(path) == {"own", "people", "weights_within"}
    with Store.open(path) as store:
        assert store.con.sql("FROM people").aggregate("count(*)").fetchall() == [(2,)]
    assert views(path) == {"own", "people"}


def views(path: Path) -> set[str]:
    with duckdb.connect(str(path), read_only=True) as con:
        return {name for (name,) in con.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()}
