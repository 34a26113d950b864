"""Mean weights that do not tell how many people they are the mean of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from retrain_eval.common.arrays import AnyInts, Bools, Floats, Ints

VARIANCE = 1 / 12  # of the shift, in weights of one person


def loosened(mean: Floats, n: Ints, keys: Iterable[int], purpose: str, kept: Bools | None = None) -> Floats:
    """Return mean weights moved by up to half the weight of one person, by the keys of the people.

    Weights from matching are fractions such as 1/2 or 3/2, so that mean × n is a multiple of one half for the true n
    only. The shift is uniform over the weight of one person.

    Parameters
    ----------
    mean : ndarray, shape (C,)
        Mean weights, or mean squares of weights.
    n : int ndarray, shape (C,)
        Exact numbers of people.
    keys : iterable of int
        Cell keys.
    purpose : str
        What they are the means of, so that two means of the same people move apart.
    kept : bool ndarray, shape (C,), optional
        Means that are kept as they are, because they tell nothing: of people who all have the weight 1, as the treated,
        or of all controls, whose mean weight is 1 by definition. Other means of exactly 1 are moved: of weights k · a/b
        they would tell that n is a multiple of b.

    Examples
    --------
    >>> mean = loosened(np.array([1.0, 0.75]), np.array([10, 10]), [7, 8], "weights", np.array([True, False]))
    >>> float(mean[0]), bool(0.7125 <= mean[1] <= 0.7875), bool(mean[1] != 0.75)
    (1.0, True, True)
    """
    digests = [hashlib.sha256(f"{purpose}|{int(key)}".encode()).digest()[:8] for key in keys]
    uniform = np.array([int.from_bytes(digest, "big") for digest in digests], dtype=np.float64) / 2.0**64
    moved: Floats = mean * (1 + (uniform - 0.5) / np.maximum(n, 1))
    return moved if kept is None else np.where(kept, mean, moved)


def all_ones(means: Floats, group: AnyInts) -> Bools:
    """Return the cells of groups, such as arms, in which the mean weight of every cell is 1, or unknown (NaN).

    Examples
    --------
    >>> all_ones(np.array([1.0, 1.0, 1.0, 0.9]), np.array([0, 0, 1, 1])).tolist()
    [True, True, False, False]
    """
    other = np.bincount(group, ~(np.isclose(means, 1.0, rtol=1e-12) | np.isnan(means)))
    return np.asarray(other[group] == 0)
