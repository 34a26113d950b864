r"""Empirical-Bayes shrinkage of many effects, such as those of providers, whose estimates have a joint covariance.

The true effects of J providers are taken to vary about their mean with variance σ², and the estimates about the true
effects with covariance V. Everything is relative to the mean of the J, so that what all estimates share, such as
controls, cancels. In the eigenvectors of V within the contrasts, the deviations are uncorrelated with variances
``σ² + λ_k``, and each formula is that of independent estimates.

Variances are themselves estimated, from as few as ten people in an arm. With ν degrees of freedom, the squared
deviation of an effect over its estimated variance is F with 1 and ν degrees of freedom, not χ²: taken for χ², the sum
of many of them would find a spread where there is none. So each is taken for what it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize, special

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import DesignError
from retrain_eval.common.numerics.joint import t_quantile, t_upper
from retrain_eval.common.shown import summarised

FEWEST = 4  # effects from which a spread is estimated: with fewer, its likelihood does not bound it from above
_STEPS = 400
_NONE = 1e-6  # 1/ν below which a variance counts as known
_WIDEST = 1e6  # times the standard error: a spread that no data have


@summarised
@dataclass(frozen=True)
class Shrunk:
    """Effects relative to their mean, and what remains of each when noise is taken out; made by `shrink`.

    Attributes
    ----------
    deviation, std_error : ndarray, shape (J,)
        Estimated effect less the mean of all, and the standard error of that.
    shrunken, low, high : ndarray, shape (J,)
        The best linear prediction of the true deviation, and its interval.
    spread, spread_low, spread_high : float
        Standard deviation of the true effects, and its confidence interval.
    mean, mean_error : float
        Mean of the estimates, each provider counting once, and its standard error.
    """

    deviation: Floats
    std_error: Floats
    shrunken: Floats
    low: Floats
    high: Floats
    spread: float
    spread_low: float
    spread_high: float
    mean: float
    mean_error: float


def shrink(estimate: Floats, vcov: Floats, level: float = 0.95, df: Floats | None = None) -> Shrunk:
    r"""Shrink effects to their mean by how noisy they are.

    Parameters
    ----------
    estimate : ndarray, shape (J,)
    vcov : ndarray, shape (J, J)
        Covariance of the estimates, with positive variances.
    level : float
        Of the intervals.
    df : ndarray, shape (J,), optional
        Degrees of freedom of each variance; None or infinite for a known one.

    Returns
    -------
    Shrunk

    Raises
    ------
    DesignError
        If there are fewer than four effects, or an estimate has no variance.

    Notes
    -----
    The variance of the true effects is the variance of the estimates less the part of it that is noise, and zero where
    that is negative (the bias-corrected variance of Walters 2024; Hedges and Olkin 1985), here with the joint
    covariance: with M the matrix that subtracts the mean,
    ``σ̂² = (θ̂'Mθ̂ − tr(MV)) / (J − 1)``. Its interval has the values at which ``Σ z_k²/(σ² + λ_k)`` is no unlikely χ²
    with J − 1 degrees of freedom (the Q-profile of Viechtbauer 2007). Each deviation is multiplied by its reliability,
    ``σ̂²/(σ̂² + λ)`` (linear shrinkage).

    Where λ is estimated with ν degrees of freedom, σ² + λ has about ``ν (σ² + λ)²/λ²`` of them (Satterthwaite 1946).
    Each term of the sum is then the square of Student's t with so many, and is replaced by the square of the normal
    deviate with the same tail probability, so that the sum is χ² again; likelihoods and intervals are those of t.

    Intervals take into account that σ² is itself estimated: the variance of a prediction is averaged over the
    restricted likelihood of σ, and the distance between the predictions with that σ and with σ̂ is added (Morris 1983,
    each value of σ² having the same weight). So they do not collapse where σ̂ is zero.

    Examples
    --------
    >>> found = shrink(np.array([-3.0, -3.0, 3.0, 3.0]), 4 * np.eye(4))
    >>> round(found.spread**2, 9), found.shrunken.round(9).tolist()
    (8.0, [-2.0, -2.0, 2.0, 2.0])
    >>> shrink(np.array([-0.5, 0.0, 0.0, 0.5]), np.eye(4)).shrunken.tolist()
    [0.0, 0.0, 0.0, 0.0]
    """
    j = len(estimate)
    if j < FEWEST:
        raise DesignError("there are fewer than four providers with an effect to compare with the mean of all")
    if not (np.diag(vcov) > 0).all() or not np.isfinite(vcov).all():
        raise DesignError("an effect has no standard error")
    contrasts = linalg.helmert(j).T
    noise, rotation = linalg.eigh(contrasts.T @ vcov @ contrasts)
    noise = np.clip(noise, 0.0, None)
    basis = contrasts @ rotation
    z = basis.T @ estimate
    variance = max(float((z @ z - noise.sum()) / (j - 1)), 0.0)
    shrunken = basis @ (_reliability(variance, noise) * z) if variance > 0 else np.zeros(j)
    inverse = np.zeros(j) if df is None else 1 / df
    directions = (basis.T**2) @ inverse  # 1/ν of each contrast
    spreads, weight = _likelihood(z, noise, directions)
    error, own = np.zeros(j), np.zeros(j)
    for spread, share in zip(spreads, weight, strict=True):
        reliability = _reliability(spread**2, noise)
        left = (basis**2) @ (reliability * noise)
        own += share * left
        error += share * (left + (basis @ (reliability * z) - shrunken) ** 2)
    of_noise = _reliability(own, (basis**2) @ noise - own)  # share of its variance that a prediction keeps
    half = t_quantile(_df(inverse * of_noise**2), 0.5 + level / 2) * np.sqrt(error)
    low, high = _interval(z, noise, level, directions)
    if high == 0:  # the estimates are closer together than chance would have them: the likelihood alone bounds σ
        high = float(spreads[np.searchsorted(np.cumsum(weight), level)])
    everyone = np.full(j, 1 / j)
    return Shrunk(
        deviation=estimate - estimate.mean(),
        std_error=np.sqrt((basis**2) @ noise),
        shrunken=shrunken,
        low=shrunken - half,
        high=shrunken + half,
        spread=float(np.sqrt(variance)),
        spread_low=low,
        spread_high=high,
        mean=float(estimate.mean()),
        mean_error=float(np.sqrt(everyone @ vcov @ everyone)),
    )


def _reliability(variance: float | Floats, noise: Floats) -> Floats:
    """Return the share of the variance of each contrast that is not noise."""
    total = variance + noise
    out: Floats = np.divide(variance, total, out=np.zeros_like(noise), where=total > 0)
    return out


def _df(inverse: Floats) -> Floats:
    """Return degrees of freedom from their inverses."""
    out: Floats = np.divide(1.0, inverse, out=np.full(np.shape(inverse), np.inf), where=inverse > _NONE)
    return out


def _likelihood(z: Floats, noise: Floats, inverse: Floats) -> tuple[Floats, Floats]:
    """Return values of σ, and the restricted likelihood of each as a share of all."""
    scale = float(np.sqrt(max(noise.mean(), z @ z / len(z), np.finfo(float).tiny)))
    at = (np.arange(_STEPS) + 0.5) / _STEPS
    spreads = scale * at / (1 - at)  # evenly on (0, 1), so that no end has to be chosen
    total = spreads[:, None] ** 2 + np.maximum(noise, 1e-12 * scale**2)
    log = _log_density(z**2 / total, inverse * (noise / total) ** 2) - 0.5 * np.log(total)
    log = log.sum(axis=1) - 2 * np.log1p(-at) + np.log(spreads)
    weight = np.exp(log - log.max())
    return spreads, weight / weight.sum()


def _log_density(square: Floats, inverse: Floats) -> Floats:
    """Return the logarithm of the density of Student's t at the root of a square, less that of the normal at zero."""
    df = _df(inverse)
    few = np.where(np.isfinite(df), df, 1.0)
    of_t = (
        special.gammaln((few + 1) / 2) - special.gammaln(few / 2) - np.log(few / 2) / 2
        - (few + 1) / 2 * np.log1p(square / few)
    )  # fmt: skip
    return np.where(np.isfinite(df), of_t, -square / 2)


def _interval(z: Floats, noise: Floats, level: float, inverse: Floats) -> tuple[float, float]:
    """Return the interval of σ; an end is zero where even σ = 0 leaves less variation than its limit."""
    scale = float(np.sqrt(max(noise.mean(), z @ z / len(z), np.finfo(float).tiny)))
    least = np.maximum(noise, 1e-12 * scale**2)

    def variation(spread: float) -> float:
        total = spread**2 + least
        t, df = np.abs(z) / np.sqrt(total), _df(inverse * (least / total) ** 2)
        normal = np.where(np.isfinite(df), -special.ndtri(np.maximum(t_upper(df, t), np.finfo(float).tiny)), t)
        return float((normal**2).sum())

    ends = []
    for probability in (0.5 + level / 2, 0.5 - level / 2):
        limit = float(special.chdtri(len(z), 1 - probability))
        if variation(0.0) <= limit:
            ends.append(0.0)
        else:
            ends.append(float(optimize.brentq(lambda s: variation(s) - limit, 0.0, _WIDEST * scale)))  # noqa: B023
    return ends[0], ends[1]
