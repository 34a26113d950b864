"""Large clusters: totals by cluster in the place of products of cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from cox_cases import people
from retrain_eval.common.errors import InputError
from retrain_eval.estimators.survival.spells import Spells
from retrain_eval.tables.life_table import cluster_sums, cooccurrence
from retrain_eval.tables.life_table.counting import life_table
from retrain_eval.tables.life_table.life_table import LifeTable
from survival_cases import NAMES, PROBABILITY


def both_ways(monkeypatch: pytest.MonkeyPatch, data: pd.DataFrame, **options: object) -> tuple[LifeTable, LifeTable]:
    options = {"by": ("arm", "age"), "cluster": "provider", **PROBABILITY, **options}
    paired = life_table(data, **NAMES, **options)
    monkeypatch.setattr(cluster_sums, "MAX_PAIRS", 10)
    return paired, life_table(data, **NAMES, **options)


def variance(table: LifeTable) -> np.ndarray:
    """Of the weighted sum of durations by arm: a function of the cells that does not depend on their order."""
    duration = table.cells["duration"].to_numpy()
    rows = [duration * (table.cells["arm"] == arm) if "arm" in table.by else duration for arm in ("control", "trained")]
    return table.covariance(sparse.csr_array(np.array(rows, dtype=float)))


def test_totals_give_the_covariance_of_products(monkeypatch: pytest.MonkeyPatch) -> None:
    data = people(n=300)
    paired, totalled = both_ways(monkeypatch, data)
    assert paired.totals is None
    assert totalled.products is None
    assert totalled.totals.shape[0] == data["provider"].nunique()
    np.testing.assert_allclose(variance(totalled), variance(paired), rtol=1e-12)
    np.testing.assert_allclose(variance(totalled.subset(age="<25")), variance(paired.subset(age="<25")), rtol=1e-12)
    np.testing.assert_allclose(variance(totalled.collapse("age")), variance(paired.collapse("age")), rtol=1e-12)
    sums = data.assign(total=data["w"] * data["quarters"])
    expected = sums.pivot_table("total", "arm", "provider", aggfunc="sum", fill_value=0.0).to_numpy()
    np.testing.assert_allclose(variance(totalled), expected @ expected.T, rtol=1e-12)


def test_tables_with_totals_add_to_tables_with_products(monkeypatch: pytest.MonkeyPatch) -> None:
    data = people(n=300)
    first = data["provider"] < 4
    whole, _ = both_ways(monkeypatch, data)
    monkeypatch.undo()
    some_paired, some_totalled = both_ways(monkeypatch, data[first])
    monkeypatch.undo()
    rest_paired, rest_totalled = both_ways(monkeypatch, data[~first])
    for one in (some_paired, some_totalled):
        for other in (rest_paired, rest_totalled):
            np.testing.assert_allclose(variance(one + other), variance(whole), rtol=1e-12)


def test_a_file_holds_products_and_no_small_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paired, totalled = both_ways(monkeypatch, people(n=300))
    totalled.to_parquet(tmp_path / "t.parquet")
    back = LifeTable.read_parquet(tmp_path / "t.parquet")
    assert back.totals is None
    assert back.clusters.n.shape[0] == totalled.totals.shape[0]  # some thirty spells each
    small = life_table(people(n=60), **NAMES, by="arm", cluster="provider", **PROBABILITY)
    assert small.clusters.n is not None
    small.to_parquet(tmp_path / "small.parquet")
    again = LifeTable.read_parquet(tmp_path / "small.parquet")
    assert again.clusters.n is None
    assert again.clusters.sets == small.clusters.sets
    np.testing.assert_allclose(back.products.toarray(), paired.products.toarray(), rtol=1e-12)
    monkeypatch.setattr(cooccurrence, "MAX_PAIRS", 10)
    with pytest.raises(InputError, match="too many to write"):
        totalled.to_parquet(tmp_path / "t.parquet")


def test_clusters_of_one_spell_each_are_a_diagonal() -> None:
    data = people(n=200)
    for cluster in ("id", "other"):
        table = life_table(data.assign(other=data["id"] + 7), **NAMES, by="arm", cluster=cluster, **PROBABILITY)
        np.testing.assert_allclose(table.products.toarray(), np.diag(table.cells["sum_w2"]), rtol=1e-12)
    front = Spells(data, "id", by="arm", censored=(), **PROBABILITY)._with("id")
    np.testing.assert_array_equal(front.products.toarray(), np.diag(front.cells["sum_w2"]))
    twice = pd.concat([data, data.head(1).assign(quarters=9.0)])
    assert life_table(twice, **NAMES, by="arm", cluster="id", **PROBABILITY).products.nnz > len(table.cells)
