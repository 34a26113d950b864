"""The SQL for clustered life tables: co-occurrence of cells in clusters, and the groups of each cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from scipy import sparse

from retrain_eval.common.sources import query, sql_text
from retrain_eval.common.sql import stable_sum
from retrain_eval.tables.life_table.cooccurrence import MAX_PAIRS
from retrain_eval.tables.life_table.spell_cells import SpellColumns, keys_of, order_of, spells_of
from retrain_eval.tables.life_table.spell_clusters import Group, SpellClusters, keeps_each

_BITS = 60  # groups to a word


def count_products(
    relation: duckdb.DuckDBPyRelation,
    columns: SpellColumns,
    cluster: str,
    cells: pd.DataFrame,
    causes: Mapping[str, str],
    *,
    one_each: bool,
) -> tuple[sparse.csr_array | None, sparse.csr_array | None]:
    """Return the co-occurrence of cells in clusters, as products or as totals, whichever is smaller.

    Parameters
    ----------
    relation, columns, cluster
        The spells, and the column of clusters.
    cells, causes
        From `count_cells`.
    one_each : bool
        Whether every id has one spell.

    Returns
    -------
    products : sparse array, shape (C, C), or None
        Σ over clusters of (Σw in cell c)(Σw in cell d), where few pairs of spells share a cluster.
    totals : sparse array, shape (J, C), or None
        Σw by cluster and cell otherwise: a thousand providers with a thousand spells each have a billion pairs, but
        only a million totals. Clusters are in ascending order.
    """
    size = len(cells)
    spells = spells_of(relation, columns, causes)
    alone = one_each and cluster == columns.id
    pairs, most = 0, 1
    if not alone:
        pairs, most = query(
            relation,
            f"SELECT sum(CAST(least(k, {size}) AS DOUBLE) ** 2), max(k) "
            f"FROM (SELECT count(*) AS k FROM ({spells}) GROUP BY cluster)",
        ).fetchall()[0]
    if most == 1:  # nothing co-occurs
        return sparse.csr_array(sparse.diags_array(cells["sum_w2"].to_numpy())), None
    keys, total = ", ".join(keys_of(columns)), _total(columns)
    products = "sum(a.total * b.total)" if columns.weights is None else stable_sum("a.total * b.total")
    held = (
        f"WITH spells AS ({spells}), "
        f"cells AS (SELECT {keys}, row_number() OVER (ORDER BY {order_of(columns)}) - 1 AS cell "
        f"FROM spells GROUP BY {keys}), "
        f"held AS (SELECT cluster, cell, {total} AS total FROM spells JOIN cells USING ({keys}) "
        "GROUP BY cluster, cell) "
    )
    if pairs > MAX_PAIRS:
        found = query(
            relation,
            held + "SELECT dense_rank() OVER (ORDER BY cluster) - 1 AS a, cell AS b, total AS sums "
            "FROM held ORDER BY a, b",
        ).fetchnumpy()
        return None, _sparse(found, (int(found["a"][-1]) + 1, size))
    found = query(
        relation,
        held + "SELECT a.cell AS a, b.cell AS b, " + products + " AS sums FROM held a JOIN held b "
        "ON a.cluster = b.cluster GROUP BY a.cell, b.cell ORDER BY a.cell, b.cell",
    ).fetchnumpy()
    return _sparse(found, (size, size)), None


def _total(columns: SpellColumns) -> str:
    """Return SQL for the weight of a cluster's spells; without weights it is a count, which needs no stable order."""
    return "sum(w)" if columns.weights is None else stable_sum("w")


def count_clusters(
    relation: duckdb.DuckDBPyRelation,
    columns: SpellColumns,
    cells: pd.DataFrame,
    causes: Mapping[str, str],
    *,
    one_each: bool,
) -> SpellClusters:
    """Return the clusters by the groups in which they have spells, with the spells of each if clusters are few.

    Parameters
    ----------
    relation, columns, cells, causes, one_each
        As in `count_products`.
    """
    groups = list(dict.fromkeys(zip(*(cells[name] for name in columns.by), strict=True))) if columns.by else [()]
    if one_each and columns.cluster == columns.id and len(cells):
        n = cells.groupby(list(columns.by), sort=False)["n"].sum() if columns.by else [cells["n"].sum()]
        sets = {frozenset({group}): int(k) for group, k in zip(groups, n, strict=True)}
    else:
        sets = _cluster_sets(relation, columns, groups, causes)
    if not keeps_each(sets, int(cells["n"].sum())):
        return SpellClusters(sets)
    spells, keys = spells_of(relation, columns, causes), ", ".join(keys_of(columns))
    found = query(
        relation,
        f"WITH spells AS ({spells}), "
        f"cells AS (SELECT {keys}, row_number() OVER (ORDER BY {order_of(columns)}) - 1 AS b "
        f"FROM spells GROUP BY {keys}) SELECT dense_rank() OVER (ORDER BY cluster) - 1 AS a, b, count(*) AS n, "
        f"{_total(columns)} AS sums FROM spells JOIN cells USING ({keys}) GROUP BY cluster, b ORDER BY a, b",
    ).fetchnumpy()
    shape = (int(found["a"][-1]) + 1, len(cells))
    return SpellClusters(sets, _sparse(found | {"sums": found["n"]}, shape), _sparse(found, shape))


def _cluster_sets(
    relation: duckdb.DuckDBPyRelation, columns: SpellColumns, groups: Sequence[Group], causes: Mapping[str, str]
) -> dict[frozenset[Group], int]:
    """Count clusters by the set of groups in which they have spells, encoded with one bit per group."""
    by = [f"by_{i}" for i in range(len(columns.by))]
    source, place = "spells", "0"
    if by:
        key, place = ", ".join(by), "place"
        values = (", ".join([*map(sql_text, group), str(number)]) for number, group in enumerate(groups))
        listed = ", ".join(f"({row})" for row in values)
        source = f"spells JOIN (VALUES {listed}) AS groups({key}, place) USING ({key})"
    words = [f"w{k}" for k in range(-(-len(groups) // _BITS))]
    bits = ", ".join(
        f"bit_or(CASE WHEN {place} // {_BITS} = {k} THEN CAST(1 AS BIGINT) << CAST({place} % {_BITS} AS INTEGER) "
        f"ELSE 0 END) AS {word}"
        for k, word in enumerate(words)
    )
    found = query(
        relation,
        f"WITH spells AS ({spells_of(relation, columns, causes)}), "
        f"held AS (SELECT cluster, {bits} FROM {source} GROUP BY cluster) "
        f"SELECT {', '.join(words)}, count(*) FROM held GROUP BY ALL ORDER BY ALL",
    ).fetchall()
    return {
        frozenset(group for i, group in enumerate(groups) if row[i // _BITS] >> (i % _BITS) & 1): int(row[-1])
        for row in found
    }


def _sparse(found: dict[str, Any], shape: tuple[int, int]) -> sparse.csr_array:
    index = (np.asarray(found["a"], dtype=np.int32), np.asarray(found["b"], dtype=np.int32))
    return sparse.csr_array((np.asarray(found["sums"], dtype=float), index), shape=shape)
