"""Outcome moments in a Parquet file, and back."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from retrain_eval.tables.clusters import Clusters
from retrain_eval.tables.file import read_table, write_table
from retrain_eval.tables.moments.moments import OutcomeMoments


def write(moments: OutcomeMoments, path: str | os.PathLike[str]) -> None:
    """Write one row per cell: keys, ``n``, ``first``, and the ``second`` moments with each later cell."""
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
    }
    write_table(path, "outcome_moments", table, facts)


def _clusters_of_cells(moments: OutcomeMoments) -> dict[str, pa.Array]:
    """Return, for each cell, the clusters that lie in it, and their people and sums where these are kept."""
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


def read(path: str | os.PathLike[str]) -> OutcomeMoments:
    """Read what `write` wrote.

    Raises
    ------
    InputError
        If the file holds something else.
    """
    table, facts = read_table(path, "outcome_moments")
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
    return OutcomeMoments(
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
        largest=np.array(table["largest"].to_pylist()) if "largest" in table.column_names else None,
        absolute=np.array(table["absolute"].to_pylist()) if "absolute" in table.column_names else None,
    )
