"""Several estimates judged at once: joint tests, simultaneous critical values, step-down adjusted p-values.

A standard error is itself estimated, from as many clusters as there are. Student's t says so for one estimate; for
several, everything here draws from the multivariate t, or uses the F distribution that corresponds to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
from scipy import sparse, special
from scipy.sparse import csgraph
from threadpoolctl import threadpool_limits

from retrain_eval.common.arrays import Floats, ShortInts
from retrain_eval.common.numerics.linear_algebra import inverse_and_rank

TEST_COLUMNS = ("test", "statistic", "df", "df_denominator", "p_value")
SINGULAR = 1e-12  # a standard error below this share of the largest one is a constant, not an estimate
_RANK = 1e-10  # variance of a direction, as a share of the largest, that is rounding
_DRAWS = 100_000
_PART = 10_000


def t_quantile(df: Floats, probability: float | Floats) -> Floats:
    """Return the quantile of Student's t; infinite degrees of freedom are the normal distribution.

    Examples
    --------
    >>> t_quantile(np.array([4.0, np.inf]), 0.975).round(3).tolist()
    [2.776, 1.96]
    """
    finite = np.where(np.isfinite(df), df, 1.0)
    out: Floats = np.where(np.isfinite(df), special.stdtrit(finite, probability), special.ndtri(probability))
    return out


def t_upper(df: Floats, t: Floats) -> Floats:
    """Return the probability that Student's t exceeds ``t``; infinite degrees of freedom are the normal distribution.

    Examples
    --------
    >>> t_upper(np.array([4.0, np.inf]), np.array([2.776, 1.96])).round(3).tolist()
    [0.025, 0.025]
    """
    finite = np.where(np.isfinite(df), df, 1.0)
    out: Floats = np.where(np.isfinite(df), special.stdtr(finite, -t), special.ndtr(-t))
    return out


def symmetric_root(matrix: Floats) -> Floats:
    """Return the symmetric square root of a covariance, with directions that are only rounding left out.

    Unlike eigenvectors times roots of eigenvalues it is unique, so that draws from it agree between processors.

    Examples
    --------
    >>> symmetric_root(np.array([[4.0, 0.0], [0.0, 9.0]])).tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """
    values, vectors = np.linalg.eigh(matrix)
    kept = np.where(values > SINGULAR * values.max(initial=0.0), values, 0.0)
    root: Floats = (vectors * np.sqrt(kept)) @ vectors.T
    return root


def blocks_of(vcov: Floats) -> ShortInts:
    """Return the number of the block of each estimate: estimates of different blocks are uncorrelated, shape (k,)."""
    _, block = csgraph.connected_components(sparse.csr_array(vcov), directed=False)
    return np.asarray(block, dtype=np.int32)


def draws_of_t(vcov: Floats, df: Floats, *, together: bool, draws: int, seed: int) -> Iterator[Floats]:
    """Yield draws of |t| for estimates with this covariance, in parts of shape (n, k).

    Parameters
    ----------
    vcov : ndarray, shape (k, k)
        Positive variances.
    df : ndarray, shape (k,)
        Degrees of freedom of each estimate's variance; infinite for a known one.
    together : bool
        Whether all variances are estimated from the same clusters or people. If not, those of uncorrelated estimates,
        such as levels with clusters of their own, are independent.
    draws, seed : int

    Notes
    -----
    t = N(0, corr) / sqrt(χ²_ν / ν), one χ² for estimates that share what their variances are estimated from, taken at
    one probability where their degrees of freedom differ.
    """
    scale = np.sqrt(np.diag(vcov))
    correlation = vcov / np.outer(scale, scale)
    block = blocks_of(correlation)
    members = [np.flatnonzero(block == b) for b in np.unique(block)]
    generator = np.random.default_rng(seed)
    # small matrices: more threads cost more than they save, and change the last bit
    with threadpool_limits(1, user_api="blas"):
        roots = [symmetric_root(correlation[np.ix_(index, index)]) for index in members]
        mixed = [np.arange(len(vcov))] if together else members
        for n in np.diff(np.r_[np.arange(0, draws, _PART), draws]):
            out = np.empty((n, len(vcov)))
            for index, root in zip(members, roots, strict=True):
                out[:, index] = np.abs(generator.standard_normal((n, len(index))) @ root)
            for index in mixed:
                known = np.unique(df[index][np.isfinite(df[index])])
                if len(known) == 1:  # drawn, which is faster than a quantile
                    spread = np.sqrt(generator.chisquare(known[0], n) / known[0])
                    out[:, index[df[index] == known[0]]] /= spread[:, None]
                elif len(known):
                    probability = generator.random(n)
                    for value in known:
                        spread = np.sqrt(special.chdtri(value, probability) / value)
                        out[:, index[df[index] == value]] /= spread[:, None]
            yield out


def critical_values(
    vcov: Floats,
    df: Floats,
    *,
    together: bool = True,
    level: float = 0.95,
    draws: int = _DRAWS,
    seed: int = 20260101,
) -> Floats:
    """Return what each standard error is multiplied by for a simultaneous band, shape (k,).

    Parameters
    ----------
    vcov : ndarray, shape (k, k)
        Covariance of the estimates. Rows without a positive variance are ignored and get the pointwise value.
    df : ndarray, shape (k,)
        Degrees of freedom; infinite for the normal distribution.
    together : bool
        As in `draws_of_t`.
    level : float
        Simultaneous coverage wanted.
    draws, seed : int
        Size and seed of the sample; from seed to seed a value has a standard deviation near 0.005.

    Notes
    -----
    The ``level`` quantile of max |t| (Montiel Olea and Plagborg-Møller 2019, sup-t), drawn from the covariance itself
    rather than by a bootstrap of people. Where degrees of freedom differ, the quantile is that of the smallest
    p-value, so that each estimate is as likely as another to leave its part of the band. Never below the pointwise
    value.

    Examples
    --------
    >>> critical_values(np.eye(2), np.array([np.inf, np.inf])).round(1).tolist()
    [2.2, 2.2]
    >>> critical_values(np.eye(2), np.array([4.0, 4.0])).round(1).tolist()
    [3.4, 3.4]
    """
    pointwise = t_quantile(df, 0.5 + level / 2)
    variance = np.diag(vcov)
    keep = np.flatnonzero(variance > SINGULAR**2 * np.max(variance, initial=0.0, where=~np.isnan(variance)))
    if len(keep) == 0:
        return pointwise
    kept, same = vcov[np.ix_(keep, keep)], len(np.unique(df[keep])) == 1
    again = partial(draws_of_t, kept, df[keep], together=together, draws=draws, seed=seed)
    parts = again()
    if same:
        largest = np.concatenate([part.max(axis=1) for part in parts])
        widest: Floats = np.maximum(np.quantile(largest, level), pointwise)
        return widest
    # only the lower tail of the smallest p-values matters: a draw without a large t gets a p-value of 1
    near = t_quantile(df[keep], 1 - min(0.5, 0.75 * (1 - level)))
    smallest = np.concatenate([_smallest(df[keep], part, near) for part in parts])
    if np.mean(smallest < 1) <= 1 - level:
        smallest = np.concatenate([t_upper(df[keep], part).min(axis=1) for part in again()])
    balanced: Floats = np.maximum(t_quantile(df, 1 - float(np.quantile(smallest, 1 - level))), pointwise)
    return balanced


def _smallest(df: Floats, t: Floats, near: Floats) -> Floats:
    """Return the smallest p-value of each draw in which a t exceeds ``near``, and 1 for the others."""
    out = np.ones(len(t))
    rows = (t > near).any(axis=1)
    out[rows] = t_upper(df, t[rows]).min(axis=1)
    return out


def arms_df(n_treated: Floats, n_control: Floats) -> Floats:
    """Return Satterthwaite's (1946) degrees of freedom of a difference between arms whose members vary alike.

    Parameters
    ----------
    n_treated, n_control : ndarray, shape (k,)
        People, or clusters; where a number is missing, the degrees of freedom are infinite.

    Examples
    --------
    >>> arms_df(np.array([15.0, 15.0]), np.array([15.0, 10_000.0])).round(1).tolist()
    [28.0, 14.0]
    """
    one, other = 1 / n_treated, 1 / n_control
    with np.errstate(divide="ignore", invalid="ignore"):
        df = (one + other) ** 2 / (one**2 / (n_treated - 1) + other**2 / (n_control - 1))
    return np.where(np.isnan(df), np.inf, np.maximum(df, 1.0))


def holm(p_values: Floats) -> Floats:
    """Return p-values adjusted for their number by Holm's (1979) step-down method.

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    steps = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    out = np.empty(len(p_values))
    out[order] = np.minimum(steps, 1)
    return out


def romano_wolf(
    estimate: Floats,
    vcov: Floats,
    df: Floats | None = None,
    *,
    together: bool = True,
    draws: int = _DRAWS,
    seed: int = 20260101,
) -> Floats:
    """Return step-down adjusted p-values of the smallest p-value (Romano and Wolf 2005, Algorithm 4.1).

    Parameters
    ----------
    estimate : ndarray, shape (k,)
    vcov : ndarray, shape (k, k)
    df : ndarray, shape (k,), optional
        Degrees of freedom of each variance; None or infinite for the normal distribution. Where all are equal, the
        smallest p-value is that of the largest |t|.
    together : bool
        As in `draws_of_t`.
    draws, seed : int
        Size and seed of the sample; the standard error of a p-value near .05 is .0007.

    Examples
    --------
    >>> romano_wolf(np.array([2.6, 0.1]), np.eye(2), np.array([4.0, 4.0])).round(2).tolist()
    [0.11, 0.93]
    """
    df = np.full(len(estimate), np.inf) if df is None else df
    t = np.abs(estimate) / np.sqrt(np.diag(vcov))
    p_value = t_upper(df, t)
    order = np.argsort(p_value, kind="stable")
    # of one t distribution the smallest p-value is that of the largest t, and need not be computed
    same = len(np.unique(df)) == 1
    seen = -t if same else p_value
    exceed = np.zeros(len(estimate))
    for part in draws_of_t(vcov, df, together=together, draws=draws, seed=seed):
        drawn = (-part if same else t_upper(df, part))[:, order]
        # the smallest of the hypotheses not yet rejected, for each step
        smallest = np.minimum.accumulate(drawn[:, ::-1], axis=1)[:, ::-1]
        exceed += (smallest <= seen[order]).sum(axis=0)
    out = np.empty(len(estimate))
    out[order] = np.maximum.accumulate((1 + exceed) / (1 + draws))
    # never below the p-value of the single test, which the draws may miss in the far tail
    return np.maximum(out, 2 * p_value)


def row_of_test(test: str, statistic: float, df: float, df_denominator: float, p_value: float) -> pd.DataFrame:
    """Return a test as one row; its ``df_denominator`` is NaN where it is χ². No row where there is no p-value.

    Examples
    --------
    >>> row_of_test("equal effects", 4.0, 1, np.inf, 0.0455)["df_denominator"].isna().item()
    True
    """
    denominator = df_denominator if np.isfinite(df_denominator) else np.nan
    rows = [(test, statistic, df, denominator, p_value)] if np.isfinite(p_value) else []
    return pd.DataFrame(rows, columns=list(TEST_COLUMNS))


def joint_test(
    theta: Floats, vcov: Floats, df: Floats, contrast: Floats | None = None, *, together: bool = True
) -> tuple[float, float, float, float]:
    """Test that all of several contrasts of estimates are zero.

    Parameters
    ----------
    theta : ndarray, shape (k,)
    vcov : ndarray, shape (k, k)
    df : ndarray, shape (k,)
        Degrees of freedom of each estimate's variance; infinite for a known one.
    contrast : ndarray, shape (q, k), optional
        The identity by default.
    together : bool
        As in `draws_of_t`.

    Returns
    -------
    statistic, df, df_denominator, p_value : float
        The Wald statistic, its rank q, the denominator's degrees of freedom of the F distribution (infinite: χ²), and
        the p-value. The p-value is NaN where there are too few clusters for so many contrasts.

    Notes
    -----
    Hotelling's T²: with an estimated covariance of η degrees of freedom, W (η − q + 1) / (η q) is F with q and
    η − q + 1 degrees of freedom. Estimates that share their clusters have η = G − 1. Where they are
    independent, such as levels of a stratum, η is that of the Wishart distribution whose total variance is the same
    (Pustejovsky and Tipton 2018, eq. 16, "HTZ"); for one contrast it is Satterthwaite's.

    Examples
    --------
    >>> theta, vcov = np.array([1.0, 1.0]), np.eye(2) * 0.25
    >>> [round(x, 3) for x in joint_test(theta, vcov, np.array([np.inf, np.inf]))]
    [8.0, 2, inf, 0.018]
    >>> [round(x, 3) for x in joint_test(theta, vcov, np.array([9.0, 9.0]))]
    [8.0, 2, 8.0, 0.079]
    """
    contrast = np.eye(len(theta)) if contrast is None else contrast
    gap, spread = contrast @ theta, contrast @ vcov @ contrast.T
    inverse, q = inverse_and_rank(spread, _RANK)
    if q == 0:
        return 0.0, 0, np.inf, np.nan
    statistic = float(gap @ inverse @ gap)
    root, total = symmetric_root(inverse), 0.0
    block = np.zeros(len(vcov), dtype=np.int32) if together else blocks_of(vcov)
    for b in np.unique(block):
        index = np.flatnonzero(block == b)
        part = root @ contrast[:, index]
        share = part @ vcov[np.ix_(index, index)] @ part.T
        total += float((share**2).sum() + np.trace(share) ** 2) / float(df[index].min())
    if total == 0:
        return statistic, q, np.inf, float(special.chdtrc(q, statistic))
    eta = q * (q + 1) / total
    denominator = eta - q + 1
    # of G − 1 directions among more contrasts the clusters say all that they can: which ones is an accident of them
    if denominator < 1 or (q < len(gap) and q >= float(df.min())):
        return statistic, q, denominator, np.nan
    return statistic, q, denominator, float(special.fdtrc(q, denominator, statistic * denominator / (eta * q)))
