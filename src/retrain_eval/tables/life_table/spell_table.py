r"""Life tables: the small additive table behind every survival estimate.

One row per cell: levels × entry × duration × cause. A spell is at risk on ``(entry, duration]``; cause ``"0"`` means
that it was censored at its duration. For the weight ``w``, a cell keeps

* ``n``, the number of spells, ``sum_w = Σw`` and ``sum_w2 = Σw²``, and
* with a cluster, ``products[c, d] = Σ_j (Σ_{i∈j∩c} w_i)(Σ_{i∈j∩d} w_i)`` over clusters ``j``.

The number at risk and the number of events at any time are sums of cells, and so Kaplan–Meier, the log-rank test and
everything else that depends on risk sets follow from the table. All spells of a cell have the same influence ``u_c``
per unit of weight, so ``Cov(θ_k, θ_l) = Σ_{c,d} u_kc products[c, d] u_ld`` exactly, without records of people.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self, TypeVar

import numpy as np
import pandas as pd
from scipy import sparse

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.shown import summarised
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.life_table.cooccurrence import quadratic_form, side_by_side
from retrain_eval.tables.life_table.spell_cells import COUNTS
from retrain_eval.tables.life_table.spell_clusters import SpellClusters
from retrain_eval.tables.life_table.spell_keys import SpellKeys, signature
from retrain_eval.tables.recipe import Recipe, recorded
from retrain_eval.tables.stamps import in_order, without_levels

ENDING = ["entry", "duration", "cause"]
PRODUCTS = ("product_with", "product")
NOISE = ("noise_with", "noise")
KEY, SKETCH = "key", "sketch"
Table = TypeVar("Table", bound="SpellTable")

ANY = "any"  # the cause of a table whose causes are merged


@summarised
@dataclass(frozen=True)
class SpellTable(Additive):
    """Spells counted by cell; `LifeTable` adds coarsening and files.

    Attributes
    ----------
    duration : str
        Name of the duration, which includes its unit.
    by : tuple of str
        Names of the columns of levels; a group is one combination of their levels.
    cells : DataFrame, C rows
        One column per name in ``by``, then ``entry``, ``duration``, ``cause`` (text, ``"0"`` = censored), ``n``
        (spells), ``sum_w`` and ``sum_w2``. No cell is empty.
    weighted : bool
        Whether the spells carry probability weights. Frequency weights give the table of the repeated spells.
    cluster : str or None
        Column that ``products`` are summed over.
    products : sparse array, shape (C, C), or None
        Sums over clusters of products of weights. None without a cluster, in which case it is the diagonal ``sum_w2``,
        or if ``totals`` replace it.
    totals : sparse array, shape (J, C), or None
        Sums of weights by cluster and cell, kept instead of ``products`` if so many pairs of cells share a cluster that
        their products would be larger. The full matrix is ``products + totalsᵀ totals``. Never written to a file.
    n_people : int or None
        Distinct ids, fewer than the spells if some people have several. None if not known, because the table is a part
        of one in which people have several spells.
    grid : tuple of float or None
        The durations that `coarsen` kept, each representing those since the one before; None if not coarsened.
    clusters : SpellClusters or None
        The number of clusters by groups; if there are few, also the spells of each.
    stopped : bool
        Whether `coarsen` censored the spells that continued after the last duration there.
    merged : tuple of str
        What `coarsen` merged before it merged durations: ``"causes"``, causes or levels such as ``"recall + death"``,
        or columns of levels that it summed over.
    keys : SpellKeys or None
        Keys of the cells, if the rows had the keys of their people. They never leave the agency.
    noise : sparse array, shape (C, C), or None
        Covariance of the changes that a release made to the sums of weights of cells; `covariance` adds it.
    stamp : dict of str
        What the numbers mean beyond these fields; see `Additive`.
    """

    noun = "life tables"

    duration: str
    by: tuple[str, ...]
    cells: pd.DataFrame
    weighted: bool = False
    cluster: str | None = None
    products: sparse.csr_array | None = None
    n_people: int | None = None
    grid: tuple[float, ...] | None = None
    stopped: bool = False
    totals: sparse.csr_array | None = None
    clusters: SpellClusters | None = field(default=None, compare=False)
    merged: tuple[str, ...] = ()
    keys: SpellKeys | None = field(default=None, compare=False, repr=False)
    noise: sparse.csr_array | None = field(default=None, compare=False, repr=False)
    stamp: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    recipe: Recipe | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def n_spells(self) -> int:
        """Number of spells."""
        return int(self.cells["n"].sum())

    @property
    def repeated(self) -> bool:
        """Whether some people have, or may have, several spells here."""
        return self.n_people is None or self.n_people < self.n_spells

    @property
    def signature(self) -> str | None:
        """A text that tells apart tables of different people or durations; None if the cells have no keys."""
        return None if self.keys is None else signature(self.cells, self.keys)

    @property
    def left_truncated(self) -> bool:
        """Whether some spells come under observation late."""
        return bool((self.cells["entry"] > 0).any())

    @property
    def exact_until(self) -> int:
        """The last period up to which a coarsened table keeps every period, so that areas under curves are exact."""
        grid = self.grid or ()
        return next((before for before, kept in enumerate(grid) if kept != before + 1), len(grid))

    def told_apart(self, durations: Iterable[float]) -> tuple[float, ...]:
        """Return those of the given durations that a coarsened table keeps.

        Examples
        --------
        >>> from retrain_eval.tables.life_table.counting import life_table
        >>> spells = pd.DataFrame({"id": range(9), "weeks": [1, 1, 1, 2, 2, 2, 3, 4, 4], "cause": 1})
        >>> safe = life_table(spells, id="id", duration="weeks", cause="cause").coarsen(3)
        >>> safe.told_apart((1, 3, 4)), safe.exact_until
        ((1.0, 4.0), 2)
        """
        return tuple(float(duration) for duration in durations if duration in (self.grid or ()))

    def groups(self) -> list[tuple[str, ...]]:
        """Return the combinations of levels that occur, in order of first appearance; ``[()]`` without ``by``."""
        if not self.by:
            return [()]
        first = np.unique(self.group_numbers(), return_index=True)[1]
        levels = [self.cells[name].to_numpy(dtype=object)[first].tolist() for name in self.by]
        return list(zip(*levels, strict=True))

    def group_numbers(self) -> Ints:
        """Return the index of each cell's group in `groups`, shape (C,)."""
        return self._group_numbers

    @cached_property
    def _group_numbers(self) -> Ints:
        return _numbers(self.cells, list(self.by))

    def covariance(self, influence: sparse.csr_array) -> Floats:
        """Return the covariance of estimates from the influence of one unit of weight in each cell.

        Parameters
        ----------
        influence : sparse array, shape (K, C)

        Returns
        -------
        ndarray, shape (K, K)
            Clusters are assumed to be independent; without a cluster, spells are. Where a release changed the counts,
            the variance of the changes is included.
        """
        middle = self.products
        if self.cluster is None:
            middle = sparse.csr_array(sparse.diags_array(self.cells["sum_w2"].to_numpy()))
        return quadratic_form(influence, middle, self.totals) + self.noise_covariance(influence)

    def noise_covariance(self, influence: sparse.csr_array) -> Floats:
        """Return the part of `covariance` that the changes of counts by a release add, shape (K, K)."""
        return quadratic_form(influence, self.noise, None)

    @property
    def robust(self) -> bool:
        """Whether standard errors come from `covariance`: with probability weights, clusters, or changed counts."""
        return self.weighted or self.cluster is not None or self.noise is not None

    # ---- combining -------------------------------------------------------------------------------------------

    @property
    def alike(self) -> Mapping[str, object]:
        """The duration, levels, weights, cluster and grid, which two tables must share to be added."""
        return {name: getattr(self, name) for name in ("duration", "by", "weighted", "cluster", "grid", "merged")}

    def empty(self) -> Self:
        """Return the table of no spells, with the same columns."""
        return replace(self.of_cells(np.zeros(len(self.cells), dtype=bool)), n_people=0, stopped=False)

    def _plus(self, other: Self) -> Self:
        sizes = (len(self.cells), len(other.cells))
        products = side_by_side(self.products, other.products, sizes, sizes)
        totals = side_by_side(self.totals, other.totals, sizes)
        keyed = [part.keys for part in (self, other) if part.keys is not None]
        known = self.n_people is not None and other.n_people is not None
        both = replace(
            self,
            products=products,
            totals=totals,
            keys=SpellKeys.stacked(keyed) if len(keyed) == len(sizes) else None,
            noise=side_by_side(self.noise, other.noise, sizes, sizes),
            clusters=None if self.clusters is None or other.clusters is None else self.clusters + other.clusters,
            n_people=(self.n_people or 0) + (other.n_people or 0) if known else None,
            stopped=self.stopped or other.stopped,
        )
        cells = pd.concat([self.cells, other.cells], ignore_index=True)
        return merge_cells(both, cells, self.by, self._order({*self.groups(), *other.groups()}))

    def _order(self, groups: Collection[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """Return groups in canonical order: by their levels, each `in_order`."""
        columns = zip(self.by, zip(*groups, strict=True), strict=True)
        levels = [in_order(set(present), name, self.stamp) for name, present in columns]
        return sorted(groups, key=lambda group: [order.index(of) for order, of in zip(levels, group, strict=True)])

    @recorded
    def subset(self, /, **levels: object) -> Self:
        """Return the life table of the groups whose columns have the given level, or one of a list.

        Examples
        --------
        >>> from retrain_eval.tables.life_table.counting import life_table
        >>> import pandas as pd
        >>> spells = pd.DataFrame({"id": [1, 2, 3], "weeks": [2, 3, 3], "cause": [1, 1, 0], "ui": ["yes", "no", "no"]})
        >>> life_table(spells, id="id", duration="weeks", cause="cause", by="ui").subset(ui="no").n_spells
        2
        """
        keep = np.ones(len(self.cells), dtype=bool)
        for name, wanted in levels.items():
            if name not in self.by:
                raise unknown("column of levels", name, self.by)
            values = {str(value) for value in (wanted if isinstance(wanted, (list, tuple, set)) else [wanted])}
            present = list(self.cells[name].unique())
            for value in sorted(values - set(present)):
                raise unknown(f"level of {name}", value, present)
            keep &= self.cells[name].isin(values).to_numpy(dtype=bool)
        if not keep.any():
            raise InputError("no spell has these levels together", value=levels, fix="see table.groups()")
        part = self.of_cells(keep)
        # counts do not show how many people remain if people have several spells
        return replace(part, n_people=None if self.repeated else part.n_spells)

    def of_cells(self, keep: Bools) -> Self:
        """Return the table of some of the cells, ``n_people`` left as it is."""
        part = replace(
            self,
            cells=self.cells[keep].reset_index(drop=True),
            products=None if self.products is None else sparse.csr_array(self.products[keep][:, keep]),
            totals=None if self.totals is None else sparse.csr_array(self.totals[:, keep]),
            keys=self.keys and self.keys.take(np.flatnonzero(keep)),
            noise=None if self.noise is None else sparse.csr_array(self.noise[keep][:, keep]),
        )
        if self.clusters is None:
            return part
        left = set(part.groups())
        chosen = sparse.csr_array(sparse.eye_array(len(keep)))[keep]
        clusters = self.clusters.moved(chosen).regrouped(lambda group: group if group in left else None)
        return replace(part, clusters=clusters)

    @recorded
    def collapse(self, over: str | Iterable[str]) -> Self:
        """Return the life table with the columns ``over`` summed out."""
        gone = (over,) if isinstance(over, str) else tuple(over)
        for name in gone:
            if name not in self.by:
                raise unknown("column of levels", name, self.by)
        by = tuple(name for name in self.by if name not in gone)
        stay = [self.by.index(name) for name in by]
        clusters = self.clusters and self.clusters.regrouped(lambda group: tuple(group[i] for i in stay))
        stamp = without_levels(self.stamp, gone)
        return merge_cells(
            replace(self, by=by, clusters=clusters, stamp=stamp), self.cells.drop(columns=list(gone)), by
        )

    @recorded
    def without_clusters(self) -> Self:
        """Return the table without its clusters: the same estimates, standard errors as if spells were independent.

        Examples
        --------
        >>> from retrain_eval.tables.life_table.counting import life_table
        >>> import pandas as pd
        >>> spells = pd.DataFrame({"id": [1, 2, 3, 4], "weeks": [2, 3, 3, 2], "cause": 1, "pair": [1, 1, 2, 2]})
        >>> table = life_table(spells, id="id", duration="weeks", cause="cause", cluster="pair")
        >>> table.without_clusters().cluster is None
        True
        """
        return replace(self, cluster=None, products=None, totals=None, clusters=None)

    def with_lone_clusters(self, cluster: str) -> Self:
        """Return the table clustered by a column with one spell per value, such as an id without repeats.

        No cells co-occur, so the rows need not be read again.
        """
        alone = sparse.csr_array(sparse.diags_array(self.cells["sum_w2"].to_numpy()))
        n = np.bincount(self.group_numbers(), weights=self.cells["n"].to_numpy()).astype(int)
        sets = {frozenset({group}): int(k) for group, k in zip(self.groups(), n, strict=True)}
        return replace(self, cluster=cluster, products=alone, clusters=SpellClusters(sets))


def _numbers(cells: pd.DataFrame, keys: list[str]) -> Ints:
    """Return the number of each row's combination of keys, in order of first appearance."""
    number = np.zeros(len(cells), dtype=np.int64)
    for key in keys:
        codes, levels = pd.factorize(cells[key])
        number = pd.factorize(number * len(levels) + codes)[0].astype(np.int64)
    return number


def merge_cells(
    table: Table, cells: pd.DataFrame, by: tuple[str, ...], groups: Sequence[tuple[str, ...]] | None = None
) -> Table:
    """Return ``table`` with rows of ``cells`` with equal keys summed, and groups in order of appearance or as given."""
    keys = [*by, *ENDING]
    group = _numbers(cells, list(by))
    if groups is not None and by:
        number = {of: place for place, of in enumerate(groups)}
        group = np.array([number[of] for of in cells[list(by)].itertuples(index=False, name=None)], dtype=np.int64)
    place = cells.assign(_group=group).groupby(["_group", *ENDING], sort=True).ngroup().to_numpy()
    summed = cells.groupby(place, sort=True)
    merged = pd.concat([summed[keys].first(), summed[list(COUNTS)].sum()], axis=1).reset_index(drop=True)
    shape = (len(merged), len(place))
    sums = sparse.csr_array((np.ones(len(place)), (place, np.arange(len(place)))), shape=shape)
    return replace(
        table,
        cells=merged,
        products=None if table.products is None else sparse.csr_array(sums @ table.products @ sums.T),
        totals=None if table.totals is None else sparse.csr_array(table.totals @ sums.T),
        keys=table.keys and table.keys.merged(place, len(merged)),
        noise=None if table.noise is None else sparse.csr_array(sums @ table.noise @ sums.T),
        clusters=table.clusters and table.clusters.moved(sums),
    )
