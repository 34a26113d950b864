"""The SQL for life tables: spells are checked and counted by cell inside DuckDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.levels import MISSING_LEVEL
from retrain_eval.common.sources import query, refuse_broken_rows, require_columns, sql_name
from retrain_eval.common.sql import stable_sum
from retrain_eval.tables.life_table.event_codes import CENSORED, Codes, cause_sql, code_sql, read_codes
from retrain_eval.tables.life_table.spell_keys import SpellKeys
from retrain_eval.tables.noise.cell_keys import UNIT
from retrain_eval.tables.noise.person_keys import PERSON_KEY, PRIME, has_keys
from retrain_eval.tables.noise.sums import power_sums_sql, powers_sql

COUNTS = ("n", "sum_w", "sum_w2")
_UNSEEN = "left_truncated"
# columns of a table of cells after those of levels
_TYPES: dict[str, Any] = {
    "entry": "float64", "duration": "float64", "cause": "str", "n": "int64", "sum_w": "float64", "sum_w2": "float64",
}  # fmt: skip


@dataclass(frozen=True)
class SpellColumns:
    """The roles of the columns in a table of spells."""

    id: str
    duration: str
    cause: str
    entry: str | None = None
    by: tuple[str, ...] = ()
    weights: str | None = None
    weight_type: str | None = None
    cluster: str | None = None
    event: Codes | None = None
    censored: Codes | None = None

    def names(self) -> list[str]:
        """Return every column used, each once."""
        optional = [name for name in (self.entry, self.weights, self.cluster) if name is not None]
        return list(dict.fromkeys([self.id, self.duration, self.cause, *self.by, *optional]))


def refuse_bad_spells(relation: duckdb.DuckDBPyRelation, columns: SpellColumns) -> None:
    """Refuse invalid values, and name the first offending spell.

    Raises
    ------
    InputError
        For a missing id, a duration or entry that is not a finite number, a duration that is not after its entry, a
        blank cause, a weight that is not finite or is negative, a frequency weight that is not whole.
    """
    refuse_broken_rows(relation, _rules(relation, columns), order=sql_name(columns.id))


def count_people(relation: duckdb.DuckDBPyRelation, columns: SpellColumns) -> int:
    """Return the number of distinct ids with positive weight; all ids are held in memory."""
    kept = "" if columns.weights is None else f" WHERE {_number(columns.weights)} > 0"
    sql = f"SELECT count(DISTINCT {sql_name(columns.id)}) FROM source{kept}"
    return int(query(relation, sql).fetchall()[0][0])


def most_spells(relation: duckdb.DuckDBPyRelation, columns: SpellColumns) -> int:
    """Return the largest number of spells of positive weight that have the keys of one person."""
    kept = "" if columns.weights is None else f" WHERE {_number(columns.weights)} > 0"
    sql = f"SELECT max(k) FROM (SELECT count(*) AS k FROM source{kept} GROUP BY {PERSON_KEY}.record)"
    return int(query(relation, sql).fetchall()[0][0])


def _rules(relation: duckdb.DuckDBPyRelation, columns: SpellColumns) -> dict[str, tuple[str, str]]:
    """Return rule → (column, the condition under which a row breaks it)."""
    duration, cause = _number(columns.duration), sql_name(columns.cause)
    rules = {
        "the id must not be missing": (columns.id, f"{sql_name(columns.id)} IS NULL"),
        "the duration must be a finite number": (columns.duration, _not_finite(duration)),
        "the duration must be above zero": (columns.duration, f"{duration} <= 0"),
        "the code of the ending must not be blank; NULL means censored": (
            columns.cause,
            f"{cause} IS NOT NULL AND trim(CAST({cause} AS VARCHAR)) = ''",
        ),
    }
    if columns.entry is not None:
        entry = _number(columns.entry)
        rules |= {
            "the entry must be a finite number, zero or more": (columns.entry, f"{_not_finite(entry)} OR {entry} < 0"),
            "the duration must be above the entry": (columns.duration, f"{duration} <= {entry}"),
        }
    if columns.weights is not None:
        weight = _number(columns.weights)
        bad = f"{_not_finite(weight)} OR {weight} < 0"
        rules["the weight must be a finite number, zero or more"] = (columns.weights, bad)
        if columns.weight_type == "frequency":
            rules["a frequency weight must be whole"] = (columns.weights, f"{weight} <> round({weight})")
    if columns.cluster is not None:
        rules["the cluster must not be missing"] = (columns.cluster, f"{sql_name(columns.cluster)} IS NULL")
    return rules


def refuse_unseen_beginnings(relation: duckdb.DuckDBPyRelation, columns: SpellColumns) -> None:
    """Refuse spells that `build_spells` marks as begun before observation, because their durations are too short.

    Raises
    ------
    InputError
        If there are any and no ``entry`` gives the duration from which they are observed.
    """
    if columns.entry is not None or _UNSEEN not in relation.columns:
        return
    if str(relation.types[relation.columns.index(_UNSEEN)]) != "BOOLEAN":
        return
    n = query(relation, f"SELECT count(*) FILTER (WHERE {_UNSEEN}) FROM source").fetchall()[0][0]
    if n:
        raise InputError(
            f"{n:,} spell(s) began before they were observed",
            column=_UNSEEN,
            rule="a duration runs from the beginning of its spell",
            fix=f"leave them out with .filter('NOT {_UNSEEN}'), or give entry= where their true durations are known",
        )


def _number(column: str) -> str:
    return f"TRY_CAST({sql_name(column)} AS DOUBLE)"


def _not_finite(number: str) -> str:
    return f"({number} IS NULL OR NOT isfinite({number}))"


def count_cells(
    relation: duckdb.DuckDBPyRelation, columns: SpellColumns
) -> tuple[pd.DataFrame, int, bool, dict[str, str], SpellKeys | None]:
    """Return n, Σw and Σw² by levels × entry × duration × cause: the one GROUP BY.

    Rows are grouped by their raw values, and only the few sums are converted to text and sorted: by level (in the
    column's own order, so that an ordered category keeps its order), entry, duration and cause. The rules for keys are
    checked on the sums as well.

    Returns
    -------
    cells : DataFrame
    n_rows : int
        Rows with positive weight.
    ascending : bool
        Whether each id is larger than the one before it, so that all are distinct. Records are usually sorted by id,
        and this is checked in the same pass as the counting, without using memory.
    causes : dict of str → str
        The cause that each code represents; see `read_codes`.
    keys : SpellKeys or None
        Of the cells, if the rows have the keys of their people.

    Raises
    ------
    InputError
        For a column that does not exist, no weight, a spell that breaks a rule (`refuse_bad_spells`), or codes
        that do not say what is an event (`read_codes`).
    DesignError
        If there are no rows.
    """
    require_columns(relation, columns.names())
    refuse_unseen_beginnings(relation, columns)
    names = [*columns.by, *([] if columns.entry is None else [columns.entry]), columns.duration, columns.cause]
    raw = ", ".join(f"{sql_name(name)} AS key_{i}" for i, name in enumerate(names))
    weight = "1.0" if columns.weights is None else _number(columns.weights)
    sums = "count(*) AS n, n AS sum_w, n AS sum_w2"
    rows_kept = "n"
    keyed = has_keys(relation)
    key = f"sum({PERSON_KEY}.record)" if keyed else "CAST(0 AS HUGEINT)"
    spells_kept = "true" if columns.weight_type is None else f"{weight} > 0"
    powers = [f"{total} AS power_{k}" for k, total in enumerate(power_sums_sql(spells_kept) if keyed else [])]
    named = [f"power_{k}" for k in range(len(powers))]
    if columns.weight_type is not None:
        # a frequency weight is the number of identical spells that a row represents, each of weight one
        repeated = columns.weight_type == "frequency"
        w2 = weight if repeated else f"{weight} * {weight}"
        n = f"sum({weight})" if repeated else "count(*)"
        sums = ", ".join(
            f"coalesce({value} FILTER (WHERE {weight} > 0), 0) AS {name}"
            for name, value in {
                "n": n,
                "sum_w": f"sum({weight})" if repeated else stable_sum(weight),
                "sum_w2": f"sum({w2})" if repeated else stable_sum(w2),
                "rows_kept": "count(*)",
            }.items()
        )
        rows_kept = "rows_kept"
        key = f"coalesce({key} FILTER (WHERE {weight} > 0), 0)" if keyed else key
    # columns that are not keys: ids, clusters and weights
    whole = f" OR {weight} <> round({weight})" if columns.weight_type == "frequency" else ""
    hidden = [f"count({sql_name(name)}) < count(*)" for name in (columns.id, columns.cluster) if name is not None]
    if columns.weights is not None:
        hidden.append(f"bool_or({_not_finite(weight)} OR {weight} < 0{whole})")
    place = len(columns.by)
    entry = "0.0" if columns.entry is None else f"TRY_CAST(key_{place} AS DOUBLE)"
    wrong_entry = "false" if columns.entry is None else f"{_not_finite('entry')} OR entry < 0 OR duration <= entry"
    levels = "".join(
        f"coalesce(CAST(key_{i} AS VARCHAR), '{MISSING_LEVEL}') AS by_{i}, key_{i} AS sort_{i}, " for i in range(place)
    )
    cause = f"key_{len(names) - 1}"
    keys = keys_of(columns)
    sorts = [f"sort_{i}" for i in range(place)]
    id = sql_name(columns.id)
    found = query(
        relation,
        f"""
        WITH sums AS (
          SELECT {", ".join([raw, sums, f"{key} AS key", *powers])}, {" OR ".join(hidden)} AS bad
          FROM {powers_sql("source") if keyed else "source"} GROUP BY ALL
        ),
        named AS (
          SELECT {levels}{entry} AS entry, TRY_CAST(key_{len(names) - 2} AS DOUBLE) AS duration,
            {", ".join([f"{code_sql(relation, columns.cause, cause)} AS cause, n, sum_w, sum_w2, key", *named])},
            {rows_kept} AS row_count,
            bad OR {_not_finite("duration")} OR duration <= 0 OR {wrong_entry}
              OR coalesce(trim(CAST({cause} AS VARCHAR)) = '', false) AS bad
          FROM sums
        ),
        cells AS (
          SELECT {", ".join([*keys, *(f"min({name}) AS {name}" for name in sorts)])},
            sum(n) AS n, {stable_sum("sum_w")} AS sum_w, {stable_sum("sum_w2")} AS sum_w2,
            CAST(sum(key) % {2**64} AS UBIGINT) AS key,
            {"".join(f"CAST(sum({name}) % {PRIME} * {UNIT} % {PRIME} AS BIGINT) AS {name}, " for name in named)}
            sum(row_count) AS row_count, bool_or(bad) AS bad, NULL AS ascending
          FROM named GROUP BY {", ".join(keys)}
          UNION ALL
          SELECT {", ".join(["NULL"] * (len(keys) + len(sorts) + len(named) + 6))}, coalesce(bool_and(up), true)
          FROM (SELECT {id} > lag({id}) OVER () AS up FROM source)
        )
        SELECT {", ".join([*keys, "n, sum_w, sum_w2, key, row_count, bad, ascending", *named])}
        FROM cells ORDER BY ascending NULLS FIRST, {order_of(columns, sorts)}
        """,
    ).fetchnumpy()
    sketches = [np.ma.getdata(found.pop(name)) for name in named]
    codes_read = found["cause"]
    *values, key_sums, rows, bad, ascending = (np.ma.getdata(column) for column in found.values())
    if len(rows) == 1:  # only the last row, which is not a cell
        raise DesignError("there are no spells to count")
    if bad[:-1].any():
        refuse_bad_spells(relation, columns)
    codes = pd.Series(codes_read[:-1], dtype="object").where(~np.ma.getmaskarray(codes_read)[:-1])
    spells = values[-3][:-1].astype(np.int64)
    counts = pd.Series(spells).groupby(codes, sort=True).sum()
    n_null = int(spells[codes.isna().to_numpy()].sum())
    causes = read_codes(
        columns.cause, {str(code): int(n) for code, n in counts.items()}, n_null, columns.event, columns.censored
    )
    kept = values[-3][:-1] > 0
    if not kept.any():
        raise InputError("every spell has weight zero", column=columns.weights)
    types: dict[str, Any] = dict.fromkeys(columns.by, "str") | _TYPES
    values[-4] = codes.map(causes).astype("object").fillna(CENSORED).to_numpy()
    cells = pd.DataFrame(
        {name: pd.array(value[: len(kept)][kept], dtype=types[name]) for name, value in zip(types, values, strict=True)}
    )
    of_cells = None
    if keyed:
        rows_of = np.column_stack(sketches)[:-1][kept].astype(np.int64)
        of_cells = SpellKeys(key_sums[:-1][kept].astype(np.uint64), most_spells(relation, columns), rows_of)
    cells, of_cells = _by_cause(cells, columns.by, of_cells)
    return cells, int(rows[:-1].sum()), bool(ascending[-1]), causes, of_cells


def _by_cause(
    cells: pd.DataFrame, by: tuple[str, ...], keys_of_cells: SpellKeys | None
) -> tuple[pd.DataFrame, SpellKeys | None]:
    """Return cells ordered by group, entry, duration and cause, summing those whose codes mean the same."""
    group = np.zeros(len(cells), dtype=np.int64)
    if by:
        group[1:] = (cells[list(by)].to_numpy()[1:] != cells[list(by)].to_numpy()[:-1]).any(axis=1).cumsum()
    keys = ["entry", "duration", "cause"]
    place = cells.assign(_group=group).groupby(["_group", *keys], sort=True).ngroup().to_numpy()
    if (np.diff(place) > 0).all():
        return cells, keys_of_cells
    summed = cells.groupby(place, sort=True)
    merged = pd.concat([summed[[*by, *keys]].first(), summed[list(COUNTS)].sum()], axis=1).reset_index(drop=True)
    return merged, keys_of_cells and keys_of_cells.merged(place, len(merged))


def spells_of(relation: duckdb.DuckDBPyRelation, columns: SpellColumns, causes: Mapping[str, str]) -> str:
    """Return SQL with one clean row per spell; spells of weight zero are dropped."""
    levels = [
        f"coalesce(CAST({sql_name(name)} AS VARCHAR), '{MISSING_LEVEL}') AS by_{i}, {sql_name(name)} AS sort_{i}"
        for i, name in enumerate(columns.by)
    ]
    entry = "0.0" if columns.entry is None else f"CAST({sql_name(columns.entry)} AS DOUBLE)"
    weight = "1.0" if columns.weights is None else f"CAST({sql_name(columns.weights)} AS DOUBLE)"
    parts = [
        *levels,
        f"{entry} AS entry",
        f"CAST({sql_name(columns.duration)} AS DOUBLE) AS duration",
        f"{cause_sql(code_sql(relation, columns.cause), causes)} AS cause",
        f"{weight} AS w",
    ]
    if columns.cluster is not None:
        parts.append(f"{sql_name(columns.cluster)} AS cluster")
    kept = "" if columns.weights is None else f" WHERE {weight} > 0"
    return f"SELECT {', '.join(parts)} FROM source{kept}"


def keys_of(columns: SpellColumns) -> list[str]:
    """Return the keys of a cell."""
    return [*(f"by_{i}" for i in range(len(columns.by))), "entry", "duration", "cause"]


def order_of(columns: SpellColumns, sorts: Sequence[str] | None = None) -> str:
    """Return the order of cells, where ``sorts`` gives the values that levels are sorted by."""
    sorts = sorts or [f"min(sort_{i})" for i in range(len(columns.by))]
    levels = [f"{sort} NULLS LAST, by_{i}" for i, sort in enumerate(sorts)]
    return ", ".join([*levels, "entry", "duration", "cause"])
