"""Co-occurrence of cells in clusters: products of cells, totals by cluster, or both.

Clustered variances need ``M = Σ_j t_j t_jᵀ``, ``t_j`` being the sums of weights of cluster j by cell. Where clusters
are small, M itself is sparse: the products. Where they are large, M is dense, and the ``t_j``, the totals, are small.
The sum of two tables may hold both: ``M = products + totalsᵀ totals``.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import InputError

MAX_PAIRS = 20_000_000
_BLOCK = 500_000  # clusters at a time, so that memory stays small


def quadratic_form(
    influence: sparse.csr_array, products: sparse.csr_array | None, totals: sparse.csr_array | None
) -> Floats:
    """Return ``influence · M · influenceᵀ``, shape (K, K), for ``influence`` of shape (K, C)."""
    found: Floats = np.zeros((influence.shape[0], influence.shape[0]))
    if products is not None:
        found += (influence @ products @ influence.T).toarray()
    if totals is not None:
        by_cell = influence.T.toarray()
        for start in range(0, totals.shape[0], _BLOCK):
            by_cluster = totals[start : start + _BLOCK] @ by_cell
            found += by_cluster.T @ by_cluster
    return (found + found.T) / 2


def side_by_side(
    first: sparse.csr_array | None,
    second: sparse.csr_array | None,
    columns: tuple[int, int],
    rows: tuple[int, int] = (0, 0),
) -> sparse.csr_array | None:
    """Return the block-diagonal matrix of two samples that share no cluster; None if neither has one.

    ``columns`` and ``rows`` are the shapes of a missing matrix.
    """
    if first is None and second is None:
        return None
    parts = [
        sparse.csr_array((height, width)) if part is None else part
        for part, height, width in zip((first, second), rows, columns, strict=True)
    ]
    return sparse.csr_array(sparse.block_diag(parts, format="csr"))


def products_of(products: sparse.csr_array | None, totals: sparse.csr_array | None) -> sparse.csr_array | None:
    """Return M as a matrix, because a file holds sums over clusters and never a single cluster.

    Raises
    ------
    InputError
        If it would have more than 20 million entries.
    """
    if totals is None:
        return products
    if totals.shape[1] ** 2 > MAX_PAIRS:
        raise InputError(
            f"{totals.shape[1]:,} cells, most of which share a cluster: their products are too many to write",
            column="cluster",
            fix="collapse columns of levels, or measure the duration in a coarser unit",
        )
    own = totals.T @ totals
    return sparse.csr_array(own if products is None else own + products)
