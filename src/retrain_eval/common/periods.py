"""Periods as people write them and as they are stored: one whole number per period, consecutive periods one apart.

=====================  ======================  ===========================
frequency              a file may write        stored as
=====================  ======================  ===========================
``year``               ``2019``                the year
``quarter``            ``2019Q1, 2019-Q1``     ``year*4 + (quarter-1)``
``month``              ``2019-03, 2019M03,     ``year*12 + (month-1)``
                       201903``
``week``               ``1`` to ``99999``      that number
``two-week interval``  ``1`` to ``99999``      that number
=====================  ======================  ===========================

Each may also be written as it is stored. Weeks and two-week intervals are numbered one after the other from wherever
the source begins. A week written ``201903`` is refused: from 201952 to 202001 the number jumps, and whatever is counted
in periods (tenure, spells, event time) would be wrong.
"""

from __future__ import annotations

import re
from typing import Final

from retrain_eval.common.errors import InputError, unknown

YEARS: Final = (1900, 2100)
PER_YEAR: Final = {"year": 1, "quarter": 4, "month": 12}  # what a calendar year has, where periods are of a calendar
_YEAR = r"(19\d\d|20\d\d|2100)"
LABELS: Final = {"quarter": rf"{_YEAR}-?Q[1-4]", "month": rf"{_YEAR}(-|-?M)?(0[1-9]|1[0-2])"}
FREQUENCIES: Final = ("year", "quarter", "month", "week", "two-week interval")
BOUNDS: Final = {name: (YEARS[0] * n, YEARS[1] * n + n - 1) for name, n in PER_YEAR.items()} | {
    "week": (1, 99_999),
    "two-week interval": (1, 99_999),
}
PLAIN: Final = "week"  # where nothing is known of the frequency, a number is within the bounds of plain ones
RULES: Final = {
    "year": "a year such as 2019",
    "quarter": "a quarter such as 2019Q1, or year*4 + (quarter-1)",
    "month": "a month such as 2019-03, 2019M03 or 201903, or year*12 + (month-1)",
    "week": "the number of a week, 1 to 99999, counted one after the other (not 201903)",
    "two-week interval": "the number of a two-week interval, 1 to 99999, counted one after the other",
}
_A_YEAR = {"month": 12, "week": 52, "two-week interval": 26}
_ELSE = 4  # quarters of a year; of years, four
ANY: Final = "a year, a quarter such as 2019Q1, a month such as 2019-03, or a whole number"


def rule(frequency: str | None) -> str:
    """Return how periods of a frequency are written, for messages and the data dictionary."""
    return RULES.get(frequency or "", ANY)


def check_frequency(frequency: str | None) -> None:
    """Raise ``InputError``, which lists the choices, for a frequency that does not exist; None is any.

    Examples
    --------
    >>> check_frequency("weekly")
    Traceback (most recent call last):
    ...
    retrain_eval.common.errors.InputError: unknown frequency 'weekly'
      fix:    did you mean 'week'? known: year, quarter, month, week, two-week interval
    """
    if frequency is not None and frequency not in FREQUENCIES:
        raise unknown("frequency", frequency, FREQUENCIES)


def parse_period(value: int | str, frequency: str | None = None) -> int:
    """Return a period as it is stored.

    Parameters
    ----------
    value : int or str
        A stored period, a quarter written ``2019Q1``, or a month written ``2019-03``, ``2019M03`` or ``201903``.
    frequency : str, optional
        What the period has to be. By default any: what looks like a quarter or a month is one, and any other whole
        number is a period as it is stored.

    Raises
    ------
    InputError
        If it is none, or none of this frequency.

    Examples
    --------
    >>> parse_period("2019Q1"), parse_period("2019-Q4"), parse_period(8076), parse_period("1978")
    (8076, 8079, 8076, 1978)
    >>> parse_period("2019-03"), parse_period("2019M03"), parse_period(201903), parse_period(24230, "month")
    (24230, 24230, 24230, 24230)
    >>> parse_period(201903, "week")
    Traceback (most recent call last):
    ...
    retrain_eval.common.errors.InputError: this is not a period
      value:  201903
      rule:   the number of a week, 1 to 99999, counted one after the other (not 201903)
    """
    check_frequency(frequency)
    text = str(value).strip()
    found: int | None = None
    if not isinstance(value, bool):
        wanted = LABELS if frequency is None else {name: LABELS[name] for name in (frequency,) if name in LABELS}
        for name, pattern in wanted.items():
            if re.fullmatch(pattern, text, re.ASCII):
                last = int(text[-1]) if name == "quarter" else int(text[-2:])
                found = int(text[:4]) * PER_YEAR[name] + last - 1
        if found is None and re.fullmatch(r"\d+", text, re.ASCII):
            found = int(text)
    low, high = BOUNDS[frequency] if frequency is not None else (0, 2**31 - 1)
    if found is None or not low <= found <= high:
        raise InputError("this is not a period", value=value, rule=rule(frequency))
    return found


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
        raise InputError("this is not a period", value=value, rule="a quarter such as 2019Q1, or a whole number")
    return int(value)


def period_label(period: int, frequency: str | None) -> str:
    """Return a stored period as a file would write it.

    Examples
    --------
    >>> period_label(8076, "quarter"), period_label(24230, "month"), period_label(2019, "year"), period_label(7, "week")
    ('2019Q1', '2019-03', '2019', '7')
    """
    if frequency == "quarter":
        return f"{period // 4}Q{period % 4 + 1}"
    if frequency == "month":
        return f"{period // 12}-{period % 12 + 1:02d}"
    return str(period)


def period_sql(column: str, frequency: str | None = None) -> str:
    """Return SQL that reads a text column as periods; NULL where it holds none."""
    year = f"CAST(substr({column}, 1, 4) AS INTEGER)"
    numbers = {
        "quarter": f"{year} * 4 + CAST(right({column}, 1) AS INTEGER) - 1",
        "month": f"{year} * 12 + CAST(right({column}, 2) AS INTEGER) - 1",
    }
    wanted = [name for name in numbers if frequency in (None, name)]
    cases = "".join(f"WHEN {label_sql(column, name)} THEN {numbers[name]} " for name in wanted)
    plain = f"TRY_CAST({column} AS INTEGER)"
    return f"CASE {cases}ELSE {plain} END" if cases else plain


def label_sql(column: str, frequency: str | None = None) -> str:
    """Return the SQL condition that a text is the label of a period: of this frequency, or of any."""
    wanted = [pattern for name, pattern in LABELS.items() if frequency in (None, name)]
    return "(" + (" OR ".join(f"regexp_full_match({column}, '{pattern}')" for pattern in wanted) or "false") + ")"


def date_sql(day: str, frequency: str | None) -> str | None:
    """Return SQL for the period that a date lies in; None where periods are not of a calendar, but numbered.

    Examples
    --------
    >>> date_sql("displaced_on", "month")
    'year(displaced_on) * 12 + month(displaced_on) - 1'
    """
    parts = {"year": "year({0})", "quarter": "year({0}) * 4 + quarter({0}) - 1",
             "month": "year({0}) * 12 + month({0}) - 1"}  # fmt: skip
    return parts[frequency].format(day) if frequency in parts else None


def shown_sql(column: str, frequency: str | None) -> str:
    """Return SQL for a column of stored periods as a file would write them.

    Examples
    --------
    >>> import duckdb
    >>> duckdb.sql(f"SELECT {shown_sql('24230', 'month')}, {shown_sql('8076', 'quarter')}, {shown_sql('7', 'week')}"
    ...     ).fetchall()
    [('2019-03', '2019Q1', '7')]
    """
    plain = f"CAST({column} AS VARCHAR)"
    labels = {
        "quarter": f"({column} // 4) || 'Q' || ({column} % 4 + 1)",
        "month": f"({column} // 12) || '-' || lpad(CAST({column} % 12 + 1 AS VARCHAR), 2, '0')",
    }
    if frequency not in labels:
        return plain
    low, high = BOUNDS[frequency]
    return f"CASE WHEN {column} BETWEEN {low} AND {high} THEN {labels[frequency]} ELSE {plain} END"


def infer_frequency(low: int, high: int) -> str | None:
    """Return the calendar frequency that a span of stored periods can only be of; None where it could be another.

    Years, quarters and months of 1900 to 2100 do not overlap as numbers. A store says what its periods are: this is
    for tables that come without one.

    Examples
    --------
    >>> infer_frequency(8076, 8079), infer_frequency(24230, 24233), infer_frequency(1974, 1978), infer_frequency(1, 52)
    ('quarter', 'month', 'year', None)
    """
    for name in PER_YEAR:
        if BOUNDS[name][0] <= low and high <= BOUNDS[name][1]:
            return name
    return None


def a_year(frequency: str | None) -> int:
    """Return how many periods a year has; four where periods are years, or where nothing is known of them.

    It is the default of what is judged over a year: tenure, stable earnings, recall.

    Examples
    --------
    >>> a_year("month"), a_year("quarter"), a_year("week"), a_year("two-week interval"), a_year("year")
    (12, 4, 52, 26, 4)
    """
    return _A_YEAR.get(frequency or "", _ELSE)
