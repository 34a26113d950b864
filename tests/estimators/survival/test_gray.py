"""Gray's test; for cmprsk's figures see `test_r_survival`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.survival.gray import gray
from retrain_eval.estimators.survival.logrank import logrank
from retrain_eval.tables.life_table.counting import life_table
from survival_cases import NAMES, PROBABILITY, one, spells


def test_without_other_causes_and_ties_it_is_nearly_the_logrank_test() -> None:
    """The same score; the variances differ by less than the sampling of one death in a risk set."""
    rng = np.random.default_rng(3)
    n = 2_000
    data = pd.DataFrame(
        {"id": range(n), "quarters": rng.exponential(1, n), "cause": "job", "arm": rng.choice(["a", "b", "c"], n)}
    )
    data["cause"] = data["cause"].where(data["quarters"] < 2, "0")  # the last ends of all would rule both variances
    data["quarters"] = data["quarters"].clip(upper=2)
    table = life_table(data, **NAMES, by="arm")
    ours, other = gray(table, "job"), logrank(table)
    np.testing.assert_allclose(ours.groups["expected"], other.groups["expected"], rtol=1e-10)
    assert ours.chi2 == pytest.approx(other.chi2, rel=0.05)
    assert ours.df == 2


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_order_of_rows_names_of_groups_and_copies(seed: int) -> None:
    data = spells(90, seed).assign(arm=lambda f: (f["id"] % 3).astype(str))
    test = gray(life_table(data, **NAMES, by="arm"), "recall")
    renamed = data.sample(frac=1, random_state=seed).assign(arm=lambda f: f["arm"].map({"0": "z", "1": "y", "2": "x"}))
    assert gray(life_table(renamed, **NAMES, by="arm"), "recall").chi2 == pytest.approx(test.chi2, rel=1e-8)
    assert test.groups["observed"].sum() == pytest.approx(test.groups["expected"].sum())
    repeated = data.loc[data.index.repeat(data["copies"])].assign(id=lambda f: np.arange(len(f)))
    weighted = life_table(data, **NAMES, by="arm", weights="copies", weight_type="frequency")
    assert gray(weighted, "job").chi2 == pytest.approx(gray(life_table(repeated, **NAMES, by="arm"), "job").chi2)


@pytest.mark.slow
def test_a_true_null_is_rejected_as_often_as_stated() -> None:
    """1,000 samples of 200 with heavy ties; the other cause differs between the groups, which must not matter.

    The sub-distribution of the cause is the same by construction: drawn first, and whoever does not end by it ends by
    the other at a speed that depends on the group. 5% ± 3 simulation errors is 2.9% to 7.1%.
    """
    rng = np.random.default_rng(6)
    n = 1_000 * 200
    arm = rng.choice(["a", "b"], n, p=[0.4, 0.6])
    by_cause = rng.random(n) < 0.5
    ended = np.where(by_cause, rng.geometric(0.25, n), rng.geometric(np.where(arm == "a", 0.1, 0.4)))
    left = rng.integers(3, 14, n)
    cause = np.where(ended > left, "0", np.where(by_cause, "job", "other"))
    columns = {"quarters": np.minimum(ended, left), "cause": cause, "arm": arm}
    table = life_table(
        pd.DataFrame({"id": np.arange(n), "sample": np.arange(n) % 1_000, **columns}), **NAMES, by=("sample", "arm")
    )
    tests = [gray(table.subset(sample=sample), "job") for sample in range(1_000)]
    assert 0.029 < np.mean([test.p_value < 0.05 for test in tests]) < 0.071


@pytest.mark.slow
def test_followed_to_the_end_of_every_spell() -> None:
    """Where nobody is censored a group is used up before the others: the variance must not run away."""
    rng = np.random.default_rng(6)
    n = 500 * 200
    columns = {"quarters": rng.geometric(0.2, n), "cause": "job", "arm": rng.choice(["a", "b"], n, p=[0.4, 0.6])}
    table = life_table(
        pd.DataFrame({"id": np.arange(n), "sample": np.arange(n) % 500, **columns}), **NAMES, by=("sample", "arm")
    )
    p_values = np.array([gray(table.subset(sample=sample), "job").p_value for sample in range(500)])
    assert 0.02 < (p_values < 0.05).mean() < 0.08


def test_what_does_not_hold_is_refused() -> None:
    with pytest.raises(InputError, match="Gray's test does not hold with probability weights"):
        gray(life_table(spells(), **NAMES, by="arm", **PROBABILITY), "job")
    with pytest.raises(InputError, match="does not hold with a cluster"):
        gray(life_table(spells(), **NAMES, by="arm", cluster="provider"), "job")
    with pytest.raises(InputError, match="does not hold with left truncation"):
        gray(life_table(spells(truncated=True), **NAMES, by="arm", entry="entry"), "job")
    with pytest.raises(InputError, match="unknown cause 'jobs'"):
        gray(life_table(spells(), **NAMES, by="arm"), "jobs")
    with pytest.raises(DesignError, match=r"several|independent"):
        gray(life_table(spells().assign(id=1), **NAMES, by="arm"), "job")
    with pytest.raises(DesignError, match="nothing to compare"):
        gray(one([1, 2, 3], ["job", "job", None]), "job")


def test_small_groups_do_not_break_it() -> None:
    """A group of one, a group gone before anything happens, a cause at the last duration only."""
    table = one([1, 2, 2, 3, 3, 4, 4], ["job", "other", "job", "job", None, "job", "job"], arm=list("abbccbb"))
    assert 0 <= gray(table, "job").p_value <= 1
    early = one([1, 3, 4, 5, 6], [None, "job", "other", "job", "job"], arm=list("caabb"))
    assert gray(early, "job").df == 1
