r"""Gray's test of equal cumulative incidence of a cause between groups, from a life table.

In group ``g``, ``R_g = Y_g (1 − F_g(t−))/S_g(t−)`` estimates the risk set of the subdistribution: the spells that
have not ended by the cause. The score compares ends by the cause with those expected, as the log-rank test does with
hazards (Gray 1988, with weights ρ = 0):

    z_g = Σ (d_g − d R_g/R)

Under equality ``F`` is common, ``dF = d/Q`` with ``Q_g = Y_g/S_g(t−)``. Put ``A = diag(Q_g) − Q_g Q_h/Q`` and
``C(t) = Σ_{u≤t} A dF/(1 − F(u−))``. To first order z is a sum over groups ``h`` and durations of independent parts:
an end by the cause, of weight ``S_h(u−)/Y_h``, moves ``z_g`` by ``A_gh + (C_gh(∞) − C_gh(u)) (1 − r)``, one by
another cause by ``−(C_gh(∞) − C_gh(u)) r``, where ``r = (1 − F(u))/S_h(u)``. The number of ends has the variance of a
draw without replacement, from ``Q S_h(u−)`` and from ``Y_h`` spells.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from retrain_eval.common.arrays import Bools, Floats
from retrain_eval.common.errors import InputError, unknown
from retrain_eval.estimators.survival.grouptest import GroupTest, group_frame
from retrain_eval.estimators.survival.incidence import causes_of
from retrain_eval.estimators.survival.risk import (
    RiskSet,
    is_event,
    known_levels,
    require_independent_spells,
    risk_sets,
)
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.recipe import recorded

_STEP = 1e-3  # of a count, for slopes


def gray(table: LifeTable, cause: str) -> GroupTest:
    """Test whether the groups of a life table have the same cumulative incidence of a cause.

    Parameters
    ----------
    table : LifeTable
        Two groups or more, without probability weights, cluster or left truncation.
    cause : str
        One of the causes of ending.

    Returns
    -------
    GroupTest

    Raises
    ------
    InputError
        For a cause that does not occur; or for weights, a cluster or left truncation, for which the variance has not
        been derived: compare cumulative incidences, whose standard errors are robust.
    DesignError
        If nothing can be compared, or people have several spells.

    Notes
    -----
    Formulas: see the module. Where a release changed the counts, the variance of the changes is added by the slopes of
    the scores. Spells of which a level is missing have no part. The tests show
    agreement with ``cmprsk`` 2.2.11.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> spells = pd.DataFrame({"id": range(6), "weeks": [1, 2, 3, 4, 5, 6], "cause": ["job", "recall"] * 3,
    ...                        "arm": list("aaabbb")})
    >>> test = gray(life_table(spells, id="id", duration="weeks", cause="cause", censored=(), by="arm"), "job")
    >>> round(test.chi2, 3), test.df
    (2.165, 1)
    """
    for found, what in (
        (table.weighted, "probability weights"),
        (table.cluster is not None, "a cluster"),
        (table.left_truncated, "left truncation"),
    ):
        if found:
            raise InputError(
                f"Gray's test does not hold with {what}",
                rule="its variance takes spells as independent, of equal weight and observed from the start",
                fix="compare cumulative incidences at chosen durations: incidence_difference()",
            )
    require_independent_spells(table, "Compare cumulative incidences with cluster= the person's id.")
    table = known_levels(table)
    causes = causes_of(table)
    if str(cause) not in causes:
        raise unknown("cause", cause, causes)
    groups = risk_sets(table, np.unique(table.cells["duration"]))
    of_cause = (table.cells["cause"] == str(cause)).to_numpy(dtype=bool)
    ends = np.column_stack([_ends(table, risk, of_cause) for risk in groups])
    when = np.column_stack([risk.n_events for risk in groups]).sum(axis=1) > 0
    at_risk = np.column_stack([risk.n for risk in groups])[when].astype(float)
    every = np.column_stack([risk.n_events for risk in groups])[when].astype(float)
    expected, spread = _moments(at_risk, ends[when], every)
    if table.noise is not None:
        slope = _slopes(table, groups, when, (at_risk, ends[when], every), of_cause)
        spread = spread + table.noise_covariance(sparse.csr_array(slope))
    frame = group_frame(table, table.groups(), table.group_numbers(), ends.sum(axis=0), expected)
    kept = np.flatnonzero(expected > 0)
    return GroupTest.build(f"Gray, CIF({cause})", frame, kept, spread, "without replacement, by cause")


@recorded
def gray_test(table: LifeTable, cause: str) -> pd.DataFrame:
    """Return `gray` as one row, columns as `GroupTest.to_frame`."""
    return gray(table, cause).to_frame()


def _ends(table: LifeTable, risk: RiskSet, of_cause: Bools) -> Floats:
    """Return a group's ends by the cause at each duration."""
    own = table.cells.iloc[risk.cells]
    place = np.searchsorted(risk.times, own["duration"].to_numpy())
    weights = np.where(of_cause[risk.cells], own["n"].to_numpy(), 0.0)
    return np.bincount(place, weights=weights, minlength=len(risk.times)).astype(float)


def _slopes(
    table: LifeTable, groups: Sequence[RiskSet], when: Bools, counts: tuple[Floats, Floats, Floats], of_cause: Bools
) -> Floats:
    """Return the slope of each score in the count of each cell, by central differences, shape (G, C)."""
    slope, event = np.zeros((len(groups), len(table.cells))), is_event(table)
    times, duration = groups[0].times[when], table.cells["duration"].to_numpy()
    for number, risk in enumerate(groups):
        for cell in risk.cells:
            ended = times == duration[cell]
            moves = (times <= duration[cell], ended & of_cause[cell], ended & event[cell])
            for step in (_STEP, -_STEP):
                moved = [count.copy() for count in counts]
                for count, move in zip(moved, moves, strict=True):
                    count[move, number] += step
                slope[:, cell] += (moved[1].sum(axis=0) - _moments(*moved)[0]) / (2 * step)
    return slope


def _moments(at_risk: Floats, ends: Floats, every: Floats) -> tuple[Floats, Floats]:
    """Return expected ends by the cause, shape (G,), and the covariance of the scores, shape (G, G).

    ``at_risk``, ``ends`` by the cause and ``every`` end are by duration and group, shape (K, G).
    """
    there = at_risk > 0
    divisor = np.maximum(at_risk, 1)
    after = np.cumprod(1 - every / divisor, axis=0)
    before = np.vstack([np.ones(at_risk.shape[1]), after[:-1]])
    incidence = np.cumsum(before * ends / divisor, axis=0)
    incidence_before = np.vstack([np.zeros(at_risk.shape[1]), incidence[:-1]])
    size = np.where(there, at_risk / np.where(there, before, 1.0), 0.0)
    exposed = size * (1 - incidence_before)
    total, count = size.sum(axis=1), ends.sum(axis=1)
    expected: Floats = (count / exposed.sum(axis=1)) @ exposed
    pooled = np.cumsum(count / total)
    pooled_before = np.append(0.0, pooled[:-1])
    apart = np.eye(at_risk.shape[1]) * size[:, :, None] - size[:, :, None] * size[:, None, :] / total[:, None, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        # where a group is used up, Q no longer adds up to everyone and the common F runs past what is left
        rate = np.where((count > 0) & there.all(axis=1), count / (total * (1 - pooled_before)), 0.0)
        survivors = np.where(there & (after > 0), (1 - pooled)[:, None] / after, 0.0)
    cumulative = np.cumsum(apart * rate[:, None, None], axis=0)
    ahead = cumulative[-1] - cumulative
    by_cause = apart + ahead * (1 - survivors[:, None, :])
    by_other = ahead * survivors[:, None, :]
    # draws without replacement; of fewer than two nothing is drawn twice
    drawn = np.clip(1 - (count[:, None] - 1) / np.maximum(total[:, None] * before - 1, 1e-300), 0, 1)
    others = every - ends
    spread_cause = np.where(there, np.where(count[:, None] > 1, drawn, 1) * before * count[:, None] / total[:, None], 0)
    spread_cause = spread_cause / divisor
    spread_other = (before / divisor) ** 2 * others * (at_risk - others) / np.maximum(at_risk - 1, 1)
    covariance: Floats = np.einsum("tik,tjk,tk->ij", by_cause, by_cause, spread_cause) + np.einsum(
        "tik,tjk,tk->ij", by_other, by_other, spread_other
    )
    return expected, covariance
