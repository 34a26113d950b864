"""The rule whom to offer which programme: the best tree, its value on the other half, and where people overlap."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.effects.allocation import (
    HALVES,
    PROGRAMMES,
    REGRET,
    RULE,
    compared_programmes,
    policy_leaves,
    policy_value,
)
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.policy_tree import best_tree

AGES = ("<40", "40-54", "55+")
LEVELS = {"age": AGES}
Key = tuple[str, str, str]


def table(
    effects: dict[Key, float], people: dict[Key, int] | None = None, variance: float = 1.0, n: int = 100
) -> EffectTable:
    rows = [
        {"outcome": "earnings", "subgroup": "age × programme_kind × half", "level": " × ".join(key), "estimate": b,
         "n_treated": (people or {}).get(key, n), "n_control": n}
        for key, b in effects.items()
    ]  # fmt: skip
    return EffectTable.build(rows, np.eye(len(rows)) * variance)


def alike(gains: dict[str, tuple[float, float]]) -> dict[Key, float]:
    """Return the effects of retraining and of the alternative by age, the same in both halves."""
    return {
        (age, kind, half): of[a] for age, of in gains.items() for a, kind in enumerate(PROGRAMMES) for half in HALVES
    }


def values(effects: EffectTable, costs: tuple[float, float] = (0.0, 0.0), depth: int = 2) -> dict[str, float]:
    found = policy_value(effects, LEVELS, 1, costs, depth).frame
    return dict(zip(found["level"], found["estimate"], strict=True))


# ---- the tree ----------------------------------------------------------------------------------------------------


def every_tree(gains: np.ndarray, place: np.ndarray, sizes: list[int], cells: np.ndarray, depth: int) -> float:
    """Return the largest sum of gains by plain recursion over every cut of every covariate."""
    best = float(np.max(gains[cells].sum(axis=0)))
    if depth == 0:
        return best
    for covariate, size in enumerate(sizes):
        for cut in range(1, size):
            low = cells[place[cells, covariate] < cut]
            high = cells[place[cells, covariate] >= cut]
            if len(low) and len(high):
                parts = (every_tree(gains, place, sizes, side, depth - 1) for side in (low, high))
                best = max(best, sum(parts))
    return best


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_tree_is_the_best_of_all(depth: int) -> None:
    rng = np.random.default_rng(1)
    sizes = [3, 4, 2]
    place = np.array(list(product(*map(range, sizes))))
    for _ in range(10):
        gains = rng.normal(size=(len(place), 3))
        tree = best_tree(gains, place, sizes, depth)
        assert tree.gain == pytest.approx(every_tree(gains, place, sizes, np.arange(len(place)), depth))
        actions = tree.actions(len(place))
        assert gains[np.arange(len(place)), actions].sum() == pytest.approx(tree.gain)
        assert sorted(np.concatenate([leaf.cells for leaf in tree.leaves])) == list(range(len(place)))
        assert len(tree.leaves) <= 2**depth


def test_of_equally_good_trees_the_one_with_the_fewest_leaves_is_taken() -> None:
    gains = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    assert len(best_tree(gains, np.array([[0], [1], [2]]), [3]).leaves) == 1


def test_a_programme_that_is_not_known_in_a_cell_is_given_to_no_leaf_with_it() -> None:
    gains = np.array([[0.0, 5.0], [0.0, np.nan]])
    tree = best_tree(gains, np.array([[0], [1]]), [2])
    assert tree.actions(2).tolist() == [1, 0]
    assert best_tree(gains, np.array([[0], [1]]), [2], depth=0).actions(2).tolist() == [0, 0]


# ---- the value ---------------------------------------------------------------------------------------------------


def test_where_both_halves_agree_the_value_is_that_of_the_best_programmes() -> None:
    effects = alike({"<40": (30.0, 10.0), "40-54": (20.0, 10.0), "55+": (0.0, 12.0)})
    found = values(table(effects))
    assert found[RULE] == pytest.approx((30 + 20 + 12) / 3)
    assert found["retraining for all"] == pytest.approx(50 / 3)
    assert found["alternative for all"] == pytest.approx(32 / 3)
    assert found["rule compared with one choice for all"] == pytest.approx(12 / 3)
    assert found[REGRET] == pytest.approx(0.0)


def test_costs_decide_who_is_offered_nothing() -> None:
    effects = table(alike({"<40": (30.0, 10.0), "40-54": (20.0, 10.0), "55+": (0.0, 12.0)}))
    leaves = policy_leaves(effects, LEVELS, 1, (5.0, 15.0))
    first = leaves[leaves["half"] == "first"]
    assert [json.loads(rule)["age"] for rule in first["rule"]] == [["<40", "40-54"], ["55+"]]
    assert first["action"].tolist() == ["retraining", "no programme"]
    assert first["gain_retraining"].tolist() == pytest.approx([20.0, -5.0])
    assert first["n"].tolist() == [800, 400]
    assert values(effects, (5.0, 15.0))[RULE] == pytest.approx(40 / 3)


def test_a_rule_is_valued_on_the_half_that_did_not_choose_it() -> None:
    """The first half says retraining for all, the second nothing: each is valued by the other."""
    effects = {
        (age, kind, half): gain
        for age in AGES
        for kind, half, gain in (
            ("retraining", "first", 10.0), ("retraining", "second", -4.0),
            ("alternative", "first", -1.0), ("alternative", "second", -1.0))
    }  # fmt: skip
    found = values(table(effects))
    assert found[RULE] == pytest.approx((0.0 - 4.0) / 2)
    assert found[REGRET] == pytest.approx((10.0 + 0.0) / 2 - (-2.0))


def test_shares_of_cells_weight_the_value() -> None:
    effects = alike({"<40": (30.0, 0.0), "55+": (10.0, 0.0)})
    people = {key: 300 if key[0] == "<40" else 100 for key in effects}
    assert values(table(effects, people))[RULE] == pytest.approx(25.0)


def test_the_interval_adds_the_error_of_effects_and_of_shares() -> None:
    """Two cells of half of the people each, and so many people that their shares are known."""
    effects = alike({"<40": (30.0, 0.0), "55+": (10.0, 0.0)})
    rows = policy_value(table(effects, variance=4.0, n=10**8), LEVELS, 1, (0.0, 0.0)).frame.set_index("level")
    one_half = 0.5**2 * 2 * 0.5**2 * 4.0  # ½ of the mean over two cells, each with a variance of 4
    assert rows.loc["retraining for all", "std_error"] ** 2 == pytest.approx(2 * one_half, rel=1e-3)
    # the rule of one half follows the errors on which that of the other is valued: correlated by 0.4
    assert rows.loc[RULE, "std_error"] ** 2 == pytest.approx(2 * one_half + 2 * 0.4 * one_half, rel=1e-3)


def test_a_cell_in_one_half_only_is_left_out() -> None:
    effects = alike({"<40": (30.0, 10.0), "55+": (0.0, 12.0)})
    for kind in PROGRAMMES:
        del effects["55+", kind, "second"]
    found = policy_value(table(effects), LEVELS, 1, (0.0, 0.0)).frame.set_index("level")
    assert found.loc[RULE, "estimate"] == pytest.approx(30.0)
    assert found.loc[RULE, "n_treated"] == 400
    for kind in PROGRAMMES:
        del effects["<40", kind, "second"]
    with pytest.raises(DesignError, match="no rule can be valued"):
        policy_value(table(effects), LEVELS, 1, (0.0, 0.0))


def test_without_an_alternative_the_rule_chooses_between_retraining_and_nothing() -> None:
    effects = {key: b for key, b in alike({"<40": (30.0, 0.0), "55+": (-8.0, 0.0)}).items() if key[1] == "retraining"}
    found = values(table(effects))
    assert "alternative for all" not in found
    assert found[RULE] == pytest.approx(15.0)
    leaves = policy_leaves(table(effects), LEVELS, 1, (0.0, 0.0))
    assert leaves["gain_alternative"].isna().all()


def test_one_level_leaves_nothing_to_split_by() -> None:
    effects = table(alike({"<40": (30.0, 10.0)}))
    leaves = policy_leaves(effects, {"age": ("<40",)}, 1, (0.0, 0.0))
    assert leaves["rule"].tolist() == ["{}", "{}"]


def test_a_table_by_something_else_or_an_unknown_level_is_refused() -> None:
    effects = table(alike({"<40": (30.0, 10.0), "55+": (0.0, 12.0)}))
    with pytest.raises(InputError, match="no effects to choose a rule by"):
        policy_value(effects, {"school": ("low", "high")}, 1, (0.0, 0.0))
    with pytest.raises(InputError, match="not registered"):
        policy_value(effects, {"age": ("<40", "40-54")}, 1, (0.0, 0.0))


# ---- the alternative ---------------------------------------------------------------------------------------------


def by_age_and_school(effects: dict[tuple[str, str, str], float], n: dict[tuple[str, str, str], int]) -> EffectTable:
    rows = [
        {"outcome": "earnings", "subgroup": "age × school × programme_kind × half",
         "level": f"{age} × {school} × {kind} × {half}", "estimate": b, "n_treated": n[age, school, kind],
         "n_control": 50}
        for (age, school, kind), b in effects.items() for half in HALVES
    ]  # fmt: skip
    return EffectTable.build(rows, np.eye(len(rows)))


def test_programmes_are_compared_on_one_mix_of_people() -> None:
    """Retraining takes the schooled and the alternative the others: each effect is a mean over both."""
    effects = {("55+", "low", "retraining"): 0.0, ("55+", "high", "retraining"): 8.0,
               ("55+", "low", "alternative"): 4.0, ("55+", "high", "alternative"): 12.0}  # fmt: skip
    n = {("55+", "low", "retraining"): 10, ("55+", "high", "retraining"): 30,
         ("55+", "low", "alternative"): 50, ("55+", "high", "alternative"): 10}  # fmt: skip
    found = compared_programmes(by_age_and_school(effects, n), "age", "55+", 0.8).frame.set_index("estimand")
    assert found["estimate"].to_dict() == pytest.approx({"retraining": 3.2, "alternative": 7.2, "difference": 4.0})
    variance = 2 * (0.3**2 + 0.2**2)  # of each programme: both halves of both cells
    assert found.loc["difference", "std_error"] == pytest.approx(np.sqrt(2 * variance), rel=0.05)


def test_where_too_few_people_overlap_there_is_no_comparison() -> None:
    effects = {("55+", "low", "retraining"): 0.0, ("55+", "high", "alternative"): 12.0,
               ("55+", "low", "alternative"): 4.0}  # fmt: skip
    n = {("55+", "low", "retraining"): 40, ("55+", "high", "alternative"): 30, ("55+", "low", "alternative"): 30}
    table = by_age_and_school(effects, n)
    found = compared_programmes(table, "age", "55+", 0.7).frame.set_index("estimand")
    assert found.loc["difference", "estimate"] == pytest.approx(4.0)
    for stratum, level, least in (("age", "55+", 0.71), ("age", "<40", 0.1), ("school", "high", 0.1)):
        with pytest.raises(DesignError, match="no comparison for"):
            compared_programmes(table, stratum, level, least)
    with pytest.raises(InputError, match="not by programme within this stratum"):
        compared_programmes(table, "sex", "f", 0.5)
