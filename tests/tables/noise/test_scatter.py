"""The redrawn scatter has the mean and spread of a Wishart draw, is keyed, and stays positive semidefinite."""

from __future__ import annotations

import numpy as np
import pytest

from retrain_eval.tables.noise.scatter import SPREAD, redrawn


def test_the_draw_has_the_mean_and_variance_of_a_wishart() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(size=(4, 6))
    scatter, n = base @ base.T, 300.0
    draws = np.array([redrawn(scatter, n, [key], "x") for key in range(4_000)])
    freedom = (n / SPREAD) ** 2
    variance = (scatter**2 + np.outer(np.diag(scatter), np.diag(scatter))) / freedom
    assert np.abs((draws.mean(axis=0) - scatter) / np.sqrt(variance / 4_000)).max() < 4.5
    assert draws.var(axis=0) / variance == pytest.approx(np.ones((4, 4)), abs=0.12)


def test_the_same_people_and_purpose_give_the_same_draw() -> None:
    scatter = np.diag([1.0, 2.0])
    same = redrawn(scatter, 100, [1, 2], "earnings")
    assert np.array_equal(same, redrawn(scatter, 100, [1, 2], "earnings"))
    for keys, purpose in (([2, 1], "earnings"), ([12], "earnings"), ([1, 2], "employed")):
        assert not np.allclose(same, redrawn(scatter, 100, keys, purpose))


@pytest.mark.parametrize("n", [3, 12, 60])
def test_few_people_and_singular_scatters_are_drawn_too(n: int) -> None:
    y = np.random.default_rng(n).normal(size=(n, 21))
    y -= y.mean(axis=0)
    drawn = redrawn(y.T @ y, n, [5], "x")
    assert np.isfinite(drawn).all()
    assert np.array_equal(drawn, drawn.T)
    assert np.linalg.eigvalsh(drawn).min() > -1e-9 * np.trace(drawn)
    assert not redrawn(np.zeros((3, 3)), n, [5], "x").any()
