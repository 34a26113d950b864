"""The largest contributions of single units to a sum, needed to check dominance rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retrain_eval.common.arrays import Floats

N_LARGEST = 5  # contributions kept, the largest n of an (n, k) rule


def largest_sql(contribution: str) -> str:
    """Return SQL for a list of the largest contributions, descending."""
    return f"max({contribution}, {N_LARGEST})"


def padded(contributions: Sequence[float]) -> list[float]:
    """Return the first `N_LARGEST` contributions, zeros where there are fewer.

    Examples
    --------
    >>> padded([7.0, 2.0])
    [7.0, 2.0, 0.0, 0.0, 0.0]
    """
    first = list(contributions[:N_LARGEST])
    return [*first, *[0.0] * (N_LARGEST - len(first))]


def largest_of(*contributions: Floats) -> Floats:
    """Return the largest of several arrays of contributions, along their last axis, descending.

    Examples
    --------
    >>> largest_of(np.array([5.0, 1, 0, 0, 0]), np.array([4.0, 3, 2, 0, 0])).tolist()
    [5.0, 4.0, 3.0, 2.0, 1.0]
    """
    descending: Floats = -np.sort(-np.concatenate(contributions, axis=-1), axis=-1)[..., :N_LARGEST]
    return descending
