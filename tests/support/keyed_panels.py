"""Panels whose rows have the keys of their people, and plain sums of them."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd

from retrain_eval.plan.study_file import Release
from retrain_eval.tables.noise.person_keys import ReleaseKey, with_keys

SECRET = b"0123456789abcdef0123456789abcdef"
RULES = Release(
    noise_smallest=0.05, noise_largest=0.15, count_variance=2.0, count_gap=2, dominance_share=0.85, p_percent=10.0
)


def panel(n: int = 600, periods: int = 6, *, seed: int = 0, out: float = 0.2) -> pd.DataFrame:
    """Return pay, whether it is above 500, a score of four values, and strata by person and period."""
    rng = np.random.default_rng(seed)
    person, time = np.repeat(np.arange(n), periods), np.tile(np.arange(periods), n)
    level = np.exp(rng.normal(9, 0.4, n))[person]
    pay = np.round(level * np.exp(rng.normal(0, 0.1, n * periods)), 2) * (rng.random(n * periods) >= out)
    return pd.DataFrame(
        {
            "person": np.char.add("é", person.astype(str)),
            "time": time,
            "cohort": np.where(person % 3 == 0, 3, 0),
            "pay": pay,
            "employed": (pay > 0).astype(int),
            "score": rng.integers(0, 4, n * periods) / 4,
            "band": np.where(person % 5 < 2, "young", "old"),
            "weight": 1 + (person % 7) / 4,
            "pair": person // 2,
        }
    )


def keyed(
    frame: pd.DataFrame, secret: bytes = SECRET, con: duckdb.DuckDBPyConnection | None = None
) -> duckdb.DuckDBPyRelation:
    """Return the panel with the keys of its people."""
    con = con or duckdb.connect()
    con.register("panel_of_people", frame)
    con.execute("CREATE OR REPLACE TABLE panel_rows AS FROM panel_of_people")
    return with_keys(con, con.table("panel_rows"), "person", ReleaseKey(secret))


def factors(rows: duckdb.DuckDBPyRelation) -> pd.Series[float]:
    """Return the factor of each person."""
    found = rows.aggregate("person, any_value(person_key.factor) AS factor").df()
    return found.set_index("person")["factor"]
