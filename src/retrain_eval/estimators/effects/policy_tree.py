"""Shallow trees over cells: which of several actions each cell gets, so that the sum of gains is largest.

A tree splits cells by their levels of one covariate after another, at most twice; all cells of a leaf get one action.
All trees are tried, so that the best of them is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from retrain_eval.common.arrays import Bools, Floats, Index, Ints
from retrain_eval.common.shown import summarised

_BETTER = 1e-9  # of the largest gain in size: a tree with more leaves has to gain more than rounding


@summarised
@dataclass(frozen=True)
class Leaf:
    """Cells that get one action.

    Attributes
    ----------
    rule : mapping of int → tuple of int
        Covariate → the positions of the levels that it may have.
    cells : ndarray
        Positions of the cells.
    action : int
    """

    rule: Mapping[int, tuple[int, ...]]
    cells: Index
    action: int


@dataclass(frozen=True)
class Tree:
    """Leaves that have each cell once, and the sum of their gains."""

    leaves: tuple[Leaf, ...]
    gain: float

    def actions(self, n_cells: int) -> Ints:
        """Return the action of each cell."""
        found = np.zeros(n_cells, dtype=np.int64)
        for leaf in self.leaves:
            found[leaf.cells] = leaf.action
        return found


def best_tree(gains: Floats, levels: Ints, sizes: Sequence[int], depth: int = 2) -> Tree:
    """Return the tree with the largest sum of gains; of equal ones the one with the fewest splits, then the first.

    Parameters
    ----------
    gains : ndarray, shape (cells, actions)
        What an action gains in a cell, summed over its people; NaN where it cannot be given there.
    levels : int ndarray, shape (cells, covariates)
        Position of each cell's level among the ordered levels of each covariate.
    sizes : sequence of int
        Number of levels of each covariate.
    depth : int
        The most splits between the root and a leaf.

    Notes
    -----
    Exhaustive search over trees that split ordered levels in two (Athey and Wager 2021; Zhou, Athey and Wager 2023).

    Examples
    --------
    >>> gains = np.array([[0.0, 5.0], [0.0, 1.0], [0.0, -2.0]])
    >>> tree = best_tree(gains, np.array([[0], [1], [2]]), [3])
    >>> tree.gain, tree.actions(3).tolist()
    (6.0, [1, 1, 0])
    """
    return _best(gains, levels, sizes, np.arange(len(gains)), {}, depth)


def _best(
    gains: Floats, levels: Ints, sizes: Sequence[int], cells: Index, rule: dict[int, tuple[int, ...]], depth: int
) -> Tree:
    sums = gains[cells].sum(axis=0)
    action = int(np.nanargmax(sums))
    best = Tree((Leaf(rule, cells, action),), float(sums[action]))
    if depth == 0:
        return best
    enough = _BETTER * float(np.nanmax(np.abs(gains), initial=0.0))
    for covariate, size in enumerate(sizes):
        allowed = rule.get(covariate, tuple(range(size)))
        for cut in range(1, len(allowed)):
            low: Bools = np.isin(levels[cells, covariate], allowed[:cut])
            if low.all() or not low.any():
                continue
            parts = [
                _best(gains, levels, sizes, cells[side], rule | {covariate: names}, depth - 1)
                for side, names in ((low, allowed[:cut]), (~low, allowed[cut:]))
            ]
            found = Tree(tuple(leaf for part in parts for leaf in part.leaves), parts[0].gain + parts[1].gain)
            as_good, fewer = found.gain > best.gain - enough, len(found.leaves) < len(best.leaves)
            if found.gain > best.gain + enough or (as_good and fewer):
                best = found
    return best
