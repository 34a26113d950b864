"""People with keys, as arrays and as relations, for tests of what leaves the agency."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pandas as pd

from retrain_eval.plan.study_file import Release
from retrain_eval.tables.noise.cell_keys import key_sums
from retrain_eval.tables.noise.changes import Changes
from retrain_eval.tables.noise.held import HeldKeys
from retrain_eval.tables.noise.person_keys import ReleaseKey, with_keys
from retrain_eval.tables.noise.register import Register

RULES: dict[str, Any] = {"noise_smallest": 0.05, "noise_largest": 0.15, "count_variance": 2.0, "count_gap": 2}


def rules(**more: Any) -> Release:
    """Return the noise of the profile ``default``."""
    return Release(**{**RULES, **more})


def register() -> Register:
    """Return an empty register."""
    return Register(Changes(2.0, 2))


def secret(number: int) -> ReleaseKey:
    """Return the number-th secret."""
    return ReleaseKey(f"secret number {number:06d}".encode())


def keyed(people: pd.DataFrame, number: int = 0, person: str = "id") -> duckdb.DuckDBPyRelation:
    """Return rows with the keys of their people."""
    con = duckdb.connect()
    con.execute("CREATE TABLE people AS SELECT * FROM people")
    return with_keys(con, con.table("people"), person, secret(number))


def held(n: int, number: int = 0) -> HeldKeys:
    """Return the keys of n people."""
    rows = keyed(pd.DataFrame({"id": range(n)}), number).order("id").df()["person_key"]
    return HeldKeys(
        np.array([key["record"] for key in rows], np.uint64),
        np.array([key["factor"] for key in rows]),
        np.array([key["element"] for key in rows], np.int64),
    )


def key_of(keys: HeldKeys, who: Any) -> int:
    """Return the cell key of some people."""
    index = np.asarray(who)
    return int(key_sums(np.zeros(len(index), np.int64), keys.record[index], 1)[0])
