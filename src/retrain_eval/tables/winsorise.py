"""Winsorising: amounts far from zero are set to a limit that at least three units share.

If fewer units shared the limit, someone who knows all the others could subtract them and learn the last amount.
"""

from __future__ import annotations

import numpy as np

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import InputError

_SHARING = 3  # smallest number of units that share a limit


def check_quantile(quantile: float) -> None:
    """Refuse a quantile that does not lie above one half and at most at one.

    Raises
    ------
    InputError
    """
    if not 0.5 < quantile <= 1:
        raise InputError("winsorise is a quantile above 0.5, at most 1", column="winsorise", value=quantile)


def limits_sql(column: str, quantile: float) -> tuple[str, str]:
    """Return the values below and above which a column is cut, as SQL aggregates.

    Amounts far from zero are cut on both sides: above the quantile of the positive tail, and below its mirror image,
    the one that the negated column would have. At least three units share a limit, and neither limit lies beyond zero,
    so that if all amounts have the same sign, only the tail away from zero is cut.
    """
    high = f"least(quantile_cont({column}, {quantile!r}), list_min(max({column}, {_SHARING})))"
    low = f"greatest(-quantile_cont(-{column}, {quantile!r}), list_max(min({column}, {_SHARING})))"
    return f"least({low}, 0.0)", f"greatest({high}, 0.0)"


def clipped_sql(column: str, low: str, high: str) -> str:
    """Return SQL for a column with the values beyond two limits set to them.

    Examples
    --------
    >>> clipped_sql("y", "0.0", "9.5")
    'least(greatest(y, 0.0), 9.5)'
    """
    return f"least(greatest({column}, {low}), {high})"


def limits(x: Floats, quantile: float) -> tuple[float, float]:
    """Return the values below and above which an array is cut; see `limits_sql`.

    Examples
    --------
    >>> limits(np.array([1.0, 2, 3, 4, 1e6]), 0.99), limits(-np.array([1.0, 2, 3, 4, 1e6]), 0.99)
    ((0.0, 3.0), (-3.0, 0.0))
    """
    at = min(_SHARING, len(x)) - 1
    high, low = (min(float(np.quantile(y, quantile)), float(-np.partition(-y, at)[at])) for y in (x, -x))
    return min(0.0, -low), max(0.0, high)
