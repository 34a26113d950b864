"""The histories of ``panel.md``, run."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from histories import START, Link, load
from retrain_eval.panel.panel import build_panel

PAGE = Path(__file__).with_name("panel.md")
SECTIONS = [section.split("\n", 1) for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]]
EXPECTED = re.compile(r"^- (\w) (\w+): (.+)$", re.MULTILINE)


def test_every_expectation_is_read() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert sum(len(EXPECTED.findall(body)) for _, body in SECTIONS) == text.count("\n- ")


@pytest.mark.parametrize("body", [body for _, body in SECTIONS], ids=[title for title, _ in SECTIONS])
def test_history(body: str) -> None:
    pay: dict[str, list[str]] = {}
    for person, line in re.findall(r"^pay (\w): (.+)$", body, re.MULTILINE):
        pay.setdefault(person, []).append(line)
    links = [Link(a, b, int(q)) for a, b, q in re.findall(r"(\w)>(\w)@(\d+)", body)]
    con = duckdb.connect()
    load(con, pay, links)
    con.execute("DELETE FROM coverage")
    for person, line in re.findall(r"^covered (\w): (.+)$", body, re.MULTILINE):
        for quarter, mark in enumerate(line):
            if mark != " ":
                con.execute("INSERT INTO coverage VALUES ('ui', $1, $2, $3)", [person, START + quarter, mark == "y"])
    periods = max(len(line) for lines in pay.values() for line in lines)
    con.execute(f"INSERT INTO coverage SELECT 'ui', 'elsewhere', {START} + t, true FROM range({periods}) AS a(t)")
    con.execute("INSERT INTO person VALUES ('somebody', 'elsewhere')")
    build_panel(con)
    expected = EXPECTED.findall(body)
    assert expected
    for person, column, values in expected:
        rows = con.sql(f"SELECT {column} FROM panel WHERE person_id = '{person}' ORDER BY period").fetchall()
        assert [told(value) for (value,) in rows] == values.split(), (person, column)


def told(value: object) -> str:
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
