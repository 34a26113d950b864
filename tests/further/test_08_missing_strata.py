"""A missing value of a stratum is shown apart: outside tests, adjustments, differences and headlines."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from further_cases import long_panel, moments
from retrain_eval.estimators.did.means import mean_difference
from retrain_eval.estimators.effects.heterogeneity import equal_effects

MISSING = "(missing)"


def panel(missing: object, seed: int = 1, n: int = 480, far: float = 8.0) -> pd.DataFrame:
    """Three bands with small effects, and people without a band on whom the effect is large."""
    rng = np.random.default_rng(seed)
    band = rng.integers(0, 4, n)
    cohort = np.where(np.arange(n) % 2, 2, 0)
    gain = np.array([0.0, 0.1, 0.2, far])[band] * (cohort > 0)
    names = pd.Series(["16-24", "25-54", "55+", missing], dtype=object)[band].to_numpy()
    paths = rng.normal(size=(n, 3)) + gain[:, None] * [0, 1, 1]
    return long_panel(paths, cohort, band=names)


def whole(long: pd.DataFrame) -> pd.DataFrame:
    return long[long["band"].notna()]


MAKERS = {
    "att_gt": lambda m: m.att_gt().by("band").aggregate("simple"),
    "sun_abraham": lambda m: m.sun_abraham("simple", by="band"),
    "mean difference": lambda m: mean_difference(m, 2, by="band"),
}


def table_of(name: str, long: pd.DataFrame) -> rte.EffectTable:
    return MAKERS[name](moments(long, by="band"))


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
@pytest.mark.parametrize("name", ["att_gt", "mean difference"])
def test_equality_is_tested_over_people_with_a_band(name, missing):
    long = panel(missing)
    found = equal_effects(table_of(name, long))
    want = equal_effects(table_of(name, whole(long)))
    assert found["df"].item() == want["df"].item() == 2
    assert found["p_value"].item() == pytest.approx(want["p_value"].item(), rel=1e-6)


@pytest.mark.parametrize("name", ["att_gt", "sun_abraham"])
def test_p_values_are_adjusted_for_the_bands_alone(name):
    long = panel(None, 2)
    levels = table_of(name, long).heterogeneity(0.5).levels
    judged = levels[levels["level"] != MISSING].set_index("level")
    raw = judged["p_value"].sort_values()
    holm = np.minimum(np.maximum.accumulate(raw.to_numpy() * np.arange(len(raw), 0, -1)), 1)
    assert len(raw) == 3
    # of three levels, not four; in small cells a little larger than from the normal distribution
    assert judged.loc[raw.index, "p_holm"].to_numpy() == pytest.approx(holm, rel=0.05)
    apart = levels[levels["level"] == MISSING]
    assert apart.empty or apart[["p_holm", "p_romano_wolf"]].isna().all(axis=None)


@pytest.mark.parametrize("name", MAKERS)
def test_no_difference_is_taken_with_people_without_a_band(name):
    table = table_of(name, panel(None, 3))
    assert not table.difference().to_frame()["level"].str.contains(MISSING, regex=False).any()
    differences = table.heterogeneity(0.5).differences.to_frame()
    assert not differences["level"].str.contains(MISSING, regex=False).any()
    assert len(differences) == 3


def test_a_missing_band_that_comes_first_is_no_reference():
    """Levels are contrasted with the first one, which must be a band."""
    long = panel(None, 4)
    first = long[long["band"].isna()].assign(id=lambda d: d["id"] - 10_000)
    levels = MAKERS["att_gt"](moments(pd.concat([first, whole(long)]), by="band")).difference().to_frame()["level"]
    assert len(levels) == 2
    assert not levels.str.contains(MISSING, regex=False).any()


def test_effects_of_people_without_a_band_are_shown():
    frame = table_of("att_gt", panel(None, 5)).to_frame()
    row = frame[frame["level"] == MISSING]
    assert len(row) == 1
    assert row["estimate"].item() == pytest.approx(8.0, abs=0.6)


def test_two_strata_of_which_one_is_missing_are_shown_apart_as_well():
    long = panel(None, 6).assign(sex=lambda d: np.where(d["id"] % 3, "f", "m"))
    table = moments(long, by=("band", "sex")).att_gt().by("band").aggregate("simple")
    want = moments(whole(long), by=("band", "sex")).att_gt().by("band").aggregate("simple")
    assert equal_effects(table)["statistic"].item() == pytest.approx(equal_effects(want)["statistic"].item(), rel=1e-6)


def spells(seed: int = 7, n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    arm = pd.Series(["a", "b", None], dtype=object)[rng.integers(0, 3, n)].to_numpy()
    scale = np.where(arm == "a", 4, np.where(arm == "b", 5, 1.2))
    q = np.clip(np.ceil(rng.exponential(scale.astype(float))), 1, 10)
    return pd.DataFrame({"id": range(n), "arm": arm, "q": q, "e": np.where(rng.random(n) < 0.8, 1, 0), "kind": "job"})


def spells_of(frame: pd.DataFrame, cause: str = "e", **options: object) -> rte.Spells:
    return rte.Spells(frame, id="id", duration="q", cause=cause, by="arm", **options)


def test_a_log_rank_test_is_over_spells_with_an_arm():
    frame = spells()
    found, want = spells_of(frame).logrank(), spells_of(frame.dropna(subset=["arm"])).logrank()
    assert (found.df, found.chi2) == pytest.approx((want.df, want.chi2))
    assert want.df == 1


def test_grays_test_is_over_spells_with_an_arm():
    frame = spells(8)
    frame["cause"] = np.where(frame["e"] == 1, np.where(frame["id"] % 4, "job", "recall"), None)
    found = spells_of(frame, "cause", censored=()).gray("job")
    want = spells_of(frame.dropna(subset=["arm"]), "cause", censored=()).gray("job")
    assert (found.df, found.chi2) == pytest.approx((want.df, want.chi2))


def test_differences_between_arms_leave_out_spells_without_one():
    s = spells_of(spells(9))
    for table in (s.survival_difference(times=(2,)), s.rmst_difference(tau=3)):
        frame = table.to_frame()
        assert len(frame) == 1
        assert not frame.astype(str).apply(lambda c: c.str.contains(MISSING, regex=False)).any(axis=None)


def test_curves_of_spells_without_an_arm_are_shown():
    frame = spells_of(spells(11)).kaplan_meier(times=(2,)).to_frame()
    assert set(frame["level"]) == {"a", "b", MISSING}
