"""The SQL for outcome moments: from long rows to one checked path per unit.

A path table is a temporary DuckDB table on the source's connection, so the data are not moved and DuckDB's memory limit
applies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.levels import MISSING_LEVEL
from retrain_eval.common.shown import summarised
from retrain_eval.common.sources import is_table, query, refuse_broken_rows, require_columns, sql_name, sql_text
from retrain_eval.common.sql import scratch
from retrain_eval.common.withholding import units_having
from retrain_eval.tables.noise.person_keys import PERSON_KEY

MAX_PERIODS = 400
_RESERVED = ("cell", "cohort", "n", "first", "second", "second_with")
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
# units whose paths are pivoted at a time in a large table, and the largest number of ranges it is cut into
_RANGE, _MAX_RANGES = 2**17, 8


@dataclass(frozen=True)
class Columns:
    """The roles of the columns in a long table."""

    unit: str
    time: str
    cohort: str
    outcome: str
    by: tuple[str, ...] = ()
    weights: str | None = None
    cluster: str | None = None
    numbers: tuple[str, ...] = ()
    keyed: bool = False  # whether there is a column of the keys of people

    def names(self) -> list[str]:
        """Return every column used, each once."""
        optional = [name for name in (self.weights, self.cluster) if name is not None]
        fixed = [self.unit, self.time, self.cohort, self.outcome, *self.by, *optional, *self.numbers]
        return list(dict.fromkeys(fixed))

    def fixed(self) -> dict[str, str]:
        """Return the columns of a path table that are the same in all periods of a unit, as SQL on ``source``."""
        cohort = f"CAST({sql_name(self.cohort)} AS DOUBLE)"
        never = f"{cohort} IS NULL OR {cohort} = 0 OR isinf({cohort}) OR isnan({cohort})"
        found = {"cohort": f"CASE WHEN {never} THEN NULL ELSE {cohort} END"}
        for i, name in enumerate(self.by):
            # levels are ordered by the column's own type: categories keep their order, numbers are numeric
            found[f"key_{i}"] = sql_name(name)
        found["w"] = "1.0::DOUBLE" if self.weights is None else f"CAST({sql_name(self.weights)} AS DOUBLE)"
        if self.cluster is not None:
            found["cluster"] = sql_name(self.cluster)
        if self.keyed:
            found |= {name: f"{PERSON_KEY}.{name}" for name in ("record", "factor", "element")}
        return found | {f"x_{i}": f"CAST({sql_name(name)} AS DOUBLE)" for i, name in enumerate(self.numbers)}

    def labels(self) -> str:
        """Return the SQL of the strata as text, by_0.., from their keys: a list of columns that ends in a comma."""
        return "".join(
            f"coalesce(CAST(key_{i} AS VARCHAR), '{MISSING_LEVEL}') AS by_{i}, " for i in range(len(self.by))
        )

    def rules(self) -> dict[str, tuple[str, str]]:
        """Return what weights, clusters and covariates must obey: rule → column, SQL of the rows that break it."""
        found: dict[str, tuple[str, str]] = {}
        if self.weights is not None:
            weight = f"TRY_CAST({sql_name(self.weights)} AS DOUBLE)"
            condition = f"{weight} IS NULL OR NOT isfinite({weight}) OR {weight} < 0"
            found["the weight must be a finite number, zero or more"] = (self.weights, condition)
        if self.cluster is not None:
            found["the cluster must not be missing"] = (self.cluster, f"{sql_name(self.cluster)} IS NULL")
        for name in self.numbers:
            number = f"CAST({sql_name(name)} AS DOUBLE)"
            rule = (
                f"{name}, a covariate that is a number, enters linearly, so it must be finite and none may be missing"
            )
            found[rule] = (name, f"{number} IS NULL OR NOT isfinite({number})")
        return found


@summarised
@dataclass(frozen=True)
class Paths:
    """A temporary table with one row per unit, in their order: ``cohort, by_0.., w, cluster, x_0.., y_0..y_{T-1}``.

    Use it as a context manager, which drops the table when the block ends.
    """

    relation: duckdb.DuckDBPyRelation
    table: str
    times: tuple[int, ...]
    dropped: int

    @property
    def per_period(self) -> list[str]:
        """The columns of the outcome in each period."""
        return [f"y_{i}" for i in range(len(self.times))]

    def query(self, sql: str) -> duckdb.DuckDBPyRelation:
        """Run SQL on the connection that holds the table."""
        return query(self.relation, sql)

    def chunks(self, columns: Sequence[str], size: int) -> Iterator[pa.Table]:
        """Yield some columns of ``size`` units at a time, in the order of units.

        A complete result would be held in memory; ranges of row numbers are not. The next range is fetched while the
        last one is processed, so two are in memory, and the connection must not be used for anything else.
        """

        def fetch(start: int) -> pa.Table:
            rows = f"rowid BETWEEN {start} AND {start + size - 1}"
            return self.query(f"SELECT {', '.join(columns)} FROM {self.table} WHERE {rows}").to_arrow_table()

        last = self.query(f"SELECT max(rowid) FROM {self.table}").fetchall()[0][0]
        starts = range(0, int(last) + 1, size)
        with ThreadPoolExecutor(1) as ahead:
            waiting = ahead.submit(fetch, starts[0])
            for start in starts[1:]:
                units = waiting.result()
                waiting = ahead.submit(fetch, start)
                yield units
                del units
            yield waiting.result()

    def by_cluster(self) -> Paths:
        """Return a copy in the order of clusters, which are numbered from 0; use it as a context manager too."""
        table = f"{self.table}_by_cluster"
        number = "dense_rank() OVER (ORDER BY cluster) - 1 AS cluster"
        self.query(f"CREATE TEMP TABLE {table} AS SELECT * REPLACE ({number}) FROM {self.table} ORDER BY cluster, unit")
        return replace(self, table=table)

    def __enter__(self) -> Paths:
        return self

    def __exit__(self, *_: object) -> None:
        self.query(f"DROP TABLE IF EXISTS {self.table}")


def build_paths(
    relation: duckdb.DuckDBPyRelation, columns: Columns, *, unbalanced: str = "refuse", keep_gaps: bool = False
) -> Paths:
    """Pivot one row per unit × time into one row per unit, refusing invalid rows.

    Parameters
    ----------
    relation : DuckDBPyRelation
        Long table.
    columns : Columns
        Names of its columns.
    unbalanced : {"refuse", "drop"}
        What to do with units that lack a period: refuse with their number, or drop them and count them.
    keep_gaps : bool
        Keep incomplete units regardless of ``unbalanced``, with NULL for missing periods; drop units never observed.

    Raises
    ------
    InputError
        For a column that does not exist, a missing unit or time, a time that is not a whole number, an outcome,
        weight or number that is not finite, a negative weight, a repeated unit × time, or a cohort, stratum, weight,
        cluster or number that changes within a unit. The first offending unit is named.
    DesignError
        If no unit is left, or there are more than 400 periods.
    """
    return lay_out(
        relation, columns, check_rows(relation, columns, unbalanced), unbalanced=unbalanced, keep_gaps=keep_gaps
    )


def check_rows(relation: duckdb.DuckDBPyRelation, columns: Columns, unbalanced: str) -> tuple[int, ...]:
    """Refuse rows that are invalid by themselves; return the periods."""
    require_columns(relation, columns.names())
    check_options(columns, unbalanced)
    check_values(relation, columns)
    return distinct_times(relation, columns)


def lay_out(
    relation: duckdb.DuckDBPyRelation,
    columns: Columns,
    times: tuple[int, ...],
    *,
    unbalanced: str,
    keep_gaps: bool = False,
    where: str = "TRUE",
) -> Paths:
    """Pivot checked rows, of all units or of some; see `build_paths`."""
    with scratch(relation) as tables:
        table = tables.name("paths")
        paths = Paths(relation, table, times, 0)
        query(relation, _pivot_sql(columns, times, table, where))
        needed = 1 if keep_gaps else len(times)
        rules = (_repeats(times), "changes", f"n_present < {needed}", f"n_present < {needed} OR w = 0", "TRUE")
        counts = ", ".join(f"count(*) FILTER (WHERE {rule})" for rule in rules)
        repeated, changing, incomplete, left_out, units = paths.query(f"SELECT {counts} FROM {table}").fetchall()[0]
        if repeated or changing:
            _refuse_units(paths, columns, repeated, changing)
        if incomplete and unbalanced == "refuse" and not keep_gaps:
            _refuse_unbalanced(paths, columns, incomplete)
        if left_out == units:
            raise DesignError(
                f"no unit is observed in all {len(times)} periods {list(times)}",
                public="no one is observed in all periods",
            )
        if left_out:
            paths.query(f"DELETE FROM {table} WHERE n_present < {needed} OR w = 0")
        tables.keep(table)
    return Paths(relation, table, times, incomplete)


def ranges_of_units(relation: duckdb.DuckDBPyRelation, columns: Columns, n_times: int) -> list[str]:
    """Return conditions that cut a table into ranges of units, in order; only one if there are not many units.

    The cuts depend on the units alone, not on rows, threads or memory, so that sums over successive ranges are
    reproducible bit for bit. Each range needs another scan, which is cheap for a table but can be expensive for a query
    or a file, so these are not cut.
    """
    unit = sql_name(columns.unit)
    kind = str(dict(zip(relation.columns, relation.types, strict=True))[columns.unit])
    if not is_table(relation) or kind not in (*_WHOLE, "VARCHAR"):
        return ["TRUE"]
    n_units = query(relation, "SELECT count(*) FROM source").fetchall()[0][0] / n_times
    n_ranges = min(_MAX_RANGES, math.ceil(n_units / _RANGE))
    if n_ranges < 3:
        return ["TRUE"]
    if kind == "VARCHAR":
        numbered = f"SELECT u, row_number() OVER (ORDER BY u) AS n FROM (SELECT DISTINCT {unit} AS u FROM source)"
        each = math.ceil(n_units / n_ranges)
        rows = query(relation, f"SELECT u FROM ({numbered}) WHERE n % {each} = 0 ORDER BY n").fetchall()
        cuts = [sql_text(row[0]) for row in rows]
    else:
        low, high = query(relation, f"SELECT min({unit}), max({unit}) FROM source").fetchall()[0]
        cuts = [f"{low + (high - low) * i // n_ranges}" for i in range(1, n_ranges)]
    lower = ["TRUE", *(f"{unit} > {cut}" for cut in cuts)]
    upper = [*(f"{unit} <= {cut}" for cut in cuts), "TRUE"]
    return [f"{above} AND {below}" for above, below in zip(lower, upper, strict=True)]


def check_options(columns: Columns, unbalanced: str) -> None:
    """Refuse strata whose names are taken, and an unknown value of ``unbalanced``."""
    for name in columns.by:
        if name in _RESERVED or columns.by.count(name) > 1:
            rule = f"a stratum is named once, and none of {', '.join(_RESERVED)}: columns of the moments themselves"
            raise InputError("the name of a stratum is taken", column=name, rule=rule, fix="rename the column")
    if unbalanced not in {"refuse", "drop"}:
        raise InputError(f"unknown unbalanced={unbalanced!r}", fix='use "refuse" or "drop"')


def check_values(relation: duckdb.DuckDBPyRelation, columns: Columns) -> None:
    """Refuse values that are invalid by themselves, in one pass over the rows; the error names the first."""
    unit, time, outcome = sql_name(columns.unit), sql_name(columns.time), sql_name(columns.outcome)
    number = f"TRY_CAST({outcome} AS DOUBLE)"
    rules = {
        "the unit id must not be missing": (columns.unit, f"{unit} IS NULL"),
        "the time must not be missing": (columns.time, f"{time} IS NULL"),
        "the cohort must be a number; NULL, 0 or +inf mean never treated": (
            columns.cohort,
            f"{sql_name(columns.cohort)} IS NOT NULL AND (TRY_CAST({sql_name(columns.cohort)} AS DOUBLE) IS NULL "
            f"OR TRY_CAST({sql_name(columns.cohort)} AS DOUBLE) = '-inf')",
        ),
    }
    # values that the column's type excludes need not be searched for
    kinds = dict(zip(relation.columns, (str(kind) for kind in relation.types), strict=True))
    if kinds[columns.time] not in _WHOLE:
        rules["the time must be a whole number"] = (
            columns.time,
            f"TRY_CAST({time} AS BIGINT) IS NULL OR TRY_CAST({time} AS DOUBLE) <> round(TRY_CAST({time} AS DOUBLE))",
        )
    if kinds[columns.outcome] not in (*_WHOLE, "DOUBLE"):
        rules["the outcome must be a number"] = (columns.outcome, f"{outcome} IS NOT NULL AND {number} IS NULL")
    if kinds[columns.outcome] not in _WHOLE:
        finite = f"{number} IS NOT NULL AND NOT isfinite({number})"
        rules["the outcome must be finite"] = (columns.outcome, finite)
    if kinds[columns.cohort] in _WHOLE:
        del rules["the cohort must be a number; NULL, 0 or +inf mean never treated"]
    refuse_broken_rows(relation, rules | columns.rules(), order=f"{unit}, {time}")


def distinct_times(relation: duckdb.DuckDBPyRelation, columns: Columns) -> tuple[int, ...]:
    """Return the periods that occur, ascending; refuse an empty table, and a column that is hardly the period."""
    found = query(
        relation,
        f"SELECT DISTINCT CAST({sql_name(columns.time)} AS BIGINT) AS t FROM source ORDER BY t LIMIT {MAX_PERIODS + 1}",
    ).fetchall()
    if not found:
        raise DesignError("the source has no rows")
    if len(found) > MAX_PERIODS:
        raise DesignError(
            f"more than {MAX_PERIODS} distinct values of {columns.time!r}: is it really the period?",
            public="there are too many periods",
        )
    return tuple(int(row[0]) for row in found)


def _pivot_sql(columns: Columns, times: Sequence[int], table: str, where: str) -> str:
    """Return SQL with one GROUP BY: the path, its number of periods, and whether a constant column changes."""
    fixed = columns.fixed()
    constant = [] if columns.weights is not None else [f"{fixed.pop('w')} AS w"]
    values = [f"first({expression}) AS {name}" for name, expression in fixed.items()]
    # one 64-bit hash of all constant columns; a cohort that is NULL in some rows and a year in others differs as well
    together = f"hash({', '.join(fixed.values())})"
    outcome, time = f"CAST({sql_name(columns.outcome)} AS DOUBLE)", f"CAST({sql_name(columns.time)} AS BIGINT)"
    # CASE is faster than FILTER, which slices every batch of rows for every period
    path = [f"max(CASE WHEN {time} = {t} THEN {outcome} END) AS y_{i}" for i, t in enumerate(times)]
    counts = [f"count({outcome}) AS n_present", "count(*) AS n_rows", f"min({together}) <> max({together}) AS changes"]
    selected = ", ".join([f"{sql_name(columns.unit)} AS unit", *constant, *values, *counts, *path])
    units = f"SELECT {selected} FROM source WHERE {where} GROUP BY {sql_name(columns.unit)}"
    # in the order of units, so that sums of floats are reproducible bit for bit
    return f"CREATE TEMP TABLE {table} AS SELECT {columns.labels()}* FROM ({units}) ORDER BY unit"


def _repeats(times: Sequence[int]) -> str:
    """Return the condition of units with a repeated period."""
    filled = " + ".join(f"(y_{i} IS NOT NULL)::INT" for i in range(len(times)))
    return f"n_present > ({filled}) OR n_rows > {len(times)}"


def _refuse_units(paths: Paths, columns: Columns, repeated: int, changing: int) -> None:
    """Return the error for units with a repeated period, or with a cohort, stratum, weight or cluster that changes."""
    if repeated:
        raise InputError(
            f"{repeated} unit(s) have more than one row for a period",
            row=units_having(columns.unit, f"count(*) > count(DISTINCT {sql_name(columns.time)})"),
            column=f"{columns.unit}, {columns.time}",
            rule="one row per unit and period",
            fix="aggregate to one row per unit and period (sum the earnings of all employers)",
        )
    fixed = [columns.cohort, *columns.by, *(c for c in (columns.weights, columns.cluster) if c is not None)]
    fixed += columns.numbers
    changes = " OR ".join(f"count(DISTINCT {sql_name(name)}) > 1" for name in dict.fromkeys(fixed))
    raise InputError(
        f"{changing} unit(s) change where they must not",
        row=units_having(columns.unit, changes),
        column=", ".join(fixed),
        rule="cohort, strata, covariates, weight and cluster are the same in all periods of a unit",
        fix="use the value at baseline",
    )


def _refuse_unbalanced(paths: Paths, columns: Columns, incomplete: int) -> None:
    listed = units_having(columns.unit, f"count({sql_name(columns.outcome)}) < {len(paths.times)}")
    raise DesignError(
        f"{incomplete} unit(s) are not observed in all {len(paths.times)} periods. Complete them, or drop them "
        f'knowingly with unbalanced="drop" (column {columns.outcome!r}). They are listed by: {listed}',
        public="some people are not observed in all periods",
    )
