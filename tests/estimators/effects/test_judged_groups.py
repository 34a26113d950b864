"""Tests of equivalence in the groups of a plan, against scipy; adjusted over groups of which some are withheld."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.groups import adjust_groups, judged_groups


def judged(estimate: float, error: float, n: int = 400, family: int = 1, worth: float = 100.0) -> pd.Series:
    rows = [{"subgroup": "age", "level": "55+", "estimate": estimate, "n_treated": n, "n_control": n}]
    found = judged_groups(EffectTable.build(rows, np.array([[error**2]])), ["55+"], worth, family)
    assert len(found) == 1
    return found.iloc[0]


@pytest.mark.parametrize("estimate", [-40.0, 0.0, 30.0])
def test_equivalence_is_a_90_percent_interval_inside_the_smallest_worthwhile_effect(estimate: float) -> None:
    for error in (30.0, 45.0, 60.0):
        row = judged(estimate, error)
        within = row["ci_low"] > -100 and row["ci_high"] < 100
        assert (row["verdict"] == "equivalent to none") == within


def test_p_values_are_those_of_student_and_welch() -> None:
    row = judged(10.0, 30.0)
    error = 30.0 * np.sqrt(400 / 399)  # variances were divided by n
    np.testing.assert_allclose(row["std_error"], error, rtol=1e-6)
    df = 2 * 399
    lower, upper = stats.t.sf((10 + 100) / error, df), stats.t.sf((100 - 10) / error, df)
    np.testing.assert_allclose(row["p_equivalence"], max(lower, upper), rtol=0.01)
    np.testing.assert_allclose(row["p_effect"], 2 * stats.t.sf(10 / error, df), rtol=0.01)


def test_a_group_that_is_withheld_counts_among_those_that_the_plan_names() -> None:
    rows = pd.DataFrame({
        "family": 3, "p_effect": [0.5, 0.5], "p_worthwhile": 1.0, "p_equivalence": [0.02, 0.024],
        "n_treated": [100, 100], "n_needed": pd.array([None, 500], "Int64")})  # fmt: skip
    assert adjust_groups(rows)["p_holm"].tolist() == pytest.approx([0.06, 0.06])
    assert adjust_groups(rows)["verdict"].unique().tolist() == ["inconclusive"]
    alone = adjust_groups(rows.assign(family=2))
    assert alone["p_holm"].tolist() == pytest.approx([0.04, 0.04])
    assert alone["verdict"].unique().tolist() == ["equivalent to none"]
    assert alone["n_needed"].isna().all()


def test_adjusting_again_changes_nothing() -> None:
    rows = pd.DataFrame({
        "family": 3, "p_effect": [0.001, 0.5], "p_worthwhile": 1.0, "p_equivalence": [0.5, 0.024],
        "n_treated": [100, 100], "n_needed": pd.array([None, 500], "Int64")})  # fmt: skip
    once = adjust_groups(rows)
    pd.testing.assert_frame_equal(adjust_groups(once), once)
    assert adjust_groups(rows.iloc[:0]).empty


def test_people_needed_bring_the_interval_to_the_smallest_worthwhile_effect() -> None:
    row = judged(50.0, 300.0, n=10_000, family=3)
    assert row["verdict"] == "inconclusive"
    half = stats.t.ppf(0.975, 2 * 9_999) * row["std_error"] * np.sqrt(10_000 / row["n_needed"])
    assert half == pytest.approx(100.0, rel=1e-3)


def test_twelve_people_are_no_evidence_of_no_effect() -> None:
    row = judged(0.0, 60.0, n=12, family=3)
    assert row["verdict"] == "inconclusive"
    assert row["n_needed"] > 12


def test_a_group_without_an_effect_is_refused_in_a_sentence() -> None:
    rows = [{"subgroup": "age", "level": "<55", "estimate": 1.0, "n_treated": 9, "n_control": 9}]
    effects = EffectTable.build(rows, np.eye(1))
    with pytest.raises(DesignError, match=r"too few people for an effect in 55\+"):
        judged_groups(effects, ["55+"], 1.0, family=1)
    with pytest.raises(InputError, match="above zero"):
        judged_groups(effects, ["<55"], 0.0, family=1)
