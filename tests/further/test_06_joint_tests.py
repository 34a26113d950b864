"""Joint tests keep their size where clusters are few or cells small, or are not given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import retrain_eval as rte
from further_cases import long_panel, moments
from retrain_eval.common.errors import RetrainEvalError
from retrain_eval.estimators.effects.heterogeneity import equal_effects
from retrain_eval.estimators.inference.pretrend import pretrend_test


def p_of(call) -> float | None:
    """Return the p-value, or None where no test is given: refused, no row, or missing."""
    try:
        found = call()
    except RetrainEvalError:
        return None
    p = found["p_value"].dropna()
    return float(p.iloc[0]) if len(p) else None


@pytest.mark.parametrize(("df", "b", "se"), [(4, 2.5, 1.0), (9, -1.1, 0.5), (2, 6.0, 1.5)])
def test_one_period_before_is_tested_as_its_own_estimate(df, b, se):
    rows = [{"event_time": -2, "estimate": b}, {"event_time": -1, "estimate": 0.0}, {"event_time": 0, "estimate": 1.0}]
    study = rte.EffectTable.build(rows, np.diag([se**2, 0, 1.0]), df=df)
    p = p_of(lambda: pretrend_test(study))
    assert p is None or p == pytest.approx(2 * stats.t.sf(abs(b) / se, df), rel=1e-6)


@pytest.mark.parametrize(("df", "periods"), [(4, 4), (4, 7), (9, 12)])
def test_as_many_periods_as_degrees_of_freedom_give_no_test(df, periods):
    """The covariance of q estimates from G clusters has no inverse unless q < G."""
    rows = [{"event_time": -2 - i, "estimate": 0.5} for i in range(periods)]
    rows += [{"event_time": -1, "estimate": 0.0}, {"event_time": 0, "estimate": 1.0}]
    study = rte.EffectTable.build(rows, np.diag([1.0] * periods + [0.0, 1.0]), df=df)
    p = p_of(lambda: pretrend_test(study))
    assert p is None or p > 0.3  # statistic periods / 4: nothing to reject


@pytest.mark.parametrize(("df", "q", "t2"), [(9, 3, 12.0), (14, 6, 20.0)])
def test_several_periods_are_tested_no_more_surely_than_by_f(df, q, t2):
    b = np.sqrt(t2 / q)
    rows = [{"event_time": -2 - i, "estimate": b} for i in range(q)] + [{"event_time": -1, "estimate": 0.0}]
    rows += [{"event_time": 0, "estimate": 1.0}]
    study = rte.EffectTable.build(rows, np.diag([1.0] * q + [0.0, 1.0]), df=df)
    p = p_of(lambda: pretrend_test(study))
    hotelling = stats.f.sf((df - q + 1) / (df * q) * t2, q, df - q + 1)
    plain = stats.f.sf(t2 / q, q, df)
    assert p is None or min(plain, hotelling) * (1 - 1e-9) <= p <= max(plain, hotelling) * (1 + 1e-9)


def draw(rng: np.random.Generator, clusters: int, before: int, n: int, levels: int = 1) -> pd.DataFrame:
    cluster = rng.integers(0, clusters, n)
    cohort = np.where(rng.random(n) < 0.4, before + 2, 0)
    periods = before + 3
    paths = (
        rng.normal(size=(n, 1))
        + rng.normal(size=(n, periods))
        + 0.5 * rng.normal(size=(clusters, 2, periods))[cluster, (cohort > 0).astype(int)]
    )
    return long_panel(paths, cohort, cl=cluster, level=[f"l{i}" for i in rng.integers(0, levels, n)])


@pytest.mark.slow
@pytest.mark.parametrize(("clusters", "before"), [(6, 3), (12, 8)])
def test_a_true_null_of_equal_trends_is_not_rejected_too_often(clusters, before):
    rng = np.random.default_rng(clusters)
    found = []
    for _ in range(15):
        m = moments(draw(rng, clusters, before, 160), cluster="cl")
        found.append(p_of(lambda m=m: pretrend_test(m.att_gt().aggregate("dynamic"))))
    rejected = sum(p is not None and p < 0.05 for p in found)
    assert rejected <= 3  # of 15; more has a chance below one in 150 at a size of .05


@pytest.mark.parametrize(("clusters", "levels"), [(10, 6)])
def test_a_true_null_of_equal_effects_is_not_rejected_too_often_with_few_clusters(clusters, levels):
    rng = np.random.default_rng(100 + clusters)
    rejected = 0
    for _ in range(15):
        m = moments(draw(rng, clusters, 1, 60 * levels, levels), cluster="cl", by="level")
        p = p_of(lambda m=m: equal_effects(m.att_gt().by("level").aggregate("simple")))
        rejected += p is not None and p < 0.05
    assert rejected <= 3


def small_cells(seed: int, draws: int, levels: int, people: int) -> pd.DataFrame:
    """Levels of a few people each, two in five of them treated in period 2; no effect anywhere."""
    rng = np.random.default_rng(seed)
    n = draws * levels * people
    cohort = np.where(np.arange(n) % people < people * 2 // 5, 2, 0)
    number = np.arange(n) // people
    level = [f"r{i % levels:02d}" for i in number]
    return long_panel(rng.normal(size=(n, 2)), cohort, level=level, draw=[f"d{i}" for i in number // levels])


def test_a_true_null_over_many_small_cells_is_not_rejected_too_often():
    """15 levels of ten people each, independent: the Wald test by χ² rejects several times too often."""
    every = moments(small_cells(6, 30, 15, 10), by=("draw", "level"))
    rejected = 0
    for number in range(30):
        m = every.subset(draw=f"d{number}").collapse("draw")
        p = p_of(lambda m=m: equal_effects(m.att_gt().by("level").aggregate("simple")))
        rejected += p is not None and p < 0.05
    assert rejected <= 5  # of 30; more has a chance below one in 300 at a size of .05


@pytest.mark.parametrize(("seed", "people"), [(16, 10), (17, 15), (18, 20)])
def test_adjusted_p_values_of_small_cells_are_not_far_below_those_of_welch(seed, people):
    """Effects of two standard deviations: the tails of the normal distribution are far below those of Student's t."""
    long = small_cells(seed, 1, 12, people)
    long["y"] += 2.5 * ((long["g"] > 0) & (long["t"] == 2))
    wide = long.set_index(["id", "t"])["y"].unstack()  # noqa: PD010
    unit = long.groupby("id")[["g", "level"]].first().assign(gain=wide[2] - wide[1])
    try:
        table = moments(long, by="level").att_gt().by("level").aggregate("simple")
        found = table.heterogeneity(0.5).levels.set_index("level")
    except RetrainEvalError:
        return
    raw = {}
    for level, group in unit.groupby("level"):
        arms = [group.loc[group["g"] > 0, "gain"], group.loc[group["g"] == 0, "gain"]]
        raw[level] = stats.ttest_ind(*arms, equal_var=False).pvalue
    p = pd.Series(raw).sort_values()
    holm = pd.Series(np.minimum(np.maximum.accumulate(p.to_numpy() * np.arange(len(p), 0, -1)), 1), p.index)
    small = holm[holm < 0.2]
    assert len(small) > 2
    judged = found.reindex(small.index)["p_holm"].dropna()
    assert (judged >= 0.3 * small.loc[judged.index]).all()


@pytest.mark.parametrize("clusters", [3, 4])
def test_too_few_clusters_for_the_levels_give_no_test_of_equality(clusters):
    rng = np.random.default_rng(26)
    m = moments(draw(rng, clusters, 1, 600, 5), cluster="cl", by="level")
    assert p_of(lambda: equal_effects(m.att_gt().by("level").aggregate("simple"))) is None


def test_a_test_from_clusters_agrees_with_hotelling_by_hand():
    """Means of clusters are drawn from one normal distribution: T² by hand, from the leave-one-out estimates."""
    rng = np.random.default_rng(36)
    clusters, per = 12, 20
    cluster = np.repeat(np.arange(clusters), per)
    cohort = np.where(np.arange(clusters * per) % 2, 4, 0)
    paths = (
        rng.normal(size=(clusters * per, 4))
        + 0.6 * rng.normal(size=(clusters, 2, 4))[cluster, np.arange(clusters * per) % 2]
    )
    long = long_panel(paths, cohort, cl=cluster)
    p = p_of(lambda: pretrend_test(moments(long, cluster="cl").att_gt().aggregate("dynamic")))
    # one row per cluster: differences between its arms of the paths before, less the last period before (3)
    gaps = np.array(
        [
            [
                paths[(cluster == c) & (cohort > 0), t].mean() - paths[(cluster == c) & (cohort == 0), t].mean()
                for t in range(3)
            ]
            for c in range(clusters)
        ]
    )
    z = gaps[:, :2] - gaps[:, [2]]
    mean = z.mean(axis=0)
    t2 = clusters * mean @ np.linalg.solve(np.cov(z.T), mean)
    q, df = 2, clusters - 1
    want = stats.f.sf((df - q + 1) / (df * q) * t2, q, df - q + 1)
    assert p is None or p == pytest.approx(want, rel=0.15)
