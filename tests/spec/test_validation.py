"""The rules of validation.md, each loaded as it stands there."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from retrain_eval.common.errors import InputError
from retrain_eval.records.store import Store

SSN = re.compile(r"\b\d{3}\W?\d{2}\W?\d{4}\b")
COLUMNS = ["file", "line", "column", "value", "rule"]


@dataclass(frozen=True)
class Section:
    title: str
    files: dict[str, bytes]
    rejects: list[tuple[str, ...]]
    error: list[str]
    study: dict[str, str]
    duplicates: dict[str, int]


def sections() -> list[Section]:
    text = Path(__file__).with_name("validation.md").read_text(encoding="utf-8")
    return [parse(part) for part in text.split("\n## ")[1:]]


def parse(part: str) -> Section:
    files = {}
    for kind, name, body in re.findall(r"```(csv|bytes) (\S+)\n(.*?)```", part, flags=re.DOTALL):
        files[name] = body.encode() if kind == "csv" else ast.literal_eval(body)
    prose = re.sub(r"```.*?```", "", part, flags=re.DOTALL)
    table = [
        tuple(cell.strip().strip("`") for cell in line.split("|")[1:-1])
        for line in prose.splitlines()
        if line.startswith("|")
    ]
    error = re.search(r"^Error: (.*)$", prose, flags=re.MULTILINE)
    said = sum([bool(table), error is not None, "Nothing is refused." in prose])
    assert said == 1, f"{part.splitlines()[0]!r} must say what is refused, once"
    assert not table or list(table[0]) == COLUMNS
    study = re.search(r"^Study: (.*)$", prose, flags=re.MULTILINE)
    settings = dict(pair.split(" = ") for pair in study[1].split("; ")) if study else {}
    repeated = re.search(r"^Duplicates: (.*)$", prose, flags=re.MULTILINE)
    duplicates = {file: int(n) for file, n in (one.split() for one in repeated[1].split("; "))} if repeated else {}
    return Section(part.splitlines()[0], files, table[2:], error[1].split("; ") if error else [], settings, duplicates)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_EVAL_KEY", "5bd1e995c2b2ae3d27d4eb4f165667c5")


def open_store(section: Section, folder: Path) -> tuple[Store, dict[str, Path]]:
    for name, content in section.files.items():
        (folder / name).write_bytes(content)
    files = {Path(name).stem: folder / name for name in section.files}
    return Store.open(folder / "store.duckdb", **section.study), files


def rejected(store: Store) -> list[tuple[str, ...]]:
    frame = store.rejects()[COLUMNS].astype(object).fillna("").astype(str)
    return sorted(frame.itertuples(index=False, name=None))


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.title)
def test_rule(section: Section, tmp_path: Path) -> None:
    store, delivered = open_store(section, tmp_path)
    with store:
        if section.error:
            with pytest.raises(InputError) as caught:
                store.ingest_all(delivered)
            message, *details = section.error
            assert str(caught.value).startswith(message)
            for detail in details:
                place = re.fullmatch(r"row (\d+)", detail)
                if place:
                    assert caught.value.row == int(place[1])
                else:
                    assert detail in str(caught.value)
            assert store.rejects().empty
        elif section.rejects:
            with pytest.raises(InputError) as caught:
                store.ingest_all(delivered)
            assert rejected(store) == sorted(section.rejects)
            assert not SSN.search(str(caught.value))
        else:
            assert all(report.rows_rejected == 0 for report in store.ingest_all(delivered))
        if section.error or section.rejects:
            assert store.tables() == {}


@pytest.mark.parametrize("section", [s for s in sections() if s.rejects], ids=lambda section: section.title)
def test_tolerated_rows_are_those_that_are_not_refused(section: Section, tmp_path: Path) -> None:
    store, delivered = open_store(section, tmp_path)
    with store:
        if "employer_link" in delivered:  # no person's numbers could be set apart
            with pytest.raises(InputError, match="tolerate does not cover it"):
                store.ingest_all(delivered, tolerate=0.99)
            assert rejected(store) == sorted(section.rejects)
            return
        reports = store.ingest_all(delivered, tolerate=0.99)
        assert rejected(store) == sorted(section.rejects)
        for report in reports:
            refused = {row[1] for row in section.rejects if row[0] == report.file}
            assert report.rows_rejected == len(refused)
            assert report.rows_repeated == section.duplicates.get(report.file, 0)
            assert store.tables()[report.resource] == report.rows_in - len(refused) - report.rows_repeated
