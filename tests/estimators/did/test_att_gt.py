"""Group-time effects and their averages, against reference implementations, rows and truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datasets
import did_panels
import retrain_eval as rte
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.did import few_clusters
from retrain_eval.estimators.effects.effects import EffectTable

KEY = {"simple": None, "dynamic": "event_time", "group": "cohort", "calendar": "time"}
CONTROL = {"nevertreated": "never_treated", "notyettreated": "not_yet_treated"}


def county_moments(covariates: tuple[str, ...] = ()) -> rte.OutcomeMoments:
    names = {"unit": "countyreal", "time": "year", "cohort": "first_treat", "outcome": "lemp"}
    return rte.outcome_moments(datasets.mpdta(), **names, covariates=covariates)


def pick(frame: pd.DataFrame, aggregation: str, key: str) -> pd.Series:
    column = KEY[aggregation]
    if column is None:
        return frame.iloc[0]
    return frame[frame[column].isna() if key == "overall" else frame[column] == float(key)].iloc[0]


# ---- oracles -------------------------------------------------------------------------------------------------------


@pytest.mark.oracle
def test_county_panel_equals_r_did() -> None:
    """R `did` 2.1.1 prints ten decimals; estimates and standard errors agree to 1e-9.

    With log population as covariate, R 2.1.1 takes the information of the logit one step before it converged, which
    moves standard errors of ipw and dr by up to 2.4e-6 of their size; R 2.5.1 does not, and agrees to 1e-9
    (`test_three_continuous_covariates_equal_r_did`).

    One exception, by name: the standard error of the overall "group" average. There R indexes the cohort of
    the long list of (g, t) where that of the list of cohorts is meant, so every cohort's share gets the first
    cohort's influence. `test_group_overall_equals_rows` shows that ours is the influence function's.
    """
    oracle = pd.read_csv(datasets.ORACLES / "did" / "r_did_mpdta.csv")
    compared = 0
    moments = {"~1": county_moments(), "~lpop": county_moments(("lpop",))}
    for (formula, control, method), block in oracle.groupby(["formula", "control", "method"]):
        covariates = () if formula == "~1" else ("lpop",)
        options = {"control": CONTROL[control], "method": method, "covariates": covariates}
        gt = moments[formula].att_gt(**options, base_period="varying")
        for aggregation, rows in block.groupby("aggregation"):
            frame = gt.aggregate(aggregation).to_frame()
            for row in rows.itertuples():
                ours = pick(frame, aggregation, row.key)
                assert ours["estimate"] == pytest.approx(row.estimate, abs=1e-9), (control, aggregation, row.key)
                compared += 1
                if (aggregation, row.key) != ("group", "overall"):
                    close = pytest.approx(row.std_error, rel=5e-6 if covariates and method != "reg" else 0, abs=1e-9)
                    assert ours["std_error"] == close, (control, aggregation, row.key)
    assert compared == len(oracle) == 216


@pytest.mark.oracle
@pytest.mark.parametrize(
    "case", ["base_dr", "base_ipw", "base_reg", "nyt", "antic1", "universal", "weights", "clusteranalytic"]
)
def test_three_continuous_covariates_equal_r_did(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moments that read the people themselves: R `did` 2.5.1 to 1e-9 where it prints ten decimals."""
    monkeypatch.setattr(few_clusters, "FEW", 0)  # R's sandwich, not the jackknife
    options = {"method": "dr", "base_period": "varying", **did_panels.R_CASES[case]}
    of_moments = {name: options.pop(name) for name in ("weights", "cluster") if name in options}
    names, covariates = did_panels.NAMES, ("x1", "x2", "x3")
    moments = rte.outcome_moments(did_panels.hard_rows(case), **names, covariates=covariates, **of_moments)
    both = did_panels.beside_r_averages(moments.att_gt(**options, covariates=covariates), case)
    assert len(both) >= 12
    for column in ("estimate", "std_error"):
        said = both[f"{column}_peer"].notna()  # the base period has no standard error
        np.testing.assert_allclose(both[column][said], both[f"{column}_peer"][said], rtol=0, atol=1e-9)


@pytest.mark.oracle
def test_county_panel_group_time_effects() -> None:
    """ATT(g, t) as printed by the reference implementations, four decimals."""
    frame = county_moments().att_gt().to_frame().set_index(["cohort", "time"])["estimate"].round(4)
    assert [frame[2004, year] for year in (2004, 2005, 2006, 2007)] == [-0.0105, -0.0704, -0.1373, -0.1008]
    assert (frame[2006, 2006], frame[2007, 2007]) == (-0.0046, -0.0261)


@pytest.mark.oracle
def test_training_grants_equal_the_reference() -> None:
    """Callaway–Sant'Anna on jtrain, log scrap rate; three printed decimals."""
    data = datasets.training_grants()
    m = rte.outcome_moments(
        data[data["lscrap"].notna()], unit="fcode", time="year", cohort="cohort", outcome="lscrap", unbalanced="drop"
    )
    gt = m.att_gt()
    frame = gt.to_frame().set_index(["cohort", "time"])[["estimate", "std_error"]].round(3)
    assert tuple(frame.loc[(1988, 1988)]) == (-0.379, 0.186)
    assert tuple(frame.loc[(1988, 1989)]) == (-0.461, 0.286)
    assert tuple(frame.loc[(1989, 1989)]) == (-0.060, 0.153)
    assert round(gt.aggregate("group").to_frame()["estimate"].iloc[-1], 4) == -0.2959


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("stratum", "expected"),
    [("age_band", {"<25": 410, "≥25": 2842}), ("education", {"no degree": 1294, "degree": 2349})],
)
def test_experiment_by_subgroup(stratum: str, expected: dict[str, int]) -> None:
    """NSW experiment, three-period DiD: 1978 against the mean of 1974 and 1975."""
    m = rte.outcome_moments(datasets.nsw(), unit="person", time="year", cohort="cohort", outcome="earnings", by=stratum)
    frame = m.att_gt().by(stratum).aggregate("dynamic").to_frame().dropna(subset=["event_time"])
    for level, rows in frame.groupby("level"):
        estimate = rows.set_index("event_time")["estimate"]
        assert round(estimate[2] - (estimate[-2] + estimate[-1]) / 2) == expected[level]


# ---- the moments route is the row route ----------------------------------------------------------------------------


def influence_by_rows(data: pd.DataFrame, g: int, t: int, base: int) -> tuple[float, pd.Series]:
    """ATT(g, t) and its influence function, person by person."""
    wide = data.pivot_table(index="id", columns="t", values="y")
    first = data.groupby("id")["g"].first()
    weight = data.groupby("id")["w"].first()
    change = wide[t] - wide[base]
    estimate, psi = 0.0, pd.Series(0.0, index=wide.index)
    for sign, arm in ((1, first == g), (-1, first == 0)):
        share = weight.where(arm, 0) / weight[arm].sum()
        mean = (share * change).sum()
        estimate += sign * mean
        psi += sign * share * (change - mean)
    return float(estimate), psi


def simulate(rng: np.random.Generator, n: int = 120, effect: float = 2.0, shock_sd: float = 1.0) -> pd.DataFrame:
    cohort = rng.choice([0, 3, 4], n, p=[0.5, 0.25, 0.25])
    cohort[:6] = [0, 0, 3, 3, 4, 4]
    frame = pd.DataFrame(
        {"id": np.repeat(np.arange(n), 5), "t": np.tile(np.arange(1, 6), n), "g": np.repeat(cohort, 5)}
    )
    level = rng.normal(0, 1, n) + 0.5 * (cohort > 0)
    frame["w"] = np.repeat(rng.uniform(0.5, 2.0, n), 5)
    frame["school"] = np.repeat(np.arange(n) // 4, 5)
    shock = np.repeat(rng.normal(0, shock_sd, n // 4 + 1)[np.arange(n) // 4], 5)
    treated = (frame["g"] > 0) & (frame["t"] >= frame["g"])
    frame["y"] = (
        level[frame["id"]]
        + 0.3 * frame["t"]
        + effect * treated
        + shock * (frame["t"] > 2)
        + rng.normal(0, 1, len(frame))
    )
    frame["band"] = np.where(frame["id"] % 3 == 0, "a", "b")
    return frame


MOMENTS = {"unit": "id", "time": "t", "cohort": "g", "outcome": "y"}


@given(seed=st.integers(0, 10_000), cluster=st.sampled_from([None, "school"]))
@settings(max_examples=10, deadline=None)
def test_covariance_from_moments_equals_rows(seed: int, cluster: str | None) -> None:
    data = simulate(np.random.default_rng(seed), n=60 if cluster is None else 240)  # 60 schools: not few
    effects = rte.outcome_moments(data, **MOMENTS, weights="w", cluster=cluster).att_gt().to_effects()
    psi = []
    for row in effects.to_frame().itertuples():
        estimate, influence = influence_by_rows(data, int(row.cohort), int(row.time), int(row.cohort) - 1)
        assert row.estimate == pytest.approx(estimate, abs=1e-10)
        psi.append(influence)
    scores = pd.concat(psi, axis=1)
    if cluster:
        scores = scores.groupby(data.groupby("id")[cluster].first()).sum()
    np.testing.assert_allclose(effects.vcov, scores.T @ scores, atol=1e-12)


def test_group_overall_equals_rows() -> None:
    """The overall of aggregate("group") by its influence function, person by person, shares estimated."""
    data = (
        datasets.mpdta()
        .rename(columns={"countyreal": "id", "year": "t", "first_treat": "g", "lemp": "y"})
        .assign(w=1.0)
    )
    first = data.groupby("id")["g"].first()
    cohorts, estimates, psis, shares = [2004, 2006, 2007], [], [], []
    for g in cohorts:
        found = [influence_by_rows(data, g, t, g - 1) for t in range(g, 2008)]
        estimates.append(np.mean([estimate for estimate, _ in found]))
        psis.append(sum(psi for _, psi in found) / len(found))
        shares.append((first == g).sum())
    share = np.array(shares) / sum(shares)
    overall = share @ estimates
    psi = sum(s * p for s, p in zip(share, psis, strict=True))
    # what R computes: the first cohort's indicator in the place of every cohort's
    p, everybody = np.array(shares) / len(first), np.array(shares).sum() / len(first)
    slip = np.column_stack([((first == cohorts[0]) - p_g) / everybody for p_g in p])
    slip -= np.outer(slip.sum(axis=1), p / everybody)
    r_did = psi + slip @ np.array(estimates) / len(first)
    assert np.sqrt((r_did**2).sum()) == pytest.approx(0.0124152736, abs=1e-9)

    psi += sum((first == g) * (e - overall) / sum(shares) for g, e in zip(cohorts, estimates, strict=True))
    row = county_moments().att_gt().aggregate("group").to_frame().iloc[-1]
    assert row["estimate"] == pytest.approx(overall, abs=1e-12)
    assert row["std_error"] == pytest.approx(np.sqrt((psi**2).sum()), abs=1e-12)


def test_levels_pool_to_themselves_and_difference_uses_the_joint_covariance() -> None:
    data = simulate(np.random.default_rng(5))
    m = rte.outcome_moments(data, **MOMENTS, by="band", cluster="school")
    levels = m.att_gt().by("band").aggregate("simple")
    for row in levels.to_frame().itertuples():
        alone = (
            rte.outcome_moments(data[data["band"] == row.level], **MOMENTS, cluster="school")
            .att_gt()
            .aggregate("simple")
        )
        assert row.estimate == pytest.approx(alone.to_frame()["estimate"].item())
        assert row.std_error == pytest.approx(alone.to_frame()["std_error"].item())
    difference = levels.difference().to_frame().iloc[0]
    contrast = np.array([-1.0, 1.0])
    assert difference["level"] == "b minus a"
    assert difference["std_error"] == pytest.approx(np.sqrt(contrast @ levels.vcov @ contrast))
    assert levels.vcov[0, 1] != 0  # schools hold people of both bands


@given(scale=st.floats(0.01, 1e4), shift=st.floats(-1e4, 1e4))
@settings(max_examples=10, deadline=None)
def test_units_of_the_outcome_scale_through(scale: float, shift: float) -> None:
    data = simulate(np.random.default_rng(2), n=60)
    a = rte.outcome_moments(data, **MOMENTS).att_gt().aggregate().to_frame()
    b = rte.outcome_moments(data.assign(y=data["y"] * scale + shift), **MOMENTS).att_gt().aggregate().to_frame()
    np.testing.assert_allclose(
        b[["estimate", "std_error"]], a[["estimate", "std_error"]] * scale, rtol=1e-6, atol=1e-7 * scale
    )


def test_rescaled_weights_change_nothing() -> None:
    data = simulate(np.random.default_rng(3))
    a, b = (
        rte.outcome_moments(data.assign(w=data["w"] * k), **MOMENTS, weights="w").att_gt().aggregate().to_frame()
        for k in (1, 1000)
    )
    pd.testing.assert_frame_equal(a, b, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [None, "school"])
def test_intervals_cover_the_truth(cluster: str | None) -> None:
    """500 draws: 95% intervals cover 93 to 97%, by unit without common shocks and by school with them; bands too."""
    rng = np.random.default_rng(11)
    covered, band = 0, 0
    for _ in range(500):
        data = simulate(rng, n=480, shock_sd=0.0 if cluster is None else 1.0)
        frame = rte.outcome_moments(data, **MOMENTS, cluster=cluster).att_gt().aggregate("dynamic").to_frame()
        overall = frame.iloc[-1]
        covered += overall["ci_low"] <= 2.0 <= overall["ci_high"]
        post = frame[(frame["event_time"] >= 0).fillna(False)]
        band += bool(((post["band_low"] <= 2.0) & (post["band_high"] >= 2.0)).all())
    assert 0.93 <= covered / 500 <= 0.97
    assert band / 500 >= 0.93


# ---- designs -------------------------------------------------------------------------------------------------------


def test_a_missing_wave_shifts_nothing() -> None:
    """With the period before treatment absent, the base is the last one that exists."""
    data = simulate(np.random.default_rng(4))
    data = data[(data["t"] != 2) & (data["g"] != 4)]
    frame = rte.outcome_moments(data, **MOMENTS).att_gt().to_frame().set_index("time")
    assert frame.loc[1, "estimate"] == 0
    assert np.isnan(frame.loc[1, "std_error"])
    assert frame.loc[3, "estimate"] == pytest.approx(influence_by_rows(data.assign(w=1.0), 3, 3, 1)[0])
    assert list(frame["event_time"]) == [-2, 0, 1, 2]


def test_anticipation_moves_the_base_back() -> None:
    data = simulate(np.random.default_rng(4))
    frame = rte.outcome_moments(data, **MOMENTS).att_gt(anticipation=1).to_frame().set_index(["cohort", "time"])
    assert frame.loc[(4, 2), "estimate"] == 0
    assert frame.loc[(4, 5), "estimate"] == pytest.approx(influence_by_rows(data.assign(w=1.0), 4, 5, 2)[0])


def test_cohort_without_a_pre_period_is_left_out_and_said() -> None:
    data = simulate(np.random.default_rng(4))
    data.loc[data["g"] == 4, "g"] = 1
    gt = rte.outcome_moments(data, **MOMENTS).att_gt()
    assert set(gt.rows["cohort"]) == {3}
    assert gt.notes == ("cohort 1 has no period before treatment and is left out",)


def test_a_cohort_after_the_last_period_serves_as_control() -> None:
    data = simulate(np.random.default_rng(4))
    later = data.assign(g=data["g"].replace({4: 9}))
    never = data.assign(g=data["g"].replace({4: 0}))
    a, b = (rte.outcome_moments(d, **MOMENTS).att_gt().aggregate().to_frame() for d in (later, never))
    pd.testing.assert_frame_equal(a, b)


def test_everyone_treated_needs_not_yet_treated() -> None:
    data = simulate(np.random.default_rng(4))
    data = data[data["g"] > 0]
    m = rte.outcome_moments(data, **MOMENTS)
    with pytest.raises(DesignError, match=r"no never-treated controls.*not_yet_treated"):
        m.att_gt()
    gt = m.att_gt(control="not_yet_treated")
    assert set(gt.rows["cohort"]) == {3}
    assert any("no untreated unit is left" in note for note in gt.notes)


def test_nobody_treated() -> None:
    data = simulate(np.random.default_rng(4)).assign(g=0)
    with pytest.raises(DesignError, match="no unit is treated"):
        rte.outcome_moments(data, **MOMENTS).att_gt()


def test_one_treated_unit_has_no_standard_error_and_is_refused() -> None:
    data = simulate(np.random.default_rng(4))
    data = data[(data["g"] == 0) | (data["id"] == 2)]
    with pytest.raises(DesignError, match="cohort 3 has 1 unit"):
        rte.outcome_moments(data, **MOMENTS).att_gt()


def test_one_control_unit_has_no_standard_error_and_is_refused() -> None:
    data = simulate(np.random.default_rng(4))
    data = data[(data["g"] > 0) | (data["id"] == 0)]
    with pytest.raises(DesignError, match="only one untreated unit is left"):
        rte.outcome_moments(data, **MOMENTS).att_gt()


def test_a_level_without_controls_is_left_out_and_said() -> None:
    data = simulate(np.random.default_rng(4))
    data = data[(data["g"] > 0) | (data["band"] == "a")]
    gt = rte.outcome_moments(data, **MOMENTS, by="band").att_gt().by("band")
    assert set(gt.rows["level"]) == {"a"}
    assert any("band = b" in note for note in gt.notes)


def test_all_zero_outcome_gives_zero_without_a_standard_error() -> None:
    frame = (
        rte.outcome_moments(simulate(np.random.default_rng(4)).assign(y=0.0), **MOMENTS).att_gt().aggregate().to_frame()
    )
    assert (frame["estimate"] == 0).all()
    assert frame["std_error"].isna().all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"control": "never"}, "unknown control='never'"),
        ({"method": "ols"}, "unknown method='ols'"),
        ({"base_period": "last"}, "unknown base_period"),
        ({"covariates": ("age",)}, "unknown covariate 'age'"),
        ({"anticipation": -1}, "anticipation"),
    ],
)
def test_unknown_keywords_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        county_moments().att_gt(**options)


def test_unknown_stratum_and_aggregation_are_refused() -> None:
    gt = county_moments().att_gt()
    with pytest.raises(InputError, match="unknown stratum 'age'"):
        gt.by("age")
    with pytest.raises(InputError, match="unknown kind='event'"):
        gt.aggregate("event")
    with pytest.raises(InputError, match="at least two levels"):
        gt.aggregate().difference()


def test_the_band_is_wider_than_the_interval_and_seeded() -> None:
    es: EffectTable = county_moments().att_gt().aggregate()
    frame = es.to_frame().dropna(subset=["band_low"])
    assert (frame["band_low"] < frame["ci_low"]).all()
    assert es.meta["band_critical_value"] == county_moments().att_gt().aggregate().meta["band_critical_value"]
