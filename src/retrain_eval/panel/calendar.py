"""What a period of the records is: a year, a quarter, a month, or a numbered week or two-week interval."""

from __future__ import annotations

import duckdb

from retrain_eval.common.errors import InputError
from retrain_eval.common.periods import date_sql, infer_frequency
from retrain_eval.common.sql import loaded


def frequency_of(con: duckdb.DuckDBPyConnection, periods: str = "wage_record") -> str | None:
    """Return the frequency that the store was loaded with; without one, what the numbers of the periods can only be.

    Parameters
    ----------
    con : DuckDBPyConnection
        Connection of a store, or of tables that look like it.
    periods : str
        Table with the column ``period`` whose numbers are looked at.

    Examples
    --------
    >>> con = duckdb.connect()
    >>> _ = con.execute("CREATE TABLE wage_record AS SELECT 24230 AS period")
    >>> frequency_of(con)
    'month'
    """
    if loaded(con, "settings"):
        stored = con.execute("SELECT value FROM settings WHERE name = 'frequency'").fetchall()
        if stored:
            return str(stored[0][0])
    if not (periods.startswith("temp.") or loaded(con, periods)):
        return None
    low, high = con.execute(f"SELECT min(period), max(period) FROM {periods}").fetchall()[0]
    return None if low is None else infer_frequency(int(low), int(high))


def displacement_sql(frequency: str | None, day: str = "displaced_on") -> str:
    """Return SQL for the period of a day.

    Raises
    ------
    InputError
        If periods are numbered, so that no date says which one it lies in.
    """
    sql = date_sql(day, frequency)
    if sql is None:
        raise InputError(
            "days of displacement cannot be placed among numbered periods",
            column="displaced_on",
            value=frequency,
            rule="a date lies in a year, a quarter or a month; weeks and two-week intervals are numbers without dates",
            fix="use months, or leave displacement out of [records]",
        )
    return sql
