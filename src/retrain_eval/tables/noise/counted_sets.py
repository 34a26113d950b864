"""Sets of people that are counted: those of earlier editions, and those of the edition that is being made.

A count changes with its cell key, so two counts of sets that differ by one person have unrelated changes. In two
editions that is not enough: a count that did not change tells that no one joined, and one that changed that someone
did. So a set that differs from one counted in an earlier edition by one to nine people is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from retrain_eval.common.arrays import Bools, Ints
from retrain_eval.common.shown import summarised
from retrain_eval.tables.noise.cell_keys import APART, N_SUMS, Keys, people_apart
from retrain_eval.tables.noise.person_keys import PRIME
from retrain_eval.tables.noise.released_sets import Conflict, ReleasedSet, of_few

_AT_A_TIME = 20_000


@summarised
@dataclass
class CountedSets:
    """The sets that earlier editions counted, and those that this one counts.

    Attributes
    ----------
    earlier : sequence of ReleasedSet
        Of all earlier editions, behind counts or sums.
    sets : list of ReleasedSet
        Of this edition, added where their counts are published.

    Examples
    --------
    >>> from retrain_eval.tables.noise.cell_keys import CellKeys
    >>> cell, record = np.array([0] * 40 + [1] * 3), np.arange(43).astype(np.uint64)
    >>> of = CellKeys.of(cell, record, 3 + np.arange(43), np.ones(43), 2)
    >>> forty, more = of.take([0]), of.merged(np.array([0, 0]), 1)
    >>> counted = CountedSets([ReleasedSet("2025", 40, int(forty.key[0]), tuple(forty.rows[0].tolist()))])
    >>> [counted.few_apart([n], sets.key, sets.rows).tolist() for n, sets in ((40, forty), (43, more))]
    [[False], [True]]
    """

    earlier: Sequence[ReleasedSet] = ()
    sets: list[ReleasedSet] = field(default_factory=list)

    def alike(self, sets: Sequence[ReleasedSet]) -> list[Conflict]:
        """Return the pairs of one of these sets and one of an earlier edition that differ by one to nine people.

        Only the people counted matter, not their weights. A set that was counted before has the count that it had,
        which tells nothing new.
        """
        earlier = self._earlier
        new = [one for one in sets if (one.key, one.counted) not in earlier.known]
        if not new or not earlier.sets:
            return []
        n, most = (np.array([getattr(one, name) for one in new]) for name in ("n", "most"))
        # fewer than ten people with at most so many rows each
        near = np.abs(n[:, None] - earlier.n) <= (APART - 1) * np.maximum(most[:, None], earlier.most)
        mine, (rows, columns), found = np.array([one.counted for one in new], dtype=np.int64), np.nonzero(near), []
        for start in range(0, len(rows), _AT_A_TIME):
            part = slice(start, start + _AT_A_TIME)
            gap = (mine[rows[part]] - earlier.sketch[columns[part]]) % PRIME
            for at in np.flatnonzero(of_few(gap)):
                people = people_apart(gap[at], np.zeros(N_SUMS, np.int64))
                if 0 < people < APART:
                    found.append(Conflict(new[rows[start + at]], earlier.sets[columns[start + at]], people))
        return found

    @cached_property
    def _earlier(self) -> _Earlier:
        return _Earlier.of(self.earlier)

    def few_apart(self, n: Sequence[int] | Ints, key: Keys, sketch: Ints | None) -> Bools:
        """Return which of M sets differ by one to nine people from one of an earlier edition.

        Parameters
        ----------
        n : sequence of int, length M
        key : uint64 ndarray, shape (M,)
        sketch : int ndarray, shape (M, 20), or None
            If sketches are not known, every set that was not counted before may differ by few.
        """
        if not self.earlier:
            return np.zeros(len(n), dtype=bool)
        if sketch is None:
            known = {one.key for one in self._earlier.sets}
            return np.array([int(one) not in known for one in key], dtype=bool)
        sets = sets_of_counts([str(place) for place in range(len(n))], n, key, sketch)
        near = {pair.one.name for pair in self.alike(sets)}
        return np.array([one.name in near for one in sets], dtype=bool)

    def add(self, names: Sequence[str], n: Sequence[int] | Ints, key: Keys, sketch: Ints | None) -> None:
        """Record the sets behind published counts; parameters as of `few_apart`."""
        if sketch is not None:
            self.sets += sets_of_counts(names, n, key, sketch)


@summarised
@dataclass(frozen=True)
class _Earlier:
    """Sets of earlier editions, equal ones once, as arrays."""

    sets: list[ReleasedSet]
    known: set[tuple[int, tuple[int, ...]]]
    n: Ints
    most: Ints
    sketch: Ints

    @classmethod
    def of(cls, sets: Sequence[ReleasedSet]) -> _Earlier:
        once = {(one.key, one.counted): one for one in sets}
        n, most = (np.array([getattr(one, name) for one in once.values()], np.int64) for name in ("n", "most"))
        sketch = np.array([one.counted for one in once.values()], np.int64).reshape(len(once), N_SUMS)
        return cls(list(once.values()), set(once), n, most, sketch)


def sets_of_counts(names: Sequence[str], n: Sequence[int] | Ints, key: Keys, sketch: Ints) -> list[ReleasedSet]:
    """Return sets that were only counted, from the numbers, the keys and the sketches of their people."""
    rows = zip(names, n, key, np.asarray(sketch).tolist(), strict=True)
    return [ReleasedSet(name, int(size), int(of), tuple(sums)) for name, size, of, sums in rows]
