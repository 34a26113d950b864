"""Clusters of a life table: the number in each set of groups and, if there are few clusters, the spells of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from retrain_eval.common.numerics.jackknife import FEW
from retrain_eval.common.shown import summarised

Group = tuple[str, ...]
Sets = Mapping[frozenset[Group], int]

MOST_KEPT = 500  # largest number of clusters whose spells are kept by cluster
LARGE = 10  # smallest average number of spells per cluster for which a file may hold spells by cluster
KEPT = 3  # the same in memory, exclusive; matched sets are smaller


@summarised
@dataclass(frozen=True)
class SpellClusters:
    """The groups of a life table in which clusters occur.

    Attributes
    ----------
    sets : mapping of frozenset of groups → int
        Number of clusters with spells in exactly these groups.
    n, sum_w : sparse array, shape (J, C), or None
        Spells and their weights by cluster and cell, kept if some group has few clusters, so that each can be left out.
    withheld : bool
        Whether they were kept for large clusters and then dropped when durations were merged.
    """

    sets: Sets
    n: sparse.csr_array | None = None
    sum_w: sparse.csr_array | None = None
    withheld: bool = False

    def count(self, groups: Collection[Group]) -> int:
        """Return the number of clusters that have spells in any of these groups.

        Examples
        --------
        >>> both, one = frozenset({("a",), ("b",)}), frozenset({("a",)})
        >>> found = SpellClusters({both: 3, one: 2})
        >>> found.count([("a",)]), found.count([("b",)])
        (5, 3)
        """
        wanted = frozenset(groups)
        return sum(number for members, number in self.sets.items() if members & wanted)

    def __add__(self, other: SpellClusters) -> SpellClusters:
        """Return the clusters of both samples, which share none."""
        n, sum_w = _side_by_side(self.n, other.n), _side_by_side(self.sum_w, other.sum_w)
        return SpellClusters(Counter(self.sets) + Counter(other.sets), n, sum_w, self.withheld or other.withheld)

    def regrouped(self, name: Callable[[Group], Group | None]) -> SpellClusters:
        """Return the clusters with renamed groups; groups renamed to None are dropped."""
        sets: Counter[frozenset[Group]] = Counter()
        for members, number in self.sets.items():
            if left := frozenset(new for old in members if (new := name(old)) is not None):
                sets[left] += number
        return replace(self, sets=sets)

    def moved(self, cells: sparse.csr_array) -> SpellClusters:
        """Return the clusters for new cells, which are sums of the old ones; ``cells`` has the shape (new, old)."""
        n, sum_w = (None if part is None else sparse.csr_array(part @ cells.T) for part in (self.n, self.sum_w))
        return replace(self, n=n, sum_w=sum_w)

    def without_spells(self) -> SpellClusters:
        """Return the clusters without spells by cluster: only the number in each set of groups."""
        large = self.n is not None and self.n.sum() >= LARGE * self.n.shape[0]
        return SpellClusters(self.sets, withheld=self.withheld or bool(large))

    def facts(self) -> dict[str, Any]:
        """Return the plain values to store in a file, with the spells of each cluster only if clusters are large."""
        plain: dict[str, Any] = {"sets": [[sorted(members), number] for members, number in self.sets.items()]}
        plain["withheld"] = self.withheld
        if self.n is not None and self.sum_w is not None and self.n.sum() >= LARGE * self.n.shape[0]:
            n, sum_w = self.n.tocoo(), self.sum_w.tocoo()
            plain["shape"] = self.n.shape
            for name, part in (("n", n), ("sum_w", sum_w)):
                plain[name] = [axis.tolist() for axis in (*part.coords, part.data)]
        return plain

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> SpellClusters:
        """Return the clusters stored by `facts`.

        Examples
        --------
        >>> one = SpellClusters({frozenset({("a",)}): 2})
        >>> SpellClusters.of_facts(one.facts()) == one
        True
        """
        sets = {frozenset(tuple(group) for group in members): int(number) for members, number in facts["sets"]}
        if "shape" not in facts:
            return cls(sets, withheld=bool(facts.get("withheld", False)))
        shape = tuple(facts["shape"])
        n, sum_w = (
            sparse.csr_array((np.array(data, dtype=float), (row, column)), shape=shape)
            for row, column, data in (facts["n"], facts["sum_w"])
        )
        return cls(sets, n, sum_w)


def _side_by_side(one: sparse.csr_array | None, other: sparse.csr_array | None) -> sparse.csr_array | None:
    if one is None or other is None:
        return None
    return sparse.csr_array(sparse.block_diag((one, other), format="csr"))


def keeps_each(sets: Sets, n_spells: int) -> bool:
    """Return whether spells are kept by cluster: if clusters are few, and larger than pairs, in some group."""
    clusters = sum(sets.values())
    groups = frozenset[Group]().union(*sets)
    fewest = min((SpellClusters(sets).count([group]) for group in groups), default=0)
    return fewest < FEW and (clusters < FEW or (clusters <= MOST_KEPT and n_spells > KEPT * clusters))
