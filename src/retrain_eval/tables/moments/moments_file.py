"""The file of outcome moments: one row per cell, and the facts of the table in the metadata."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from retrain_eval.common.arrays import Floats
from retrain_eval.tables.clusters import Clusters
from retrain_eval.tables.file import read_table, write_table
from retrain_eval.tables.largest import N_LARGEST
from retrain_eval.tables.moments.keyed_sums import KeyedSums

_KIND = "outcome_moments"


def write_moments(moments: Any, path: str | os.PathLike[str]) -> None:
    """Write a `MomentTable`: one row per cell, with keys, ``n``, ``first``, and ``second`` with each later cell."""
    order = sorted(moments.second)
    with_cells = [[b for a, b in order if a == c] for c in range(len(moments.cells))]
    blocks = [[moments.second[c, b].ravel().tolist() for b in found] for c, found in enumerate(with_cells)]
    table = pa.table(
        {
            "cell": pa.array(range(len(moments.cells)), pa.int32()),
            "cohort": pa.array([None if pd.isna(g) else float(g) for g in moments.cells["cohort"]], pa.float64()),
            **{name: pa.array(moments.cells[name].astype(str).tolist(), pa.string()) for name in moments.strata},
            "n": pa.array(moments.cells["n"].tolist(), pa.int64()),
            "first": pa.array(moments.first.tolist(), pa.list_(pa.float64())),
            "second_with": pa.array(with_cells, pa.list_(pa.int32())),
            "second": pa.array(blocks, pa.list_(pa.list_(pa.float64()))),
            **_clusters_of_cells(moments),
            **({} if moments.largest is None else {"largest": pa.array(moments.largest.tolist())}),
            **({} if moments.absolute is None else {"absolute": pa.array(moments.absolute.tolist())}),
            **({} if moments.keyed is None else moments.keyed.columns()),
        }
    )
    facts = {
        "outcome": moments.outcome,
        "times": list(moments.times),
        "strata": list(moments.strata),
        "reference": moments.reference.tolist(),
        "cluster": moments.cluster,
        "n_clusters": moments.n_clusters,
        "n_dropped": moments.n_dropped,
        "weighted": moments.weighted,
        "numbers": list(moments.numbers),
        "by_person": list(moments.by_person),
        **({} if moments.clusters is None else {"clusters": moments.clusters.count.tolist()}),
        **({} if moments.clusters is None else {"sums_withheld": moments.clusters.withheld}),
        **({} if moments.keyed is None else {"keyed": moments.keyed.facts()}),
    }
    write_table(path, _KIND, table, facts, moments.stamp)


def read_moments(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the fields of the table that `write_moments` wrote.

    Raises
    ------
    InputError
        If the file holds something else.
    """
    table, facts, stamp = read_table(path, _KIND)
    strata, size = tuple(facts["strata"]), 1 + len(facts["times"])
    cells = pd.DataFrame({"cohort": pd.array(table["cohort"].to_pylist(), dtype="Float64")})
    for name in strata:
        cells[name] = pd.Series(table[name].to_pylist(), dtype="str")
    cells["n"] = table["n"].to_pylist()
    second = {
        (c, d): np.array(block).reshape(size, size)
        for c, (found, blocks) in enumerate(
            zip(table["second_with"].to_pylist(), table["second"].to_pylist(), strict=True)
        )
        for d, block in zip(found, blocks, strict=True)
    }
    return dict(
        outcome=facts["outcome"],
        times=tuple(facts["times"]),
        strata=strata,
        cells=cells,
        first=np.array(table["first"].to_pylist()).reshape(len(cells), size),
        second=second,
        reference=np.array(facts["reference"]),
        cluster=facts["cluster"],
        n_clusters=facts["n_clusters"],
        n_dropped=facts["n_dropped"],
        weighted=facts["weighted"],
        numbers=tuple(facts["numbers"]),
        by_person=tuple(facts["by_person"]),
        clusters=_read_clusters(table, facts, size),
        largest=_read_amounts(table, "largest", (len(cells), size - 1, N_LARGEST)),
        absolute=_read_amounts(table, "absolute", (len(cells), size - 1)),
        keyed=KeyedSums.read(table, facts["keyed"], size - 1) if "keyed" in facts else None,
        stamp=stamp,
    )


def _clusters_of_cells(moments: Any) -> dict[str, pa.Array]:
    """Return, for each cell, the clusters in it, and their people and sums if these are kept."""
    clusters = moments.clusters
    if clusters is None:
        return {}
    inside = [np.flatnonzero(clusters.cell == c) for c in range(len(moments.cells))]
    found = {"clusters": pa.array([clusters.row[i].tolist() for i in inside], pa.list_(pa.int32()))}
    if clusters.n is not None and clusters.first is not None:
        n, first = clusters.n, clusters.first
        found["clusters_n"] = pa.array([n[i].tolist() for i in inside], pa.list_(pa.int64()))
        found["clusters_first"] = pa.array([first[i].tolist() for i in inside], pa.list_(pa.list_(pa.float64())))
    return found


def _read_clusters(table: pa.Table, facts: dict[str, Any], size: int) -> Clusters | None:
    if "clusters" not in facts:
        return None
    rows = table["clusters"].to_pylist()
    row = np.array([j for found in rows for j in found], dtype=np.int64)
    cell = np.repeat(np.arange(len(rows)), [len(found) for found in rows])
    order = np.lexsort((cell, row))
    n = first = None
    if "clusters_n" in table.column_names:
        n = np.array([j for found in table["clusters_n"].to_pylist() for j in found], dtype=np.int64)[order]
        sums = [values for found in table["clusters_first"].to_pylist() for values in found]
        first = np.array(sums).reshape(len(row), size)[order]
    count = np.array(facts["clusters"], dtype=np.int64)
    return Clusters(row[order], cell[order], count, n, first, bool(facts["sums_withheld"]))


def _read_amounts(table: pa.Table, name: str, shape: tuple[int, ...]) -> Floats | None:
    """Return what is known of the largest contributions, which a release does not contain."""
    return np.array(table[name].to_pylist(), dtype=float).reshape(shape) if name in table.column_names else None
