"""Sums by cell: cells with equal keys are added up."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import AnyInts, Floats, Index

Pairs = Mapping[tuple[int, int], Floats]


def merge_cells(
    cells: pd.DataFrame,
    keys: list[str],
    first: Floats,
    second: Pairs,
    order: Callable[[pd.DataFrame], Index] | None = None,
) -> tuple[pd.DataFrame, Floats, dict[tuple[int, int], Floats], AnyInts]:
    """Sum rows of ``cells`` that have the same keys; return cells, both moments, and the new cell of each row.

    Cells are in order of appearance, or in the order given by ``order``, which returns the positions of the keys.
    """
    group = cells.groupby(keys, dropna=False, sort=False).ngroup().to_numpy()
    n_groups = int(group.max(initial=-1)) + 1
    merged = cells[keys].drop_duplicates().reset_index(drop=True)
    if order is not None:
        sequence = order(merged)
        place = np.empty(n_groups, dtype=np.intp)
        place[sequence] = np.arange(n_groups)
        group, merged = place[group], merged.iloc[sequence].reset_index(drop=True)
    merged["n"] = np.bincount(group, weights=cells["n"].to_numpy(), minlength=n_groups).astype(int)
    total = np.zeros((n_groups, first.shape[1]))
    np.add.at(total, group, first)
    blocks: dict[tuple[int, int], Floats] = {}
    for (a, b), block in second.items():
        c, d = int(group[a]), int(group[b])
        # two distinct cells that are merged contribute in both orders; stored pairs have c <= d
        parts = [((c, d), block)] if c != d or a == b else [((c, c), block), ((c, c), block.T)]
        for (row, column), part in parts:
            key, value = ((row, column), part) if row <= column else ((column, row), part.T)
            blocks[key] = blocks[key] + value if key in blocks else value
    return merged, total, blocks, group
