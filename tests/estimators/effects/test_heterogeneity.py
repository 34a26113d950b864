"""Subgroup effects judged together: adjusted p-values, equivalence, verdicts; and the figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import retrain_eval as rte
from did_cases import MOMENTS, staggered
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.numerics.joint import holm, joint_test, romano_wolf
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.heterogeneity import equal_effects


def table(estimate: list[float], vcov: np.ndarray, n: int = 10**9, df: float | None = None) -> EffectTable:
    rows = [
        {"subgroup": "age", "level": f"ä{i}", "estimate": value, "n_treated": n, "n_control": 2 * n}
        for i, value in enumerate(estimate)
    ]
    return EffectTable.build(rows, vcov, df=df)


def test_verdicts_say_what_the_tests_say() -> None:
    found = table([3.0, 0.02, 0.6, -2.5], np.diag([0.25, 0.04, 0.25, 0.25])).heterogeneity(1.0)
    levels = found.levels
    assert list(levels["verdict"]) == ["effect", "equivalent to none", "inconclusive", "effect"]
    assert levels["n_needed"].isna().tolist() == [True, True, False, True]
    tost = [max(stats.norm.sf((b + 1) / s), stats.norm.cdf((b - 1) / s))
            for b, s in zip(levels["estimate"], levels["std_error"], strict=True)]  # fmt: skip
    np.testing.assert_allclose(levels["p_equivalence"], holm(np.array(tost)))
    np.testing.assert_allclose(levels["mde"], (1.959964 + 0.841621) * levels["std_error"], rtol=1e-6)
    # as many people as n_needed shrink the standard error so that the smallest worthwhile effect is found
    needed = levels["n_needed"].iloc[2]
    assert (2.49 + 0.8416) * 0.5 * np.sqrt(10**9 / needed) == pytest.approx(1.0, abs=0.01)


def test_a_sign_too_small_to_matter_is_equivalent_to_none() -> None:
    levels = table([0.3, 0.3], np.diag([0.001, 0.001])).heterogeneity(1.0).levels
    assert (levels["p_romano_wolf"] < 1e-4).all()
    assert list(levels["verdict"]) == ["equivalent to none"] * 2


def test_equality_and_differences_use_the_joint_covariance() -> None:
    vcov = np.array([[1.0, 0.8, 0.1], [0.8, 1.0, 0.2], [0.1, 0.2, 2.0]])
    found = table([1.0, 2.0, 4.0], vcov).heterogeneity(0.5)
    assert list(found.differences.frame["level"]) == ["ä1 minus ä0", "ä2 minus ä0", "ä2 minus ä1"]
    assert found.differences.frame["std_error"].iloc[0] == pytest.approx(np.sqrt(2 - 1.6))
    contrast = np.array([[-1, 1, 0], [-1, 0, 1]])
    gap = contrast @ [1.0, 2.0, 4.0]
    statistic = gap @ np.linalg.solve(contrast @ vcov @ contrast.T, gap)
    row = found.equality.iloc[0]
    assert (row["statistic"], row["df"]) == (pytest.approx(statistic), 2)
    assert row["p_value"] == pytest.approx(stats.chi2.sf(statistic, 2))


def test_no_adjusted_p_value_is_below_the_single_one() -> None:
    """Two uncorrelated effects whose variances share four degrees of freedom: the larger against a simulation."""
    levels = table([2.6, 0.1], np.eye(2), df=4.0).heterogeneity(0.5).levels
    single = 2 * stats.t(4).sf(2.6)
    assert levels["p_value"][0] == pytest.approx(single)
    rng = np.random.default_rng(1)
    drawn = np.abs(rng.standard_normal((400_000, 2)) / np.sqrt(rng.chisquare(4, (400_000, 1)) / 4))
    assert levels["p_romano_wolf"][0] == pytest.approx((drawn.max(axis=1) >= 2.6).mean(), abs=0.004)
    assert (levels["p_romano_wolf"] >= levels["p_value"]).all()
    assert levels["verdict"][0] == "inconclusive"


def test_one_sample_is_hotellings_t() -> None:
    """Three correlated estimates of one covariance with G - 1 degrees of freedom: exactly Hotelling's T-squared."""
    rng, rejected = np.random.default_rng(5), 0
    clusters, k = 12, 3
    for _ in range(2_000):
        y = rng.standard_normal((clusters, k)) @ rng.uniform(0.5, 1.5, (k, k))
        vcov = np.cov(y.T) / clusters
        statistic, q, denominator, p_value = joint_test(y.mean(axis=0), vcov, np.full(k, clusters - 1.0))
        assert (q, denominator) == (3, pytest.approx(clusters - k))
        assert p_value == pytest.approx(stats.f(k, clusters - k).sf(statistic * (clusters - k) / ((clusters - 1) * k)))
        rejected += p_value < 0.05
    assert 0.035 <= rejected / 2_000 <= 0.065


def test_too_few_clusters_for_so_many_estimates_are_not_tested() -> None:
    effects = table([float(i) for i in range(6)], 1 + np.eye(6), df=3.0)
    assert len(equal_effects(effects)) == 0
    assert "too few clusters" in effects.heterogeneity(1.0).notes[-1]


@pytest.mark.slow
def test_twenty_small_cells_keep_their_size() -> None:
    """Thirty people in each of twenty levels, no effect in any: the joint test, Holm, and Romano and Wolf at 5%."""
    rng, draws, found = np.random.default_rng(9), 500, np.zeros(3)
    for _ in range(draws):
        y = rng.standard_normal((20, 2, 15)) * rng.uniform(0.5, 2, (20, 1, 1))
        rows = [
            {"subgroup": "trade", "level": str(i), "estimate": b, "n_treated": 15, "n_control": 15}
            for i, b in enumerate(y[:, 0].mean(axis=1) - y[:, 1].mean(axis=1))
        ]
        effects = EffectTable.build(rows, np.diag(y.var(axis=2).sum(axis=1) / 15))  # divided by n, as influence is
        found[0] += equal_effects(effects)["p_value"].item() < 0.05
        p_value, df = effects.frame["p_value"].to_numpy(), np.full(20, 28.0)
        assert (p_value < 1).all()
        t = effects.frame["estimate"] / effects.frame["std_error"] * np.sqrt(14 / 15)
        found[1] += (holm(2 * stats.t(28).sf(np.abs(t))) < 0.05).any()
        found[2] += (romano_wolf(t.to_numpy(), np.eye(20), df, together=False, draws=2_000) < 0.05).any()
    assert (found / draws >= 0.025).all()
    assert (found / draws <= 0.08).all()


def test_holm_is_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    p = np.array([0.001, 0.04, 0.03, 0.2, 0.04])
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1])


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_step_down_p_values(seed: int) -> None:
    """Between the single p-value and Holm's; in the order of |t|; equal to the exact ones where independent."""
    rng = np.random.default_rng(seed)
    root = rng.normal(0, 1, (4, 4))
    for vcov in (root @ root.T, np.diag(rng.uniform(0.5, 2, 4))):
        estimate = rng.normal(0, 2, 4) * np.sqrt(np.diag(vcov))
        single = 2 * stats.norm.sf(np.abs(estimate) / np.sqrt(np.diag(vcov)))
        adjusted = romano_wolf(estimate, vcov, seed=seed)
        assert (adjusted >= single - 1e-12).all()
        assert (adjusted <= holm(single) + 0.01).all()
        assert (np.diff(adjusted[np.argsort(single)]) >= 0).all()
    order = np.argsort(single)
    exact = np.maximum.accumulate([1 - (1 - single[j]) ** (4 - i) for i, j in enumerate(order)])
    np.testing.assert_allclose(adjusted[order], exact, atol=0.01)


def test_familywise_error_and_size_under_no_effect() -> None:
    """300 draws of four correlated levels: any "effect" in 5% of them, equality rejected in 5%."""
    rng = np.random.default_rng(3)
    vcov = 0.4 + 0.6 * np.eye(4)
    root = np.linalg.cholesky(vcov)
    any_effect, rejected = 0, 0
    for _ in range(300):
        estimate = root @ rng.standard_normal(4)
        any_effect += bool((romano_wolf(estimate, vcov, draws=5_000) < 0.05).any())
        gap = estimate[1:] - estimate[0]
        contrast = np.hstack([-np.ones((3, 1)), np.eye(3)])
        rejected += bool(gap @ np.linalg.solve(contrast @ vcov @ contrast.T, gap) > stats.chi2.ppf(0.95, 3))
    assert 0.02 <= any_effect / 300 <= 0.085
    assert 0.02 <= rejected / 300 <= 0.085


def test_from_moments_to_verdicts() -> None:
    """Age groups of one regression, whether the table is one row per level or an event study with overall rows."""
    data = staggered(np.random.default_rng(4), n=400)
    effects = rte.outcome_moments(data, **MOMENTS, by="band").att_gt().by("band")
    simple = effects.aggregate("simple").heterogeneity(0.5)
    assert list(simple.levels["level"]) == ["a", "b"]
    assert list(simple.levels["verdict"]) == ["effect", "effect"]
    assert simple.differences.frame["estimate"].item() == pytest.approx(
        effects.aggregate("simple").difference().frame["estimate"].item()
    )
    assert len(effects.aggregate("dynamic").heterogeneity(0.5).levels) == 2


def test_what_cannot_be_judged_is_refused_or_said() -> None:
    with pytest.raises(InputError, match="above zero"):
        table([1.0, 2.0], np.eye(2)).heterogeneity(0.0)
    with pytest.raises(InputError, match="power lies"):
        table([1.0, 2.0], np.eye(2)).heterogeneity(1.0, power=80)
    with pytest.raises(InputError, match="levels of one subgroup"):
        EffectTable.build([{"estimate": 1.0}], np.eye(1)).heterogeneity(1.0)
    with pytest.raises(DesignError, match="fewer than two levels"):
        table([1.0, 2.0], np.diag([1.0, 0.0])).heterogeneity(1.0)
    data = staggered(np.random.default_rng(4), n=200)
    effects = rte.outcome_moments(data, **MOMENTS, by="band").att_gt().by("band")
    with pytest.raises(InputError, match="several effects for one level"):
        effects.to_effects().heterogeneity(1.0)
    found = table([1.0, 2.0, 5.0], np.diag([1.0, 1.0, 0.0])).heterogeneity(1.0)
    assert found.notes == ("ä2 has no standard error and is not judged",)
    assert table([1.0, 2.0], np.eye(2), df=3.0).heterogeneity(1.0).levels["p_value"][0] == pytest.approx(
        2 * stats.t.sf(1, 3)
    )


@pytest.mark.filterwarnings("ignore")
def test_figures_are_drawn(tmp_path: Path) -> None:
    data = staggered(np.random.default_rng(4), n=200)
    effects = rte.outcome_moments(data, **MOMENTS, by="band").att_gt()
    for name, found in {
        "event study": effects.aggregate("dynamic"),
        "event studies": effects.by("band").aggregate("dynamic"),
        "forest": effects.by("band").aggregate("simple"),
        "cohorts": effects.aggregate("group"),
        "one": effects.aggregate("simple"),
    }.items():
        drawn = found.plot(name)
        drawn.save(tmp_path / "figure.svg", verbose=False)
        assert (tmp_path / "figure.svg").read_text().count("<path") > 5
    assert [type(layer.geom).__name__ for layer in effects.aggregate("dynamic").plot().layers] == [
        "geom_hline", "geom_ribbon", "geom_linerange", "geom_point"
    ]  # fmt: skip
    with pytest.raises(InputError, match="nothing to draw"):
        EffectTable.build([], np.zeros((0, 0))).plot()
