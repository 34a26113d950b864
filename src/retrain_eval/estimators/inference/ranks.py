"""Confidence sets for ranks: which places in a league table are compatible with the data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from threadpoolctl import threadpool_limits

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.numerics.joint import symmetric_root

DRAWS = 2_000
_PART = 250


def ranks_with_sets(
    estimate: Floats, vcov: Floats, df: Floats, *, level: float = 0.95, draws: int = DRAWS, seed: int = 20260101
) -> tuple[Ints, Ints, Ints]:
    """Return the rank of each estimate, the largest being first, and the lowest and highest rank that it may have.

    Parameters
    ----------
    estimate : ndarray, shape (J,)
    vcov : ndarray, shape (J, J)
        Covariance of the estimates, with positive variances.
    df : ndarray, shape (J,)
        Degrees of freedom of each variance; infinite for a known one.
    level : float
        Probability that the sets contain all true ranks at once.
    draws, seed : int

    Notes
    -----
    Simultaneous sets of Mogstad, Romano, Shaikh and Wilhelm (2024), in one step: all differences of two
    effects get simultaneous intervals, and the rank of an effect lies between one more than the number of those surely
    larger, and J less the number of those surely smaller. The critical value is the quantile of the largest
    standardised difference, drawn from the covariance, with variances that are estimated where ``df`` is finite.

    Examples
    --------
    >>> rank, low, high = ranks_with_sets(np.array([0.0, 9.0, 1.0]), np.eye(3), np.full(3, np.inf))
    >>> rank.tolist(), low.tolist(), high.tolist()
    ([3, 1, 2], [2, 1, 2], [3, 1, 3])
    """
    larger, smaller = _surely(estimate, vcov, df, level=level, draws=draws, seed=seed)
    rank = 1 + (estimate[None, :] > estimate[:, None]).sum(axis=1)
    return rank.astype(np.int64), 1 + larger, len(estimate) - smaller


def _surely(estimate: Floats, vcov: Floats, df: Floats, *, level: float, draws: int, seed: int) -> tuple[Ints, Ints]:
    """Return how many effects are surely larger than each, and surely smaller."""
    error = np.sqrt(np.diag(vcov))
    correlation = vcov / np.outer(error, error)
    largest = np.concatenate([_largest(*part) for part in _drawn(vcov, df, draws, seed)])
    critical = float(np.quantile(largest, level))
    larger, smaller = np.zeros(len(estimate), np.int64), np.zeros(len(estimate), np.int64)
    for one in range(len(estimate)):
        width = critical * np.sqrt(_variances(error[one], error, correlation[one]))
        larger[one] = (estimate - estimate[one] > width).sum()
        smaller[one] = (estimate[one] - estimate > width).sum()
    return larger, smaller


def _variances(one: Floats, others: Floats, correlation: Floats) -> Floats:
    """Return the variances of differences, from standard errors and correlations."""
    out: Floats = np.maximum(one**2 + others**2 - 2 * correlation * one * others, np.finfo(float).tiny)
    return out


def _drawn(vcov: Floats, df: Floats, draws: int, seed: int) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Yield draws of the estimates about their true values and of their standard errors, (J, n), and correlations."""
    generator = np.random.default_rng(seed)
    known, error = np.isfinite(df), np.sqrt(np.diag(vcov))
    with threadpool_limits(1, user_api="blas"):
        root = symmetric_root(vcov)
        for n in np.diff(np.r_[np.arange(0, draws, _PART), draws]):
            drawn = root @ generator.standard_normal((len(vcov), n))
            scale = np.ones((len(vcov), n))
            if known.any():
                chi = generator.chisquare(df[known][:, None], (int(known.sum()), n))
                scale[known] = np.sqrt(chi / df[known][:, None])
            yield drawn, scale * error[:, None], vcov / np.outer(error, error)


def _largest(drawn: Floats, error: Floats, correlation: Floats) -> Floats:
    """Return the largest standardised difference of each draw."""
    largest = np.zeros(drawn.shape[1])
    for one in range(len(drawn) - 1):
        gap = (drawn[one + 1 :] - drawn[one]) ** 2
        gap /= _variances(error[one], error[one + 1 :], correlation[one, one + 1 :, None])
        np.maximum(largest, gap.max(axis=0), out=largest)
    out: Floats = np.sqrt(largest)
    return out
