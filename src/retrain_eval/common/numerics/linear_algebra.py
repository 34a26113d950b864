"""Which columns of a design are independent, an orthonormal basis of what they span, and inverses.

Each function has a tolerance, below which a direction is only rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import linalg

from retrain_eval.common.arrays import Floats

_SQUARE = 1e-11  # share of a column's square that the others leave unexplained


def independent_columns(x: Floats, tolerance: float = 1e-9) -> tuple[list[int], Floats]:
    """Return the columns that earlier columns do not determine, and an orthonormal basis of what they span.

    Parameters
    ----------
    x : ndarray, shape (n, p)
        Columns, or the triangle of their QR factors.
    tolerance : float
        Share of a column's length that earlier columns must leave unexplained.

    Examples
    --------
    >>> independent_columns(np.array([[1.0, 2, 0], [1, 2, 0], [1, 2, 3]]))[0]
    [0, 2]
    """
    independent: list[int] = []
    basis = np.zeros((len(x), 0))
    for j, column in enumerate(x.T):
        length = float(np.linalg.norm(column))
        rest = column / length if length > 0 else column
        for _ in range(2):  # Gram-Schmidt: twice is enough
            rest = rest - basis @ (basis.T @ rest)
        norm = float(np.linalg.norm(rest))
        if norm > tolerance:
            independent.append(j)
            basis = np.column_stack([basis, rest / norm])
    return independent, basis


def dependent_columns(gram: Floats, names: Sequence[str], tolerance: float = 1e-10) -> list[tuple[str, list[str]]]:
    """Return each column that is a linear combination of those before it, with the columns it is a combination of.

    Parameters
    ----------
    gram : ndarray, shape (p, p)
        Cross products of the columns, or their information.
    names : sequence of str
        Of the columns.
    tolerance : float
        Share of a column's square that earlier columns must leave unexplained.

    Examples
    --------
    >>> x = np.array([[1.0, 0, 1], [0, 1, 1], [1, 1, 2], [0, 0, 0]])
    >>> dependent_columns(x.T @ x, ["a", "b", "c"])
    [('c', ['a', 'b'])]
    """
    scale = np.sqrt(np.clip(np.diag(gram), 0, None))
    independent: list[int] = []
    dependent: list[tuple[str, list[str]]] = []
    for column in range(len(gram)):
        if not scale[column] > 0:
            dependent.append((names[column], []))
            continue
        inner = gram[np.ix_(independent, independent)] / np.outer(scale[independent], scale[independent])
        along = gram[independent, column] / (scale[independent] * scale[column])
        weight = np.linalg.solve(inner, along) if independent else np.zeros(0)
        if 1 - along @ weight < tolerance:
            parts = [names[independent[i]] for i in np.flatnonzero(np.abs(weight) > tolerance**0.5)]
            dependent.append((names[column], parts))
        else:
            independent.append(column)
    return dependent


def principal_axes(matrix: Floats, tolerance: float) -> tuple[Floats, Floats]:
    """Return the eigenvalues of a covariance that exceed a share of the largest, and their eigenvectors in columns."""
    values, vectors = np.linalg.eigh(matrix)
    significant = values > tolerance * values.max(initial=0.0)
    return values[significant], vectors[:, significant]


def basis_of(gram: Floats, tolerance: float = _SQUARE) -> Floats:
    """Return B, shape (q, r), whose columns span those of x with ``Bᵀ gram B = I``; aliased columns drop out.

    Examples
    --------
    >>> x = np.array([[1.0, 0, 1], [0, 2, 2], [1, 0, 1]])
    >>> basis = basis_of(x.T @ x)
    >>> basis.shape, np.allclose(basis.T @ x.T @ x @ basis, np.eye(2))
    ((3, 2), True)
    """
    length = np.sqrt(np.diag(gram))
    present = length > 0
    scale = np.where(present, 1 / np.where(present, length, 1.0), 0.0)
    values, vectors = principal_axes(gram * np.outer(scale, scale), tolerance)
    basis: Floats = scale[:, None] * vectors / np.sqrt(values)
    return basis


def inverse_within(gram: Floats, basis: Floats, tolerance: float = _SQUARE) -> Floats | None:
    """Return the inverse of a Gram matrix within the span of the columns of ``basis``; None if it is singular there."""
    inner = basis.T @ gram @ basis
    values, vectors = principal_axes((inner + inner.T) / 2, tolerance)
    if not len(values) or len(values) < len(inner):
        return None
    root = basis @ vectors
    inverted: Floats = (root / values) @ root.T
    return inverted


def inverse_of_products(products: Floats, tolerance: float = _SQUARE) -> Floats:
    """Return the generalised inverse of sums of squares and products: aliased columns are left out.

    Examples
    --------
    >>> inverse_of_products(np.array([[4.0, 0.0], [0.0, 25.0]])).tolist()
    [[0.25, 0.0], [0.0, 0.04]]
    """
    root = np.sqrt(products.diagonal())
    values, vectors = principal_axes(products / np.outer(root, root), tolerance)
    inverted: Floats = (vectors / values) @ vectors.T / np.outer(root, root)
    return inverted


def inverse_and_rank(covariance: Floats, tolerance: float | None = None) -> tuple[Floats, int]:
    """Return the generalised inverse of a covariance, and its rank.

    Parameters
    ----------
    covariance : ndarray, shape (k, k)
    tolerance : float, optional
        Share of the largest variance of a direction below which one is rounding, for both: the inverse does not magnify
        a direction that the rank does not count. None: NumPy's defaults, which differ: k·ε for the rank, 1e-15 for the
        inverse.

    Examples
    --------
    >>> inverse, rank = inverse_and_rank(np.array([[2.0, -2.0], [-2.0, 2.0]]), 1e-10)
    >>> inverse.round(3).tolist(), rank
    ([[0.125, -0.125], [-0.125, 0.125]], 1)
    """
    if not len(covariance):
        return covariance, 0
    rank = int(np.linalg.matrix_rank(covariance, rtol=tolerance, hermitian=True))
    return np.asarray(np.linalg.pinv(covariance, rcond=tolerance, hermitian=True), dtype=np.float64), rank


def solve(information: Floats, score: Floats) -> Floats:
    """Return ``information⁻¹ score``, the shortest solution where the information is flat in some direction.

    Examples
    --------
    >>> solve(np.array([[4.0, 0.0], [0.0, 2.0]]), np.array([4.0, 6.0])).round(6).tolist()
    [1.0, 3.0]
    """
    try:
        solution: Floats = linalg.cho_solve(linalg.cho_factor(information), score)
    except linalg.LinAlgError:  # as where a coefficient grows without bound
        solution = np.asarray(np.linalg.lstsq(information, score, rcond=None)[0], dtype=float)
    return solution
