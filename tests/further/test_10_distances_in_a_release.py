"""Distances of distributions in a release are lower bounds, since bins are merged, and are printed as such."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from retrain_eval.common.resources import resource
from retrain_eval.report.language.catalogue import speaking
from retrain_eval.report.pages.balance.covariates import tabulate_distributions
from retrain_eval.sample.balance.balance import ecdf_distance
from retrain_eval.tables.covariates.covariates import covariate_balance

WORDS = SimpleNamespace(covariate=lambda name: name, name=lambda name: name)


def balance(distance: float) -> pd.DataFrame:
    row = {"covariate": "age", "variance_ratio_before": 1.0, "variance_ratio_after": 1.0}
    row |= {f"ecdf_{kind}_{when}": distance for kind in ("mean", "max") for when in ("before", "after")}
    return pd.DataFrame([row])


@pytest.mark.parametrize("distance", [0.124, 0.05, 0.9])
def test_the_table_of_distances_says_at_least(distance):
    html = tabulate_distributions(balance(distance), WORDS).html().lower()
    page = (resource("book") / "balance.md").read_text(encoding="utf-8").lower()
    assert "at least" in html or "≥" in html or "at least" in page


def test_the_table_of_distances_says_so_in_chinese():
    with speaking("en"):
        english = tabulate_distributions(balance(0.2), WORDS).html()
    with speaking("zh"):
        chinese = tabulate_distributions(balance(0.2), WORDS).html()
    pages = (resource("book") / "balance.md").read_text(encoding="utf-8")
    if "at least" in english.lower():
        assert "至少" in chinese or "不小于" in chinese
    else:
        assert "at least" in pages.lower() or "≥" in chinese


def test_the_methods_page_says_that_released_distances_are_lower_bounds():
    page = (resource("book") / "methods.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if "Distance of distributions" in line]
    assert any(word in line.lower() for word in ("at least", "lower bound", "no smaller", "never larger", "or more"))


@pytest.mark.parametrize(("seed", "skew"), [(1, 0.4), (2, 1.5), (3, 3.0)])
def test_what_is_released_is_never_above_the_distance_of_all_values(seed, skew):
    rng = np.random.default_rng(seed)
    n = 600
    treat = (np.arange(n) < 150).astype(int)
    x = np.where(treat == 1, rng.gamma(2, 1 + skew, n), rng.gamma(2, 1, n)).round(2)
    frame = pd.DataFrame({"id": range(n), "treat": treat, "x": x})
    sample = rte.match(frame, "treat ~ x", unit="id", caliper=None)
    told = covariate_balance(sample.covariate_moments()).set_index("covariate").loc["x"]
    mean, largest = ecdf_distance(x, (treat == 1).astype(float), (treat == 0).astype(float))
    true = max(abs((x[treat == 1] <= at).mean() - (x[treat == 0] <= at).mean()) for at in x)
    assert largest == pytest.approx(true)
    assert told["ecdf_max_before"] <= largest + 1e-12
    assert mean <= largest
