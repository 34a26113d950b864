"""The logit of being treated, for many comparisons at once, by Newton's method on units that are read in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from retrain_eval.common.arrays import Bools, Floats, Index
from retrain_eval.common.errors import DesignError
from retrain_eval.common.numerics.linear_algebra import basis_of
from retrain_eval.common.numerics.newton import Newton, Step, shortened
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.did.conditional import TRIM
from retrain_eval.estimators.rows.blocks import Block, Sums
from retrain_eval.estimators.rows.units import UnitTable

_SMALL = 1e-7  # a step this small, in standard deviations of the log odds, is the last one: its error is its square
_CERTAIN = 0.1  # a step this small cannot overshoot
_LARGEST_STEP = 3.0
_MAX_STEPS = 40
_FLAT = 1e-11  # information, as a share of that at even odds, of a maximum that lies at infinity


@summarised
@dataclass
class Propensities:
    """P(treated | x) of every block, on the rows that it compares.

    Attributes
    ----------
    gamma : ndarray, shape (B, q)
    impossible : list of int ndarray
        Zero-one columns that no treated unit of the block has: rows with one of them have probability zero, the limit
        of a logit whose coefficient runs to minus infinity.
    failed : dict
        Block → why it has no estimate.
    """

    gamma: Floats
    impossible: list[Index]
    failed: dict[int, DesignError]

    def of(self, blocks: Index, x: Floats) -> Floats:
        """Return the probabilities, shape (len(blocks), n), of rows with covariates x, shape (q, n)."""
        probability: Floats = expit(self.gamma[blocks] @ x)
        for row, b in zip(probability, blocks, strict=True):
            row[self.outside(int(b), x)] = 0.0
        return probability

    def outside(self, b: int, x: Floats) -> Bools | slice:
        """Return the rows that cannot be treated, as an index; an empty slice where there are none."""
        columns = self.impossible[b]
        return (x[columns] != 0).any(axis=0) if len(columns) else slice(0, 0)


def odds(probability: Floats) -> Floats:
    """Return the odds of being treated, zero where the propensity is above ``TRIM``."""
    kept = probability < TRIM
    found: Floats = np.where(kept, probability / np.where(kept, 1 - probability, 1.0), 0.0)
    return found


def at_cell(blocks: Sequence[Block], cell: int, side: int, among: Index) -> Iterator[tuple[bool, Index]]:
    """Yield whether a cell is treated, and in which of some blocks; then the blocks in which it serves as control."""
    for treated in (True, False):
        found = [
            b for b in among if side in blocks[b].sides and (blocks[b].treated if treated else blocks[b].control)[cell]
        ]
        if found:
            yield treated, np.array(found, dtype=np.intp)


def fit_propensities(table: UnitTable, blocks: Sequence[Block], sums: Sums, among: Index) -> Propensities:
    """Fit the logits of some blocks by maximum likelihood.

    Where covariates separate treated from controls there is no maximum: `Propensities.failed` says so, with the names
    of the covariates.

    References
    ----------
    Albert, A. and Anderson, J. (1984), Biometrika 71, 1-10.
    """
    q = len(table.names)
    impossible = [np.flatnonzero(sums.impossible(block, table)) for block in blocks]
    propensities = Propensities(np.zeros((len(blocks), q)), impossible, {})
    rules = {int(b): _Rule(float(sums.gram[:, blocks[b].sides][_members(blocks[b])][..., 0, 0].sum())) for b in among}
    newton = {b: Newton(rule, rounding=1e-10 * rule.weight) for b, rule in rules.items()}
    # at even odds the derivatives are sums that are there already, unless some rows of the cell do not count
    known = {b for b in newton if not len(impossible[b])}
    for b in known:
        treated, control = (sums.gram[mask][:, blocks[b].sides].sum(axis=(0, 1)) for mask in _arms(blocks[b]))
        propensities.gamma[b] = newton[b].move(
            propensities.gamma[b], None, (treated - control)[0] / 2, (treated + control) / 4
        )
    active = np.array(sorted(newton), dtype=np.intp)
    fresh = np.array([b for b in active if b not in known], dtype=np.intp)
    for round_ in range(_MAX_STEPS):
        turn = fresh if round_ == 0 and len(fresh) else active
        if not len(turn):
            break
        judge = any(newton[b].size > _CERTAIN for b in turn)
        value, score, information = _derivatives(table, blocks, propensities, turn, judge)
        for i, b in enumerate(turn):
            propensities.gamma[b] = newton[b].move(
                propensities.gamma[b], value[i] if judge else None, score[i], information[i]
            )
        active = np.array([b for b in active if not newton[b].done], dtype=np.intp)
    for b, search in newton.items():
        if not search.done or rules[b].flat:
            names = sums.separating_columns(blocks[b], table)
            propensities.failed[b] = DesignError(f"treated and controls are separated by {names}")
    return propensities


def _arms(block: Block) -> tuple[Bools, Bools]:
    return block.treated, block.control


def _members(block: Block) -> Bools:
    found: Bools = block.treated | block.control
    return found


class _Rule:
    """Newton's step of one logit, measured in standard deviations of the log odds.

    Attributes
    ----------
    flat : bool
        Whether the information vanishes: the maximum lies at infinity.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.flat = False
        self._basis: Floats | None = None

    def __call__(self, score: Floats, information: Floats) -> Step:
        if self._basis is None:
            # in this basis the squares at even odds average one, so a step is measured in log odds
            self._basis = basis_of(4 * information / self.weight)
        inner = self._basis.T @ (information / self.weight) @ self._basis
        values, vectors = np.linalg.eigh((inner + inner.T) / 2)
        self.flat = bool(values[0] < _FLAT)
        gradient = vectors.T @ (self._basis.T @ score / self.weight)
        move = vectors @ (gradient / np.maximum(values, _FLAT))
        size = float(np.linalg.norm(move))
        move = self._basis @ shortened(move, size, _LARGEST_STEP)
        return Step(move, min(size, _LARGEST_STEP), last=self.flat or size < _SMALL)


def _derivatives(
    table: UnitTable, blocks: Sequence[Block], found: Propensities, turn: Index, judge: bool
) -> tuple[Floats, Floats, Floats]:
    """Return log-likelihoods, their gradients and information of some blocks, in one pass."""
    q = len(table.names)
    place = {int(b): i for i, b in enumerate(turn)}
    value, score, information = np.zeros(len(turn)), np.zeros((len(turn), q)), np.zeros((len(turn), q, q))
    for chunk in table.groups(4 * len(turn), outcomes=False):
        for units in chunk:
            for side, rows, _ in units.sides():
                x, w = units.x[:, rows], units.weight[rows]
                for treated, here in at_cell(blocks, units.cell, side, turn):
                    to = [place[int(b)] for b in here]
                    probability = found.of(here, x)
                    likely = probability if treated else 1 - probability
                    score[to] += ((w * (1 - probability)) if treated else (-w * probability)) @ x.T
                    if judge:
                        value[to] += np.log(np.maximum(likely, 1e-300)) @ w
                    spread = w * probability * (1 - probability)
                    for i, row in zip(to, spread, strict=True):
                        information[i] += (x * row) @ x.T
    return value, score, information
