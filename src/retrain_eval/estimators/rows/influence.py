"""The passes that read outcomes: sums weighted by the odds of treatment, and products of influence functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from retrain_eval.common.arrays import Floats, Index
from retrain_eval.estimators.did.conditional import TRIM
from retrain_eval.estimators.rows.blocks import Block
from retrain_eval.estimators.rows.effects import Arm, BlockEffects, OddsSums
from retrain_eval.estimators.rows.propensity import Propensities, at_cell, odds
from retrain_eval.estimators.rows.units import Units, UnitTable
from retrain_eval.tables.clusters import Clusters


def sum_odds(
    table: UnitTable, blocks: Sequence[Block], propensities: Propensities, among: Index
) -> dict[int, OddsSums]:
    """Read the units once and return the weighted sums of some blocks."""
    q, n_periods = len(table.names), len(table.times) if table.one_side else 1
    # one set per side of the block, not of the table: a block without gaps has one side, any other two
    gram = {int(b): {side: np.zeros((q, q)) for side in blocks[b].sides} for b in among}
    moment = {int(b): {side: np.zeros((q, n_periods)) for side in blocks[b].sides} for b in among}
    information = {int(b): np.zeros((q, q)) for b in among}
    trimmed = {int(b): 0 for b in among}
    for chunk in table.groups(2 * q):
        for units in chunk:
            for side, rows, y in units.sides():
                x, w = units.x[:, rows], units.weight[rows]
                for treated, here in at_cell(blocks, units.cell, side, among):
                    for b, probability in zip(here.tolist(), propensities.of(here, x), strict=True):
                        information[b] += (x * (w * probability * (1 - probability))) @ x.T
                        if not treated:
                            weighted = x * (w * odds(probability))
                            gram[b][side] += weighted @ x.T
                            moment[b][side] += weighted @ y.T
                            trimmed[b] += int((probability >= TRIM).sum())
    return {b: OddsSums(gram[b], moment[b], information[b], trimmed[b]) for b in gram}


def influence_products(
    table: UnitTable,
    blocks: Sequence[Block],
    effects: Mapping[int, BlockEffects],
    propensities: Propensities | None,
    n_rows: int,
    *,
    clusters: bool,
) -> tuple[Floats, Clusters | None]:
    """Return Ω = Σ_j ψ_j ψ_jᵀ over units or clusters j, and which cells the clusters lie in.

    Parameters
    ----------
    table, blocks, effects, propensities
        Units, what is compared, and the influence of their rows.
    n_rows : int
        Number K of comparisons.
    clusters : bool
        Sum ψ within clusters first.

    Returns
    -------
    ndarray, shape (K + C, K + C)
        ψ_j holds the influence of j on every comparison, then on the Σw of every cell.
    Clusters or None
        A row for each cluster, in their order; None without clusters.
    """
    size = n_rows + len(table.cells)
    omega = np.zeros((size, size))
    among = np.array(sorted(effects), dtype=np.intp)
    carried, last, pairs = np.zeros(size), -1, list[Index]()
    for chunk in table.groups(size + 2 * len(table.names), clusters=clusters):
        if not clusters:
            for units in chunk:
                places, psi = _influence(blocks, effects, propensities, units, among, n_rows)
                omega[np.ix_(places, places)] += psi @ psi.T
            continue
        # clusters are numbered in the order in which they are read: the first may go on from the chunk before, and
        # the last into the next
        numbers = np.concatenate([units.cluster for units in chunk if units.cluster is not None])
        first, until = int(numbers.min()), int(numbers.max()) + 1
        total = np.zeros((size, until - first))
        if first == last:
            total[:, 0] = carried
        elif last >= 0:
            omega += np.outer(carried, carried)
        for units in chunk:
            assert units.cluster is not None
            places, psi = _influence(blocks, effects, propensities, units, among, n_rows)
            starts = np.flatnonzero(np.diff(units.cluster, prepend=-1))
            pairs.append(units.cluster[starts] * len(table.cells) + units.cell)
            total[np.ix_(places, units.cluster[starts] - first)] += np.add.reduceat(psi, starts, axis=1)
        omega += total[:, :-1] @ total[:, :-1].T
        carried, last = total[:, -1].copy(), until - 1
    if not clusters:
        return omega, None
    omega += np.outer(carried, carried)
    row, cell = np.divmod(np.unique(np.concatenate(pairs)).astype(np.int64), len(table.cells))
    return omega, Clusters(row, cell, np.ones(last + 1, dtype=np.int64))


def _influence(
    blocks: Sequence[Block],
    effects: Mapping[int, BlockEffects],
    propensities: Propensities | None,
    units: Units,
    among: Index,
    n_rows: int,
) -> tuple[Index, Floats]:
    """Return which coordinates the units of a cell move, m of them, and their ψ, shape (m, n)."""
    mine = [int(b) for b in among if blocks[b].treated[units.cell] or blocks[b].control[units.cell]]
    places = [k for b in mine for k, _, _ in blocks[b].pairs]
    ends = np.cumsum([len(blocks[b].pairs) for b in mine])
    at = {b: slice(end - len(blocks[b].pairs), end) for b, end in zip(mine, ends.tolist(), strict=True)}
    psi = np.zeros((len(places) + 1, len(units.weight)))
    psi[-1] = units.weight
    for side, rows, y in units.sides():
        x, w = units.x[:, rows], units.weight[rows]
        for treated, here in at_cell(blocks, units.cell, side, np.array(mine, dtype=np.intp)):
            probability = None if propensities is None else propensities.of(here, x)
            for i, b in enumerate(here.tolist()):
                arm = effects[b].arms[treated, side]
                coefficients, carriers = _factors(
                    arm, treated, x, w, y, None if probability is None else probability[i]
                )
                if isinstance(rows, slice):
                    np.matmul(coefficients, carriers, out=psi[at[b]])
                else:
                    psi[at[b], rows] += coefficients @ carriers
    return np.array([*places, n_rows + units.cell], dtype=np.intp), psi


def _factors(
    arm: Arm, treated: bool, x: Floats, w: Floats, y: Floats, probability: Floats | None
) -> tuple[Floats, Floats]:
    """Return the influence of rows on the comparisons of a block as a product, (K, m) by (m, rows); see `Arm`."""
    slope = arm.lead @ x
    parts = [arm.select, -arm.fit, arm.shift]
    if probability is not None:
        parts += [arm.score, arm.level[:, None]]
    coefficients = np.hstack(parts)
    carriers = np.zeros((coefficients.shape[1], len(w)))
    n_periods, q = len(y), len(x)
    end = n_periods + 2 * q
    if probability is not None:
        np.multiply(w * (treated - probability), x, out=carriers[end : end + q])
        if not treated:
            chance = odds(probability)
            slope += arm.odds_share * chance
            np.multiply(w, chance, out=carriers[-1])
    slope *= w
    np.multiply(slope, y, out=carriers[:n_periods])
    np.multiply(slope, x, out=carriers[n_periods : n_periods + q])
    np.multiply(w, x, out=carriers[n_periods + q : end])
    return coefficients, carriers
