"""The log-rank test of equal survival between groups, from a life table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from retrain_eval.errors import DesignError, InputError
from retrain_eval.lifetable import LifeTable
from retrain_eval.survival.risk import group_name, require_independent_spells, risk_sets

_SINGULAR = 1e-10


@dataclass(frozen=True)
class LogRank:
    """A log-rank test.

    Attributes
    ----------
    chi2, df, p_value : float, int, float
        The statistic, its degrees of freedom and the upper tail probability.
    groups : DataFrame
        ``level``, ``n`` (spells), ``observed`` and ``expected`` (events, under equal hazards).
    """

    chi2: float
    df: int
    p_value: float
    groups: pd.DataFrame


def logrank(table: LifeTable) -> LogRank:
    """Test whether the groups of a life table have the same hazard at every duration.

    Parameters
    ----------
    table : LifeTable
        Two groups or more.

    Returns
    -------
    LogRank

    Raises
    ------
    DesignError
        If there are fewer than two groups at risk when something happens, no events, or people with several spells.
    InputError
        If the table has probability weights or a cluster: the variance below takes spells as independent and alike, and
        with weights from matching rejects a true null far too often.

    Notes
    -----
    At each duration ``d`` of ``Y`` at risk end, and ``d_g ~`` hypergeometric within group ``g`` given the margins
    (Mantel 1966; Peto and Peto 1972). With ``z = Σ (d_g − d Y_g/Y)`` and ``V`` the sum of the covariances
    ``d (Y−d)/(Y−1) (Y_g/Y)(δ_gh − Y_h/Y)``, ``zᵀ V⁻ z ~ χ²`` on the number of groups less one. A group that is never
    at risk when something happens has no part. Left-truncated spells enter the risk sets late.

    Examples
    --------
    >>> from retrain_eval.lifetable import life_table
    >>> spells = pd.DataFrame({"id": range(6), "weeks": [1, 2, 3, 4, 5, 6], "cause": 1, "arm": list("aaabbb")})
    >>> test = logrank(life_table(spells, id="id", duration="weeks", cause="cause", by="arm"))
    >>> round(test.chi2, 4), test.df, round(test.p_value, 4)
    (5.0517, 1, 0.0246)
    """
    if table.weighted or table.cluster is not None:
        what = "probability weights" if table.weighted else "a cluster"
        raise InputError(
            f"the log-rank test does not hold with {what}",
            rule="its variance takes spells as independent and of equal weight",
            fix="compare survival or restricted means, whose standard errors are robust",
        )
    require_independent_spells(table, "The log-rank test would reject too often.")
    groups = risk_sets(table, np.unique(table.cells["duration"]))
    ending = np.column_stack([risk.n_events for risk in groups]).astype(float)
    at_risk = np.column_stack([risk.n for risk in groups]).astype(float)
    total, events = at_risk.sum(axis=1), ending.sum(axis=1)
    when = events > 0
    ending, at_risk, total, events = ending[when], at_risk[when], total[when], events[when]
    share = at_risk / total[:, None]
    observed, expected = ending.sum(axis=0), (events[:, None] * share).sum(axis=0)
    frame = pd.DataFrame(
        {
            "level": pd.Series([group_name(risk.level) for risk in groups], dtype="str"),
            "n": table.cells["n"].groupby(table.group_numbers()).sum().to_numpy(),
            "observed": observed.astype(np.int64),
            "expected": expected,
        }
    )
    # where one is at risk, he ends and nothing is compared: (Y − d) is zero, whatever Y − 1 is
    spread = events * (total - events) / np.maximum(total - 1, 1)
    # the groups' deviations add up to zero, so the last says nothing that the others do not
    kept = np.flatnonzero(expected > 0)[:-1]
    variance = (np.diag(spread @ share) - share.T @ (spread[:, None] * share))[np.ix_(kept, kept)]
    rank = int(np.linalg.matrix_rank(variance, rtol=_SINGULAR, hermitian=True)) if len(kept) else 0
    if rank == 0:
        raise DesignError(
            f"nothing to compare: {int(observed.sum())} event(s) in {len(groups)} group(s), and never two groups at "
            "risk when some but not all end"
        )
    deviation = (observed - expected)[kept]
    chi2 = float(deviation @ np.linalg.pinv(variance, rcond=_SINGULAR, hermitian=True) @ deviation)
    return LogRank(chi2, rank, float(stats.chi2.sf(chi2, rank)), frame)
