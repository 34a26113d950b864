"""Differences between arms: identities, matched pairs, coverage."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.survival.contrasts import incidence_difference, rmst_difference, survival_difference
from retrain_eval.estimators.survival.curves import kaplan_meier
from retrain_eval.estimators.survival.summaries import rmst
from retrain_eval.tables.life_table.counting import life_table
from retrain_eval.tables.life_table.life_table import LifeTable
from survival_cases import NAMES, PROBABILITY, one, spells

TAU = 6


def pairs(draws: int, n: int, seed: int) -> pd.DataFrame:
    """Matched pairs that share a hazard: the arms do not differ, people of a pair are alike."""
    rng = np.random.default_rng(seed)
    size = draws * n
    hazard = np.repeat(rng.choice([0.05, 0.4], size), 2)
    ended, left = rng.geometric(hazard), rng.integers(3, 12, 2 * size)
    return pd.DataFrame(
        {
            "id": np.arange(2 * size),
            "pair": np.arange(2 * size) // 2,
            "draw": np.arange(2 * size) // 2 % draws,
            "arm": np.tile(["control", "trained"], size),
            "quarters": np.minimum(np.minimum(ended, left), TAU + 1),
            "cause": np.where(ended <= np.minimum(left, TAU + 1), "job", "0"),
        }
    )


def differences(data: pd.DataFrame, **options: str) -> pd.DataFrame:
    table = life_table(data, **NAMES, by=("draw", "arm"), **options)
    return rmst_difference(table, TAU, between="arm", reference="control").frame


@pytest.mark.slow
def test_pairs_make_intervals_of_a_difference_as_wide_as_they_should_be() -> None:
    """400 samples of 150 pairs; ±3 simulation errors is ±0.033. Without pairs, intervals are far too wide here."""
    clustered, alone = [], []
    for seed in range(8):
        data = pairs(50, 150, seed)
        clustered.append(differences(data, cluster="pair"))
        alone.append(differences(data))
    found = {}
    for name, frames in {"pair": clustered, "alone": alone}.items():
        frame = pd.concat(frames)
        found[name] = ((frame["ci_low"] <= 0) & (frame["ci_high"] >= 0)).mean()
        if name == "pair":
            estimate, error = frame["estimate"], frame["std_error"]
    assert abs(found["pair"] - 0.95) < 0.033, found
    assert found["alone"] > 0.975, found
    assert error.mean() == pytest.approx(estimate.std(), rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("weighted", [False, True])
def test_intervals_of_a_restricted_mean_difference_cover_the_truth(weighted: bool) -> None:
    """400 samples of 400 with hazards 0.2 and 0.3: Σ_{t<τ} 0.8**t − 0.7**t."""
    rng = np.random.default_rng(21)
    frames = []
    for _ in range(8):
        n = 50 * 400
        arm = rng.choice(["a", "b"], n)
        ended, left = rng.geometric(np.where(arm == "a", 0.3, 0.2)), rng.integers(2, 12, n)
        stop = np.minimum(np.minimum(ended, left), TAU + 1)
        columns = {"quarters": stop, "cause": (ended <= stop).astype(int), "w": rng.uniform(0.2, 3, n)}
        data = pd.DataFrame({"id": np.arange(n), "draw": np.arange(n) % 50, "arm": arm, **columns})
        table = life_table(data, **NAMES, by=("draw", "arm"), **(PROBABILITY if weighted else {}))
        frames.append(rmst_difference(table, TAU, between="arm", reference="a").frame)
    frame, t = pd.concat(frames), np.arange(TAU)
    truth = (0.8**t - 0.7**t).sum()
    covered = ((frame["ci_low"] <= truth) & (truth <= frame["ci_high"])).mean()
    assert abs(covered - 0.95) < 0.033
    assert frame["estimate"].mean() == pytest.approx(truth, abs=4 * frame["estimate"].std() / 20)


def test_a_difference_is_that_of_its_two_rows_with_their_covariance() -> None:
    data = spells(300, 4).assign(pair=lambda f: f["id"] // 2)
    table = life_table(data, **NAMES, by="arm", cluster="pair", **PROBABILITY)
    curve = kaplan_meier(table, times=(2, 4))
    found = survival_difference(table, times=(2, 4), reference="control")
    contrast = np.array([[-1, 0, 1, 0], [0, -1, 0, 1]])
    contrast = contrast if table.groups()[0] == ("control",) else -contrast
    np.testing.assert_allclose(found.frame["estimate"], contrast @ curve.frame["estimate"])
    np.testing.assert_allclose(found.vcov, contrast @ curve.vcov @ contrast.T)
    means = rmst(table, 4)
    gap = rmst_difference(table, 4, reference="control").frame["estimate"].item()
    assert abs(gap) == pytest.approx(abs(np.diff(means.frame["estimate"]).item()))


def test_groups_are_compared_within_the_levels_of_the_others_and_with_each_other() -> None:
    data = spells(600, 7).assign(age=lambda f: np.where(f["id"] % 3 == 0, "old", "young"))
    table = life_table(data, **NAMES, by=("arm", "age"))
    found = survival_difference(table, times=(2, 4), between="arm", reference="control")
    assert list(zip(found.frame["level"], found.frame["time"], strict=True)) == [
        ("old", 2), ("old", 4), ("young", 2), ("young", 4),
    ]  # fmt: skip
    across = found.difference().frame
    estimate = found.frame.set_index(["level", "time"])["estimate"]
    np.testing.assert_allclose(across["estimate"], estimate["young"] - estimate["old"])
    judged = rmst_difference(table, 4, between="arm", reference="control").heterogeneity(0.5)
    assert set(judged.levels["level"]) == {"old", "young"}
    assert set(judged.levels["verdict"]) <= {"effect", "equivalent to none", "inconclusive"}


def test_causes_add_up_to_the_difference_in_survival() -> None:
    table = life_table(spells(400, 9), **NAMES, by="arm")
    survival = survival_difference(table, times=(3, 5), reference="control").frame.set_index("time")["estimate"]
    causes = incidence_difference(table, times=(3, 5), reference="control").frame
    np.testing.assert_allclose(causes.groupby("time")["estimate"].sum(), -survival)


def test_what_cannot_be_compared_is_refused() -> None:
    table = one([1, 2, 3, 4], [1, 1, 1, 1], arm=list("aabb"))
    with pytest.raises(InputError, match="no column to compare by"):
        rmst_difference(one([1, 2], [1, 1]), 2)
    with pytest.raises(InputError, match="unknown level of arm"):
        rmst_difference(table, 2, reference="c")
    with pytest.raises(InputError, match="unknown column of levels"):
        rmst_difference(table, 2, between="age")
    with pytest.raises(InputError, match="ends at 2"):
        survival_difference(table, times=(4,))
    alone: LifeTable = one([1, 2, 3], [1, 1, 1], arm=list("aab"), age=["x", "x", "y"])
    with pytest.raises(DesignError, match="nothing to compare"):
        rmst_difference(alone, 2, between="arm")


def test_where_everyone_in_both_groups_has_ended_the_difference_is_zero_and_has_no_p_value() -> None:
    """By 4 quarters all have dropped out: shares of 1 but for rounding, which is no difference of p < .001."""
    rng = np.random.default_rng(2)
    for n in (97, 331, 760):
        data = pd.DataFrame({"id": np.arange(n), "quarters": rng.integers(1, 8, n), "cause": "dropped_out",
                             "arm": rng.choice(["a", "b"], n), "age": rng.choice(["old", "young"], n)})  # fmt: skip
        table = life_table(data, id="id", duration="quarters", cause="cause", censored=(), by=("arm", "age"))
        apart = incidence_difference(table, times=(7,), between="arm")
        for frame in (apart.frame, apart.difference().frame):
            assert (frame["estimate"] == 0).all()
            assert frame[["std_error", "ci_low", "ci_high", "p_value"]].isna().all(axis=None)
        early = incidence_difference(table, times=(3, 7), between="arm").frame
        assert early.loc[early["time"] == 3, "p_value"].notna().all()
        assert early.loc[early["time"] == 7, "p_value"].isna().all()
