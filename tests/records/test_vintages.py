"""Vintages: a later load never changes what an earlier one showed."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import InputError, StoreError
from retrain_eval.records.store import Store

KEY = "9b05688c2b3e6c1f1f83d9abfb41bd6b"


def write(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def wages(store: Store) -> list[tuple[object, ...]]:
    rows = store.con.sql("SELECT person_id, period, wages::DOUBLE FROM wage_record ORDER BY ALL").fetchall()
    return [tuple(row) for row in rows]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {
        "person": write(tmp_path, "person.csv", "person_id,age", "P1,31", "P2,27"),
        "wage_record": write(tmp_path, "q1.csv", "person_id,period,wages", "P1,2019Q1,100", "P2,2019-Q1,200"),
    }


@pytest.fixture
def path(tmp_path: Path, files: dict[str, Path]) -> Path:
    """Return a store with three vintages: a quarter, the next one with a correction, and a new person file."""
    second = write(tmp_path, "q2.csv", "person_id,period,wages", "P1,2019Q2,110", "P2,2019Q1,222")
    path = tmp_path / "s.duckdb"
    with Store.open(path, frequency="quarter") as store:
        store.ingest_all(files)
        store.ingest_all({"wage_record": [files["wage_record"], second]})
        store.ingest("person", write(tmp_path, "more.csv", "person_id,age", "P1,31", "P2,27", "P3,50"))
    return path


FIRST = [("P1", 8076, 100.0), ("P2", 8076, 200.0)]
SECOND = [("P1", 8076, 100.0), ("P1", 8077, 110.0), ("P2", 8076, 222.0)]


def test_each_vintage_shows_the_data_as_they_stood(path: Path) -> None:
    shown = {}
    for vintage in (1, 2, 3, None):
        with Store.open(path, as_of=vintage) as store:
            shown[vintage] = (wages(store), store.tables()["person"], store.vintage)
    assert shown == {1: (FIRST, 2, 1), 2: (SECOND, 2, 2), 3: (SECOND, 3, 3), None: (SECOND, 3, 3)}


def test_files_and_fingerprint_of_a_vintage_know_nothing_of_later_ones(tmp_path: Path, files: dict[str, Path]) -> None:
    with Store.open(tmp_path / "s.duckdb", frequency="quarter") as store:
        store.ingest_all(files)
        before = (store.fingerprint(), store.files().to_csv())
        store.ingest("wage_record", write(tmp_path, "q2.csv", "person_id,period,wages", "P1,2019Q1,1"), mode="update")
        assert store.fingerprint() != before[0]
    with Store.open(tmp_path / "s.duckdb", as_of=1) as store:
        assert (store.fingerprint(), store.files().to_csv()) == before


def test_vintages_are_listed_with_their_files(path: Path) -> None:
    with Store.open(path) as store:
        frame = store.vintages()
        assert frame["files"].tolist() == ["person: person.csv, wage_record: q1.csv", "wage_record: q2.csv",
                                           "person: more.csv"]  # fmt: skip
        assert frame[["rows_in", "rows_loaded", "rows_rejected"]].to_numpy().tolist() == [
            [4, 4, 0],
            [2, 2, 0],
            [3, 3, 0],
        ]
        assert store.loads()["status"].tolist() == ["replaced", "loaded", "loaded", "loaded"]
        assert store.loads()["rows_superseded"].tolist() == [0, 0, 1, 0]


def test_a_record_type_that_came_later_is_not_seen_earlier(path: Path, tmp_path: Path) -> None:
    with Store.open(path, frequency="quarter") as store:
        store.ingest("price", write(tmp_path, "price.csv", "period,cpi", "2019Q1,100"))
        assert store.tables()["price"] == 1
    with Store.open(path, as_of=3) as store:
        assert "price" not in store.tables()
        with pytest.raises(duckdb.CatalogException):
            store.con.sql("FROM price")


def test_the_past_cannot_be_loaded_into_and_must_exist(path: Path, files: dict[str, Path]) -> None:
    with Store.open(path, as_of=1) as store, pytest.raises(StoreError, match="as of vintage 1"):
        store.ingest_all(files)
    with pytest.raises(StoreError, match="no vintage 9; it has 1 to 3"):
        Store.open(path, as_of=9)


def test_deliveries_that_are_held_stay_and_only_new_ones_are_loaded(tmp_path: Path, files: dict[str, Path]) -> None:
    second = write(tmp_path, "q2.csv", "person_id,period,wages", "P1,2019Q2,110")
    third = write(tmp_path, "q3.csv", "person_id,period,wages", "P1,2019Q3,120")
    with Store.open(tmp_path / "s.duckdb", frequency="quarter") as store:
        store.ingest("person", files["person"])
        first = files["wage_record"]
        assert [r.already_loaded for r in store.ingest_all({"wage_record": [first, second]})] == [False, False]
        assert store.vintage == 2
        assert [r.already_loaded for r in store.ingest_all({"wage_record": [first, second, third]})] == [
            True,
            True,
            False,
        ]
        assert len(wages(store)) == 4
        write(tmp_path, "q2.csv", "person_id,period,wages", "P1,2019Q2,111", "P2,2019Q2,5")
        again = store.ingest_all({"wage_record": [first, second, third]})  # an earlier delivery changed: all anew
        assert [r.already_loaded for r in again] == [False, False, False]
        assert len(wages(store)) == 5
        assert store.vintage == 4


def test_a_dry_run_reports_and_writes_nothing(tmp_path: Path, path: Path) -> None:
    before = path.read_bytes()
    change = write(tmp_path, "q3.csv", "person_id,period,wages", "P1,2019Q1,1", "P3,2019Q3,2")
    with Store.open(path, frequency="quarter", read_only=True) as store:
        report = store.ingest("wage_record", change, mode="update", dry_run=True)
        assert (report.rows_loaded, report.rows_superseded, report.dry_run) == (2, 1, True)
        assert "2 rows would be loaded" in str(report)
        bad = write(tmp_path, "bad.csv", "person_id,period,wages", "P1,2019Q9,1")
        with pytest.raises(InputError, match="must be a quarter such as 2019Q1"):
            store.ingest("wage_record", bad, mode="update", dry_run=True)
        assert wages(store) == SECOND
    assert path.read_bytes() == before


@pytest.mark.parametrize(("frequency", "value"), [("quarter", "2019"), ("quarter", "2019Q5"), ("year", "2019Q1"),
                                                  ("year", "8076"), (None, "2019Q0")])  # fmt: skip
def test_periods_are_those_of_the_study(tmp_path: Path, files: dict[str, Path], frequency: str, value: str) -> None:
    with Store.open(tmp_path / "s.duckdb", frequency=frequency) as store:
        store.ingest("person", files["person"])
        with pytest.raises(InputError, match="must be a"):
            store.ingest("wage_record", write(tmp_path, "w.csv", "person_id,period,wages", f"P1,{value},1"))
        assert store.rejects()[["line", "column", "value"]].to_numpy().tolist() == [[2, "period", value]]


# --- identifiers


def test_only_a_keyed_hash_of_a_social_security_number_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_EVAL_KEY", KEY)
    people = write(tmp_path, "person.csv", "person_id,age", "123-45-6789,31", "Zoë 2,27")
    pay = write(tmp_path, "w.csv", "person_id,period,wages", "123456789,1978,10", "Zoë 2,1978,20")
    path = tmp_path / "s.duckdb"
    with Store.open(path, identifiers="hmac") as store:
        store.ingest_all({"person": people, "wage_record": pay})
        found = dict(store.con.sql("SELECT person_id, wages::INT FROM wage_record").fetchall())
        expected = {hmac.new(KEY.encode(), text.encode(), hashlib.sha256).hexdigest(): n
                    for text, n in (("123456789", 10), ("Zoë 2", 20))}  # fmt: skip
        assert found == expected
        bad = write(tmp_path, "bad.csv", "person_id,period,wages", "999-99-9999,1978,1", "123456789,x,1")
        with pytest.raises(InputError) as refused:
            store.ingest("wage_record", bad)
        assert "999" not in str(refused.value)
    kept = path.read_bytes()
    for secret in (b"123456789", b"123-45-6789", b"999-99-9999", KEY.encode()):
        assert secret not in kept


def test_a_store_knows_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, Path]) -> None:
    path = tmp_path / "s.duckdb"
    with (
        Store.open(path, identifiers="hmac") as store,
        pytest.raises(InputError, match="RETRAIN_EVAL_KEY holds no key"),
    ):
        store.ingest("person", files["person"])
    monkeypatch.setenv("RETRAIN_EVAL_KEY", "short")
    with Store.open(path, identifiers="hmac") as store, pytest.raises(InputError, match="too short"):
        store.ingest("person", files["person"])
    monkeypatch.setenv("RETRAIN_EVAL_KEY", KEY)
    with Store.open(path, identifiers="hmac") as store:
        store.ingest("person", files["person"])
    monkeypatch.setenv("RETRAIN_EVAL_KEY", KEY + "!")
    with (
        Store.open(path, identifiers="hmac", frequency="quarter") as store,
        pytest.raises(StoreError, match="another key"),
    ):
        store.ingest("wage_record", files["wage_record"])
    with Store.open(path, frequency="quarter") as store, pytest.raises(StoreError, match="would not meet"):
        store.ingest("wage_record", files["wage_record"])


@pytest.mark.parametrize("number", ["123-45-6789", "123456789"])
def test_a_social_security_number_is_refused_where_identifiers_are_kept(tmp_path: Path, number: str) -> None:
    path = tmp_path / "s.duckdb"
    with Store.open(path) as store:
        twice = write(tmp_path, "person.csv", "person_id,age", f"{number},31", f"{number},31", f"x {number} ,3")
        with pytest.raises(InputError) as refused:
            store.ingest("person", twice)
        assert number not in str(refused.value)
        assert set(store.rejects()["rule"]) == {"ssn", "primaryKey", "pattern", "minimum"}
    assert number.encode() not in path.read_bytes()


# --- any history of loads


DELIVERY = st.dictionaries(st.tuples(st.sampled_from("ABCDE"), st.integers(8076, 8079)), st.integers(0, 99), min_size=1)


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["replace", "update"]), DELIVERY), min_size=1, max_size=5))
def test_any_history_of_loads_can_be_looked_back_on(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, dict[tuple[str, int], int]]]
) -> None:
    folder = tmp_path_factory.mktemp("history")
    path = folder / "s.duckdb"
    state: dict[tuple[str, int], int] = {}
    stood: list[dict[tuple[str, int], int]] = []
    with Store.open(path) as store:
        store.ingest("person", write(folder, "person.csv", "person_id", *"ABCDE"))
        for number, (mode, rows) in enumerate(history):
            lines = [f"{person},{period},{pay}" for (person, period), pay in rows.items()]
            file = write(folder, f"{number}.csv", "person_id,period,wages", *lines)
            if not store.ingest("wage_record", file, mode=mode).already_loaded:
                state = {**({} if mode == "replace" else state), **rows}
                stood.append(state)
    for vintage, expected in enumerate(stood, start=2):
        with Store.open(path, as_of=vintage) as store:
            assert {(p, t): int(w) for p, t, w in wages(store)} == expected
