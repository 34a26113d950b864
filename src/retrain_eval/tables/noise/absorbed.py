r"""The variance of published counts that absorb what the changes of a whole and of its parts differ by.

The register changes the count of a whole and those of its K parts on their own, and then moves the parts, the largest
first, until they add up to the whole. The difference D is a sum of K + 1 independent changes, so that its distribution
is known, and with it that of the amount :math:`a_r(D)` by which the r-th largest part is moved. A change of a part has,
given D, the mean −D / (K + 1), whence

.. math:: \operatorname{Var}(c_r + a_r) = v + E[a_r^2] - 2 E[a_r D] / (K + 1)

and likewise the covariance of two parts.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from retrain_eval.common.arrays import Floats
from retrain_eval.tables.noise.changes import Changes

_LARGE = 10**6  # a count far from js


@cache
def absorbed_variances(changes: Changes, parts: int, absorbing: int, most: int, rounds: int) -> tuple[float, ...]:
    """Return the variances of the published counts of parts that absorb a difference, from the largest part on.

    Parameters
    ----------
    changes : Changes
    parts : int
        K, the number of parts of the whole.
    absorbing : int
        How many of them can be moved: those that are not published yet.
    most, rounds : int
        Each is moved by at most ``most`` in each of so many rounds.

    Returns
    -------
    tuple of float, length ``absorbing``
        Of each part the variance, plus the largest covariance with which it varies against another part, so that
        neither a count nor a difference of two counts varies more than these variances say. None is below v.

    Examples
    --------
    >>> [round(one, 1) for one in absorbed_variances(Changes(2.0, 2), 2, 2, 2, 3)]  # correlated by −1/2
    [3.1, 2.4]
    >>> [round(one, 1) for one in absorbed_variances(Changes(0.0, 0), 3, 3, 2, 3)]
    [0.0, 0.0, 0.0]
    """
    if changes.spread == 0 or absorbing == 0:
        return (0.0,) * absorbing if changes.spread == 0 else ()
    one = _distribution(changes)
    total = np.ones(1)
    for _ in range(parts + 1):
        total = np.convolve(total, one)
    gap = np.arange(len(total)) - (len(total) - 1) // 2
    if changes.base > 1:
        gap = changes.base * np.rint(gap / changes.base).astype(np.int64)
    moved, rest = np.zeros((absorbing, len(gap))), gap.astype(np.float64)
    for _ in range(rounds):
        for rank in range(absorbing):
            step = rest.clip(-most, most)
            moved[rank] += step
            rest -= step
    total = np.where(rest == 0, total, 0.0)  # what cannot be fitted is not published
    total /= total.sum()
    covariance = (moved * total) @ moved.T
    common = (moved * total) @ gap / (parts + 1)
    covariance -= common[:, None] + common
    against = np.where(np.eye(absorbing, dtype=bool), 0.0, covariance).min(axis=1).clip(max=0.0)
    found = np.diag(covariance) + changes.spread - against
    return tuple(np.maximum(found, changes.spread).tolist())


def _distribution(changes: Changes) -> Floats:
    """Return the distribution of the error of a published count, symmetric about 0."""
    found = changes.probabilities(_LARGE) if changes.variance else np.ones(1)
    if changes.base > 1:
        offsets = np.arange(changes.base) - (changes.base - 1) / 2
        size = 2 * int(np.ceil(offsets.max())) + 1
        spread = np.zeros(size)
        for offset in offsets:
            for place in {int(np.floor(offset)), int(np.ceil(offset))}:
                spread[place + size // 2] += 1 / (changes.base * (1 + (offset % 1 > 0)))
        found = np.convolve(found, spread)
    return found
