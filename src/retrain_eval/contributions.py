"""How much of a cell's amount single units contribute: what a rule of dominance is checked with, and a cap on it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from retrain_eval.cells.paths import Paths
from retrain_eval.errors import InputError

Array = npt.NDArray[np.float64]

N_LARGEST = 5  # contributions kept; a rule may be about so many
_SHARING = 3  # units that have the amount of a cap, at least


def cap(paths: Paths, quantile: float) -> None:
    """Set values above a quantile of their period to it (winsorising from above); at least three units share the cap.

    Of fewer, one who knows all others could subtract them from a sum and find the amount of the last.

    Raises
    ------
    InputError
        If the quantile does not lie above one half and at most at one.
    """
    if not 0.5 < quantile <= 1:
        raise InputError("winsorise is a quantile above 0.5, at most 1", column="winsorise", value=quantile)
    if quantile == 1:
        return
    limits = ", ".join(
        f"least(quantile_cont({y}, {quantile!r}), max({y}, {_SHARING})[{_SHARING}])" for y in paths.per_period
    )
    found = paths.query(f"SELECT {limits} FROM {paths.table}").fetchall()[0]
    capped = ", ".join(f"{y} = least({y}, {float(limit)!r})" for y, limit in zip(paths.per_period, found, strict=True))
    paths.query(f"UPDATE {paths.table} SET {capped}")


def largest(paths: Paths, group: str, order: str) -> Array:
    """Return the largest contributions w·|Y| to each cell in each period, shape (C, T, N_LARGEST), descending.

    Parameters
    ----------
    paths : Paths
    group, order : str
        SQL that groups units by cell, and the stated order of cells.
    """
    tops = ", ".join(f"max(w * abs({y}), {N_LARGEST})" for y in paths.per_period)
    rows = paths.query(f"SELECT {tops} FROM {paths.table} GROUP BY {group} ORDER BY {order}").fetchall()
    return np.array([[[*top, *[0.0] * (N_LARGEST - len(top))] for top in row] for row in rows])


def merge(contributions: Array, group: npt.NDArray[np.integer], n_groups: int) -> Array:
    """Return the largest contributions to groups of cells.

    Examples
    --------
    >>> two = np.array([[[5.0, 1, 0, 0, 0]], [[4.0, 3, 2, 0, 0]]])
    >>> merge(two, np.array([0, 0]), 1).tolist()
    [[[5.0, 4.0, 3.0, 2.0, 1.0]]]
    """
    out = np.zeros((n_groups, *contributions.shape[1:]))
    for number in range(n_groups):
        together = np.concatenate(list(contributions[group == number]), axis=1)
        out[number] = -np.sort(-together, axis=1)[:, :N_LARGEST]
    return out


def dominated(contributions: Array, total: Array, *, n: float, share: float, p_percent: float) -> npt.NDArray[np.bool_]:
    """Return which cells few units dominate in some period, shape (C,).

    Parameters
    ----------
    contributions : ndarray, shape (C, T, N_LARGEST)
    total : ndarray, shape (C, T)
        Σ w Y.
    n, share : float
        (n, k) rule: the n largest hold at most this share of the total; 1 switches it off.
    p_percent : float
        p% rule: the total less the two largest is at least this percentage of the largest, or the second largest could
        tell the largest's amount to within it; 0 switches it off.

    Notes
    -----
    Hundepool et al. (2012), Statistical Disclosure Control, section 4.2.

    Examples
    --------
    >>> of = np.array([[[80.0, 10, 5, 3, 2]], [[30.0, 25, 20, 15, 10]]])
    >>> dominated(of, np.array([[100.0], [100.0]]), n=2, share=0.85, p_percent=10.0).tolist()
    [True, False]
    """
    tolerance = 1e-9 * np.abs(total)
    over = (share < 1) & (contributions[:, :, : int(n)].sum(axis=2) > share * total + tolerance)
    rest = total - contributions[:, :, :2].sum(axis=2)
    close = (p_percent > 0) & (rest < p_percent / 100 * contributions[:, :, 0] - tolerance)
    found: npt.NDArray[np.bool_] = (over | close).any(axis=1)
    return found
