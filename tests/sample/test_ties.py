"""What ties matter: counted, and the effect computed as if people had had other identifiers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from keyed_rows import keyed
from retrain_eval.common.errors import DesignError, DisclosureError, InputError
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.statistics import protect_statistic
from retrain_eval.sample.match import match
from retrain_eval.sample.relabelled import relabelled
from retrain_eval.sample.ties import count_ties, effects_relabelled, moved, ties_table
from retrain_eval.tables.noise.changes import Changes
from retrain_eval.tables.noise.register import Register
from retrain_eval.tables.statistics import Ties

OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"m_order": "data"},
    {"m_order": "closest", "caliper": 0.3},
    {"ratio": 2, "exact": "region"},
    {"replace": True, "ties": "first"},
    {"replace": True},
    {"discard": "both", "m_order": "smallest"},
    {"distance": "mahalanobis"},
)


def people(n: int = 120) -> pd.DataFrame:
    """Few ages, so that many people have the same score."""
    rng = np.random.default_rng(5)
    age = rng.integers(20, 26, n)
    treat = (rng.random(n) < 0.15 + 0.03 * (age - 20)).astype(int)
    return pd.DataFrame(
        {
            "id": np.arange(n), "treat": treat, "age": age, "female": rng.integers(0, 2, n),
            "region": rng.choice(["n", "s"], n), "pay": rng.normal(100, 20, n).round(2),
        }
    )  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_effects_are_those_of_people_with_other_identifiers(options: dict[str, Any]) -> None:
    """The long way: give people new ids, match them again, and take the difference of weighted means."""
    data = people()
    sample = match(data, "treat ~ age + female", "id", **options)
    found = effects_relabelled(data, sample, "pay", times=4, seed=7)
    random = np.random.default_rng(7)
    for effect in found:
        renamed = data.iloc[random.permutation(len(data))].assign(id=np.arange(len(data)))
        again = match(renamed, "treat ~ age + female", "id", **options)
        expected = again.att("pay", renamed[["id", "pay"]], vce="HC1").to_frame()["estimate"].item()
        assert effect == pytest.approx(expected, abs=1e-9)
    if options != {"replace": True}:
        assert np.ptp(found) > 0.1


def test_tables_of_another_order_hold_the_true_identifiers() -> None:
    data = people()
    sample = match(data, "treat ~ age", "id", exact="region")
    other = next(relabelled(sample))
    pairs = other.pairs.df().merge(data.add_prefix("t_"), left_on="treated_id", right_on="t_id")
    pairs = pairs.merge(data.add_prefix("c_"), left_on="control_id", right_on="c_id")
    assert (pairs["t_treat"] == 1).all()
    assert (pairs["c_treat"] == 0).all()
    assert (pairs["t_region"] == pairs["c_region"]).all()
    assert not pairs["control_id"].duplicated().any()


@pytest.mark.parametrize("options", [{}, {"ratio": 2, "exact": "region"}, {"replace": True, "ties": "first"}])
def test_risk_sets_are_drawn_again_as_of_people_with_other_identifiers(options: dict[str, Any]) -> None:
    random = np.random.default_rng(8)
    data = people(80).assign(began=10)
    data["entry"] = pd.array(data["treat"].map({1: 1}) * (11 + random.integers(0, 3, 80)), dtype="Int64")
    data["ended"] = 12 + random.integers(0, 5, 80)
    columns: dict[str, Any] = {"start": "began", "entry": "entry", "end": "ended", "method": "riskset", **options}
    data = data.drop(columns="treat")
    sample = match(data, "trained ~ age", "id", **columns)
    true_ids = random.permutation(80)
    renamed = data.iloc[true_ids].assign(id=np.arange(80))
    other = sample._again
    assert other is not None
    again = match(renamed, "trained ~ age", "id", **columns).pairs.df()
    expected = sorted(zip(true_ids[again["treated_id"]], true_ids[again["control_id"]], strict=True))
    found = other(true_ids).pairs.df()
    assert sorted(zip(found["treated_id"], found["control_id"], strict=True)) == expected
    with pytest.raises(DesignError, match="the effect has to be computed for each sample"):
        effects_relabelled(data, sample, "pay")


def test_without_ties_the_order_of_identifiers_decides_nothing() -> None:
    data = people().assign(age=lambda d: d["age"] + np.random.default_rng(1).random(len(d)))
    sample = match(data, "treat ~ age", "id", distance="age")
    ties = count_ties(sample)
    assert ties is not None
    assert ties.tied == 0
    assert np.ptp(effects_relabelled(data, sample, "pay", times=5)) == 0


def test_choices_are_counted_where_some_are_made() -> None:
    """Three people of one age: the first choice is between two controls, the second has one left."""
    data = pd.DataFrame({"id": range(5), "treat": [1, 1, 0, 0, 0], "age": [30, 30, 30, 30, 40]})
    for options, choices, tied in (
        ({"m_order": "data"}, 2, 1),
        ({"ratio": 2, "m_order": "data"}, 3, 1),
        ({"replace": True, "ties": "first"}, 2, 2),
        ({"replace": True, "ties": "all"}, 2, 0),
    ):
        audit = match(data, "treat ~ age", "id", distance="age", **options).audit
        assert (audit["n_choices"], audit["ties_broken"]) == (choices, tied), options
    assert count_ties(match(people(), "treat ~ age", "id", method="ipw")) is None


def test_what_cannot_be_drawn_again_is_refused() -> None:
    data = people()
    weighted = match(data, "treat ~ age", "id", method="ebal")
    with pytest.raises(DesignError, match="the method 'ebal' cannot be drawn under other identifiers"):
        effects_relabelled(data, weighted, "pay")
    sample = match(data, "treat ~ age", "id")
    with pytest.raises(InputError, match="missing or not finite"):
        effects_relabelled(data.assign(pay=data["pay"].where(data["id"] % 3 > 0)), sample, "pay")


def test_how_far_effects_move_is_published_to_two_digits() -> None:
    table = ties_table(moved(Ties(200, 60, 0, np.nan, np.nan), np.array([100.0, 1334.0, 700.0])))
    assert table[["relabellings", "sd", "spread"]].iloc[0].tolist() == [3, 620.0, 1200.0]


NOISY = Release(count_variance=2.0, count_gap=2, noise_smallest=0.05, noise_largest=0.15)


def safe_ties(ties: Ties, rules: Release = NOISY) -> Ties:
    found, record = protect_statistic("x", ties, rules, Register(Changes()), {})
    assert isinstance(found, Ties)
    assert record == []
    return found


@pytest.mark.parametrize(("tied", "kept"), [(0, True), (9, False), (10, True), (190, True), (191, False), (200, True)])
def test_few_choices_are_not_released(tied: int, kept: bool) -> None:
    ties = Ties(200, tied, 0, np.nan, np.nan)
    if kept:
        assert safe_ties(ties).share == round(tied / 2) / 100
        return
    with pytest.raises(DisclosureError, match="fewer than 10 choices were tied, or were not"):
        safe_ties(ties)


def test_only_the_share_of_choices_is_released_and_the_spread_of_noisy_effects() -> None:
    found = safe_ties(Ties(203, 57, 25, 74.0, 300.0, noisy=True))
    assert ties_table(found)[["n_choices", "n_tied", "share", "sd"]].iloc[0].fillna(-1).tolist() == [-1, -1, 0.28, 74.0]
    exact = safe_ties(Ties(203, 57, 25, 74.0, 300.0))  # computed from exact amounts
    assert exact.relabellings == 0
    assert np.isnan([exact.sd, exact.spread]).all()
    with pytest.raises(InputError, match="only the share"):
        found + found
    assert safe_ties(Ties(203, 57, 25, 74.0, 300.0), Release()).choices == 203  # public data


def test_effects_under_other_orders_are_of_noisy_amounts() -> None:
    data = pd.DataFrame({"id": range(4), "treat": [1, 0, 0, 0], "age": [30, 31, 31, 40], "pay": [9.0, 5, 7, 8]})
    sample = match(data, "treat ~ age", "id", distance="age")
    factor = dict(keyed(data).project("id, person_key.factor").fetchall())
    found = set(np.round(effects_relabelled(keyed(data), sample, "pay"), 9))
    assert found == {round(9 * factor[0] - pay * factor[control], 9) for control, pay in ((1, 5.0), (2, 7.0))}
