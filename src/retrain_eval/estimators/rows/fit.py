"""The regressions, logits and effects of all blocks: which can be estimated, and why the others cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrain_eval.common.errors import DesignError
from retrain_eval.estimators.rows.blocks import Block, Sums
from retrain_eval.estimators.rows.effects import BlockEffects, block_effects
from retrain_eval.estimators.rows.influence import sum_odds
from retrain_eval.estimators.rows.propensity import Propensities, fit_propensities
from retrain_eval.estimators.rows.units import UnitTable


@dataclass(frozen=True)
class Fit:
    """Effects of the blocks that can be estimated, by block, and why the others cannot."""

    effects: dict[int, BlockEffects]
    propensities: Propensities | None
    trimmed: frozenset[int]
    failed: dict[int, DesignError]


def fit_blocks(method: str, table: UnitTable, blocks: Sequence[Block], sums: Sums) -> Fit:
    """Estimate each block, with logits where the method needs them."""
    effects: dict[int, BlockEffects] = {}
    failed: dict[int, DesignError] = {}
    for b, block in enumerate(blocks):
        try:
            sums.check_observed(block, table)
        except DesignError as error:
            failed[b] = error
    propensities, weighed = None, {}
    if method != "reg":
        among = np.array([b for b in range(len(blocks)) if b not in failed], dtype=np.intp)
        propensities = fit_propensities(table, blocks, sums, among)
        failed |= propensities.failed
        among = np.array([b for b in among if b not in failed], dtype=np.intp)
        weighed = sum_odds(table, blocks, propensities, among)
    for b, block in enumerate(blocks):
        if b in failed:
            continue
        try:
            effects[b] = block_effects(method, table, block, sums, weighed.get(b))
        except DesignError as error:
            failed[b] = error
    trimmed = frozenset(b for b, sums_of_odds in weighed.items() if sums_of_odds.n_trimmed)
    return Fit(effects, propensities, trimmed, failed)
