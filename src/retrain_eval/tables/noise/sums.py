"""Sums of keys in SQL, over rows that have the keys of their people."""

from __future__ import annotations

from retrain_eval.tables.noise.person_keys import PERSON_KEY

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
