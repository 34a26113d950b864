"""Sums of weights as they may be published: scaled to the published count, their spread redrawn.

Weights of controls are whole numbers of uses times a ratio of two counts. To all their digits, sums of them would
give these counts (rational reconstruction), so no sum of weights is published that has more than the count's digits.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.tables.noise.mean_weights import loosened
from retrain_eval.tables.noise.scatter import redrawn


def published_weights(
    total: float, squares: float, people: int, published: int, keys: Iterable[int], *, whole: bool
) -> tuple[float, float]:
    """Return Σw and Σw² of a set of people whose published count differs from the true one.

    Parameters
    ----------
    total, squares : float
        Σw and Σw².
    people, published : int
        How many people there are, and the count that is published.
    keys : iterable of int
        What identifies the set: the same people with the same weights get the same sums.
    whole : bool
        Whether they are all people of an arm, whose mean weight may be 1 by definition.

    Returns
    -------
    float, float
        Σw·ñ/n, moved by up to half a person's weight unless all weights are 1, or those of an arm on average; and Σw²
        whose part beyond (Σw)²/n is redrawn, so that Kish's effective number is at most ñ, and ñ if all weights are
        equal.

    Examples
    --------
    >>> published_weights(20.0, 20.0, 20, 22, [7], whole=False)
    (22.0, 22.0)
    """
    spread = max(squares - total**2 / people, 0.0)
    if spread < 1e-9 * squares:
        spread = 0.0  # rounding
    keys = list(keys)
    mean = np.array([total / people])
    kept = np.isclose(mean, 1.0, rtol=1e-12) & (whole or spread == 0.0)
    [each] = loosened(mean, np.array([people]), [sum(map(int, keys))], "weights", kept).tolist()
    scaled = each * published
    drawn = float(redrawn(np.array([[spread]]), people, keys, "weights")[0, 0]) if spread else 0.0
    return scaled, scaled**2 / published + drawn * published / people


def weighted_counts(published: Floats | Ints, exact: Ints, weight: Floats, people: int, total: float) -> Floats:
    """Return published counts of parts as weighted people: moved by whole people for weights that are not the mean.

    Parameters
    ----------
    published, exact : ndarray, shape (K,)
        The published and the exact counts of K parts.
    weight : ndarray, shape (K,)
        Σw of each part.
    people, total : int, float
        Exact count and Σw of the whole.

    Examples
    --------
    >>> weighted_counts(np.array([21, 39]), np.array([20, 40]), np.array([25.0, 35.0]), 60, 60.0).tolist()
    [26.0, 34.0]
    """
    return np.asarray(published + np.rint(weight * people / total - exact), dtype=np.float64)
