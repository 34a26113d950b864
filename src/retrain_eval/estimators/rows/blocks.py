"""What one pass over the units leaves, and the comparisons that share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.errors import DesignError
from retrain_eval.common.numerics.separation import separating_columns
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.did.comparisons import Comparison
from retrain_eval.estimators.rows.units import UnitTable


@summarised
@dataclass(frozen=True)
class Block:
    """Comparisons of the same treated with the same controls, on the same rows: one propensity, one regression.

    Attributes
    ----------
    treated, control : bool ndarray, shape (C,)
        Cells compared.
    pairs : tuple of (int, int, int)
        Row of the result, period and base period, as positions.
    sides : tuple of int
        Sides that the periods lie on.
    """

    treated: Bools
    control: Bools
    pairs: tuple[tuple[int, int, int], ...]
    sides: tuple[int, ...]


def make_blocks(table: UnitTable, comparisons: Sequence[Comparison]) -> list[Block]:
    """Gather the comparisons, numbered in their order, into blocks."""
    found: dict[tuple[object, ...], list[tuple[int, int, int]]] = {}
    for k, item in enumerate(comparisons):
        key: tuple[object, ...] = (item.treated.tobytes(), item.control.tobytes())
        if not table.one_side:
            key = (*key, item.time, item.base)
        found.setdefault(key, []).append((k, item.time, item.base))
    out = []
    for pairs in found.values():
        first = comparisons[pairs[0][0]]
        sides = dict.fromkeys(table.side(period)[0] for _, time, base in pairs for period in (time, base))
        out.append(Block(first.treated, first.control, tuple(pairs), tuple(sides)))
    return out


@summarised
@dataclass(frozen=True)
class Sums:
    """Sums over the units of each cell and side; x has a constant first, so that these hold Σw and Σwx.

    Attributes
    ----------
    n : int ndarray, shape (C, S)
    gram : ndarray, shape (C, S, q, q)
        Σ w x xᵀ.
    moment : ndarray, shape (C, S, q, P)
        Σ w x yᵀ over the periods of the side.
    low, high : ndarray, shape (C, S, q)
        Range of each column of x.
    weight : ndarray, shape (C,)
        Σw, every unit once.
    both : int ndarray, shape (C, T, T), or None
        Units observed in two periods, where not every unit is observed in all.
    """

    n: Ints
    gram: Floats
    moment: Floats
    low: Floats
    high: Floats
    weight: Floats
    both: Ints | None

    def separating_columns(self, block: Block, table: UnitTable) -> str:
        """Name the columns in which the treated have no counterpart."""
        sides = list(block.sides)
        low, high = self.low[:, sides].min(axis=1), self.high[:, sides].max(axis=1)
        treated, control = ((low[arm].min(axis=0), high[arm].max(axis=0)) for arm in (block.treated, block.control))
        return separating_columns(table.names, table.binary, treated, control)

    def impossible(self, block: Block, table: UnitTable) -> Bools:
        """Return the zero-one columns, shape (q,), that some control has and no treated unit: propensity zero."""
        sides = list(block.sides)
        high = self.high[:, sides].max(axis=1)
        found: Bools = table.binary & (high[block.treated].max(axis=0) <= 0) & (high[block.control].max(axis=0) > 0)
        return found

    def units(self, cells: Bools, time: int, base: int) -> int:
        """Count the units of some cells that are observed in at least one of two periods."""
        if self.both is None:
            return int(self.n[cells, 0].sum())
        found = self.both[cells].sum(axis=0)
        either = found[time, time] + (found[base, base] - found[time, base] if time != base else 0)
        return int(either)

    def check_observed(self, block: Block, table: UnitTable) -> None:
        """Refuse a comparison in which hardly anybody is observed in one of its periods."""
        for cells, who in ((block.treated, "treated"), (block.control, "controls")):
            for side in block.sides:
                n = int(self.n[cells, side].sum())
                if n < 2:
                    raise DesignError(f"{n} of the {who} observed in period {table.times[side]}")


def sum_units(table: UnitTable) -> Sums:
    """Read the units once and return their sums."""
    n_cells, n_sides, q = len(table.cells), table.n_sides, len(table.names)
    n_periods = len(table.times) if table.one_side else 1
    n = np.zeros((n_cells, n_sides), dtype=np.int64)
    gram, moment = np.zeros((n_cells, n_sides, q, q)), np.zeros((n_cells, n_sides, q, n_periods))
    low, high = np.full((n_cells, n_sides, q), np.inf), np.full((n_cells, n_sides, q), -np.inf)
    weight = np.zeros(n_cells)
    both = None if table.one_side else np.zeros((n_cells, len(table.times), len(table.times)), dtype=np.int64)
    for chunk in table.groups(len(table.names)):
        for units in chunk:
            c = units.cell
            weight[c] += units.weight.sum()
            if both is not None and units.period is None:
                seen = (~np.isnan(units.y)).astype(np.float64)
                both[c] += np.rint(seen @ seen.T).astype(np.int64)
            for side, rows, y in units.sides():
                x, w = units.x[:, rows], units.weight[rows]
                weighted = x * w
                n[c, side] += len(w)
                gram[c, side] += weighted @ x.T
                moment[c, side] += weighted @ y.T
                np.minimum(low[c, side], x.min(axis=1), out=low[c, side])
                np.maximum(high[c, side], x.max(axis=1), out=high[c, side])
    if both is not None and not both.any():  # cross sections: each unit appears once
        both[:, np.arange(n_sides), np.arange(n_sides)] = n
    if not (np.isfinite(gram).all() and np.isfinite(moment).all()):
        raise DesignError("sums of squares overflow: use a larger unit for the outcome")
    return Sums(n, gram, moment, low, high, weight, both)
