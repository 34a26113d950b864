"""People to outcome moments: lay out a path per unit, then sum the paths by cell, inside DuckDB.

The formulas stand in `retrain_eval.moments`. Every sum is taken in a stated order, so that it comes out the same bit
for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd

from retrain_eval.cells.paths import Columns, Paths, build_paths
from retrain_eval.cells.wide import build_wide_paths, stored_periods
from retrain_eval.contributions import cap, largest
from retrain_eval.errors import DesignError, InputError
from retrain_eval.moments import INCOMPLETE, OutcomeMoments
from retrain_eval.sources import Source, as_relation, numbers_among, query, require_columns, sql_name

if TYPE_CHECKING:
    from retrain_eval.did.att_gt import GroupTimeEffects

Array = npt.NDArray[np.float64]

MAX_COMBINATIONS = 2_000  # of the values of covariates that are numbers; beyond, people are read one by one
_SUMS_PER_QUERY = 8_000  # DuckDB divides by zero where the sums of a group outgrow a block of 256 kB


def outcome_moments(
    source: Source,
    unit: str,
    time: str | Sequence[int],
    cohort: str,
    outcome: str,
    by: str | Sequence[str] = (),
    covariates: str | Sequence[str] = (),
    weights: str | None = None,
    cluster: str | None = None,
    *,
    unbalanced: str = "refuse",
    winsorise: float | None = None,
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
        For an outcome that is an amount: values above this quantile of their period are set to it, or to the third
        largest if that is less, 1 for no value; and the largest contributions to each cell are kept, which a release
        checks for dominance.
    memory_limit : str, optional
        DuckDB's limit where the source is not a relation with its own connection.

    Returns
    -------
    OutcomeMoments

    Raises
    ------
    InputError, DesignError
        See `retrain_eval.cells.paths.build_paths` and `retrain_eval.cells.wide.build_wide_paths`.

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
    levels, controls = ((names,) if isinstance(names, str) else tuple(names) for names in (by, covariates))
    relation = as_relation(source, memory_limit)
    numbers = _numbers(relation, controls)
    apart = tuple(name for name in numbers if name not in levels) if _many(relation, numbers) else ()
    strata = (*levels, *(name for name in controls if name not in (*levels, *apart)))
    complete = "drop" if unbalanced == "allow" else unbalanced
    columns = Columns(unit, time if isinstance(time, str) else "", cohort, outcome, strata, weights, cluster)
    with _paths(relation, columns, time, unbalanced=complete) as paths:
        if winsorise is not None:
            cap(paths, winsorise)
        reference = reference_path(paths)
        cells, first = first_moments(paths, strata, reference)
        tops = None if winsorise is None else largest(paths, _grouped(len(strata)), _cell_order(len(strata)))
        second, n_clusters = second_moments(paths, len(strata), cluster is not None, reference)
    if not all(np.isfinite(block).all() for block in (first, *second.values())):
        raise InputError("sums of squares overflow", column=outcome, rule="finite sums", fix="use a larger unit")
    by_person = (*apart, *((INCOMPLETE,) if unbalanced == "allow" and paths.dropped else ()))
    if by_person and winsorise not in (None, 1):
        raise InputError(
            "people are read one by one here, and would not be winsorised",
            column=by_person[0],
            fix="cap the outcome in the source",
        )
    people = partial(
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
    return OutcomeMoments(
        outcome=outcome,
        times=paths.times,
        strata=strata,
        cells=cells,
        first=first,
        second=second,
        reference=reference,
        cluster=cluster,
        n_clusters=n_clusters,
        n_dropped=paths.dropped,
        weighted=weights is not None,
        numbers=tuple(name for name in numbers if name in strata),
        by_person=by_person,
        source=people if by_person else None,
        largest=tops,
    )


def _people(relation: duckdb.DuckDBPyRelation, **options: Any) -> GroupTimeEffects:
    """Read the people behind the moments; the estimator sits above this module."""
    from retrain_eval.did.unit_level import att_gt

    return att_gt(relation, **options)


def _many(relation: duckdb.DuckDBPyRelation, numbers: tuple[str, ...]) -> bool:
    """Whether numbers take so many combinations of values that cells are no summary."""
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


def _paths(relation: duckdb.DuckDBPyRelation, columns: Columns, time: str | Sequence[int], *, unbalanced: str) -> Paths:
    """Lay out one row per unit, from long rows or from arrays."""
    times = stored_periods(relation, time, columns.outcome)
    if times is None:
        return build_paths(relation, columns, unbalanced=unbalanced)
    return build_wide_paths(relation, columns, times, unbalanced=unbalanced)


# ---- paths to sums by cell ------------------------------------------------------------------------------------------


def reference_path(paths: Paths) -> Array:
    """Period means to two significant digits: near enough to keep the digits, round enough to be reproducible."""
    averages = ", ".join(f"avg(y_{i})" for i in range(len(paths.times)))
    means = paths.query(f"SELECT {averages} FROM {paths.table}").fetchall()[0]
    if not np.isfinite(means).all():
        raise DesignError("the outcome is too large to be averaged: use a larger unit")
    return np.array([round(mean, 1 - math.floor(math.log10(abs(mean)))) if mean else 0.0 for mean in means])


def _keys(n_strata: int) -> list[str]:
    return ["cohort", *(f"by_{i}" for i in range(n_strata))]


def _grouped(n_strata: int) -> str:
    return ", ".join([*_keys(n_strata), *(f"key_{i}" for i in range(n_strata))])


def _cell_order(n_strata: int) -> str:
    return ", ".join([*(f"key_{i} NULLS LAST" for i in range(n_strata)), "cohort NULLS LAST"])


def _sums(reference: Array) -> list[str]:
    """Return the SQL of z = w (1, Y − reference), one expression per coordinate."""
    return ["w", *(f"w * (y_{i} - ({float(center)!r}))" for i, center in enumerate(reference))]


def first_moments(paths: Paths, strata: tuple[str, ...], reference: Array) -> tuple[pd.DataFrame, Array]:
    """Return the cells in their stated order (strata, then cohort) and Σz of each, shape (C, 1 + T)."""
    keys = _keys(len(strata))
    sums = ", ".join(f"sum({z})" for z in _sums(reference))
    rows = paths.query(
        f"SELECT {', '.join(keys)}, count(*), {sums} FROM {paths.table} "
        f"GROUP BY {_grouped(len(strata))} ORDER BY {_cell_order(len(strata))}"
    ).fetchall()
    width = len(keys)
    cells = pd.DataFrame({"cohort": pd.array([row[0] for row in rows], dtype="Float64")})
    for i, name in enumerate(strata):
        cells[name] = pd.Series([row[1 + i] for row in rows], dtype="str")
    cells["n"] = [row[width] for row in rows]
    return cells, np.array([row[width + 1 :] for row in rows], dtype=float)


def second_moments(
    paths: Paths, n_strata: int, clustered: bool, reference: Array
) -> tuple[dict[tuple[int, int], Array], int]:
    """Return Σ over clusters of outer products of their Σz, by pair of cells, and the number of clusters."""
    size = 1 + len(reference)
    numbered = f"SELECT *, dense_rank() OVER (ORDER BY {_cell_order(n_strata)}) - 1 AS cell FROM {paths.table}"
    z = ", ".join(f"{expression} AS z_{i}" for i, expression in enumerate(_sums(reference)))
    upper = [(i, j) for i in range(size) for j in range(i, size)]
    if clustered:
        # one row per cluster × cell, then the products of all pairs of cells that a cluster holds
        totals = ", ".join(f"sum(z_{i}) AS z_{i}" for i in range(size))
        full = [(i, j) for i in range(size) for j in range(size)]
        units, clusters = f"{paths.table}_units", f"{paths.table}_clusters"
        steps = (
            # each step in a stated order, so that sums of floats come out the same bit for bit
            f"CREATE TEMP TABLE {units} AS WITH numbered AS ({numbered}) "
            f"SELECT cluster, cell, {z} FROM numbered ORDER BY unit",
            f"CREATE TEMP TABLE {clusters} AS SELECT cluster, cell, {totals} FROM {units} GROUP BY cluster, cell "
            "ORDER BY cluster, cell",
        )
        sql = (
            f"SELECT a.cell, b.cell, {{products}} FROM {clusters} a JOIN {clusters} b "
            f"ON a.cluster = b.cluster AND a.cell <= b.cell GROUP BY a.cell, b.cell ORDER BY a.cell, b.cell"
        )
        try:
            for step in steps:
                paths.query(step)
            rows = _sums_of_products(paths, sql, [f"sum(a.z_{i} * b.z_{j})" for i, j in full], n_keys=2)
        finally:
            for table in (units, clusters):
                paths.query(f"DROP TABLE IF EXISTS {table}")
        count = paths.query(f"SELECT count(DISTINCT cluster) FROM {paths.table}").fetchall()[0][0]
        return {(row[0], row[1]): np.array(row[2:], dtype=float).reshape(size, size) for row in rows}, int(count)
    sql = (
        f"WITH units AS (SELECT {_grouped(n_strata)}, {z} FROM {paths.table}) "
        f"SELECT count(*), {{products}} FROM units GROUP BY {_grouped(n_strata)} ORDER BY {_cell_order(n_strata)}"
    )
    second: dict[tuple[int, int], Array] = {}
    count = 0
    rows = _sums_of_products(paths, sql, [f"sum(z_{i} * z_{j})" for i, j in upper], n_keys=1)
    for cell, row in enumerate(rows):
        block = np.zeros((size, size))
        for (i, j), value in zip(upper, row[1:], strict=True):
            block[i, j] = block[j, i] = value
        second[cell, cell] = block
        count += row[0]
    return second, count


def _sums_of_products(paths: Paths, sql: str, products: list[str], *, n_keys: int) -> list[tuple[Any, ...]]:
    """Run ``sql`` with as many sums at a time as a group's row can hold; join the answers, which come in order."""
    parts = [products[i : i + _SUMS_PER_QUERY] for i in range(0, len(products), _SUMS_PER_QUERY)]
    answers = [paths.query(sql.format(products=", ".join(part))).fetchall() for part in parts]
    return [sum((row[n_keys:] for row in rows), rows[0][:n_keys]) for rows in zip(*answers, strict=True)]
