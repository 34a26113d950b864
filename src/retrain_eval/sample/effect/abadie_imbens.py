"""The variance of matching estimators, after Abadie and Imbens (2006)."""

from __future__ import annotations

import numpy as np

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.errors import DesignError

NEIGHBOURS = 2  # nearest controls of a control, from which the variance of outcomes at its score is estimated


def matching_variance(treated: Ints, control: Ints, y: Floats, scatter: Floats | None = None) -> Floats:
    r"""Return the covariance of effects on the treated after matching, with or without replacement.

    Parameters
    ----------
    treated, control : int ndarray, shape (P,)
        Rows of ``y``, pair by pair.
    y : ndarray, shape (R, K)
        Outcomes.
    scatter : ndarray, shape (R, K), optional
        Residuals whose squares estimate the conditional variance of each outcome; see `local_residuals`. Without them,
        one variance for all units is estimated from the differences within pairs.

    Returns
    -------
    ndarray, shape (K, K)

    Notes
    -----
    With M_i matches for the treated unit i, ``K_j = Σ 1/M_i`` and ``K'_j = Σ 1/M_i²`` over the units j serves,

    .. math:: V = N_1^{-2} \Big[ \sum_{i: D=1} (Y_i - \hat Y_i(0) - \tau)^2
              + \sum_{j: D=0} (K_j^2 - K'_j)\, \sigma_j^2 \Big],

    for the effect on the treated in the population (section 4 of the paper); σ² is ``Σ (Y_i − Y_j − τ)²/M_i`` over
    pairs, divided by 2 N₁ (Abadie, Drukker, Herr and Imbens 2004, as in R's Matching). The score is taken as known.

    Examples
    --------
    >>> pairs = np.array([0, 1]), np.array([2, 2])
    >>> float(matching_variance(*pairs, np.array([[3.0], [5.0], [1.0]]))[0, 0])
    0.75
    """
    matches = np.bincount(treated, minlength=len(y))
    n1 = np.count_nonzero(matches)
    share = 1.0 / matches[treated]
    gap = y[treated] - y[control]
    own = np.column_stack([np.bincount(treated, weights=share * column, minlength=len(y)) for column in gap.T])
    own = own[matches > 0]
    effect = own.mean(axis=0)
    used = np.bincount(control, weights=share, minlength=len(y))
    excess = used**2 - np.bincount(control, weights=share**2, minlength=len(y))
    if scatter is None:
        apart = gap - effect
        spread = np.einsum("i,ij,ik->jk", share, apart, apart) / (2 * n1) * excess.sum()
    else:
        spread = np.einsum("i,ij,ik->jk", excess, scatter, scatter)
    around = own - effect
    return np.asarray((np.einsum("ij,ik->jk", around, around) + spread) / n1**2)


def nearest_controls(score: Floats, is_control: Bools, who: Ints, n_neighbours: int = NEIGHBOURS) -> Ints:
    """Return the nearest controls in score of each given control, excluding itself; ties are settled by number.

    Parameters
    ----------
    score : ndarray, shape (n,)
    is_control : bool ndarray, shape (n,)
    who : int ndarray, shape (m,)
        Numbers of controls.
    n_neighbours : int

    Returns
    -------
    int ndarray, shape (m, n_neighbours)
        Numbers of units.

    Raises
    ------
    DesignError
        If there are fewer other controls than that.

    Examples
    --------
    >>> nearest_controls(np.array([0.1, 0.2, 0.4, 0.9]), np.ones(4, bool), np.array([1]), 2).tolist()
    [[0, 2]]
    """
    controls = np.flatnonzero(is_control)
    if len(controls) <= n_neighbours:
        raise DesignError(f"{len(controls)} controls are too few to see how outcomes scatter among their neighbours")
    line = controls[np.argsort(score[controls], kind="stable")]
    place = np.empty(len(score), dtype=np.int64)
    place[line] = np.arange(len(line))
    steps = np.array([step for k in range(1, n_neighbours + 1) for step in (-k, k)])
    near = place[who][:, None] + steps
    there = (near >= 0) & (near < len(line))
    unit = line[np.clip(near, 0, len(line) - 1)]
    distance = np.where(there, np.abs(score[unit] - score[who][:, None]), np.inf)
    chosen = np.argsort(distance, axis=1, kind="stable")[:, :n_neighbours]
    return np.asarray(np.take_along_axis(unit, chosen, axis=1))


def local_residuals(own: Floats, neighbours: Floats) -> Floats:
    """Return √(J/(J+1)) (Y − mean of the J neighbours), whose square has the conditional variance as its mean.

    Parameters
    ----------
    own : ndarray, shape (m, K)
    neighbours : ndarray, shape (m, J, K)

    Notes
    -----
    Abadie and Imbens (2006), section 4.
    """
    j = neighbours.shape[1]
    return np.asarray(np.sqrt(j / (j + 1)) * (own - neighbours.mean(axis=1)))
