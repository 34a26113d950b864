"""Pairs, scores, balance and effects against MatchIt 4.7.2 (see tests/oracles/matching/README.md)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from did_cases import sandwich
from matching_samples import LALONDE, NSW_CPS, lalonde, nsw_cps
from places import TESTS
from retrain_eval import outcome_moments
from retrain_eval.estimators.did.means import mean_difference
from retrain_eval.sample.match import MatchedSample, match

ORACLES = TESTS / "oracles" / "matching"

LALONDE_FILES: dict[str, dict[str, Any]] = {
    "mm47_a": {},
    "mm47_a_smallest": {"m_order": "smallest"},
    "mm47_a_data": {"m_order": "data"},
    "mm47_a_closest": {"m_order": "closest"},
    "mm47_a_farthest": {"m_order": "farthest"},
    "mm47_acal": {"caliper": 0.2},
    "mm47_b": {"replace": True, "ties": "first"},
    "mm47_c": {"exact": ["race"]},
    "mm47_k2": {"ratio": 2},
}
CPS_FILES: dict[str, dict[str, Any]] = {
    "cpsmm_a": {},
    "cpsmm_b": {"replace": True, "ties": "first"},
    "cpsmm_cal": {"caliper": 0.2},
    "cpsmm_ex": {"exact": ["black", "marr"]},
    "cpsmm_ex2": {"exact": ["black", "marr"], "caliper": 0.2, "ratio": 2},
}


def expected_pairs(file: str, data: pd.DataFrame) -> list[tuple[int, int]]:
    """(treated, control) as row numbers, by treated row, controls in the order matched."""
    number = dict(zip(data["name"], data["id"], strict=True))
    rows = pd.read_csv(ORACLES / f"{file}.csv", dtype=str).itertuples(index=False)
    found = [(number[row[0]], number[c]) for row in rows for c in row[1:] if isinstance(c, str)]
    return sorted(found, key=lambda pair: pair[0])


def pairs_of(sample: MatchedSample) -> list[tuple[int, int]]:
    return list(sample.pairs.df()[["treated_id", "control_id"]].itertuples(index=False, name=None))


def effects(sample: MatchedSample, data: pd.DataFrame, vce: str) -> list[tuple[float, float]]:
    """The effect on re78 with its standard error: from the sample, and from the outcome moments of its people.

    R's errors are sandwiches; where sets are few, ours are the jackknife's, alike both ways.
    """
    tables = [sample.att("re78", vce=vce)]
    rows = sample.weights.df().merge(data[["id", "re78"]], on="id").assign(year=1978)
    rows["cohort"] = np.where(rows["treat"] == 1, 1976, 0)
    names = {"unit": "id", "time": "year", "cohort": "cohort", "outcome": "re78", "weights": "weight"}
    if vce in ("CR1", "HC1"):
        cluster = sample.cluster if vce == "CR1" else None
        moments = outcome_moments(rows, **names, cluster=cluster)
        if tables[0].meta.get("variance") == "CV3":
            jackknife = mean_difference(moments, 1978, vce=vce).frame["std_error"].item()
            assert tables.pop().frame["std_error"].item() == pytest.approx(jackknife, rel=1e-9)
        tables.append(mean_difference(sandwich(moments), 1978, vce=vce))
    return [(float(t.frame["estimate"].item()), float(t.frame["std_error"].item())) for t in tables]


@pytest.mark.oracle
@pytest.mark.parametrize("file", LALONDE_FILES)
def test_lalonde_pairs_one_by_one(file: str) -> None:
    assert pairs_of(match(lalonde(), LALONDE, "id", **LALONDE_FILES[file])) == expected_pairs(file, lalonde())


@pytest.mark.oracle
@pytest.mark.parametrize("file", CPS_FILES)
def test_nsw_cps_pairs_one_by_one(file: str) -> None:
    assert pairs_of(match(nsw_cps(), NSW_CPS, "id", **CPS_FILES[file])) == expected_pairs(file, nsw_cps())


@pytest.mark.oracle
def test_every_pair_file_is_compared() -> None:
    assert {path.stem for path in ORACLES.glob("*mm*.csv")} == {*LALONDE_FILES, *CPS_FILES}


# effects and standard errors to the printed digits; mean |SMD| to its five decimals, ESS to its four
TABLE: list[tuple[dict[str, Any], str, int, int, float | None, float | None, float, float]] = [
    ({}, "CR1", 185, 185, None, 0.32278, 894.3675, 705.2298),
    ({"caliper": 0.2}, "CR1", 113, 113, None, 0.06364, 1571.7445, 1010.948),
    ({"replace": True, "ties": "first"}, "HC1", 185, 82, 46.3126, 0.05723, 1991.6153, 928.123),
    ({"replace": True, "ties": "first", "ratio": 3}, "HC1", 185, 153, 67.1517, 0.05251, 1573.7489, 893.470),
    ({"replace": True}, "AI", 185, 88, None, None, 1968.799716, 1085.815563),
    ({"exact": ["race"]}, "CR1", 116, 116, None, 0.19465, 1472.6874, 900.478),
    ({"exact": ["race"], "caliper": 0.2}, "CR1", 113, 113, None, 0.06218, 1499.3882, 1024.534),
    ({"method": "cem"}, "CR1", 65, 75, 41.2898, 0.02064, 1070.9073, 968.774),
    ({"method": "ebal"}, "HC1", 185, 429, 98.4578, 0.0, 1273.261814, 825.733),
    ({"method": "ipw"}, "HC1", 185, 429, 99.8154, None, 1214.071221, 825.397),
    ({"method": "ipw"}, "M", 185, 429, 99.8154, None, 1214.071221, 798.155),
]


@pytest.mark.oracle
@pytest.mark.parametrize(("options", "vce", "treated", "controls", "ess", "smd", "att", "se"), TABLE)
def test_lalonde_table(
    options: dict[str, Any],
    vce: str,
    treated: int,
    controls: int,
    ess: float | None,
    smd: float | None,
    att: float,
    se: float,
) -> None:
    sample = match(lalonde(), LALONDE, "id", **options)
    assert (sample.audit["n_treated_matched"], sample.audit["n_control_matched"]) == (treated, controls)
    if ess is not None or not options.get("replace"):
        assert sample.audit["ess_control"] == pytest.approx(controls if ess is None else ess, abs=5.1e-5)
    covariates = sample.balance().query("covariate != 'distance'")
    assert len(covariates) == 9
    assert covariates["smd_before"].abs().mean() == pytest.approx(0.71559, abs=5.1e-6)
    if smd is not None:
        assert covariates["smd_after"].abs().mean() == pytest.approx(smd, abs=5.1e-6)
    for estimate, std_error in effects(sample, lalonde(), vce):
        printed = {
            1968.799716: 5e-7,
            1273.261814: 5e-7,
            1214.071221: 3e-6,
        }  # the last: R's scores stop short, see below
        assert estimate == pytest.approx(att, abs=printed.get(att, 5.1e-5))
        assert std_error == pytest.approx(se, abs=5e-7 if vce == "AI" else 5.1e-4)


@pytest.mark.oracle
def test_the_standard_error_of_the_design_is_the_default() -> None:
    for options, vce in (
        ({}, "CR1"),
        ({"replace": True}, "AI"),
        ({"method": "cem"}, "CR1"),
        ({"method": "ebal"}, "M"),
        ({"method": "ipw"}, "M"),
    ):
        assert match(lalonde(), LALONDE, "id", **options).att("re78").meta["vce"] == vce


@pytest.mark.oracle
def test_ipw_on_the_scores_of_r() -> None:
    """The printed effect follows from R's own scores to its last digit; ours are at the maximum of the likelihood."""
    data, e = lalonde(), pd.read_csv(ORACLES / "ps.csv")["ps"]
    treated = data["treat"] == 1
    att = data.loc[treated, "re78"].mean() - np.average(data.loc[~treated, "re78"], weights=(e / (1 - e))[~treated])
    assert att == pytest.approx(1214.071221, abs=5e-7)


@pytest.mark.oracle
def test_mean_smd_after_ipw() -> None:
    """Its reference divides 0/1 covariates by their sample deviation too, where MatchIt has √(p(1 − p))."""
    table = match(lalonde(), LALONDE, "id", method="ipw").balance().iloc[1:]
    binary = table["variance_ratio_before"].isna()
    assert binary.sum() == 5
    smd = table["smd_after"].abs() * np.where(binary, np.sqrt(184 / 185), 1.0)
    assert smd.mean() == pytest.approx(0.02912, abs=5.1e-6)


@pytest.mark.oracle
def test_all_ties_with_replacement() -> None:
    """R Matching, ties = TRUE, distance.tolerance = 0."""
    audit = match(lalonde(), LALONDE, "id", replace=True).audit
    assert (audit["n_pairs"], audit["n_control_matched"]) == (210, 88)


@pytest.mark.oracle
def test_coarsened_weights_one_by_one() -> None:
    """Weights and strata of MatchIt, whose strata are numbered otherwise."""
    sample = match(lalonde(), LALONDE, "id", method="cem")
    expected = pd.read_csv(ORACLES / "cem47_w.csv").set_axis(["name", "w", "s"], axis=1)
    ours = lalonde().merge(sample.weights.df()[["id", "weight", "subclass"]], on="id", how="left")
    assert ours["name"].tolist() == expected["name"].tolist()
    assert ours["weight"].fillna(0).to_numpy() == pytest.approx(expected["w"].to_numpy(), abs=1e-12)
    together = pd.DataFrame({"ours": ours["subclass"], "theirs": expected["s"]}).dropna().drop_duplicates()
    assert len(together) == together["ours"].nunique() == together["theirs"].nunique() == 25


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("options", "vce", "treated", "ess", "att", "se"),
    [
        ({}, "CR1", 185, None, 1706.8137, 678.243),
        ({"caliper": 0.2}, "CR1", 183, None, 1684.287, None),
        ({"exact": ["black", "marr"]}, "CR1", 185, None, 1523.072, None),
        ({"method": "ipw"}, "HC1", 185, 416.667, 1180.408, None),
    ],
)
def test_nsw_cps_effects(
    options: dict[str, Any], vce: str, treated: int, ess: float | None, att: float, se: float | None
) -> None:
    """NSW trainees against the CPS-1 pool; earnings are single precision in the data, so 1e-3 dollars."""
    sample = match(nsw_cps(), NSW_CPS, "id", **options)
    assert sample.audit["n_treated_matched"] == treated
    if ess is not None:
        assert sample.audit["ess_control"] == pytest.approx(ess, abs=5.1e-4)
    for estimate, std_error in effects(sample, nsw_cps(), vce):
        assert estimate == pytest.approx(att, abs=1e-3)
        if se is not None:
            assert std_error == pytest.approx(se, abs=1e-3)


@pytest.mark.oracle
def test_balance_rows() -> None:
    """SMD before and after 1:1 matching, as MatchIt's summary prints them, five decimals."""
    expected = {
        "distance": (1.79409, 0.97394),
        "age": (-0.30945, 0.07177),
        "educ": (0.05496, -0.12904),
        "race_black": (1.76154, 1.02586),
        "race_hispan": (-0.34984, -0.66287),
        "race_white": (-1.88187, -0.72957),
        "married": (-0.82631, -0.05521),
        "nodegree": (0.24497, 0.15456),
        "re74": (-0.72108, -0.05045),
        "re75": (-0.29026, -0.02569),
    }
    table = match(lalonde(), LALONDE, "id").balance().set_index("covariate")
    assert list(table.index) == list(expected)
    for covariate, (before, after) in expected.items():
        assert table.loc[covariate, "smd_before"] == pytest.approx(before, abs=5.1e-6), covariate
        assert table.loc[covariate, "smd_after"] == pytest.approx(after, abs=5.1e-6), covariate


@pytest.mark.oracle
def test_scores_and_caliper() -> None:
    """Ours lie at the maximum of the likelihood, where R's scores (3.1e-9 away) are still on their way."""
    sample = match(lalonde(), LALONDE, "id", caliper=0.2)
    fit = sample.audit["propensity"]
    assert isinstance(fit, dict)
    beta = fit["coefficients"]
    assert beta["Intercept"] == pytest.approx(-1.663281595, abs=5e-9)
    assert beta["race[T.hispan]"] == pytest.approx(-2.081734119, abs=5e-9)
    assert sample.audit["caliper_width"] == pytest.approx(0.0580627, abs=5e-8)

    data = lalonde()
    x = np.column_stack(
        [np.ones(len(data)), data["race"] == "hispan", data["race"] == "white"]
        + [data[name] for name in ("age", "educ", "married", "nodegree", "re74", "re75")]
    ).astype(float)
    y, reference = data["treat"].to_numpy(dtype=float), pd.read_csv(ORACLES / "ps.csv")["ps"].to_numpy()
    names = ["Intercept", "race[T.hispan]", "race[T.white]", "age", "educ", "married", "nodegree", "re74", "re75"]
    ours = expit(x @ np.array([beta[name] for name in names]))
    assert np.abs(ours - reference).max() < 5e-9
    assert np.abs(as_r_stops(x, y) - reference).max() < 1e-11
    assert np.abs(x.T @ (y - ours)).max() < 0.01 * np.abs(x.T @ (y - reference)).max()


def as_r_stops(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Scores by R's `glm.fit` recipe: start at (y + ½)/2, stop when the deviance changes by < 1e-8 (|dev| + 0.1)."""
    mu = (y + 0.5) / 2
    eta, deviance = np.log(mu / (1 - mu)), np.inf
    while True:
        w = mu * (1 - mu)
        root = np.sqrt(w)[:, None]
        beta = np.linalg.lstsq(x * root, (eta + (y - mu) / w) * root[:, 0], rcond=None)[0]
        eta = x @ beta
        mu = expit(eta)
        last, deviance = deviance, -2 * np.log(np.where(y == 1, mu, 1 - mu)).sum()
        if abs(deviance - last) / (abs(deviance) + 0.1) < 1e-8:
            return mu
