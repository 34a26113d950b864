"""Periods as people write them and as they are stored: a quarter is ``year*4 + (quarter-1)``, a year is itself."""

from __future__ import annotations

import re

from retrain_eval.errors import InputError

LABEL = r"\d{4}-?Q[1-4]"  # a quarter as files may write it
BOUNDS = {"year": (1900, 2100), "quarter": (1900 * 4, 2100 * 4 + 3)}


def parse_period(value: int | str) -> int:
    """Return a period as it is stored.

    Parameters
    ----------
    value : int or str
        A stored period, or a quarter written ``2019Q1`` or ``2019-Q1``.

    Raises
    ------
    InputError
        If it is neither.

    Examples
    --------
    >>> parse_period("2019Q1"), parse_period("2019-Q4"), parse_period(8076), parse_period("1978")
    (8076, 8079, 8076, 1978)
    """
    text = str(value).strip()
    if re.fullmatch(LABEL, text):
        return int(text[:4]) * 4 + int(text[-1]) - 1
    if not re.fullmatch(r"\d+", text) or isinstance(value, bool):
        raise InputError("this is no period", value=value, rule="a quarter such as 2019Q1, or a whole number")
    return int(text)


def stored_period(value: float | str) -> int:
    """Return a period given to a function: a text as `parse_period` reads it, a number as it stands, event times too.

    Examples
    --------
    >>> stored_period("2025Q4"), stored_period(8103), stored_period(-3)
    (8103, 8103, -3)
    """
    if isinstance(value, str):
        return parse_period(value)
    if isinstance(value, bool) or value != int(value):
        raise InputError("this is no period", value=value, rule="a quarter such as 2019Q1, or a whole number")
    return int(value)


def period_sql(column: str) -> str:
    """Return SQL that reads a text column as periods; NULL where it holds none."""
    quarter = f"CAST(substr({column}, 1, 4) AS INTEGER) * 4 + CAST(right({column}, 1) AS INTEGER) - 1"
    return f"CASE WHEN regexp_full_match({column}, '{LABEL}') THEN {quarter} ELSE TRY_CAST({column} AS INTEGER) END"
