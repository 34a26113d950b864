"""Loading units: order, cells, and values that look different but are equal."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd

from retrain_eval.sample.units import load_units


def test_units_by_id_and_cells_in_order() -> None:
    data = pd.DataFrame({"id": [3, 1, 2, 4], "t": [0, 1, 0, 1], "x": [2, 1, 2, 1], "g": ["b", "a", "b", "b"]})
    units = load_units(duckdb.from_df(data), "id", "t", ["x", "g"], [])
    assert units.ids.to_pylist() == [1, 2, 3, 4]
    assert units.treated.tolist() == [True, False, False, True]
    assert units.cells.to_numpy().tolist() == [[1.0, "a"], [1.0, "b"], [2.0, "b"]]
    assert units.cell.tolist() == [0, 2, 2, 1]


def test_negative_zero_is_zero() -> None:
    data = pd.DataFrame({"id": range(4), "t": [0, 1, 0, 1], "x": [-0.0, -0.0, 0.0, 1.0]})
    units = load_units(duckdb.from_df(data), "id", "t", ["x"], [])
    assert not np.signbit(units.cells["x"]).any()
    assert units.cell.tolist() == [0, 0, 0, 1]


def test_other_columns_may_be_of_any_type() -> None:
    data = pd.DataFrame({"id": [1, 2], "t": [1, 0], "day": pd.to_datetime(["2020-01-01", "2020-01-02"])})
    assert load_units(duckdb.from_df(data), "id", "t", [], ["day"]).cell.tolist() == [0, 1]
