"""Life tables in a Parquet file, and back."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse

from retrain_eval.tables.file import read_table, write_table
from retrain_eval.tables.life_table.cooccurrence import products_of
from retrain_eval.tables.life_table.spell_cells import COUNTS
from retrain_eval.tables.life_table.spell_clusters import SpellClusters
from retrain_eval.tables.life_table.spell_table import ENDING, PRODUCTS, SpellTable

_FACTS = ("duration", "by", "weighted", "cluster", "n_people", "grid", "stopped", "merged")


def write(life: SpellTable, path: str | os.PathLike[str]) -> None:
    """Write one row per cell: ``cells`` and, with a cluster, the row of products."""
    columns = {name: pa.array(life.cells[name].tolist()) for name in life.cells.columns}
    products = products_of(life.products, life.totals)
    if products is not None:
        rows = [products[[c]].tocoo() for c in range(len(life.cells))]
        columns[PRODUCTS[0]] = pa.array([row.coords[1].tolist() for row in rows], pa.list_(pa.int64()))
        columns[PRODUCTS[1]] = pa.array([row.data.tolist() for row in rows], pa.list_(pa.float64()))
    facts = {name: getattr(life, name) for name in _FACTS}
    facts["clusters"] = life.clusters and life.clusters.facts()
    write_table(path, "life_table", pa.table(columns), facts, life.stamp)


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the fields of what `write` wrote.

    Raises
    ------
    InputError
        If the file holds something else.
    """
    table, facts, stamp = read_table(path, "life_table")
    by = tuple(facts.pop("by"))
    grid, clusters, merged = facts.pop("grid"), facts.pop("clusters", None), tuple(facts.pop("merged", ()))
    cells = table.select([*by, *ENDING, *COUNTS]).to_pandas().astype(dict.fromkeys([*by, "cause"], "str"))
    products = None
    if facts["cluster"] is not None:
        found, values = (table[name].to_pylist() for name in PRODUCTS)
        index = np.repeat(np.arange(len(cells)), [len(row) for row in found])
        products = sparse.csr_array(
            ([x for row in values for x in row], (index, [int(c) for row in found for c in row])),
            shape=(len(cells), len(cells)),
        )
    return {
        "by": by,
        "cells": cells,
        "products": products,
        "merged": merged,
        "grid": None if grid is None else tuple(grid),
        "clusters": None if clusters is None else SpellClusters.of_facts(clusters),
        "stamp": stamp,
        **facts,
    }
