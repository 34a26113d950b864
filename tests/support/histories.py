"""Work histories drawn as text, and what the panel and the spells make of them.

A letter is the employer that pays in a quarter, ``.`` a covered quarter without pay, ``?`` one that is not covered,
``x`` a covered one in which the person is not observed, ``!`` one with a wage record that was refused.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import duckdb

from retrain_eval.panel.panel import build_panel
from retrain_eval.panel.spells import build_spells

START = 8076  # 2019Q1
FIRST_JOB, SECOND_JOB = 1000, 100

Spell = tuple[str, int, str, str, int, int, str, bool]


class Link(NamedTuple):
    """A firm that goes over to another in a quarter, counted from 1."""

    old: str
    new: str
    quarter: int
    share: float = 1.0


def load(con: duckdb.DuckDBPyConnection, people: dict[str, list[str]], links: list[Link]) -> None:
    """Make the record tables of these histories; everybody is in a region of their own, so that coverage can differ."""
    con.execute("CREATE OR REPLACE TABLE person(person_id VARCHAR, region VARCHAR)")
    con.execute(
        "CREATE OR REPLACE TABLE enrolment(person_id VARCHAR, programme_id VARCHAR, entry INTEGER, exit INTEGER)"
    )
    con.execute("CREATE OR REPLACE TABLE coverage(source VARCHAR, region VARCHAR, period INTEGER, available BOOLEAN)")
    con.execute(
        "CREATE OR REPLACE TABLE wage_record"
        "(person_id VARCHAR, period INTEGER, employer_id VARCHAR, wages DECIMAL(12,2))"
    )
    con.execute(
        "CREATE OR REPLACE TABLE employer_link"
        "(from_employer_id VARCHAR, to_employer_id VARCHAR, period INTEGER, share DOUBLE)"
    )
    con.execute(
        "CREATE OR REPLACE TABLE refused_row"
        "(resource VARCHAR, person_id VARCHAR, period INTEGER, key MAP(VARCHAR, VARCHAR))"
    )
    con.execute('CREATE OR REPLACE TABLE observation(person_id VARCHAR, "from" INTEGER, "to" INTEGER, reason VARCHAR)')
    for person, lines in people.items():
        con.execute("INSERT INTO person VALUES ($1, $1)", [person])
        if "x" in lines[0]:
            for span in re.finditer("[^x]+", lines[0]):
                first = None if span.start() == 0 else START + span.start()
                last = None if span.end() == len(lines[0]) else START + span.end() - 1
                con.execute("INSERT INTO observation VALUES ($1, $2, $3, NULL)", [person, first, last])
        for place, line in enumerate(lines):
            for quarter, mark in enumerate(line):
                if place == 0:
                    con.execute(
                        "INSERT INTO coverage VALUES ('ui', $1, $2, $3)", [person, START + quarter, mark != "?"]
                    )
                if mark == "!":
                    con.execute(
                        "INSERT INTO refused_row VALUES ('wage_record', $1, $2, NULL)", [person, START + quarter]
                    )
                elif mark not in ".?x":
                    pay = FIRST_JOB if place == 0 else SECOND_JOB
                    con.execute("INSERT INTO wage_record VALUES ($1, $2, $3, $4)", [person, START + quarter, mark, pay])
    for link in links:
        con.execute(
            "INSERT INTO employer_link VALUES ($1, $2, $3, $4)",
            [link.old, link.new, START + link.quarter - 1, link.share],
        )


def spells_of(
    con: duckdb.DuckDBPyConnection, people: dict[str, list[str]], links: list[Link], recall_within: int = 4
) -> list[Spell]:
    """Return the spells, quarters counted from 1: person, number, state, employer, first, last, cause, truncated."""
    load(con, people, links)
    build_panel(con)
    build_spells(con, recall_within=recall_within)
    return con.sql(
        f"SELECT person_id, spell, state, employer_id, entry - {START - 1}, exit - {START - 1}, cause, left_truncated "
        "FROM spells ORDER BY person_id, spell"
    ).fetchall()
