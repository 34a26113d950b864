"""Levels of strata, and the one that is none: the people whose value is missing.

They are shown separately. Whether they are like one another is not known, so they take no part in joint tests,
adjustments for the number of levels, differences between levels, verdicts or headlines.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from retrain_eval.common.arrays import Bools

MISSING_LEVEL = "(missing)"
_BETWEEN = (" × ", " minus ")  # levels of several strata, and a difference of two levels


def is_missing(level: object) -> bool:
    """Whether a level, a combination of levels or a difference between two has a part that is missing.

    Examples
    --------
    >>> [is_missing(level) for level in ("55+", "(missing)", "f × (missing)", "(missing) minus 55+", None)]
    [False, True, True, True, False]
    """
    parts = [str(level)]
    for between in _BETWEEN:
        parts = [piece for part in parts for piece in part.split(between)]
    return MISSING_LEVEL in parts


def missing_terms(names: Iterable[str]) -> Bools:
    """Return whether each term of a model is of people whose level is missing.

    Examples
    --------
    >>> missing_terms(["arm[T.trained]", "sex[T.(missing)]", "arm[T.trained]:sex[T.(missing)]"]).tolist()
    [False, True, True]
    """
    return np.fromiter((f"[T.{MISSING_LEVEL}]" in name or f"[{MISSING_LEVEL}]" in name for name in names), dtype=bool)


def missing(levels: Iterable[object]) -> Bools:
    """Return `is_missing` of each level.

    Examples
    --------
    >>> missing(["55+", "(missing)"]).tolist()
    [False, True]
    """
    return np.fromiter((is_missing(level) for level in levels), dtype=bool)
