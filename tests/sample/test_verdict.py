"""The light of a matched sample."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matching_samples import LALONDE, lalonde
from retrain_eval.sample.balance.rating import LIGHTS, balance_verdict
from retrain_eval.sample.composition import matching_table
from retrain_eval.sample.match import match


def balance(sizes: list[float], ratios: list[float] | None = None) -> pd.DataFrame:
    names = [f"x{i}" for i in range(len(sizes))]
    return pd.DataFrame(
        {"covariate": names, "effect_size_after": sizes, "variance_ratio_after": ratios or [1.0] * len(sizes)}
    )


@pytest.mark.parametrize(
    ("sizes", "ratios", "light"),
    [
        ([0.05, -0.05], [1, 1], "green"),
        ([0.0501, 0.0], [1, 1], "amber"),
        ([-0.25, 0.0], [1, 1], "amber"),
        ([-0.2501, 0.0], [1, 1], "red"),
        ([np.nan, 0.0], [1, 1], "red"),
        ([0.0, 0.0], [0.5, 2.0], "green"),
        ([0.0, 0.0], [0.49, 1.0], "amber"),
        ([0.0, 0.0], [1.0, np.nan], "green"),
        ([0.0, 0.0], [0.0, 1.0], "amber"),
    ],
)
def test_thresholds(sizes: list[float], ratios: list[float], light: str) -> None:
    assert balance_verdict(balance(sizes, ratios)).light == light


def test_the_score_is_no_covariate() -> None:
    table = balance([2.0, 0.01]).assign(covariate=["distance", "age"])
    assert balance_verdict(table).light == "green"


def test_counts_are_judged_where_they_are_published() -> None:
    whole = {"subgroup": None, "n_treated": 100, "n_treated_matched": 100, "ess_control": 60.0}
    table = balance([0.0])
    assert balance_verdict(table, pd.DataFrame([whole])).light == "green"
    assert balance_verdict(table, pd.DataFrame([whole | {"n_treated_matched": 89}])).light == "amber"
    assert balance_verdict(table, pd.DataFrame([whole | {"ess_control": 49.0}])).light == "amber"
    withheld = balance_verdict(table, pd.DataFrame([whole | {"n_treated_matched": np.nan, "ess_control": np.nan}]))
    assert withheld.light == "green"
    assert withheld.checks["check"].tolist() == ["difference", "spread"]


def test_the_classic_sample_fails_for_race() -> None:
    sample = match(lalonde(), LALONDE, "id")
    verdict = balance_verdict(sample.balance(), matching_table(lalonde(), sample))
    assert verdict.light == "red"
    assert verdict.failed[:1] == ("race_black",)
    exact = balance_verdict(match(lalonde(), LALONDE, "id", caliper=0.2).balance())
    assert exact.light != "red"


@given(sizes=st.lists(st.floats(-1, 1), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_a_worse_covariate_never_mends_the_light(sizes: list[float]) -> None:
    verdict = balance_verdict(balance(sizes))
    worse = balance_verdict(balance([size * 2 for size in sizes]))
    assert LIGHTS.index(worse.light) >= LIGHTS.index(verdict.light)
    assert set(verdict.failed) <= set(worse.failed)
    assert (verdict.light == "red") == bool(verdict.failed)
