"""Adjusted p-values and bands use the law of the intervals: no band inside an interval, no adjusted p below the raw."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import retrain_eval as rte
from further_cases import long_panel, moments
from retrain_eval.estimators.did.means import mean_difference
from retrain_eval.estimators.inference.payback import payback


def levels_table(estimates: list[float], vcov: np.ndarray, df: float | None, n: int = 60) -> rte.EffectTable:
    rows = [
        {"subgroup": "region", "level": f"r{i}", "estimate": b, "n_treated": n, "n_control": n}
        for i, b in enumerate(estimates)
    ]
    return rte.EffectTable.build(rows, vcov, df=df)


def vcov_of(k: int, seed: int, correlation: float = 0.0) -> np.ndarray:
    sd = np.random.default_rng(seed).uniform(0.5, 1.5, k)
    return np.outer(sd, sd) * (np.full((k, k), correlation) + (1 - correlation) * np.eye(k))


TABLES = [
    (df, k, correlation, seed)
    for seed, (df, k, correlation) in enumerate([(2, 2, 0.0), (3, 3, 0.5), (4, 6, 0.9), (7, 4, 0.2), (14, 8, 0.0)])
]


@pytest.mark.parametrize(("df", "k", "correlation", "seed"), TABLES)
def test_no_adjusted_p_value_is_below_the_raw_one(df, k, correlation, seed):
    vcov = vcov_of(k, seed, correlation)
    estimates = np.random.default_rng(seed).uniform(-4, 4, k) * np.sqrt(np.diag(vcov))
    found = levels_table(estimates.tolist(), vcov, df).heterogeneity(0.5).levels
    assert (found["p_romano_wolf"] >= found["p_value"] * (1 - 1e-12)).all()
    assert (found["p_holm"] >= found["p_value"] * (1 - 1e-12)).all()


@pytest.mark.parametrize(("df", "k", "correlation", "seed"), TABLES)
def test_no_band_lies_inside_its_interval(df, k, correlation, seed):
    rows = [{"event_time": e, "estimate": float(e)} for e in range(k)]
    frame = rte.EffectTable.build(rows, vcov_of(k, seed, correlation), df=df, band=np.ones(k, dtype=bool)).to_frame()
    assert (frame["band_low"] <= frame["ci_low"] + 1e-12).all()
    assert (frame["band_high"] >= frame["ci_high"] - 1e-12).all()


@pytest.mark.parametrize("df", [3, 6, 20])
def test_the_band_has_the_critical_value_of_the_multivariate_t(df):
    """Two estimates that are one: max |t| is |t|. Independent ones: by simulation of the multivariate t."""
    rows = [{"event_time": e, "estimate": 0.0} for e in range(2)]
    both = np.ones(2, dtype=bool)
    frame = rte.EffectTable.build(rows, np.ones((2, 2)), df=df, band=both).to_frame()
    assert frame["band_high"].to_numpy() == pytest.approx(stats.t.ppf(0.975, df), rel=0.04)
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(400_000, 2)) / np.sqrt(rng.chisquare(df, (400_000, 1)) / df)
    want = np.quantile(np.abs(draws).max(axis=1), 0.95)
    frame = rte.EffectTable.build(rows, np.eye(2), df=df, band=both).to_frame()
    assert frame["band_high"].to_numpy() == pytest.approx(want, rel=0.04)


@pytest.mark.parametrize(("df", "t"), [(3, 2.9), (4, 2.6), (9, 2.1)])
def test_what_is_not_significant_alone_gets_no_verdict_of_an_effect(df, t):
    """Significant by the normal distribution, not by Student's t."""
    assert 2 * stats.norm.sf(t) < 0.05 < 2 * stats.t.sf(t, df)
    found = levels_table([t, 0.1, -0.2], np.eye(3), df).heterogeneity(0.05).levels
    assert found["verdict"].tolist()[0] == "inconclusive"


@pytest.mark.parametrize(("df", "gap"), [(4, 2.4), (5, -2.2), (11, 2.05)])
def test_equality_of_two_levels_is_the_t_test_of_their_difference(df, gap):
    vcov = np.array([[1.0, 0.3], [0.3, 2.0]])
    error = np.sqrt(1 + 2 - 0.6)
    found = levels_table([0.0, gap * error], vcov, df).heterogeneity(0.5).equality
    want = 2 * stats.t.sf(abs(gap), df)
    assert found["p_value"].item() == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize(("df", "k"), [(9, 3), (14, 5)])
def test_equality_of_several_levels_is_no_surer_than_an_f_test(df, k):
    table = levels_table([1.0 + i for i in range(k)], np.eye(k), df)
    spread = (k**2 - 1) / 12 * k
    found = table.heterogeneity(0.5).equality
    assert found.empty or found["p_value"].item() >= stats.f.sf(spread / (k - 1), k - 1, df) * (1 - 1e-9)


def test_payback_keeps_the_degrees_of_freedom_of_the_event_study():
    rows = [{"event_time": e, "estimate": b} for e, b in enumerate([-1.0, 2.0, 2.5, 3.0])]
    study = rte.EffectTable.build(rows, np.diag([0.2, 0.3, 0.4, 0.5]), df=4)
    frame = payback(study, cost=3.0).to_frame()
    total = frame[frame["estimand"] == "cumulative effect"]
    half = (total["ci_high"] - total["ci_low"]) / 2 / total["std_error"]
    assert half.to_numpy() == pytest.approx(stats.t.ppf(0.975, 4), rel=1e-6)
    assert (total["band_low"] <= total["ci_low"]).all()
    assert (total["band_high"] >= total["ci_high"]).all()


@pytest.mark.parametrize("df", [3, 6])
def test_no_fewer_people_are_needed_with_few_degrees_of_freedom(df):
    table = {d: levels_table([0.3, 0.4], np.diag([0.09, 0.09]), d).heterogeneity(0.5).levels for d in (df, None)}
    assert table[df]["verdict"].eq("inconclusive").all()
    fewer, many = (table[d]["n_needed"].dropna().to_numpy(dtype=float) for d in (df, None))
    assert len(fewer) == len(many) == 2
    # the interval that has to exclude zero is wider, at least by the ratio of the pointwise quantiles
    assert (fewer > many * 1.02).all()


@pytest.mark.parametrize("clusters", [4, 6, 12])
def test_estimates_with_few_clusters_have_bands_no_narrower_than_intervals(clusters):
    rng = np.random.default_rng(clusters)
    n = 96
    cluster = np.arange(n) % clusters
    cohort = np.where(np.arange(n) // clusters % 2, 3, 0)
    paths = rng.normal(size=(n, 5)) + rng.normal(size=(clusters, 5))[cluster]
    m = moments(long_panel(paths, cohort, cl=cluster, sex=np.where(np.arange(n) % 3, "f", "m")), cluster="cl", by="sex")
    whole = m.collapse("sex")
    tables = [
        whole.att_gt().aggregate("dynamic"),
        whole.sun_abraham("dynamic"),
        whole.etwfe("dynamic"),
        whole.imputation("dynamic"),
        whole.twfe(event_window=(-2, 2)),
        m.att_gt().by("sex").aggregate("dynamic"),
    ]
    for table in tables:
        frame = table.to_frame().dropna(subset=["band_low", "ci_low"])
        assert (frame["band_low"] <= frame["ci_low"] + 1e-9).all()
        assert (frame["band_high"] >= frame["ci_high"] - 1e-9).all()


def test_levels_of_a_difference_in_means_are_adjusted_by_their_own_law():
    rng = np.random.default_rng(3)
    n = 160
    frame = long_panel(
        rng.normal(size=(n, 2)) + 0.9,
        np.where(np.arange(n) % 2, 2, 0),
        cl=np.arange(n) // 2 % 5,
        age=rng.choice(list("abc"), n),
    )
    found = mean_difference(moments(frame, cluster="cl", by="age"), 2, by="age").heterogeneity(0.2).levels
    assert isinstance(found, pd.DataFrame)
    assert (found["p_romano_wolf"] >= found["p_value"] * (1 - 1e-12)).all()
