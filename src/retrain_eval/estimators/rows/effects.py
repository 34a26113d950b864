"""Conditional differences in differences of one block: estimates, and how a unit moves them.

The three estimators, with or without gaps, are sums over periods p of the two compared (sign s_p), with m0 and m1 least
squares on controls and treated, π a logit, o = π/(1 − π), bars means over the treated of the block::

    reg   Σ s_p ( Ȳ_p − x̄ᵀβ0_p )
    ipw   Σ s_p ( Ȳ_p − mean of controls' Y_p with weights w·o )
    dr    Σ s_p ( Ȳ_p − x̄ᵀβ0_p − mean of controls' (Y_p − m0_p) with weights w·o )

where, if the periods are observed on different rows, "dr" puts ``x̄ᵀβ1_p`` for ``Ȳ_p`` (the locally efficient form).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import DesignError
from retrain_eval.common.numerics.linear_algebra import basis_of, inverse_within
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.rows.blocks import Block, Sums
from retrain_eval.estimators.rows.units import UnitTable


@summarised
@dataclass(frozen=True)
class OddsSums:
    """Sums over the units of one block, needed where its propensity weighs.

    Attributes
    ----------
    gram : dict of ndarray, shape (q, q)
        Side → Σ w o x xᵀ over controls.
    moment : dict of ndarray, shape (q, P)
        Side → Σ w o x yᵀ.
    information : ndarray, shape (q, q)
        Σ w π (1 − π) x xᵀ over all rows of the block.
    n_trimmed : int
        Control rows left out because their propensity is too high.
    """

    gram: dict[int, Floats]
    moment: dict[int, Floats]
    information: Floats
    n_trimmed: int


@summarised
@dataclass(frozen=True)
class Arm:
    """Influence of the rows of one arm on one side, for the K comparisons of the block.

    ::

        ψ_k = w (odds_share·o + xᵀlead) (d_kᵀy − xᵀfit_k) + w xᵀshift_k + w o level_k + w (D − π) xᵀscore_k

    Attributes
    ----------
    select : ndarray, shape (K, P)
        d_k: which periods of the side enter, and with which sign.
    odds_share : float
    lead : ndarray, shape (q,)
    fit, shift, score : ndarray, shape (K, q)
    level : ndarray, shape (K,)
    """

    select: Floats
    odds_share: float
    lead: Floats
    fit: Floats
    shift: Floats
    score: Floats
    level: Floats


@summarised
@dataclass(frozen=True)
class BlockEffects:
    """Estimates of a block's comparisons, shape (K,), and the influence of its rows by (treated, side)."""

    estimate: Floats
    arms: dict[tuple[bool, int], Arm]


def block_effects(method: str, table: UnitTable, block: Block, sums: Sums, weighed: OddsSums | None) -> BlockEffects:
    """Estimate a block.

    Parameters
    ----------
    method : {"reg", "ipw", "dr"}
    table, block, sums
        Units, what is compared, and the sums over cells.
    weighed : OddsSums or None
        For "ipw" and "dr".

    Raises
    ------
    DesignError
        If a regression has no solution: treated whose covariates no control has.

    Notes
    -----
    Sant'Anna and Zhao (2020): "reg" their eq. 2.2 with least squares, "ipw" the Hajek form of Abadie (2005), "dr" their
    eq. 2.6 for panels and eq. 3.4 (locally efficient) for cross sections. The influence function of each is the
    derivative of these sums with respect to the weight of a unit, both nuisances included; rows of one unit add up.

    One term follows DRDID 1.2.3 instead, so that standard errors equal its own: in the locally efficient form, the
    influence of the base period's regression on controls has there the factor ``x̄ + x̄_o − 2 x̄_b``, with x̄_o the
    mean of the controls weighted by w·o and x̄_b that of the treated, both observed in the base period. The derivative
    has ``x̄ − x̄_o``. Both converge to zero, and the standard errors differ by 1 or 2% in small samples.
    """
    q, n_pairs = len(table.names), len(block.pairs)
    regress, efficient = method != "ipw", method == "dr" and not table.one_side
    treated = {side: sums.gram[block.treated, side].sum(axis=0) for side in block.sides}
    control = {side: sums.gram[block.control, side].sum(axis=0) for side in block.sides}
    total = sum(gram[0, 0] for gram in treated.values())
    mean = np.sum([gram[0] for gram in treated.values()], axis=0) / total
    span = basis_of(np.sum([*treated.values(), *control.values()], axis=0))
    constant = np.eye(1, q)[0]

    estimate, score, shift = np.zeros(n_pairs), np.zeros((n_pairs, q)), np.zeros((n_pairs, q))
    parts: dict[tuple[bool, int], tuple[Floats, float, Floats, Floats, Floats]] = {}
    for side in block.sides:
        select = _select(table, block, side)
        outcome = sums.moment[block.treated, side].sum(axis=0) @ select.T  # (q, K)
        share = treated[side][0, 0]
        lead, fit = constant / share, np.outer(outcome[0] / share, constant)
        beta, control_lead, odds_share = np.zeros((n_pairs, q)), np.zeros(q), 0.0
        level = np.zeros(n_pairs)
        away = mean
        if weighed is not None:
            odds_total = weighed.gram[side][0, 0]
            if not odds_total > 0:
                raise DesignError("every control has a propensity too high to be used")
            away = mean - weighed.gram[side][0] / odds_total
            if efficient and side == table.side(block.pairs[0][2])[0]:
                away = mean + weighed.gram[side][0] / odds_total - 2 * treated[side][0] / share  # see Notes
        if regress:
            inverted = _inverse(
                control[side], span, f"no control is like the treated in {sums.separating_columns(block, table)}"
            )
            beta = (inverted @ sums.moment[block.control, side].sum(axis=0) @ select.T).T
            control_lead = -inverted @ away
            shift -= beta
        if efficient:
            inverted = _inverse(
                treated[side],
                span,
                f"the treated observed in period {table.times[side]} are too few or too alike for a regression",
            )
            fit = (inverted @ outcome).T
            lead = inverted @ mean
            shift += fit
        else:
            estimate += outcome[0] / share
        if weighed is not None:
            odds_moment = weighed.moment[side] @ select.T - weighed.gram[side] @ beta.T  # Σ w o x (y − m0)
            residual = odds_moment[0] / odds_total
            estimate -= residual
            odds_share, level = -1 / odds_total, residual / odds_total
            score -= (odds_moment - np.outer(weighed.gram[side][0], residual)).T / odds_total
        parts[True, side] = (select, 0.0, lead, fit, np.zeros(n_pairs))
        parts[False, side] = (select, odds_share, control_lead, beta, level)
    estimate += shift @ mean
    if weighed is not None:
        score = score @ np.linalg.pinv(weighed.information, hermitian=True, rcond=1e-13)
    centred = (shift - np.outer(shift @ mean, constant)) / total
    nothing = np.zeros((n_pairs, q))
    arms = {
        (is_treated, side): Arm(select, odds_share, lead, fit, centred if is_treated else nothing, score, level)
        for (is_treated, side), (select, odds_share, lead, fit, level) in parts.items()
    }
    return BlockEffects(estimate, arms)


def _inverse(gram: Floats, span: Floats, otherwise: str) -> Floats:
    inverted = inverse_within(gram, span)
    if inverted is None:
        raise DesignError(otherwise)
    return inverted


def _select(table: UnitTable, block: Block, side: int) -> Floats:
    """Return the signs with which the periods of a side enter each comparison, shape (K, P)."""
    found = np.zeros((len(block.pairs), len(table.times) if table.one_side else 1))
    for k, (_, time, base) in enumerate(block.pairs):
        for period, sign in ((time, 1.0), (base, -1.0)):
            where, position = table.side(period)
            if where == side:
                found[k, position] += sign
    return found
