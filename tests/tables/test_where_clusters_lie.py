"""Which cells clusters lie in: counted after cuts and sums, left out one by one, written and read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrain_eval as rte
from keyed_panels import keyed
from retrain_eval.estimators.did.selected import selected_effects
from retrain_eval.tables.clusters import Clusters, Collector
from retrain_eval.tables.moments.leave_out import without_cluster

NAMES = {"unit": "id", "time": "t", "cohort": "g", "outcome": "y", "cluster": "region"}


def panel(seed: int, n: int = 90, n_clusters: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    people = pd.DataFrame(
        {
            "id": range(n),
            "g": rng.choice([0, 2, 3], n),
            "sex": rng.choice(["f", "m"], n),
            "w": rng.uniform(0.5, 2, n),
            "region": rng.integers(0, n_clusters, n),
        }
    )
    long = people.merge(pd.DataFrame({"t": [1, 2, 3]}), how="cross")
    return long.assign(y=rng.normal(50, 10, len(long)))


@given(seed=st.integers(0, 10_000), number=st.integers(0, 5), weighted=st.booleans())
@settings(max_examples=15, deadline=None)
def test_moments_without_a_cluster_are_those_of_the_other_people(seed: int, number: int, weighted: bool) -> None:
    data, options = panel(seed), {"by": "sex", "weights": "w" if weighted else None}
    left = without_cluster(rte.outcome_moments(data, **NAMES, **options), number)
    assert left is not None
    others = rte.outcome_moments(data[data["region"] != sorted(data["region"].unique())[number]], **NAMES, **options)
    assert left.n_clusters == others.n_clusters
    key = ["cohort", "sex"]
    order, other = (m.cells.assign(i=range(len(m.cells))).sort_values(key)["i"].to_numpy() for m in (left, others))
    pd.testing.assert_frame_equal(
        left.cells.iloc[order].reset_index(drop=True), others.cells.iloc[other].reset_index(drop=True)
    )
    np.testing.assert_allclose(left.means()[order], others.means()[other], rtol=1e-10)
    one, two = (m.att_gt().to_effects() for m in (left, others))
    np.testing.assert_allclose(one.vcov, two.vcov, rtol=1e-7, atol=1e-9)
    assert len(left.second) == len(others.second)


def test_clusters_are_counted_after_a_cut_a_sum_and_a_file(tmp_path: Path) -> None:
    data = panel(1, n=200, n_clusters=12)
    data["sex"] = np.where(data["region"] < 4, "f", data["sex"])  # regions 0 to 3 hold women only
    m = rte.outcome_moments(data, **NAMES, by="sex")
    m.to_parquet(tmp_path / "m.parquet")
    for table in (m, rte.OutcomeMoments.read_parquet(tmp_path / "m.parquet")):
        assert table.n_clusters == 12
        assert table.subset(sex="m").n_clusters == data.loc[data["sex"] == "m", "region"].nunique() == 8
        assert table.collapse("sex").n_clusters == 12
        levels = table.att_gt().by("sex").aggregate("simple")
        of = dict(zip(levels.frame["level"], levels.n_clusters, strict=True))
        assert of == {"f": 12, "m": 8}
        assert levels.df.tolist() == [of[level] - 1 for level in levels.frame["level"]]
    both = rte.outcome_moments(data[data["region"] < 5], **NAMES, by="sex") + rte.outcome_moments(
        data[data["region"] >= 5], **NAMES, by="sex"
    )
    np.testing.assert_allclose(
        both.att_gt().aggregate("dynamic").frame["std_error"],
        m.att_gt().aggregate("dynamic").frame["std_error"],
        rtol=1e-9,
    )


@pytest.mark.parametrize("n_pairs", [30, 400])
def test_pairs_are_counted_within_levels(n_pairs: int) -> None:
    """Of many small clusters only the sets of cells are kept, and they are counted as exactly."""
    rng = np.random.default_rng(2)
    pairs = pd.DataFrame({"pair": np.repeat(range(n_pairs), 2), "g": [2, 0] * n_pairs})
    pairs["band"] = np.repeat(rng.choice(["a", "b", "c"], n_pairs, p=[0.7, 0.2, 0.1]), 2)
    long = pairs.assign(id=range(2 * n_pairs)).merge(pd.DataFrame({"t": [1, 2]}), how="cross")
    long["y"] = rng.normal(size=len(long))
    m = rte.outcome_moments(long, **{**NAMES, "cluster": "pair"}, by="band")
    assert m.leaves_out == (n_pairs == 30)
    expected = pairs.groupby("band")["pair"].nunique()
    for band, n in expected.items():
        assert m.subset(band=band).n_clusters == n
    effects = m.att_gt().by("band").aggregate("simple")
    assert dict(zip(effects.frame["level"], effects.n_clusters, strict=True)) == expected.to_dict()


def test_a_chunk_at_a_time_gives_what_all_at_once_gives() -> None:
    rng = np.random.default_rng(3)
    pairs = np.unique(rng.integers(0, [5_000, 7], (20_000, 2)), axis=0)  # too many clusters for sums
    cluster, cell = pairs.T
    whole, parts = Collector(), Collector()
    ones = np.ones((len(cluster), 2))
    whole.add(cluster, cell, np.full(len(cluster), 20), ones)
    for start in range(0, 5_000, 1_000):
        here = (cluster >= start) & (cluster < start + 1_000)
        parts.add(cluster[here], cell[here], np.full(here.sum(), 20), ones[here])
    uses = rng.random((5, 7)) < 0.4
    expected = [len(np.unique(cluster[used[cell]])) for used in uses]
    for found in (whole.clusters(), parts.clusters()):
        assert found.first is None
        assert found.total == len(np.unique(cluster))
        assert found.count_in(uses).tolist() == expected


def test_sets_of_cells_that_few_lie_in_can_be_left_out() -> None:
    clusters = Clusters(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([12, 3]))
    left = clusters.frequent(10)
    assert (left.total, left.row.tolist(), left.cell.tolist()) == (12, [0, 0], [0, 1])


def test_keys_of_people_do_not_stand_in_the_way_of_leaving_a_cluster_out() -> None:
    """One region alone has people of cohort 3 who finished, so that without it there is a cell less."""
    data = panel(3).assign(
        end=lambda d: np.where(d["id"] % 2 == 0, "finished", "left"), person=lambda d: "p" + d["id"].astype(str)
    )
    data = data[(data["g"] != 3) | (data["end"] == "left") | (data["region"] == 2)]
    made = [
        selected_effects(rte.outcome_moments(rows, **NAMES, by="end", kind="amount"), "end", "finished").to_frame()
        for rows in (data, keyed(data))
    ]
    assert made[0]["std_error"].gt(0).all()
    pd.testing.assert_frame_equal(made[0][["estimate", "std_error"]], made[1][["estimate", "std_error"]])
