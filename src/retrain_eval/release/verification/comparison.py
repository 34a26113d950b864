"""Whether two tables hold the same numbers: one as it was published, one as it was made again."""

from __future__ import annotations

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Bools, Floats

_NOISE = 1e-12  # share of the largest number beside it below which a difference is rounding of the machine
_P_NOISE = 100.0  # how many times more of a p-value is lost: it is far out on a curve


def compare(published: pd.DataFrame, derived: pd.DataFrame, digits: int, *, by_row: bool = False) -> list[str]:
    """Name the fields that differ; ``by_row`` where numbers of one unit stand in a row, and not in a column."""
    found, beside = [], None
    if by_row:
        numbers = derived.select_dtypes("number").abs().replace(np.inf, np.nan).max(axis=1)
        beside = numbers.to_numpy(dtype=float, na_value=0.0)
    for column in published.columns:
        old, new = published[column].reset_index(drop=True), derived[column].reset_index(drop=True)
        if pd.api.types.is_numeric_dtype(old) and pd.api.types.is_numeric_dtype(new):
            a, b = (values.to_numpy(dtype=float, na_value=np.nan) for values in (old, new))
            # a p-value may be small beside others and still have all its digits
            same = agree(a, b, digits, _P_NOISE * np.abs(b) if column.startswith("p_") else beside)
        else:
            same = (old.astype("str").fillna("") == new.astype("str").fillna("")).to_numpy(dtype=bool)
        for row in np.flatnonzero(~same):
            found.append(f"row {row + 1}, {column}: published {old[row]}, re-derived {new[row]}")
    return found


def agree(published: Floats, derived: Floats, digits: int, beside: Floats | None = None) -> Bools:
    """Whether each published number is the derived one, rounded to so many significant digits.

    What is lost to the machine is a share of the largest number ``beside`` it: by default, of all of them.

    Examples
    --------
    >>> agree(np.array([1.234, 1.235, np.nan]), np.array([1.23449, 1.23449, np.nan]), 4).tolist()
    [True, False, True]
    """
    size = np.abs(derived)
    with np.errstate(divide="ignore", invalid="ignore"):
        half = np.where(size > 0, 0.5 * 10 ** (np.floor(np.log10(size)) + 1 - digits), 0.0)
        noise = _NOISE * (np.nanmax(np.append(size[np.isfinite(size)], 0.0)) if beside is None else beside)
        close = np.abs(published - derived) <= half * (1 + 1e-6) + noise
    same: Bools = close | (published == derived) | (np.isnan(published) & np.isnan(derived))
    return same
