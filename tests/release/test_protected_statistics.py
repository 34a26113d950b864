"""Sums behind tests and bounds as they are released: changed counts, noisy amounts, redrawn squares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import keyed_panels
import retrain_eval as rte
from keyed_rows import KEY, keyed
from matching_samples import lalonde
from retrain_eval.common.errors import DisclosureError
from retrain_eval.estimators.rows.follow_up import employment_after, employment_shares, share_effects
from retrain_eval.estimators.survival.logrank import logrank_scores
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.protect import protect
from retrain_eval.release.protection.statistics import protect_statistic
from retrain_eval.release.results import Results
from retrain_eval.sample.hidden_bias.cross_products import cross_products
from retrain_eval.sample.hidden_bias.hidden_bias import pair_differences, pair_ranks
from retrain_eval.sample.hidden_bias.pooled_sd import deviation, spread
from retrain_eval.sample.match import match
from retrain_eval.tables.noise.changes import Changes
from retrain_eval.tables.noise.person_keys import ReleaseKey
from retrain_eval.tables.noise.register import Register
from retrain_eval.tables.statistics import Costs, Shares, SignedRanks, Spread, Statistic

NOISY = Release(count_variance=2.0, count_gap=2, noise_smallest=0.05, noise_largest=0.15)


def released(statistic: Statistic, rules: Release = NOISY, register: Register | None = None) -> Statistic:
    found, _ = protect_statistic("x", statistic, rules, register or Register(Changes()), {})
    for name in found.inside:
        assert getattr(found, name) is None
    return found


def factors(rows: pd.DataFrame, key: ReleaseKey = KEY) -> pd.DataFrame:
    """Return the rows with the noise and the record key of each person."""
    found = keyed(rows, "id", key).project("id, person_key.factor AS factor, person_key.record AS record").df()
    return rows.merge(found, on="id")


# ---- shares ---------------------------------------------------------------------------------------------------------


def panel(n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(6)
    rows = pd.DataFrame({"person_id": np.repeat(np.arange(n), 3), "to_exit": [2, 4, 8] * n})
    rows["employed"] = (rng.random(len(rows)) < 0.6).astype(float)
    rows["main_employer"] = np.where(rows["employed"] > 0, rng.choice(["A", "B"], len(rows)), None)
    rows["weight"] = np.repeat(rng.choice([0.5, 1.0, 1.5], n), 3)
    return rows


def test_shares_have_the_keys_of_their_people_and_are_of_changed_counts(tmp_path: Path) -> None:
    rows = panel()
    found = employment_shares(keyed(rows, "person_id"), weights="weight", weight_type="probability")
    records = dict(keyed(rows, "person_id").project("person_id, person_key.record").distinct().fetchall())
    at = rows[(rows["to_exit"] == 2)]
    assert found.keys is not None
    assert found.hit_keys is not None
    assert int(found.keys[0]) == sum(records[i] for i in at["person_id"]) % 2**64
    assert int(found.hit_keys[0]) == sum(records[i] for i in at.loc[at["employed"] > 0, "person_id"]) % 2**64
    found.to_parquet(tmp_path / "x.parquet")
    again = Statistic.read_parquet(tmp_path / "x.parquet")
    assert isinstance(again, Shares)
    np.testing.assert_array_equal(again.keys, found.keys)
    assert again.keys is not None
    assert again.keys.dtype == np.uint64

    register = Register(Changes())
    safe = released(again, NOISY, register)
    assert isinstance(safe, Shares)
    assert safe.sound()
    assert safe.n.tolist() == [register.published[int(key)] for key in found.keys]
    exact, share = found.sum_wx / found.sum_w, safe.sum_wx / safe.sum_w
    assert (abs(share - exact) < 5 * np.sqrt(2 * 2 / found.n**2) + 0.6 / found.n).all()
    assert (share != exact).all()
    assert released(again, Release()).n.tolist() == found.n.tolist()  # public data


def test_a_side_of_few_and_shares_without_keys_are_withheld() -> None:
    rows = panel()
    rows.loc[rows["to_exit"] == 4, "employed"] = 1.0
    rows["main_employer"] = "A"
    with pytest.raises(DisclosureError, match="fewer than 10 people have a property, or lack it"):
        released(employment_shares(keyed(rows, "person_id")))  # everyone has it
    with pytest.raises(DisclosureError, match="summed without keys"):
        released(employment_shares(panel()))


def test_errors_of_shares_are_redrawn_and_include_the_changes() -> None:
    rows = keyed(panel(), "person_id")
    shares, effects = employment_shares(rows), employment_after(rows)
    results = Results()
    results.add_additive("employed", shares)
    results.add_effects("employed", effects, estimates=share_effects(shares))
    safe, record = protect(results, NOISY)
    assert record == []
    table = safe.statistics["employed"]
    assert isinstance(table, Shares)
    found = safe.tables["effects"]
    np.testing.assert_allclose(found["estimate"], table.sum_wx / table.sum_w)
    ratio = found["std_error"].to_numpy() / effects.frame["std_error"].to_numpy()
    assert ((ratio > 0.9) & (ratio < 1.2) & (ratio != 1)).all()
    without, plain = Results(), employment_shares(panel())
    without.add_additive("employed", plain)
    without.add_effects("employed", employment_after(panel()), estimates=share_effects(plain))
    safe, _ = protect(without, NOISY)
    assert safe.withheld() == {"employed": "they were summed without keys of people"}
    assert safe.tables["effects"]["estimate"].isna().all()
    assert all(part.covariance is None or np.isnan(np.array(part.covariance, float)).all() for part in safe.parts)


# ---- amounts --------------------------------------------------------------------------------------------------------


def test_ranks_are_of_noisy_differences_and_do_not_tell_the_number_of_pairs() -> None:
    data = factors(lalonde())
    sample = match(data, "treat ~ age + educ + re74", "id", discard="both")
    ranks = pair_ranks(keyed(lalonde()), sample, "re78")
    pairs = sample.pairs.df().merge(data, left_on="treated_id", right_on="id").merge(
        data, left_on="control_id", right_on="id", suffixes=("", "_c")
    )  # fmt: skip
    noisy = pairs["re78"] * pairs["factor"] - pairs["re78_c"] * pairs["factor_c"]
    differ = noisy[noisy != 0]
    rank = stats.rankdata(abs(differ))
    assert ranks.noisy_n == len(differ)
    assert ranks.noisy_positive == rank[differ > 0].sum()
    own = pairs[noisy != 0]
    assert ranks.keys is not None
    assert int(ranks.keys[0]) == sum(map(int, [*own["record"], *own["record_c"]])) % 2**64
    exact = pair_differences(lalonde(), sample, "re78")
    assert ranks.n == (exact != 0).sum()

    wrong = []
    for key in range(100):
        safe = released(replace(ranks, keys=np.array([key * 7919], np.uint64)))
        assert isinstance(safe, SignedRanks)
        assert safe.total == safe.n * (safe.n + 1) / 2
        assert safe.positive == round(safe.positive)
        assert abs(safe.positive / safe.total - ranks.noisy_positive / (ranks.noisy_n * (ranks.noisy_n + 1) / 2)) < 1e-4
        wrong.append(safe.n != ranks.noisy_n)
    assert np.mean(wrong) > 0.6
    with pytest.raises(DisclosureError, match="summed without keys"):
        released(pair_ranks(lalonde(), sample, "re78"))
    employed = lalonde().assign(works=lambda rows: (rows["re78"] > 0).astype(int))
    with pytest.raises(DisclosureError, match="0/1 outcome"):
        released(pair_ranks(keyed(employed), sample, "works"))


def test_sums_within_arms_are_of_noisy_amounts_with_redrawn_squares() -> None:
    data = factors(lalonde())
    sample = match(data, "treat ~ age + educ + re74", "id", discard="both")
    found = spread(keyed(lalonde()), sample, "re78")
    exact = spread(lalonde(), sample, "re78")
    weights = sample.weights.df().merge(data, on="id")
    for place, arm in enumerate(found.arms):
        own = weights[weights["treat_x" if "treat_x" in weights else "treat"] == (arm == "treated")]
        d = own["re78"] * own["factor"] - found.reference
        assert found.noisy_wy is not None
        assert found.noisy_wy2 is not None
        np.testing.assert_allclose(found.noisy_wy[place], (own["weight"] * d).sum())
        np.testing.assert_allclose(found.noisy_wy2[place], (own["weight"] * d**2).sum())
    np.testing.assert_allclose(found.sum_wy2, exact.sum_wy2)
    safe = released(found)
    assert isinstance(safe, Spread)
    assert safe.sound()
    assert abs(deviation(safe) / deviation(exact) - 1) < 0.15
    assert deviation(safe) != deviation(exact)
    # sums of amounts are not released: they would be compared with those of no other table
    assert not safe.sum_wy.any()
    assert safe.reference == 0
    with pytest.raises(DisclosureError, match="summed without keys"):
        released(exact)


def test_sums_of_a_binary_outcome_are_of_changed_counts() -> None:
    data = lalonde().assign(works=lambda rows: (rows["re78"] > 0).astype(float))
    sample = match(data, "treat ~ age + educ", "id", discard="both")
    found = spread(keyed(data), sample, "works")
    assert found.noisy_wy is None
    assert found.hits is not None
    safe = released(found)
    assert isinstance(safe, Spread)
    share = (safe.sum_wy + safe.reference * safe.sum_w) / safe.sum_w
    exact = (found.sum_wy + found.reference * found.sum_w) / found.sum_w
    assert (abs(share - exact) < 0.06).all()
    assert (share != exact).any()
    variance = (safe.sum_wy2 - safe.sum_wy**2 / safe.sum_w) / safe.sum_w
    np.testing.assert_allclose(variance, share * (1 - share))


def test_cross_products_are_withheld_with_noise_and_exact_without() -> None:
    data = lalonde()
    found = cross_products(data, match(data, "treat ~ age + married", "id"), "re78")
    with pytest.raises(DisclosureError, match="products of covariates over all candidates"):
        released(found)
    np.testing.assert_array_equal(released(found, Release()).products, found.products)  # type: ignore[attr-defined]


# ---- scores ---------------------------------------------------------------------------------------------------------


def test_scores_of_a_table_that_is_not_published_are_withheld() -> None:
    rows = pd.DataFrame({"id": range(80), "weeks": [1, 2, 3, 4] * 20, "cause": 1, "arm": ["a", "b"] * 40})
    table = rte.Spells(keyed(rows), id="id", duration="weeks", by="arm").table
    scores = logrank_scores(table)
    assert scores.life_table == table.signature
    with pytest.raises(DisclosureError, match="not published without its clusters"):
        released(scores)
    assert released(scores, Release()).deviation.tolist() == scores.deviation.tolist()  # type: ignore[attr-defined]


# ---- a covariance that stands ---------------------------------------------------------------------------------------


def test_a_covariance_from_rows_is_redrawn_beside_estimates_of_protected_moments() -> None:
    made = rte.outcome_moments(keyed_panels.keyed(keyed_panels.panel()), unit="person", time="time", cohort="cohort",
                               outcome="pay", kind="amount")  # fmt: skip
    own = made.att_gt().aggregate("dynamic")
    other = rte.EffectTable(own.frame, own.vcov * 1.5, own.meta)  # of another program, that says nothing of its rows
    results = Results()
    results.add_additive("pay", made)
    results.add_effects("peer", other, estimates=own)
    safe, _ = protect(results, keyed_panels.RULES)
    [part] = [part for part in safe.parts if part.result == "peer"]
    again = safe.moments["pay"].att_gt().aggregate("dynamic").frame
    found = safe.tables["effects"]
    np.testing.assert_allclose(found["estimate"], again["estimate"])
    covariance, exact = np.array(part.covariance, dtype=float), other.vcov
    known = np.isfinite(np.diag(exact)) & (np.diag(exact) > 0)
    ratio = np.diag(covariance)[known] / np.diag(exact)[known]
    assert ((ratio > 0.8) & (ratio < 1.25) & (ratio != 1)).all()
    assert part.meta is not None
    assert set(part.meta) <= {"level", "df", "seed", "band_critical_value", "conf_type", "variance", "anticipation"}


def test_numbers_of_clusters_are_rounded_in_facts_and_notes() -> None:
    rows = pd.DataFrame({"id": range(240), "weeks": [1, 2, 3, 4] * 60, "cause": 1, "arm": (["a"] * 4 + ["b"] * 4) * 30})
    rows["area"] = rows["id"] % 27
    spells = rte.Spells(keyed(rows), id="id", duration="weeks", by="arm", cluster="area")
    results = Results()
    results.add_additive("weeks", spells.table.without_clusters())
    alone = rte.Spells.from_table(results.life_tables["weeks"])
    difference = alone.survival_difference(times=(1, 2))
    results.add_effects("difference", spells.survival_difference(times=(1, 2)), estimates=difference)
    assert set(results.tables["effects"]["note"]) == {"27 clusters"}
    safe, _ = protect(results, NOISY)
    assert set(safe.tables["effects"]["note"]) == {"20 clusters"}
    assert safe.parts[0].meta is not None
    assert (safe.parts[0].meta["n_clusters"], safe.parts[0].meta["df"]) == (20, 19.0)


# ---- costs ----------------------------------------------------------------------------------------------------------


def test_costs_tell_the_cost_per_person_and_a_changed_count_only() -> None:
    """Two budgets that give the same published cost give the same amount, so that it tells nothing of the number."""
    key = np.array([2**63 + 12345], dtype=np.uint64)
    one, other = (released(Costs(amount, 400, key)) for amount in (1_680_000.0, 1_679_999.0))
    assert isinstance(one, Costs)
    assert isinstance(other, Costs)
    assert (one.amount, one.people) == (other.amount, other.people)
    assert one.per_person == 4200
    assert one.amount == 4200 * one.people
    assert one.people == Register(Changes()).count(400, int(key[0]))


@pytest.mark.parametrize(("people", "keyed_"), [(9, True), (400, False)])
def test_costs_of_few_people_or_without_keys_are_withheld(people: int, keyed_: bool) -> None:
    with pytest.raises(DisclosureError):
        released(Costs(1000.0, people, np.array([7], dtype=np.uint64) if keyed_ else None))
