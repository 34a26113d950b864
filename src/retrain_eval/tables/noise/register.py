"""The register of published counts: one set of people has one count, and the parts of a whole add up to it.

Without it, changed counts are undone by averaging: the cells of K stratifications add up to the same whole with fresh
noise each time (Asghar and Kaafar 2020, Proceedings on Privacy Enhancing Technologies 2020(2)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.tables.noise.absorbed import absorbed_variances
from retrain_eval.tables.noise.cell_keys import Keys
from retrain_eval.tables.noise.changes import Changes
from retrain_eval.tables.noise.counted_sets import CountedSets

MOST, ROUNDS = 2, 3  # by how much a count moves further in each round, so that parts add up


@dataclass
class Register:
    """Cell key → published count.

    Attributes
    ----------
    changes : Changes
    published : dict of int → int
    counted : CountedSets
        The sets of earlier editions, which those counted now are kept apart from.

    Examples
    --------
    >>> register = Register(Changes(2.0, 2))
    >>> register.count(50, 3), register.count(50, 3)
    (48, 48)
    >>> parts = register.parts(48, [20, 30], np.array([4, 5], np.uint64))
    >>> int(parts.sum())
    48
    """

    changes: Changes
    published: dict[int, int] = field(default_factory=dict)
    counted: CountedSets = field(default_factory=CountedSets)
    _wider: dict[int, float] = field(default_factory=dict, repr=False)
    _earlier: frozenset[int] = field(default=frozenset(), repr=False)

    def __post_init__(self) -> None:
        self._earlier = frozenset(self.published)

    def variance(self, keys: Keys) -> Floats:
        """Return the variances of published counts about the true ones, shape of ``keys``.

        Those that absorbed what parts and whole differed by vary more (`retrain_eval.tables.noise.absorbed`).

        Examples
        --------
        >>> register, keys = Register(Changes(2.0, 2)), np.array([4, 5], np.uint64)
        >>> _ = register.parts(register.count(50, 9), [20, 30], keys)
        >>> register.variance(keys).round(1).tolist(), register.variance(np.array([9], np.uint64)).tolist()
        ([2.4, 3.1], [2.0])
        """
        found = [self._wider.get(key, self.changes.spread) for key in keys.ravel().tolist()]
        return np.array(found, dtype=np.float64).reshape(keys.shape)

    def count(self, n: int, key: int) -> int:
        """Return the published count of n people with this cell key, the same wherever they are counted."""
        if int(key) not in self.published:
            [changed] = self.changes.change([n], np.array([key], dtype=np.uint64)).tolist()
            self.published[int(key)] = changed
        return self.published[int(key)]

    def parts(self, whole: int, counts: Sequence[int], keys: Keys) -> Ints | None:
        """Return published counts of the disjoint parts of a whole, which add up to its published count.

        Parts that are not published yet absorb the difference, the largest first, by at most 2 each and, if that is not
        enough, in two more rounds; none is moved into 1 … js. None: the parts cannot be made to add up, which happens
        if most are published already, and none may be published.

        Parameters
        ----------
        whole : int
            The published count of the whole.
        counts, keys
            Of its parts.
        """
        known = [int(key) in self.published for key in keys]
        of = [self.published.get(int(key)) for key in keys]
        changed = self.changes.change(list(counts), keys).tolist()
        values = [new if old is None else old for old, new in zip(of, changed, strict=True)]
        # equal counts in the order of keys, so that the order of parts does not matter
        base = self.changes.base
        most, least = max(MOST, base), max(self.changes.never, base if base > 1 else 0)
        largest_first = sorted(range(len(values)), key=lambda part: (-counts[part], int(keys[part])))
        for part in largest_first * ROUNDS:
            step = max(-most, min(most, whole - sum(values)))
            if step and not known[part] and values[part] > 0 and values[part] + step > least:
                values[part] += step
        if sum(values) != whole:
            return None
        self.published |= {int(key): value for key, value in zip(keys, values, strict=True)}
        # what an earlier edition published was fitted to its whole there
        fitted = [int(keys[part]) for part in largest_first if not known[part] or int(keys[part]) in self._earlier]
        fitted = sorted(fitted, key=lambda key: (-self.published[key], key))  # in an order that the counts tell anyhow
        if len(keys) > 1:
            variances = absorbed_variances(self.changes, len(keys), len(fitted), most, ROUNDS)
            self._wider |= {key: v for key, v in zip(fitted, variances, strict=True) if key not in self._wider}
        return np.array(values, dtype=np.int64)
