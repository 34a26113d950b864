"""Nearest-neighbour matching on the Mahalanobis distance: each treated unit searches all controls of its stratum."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.stats import rankdata

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.errors import DesignError
from retrain_eval.common.numerics.linear_algebra import principal_axes
from retrain_eval.common.shown import summarised
from retrain_eval.sample.methods.nearest_search import MAX_PAIRS, greedy, visits
from retrain_eval.sample.pairs import Pairs

MAX_DISTANCES = 5_000_000_000
_TIE = 1e-9  # squared distances that differ by less are equal: rotating covariates rounds their last bits


def metric(x: Floats, treated: Bools, distance: str) -> Floats:
    """Transform covariates so that the distance asked for is the Euclidean one.

    Parameters
    ----------
    x : ndarray, shape (n, p)
    treated : bool ndarray, shape (n,)
    distance : {"mahalanobis", "robust_mahalanobis"}
        Scaled by the covariance within arms, Σ_g Σ_{i∈g} (x_i − x̄_g)(x_i − x̄_g)ᵀ / (n − 2); or of ranks, rescaled to
        the variance of ranks without ties, so that a rare category weighs no more than a common one.

    Returns
    -------
    ndarray, shape (n, q)
        One column per direction in which covariates vary; q < p for columns that determine each other.

    References
    ----------
    Rubin, D. (1980), Biometrics 36, 293-298 (covariance within arms, as MatchIt takes it).
    Rosenbaum, P. (2010), Design of Observational Studies, section 8.3 (ranks).
    """
    x = np.asarray(x, dtype=np.float64)[:, x.max(axis=0) > x.min(axis=0)]
    if x.shape[1] == 0:
        return np.zeros((len(x), 1))
    if distance == "robust_mahalanobis":
        x = rankdata(x, axis=0)
        without_ties = len(x) * (len(x) + 1) / 12  # the variance of 1, …, n
        z = (x - x.mean(axis=0)) * np.sqrt(without_ties / x.var(axis=0, ddof=1))
        covariance = np.einsum("ij,ik->jk", z, z) / (len(z) - 1)
    else:
        z = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
        within = z.copy()
        for arm in (treated, ~treated):
            within[arm] -= z[arm].mean(axis=0)
        covariance = np.einsum("ij,ik->jk", within, within) / max(len(z) - 2, 1)
    values, vectors = principal_axes(covariance, 1e-9)
    if not len(values):  # no covariate varies within an arm
        return np.asarray(z, dtype=np.float64)
    weights = vectors / np.sqrt(values)
    out = np.zeros((len(z), weights.shape[1]))
    for j in range(z.shape[1]):  # in a fixed order, so that equal rows stay equal to the last bit
        out += z[:, j, None] * weights[j]
    return out


def check_size(treated: Bools, stratum: Ints) -> None:
    """Refuse, before anything is computed, more than `MAX_DISTANCES` distances.

    Raises
    ------
    DesignError
    """
    n = int(stratum.max()) + 1
    by_arm = [np.bincount(stratum[arm], minlength=n).astype(float) for arm in (treated, ~treated)]
    if (needed := float((by_arm[0] * by_arm[1]).sum())) > MAX_DISTANCES:
        raise DesignError(
            f"matching on covariates would need {needed:,.0f} distances (at most {MAX_DISTANCES:,}). Add exact strata "
            'so that fewer controls come into question, or match on the score (distance="glm").'
        )


def match_metric(
    x: Floats,
    treated: Bools,
    stratum: Ints,
    *,
    ratio: int,
    replace: bool,
    ties: str,
    m_order: str,
    seed: int,
) -> Pairs:
    """Match on the Euclidean distance of ``x``; the smaller number wins at equal distance.

    Parameters
    ----------
    x : ndarray, shape (n, q)
        From `metric`; rows in the order of ids.
    treated : bool ndarray, shape (n,)
    stratum : int ndarray, shape (n,)
        Partners are of the same one.
    ratio, replace, ties, m_order, seed
        As in `retrain_eval.match`; no order by score, since there is none.

    Raises
    ------
    DesignError
        If ties make more than `MAX_PAIRS` pairs.
    """
    cloud = _Cloud.build(x, treated, stratum)
    if replace:
        return _with_replacement(cloud, ratio, ties)
    order = visits(np.zeros(len(cloud.treated)), m_order, seed)
    t, c, distance = greedy(cloud, order, ratio, m_order, _TIE)
    return Pairs(cloud.treated[t], cloud.control[c], distance, len(t), cloud.ties_broken)


@summarised
@dataclass
class _Cloud:
    """Controls by (stratum, number), each stratum side by side, and their squared distances when asked."""

    x: Floats
    treated: Ints
    control: Ints
    control_x: Floats
    low: Ints
    high: Ints
    free: Bools
    taken: set[int] = field(default_factory=set)
    ties_broken: int = 0

    @classmethod
    def build(cls, x: Floats, is_treated: Bools, stratum: Ints) -> _Cloud:
        treated, control = np.flatnonzero(is_treated), np.flatnonzero(~is_treated)
        control = control[np.argsort(stratum[control], kind="stable")]
        low = np.searchsorted(stratum[control], stratum[treated], side="left")
        high = np.searchsorted(stratum[control], stratum[treated], side="right")
        columns = np.ascontiguousarray(x[control].T)
        return cls(x[treated], treated, control, columns, low, high, np.ones(len(control), dtype=bool))

    def squares(self, t: int) -> Floats:
        """Return squared distances to the controls of t's stratum."""
        out = np.zeros(int(self.high[t] - self.low[t]))
        for column, value in zip(self.control_x, self.x[t], strict=True):
            out += (column[self.low[t] : self.high[t]] - value) ** 2
        return out

    def nearest(self, t: int, lost: int | None = None) -> tuple[int, float] | None:
        """Return the nearest free control; of those equally near, the one with the smallest number."""
        low, high = int(self.low[t]), int(self.high[t])
        if not self.free[low:high].any():
            return None
        squares = self.squares(t)
        best = int(np.argmin(np.where(self.free[low:high], _graded(squares), np.inf)))
        return low + best, float(np.sqrt(squares[best]))

    def take(self, t: int, control: int) -> None:
        """Remove a control, and note whether another free one was as near."""
        low, high = int(self.low[t]), int(self.high[t])
        squares = _graded(self.squares(t))
        self.free[control] = False
        self.taken.add(control)
        self.ties_broken += bool((self.free[low:high] & (squares == squares[control - low])).any())


def _graded(squares: Floats) -> Floats:
    return np.rint(squares / _TIE)


def _with_replacement(cloud: _Cloud, ratio: int, ties: str) -> Pairs:
    treated, control, distance = list[Ints](), list[Ints](), list[Floats]()
    n_pairs, broken = 0, 0
    for t in range(len(cloud.treated)):
        squares = cloud.squares(t)
        if not len(squares):
            continue
        graded, wanted = _graded(squares), min(ratio, len(squares))
        near = np.flatnonzero(graded <= np.partition(graded, wanted - 1)[wanted - 1])
        near = near[np.argsort(graded[near], kind="stable")]
        if ties == "first":
            broken += len(near) > ratio
            near = near[:ratio]
        n_pairs += len(near)
        if n_pairs > MAX_PAIRS:
            raise DesignError(
                f'ties="all" would make more than {MAX_PAIRS:,} pairs: many controls share their covariates. '
                'Use ties="first", exact strata, or weighting.'
            )
        treated.append(np.full(len(near), cloud.treated[t]))
        control.append(cloud.control[cloud.low[t] + near])
        distance.append(np.sqrt(squares[near]))
    if not treated:
        return Pairs(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0), 0, 0)
    whole = np.concatenate(treated), np.concatenate(control), np.concatenate(distance)
    return Pairs(*whole, len(treated), broken)
