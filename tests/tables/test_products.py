"""Sums of paths by chunk, and paths of one range of units after another."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrain_eval as rte
from retrain_eval.common.errors import DesignError
from retrain_eval.estimators import outcome_moments as summing
from retrain_eval.tables.moments import paths, products

PERIODS = 3


def panel(n: int, seed: int, ids: str = "number") -> pd.DataFrame:
    """``n`` people of three cohorts, two regions and overlapping clusters; rows in no order."""
    rng = np.random.default_rng(seed)
    people = pd.DataFrame(
        {
            "id": np.arange(n) if ids == "number" else [f"Zoë {i * 7919 % 1000}-{i}" for i in range(n)],
            "g": rng.choice([0, 2, 3], n),
            "region": rng.choice(["north", "süd"], n),
            "site": rng.integers(0, max(1, n // 3), n),
            "w": rng.uniform(0.5, 2.0, n),
        }
    )
    rows = people.loc[np.repeat(people.index, PERIODS)].reset_index(drop=True)
    rows["t"] = np.tile(np.arange(1, PERIODS + 1), n)
    rows["y"] = rng.normal(1000, 50, len(rows))
    return rows.sample(frac=1, random_state=seed)


def moments(data: pd.DataFrame, cluster: str | None = None) -> rte.OutcomeMoments:
    with duckdb.connect() as con:
        con.execute("CREATE TABLE panel AS FROM data")
        return rte.outcome_moments(
            con.table("panel"), unit="id", time="t", cohort="g", outcome="y", by="region", weights="w", cluster=cluster
        )


def by_hand(data: pd.DataFrame, m: rte.OutcomeMoments, cluster: str) -> npt.NDArray[np.float64]:
    """Second moments of all pairs of cells, shape (C, C, 1 + T, 1 + T), from people one by one."""
    wide = data.pivot_table(index="id", columns="t", values="y")
    people = data.drop_duplicates("id").set_index("id").loc[wide.index]
    keys = list(zip(m.cells["cohort"].fillna(0), m.cells["region"], strict=True))
    size = 1 + PERIODS
    out = np.zeros((len(keys), len(keys), size, size))
    for _, members in people.groupby(people.index if cluster == "id" else cluster):
        total = np.zeros((len(keys), size))
        for person, row in members.iterrows():
            z = row["w"] * np.r_[1.0, wide.loc[person] - m.reference]
            total[keys.index((row["g"], row["region"]))] += z
        out += np.einsum("ci,dj->cdij", total, total)
    return out


@pytest.mark.parametrize("cluster", [None, "site"])
@given(n=st.integers(12, 60), seed=st.integers(0, 10**6))
@settings(max_examples=12, deadline=None)
def test_sums_are_those_of_people_one_by_one(cluster: str | None, n: int, seed: int) -> None:
    data = panel(n, seed)
    with pytest.MonkeyPatch.context() as patch:
        # a chunk is at least 1,024 units: parts of a few units, so that cells and clusters lie across several
        patch.setattr(products, "_rows", lambda values, columns: 5)
        m = moments(data, cluster)
    expected = by_hand(data, m, cluster or "id")
    found = np.zeros_like(expected)
    for (c, d), block in m.second.items():
        found[c, d], found[d, c] = block, block.T
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-7)
    assert m.n_clusters == data[cluster or "id"].nunique()
    assert m.cells["n"].sum() == n


def in_ranges(data: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> rte.OutcomeMoments:
    """Moments of the same data, a few units at a time."""
    laid_out: list[str] = []
    lay_out = summing.lay_out

    def counted(*args: Any, where: str = "TRUE", **kwargs: Any) -> paths.Paths:
        laid_out.append(where)
        return lay_out(*args, where=where, **kwargs)

    monkeypatch.setattr(paths, "_RANGE", 40)
    monkeypatch.setattr(summing, "lay_out", counted)
    found = moments(data)
    assert len(laid_out) == 8  # one range after another, and not whole after all
    return found


@pytest.mark.parametrize("ids", ["number", "text"])
def test_one_range_after_another_gives_the_same_moments(ids: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = panel(300, 5, ids)
    whole, cut = moments(data), in_ranges(data, monkeypatch)
    pd.testing.assert_frame_equal(whole.cells, cut.cells)
    assert (whole.n_clusters, whole.n_dropped) == (cut.n_clusters, cut.n_dropped)
    np.testing.assert_allclose(cut.means(), whole.means(), rtol=1e-12)
    one, other = (m.att_gt().aggregate("dynamic") for m in (whole, cut))
    np.testing.assert_allclose(other.frame["std_error"], one.frame["std_error"], rtol=1e-9)
    again = moments(data.sample(frac=1, random_state=9))
    assert np.array_equal(again.first, cut.first)
    assert all(np.array_equal(block, again.second[pair]) for pair, block in cut.second.items())


def test_cells_stand_in_their_order_where_the_first_range_lacks_one(monkeypatch: pytest.MonkeyPatch) -> None:
    data = panel(300, 6)
    data.loc[data["id"] < 150, "region"] = "süd"
    whole, cut = moments(data), in_ranges(data, monkeypatch)
    pd.testing.assert_frame_equal(whole.cells, cut.cells)
    np.testing.assert_allclose(cut.means(), whole.means(), rtol=1e-12)
    assert set(cut.second) == set(whole.second)


def test_a_refusal_counts_units_of_all_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    data = panel(300, 7)
    data = data[~(data["id"].isin([2, 250]) & (data["t"] == 2))]
    monkeypatch.setattr(paths, "_RANGE", 40)
    with pytest.raises(DesignError, match=r"^2 unit\(s\) are not observed in all 3 periods\. Complete"):
        moments(data)


def test_a_query_and_units_that_are_few_are_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    with duckdb.connect() as con:
        con.execute("CREATE TABLE panel AS SELECT n AS id, 1 AS t, 0 AS g, 2.0 AS y FROM range(100) AS r(n)")
        columns = paths.Columns("id", "t", "g", "y")
        assert paths.ranges_of_units(con.table("panel"), columns, 1) == ["TRUE"]
        monkeypatch.setattr(paths, "_RANGE", 10)
        assert paths.ranges_of_units(con.sql("FROM panel WHERE t > 0"), columns, 1) == ["TRUE"]
        assert len(paths.ranges_of_units(con.table("panel"), columns, 1)) == 8
