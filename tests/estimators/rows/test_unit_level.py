"""Group-time effects from people: against R, against cells, against derivatives, and where it must refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import did_panels
import retrain_eval as rte
from did_panels import NAMES
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.did import few_clusters
from retrain_eval.estimators.rows import att_gt as unit_level
from retrain_eval.estimators.rows import units as unit_rows

X = ("x1", "x2", "x3")


@pytest.mark.oracle
@pytest.mark.parametrize("case", did_panels.R_CASES)
def test_every_hard_case_equals_r_did(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """R `did` 2.5.1 with `DRDID` 1.2.3 prints ten decimals: 1e-9 in estimates, 1e-8 of standard errors."""
    monkeypatch.setattr(few_clusters, "FEW", 0)  # R's sandwich, not the jackknife
    both = did_panels.beside_r(case)
    assert len(both) >= 12
    np.testing.assert_allclose(both["estimate"], both["estimate_peer"], rtol=0, atol=1e-9)
    said = both["std_error_peer"].notna()  # the base period has none
    np.testing.assert_allclose(both["std_error"][said], both["std_error_peer"][said], rtol=1e-8)


# ---- people give what cells give -----------------------------------------------------------------------------------


def simulate(rng: np.random.Generator, n: int = 300, effect: float = 1.0) -> pd.DataFrame:
    """Three cohorts; trends and the chance of being treated follow sex, education, children and age."""
    people = pd.DataFrame(
        {
            "id": [f"ß{i:04d}" for i in range(n)],
            "sex": rng.choice(["f", "m"], n),
            "educ": rng.choice(["low", "mid", "high"], n),
            "kids": rng.integers(0, 4, n),
            "age": rng.normal(40, 10, n),
            "w": rng.uniform(0.5, 2, n),
            "school": np.arange(n) // 5,
        }
    )
    score = -0.4 + 0.6 * (people["sex"] == "f") - 0.5 * (people["educ"] == "high") + 0.02 * (people["age"] - 40)
    treated = rng.uniform(size=n) < 1 / (1 + np.exp(-score))
    people["g"] = np.where(treated, rng.choice([3, 4], n), 0)
    trend = 0.5 * (people["sex"] == "f") + 0.2 * people["kids"] + 0.02 * people["age"]
    return pd.concat(
        [
            people.assign(t=t, y=trend * t + rng.normal(0, 1, n) + effect * ((people["g"] > 0) & (t >= people["g"])))
            for t in (1, 2, 3, 4, 5)
        ],
        ignore_index=True,
    )


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    method=st.sampled_from(["reg", "ipw", "dr"]),
    control=st.sampled_from(["never_treated", "not_yet_treated"]),
    base_period=st.sampled_from(["universal", "varying"]),
    anticipation=st.sampled_from([0, 1]),
    weights=st.sampled_from([None, "w"]),
    cluster=st.sampled_from([None, "school"]),
)
def test_people_give_what_cells_give(seed: int, weights: str | None, cluster: str | None, **options: Any) -> None:
    data = simulate(np.random.default_rng(seed))
    covariates = ("sex", "educ", "kids")
    cells = rte.outcome_moments(data, **NAMES, covariates=covariates, weights=weights, cluster=cluster)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unit_rows, "_CHUNK_VALUES", 0)  # the smallest chunks
        people = rte.att_gt(data, **NAMES, covariates=covariates, weights=weights, cluster=cluster, **options)
    other = cells.att_gt(covariates=covariates, **options)
    pd.testing.assert_frame_equal(people.to_frame(), other.to_frame(), rtol=1e-9, atol=1e-12)
    for kind in ("simple", "dynamic", "group", "calendar"):
        a, b = people.aggregate(kind), other.aggregate(kind)
        pd.testing.assert_frame_equal(a.to_frame(), b.to_frame(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(a.vcov, b.vcov, rtol=1e-8, atol=1e-14)


def test_without_covariates_people_give_what_cells_give() -> None:
    data = simulate(np.random.default_rng(1))
    a = rte.att_gt(data, **NAMES, method="dr").to_frame()
    pd.testing.assert_frame_equal(a, rte.outcome_moments(data, **NAMES).att_gt().to_frame(), rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_many_small_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters go over three chunks of 1,024 people, break at their ends, or (fours) end where they end."""
    data = simulate(np.random.default_rng(2), n=4000)
    data["four"] = data["id"].str[1:].astype(int) // 4
    data["region"] = np.where(data["id"].str[-1] < "4", "a", data["id"].str[-2:])
    options = {**NAMES, "covariates": ("age", "sex"), "unbalanced": "allow"}
    part = data[np.random.default_rng(3).uniform(size=len(data)) < 0.9]
    for cluster in (None, "school", "region", "four"):
        monkeypatch.setattr(unit_rows, "_CHUNK_VALUES", 10_000_000)
        whole = rte.att_gt(part, **options, cluster=cluster)
        monkeypatch.setattr(unit_rows, "_CHUNK_VALUES", 0)
        pieces = rte.att_gt(part, **options, cluster=cluster)
        np.testing.assert_allclose(pieces.moments.products, whole.moments.products, rtol=1e-9, atol=1e-13)
        for found in (pieces.moments.clusters, whole.moments.clusters):
            assert (found is None) == (cluster is None)
            assert found is None or found.total == part[cluster].nunique()


# ---- estimates are their formula, standard errors its derivative ---------------------------------------------------


def by_rows(method: str, rows: pd.DataFrame, weight: np.ndarray) -> float:
    """ATT from rows of two periods, with one weight per unit; Sant'Anna and Zhao's estimators for cross sections."""
    w, x = weight[rows["unit"]], np.column_stack([np.ones(len(rows)), rows["age"]])
    d, post, y = (rows[name].to_numpy(dtype=float) for name in ("d", "post", "y"))

    def regression(arm: np.ndarray) -> np.ndarray:
        return np.linalg.solve((x * arm[:, None]).T @ x, x.T @ (arm * y))

    beta = np.zeros(2)
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ beta))
        beta = beta + np.linalg.solve((x * (w * p * (1 - p))[:, None]).T @ x, x.T @ (w * (d - p)))
    p = 1 / (1 + np.exp(-x @ beta))
    mean = np.average(x, weights=w * d, axis=0)
    parts = []
    for period in (0.0, 1.0):
        here = w * (post == period)
        odds = here * (1 - d) * p / (1 - p)
        b0, b1 = regression(here * (1 - d)), regression(here * d)
        treated = np.average(y, weights=here * d)
        if method == "reg":
            parts.append(treated - mean @ b0)
        elif method == "ipw":
            parts.append(treated - np.average(y, weights=odds))
        else:
            parts.append(mean @ (b1 - b0) - np.average(y - x @ b0, weights=odds))
    return float(parts[1] - parts[0])


@pytest.mark.parametrize("design", ["panel", "gaps", "cross sections"])
@pytest.mark.parametrize("method", ["reg", "ipw", "dr"])
def test_standard_errors_are_derivatives(method: str, design: str) -> None:
    """ψ_i = w_i ∂ATT/∂w_i by finite differences; only "dr" on different rows follows DRDID, and differs by under 5%."""
    rng = np.random.default_rng(4)
    data = simulate(rng, n=120)
    data = data[data["t"].isin([2, 3]) & (data["g"] != 4)]
    if design == "gaps":
        data = data[rng.uniform(size=len(data)) < 0.8]
    if design == "cross sections":
        data = data.assign(id=np.arange(len(data)))
    options = {"panel": design != "cross sections", "unbalanced": "allow" if design == "gaps" else "refuse"}
    frame = rte.att_gt(data, **NAMES, covariates="age", weights="w", method=method, **options).to_frame()
    ours = frame[frame["time"] == 3].iloc[0]

    units = data.groupby("id")["w"].first()
    rows = data.assign(unit=units.index.get_indexer(data["id"]), d=data["g"] > 0, post=data["t"] == 3)
    weight = units.to_numpy()
    psi = []
    for i in range(len(weight)):
        up, down = weight.copy(), weight.copy()
        up[i], down[i] = weight[i] * (1 + 1e-4), weight[i] * (1 - 1e-4)
        psi.append((by_rows(method, rows, up) - by_rows(method, rows, down)) / 2e-4)
    assert ours["estimate"] == pytest.approx(by_rows(method, rows, weight), abs=1e-9)
    exact = np.sqrt(np.square(psi).sum())
    if method == "dr" and design != "panel":
        assert ours["std_error"] == pytest.approx(exact, rel=0.05)
        assert ours["std_error"] != pytest.approx(exact, rel=1e-4)
    else:
        assert ours["std_error"] == pytest.approx(exact, rel=1e-6)


def test_a_panel_without_gaps_is_the_panel() -> None:
    data = simulate(np.random.default_rng(5))
    a, b = (rte.att_gt(data, **NAMES, covariates="age", unbalanced=word).to_frame() for word in ("refuse", "allow"))
    pd.testing.assert_frame_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["reg", "ipw", "dr"])
@pytest.mark.parametrize("unbalanced", ["refuse", "allow"])
def test_coverage_is_nominal(method: str, unbalanced: str) -> None:
    """500 draws: the 95% interval holds the truth in 93-97%; without covariates it does not."""
    covered, naive = 0, 0
    for draw in range(500):
        rng = np.random.default_rng(draw)
        data = simulate(rng, n=400)
        if unbalanced == "allow":
            data = data[rng.uniform(size=len(data)) < 0.85]
        for covariates in (("age", "sex", "educ"), ())[: 2 if draw < 50 else 1]:
            gt = rte.att_gt(data, **NAMES, covariates=covariates, method=method, unbalanced=unbalanced)
            row = gt.aggregate("simple").to_frame().iloc[0]
            covers = row["ci_low"] <= 1.0 <= row["ci_high"]
            covered, naive = covered + (covers and bool(covariates)), naive + (covers and not covariates)
    assert 0.93 <= covered / 500 <= 0.97
    assert naive < 45


# ---- what must not matter ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_order_of_rows_and_threads_change_no_bit(tmp_path: Path) -> None:
    data = simulate(np.random.default_rng(6), n=3000)
    data.to_parquet(tmp_path / "0.parquet")
    data.sample(frac=1, random_state=1).to_parquet(tmp_path / "1.parquet")
    code = (
        "import sys, retrain_eval as rte\n"
        "names = dict(unit='id', time='t', cohort='g', outcome='y', covariates=('age', 'sex'), cluster='school')\n"
        "gt = rte.att_gt(sys.argv[1], **names)\n"
        "frame = gt.aggregate().to_frame()\n"
        "print([float(v).hex() for column in ('estimate', 'std_error') for v in frame[column]])"
    )
    found = set()
    for order, threads in ((0, "1"), (1, "2")):
        command = [sys.executable, "-c", code, str(tmp_path / f"{order}.parquet")]
        path = os.pathsep.join(sys.path)
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "PYTHONPATH": path}
        found.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(found) == 1


def test_every_source_gives_the_same(tmp_path: Path) -> None:
    data = simulate(np.random.default_rng(7))
    data.to_parquet(tmp_path / "d.parquet")
    data.to_csv(tmp_path / "d.csv", index=False)
    con = duckdb.connect()
    con.execute("CREATE TABLE d AS FROM data")
    con.execute(
        "CREATE TABLE paths AS SELECT id, any_value(g) AS g, any_value(age) AS age, any_value(sex) AS sex, "
        "list(y ORDER BY t)::DOUBLE[5] AS y FROM d GROUP BY id"
    )
    options: dict[str, Any] = {**NAMES, "covariates": ("age", "sex")}
    expected = rte.att_gt(data, **options).to_frame()
    sources = (pa.Table.from_pandas(data), con.table("d"), tmp_path / "d.parquet", tmp_path / "d.csv")
    for source in sources:
        pd.testing.assert_frame_equal(rte.att_gt(source, **options).to_frame(), expected, rtol=1e-10)
    wide = rte.att_gt(con.table("paths"), **options | {"time": (1, 2, 3, 4, 5)}).to_frame()
    pd.testing.assert_frame_equal(wide, expected, rtol=1e-10)
    assert con.sql("SELECT count(*) FROM duckdb_tables() WHERE temporary").fetchall() == [(0,)]


@settings(max_examples=6, deadline=None)
@given(scale=st.floats(0.01, 1e5), shift=st.floats(-1e5, 1e5))
def test_units_of_outcome_and_covariate_scale_through(scale: float, shift: float) -> None:
    data = simulate(np.random.default_rng(8))
    other = data.assign(y=data["y"] * scale + shift, age=1e6 + 1000 * data["age"])
    a, b = (rte.att_gt(rows, **NAMES, covariates=("age", "sex")).aggregate().to_frame() for rows in (data, other))
    np.testing.assert_allclose(
        b[["estimate", "std_error"]], a[["estimate", "std_error"]] * scale, rtol=1e-6, atol=1e-7 * scale
    )


def test_rescaled_weights_and_aliased_covariates_change_nothing() -> None:
    data = simulate(np.random.default_rng(9)).assign(
        twice=lambda d: 2 * d["age"] + 1, one=1.0, f=lambda d: d["sex"] == "f"
    )
    a = rte.att_gt(data, **NAMES, covariates=("age", "sex"), weights="w").to_frame()
    b = rte.att_gt(
        data.assign(w=1000 * data["w"]), **NAMES, covariates=("age", "sex", "twice", "one", "f"), weights="w"
    ).to_frame()
    pd.testing.assert_frame_equal(a, b, rtol=1e-8)


def test_levels_are_subsets_and_their_difference_is_joint() -> None:
    data = simulate(np.random.default_rng(10), n=600)
    for options in ({}, {"unbalanced": "allow"}):
        part = data if not options else data[np.random.default_rng(0).uniform(size=len(data)) < 0.9]
        levels = rte.att_gt(part, **NAMES, covariates=("age", "educ"), cluster="school", **options).by("sex")
        table = levels.aggregate("simple")
        for row in table.to_frame().itertuples():
            alone = rte.att_gt(
                part[part["sex"] == row.level], **NAMES, covariates=("age", "educ"), cluster="school", **options
            ).aggregate("simple")
            assert row.estimate == pytest.approx(alone.to_frame()["estimate"].item(), rel=1e-9)
            assert row.std_error == pytest.approx(alone.to_frame()["std_error"].item(), rel=1e-9)
        assert table.vcov[0, 1] != 0  # schools hold both sexes
        expected = np.sqrt(np.array([-1, 1]) @ table.vcov @ np.array([-1, 1]))
        assert table.difference().to_frame()["std_error"].item() == pytest.approx(expected)


# ---- overlap -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["reg", "ipw", "dr"])
def test_level_without_controls_is_named(method: str) -> None:
    data = simulate(np.random.default_rng(11))
    data.loc[(data["g"] == 0) & (data["educ"] == "high"), "educ"] = "mid"
    with pytest.raises(DesignError, match="educ = high"):
        rte.att_gt(data, **NAMES, covariates=("educ", "age"), method=method)


def test_separation_by_a_number_is_named() -> None:
    data = simulate(np.random.default_rng(12))
    data["age"] += 200.0 * (data["g"] > 0)
    with pytest.raises(DesignError, match="separated by age"):
        rte.att_gt(data, **NAMES, covariates=("age", "sex"))


def test_separation_by_a_combination_is_refused() -> None:
    data = simulate(np.random.default_rng(13)).assign(z=lambda d: d["age"] + 50.0 * (d["g"] > 0))
    with pytest.raises(DesignError, match="a combination of the covariates"):
        rte.att_gt(data, **NAMES, covariates=("age", "z"))


@pytest.mark.parametrize("method", ["ipw", "dr"])
@pytest.mark.parametrize("name", ["educ", "high"])
def test_level_without_treated_weighs_nothing(method: str, name: str) -> None:
    """The limit of a logit whose coefficient runs to minus infinity; a number that is zero or one is a level too."""
    data = simulate(np.random.default_rng(14))
    data.loc[(data["g"] > 0) & (data["educ"] == "high"), "educ"] = "mid"
    data["high"] = (data["educ"] == "high").astype(int)
    options: dict[str, Any] = {**NAMES, "covariates": (name, "age"), "method": "ipw"}
    full, without = (rte.att_gt(rows, **options).to_frame() for rows in (data, data[data["educ"] != "high"]))
    np.testing.assert_allclose(full["estimate"], without["estimate"], rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(full["std_error"], without["std_error"], rtol=1e-8)
    if name == "educ":
        cells = rte.outcome_moments(data, **NAMES, covariates="educ").att_gt(method=method, covariates=("educ",))
        people = rte.att_gt(data, **NAMES, covariates="educ", method=method)
        pd.testing.assert_frame_equal(people.to_frame(), cells.to_frame(), rtol=1e-8, atol=1e-12)


def test_an_outlier_is_not_separation() -> None:
    """One control earns a hundred times as much: its log odds are far below any that others have."""
    rng = np.random.default_rng(15)
    data = simulate(rng, n=600)
    data["pay"] = data["age"] - 10.0 * (data["g"] > 0)
    data.loc[data["id"] == data.loc[data["g"] == 0, "id"].iloc[0], "pay"] = 4000.0
    assert np.isfinite(rte.att_gt(data, **NAMES, covariates="pay").aggregate().to_frame()["estimate"]).all()


def test_near_separation_is_trimmed_and_said() -> None:
    rng = np.random.default_rng(16)
    n = 2000
    z = np.where(np.arange(n) < 900, "a", "b")
    g = np.where(z == "a", np.where(np.arange(n) < 2, 0, 3), np.where(rng.uniform(size=n) < 0.3, 3, 0))
    data = pd.concat(
        [pd.DataFrame({"id": np.arange(n), "t": t, "g": g, "z": z, "y": rng.normal(size=n)}) for t in (2, 3)]
    )
    gt = rte.att_gt(data, **NAMES, covariates="z", method="ipw")
    assert any("above 0.995" in note for note in gt.notes)
    cells = rte.outcome_moments(data, **NAMES, covariates="z").att_gt(method="ipw", covariates=("z",))
    pd.testing.assert_frame_equal(gt.to_frame(), cells.to_frame(), rtol=1e-8, atol=1e-12)


# ---- designs -------------------------------------------------------------------------------------------------------


def people(seed: int = 17) -> pd.DataFrame:
    return simulate(np.random.default_rng(seed))


def fit(data: pd.DataFrame, **options: Any) -> Any:
    return rte.att_gt(data, **{**NAMES, "covariates": ("age", "sex"), **options})


def test_missing_wave_shifts_nothing() -> None:
    data = people()
    data = data[(data["t"] != 2) & (data["g"] != 4)]
    frame = fit(data).to_frame().set_index("time")
    assert frame.loc[1, "estimate"] == 0
    assert np.isnan(frame.loc[1, "std_error"])
    assert list(frame["event_time"]) == [-2, 0, 1, 2]


def test_period_that_nobody_of_a_cohort_was_observed_in_is_left_out_and_said() -> None:
    data = people()
    data = data[(data["t"] != 5) | (data["g"] != 3)]
    gt = fit(data, unbalanced="allow")
    assert (3, 5) not in set(zip(gt.rows["cohort"], gt.rows["time"], strict=True))
    assert "cohort 3, period 5 is left out: 0 of the treated observed in period 5" in gt.notes


def test_counts_are_those_observed_in_either_period() -> None:
    data = people()
    first = data.loc[data["g"] == 3, "id"].iloc[0]
    gone = fit(data[~((data["id"] == first) & (data["t"].isin([2, 5])))], unbalanced="allow").rows
    n = data.loc[(data["g"] == 3) & (data["t"] == 1)].shape[0]
    counts = gone[gone["cohort"] == 3].set_index("time")["n_treated"].to_dict()
    assert counts == {1: n, 2: n - 1, 3: n, 4: n, 5: n - 1}


def test_cohort_without_a_pre_period_and_cohort_of_one_are_left_out_and_said() -> None:
    data = people()
    data.loc[data["g"] == 4, "g"] = 1
    one = data.loc[data["g"] == 0, "id"].iloc[0]
    data.loc[data["id"] == one, "g"] = 5
    gt = fit(data)
    assert set(gt.rows["cohort"]) == {3}
    assert gt.notes == (
        "cohort 1 has no period before treatment and is left out",
        "cohort 5 has 1 unit, which gives no standard error, and is left out",
    )


def test_small_cohort_needs_no_regression_of_its_own() -> None:
    """Two people and four covariates: the panel estimators regress on controls only."""
    data = people()
    few = data.loc[data["g"] == 3, "id"].unique()[2:]
    data = data[~data["id"].isin(few)]
    assert np.isfinite(fit(data, method="reg", covariates=("age", "sex", "educ", "kids")).rows["estimate"]).all()


@pytest.mark.parametrize("options", [{}, {"unbalanced": "allow"}, {"panel": False}])
def test_everyone_and_nobody_treated(options: dict[str, Any]) -> None:
    data = people()
    if "panel" in options:
        data["id"] = np.arange(len(data))
    everyone = data[data["g"] > 0]
    with pytest.raises(DesignError, match=r"no never-treated controls.*not_yet_treated"):
        fit(everyone, **options)
    gt = fit(everyone, **options, control="not_yet_treated")
    assert set(gt.rows["cohort"]) == {3}
    with pytest.raises(DesignError, match="no unit is treated"):
        fit(data.assign(g=0), **options)


def test_one_unit_and_no_rows() -> None:
    data = people()
    with pytest.raises(DesignError, match="no unit is treated"):
        fit(data[data["id"] == data.loc[data["g"] == 0, "id"].iloc[0]])
    with pytest.raises(DesignError, match="no rows"):
        fit(data[data["t"] > 9])


@pytest.mark.parametrize("value", [0.0, 3.7])
def test_constant_outcome_gives_zero_without_a_standard_error(value: float) -> None:
    data = people()
    for options in ({}, {"unbalanced": "allow"}):
        frame = fit(data.assign(y=value).drop(index=3 if options else []), **options).aggregate().to_frame()
        assert (frame["estimate"] == 0).all()
        assert frame["std_error"].isna().all()


def test_what_cannot_be_right_is_refused() -> None:
    data = people()
    other = data["id"] == data["id"].iloc[7]
    with pytest.raises(InputError, match="more than one row for a period"):
        fit(pd.concat([data, data.iloc[[7]]]))
    with pytest.raises(InputError, match="outcome must be finite"):
        fit(data.assign(y=data["y"].where(~other, np.inf)))
    for value in (np.nan, np.inf):
        with pytest.raises(InputError, match="age, a covariate that is a number"):
            fit(data.assign(age=data["age"].where(~other, value)))
        with pytest.raises(InputError, match="weight must be a finite number"):
            fit(data.assign(w=data["w"].where(~other, value)), weights="w")
    for column in ("g", "age", "sex"):
        changed = data.copy()
        changed[column] = changed[column].where(
            ~(other & (changed["t"] == 5)), {"g": 9, "age": 1.0, "sex": "x"}[column]
        )
        with pytest.raises(InputError, match="change where they must not"):
            fit(changed)
    with pytest.raises(DesignError, match="not observed in all 5 periods"):
        fit(data.drop(index=3))
    with pytest.raises(InputError, match="each unit appears once"):
        fit(data, panel=False)
    with pytest.raises(InputError, match="too large to be squared"):
        fit(data.assign(age=data["age"] * 1e200))
    with pytest.raises(InputError, match="is it really a category"):
        fit(
            pd.concat([people(), simulate(np.random.default_rng(1), n=1200).assign(id=lambda d: "o" + d["id"])]),
            covariates="id",
        )


def test_missing_outcomes_are_gaps_and_missing_categories_a_level() -> None:
    data = people()
    hole = np.random.default_rng(0).uniform(size=len(data)) < 0.1
    a = fit(data.assign(y=data["y"].mask(hole)), unbalanced="allow").to_frame()
    pd.testing.assert_frame_equal(a, fit(data[~hole], unbalanced="allow").to_frame())
    data["sex"] = data["sex"].where(data["kids"] > 0, None)
    assert np.isfinite(fit(data).aggregate("simple").to_frame()["std_error"].item())


def test_dropped_units_are_said() -> None:
    gt = fit(people().drop(index=[3, 4]), unbalanced="drop")
    assert gt.notes == ("2 unit(s) that lack a period are left out",)
    assert gt.aggregate().meta["notes"] == gt.notes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"control": "never"}, "unknown control='never'"),
        ({"method": "ols"}, "unknown method='ols'"),
        ({"base_period": "last"}, "unknown base_period"),
        ({"unbalanced": "keep"}, "unknown unbalanced='keep'"),
        ({"covariates": ("agee",)}, "unknown covariate 'agee'"),
        ({"cluster": "schol"}, "unknown column 'schol'"),
        ({"anticipation": -1}, "anticipation"),
        ({"time": (1, 2)}, "not a fixed-size array"),
    ],
)
def test_unknown_keywords_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        fit(people(), **options)


def test_unknown_level_column_and_too_many_effects_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    gt = fit(people())
    with pytest.raises(InputError, match="unknown column 'region'"):
        gt.by("region")
    monkeypatch.setattr(unit_level, "MAX_EFFECTS", 3)
    with pytest.raises(DesignError, match="group-time effects; the products of more than 3"):
        fit(people())


def test_two_hundred_cohorts() -> None:
    """Quarterly cohorts over fifty years, two people each: rows for those that have a period before."""
    rng = np.random.default_rng(18)
    n = 1200
    data = pd.DataFrame({"id": np.arange(n), "g": np.where(np.arange(n) < 400, 2 + np.arange(n) % 200, 0)})
    data["age"] = rng.normal(size=n)
    times = (1, 50, 201)
    long = pd.concat([data.assign(t=t, y=rng.normal(size=n) + (data["g"] > 0) * (t >= data["g"])) for t in times])
    gt = rte.att_gt(long, **NAMES, covariates="age", method="reg")
    assert gt.rows["cohort"].nunique() == 200
    assert gt.aggregate("simple").to_frame()["estimate"].item() == pytest.approx(1, abs=0.3)
