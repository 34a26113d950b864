r"""Cell keys and sketches: what a cell knows of who its people are, as sums that add.

The *key* of a cell is the sum of its people's record keys modulo 2⁶⁴ (Thompson, Broadfoot and Elazar 2013, section 3):
the same people have the same key, wherever they are counted. The *sketch* holds the power sums ``Σ_i q_i x_i^k``,
k = 1 … 20, of people's elements x modulo a prime, where q is the weight in units of 1/720,720. The difference of two
sketches is that of the people who are in one cell only, or with another weight: `people_apart` counts them as long as
they are at most nine, as in set reconciliation (Minsky, Trachtenberg and Zippel 2003, IEEE Transactions on Information
Theory 49(9)).

A second sketch, ``rows``, has each row with the weight one, like the key and the number of people. A person in several
rows, such as a control who is matched three times, counts three times in it, so that it adds over rows and cells, as
the number of distinct people does not; two sets of rows differ by a person who is in one of them more often.

Weights from matching are multiples of one weight: of one use of a control, or a share of it. The unit is the least
common multiple of 1 … 16, so such weights, divided by the one that most people have (`common_weight`), are whole
numbers of units without rounding, whatever the common factor is: it changes with every person who is matched.
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
UNIT = 720_720  # units in a weight of one: the least common multiple of 1 … 16
_HALF = np.uint64(32)
_AT_A_TIME = 2**21  # sums of so many 32-bit numbers are exact as floats
_DIGITS = 9  # weights are told apart by
_WHOLE = 1e-4  # how near to a whole number of units a multiple is
_OFTEN, _USUAL = 0.05, 2  # share of people from which a weight is a usual one, and how many are kept


@summarised
@dataclass(frozen=True)
class CellKeys:
    """The keys and sketches of M cells.

    Attributes
    ----------
    key : uint64 ndarray, shape (M,)
    sketch, rows : int ndarray, shape (M, 20)
        With weights, and with each row once; modulo `PRIME`.

    Examples
    --------
    >>> record, element = np.array([7, 2**64 - 5, 1], np.uint64), np.array([3, 5, 11])
    >>> of = CellKeys.of(np.array([0, 0, 1]), record, element, np.ones(3), 2)
    >>> of.key.tolist(), of.merged(np.array([0, 0]), 1).key.tolist()
    ([2, 1], [3])
    """

    key: Keys
    sketch: Ints
    rows: Ints

    @classmethod
    def of(cls, cell: AnyInts, record: Keys, element: AnyInts, weight: Floats, n_cells: int) -> Self:
        """Return the keys and sketches of cells from the cell, the keys and the weight of each of n people."""
        rows = _sketch(cell, element, np.full(len(element), UNIT, dtype=np.int64), n_cells)
        units = in_units(weight)
        sketch = rows if (units == UNIT).all() else _sketch(cell, element, units, n_cells)
        return cls(key_sums(cell, record, n_cells), sketch, rows)

    @classmethod
    def none(cls, n_cells: int) -> Self:
        """Return those of cells without people."""
        none = np.zeros((n_cells, N_SUMS), np.int64)
        return cls(np.zeros(n_cells, np.uint64), none, none)

    def take(self, index: Index) -> Self:
        """Return those of some of the cells."""
        return type(self)(self.key[index], self.sketch[index], self.rows[index])

    def merged(self, group: AnyInts, n_groups: int) -> Self:
        """Return those of the unions of cells with equal numbers."""
        sketch, rows = (add_sketches(of, group, n_groups) for of in (self.sketch, self.rows))
        return type(self)(add_keys(self.key, group, n_groups), sketch, rows)

    @classmethod
    def stacked(cls, parts: Sequence[CellKeys]) -> Self:
        """Return those of the cells of all parts, in their order."""
        key = np.concatenate([part.key for part in parts])
        return cls(key, np.vstack([part.sketch for part in parts]), np.vstack([part.rows for part in parts]))


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


def add_sketches(sketch: Ints, group: AnyInts, n_groups: int) -> Ints:
    """Return the sums of sketches over groups along the first axis."""
    total = np.zeros((n_groups, *sketch.shape[1:]), np.int64)
    np.add.at(total, group, sketch)
    return total % PRIME


def _sketch(cell: AnyInts, element: AnyInts, units: Ints, n_cells: int) -> Ints:
    """Return Σ q x^k by cell, where q is a number of units."""
    sketch = np.zeros((n_cells, N_SUMS), dtype=np.int64)
    x, power = element.astype(np.int64), units % PRIME
    for k in range(N_SUMS):
        power = power * x % PRIME
        sketch[:, k] = _sums(cell, power, n_cells) % PRIME
    return sketch


def in_units(weight: Floats) -> Ints:
    """Return weights as whole numbers of units."""
    return np.rint(weight * UNIT).astype(np.int64)


def different_weights(weight: Floats) -> tuple[Floats, Ints]:
    """Return the weights that differ in nine digits, as they are, and how many people have each."""
    _, first, people = np.unique(weight.round(_DIGITS), return_index=True, return_counts=True)
    return weight[first], people.astype(np.int64)


def common_weight(weight: Floats, people: Ints) -> tuple[float, tuple[int, ...]]:
    """Return what weights are divided by before they are sketched, and the usual weights after that, in units.

    Parameters
    ----------
    weight : ndarray, shape (W,)
        Different weights.
    people : int ndarray, shape (W,)
        How many people have each.

    Returns
    -------
    float
        The most frequent weight if all are whole numbers of units of it, as those from matching are; otherwise, or if
        they are whole numbers of units of 1, that.
    tuple of int
        At most two, the more frequent first. Two sets of nearly the same people are compared after division by these,
        because the most frequent weight may be one use of a control in one set and two in the other.

    Examples
    --------
    >>> base, usual = common_weight(np.array([np.pi, 2 * np.pi, np.pi / 3]), np.array([50, 40, 3]))
    >>> round(base, 4), usual
    (3.1416, (720720, 1441440))
    >>> common_weight(np.array([0.7, np.pi]), np.array([50, 1]))
    (1.0, (504504,))
    """
    order = np.lexsort([weight, -people])
    most = float(weight[order[0]])
    base = most if not _are_whole(weight) and _are_whole(weight / most) else 1.0
    often = order[:_USUAL][people[order[:_USUAL]] >= _OFTEN * people.sum()]
    return base, tuple(in_units(weight[often] / base).tolist())


def _are_whole(weight: Floats) -> bool:
    return bool((np.abs(weight * UNIT - np.rint(weight * UNIT)) < _WHOLE).all())


def rescaled(sketch: Ints, base: Floats, other: Floats) -> Ints:
    """Return sketches of weights divided by ``base`` as those of weights divided by ``other``, where that is exact.

    Parameters
    ----------
    sketch : int ndarray, shape (M, 20)
        Those of which one base is not a whole number of units of the other stay as they are.
    base, other : ndarray, shape (M,)
    """
    ratio = base / other * UNIT
    whole = np.abs(ratio - np.rint(ratio)) < _WHOLE
    factor = np.where(whole, np.rint(ratio), UNIT).astype(np.int64) % PRIME * pow(UNIT, -1, PRIME) % PRIME
    return sketch * factor[:, None] % PRIME


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
