r"""Redrawn scatter: a draw around sums of squares, by the key of the people they are of.

From exact second moments a path can be completed, and whether a known path lies in the space that they span says
whether that person is in the cell. A Wishart draw with (n / 6)² degrees of freedom moves every entry in proportion to
it, as six people of n do, and leaves no space to read; the same people in the same table get the same draw.

Of amounts that is enough. Of counts it is not: k people of n who have a property scatter by k (1 − k/n), of which a
share is less than one person if k is small, so that k follows exactly. Entries of counts therefore also move by
absolute amounts, of about `WORTH` people's worth (`_absolute`), and what is then not positive semidefinite is projected
on the nearest matrix that is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy import special

from retrain_eval.common.arrays import Floats
from retrain_eval.tables.noise.cell_keys import Keys
from retrain_eval.tables.noise.changes import mixed, uniform

SPREAD = 6.0  # people's worth by which entries move in proportion
WORTH = 2.0  # people's worth by which entries of counts move whatever they are, in each of two ways


def redrawn(
    scatter: Floats,
    people: float,
    keys: Iterable[int],
    purpose: str,
    unit: npt.ArrayLike | None = None,
    rows: Keys | None = None,
) -> Floats:
    """Return a positive semidefinite draw about ``scatter``.

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
    unit : ndarray, shape (K,), optional
        Of counts, what one person adds to each coordinate at most. None: of amounts, whose entries move in proportion.
    rows : uint64 ndarray, shape (K,), optional
        Of counts, the cell keys of the people counted in each coordinate: the same two sets of people move their entry
        in the same way in every table.

    Notes
    -----
    Bartlett's decomposition: Anderson (2003), An Introduction to Multivariate Statistical Analysis, section 7.2. The
    mean of the draw is ``scatter`` before the projection, which raises the variances of what hardly varies.

    Examples
    --------
    >>> once, again = (redrawn(np.eye(2), 600, [7], "earnings") for _ in range(2))
    >>> bool((once == again).all()), float(abs(once - np.eye(2)).max()) < 0.06
    (True, True)

    Three people of 600 with a property, and 240 with another, move by people; 3 alone would by .04:

    >>> counts = redrawn(np.diag([3.0, 144.0]), 600, [7], "employed", np.ones(2))
    >>> bool(abs(counts[0, 0] - 3.0) > 0.5), bool(abs(counts[1, 1] / 144 - 1) < 0.1)
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
    drawn = (drawn + drawn.T) / 2
    if unit is None or not size:
        return drawn
    drawn = drawn + _absolute(scatter, np.asarray(unit, np.float64), rows, rng)
    half = _root(drawn)
    drawn = half @ half.T
    return (drawn + drawn.T) / 2


def _absolute(scatter: Floats, unit: Floats, rows: Keys | None, rng: np.random.Generator) -> Floats:
    """Return a symmetric matrix with mean 0 that moves entries by people's worth, whatever the entries are.

    It is the sum of two. In one every pair of coordinates moves by itself, so that no difference of two sets can be
    read. In the other coordinates move together as they are correlated, so that no mean over periods in which nearly
    the same people have the property can be read. Each has variance `WORTH`² of diagonal entries, in units squared.
    """
    size = len(scatter)
    alone = _symmetric(rng.standard_normal((size, size)) if rows is None else _normal_of_pairs(rows))
    spread = np.sqrt(np.diag(scatter).clip(0))
    scale = np.divide(1.0, spread, out=np.zeros(size), where=spread > 0)
    correlation = scatter * np.outer(scale, scale)
    correlation[np.diag_indices(size)] = 1.0
    root = _root(correlation)
    together = root @ _symmetric(rng.standard_normal((size, size))) @ root.T
    return WORTH * np.outer(unit, unit) * (alone + together)


def _symmetric(normal: Floats) -> Floats:
    """Return a symmetric matrix with standard normal diagonal and off-diagonal entries of variance one half."""
    found = np.tril(normal, -1) / np.sqrt(2)
    return np.asarray(found + found.T + np.diag(np.diag(normal)))


def _normal_of_pairs(rows: Keys) -> Floats:
    """Return a standard normal number for each pair of keys, the same in either order."""
    of = mixed(rows)
    with np.errstate(over="ignore"):
        pair = of[:, None] + of[None, :]
    return np.asarray(special.ndtri(uniform(mixed(pair))), dtype=np.float64)


def _root(matrix: Floats) -> Floats:
    """Return a matrix whose product with its transpose is ``matrix``, negative eigenvalues raised to zero."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    found: Floats = vectors * np.sqrt(values.clip(0))
    return found
