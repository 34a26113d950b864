"""The keys of people as arrays, next to the arrays of what is known about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from retrain_eval.common.arrays import Floats, Index, Ints
from retrain_eval.common.shown import summarised
from retrain_eval.tables.noise.cell_keys import Keys


@summarised
@dataclass(frozen=True)
class HeldKeys:
    """The keys of n people, in the order of their other columns.

    Attributes
    ----------
    record : uint64 ndarray, shape (n,)
    factor : ndarray, shape (n,)
        What the amounts of a person are multiplied by.
    element : int ndarray, shape (n,)

    Examples
    --------
    >>> held = HeldKeys(np.array([7, 9], np.uint64), np.array([0.9, 1.1]), np.array([3, 5]))
    >>> held.take(np.array([1])).record.tolist(), held
    ([9], HeldKeys(record=<ndarray (2)>, factor=<ndarray (2)>, element=<ndarray (2)>))
    """

    record: Keys
    factor: Floats
    element: Ints

    def take(self, index: Index) -> HeldKeys:
        """Return the keys of some of the people."""
        return HeldKeys(self.record[index], self.factor[index], self.element[index])

    def column(self) -> pa.StructArray:
        """Return the column ``person_key`` of a table of these people, as `with_keys` makes it."""
        parts = [pa.array(self.record), pa.array(self.factor), pa.array(self.element.astype(np.int32))]
        return pa.StructArray.from_arrays(parts, names=["record", "factor", "element"])
