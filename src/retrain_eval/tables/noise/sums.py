"""Sums of keys in SQL, over rows that have the keys of their people."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Ints
from retrain_eval.tables.noise.cell_keys import N_SUMS, UNIT
from retrain_eval.tables.noise.person_keys import PERSON_KEY, PRIME

_MODULUS = 2**64


def key_sum_sql(condition: str = "true") -> str:
    """Return SQL of the cell key of the people for whom a condition holds, a UBIGINT; one row per person.

    Examples
    --------
    >>> import duckdb
    >>> people = "(VALUES ({'record': 18446744073709551615::UBIGINT}), ({'record': 3::UBIGINT})) AS t(person_key)"
    >>> duckdb.sql(f"SELECT {key_sum_sql()} FROM {people}").fetchall()
    [(2,)]
    """
    total = f"sum(CAST({PERSON_KEY}.record AS HUGEINT)) FILTER ({condition})"
    return f"CAST(coalesce({total}, 0) % {_MODULUS} AS UBIGINT)"


def powers_sql(rows: str) -> str:
    """Return SQL of rows with keys and the powers 1 to 20 of their elements, which `sketch_sql` sums.

    Parameters
    ----------
    rows : str
        What a FROM clause may name.
    """
    sql, known = f"(SELECT *, CAST({PERSON_KEY}.element AS BIGINT) AS power_1 FROM {rows})", 1
    while known < N_SUMS:  # in few steps, each of which DuckDB plans once
        steps = range(known + 1, min(2 * known, N_SUMS) + 1)
        powers = ", ".join(f"power_{k // 2} * power_{k - k // 2} % {PRIME} AS power_{k}" for k in steps)
        sql, known = f"(SELECT *, {powers} FROM {sql})", steps[-1]
    return sql


def power_sums_sql(condition: str = "true") -> list[str]:
    """Return SQL of the 20 sums of a cell's sketch, before they are taken modulo the prime, over `powers_sql`."""
    where = "" if condition == "true" else f" FILTER ({condition})"
    return [f"coalesce(sum(power_{k + 1}){where}, 0)" for k in range(N_SUMS)]


def sketch_sql(condition: str = "true") -> str:
    """Return SQL of the sketch of the people for whom a condition holds, a list of 20 BIGINT, over `powers_sql`.

    Examples
    --------
    >>> import duckdb
    >>> people = "(VALUES ({'element': 3}), ({'element': 5})) AS t(person_key)"
    >>> [(sketch,)] = duckdb.sql(f"SELECT {sketch_sql()} FROM {powers_sql(people)}").fetchall()
    >>> [term // UNIT for term in sketch[:3]], len(sketch)
    ([8, 34, 152], 20)
    """
    terms = [f"CAST({total} % {PRIME} * {UNIT} % {PRIME} AS BIGINT)" for total in power_sums_sql(condition)]
    return f"[{', '.join(terms)}]"


def sketches_of(column: pd.Series[Any]) -> Ints:
    """Return the sketches in a column that `sketch_sql` made, shape (M, 20)."""
    return np.array([list(row) for row in column], dtype=np.int64).reshape(len(column), N_SUMS)
