"""Covariate moments: the balance table follows from them, whatever the method, and who is few is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matching_samples import LALONDE, lalonde
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.sample.balance.covariate_sums import sum_covariates
from retrain_eval.sample.composition import baseline_paths
from retrain_eval.sample.match import match
from retrain_eval.tables.covariates.covariates import (
    BEFORE,
    RELEASED,
    CovariateMoments,
    covariate_balance,
    covariate_paths,
)

METHODS: list[dict[str, Any]] = [
    {"method": "nearest"},
    {"method": "nearest", "caliper": 0.2},
    {"method": "nearest", "replace": True, "ratio": 2},
    {"method": "cem"},
    {"method": "ebal"},
    {"method": "ipw"},
]


def without_distributions(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=["ecdf_mean_before", "ecdf_mean_after", "ecdf_max_before", "ecdf_max_after"])


@pytest.mark.parametrize("options", METHODS, ids=lambda options: "-".join(map(str, options.values())))
def test_balance_follows_from_moments(options: dict[str, Any], tmp_path: Path) -> None:
    sample = match(lalonde(), LALONDE, "id", **options)
    moments = sample.covariate_moments()
    whole = sample.balance()
    pd.testing.assert_frame_equal(
        without_distributions(covariate_balance(moments)), without_distributions(whole), rtol=1e-9, atol=1e-11
    )
    binary = moments.cells.drop_duplicates("covariate")["binary"].to_numpy(dtype=bool)
    shares = covariate_balance(moments)[binary]
    assert {"race_black", "married"} <= set(shares["covariate"])
    same = whole.set_index("covariate").loc[shares["covariate"], "ecdf_max_after"]
    assert shares["ecdf_max_after"].to_numpy() == pytest.approx(same.to_numpy())
    told = covariate_balance(moments)
    for name in ("ecdf_max_before", "ecdf_max_after"):  # at some points, so never farther apart than at all
        assert (told[name] <= whole[name] + 1e-12).all()
        assert (told[name] >= 0.5 * whole[name] - 0.02).all()
    moments.to_parquet(tmp_path / "m.parquet")
    again = CovariateMoments.read_parquet(tmp_path / "m.parquet")
    pd.testing.assert_frame_equal(covariate_balance(again), covariate_balance(moments), check_exact=True)


def test_balance_of_risk_sets_follows_too_though_a_control_stands_in_several_rows() -> None:
    rng = np.random.default_rng(4)
    n = 400
    people = pd.DataFrame({"id": range(n), "x": rng.normal(size=n).round(1), "sex": rng.choice(["f", "m"], n)})
    people["start"] = 100
    people["entry"] = pd.array(100 + rng.integers(0, 8, n), dtype="Int64")
    people.loc[rng.random(n) < 0.7, "entry"] = pd.NA
    people["until"] = 100 + rng.integers(2, 10, n)
    sample = match(
        people, "trained ~ x + sex", "id", method="riskset", start="start", entry="entry", end="until",
        distance="x", replace=True, ratio=2,
    )  # fmt: skip
    moments = sample.covariate_moments()
    pd.testing.assert_frame_equal(
        without_distributions(covariate_balance(moments)), without_distributions(sample.balance()), rtol=1e-9
    )
    control = moments.cells[(moments.cells["arm"] == "control") & (moments.cells["stage"] == "after")].iloc[0]
    assert control["people"] == sample.audit["n_control_matched"]
    assert control["n"] > control["people"]


def test_paths_before_follow_from_moments_too() -> None:
    people = lalonde()
    sample = match(people, LALONDE, "id", caliper=0.2)
    found = covariate_paths(sample.covariate_moments(), "earnings", {"re75": 1975, "re74": 1974})
    expected = baseline_paths(people, sample, "earnings", {1974: "re74", 1975: "re75"})
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-12)
    with pytest.raises(DesignError, match="no period"):
        covariate_paths(sample.covariate_moments(), "earnings", {"re73": 1973})


def test_without_keys_there_is_nothing_but_what_is_published() -> None:
    moments = match(lalonde(), LALONDE, "id", caliper=0.2).covariate_moments()
    assert not moments.keyed
    assert list(moments.cells.columns) == list(RELEASED)


def sums(x: list[float], weight: list[float], **options: Any) -> CovariateMoments:
    """Sum one covariate of people who are all trained but for two controls."""
    cells = pd.DataFrame({"x": [*x, 0.5, 2.5]})
    n = len(x)
    rows = np.arange(n)
    both = np.array([n, n + 1])
    return sum_covariates(
        cells, np.arange(n + 2), ["x"], None, {"treated": rows, "control": both},
        {"treated": (rows, np.array(weight)), "control": (both, np.ones(2))}, **options,
    )  # fmt: skip


def test_values_above_a_quantile_are_capped_and_three_share_the_cap() -> None:
    capped = sums([1.0, 2, 3, 4, 1e6], [1.0] * 5, winsorise=0.99).summary("x", "treated", BEFORE)
    assert capped is not None
    assert capped.mean == pytest.approx((1 + 2 + 3 + 3 + 3) / 5)
    with pytest.raises(InputError, match="winsorise"):
        sums([1.0, 2], [1.0, 1], winsorise=0.5)


@given(
    x=st.lists(st.integers(-50, 50).map(lambda v: v / 4 + 1e4), min_size=3, max_size=30),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_a_variance_is_that_of_the_people(x: list[float], seed: int) -> None:
    weight = np.random.default_rng(seed).uniform(0.5, 3, len(x))
    values = np.array(x)
    found = sums(x, weight.tolist()).summary("x", "treated", "after")
    assert found is not None
    mean = np.average(values, weights=weight)
    variance = (weight * (values - mean) ** 2).sum() / (weight.sum() - (weight**2).sum() / weight.sum())
    assert found.mean == pytest.approx(mean)
    assert found.variance == pytest.approx(variance, abs=1e-6)


def test_another_file_is_no_moments(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("x")
    with pytest.raises(InputError, match="cannot be read"):
        CovariateMoments.read_parquet(tmp_path / "x.parquet")
