"""Compare a published table with the re-derived one."""

from __future__ import annotations

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Bools, Floats

_NOISE = 1e-12  # share of the largest comparable number below which a difference is floating-point error
_P_NOISE = 100.0  # the error of a p-value is this many times larger, because it comes from the tail of a distribution


def compare(published: pd.DataFrame, derived: pd.DataFrame, digits: int, *, by_row: bool = False) -> list[str]:
    """Return the fields that differ; ``by_row`` if numbers on one scale are in a row, not in a column."""
    found, beside = [], None
    if by_row:
        numbers = derived.select_dtypes("number").abs().replace(np.inf, np.nan).max(axis=1)
        beside = numbers.to_numpy(dtype=float, na_value=0.0)
    for column in published.columns:
        old, new = published[column].reset_index(drop=True), derived[column].reset_index(drop=True)
        if pd.api.types.is_numeric_dtype(old) and pd.api.types.is_numeric_dtype(new):
            a, b = (values.to_numpy(dtype=float, na_value=np.nan) for values in (old, new))
            # a p-value may be much smaller than others and still have all its digits
            same = agree(a, b, digits, _P_NOISE * np.abs(b) if column.startswith("p_") else beside)
        else:
            same = (old.astype("str").fillna("") == new.astype("str").fillna("")).to_numpy(dtype=bool)
        for row in np.flatnonzero(~same):
            found.append(f"row {row + 1}, {column}: published {old[row]}, re-derived {new[row]}")
    return found


def agree(published: Floats, derived: Floats, digits: int, beside: Floats | None = None) -> Bools:
    """Return whether each published number is the derived one, rounded to ``digits`` significant digits.

    Floating-point error is allowed as a share of ``beside``, by default the largest of all the numbers.

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
