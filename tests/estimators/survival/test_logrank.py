"""The log-rank test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.survival.logrank import logrank
from retrain_eval.tables.life_table.counting import life_table
from survival_cases import NAMES, PROBABILITY, one, spells


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


def by_rows(data: pd.DataFrame, weight: np.ndarray, rho: float, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """The score and its influence by the definition, spell by spell: (G,) and (rows, G), per row of weight one."""
    times = np.unique(data["quarters"])
    member = pd.get_dummies(data["arm"]).to_numpy(dtype=float)
    score, influence, survival = np.zeros(member.shape[1]), np.zeros(member.shape), 1.0
    for time in times:
        at_risk = ((data["entry"] < time) & (data["quarters"] >= time)).to_numpy()
        ended = ((data["quarters"] == time) & (data["cause"] != "0")).to_numpy()
        hazard = weight[ended].sum() / weight[at_risk].sum()
        share = weight[at_risk] @ member[at_risk] / weight[at_risk].sum()
        factor = survival**rho * (1 - survival) ** gamma
        score += factor * (weight[ended] @ (member[ended] - share))
        influence += factor * (ended * 1.0 - at_risk * hazard)[:, None] * (member - share)
        survival *= 1 - hazard
    return score, influence


@given(
    seed=st.integers(0, 10_000),
    truncated=st.booleans(),
    clustered=st.booleans(),
    weights=st.sampled_from([(0, 0), (1, 0), (0, 1), (0.5, 1.5)]),
)
@settings(max_examples=20, deadline=None)
def test_robust_cells_equal_rows(seed: int, truncated: bool, clustered: bool, weights: tuple[float, float]) -> None:
    data = spells(seed=seed, truncated=truncated).assign(arm=lambda f: (f["id"] % 3).astype(str))
    options = PROBABILITY | ({"cluster": "provider"} if clustered else {})
    test = logrank(life_table(data, **NAMES, entry="entry", by="arm", **options), *weights)
    weight = data["w"].to_numpy()
    score, influence = by_rows(data, weight, *weights)
    total = influence * weight[:, None]
    if clustered:
        total = pd.DataFrame(total).groupby(data["provider"].to_numpy()).sum().to_numpy()
    covariance = total.T @ total
    np.testing.assert_allclose(
        test.groups["observed"] - test.groups["expected"], score[[int(g) for g in test.groups["level"]]], atol=1e-12
    )
    expected = score[1:] @ np.linalg.solve(covariance[1:, 1:], score[1:])
    assert test.chi2 == pytest.approx(expected, rel=1e-9)
    assert test.df == 2


@given(seed=st.integers(0, 10_000), scale=st.floats(1e-6, 1e6))
@settings(max_examples=10, deadline=None)
def test_rescaled_probability_weights_change_nothing(seed: int, scale: float) -> None:
    data = spells(seed=seed)
    a, b = (
        logrank(life_table(d, **NAMES, by="arm", **PROBABILITY), 1, 1) for d in (data, data.assign(w=data["w"] * scale))
    )
    assert b.chi2 == pytest.approx(a.chi2, rel=1e-8)
    np.testing.assert_allclose(b.groups["expected"], a.groups["expected"] * scale, rtol=1e-8)


def test_equal_weights_are_close_to_the_classical_test() -> None:
    data = spells(3_000, seed=2).assign(w=7.0)
    classical = logrank(life_table(data, **NAMES, by="arm"))
    robust = logrank(life_table(data, **NAMES, by="arm", **PROBABILITY))
    assert robust.chi2 == pytest.approx(classical.chi2, rel=0.05)
    assert (classical.variance, robust.variance) == ("hypergeometric", "infinitesimal jackknife, by spell")
    asked = logrank(life_table(data, **NAMES, by="arm"), robust=True)
    assert asked.chi2 == pytest.approx(robust.chi2, rel=1e-10)


@pytest.mark.parametrize("options", [{}, PROBABILITY])
def test_strata_add_up(options: dict[str, str]) -> None:
    data = spells(200, seed=4).assign(age=lambda f: np.where(f["id"] % 3, "25+", "<25"))
    table = life_table(data, **NAMES, by=("arm", "age"), **options)
    parts = [logrank(table.subset(age=age).collapse("age")) for age in ("<25", "25+")]
    test = logrank(table, strata="age")
    assert test.test == "log-rank, stratified by age"
    assert test.groups["n"].sum() == 200
    for column in ("observed", "expected"):
        sums = sum(part.groups.set_index("level")[column] for part in parts)
        np.testing.assert_allclose(test.groups.set_index("level")[column], sums.loc[test.groups["level"]], rtol=1e-12)
    # with two groups, each part's variance is its squared deviation over its statistic
    deviation = [(part.groups["observed"] - part.groups["expected"])[0] for part in parts]
    # the levels may come in another order in a part, which turns the sign of both its deviations
    sign = [1 if part.groups["level"][0] == test.groups["level"][0] else -1 for part in parts]
    variance = sum(d**2 / part.chi2 for d, part in zip(deviation, parts, strict=True))
    expected = (np.array(deviation) @ sign) ** 2 / variance
    assert test.chi2 == pytest.approx(expected, rel=1e-9)


def test_what_does_not_hold_is_refused() -> None:
    weighted = life_table(spells(), **NAMES, by="arm", **PROBABILITY)
    with pytest.raises(InputError, match="classical variance does not hold with probability weights"):
        logrank(weighted, robust=False)
    with pytest.raises(InputError, match="does not hold with a cluster"):
        logrank(life_table(spells(), **NAMES, by="arm", cluster="provider"), robust=False)
    with pytest.raises(DesignError, match="spells of one person are not independent"):
        logrank(life_table(spells().assign(id=1), **NAMES, by="arm"))
    with pytest.raises(InputError, match="rho must be zero or more"):
        logrank(weighted, rho=-1)
    with pytest.raises(InputError, match="gamma must be zero or more"):
        logrank(weighted, gamma=np.nan)
    with pytest.raises(InputError, match="unknown column of levels 'age'"):
        logrank(weighted, strata=("age",))
    with pytest.raises(DesignError, match="nothing to compare"):
        logrank(weighted, strata="arm")


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


@pytest.mark.slow
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
