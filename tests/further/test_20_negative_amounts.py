"""Amounts below zero: dominance is judged by |w·y|, and caps are set on both tails."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from further_cases import long_panel, moments
from keyed_panels import RULES, keyed
from retrain_eval.common.errors import DisclosureError
from retrain_eval.release.protection.protect import protect
from retrain_eval.release.results import Results
from retrain_eval.sample.hidden_bias.pooled_sd import spread


def published(paths: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Protect outcome moments and return the mean path of the treated; withheld moments are refused here."""
    n = len(paths)
    options = {} if weights is None else {"w": weights}
    long = long_panel(paths, np.where(np.arange(n) % 2, 2, 0), **options)
    rows = keyed(long.assign(person=long["id"].astype(str)))
    results = Results()
    results.moments["matched"] = moments(rows, **({} if weights is None else {"weights": "w"}))
    safe, _ = protect(results, RULES)
    if "matched" not in safe.moments:
        raise DisclosureError("withheld")
    kept = safe.moments["matched"]
    return kept.means()[kept.cells["cohort"].notna().to_numpy()][0]


def alike(seed: int, n: int = 300) -> np.ndarray:
    return np.random.default_rng(seed).normal(20_000, 3_000, (n, 3))


CHANGES = {
    "below zero": lambda y: -y,
    "around zero": lambda y: y - 20_000,
    "a sum near zero in one period": lambda y: y - np.array([0, 20_000, 0]),
    "changes from the first period": lambda y: y - y[:, [0]] + np.random.default_rng(9).normal(0, 50, (len(y), 1)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_people_who_are_alike_dominate_nothing_whatever_the_sign(name):
    paths = CHANGES[name](alike(1))
    assert published(paths) == pytest.approx(paths[1::2].mean(axis=0), rel=0.05, abs=120)


@pytest.mark.parametrize("sign", [1, -1])
def test_one_who_dominates_is_found_on_either_side(sign):
    paths = np.random.default_rng(2).normal(0, 10, (60, 3))
    paths[1] += sign * 1e7
    with pytest.raises(DisclosureError):
        published(paths)


def test_two_who_cancel_dominate_nevertheless():
    """Their signed total is nothing, and each knows the other's amount from the sum."""
    paths = np.random.default_rng(3).normal(0, 10, (80, 3))
    paths[1] += 1e7
    paths[3] -= 1e7
    with pytest.raises(DisclosureError):
        published(paths)


def test_weights_count_in_what_a_person_contributes():
    rng = np.random.default_rng(4)
    paths = rng.normal(-500, 100, (200, 3))
    even = published(paths, np.full(200, 2.0))
    assert even == pytest.approx(paths[1::2].mean(axis=0), rel=0.05)
    heavy = np.ones(200)
    heavy[1] = 50_000.0
    with pytest.raises(DisclosureError):
        published(paths, heavy)


@pytest.mark.parametrize("quantile", [0.9, 0.95, 0.99])
def test_the_cap_of_outcomes_holds_on_both_tails(quantile):
    """The mirror image of the amounts has the mirror image of the capped means."""
    paths = np.random.default_rng(5).gamma(1.0, 1000.0, (400, 2))
    cohort = np.zeros(400)
    cohort[::2] = 2
    up, down = (moments(long_panel(sign * paths, cohort), winsorise=quantile).means() for sign in (1, -1))
    assert up == pytest.approx(-down, rel=1e-9)


def test_one_loss_does_not_carry_a_capped_mean():
    paths = np.random.default_rng(6).normal(100, 10, (300, 2))
    paths[7] = -1e9
    cohort = np.where(np.arange(300) % 2, 2, 0)
    found = moments(long_panel(paths, cohort), winsorise=0.99).means()
    assert (found > 0).all()


@pytest.mark.parametrize("quantile", [0.9, 0.98])
def test_caps_of_covariates_and_spreads_hold_on_both_tails(quantile):
    rng = np.random.default_rng(7)
    n = 300
    frame = pd.DataFrame({"id": range(n), "treat": (np.arange(n) % 3 == 0).astype(int), "x": rng.gamma(1.0, 50.0, n)})
    frame["y"] = rng.gamma(1.0, 1000.0, n)
    mirror = frame.assign(x=-frame["x"], y=-frame["y"])
    # the same pairs for both: matched on the identifier alone
    samples = {}
    for name, rows in (("up", frame), ("down", mirror)):
        rows = rows.assign(place=rows["id"].astype(float))
        samples[name] = (rows, rte.match(rows, "treat ~ x", unit="id", distance="place", caliper=None))
    up, down = (s.covariate_moments(winsorise=quantile).summary("x", "treated", "before") for _, s in samples.values())
    assert (up.mean, up.variance) == pytest.approx((-down.mean, down.variance), rel=1e-6)
    one, other = (spread(rows, s, "y", winsorise=quantile) for rows, s in samples.values())
    means = [s.reference + s.sum_wy / s.sum_w for s in (one, other)]
    assert means[0] == pytest.approx(-means[1], rel=1e-6)
