"""What is refused does not depend on how a file writes its values."""

from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import InputError
from retrain_eval.records.schema.dictionary import load_package
from retrain_eval.records.store import Store

FIELDS = """
{"fieldsMatch": "superset", "primaryKey": ["id"], "order": [["first", "last"]], "fields": [
  {"name": "id", "type": "string", "title": "-", "description": "-", "constraints": {"pattern": "[a-z]+"}},
  {"name": "period", "type": "integer", "format": "period", "title": "-", "description": "-",
   "constraints": {"required": true, "minimum": 1900, "maximum": 8403}},
  {"name": "count", "type": "integer", "title": "-", "description": "-", "constraints": {"minimum": 0, "maximum": 9}},
  {"name": "wide", "type": "integer", "title": "-", "description": "-", "constraints": {"enum": [1, 2, 3]}},
  {"name": "pay", "type": "number", "precision": 6, "scale": 2, "title": "-", "description": "-",
   "constraints": {"exclusiveMinimum": 0}},
  {"name": "score", "type": "number", "title": "-", "description": "-", "constraints": {"maximum": 1}},
  {"name": "flag", "type": "boolean", "title": "-", "description": "-", "constraints": {"required": true}},
  {"name": "first", "type": "date", "title": "-", "description": "-", "constraints": {"minimum": "2000-01-01"}},
  {"name": "last", "type": "date", "title": "-", "description": "-"}]}
"""
COLUMNS = ("id", "period", "count", "wide", "pay", "score", "flag", "first", "last")


def column(*texts: str) -> st.SearchStrategy[str]:
    return st.sampled_from(["NULL", *texts])


rows = st.lists(
    st.tuples(
        column("'a'", "'b'", "'c'", "''", "'A'", "'123-45-6789'"),
        column("0", "1899", "1900", "2019", "2101", "7599", "7600", "8076", "8403", "8404", "-3"),
        column("0", "9", "10", "-1", "2147483647"),
        column("1", "3", "4", "9007199254740993", "-9223372036854775808"),
        column("0", "0.01", "0.005", "1.10", "9999.99", "10000", "-1", "1e300", "'nan'", "'inf'", "'-inf'"),
        column("0.1", "1", "1.0000000000000002", "'nan'", "'inf'", "'-inf'"),
        column("true", "false"),
        column("'2000-01-01'", "'1999-12-31'", "'2020-02-29'", "'infinity'", "'-infinity'", "'10000-01-01'"),
        column("'2000-01-01'", "'1999-12-31'", "'2020-02-29'", "'infinity'"),
    ),
    min_size=1,
    max_size=60,
)
TYPES = [
    ("VARCHAR", "INTEGER", "BIGINT", "BIGINT", "DOUBLE", "DOUBLE", "BOOLEAN", "DATE", "DATE"),
    ("VARCHAR", "DOUBLE", "DOUBLE", "BIGINT", "FLOAT", "FLOAT", "BOOLEAN", "DATE", "TIMESTAMP"),
    ("VARCHAR", "SMALLINT", "DECIMAL(10,0)", "HUGEINT", "DECIMAL(12,3)", "DECIMAL(4,1)", "BOOLEAN", "VARCHAR", "DATE"),
]


@settings(max_examples=10, deadline=None)
@given(rows, st.sampled_from(TYPES), st.sampled_from([None, "year", "quarter"]))
def test_columns_of_their_own_type_are_refused_and_kept_as_their_text_is(
    values: list[tuple[str, ...]], types: tuple[str, ...], frequency: str | None
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "schemas").mkdir()
        (folder / "schemas" / "thing.json").write_text(FIELDS)
        package = load_package(folder / "schemas")
        typed = ", ".join(
            f"TRY_CAST(c{i} AS {kind}) AS {name}" for i, (name, kind) in enumerate(zip(COLUMNS, types, strict=True))
        )
        given = ", ".join(f"({', '.join(f'CAST({v} AS VARCHAR)' for v in row)})" for row in values)
        table = duckdb.sql(f"SELECT {typed} FROM (VALUES {given}) AS t({', '.join(f'c{i}' for i in range(9))})")
        table.write_parquet(str(folder / "typed.parquet"))
        written = duckdb.read_parquet(str(folder / "typed.parquet"))
        written.project("CAST(COLUMNS(*) AS VARCHAR)").write_parquet(str(folder / "text.parquet"))
        found = []
        for kind in ("typed", "text"):
            with Store.open(folder / f"{kind}.duckdb", package=package, frequency=frequency) as store:
                try:
                    loaded = store.ingest("thing", folder / f"{kind}.parquet", tolerate=0.999).rows_loaded
                except InputError:
                    loaded = 0
                rejects = store.rejects()[["line", "column", "value", "rule", "message"]]
                kept = store.con.sql("FROM thing ORDER BY ALL").fetchall() if loaded else []
                found.append((rejects.to_csv(), kept))
        assert found[0] == found[1]


def test_a_parquet_file_is_read_for_what_is_in_it(tmp_path: Path) -> None:
    """Not for what the folders around it are called, nor as a pattern."""
    folder = tmp_path / "year=2019" / "[ab]*"
    folder.mkdir(parents=True)
    path = folder / "person.parquet"
    pd.DataFrame({"person_id": ["P1"], "age": [30]}).to_parquet(path)
    with Store.open(tmp_path / "s.duckdb") as store:
        assert store.ingest("person", path).rows_loaded == 1


def test_numbers_that_stand_for_missing_are_missing_in_parquet_too(tmp_path: Path) -> None:
    folder = tmp_path / "schemas"
    folder.mkdir()
    (folder / "thing.json").write_text(FIELDS.replace('"fieldsMatch"', '"missingValues": ["", "-9"], "fieldsMatch"'))
    path = tmp_path / "thing.parquet"
    pd.DataFrame({"id": ["a", "b"], "period": [2019, 2019], "count": [-9, 3], "flag": [True, True]}).to_parquet(path)
    with Store.open(tmp_path / "s.duckdb", package=load_package(folder)) as store:
        store.ingest("thing", path)
        assert store.con.sql("SELECT id, count FROM thing ORDER BY id").fetchall() == [("a", None), ("b", 3)]


def test_parquet_that_changes_between_check_and_load_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrain_eval.records.loading import loads

    path = tmp_path / "person.parquet"
    pd.DataFrame({"person_id": ["P1"], "age": [30]}).to_parquet(path)
    write = loads.write

    def exchange(*args: object) -> int:
        pd.DataFrame({"person_id": ["P1"], "age": [-30]}).to_parquet(path)
        return write(*args)

    with Store.open(tmp_path / "s.duckdb") as store:
        monkeypatch.setattr(loads, "write", exchange)
        with pytest.raises(InputError, match="changed while it was being read"):
            store.ingest("person", path)
        assert store.tables() == {}
