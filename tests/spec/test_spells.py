"""The histories of ``spells.md``, run: what is read there as documentation is what the SQL does."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from histories import Link, spells_of

PAGE = Path(__file__).with_name("spells.md")


@dataclass(frozen=True)
class Case:
    """One section of the page."""

    title: str
    people: dict[str, list[str]]
    links: list[Link]
    recall_within: int
    expected: list[tuple[str, str, int, int, str, bool]]


def cases() -> list[Case]:
    found = []
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, *lines = section.splitlines()
        people: dict[str, list[str]] = {}
        for line in lines:
            if match := re.fullmatch(r"([pq]): ([A-Z.?!x]+)", line):
                people.setdefault(match[1], []).append(match[2])
        links = [
            Link(a, b, int(q))
            for line in lines
            if line.startswith("links:")
            for a, b, q in re.findall(r"(\w)>(\w)@(\d+)", line)
        ]
        within = next((int(line.split(":")[1]) for line in lines if line.startswith("recall within:")), 4)
        expected = [
            (m[1], m[2], int(m[3]), int(m[4]), m[5], bool(m[6]))
            for line in lines
            if (m := re.fullmatch(r"- (\w) (\w+) (\d+)-(\d+) (\w+)( truncated)?", line))
        ]
        found.append(Case(title, people, links, within, expected))
    return found


def test_the_page_is_read_to_its_last_line() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(cases()) == text.count("\n## ")
    assert sum(len(case.expected) for case in cases()) == text.count("\n- ")


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.title)
def test_history(case: Case) -> None:
    assert case.expected
    found = spells_of(duckdb.connect(), case.people, case.links, case.recall_within)
    assert [(p, state, a, b, cause, cut) for p, _, state, _, a, b, cause, cut in found] == case.expected
