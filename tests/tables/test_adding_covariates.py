"""Covariate moments of two samples, added, are those of the people of both."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrain_eval as rte
from retrain_eval.common.errors import InputError
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.protect import protect
from retrain_eval.release.results import Results
from retrain_eval.sample.balance.covariate_sums import sum_covariates
from retrain_eval.tables.counts import SampleCounts
from retrain_eval.tables.covariates.covariates import AFTER, ARMS, BEFORE, CovariateMoments, covariate_balance
from retrain_eval.tables.statistics import Shares, SignedRanks


def moments(cells: pd.DataFrame, who: np.ndarray, treated: np.ndarray, weight: np.ndarray) -> CovariateMoments:
    """Sum the covariates of some of the people; controls weigh what they weigh in the whole."""
    before = {arm: np.flatnonzero(who & (treated == (arm == "treated"))) for arm in ARMS}
    after = {arm: (rows[weight[rows] > 0], weight[rows][weight[rows] > 0]) for arm, rows in before.items()}
    return sum_covariates(cells, np.arange(len(cells)), list(cells.columns), None, before, after)


@given(seed=st.integers(0, 10_000), n=st.integers(24, 90), far=st.sampled_from([0.0, 1e5]))
@settings(max_examples=25, deadline=None)
def test_the_sum_of_two_samples_is_that_of_their_union(seed: int, n: int, far: float) -> None:
    rng = np.random.default_rng(seed)
    half = np.arange(n) < n // 2
    cells = pd.DataFrame({"pay": rng.normal(0, 3, n) + far * half, "union": np.arange(n) % 2})
    cells["school"] = np.array(["low", "mid", "high"])[np.arange(n) % 3]
    treated = np.arange(n) % 4 < 2
    weight = np.where(treated, 1.0, rng.integers(0, 3, n))
    weight[:12] = 1.0
    weight[n // 2 : n // 2 + 12] = 1.0
    one, other, whole = (moments(cells, who, treated, weight) for who in (half, ~half, np.ones(n, dtype=bool)))
    both = one + other
    keys = ["covariate", "arm", "stage"]
    assert sorted(both.cells[keys].itertuples(index=False)) == sorted(whole.cells[keys].itertuples(index=False))
    for covariate in whole.cells["covariate"].unique():
        for arm in ARMS:
            for stage in (BEFORE, AFTER):
                ours, theirs = (found.summary(covariate, arm, stage) for found in (both, whole))
                assert ours is not None
                assert theirs is not None
                assert ours.n == theirs.n
                np.testing.assert_allclose([ours.mean, ours.variance], [theirs.mean, theirs.variance], rtol=1e-6)
                told = both.distribution(covariate, arm, stage)
                x = cells["pay"].to_numpy() if covariate == "pay" else None
                for edge, share in told.items():
                    assert x is not None
                    rows = treated == (arm == "treated")
                    w = np.where(rows, 1.0 if stage == BEFORE else weight, 0.0)
                    assert share == pytest.approx((w * (x < edge)).sum() / w.sum())
    for name in ("people", "n", "sum_w", "sum_w2"):
        a, b = (found.cells.set_index(keys)[name].sort_index() for found in (both, whole))
        np.testing.assert_allclose(a.astype(float), b.astype(float))
    columns = ["covariate", "mean_treated", "smd_after"]
    pd.testing.assert_frame_equal(
        covariate_balance(both)[columns], covariate_balance(whole)[columns], check_like=True, rtol=1e-6
    )


def people(n: int = 60, **more: object) -> CovariateMoments:
    frame = pd.DataFrame({"id": range(n), "treat": [1, 0] * (n // 2), "age": np.arange(n) % 23 + 20}).assign(**more)
    formula = "treat ~ " + " + ".join(["age", *more])
    return rte.match(frame, formula, "id", method="ipw").covariate_moments()


def test_added_moments_can_be_protected_and_released() -> None:
    both = people() + people()
    safe, _ = protect(Results(covariates={"matched": both}), Release())
    assert safe.covariates["matched"].summary("age", "treated", AFTER) is not None
    again = safe.covariates["matched"] + safe.covariates["matched"]  # without what only the agency knows
    assert again.cells["people"].max() == 2 * safe.covariates["matched"].cells["people"].max()


def test_moments_of_other_covariates_or_levels_are_refused() -> None:
    two, three = (people(school=np.array(list(levels))[np.arange(60) // 2 % len(levels)]) for levels in ("ab", "abc"))
    with pytest.raises(InputError, match=r"covariate differ[\s\S]*school"):
        _ = people() + two
    with pytest.raises(InputError, match=r"covariate differ[\s\S]*school_c"):
        _ = two + three
    binary = people(age=lambda d: (d["id"] % 5 < 2).astype(int))
    with pytest.raises(InputError, match="binary differ"):
        _ = people() + binary


def test_counts_of_other_steps_or_bins_and_statistics_of_other_kinds_are_refused() -> None:
    def flow(*steps: str) -> SampleCounts:
        rows = pd.DataFrame({"step": steps, "group": "treated", "n": range(50, 50 - len(steps), -1), "reason": ""})
        return SampleCounts.of("flow", rows)

    assert (flow("all", "linked") + flow("all", "linked")).cells["stopped"].tolist() == [2, 98]
    with pytest.raises(InputError, match=r"steps differ[\s\S]*linked"):
        _ = flow("all", "linked", "matched") + flow("all", "matched")
    bins = [
        SampleCounts.of("overlap", pd.DataFrame({"bin_low": [0.0], "bin_high": [high], "group": "treated", "n": [20]}))
        for high in (0.5, 0.6)
    ]
    with pytest.raises(InputError, match="bins differ"):
        _ = bins[0] + bins[1]
    ranks = SignedRanks(4, 9.0, 10.0, 30.0)
    shares = Shares("employed", "", ("",), ("share",), np.array([1]), np.array([20]), np.ones(1), np.ones(1))
    with pytest.raises(InputError, match="two kinds"):
        _ = ranks + shares
    assert (ranks + ranks).n == 8
