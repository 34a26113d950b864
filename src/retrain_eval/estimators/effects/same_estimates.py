"""Two tables of effects, made in different ways, that are said to hold the same estimates."""

from __future__ import annotations

import numpy as np
import pandas as pd

from retrain_eval.common.errors import InputError
from retrain_eval.estimators.effects.estimates import COUNTS, KEYS

_CLOSE = 1e-7  # of an estimate, or of its standard error, within which two programs agree


def same_rows(rows: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Return, for each row of a table of effects, the row of another that has its keys.

    Parameters
    ----------
    rows, others : DataFrame
        With the columns ``KEYS``. Keys are those that ``rows`` use at all, but for the estimator, which differs where
        two programs estimate the same; ``others`` may hold more rows.

    Raises
    ------
    InputError
        If a row has none, or several.

    Examples
    --------
    >>> from retrain_eval.estimators.effects.effects import EffectTable
    >>> keys = [{"event_time": e, "estimate": float(e)} for e in (0, 1)]
    >>> table = EffectTable.build([*keys, {"estimate": 0.5}], np.zeros((3, 3))).frame
    >>> same_rows(table.iloc[[1]], table)["estimate"].tolist()
    [1.0]
    """
    keys = [name for name in KEYS if name != "estimator" and rows[name].notna().any()]
    places: dict[tuple[str, ...], list[int]] = {}
    for place, key in enumerate(_keys(others, keys)):
        places.setdefault(key, []).append(place)
    found = []
    for key in _keys(rows, keys):
        here = places.get(key, [])
        if len(here) != 1:
            named = ", ".join(f"{name} {value}" for name, value in zip(keys, key, strict=True) if value)
            raise InputError(f"the table gives {len(here)} rows of {named or 'no keys'}", rule="one for each estimate")
        found.append(here[0])
    return others.iloc[found].reset_index(drop=True)


def _keys(rows: pd.DataFrame, keys: list[str]) -> list[tuple[str, ...]]:
    """Return the keys of each row as texts; a file may hold whole numbers where there were floats."""
    texts = [
        [
            "" if pd.isna(value) else f"{float(value):g}" if name in ("cohort", "time", "event_time") else str(value)
            for value in rows[name]
        ]
        for name in keys
    ]
    return list(zip(*texts, strict=True)) if keys else [()] * len(rows)


def check_same_estimates(result: str, rows: pd.DataFrame, others: pd.DataFrame) -> None:
    """Refuse a table of effects whose estimates and counts are not those of another.

    Parameters
    ----------
    result : str
        Name of the result, for the message.
    rows, others : DataFrame
        As in `same_rows`; estimates agree to 1e-7 of themselves or of their standard errors, counts exactly.

    Raises
    ------
    InputError
        Naming the row, the column and both numbers.
    """
    again = same_rows(rows, others)
    slack = _CLOSE * rows[["estimate", "std_error"]].abs().max(axis=1).fillna(0).to_numpy(dtype=float)
    for name in ("estimate", *COUNTS):
        a, b = (frame[name].astype("Float64").to_numpy(float, na_value=np.nan) for frame in (rows, again))
        apart = ~np.isclose(a, b, rtol=0, atol=slack if name == "estimate" else 0.0, equal_nan=True)
        for row in np.flatnonzero(apart):
            keys = {key: rows[key].iloc[row] for key in KEYS if pd.notna(rows[key].iloc[row])}
            raise InputError(
                f"{result}, row {row + 1} ({', '.join(map(str, keys.values()))}): {name} is {a[row]:.10g}, and "
                f"{b[row]:.10g} by the table that it is said to follow from",
                column=name,
                fix="estimate both from the same people, with the same weights",
            )
