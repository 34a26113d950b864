"""With few clusters: counted where the estimate is made, refused below three, else CV3 with t(G − 1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import retrain_eval as rte
from further_cases import long_panel, moments, refusal_of, refused, told
from retrain_eval.estimators.did.means import mean_difference
from retrain_eval.estimators.inference.pretrend import pretrend_test

ESTIMATORS: dict[str, Callable[[rte.OutcomeMoments], rte.EffectTable]] = {
    "att_gt simple": lambda m: m.att_gt().aggregate("simple"),
    "att_gt dynamic": lambda m: m.att_gt().aggregate("dynamic"),
    "sun_abraham": lambda m: m.sun_abraham("simple"),
    "etwfe": lambda m: m.etwfe("simple"),
    "imputation": lambda m: m.imputation("simple"),
    "twfe": lambda m: m.twfe(),
    "mean difference": lambda m: mean_difference(m, 3),
}


def panel(clusters: int, seed: int = 1, per: int = 24, periods: int = 4, **columns: object) -> pd.DataFrame:
    """Clusters of whole groups of treated and untreated people, treated in period 3, with shocks of their own."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(clusters), per)
    n = len(cluster)
    cohort = np.where(np.arange(n) % 2, 3, 0)
    paths = rng.normal(size=(n, periods)) + rng.normal(size=(clusters, 2, periods))[cluster, np.arange(n) % 2]
    return long_panel(paths, cohort, cl=cluster, **columns)


def plain(table: rte.EffectTable) -> pd.DataFrame:
    frame = table.to_frame()
    return frame[frame["std_error"].notna()]


def quantile_used(frame: pd.DataFrame) -> np.ndarray:
    return ((frame["ci_high"] - frame["ci_low"]) / 2 / frame["std_error"]).to_numpy(dtype=float)


def cv3(effect: Callable[[np.ndarray], float], cluster: np.ndarray) -> float:
    """Return the smaller of the two cluster jackknives: deviations from the mean of the leave-one-out effects."""
    groups = np.unique(cluster)
    left = np.array([effect(cluster != g) for g in groups])
    return float(np.sqrt((len(groups) - 1) / len(groups) * ((left - left.mean()) ** 2).sum()))


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("clusters", [1, 2])
def test_one_or_two_clusters_are_refused_by_every_estimator(name, clusters):
    m = moments(panel(clusters), cluster="cl")
    refused(lambda: ESTIMATORS[name](m), "cluster")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_five_clusters_take_t_with_four_degrees(name):
    frame = plain(ESTIMATORS[name](moments(panel(5), cluster="cl")))
    assert len(frame)
    assert quantile_used(frame) == pytest.approx(stats.t.ppf(0.975, 4), rel=1e-6)
    t = (frame["estimate"] / frame["std_error"]).abs()
    assert frame["p_value"].to_numpy() == pytest.approx(2 * stats.t.sf(t.to_numpy(dtype=float), 4), rel=1e-6)


@pytest.mark.parametrize(("clusters", "seed"), [(4, 2), (5, 3), (9, 4)])
def test_the_error_of_a_difference_in_differences_is_at_least_the_cluster_jackknife(clusters, seed):
    long = panel(clusters, seed, periods=2).assign(g=lambda d: d["g"].where(d["g"] == 0, 2))
    wide = long.set_index(["id", "t"])["y"].unstack()  # noqa: PD010
    gain = (wide[2] - wide[1]).to_numpy()
    arm = long.groupby("id")["g"].first().to_numpy() > 0
    cluster = long.groupby("id")["cl"].first().to_numpy()

    def effect(keep: np.ndarray) -> float:
        return float(gain[keep & arm].mean() - gain[keep & ~arm].mean())

    found = plain(moments(long, cluster="cl").att_gt().aggregate("simple")).iloc[0]
    assert found["estimate"] == pytest.approx(effect(np.ones(len(gain), dtype=bool)))
    assert found["std_error"] >= cv3(effect, cluster) * (1 - 1e-9)


def test_all_difference_in_differences_of_one_coefficient_have_one_error():
    """With one cohort, two periods and no covariates every estimator is the same difference in differences."""
    long = panel(6, 5, periods=2).assign(g=lambda d: d["g"].where(d["g"] == 0, 2))
    m = moments(long, cluster="cl")
    tables = [m.att_gt().aggregate("simple"), m.sun_abraham("simple"), m.etwfe("simple"), m.imputation("simple")]
    found = np.array(
        [plain(t)[["estimate", "std_error", "ci_low", "ci_high"]].iloc[0].to_numpy(dtype=float) for t in tables]
    )
    assert found == pytest.approx(np.broadcast_to(found[0], found.shape), rel=1e-6)


def test_the_error_of_a_difference_in_means_is_at_least_the_cluster_jackknife():
    long = panel(5, 6, periods=3)
    last = long[long["t"] == 3]
    y, arm, cluster = last["y"].to_numpy(), last["g"].to_numpy() > 0, last["cl"].to_numpy()

    def effect(keep: np.ndarray) -> float:
        return float(y[keep & arm].mean() - y[keep & ~arm].mean())

    found = plain(mean_difference(moments(long, cluster="cl"), 3)).iloc[0]
    assert found["std_error"] >= cv3(effect, cluster) * (1 - 1e-9)


def blank_or_refused(call: Callable[[], rte.EffectTable], level: str) -> None:
    """Assert that a level has no inference at all, or that the call is refused and names clusters."""
    text = refusal_of(call)
    if text is not None:
        assert "cluster" in text
        return
    frame = call().to_frame()
    row = frame[frame["level"] == level]
    assert row[["std_error", "ci_low", "ci_high", "p_value"]].isna().all(axis=None)


def two_places(seed: int = 8) -> pd.DataFrame:
    """40 clusters in all: 38 in one place, 2 in the other."""
    n = 40 * 12
    cluster = np.repeat(np.arange(40), 12)
    return panel(40, seed, per=12, place=np.where(cluster < 38, "city", "island")).assign(n=n)


@pytest.mark.parametrize("name", ["att_gt", "sun_abraham", "imputation", "etwfe", "mean difference"])
def test_clusters_are_counted_within_a_level(name):
    m = moments(two_places(), cluster="cl", by="place")
    calls = {
        "att_gt": lambda: m.att_gt().by("place").aggregate("simple"),
        "sun_abraham": lambda: m.sun_abraham("simple", by="place"),
        "imputation": lambda: m.imputation("simple", by="place"),
        "etwfe": lambda: m.etwfe("simple", by="place"),
        "mean difference": lambda: mean_difference(m, 4, by="place"),
    }
    blank_or_refused(calls[name], "island")


def test_clusters_are_counted_after_subset():
    m = moments(two_places(), cluster="cl", by="place")
    refused(lambda: m.subset(place="island").att_gt().aggregate("simple"), "cluster")
    refused(lambda: m.subset(place="island").twfe(), "cluster")
    assert refusal_of(lambda: m.subset(place="city").att_gt().aggregate("simple")) is None


def test_a_subset_of_five_clusters_is_judged_like_the_same_rows_alone():
    cluster = np.repeat(np.arange(30), 16)
    long = panel(30, 9, per=16, place=np.where(cluster < 5, "a", "b"))
    part = moments(long, cluster="cl", by="place").subset(place="a")
    alone = moments(long[long["place"] == "a"], cluster="cl")
    columns = ["estimate", "std_error", "ci_low", "ci_high", "p_value"]
    one, other = (plain(m.att_gt().aggregate("simple"))[columns].to_numpy(dtype=float) for m in (part, alone))
    assert one == pytest.approx(other, rel=1e-6)
    assert quantile_used(plain(part.att_gt().aggregate("simple"))) == pytest.approx(stats.t.ppf(0.975, 4), rel=1e-6)


def test_results_with_fewer_than_thirty_clusters_say_how_many():
    for clusters in (7, 19):
        m = moments(panel(clusters, 10, per=10), cluster="cl")
        for table in (m.att_gt().aggregate("simple"), m.sun_abraham("simple"), mean_difference(m, 2)):
            # assumed: an entry of meta about clusters that holds the number
            assert told(table.meta, "cluster", clusters)


def test_a_pretrend_test_on_one_or_two_clusters_is_refused():
    for clusters in (1, 2):
        m = moments(panel(clusters, 11), cluster="cl")
        refused(lambda m=m: pretrend_test(m.att_gt().aggregate("dynamic")), "cluster")


def spells(clusters: int, seed: int = 12, n: int = 240) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    cluster = np.arange(n) % clusters
    arm = np.where(rng.random(n) < 0.5, "trained", "control")
    shock = rng.normal(0, 0.4, (clusters, 2))[cluster, (arm == "trained").astype(int)]
    quarters = np.clip(np.ceil(rng.exponential(np.exp(1.2 + shock))), 1, 12)
    return pd.DataFrame(
        {"id": range(n), "arm": arm, "q": quarters, "e": (rng.random(n) < 0.8).astype(int), "cl": cluster}
    )


SURVIVAL: dict[str, Callable[[rte.Spells], rte.EffectTable]] = {
    "survival_difference": lambda s: s.survival_difference(times=(2, 4)),
    "rmst_difference": lambda s: s.rmst_difference(tau=4),
    "cox": lambda s: s.cox("arm"),
    "discrete_hazard": lambda s: s.discrete_hazard("arm"),
    "kaplan_meier": lambda s: s.kaplan_meier(conf_type="plain", times=(2,)),
}


def spells_of(frame: pd.DataFrame, **options: object) -> rte.Spells:
    return rte.Spells(frame, id="id", duration="q", cause="e", by="arm", **options)


@pytest.mark.parametrize("name", SURVIVAL)
@pytest.mark.parametrize("clusters", [1, 2])
def test_one_or_two_clusters_of_spells_are_refused(name, clusters):
    def call() -> rte.EffectTable:
        return SURVIVAL[name](spells_of(spells(clusters), cluster="cl"))

    if name == "kaplan_meier" and refusal_of(call) is None:  # a curve may stand without errors
        assert call().to_frame()[["std_error", "ci_low", "ci_high"]].isna().all(axis=None)
        return
    refused(call, "cluster")


@pytest.mark.parametrize("name", ["survival_difference", "rmst_difference", "cox", "discrete_hazard"])
def test_five_clusters_of_spells_take_t_with_four_degrees(name):
    frame = plain(SURVIVAL[name](spells_of(spells(5), cluster="cl")))
    frame = frame[frame["p_value"].notna()]
    assert len(frame)
    t = (frame["estimate"] / frame["std_error"]).abs().to_numpy(dtype=float)
    assert frame["p_value"].to_numpy() == pytest.approx(2 * stats.t.sf(t, 4), rel=1e-6)


def test_the_error_of_a_survival_difference_is_at_least_the_cluster_jackknife():
    frame = spells(5, 14).assign(e=1)
    cluster, arm, gone = frame["cl"].to_numpy(), frame["arm"].to_numpy() == "trained", frame["q"].to_numpy() > 2

    def effect(keep: np.ndarray) -> float:
        return float(gone[keep & arm].mean() - gone[keep & ~arm].mean())

    found = plain(spells_of(frame, cluster="cl").survival_difference(times=(2,))).iloc[0]
    assert abs(found["estimate"]) == pytest.approx(abs(effect(np.ones(len(frame), dtype=bool))))
    assert found["std_error"] >= cv3(effect, cluster) * (1 - 1e-9)


def test_tests_of_equal_hazards_are_refused_on_two_clusters():
    s = spells_of(spells(2, 15), cluster="cl")
    refused(lambda: s.logrank(robust=True), "cluster")


def test_an_effect_of_two_matched_sets_is_refused():
    people = pd.DataFrame(
        {
            "id": range(8),
            "treat": [1, 1, 0, 0, 0, 0, 0, 0],
            "x": [1.0, 9, 1, 9, 40, 50, 60, 70],
            "y": [3.0, 4, 1, 2, 0, 0, 0, 0],
        }
    )
    sample = rte.match(people, "treat ~ x", unit="id", distance="x", caliper=None)
    refused(lambda: sample.att("y", vce="CR1"), "cluster|pair|set")


def test_the_effect_of_five_matched_sets_has_the_jackknife_of_its_pairs():
    y1, y0 = np.array([5.0, 2, 7, 4, 9]), np.array([4.0, 3, 3, 1, 2])
    people = pd.DataFrame(
        {"id": range(10), "treat": [1] * 5 + [0] * 5, "x": [0.0, 10, 20, 30, 40] * 2, "y": [*y1, *y0]}
    )
    sample = rte.match(people, "treat ~ x", unit="id", distance="x", caliper=None)
    found = plain(sample.att("y", vce="CR1")).iloc[0]
    gaps = y1 - y0
    error = gaps.std(ddof=1) / np.sqrt(5)  # what both jackknives are for a mean of pairs
    assert found["estimate"] == pytest.approx(gaps.mean())
    assert found["std_error"] >= error * (1 - 1e-9)
    assert quantile_used(found.to_frame().T)[0] == pytest.approx(stats.t.ppf(0.975, 4), rel=1e-6)
