"""The rules of validation.md, each loaded as it stands there."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from retrain_eval.errors import InputError
from retrain_eval.store import Store

COLUMNS = ["file", "line", "column", "value", "rule"]


@dataclass(frozen=True)
class Section:
    title: str
    files: dict[str, bytes]
    rejects: list[tuple[str, ...]]
    error: list[str]


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
    return Section(part.splitlines()[0], files, table[2:], error[1].split("; ") if error else [])


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.title)
def test_rule(section: Section, tmp_path: Path) -> None:
    for name, content in section.files.items():
        (tmp_path / name).write_bytes(content)
    delivered = {Path(name).stem: tmp_path / name for name in section.files}
    with Store.open(tmp_path / "store.duckdb") as store:
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
            with pytest.raises(InputError):
                store.ingest_all(delivered)
            found = store.rejects()[COLUMNS].astype(object).fillna("").astype(str)
            assert sorted(found.itertuples(index=False, name=None)) == sorted(section.rejects)
        else:
            assert all(report.rows_rejected == 0 for report in store.ingest_all(delivered))
        if section.error or section.rejects:
            assert store.tables() == {}


@pytest.mark.parametrize("section", [s for s in sections() if s.rejects], ids=lambda section: section.title)
def test_tolerated_rows_are_those_that_are_not_refused(section: Section, tmp_path: Path) -> None:
    for name, content in section.files.items():
        (tmp_path / name).write_bytes(content)
    with Store.open(tmp_path / "store.duckdb") as store:
        reports = store.ingest_all({Path(name).stem: tmp_path / name for name in section.files}, tolerate=0.99)
        for report in reports:
            refused = {row[1] for row in section.rejects if row[0] == report.file}
            assert report.rows_rejected == len(refused)
            assert store.tables()[report.resource] == report.rows_in - len(refused)
