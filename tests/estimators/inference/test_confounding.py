"""Bounds on hidden bias against published figures, exact enumeration and worlds whose hidden bias is known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matching_samples import LALONDE, lalonde
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.inference.hidden_bias_bounds import Regressions, e_value, oster_bounds, rosenbaum_bounds
from retrain_eval.sample.hidden_bias.hidden_bias import pair_differences
from retrain_eval.sample.match import match


@pytest.mark.oracle
def test_signed_rank_bounds_of_the_classic_pairs() -> None:
    """R 4.2.2: 1:1 nearest neighbours of MatchIt's lalonde, outcome re78, signed-rank test as in rbounds."""
    sample = match(lalonde(), LALONDE, "id")
    bounds = rosenbaum_bounds(pair_differences(lalonde(), sample, "re78"), gammas=(1, 1.1, 1.5))
    assert bounds.table["p_value"].to_numpy() == pytest.approx([0.169395, 0.340645, 0.913965], abs=5.1e-7)
    assert bounds.table["n_pairs"].tolist() == [175] * 3  # ten pairs do not differ
    assert np.isnan(bounds.critical)  # nothing to overturn


@pytest.mark.parametrize("gamma", [1.0, 1.5, 3.0])
def test_the_bound_is_the_worst_distribution_of_signs(gamma: float) -> None:
    """With twelve pairs every pattern of signs can be counted, each positive with probability Γ/(1 + Γ)."""
    d = np.array([3.0, -1, 4, 1.5, 5, -2.5, 6, 7, 8, -2, 9, 10])
    rank = np.argsort(np.argsort(np.abs(d))) + 1
    p, observed = gamma / (1 + gamma), rank[d > 0].sum()
    exact = sum(
        np.prod(np.where(signs, p, 1 - p))
        for signs in np.array(list(product([False, True], repeat=len(d))))
        if rank[signs].sum() >= observed
    )
    found = rosenbaum_bounds(d, gammas=[gamma]).table["p_value"].item()
    assert found == pytest.approx(exact, abs=0.02)  # the normal approximation with twelve pairs


@given(st.lists(st.floats(-1e4, 1e4, allow_subnormal=False), min_size=2, max_size=40).filter(lambda d: any(d)))
@settings(max_examples=100, deadline=None)
def test_more_hidden_bias_never_makes_surer(differences: list[float]) -> None:
    bounds = rosenbaum_bounds(differences)
    p = bounds.table["p_value"].to_numpy()
    assert (np.diff(p) >= -1e-12).all()
    assert ((p >= 0) & (p <= 1)).all()
    if np.isfinite(bounds.critical):
        at = rosenbaum_bounds(differences, gammas=[bounds.critical]).table["p_value"].item()
        assert at == pytest.approx(0.05, abs=1e-6)
    else:
        assert np.isnan(bounds.critical) == (p[0] > 0.05)
    mirrored = rosenbaum_bounds([-d for d in differences], alternative="less")
    assert mirrored.table["p_value"].to_numpy() == pytest.approx(p, abs=1e-12)


def test_pairs_without_a_difference_say_nothing() -> None:
    assert rosenbaum_bounds([0.0, 5, 4, 3, 0.0, -1]).table.equals(rosenbaum_bounds([5, 4, 3, -1]).table)
    with pytest.raises(DesignError, match="no pair differs"):
        rosenbaum_bounds([0.0, 0.0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"differences": [1.0, float("nan")]}, "a pair has no difference"),
        ({"differences": [1.0], "gammas": [0.9]}, "odds ratio, at least 1"),
        ({"differences": [1.0], "alternative": "two-sided"}, "unknown alternative"),
    ],
)
def test_rosenbaum_refuses(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rosenbaum_bounds(**arguments)


@pytest.mark.oracle
def test_e_values_of_the_paper() -> None:
    """VanderWeele and Ding (2017): a risk ratio of 3.9 (1.8 to 8.7) has an E-value of 7.26, its limit of 3.0."""
    d, s = np.log(3.9) / 0.91, (np.log(3.9) - np.log(1.8)) / 1.78
    found = e_value(d * 7.0, s * 7.0, 7.0)
    assert (round(found.e_value, 2), round(found.e_value_limit, 1)) == (7.26, 3.0)


@given(st.floats(-5, 5), st.floats(0, 3), st.floats(0.1, 10))
@settings(max_examples=100, deadline=None)
def test_a_confounder_of_the_e_value_just_explains_the_effect(estimate: float, std_error: float, sd: float) -> None:
    """With both risk ratios equal to E, the bounding factor E²/(2E − 1) is the observed ratio."""
    found = e_value(estimate, std_error, sd)
    assert found.e_value**2 / (2 * found.e_value - 1) == pytest.approx(found.risk_ratio, rel=1e-9)
    assert 1 <= found.e_value_limit <= found.e_value
    if abs(estimate) > 1e-6:
        assert (found.e_value_limit == 1) == (0.91 * abs(estimate) <= 1.78 * std_error)
    assert e_value(-estimate, std_error, sd) == found


@pytest.mark.parametrize("wrong", [{"sd": 0.0}, {"sd": float("nan")}, {"std_error": -1.0}, {"estimate": float("inf")}])
def test_e_values_refuse(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        e_value(**{"estimate": 1.0, "std_error": 0.5, "sd": 2.0, **wrong})


def world(seed: int, effect: float, share: float) -> tuple[Regressions, float, float]:
    """Draw data in which the unseen part is orthogonal to the controls, and return its true δ and R² max."""
    rng = np.random.default_rng(seed)
    n = 400
    raw = rng.normal(size=(n, 4))
    raw -= raw.mean(axis=0)
    q, _ = np.linalg.qr(raw)  # exactly uncorrelated columns
    controls, unseen, noise_x, noise_y = q[:, :1], q[:, 1], q[:, 2], q[:, 3]
    x = rng.uniform(0.3, 1) * controls[:, 0] + share * unseen + noise_x
    seen = rng.uniform(0.5, 2) * controls[:, 0]
    hidden = rng.uniform(0.5, 2) * unseen
    y = effect * x + seen + hidden + rng.uniform(0.1, 1) * noise_y

    def fit(columns: np.ndarray) -> tuple[float, float]:
        coefficients, *_ = np.linalg.lstsq(columns, y, rcond=None)
        return float(coefficients[0]), float(1 - ((y - columns @ coefficients) ** 2).sum() / (y**2).sum())

    short, long = fit(x[:, None]), fit(np.column_stack([x, controls]))
    left = x - controls @ (controls.T @ x)
    r2_max = fit(np.column_stack([x, seen, hidden]))[1]
    found = Regressions(*short, *long, y.var(), x.var(), left.var(), n)
    return found, (hidden @ x / (hidden @ hidden)) / (seen @ x / (seen @ seen)), r2_max


@given(st.integers(0, 10_000), st.floats(0.05, 1.5))
@settings(max_examples=60, deadline=None)
def test_delta_is_the_selection_that_there_is(seed: int, share: float) -> None:
    """Where the true effect is zero, the δ that explains the estimate away is the one the data were made with."""
    found, delta, r2_max = world(seed, 0.0, share)
    assert oster_bounds(found, r2_max).delta == pytest.approx(delta, rel=1e-6)


@given(st.integers(0, 10_000), st.floats(-2, 2))
@settings(max_examples=60, deadline=None)
def test_beta_star_is_the_effect_under_equal_selection(seed: int, effect: float) -> None:
    """One of the two effects under δ = 1 is the truth; here selection is made equal."""
    _, delta, _ = world(seed, effect, 0.4)
    share = 0.4
    for _ in range(60):  # δ is proportional to the share up to the outcome's own scale
        share = share / delta
        found, delta, r2_max = world(seed, effect, share)
        if abs(delta - 1) < 1e-12:
            break
    bounds = oster_bounds(found, r2_max)
    # β* has itself a δ of one: move the origin there and ask again
    bias = found.beta_controlled - bounds.beta_star
    d, tau, s = found.beta_uncontrolled - found.beta_controlled, found.var_residual, found.var_treatment
    seen = (found.r2_controlled - found.r2_uncontrolled) * found.var_outcome
    unseen = (r2_max - found.r2_controlled) * found.var_outcome
    lhs = bias * tau * (seen + (d + bias) ** 2 * s - bias**2 * tau)
    assert lhs == pytest.approx(((d + bias) * s - bias * tau) * (unseen + bias**2 * tau), rel=1e-6)
    roots = np.roots([d * tau * s, tau * (seen + d**2 * s) - unseen * (s - tau), -unseen * d * s])
    assert np.abs(found.beta_controlled - roots - effect).min() < 1e-6 * max(1, abs(effect))


def test_controls_that_change_nothing_leave_the_estimate() -> None:
    same = Regressions(1.5, 0.2, 1.5, 0.3, 10.0, 0.5, 0.5, 100)
    found = oster_bounds(same)
    assert found.beta_star == 1.5
    assert found.r2_max == pytest.approx(0.39)
    assert np.isinf(found.delta)  # no selection on what is seen, however scaled, moves anything


@pytest.mark.parametrize("r2_max", [0.3, 0.2, 1.01, float("nan")])
def test_r2_max_lies_between_the_regression_and_one(r2_max: float) -> None:
    with pytest.raises(InputError, match="R² max"):
        oster_bounds(Regressions(1.5, 0.2, 1.2, 0.3, 10.0, 0.5, 0.4, 100), r2_max)


def test_controls_that_determine_the_treatment_are_refused() -> None:
    with pytest.raises(DesignError, match="nothing left"):
        oster_bounds(Regressions(1.5, 0.2, 1.2, 0.3, 10.0, 0.5, 0.0, 100))
