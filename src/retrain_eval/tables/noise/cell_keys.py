r"""Cell keys and sketches: what a cell knows of who its people are, as sums that add.

The *key* of a cell is the sum of its people's record keys modulo 2⁶⁴ (Thompson, Broadfoot and Elazar 2013, section 3):
the same people have the same key, wherever they are counted. The *sketch* holds the power sums ``Σ_i q_i x_i^k``,
k = 1 … 20, of people's elements x modulo a prime, where q is the weight in units of 1/65,536. The difference of two
sketches is that of the people who are in one cell only, or with another weight: `people_apart` counts them as long as
they are at most nine, as in set reconciliation (Minsky, Trachtenberg and Zippel 2003, IEEE Transactions on Information
Theory 49(9)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from retrain_eval.common.arrays import AnyInts, Floats, Index, Ints
from retrain_eval.common.shown import summarised
from retrain_eval.tables.noise.person_keys import PRIME

Keys = npt.NDArray[np.uint64]

APART = 10  # two sets are told apart if so many people are in one only
N_SUMS = 2 * APART  # a recurrence of nine terms follows from 18 sums; two more confirm it
UNIT = 2**16  # units in a weight of one
_HALF = np.uint64(32)
_AT_A_TIME = 2**21  # sums of so many 32-bit numbers are exact as floats


@summarised
@dataclass(frozen=True)
class CellKeys:
    """The keys and sketches of M cells.

    Attributes
    ----------
    key : uint64 ndarray, shape (M,)
    sketch : int ndarray, shape (M, 20)
        Modulo `PRIME`.

    Examples
    --------
    >>> record, element = np.array([7, 2**64 - 5, 1], np.uint64), np.array([3, 5, 11])
    >>> of = CellKeys.of(np.array([0, 0, 1]), record, element, np.ones(3), 2)
    >>> of.key.tolist(), of.merged(np.array([0, 0]), 1).key.tolist()
    ([2, 1], [3])
    """

    key: Keys
    sketch: Ints

    @classmethod
    def of(cls, cell: AnyInts, record: Keys, element: AnyInts, weight: Floats, n_cells: int) -> Self:
        """Return the keys and sketches of cells from the cell, the keys and the weight of each of n people."""
        sketch = np.zeros((n_cells, N_SUMS), dtype=np.int64)
        x, power = element.astype(np.int64), np.rint(weight * UNIT).astype(np.int64) % PRIME
        for k in range(N_SUMS):
            power = power * x % PRIME
            sketch[:, k] = _sums(cell, power, n_cells) % PRIME
        return cls(key_sums(cell, record, n_cells), sketch)

    @classmethod
    def none(cls, n_cells: int) -> Self:
        """Return those of cells without people."""
        return cls(np.zeros(n_cells, np.uint64), np.zeros((n_cells, N_SUMS), np.int64))

    def take(self, index: Index) -> Self:
        """Return those of some of the cells."""
        return type(self)(self.key[index], self.sketch[index])

    def merged(self, group: AnyInts, n_groups: int) -> Self:
        """Return those of the unions of cells with equal numbers."""
        return type(self)(add_keys(self.key, group, n_groups), _added(self.sketch, group, n_groups) % PRIME)

    @classmethod
    def stacked(cls, parts: Sequence[CellKeys]) -> Self:
        """Return those of the cells of all parts, in their order."""
        return cls(np.concatenate([part.key for part in parts]), np.vstack([part.sketch for part in parts]))


def key_sums(cell: AnyInts, record: Keys, n_cells: int) -> Keys:
    """Return the sums of record keys by cell, modulo 2⁶⁴."""
    high, low = record >> _HALF, record & np.uint64(2**32 - 1)
    total = _sums(cell, high, n_cells).astype(np.uint64) << _HALF
    with np.errstate(over="ignore"):
        found: Keys = total + _sums(cell, low, n_cells).astype(np.uint64)
    return found


def add_keys(keys: Keys, group: AnyInts, n_groups: int) -> Keys:
    """Return the sums of cell keys over groups along the first axis, modulo 2⁶⁴."""
    total = np.zeros((n_groups, *keys.shape[1:]), np.uint64)
    with np.errstate(over="ignore"):
        np.add.at(total, group, keys)
    return total


def _sums(cell: AnyInts, values: AnyInts, n_cells: int) -> Ints:
    """Return exact sums by cell of whole numbers below 2³²."""
    total = np.zeros(n_cells, dtype=np.int64)
    for start in range(0, len(cell), _AT_A_TIME):
        part = slice(start, start + _AT_A_TIME)
        total += np.bincount(cell[part], values[part].astype(np.float64), n_cells).astype(np.int64)
    return total


def _added(sketch: Ints, group: AnyInts, n_groups: int) -> Ints:
    total = np.zeros((n_groups, sketch.shape[1]), np.int64)
    np.add.at(total, group, sketch)
    return total


def people_apart(one: Ints, other: Ints) -> int:
    """Return how many people are in one of two sets only, or have another weight there, from their sketches.

    Parameters
    ----------
    one, other : int ndarray, shape (20,)

    Returns
    -------
    int
        Exact up to 9, but for a chance of about 1 in 2³¹ for each pair of people that two of them share an element; 10
        stands for 10 or more.

    Notes
    -----
    The difference ``Σ_i q_i x_i^k`` of d people is a sequence that obeys a linear recurrence of order d and of none
    below, which the Berlekamp–Massey algorithm finds (Massey 1969, IEEE Transactions on Information Theory 15(1)).

    Examples
    --------
    >>> record, element = np.zeros(5, np.uint64), np.array([3, 5, 11, 13, 19])
    >>> sets = CellKeys.of(np.array([0, 0, 0, 1, 1]), record, element, np.ones(5), 2)
    >>> whole = sets.merged(np.array([0, 0]), 1)
    >>> people_apart(whole.sketch[0], sets.sketch[0]), people_apart(whole.sketch[0], whole.sketch[0])
    (2, 0)
    """
    order = _linear_complexity([int(a) - int(b) for a, b in zip(one, other, strict=True)])
    return min(order, APART)


def _linear_complexity(sequence: Sequence[int]) -> int:
    """Return the order of the shortest linear recurrence of a sequence modulo `PRIME`: Berlekamp–Massey."""
    now, before = [1], [1]
    order, shift, last = 0, 1, 1
    for place, value in enumerate(sequence):
        gap = value
        for i in range(1, min(order, len(now) - 1) + 1):
            gap += now[i] * sequence[place - i]
        gap %= PRIME
        if gap == 0:
            shift += 1
            continue
        scale = gap * pow(last, -1, PRIME) % PRIME
        longer = now + [0] * (len(before) + shift - len(now))
        for i, term in enumerate(before):
            longer[i + shift] = (longer[i + shift] - scale * term) % PRIME
        if 2 * order <= place:
            order, before, last, shift = place + 1 - order, now, gap, 1
        else:
            shift += 1
        now = longer
    return order
