"""Standard errors from few clusters: the cluster jackknife, CV3 (MacKinnon, Nielsen and Webb 2023).

The sandwich takes deviations of clusters from a fit that they pulled towards themselves, and so is too small where they
are few. The jackknife is not: each estimate is made again from the other clusters.
"""

from __future__ import annotations

import numpy as np

from retrain_eval.common.arrays import Bools, Floats

FEW = 50  # clusters behind an estimate; below, its standard error is the jackknife's
REPORTED = 30  # below, results state how many clusters there are


def cv3(estimate: Floats, without: Floats, uses: Bools) -> Floats:
    """Return the cluster jackknife covariance of estimates.

    Parameters
    ----------
    estimate : ndarray, shape (K,)
    without : ndarray, shape (G, K)
        The estimates with each cluster left out; NaN where there is none, as when all treated are in that cluster.
    uses : bool ndarray, shape (G, K)
        Whether an estimate uses people of a cluster.

    Returns
    -------
    ndarray, shape (K, K)
        NaN in the rows and columns of estimates that some cluster cannot be left out of.

    Notes
    -----
    MacKinnon, Nielsen and Webb (2023, eq. 12): (G − 1)/G Σ (θ_(g) − θ)(θ_(g) − θ)'. Each estimate has the G of the
    clusters that it uses. Intervals use Student's t with G − 1 degrees of freedom. Of the mean of G equal clusters, it
    is the square of the usual standard error.

    Examples
    --------
    >>> y = np.array([1.0, 2.0, 6.0])
    >>> without = np.array([[4.0], [3.5], [1.5]])
    >>> cv3(np.array([3.0]), without, np.ones((3, 1), dtype=bool)).item(), y.var(ddof=1).item() / 3
    (2.333333333333333, 2.3333333333333335)
    """
    n = uses.sum(axis=0)
    deviation = np.where(uses, without - estimate, 0.0) * np.sqrt(np.maximum(n - 1, 0) / np.maximum(n, 1))
    out: Floats = deviation.T @ deviation
    return out
