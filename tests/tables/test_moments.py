"""Outcome moments: what they hold, how they add, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrain_eval as rte
from retrain_eval.common.errors import DesignError, InputError

NAMES = {"unit": "id", "time": "t", "cohort": "g", "outcome": "y"}


def panel(n: int = 40, n_periods: int = 4, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    cohort = rng.choice([0, 2002, 2003], n, p=[0.5, 0.25, 0.25])
    cohort[:3] = [0, 2002, 2003]
    frame = pd.DataFrame(
        {
            "id": np.repeat(np.arange(n), n_periods),
            "t": np.tile(np.arange(2000, 2000 + n_periods), n),
            "g": np.repeat(cohort, n_periods),
            "sex": np.repeat(rng.choice(["f", "m"], n), n_periods),
            "w": np.repeat(rng.uniform(0.5, 2, n), n_periods),
            "provider": np.repeat(rng.integers(0, 8, n), n_periods),
        }
    )
    frame["y"] = rng.normal(20_000, 5_000, len(frame)) + 1_000 * (frame["g"] > 0) * (frame["t"] >= frame["g"])
    return frame


def same(a: rte.OutcomeMoments, b: rte.OutcomeMoments, rtol: float = 1e-10) -> None:
    """Equal as tables: cell by cell, whatever their order and their reference path."""
    keys = ["cohort", *a.strata]
    x, y = (_table(m) for m in (a, b))
    merged = x.merge(y, on=keys, how="outer", suffixes=("", "_b"))
    assert len(merged) == len(x) == len(y)
    for column in [c for c in x.columns if c not in keys]:
        np.testing.assert_allclose(merged[column], merged[f"{column}_b"], rtol=rtol, atol=1e-6)
    np.testing.assert_allclose(
        a.att_gt().to_effects().vcov,
        b.att_gt().to_effects().vcov,
        rtol=rtol,
        atol=1e-8 * np.nanmax(np.append(a.att_gt().to_effects().vcov, 0.0)),
    )


def _table(m: rte.OutcomeMoments) -> pd.DataFrame:
    means = pd.DataFrame(m.means(), columns=[f"mean_{t}" for t in m.times])
    cells = m.cells.reset_index(drop=True).assign(sum_w=m.first[:, 0])
    cells["cohort"] = cells["cohort"].fillna(0)
    return pd.concat([cells, means], axis=1)


def test_cells_hold_counts_sums_and_products_about_the_reference() -> None:
    data = panel()
    m = rte.outcome_moments(data, **NAMES, by="sex", weights="w")
    wide = data.pivot_table(index=["id", "g", "sex", "w"], columns="t", values="y").reset_index()
    for i, cell in enumerate(m.cells.itertuples()):
        rows = wide[(wide["g"] == (0 if pd.isna(cell.cohort) else cell.cohort)) & (wide["sex"] == cell.sex)]
        z = rows["w"].to_numpy()[:, None] * np.column_stack([np.ones(len(rows)), rows[list(m.times)] - m.reference])
        assert cell.n == len(rows)
        np.testing.assert_allclose(m.first[i], z.sum(axis=0))
        np.testing.assert_allclose(m.second[i, i], z.T @ z)


def test_clusters_keep_products_of_cells_that_share_one() -> None:
    data = panel()
    m = rte.outcome_moments(data, **NAMES, cluster="provider")
    wide = data.pivot_table(index=["id", "g", "provider"], columns="t", values="y").reset_index()
    z = np.column_stack([np.ones(len(wide)), wide[list(m.times)] - m.reference])
    cohort = m.cells["cohort"].fillna(0).to_numpy(dtype=float)
    for a in range(len(cohort)):
        for b in range(a, len(cohort)):
            expected = np.zeros((z.shape[1],) * 2)
            for provider in wide["provider"].unique():
                sums = [z[(wide["g"] == cohort[c]) & (wide["provider"] == provider)].sum(axis=0) for c in (a, b)]
                expected += np.outer(*sums)
            np.testing.assert_allclose(m.second.get((a, b), np.zeros_like(expected)), expected)
    assert m.n_clusters == 8


@given(seed=st.integers(0, 10_000), cut=st.integers(5, 35), clustered=st.booleans())
@settings(max_examples=15, deadline=None)
def test_adding_two_agencies_gives_the_moments_of_their_union(seed: int, cut: int, clustered: bool) -> None:
    data = panel(seed=seed)
    cluster = "provider" if clustered else None
    in_first = data["provider"] < cut % 6 + 1 if clustered else data["id"] < cut
    parts = [
        rte.outcome_moments(part, **NAMES, by="sex", cluster=cluster) for part in (data[in_first], data[~in_first])
    ]
    same(parts[0] + parts[1], rte.outcome_moments(data, **NAMES, by="sex", cluster=cluster))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_order_of_rows_does_not_matter(seed: int) -> None:
    data = panel(seed=1)
    shuffled = data.sample(frac=1, random_state=seed)
    same(rte.outcome_moments(data, **NAMES, by="sex"), rte.outcome_moments(shuffled, **NAMES, by="sex"), rtol=1e-11)


def test_collapse_equals_never_having_stratified() -> None:
    data = panel()
    for cluster in (None, "provider"):
        fine = rte.outcome_moments(data, **NAMES, by=("sex", "provider"), cluster=cluster)
        same(fine.collapse(over=["sex", "provider"]), rte.outcome_moments(data, **NAMES, cluster=cluster))


def test_covariates_keep_cells_apart_and_change_no_estimate() -> None:
    data = panel()
    fine = rte.outcome_moments(data, **NAMES, by="sex", covariates=("provider", "sex"))
    assert fine.strata == ("sex", "provider")
    same(fine.collapse(over="provider"), rte.outcome_moments(data, **NAMES, by="sex"))


def test_subset_equals_the_moments_of_those_rows() -> None:
    data = panel()
    same(
        rte.outcome_moments(data, **NAMES, by="sex").subset(sex="f"),
        rte.outcome_moments(data[data["sex"] == "f"], **NAMES, by="sex"),
    )


@pytest.mark.parametrize("cluster", [None, "provider"])
def test_parquet_gives_back_the_same_numbers(tmp_path: Path, cluster: str | None) -> None:
    m = rte.outcome_moments(panel(), **NAMES, by="sex", weights="w", cluster=cluster)
    m.to_parquet(tmp_path / "m.parquet")
    back = rte.OutcomeMoments.read_parquet(tmp_path / "m.parquet")
    assert (back.outcome, back.times, back.strata, back.cluster) == (m.outcome, m.times, m.strata, m.cluster)
    np.testing.assert_array_equal(back.first, m.first)
    assert back.second.keys() == m.second.keys()
    pd.testing.assert_frame_equal(back.att_gt().to_frame(), m.att_gt().to_frame())


def test_every_kind_of_source_gives_the_same_moments(tmp_path: Path) -> None:
    data = panel()
    expected = rte.outcome_moments(data, **NAMES)
    data.to_csv(tmp_path / "p.csv", index=False)
    data.to_parquet(tmp_path / "p.parquet")
    sources = [pa.Table.from_pandas(data), tmp_path / "p.csv", str(tmp_path / "p.parquet")]
    for source in sources:
        same(expected, rte.outcome_moments(source, **NAMES))


def test_a_large_level_costs_no_digits() -> None:
    data = panel()
    shifted = data.assign(y=data["y"] + 1e9)
    a, b = (rte.outcome_moments(d, **NAMES).att_gt().to_frame() for d in (data, shifted))
    np.testing.assert_allclose(a["std_error"], b["std_error"], rtol=1e-6)


def test_no_temporary_table_is_left_behind() -> None:
    import duckdb

    con = duckdb.connect()
    con.register("panel", panel())
    rte.outcome_moments(con.table("panel"), **NAMES)
    with pytest.raises(DesignError):
        rte.outcome_moments(con.sql("FROM panel WHERE NOT (id = 1 AND t = 2000)"), **NAMES)
    assert con.sql("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]


def test_unicode_ids_and_strata() -> None:
    data = panel()
    data["id"] = "Å-工-" + data["id"].astype(str)
    data["sex"] = data["sex"].map({"f": "女", "m": "男 'quoted'"})
    m = rte.outcome_moments(data, **NAMES, by="sex")
    assert set(m.cells["sex"]) == {"女", "男 'quoted'"}
    assert len(m.att_gt().by("sex").aggregate("simple")) == 2


def test_levels_keep_the_order_of_their_column() -> None:
    data = panel()
    ordered = pd.Categorical(
        data["sex"].map({"f": "under 25", "m": "25 and over"}), ["under 25", "25 and over"], ordered=True
    )
    for by, expected in ((ordered, ["under 25", "25 and over"]), (data["sex"].map({"f": 9, "m": 10}), ["9", "10"])):
        m = rte.outcome_moments(data.assign(band=by), **NAMES, by="band")
        assert list(dict.fromkeys(m.cells["band"])) == expected
        assert m.att_gt().by("band").aggregate("simple").to_frame()["level"].tolist() == expected


def test_a_missing_stratum_is_a_level_of_its_own() -> None:
    data = panel()
    data["sex"] = data["sex"].where(data["id"] > 5)
    assert "(missing)" in set(rte.outcome_moments(data, **NAMES, by="sex").cells["sex"])


# ---- refusals ------------------------------------------------------------------------------------------------------


def edit(column: str, value: object, rows: slice | list[int] = slice(0, 1)) -> pd.DataFrame:
    data = panel()
    if isinstance(value, str) or value is None:
        data[column] = data[column].astype(object)
    elif data[column].dtype != "str":
        data[column] = data[column].astype(float)
    data.loc[data.index[rows], column] = value
    return data


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (edit("y", "high"), {}, ["not a number", "high", "row:    1"]),
        (edit("y", np.inf), {}, ["finite", "inf"]),
        (edit("t", 2000.5), {}, ["whole number"]),
        (edit("id", None), {}, ["unit id must not be missing"]),
        (edit("w", -1.0, slice(0, 4)), {"weights": "w"}, ["zero or more", "-1"]),
        (edit("w", 9.0), {"weights": "w"}, ["change where they must not", "1 unit"]),
        (edit("sex", "x"), {"by": "sex"}, ["change where they must not"]),
        (edit("g", 2002.0, [0]), {}, ["change where they must not", "1 unit"]),
        (pd.concat([panel(), panel().iloc[[7]]]), {}, ["more than one row for a period", "1 unit"]),
        (panel().rename(columns={"y": "earnings"}), {}, ["unknown column 'y'", "known:"]),
    ],
    ids=[
        "text",
        "inf",
        "half-year",
        "no id",
        "negative weight",
        "weight changes",
        "stratum changes",
        "cohort changes",
        "duplicate",
        "column",
    ],
)
def test_bad_rows_are_refused_by_name(data: pd.DataFrame, options: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        rte.outcome_moments(data, **NAMES, **options)
    for word in words:
        assert word in str(caught.value)


def test_nan_in_arrow_is_missing_not_averaged() -> None:
    data = panel()
    table = pa.table({name: data[name].to_numpy() for name in ("id", "t", "g")} | {"y": np.r_[np.nan, data["y"][1:]]})
    with pytest.raises(DesignError, match="not observed in all 4 periods"):
        rte.outcome_moments(table, **NAMES)


def test_a_missing_wave_is_refused_or_dropped_and_counted() -> None:
    data = panel()
    gap = data[~((data["id"] == 3) & (data["t"] == 2001))]
    with pytest.raises(DesignError, match=r"1 unit\(s\) are not observed in all 4 periods"):
        rte.outcome_moments(gap, **NAMES)
    dropped = rte.outcome_moments(gap, **NAMES, unbalanced="drop")
    assert dropped.n_dropped == 1
    same(dropped, rte.outcome_moments(data[data["id"] != 3], **NAMES))


def test_no_rows() -> None:
    with pytest.raises(DesignError, match="no rows"):
        rte.outcome_moments(panel().iloc[:0], **NAMES)


def test_moments_that_differ_do_not_add() -> None:
    a = rte.outcome_moments(panel(), **NAMES)
    b = rte.outcome_moments(panel(n_periods=3), **NAMES)
    with pytest.raises(InputError, match="times differ"):
        a + b


@pytest.mark.parametrize("name", ["n", "cohort", "cell", "first", "second", "second_with"])
def test_a_stratum_cannot_take_the_name_of_a_column_of_the_moments(name: str) -> None:
    with pytest.raises(InputError, match="name of a stratum is taken"):
        rte.outcome_moments(panel().rename(columns={"sex": name}), **NAMES, by=name)


def test_a_stratum_is_named_once() -> None:
    with pytest.raises(InputError, match="name of a stratum is taken"):
        rte.outcome_moments(panel(), **NAMES, by=("sex", "sex"))


@pytest.mark.parametrize("size", [1e200, 1e308])
def test_sums_that_overflow_are_refused(size: float) -> None:
    with pytest.raises((InputError, DesignError), match="larger unit"):
        rte.outcome_moments(panel().assign(y=lambda d: np.where(d["id"] % 2, size, -size)), **NAMES)


@pytest.mark.parametrize("time", [np.inf, 1e30])
def test_a_period_out_of_range_is_named(time: float) -> None:
    frame = panel().astype({"t": float})
    frame.loc[3, "t"] = time
    with pytest.raises(InputError, match="whole number"):
        rte.outcome_moments(frame, **NAMES)


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    file = tmp_path / "m.parquet"
    file.write_bytes(b"PAR1 and then nothing")
    for path in (file, tmp_path / "none.parquet"):
        with pytest.raises(InputError, match=path.name):
            rte.OutcomeMoments.read_parquet(path)


def test_levels_that_never_occur_together_are_refused() -> None:
    frame = panel().assign(first_sex=lambda d: d["sex"])
    moments = rte.outcome_moments(frame, **NAMES, by=("sex", "first_sex"))
    with pytest.raises(InputError, match="no cell has all"):
        moments.subset(sex="f", first_sex="m")


# ---- what cells cannot hold ----------------------------------------------------------------------------------------


def test_continuous_covariates_are_read_from_the_source(tmp_path: Path) -> None:
    """Beyond 2,000 combinations the same call reads people; what has lost its source refuses, and says so."""
    rng = np.random.default_rng(1)
    n = 2_400
    people = pd.DataFrame(
        {"id": range(n), "g": rng.choice([0, 2], n), "x": rng.normal(size=n), "sex": rng.choice(["f", "m"], n)}
    )
    long = pd.concat(
        [people.assign(t=t, y=people["x"] * t + (t == 2) * (people["g"] == 2) + rng.normal(size=n)) for t in (1, 2)]
    )
    names = {"unit": "id", "time": "t", "cohort": "g", "outcome": "y"}
    moments = rte.outcome_moments(long, **names, by="sex", covariates="x")
    assert len(moments.cells) == 4
    assert moments.by_person == ("x",)
    found = moments.att_gt(covariates=("x",), method="dr").aggregate("simple")
    direct = rte.att_gt(long, **names, covariates="x", method="dr").aggregate("simple")
    pd.testing.assert_frame_equal(found.frame, direct.frame)
    assert len(moments.att_gt(covariates=("x",)).by("sex").aggregate("simple")) == 2
    plain = rte.outcome_moments(long, **names).att_gt().aggregate("simple")
    np.testing.assert_allclose(moments.att_gt().aggregate("simple").frame["estimate"], plain.frame["estimate"])

    moments.to_parquet(tmp_path / "moments.parquet")
    for lost in (
        rte.OutcomeMoments.read_parquet(tmp_path / "moments.parquet"),
        moments.subset(sex="f"),
        moments + moments,
    ):
        with pytest.raises(InputError, match="they have no source"):
            lost.att_gt(covariates=("x",))
    few = rte.outcome_moments(long[long["id"] < 300], **names, covariates="x")
    assert few.by_person == ()
    assert len(few.cells) == 300


def test_incomplete_paths_are_read_from_the_source() -> None:
    rng = np.random.default_rng(2)
    long = pd.DataFrame(
        {
            "id": np.repeat(np.arange(200), 4),
            "t": np.tile([1, 2, 3, 4], 200),
            "g": np.repeat(rng.choice([0, 3], 200), 4),
        }
    )
    long["y"] = rng.normal(size=800)
    long = long[rng.uniform(size=800) < 0.8]
    names = {"unit": "id", "time": "t", "cohort": "g", "outcome": "y"}
    moments = rte.outcome_moments(long, **names, unbalanced="allow")
    found = moments.att_gt().aggregate("simple").frame
    expected = rte.att_gt(long, **names, unbalanced="allow", method="reg").aggregate("simple").frame
    pd.testing.assert_frame_equal(found, expected)
    assert moments.n_dropped > 0
    for name in ("twfe", "sun_abraham", "imputation", "etwfe", "bacon"):
        with pytest.raises(DesignError, match="needs complete paths"):
            getattr(moments, name)()
