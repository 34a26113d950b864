"""Levels of strata, and the one that is none: the people whose value is missing.

They are shown separately. Whether they are like one another is not known, so they take no part in joint tests,
adjustments for the number of levels, differences between levels, verdicts or headlines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from retrain_eval.common.arrays import Bools

MISSING_LEVEL = "(missing)"
OTHERS = "(other providers)"
# strata whose levels are names in no order, and the level that takes in those of too few people: such a name is never
# joined to that of a neighbour, since the two together would be a number about no one
POOLS: Mapping[str, str] = {"provider": OTHERS}
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


def pooled_levels(people: Mapping[str, int], fewest: int, pool: str) -> dict[str, str]:
    """Return a name for each level: the pool's for those of too few people, which takes in the next if still too small.

    Examples
    --------
    >>> pooled_levels({"A": 40, "B": 4, "C": 30}, 10, "others")
    {'A': 'A', 'B': 'others', 'C': 'others'}
    >>> pooled_levels({"A": 40, "B": 6, "C": 30, "D": 7}, 10, "others")
    {'A': 'A', 'B': 'others', 'C': 'C', 'D': 'others'}
    """
    inside = {name for name, n in people.items() if n < fewest or name == pool}
    left = sorted((name for name in people if name not in inside), key=lambda name: (people[name], name))
    while inside and left and sum(people[name] for name in inside) < fewest:
        inside.add(left.pop(0))
    return {name: pool if name in inside else name for name in people}
