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
from retrain_eval.tables.life_table.spell_keys import SpellKeys
from retrain_eval.tables.life_table.spell_table import ENDING, KEY, NOISE, PRODUCTS, SKETCH, SpellTable

_FACTS = ("duration", "by", "weighted", "cluster", "n_people", "grid", "stopped", "merged")


def write(life: SpellTable, path: str | os.PathLike[str]) -> None:
    """Write one row per cell: ``cells``, its key, and the rows of its products and of the noise."""
    columns = {name: pa.array(life.cells[name].tolist()) for name in life.cells.columns}
    for (index, value), matrix in ((PRODUCTS, products_of(life.products, life.totals)), (NOISE, life.noise)):
        if matrix is not None:
            rows = [matrix[[c]].tocoo() for c in range(len(life.cells))]
            columns[index] = pa.array([row.coords[1].tolist() for row in rows], pa.list_(pa.int64()))
            columns[value] = pa.array([row.data.tolist() for row in rows], pa.list_(pa.float64()))
    facts = {name: getattr(life, name) for name in _FACTS}
    if life.keys is not None:
        columns[KEY] = pa.array(life.keys.key, pa.uint64())
        if life.keys.rows is not None:
            columns[SKETCH] = pa.array(life.keys.rows.tolist(), pa.list_(pa.int64()))
        facts["most"] = life.keys.most
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
    keys, most = None, facts.pop("most", None)
    if KEY in table.column_names and KEY not in by:
        sketches = None
        if SKETCH in table.column_names:
            sketches = np.array(table[SKETCH].to_pylist(), dtype=np.int64).reshape(table.num_rows, -1)
        keys = SpellKeys(table[KEY].cast(pa.uint64()).to_numpy(), int(most), sketches)
    return {
        "by": by,
        "cells": cells,
        "products": None if facts["cluster"] is None else _matrix(table, PRODUCTS),
        "keys": keys,
        "noise": _matrix(table, NOISE) if NOISE[0] in table.column_names else None,
        "merged": merged,
        "grid": None if grid is None else tuple(grid),
        "clusters": None if clusters is None else SpellClusters.of_facts(clusters),
        "stamp": stamp,
        **facts,
    }


def _matrix(table: pa.Table, names: tuple[str, str]) -> sparse.csr_array:
    """Return the sparse matrix whose rows are lists of places and of values."""
    found, values = (table[name].to_pylist() for name in names)
    index = np.repeat(np.arange(table.num_rows), [len(row) for row in found])
    return sparse.csr_array(
        ([x for row in values for x in row], (index, [int(c) for row in found for c in row])),
        shape=(table.num_rows, table.num_rows),
    )
