"""Entropy balancing and inverse-probability weights, against plain calculations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import retrain_eval as rte
from matching_samples import LALONDE, NSW_CPS, lalonde, nsw_cps
from retrain_eval.common.errors import DesignError
from retrain_eval.sample.methods import ebal

# ---- entropy balancing ----------------------------------------------------------------------------------------------


def small(seed: int, n: int = 80) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"id": range(n), "x": rng.normal(0, 1, n).round(2), "z": rng.integers(0, 4, n)})
    data["t"] = (rng.random(n) < 1 / (1 + np.exp(1 - 0.5 * data["x"]))).astype(int)
    data.loc[:5, ["x", "z", "t"]] = [[-9, 0, 0], [9, 3, 0], [-9, 3, 0], [9, 0, 0], [0, 1, 1], [0.5, 2, 1]]
    return data


@given(seed=st.integers(0, 10_000), moments=st.integers(1, 2))
@settings(max_examples=10, deadline=None)
def test_weights_balance_and_are_exponential_in_the_terms(seed: int, moments: int) -> None:
    data = small(seed)
    sample = rte.match(data, "t ~ x + z", "id", method="ebal", moments=moments)
    rows = data.merge(sample.weights.df(), on="id")
    w, control = rows["weight"].to_numpy(), (rows["t"] == 0).to_numpy()
    columns = [rows[c].to_numpy(float) ** power for c in ("x", "z") for power in range(1, moments + 1)]
    for column in columns:
        gap = column[~control].mean() - np.average(column[control], weights=w[control])
        assert abs(gap) < 1e-7 * column.std()
    terms = np.column_stack([np.ones(control.sum()), *(column[control] for column in columns)])
    residual = np.log(w[control]) - terms @ np.linalg.lstsq(terms, np.log(w[control]), rcond=None)[0]
    assert np.abs(residual).max() < 1e-7  # so they are the ones of largest entropy


def test_a_general_optimiser_finds_the_same_weights() -> None:
    data = lalonde()
    x = data[["age", "educ", "re74"]].to_numpy(float)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    t = data["treat"].to_numpy() == 1
    c = x[~t] - x[t].mean(axis=0)
    found = minimize(lambda b: np.log(np.exp(c @ b).sum()), np.zeros(3), method="BFGS", options={"gtol": 1e-10}).x
    expected = np.exp(c @ found) / np.exp(c @ found).sum()
    weights = (
        rte.match(data, "treat ~ age + educ + re74", "id", method="ebal").weights.df().query("treat == 0")["weight"]
    )
    assert (weights / weights.sum()).to_numpy() == pytest.approx(expected, rel=1e-6)


def test_variances_are_equal_with_two_moments() -> None:
    sample = rte.match(lalonde(), LALONDE, "id", method="ebal", moments=2)
    rows = lalonde().merge(sample.weights.df()[["id", "weight"]], on="id")
    treated, control = rows[rows["treat"] == 1], rows[rows["treat"] == 0]
    for name in ("age", "educ", "re74", "re75"):
        mean = treated[name].mean()
        spread = np.average((control[name] - mean) ** 2, weights=control["weight"])
        assert spread == pytest.approx(((treated[name] - mean) ** 2).mean(), rel=1e-6)
    # Hainmueller's own data, all three moments of a pool of 15,992: a hard case that converges
    audit = rte.match(nsw_cps(), NSW_CPS, "id", method="ebal", moments=3).audit
    assert audit["balancing"]["max_imbalance"] < audit["tolerance"]


def test_balance_holds_within_each_level() -> None:
    sample = rte.match(lalonde(), "treat ~ age + educ", "id", method="ebal", exact="race")
    rows = lalonde().merge(sample.weights.df()[["id", "weight"]], on="id")
    mass = rows.pivot_table(index="race", columns="treat", values="weight", aggfunc="sum")
    assert (mass[0] / mass[0].sum()).to_numpy() == pytest.approx((mass[1] / mass[1].sum()).to_numpy())
    for _, level in rows.groupby("race"):
        treated, control = level[level["treat"] == 1], level[level["treat"] == 0]
        for name in ("age", "educ"):
            assert np.average(control[name], weights=control["weight"]) == pytest.approx(treated[name].mean(), rel=1e-8)
    assert set(sample.audit["balancing"]) == {"race = black", "race = hispan", "race = white"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": [9.0, 8.0]}, r"balance 'x': its mean among the treated is 8\.5, and controls lie between 0 and 5"),
        (
            {"x": [5.0, 5.0]},
            r"balance 'x'.* is 5, and controls lie between 0 and 5",
        ),  # only a weight of zero for the rest
        (
            {"site": ["far", "near"]},
            r"balance 'site\[T.near\]': its mean among the treated is 0\.5, and controls all have 0",
        ),
    ],
)
def test_a_mean_that_controls_cannot_have(change: dict[str, Any], message: str) -> None:
    data = pd.DataFrame({"id": range(8), "t": [1, 1, 0, 0, 0, 0, 0, 0], "x": [2.0, 3, 0, 1, 2, 3, 4, 5], "site": "far"})
    for column, values in change.items():
        data.loc[:1, column] = values
    with pytest.raises(DesignError, match=message):
        rte.match(data, "t ~ x + site", "id", method="ebal")


def test_terms_that_contradict_each_other_are_named() -> None:
    """Each mean lies within the range of controls, but none of them is high on both."""
    x = [0.8, 0.8, 0.0, 1.0, 0.0, 0.5, 0.2]
    y = [0.8, 0.8, 0.0, 0.0, 1.0, 0.4, 0.3]
    data = pd.DataFrame({"id": range(7), "t": [1, 1, 0, 0, 0, 0, 0], "x": x, "y": y, "u": [2, 2, 1, 2, 2, 3, 1]})
    with pytest.raises(DesignError, match=r"'x', 'y', 'u'.*Without any one of these it would: 'x', 'y'\."):
        rte.match(data, "t ~ x + y + u", "id", method="ebal")
    assert rte.match(data, "t ~ x + u", "id", method="ebal").audit["balancing"]["max_imbalance"] < 1e-8


def test_a_solution_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tolerance is on the means themselves: a solver that stopped early would not pass."""
    monkeypatch.setattr(ebal, "TOLERANCE", 0.0)
    with pytest.raises(DesignError, match="unbalanced by"):
        rte.match(lalonde(), LALONDE, "id", method="ebal")


# ---- odds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimand", ["ATT", "ATE", "ATO"])
def test_weights_follow_from_the_score(estimand: str) -> None:
    sample = rte.match(lalonde(), LALONDE, "id", method="ipw", estimand=estimand)
    beta = sample.audit["propensity"]["coefficients"]
    data = lalonde().assign(hispan=lambda d: d["race"] == "hispan", white=lambda d: d["race"] == "white")
    names = ("age", "educ", "married", "nodegree", "re74", "re75")
    linear = beta["Intercept"] + sum(beta[name] * data[name] for name in names)
    e = 1 / (1 + np.exp(-(linear + beta["race[T.hispan]"] * data["hispan"] + beta["race[T.white]"] * data["white"])))
    by_hand = {
        "ATT": np.where(data["treat"], 1, e / (1 - e)),
        "ATE": np.where(data["treat"], 1 / e, 1 / (1 - e)),
        "ATO": np.where(data["treat"], 1 - e, e),
    }[estimand]
    weight = sample.weights.df()["weight"].to_numpy()
    for arm in (data["treat"] == 1, data["treat"] == 0):
        assert weight[arm] == pytest.approx(by_hand[arm] * arm.sum() / by_hand[arm].sum(), rel=1e-9)
    if estimand == "ATO":  # Li, Morgan and Zaslavsky (2018), theorem 3: exact balance in means
        assert sample.balance()["smd_after"].iloc[1:].abs().max() < 1e-8


def test_a_logit_within_each_level() -> None:
    whole = rte.match(lalonde(), "treat ~ age + educ", "id", method="ipw", exact="nodegree")
    for level, block in lalonde().groupby("nodegree"):
        alone = rte.match(block, "treat ~ age + educ", "id", method="ipw").weights.df().set_index("id")["weight"]
        ours = whole.weights.df().set_index("id")["weight"].loc[alone.index]
        control = block.set_index("id")["treat"].loc[alone.index] == 0
        ratio = (ours / alone)[control]
        assert ratio.max() == pytest.approx(ratio.min(), rel=1e-9)
        label = f"nodegree = {float(level)}"
        assert whole.audit["propensity"][label]["coefficients"]["age"] != 0
