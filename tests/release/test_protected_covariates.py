"""Covariate moments leave the agency without a count of few people, nor one that follows by subtraction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from retrain_eval.common.errors import DisclosureError
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.covariates import protect_covariates
from retrain_eval.release.protection.protect import protect
from retrain_eval.release.results import Results
from retrain_eval.sample.balance.covariate_sums import sum_covariates
from retrain_eval.tables.covariates.covariates import (
    APART,
    INSIDE,
    RELEASED,
    CovariateMoments,
    covariate_balance,
)
from retrain_eval.tables.recipe import recipe_of

N = 40


def moments(
    treated: dict[str, list[Any]], control: dict[str, list[Any]], kept: int = N, weight: list[float] | None = None
) -> CovariateMoments:
    """Sum covariates of ``N`` trained, of whom the first ``kept`` find a control, and of ``N`` controls, all used."""
    cells = pd.concat([pd.DataFrame(treated), pd.DataFrame(control)], ignore_index=True)
    first, second = np.arange(N), np.arange(N, 2 * N)
    return sum_covariates(
        cells, np.arange(2 * N), list(treated), None, {"treated": first, "control": second},
        {"treated": (first[:kept], np.ones(kept)), "control": (second, np.array(weight or [1.0] * N))},
    )  # fmt: skip


def numbers(seed: int = 0) -> dict[str, list[Any]]:
    return {"pay": np.random.default_rng(seed).gamma(4, 1000, N).round(2).tolist()}


def shares(ones: int) -> list[float]:
    return [1.0] * ones + [0.0] * (N - ones)


def protected(made: CovariateMoments, **rules: Any) -> tuple[CovariateMoments, list[str]]:
    return protect_covariates("m", made, Release(**rules))


def test_what_stays_inside_stays_inside() -> None:
    safe, record = protected(moments(numbers(), numbers(1)))
    assert list(safe.cells.columns) == list(RELEASED)
    assert not set(safe.cells.columns) & set(INSIDE)
    assert APART not in set(safe.cells["stage"])
    assert record == []


@pytest.mark.parametrize(("ones", "kept"), [(9, False), (31, False), (10, True), (30, True), (0, True), (40, True)])
def test_a_share_needs_the_minimum_with_it_and_without_it(ones: int, kept: bool) -> None:
    made = moments({**numbers(), "rare": shares(ones)}, {**numbers(1), "rare": shares(20)})
    safe, record = protected(made)
    assert ("rare" in set(safe.cells["covariate"])) is kept
    assert safe.withheld == (() if kept else ("rare",))
    assert ("rare" in covariate_balance(safe)["covariate"].tolist()) is kept
    assert bool(record) is not kept


def test_three_values_follow_from_a_sum_and_a_sum_of_squares() -> None:
    few = [0.0] * 20 + [1.0] * 17 + [2.0] * 3
    counts = np.linalg.solve(np.array([[1, 1, 1], [0, 1, 2], [0, 1, 4]]), [40, sum(few), sum(x * x for x in few)])
    assert counts.round(9).tolist() == [20, 17, 3]  # the attack
    safe, _ = protected(moments({"children": few, **numbers()}, {"children": few, **numbers(1)}))
    assert safe.withheld == ("children",)


def test_rare_levels_of_a_text_are_merged_and_their_sums_add() -> None:
    region = ["north"] * 20 + ["south"] * 14 + ["isles"] * 6
    made = moments({"region": region, **numbers()}, {"region": region[::-1], **numbers(1)})
    safe, record = protected(made)
    assert [name for name in safe.cells["covariate"].unique() if "region" in name] == [
        "region_isles + south",
        "region_north",
    ]
    merged = safe.summary("region_isles + south", "treated", "after")
    assert merged is not None
    assert merged.mean == 0.5
    assert record == ["Covariates m: region isles + south merged, because a level had fewer than 10 people."]
    # two levels of which one is rare: nothing is left to compare
    two = ["yes"] * 35 + ["no"] * 5
    safe, _ = protected(moments({"member": two, **numbers()}, {"member": two, **numbers(1)}))
    assert set(safe.cells["column"]) == {"pay"}
    assert len(safe.withheld) == 1


@pytest.mark.parametrize(("kept", "told"), [(40, True), (31, False), (30, True)])
def test_few_without_a_control_do_not_follow_from_two_stages(kept: int, told: bool) -> None:
    made = moments(numbers(), numbers(1), kept=kept)
    safe, record = protected(made)
    stages = set(safe.cells.loc[safe.cells["arm"] == "treated", "stage"])
    assert stages == ({"before", "after"} if told else {"after"})
    row = covariate_balance(safe).iloc[0]
    assert bool(row["mean_treated"] == row["mean_treated_after"]) is (kept == N or not told)
    assert bool(record) is not told


def test_few_with_another_weight_do_not_follow_either() -> None:
    weight = [1.0] * 37 + [2.0] * 3  # three controls serve two trainees each
    made = moments(numbers(), numbers(1), weight=weight)
    plain, weighted = (
        made.cells[(made.cells["arm"] == "control") & (made.cells["stage"] == stage)].iloc[0]
        for stage in ("before", "after")
    )
    three = weighted["sum_wx"] + weighted["sum_w"] * weighted["reference"]
    three -= plain["sum_wx"] + plain["sum_w"] * plain["reference"]
    assert three == pytest.approx(sum(numbers(1)["pay"][-3:]))  # the attack
    safe, _ = protected(made)
    assert set(safe.cells.loc[safe.cells["arm"] == "control", "stage"]) == {"after"}


def test_an_amount_that_few_dominate_is_withheld() -> None:
    rich = [*numbers()["pay"][:-1], 5e6]
    made = moments({"pay": rich}, numbers(1))
    assert protected(made, dominance_share=0.85, p_percent=10.0)[0].withheld == ("pay",)
    assert protected(made)[0].withheld == ()  # the rule is switched off


def test_counts_are_rounded_and_means_stay() -> None:
    made = moments(numbers(), numbers(1), kept=28)
    safe, _ = protected(made, round_counts=5)
    assert safe.cells["people"].tolist() == [40, 30, 40, 40]
    fine, coarse = (of.summary("pay", "treated", "after") for of in (made, safe))
    assert fine is not None
    assert coarse is not None
    assert coarse.mean == pytest.approx(fine.mean, rel=1e-12)
    assert (fine.n, coarse.n) == (28, 30)


def test_where_nothing_can_be_shown_there_is_no_table() -> None:
    made = moments({"rare": shares(3)}, {"rare": shares(20)})
    results = Results(covariates={"m": made})
    results.add_table("balance", covariate_balance(made), recipe=recipe_of(covariate_balance, made))
    safe, record = protect(results, Release())
    assert "balance" not in safe.tables
    assert safe.covariates["m"].withheld == ("rare",)
    assert any(line.startswith("balance: withheld, because the protected tables do not give it") for line in record)


def test_an_arm_of_few_is_refused() -> None:
    with pytest.raises(DisclosureError, match="compare 9 people of group 'treated'"):
        protect(Results(covariates={"m": moments(numbers(), numbers(1), kept=9)}), Release())


def nested(over_50: int, over_55: int) -> dict[str, list[Any]]:
    return {"over_50": shares(over_50), "over_55": shares(over_55)}


@pytest.mark.parametrize(("over_55", "kept"), [(20, True), (19, True), (15, False), (10, False), (30, True)])
def test_few_between_two_shares_of_which_one_holds_the_other_do_not_follow(over_55: int, kept: bool) -> None:
    """Of 20 … 30 over 50 and 10 … 30 over 55, those from 50 to 54 are told by subtraction."""
    over_50 = {20: 20, 19: 29, 15: 20, 10: 15, 30: 30}[over_55]
    made = moments({**numbers(), **nested(over_50, over_55)}, {**numbers(1), **nested(25, 15)})
    safe, record = protected(made)
    assert "over_50" in set(safe.cells["covariate"])
    assert ("over_55" in set(safe.cells["covariate"])) is kept
    assert safe.withheld == (() if kept else ("over_55",))
    assert bool(record) is not kept


def test_two_shares_that_exclude_each_other_do_not_tell_how_few_have_neither(tmp_path: Path) -> None:
    north, south = shares(18), shares(18)[::-1]
    made = moments({**numbers(), "north": north, "south": south}, {**numbers(1), "north": shares(15), "south": south})
    made.to_parquet(tmp_path / "inside.parquet")
    for inside in (made, CovariateMoments.read_parquet(tmp_path / "inside.parquet")):
        safe, _ = protected(inside)  # 40 - 18 - 18 live elsewhere
        assert safe.withheld == ("south",)


def test_shares_that_go_together_freely_are_both_told() -> None:
    rng = np.random.default_rng(5)
    a, b = (rng.permutation(shares(14)).tolist() for _ in range(2))
    safe, record = protected(moments({**numbers(), "a": a, "b": b}, {**numbers(1), "a": b, "b": a}))
    assert {"a", "b"} <= set(safe.cells["covariate"])
    assert record == []
