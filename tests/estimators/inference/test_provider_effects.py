"""Effects of providers: shrinkage beside its formula, ranks beside brute force, and what too few providers give."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from retrain_eval.common.errors import DesignError
from retrain_eval.common.levels import MISSING_LEVEL, OTHERS
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.inference.providers import (
    equal_providers,
    large_providers,
    provider_spread,
    provider_table,
    providers_of,
    standardised,
)
from retrain_eval.estimators.inference.ranks import ranks_with_sets
from retrain_eval.estimators.inference.shrinkage import shrink


def covariance(j: int, seed: int = 3) -> np.ndarray:
    """Return a covariance of estimates that share some of their noise."""
    rng = np.random.default_rng(seed)
    return np.diag(rng.uniform(0.3, 2.0, j)) + 0.4


def effects(values: dict[str, float], vcov: np.ndarray | None = None, n: int | None = None) -> EffectTable:
    rows = [
        {
            "outcome": "earnings",
            "subgroup": "provider",
            "level": name,
            "estimate": value,
            "n_treated": n,
            "n_control": n,
        }
        for name, value in values.items()
    ]
    return EffectTable.build(rows, 4 * np.eye(len(rows)) if vcov is None else vcov)


def test_four_providers_calculated_by_hand() -> None:
    """Estimates −3, −3, 3, 3 with variance 4: they vary by 36/3 = 12, of which 4 is noise; 8/12 of each remains."""
    table = provider_table(effects({"A": 1.0, "B": 1.0, "C": 7.0, "D": 7.0}))
    by_name = table.set_index("level")
    assert by_name["deviation"].to_dict() == pytest.approx({"A": -3, "B": -3, "C": 3, "D": 3})
    assert by_name["shrunken"].to_dict() == pytest.approx({"A": -2, "B": -2, "C": 2, "D": 2})
    assert by_name["std_error"].to_numpy() == pytest.approx(np.sqrt(4 * 3 / 4))
    [spread] = provider_spread(effects({"A": 1.0, "B": 1.0, "C": 7.0, "D": 7.0})).to_dict("records")
    assert (spread["providers"], spread["mean"], spread["spread"]) == (4, pytest.approx(4), pytest.approx(np.sqrt(8)))


def test_shrinkage_is_the_best_linear_prediction() -> None:
    """With the spread that is found: σ²M (σ²M + MVM)⁺ Mθ̂, written out."""
    j, rng = 9, np.random.default_rng(5)
    vcov, estimate = covariance(j), rng.normal(0, 2, j)
    found = shrink(estimate, vcov)
    centre = np.eye(j) - 1 / j
    noise = centre @ vcov @ centre
    variance = (estimate @ centre @ estimate - np.trace(noise)) / (j - 1)
    assert found.spread**2 == pytest.approx(variance)
    total = variance * centre + noise
    assert found.shrunken == pytest.approx(variance * centre @ np.linalg.pinv(total) @ centre @ estimate)
    assert found.shrunken.sum() == pytest.approx(0, abs=1e-12)


def test_what_all_estimates_share_has_no_part() -> None:
    j, rng = 8, np.random.default_rng(6)
    vcov, estimate = covariance(j), rng.normal(0, 2, j)
    one, other = shrink(estimate, vcov), shrink(estimate + 100, vcov + 50)
    for name in ("deviation", "std_error", "shrunken", "low", "high", "spread", "spread_low", "spread_high"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-6, atol=1e-9, err_msg=name)


def test_independent_estimates_of_one_precision_shrink_by_their_reliability() -> None:
    estimate = np.array([-4.0, -1.0, 0.0, 2.0, 3.0])
    found = shrink(estimate, 0.5 * np.eye(5))
    variance = estimate.var(ddof=1) - 0.5
    assert found.shrunken == pytest.approx(estimate * variance / (variance + 0.5))


def test_without_a_spread_all_are_the_mean_and_intervals_do_not_collapse() -> None:
    found = shrink(np.array([0.1, -0.1, 0.05, -0.05, 0.0]), np.eye(5))
    assert found.spread == 0
    assert not found.shrunken.any()
    assert (found.low < -0.1).all()
    assert (found.high > 0.1).all()
    assert found.spread_low == 0 < found.spread_high


def test_shrunken_effects_beat_raw_ones_and_intervals_cover() -> None:
    rng, j = np.random.default_rng(8), 60
    raw, shrunken, covered = [], [], []
    for _ in range(60):
        vcov = np.diag(rng.uniform(0.5, 1.6, j) ** 2) + 0.3
        true = rng.normal(0, 1.0, j)
        found = shrink(true + rng.multivariate_normal(np.zeros(j), vcov), vcov)
        gap = true - true.mean()
        raw.append(((found.deviation - gap) ** 2).mean())
        shrunken.append(((found.shrunken - gap) ** 2).mean())
        covered.append(((found.low <= gap) & (gap <= found.high)).mean())
    assert np.mean(shrunken) < 0.6 * np.mean(raw)
    assert 0.93 <= np.mean(covered) <= 0.97


def test_ranks_are_those_that_the_differences_allow() -> None:
    rng, j = np.random.default_rng(9), 7
    estimate, vcov, df = rng.normal(0, 3, j), covariance(j), np.full(j, np.inf)
    rank, low, high = ranks_with_sets(estimate, vcov, df)
    draws = rng.multivariate_normal(np.zeros(j), vcov, 40_000)
    spread = np.sqrt(np.add.outer(np.diag(vcov), np.diag(vcov)) - 2 * vcov + np.eye(j))
    largest = (np.abs(draws[:, :, None] - draws[:, None, :]) / spread).max(axis=(1, 2))
    gap = (estimate[None, :] - estimate[:, None]) / spread
    # at critical values on both sides of the one drawn here, so that chance in the draws decides nothing
    for critical, compare in ((1.05, np.less_equal), (0.95, np.greater_equal)):
        limit = critical * np.quantile(largest, 0.95)
        assert compare(1 + (gap > limit).sum(axis=1), low).all()
        assert compare(high, j - (gap < -limit).sum(axis=1)).all()
    assert (low <= rank).all()
    assert (rank <= high).all()


def test_estimated_variances_widen_the_sets_of_ranks() -> None:
    estimate = np.array([0.0, 3.0])
    assert ranks_with_sets(estimate, np.eye(2), np.full(2, np.inf))[1].tolist() == [2, 1]
    assert ranks_with_sets(estimate, np.eye(2), np.full(2, 2.0))[1].tolist() == [1, 1]


def test_pooled_providers_and_unknown_ones_have_no_part() -> None:
    values = {"A": 1.0, "B": 1.0, "C": 7.0, "D": 7.0}
    more = effects({**values, OTHERS: 90.0, MISSING_LEVEL: -90.0}, 4 * np.eye(6))
    pd.testing.assert_frame_equal(provider_table(more), provider_table(effects(values)))
    pd.testing.assert_frame_equal(equal_providers(more), equal_providers(effects(values)))


def test_too_few_providers_are_refused_in_a_sentence() -> None:
    three = effects({"A": 1.0, "B": 2.0, "C": 3.0})
    assert equal_providers(three)["statistic"].item() == pytest.approx(2 / 4)
    for verb in (provider_table, provider_spread):
        with pytest.raises(DesignError, match="fewer than four providers"):
            verb(three)
    with pytest.raises(DesignError, match="fewer than two providers"):
        equal_providers(effects({"A": 1.0, OTHERS: 2.0}, np.eye(2)))


def test_small_samples_have_larger_variances() -> None:
    """Variances are divided by n: of ten in each arm, 10/9 of them is meant."""
    values = {"A": 1.0, "B": 1.0, "C": 7.0, "D": 7.0}
    [many] = provider_spread(effects(values)).to_dict("records")
    [few] = provider_spread(effects(values, n=10)).to_dict("records")
    assert many["spread"] ** 2 - few["spread"] ** 2 == pytest.approx(4 * (10 / 9 - 1))


def test_funnel_limits_are_1_96_and_3_09_standard_errors() -> None:
    values = {name: 0.0 for name in "ABCDEFGH"} | {"I": 2.5, "J": -4.0}
    table = provider_table(effects(values, 1.0 * np.eye(10))).set_index("level")
    t = (table["deviation"] / table["std_error"]).abs()
    expected = np.where(t > 3.0902, "99.8%", np.where(t > 1.95997, "95%", ""))
    assert table["limit"].tolist() == expected.tolist()
    assert table.loc[["I", "J"], "limit"].tolist() == ["95%", "99.8%"]


@pytest.mark.parametrize("few", [{"n_treated": 40, "n_control": 4}, {"n_treated": 9, "n_control": 40}])
def test_a_provider_with_few_people_in_either_arm_has_no_part(few: dict[str, int]) -> None:
    """Its error is as uncertain as its effect: 90 would be far from the others, and is only the work of four people."""
    values = {"A": 1.0, "B": 1.0, "C": 7.0, "D": 7.0}
    rows = [{"level": name, "estimate": value, "n_treated": 40, "n_control": 40} for name, value in values.items()]
    more = EffectTable.build([*rows, {"level": "E", "estimate": 90.0, **few}], 4 * np.eye(5))
    without = EffectTable.build(rows, 4 * np.eye(4))
    for verb in (provider_table, provider_spread, equal_providers):
        pd.testing.assert_frame_equal(verb(more), verb(without))
    shown = large_providers(more)
    pd.testing.assert_frame_equal(shown.frame, without.frame)
    assert shown.notes == ("1 provider(s) with few trainees, or few controls, are not shown apart",)
    with pytest.raises(DesignError, match="no provider has enough trainees, and enough controls"):
        large_providers(EffectTable.build([{"level": "E", "estimate": 90.0, **few}], np.eye(1)))


def test_variances_of_matched_sets_are_divided_by_one_less() -> None:
    rows = [{"level": name, "estimate": 1.0, "n_treated": 12, "n_control": 12} for name in "ABCD"]
    given = EffectTable.build(rows, np.eye(4), df=11, n_clusters=[12] * 4)
    assert np.diag(providers_of(given)[1]) == pytest.approx(12 / 11)
    jackknifed = EffectTable.build(rows, np.eye(4), df=11, n_clusters=[12] * 4, meta={"variance": "CV3"})
    assert np.diag(providers_of(jackknifed)[1]) == pytest.approx(1)


def test_variances_that_are_estimated_make_no_spread() -> None:
    """Of 60 providers with ten pairs and one true effect, a spread is found in one of 40 draws."""
    rng, j, n, draws = np.random.default_rng(11), 60, 10, 200
    found, taken_as_known = 0, 0
    for _ in range(draws):
        gains = rng.standard_normal((j, n))
        estimate, vcov = gains.mean(axis=1), np.diag(gains.var(axis=1, ddof=1) / n)
        found += shrink(estimate, vcov, df=np.full(j, n - 1.0)).spread_low > 0
        taken_as_known += shrink(estimate, vcov).spread_low > 0
    assert found / draws <= 0.05
    assert taken_as_known / draws > 0.2


def test_many_degrees_of_freedom_are_those_of_known_variances() -> None:
    estimate, vcov = np.array([-3.0, -1.0, 0.5, 3.0, 9.0]), np.diag([1.0, 2.0, 1.5, 0.7, 1.2])
    known, estimated = shrink(estimate, vcov), shrink(estimate, vcov, df=np.full(5, 1e5))
    for name in ("low", "high", "spread_low", "spread_high"):
        np.testing.assert_allclose(getattr(known, name), getattr(estimated, name), rtol=1e-3, err_msg=name)
    few = shrink(estimate, vcov, df=np.full(5, 9.0))
    assert few.spread_low < known.spread_low
    assert (few.high - few.low > known.high - known.low).all()


def test_standardised_effects_weigh_levels_as_all_trainees_have_them() -> None:
    rows = [
        {"subgroup": "provider × sex", "level": level, "estimate": value, "n_treated": n, "n_control": n}
        for level, value, n in (
            ("A × m", 1.0, 10), ("A × f", 3.0, 30), ("B × m", 2.0, 30), ("B × f", 4.0, 10), ("C × m", 9.0, 20),
        )
    ]  # fmt: skip
    found = standardised(EffectTable.build(rows, np.diag([1.0, 2.0, 3.0, 4.0, 5.0])))
    men = 60 / 100
    assert found.frame["level"].tolist() == ["A", "B"]
    assert found.frame["estimate"].tolist() == pytest.approx([men + 3 * (1 - men), 2 * men + 4 * (1 - men)])
    assert np.diag(found.vcov) == pytest.approx([men**2 + 2 * (1 - men) ** 2, 3 * men**2 + 4 * (1 - men) ** 2])
    assert found.frame["n_treated"].tolist() == [40, 40]
    assert any("left out" in note for note in found.notes)
