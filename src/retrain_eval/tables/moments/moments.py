r"""Outcome moments: the small additive table behind every difference-in-differences.

One row per cell (cohort × strata). For the path ``Y`` of outcomes over ``T`` periods, measured from a fixed
reference path, and the weight ``w``, put ``z_i = w_i (1, Y_i)``. A cell ``c`` keeps

* ``n``, the number of units,
* ``first[c] = Σ_i z_i``, and
* ``second[c, d] = Σ_j (Σ_{i∈j∩c} z_i)(Σ_{i∈j∩d} z_i)ᵀ`` over clusters ``j``; with one unit per cluster only ``c = d``.

Every estimate is a function of cell means, and its influence function is linear in the path inside a cell,
``ψ_j = Σ_c φ_cᵀ z_jc``, so ``Cov(θ_k, θ_l) = Σ_{c,d} φ_kcᵀ second[c, d] φ_ld``: exact, without the people.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.levels import is_missing
from retrain_eval.common.periods import parse_period
from retrain_eval.common.shown import summarised
from retrain_eval.tables.clusters import Clusters
from retrain_eval.tables.moments.cell_sums import merge_cells
from retrain_eval.tables.moments.dominance import merge, merge_totals
from retrain_eval.tables.recipe import Recipe, recorded

if TYPE_CHECKING:
    from retrain_eval.estimators.did.att_gt import GroupTimeEffects
    from retrain_eval.estimators.effects.effects import EffectTable

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Pairs = Mapping[tuple[int, int], Array]

INCOMPLETE = "(incomplete paths)"
_ROUNDING = 1e-12  # a coefficient below this share of the row's largest one is rounding


@summarised
@dataclass(frozen=True)
class OutcomeMoments:
    """First and second moments of outcome paths by cell: make them with `outcome_moments`, add them with ``+``.

    Attributes
    ----------
    outcome : str
        Name of the outcome.
    times : tuple of int, length T
        The periods that exist, ascending.
    strata : tuple of str
        Names of the stratum columns.
    cells : DataFrame, C rows
        ``cohort`` (first treated period, NA = never treated), one column per stratum, ``n`` (units).
    first : ndarray, shape (C, 1 + T)
        Σw and Σw·(Y − reference).
    second : mapping (c, d) → ndarray, shape (1 + T, 1 + T)
        Σ over clusters of the outer product of their sums in cells c ≤ d; pairs that share no cluster are absent.
    reference : ndarray, shape (T,)
        Path that the outcome is measured from: rounded period means, so that squares keep their digits.
    cluster : str or None
        Column of the cluster; None means the unit itself.
    n_clusters, n_dropped : int
        Clusters counted, and units left out for lack of a period.
    weighted : bool
        Whether weights were given.
    numbers : tuple of str
        Strata that are numbers: as covariates they enter linearly.
    by_person : tuple of str
        Covariates that nearly tell every unit apart, which cells cannot hold, or ``"(incomplete paths)"``: `att_gt`
        reads them from the source.
    clusters : Clusters, optional
        Which cells each cluster lies in, and its sums where clusters are few. None: the unit itself.
    largest, absolute : ndarray, shapes (C, T, 5) and (C, T), optional
        The largest contributions w·|Y| to each cell and period, and Σ w·|Y|; they never leave the agency.
    source : callable, optional
        `retrain_eval.att_gt` on the source of these moments. Moments that were read, added or cut have none.
    """

    outcome: str
    times: tuple[int, ...]
    strata: tuple[str, ...]
    cells: pd.DataFrame
    first: Array
    second: Pairs
    reference: Array
    cluster: str | None = None
    n_clusters: int = 0
    n_dropped: int = 0
    weighted: bool = False
    numbers: tuple[str, ...] = ()
    by_person: tuple[str, ...] = ()
    source: Callable[..., GroupTimeEffects] | None = field(default=None, compare=False, repr=False)
    clusters: Clusters | None = field(default=None, compare=False, repr=False)
    largest: Array | None = field(default=None, compare=False, repr=False)
    absolute: Array | None = field(default=None, compare=False, repr=False)
    recipe: Recipe | None = field(default=None, init=False, compare=False, repr=False)

    def means(self) -> Array:
        """Return the weighted mean path of each cell, shape (C, T), in the outcome's unit."""
        return self.first[:, 1:] / self.first[:, :1] + self.reference

    def covariance(self, influence: sparse.csr_array) -> Array:
        """Return the covariance of estimates from their influence coefficients.

        Parameters
        ----------
        influence : sparse array, shape (K, C · (1 + T))
            Row k holds φ_k, cell by cell, on the coordinates ``(1, Y − reference)``.

        Returns
        -------
        ndarray, shape (K, K)
        """
        size = 1 + len(self.times)
        total = len(self.cells) * size
        rows, columns, values = [], [], []
        inner_row, inner_column = np.divmod(np.arange(size * size), size)
        for (a, b), block in self.second.items():
            for c, d, values_cd in ((a, b, block), (b, a, block.T)) if a != b else ((a, b, block),):
                rows.append(c * size + inner_row)
                columns.append(d * size + inner_column)
                values.append(values_cd.ravel())
        matrix = sparse.csr_array(
            (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(total, total)
        )
        product = influence @ matrix @ influence.T
        dense: Array = product.toarray()
        return (dense + dense.T) / 2

    def cells_used(self, influence: sparse.csr_array) -> Mask:
        """Return which cells have a part in each row of influence coefficients, shape (K, C)."""
        size, entries = 1 + len(self.times), sparse.coo_array(influence)
        row, column = entries.coords
        largest = np.zeros((influence.shape[0], len(self.cells)))
        np.maximum.at(largest, (row, column // size), np.abs(entries.data))
        used: Mask = largest > _ROUNDING * largest.max(axis=1, keepdims=True, initial=0.0)
        return used

    @property
    def leaves_out(self) -> bool:
        """Whether sums by cluster are kept, so that each cluster can be left out."""
        return self.clusters is not None and self.clusters.first is not None

    def levels(self, names: Sequence[str]) -> list[tuple[tuple[str, ...], Mask]]:
        """Return the combinations of levels of the named strata by first appearance, missing last, with their cells."""
        for name in names:
            if name not in self.strata:
                raise unknown("stratum", name, self.strata)
        columns = [self.cells[name].astype(str) for name in names]
        found = list(zip(*columns, strict=True)) if columns else [()] * len(self.cells)
        order = sorted(dict.fromkeys(found), key=lambda part: any(map(is_missing, part)))
        return [(levels, np.array([levels == other for other in found], dtype=bool)) for levels in order]

    # ---- combining -------------------------------------------------------------------------------------------

    def __add__(self, other: OutcomeMoments) -> OutcomeMoments:
        """Return the moments of the union of two disjoint samples (no unit and no cluster in both).

        Raises
        ------
        InputError
            If the two do not describe the same paths: outcome, periods, strata, cluster.
        """
        for name in ("outcome", "times", "strata", "cluster", "weighted", "numbers", "by_person"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                raise InputError(
                    f"cannot add moments whose {name} differ", value=f"{mine} and {theirs}", fix="build both alike"
                )
        shift = np.eye(1 + len(self.times))
        shift[1:, 0] = other.reference - self.reference
        keys = ["cohort", *self.strata]
        stacked = pd.concat([self.cells, other.cells], ignore_index=True)
        first = np.vstack([self.first, other.first @ shift.T])
        offset = len(self.cells)
        second = dict(self.second) | {
            (a + offset, b + offset): shift @ block @ shift.T for (a, b), block in other.second.items()
        }
        cells, first, second, group = merge_cells(stacked, keys, first, second)
        mine, theirs = self.clusters, other.clusters
        clusters = mine.plus(theirs, offset, shift).merge(group) if mine and theirs else None
        return replace(
            self,
            cells=cells,
            first=first,
            second=second,
            n_clusters=self.n_clusters + other.n_clusters,
            n_dropped=self.n_dropped + other.n_dropped,
            clusters=clusters,
            source=None,
            largest=merge([self.largest, other.largest], group, len(cells)),
            absolute=merge_totals([self.absolute, other.absolute], group, len(cells)),
        )

    @recorded
    def subset(self, /, **levels: object) -> OutcomeMoments:
        """Return the moments of the cells whose strata (or ``cohort``) have the given level, or one of a list.

        Examples
        --------
        >>> import pandas as pd
        >>> from retrain_eval import outcome_moments
        >>> long = pd.DataFrame({"id": [1, 1, 2, 2], "t": [1, 2, 1, 2], "g": [2, 2, 0, 0],
        ...                      "y": [1.0, 3.0, 1.0, 1.5], "sex": ["f", "f", "m", "m"]})
        >>> m = outcome_moments(long, unit="id", time="t", cohort="g", outcome="y", by="sex")
        >>> len(m.subset(sex="f").cells)
        1
        """
        keep = np.ones(len(self.cells), dtype=bool)
        for name, wanted in levels.items():
            if name not in ("cohort", *self.strata):
                raise unknown("stratum", name, ("cohort", *self.strata))
            given = wanted if isinstance(wanted, (list, tuple, set)) else [wanted]
            values = [parse_period(v) if name == "cohort" and isinstance(v, str) else v for v in given]
            present = set(self.cells[name].dropna())
            for value in values:
                if value not in present:
                    raise unknown(f"level of {name}", value, sorted(present))
            keep &= self.cells[name].isin(values).to_numpy(dtype=bool)
        index = np.flatnonzero(keep)
        if len(index) == 0:
            raise InputError("no cell has all these levels", value=levels, fix="ask for levels that occur together")
        place = np.where(keep, np.cumsum(keep) - 1, -1)
        second = {(int(place[a]), int(place[b])): block for (a, b), block in self.second.items() if keep[a] and keep[b]}
        clusters = None if self.clusters is None else self.clusters.subset(place)
        n_clusters = int(self.cells["n"].to_numpy()[index].sum()) if clusters is None else clusters.total
        cells = self.cells.iloc[index].reset_index(drop=True)
        largest, absolute = (None if found is None else found[index] for found in (self.largest, self.absolute))
        part = replace(self, cells=cells, first=self.first[index], second=second, n_clusters=n_clusters, source=None)
        return replace(part, clusters=clusters, largest=largest, absolute=absolute)

    @recorded
    def collapse(self, over: str | Iterable[str]) -> OutcomeMoments:
        """Return the moments with the strata ``over`` summed out."""
        gone = (over,) if isinstance(over, str) else tuple(over)
        for name in gone:
            if name not in self.strata:
                raise unknown("stratum", name, self.strata)
        strata = tuple(name for name in self.strata if name not in gone)
        cells = self.cells.drop(columns=list(gone))
        cells, first, second, group = merge_cells(cells, ["cohort", *strata], self.first, self.second)
        largest = merge([self.largest], group, len(cells))
        absolute = merge_totals([self.absolute], group, len(cells))
        numbers = tuple(name for name in self.numbers if name in strata)
        whole = replace(self, strata=strata, cells=cells, first=first, second=second, numbers=numbers, source=None)
        clusters = None if self.clusters is None else self.clusters.merge(group)
        return replace(whole, clusters=clusters, largest=largest, absolute=absolute)

    # ---- keeping ---------------------------------------------------------------------------------------------

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write one row per cell: keys, ``n``, ``first``, and the ``second`` moments with each later cell."""
        from retrain_eval.tables.moments.moments_file import write

        write(self, path)

    @classmethod
    def read_parquet(cls, path: str | os.PathLike[str]) -> OutcomeMoments:
        """Read what `to_parquet` wrote.

        Raises
        ------
        InputError
            If the file holds something else.
        """
        from retrain_eval.tables.moments.moments_file import read

        return read(path)

    # ---- estimating ------------------------------------------------------------------------------------------

    @recorded
    def att_gt(
        self,
        control: str = "never_treated",
        method: str = "dr",
        covariates: Sequence[str] = (),
        anticipation: int = 0,
        base_period: str = "universal",
        seed: int = 20260101,
    ) -> GroupTimeEffects:
        """Return group-time average treatment effects; see `retrain_eval.estimators.did.att_gt.att_gt`.

        Covariates and paths that cells cannot hold are read from the source: `retrain_eval.att_gt`.
        """
        # the estimator sits above this module; the method only gives it a familiar place to be found
        from retrain_eval.estimators.did.att_gt import att_gt

        beyond = [name for name in self.by_person if name in covariates or name == INCOMPLETE]
        if beyond and self.source is None:
            raise InputError(
                "needs the people, and these moments were read, added or cut, so they have no source",
                column=beyond[0],
                fix="estimate from the moments as they were made, or call retrain_eval.att_gt on the people",
            )
        options: dict[str, Any] = {"control": control, "method": method, "covariates": covariates, "seed": seed}
        options |= {"anticipation": anticipation, "base_period": base_period}
        return self.source(**options) if beyond and self.source is not None else att_gt(self, **options)

    @recorded
    def twfe(
        self,
        event_window: tuple[int, int] | None = None,
        *,
        anticipation: int = 0,
        small_sample: bool = True,
        seed: int = 20260101,
    ) -> EffectTable:
        """Return the two-way fixed-effects regression; see `retrain_eval.estimators.did.twfe.twfe`."""
        from retrain_eval.estimators.did.twfe import twfe

        return twfe(self, event_window, anticipation=anticipation, small_sample=small_sample, seed=seed)

    @recorded
    def sun_abraham(
        self,
        aggregation: str = "dynamic",
        by: str | Sequence[str] = (),
        *,
        anticipation: int = 0,
        shares: str = "fixed",
        small_sample: bool = True,
        seed: int = 20260101,
    ) -> EffectTable:
        """Return the interaction-weighted event study; see `retrain_eval.estimators.did.saturated.sun_abraham`."""
        from retrain_eval.estimators.did.saturated import sun_abraham

        return sun_abraham(
            self,
            aggregation=aggregation,
            by=by,
            anticipation=anticipation,
            shares=shares,
            small_sample=small_sample,
            seed=seed,
        )

    @recorded
    def imputation(
        self,
        aggregation: str = "dynamic",
        by: str | Sequence[str] = (),
        *,
        anticipation: int = 0,
        pretrends: int = 0,
        seed: int = 20260101,
    ) -> EffectTable:
        """Return the imputation estimator; see `retrain_eval.estimators.did.saturated.imputation`."""
        from retrain_eval.estimators.did.saturated import imputation

        return imputation(
            self, aggregation=aggregation, by=by, anticipation=anticipation, pretrends=pretrends, seed=seed
        )

    @recorded
    def etwfe(
        self,
        aggregation: str = "dynamic",
        by: str | Sequence[str] = (),
        *,
        control: str = "not_yet_treated",
        covariates: Sequence[str] = (),
        anticipation: int = 0,
        small_sample: bool = True,
        seed: int = 20260101,
    ) -> EffectTable:
        """Return extended two-way fixed effects; see `retrain_eval.estimators.did.saturated.etwfe`."""
        from retrain_eval.estimators.did.saturated import etwfe

        return etwfe(
            self,
            aggregation=aggregation,
            by=by,
            control=control,
            covariates=covariates,
            anticipation=anticipation,
            small_sample=small_sample,
            seed=seed,
        )

    def bacon(self) -> pd.DataFrame:
        """Return the decomposition of static TWFE; see `retrain_eval.estimators.did.bacon.bacon`."""
        from retrain_eval.estimators.did.bacon import bacon

        return bacon(self)

    def twfe_weights(self) -> pd.DataFrame:
        """Return the weights of static TWFE on ATT(g, t); see `retrain_eval.estimators.did.bacon.twfe_weights`."""
        from retrain_eval.estimators.did.bacon import twfe_weights

        return twfe_weights(self)
