"""Standard errors from few clusters: the jackknife of every estimator, refusals, and its size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import retrain_eval as rte
from retrain_eval.common.errors import DesignError
from retrain_eval.common.numerics.joint import joint_test
from retrain_eval.estimators.did.lags import treatment_lags
from retrain_eval.estimators.did.means import mean_difference
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.inference.timing import base_moved_back, placebo_starts
from retrain_eval.estimators.rows.regression import event_study_rows, mean_difference_rows
from retrain_eval.estimators.rows.wage_trajectory import wage_trajectory

NAMES = {"unit": "id", "time": "t", "cohort": "g", "outcome": "y", "cluster": "region"}


def panel(n_clusters: int = 7, n: int = 210, seed: int = 4, cohorts: tuple[int, ...] = (0, 3, 4)) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    people = pd.DataFrame({"id": range(n), "region": np.arange(n) % n_clusters, "g": rng.choice(cohorts, n)})
    people["sex"] = rng.choice(["f", "m"], n)
    long = people.merge(pd.DataFrame({"t": range(1, 6)}), how="cross")
    shock = rng.normal(0, 1, (n_clusters, 6))
    return long.assign(y=shock[long["region"], long["t"]] + rng.normal(size=len(long)) + (long["g"] > 0))


ESTIMATORS: dict[str, Callable[[rte.OutcomeMoments], EffectTable]] = {
    "att_gt": lambda m: m.att_gt().to_effects(),
    "dynamic": lambda m: m.att_gt(control="not_yet_treated").aggregate("dynamic"),
    "group": lambda m: m.att_gt().aggregate("group"),
    "covariates": lambda m: m.att_gt(method="dr", covariates=("sex",)).aggregate("calendar"),
    "by": lambda m: m.att_gt().by("sex").aggregate("simple"),
    "sun_abraham": lambda m: m.sun_abraham(),
    "imputation": lambda m: m.imputation(pretrends=1),
    "etwfe": lambda m: m.etwfe("group", by="sex"),
    "twfe": lambda m: m.twfe(),
    "twfe dynamic": lambda m: m.twfe((-2, 1)),
    "means": lambda m: mean_difference(m, 5, by="sex"),
    "lags": lambda m: treatment_lags(m, {"d": 0}, {f"t{t}": t for t in range(2, 6)}),
    "bases": lambda m: base_moved_back(m, (0, 1)),
    "placebo": lambda m: placebo_starts(m, (1,)),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_jackknife_is_the_estimator_on_the_other_clusters(name: str) -> None:
    data = panel()
    whole = ESTIMATORS[name](rte.outcome_moments(data, **NAMES, by="sex"))
    parts = [
        ESTIMATORS[name](rte.outcome_moments(data[data["region"] != region], **NAMES, by="sex")).frame
        for region in range(7)
    ]
    without = np.array([part["estimate"].to_numpy() for part in parts])
    deviation = without - whole.frame["estimate"].to_numpy()
    expected = 6 / 7 * deviation.T @ deviation
    np.testing.assert_allclose(whole.vcov, expected, rtol=1e-7, atol=1e-10)
    assert whole.meta["variance"] == "CV3"
    assert set(whole.df) == {6.0}
    assert "standard errors rest on 7 clusters" in " ".join(whole.meta["notes"])


@pytest.mark.oracle
def test_cv3_equals_pyfixest() -> None:
    """Its CRV3 without factors is the sum of squared changes; MacKinnon, Nielsen and Webb have (G − 1)/G before it."""
    import pyfixest as pf

    data = panel()
    last = data[data["t"] == 5].assign(d=lambda d: (d["g"] > 0).astype(int))
    fit = pf.feols("y ~ d", data=last, vcov={"CRV3": "region"}, ssc=pf.ssc(k_adj=False, G_adj=False))
    ours = mean_difference(rte.outcome_moments(data, **NAMES), 5).frame.iloc[0]
    expected = fit.se()["d"] * np.sqrt(6 / 7)
    np.testing.assert_allclose(ours["std_error"], expected, rtol=1e-8)
    half = expected * stats.t.ppf(0.975, 6)
    np.testing.assert_allclose([ours["ci_low"], ours["ci_high"]], fit.coef()["d"] + np.array([-half, half]), rtol=1e-8)
    rows = mean_difference_rows(last, "y", "d", cluster="region").frame.iloc[0]
    np.testing.assert_allclose(rows[["std_error", "p_value"]].tolist(), ours[["std_error", "p_value"]].tolist())


def test_one_coefficient_has_one_interval() -> None:
    """The issue: `att_gt` and `sun_abraham` gave different intervals for the same coefficient."""
    m = rte.outcome_moments(panel(cohorts=(0, 3)), **NAMES)
    found = [
        e.frame
        for e in (m.att_gt().aggregate("simple"), m.sun_abraham("simple"), m.etwfe("simple", control="never_treated"))
    ]
    for frame in found[1:]:
        for column in ("estimate", "std_error", "ci_low", "ci_high", "p_value"):
            np.testing.assert_allclose(frame[column], found[0][column], rtol=1e-7)


@pytest.mark.parametrize("name", ["att_gt", "by", "sun_abraham", "imputation", "etwfe", "twfe", "means", "lags"])
@pytest.mark.parametrize("n_clusters", [1, 2])
def test_one_or_two_clusters_are_refused(name: str, n_clusters: int) -> None:
    m = rte.outcome_moments(panel(n_clusters), **NAMES, by="sex")
    with pytest.raises(DesignError, match="at least 3 are needed"):
        ESTIMATORS[name](m)


def test_levels_that_are_clusters_are_refused() -> None:
    """The issue: effects by region, clustered by region, had p-values of zero."""
    data = panel()
    m = rte.outcome_moments(data.assign(area=data["region"].astype(str)), **NAMES, by="area")
    for estimate in (lambda: m.att_gt().by("area").aggregate("simple"), lambda: m.sun_abraham("simple", by="area")):
        with pytest.raises(DesignError, match="1 cluster"):
            estimate()
    some = data.assign(area=np.where(data["region"] == 0, "alone", "others"))
    effects = rte.outcome_moments(some, **NAMES, by="area").att_gt().by("area").aggregate("simple")
    frame = effects.frame.set_index("level")
    assert np.isnan(frame.loc["alone", ["std_error", "p_value", "ci_low"]].astype(float)).all()
    assert frame.loc["others", "std_error"] > 0.05
    assert any("alone" in note and "1 cluster" in note for note in effects.meta["notes"])


def test_a_cluster_that_cannot_be_left_out_is_named() -> None:
    data = panel(cohorts=(0,))
    data["g"] = np.where(data["region"] == 2, 3, 0)  # all treated live in one region
    m = rte.outcome_moments(data, **NAMES)
    for estimate in (m.att_gt().to_effects, m.att_gt().aggregate, m.sun_abraham, m.imputation, m.twfe):
        with pytest.raises(DesignError, match="1 of its 7 clusters cannot be left out"):
            estimate()
    data["g"] = np.where(data["region"].isin([3, 4, 5]), 4, data["g"])
    effects = rte.outcome_moments(data, **NAMES).att_gt().aggregate("group")
    frame = effects.frame.set_index("cohort")["std_error"]
    assert np.isnan(frame[3.0])
    assert frame[4.0] > 0
    assert any("cohort 3.0" in note for note in effects.meta["notes"])


@pytest.mark.parametrize("by", [(), ("sex",)])
def test_people_and_cells_agree(by: tuple[str, ...]) -> None:
    data = panel(5, 100)
    cells, people = rte.outcome_moments(data, **NAMES, by="sex").att_gt(), rte.att_gt(data, **NAMES)
    a, b = ((of.by(*by) if by else of).aggregate("dynamic") for of in (cells, people))
    assert b.meta["variance"] == "CV3"
    np.testing.assert_allclose(a.frame["std_error"], b.frame["std_error"], rtol=1e-7)
    assert a.df.tolist() == b.df.tolist()


def test_regressions_on_rows_follow_the_same_rule() -> None:
    data = panel(6, 120, cohorts=(0, 3)).assign(d=lambda d: (d["g"] > 0).astype(int))
    rows = event_study_rows(data, "y", unit="id", time="t", treated="d", cohort=3, reference=2, cluster="region")
    cells = rte.outcome_moments(data, **NAMES).att_gt().aggregate("dynamic").frame
    cells = cells[cells["event_time"].notna()]
    np.testing.assert_allclose(rows.frame["std_error"], cells["std_error"], rtol=1e-7)
    np.testing.assert_allclose(rows.frame["p_value"], cells["p_value"], rtol=1e-6)
    fit = wage_trajectory(
        data.assign(out=1), outcome="y", unit="id", time="t", exit="out", treated="d", degree=1, cluster="region"
    )
    assert fit.meta["variance"] == "CV3"
    assert set(fit.df) == {5.0}
    two = data.assign(region=data["region"] % 2)
    with pytest.raises(DesignError, match="2 cluster"):
        event_study_rows(two, "y", unit="id", time="t", treated="d", cohort=3, reference=2, cluster="region")
    with pytest.raises(DesignError, match="2 cluster"):
        mean_difference_rows(two[two["t"] == 5], "y", "d", cluster="region")


def test_many_clusters_keep_the_sandwich() -> None:
    m = rte.outcome_moments(panel(60, 900), **NAMES)
    effects = m.att_gt().aggregate("simple")
    assert "variance" not in effects.meta
    assert effects.df.tolist() == [59.0]
    assert not effects.meta["notes"]


@pytest.mark.slow
def test_levels_of_few_matched_pairs_keep_their_size() -> None:
    """No sums are kept of many pairs: the sandwich with t(G − 1) rejects a true null in 5% of draws, give or take."""
    rng = np.random.default_rng(6)
    rejected = []
    for _ in range(150):
        pairs = pd.DataFrame({"pair": np.repeat(range(400), 2), "g": [2, 0] * 400, "id": range(800)})
        pairs["band"] = np.repeat(np.arange(400) % 40, 2).astype(str)  # ten pairs each
        long = pairs.merge(pd.DataFrame({"t": [1, 2]}), how="cross")
        long["y"] = rng.normal(size=len(long)) + rng.normal(size=(400, 3))[long["pair"], long["t"]]
        m = rte.outcome_moments(long, **{**NAMES, "cluster": "pair"}, by="band")
        effects = m.att_gt().by("band").aggregate("simple")
        assert set(effects.df) == {9.0}
        rejected.append((effects.frame["p_value"] < 0.05).mean())
    assert 0.03 < np.mean(rejected) < 0.07


def test_clusters_that_are_decimal_numbers_are_left_out_too() -> None:
    data = panel()
    found = [
        rte.att_gt(data.assign(region=data["region"].astype(kind)), **NAMES, covariates=("sex",)).aggregate("simple")
        for kind in (int, float)
    ]
    whole, decimal = (table.frame["std_error"].item() for table in found)
    assert decimal == pytest.approx(whole, rel=1e-12)


def test_clusters_without_an_outcome_do_not_count() -> None:
    last = panel().query("t == 5").assign(d=lambda rows: (rows["g"] > 0).astype(int))
    last["y"] = last["y"].where(last["region"] < 5)
    given = mean_difference_rows(last, "y", "d", cluster="region")
    complete = mean_difference_rows(last[last["region"] < 5], "y", "d", cluster="region")
    pd.testing.assert_frame_equal(given.frame, complete.frame)
    assert given.meta["n_clusters"] == 5


def test_more_contrasts_than_clusters_have_no_joint_test() -> None:
    # the covariance of 11 means over 10 clusters has 9 directions: which ones is an accident of the clusters
    values = np.random.default_rng(1).normal(size=(10, 11))
    *_, p_value = joint_test(values.mean(axis=0), np.cov(values.T) / 10, np.full(11, 9.0))
    assert np.isnan(p_value)
    # contrasts that repeat one another are few all the same
    twice = np.c_[values[:, :1], values[:, :3]]
    statistic, df, _, p_value = joint_test(twice.mean(axis=0), np.cov(twice.T) / 10, np.full(4, 9.0))
    assert (df, 0 < p_value < 1) == (3, True)
    once = values[:, :3]
    assert statistic == pytest.approx(joint_test(once.mean(axis=0), np.cov(once.T) / 10, np.full(3, 9.0))[0])
