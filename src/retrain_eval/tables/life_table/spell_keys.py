"""Keys of the cells of a life table, from which its protected version is made; they never leave the agency."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import AnyInts, Index, Ints
from retrain_eval.common.shown import summarised
from retrain_eval.tables.noise.cell_keys import Keys, add_keys, add_sketches


@summarised
@dataclass(frozen=True)
class SpellKeys:
    """Keys of C cells of spells.

    Attributes
    ----------
    key : uint64 ndarray, shape (C,)
        Sum of the record keys of the people whose spells are in a cell, modulo 2⁶⁴.
    most : int
        The largest number of spells of one person in the rows: N spells are of at least N / most people. A control who
        is matched several times has several spells.
    rows : int ndarray, shape (C, 20), or None
        The sketches of the same people (`retrain_eval.tables.noise.cell_keys`), each spell once; None if not known.

    Examples
    --------
    >>> keys = SpellKeys(np.array([3, 2**64 - 1], np.uint64), 1)
    >>> keys.merged(np.array([0, 0]), 1).key.tolist(), keys.take([1]).most
    ([2], 1)
    """

    key: Keys
    most: int
    rows: Ints | None = None

    def take(self, index: Index) -> Self:
        """Return the keys of some of the cells."""
        return type(self)(self.key[index], self.most, None if self.rows is None else self.rows[index])

    def merged(self, group: AnyInts, n_groups: int) -> Self:
        """Return the keys of the unions of cells with equal numbers."""
        rows = None if self.rows is None else add_sketches(self.rows, group, n_groups)
        return type(self)(add_keys(self.key, group, n_groups), self.most, rows)

    @classmethod
    def stacked(cls, parts: Sequence[SpellKeys]) -> Self:
        """Return the keys of the cells of all parts, in their order."""
        rows = [part.rows for part in parts if part.rows is not None]
        every = np.concatenate(rows) if len(rows) == len(parts) else None
        return cls(np.concatenate([part.key for part in parts]), max(part.most for part in parts), every)

    def split(self, cell: AnyInts, share: int) -> Keys:
        """Return keys for the first or the second of two shares of cells; which spells are in which is not known.

        The first is a hash of the cell's key and the second what is left, so that they add up.

        Parameters
        ----------
        cell : int ndarray
        share : {0, 1}
        """
        whole = self.key[cell]
        first = np.array([_hash(str(key)) for key in whole.tolist()], dtype=np.uint64)
        with np.errstate(over="ignore"):
            return first if share == 0 else whole - first


def signature(cells: pd.DataFrame, keys: SpellKeys) -> str:
    """Return a text that tells apart tables of different people or durations; without the keys it cannot be guessed.

    Parameters
    ----------
    cells : DataFrame
        As in a life table.
    keys : SpellKeys
    """
    named = cells.drop(columns=["n", "sum_w", "sum_w2"])
    rows = zip(*(named[name].astype(str) for name in named.columns), keys.key.tolist(), strict=True)
    return hashlib.sha256(repr([list(row) for row in rows]).encode()).hexdigest()


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
