"""Redrawn scatter: a Wishart draw around sums of squares, by the key of the people they are of.

From exact second moments a path can be completed, and whether a known path lies in the space that they span says
whether that person is in the cell. A draw with (n / 6)² degrees of freedom moves every entry by about six people's
worth and leaves no space to read; the same people in the same table get the same draw.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from retrain_eval.common.arrays import Floats

SPREAD = 6.0  # people's worth by which entries move


def redrawn(scatter: Floats, people: float, keys: Iterable[int], purpose: str) -> Floats:
    """Return a positive semidefinite draw whose mean is ``scatter``.

    Parameters
    ----------
    scatter : ndarray, shape (K, K)
        Positive semidefinite.
    people : float
        People, or independent clusters, that it is a sum over.
    keys : iterable of int
        Cell keys.
    purpose : str
        What it is the scatter of, so that two outcomes of the same people get different draws.

    Notes
    -----
    Bartlett's decomposition: Anderson (2003), An Introduction to Multivariate Statistical Analysis, section 7.2.

    Examples
    --------
    >>> once, again = (redrawn(np.eye(2), 600, [7], "earnings") for _ in range(2))
    >>> bool((once == again).all()), float(abs(once - np.eye(2)).max()) < 0.06
    (True, True)
    """
    size = len(scatter)
    freedom = max((people / SPREAD) ** 2, size + 1.0)
    text = "|".join([purpose, *(str(int(key)) for key in keys)])
    rng = np.random.Generator(np.random.Philox(key=int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")))
    lower = np.tril(rng.standard_normal((size, size)), -1)
    lower[np.diag_indices(size)] = np.sqrt(rng.chisquare(freedom - np.arange(size)))
    half = _root(scatter) @ lower
    drawn: Floats = half @ half.T / freedom
    return (drawn + drawn.T) / 2


def _root(matrix: Floats) -> Floats:
    """Return a matrix whose product with its transpose is ``matrix``, negative eigenvalues raised to zero."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    found: Floats = vectors * np.sqrt(values.clip(0))
    return found
