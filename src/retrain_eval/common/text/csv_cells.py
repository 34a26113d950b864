r"""Guard CSV text that a spreadsheet would run as a formula, and remove the guard on reading.

A cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line break can run a formula when the file is opened in a
spreadsheet ("CSV injection", OWASP). In every CSV file that is written for people or released, such a text gets a
leading apostrophe. A text that is a number, such as ``-1.5``, does not. Reading removes the apostrophe. A text that
already has apostrophes before such a sign gets one more, so that reading always restores the original.
"""

from __future__ import annotations

import csv
import re
from typing import Literal

import pandas as pd

_SIGNS = "=+\\-@\t\r\n＝＋－＠"  # Japanese and Chinese spreadsheets also accept the full-width signs
_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
_FORMULA = re.compile(f"'*[{_SIGNS}]")
_GUARDED = re.compile(f"'+[{_SIGNS}]")
_IS_NUMBER = re.compile(_NUMBER, re.ASCII)


def guarded(text: str) -> str:
    """Return a text as a CSV cell holds it.

    Examples
    --------
    >>> [guarded(text) for text in ("=1+1", "-1.5", "-1.5 to 2", "'=x", "level A", "@sum")]
    ["'=1+1", '-1.5', "'-1.5 to 2", "''=x", 'level A', "'@sum"]
    """
    return f"'{text}" if _FORMULA.match(text) and not _IS_NUMBER.fullmatch(text) else text


def unguarded(cell: str) -> str:
    """Return the text that a CSV cell holds.

    Examples
    --------
    >>> [unguarded(guarded(text)) for text in ("=1+1", "-1.5", "'=x", "''-", "'quoted'")]
    ['=1+1', '-1.5', "'=x", "''-", "'quoted'"]
    """
    return cell[1:] if _GUARDED.match(cell) else cell


def csv_text(frame: pd.DataFrame, float_format: str) -> str:
    """Return a table as CSV with every text guarded; the bytes are the same on every run and system.

    If any text has a carriage return, all cells are quoted: some readers treat it as the end of a line.
    """
    frame = guard(frame)
    texts = (frame[name] for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name].dtype))
    returns = any(isinstance(cell, str) and "\r" in cell for column in texts for cell in column)
    quoting: Literal[0, 1] = csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
    return str(frame.to_csv(index=False, float_format=float_format, lineterminator="\n", quoting=quoting))


def guard(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table ready to be written as CSV: every text, column names included, is `guarded`."""
    changed = {
        name: frame[name].astype(object).map(lambda cell: guarded(cell) if isinstance(cell, str) else cell)
        for name in frame.columns
        if not pd.api.types.is_numeric_dtype(frame[name].dtype)
    }
    return frame.assign(**changed).rename(columns=lambda name: guarded(name) if isinstance(name, str) else name)


def unguard(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table that was read from CSV with its original texts."""
    changed = {
        name: frame[name].map(lambda cell: unguarded(cell) if isinstance(cell, str) else cell).astype(frame[name].dtype)
        for name in frame.columns
        if not pd.api.types.is_numeric_dtype(frame[name].dtype)
    }
    return frame.assign(**changed)


def guarded_sql(column: str) -> str:
    """Return SQL for a text as a CSV cell holds it; see `guarded`.

    Examples
    --------
    >>> import duckdb
    >>> sql = "SELECT " + guarded_sql("text") + " FROM (SELECT unnest(['=1+1', '-1.5', '''=x', NULL]) AS text)"
    >>> duckdb.sql(sql).fetchall()
    [("'=1+1",), ('-1.5',), ("''=x",), (None,)]
    """
    formula = "^''*[=+\\-@\\t\\r\\n＝＋－＠]"
    number = _NUMBER.replace("\\d", "[0-9]")
    return (
        f"CASE WHEN regexp_matches({column}, '{formula}') AND NOT regexp_full_match({column}, '{number}') "
        f"THEN '''' || {column} ELSE {column} END"
    )
