"""The log-rank test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from retrain_eval.errors import DesignError, InputError
from retrain_eval.lifetable import life_table
from retrain_eval.survival.logrank import logrank
from retrain_eval.survival.spells import Spells
from survival_cases import LUNG, NAMES, lung, mgus2, one, oracle, spells


@pytest.mark.oracle
def test_lung_equals_r() -> None:
    """R survival 3.5-3, by sex, to 1e-10."""
    test = Spells(lung(), **(LUNG | {"by": "sex"})).logrank()
    assert test.chi2 == pytest.approx(oracle()["lung.logrank"][0], abs=1e-10)
    assert test.df == 1
    assert test.p_value == pytest.approx(0.0013111645, abs=1e-9)
    assert test.groups["observed"].tolist() == [112, 53]


@pytest.mark.oracle
def test_left_truncated_numerator_equals_r() -> None:
    """R's Cox score test with Breslow ties has the log-rank numerator over Σ d p (1 − p); to 1e-10 of 29.6."""
    data = mgus2()
    test = Spells(data, "id", entry="age", duration="exit_age", cause="death", by="sex").logrank()
    deviation = (test.groups["observed"] - test.groups["expected"])[1]
    variance = 0.0
    for age in np.unique(data.loc[data["death"] == 1, "exit_age"]):
        at_risk = data[(data["age"] < age) & (data["exit_age"] >= age)]
        ended = ((at_risk["exit_age"] == age) & (at_risk["death"] == 1)).sum()
        share = (at_risk["sex"] == "M").mean()
        variance += ended * share * (1 - share)
    assert deviation**2 / variance == pytest.approx(oracle()["lt.logrank.scoretest"][0], rel=1e-10)


@given(seed=st.integers(0, 10_000), truncated=st.booleans(), n_groups=st.integers(2, 4))
@settings(max_examples=20, deadline=None)
def test_cells_equal_rows(seed: int, truncated: bool, n_groups: int) -> None:
    """Against the tables of deaths by group, one per duration, with scipy's multivariate hypergeometric moments."""
    data = spells(seed=seed, truncated=truncated).assign(arm=lambda f: (f["id"] % n_groups).astype(str))
    deviation, variance = np.zeros(n_groups), np.zeros((n_groups, n_groups))
    for time in np.unique(data["quarters"]):
        at_risk = data[(data["entry"] < time) & (data["quarters"] >= time)]
        ended = at_risk[(at_risk["quarters"] == time) & (at_risk["cause"] != "0")]
        m = [int((at_risk["arm"] == str(g)).sum()) for g in range(n_groups)]
        d = [int((ended["arm"] == str(g)).sum()) for g in range(n_groups)]
        if sum(m) > 1 and sum(d):
            law = stats.multivariate_hypergeom(m, sum(d))
            deviation += np.array(d) - law.mean()
            variance += law.cov()
    expected = deviation[1:] @ np.linalg.solve(variance[1:, 1:], deviation[1:])
    test = logrank(life_table(data, **NAMES, entry="entry", by="arm"))
    assert test.chi2 == pytest.approx(expected, rel=1e-9)
    assert test.df == n_groups - 1
    assert test.p_value == pytest.approx(stats.chi2.sf(expected, n_groups - 1), rel=1e-8)
    assert test.groups["observed"].sum() == pytest.approx(test.groups["expected"].sum())


def test_frequency_weights_are_repeated_rows_and_order_does_not_matter() -> None:
    data = spells()
    repeated = data.loc[data.index.repeat(data["copies"])].assign(id=lambda f: np.arange(len(f)))
    weighted = logrank(life_table(data, **NAMES, by="arm", weights="copies", weight_type="frequency"))
    again = logrank(life_table(repeated.sample(frac=1, random_state=2), **NAMES, by="arm"))
    assert weighted.chi2 == pytest.approx(again.chi2, rel=1e-12)
    pd.testing.assert_frame_equal(weighted.groups, again.groups)


def test_weights_and_clusters_are_refused() -> None:
    with pytest.raises(InputError, match="does not hold with probability weights"):
        Spells(spells(), **NAMES, weights="w", weight_type="probability").logrank()
    with pytest.raises(InputError, match="does not hold with a cluster"):
        logrank(life_table(spells(), **NAMES, by="arm", cluster="provider"))
    with pytest.raises(DesignError, match="spells of one person are not independent"):
        logrank(life_table(spells().assign(id=1), **NAMES, by="arm"))


def test_nothing_to_compare_is_said() -> None:
    with pytest.raises(DesignError, match="0 event"):
        logrank(one([1, 2, 3], [0, 0, 0], arm=list("aab")))
    with pytest.raises(DesignError, match=r"in 1 group"):
        logrank(one([1, 2, 3], [1, 1, 0]))
    with pytest.raises(DesignError, match="nothing to compare"):
        logrank(one([2, 2, 2], [1, 1, 1], arm=list("aab")))


def test_a_group_gone_before_anything_happens_has_no_part() -> None:
    three = logrank(one([1, 1, 3, 4, 5, 6], [0, 0, 1, 1, 1, 1], arm=list("ccaabb")))
    two = logrank(one([3, 4, 5, 6], [1, 1, 1, 1], arm=list("aabb")))
    assert (three.chi2, three.df) == (pytest.approx(two.chi2), 1)


def test_a_true_null_is_rejected_as_often_as_stated() -> None:
    """1,000 samples of 200 with heavy ties and censoring; 5% ± 3 simulation errors is 2.9% to 7.1%."""
    rng = np.random.default_rng(5)
    n = 1_000 * 200
    ended, left = rng.geometric(0.2, n), rng.integers(1, 12, n)
    columns = {"quarters": np.minimum(ended, left), "cause": (ended <= left).astype(int)}
    arm = rng.choice(["a", "b"], n, p=[0.3, 0.7])
    data = pd.DataFrame({"id": np.arange(n), "sample": np.arange(n) % 1_000, "arm": arm, **columns})
    table = life_table(data, **NAMES, by=("sample", "arm"))
    rejected = np.mean([logrank(table.subset(sample=sample)).p_value < 0.05 for sample in range(1_000)])
    assert 0.029 < rejected < 0.071
