"""What an agency's year does to a store: odd files, full disks, read-only folders, kills, changed plans."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas as pd
import pytest

import own_study
from retrain_eval.common.errors import InputError, StoreError
from retrain_eval.records.schema.dictionary import load_package
from retrain_eval.records.store import Store
from retrain_eval.simulation import simulate
from retrain_eval.study.folder import Study

ROOT_ONLY = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to be another user")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "records.duckdb") as store:
        yield store


def write(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def rows(store: Store, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in store.con.sql(sql).fetchall()]


def people(folder: Path, *ids: str) -> Path:
    return write(folder, "person.csv", "person_id,age", *(f"{one},30" for one in ids))


PAY = "SELECT person_id, period, wages::INTEGER FROM wage_record ORDER BY ALL"

# --- which rows stand after a load


def test_people_cannot_go_while_their_earlier_deliveries_stay(store: Store, tmp_path: Path) -> None:
    """One file takes people away, the other only adds wages: wages of the first delivery would be nobody's."""
    first = write(tmp_path, "w1.csv", "person_id,period,wages", "P1,2018,10", "P2,2018,20")
    store.ingest_all({"person": people(tmp_path, "P1", "P2"), "wage_record": first})
    second = write(tmp_path, "w2.csv", "person_id,period,wages", "P2,2019,21")
    files = {"person": people(tmp_path, "P2"), "wage_record": [first, second]}
    for dry_run in (True, False):
        with pytest.raises(InputError, match="1 rows of wage_record in the store refer to a person") as caught:
            store.ingest_all(files, dry_run=dry_run)
        assert caught.value.value == "(withheld)"
    assert (store.vintage, store.tables()) == (1, {"person": 2, "wage_record": 2})
    store.ingest_all({"person": files["person"], "wage_record": second})
    assert rows(store, PAY) == [("P2", 2019, 21)]


def test_a_row_that_is_corrected_in_the_same_load_holds_nobody_back(tmp_path: Path) -> None:
    schemas = tmp_path / "schemas"
    schemas.mkdir()
    field = '{{"name": "{0}", "type": "string", "title": "-", "description": "-"}}'
    (schemas / "site.json").write_text(
        f'{{"fieldsMatch": "superset", "primaryKey": ["site"], "fields": [{field.format("site")}]}}'
    )
    (schemas / "course.json").write_text(
        f'{{"fieldsMatch": "superset", "primaryKey": ["course"], '
        f'"foreignKeys": [{{"fields": ["site"], "reference": {{"resource": "site", "fields": ["site"]}}}}], '
        f'"fields": [{field.format("course")}, {field.format("site")}]}}'
    )
    with Store.open(tmp_path / "s.duckdb", package=load_package(schemas)) as store:
        course = write(tmp_path, "c1.csv", "course,site", "welding,north", "python,south")
        store.ingest_all({"site": write(tmp_path, "s1.csv", "site", "north", "south"), "course": course})
        moved = write(tmp_path, "c2.csv", "course,site", "welding,south")
        store.ingest_all({"site": write(tmp_path, "s2.csv", "site", "south"), "course": [course, moved]})
        assert rows(store, "FROM course ORDER BY ALL") == [("python", "south"), ("welding", "south")]
        assert store.vintage == 2


def test_one_file_can_hold_two_record_types(tmp_path: Path) -> None:
    """Each is loaded, corrected and known as loaded by itself."""
    schemas = tmp_path / "schemas"
    schemas.mkdir()
    for name in ("site", "office"):
        (schemas / f"{name}.json").write_text(
            '{"fieldsMatch": "superset", "primaryKey": ["id"], '
            '"fields": [{"name": "id", "type": "string", "title": "-", "description": "-"}]}'
        )
    both = write(tmp_path, "both.csv", "id", "north", "south")
    with Store.open(tmp_path / "s.duckdb", package=load_package(schemas)) as store:
        assert store.ingest("site", both).rows_loaded == 2
        site, office = sorted(store.ingest_all({"office": both, "site": both}), key=lambda one: one.vintage)
        assert (site.resource, site.already_loaded) == ("site", True)
        assert (office.resource, office.already_loaded, office.vintage) == ("office", False, 2)
        store.ingest("office", write(tmp_path, "one.csv", "id", "east"))
        assert store.tables() == {"office": 1, "site": 2}


def test_a_second_unique_key_holds_across_deliveries(tmp_path: Path) -> None:
    schemas = tmp_path / "schemas"
    schemas.mkdir()
    field = '{{"name": "{0}", "type": "string", "title": "-", "description": "-"}}'
    (schemas / "site.json").write_text(
        f'{{"fieldsMatch": "superset", "primaryKey": ["id"], "uniqueKeys": [["name"]], '
        f'"fields": [{field.format("id")}, {field.format("name")}]}}'
    )
    with Store.open(tmp_path / "s.duckdb", package=load_package(schemas)) as store:
        store.ingest("site", write(tmp_path, "1.csv", "id,name", "1,north", "2,south"))
        twice = write(tmp_path, "2.csv", "id,name", "3,south")
        with pytest.raises(InputError, match=r"share 1 unique key\(s\) with rows loaded before") as caught:
            store.ingest("site", twice, mode="update")
        assert (caught.value.column, caught.value.value) == ("name", "south")
        assert (store.vintage, store.tables()) == (1, {"site": 2})
        moved = write(tmp_path, "3.csv", "id,name", "2,east", "3,south")
        assert store.ingest("site", moved, mode="update").rows_superseded == 1
        assert rows(store, "FROM site ORDER BY 1") == [("1", "north"), ("2", "east"), ("3", "south")]


@pytest.mark.parametrize("again", ["same path", "same bytes"])
def test_deliveries_that_are_one_file_are_refused(store: Store, tmp_path: Path, again: str) -> None:
    store.ingest("person", people(tmp_path, "P1"))
    first = write(tmp_path, "w1.csv", "person_id,period,wages", "P1,2018,10")
    middle = write(tmp_path, "w2.csv", "person_id,period,wages", "P1,2018,11")
    last = first if again == "same path" else Path(shutil.copy(first, tmp_path / "w3.csv"))
    with pytest.raises(InputError, match="two deliveries of wage_record are the same file") as caught:
        store.ingest_all({"wage_record": [first, middle, last]})
    assert str(last) in str(caught.value)
    assert str(first) in str(caught.value)
    with pytest.raises(InputError, match="no file is given for wage_record"):
        store.ingest_all({"wage_record": []})
    assert store.tables() == {"person": 1}


def test_an_update_without_keys_corrects_nothing(store: Store, tmp_path: Path) -> None:
    store.ingest("person", people(tmp_path, "P1"))
    first = write(tmp_path, "w1.csv", "person_id,period,employer_id,wages", "P1,2018,,10", "P1,2018,E1,5")
    store.ingest("wage_record", first)
    empty = write(tmp_path, "w2.csv", "person_id,period,wages", ",,7", "P1,,7", ",2018,7")
    with pytest.raises(InputError, match="must not be missing"):
        store.ingest("wage_record", empty, mode="update")
    rules = store.rejects()[["line", "column", "rule"]].to_numpy().tolist()
    required = [[2, "period"], [2, "person_id"], [3, "period"], [4, "person_id"]]
    assert rules == [[line, column, "required"] for line, column in required]
    # an employer that is missing is a value of the key: it corrects the row without one, and no other
    report = store.ingest(
        "wage_record", write(tmp_path, "w3.csv", "person_id,period,wages", "P1,2018,7"), mode="update"
    )
    assert report.rows_superseded == 1
    pay = "SELECT employer_id, wages::INTEGER FROM wage_record ORDER BY 1 NULLS FIRST"
    assert rows(store, pay) == [(None, 7), ("E1", 5)]


def test_a_dry_run_counts_what_the_load_then_supersedes(store: Store, tmp_path: Path) -> None:
    """Within deliveries of one load too, and not what a replaced first delivery takes away anyhow."""
    lines = ["person_id,period,wages", "P1,2018,1", "P2,2018,1", "P1,2019,1"]
    one = write(tmp_path, "w1.csv", *lines)
    two = write(tmp_path, "w2.csv", "person_id,period,wages", "P1,2018,2", "P3,2018,2")
    three = write(tmp_path, "w3.csv", "person_id,period,wages", "P1,2018,3", "P3,2018,3", "P1,2020,3")
    files = {"person": people(tmp_path, "P1", "P2", "P3"), "wage_record": [one, two, three]}
    for _ in range(2):
        would = [report.rows_superseded for report in store.ingest_all(files, dry_run=True)]
        done = [report.rows_superseded for report in store.ingest_all(files)]
        assert would == done == [0, 0, 1, 2]
        lines.append("P2,2021,1")
        write(tmp_path, "w1.csv", *lines)
        write(tmp_path, "person.csv", "person_id,age", "P1,31", "P2,30", "P3,30")
    assert len(rows(store, PAY)) == 6


def test_two_stores_of_one_process_make_two_vintages(tmp_path: Path) -> None:
    path = tmp_path / "s.duckdb"
    with Store.open(path) as one, Store.open(path) as other:
        one.ingest("person", people(tmp_path, "P1"))
        wages = write(tmp_path, "w.csv", "person_id,period,wages", "P1,2018,1")
        assert other.ingest("wage_record", wages).vintage == 2
        assert other.tables() == {"person": 1, "wage_record": 1}


def test_a_store_shows_what_it_is_asked_to(tmp_path: Path) -> None:
    path = tmp_path / "s.duckdb"
    with Store.open(path) as store:
        store.ingest("person", people(tmp_path, "P1"))
        mark = store.fingerprint()
        store.ingest("price", write(tmp_path, "price.csv", "period,cpi", "2018,1"))
    with Store.open(path, only=["person"]) as store:
        assert (store.tables(), store.fingerprint()) == ({"person": 1}, mark)
        assert store.files()["name"].tolist() == ["person"]
        with pytest.raises(duckdb.CatalogException):
            store.con.sql("FROM price")


# --- exactly the bad rows, on exactly their lines

GOOD = {
    "person_id": "P1",
    "period": 2018,
    "employer_id": "E1",
    "unit_id": "U1",
    "wages": "10.50",
    "hours": 100.0,
    "isco": "2512",
    "naics": "44-45",
    "source": "UI",
    "imputed": True,
}
# by record: column, value as a file holds it, its rule; the keys of one row and its double come last
BAD = [
    ("person_id", None, "required"),
    ("person_id", " P1", "pattern"),
    ("person_id", "123-45-6789", "ssn"),
    ("person_id", "P9", "foreignKeys"),
    ("period", None, "required"),
    ("period", "2018Q5", "type"),
    ("period", "1899", "period"),
    ("wages", None, "required"),
    ("wages", "ten", "type"),
    ("wages", "inf", "finite"),
    ("wages", "1.005", "scale"),
    ("wages", "99999999999", "precision"),
    ("wages", "-1", "minimum"),
    ("hours", "-1", "minimum"),
    ("hours", "x", "type"),
    ("isco", "25121", "pattern"),
    ("naics", "4-5", "pattern"),
    ("source", "UI ", "pattern"),
    ("imputed", "maybe", "type"),
]


@pytest.mark.parametrize("how", ["csv", "parquet of text", "parquet of types"])
def test_a_bad_row_of_each_kind_among_good_ones_is_refused_and_no_other(tmp_path: Path, how: str) -> None:
    """Every third row is bad in one way; what is refused is the same however the file is written."""
    people_file = people(tmp_path, "P1")
    frame, expected = [], set()
    first = 2 if how == "csv" else 1
    types = {"period": "INTEGER", "wages": "DECIMAL(12,3)", "hours": "DOUBLE", "imputed": "BOOLEAN"}
    for number, (column, value, rule) in enumerate(BAD):
        typed = how == "parquet of types" and column in types and value is not None
        if typed and duckdb.execute(f"SELECT TRY_CAST($1 AS {types[column]}) IS NULL", [value]).fetchall() == [(True,)]:
            continue  # a column of this type cannot hold it
        frame += [{**GOOD, "employer_id": f"E{number}-{i}"} for i in (1, 2)]
        frame.append({**GOOD, "employer_id": f"E{number}", column: value})
        expected.add((first + len(frame) - 1, column, rule))
        if column == "person_id" and value is not None:  # nobody of that name either
            expected.add((first + len(frame) - 1, column, "foreignKeys"))
    same = [{**GOOD, "employer_id": "same", "hours": hours} for hours in (100.0, 90.0)]  # one key, two contents
    frame += [same[0], {**GOOD, "employer_id": "other"}, same[1]]
    key = "person_id, period, employer_id, unit_id"
    expected |= {(first + len(frame) - place, key, "uniqueKeys") for place in (1, 3)}
    frame += [{**GOOD, "employer_id": "twice"}] * 2  # an exact duplicate is no fault: the two are one row
    table = pd.DataFrame([{name: None if v is None else str(v) for name, v in row.items()} for row in frame])
    path = tmp_path / f"wage_record.{how.split()[0]}"
    if how == "csv":
        table.to_csv(path, index=False)
    else:
        casts = ", ".join(f"CAST({one} AS {kind}) AS {one}" for one, kind in types.items())
        relation = duckdb.from_df(table).project(f"* REPLACE ({casts})" if how == "parquet of types" else "*")
        relation.write_parquet(str(path))
    with Store.open(tmp_path / "year.duckdb", frequency="year") as yearly:
        files = {"person": people_file, "wage_record": path}
        bad = len({line for line, *_ in expected})
        with pytest.raises(InputError, match=f"{bad} of {len(frame)} rows"):
            yearly.ingest_all(files)
        found = yearly.rejects()[["line", "column", "rule"]].itertuples(index=False, name=None)
        assert set(found) == expected
        report = yearly.ingest_all(files, tolerate=0.5)[1]
        assert (report.rows_rejected, report.rows_repeated, report.rows_loaded) == (bad, 1, len(frame) - bad - 1)
        assert b"123-45-6789" not in (tmp_path / "year.duckdb").read_bytes()


# --- names and identifiers as they come


NAMES = [
    "Löhne 2019 (Kopie).csv",
    'it\'s "quoted".csv',
    "w[1]*?.csv",
    "новый\nфайл.csv",
    "-w;DROP TABLE loads.csv",
    "%41&.csv",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_any_name_of_a_file_and_any_identifier(store: Store, tmp_path: Path, name: str, suffix: str) -> None:
    ids = [
        "Zoë 2",
        "O'Hara",
        'the "one"',
        "a;DROP TABLE loads",
        "人🙂",
        "{1}",
        "%s",
        "$1",
        "[a]*",
        "Null",  # NULL and null stand for a missing value
        "\\n",
        "e\u0301",
        "\u00e9",
    ]
    folder = tmp_path / "år [2019]" / "it's"
    folder.mkdir(parents=True)
    paths = [folder / name.replace(".csv", suffix), folder / f"wages {name}".replace(".csv", suffix)]
    frames = [pd.DataFrame({"person_id": ids}), pd.DataFrame({"person_id": [*ids, "Zoe"], "period": 2018, "wages": 1})]
    for path, frame in zip(paths, frames, strict=True):
        frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    with pytest.raises(InputError, match="must exist in person"):
        store.ingest_all({"person": paths[0], "wage_record": paths[1]})
    found = store.rejects()[["file", "line", "value", "rule"]].to_numpy().tolist()
    line = len(ids) + (2 if suffix == ".csv" else 1)
    assert found == [[paths[1].name, line, "(withheld)", "foreignKeys"]]
    report = store.ingest_all({"person": paths[0], "wage_record": paths[1]}, tolerate=0.1)[1]
    assert (report.file, report.rows_rejected) == (paths[1].name, 1)
    assert {one for (one,) in rows(store, "SELECT person_id FROM wage_record")} == set(ids)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux alone")
def test_a_name_that_is_not_utf_8(store: Store, tmp_path: Path) -> None:
    for suffix in ("csv", "parquet"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9." + suffix.encode()))
        pd.DataFrame({"person_id": ["P1"]}).to_csv(path, index=False)
        with pytest.raises(InputError, match="name is not UTF-8"):
            store.ingest("person", path)


# --- stores as they are found


def test_a_store_of_the_old_layout_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "old.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE TABLE loads (id INTEGER, resource VARCHAR, sha256 VARCHAR, status VARCHAR)")
        con.execute("CREATE TABLE person (person_id VARCHAR)")
    before = path.read_bytes()
    for options in ({}, {"read_only": True}, {"as_of": 1}):
        with pytest.raises(StoreError, match="made by an earlier version, without vintages; delete it"):
            Store.open(path, **options)
    assert path.read_bytes() == before


def test_a_duckdb_file_of_somebody_else_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "theirs.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE TABLE accounts AS SELECT 1 AS x")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is a DuckDB file with other tables"):
        Store.open(path)
    assert path.read_bytes() == before


def test_a_vintage_of_an_empty_store(tmp_path: Path) -> None:
    path = tmp_path / "s.duckdb"
    with pytest.raises(StoreError, match="no vintage 1; it has none: nothing is loaded"):
        Store.open(path, as_of=1)
    with pytest.raises(StoreError, match="no vintage 0"):
        Store.open(path, as_of=0)
    with Store.open(path, read_only=True) as store:
        assert (store.tables(), store.vintage) == ({}, 0)
    duckdb.connect(str(tmp_path / "empty.duckdb")).close()
    with pytest.raises(StoreError, match="there is nothing in the store"):
        Store.open(tmp_path / "empty.duckdb", read_only=True)


def test_a_memory_limit_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no memory limit"):
        Store.open(tmp_path / "s.duckdb", memory_limit="2 bananas")


def test_a_read_only_store_says_so_when_it_is_loaded_into(tmp_path: Path) -> None:
    path = tmp_path / "s.duckdb"
    with Store.open(path) as store:
        store.ingest("person", people(tmp_path, "P1"))
    with Store.open(path, read_only=True) as store:
        with pytest.raises(StoreError, match="read-only"):
            store.ingest("person", people(tmp_path, "P2"))
        assert store.tables() == {"person": 1}


LOOK = """
import sys
from retrain_eval.records.store import Store
with Store.open(sys.argv[1], read_only=True, as_of=int(sys.argv[2])) as store:
    print(store.con.sql("SELECT count(*) FROM person").fetchall()[0][0], flush=True)
    sys.stdin.read()
"""


def test_several_processes_look_at_several_vintages_at_once_and_a_writer_waits(tmp_path: Path) -> None:
    path = tmp_path / "s.duckdb"
    with Store.open(path) as store:
        store.ingest("person", people(tmp_path, "P1"))
        store.ingest("person", people(tmp_path, "P1", "P2"))
    looks = [
        subprocess.Popen(
            [sys.executable, "-c", LOOK, str(path), vintage], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for vintage in "121"
    ]
    try:
        assert [look.stdout.readline() for look in looks if look.stdout] == ["1\n", "2\n", "1\n"]
        with pytest.raises(StoreError, match="in use by process"):
            Store.open(path)
    finally:
        for look in looks:
            look.communicate(timeout=30)
    Store.open(path).close()


def test_a_schema_that_changes_leaves_earlier_vintages_as_they_were(tmp_path: Path) -> None:
    schemas, path = tmp_path / "schemas", tmp_path / "s.duckdb"
    schemas.mkdir()
    field = '{{"name": "{0}", "type": "{1}", "title": "-", "description": "-"}}'
    text = '{{"fieldsMatch": "superset", "primaryKey": ["id"], "fields": [{0}]}}'
    first = [field.format("id", "string"), field.format("pay", "string")]
    (schemas / "thing.json").write_text(text.format(", ".join(first)))
    with Store.open(path, package=load_package(schemas)) as store:
        store.ingest("thing", write(tmp_path, "t1.csv", "id,pay", "a,010", "b,x"))
        mark = store.fingerprint()
    second = [field.format("id", "string"), field.format("pay", "integer"), field.format("more", "boolean")]
    (schemas / "thing.json").write_text(text.format(", ".join(second)))
    package = load_package(schemas)
    with Store.open(path, package=package) as store:
        assert rows(store, "FROM thing ORDER BY ALL") == [("a", "010"), ("b", "x")]
        store.ingest("thing", write(tmp_path, "t2.csv", "id,pay,more", "a,10,true"))
        assert rows(store, "FROM thing") == [("a", 10, True)]
    with Store.open(path, package=package, as_of=1) as store:
        assert rows(store, "FROM thing ORDER BY ALL") == [("a", "010"), ("b", "x")]
        assert store.fingerprint() == mark


# --- a plan that changes under a store


KEY = "9b05688c2b3e6c1f1f83d9abfb41bd6b"
NOTHING = "def analyse(run):\n    pass\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = own_study.make(tmp_path_factory.mktemp("studies") / "mine", own_study.records(20, 60))
    (folder / "run.py").write_text(NOTHING)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "mine"))


def edit(folder: Path, old: str, new: str) -> None:
    plan = folder / "study.toml"
    text = plan.read_text()
    assert old in text
    plan.write_text(text.replace(old, new))


def test_hashes_that_a_plan_asks_for_are_not_met_by_plain_identifiers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though no file is new: the store would go on to hold what the plan says it does not."""
    monkeypatch.delenv("RETRAIN_EVAL_KEY", raising=False)
    Study.open(folder).run()
    edit(folder, "[ingest]\n", '[ingest]\nidentifiers = "hmac"\n')
    for call in (Study.open(folder).run, lambda: Study.open(folder).ingest(dry_run=True)):
        with pytest.raises(StoreError, match="holds identifiers as they are"):
            call()
    shutil.rmtree(folder / "store")
    for call in (Study.open(folder).run, lambda: Study.open(folder).ingest(dry_run=True)):
        with pytest.raises(InputError, match="RETRAIN_EVAL_KEY holds no key"):
            call()
    monkeypatch.setenv("RETRAIN_EVAL_KEY", KEY)
    Study.open(folder).ingest(dry_run=True).close()
    Study.open(folder).run()
    monkeypatch.delenv("RETRAIN_EVAL_KEY")
    Study.open(folder).run(force=True)  # nothing is to be hashed
    assert b"P-00001" not in Study.open(folder).store_path.read_bytes()


def test_a_frequency_that_changes_is_met_by_a_store_that_knows_its_own(tmp_path: Path) -> None:
    path = tmp_path / "s.duckdb"
    files = {
        "person": people(tmp_path, "P1"),
        "wage_record": write(tmp_path, "w.csv", "person_id,period,wages", "P1,2018,1"),
    }
    with Store.open(path, frequency="year") as store:
        store.ingest_all(files)
    with Store.open(path, frequency="quarter") as store, pytest.raises(StoreError, match="by year, those of this load"):
        store.ingest_all(files)


def test_record_types_that_the_plan_no_longer_names_are_not_there_for_it(folder: Path) -> None:
    (folder / "data" / "price.csv").write_text("period,cpi\n" + "".join(f"{year},1\n" for year in own_study.YEARS))
    edit(folder, "[records]\n", '[records]\nprice = "data/price.csv"\n')
    (folder / "run.py").write_text("def analyse(run):\n    run.say(str(sorted(run.store.tables())))\n")
    said: list[str] = []
    Study.open(folder).run(say=said.append)
    assert "'price'" in said[-1]
    edit(folder, 'price = "data/price.csv"\n', "")
    Study.open(folder).run(say=said.append)
    assert "'price'" not in said[-1]
    inputs = (folder / "store" / "results" / "inputs.json").read_text()
    assert "price" not in inputs
    edit(folder, "[records]\n", '[records]\nprice = "data/price.csv"\n')
    Study.open(folder).run(say=said.append)
    assert "'price'" in said[-1]
    assert any("price.csv is already loaded" in line for line in said)


def test_deliveries_are_read_in_the_order_of_their_numbers(folder: Path) -> None:
    """So that the second delivery does not undo the tenth."""
    data = folder / "data"
    (data / "wage_record.csv").rename(data / "wages_1.csv")
    for number in (2, 10):
        write(data, f"wages_{number}.csv", "person_id,period,wages", f"P-00001,2017,{number}")
    (data / "._wages_3.csv").write_bytes(b"\x00\x05\x16\x07")  # left behind by another system
    edit(folder, '"data/wage_record.csv"', '"data/wages_*.csv"')
    with Study.open(folder).ingest() as store:
        assert store.files()["file"].tolist()[-3:] == ["wages_1.csv", "wages_2.csv", "wages_10.csv"]
        pay = "SELECT wages::INTEGER FROM wage_record WHERE person_id = 'P-00001' AND period = 2017"
        assert rows(store, pay) == [(10,)]
    edit(folder, '"data/wages_*.csv"', f'"{data.as_posix()}/wages_*.csv"')  # from the root of the disk
    said: list[str] = []
    Study.open(folder).ingest(said.append).close()
    assert sum("already loaded" in line for line in said) == 6
    edit(folder, f'"{data.as_posix()}/wages_*.csv"', '["data/wages_1.csv", "data/wages_[!1]*.csv"]')
    Study.open(folder).ingest(said.append).close()
    edit(folder, "wages_[!1]*.csv", "none_*.csv")
    with pytest.raises(InputError, match="no file matches the pattern for wage_record"):
        Study.open(folder).ingest()


# --- disks and folders that cannot be written


def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """Yield a disk of its own, so small that it can be filled."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    yield from small_disk(tmp_path / "disk", 12)


def test_a_full_disk_loses_nothing(disk: Path, tmp_path: Path) -> None:
    path = disk / "store" / "s.duckdb"
    big = tmp_path / "big.parquet"
    duckdb.sql("SELECT sha256(i::VARCHAR) AS person_id FROM range(400_000) t(i)").write_parquet(str(big))
    with Store.open(path, memory_limit="200MB") as store:
        store.ingest("person", people(tmp_path, "P1"))
        with pytest.raises(StoreError, match="the load stopped; the store"):
            store.ingest("person", big)
        assert store.tables() == {"person": 1}
    with Store.open(path) as store:
        assert (store.tables(), store.vintage) == ({"person": 1}, 1)
        assert store.ingest("person", people(tmp_path, "P1", "P2"), mode="update").rows_superseded == 1
    for file in disk.iterdir():
        if file.name != "store":
            file.unlink()
    fill = ["dd", "if=/dev/zero", f"of={disk / 'filler'}", "bs=4k"]
    assert subprocess.run(fill, capture_output=True).returncode
    with pytest.raises(StoreError, match="the disk is full"):
        Store.open(disk / "new" / "s.duckdb")
    (disk / "filler").unlink()
    with Store.open(path) as store:
        assert rows(store, "SELECT person_id FROM person ORDER BY 1") == [("P1",), ("P2",)]


ANOTHER_USER = """
import os, sys
from pathlib import Path
import retrain_eval
from retrain_eval.common.errors import RetrainEvalError
from retrain_eval.study.folder import Study
from retrain_eval.common.resources import resource
from retrain_eval.records.store import Store
resource("data_schemas")  # imports more of the interpreter
os.setgid(65534)  # not before: the interpreter itself may lie where others cannot read
os.setuid(65534)
folder = Path(sys.argv[1])
study = Study.open(folder)
for call in (
    lambda: Store.open(study.store_path),
    lambda: Store.open(folder / "new" / "s.duckdb"),
    lambda: study.run(),
    lambda: study.run(as_of=1),
    lambda: study.release("2027"),
    lambda: study.report(),
):
    try:
        call()
        print("it went through")
    except RetrainEvalError as error:
        print(type(error).__name__, str(error).splitlines()[0])
"""


@ROOT_ONLY
def test_a_folder_that_is_read_only_is_said_to_be_so(tmp_path: Path) -> None:
    folder = own_study.make(tmp_path / "mine")
    study = Study.open(folder)
    study.run()
    study.release("2026")
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for parent in tmp_path.parents:
        if not parent.stat().st_mode & 1:
            parent.chmod(parent.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", ANOTHER_USER, str(folder)], capture_output=True, text=True, timeout=300, cwd="/"
    )
    said = done.stdout.splitlines()
    assert len(said) == 6, done.stderr
    for line in said:
        assert "Error " in line
        assert "Permission denied" in line or "cannot" in line, said
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files


LOCKED = """
import os, sys
from retrain_eval.common.errors import InputError
from retrain_eval.common.text.raw_file import open_raw
os.setgid(65534)
os.setuid(65534)
for path in sys.argv[1:]:
    try:
        open_raw(path)
    except InputError as error:
        print(str(error).splitlines()[0])
"""


@ROOT_ONLY
def test_a_file_that_may_not_be_read_is_not_said_to_be_broken() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        files = [people(folder, "P1"), folder / "person.parquet"]
        pd.DataFrame({"person_id": ["P1"]}).to_parquet(files[1])
        for file in files:
            file.chmod(0)
        command = [sys.executable, "-c", LOCKED, *map(str, files)]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/").stdout.splitlines()
    assert said == ["the file cannot be read: Permission denied"] * 2


# --- memory and kills, at scale


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_million_rows_in_little_memory(tmp_path: Path, suffix: str) -> None:
    n = 1_000_000
    files = {"person": tmp_path / f"person.{suffix}", "wage_record": tmp_path / f"wage_record.{suffix}"}
    options = "FORMAT parquet" if suffix == "parquet" else "FORMAT csv, HEADER"
    duckdb.execute(f"COPY (SELECT 'P' || i AS person_id FROM range({n // 10}) t(i)) TO '{files['person']}' ({options})")
    wages = "SELECT 'P' || i // 10 AS person_id, 8000 + i % 10 AS period, 'E' || i % 7 AS employer_id, i % 900 AS wages"
    duckdb.execute(f"COPY ({wages} FROM range({n}) t(i)) TO '{files['wage_record']}' ({options})")
    with Store.open(tmp_path / "s.duckdb", memory_limit="200MB") as store:
        store.ingest_all(files)
        assert store.tables() == {"person": n // 10, "wage_record": n}
        fix = write(tmp_path, "fix.csv", "person_id,period,employer_id,wages", "P0,8000,E0,5")
        assert store.ingest("wage_record", fix, mode="update").rows_superseded == 1
        total = rows(store, "SELECT sum(wages)::BIGINT FROM wage_record")
        assert total == [(sum(i % 900 for i in range(n)) + 5,)]


LOAD = """
import sys
from pathlib import Path
from retrain_eval.records.store import Store
folder = Path(sys.argv[2])
files = {name: folder / f"{name}.parquet" for name in ("employer_link", "person", "programme", "enrolment")}
wages = sorted(folder.glob("wage_record_*.parquet"))
with Store.open(sys.argv[1], frequency="quarter") as store:
    print("open", flush=True)
    store.ingest_all({**files, "wage_record": wages})
    print("loaded", flush=True)
"""


@pytest.mark.slow
def test_loads_killed_8_times_leave_a_complete_vintage(tmp_path: Path) -> None:
    """People are replaced, years of wages replaced and updated, in one load of half a million rows."""
    agency = tmp_path / "agency"
    agency.mkdir()
    written = simulate(people=15_000).write(agency, deliveries="year")
    wages = written["wage_record"]
    last = wages[-1]
    # before: half of the years and other people's ages; after: corrections come on top
    old = tmp_path / "old"
    old.mkdir()
    start = tmp_path / "start.duckdb"
    person = old / "person.parquet"
    duckdb.read_parquet(str(written["person"][0])).filter("true").project("* EXCLUDE (sex)").write_parquet(str(person))
    kept = {name: written[name][0] for name in ("employer_link", "programme", "enrolment")}
    with Store.open(start, frequency="quarter") as store:
        store.ingest_all({**kept, "person": person, "wage_record": wages[:4]})
        before = rows(store, STATE)
    correction = agency / "wage_record_9999.parquet"
    duckdb.read_parquet(str(last)).project("* REPLACE (wages + 1 AS wages)").write_parquet(str(correction))
    whole = tmp_path / "whole.duckdb"
    shutil.copy(start, whole)
    clock = time.monotonic()
    subprocess.run([sys.executable, "-c", LOAD, str(whole), str(agency)], check=True, capture_output=True)
    seconds = time.monotonic() - clock
    with Store.open(whole) as store:
        after = rows(store, STATE)
        assert store.vintage == 2
        assert store.loads()["rows_superseded"].sum() == duckdb.read_parquet(str(last)).count("*").fetchall()[0][0]
    assert after != before
    chance, died, at = random.Random(20261124), 0, [0, 0]
    for number in range(8):
        path = tmp_path / f"{number}.duckdb"
        shutil.copy(start, path)
        with subprocess.Popen(
            [sys.executable, "-c", LOAD, str(path), str(agency)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            time.sleep(chance.uniform(0, seconds))
            process.send_signal(signal.SIGKILL)
            said = process.stdout.read()
            died += process.wait(30) == -signal.SIGKILL
        with Store.open(path, create=False, frequency="quarter") as store:
            state = rows(store, STATE)
            assert state == (after if store.vintage == 2 else before)
            assert store.vintage in (1, 2)
            assert store.vintage == 2 or "loaded" not in said
            at[store.vintage - 1] += 1
        done = subprocess.run([sys.executable, "-c", LOAD, str(path), str(agency)], check=True, capture_output=True)
        assert b"loaded" in done.stdout
        with Store.open(path) as store:
            assert (rows(store, STATE), store.vintage) == (after, 2)
        with Store.open(path, as_of=1) as store:
            assert rows(store, STATE) == before
        path.unlink()
    assert died > 2  # the others had ended
    assert at[0] > 0


STATE = """
SELECT 'person', count(*), sum(age), count(sex) FROM person
UNION ALL SELECT 'wage_record', count(*), sum(wages), count(DISTINCT person_id) FROM wage_record
UNION ALL SELECT 'enrolment', count(*), sum(entry), 0 FROM enrolment ORDER BY 1
"""
