"""Group-time effects person by person, out of core: continuous covariates, outcomes with gaps, cross sections.

Cells carry everything that categories tell; a continuous covariate tells every person apart, and a path with gaps has
no mean. Here the units are read in chunks: once for the sums behind the regressions, a few times for the logits, once
for the sums weighted by their odds, and once for ``Ω = Σ ψψᵀ``, the products of influence functions; linear
combinations A of the effects have covariance ``A Ω Aᵀ``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace

import duckdb
import numpy as np
import pandas as pd
from scipy import sparse
from threadpoolctl import threadpool_limits

from retrain_eval.common.arrays import Bools, Floats
from retrain_eval.common.errors import DesignError, InputError, unknown_columns
from retrain_eval.common.shown import summarised
from retrain_eval.common.sources import Source, as_relation, numbers_among, query, require_columns, sql_name, sql_text
from retrain_eval.estimators.did.comparisons import (
    AttGtOptions,
    Comparison,
    comparisons,
    require_known,
)
from retrain_eval.estimators.did.conditional import TRIM
from retrain_eval.estimators.did.group_time import GroupTimeEffects
from retrain_eval.estimators.rows.blocks import Block, Sums, make_blocks, sum_units
from retrain_eval.estimators.rows.fit import Fit, fit_blocks
from retrain_eval.estimators.rows.influence import influence_products
from retrain_eval.estimators.rows.units import UnitTable, open_units
from retrain_eval.tables.clusters import Clusters, keeps_sums
from retrain_eval.tables.moments.cross_sections import build_cross_sections
from retrain_eval.tables.moments.paths import Columns, Paths, build_paths
from retrain_eval.tables.moments.wide import build_wide_paths, stored_periods

UNBALANCED = ("refuse", "drop", "allow")
MAX_EFFECTS = 15_000  # their products take 1.8 GB
MAX_READ_AGAIN = 100  # clusters, without each of which people are read again where an effect rests on few of them


@summarised
@dataclass(frozen=True)
class UnitInfluence:
    """Products of the units' influence functions: what `GroupTimeEffects` needs besides the estimates.

    Attributes
    ----------
    outcome : str
    times : tuple of int
    cells : DataFrame
        ``cohort``, strata, ``n``.
    products : ndarray, shape (K + C, K + C)
        Ω, over K effects and the Σw of C cells.
    uses : bool ndarray, shape (K + C, C)
        Cells that each effect, and each Σw, is made from.
    cluster : str or None
    clusters : Clusters or None
        Which cells each cluster lies in.
    """

    outcome: str
    times: tuple[int, ...]
    cells: pd.DataFrame
    products: Floats
    uses: Bools
    cluster: str | None
    clusters: Clusters | None
    _request: _Request

    @property
    def leaves_out(self) -> bool:
        """Whether people are read again without each cluster: few ones, and such that moments would keep their sums."""
        if self.clusters is None or len(self.clusters.count) > MAX_READ_AGAIN:
            return False
        return keeps_sums(self.clusters.total, int(self.cells["n"].sum()))

    def cells_used(self, influence: sparse.csr_array) -> Bools:
        """Return which cells combinations of the effects and cell weights are made from, (R, K + C) to (R, C)."""
        found: Bools = (abs(influence) @ self.uses.astype(float)) > 0
        return found

    def covariance(self, influence: sparse.csr_array) -> Floats:
        """Return ``A Ω Aᵀ`` for combinations A of the effects and cell weights, shape (R, K + C)."""
        found: Floats = influence @ (influence @ self.products).T
        return (found + found.T) / 2

    def by(self, names: Sequence[str]) -> GroupTimeEffects:
        """Estimate within each level of some columns of the source, which is read again."""
        return _estimate(self._request, tuple(names))


@dataclass(frozen=True)
class _Options(AttGtOptions):
    panel: bool
    unbalanced: str

    def __post_init__(self) -> None:
        super().__post_init__()
        require_known("unbalanced", self.unbalanced, UNBALANCED)


@summarised
@dataclass(frozen=True)
class _Request:
    """What was asked for."""

    relation: duckdb.DuckDBPyRelation
    columns: Columns
    times: tuple[int, ...] | None  # of an outcome that is an array
    categories: tuple[str, ...]
    options: _Options

    def without(self, cluster: str) -> _Request:
        """Return the same of the people outside one cluster."""
        column = f"CAST({sql_name(str(self.columns.cluster))} AS VARCHAR)"
        others = query(self.relation, f"SELECT * FROM source WHERE {column} <> {sql_text(cluster)}")
        return replace(self, relation=others)

    def open(self, strata: tuple[str, ...]) -> AbstractContextManager[Paths]:
        """Lay out the units."""
        by = tuple(dict.fromkeys([*strata, *self.categories]))
        columns = Columns(**{**vars(self.columns), "by": by})
        unbalanced = self.options.unbalanced
        if not self.options.panel:
            return build_cross_sections(self.relation, columns)
        gaps = unbalanced == "allow"
        unbalanced = "drop" if gaps else unbalanced
        if self.times is not None:
            return build_wide_paths(self.relation, columns, self.times, unbalanced=unbalanced, keep_gaps=gaps)
        return build_paths(self.relation, columns, unbalanced=unbalanced, keep_gaps=gaps)


def att_gt(
    source: Source,
    *,
    unit: str,
    time: str | Sequence[int],
    cohort: str,
    outcome: str,
    covariates: str | Sequence[str] = (),
    weights: str | None = None,
    cluster: str | None = None,
    control: str = "never_treated",
    method: str = "dr",
    anticipation: int = 0,
    base_period: str = "universal",
    panel: bool = True,
    unbalanced: str = "refuse",
    seed: int = 20260101,
    memory_limit: str | None = None,
) -> GroupTimeEffects:
    """Estimate group-time effects from people rather than from cells.

    For continuous covariates, for outcomes that are missing at some times, and for repeated cross sections. With
    categorical covariates and complete paths it gives what `OutcomeMoments.att_gt` gives from a far smaller table.

    Parameters
    ----------
    source : DuckDB relation, DataFrame, Arrow table or path
        One row per unit × time; or one row per unit, with the outcome a fixed-size array (`build_outcome_paths`).
    unit, cohort, outcome : str
        Columns. ``cohort`` is the first treated period; NULL, 0 or +inf mean never treated.
    time : str or sequence of int
        Column of periods; of an outcome that is an array, the periods of its values.
    covariates : str or sequence of str
        Columns to condition on, constant within a unit: numbers linearly, anything else as categories.
    weights : str, optional
        Column of weights, constant within a unit. A unit of weight zero is left out.
    cluster : str, optional
        Column to cluster standard errors by. None: the unit.
    control : {"never_treated", "not_yet_treated"}
    method : {"dr", "ipw", "reg"}
        Doubly robust, inverse probability weights (Hajek), outcome regression.
    anticipation : int
    base_period : {"universal", "varying"}
        These four are explained in `retrain_eval.estimators.did.att_gt.att_gt`.
    panel : bool
        False: repeated cross sections, one row per unit; a period is compared with another's people.
    unbalanced : {"refuse", "drop", "allow"}
        Units that lack a period: refuse them, drop them, or compare all units observed in either of two periods, as
        cross sections in which rows of one unit are not independent.
    seed : int
        Seed of the draws behind the critical values of simultaneous bands.
    memory_limit : str, optional
        DuckDB's limit where the source is not a relation with its own connection.

    Returns
    -------
    GroupTimeEffects
        ``by(...)`` takes any columns of the source that are constant within a unit, and reads it again.

    Raises
    ------
    InputError
        For a keyword or a column that does not exist, and values that cannot be right; see
        `retrain_eval.tables.moments.paths.build_paths`.
    DesignError
        If no group-time effect can be estimated: no treated cohort, no controls, no pre-period, no overlap.

    Notes
    -----
    Callaway and Sant'Anna (2021) with the estimators of Sant'Anna and Zhao (2020); formulas in
    `retrain_eval.estimators.rows.effects`. Controls with a propensity of .995 or more are left out, and ``notes`` says
    so, as it does of comparisons that cannot be made. Where the rows of two periods differ, the logit pools them.
    Variances are divided by n, without a small-sample factor; where an effect rests on fewer than 50 clusters, people
    are read again without each (`retrain_eval.estimators.did.few_clusters`). Figures are those of R `did` 2.5.1 with
    `DRDID` 1.2.3.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> people = pd.DataFrame({"id": range(200), "g": [2, 0] * 100, "pay": rng.normal(size=200)})
    >>> long = pd.concat([people.assign(t=t, y=people["pay"] * t + (t == 2) * (people["g"] == 2)) for t in (1, 2)])
    >>> gt = att_gt(long, unit="id", time="t", cohort="g", outcome="y", covariates="pay")
    >>> round(gt.aggregate("simple").to_frame()["estimate"].item(), 6)
    1.0
    """
    names = (covariates,) if isinstance(covariates, str) else tuple(dict.fromkeys(covariates))
    options = _Options(control, method, names, anticipation, base_period, seed, panel, unbalanced)
    period = time if isinstance(time, str) else None
    relation = as_relation(
        source, memory_limit, numbers=(outcome, period, cohort, weights), keys=(unit, cluster), covariates=names
    )
    absent = [name for name in names if name not in relation.columns]
    if absent:
        raise unknown_columns(absent, relation.columns, kind="covariate")
    numbers = numbers_among(relation, names)
    times = stored_periods(relation, time, outcome)
    if times is not None and not panel:
        raise InputError("cross sections have no paths", column=outcome, fix="name the column of periods")
    request = _Request(
        relation,
        Columns(unit, time if isinstance(time, str) else "", cohort, outcome, (), weights, cluster, numbers),
        times,
        tuple(name for name in names if name not in numbers),
        options,
    )
    return _estimate(request, ())


def _estimate(request: _Request, names: tuple[str, ...], *, inference: bool = True) -> GroupTimeEffects:
    options, values = request.options, list[str]()
    require_columns(request.relation, names)
    # products of small matrices: several threads cost more than they save, and would change the last bit
    with request.open(names) as paths, threadpool_limits(1, user_api="blas"):
        columns = Columns(**{**vars(request.columns), "by": tuple(dict.fromkeys([*names, *request.categories]))})
        keep_gaps, panel = options.unbalanced == "allow", options.panel
        table = open_units(paths, columns, names, request.categories, keep_gaps=keep_gaps, panel=panel)
        notes = [f"{paths.dropped} unit(s) that lack a period are left out"] if paths.dropped else []
        wanted: list[tuple[dict[str, object], str, Comparison]] = []
        for keys, mask in _levels(table.cells, names):
            where = "" if keys["subgroup"] is pd.NA else f" in {keys['subgroup']} = {keys['level']}"
            found = comparisons(table.times, table.cells, mask, options, notes, where)
            wanted += [(keys, where, item) for item in found]
        if not wanted:
            raise _nothing(notes)
        if len(wanted) > MAX_EFFECTS:
            raise DesignError(
                f"{len(wanted)} group-time effects; the products of more than {MAX_EFFECTS} do not fit into memory. "
                "Gather cohorts (years for quarters), or use categorical covariates and outcome_moments"
            )
        blocks = make_blocks(table, [item for _, _, item in wanted])
        sums = sum_units(table)
        # without covariates the three methods are one, and the regression on a constant is the shortest way to it
        method = options.method if len(table.names) > 1 else "reg"
        fit = fit_blocks(method, table, blocks, sums)
        rows, used = _rows(table, wanted, blocks, sums, fit, notes)
        if not rows:
            raise _nothing(notes)
        size = len(wanted) + len(table.cells)
        products, clusters = np.zeros((size, size)), None
        if inference:
            products, clusters = influence_products(
                table, blocks, fit.effects, fit.propensities, len(wanted), clusters=columns.cluster is not None
            )
        if clusters is not None and clusters.total <= MAX_READ_AGAIN:
            # in the words that `_Request.without` compares with: Arrow would write 1.0 as "1"
            distinct = f"SELECT DISTINCT cluster AS value FROM {paths.table}"
            texts = paths.query(f"SELECT CAST(value AS VARCHAR) FROM ({distinct}) ORDER BY value").fetchall()
            values = [str(text) for (text,) in texts]
    if not np.isfinite(products).all():
        raise InputError(
            "sums of squares overflow", column=columns.outcome, rule="finite sums", fix="use a larger unit"
        )

    def redo(number: int) -> GroupTimeEffects | None:
        with suppress(DesignError):
            return _estimate(request.without(values[number]), names, inference=False)
        return None

    treated = np.array([wanted[k][2].treated for k in used], dtype=np.float64)
    uses = np.vstack([np.array([item.treated | item.control for _, _, item in wanted]), np.eye(len(table.cells)) > 0])
    return GroupTimeEffects(
        UnitInfluence(columns.outcome, table.times, table.cells, products, uses, columns.cluster, clusters, request),
        options.facts,
        pd.DataFrame(rows),
        sparse.csr_array((np.ones(len(used)), (np.arange(len(used)), used)), shape=(len(used), size)),
        sparse.csr_array(np.hstack([np.zeros((len(used), len(wanted))), treated])),
        tuple(dict.fromkeys(notes)),
        names=names,
        seed=options.seed,
        within=lambda names: _estimate(request, names),
        redo=redo,
    )


def _nothing(notes: Sequence[str]) -> DesignError:
    return DesignError(
        "no group-time effect can be estimated:\n  " + "\n  ".join(dict.fromkeys(notes)),
        public="those who start cannot be compared with others who are observed over the same periods",
    )


def _levels(cells: pd.DataFrame, names: tuple[str, ...]) -> Iterator[tuple[dict[str, object], Bools]]:
    """Yield each combination of levels, in order of first appearance, with its cells."""
    if not names:
        yield {"subgroup": pd.NA, "level": pd.NA}, np.ones(len(cells), dtype=bool)
        return
    found = list(zip(*(cells[name] for name in names), strict=True))
    for levels in dict.fromkeys(found):
        keys: dict[str, object] = {"subgroup": " × ".join(names), "level": " × ".join(levels)}
        yield keys, np.array([levels == other for other in found], dtype=bool)


def _rows(
    table: UnitTable,
    wanted: Sequence[tuple[dict[str, object], str, Comparison]],
    blocks: Sequence[Block],
    sums: Sums,
    fit: Fit,
    notes: list[str],
) -> tuple[list[dict[str, object]], list[int]]:
    """Return the rows of the result and which comparisons they are; append to ``notes`` what is left out."""
    place = {k: (b, i) for b, block in enumerate(blocks) for i, (k, _, _) in enumerate(block.pairs)}
    rows: list[dict[str, object]] = []
    used: list[int] = []
    for k, (keys, where, item) in enumerate(wanted):
        b, i = place[k]
        time = table.times[item.time]
        if b in fit.failed:
            notes.append(f"cohort {item.cohort:g}, period {time}{where} is left out: {fit.failed[b]}")
            continue
        if b in fit.trimmed:
            notes.append(f"cohort {item.cohort:g}{where}: controls with a propensity above {TRIM} are left out")
        rows.append(
            {
                **keys,
                "cohort": item.cohort,
                "time": time,
                "event_time": time - item.cohort,
                "estimate": float(fit.effects[b].estimate[i]),
                "n_treated": sums.units(item.treated, item.time, item.base),
                "n_control": sums.units(item.control, item.time, item.base),
                "weight": float(sums.weight[item.treated].sum()),
            }
        )
        used.append(k)
    return rows, used
