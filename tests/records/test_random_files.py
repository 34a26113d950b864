"""Random CSV files through a path and through ingest: what is read is what a strict reader reads, or it is refused.

The strict reader below is written for this test: Python's csv module, whole columns, exact numbers.
"""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import InputError
from retrain_eval.common.sources import as_relation
from retrain_eval.records.schema.table_schema import load_package
from retrain_eval.records.store import Store

MARKERS = {"", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null", "NaN", "nan", "NaT", "."}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
COLUMNS = ("id", "code", "y", "w", "note")
SCHEMA = """
{"fieldsMatch": "superset", "primaryKey": ["id"], "fields": [
  {"name": "id", "type": "string", "title": "-", "description": "-"},
  {"name": "code", "type": "string", "title": "-", "description": "-"},
  {"name": "y", "type": "number", "title": "-", "description": "-"},
  {"name": "w", "type": "number", "title": "-", "description": "-"},
  {"name": "note", "type": "string", "title": "-", "description": "-"}]}
"""


@dataclass(frozen=True, repr=False)
class File:
    """A file as a generator made it."""

    rows: list[tuple[str, ...]]
    separator: str
    encoding: str
    ending: str
    quote_all: bool

    def __repr__(self) -> str:
        ends = ", ".join(str(row)[:200] for row in (self.rows[0], self.rows[-1]))
        return f"{len(self.rows)} rows, {ends}, {self.separator!r} {self.encoding} {self.ending!r} {self.quote_all}"

    def write(self, path: Path) -> None:
        buffer = io.StringIO(newline="")
        quoting = csv.QUOTE_ALL if self.quote_all else csv.QUOTE_MINIMAL
        writer = csv.writer(buffer, delimiter=self.separator, lineterminator=self.ending, quoting=quoting)
        writer.writerows([COLUMNS, *self.rows])
        path.write_bytes(buffer.getvalue().encode(self.encoding))


IDS: tuple[Callable[[random.Random, int], str], ...] = (
    lambda _, i: str(i),
    lambda _, i: f"{i:07d}",  # leading zeros
    lambda _, i: str(10**18 + 10 * i + 1),  # beyond 2^53
    lambda _, i: str(9007199254740990 + i),  # across it
    lambda _, i: str(10**25 + i),  # beyond 64 bits
    lambda _, i: f"P{i}",
    lambda _, i: f"{i}e5",  # looks like a number
    lambda _, i: f"{i}.0",
)
CODES: tuple[Callable[[random.Random], str], ...] = (
    lambda r: r.choice(["north", "south"]),
    lambda r: r.choice(["007", "7", "07"]),
    lambda r: r.choice(["1", "2", "31-33"]),
    lambda r: r.choice(["true", "false"]),
    lambda r: str(r.randint(0, 99)),
)
VALUES: tuple[Callable[[random.Random], str], ...] = (
    lambda r: str(r.randint(-50, 50)),
    lambda r: f"{r.uniform(-5, 5):.3f}",
    lambda r: f"{r.uniform(-5, 5):.17g}",
    lambda r: f"{r.gauss(0, 1e6):e}",
    lambda r: r.choice([".5", "5.", "+3", "0"]),
)
LATE = (
    "0.49",
    "1e-3",
    "abc",
    "1_000",
    "1,5",
    "1.234,5",
    "12 %",
    "9007199254740993",
    "inf",
    "+-5",
    "0x1F",
    "--1",
    "True",
)
NOTES = ("plain", "two\nlines", 'says "yes"', "a,b;c\td|e", "é漢🙂", " padded ", "NA", "None", "-", "")


@st.composite
def files(draw: st.DrawFn) -> File:
    """Make a file of a few rows, or now and then of more than the 20,480 from which DuckDB would guess types."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    n = 20_600 if draw(st.integers(0, 49)) == 0 else draw(st.integers(1, 60))
    identify, code = draw(st.sampled_from(IDS)), draw(st.sampled_from(CODES))
    values = [draw(st.sampled_from(VALUES)) for _ in ("y", "w")]
    share = draw(st.sampled_from([0.0, 0.0, 0.2, 1.0]))
    marker = draw(st.sampled_from(sorted(MARKERS)))
    notes = draw(st.lists(st.sampled_from(NOTES), min_size=1, max_size=4))
    long = draw(st.integers(0, 19)) == 0
    rows = [
        [identify(chance, i), code(chance), *(value(chance) for value in values), chance.choice(notes)]
        for i in range(1, n + 1)
    ]
    for row in rows:
        for column in (1, 2, 3):
            if chance.random() < share:
                row[column] = marker
    if draw(st.booleans()):
        rows[-1][draw(st.sampled_from([2, 3]))] = draw(st.sampled_from(LATE))
    if draw(st.integers(0, 9)) == 0:
        rows[-1][0] = marker
    if long:
        rows[0][4] = "x" * 300_000
    encoding = draw(st.sampled_from(["utf-8"] * 5 + ["utf-8-sig"] * 2 + ["utf-16", "latin-1", "cp1252"]))
    if encoding in ("latin-1", "cp1252"):
        rows[0][4] = "Zürich"
        rows = [[value.encode(encoding, "replace").decode(encoding) for value in row] for row in rows]
    return File(
        [tuple(row) for row in rows],
        draw(st.sampled_from([",", ";", "\t", "|"])),
        encoding,
        draw(st.sampled_from(["\n", "\r\n"])),
        draw(st.booleans()),
    )


csv.field_size_limit(1 << 30)

# ---- the strict reader ---------------------------------------------------------------------------------------


class Refused(Exception):
    """A file or a value that may not be read."""


def strict(path: Path) -> dict[str, list[str | None]]:
    """Return the columns as texts, None where missing; refuse what is not UTF-8 or has ragged rows."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refused from None
    header = text.splitlines()[0].replace('"', "")
    [separator] = [mark for mark in ",;\t|" if mark in header]
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    if any(len(row) != len(COLUMNS) for row in rows):
        raise Refused
    cells = zip(*rows[1:], strict=True)
    return {name: [value if value.strip(" ") not in MARKERS else None for value in column]
            for name, column in zip(rows[0], cells, strict=True)}  # fmt: skip


def strict_number(value: str | None, finite: bool) -> float | None:
    """Return the number that a text is; refuse what is none, or what a float does not hold."""
    if value is None:
        return None
    text = value.strip(" ")
    if text == "inf" and not finite:
        return float("inf")
    if not NUMBER.fullmatch(text):
        raise Refused
    if re.fullmatch(r"[+-]?\d+", text) and Decimal(float(text)) != Decimal(text):
        raise Refused
    return float(text)


def expected(path: Path, *, finite: bool) -> list[tuple[object, ...]] | None:
    """Return the rows that a reader may return; None if it must refuse the file."""
    try:
        columns = strict(path)
        if None in columns["id"]:
            raise Refused
        for name in ("y", "w"):
            there = [value for value in columns[name] if value is not None]
            if not finite and there and {value.lower() for value in there} <= {"true", "false"}:  # 1 and 0
                columns[name] = [None if value is None else value.lower() == "true" for value in columns[name]]
                continue
            columns[name] = [strict_number(value, finite) for value in columns[name]]
    except Refused:
        return None
    return list(zip(*(columns[name] for name in COLUMNS), strict=True))


# ---- the two routes ------------------------------------------------------------------------------------------


def same_text(read: object, written: object) -> bool:
    """Whether a value of a column that is not used as a number is what is written: a number may have become one."""
    if read is None or written is None:
        return read is written
    if isinstance(read, bool):
        return str(read).lower() == str(written).strip(" ").lower()
    if isinstance(read, int):
        return str(read) == str(written).strip(" ")
    if isinstance(read, float):
        return Decimal(str(written)) == Decimal(repr(read)) or read == float(str(written))
    return read == written


def check_path(path: Path) -> None:
    rows = expected(path, finite=False)
    if rows is None:
        with pytest.raises(InputError) as caught:
            as_relation(path, numbers=("y", "w"), keys="id")
        assert caught.value.file == path
        return
    found = as_relation(path, numbers=("y", "w"), keys="id").fetchall()
    assert len(found) == len(rows)
    for one, other in zip(found, rows, strict=True):
        assert str(one[0]) == str(other[0]).strip(" ")
        assert one[2:4] == other[2:4]
        assert same_text(one[1], other[1])
        assert same_text(one[4], other[4])


def check_ingest(path: Path, store: Store) -> None:
    rows = expected(path, finite=True)
    if rows is None:
        with pytest.raises(InputError):
            store.ingest("thing", path)
        return
    store.ingest("thing", path)
    found = store.con.execute("SELECT id, code, y, w, note FROM thing").fetchall()
    assert sorted(found, key=str) == sorted(rows, key=str)


def run(examples: int, folder: Path) -> None:
    (folder / "schemas").mkdir()
    (folder / "schemas" / "thing.json").write_text(SCHEMA)
    store = Store.in_memory(load_package(folder / "schemas"))

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=[Phase.generate],
    )
    @given(files())
    def check(file: File) -> None:
        path = folder / "thing.csv"
        file.write(path)
        check_path(path)
        check_ingest(path, store)

    with store:
        check()


@pytest.mark.slow
def test_random_files_are_read_as_they_are_written_or_refused(tmp_path: Path) -> None:
    run(60, tmp_path)


@pytest.mark.slow
def test_a_thousand_random_files(tmp_path: Path) -> None:
    run(1_000, tmp_path)
