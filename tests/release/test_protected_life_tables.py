"""Life tables as they are released: nested counts by cell key that decrease, add up and tell no small group apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

import retrain_eval as rte
from keyed_rows import keyed
from retrain_eval.common.errors import DisclosureError
from retrain_eval.estimators.effects.stated import on_noisy_amounts
from retrain_eval.estimators.survival.curves import kaplan_meier
from retrain_eval.estimators.survival.gray import gray
from retrain_eval.estimators.survival.grouptest import score_test
from retrain_eval.estimators.survival.logrank import logrank, logrank_scores
from retrain_eval.estimators.survival.risk import risk_sets
from retrain_eval.estimators.survival.summaries import rmst
from retrain_eval.plan.study_file import Release
from retrain_eval.release.derive import Deriver
from retrain_eval.release.protection.life_tables import protect_life_table
from retrain_eval.release.protection.protect import protect
from retrain_eval.release.protection.publishing import publish
from retrain_eval.release.results import Results
from retrain_eval.release.verification.comparison import compare
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.life_table.spell_keys import SpellKeys
from retrain_eval.tables.life_table.spell_table import merge_cells
from retrain_eval.tables.noise.changes import Changes
from retrain_eval.tables.noise.nested_counts import events_within, survivors
from retrain_eval.tables.noise.register import Register
from retrain_eval.tables.recipe import Derivation
from retrain_eval.tables.statistics import Scores

NOISY = Release(count_variance=2.0, count_gap=2, noise_smallest=0.05, noise_largest=0.15)
LIMIT = NOISY.min_contributors


def register() -> Register:
    return Register(Changes(NOISY.count_variance, NOISY.count_gap))


def drawn(n: int, seed: int, keys: int | None = None, *, weighted: bool = False, cluster: str | None = None,
          arms: tuple[str, ...] = ("control", "trained")) -> LifeTable:  # fmt: skip
    """Return a life table of n people in each arm, whose keys are drawn by ``keys``."""
    rng = np.random.default_rng(seed)
    people = len(arms) * n
    ends, gone = rng.geometric(0.1, people), np.minimum(rng.geometric(0.05, people), 12)
    weight = rng.uniform(0.5, 2, people) if weighted else np.ones(people)
    cause = np.where(ends <= gone, rng.choice(["job", "recall"], people, p=[0.8, 0.2]), "0")
    cells = pd.DataFrame(
        {
            "arm": pd.array(np.repeat(arms, n), dtype="str"),
            "entry": 0.0,
            "duration": np.minimum(ends, gone).astype(float),
            "cause": pd.array(cause, dtype="str"),
            "n": 1,
            "sum_w": weight,
            "sum_w2": weight**2,
        }
    )
    records = np.random.default_rng(seed if keys is None else [keys]).integers(0, 2**64, people, dtype=np.uint64)
    table = LifeTable("quarters", ("arm",), cells, weighted, n_people=people, keys=SpellKeys(records, 1))
    return merge_cells(table, cells, ("arm",))


def released(table: LifeTable, of: Register | None = None) -> LifeTable:
    return protect_life_table("t", table, NOISY, of or register())[0]


# ---- whole numbers that decrease ------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 60), min_size=1, max_size=12), st.integers(20, 60))
def test_survivors_decrease_and_are_no_more_than_the_whole(changed: list[int], first: int) -> None:
    counts = survivors(first, np.array(changed))
    assert (np.diff([first, *counts]) <= 0).all()
    assert counts.min() >= 0


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_ends_by_a_cause_are_the_nearest_that_fit(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 4))
    ending = np.array(data.draw(st.lists(st.integers(0, 4), min_size=size, max_size=size)))
    changed = np.array(data.draw(st.lists(st.integers(0, 14), min_size=size, max_size=size)))

    def distance(ends: np.ndarray) -> float:
        return float(((ends[::-1].cumsum()[::-1] - changed) ** 2).sum())

    found = events_within(changed, ending)
    assert ((found >= 0) & (found <= ending)).all()
    every = np.stack(np.meshgrid(*(np.arange(k + 1) for k in ending), indexing="ij"), axis=-1).reshape(-1, size)
    nearest = min(distance(ends) for ends in every)
    # rounding moves each sum by at most a half
    assert np.sqrt(distance(found)) <= np.sqrt(nearest) + 0.5 * np.sqrt(size) + 1e-6


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_steps_of_few_become_none_or_more_and_are_the_nearest_that_fit(data: st.DataObject) -> None:
    never = data.draw(st.integers(1, 3))
    size = data.draw(st.integers(1, 4))
    first = data.draw(st.integers(10, 24))
    changed = np.array(data.draw(st.lists(st.integers(8, 26), min_size=size, max_size=size)))
    counts = survivors(first, changed, never, least=10)
    steps = -np.diff([first, *counts])
    assert ((steps == 0) | (steps > never)).all()
    assert counts.min() >= 10
    fitted = optimize.isotonic_regression(changed.astype(float), increasing=False).x.clip(10, first)
    every = np.stack(np.meshgrid(*[np.arange(10, first + 1)] * size, indexing="ij"), axis=-1).reshape(-1, size)
    gaps = -np.diff(np.column_stack([np.full(len(every), first), every]), axis=1)
    every = every[((gaps == 0) | (gaps > never)).all(axis=1)]
    assert ((counts - fitted) ** 2).sum() == pytest.approx(((every - fitted) ** 2).sum(axis=1).min())

    # of what ends at each step, by one cause or by others
    ending = steps[steps > 0]
    if not len(ending):
        return
    within = np.array(data.draw(st.lists(st.integers(0, 14), min_size=len(ending), max_size=len(ending))))
    found = events_within(within, ending, never)
    for part in (found, ending - found):
        assert ((part == 0) | (part > never)).all()
    free = events_within(within, ending)
    apart = abs((found - free)[::-1].cumsum()).max()
    assert apart <= never + 1.5


# ---- the promise ----------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), n=st.integers(12, 200), weighted=st.booleans())
@settings(max_examples=30, deadline=None)
def test_nothing_small_is_told(seed: int, n: int, weighted: bool) -> None:
    table, of = drawn(n, seed, weighted=weighted), register()
    try:
        safe = released(table, of)
    except DisclosureError:
        return
    assert safe.keys is None
    for risk in risk_sets(safe):
        assert risk.n.min() >= LIMIT  # so many at risk at each step
        assert (np.diff(risk.n) <= 0).all()
    assert safe.cells["n"].min() > NOISY.count_gap  # nor so few who end or are censored at a step
    # groups have their registered counts, which add up to that of the whole
    assert table.keys is not None
    whole = int(table.keys.merged(np.zeros(len(table.cells), int), 1).key[0])
    assert safe.n_spells == of.published[whole] == safe.n_people
    # a cell that is empty stays empty, but for the censoring of those who go on where a group's table ends
    if not safe.by:
        return
    exact = set(table.cells[["arm", "duration", "cause"]].itertuples(index=False, name=None))
    ends = {risk.level[0]: risk.times[-1] for risk in risk_sets(safe)}
    for arm, duration, cause in safe.cells[["arm", "duration", "cause"]].itertuples(index=False, name=None):
        assert (arm, duration, cause) in exact or (cause == "0" and duration == ends[arm])
    # sums of weights are those of the exact cells, scaled
    both = safe.cells.merge(table.cells, on=["arm", "duration", "cause"], suffixes=("", "_exact"))
    both = both[both["duration"] < both["arm"].map(ends).astype(float)]
    for name in ("sum_w", "sum_w2"):  # but for half a person's weight
        moved = both[name] / both["n"] / (both[f"{name}_exact"] / both["n_exact"]) - 1
        assert (abs(moved) <= (0.5 / both["n_exact"] if weighted else 0)).all()


def test_the_same_people_have_the_same_counts_and_the_order_of_cells_does_not_matter() -> None:
    table = drawn(80, 3)
    once, again = released(table), released(table)
    pd.testing.assert_frame_equal(once.cells, again.cells)
    assert (once.noise != again.noise).nnz == 0
    of = register()
    first, second = released(table, of), released(table, of)
    pd.testing.assert_frame_equal(first.cells, second.cells)
    # a table of the same people without causes has the same numbers at risk, and censored
    ended = table.cells["cause"] != "0"
    one = merge_cells(table, table.cells.assign(cause=table.cells["cause"].mask(ended, "any")), ("arm",))
    for mine, other in zip(risk_sets(first), risk_sets(released(one, of)), strict=True):
        assert mine.n.tolist() == other.n.tolist()
        assert mine.n_events.tolist() == other.n_events.tolist()


def test_counts_are_multiples_where_the_data_owner_asks_for_them() -> None:
    table = drawn(150, 3)
    safe = protect_life_table("t", table, NOISY, Register(Changes(2.0, 2, 5)))[0]
    assert (safe.cells["n"] % 5 == 0).all()
    assert abs(safe.n_spells - table.n_spells) <= 10
    assert safe.noise is not None
    v = 2 + (25 - 1) / 12  # with the variance of rounding; a group that was fitted to the whole varies more
    added = safe.noise.diagonal() % v
    assert (safe.noise.diagonal() >= v).all()
    assert len(set(added.round(9))) <= 3
    assert (added > 0).sum() <= 2
    one, other = (kaplan_meier(of, times=(4.0,)).frame["estimate"] for of in (table, safe))
    assert (abs(one - other) < 0.1).all()


def test_a_group_of_few_and_a_cause_that_none_of_them_has_are_not_visible() -> None:
    table = drawn(100, 5, arms=("<30", "30-45", "46+"))
    rows = (table.cells["arm"] != "46+") | (table.cells.groupby("arm")["n"].transform(lambda n: n[::-1].cumsum()) <= 9)
    few = table.of_cells(rows.to_numpy())
    few = replace(few, n_people=few.n_spells)
    assert few.cells.groupby("arm")["n"].sum()["46+"] < LIMIT
    safe, record = protect_life_table("t", few, NOISY, register())
    assert safe.groups() == [("30-45 + 46+",), ("<30",)] or ("30-45 + 46+",) in safe.groups()
    assert record[0] == "Life table t: 30-45 + 46+ merged, so that no group is of few."
    # with two levels, the column is summed over; with none, the table is withheld
    two = few.subset(arm=["30-45", "46+"])
    safe, record = protect_life_table("t", two, NOISY, register())
    assert safe.by == ()
    assert "summed over arm" in record[0]
    with pytest.raises(DisclosureError, match="fewer than 10"):
        protect_life_table("t", two.subset(arm="46+"), NOISY, register())
    # a cause that occurs only where fewer than ten are at risk is gone
    cells = few.subset(arm="<30").cells
    last = cells["duration"] == cells["duration"].max()
    late = cells[~last].assign(n=1).tail(5).assign(duration=99.0, cause="death", sum_w=1.0, sum_w2=1.0)
    alone = few.subset(arm="<30")
    keys = SpellKeys(np.random.default_rng(1).integers(0, 2**64, len(cells) + len(late), dtype=np.uint64), 1)
    alone = replace(alone, cells=pd.concat([cells, late], ignore_index=True), keys=keys)
    safe = released(merge_cells(replace(alone, n_people=alone.n_spells), alone.cells, alone.by))
    assert "death" not in set(safe.cells["cause"])
    assert safe.stopped
    assert safe.cells["duration"].max() < 99


def test_a_person_matched_several_times_counts_once() -> None:
    table = drawn(30, 7)
    assert table.keys is not None
    assert released(table).groups() == [("control",), ("trained",)]
    often = replace(table, keys=replace(table.keys, most=4))  # 30 spells of at least 8 people
    assert released(often).groups() == [()]


def test_what_cannot_be_protected_is_refused(tmp_path: Path) -> None:
    table = drawn(80, 3)
    for wrong, words in (
        (replace(table, keys=None), "summed without keys"),
        (table.with_lone_clusters("pair"), "says how its cells share values of 'pair'"),
        (replace(table, n_people=100), "people have several spells"),
    ):
        with pytest.raises(DisclosureError, match=words):
            protect_life_table("t", wrong, NOISY, register())
    safe, record = protect_life_table("t", table, Release(), register())  # public data: as they are
    pd.testing.assert_frame_equal(safe.cells, table.cells)
    assert record == []
    assert safe.keys is None
    safe.to_parquet(tmp_path / "exact.parquet")
    released(table).to_parquet(tmp_path / "noisy.parquet")
    for name in ("exact", "noisy"):
        assert "key" not in pq.read_table(tmp_path / f"{name}.parquet").column_names
    again = LifeTable.read_parquet(tmp_path / "noisy.parquet")
    assert kaplan_meier(again).frame.equals(kaplan_meier(released(table)).frame)


def test_spells_that_are_observed_late_have_counts_by_entry() -> None:
    table = drawn(120, 2)
    late = table.cells["duration"] > 4
    cells = table.cells.assign(entry=np.where(late, 4.0, 0.0))
    safe = released(replace(table, cells=cells))
    assert set(safe.cells["entry"]) == {0.0, 4.0}
    exact, changed = (of.cells.groupby(["arm", "entry"])["n"].sum() for of in (replace(table, cells=cells), safe))
    assert (exact - changed).abs().max() <= 7
    few = cells.assign(entry=np.where(table.cells["duration"] == 11, 10.0, 0.0))
    with pytest.raises(DisclosureError, match=r"too few spells .* come under observation at one duration"):
        released(replace(table, cells=few))


def test_an_attacker_who_takes_a_published_count_is_mostly_wrong() -> None:
    right = []
    for keys in range(60):
        table = drawn(60, 1, keys)
        exact, safe = (of.subset(arm="trained") for of in (table, released(table)))
        known = {t: n for risk in risk_sets(exact) for t, n in zip(risk.times, risk.n, strict=True)}
        right += [known[t] == n for risk in risk_sets(safe) for t, n in zip(risk.times, risk.n, strict=True)]
    assert np.mean(right) < 0.35


def test_weights_that_are_fractions_do_not_tell_the_number_of_people() -> None:
    """Mean × n is a multiple of one half for the true n: an attack that undoes every change of a count."""
    right, before = [], []
    for keys in range(40):
        table = drawn(60, 1, keys)
        halves = np.random.default_rng(keys).choice([0.5, 1.0, 1.5], len(table.cells))
        # sums of such weights over each cell
        sums = table.cells["sum_w"].to_numpy() * 1.0 + np.rint(halves * table.cells["n"]) / 2
        table = replace(table, cells=table.cells.assign(sum_w=sums, sum_w2=sums), weighted=True)
        safe = released(table)
        both = table.cells.merge(safe.cells, on=["arm", "entry", "duration", "cause"], suffixes=("", "_new"))
        both = both[(both["n"] > 5) & (both["duration"] < 6)]

        def guess(mean: float, published: int) -> int:
            near = range(max(published - 5, 3), published + 6)
            return min(near, key=lambda n: (abs(2 * mean * n - round(2 * mean * n)) > 1e-6, abs(n - published)))

        for row in both.itertuples():
            right.append(guess(row.sum_w_new / row.n_new, row.n_new) == row.n)
            before.append(guess(row.sum_w / row.n, row.n_new) == row.n)
    assert np.mean(before) > 0.35
    assert np.mean(right) < 0.3


def test_counts_of_few_events_do_not_follow_from_the_steps() -> None:
    wrong = []
    for keys in range(60):
        table = drawn(60, 4, keys)
        both = table.cells.merge(
            released(table).cells, on=["arm", "entry", "duration", "cause"], how="left", suffixes=("", "_new")
        )
        small = both[(both["n"] < LIMIT) & (both["duration"] < 8)]
        wrong += (small["n"] != small["n_new"].fillna(0)).tolist()
    assert np.mean(wrong) > 0.7


# ---- estimates ------------------------------------------------------------------------------------------------------


def test_the_noise_is_the_covariance_of_the_changes() -> None:
    """Where steps are large, no sequence has to be fitted, and the covariance of counts over keys is v times B Bᵀ."""
    table = drawn(2000, 1)
    keep = (table.cells["duration"] <= 6).to_numpy()
    table = replace(table.of_cells(keep), n_people=int(table.cells["n"][keep].sum()))
    safe, draws = released(table), []
    for seed in range(400):
        records = np.random.default_rng(seed).integers(0, 2**64, len(table.cells), dtype=np.uint64)
        found = released(replace(table, keys=SpellKeys(records, 1)))
        assert len(found.cells) == len(table.cells)
        draws.append(found.cells["n"].to_numpy())
    assert safe.noise is not None
    empirical, expected = np.cov(np.array(draws), rowvar=False), safe.noise.toarray()
    assert abs(np.diag(empirical) / np.diag(expected) - 1).max() < 0.35
    assert abs(np.diag(empirical).mean() / np.diag(expected).mean() - 1) < 0.1
    # sums of steps, as curves use them, have little more noise than one count
    trained = (table.cells["arm"] == "trained").to_numpy(dtype=float)
    early = trained * (table.cells["duration"] <= 3).to_numpy()
    assert early @ empirical @ early == pytest.approx(early @ expected @ early, rel=0.25)
    np.testing.assert_allclose(np.mean(draws, axis=0), table.cells["n"], atol=4 * np.sqrt(12 / 400))


def test_curves_are_not_biased_and_their_errors_include_the_changes() -> None:
    table = drawn(60, 9, weighted=True)
    times = (2.0, 4.0, 6.0)
    exact = kaplan_meier(table, times=times).frame
    found = [kaplan_meier(released(drawn(60, 9, keys, weighted=True)), times=times).frame for keys in range(150)]
    moved = np.array([frame["estimate"].to_numpy() for frame in found]) - exact["estimate"].to_numpy()
    assert (abs(moved.mean(axis=0)) < 4 * moved.std(axis=0) / np.sqrt(150)).all()
    errors = np.array([frame["std_error"].to_numpy() for frame in found])
    ended = np.array([frame["estimate"].to_numpy() < 1 for frame in found])
    assert (np.isfinite(errors) == ended).all()  # before the first end the error is unknown
    assert ended.mean() > 0.97
    variance = np.nanmean(errors**2, axis=0)
    added = variance - exact["std_error"].to_numpy() ** 2
    assert (added > 0.5 * moved.var(axis=0)).all()
    assert (added < 2.5 * moved.var(axis=0)).all()


@pytest.mark.parametrize("test", [lambda of: logrank(of), lambda of: gray(of, "job")])
def test_tests_include_the_changes(test: object) -> None:
    assert callable(test)
    safe = released(drawn(150, 6))
    narrow = test(replace(safe, noise=None))
    wide = test(safe)
    assert wide.chi2 < narrow.chi2
    assert wide.groups.equals(narrow.groups)


def test_a_cox_model_and_a_hazard_model_include_the_changes() -> None:
    safe = released(drawn(150, 6))
    narrow = replace(safe, noise=None)
    for verb, options in (("cox", {"formula": "arm"}), ("discrete_hazard", {"formula": "arm:period", "bins": [3, 6]})):
        one, other = (getattr(rte.Spells.from_table(of), verb)(**options).frame["std_error"] for of in (safe, narrow))
        assert (one > other).all()


# ---- a release ------------------------------------------------------------------------------------------------------


def study(seed: int = 4) -> tuple[Results, LifeTable]:
    """Return the results of a run: a curve, a difference between arms with errors by pair, and a test."""
    rng = np.random.default_rng(seed)
    n = 300
    rows = pd.DataFrame({"id": np.arange(2 * n), "pair": np.arange(2 * n) // 2, "arm": ["trained", "control"] * n})
    rows["weight"] = np.where(rows["arm"] == "trained", 1.0, rng.choice([0.5, 1.5], 2 * n))
    rows["quarters"] = np.minimum(rng.geometric(0.12, 2 * n), 12)
    rows["cause"] = (rows["quarters"] < 12).astype(int)
    paired = rte.Spells(
        keyed(rows), id="id", by="arm", weights="weight", weight_type="probability", cluster="pair", censored=()
    )
    alone = rte.Spells.from_table(paired.table.without_clusters())
    results = Results()
    results.add_additive("jobless", alone.table)
    results.add_effects("km", alone.kaplan_meier(times=(2, 4, 8)))
    results.add_effects("difference", paired.survival_difference(times=(2, 4, 8)))
    results.add_effects("mean", alone.rmst(tau=12))
    scores = logrank_scores(paired.table)
    results.add_additive("jobless_tests", scores)
    results.add_table("tests", score_test(scores), "km")
    return results, paired.table


def test_what_a_run_publishes_uncoarsened_is_protected_and_made_again(tmp_path: Path) -> None:
    results, paired = study()
    (tmp_path / "run").mkdir()
    results.write(tmp_path / "run")
    kept = Results.read(tmp_path / "run")  # release reads what run wrote
    safe, record = protect(kept, NOISY)
    assert not [line for line in record if "withheld" in line]
    table = safe.life_tables["jobless"]
    assert table.keys is None
    effects = safe.tables["effects"].set_index(["result", "time"])
    again = kaplan_meier(table, times=(2, 4, 8)).frame
    np.testing.assert_allclose(effects.loc["km", "estimate"], again["estimate"])
    # the difference follows from the protected table; its covariance is another one, and a little larger on average
    exact = rte.Spells.from_table(paired).survival_difference(times=(2, 4, 8))
    part = next(part for part in safe.parts if part.result == "difference")
    assert part.estimates is not None
    made = Deriver(safe.kept()).make(part.estimates).frame["estimate"]
    np.testing.assert_allclose(effects.loc["difference", "estimate"], made)
    ratio = effects.loc["difference", "std_error"].to_numpy() / exact.frame["std_error"].to_numpy()
    assert (abs(ratio - 1) < 0.2).all()
    assert (ratio != 1).all()
    assert part.meta is not None
    assert part.meta["n_clusters"] == 300
    # scores are those of the protected table
    scores = safe.statistics["jobless_tests"]
    assert isinstance(scores, Scores)
    np.testing.assert_allclose(scores.deviation, logrank_scores(table).deviation)
    assert scores.life_table is None
    # verify repeats it and finds the same
    (tmp_path / "edition").mkdir()
    safe.write(tmp_path / "edition")
    published = Results.read(tmp_path / "edition")
    same, _ = publish(published, published.kept(), NOISY)
    for name, frame in published.tables.items():
        assert compare(frame, same.tables[name], 9) == []
    text = (tmp_path / "edition" / "recipes.json").read_text()
    assert "keys" not in text


def test_a_duration_beyond_the_protected_table_is_withheld_and_never_another_number() -> None:
    results, _ = study()
    table = results.life_tables["jobless"]
    late = table.cells["duration"] <= 7  # most end before; fewer than ten of an arm go on
    cells = table.cells.assign(n=table.cells["n"].where(late, 1))
    keys = SpellKeys(np.random.default_rng(3).integers(0, 2**64, len(cells), dtype=np.uint64), 1)
    short = replace(table, cells=cells, keys=keys, n_people=int(cells["n"].sum()))
    found = Results()
    found.add_additive("jobless", short)
    spells = rte.Spells.from_table(short)
    found.add_effects("early", spells.kaplan_meier(times=(2, 4)))
    found.add_effects("late", spells.survival_difference(times=(10,)))
    found.add_effects("mean", spells.rmst(tau=12))
    safe, _ = protect(found, NOISY)
    assert set(safe.withheld()) == {"late", "mean"}
    assert safe.tables["effects"].query("result == 'early'")["estimate"].notna().all()


def test_rows_that_follow_from_nothing_are_withheld_and_noisy_ones_stated() -> None:
    results, paired = study()
    alone = rte.EffectTable.build([{"estimate": 5.0, "n_treated": 80, "n_control": 90}], np.array([[1.0]]))
    results.add_effects("regression", alone)
    results.add_effects("noisy_regression", on_noisy_amounts(alone, [17], [5]))
    results.add_table("tests", logrank(paired).to_frame(), "km")
    safe, _ = protect(results, NOISY)
    why = "it follows from no table over people that could be protected"
    assert safe.withheld() == {"regression": why, "km: tests": why}
    row = safe.tables["effects"].query("result == 'noisy_regression'").iloc[0]
    assert row["estimate"] == 5.0
    assert abs(row["n_treated"] - 80) <= 5
    assert row["std_error"] != 1.0
    assert len(safe.tables["tests"]) == 1
    again, _ = publish(safe, safe.kept(), NOISY)  # as verify does
    for name, frame in safe.tables.items():
        assert compare(frame, again.tables[name], 9) == []


def test_a_table_without_keys_takes_its_results_with_it() -> None:
    results, _ = study()
    results.life_tables["jobless"] = replace(results.life_tables["jobless"], keys=None)
    with pytest.raises(DisclosureError, match="summed without keys"):  # nothing is left
        protect(results, NOISY)


@pytest.mark.slow
def test_the_logrank_test_and_means_keep_their_size() -> None:
    """As ``benchmarks/protected_life_tables.py``, with fewer draws: 5% within what 400 draws allow."""
    import sys

    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    from protected_life_tables import summary

    for n in (60, 150):
        row = summary(n, "plain", 400)
        assert 0.02 <= float(str(row["size"])) <= 0.085
        assert 0.91 <= float(str(row["RMST covered"])) <= 0.98
        assert abs(float(str(row["bias / se"]))) < 0.1
    assert float(str(summary(700, "plain", 100)["z moves, 95%"])) < 0.4


def test_derivations_reach_a_table_of_one_group() -> None:
    table = replace(drawn(80, 3).collapse("arm"))
    safe = released(table)
    mean = Deriver({"life_tables/t": safe}).make(Derivation("life_tables/t", (("rmst", {"tau": 8}),)))
    assert mean.frame["estimate"].item() == rmst(safe, 8).frame["estimate"].item()
