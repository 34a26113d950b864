"""The level of those whose value is missing: shown, and outside tests, adjustments, differences and headlines."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.did.means import mean_difference
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.heterogeneity import equal_effects, verdicts
from retrain_eval.estimators.inference.pretrend import pretrend_test
from retrain_eval.estimators.survival.gray import gray
from retrain_eval.estimators.survival.logrank import logrank, logrank_scores
from retrain_eval.estimators.survival.regression.cox import cox
from retrain_eval.sample.composition import matching_table
from retrain_eval.tables.life_table.counting import life_table

NAMES = {"unit": "id", "time": "t", "cohort": "g", "outcome": "y"}


def panel(n: int = 300, seed: int = 0) -> pd.DataFrame:
    """People of two age bands, and some whose band is missing and whose effect is far larger."""
    rng = np.random.default_rng(seed)
    people = pd.DataFrame({"id": range(n), "g": rng.choice([0, 3], n)})
    people["band"] = rng.choice(["under 12", "12 and over", None], n, p=[0.45, 0.45, 0.1])
    effect = np.where(people["band"].isna(), 12.0, 0.3)
    return pd.concat(
        [people.assign(t=t, y=rng.normal(0, 1, n) + (t == 3) * (people["g"] == 3) * effect) for t in (1, 2, 3)]
    )


def known(data: pd.DataFrame) -> pd.DataFrame:
    return data[data["band"].notna()]


def by_band(data: pd.DataFrame, kind: str = "simple") -> EffectTable:
    return rte.outcome_moments(data, **NAMES, by="band").att_gt().by("band").aggregate(kind)


def test_it_is_shown_last_and_changes_nothing_about_the_others() -> None:
    data = panel()
    both, without = by_band(data), by_band(known(data))
    assert both.to_frame()["level"].tolist() == ["12 and over", "under 12", "(missing)"]
    assert both.to_frame()["estimate"].iloc[-1] > 8
    pd.testing.assert_frame_equal(both.difference().frame, without.difference().frame)
    pd.testing.assert_frame_equal(equal_effects(both), equal_effects(without))
    pd.testing.assert_frame_equal(verdicts(both, 1.0), verdicts(without, 1.0))
    found = both.heterogeneity(1.0)
    assert "(missing)" not in set(found.levels["level"])
    assert not found.differences.frame["level"].str.contains("missing").any()
    assert found.notes[0] == "(missing) is shown separately and is not judged"


def test_it_widens_no_band() -> None:
    data = panel()
    both, without = (by_band(part, "dynamic").to_frame() for part in (data, known(data)))
    own = both["level"] != "(missing)"
    pd.testing.assert_frame_equal(both[own].reset_index(drop=True), without)
    assert both.loc[~own, "band_low"].isna().all()
    assert both.loc[~own, "ci_low"].notna().any()


def test_it_is_in_no_test_of_paths_before_treatment() -> None:
    data = panel()
    drift = data.assign(y=data["y"] + np.where(data["band"].isna() & (data["g"] == 3), 5.0 * data["t"], 0.0))
    both, without = (pretrend_test(by_band(part, "dynamic")) for part in (drift, known(drift)))
    pd.testing.assert_frame_equal(both, without)
    assert both["p_value"].item() > 0.001


def test_it_is_never_the_reference_of_a_regression() -> None:
    data = spells().assign(band=lambda f: f["band"].where((f["arm"] == "b") | f["band"].isna(), None))
    table = life_table(data, id="id", duration="weeks", cause="cause", censored=(), by=("arm", "band"))
    assert table.groups()[0] == ("a", "(missing)")
    assert cox(table, "band").meta["reference"] == {"band": "old"}


def test_combinations_with_a_missing_part_count_as_missing() -> None:
    data = panel().assign(sex=lambda f: np.where(f["id"] % 2, "f", "m"))
    both, without = (
        rte.outcome_moments(part, **NAMES, by=("band", "sex")).att_gt().by("band", "sex").aggregate("simple")
        for part in (data, known(data))
    )
    assert both.to_frame()["level"].str.contains("missing").tolist() == [False] * 4 + [True] * 2
    pd.testing.assert_frame_equal(both.difference().frame, without.difference().frame)


def test_with_one_known_level_there_is_nothing_to_compare() -> None:
    data = panel()
    effects = by_band(data[data["band"].isna() | (data["band"] == "under 12")])
    assert len(effects) == 2
    with pytest.raises(InputError, match="at least two levels"):
        effects.difference()
    with pytest.raises(DesignError, match="fewer than two levels"):
        effects.heterogeneity(1.0)


def test_too_few_of_unknown_level_do_not_stop_a_difference_in_means() -> None:
    data = known(panel())
    one = data[data["id"] == data["id"].iloc[0]].assign(id=10_000, band=None)
    found = mean_difference(rte.outcome_moments(pd.concat([data, one]), **NAMES, by="band"), 3, by="band")
    pd.testing.assert_frame_equal(
        found.frame, mean_difference(rte.outcome_moments(data, **NAMES, by="band"), 3, by="band").frame
    )


def spells(n: int = 240) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    band = rng.choice(["young", "old", None], n, p=[0.4, 0.4, 0.2])
    weeks = np.where(pd.isna(band), rng.integers(1, 3, n), rng.integers(1, 9, n))
    return pd.DataFrame({"id": range(n), "weeks": weeks, "cause": rng.integers(0, 3, n), "band": band,
                         "arm": rng.choice(["a", "b"], n), "pair": np.arange(n) // 2})  # fmt: skip


@pytest.mark.parametrize("cluster", [None, "pair"])
def test_group_tests_leave_out_spells_of_unknown_group(cluster: str | None) -> None:
    options = {"id": "id", "duration": "weeks", "cause": "cause", "censored": (), "cluster": cluster}
    both, without = (life_table(part, **options, by="band") for part in (spells(), known(spells())))
    assert both.groups() == [("old",), ("young",), ("(missing)",)]
    a, b = logrank(both), logrank(without)
    assert (a.chi2, a.df, a.p_value) == (b.chi2, b.df, b.p_value)
    assert a.groups["level"].tolist() == ["old", "young"]
    assert logrank_scores(both).levels == ("old", "young")
    if cluster is None:
        assert gray(both, "1").chi2 == gray(without, "1").chi2
    # nor are those of an unknown stratum compared among themselves
    both, without = (life_table(part, **options, by=("arm", "band")) for part in (spells(), known(spells())))
    assert logrank(both, strata="band").chi2 == logrank(without, strata="band").chi2
    only = life_table(spells()[lambda f: f["band"].isna()], **options, by="band")
    with pytest.raises(DesignError, match="the level of every spell is missing"):
        logrank(only)


def test_arms_of_unknown_name_are_not_compared_and_end_no_mean() -> None:
    options = {"id": "id", "duration": "weeks", "cause": "cause", "censored": (), "by": "band"}
    both, without = (rte.Spells(part, **options) for part in (spells(), known(spells())))
    # the curve of the unknown ends at 2: they have no mean up to 6, and the others have
    assert both.rmst(tau=6).to_frame()["level"].tolist() == ["old", "young"]
    pd.testing.assert_frame_equal(both.rmst_difference(tau=6).frame, without.rmst_difference(tau=6).frame)
    pd.testing.assert_frame_equal(
        both.survival_difference(times=(2, 6)).frame, without.survival_difference(times=(2, 6)).frame
    )
    assert "(missing)" in both.kaplan_meier().to_frame()["level"].tolist()
    with pytest.raises(InputError, match="unknown level of band"):
        both.survival_difference(times=(1,), reference="(missing)")


def test_counts_of_a_stratum_name_those_whose_level_is_missing() -> None:
    people = pd.DataFrame({"id": range(12), "found": [1, 0] * 6, "treat": [1, 0, 0] * 4, "age": range(12),
                           "band": ["x", "y", None] * 4})  # fmt: skip
    rates = rte.linkage_rates(people, "found", by=["band"])
    assert rates["level"].fillna("all").tolist() == ["all", "x", "y", "(missing)"]
    sample = rte.match(people, "treat ~ age", unit="id")
    table = matching_table(people, sample, by=["band"])
    assert table["level"].fillna("all").tolist() == ["all", "x", "y", "(missing)"]
