"""Add the covariate moments of two disjoint samples: sums add up, and keys modulo 2⁶⁴."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from retrain_eval.common.errors import InputError
from retrain_eval.tables.largest import padded
from retrain_eval.tables.noise.cell_keys import N_SUMS
from retrain_eval.tables.noise.person_keys import PRIME

AFTER, BEFORE = "after", "before"
_SAME = ("column", "binary", "kind")  # facts about a covariate that both must share
_ADD = ("n", "people", "sum_w", "sum_w2", "ones", "ones_w", "noisy_wx", "noisy_wx2", "absolute")
_KEYS = ("key", "ones_key")
_MODULUS = 2**64

Row = Mapping[str, Any]


def add_cells(one: pd.DataFrame, other: pd.DataFrame, withheld: Sequence[str]) -> pd.DataFrame:
    """Return the cells of the union of two disjoint samples.

    Parameters
    ----------
    one, other : DataFrame
        Cells of `retrain_eval.tables.covariates.covariates.CovariateMoments`.
    withheld : sequence of str
        Covariates withheld in either part, which are dropped from the sum.

    Raises
    ------
    InputError
        If the two do not describe the same covariates and arms.
    """
    one, other = (cells[~cells["covariate"].isin(withheld)] for cells in (one, other))
    for names in (
        ["covariate"],
        ["covariate", *(name for name in _SAME if name in one and name in other)],
        ["covariate", "arm"],
    ):
        _refuse_others(one, other, names)
    columns = [name for name in one.columns if name in other.columns]
    theirs = {key: row for key, row in _by_key(other)}
    mine = {key: row for key, row in _by_key(one)}
    keys = list(dict.fromkeys([*mine, *theirs]))
    rows = []
    for covariate, arm, stage in keys:
        # if matching dropped only few people of an arm, the sums after matching represent those before it
        instead = (covariate, arm, AFTER if stage == BEFORE else stage)
        a, b = (found.get((covariate, arm, stage), found.get(instead)) for found in (mine, theirs))
        if a is not None and b is not None:
            rows.append({**_sum(a, b), "stage": stage})
    return pd.DataFrame(rows, columns=columns).astype({"covariate": "str", "column": "str"})


def _refuse_others(one: pd.DataFrame, other: pd.DataFrame, names: list[str]) -> None:
    mine, theirs = ({tuple(map(str, row)) for row in cells[names].itertuples(index=False)} for cells in (one, other))
    if differ := sorted(mine ^ theirs):
        raise InputError(
            f"cannot add covariate moments whose {' and '.join(names)} differ",
            value="; ".join(", ".join(row) for row in differ[:5]),
            fix="build both from the same formula, with the same levels",
        )


def _by_key(cells: pd.DataFrame) -> list[tuple[tuple[str, str, str], Row]]:
    rows: list[Row] = [{str(name): value for name, value in row.items()} for row in cells.to_dict("records")]
    return [((str(row["covariate"]), str(row["arm"]), str(row["stage"])), row) for row in rows]


def _sum(a: Row, b: Row) -> dict[str, Any]:
    """Return the sums of a covariate over the people of both, relative to the reference of the first."""
    shift = float(b["reference"]) - float(a["reference"])
    edges = [float(edge) for edge in a["edges"] if edge in set(map(float, b["edges"]))]
    at = [[list(map(float, row["edges"])).index(edge) for edge in edges] for row in (a, b)]
    found: dict[str, Any] = dict(a)
    found |= {name: a[name] + b[name] for name in _ADD if name in a and name in b}
    found["sum_wx"] = a["sum_wx"] + b["sum_wx"] + shift * b["sum_w"]
    found["sum_wx2"] = a["sum_wx2"] + b["sum_wx2"] + 2 * shift * b["sum_wx"] + shift**2 * b["sum_w"]
    found["edges"] = edges
    found["sum_below"] = _at(a, b, "sum_below", at, np.add)
    if "key" not in a or "key" not in b:
        return found
    found |= {name: np.uint64((int(a[name]) + int(b[name])) % _MODULUS) for name in _KEYS}
    for name in ("sketch", "rows", "ones_rows"):
        found[name] = (np.asarray(a[name], np.int64) + np.asarray(b[name], np.int64)) % PRIME
    found |= {name: max((a, b), key=lambda row: int(row["people"]))[name] for name in ("base", "usual")}
    found["whole"], found["implied"] = a["whole"] and b["whole"], a["implied"] and b["implied"]
    found["people_below"] = _at(a, b, "people_below", at, np.add)
    found["largest"] = padded(sorted([*a["largest"], *b["largest"]], reverse=True))
    below = [[int(row["below_key"][place]) for place in places] for row, places in zip((a, b), at, strict=True)]
    found["below_key"] = np.array([(one + two) % _MODULUS for one, two in zip(*below, strict=True)], np.uint64)
    sketches = [
        np.asarray(row["below_rows"], np.int64).reshape(-1, N_SUMS)[places]
        for row, places in zip((a, b), at, strict=True)
    ]
    found["below_rows"] = ((sketches[0] + sketches[1]) % PRIME).ravel()
    return found


def _at(a: Row, b: Row, name: str, at: Sequence[Sequence[int]], join: Callable[..., Any]) -> list[Any]:
    """Combine two lists at the edges that both have."""
    values = [np.asarray(row[name])[places] for row, places in zip((a, b), at, strict=True)] if at[0] else []
    return list(join(*values).tolist()) if values else []
