"""Effects in many cells: verdicts, people needed, and tests of how strata act together, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.numerics.joint import holm
from retrain_eval.estimators.effects.cells import cell_verdicts, interactions
from retrain_eval.estimators.effects.effects import EffectTable

AGE, SEX, SCHOOL = ("<55", "55+"), ("f", "m"), ("low", "high")


def table(effects: dict[tuple[str, ...], float], variance: float = 0.25, n: int = 10**9) -> EffectTable:
    names = ("age", "sex", "school")[: len(next(iter(effects)))]
    rows = [
        {"subgroup": " × ".join(names), "level": " × ".join(cell), "estimate": b, "n_treated": n, "n_control": n}
        for cell, b in effects.items()
    ]
    return EffectTable.build(rows, np.eye(len(rows)) * variance)


def by_age_and_sex(*estimates: float) -> dict[tuple[str, ...], float]:
    return dict(zip(((age, sex) for age in AGE for sex in SEX), estimates, strict=True))


def test_verdicts_are_those_of_tests_adjusted_over_the_cells() -> None:
    estimate, error, worth = np.array([4.0, 1.9, 0.1, -1.9]), np.array([0.5, 0.5, 0.25, 0.5]), 1.0
    rows = table(by_age_and_sex(*estimate)).frame
    found = cell_verdicts(EffectTable.build(rows.to_dict("records"), np.diag(error**2)), worth)
    np.testing.assert_allclose(found["p_holm"], holm(2 * stats.norm.sf(np.abs(estimate) / error)), rtol=1e-5)
    np.testing.assert_allclose(
        found["p_worthwhile"], holm(np.minimum(2 * stats.norm.sf((estimate - worth) / error), 1.0)), rtol=1e-5
    )
    tost = np.maximum(stats.norm.sf((estimate + worth) / error), stats.norm.cdf((estimate - worth) / error))
    np.testing.assert_allclose(found["p_equivalence"], holm(tost), rtol=1e-5)
    assert found["verdict"].tolist() == ["worthwhile", "some effect", "equivalent to none", "some effect"]
    assert found["n_needed"].isna().all()


def test_so_many_people_bring_the_half_width_to_the_smallest_worthwhile_effect() -> None:
    found = cell_verdicts(table(by_age_and_sex(0.5, 0.5, 0.5, 0.5), variance=4.0, n=1_000_000), 1.0)
    assert found["verdict"].unique().tolist() == ["inconclusive"]
    needed = found["n_needed"].iloc[0]
    assert stats.norm.ppf(0.975) * 2.0 * np.sqrt(1_000_000 / needed) == pytest.approx(1.0, abs=1e-5)


def test_where_the_interval_is_narrow_enough_no_more_people_are_needed() -> None:
    """An effect as large as the smallest worthwhile one stays open, however many people there are."""
    found = cell_verdicts(table(by_age_and_sex(1.0, 1.0, 1.0, 1.0), variance=0.2), 1.0)
    assert found["n_needed"].isna().all()


def test_strata_that_add_up_do_not_interact() -> None:
    found = interactions(table(by_age_and_sex(1.0, 3.0, 2.0, 4.0))).set_index("test")
    assert found.loc["no interaction", "statistic"] == pytest.approx(0.0, abs=1e-12)
    # within each sex ages are 1 apart: two independent differences of variance .5
    assert found.loc["no difference by age", "statistic"] == pytest.approx(2 * 1 / 0.5)
    assert found.loc["no difference by sex", "statistic"] == pytest.approx(2 * 4 / 0.5)


def test_an_interaction_of_three_strata_has_the_degrees_of_freedom_that_cells_leave() -> None:
    cells = [(age, sex, school) for age in AGE for sex in SEX for school in SCHOOL]
    found = interactions(table({cell: float(n == 7) for n, cell in enumerate(cells)})).set_index("test")
    assert found["df"].to_dict() == {
        "no interaction": 4, "no difference by age": 4, "no difference by sex": 4, "no difference by school": 4,
    }  # fmt: skip
    # what a sum of terms leaves of a single 1 among eight cells: 1 − 4/8 of its square
    assert found.loc["no interaction", "statistic"] == pytest.approx(0.5 / 0.25)


def test_where_cells_are_missing_a_test_that_has_too_few_is_left_out() -> None:
    effects = by_age_and_sex(1.0, 3.0, 2.0, 4.0)
    del effects["55+", "m"]
    assert interactions(table(effects))["test"].tolist() == ["no difference by age", "no difference by sex"]
    only = {cell: effects[cell] for cell in (("<55", "f"), ("55+", "f"))}
    assert interactions(table(only))["test"].tolist() == ["no difference by age"]


def test_cells_that_share_no_level_give_no_test() -> None:
    effects = by_age_and_sex(1.0, 3.0, 2.0, 4.0)
    diagonal = {cell: effects[cell] for cell in (("<55", "f"), ("55+", "m"))}
    assert len(interactions(table(diagonal))) == 0


@pytest.mark.parametrize("worth", [0.0, -1.0, float("nan")])
def test_the_smallest_worthwhile_effect_is_above_zero(worth: float) -> None:
    with pytest.raises(InputError, match="above zero"):
        cell_verdicts(table(by_age_and_sex(1.0, 1.0, 1.0, 1.0)), worth)


def test_one_cell_is_not_judged() -> None:
    one = table({("<55", "f"): 1.0})
    with pytest.raises(DesignError, match="fewer than two levels"):
        cell_verdicts(one, 1.0)
    with pytest.raises(DesignError, match="fewer than two levels"):
        interactions(one)


def test_levels_of_one_stratum_are_no_cells() -> None:
    rows = [{"subgroup": "age", "level": age, "estimate": 1.0} for age in AGE]
    with pytest.raises(InputError, match="no cells of several strata"):
        interactions(EffectTable.build(rows, np.eye(2)))


def test_people_whose_level_is_not_known_are_not_judged() -> None:
    rows = table(by_age_and_sex(1.0, 3.0, 2.0, 4.0)).frame.to_dict("records")
    rows.append({**rows[0], "level": "(missing) × f", "estimate": 50.0})
    found = cell_verdicts(EffectTable.build(rows, np.eye(5) * 0.25), 1.0)
    assert "(missing) × f" not in set(found["level"])
    assert isinstance(found, pd.DataFrame)
