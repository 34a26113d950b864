"""Where a record stands in its file, for every way of quoting, ending lines and leaving lines blank."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import InputError
from retrain_eval.common.files import sha256
from retrain_eval.common.text import csv_lines
from retrain_eval.common.text import raw_file as rawfile

values = st.text(st.sampled_from("ab1\",;\n 'é漢🙂"), max_size=6)
records = st.lists(st.tuples(st.text("ab", min_size=1, max_size=2), values, values), min_size=1, max_size=12)


def write(path: Path, rows: list[tuple[str, ...]], blanks: list[int], ending: str, bom: bool) -> list[int]:
    """Write a CSV file with blank lines before some records; return the line on which each record starts."""
    text, lines = "\ufeff" if bom else "", []
    for number, row in enumerate([("id", "b", "c"), *rows]):
        if number:
            text += ending * blanks[(number - 1) % len(blanks)]
        lines.append(text.count("\n") + 1)
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator=ending).writerow(row)
        text += buffer.getvalue()
    path.write_bytes(text.encode())
    return lines[1:]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=records,
    blanks=st.lists(st.integers(0, 2), min_size=1, max_size=4),
    ending=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
    chunk=st.sampled_from([1, 7, 64, 1 << 22]),
)
@example(rows=[("a", "x\n\ny", '"')], blanks=[2], ending="\r\n", bom=True, chunk=1)
def test_lines_and_values_are_those_written(
    tmp_path: Path, rows: list[tuple[str, ...]], blanks: list[int], ending: str, bom: bool, chunk: int
) -> None:
    path = tmp_path / "file.csv"
    lines = write(path, rows, blanks, ending, bom)
    before, csv_lines._CHUNK = csv_lines._CHUNK, chunk
    try:
        raw = rawfile.open_raw(path)
        numbers = np.arange(1, len(rows) + 1)
        assert raw.rows == len(rows)
        assert raw.lines(numbers).tolist() == lines
        assert raw.lines(numbers[::2]).tolist() == lines[::2]
    finally:
        csv_lines._CHUNK = before
    assert raw.sha256 == sha256(path)
    with duckdb.connect() as con:
        read = con.execute(f"SELECT _record, _ragged, id, b, c FROM ({raw.sql()}) ORDER BY 1").fetchall()
    assert read == [(number, False, *row) for number, row in enumerate(rows, start=1)]


def test_large_file_keeps_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "large.csv"
    count = 200_000
    with path.open("w", newline="") as file:
        file.write("id,note\n")
        for number in range(count):
            file.write(f'{number},"two\nlines"\n' if number % 10 == 0 else f"{number},one\n")
    raw = rawfile.open_raw(path)
    assert raw.rows == count
    assert raw.lines(np.array([1, 2, 3, 11, 12, count])).tolist() == [
        2,
        4,
        5,
        13,
        15,
        1 + count + count // 10,
    ]
    with duckdb.connect() as con:
        wrong = con.execute(f"SELECT count(*) FROM ({raw.sql()}) WHERE id <> CAST(_record - 1 AS VARCHAR)").fetchall()
    assert wrong == [(0,)]


def test_path_with_wildcards_and_quotes_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "o'brien [a]*?.csv"
    path.write_text("id\n1\n")
    (tmp_path / "o'brien a.csv").write_text("id\n2\n")
    with duckdb.connect() as con:
        assert con.execute(f"SELECT id FROM ({rawfile.open_raw(path).sql()})").fetchall() == [("1",)]
        parquet = path.with_suffix(".parquet")
        duckdb.sql("SELECT 3 AS id").write_parquet(str(parquet))
        assert con.execute(f"SELECT id FROM ({rawfile.open_raw(parquet).sql()})").fetchall() == [("3",)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.csv", None, "file not found"),
        ("people.xlsx", b"x", "unknown file type"),
        ("people.parquet", b"PAR1 no", "not valid Parquet"),
        ("people.parquet", b"", "empty"),
    ],
)
def test_files_that_are_not_what_they_should_be(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        rawfile.open_raw(tmp_path / name)


def test_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder"):
        rawfile.open_raw(tmp_path)


def test_endless_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(b"id\nP1\n" + b"x" * 10_000_000 + b"\n")
    with pytest.raises(InputError, match="longer than 2 MB") as caught:
        rawfile.open_raw(path)
    assert caught.value.row == 3
