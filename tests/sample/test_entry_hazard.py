"""The hazard of entry: against a logit on person-periods written out, at its maximum, and refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import DesignError
from retrain_eval.sample.models import design, entry_hazard
from retrain_eval.sample.models.entry_hazard import AtRisk, EntryHazard, fit_entry_hazard
from retrain_eval.sample.models.formula import parse_formula


def people(n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Covariates, number of durations at risk, and whether the last ends with entry; all durations have entries."""
    rng = np.random.default_rng(seed)
    cells = pd.DataFrame({"a": rng.integers(0, 4, n).astype(float), "g": rng.choice(["p", "q", "r"], n)})
    periods = rng.integers(1, 5, n)
    enters = rng.random(n) < 0.1 + 0.1 * cells["a"].to_numpy()
    periods[:8], enters[:8] = np.tile([1, 2, 3, 4], 2), np.repeat([True, False], 4)
    return cells, periods, enters


def fit(formula: str, cells: pd.DataFrame, periods: np.ndarray, enters: np.ndarray) -> EntryHazard:
    at_risk = AtRisk.build(np.arange(len(cells)), periods, enters, len(cells))
    return fit_entry_hazard(parse_formula(formula), cells, at_risk)


def written_out(cells: pd.DataFrame, periods: np.ndarray, enters: np.ndarray) -> pd.DataFrame:
    rows = cells.loc[np.repeat(np.arange(len(cells)), periods)].reset_index(drop=True)
    rows["d"] = np.concatenate([np.arange(p) for p in periods])
    rows["y"] = (rows["d"] == np.repeat(periods, periods) - 1) & np.repeat(enters, periods)
    return rows


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(3))
def test_equals_a_logit_on_person_periods(seed: int) -> None:
    """statsmodels' Logit with an intercept per duration, to 1e-8."""
    cells, periods, enters = people(500, seed)
    ours = fit("t ~ a + g", cells, periods, enters)
    rows = written_out(cells, periods, enters)
    x = np.column_stack([rows["d"] == d for d in range(4)] + [rows["a"], rows["g"] == "q", rows["g"] == "r"])
    reference = sm.Logit(rows["y"].astype(float), x.astype(float)).fit(method="newton", tol=1e-14, disp=False)
    expected = np.asarray(reference.params)
    assert ours.baseline == pytest.approx(expected[:4], rel=1e-8)
    assert list(ours.coefficients.values()) == pytest.approx(expected[4:], rel=1e-8)
    index = expected[4] * cells["a"] + expected[5] * (cells["g"] == "q") + expected[6] * (cells["g"] == "r")
    assert ours.linear == pytest.approx(index.to_numpy(), abs=1e-8)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_cells_equal_people(seed: int) -> None:
    cells, periods, enters = people(300, seed)
    distinct, cell = cells.drop_duplicates().reset_index(drop=True), cells.groupby(["a", "g"]).ngroup().to_numpy()
    distinct = distinct.sort_values(["a", "g"]).reset_index(drop=True)
    together = fit_entry_hazard(
        parse_formula("t ~ a + g"), distinct, AtRisk.build(cell, periods, enters, len(distinct))
    )
    alone = fit("t ~ a + g", cells, periods, enters)
    assert together.coefficients == pytest.approx(alone.coefficients, rel=1e-9)
    assert together.baseline == pytest.approx(alone.baseline, rel=1e-9)


def test_blocks_and_the_start_on_fewer_people_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cells, periods, enters = people(3000, 7)
    whole = fit("t ~ a + g", cells, periods, enters)
    monkeypatch.setattr(design, "BLOCK", 128)
    monkeypatch.setattr(design, "READ", 256)
    monkeypatch.setattr(entry_hazard, "START_ON_FEWER", 100)
    small = fit("t ~ a + g", cells, periods, enters)
    assert small.coefficients == whole.coefficients
    assert small.linear.tolist() == whole.linear.tolist()
    assert small.iterations < whole.iterations


def test_constant_and_aliased_terms_belong_to_the_durations() -> None:
    cells, periods, enters = people(400, 1)
    cells["seven"], cells["twice"] = 7.0, 2 * cells["a"] + 1
    ours = fit("t ~ a + seven + twice", cells, periods, enters)
    assert ours.aliased == ("seven", "twice")
    assert ours.coefficients == fit("t ~ 0 + a", cells, periods, enters).coefficients


def test_duration_at_which_all_enter_says_nothing_of_covariates() -> None:
    cells, periods, enters = people(400, 2)
    enters = enters | (periods == 4)
    ours = fit("t ~ a", cells, periods, enters)
    assert np.isinf(ours.baseline[3])
    assert ours.coefficients == pytest.approx(
        fit("t ~ a", cells, np.minimum(periods, 3), enters & (periods < 4)).coefficients, rel=1e-10
    )


def test_separation_is_refused_by_name() -> None:
    cells, periods, enters = people(400, 3)
    cells["g"] = np.where(enters, cells["g"], "p")
    periods = np.where(enters, 1, periods)
    with pytest.raises(DesignError, match="'g' = 'q' has only treated units; 'g' = 'r' has only treated units"):
        fit("t ~ a + g", cells, periods, enters)
