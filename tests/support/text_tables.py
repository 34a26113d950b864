"""Small tables written as text, and the steps of SQL that are run on them.

The first line has the names of the columns, and each other line is a row; ``-`` is a missing value.
"""

from __future__ import annotations

import re

import duckdb

from retrain_eval.common.sql_steps import Pipeline

Row = tuple[str | None, ...]


def run(pipeline: Pipeline, step: str, expected: str, **tables: str) -> list[Row]:
    """Run one step on tables: earlier steps, or what they read. Return the columns that ``expected`` has, in order."""
    con = duckdb.connect()
    for name, text in tables.items():
        header, *rows = [line.split() for line in text.strip().splitlines()]
        values = ", ".join(f"({', '.join(map(_literal, row))})" for row in rows)
        temporary = "TEMP" if name.startswith("_") else ""
        con.execute(f"CREATE {temporary} TABLE {name} AS FROM (VALUES {values}) AS t({', '.join(header)})")
    given = [one.name for one in pipeline.steps if one.name in tables]
    columns = expected.split("\n")[1].split()
    texts = ", ".join(f"CAST({column} AS VARCHAR) AS {column}" for column in columns)
    return pipeline.relation(step, con, given).order(", ".join(columns)).project(texts).fetchall()


def table(text: str) -> list[Row]:
    """Return the rows of a table."""
    _, *rows = [line.split() for line in text.strip().splitlines()]
    return [tuple(None if value == "-" else value for value in row) for row in rows]


def _literal(text: str) -> str:
    if text == "-":
        return "NULL"
    return text if re.fullmatch(r"-?\d+(\.\d+)?|true|false", text) else f"'{text}'"
