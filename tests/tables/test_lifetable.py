"""Life tables: what they count, how they add, what they refuse."""

from __future__ import annotations

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.tables.life_table.counting import life_table
from retrain_eval.tables.life_table.life_table import LifeTable

NAMES = {"id": "id", "duration": "quarters", "cause": "cause", "censored": ()}


def spells(n: int = 60, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    entry = rng.integers(0, 3, n).astype(float)
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "entry": entry,
            "quarters": entry + rng.integers(1, 6, n),
            "cause": rng.choice(["0", "job", "recall"], n),
            "arm": rng.choice(["trained", "control"], n),
            "age": rng.choice(["<25", "25+"], n),
            "w": rng.uniform(0.2, 3, n),
            "copies": rng.integers(1, 4, n),
            "provider": rng.integers(0, 7, n),
        }
    )


def same(a: LifeTable, b: LifeTable) -> None:
    """Equal as tables, whatever the order of their groups."""
    keys = [*a.by, "entry", "duration", "cause"]
    x, y = (table.cells.assign(row=range(len(table.cells))).sort_values(keys) for table in (a, b))
    pd.testing.assert_frame_equal(
        x.drop(columns="row").reset_index(drop=True), y.drop(columns="row").reset_index(drop=True), rtol=1e-12
    )
    assert (a.n_people, a.cluster, a.weighted) == (b.n_people, b.cluster, b.weighted)
    if a.products is not None and b.products is not None:
        mine, theirs = (t.products.toarray()[np.ix_(o["row"], o["row"])] for t, o in ((a, x), (b, y)))
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)


def test_cells_count_the_rows() -> None:
    data = spells()
    table = life_table(data, **NAMES, entry="entry", by=("arm", "age"), weights="w", weight_type="probability")
    expected = (
        data.assign(w2=data["w"] ** 2)
        .groupby(["arm", "age", "entry", "quarters", "cause"])
        .agg(n=("id", "size"), sum_w=("w", "sum"), sum_w2=("w2", "sum"))
        .reset_index()
        .rename(columns={"quarters": "duration"})
    )
    found = table.cells.sort_values(list(expected.columns[:5])).reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-12)
    assert (table.n_spells, table.n_people, table.repeated, table.left_truncated) == (60, 60, False, True)


def test_clusters_keep_products_of_cells_that_share_one() -> None:
    data = spells()
    table = life_table(data, **NAMES, by="arm", weights="w", weight_type="probability", cluster="provider")
    keys = ["arm", "quarters", "cause"]
    cells = list(table.cells[["arm", "duration", "cause"]].itertuples(index=False, name=None))
    sums = data.pivot_table("w", "provider", keys, aggfunc="sum", fill_value=0.0)[cells].to_numpy()
    np.testing.assert_allclose(table.products.toarray(), sums.T @ sums, rtol=1e-12)


@given(seed=st.integers(0, 10_000), cut=st.integers(1, 6), clustered=st.booleans())
@settings(max_examples=15, deadline=None)
def test_adding_two_agencies_gives_the_table_of_their_union(seed: int, cut: int, clustered: bool) -> None:
    data = spells(seed=seed)
    first = data["provider"] < cut
    options = {"entry": "entry", "by": ("arm", "age"), "weights": "w", "weight_type": "probability"}
    options["cluster"] = "provider" if clustered else None
    a, b = (life_table(part, **NAMES, **options) for part in (data[first], data[~first]))
    same(a + b, life_table(data, **NAMES, **options))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_order_of_rows_does_not_matter(seed: int) -> None:
    data = spells(seed=1)
    options = {"by": "arm", "weights": "w", "weight_type": "probability", "cluster": "provider"}
    shuffled = life_table(data.sample(frac=1, random_state=seed), **NAMES, **options)
    original = life_table(data, **NAMES, **options)
    same(shuffled, original)
    assert shuffled.groups() == original.groups()
    # weights are sums of fractions, yet to the last bit the same: an edition made again has the same bytes
    pd.testing.assert_frame_equal(shuffled.cells, original.cells, check_exact=True)
    assert (shuffled.products != original.products).nnz == 0


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_frequency_weights_are_repeated_rows(seed: int) -> None:
    data = spells(seed=seed)
    repeated = data.loc[data.index.repeat(data["copies"])].assign(id=lambda f: np.arange(len(f)))
    weighted = life_table(data, **NAMES, entry="entry", by="arm", weights="copies", weight_type="frequency")
    same(weighted, life_table(repeated, **NAMES, entry="entry", by="arm"))


@pytest.mark.parametrize("cluster", [None, "provider"])
def test_collapse_and_subset_equal_tables_of_those_rows(cluster: str | None) -> None:
    data = spells()
    fine = life_table(data, **NAMES, by=("arm", "age"), cluster=cluster)
    same(fine.collapse("age"), life_table(data, **NAMES, by="arm", cluster=cluster))
    same(fine.collapse(["age", "arm"]), life_table(data, **NAMES, cluster=cluster))
    young = data[(data["age"] == "<25") & (data["arm"] == "trained")]
    same(fine.subset(age="<25", arm=["trained"]), life_table(young, **NAMES, by=("arm", "age"), cluster=cluster))


@pytest.mark.parametrize("options", [{}, {"cluster": "provider"}, {"weights": "w", "weight_type": "probability"}])
def test_parquet_gives_back_the_same_table(tmp_path: Path, options: dict[str, str]) -> None:
    table = life_table(spells(), **NAMES, entry="entry", by=("arm", "age"), **options)
    table.to_parquet(tmp_path / "t.parquet")
    back = LifeTable.read_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(back.cells, table.cells)
    same(back, table)
    assert (back.by, back.duration, back.grid, back.stopped) == (table.by, table.duration, None, False)
    first = (tmp_path / "t.parquet").read_bytes()
    back.to_parquet(tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").read_bytes() == first


def test_another_parquet_file_is_refused(tmp_path: Path) -> None:
    spells().to_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="holds no life table"):
        LifeTable.read_parquet(tmp_path / "x.parquet")


def test_every_kind_of_source_gives_the_same_table(tmp_path: Path) -> None:
    data = spells().assign(cause=lambda f: (f["cause"] == "job").astype(int))
    data.to_csv(tmp_path / "s.csv", index=False)
    data.to_parquet(tmp_path / "s.parquet")
    for source in (pa.Table.from_pandas(data), tmp_path / "s.csv", str(tmp_path / "s.parquet")):
        same(life_table(source, **NAMES, by="arm"), life_table(data, **NAMES, by="arm"))


@pytest.mark.parametrize(
    "cause", [[1, 0, 1], [1.0, 0.0, 1.0], [True, False, True], ["1", "0", "1"], [1.0, np.nan, 1.0], ["1", None, "1"]]
)
def test_zero_and_missing_causes_are_censored_whatever_the_type(cause: list[object]) -> None:
    data = pd.DataFrame({"id": [1, 2, 3], "quarters": [1, 1, 1], "cause": cause})
    for source in (data, pa.Table.from_pandas(data)):
        table = life_table(source, **NAMES)
        assert table.cells[["cause", "n"]].to_dict("list") == {"cause": ["0", "1"], "n": [1, 2]}


def test_levels_keep_an_ordered_category_and_name_the_missing() -> None:
    age = pd.Categorical(["55+", "<25", None, "25–54 岁"], ["<25", "25–54 岁", "55+"], ordered=True)
    data = pd.DataFrame({"id": range(4), "quarters": 1, "cause": 1, "age": age})
    table = life_table(data, **NAMES, by="age")
    assert table.groups() == [("<25",), ("25–54 岁",), ("55+",), ("(missing)",)]


def test_people_with_several_spells_are_noticed() -> None:
    data = spells().assign(id=lambda f: f["id"] // 2)
    table = life_table(data, **NAMES, by="arm")
    assert (table.n_people, table.n_spells, table.repeated) == (30, 60, True)
    part = table.subset(arm="trained")
    assert part.n_people is None
    assert part.repeated
    assert (part + part).n_people is None


def test_weight_zero_counts_for_nothing() -> None:
    data = spells().assign(w=lambda f: f["w"].where(f["id"] > 9, 0.0))
    options = {"by": "arm", "weights": "w", "weight_type": "probability"}
    same(life_table(data, **NAMES, **options), life_table(data[data["w"] > 0], **NAMES, **options))
    with pytest.raises(InputError, match="weight zero"):
        life_table(data.assign(w=0.0), **NAMES, **options)


# ---- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("quarters", np.nan, "finite number"),
        ("quarters", np.inf, "finite number"),
        ("quarters", 0.0, "above zero"),
        ("quarters", -3.0, "above zero"),
        ("quarters", 1.0, "above the entry"),
        ("entry", np.nan, "finite number, zero or more"),
        ("entry", -1.0, "zero or more"),
        ("cause", " ", "must not be blank"),
        ("w", -0.1, "zero or more"),
        ("w", np.nan, "finite number"),
        ("id", None, "id must not be missing"),
        ("provider", None, "cluster must not be missing"),
    ],
)
def test_a_bad_value_is_named_with_its_row(column: str, value: object, rule: str) -> None:
    data = spells().astype({"id": "object", "provider": "object"}).assign(entry=1.0, quarters=5.0)
    data.loc[17, column] = value
    with pytest.raises(InputError, match=rule) as caught:
        life_table(data, **NAMES, entry="entry", weights="w", weight_type="probability", cluster="provider")
    assert caught.value.column == column
    assert "id=17" not in str(caught.value)
    assert str(caught.value.row).startswith("SELECT * FROM source WHERE ")
    assert duckdb.sql(str(caught.value.row).replace("source", "data")).df().index.size == 1


def test_keywords_that_do_not_go_together_are_refused() -> None:
    data = spells()
    with pytest.raises(InputError, match="weights and weight_type go together"):
        life_table(data, **NAMES, weights="w")
    with pytest.raises(InputError, match="unknown weight_type 'iptw'"):
        life_table(data, **NAMES, weights="w", weight_type="iptw")
    with pytest.raises(InputError, match="frequency weight must be whole"):
        life_table(data, **NAMES, weights="w", weight_type="frequency")
    with pytest.raises(InputError, match="frequency weights do not say"):
        life_table(data, **NAMES, weights="copies", weight_type="frequency", cluster="provider")
    with pytest.raises(InputError, match="unknown column 'arms'"):
        life_table(data, **NAMES, by="arms")
    with pytest.raises(InputError, match="'cause' cannot be a column of levels"):
        life_table(data, **NAMES, by="cause")
    with pytest.raises(DesignError, match="no spells to count"):
        life_table(data.iloc[:0], **NAMES)


def test_tables_that_differ_do_not_add_and_unknown_levels_are_named() -> None:
    data = spells()
    table = life_table(data, **NAMES, by="arm")
    with pytest.raises(InputError, match="by differ"):
        table + life_table(data, **NAMES, by="age")
    with pytest.raises(InputError, match="weighted differ"):
        table + life_table(data, **NAMES, by="arm", weights="w", weight_type="probability")
    with pytest.raises(InputError, match="unknown level of arm 'treated'"):
        table.subset(arm="treated")
    with pytest.raises(InputError, match="unknown column of levels 'sex'"):
        table.collapse("sex")


@given(
    st.lists(
        st.tuples(st.sampled_from(["P1", "P2", "P10", "p1", "Zoë"]), st.sampled_from([0.0, 0.5, 2.0])), min_size=1
    ),
    st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_people_are_counted_whatever_their_order_and_weight(rows: list[tuple[str, float]], ordered: bool) -> None:
    # who has weight zero may repeat an id, or stand out of order, without being counted
    data = pd.DataFrame(sorted(rows) if ordered else rows, columns=["id", "w"]).assign(quarters=1, cause="job")
    kept = data[data["w"] > 0]
    if kept.empty:
        with pytest.raises(InputError, match="weight zero"):
            life_table(data, **NAMES, weights="w", weight_type="probability")
        return
    table = life_table(data, **NAMES, weights="w", weight_type="probability")
    assert (table.n_people, table.n_spells) == (kept["id"].nunique(), len(kept))
    unweighted = life_table(data, **NAMES)
    assert (unweighted.n_people, unweighted.repeated) == (data["id"].nunique(), data["id"].duplicated().any())
