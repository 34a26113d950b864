"""The one result type: intervals, bands, contrasts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import retrain_eval as rte
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.numerics.joint import critical_values
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.inference.pretrend import pretrend_test


def two_levels(**options: object) -> EffectTable:
    rows = [{"subgroup": "age", "level": level, "estimate": x} for level, x in (("young", 3.0), ("old", 1.0))]
    return EffectTable.build(rows, np.array([[1.0, 0.5], [0.5, 2.0]]), **options)


def _critical(vcov: np.ndarray) -> float:
    return float(critical_values(vcov, np.full(len(vcov), np.inf))[0])


@pytest.mark.parametrize("k", [1, 2, 5])
def test_band_of_independent_estimates_is_sidak(k: int) -> None:
    """Independent t's: the quantile of max|t| solves (2Φ(c) − 1)^k = 0.95."""
    exact = stats.norm.ppf(0.5 + 0.95 ** (1 / k) / 2)
    assert _critical(np.diag(np.arange(1.0, k + 1))) == pytest.approx(exact, abs=0.015)


def test_band_of_one_number_said_twice_is_its_interval() -> None:
    assert _critical(np.ones((2, 2))) == pytest.approx(stats.norm.ppf(0.975), abs=0.015)


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-6, 1e6), st.integers(0, 2**32 - 1))
def test_band_does_not_depend_on_the_unit(scale: float, seed: int) -> None:
    root = np.random.default_rng(seed).standard_normal((3, 3))
    vcov = root @ root.T + np.eye(3)
    changed = _critical(vcov * scale**2)
    assert changed == pytest.approx(_critical(vcov), rel=1e-9)


def test_difference_is_the_contrast_with_its_joint_variance() -> None:
    row = two_levels().difference().to_frame().iloc[0]
    assert (row["level"], row["estimate"]) == ("old minus young", -2.0)
    assert row["std_error"] == pytest.approx(np.sqrt(1 + 2 - 2 * 0.5))


@pytest.mark.parametrize(("options", "quantile"), [({"df": 4.0}, stats.t(4).ppf(0.975)), ({"level": 0.9}, 1.6448536)])
def test_difference_keeps_level_and_degrees_of_freedom(options: dict[str, float], quantile: float) -> None:
    table = two_levels(**options).difference()
    row = table.to_frame().iloc[0]
    assert row["ci_high"] - row["estimate"] == pytest.approx(quantile * row["std_error"])
    assert table.meta["df"] == options.get("df")


def test_difference_needs_levels() -> None:
    with pytest.raises(InputError, match="at least two levels"):
        EffectTable.build([{"estimate": 1.0}], np.eye(1)).difference()


def test_a_constant_has_no_standard_error() -> None:
    frame = EffectTable.build([{"estimate": 0.0}, {"estimate": 1.0}], np.diag([0.0, 4.0])).to_frame()
    assert frame["std_error"].isna().tolist() == [True, False]
    assert frame["p_value"].isna().tolist() == [True, False]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.sampled_from([1.0, 2.0, 4.0, 30.0, np.inf]), min_size=4, max_size=4))
def test_no_band_lies_inside_its_interval(seed: int, df: list[float]) -> None:
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((4, 4))
    vcov = root @ root.T if seed % 2 else np.diag(rng.uniform(0.5, 2, 4))
    rows = [{"level": str(i), "subgroup": "s", "estimate": x} for i, x in enumerate(rng.normal(0, 3, 4))]
    frame = EffectTable.build(rows, vcov, df=df, band=np.ones(4, dtype=bool)).frame
    assert (frame["band_low"] <= frame["ci_low"]).all()
    assert (frame["band_high"] >= frame["ci_high"]).all()


def test_a_band_of_t_covers_all_its_estimates() -> None:
    """Two estimates of four degrees of freedom that share their variance: the largest of both, by simulation."""
    rng = np.random.default_rng(1)
    drawn = np.abs(rng.standard_normal((400_000, 2)) / np.sqrt(rng.chisquare(4, (400_000, 1)) / 4))
    nearly = np.array([[1.0, 1e-3], [1e-3, 1.0]])  # correlated, so that they share their clusters
    critical = critical_values(nearly, np.array([4.0, 4.0]))
    assert critical[0] == pytest.approx(np.quantile(drawn.max(axis=1), 0.95), rel=0.02)


def test_estimates_of_too_few_clusters_have_no_standard_error() -> None:
    rows = [{"subgroup": "region", "level": level, "estimate": 1.0} for level in "abc"]
    table = EffectTable.build(rows, np.eye(3), n_clusters=[2, 3, 40])
    frame = table.to_frame()
    assert frame["std_error"].isna().tolist() == [True, False, False]
    np.testing.assert_allclose(frame["ci_high"].to_numpy()[1:], 1 + stats.t([2, 39]).ppf(0.975))
    assert table.meta["notes"] == (
        "a: 2 cluster(s); at least 3 are needed for a standard error",
        "b: standard errors rest on 3 clusters",
    )
    assert table.difference().to_frame()["std_error"].isna().all()  # from a, which has none
    with pytest.raises(DesignError, match="2 cluster"):
        EffectTable.build(rows, np.eye(3), n_clusters=2)


def test_unknown_column_is_named() -> None:
    with pytest.raises(InputError, match="no column 'estimat'"):
        EffectTable.build([{"estimat": 1.0}], np.eye(1))


# ---- the pre-trend test --------------------------------------------------------------------------------------------


def panel(n: int = 60, seed: int = 1) -> pd.DataFrame:
    """Half are trained in 2020, whose outcome moves already in 2019; paths are parallel before."""
    rng = np.random.default_rng(seed)
    unit, year = (grid.ravel() for grid in np.meshgrid(np.arange(n), np.arange(2015, 2023), indexing="ij"))
    trained = unit < n // 2
    earnings = rng.standard_normal(len(unit)) + 20 * (trained & (year >= 2019))
    return pd.DataFrame({"unit": unit, "year": year, "cohort": np.where(trained, 2020, 0), "earnings": earnings})


def test_an_anticipated_effect_is_no_pretrend() -> None:
    m = rte.outcome_moments(panel(), unit="unit", time="year", cohort="cohort", outcome="earnings")
    tests = {a: pretrend_test(m.att_gt(anticipation=a).aggregate("dynamic")).iloc[0] for a in (0, 1)}
    assert tests[0]["p_value"] < 1e-6
    assert tests[1]["p_value"] > 0.01
    assert (tests[0]["df"], tests[1]["df"]) == (4, 3)


def test_a_pretrend_that_says_the_same_twice_counts_once() -> None:
    rows = [{"event_time": e, "estimate": 2.0} for e in (-3, -2)]
    row = pretrend_test(EffectTable.build(rows, np.ones((2, 2)))).iloc[0]
    assert (row["df"], row["statistic"]) == (1, pytest.approx(4.0))


def test_without_a_period_before_there_is_nothing_to_test() -> None:
    assert len(pretrend_test(EffectTable.build([{"event_time": 0, "estimate": 2.0}], np.eye(1)))) == 0
    flat = EffectTable.build([{"event_time": -2, "estimate": 0.0}], np.zeros((1, 1)))
    assert len(pretrend_test(flat)) == 0


def test_the_seed_moves_bands_and_nothing_else() -> None:
    m = rte.outcome_moments(panel(), unit="unit", time="year", cohort="cohort", outcome="earnings")
    one, same, other = (m.att_gt(seed=seed).aggregate("dynamic") for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one.frame, same.frame)
    assert one.meta["seed"] == 1
    assert one.meta["band_critical_value"] != other.meta["band_critical_value"]
    bands = ["band_low", "band_high"]
    pd.testing.assert_frame_equal(one.frame.drop(columns=bands), other.frame.drop(columns=bands))


def test_counts_of_a_difference_are_the_smaller_or_unknown() -> None:
    rows = [
        {"subgroup": "age", "level": level, "estimate": 1.0, "n_treated": n}
        for level, n in (("young", 30), ("old", 12))
    ]
    row = EffectTable.build(rows, np.eye(2)).difference().to_frame().iloc[0]
    assert row["n_treated"] == 12
    assert row["n_control"] is pd.NA


def test_survival_curves_can_be_contrasted() -> None:
    spells = pd.DataFrame(
        {"id": range(6), "quarters": [1, 2, 3] * 2, "cause": [1, 1, 0, 1, 0, 0], "arm": list("aaabbb")}
    )
    gap = rte.Spells(spells, id="id", duration="quarters", cause="cause", by="arm").kaplan_meier().difference()
    assert gap.to_frame()[["time", "level"]].iloc[0].tolist() == [1.0, "b minus a"]
    np.testing.assert_allclose(gap.to_frame()["estimate"], [0, 2 / 3 - 1 / 3, 2 / 3 - 1 / 3])


def test_a_table_shows_its_rows_and_no_empty_column() -> None:
    table = EffectTable.build([{"estimand": "ATT", "estimate": 1.5, "n_treated": 12}], np.array([[0.25]]))
    for shown in (repr(table), table._repr_html_()):
        assert "std_error" in shown
        assert "0.5" in shown
        assert "cohort" not in shown


def test_what_is_zero_by_construction_is_zero() -> None:
    rows = [{"event_time": e, "estimate": b} for e, b in ((-2, 0.3), (-1, -4.12e-18), (0, 1.0))]
    table = EffectTable.build(rows, np.diag([0.01, 0.0, 0.04]))
    assert table.frame["estimate"].tolist() == [0.3, 0.0, 1.0]
    assert not np.signbit(table.frame["estimate"][1])
    exact = EffectTable.build(rows, np.zeros((3, 3)))  # known effects: none has an error
    assert exact.frame["estimate"].tolist() == [0.3, 0.0, 1.0]
    small = EffectTable.build([{"estimate": 3e-18}], np.array([[1e-36]]))  # a small unit is no rounding
    assert small.frame["estimate"].item() == 3e-18
