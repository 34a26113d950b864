"""Covariate balance between treated units and controls, before and after matching, computed from covariate cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.errors import InputError
from retrain_eval.common.shown import summarised
from retrain_eval.tables.covariates.balance_rows import COLUMNS, Summary, balance_row

_ROUNDING = 1e-12


@summarised
@dataclass(frozen=True)
class Arm:
    """The weights of one arm: their sum in each cell, and over the whole arm the sum of their squares.

    Attributes
    ----------
    weight : ndarray, shape (C,)
    squares : float
    n : int
        Rows with a weight.
    """

    weight: Floats
    squares: float
    n: int

    @classmethod
    def build(cls, cell: Ints, weight: Floats, n_cells: int) -> Arm:
        """Add unit weights up by cell."""
        sums: Floats = np.bincount(cell, weights=weight, minlength=n_cells).astype(float)
        return cls(sums, float((weight**2).sum()), int(np.count_nonzero(weight)))

    def summary(self, x: Floats) -> Summary:
        """Return the summary of a covariate that balance needs, given its value in each cell."""
        total = self.weight.sum()
        mean = float((self.weight * x).sum() / total)
        freedom = total - self.squares / total
        spread = float((self.weight * (x - mean) ** 2).sum() / freedom) if freedom > 0 else float("nan")
        return Summary(self.n, mean, spread)


@dataclass(frozen=True)
class Arms:
    """Treated units and controls, before and after matching."""

    treated_before: Arm
    treated_after: Arm
    control_before: Arm
    control_after: Arm


def effective_size(weight: Floats) -> float:
    """Return Kish's effective sample size, (Σw)² / Σw².

    Examples
    --------
    >>> effective_size(np.array([1.0, 1.0, 2.0]))
    2.6666666666666665
    """
    return float(weight.sum() ** 2 / (weight**2).sum())


def balance_table(cells: pd.DataFrame, covariates: Sequence[str], score: Floats, arms: Arms) -> pd.DataFrame:
    """Compare the arms on the score and on each covariate.

    Parameters
    ----------
    cells : DataFrame, C rows
        Distinct covariate rows.
    covariates : sequence of str
        Columns to compare; text becomes one 0/1 row per level, named ``column_level``.
    score : ndarray, shape (C,)
        Shown in the first row, ``distance``.
    arms : Arms
        Weights by cell.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`. ``mean_treated`` is over all treated units, ``mean_treated_after`` over
        those that were matched. ``smd_*`` is the difference of means in units
        of the treated units' standard deviation before matching (√(p(1−p)) for a 0/1 covariate); ``smd_after``
        compares the matched units of both arms. ``variance_ratio_*`` is treated over control, NaN for 0/1
        covariates. A standardised difference is NaN when treated units do not vary but controls differ from them.
        ``ecdf_mean_*`` and ``ecdf_max_*`` are the mean and the largest vertical distance between the two weighted
        distribution functions, over the values that occur before matching; for a 0/1 covariate both are the
        difference in shares. ``effect_size_*`` is Hedges' g, or the Cox index of a 0/1 covariate, within the sample
        compared (`effect_size`), and ``wwc`` is the What Works Clearinghouse category of the effect size after
        matching: ``satisfied`` (≤ .05), ``needs adjustment`` (≤ .25) or ``not satisfied``.

    References
    ----------
    Stuart, E. (2010), Statistical Science 25, section 4.1. Denominators and distribution functions are those of
    MatchIt and cobalt. What Works Clearinghouse (2022), Procedures and Standards Handbook 5.0, chapter IV and
    appendix E.
    """
    rows = [_compare("distance", score, False, arms)]
    rows.extend(_compare(name, x, binary, arms) for _, name, x, binary in numeric(cells, covariates))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def ecdf_distance(x: Floats, treated: Floats, control: Floats) -> tuple[float, float]:
    """Return the mean and the largest distance between two weighted distribution functions.

    Parameters
    ----------
    x : ndarray, shape (C,)
        Values; they need be neither sorted nor distinct.
    treated, control : ndarray, shape (C,)
        Weight of each value in the two arms. The mean is over the distinct values of ``x``, weighted or not.

    Examples
    --------
    >>> ecdf_distance(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 1, 0, 0]), np.array([0, 0, 1.0, 1]))
    (0.5, 1.0)
    """
    order = np.argsort(x, kind="stable")
    gap = np.abs(np.cumsum(treated[order] / treated.sum() - control[order] / control.sum()))
    gap[gap < _ROUNDING] = 0
    last = np.append(np.diff(x[order]) != 0, True)
    return float(gap[last].mean()), float(gap[last].max())


def numeric(cells: pd.DataFrame, covariates: Sequence[str]) -> Iterator[tuple[str, str, Floats, bool]]:
    """Yield the rows of a balance table: column, name of the row, value in each cell, and whether it is 0/1."""
    for name in covariates:
        column = cells[name]
        if pd.api.types.is_numeric_dtype(column):
            x = column.to_numpy(dtype=float)
            yield name, name, x, bool(np.isin(x, (0.0, 1.0)).all())
        else:
            for level in sorted(column.unique()):
                yield name, f"{name}_{level}", (column == level).to_numpy(dtype=float), True


def _compare(name: str, x: Floats, binary: bool, arms: Arms) -> dict[str, object]:
    stages = {
        "before": (arms.treated_before, arms.control_before),
        "after": (arms.treated_after, arms.control_after),
    }
    row = balance_row(name, {stage: (t.summary(x), c.summary(x)) for stage, (t, c) in stages.items()}, binary=binary)
    if not binary:
        for stage, (treated, control) in stages.items():
            apart = ecdf_distance(x, treated.weight, control.weight)
            row[f"ecdf_mean_{stage}"], row[f"ecdf_max_{stage}"] = apart
    return row


def overlap_table(score: Floats, groups: dict[str, Ints], bins: int) -> pd.DataFrame:
    """Count units by bins of the score.

    Parameters
    ----------
    score : ndarray, shape (C,)
        Score of each cell.
    groups : dict
        Number of units in each cell, by name of the group.
    bins : int
        Number of equal bins. They cover 0 to 1, or the whole numbers around a given score that is not a probability.

    Returns
    -------
    DataFrame
        ``bin_low, bin_high, group, n``; a bin contains its lower end, the last one both.
    """
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise InputError("bins must be a whole number, at least 1", column="bins", value=bins)
    low, high = 0.0, 1.0
    if score.min() < low or score.max() > high:
        low, high = float(np.floor(score.min())), float(np.floor(score.max()) + 1)
    edges = np.linspace(low, high, bins + 1)
    where = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, bins - 1)
    tables = [
        pd.DataFrame(
            {
                "bin_low": edges[:-1],
                "bin_high": edges[1:],
                "group": group,
                "n": np.bincount(where, weights=n, minlength=bins).astype(np.int64),
            }
        )
        for group, n in groups.items()
    ]
    return pd.concat(tables, ignore_index=True)
