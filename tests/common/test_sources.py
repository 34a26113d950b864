"""What a source holds does not depend on how it is handed over, and a value that is none is refused where it stands."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import retrain_eval as rte
from retrain_eval.common.errors import InputError
from retrain_eval.common.sources import as_relation, query
from retrain_eval.records.linkage.exact import link_exactly
from retrain_eval.records.schema.table_schema import load_package
from retrain_eval.records.store import Store

LATE = 21_000  # beyond the rows from which DuckDB guesses types


def late_panel() -> pd.DataFrame:
    """Return whole amounts, and decimals from row 21,000 on."""
    unit = np.repeat(np.arange(12_000), 2)
    y = np.random.default_rng(7).integers(10, 20, 24_000).astype(float)
    panel = pd.DataFrame({"id": unit, "t": [2019, 2020] * 12_000, "g": np.where(unit % 2, 0, 2020), "y": y})
    panel.loc[(panel.index >= LATE) & (panel["g"] == 2020) & (panel["t"] == 2020), "y"] += 0.49
    return panel


def att(source: object) -> float:
    moments = rte.outcome_moments(source, unit="id", time="t", cohort="g", outcome="y")
    return float(moments.att_gt().aggregate("simple").to_frame()["estimate"].item())


def test_decimals_far_down_are_not_rounded(tmp_path: Path) -> None:
    panel, path = late_panel(), tmp_path / "late.csv"
    panel.assign(y=[f"{value:g}" for value in panel["y"]]).to_csv(path, index=False)
    assert att(path) == pytest.approx(att(panel), abs=1e-12)
    assert query(as_relation(path), "SELECT sum(y) FROM source").fetchall()[0][0] == pytest.approx(panel["y"].sum())


def test_weights_far_down_are_not_zero(tmp_path: Path) -> None:
    path = tmp_path / "spells.csv"
    rows = [f"{i},3,1,{'1' if i < LATE else '0.4'}" for i in range(LATE + 500)]
    path.write_text("id,q,e,w\n" + "\n".join(rows))
    spells = rte.Spells(path, id="id", duration="q", cause="e", by=(), weights="w", weight_type="probability")
    assert spells.table.cells["n"].sum() == LATE + 500
    assert spells.table.cells["sum_w"].sum() == pytest.approx(LATE + 200)


def test_text_far_down_is_named(tmp_path: Path) -> None:
    path = tmp_path / "late.csv"
    panel = late_panel().astype({"y": object})
    panel.loc[22_345, "y"] = "unknown"
    panel.to_csv(path, index=False)
    with pytest.raises(InputError, match="not a number") as caught:
        att(path)
    error = caught.value
    assert (error.file, error.row, error.column, error.value) == (path, 22_347, "y", "'unknown'")


def types(path: Path, text: str, **roles: object) -> dict[str, str]:
    path.write_text(text)
    relation = as_relation(path, **roles)
    return dict(zip(relation.columns, map(str, relation.types), strict=True))


def test_types_are_those_of_all_values(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    text = "a,b,c,d,e,f,g,h\n1,1.5,007,9007199254740993,True,x,,1\n-2,NA,2,1,FALSE,3,NA,2\n"
    assert types(path, text) == {
        "a": "BIGINT", "b": "DOUBLE", "c": "VARCHAR", "d": "VARCHAR", "e": "BOOLEAN", "f": "VARCHAR", "g": "BIGINT",
        "h": "BIGINT",
    }  # fmt: skip
    row = as_relation(path).fetchall()[0]
    assert row == (1, 1.5, "007", "9007199254740993", True, "x", None, 1)


def test_an_identifier_stays_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    assert types(path, "id,y\n1e5,1\n100000,2\n", keys="id")["id"] == "VARCHAR"
    assert types(path, "id,y\n1,1\n2,2\n", keys="id")["id"] == "BIGINT"


def test_digits_that_a_number_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too many digits"):
        types(tmp_path / "file.csv", "id,y\n1,9007199254740993\n2,0.5\n", numbers="y")


def test_leading_zeros_are_a_number_where_one_is_asked_for(tmp_path: Path) -> None:
    assert types(tmp_path / "file.csv", "id,y\n1,007\n2,010\n", numbers="y")["y"] == "DOUBLE"
    assert as_relation(tmp_path / "file.csv", numbers="y").fetchall() == [(1, 7.0), (2, 10.0)]


@pytest.mark.parametrize("value", ["1,5", "1_000", "1.234,5", "12 %", "0x1F", "--1", "+-5", "1 234", "NAN", "TBD"])
def test_what_is_no_number_is_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "file.csv"
    path.write_text(f"id;y\n1;0.5\n2;NA\n3;{value}\n")
    with pytest.raises(InputError, match="not a number") as caught:
        as_relation(path, numbers="y")
    assert (caught.value.row, caught.value.column, caught.value.value) == (4, "y", repr(value))
    frame = pd.DataFrame({"id": [1, 2, 3], "y": ["0.5", "NA", value]})
    with pytest.raises(InputError, match="not a number") as caught:
        as_relation(frame, numbers="y")
    assert (caught.value.row, caught.value.column, caught.value.value) == (3, "y", repr(value))


def test_one_text_does_not_make_a_covariate_a_category(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("id,treat,age\n" + "".join(f"{i},{i % 2},{20 + i % 7}\n" for i in range(70)) + "70,1,unknown\n")
    with pytest.raises(InputError, match="a column of numbers holds") as caught:
        rte.match(path, "treat ~ age", unit="id")
    assert (caught.value.file, caught.value.row, caught.value.value) == (path, 72, "'unknown'")
    path.write_text(path.read_text().replace("unknown", "26+") + "71,0,26+\n")
    assert rte.match(path, "treat ~ C(age)", unit="id").audit["n_treated"] == 36


def test_decimal_commas_are_not_categories(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("id;treat;pay\n" + "".join(f"{i};{i % 2};{10 + i},5\n" for i in range(30)))
    with pytest.raises(InputError, match="written with a comma") as caught:
        rte.match(path, "treat ~ pay", unit="id")
    assert (caught.value.row, caught.value.value) == (2, "'10,5'")


@pytest.mark.parametrize(
    ("content", "message", "row"),
    [
        (b"id,y\n1,a\n2,Z\xfcrich\n", "not UTF-8", 3),
        ("id,y\n1,2\n".encode("utf-16"), "not UTF-8", 1),
        (b"", "empty", None),
        (b"id,y\n", "no rows", None),
        (b"id,id\n1,2\n", "stands twice", 1),
        (b"ID,id\n1,2\n", "capital letters", 1),
        (b'_record,y\n007,"a\nb"\n', "a column is called '_record'", 1),
        (b"_Surplus_0,y\n1,2\n", "a column is called '_Surplus_0'", 1),
        (b"id,\n1,2\n", "no name", 1),
        (b"id,y\n1,2\n3\n4,5\n", "other fields", 3),
        (b"id,y\n1,2\n3,4,5\n", "other fields", 3),
        (b'id,y\n"a\nb",2\n\n3,4,5\n', "other fields", 5),
        (b'id,y\n1,"2\n3,4\n', "quote", 2),
        (b"id;y,z\n1;2,3\n", "what separates", 1),
        (b"id,y\n1,\x002\n", "NUL", 2),
        (b"id,y\n1,\x012\n", "control character", 2),
        (b"id,y\n1," + b"x" * 3_000_000 + b"\n2,3\n", "longer than 2 MB", 2),
        (b"id,y\r1,2\r", "bare CR", None),
        (b"id,y\r\n1,2\n3,4\r\n", "different ways", None),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_words(
    tmp_path: Path, content: bytes, message: str, row: int | None
) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        as_relation(path, numbers="z")
    assert caught.value.file == path
    assert row is None or caught.value.row == row


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_files_that_are_alike_are_read_alike(tmp_path: Path, separator: str) -> None:
    rows = ["id,y,note", '1,.5,"a', 'b"', '2,,"x ""y"" z"', '"3", NA,.']
    path = tmp_path / "file.csv"
    path.write_bytes(("\ufeff" + "\r\n".join(rows).replace(",", separator)).encode())
    assert as_relation(path, numbers="y", keys="id").fetchall() == [
        (1, 0.5, "a\r\nb"), (2, None, 'x "y" z'), (3, None, None),
    ]  # fmt: skip


MARKED = {"id": ["a", "b", "c", "d"], "firm": ["NA", "E1", " null ", "."], "y": ["1", "nan", "3", "NaN"]}


@pytest.mark.parametrize("kind", ["frame", "categories", "arrow", "parquet", "relation", "csv"])
def test_markers_are_missing_however_they_come(tmp_path: Path, kind: str) -> None:
    frame = pd.DataFrame(MARKED)
    source: object = frame
    con = duckdb.connect()
    if kind == "categories":
        source = frame.astype({"firm": "category"})
    elif kind == "arrow":
        source = pa.table(MARKED)
    elif kind == "parquet":
        source = tmp_path / "file.parquet"
        frame.to_parquet(source)
    elif kind == "relation":
        con.execute("CREATE TABLE t AS FROM frame")
        source = con.table("t")
    elif kind == "csv":
        source = tmp_path / "file.csv"
        frame.to_csv(source, index=False)
    relation = as_relation(source, numbers="y", keys="id")
    assert relation.fetchall() == [("a", None, 1.0), ("b", "E1", None), ("c", None, 3.0), ("d", None, None)]


def test_not_a_number_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "file.parquet"
    duckdb.sql("SELECT 1 AS id, 'nan'::DOUBLE AS y UNION ALL SELECT 2, 3").write_parquet(str(path))
    for source in (path, duckdb.sql(f"FROM '{path}'"), pa.table({"id": [1, 2], "y": [float("nan"), 3.0]})):
        assert sorted(as_relation(source).fetchall()) == [(1, None), (2, 3.0)]


@pytest.mark.parametrize("kind", ["csv", "csv with breaks", "parquet", "frame"])
def test_a_file_is_named_also_where_it_is_asked_for_roles_later(tmp_path: Path, kind: str) -> None:
    frame = pd.DataFrame({"id": ["a", "b\nb" if "breaks" in kind else "b", "c", "d"], "y": ["1", "2", "half", "x"]})
    source: object = frame if kind == "frame" else tmp_path / f"file.{kind.split()[0]}"
    if "csv" in kind:
        frame.to_csv(source, index=False)
    elif kind == "parquet":
        frame.to_parquet(source)
    relation = as_relation(source)
    row = {"csv": 4, "csv with breaks": 5}.get(kind, 3)
    for given in (source, relation, query(relation, "FROM source WHERE id <> 'a'") if kind != "frame" else relation):
        with pytest.raises(InputError, match="not a number") as caught:
            as_relation(given, numbers="y")
        assert (caught.value.row, caught.value.column, caught.value.value) == (row, "y", "'half'")
        assert caught.value.file == (None if kind == "frame" else source)


@pytest.mark.parametrize("kind", ["frame", "csv"])
def test_markers_identify_nobody(tmp_path: Path, kind: str) -> None:
    frame = pd.DataFrame({"id": ["a", "a", "NA", "NA"], "t": [1, 2, 1, 2], "g": [2, 2, 0, 0], "y": [1, 2, 3, 4]})
    source: object = frame
    if kind == "csv":
        source = tmp_path / "file.csv"
        frame.to_csv(source, index=False)
    with pytest.raises(InputError, match="identifier") as caught:
        att(source)
    assert (caught.value.column, caught.value.value) == ("id", "'NA'")
    assert caught.value.row == (4 if kind == "csv" else 3)
    assert caught.value.file == (source if kind == "csv" else None)


def test_exact_linkage_does_not_link_unknown_to_unknown() -> None:
    con = duckdb.connect()
    con.execute("CREATE TABLE p AS FROM (VALUES (1, 'NA', 'Ann'), (2, '77', '.')) t(person_id, tax, name)")
    con.execute("CREATE TABLE r AS FROM (VALUES (8, 'NA', 'Bea'), (9, '78', '.')) t(record_id, tax, name)")
    found = link_exactly(con, "p", "r", {"id": {"tax": "identifier"}, "name": {"name": "exact"}})
    assert found.links.fetchall() == []
    assert found.unresolved.fetchall() == [
        (1, "unlinked", "no record agrees", 0),
        (2, "unlinked", "no record agrees", 0),
    ]
    con.execute("CREATE TABLE q AS FROM (VALUES ('NA', '1'), ('b', '2')) t(person_id, tax)")
    with pytest.raises(InputError, match="key of q stands for a missing value") as caught:
        link_exactly(con, "q", "r", {"id": {"tax": "identifier"}})
    assert caught.value.value == "NA"


SCHEMA = """{"fieldsMatch": "superset", %s"fields": [
  {"name": "person_id", "type": "string", "title": "-", "description": "-", "constraints": {"required": true}},
  {"name": "country", "type": "string", "title": "-", "description": "-"},
  {"name": "score", "type": "integer", "title": "-", "description": "-"%s}]}"""


@pytest.mark.parametrize(
    ("markers", "of_score", "rows"),
    [
        ("", "", [("P1", None, 1), ("P2", "-", None)]),
        ('"missingValues": [""], ', ', "missingValues": ["NA", ""]', [("P1", "NA", 1), ("P2", "-", None)]),
        ('"missingValues": ["-", "NA"], ', "", [("P1", None, 1), ("P2", None, None)]),
        (
            '"missingValues": [{"value": "-", "label": "refused"}], ',
            ', "missingValues": ["NA"]',
            [("P1", "NA", 1), ("P2", None, None)],
        ),
    ],
)
def test_a_study_says_what_is_missing(
    tmp_path: Path, markers: str, of_score: str, rows: list[tuple[object, ...]]
) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "thing.json").write_text(SCHEMA % (markers, of_score))
    (tmp_path / "thing.csv").write_text("person_id,country,score\nP1,NA,1\nP2,-,NA\n")
    pd.read_csv(tmp_path / "thing.csv", keep_default_na=False).to_parquet(tmp_path / "thing.parquet")
    for kind in ("csv", "parquet"):
        with Store.in_memory(load_package(tmp_path / "schemas")) as store:
            store.ingest("thing", tmp_path / f"thing.{kind}")
            assert store.con.sql("FROM thing ORDER BY 1").fetchall() == rows
            # what the schema lets stand is not made missing later
            assert as_relation(store.con.table("thing")).order("1").fetchall() == rows


def test_a_number_that_is_missing_in_parquet_is_missing(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "thing.json").write_text(SCHEMA.replace("integer", "number") % ("", ""))
    path = tmp_path / "thing.parquet"
    duckdb.sql("SELECT 'P1' AS person_id, 'x' AS country, 'nan'::DOUBLE AS score").write_parquet(str(path))
    with Store.in_memory(load_package(tmp_path / "schemas")) as store:
        store.ingest("thing", path)
        assert store.con.sql("SELECT score FROM thing").fetchall() == [(None,)]


@pytest.mark.parametrize("kind", ["frame", "csv"])
def test_what_became_of_someone_is_not_made_missing(tmp_path: Path, kind: str) -> None:
    """An empty cause is a spell that has not ended; a spell of unknown end is not one of these."""
    frame = pd.DataFrame({"id": ["a", "b", "c"], "cause": ["job", "NA", None], "q": ["1", "NA", "3"]})
    source: object = frame
    if kind == "csv":
        source = tmp_path / "file.csv"
        frame.to_csv(source, index=False)
    relation = as_relation(source, numbers="q", keys="id", codes="cause")
    assert relation.fetchall() == [("a", "job", 1.0), ("b", "NA", None), ("c", None, 3.0)]
