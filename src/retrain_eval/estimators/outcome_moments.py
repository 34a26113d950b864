"""People to outcome moments: lay out a path per unit in DuckDB, then sum the paths by cell.

The formulas stand in `retrain_eval.tables.moments.moments`. Every sum is taken in a stated order, so that it comes out
the same bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import DesignError, InputError, RetrainEvalError
from retrain_eval.common.shown import bound
from retrain_eval.common.sources import (
    Source,
    as_relation,
    numbers_among,
    query,
    require_columns,
    sql_name,
)
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.tables.moments.dominance import absolute_totals, cap_at, cap_at_quantile, largest
from retrain_eval.tables.moments.keyed_sums import AMOUNT, keyed_sums
from retrain_eval.tables.moments.moments import INCOMPLETE
from retrain_eval.tables.moments.numbering import number_cells
from retrain_eval.tables.moments.paths import Columns, Paths, check_rows, lay_out, ranges_of_units
from retrain_eval.tables.moments.products import cluster_moments, unit_moments
from retrain_eval.tables.moments.wide import build_wide_paths, stored_periods
from retrain_eval.tables.noise.person_keys import has_keys
from retrain_eval.tables.stamps import cap_stamp, levels_of, winsorise_stamp
from retrain_eval.tables.winsorise import check_cap

if TYPE_CHECKING:
    from retrain_eval.estimators.did.group_time import GroupTimeEffects


MAX_COMBINATIONS = 2_000  # of the values of covariates that are numbers; beyond, people are read one by one


def outcome_moments(
    source: Source,
    unit: str,
    time: str | Sequence[int | str],
    cohort: str,
    outcome: str,
    by: str | Sequence[str] = (),
    covariates: str | Sequence[str] = (),
    weights: str | None = None,
    cluster: str | None = None,
    *,
    unbalanced: str = "refuse",
    winsorise: float | None = None,
    cap: float | None = None,
    kind: str | None = None,
    memory_limit: str | None = None,
) -> OutcomeMoments:
    """Sum a long table, or stored outcome paths, to outcome moments, inside DuckDB.

    Parameters
    ----------
    source : DuckDB relation, DataFrame, Arrow table or path
        One row per unit × time; or one row per unit, with the outcome a fixed-size array (`build_outcome_paths`).
    unit, cohort, outcome : str
        Columns. ``cohort`` is the first treated period; NULL, 0 or +inf mean never treated.
    time : str or sequence of int
        Column of periods; of an outcome that is an array, the periods of its values.
    by : str or sequence of str
        Columns of strata, constant within a unit (age band, education).
    covariates : str or sequence of str
        Columns, constant within a unit, that `att_gt` may condition on: texts as categories, numbers linearly. Cells
        are kept apart by them as well.
    weights : str, optional
        Column of weights, constant within a unit. A unit of weight zero is left out.
    cluster : str, optional
        Column to cluster standard errors by: provider, region, matched set. None: the unit.
    unbalanced : {"refuse", "drop", "allow"}
        What to do with units that lack a period. "allow": the moments hold the complete ones, and `att_gt` reads all
        from the source; other estimators refuse.
    winsorise : float, optional
        For an outcome that is an amount: amounts beyond this quantile of either tail of their period are set to it, or
        to the third largest if that is nearer to zero, 1 for no value; and the largest contributions to each cell are
        kept, which a release checks for dominance. Negative amounts are cut where those of the opposite sign would be.
    cap : float, optional
        For an outcome that is an amount: amounts above this, and below its negative, are set to it. Unlike
        ``winsorise``, it does not depend on the people in the sample, so that no one's presence moves it.
    kind : {"amount", "log", "binary", "score"}, optional
        How the outcome is protected, if the source has the keys of people (`with_keys`): amounts carry the noise of
        their person, as a factor or, for logarithms of amounts, as a term; people are counted by value of a score or of
        a binary outcome. Left out: binary if all values are 0 and 1, a score if they are twelve others at most, an
        amount otherwise.
    memory_limit : str, optional
        DuckDB's limit where the source is not a relation with its own connection.

    Returns
    -------
    OutcomeMoments

    Raises
    ------
    InputError, DesignError
        See `retrain_eval.tables.moments.paths.build_paths` and `retrain_eval.tables.moments.wide.build_wide_paths`.

    Notes
    -----
    The moments are those that the influence functions of Callaway and Sant'Anna (2021, section 4) need; see
    the module's docstring.

    Examples
    --------
    >>> import pandas as pd
    >>> long = pd.DataFrame({
    ...     "person": [1, 1, 2, 2, 3, 3, 4, 4], "year": [2020, 2021] * 4, "trained": [2021] * 4 + [0] * 4,
    ...     "earnings": [10.0, 14.0, 8.0, 12.0, 9.0, 10.0, 11.0, 12.0]})
    >>> m = outcome_moments(long, unit="person", time="year", cohort="trained", outcome="earnings")
    >>> m.cells[["cohort", "n"]].to_dict("list")
    {'cohort': [2021.0, None], 'n': [2, 2]}
    >>> m.att_gt().aggregate("simple").to_frame()["estimate"].item()
    3.0
    """
    if cap is not None:
        check_cap(cap, winsorise)
    levels, controls = ((names,) if isinstance(names, str) else tuple(names) for names in (by, covariates))
    relation = as_relation(
        source,
        memory_limit,
        numbers=(outcome, time if isinstance(time, str) else None, cohort, weights),
        keys=(unit, cluster),
        covariates=[name for name in controls if name not in levels],
    )
    numbers = _numbers(relation, controls)
    apart = tuple(name for name in numbers if name not in levels) if _many(relation, numbers) else ()
    strata = (*levels, *(name for name in controls if name not in (*levels, *apart)))
    complete = "drop" if unbalanced == "allow" else unbalanced
    keyed = has_keys(relation)
    columns = Columns(
        unit, time if isinstance(time, str) else "", cohort, outcome, strata, weights, cluster, keyed=keyed
    )
    times = stored_periods(relation, time, outcome)
    if times is None:
        found = _sum_rows(relation, columns, complete, winsorise, cap, kind)
    else:
        with build_wide_paths(relation, columns, times, unbalanced=complete) as paths:
            found = _sum_paths(paths, columns, winsorise, cap, kind=kind)
    by_person = (*apart, *((INCOMPLETE,) if unbalanced == "allow" and found.n_dropped else ()))
    if by_person and (cap is not None or winsorise not in (None, 1)):
        raise InputError(
            "people are read one by one here, and would not be winsorised",
            column=by_person[0],
            fix="cap the outcome in the source",
        )
    people = bound(
        _people,
        relation,
        unit=unit,
        time=time,
        cohort=cohort,
        outcome=outcome,
        weights=weights,
        cluster=cluster,
        unbalanced=unbalanced,
    )
    return replace(
        found,
        numbers=tuple(name for name in numbers if name in strata),
        by_person=by_person,
        source=people if by_person else None,
        stamp={**levels_of(relation, strata), **winsorise_stamp(winsorise), **cap_stamp(cap)},
    )


def _people(relation: duckdb.DuckDBPyRelation, **options: Any) -> GroupTimeEffects:
    """Read the people behind the moments; the estimator sits above this module."""
    from retrain_eval.estimators.rows.att_gt import att_gt

    return att_gt(relation, **options)


def _many(relation: duckdb.DuckDBPyRelation, numbers: tuple[str, ...]) -> bool:
    """Return whether numbers take so many combinations of values that cells would not summarise them."""
    if not numbers:
        return False
    values = ", ".join(sql_name(name) for name in numbers)
    sql = f"SELECT count(*) FROM (SELECT DISTINCT {values} FROM source LIMIT {MAX_COMBINATIONS + 1})"
    return int(query(relation, sql).fetchall()[0][0]) > MAX_COMBINATIONS


def _numbers(relation: duckdb.DuckDBPyRelation, names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that hold numbers; refuse those in which one is missing or infinite."""
    require_columns(relation, names)
    found = numbers_among(relation, names)
    for name in found:
        column = f"CAST({sql_name(name)} AS DOUBLE)"
        sql = f"SELECT count(*) FROM source WHERE {column} IS NULL OR NOT isfinite({column})"
        n_bad = query(relation, sql).fetchall()[0][0]
        if n_bad:
            raise InputError(
                f"{n_bad} row(s) have no finite value of a covariate that is a number",
                column=name,
                rule="a number enters linearly, so none may be missing",
                fix="leave these units out, or make it a text whose missing values are a category",
            )
    return found


def _sum_rows(
    relation: duckdb.DuckDBPyRelation,
    columns: Columns,
    unbalanced: str,
    winsorise: float | None,
    cap: float | None,
    kind: str | None,
) -> OutcomeMoments:
    """Sum a long table: whole, or one range of units after another, because moments add."""
    times = check_rows(relation, columns, unbalanced)
    # a cluster may have units in several ranges; a cap is a quantile of all, and the kind of an outcome shows in all
    apart = columns.cluster is None and winsorise is None and cap is None and not columns.keyed
    ranges = ranges_of_units(relation, columns, len(times)) if apart else []
    if len(ranges) > 1:
        with suppress(RetrainEvalError):  # to refuse units, all of them are counted
            return _sum_ranges(relation, columns, times, unbalanced, ranges)
    with lay_out(relation, columns, times, unbalanced=unbalanced) as paths:
        return _sum_paths(paths, columns, winsorise, cap, kind=kind)


def _sum_ranges(
    relation: duckdb.DuckDBPyRelation, columns: Columns, times: tuple[int, ...], unbalanced: str, ranges: Sequence[str]
) -> OutcomeMoments:
    parts: list[OutcomeMoments] = []
    for where in ranges:
        with lay_out(relation, columns, times, unbalanced=unbalanced, where=where) as paths:
            parts.append(_sum_paths(paths, columns, reference=parts[0].reference if parts else None))
    return reduce(add, parts)


def _sum_paths(
    paths: Paths,
    columns: Columns,
    winsorise: float | None = None,
    limit: float | None = None,
    reference: Floats | None = None,
    kind: str | None = None,
) -> OutcomeMoments:
    """Sum the paths of a table by cell."""
    if winsorise is not None:
        cap_at_quantile(paths, winsorise)
    if limit is not None:
        cap_at(paths, limit)
    reference = reference_path(paths) if reference is None else reference
    cells = number_cells(paths, columns.by)
    clustered = columns.cluster is not None
    keyed = keyed_sums(paths, cells, reference, columns.outcome, kind, clustered=clustered) if columns.keyed else None
    amounts = winsorise is not None or limit is not None or (keyed is not None and keyed.kind == AMOUNT)
    tops = largest(paths, cells.group, cells.order) if amounts else None
    totals = absolute_totals(paths, cells.group, cells.order) if amounts else None
    first, second = unit_moments(paths, cells, reference)
    clusters = None
    if columns.cluster is not None:
        second, clusters = cluster_moments(paths, cells, reference)
    if not all(np.isfinite(block).all() for block in (first, *second.values())):
        raise InputError(
            "sums of squares overflow", column=columns.outcome, rule="finite sums", fix="use a larger unit"
        )
    return OutcomeMoments(
        outcome=columns.outcome,
        times=paths.times,
        strata=columns.by,
        cells=cells.table,
        first=first,
        second=second,
        reference=reference,
        cluster=columns.cluster,
        n_clusters=int(cells.table["n"].sum()) if clusters is None else clusters.total,
        n_dropped=paths.dropped,
        weighted=columns.weights is not None,
        clusters=clusters,
        largest=tops,
        absolute=totals,
        keyed=keyed,
    )


def reference_path(paths: Paths) -> Floats:
    """Period means to two significant digits: near enough to keep the digits, round enough to be reproducible."""
    averages = ", ".join(f"avg({y})" for y in paths.per_period)
    means = paths.query(f"SELECT {averages} FROM {paths.table}").fetchall()[0]
    if not np.isfinite(means).all():
        raise DesignError("the outcome is too large to be averaged: use a larger unit")
    return np.array([round(mean, 1 - math.floor(math.log10(abs(mean)))) if mean else 0.0 for mean in means])
