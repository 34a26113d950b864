"""The logit on cells: against statsmodels, at its maximum, and refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from matching_samples import LALONDE, NSW_CPS, lalonde, nsw_cps
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.sample.models.formula import parse_formula
from retrain_eval.sample.models.propensity import Propensity, fit_propensity


def fit_rows(formula: str, data: pd.DataFrame) -> Propensity:
    """Fit on rows: every row its own cell."""
    parsed = parse_formula(formula)
    numbers = data[list(parsed.covariates)].select_dtypes("number").columns
    cells = data.astype(dict.fromkeys(numbers, float))
    return fit_propensity(parsed, cells, data[parsed.treat].to_numpy(dtype=float), np.ones(len(data)))


@pytest.mark.oracle
@pytest.mark.parametrize(("formula", "data"), [(LALONDE, lalonde), (NSW_CPS, nsw_cps)])
def test_equals_statsmodels(formula: str, data: object) -> None:
    """Coefficients to 1e-8 of their size, scores to 1e-10, against statsmodels' Logit run to 1e-14."""
    frame = data()
    fit = fit_rows(formula, frame)
    x = parse_formula(formula).design(frame)[1]
    scale = np.abs(x).max(axis=0)
    reference = sm.Logit(frame["treat"].to_numpy(dtype=float), x / scale).fit(
        method="newton", tol=1e-14, maxiter=200, disp=False
    )
    assert list(fit.coefficients.values()) == pytest.approx(list(reference.params / scale), rel=1e-8)
    assert fit.score == pytest.approx(reference.predict(), abs=1e-10)
    assert fit.mean_score < 1e-10


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_score_equations_hold(seed: int) -> None:
    """At the maximum Σ x (d − p) = 0 for every column, whatever the units of the covariates."""
    rng = np.random.default_rng(seed)
    n = 400
    data = pd.DataFrame({"a": rng.normal(50_000, 20_000, n), "b": rng.integers(0, 3, n).astype(float)})
    data["t"] = (rng.random(n) < 1 / (1 + np.exp(-(data["a"] - 50_000) / 30_000 - 0.5 * (data["b"] - 1)))).astype(int)
    fit = fit_rows("t ~ a + C(b)", data)
    x = parse_formula("t ~ a + C(b)").design(data)[1]
    gap = (data["t"].to_numpy() - fit.score) @ x
    assert np.abs(gap / np.abs(x).sum(axis=0)).max() < 1e-9


def test_cells_equal_rows() -> None:
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"a": rng.integers(0, 4, 500).astype(float), "t": rng.integers(0, 2, 500)})
    grouped = data.groupby("a")["t"].agg(["sum", "count"]).reset_index()
    cells = fit_propensity(
        parse_formula("t ~ a"), grouped, grouped["sum"].to_numpy(float), grouped["count"].to_numpy(float)
    )
    assert cells.coefficients == pytest.approx(fit_rows("t ~ a", data).coefficients, rel=1e-10)


def test_saturated_logit_gives_shares() -> None:
    cells = pd.DataFrame({"g": ["a", "b", "c"]})
    treated, total = np.array([1.0, 5.0, 9.0]), np.array([10.0, 20.0, 12.0])
    assert fit_propensity(parse_formula("t ~ g"), cells, treated, total).score == pytest.approx(treated / total)


def test_aliased_columns_are_left_out_and_named() -> None:
    data = lalonde().assign(twice=lambda d: 2 * d["educ"] + 3, none=7.0)
    full = fit_rows("treat ~ age + educ", data)
    fit = fit_rows("treat ~ age + educ + twice + none + age:none", data)
    assert fit.aliased == ("twice", "none", "age:none")
    assert fit.coefficients == full.coefficients


@pytest.mark.parametrize("covariate", ["x", "I(-x)", "I(x**3)"])
def test_complete_separation_is_refused_by_name(covariate: str) -> None:
    data = pd.DataFrame({"x": np.arange(20.0), "z": np.tile([0.0, 1.0, 2.0, 3.0], 5), "t": np.arange(20) >= 12})
    with pytest.raises(DesignError, match="'x' does not overlap"):
        fit_rows(f"t ~ z + {covariate}", data)


def test_a_level_with_one_arm_only_is_refused_by_name() -> None:
    data = lalonde().assign(region=lambda d: np.where(d["id"] > 600, "north", "south"))
    with pytest.raises(DesignError, match="'region' = 'north' has only controls"):
        fit_rows("treat ~ age + region", data)


def test_separation_by_a_combination_is_refused() -> None:
    grid = np.array([(a, b) for a in range(6) for b in range(6) if a != b], dtype=float)
    data = pd.DataFrame({"a": grid[:, 0], "b": grid[:, 1], "t": (grid[:, 0] > grid[:, 1]).astype(int)})
    with pytest.raises(DesignError, match="a combination of 'a', 'b'"):
        fit_rows("t ~ a + b", data)


def test_strong_but_not_separating_covariate_is_fitted() -> None:
    """One control beyond the treated is enough for a maximum to exist."""
    data = pd.DataFrame({"x": np.arange(40.0), "t": (np.arange(40) >= 20).astype(int)})
    data.loc[35, "t"] = 0
    fit = fit_rows("t ~ x", data)
    assert fit.mean_score < 1e-10
    assert fit.coefficients["x"] > 0


def test_infinite_term_is_refused() -> None:
    with pytest.raises(InputError, match=r"log\(re74\).*not a finite number"):
        fit_rows("treat ~ log(re74)", lalonde())
