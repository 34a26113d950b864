"""A schema that grows leaves what is loaded in force; one that changes does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retrain_eval.common.errors import InputError
from retrain_eval.records.schema.dictionary import Package, load_package
from retrain_eval.records.store import Store


def field(name: str, kind: str = "string", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "title": "-", "description": "-", **more}


BEFORE: dict[str, Any] = {
    "fieldsMatch": "superset",
    "primaryKey": ["id"],
    "fields": [field("id"), field("pay", "integer"), field("since", "date")],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a store with two rows loaded under the first version."""
    file = tmp_path / "1.csv"
    file.write_text("id,pay\na,1\nb,2\n")
    with Store.open(tmp_path / "s.duckdb", package=package(tmp_path, BEFORE)) as store:
        store.ingest("thing", file)
    return tmp_path / "s.duckdb"


def package(folder: Path, schema: dict[str, Any]) -> Package:
    (folder / "schemas").mkdir(exist_ok=True)
    (folder / "schemas" / "thing.json").write_text(json.dumps(schema))
    return load_package(folder / "schemas")


def grown(*more: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {**BEFORE, "fields": [*BEFORE["fields"], *more], **keys}


def test_a_column_added_later_is_missing_in_earlier_rows(tmp_path: Path, path: Path) -> None:
    file = tmp_path / "2.csv"
    file.write_text("more,id,pay\n9.5,b,3\n,c,4\n")
    late = {"order": [["since", "until"]]}
    later = package(tmp_path, grown(field("more", "number"), field("until", "date"), **late))
    with Store.open(path, package=later) as store:
        assert store.con.sql("SELECT id, pay, more FROM thing ORDER BY id").fetchall() == [
            ("a", 1, None),
            ("b", 2, None),
        ]
        assert store.ingest("thing", tmp_path / "1.csv").already_loaded
        report = store.ingest("thing", file, mode="update")
        assert (report.rows_loaded, report.rows_superseded) == (2, 1)
        now = [("a", 1, None), ("b", 3, 9.5), ("c", 4, None)]
        assert store.con.sql("SELECT id, pay, more FROM thing ORDER BY id").fetchall() == now
        assert store.ingest_all({"thing": [tmp_path / "1.csv", file]})[1].already_loaded
        third = tmp_path / "3.csv"
        third.write_text("id,pay,until\na,7,2020-01-01\nb,8,\n")  # supersedes rows of both versions
        assert store.ingest("thing", third, mode="update").rows_superseded == 2
        assert store.con.sql("SELECT sum(pay), count(*) FROM thing").fetchall() == [(19, 3)]
    with Store.open(path, package=later, as_of=1) as store:
        rows = store.con.sql("SELECT id, pay, more, until FROM thing ORDER BY id").fetchall()
        assert rows == [("a", 1, None, None), ("b", 2, None, None)]


def test_other_words_for_the_same_columns_change_nothing(tmp_path: Path, path: Path) -> None:
    said = {**BEFORE, "fields": [{**one, "description": "Said better."} for one in BEFORE["fields"]]}
    with Store.open(path, package=package(tmp_path, said)) as store:
        mark = store.fingerprint()
        assert store.ingest("thing", tmp_path / "1.csv").already_loaded
        assert store.fingerprint() == mark


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (grown(field("more", constraints={"required": True})), "the new column 'more' must not be missing"),
        ({**BEFORE, "fields": BEFORE["fields"][::2]}, "column 'pay' is no longer declared"),
        (grown(primaryKey=["id", "pay"]), "the primary key has changed"),
        (grown(uniqueKeys=[["pay"]]), "a unique key has changed"),
        (grown(missingValues=["", "NA"]), "what is missing has changed"),
        ({**BEFORE, "fields": [*BEFORE["fields"][:1], field("pay", "number"), field("since", "date")]},
         "column 'pay' has changed"),
    ],
    ids=["required", "dropped", "primary key", "unique key", "missing values", "type"],
)  # fmt: skip
def test_rows_are_not_added_under_a_schema_that_earlier_ones_may_break(
    tmp_path: Path, path: Path, schema: dict[str, Any], words: str
) -> None:
    file = tmp_path / "2.csv"
    columns = [one["name"] for one in schema["fields"]]
    file.write_text(f"{','.join(columns)}\n{','.join('1' if name != 'since' else '2020-01-01' for name in columns)}\n")
    with Store.open(path, package=package(tmp_path, schema)) as store:
        with pytest.raises(InputError, match=f"the schema of thing has changed since its rows were loaded: {words}"):
            store.ingest("thing", file, mode="update")
        assert store.con.sql("SELECT id, pay, since FROM thing ORDER BY id").fetchall() == [
            ("a", 1, None),
            ("b", 2, None),
        ]
        assert store.ingest("thing", file).rows_loaded == 1
        assert store.tables() == {"thing": 1}


def test_a_new_rule_on_old_columns_is_met_by_no_row_unchecked(tmp_path: Path, path: Path) -> None:
    two = {**BEFORE, "fields": [*BEFORE["fields"], field("until", "date")]}
    file = tmp_path / "2.csv"
    file.write_text("id,since,until\nc,2020-01-01,2019-01-01\n")
    with Store.open(path, package=package(tmp_path, two)) as store:
        store.ingest("thing", file, mode="update")
    ordered = {**two, "order": [["since", "until"]]}
    later = package(tmp_path, ordered)
    words = "there is a new rule of order for since, until"
    with Store.open(path, package=later) as store, pytest.raises(InputError, match=words):
        store.ingest("thing", tmp_path / "1.csv", mode="update")


def test_a_row_tolerated_once_stays_when_an_update_tolerates_none(tmp_path: Path) -> None:
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    first.write_text("id,pay\na,x\nb,2\n")
    second.write_text("id,pay\nc,3\n")
    with Store.open(tmp_path / "s.duckdb", package=package(tmp_path, BEFORE)) as store:
        store.ingest("thing", first, tolerate=0.5)
        assert store.ingest("thing", second, mode="update").rows_loaded == 1
        assert store.tables() == {"thing": 2}
