"""Texts that stand for a missing value, as every input is read: files, frames, Parquet and DuckDB relations.

A Table Schema may declare others for a column or a record type (``missingValues``); see
`retrain_eval.records.schema.table_schema`. "None" is not among them: it is also an answer (education: none).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from retrain_eval.common.sql import sql_text

# what R, pandas, SQL, Excel, SAS and Stata write
MISSING_VALUES = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null", "NaN", "nan", "NaT", ".")


class Marker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text that stands for a missing value in a Table Schema, with a word for why it is missing."""

    value: str
    label: str = ""


Markers = tuple[str | Marker, ...]


def texts_of(markers: Markers) -> tuple[str, ...]:
    """Return the texts of markers."""
    return tuple(marker if isinstance(marker, str) else marker.value for marker in markers)


def is_missing_sql(text: str, markers: Sequence[str] = MISSING_VALUES, *, trimmed: bool = True) -> str:
    """Return the SQL condition that a text, spaces around it aside, is a marker; NULL or false where it is not.

    ``trimmed=False`` compares the text as it is written, as Frictionless does.

    Examples
    --------
    >>> import duckdb
    >>> texts = ["NA", " . ", "", "NADA", "Na", None]
    >>> sql = f"SELECT coalesce({is_missing_sql('text')}, false) FROM (SELECT unnest($1) AS text)"
    >>> [found for (found,) in duckdb.execute(sql, [texts]).fetchall()]
    [True, True, True, False, False, False]
    """
    if not markers:
        return "false"
    text = f"trim({text})" if trimmed else text
    longest = max(len(marker.encode()) for marker in markers)
    # what most texts are is cheap to see: longer than any marker, or begun with a digit
    number = "" if any(marker[:1].isdigit() for marker in markers) else f"({text} < '0' OR {text} > '9~') AND "
    return f"(strlen({text}) <= {longest} AND {number}{text} IN ({', '.join(map(sql_text, markers))}))"
