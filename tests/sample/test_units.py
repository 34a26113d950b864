"""Loading units: order, cells, and values that look different but are equal."""

from __future__ import annotations

from itertools import count

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyed_people import keyed
from retrain_eval.common.errors import InputError
from retrain_eval.common.sources import as_relation, query
from retrain_eval.sample import units as module
from retrain_eval.sample.units import ascending, load_units, share_cells


def test_units_by_id_and_cells_in_order() -> None:
    data = pd.DataFrame({"id": [3, 1, 2, 4], "t": [0, 1, 0, 1], "x": [2, 1, 2, 1], "g": ["b", "a", "b", "b"]})
    units = load_units(duckdb.from_df(data), "id", "t", ["x", "g"], [])
    assert units.ids.to_pylist() == [1, 2, 3, 4]
    assert units.treated.tolist() == [True, False, False, True]
    assert units.cells.to_numpy().tolist() == [[1.0, "a"], [1.0, "b"], [2.0, "b"]]
    assert units.cell.tolist() == [0, 2, 2, 1]


@pytest.mark.parametrize("kind", [np.int8, np.int32, np.int64, np.uint8, np.uint64])
@given(st.data())
def test_whole_numbers_ascend_as_numpy_sorts_them(kind: type[np.integer], data: st.DataObject) -> None:
    bounds = np.iinfo(kind)
    ids = np.array(data.draw(st.lists(st.integers(int(bounds.min), int(bounds.max)), min_size=1)), dtype=kind)
    assert ascending(ids).tolist() == np.argsort(ids, kind="stable").tolist()


def test_negative_zero_is_zero() -> None:
    data = pd.DataFrame({"id": range(4), "t": [0, 1, 0, 1], "x": [-0.0, -0.0, 0.0, 1.0]})
    units = load_units(duckdb.from_df(data), "id", "t", ["x"], [])
    assert not np.signbit(units.cells["x"]).any()
    assert units.cell.tolist() == [0, 0, 0, 1]


def test_other_columns_may_be_of_any_type() -> None:
    data = pd.DataFrame({"id": [1, 2], "t": [1, 0], "day": pd.to_datetime(["2020-01-01", "2020-01-02"])})
    assert load_units(duckdb.from_df(data), "id", "t", [], ["day"]).cell.tolist() == [0, 1]


values = st.sampled_from([0.0, 1.5, -3.0])
texts = st.sampled_from(["b", "a", "é", "Z", "𝔷"])


@given(st.lists(st.tuples(values, texts, values), min_size=1, max_size=30))
def test_cells_are_the_distinct_rows_in_the_order_of_the_database(rows: list[tuple[float, str, float]]) -> None:
    plain = pd.DataFrame(rows, columns=["x", "g", "y"])
    frame = plain.assign(g=pd.Categorical(plain["g"], sorted(set(plain["g"]))))
    shared = share_cells(frame)
    assert shared is not None
    cells, cell = shared
    assert cells.iloc[cell].reset_index(drop=True).equals(plain)
    listed = duckdb.from_df(plain).query("source", "SELECT DISTINCT x, g, y FROM source ORDER BY x, g, y").fetchall()
    assert list(cells.itertuples(index=False, name=None)) == listed


@pytest.mark.parametrize("batch", [1, 2, 1000])
@pytest.mark.parametrize("max_cells", [0, 250_000])
def test_text_that_begins_late_is_the_same_in_any_batch(
    batch: int, max_cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # DuckDB hands over 2,048 rows at least, so that "a" is first met in a later batch
    monkeypatch.setattr(module, "BATCH", batch)
    monkeypatch.setattr(module, "MAX_CELLS", max_cells)
    n = 5_000
    data = pd.DataFrame({"id": range(n), "t": [0, 1] * (n // 2), "g": ["b"] * (n - 2) + ["a", "c"]})
    units = load_units(duckdb.from_df(data), "id", "t", ["g"], [])
    assert units.of_units(units.cells["g"].to_numpy(dtype=object)).tolist() == data["g"].tolist()
    assert sorted(set(units.cells["g"])) == ["a", "b", "c"]
    assert units.apart == (max_cells == 0)


def test_few_cells_of_many_rows_and_many_cells_of_few() -> None:
    n = module.MAX_CELLS + 1
    number = np.arange(n, dtype=float)
    assert share_cells(pd.DataFrame({"x": number})) is None
    found = share_cells(pd.DataFrame({"x": number % 7, "y": number % 2}))
    assert found is not None
    assert len(found[0]) == 14


def test_a_source_that_changes_while_it_is_read_is_refused() -> None:
    con = duckdb.connect()
    turns = count()
    con.create_function("turn", lambda i: next(turns), ["BIGINT"], "BIGINT", side_effects=True)
    rows = con.sql("SELECT i AS id, if(turn(i) = 0, 7, i % 2) AS t, i AS x FROM range(2) AS r(i)")
    with pytest.raises(InputError, match="not when the source is read again"):
        load_units(rows, "id", "t", ["x"], [])


@pytest.mark.parametrize("text", [False, True])
def test_keys_come_in_the_order_of_ids_to_the_last_bit(text: bool) -> None:
    order = np.random.default_rng(0).permutation(500)
    frame = pd.DataFrame({"id": order, "treat": order % 3 == 0, "x": order / 7})
    if text:
        frame["id"] = frame["id"].map("{:04d}".format)
    units = load_units(keyed(frame), "id", "treat", ["x"], [])
    assert units.keys is not None
    of = {row["id"]: row["person_key"] for row in keyed(frame).df().to_dict("records")}
    ids = units.ids.to_pylist()
    assert units.keys.record.tolist() == [of[i]["record"] for i in ids]
    assert units.keys.factor.tolist() == [of[i]["factor"] for i in ids]
    assert units.keys.element.tolist() == [of[i]["element"] for i in ids]
    assert load_units(as_relation(frame), "id", "treat", ["x"], []).keys is None


def test_a_unit_without_keys_among_others_is_refused() -> None:
    people = keyed(pd.DataFrame({"id": [1, 2, 3], "treat": [1, 0, 0], "x": 1.0}))
    some = query(people, "SELECT * REPLACE (CASE WHEN id > 1 THEN person_key END AS person_key) FROM source")
    with pytest.raises(InputError, match="a unit has no keys"):
        load_units(some, "id", "treat", ["x"], [])
