"""The contributions of single units to a cell's amount, for checking dominance rules, and a cap on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retrain_eval.common.arrays import AnyInts, Bools, Floats
from retrain_eval.tables.largest import largest_of, largest_sql, padded
from retrain_eval.tables.moments.paths import Paths
from retrain_eval.tables.winsorise import check_quantile, clipped_sql, limits_sql


def cap(paths: Paths, quantile: float) -> None:
    """Winsorise the amounts of each period; see `retrain_eval.tables.winsorise`.

    Raises
    ------
    InputError
        If the quantile does not lie above one half and at most at one.
    """
    check_quantile(quantile)
    if quantile == 1:
        return
    ends = ", ".join(end for y in paths.per_period for end in limits_sql(y, quantile))
    limits = paths.query(f"SELECT {ends} FROM {paths.table}").fetchall()[0]
    pairs = zip(paths.per_period, limits[::2], limits[1::2], strict=True)
    capped = ", ".join(f"{y} = {clipped_sql(y, repr(float(low)), repr(float(high)))}" for y, low, high in pairs)
    paths.query(f"UPDATE {paths.table} SET {capped}")


def largest(paths: Paths, group: str, order: str) -> Floats:
    """Return the largest contributions w·|Y| to each cell in each period, shape (C, T, N_LARGEST), descending.

    Parameters
    ----------
    paths : Paths
    group, order : str
        SQL that groups units by cell, and the stated order of cells.
    """
    tops = ", ".join(largest_sql(f"w * abs({y})") for y in paths.per_period)
    rows = paths.query(f"SELECT {tops} FROM {paths.table} GROUP BY {group} ORDER BY {order}").fetchall()
    return np.array([[padded(top) for top in row] for row in rows])


def absolute_totals(paths: Paths, group: str, order: str) -> Floats:
    """Return Σ w·|Y| of each cell in each period, shape (C, T), the total for the largest contributions."""
    sums = ", ".join(f"fsum(w * abs({y}))" for y in paths.per_period)
    rows = paths.query(f"SELECT {sums} FROM {paths.table} GROUP BY {group} ORDER BY {order}").fetchall()
    return np.array(rows, dtype=float).reshape(len(rows), len(paths.per_period))


def merge(parts: Sequence[Floats | None], group: AnyInts, n_groups: int) -> Floats | None:
    """Return the largest contributions to groups of the cells of all parts; None if those of a part are not known.

    Examples
    --------
    >>> two = np.array([[[5.0, 1, 0, 0, 0]], [[4.0, 3, 2, 0, 0]]])
    >>> merge([two], np.array([0, 0]), 1).tolist()
    [[[5.0, 4.0, 3.0, 2.0, 1.0]]]
    """
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    contributions = np.concatenate(known)
    out = np.zeros((n_groups, *contributions.shape[1:]))
    for number in range(n_groups):
        out[number] = largest_of(*contributions[group == number])
    return out


def merge_totals(parts: Sequence[Floats | None], group: AnyInts, n_groups: int) -> Floats | None:
    """Return the sums of Σ w·|Y| over groups of the cells of all parts; None if those of a part are not known."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    totals = np.concatenate(known)
    out = np.zeros((n_groups, totals.shape[1]))
    np.add.at(out, group, totals)
    return out


def dominated(contributions: Floats, total: Floats, *, n: float, share: float, p_percent: float) -> Bools:
    """Return which cells are dominated by few units in some period, shape (C,).

    Parameters
    ----------
    contributions : ndarray, shape (C, T, N_LARGEST)
        The largest w·|Y|.
    total : ndarray, shape (C, T)
        Σ w·|Y|. A total of signed amounts would be too small, because gains and losses cancel. If only such a total is
        known, the sum of the contributions is a lower bound, and the larger of the two is used.
    n, share : float
        (n, k) rule: the n largest contribute at most this share of the total; 1 disables the rule.
    p_percent : float
        p% rule: the total minus the two largest is at least this percentage of the largest; otherwise the second
        largest unit could estimate the largest amount to within p%. 0 disables the rule.

    Notes
    -----
    Hundepool et al. (2012), Statistical Disclosure Control, section 4.2. For amounts that may be negative, the rules
    use absolute values.

    Examples
    --------
    >>> of = np.array([[[80.0, 10, 5, 3, 2]], [[30.0, 25, 20, 15, 10]]])
    >>> dominated(of, np.array([[100.0], [100.0]]), n=2, share=0.85, p_percent=10.0).tolist()
    [True, False]
    """
    total = np.maximum(np.abs(total), contributions.sum(axis=2))
    tolerance = 1e-9 * np.abs(total)
    over = (share < 1) & (contributions[:, :, : int(n)].sum(axis=2) > share * total + tolerance)
    rest = total - contributions[:, :, :2].sum(axis=2)
    close = (p_percent > 0) & (rest < p_percent / 100 * contributions[:, :, 0] - tolerance)
    any_period: Bools = (over | close).any(axis=1)
    return any_period
