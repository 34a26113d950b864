"""Rows with the keys of their people."""

from __future__ import annotations

import duckdb
import pandas as pd

from retrain_eval.tables.noise.person_keys import ReleaseKey, with_keys

KEY = ReleaseKey(b"thirty-two bytes that nobody saw")


def keyed(rows: pd.DataFrame, person: str = "id", key: ReleaseKey = KEY) -> duckdb.DuckDBPyRelation:
    """Return a frame as a relation with a column of keys."""
    con = duckdb.connect()
    return with_keys(con, con.from_df(rows), person, key)
