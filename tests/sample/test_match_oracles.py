"""Pairs, scores, balance and effects against MatchIt 4.7.2 (see tests/oracles/matching/README.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from matching_samples import LALONDE, NSW_CPS, lalonde, nsw_cps
from retrain_eval.sample.match import MatchedSample, match

ORACLES = Path(__file__).parents[1] / "oracles" / "matching"

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


def effect(sample: MatchedSample, data: pd.DataFrame, *, clustered: bool) -> tuple[float, float]:
    """Weighted difference in re78, with CR1 by subclass or HC1: `lm(weights=)` with `vcovCL` or `vcovHC`."""
    rows = sample.weights.df().merge(data[["id", "re78"]], on="id")
    x = np.column_stack([np.ones(len(rows)), rows["treat"]]).astype(float)
    w, y = rows["weight"].to_numpy(), rows["re78"].to_numpy(dtype=float)
    bread = np.linalg.inv(x.T @ (x * w[:, None]))
    beta = bread @ (x.T @ (w * y))
    scores = x * (w * (y - x @ beta))[:, None]
    n = len(rows)
    factor = n / (n - 2)
    if clustered:
        scores = pd.DataFrame(scores).groupby(rows["subclass"].to_numpy()).sum().to_numpy()
        factor = len(scores) / (len(scores) - 1) * (n - 1) / (n - 2)
    return float(beta[1]), float(np.sqrt(factor * (bread @ scores.T @ scores @ bread)[1, 1]))


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
TABLE: list[tuple[dict[str, Any], bool, int, int, float | None, float | None, float, float]] = [
    ({}, True, 185, 185, None, 0.32278, 894.3675, 705.2298),
    ({"caliper": 0.2}, True, 113, 113, None, 0.06364, 1571.7445, 1010.948),
    ({"replace": True, "ties": "first"}, False, 185, 82, 46.3126, 0.05723, 1991.6153, 928.123),
    ({"replace": True, "ties": "first", "ratio": 3}, False, 185, 153, 67.1517, 0.05251, 1573.7489, 893.470),
    ({"exact": ["race"]}, True, 116, 116, None, 0.19465, 1472.6874, 900.478),
    ({"exact": ["race"], "caliper": 0.2}, True, 113, 113, None, 0.06218, 1499.3882, 1024.534),
]


@pytest.mark.oracle
@pytest.mark.parametrize(("options", "clustered", "treated", "controls", "ess", "smd", "att", "se"), TABLE)
def test_lalonde_table(
    options: dict[str, Any],
    clustered: bool,
    treated: int,
    controls: int,
    ess: float | None,
    smd: float | None,
    att: float,
    se: float,
) -> None:
    sample = match(lalonde(), LALONDE, "id", **options)
    assert (sample.audit["n_treated_matched"], sample.audit["n_control_matched"]) == (treated, controls)
    assert sample.audit["ess_control"] == pytest.approx(controls if ess is None else ess, abs=5e-5)
    covariates = sample.balance().iloc[1:]
    assert len(covariates) == 9
    assert covariates["smd_before"].abs().mean() == pytest.approx(0.71559, abs=5.1e-6)
    assert covariates["smd_after"].abs().mean() == pytest.approx(smd, abs=5.1e-6)
    estimate, std_error = effect(sample, lalonde(), clustered=clustered)
    assert estimate == pytest.approx(att, abs=5.1e-5)
    assert std_error == pytest.approx(se, abs=5.1e-4)


@pytest.mark.oracle
def test_all_ties_with_replacement() -> None:
    """R Matching, ties = TRUE, distance.tolerance = 0."""
    sample = match(lalonde(), LALONDE, "id", replace=True)
    assert (sample.audit["n_pairs"], sample.audit["n_control_matched"]) == (210, 88)
    assert effect(sample, lalonde(), clustered=False)[0] == pytest.approx(1968.799716, abs=5e-7)


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("options", "treated", "att", "se"),
    [
        ({}, 185, 1706.8137, 678.243),
        ({"caliper": 0.2}, 183, 1684.287, None),
        ({"exact": ["black", "marr"]}, 185, 1523.072, None),
    ],
)
def test_nsw_cps_effects(options: dict[str, Any], treated: int, att: float, se: float | None) -> None:
    """NSW trainees against the CPS-1 pool; earnings are single precision in the data, so 1e-3 dollars."""
    sample = match(nsw_cps(), NSW_CPS, "id", **options)
    assert sample.audit["n_treated_matched"] == treated
    estimate, std_error = effect(sample, nsw_cps(), clustered=True)
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
