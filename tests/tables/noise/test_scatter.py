"""The redrawn scatter has the mean and spread of a Wishart draw, is keyed, and stays positive semidefinite."""

from __future__ import annotations

import numpy as np
import pytest

from retrain_eval.tables.noise.scatter import SPREAD, WORTH, redrawn


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


def test_entries_of_counts_move_by_people_whatever_they_are() -> None:
    """Of 5 people with a property and 300 with another, before the projection takes away what is negative."""
    scatter, n, unit = np.diag([40.0, 300.0, 300.0]), 2_000.0, np.array([0.5, 1.0, 1.0])
    draws = np.array([redrawn(scatter, n, [key], "x", unit) for key in range(4_000)])
    moved = draws - scatter
    assert np.abs(moved.mean(axis=(0))).max() < 0.3
    relative = 2 * (np.diag(scatter) * SPREAD / n) ** 2
    assert np.diag(draws.var(axis=0)) == pytest.approx(2 * WORTH**2 * unit**4 + relative, rel=0.1)
    few = np.array([redrawn(np.diag([2.0, 300.0]), n, [key], "x", np.ones(2))[0, 0] for key in range(400)])
    assert few.min() >= 0
    assert few.std() > 1.5


def test_the_same_pair_of_sets_moves_alike_in_every_table() -> None:
    """Otherwise the mean over tables would tell more; what moves with the others differs by table."""
    scatter, unit = np.diag([400.0, 300.0]), np.ones(2)
    draws = []
    for sets in ([3, 4], [3, 5]):
        rows = np.array(sets, np.uint64)
        draws.append([redrawn(scatter, 1e9, [key], "x", unit, rows)[0, 0] for key in range(1_000)])
    assert np.mean(draws[0]) == pytest.approx(np.mean(draws[1]), abs=0.3)
    assert np.std(draws[0]) == pytest.approx(WORTH, rel=0.1)
    swapped = redrawn(scatter, 1e9, [1], "x", unit, np.array([4, 3], np.uint64))
    assert np.isfinite(swapped).all()


@pytest.mark.parametrize("periods", [4, 20])
def test_periods_of_the_same_few_move_together(periods: int) -> None:
    """A mean over periods in which the same five have the property moves as much as one of them."""
    scatter, rows = np.full((periods, periods), 50.0), np.arange(periods).astype(np.uint64)
    means = [redrawn(scatter, 1e9, [key], "x", np.ones(periods), rows).mean() for key in range(400)]
    assert np.std(means) > 0.9 * WORTH
