"""Outcome moments in a Parquet file, and back."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pyarrow as pa

from retrain_eval.cells.tablefile import read_table, write_table
from retrain_eval.moments import OutcomeMoments


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
    }
    write_table(path, "outcome_moments", table, facts)


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
        largest=np.array(table["largest"].to_pylist()) if "largest" in table.column_names else None,
        absolute=np.array(table["absolute"].to_pylist()) if "absolute" in table.column_names else None,
    )
