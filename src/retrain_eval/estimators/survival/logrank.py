r"""Log-rank and Fleming–Harrington tests of equal hazards between groups, from a life table.

With ``d_g`` ending of ``Y_g`` at risk in group ``g`` (sums of weights), ``d`` of ``Y`` in all, and ``S`` the pooled
Kaplan–Meier curve, at each duration within each stratum,

    z_g = Σ f (d_g − d Y_g/Y),        f = S(t−)^ρ (1 − S(t−))^γ      Fleming and Harrington (1991, section 7.1)

ρ = γ = 0 is the log-rank test (Mantel 1966; Peto and Peto 1972). For independent spells of equal weight, ``d_g`` is
hypergeometric given the margins, with covariances ``d (Y−d)/(Y−1) Y_g/Y (δ_gh − Y_h/Y)``. With probability weights or a
cluster the covariance is that of the score's influence (Lin and Wei 1989): a unit of weight of group ``h`` that
enters at ``a`` and leaves at ``b`` has

    1{event} f_b (δ_gh − Y_g/Y) − Σ_{a<u≤b} f (δ_gh − Y_g/Y) d/Y

which is the robust score test of a Cox model with Breslow's ties at no effect.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.errors import InputError
from retrain_eval.common.numerics.jackknife import FEW
from retrain_eval.estimators.survival.curves import variance_name
from retrain_eval.estimators.survival.grouptest import GroupTest, group_frame
from retrain_eval.estimators.survival.risk import (
    RiskSet,
    is_event,
    known_levels,
    require_groups,
    require_independent_spells,
    risk_sets,
)
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.recipe import recorded
from retrain_eval.tables.statistics import Scores


def logrank(
    table: LifeTable,
    rho: float = 0.0,
    gamma: float = 0.0,
    strata: str | Sequence[str] = (),
    robust: bool | None = None,
) -> GroupTest:
    """Test whether the groups of a life table have the same hazard at every duration.

    Parameters
    ----------
    table : LifeTable
        Two groups or more.
    rho, gamma : float
        Weights of durations, both zero or more: ``rho=1`` stresses early differences (Peto and Peto, Prentice),
        ``gamma=1`` late ones.
    strata : str or sequence of str
        Columns of ``table.by`` within whose levels groups are compared; groups are levels of the others.
    robust : bool, optional
        Whether the variance is robust. None: where the table has probability weights or a cluster.

    Returns
    -------
    GroupTest

    Raises
    ------
    DesignError
        If there are fewer than two groups at risk when something happens, no events, or people with several spells
        and no cluster.
    InputError
        If ``robust=False`` with probability weights or a cluster: the classical variance takes spells as independent
        and alike, and with weights from matching rejects a true null far too often. For an unknown column in
        ``strata``, or ``rho`` or ``gamma`` that is negative or not finite.

    Notes
    -----
    Formulas: see the module. Spells of which a level is missing have no part; nor has a group that is never at risk
    when something happens. Left-truncated spells enter the risk sets late. The robust variance takes weights as known;
    where they are estimated from the same people, as propensities are, it is too large if anything (Robins, Rotnitzky
    and Zhao 1994). Where a release changed the counts, the variance of the changes is added.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> spells = pd.DataFrame({"id": range(6), "weeks": [1, 2, 3, 4, 5, 6], "cause": 1, "arm": list("aaabbb")})
    >>> test = logrank(life_table(spells, id="id", duration="weeks", cause="cause", by="arm"))
    >>> round(test.chi2, 4), test.df, round(test.p_value, 4)
    (5.0517, 1, 0.0246)
    """
    found = _deviations(table, rho, gamma, strata, robust)
    return GroupTest.build(*found, clusters=_few_clusters(table) or None)


def logrank_scores(
    table: LifeTable,
    rho: float = 0.0,
    gamma: float = 0.0,
    strata: str | Sequence[str] = (),
    robust: bool | None = None,
) -> Scores:
    """Return what `logrank` is a function of: observed less expected ends, and their covariance.

    Of clusters that reach over groups, such as matched sets, they hold nothing but this covariance, so that they can be
    released where the life table by cluster cannot. They add up as the test stratified by agency.

    Parameters
    ----------
    table, rho, gamma, strata, robust
        As in `logrank`.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> from retrain_eval.estimators.survival.grouptest import score_test
    >>> spells = pd.DataFrame({"id": range(6), "weeks": [1, 2, 3, 4, 5, 6], "cause": 1, "arm": list("aaabbb")})
    >>> scores = logrank_scores(life_table(spells, id="id", duration="weeks", cause="cause", by="arm"))
    >>> score_test(scores)["statistic"].round(4).tolist()
    [5.0517]
    """
    name, groups, kept, spread, _ = _deviations(table, rho, gamma, strata, robust)
    own = groups.iloc[kept]
    return Scores(
        name,
        tuple(own["level"]),
        own["n"].to_numpy(dtype=np.int64),
        (own["observed"] - own["expected"]).to_numpy(dtype=float),
        spread[np.ix_(kept, kept)],
        _few_clusters(table),
        table.signature,
        rho,
        gamma,
        (strata,) if isinstance(strata, str) else tuple(strata),
        robust,
    )


def _few_clusters(table: LifeTable) -> int:
    """Return the number of clusters if they are few, else 0: of many, such as matched sets, it counts people."""
    clusters = 0 if table.clusters is None else table.clusters.count(known_levels(table).groups())
    return clusters if clusters < FEW else 0


def _deviations(
    table: LifeTable, rho: float, gamma: float, strata: str | Sequence[str], robust: bool | None
) -> tuple[str, pd.DataFrame, Ints, Floats, str]:
    """Return the name, the groups, those that take part, the covariance of their deviations and what it stands on."""
    within = (strata,) if isinstance(strata, str) else tuple(strata)
    require_groups(table, within)
    table = known_levels(table)
    for keyword, value in (("rho", rho), ("gamma", gamma)):
        if not 0 <= value < np.inf:
            raise InputError(f"{keyword} must be zero or more, not {value}", column=keyword, value=value)
    needed = table.weighted or table.cluster is not None
    if robust is False and needed:
        what = "probability weights" if table.weighted else "a cluster"
        raise InputError(
            f"the log-rank test with its classical variance does not hold with {what}",
            rule="it takes spells as independent and of equal weight",
            fix="leave robust out",
        )
    require_independent_spells(table, "Give cluster= the person's id: the log-rank test would reject too often.")
    made_robust = needed if robust is None else robust
    levels, blocks = _strata(table, within)
    observed, expected = np.zeros(len(levels)), np.zeros(len(levels))
    spread, influence = np.zeros((len(levels), len(levels))), np.zeros((len(levels), len(table.cells)))
    number = np.zeros(len(table.cells), dtype=np.int64)
    for block in blocks:
        part = _Scores(block, len(levels), rho, gamma)
        observed += part.observed
        expected += part.expected
        if not made_robust:
            spread += part.hypergeometric()
        for place, risk in block:
            number[risk.cells] = place
            if made_robust or table.noise is not None:
                influence[:, risk.cells] = part.influence(table, place, risk)
    if made_robust:
        spread = table.covariance(sparse.csr_array(influence))
    elif table.noise is not None:
        spread += table.noise_covariance(sparse.csr_array(influence))
    return (
        _name(rho, gamma, within),
        group_frame(table, levels, number, observed, expected),
        np.flatnonzero(expected > 0),
        spread,
        variance_name(table) if made_robust else "hypergeometric",
    )


@recorded
def logrank_test(
    table: LifeTable,
    rho: float = 0.0,
    gamma: float = 0.0,
    strata: str | Sequence[str] = (),
    robust: bool | None = None,
) -> pd.DataFrame:
    """Return `logrank` as one row, columns as `GroupTest.to_frame`."""
    return logrank(table, rho, gamma, strata, robust).to_frame()


Block = list[tuple[int, RiskSet]]


def _strata(table: LifeTable, within: Sequence[str]) -> tuple[list[tuple[str, ...]], list[Block]]:
    """Return the levels compared and, for each stratum, its risk sets with the place of their level."""
    inside = [table.by.index(name) for name in within]
    outside = [place for place in range(len(table.by)) if place not in inside]
    levels: dict[tuple[str, ...], int] = {}
    blocks: dict[tuple[str, ...], Block] = {}
    for risk in risk_sets(table, np.unique(table.cells["duration"])):
        level = tuple(risk.level[place] for place in outside)
        stratum = tuple(risk.level[place] for place in inside)
        blocks.setdefault(stratum, []).append((levels.setdefault(level, len(levels)), risk))
    return list(levels), list(blocks.values())


class _Scores:
    """Observed and expected ends of one stratum, at the durations where something happens."""

    def __init__(self, block: Block, n_levels: int, rho: float, gamma: float) -> None:
        self.times = block[0][1].times
        weight, events = np.zeros((len(self.times), n_levels)), np.zeros((len(self.times), n_levels))
        for place, risk in block:
            # the difference of two sums of weights may leave a rounding error where no spell is at risk
            weight[:, place], events[:, place] = np.where(risk.n > 0, risk.weight, 0.0), risk.events
        self.total, self.ended = weight.sum(axis=1), events.sum(axis=1)
        some = self.ended > 0
        divisor = np.where(some, self.total, 1.0)
        self.share = np.where(some[:, None], weight / divisor[:, None], 0.0)
        all_end = sum(risk.n for _, risk in block) == sum(risk.n_events for _, risk in block)
        self.hazard = np.where(some, np.where(all_end, 1.0, self.ended / divisor), 0.0)
        before = np.append(1.0, np.cumprod(1 - self.hazard)[:-1])
        self.factor = before**rho * (1 - before) ** gamma
        self.observed = self.factor @ events
        self.expected = (self.factor * self.ended) @ self.share

    def hypergeometric(self) -> Floats:
        """Return the covariance of the observed given the margins, shape (G, G)."""
        # where one is at risk, he ends and nothing is compared: (Y − d) is zero, whatever Y − 1 is
        spread = self.factor**2 * self.ended * (self.total - self.ended) / np.maximum(self.total - 1, 1)
        covariance: Floats = np.diag(spread @ self.share) - self.share.T @ (spread[:, None] * self.share)
        return covariance

    def influence(self, table: LifeTable, place: int, risk: RiskSet) -> Floats:
        """Return the influence of a unit of weight in each of a group's cells, shape (G, cells)."""
        entered, duration = (table.cells[name].to_numpy()[risk.cells] for name in ("entry", "duration"))
        left = np.searchsorted(self.times, duration)
        entry = np.searchsorted(self.times, entered, side="right")
        apart = self.factor[:, None] * ((np.arange(self.share.shape[1]) == place) - self.share)
        exposure = np.vstack([np.zeros(apart.shape[1]), np.cumsum(apart * self.hazard[:, None], axis=0)])
        ended: Bools = is_event(table)[risk.cells]
        values: Floats = ended[:, None] * apart[left] - (exposure[left + 1] - exposure[entry])
        return values.T


def _name(rho: float, gamma: float, within: Sequence[str]) -> str:
    name = "log-rank" if rho == gamma == 0 else f"Fleming–Harrington({rho:g}, {gamma:g})"
    return f"{name}, stratified by {' × '.join(within)}" if within else name
