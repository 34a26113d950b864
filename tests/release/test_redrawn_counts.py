"""Second moments of counts do not tell small counts: neither those of a value, nor of people who have one of two."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

import retrain_eval as rte
from keyed_people import keyed, register, rules
from retrain_eval.release.protection.moments import protect_moments

N, V = 800, 2.0
Floats = npt.NDArray[np.float64]


def table(states: npt.NDArray[np.int64], number: int, **options: Any) -> rte.OutcomeMoments:
    """Return moments of 0/1 states, shape (people, T), of the treated; as many controls all have 0 and 1 in turn."""
    n, times = states.shape
    control = (np.arange(n)[:, None] + np.arange(times)) % 2
    rows = pd.DataFrame(
        {
            "id": np.repeat(np.arange(2 * n), times),
            "t": np.tile(np.arange(1, times + 1), 2 * n),
            "g": np.repeat([1, 0], n * times),
            "y": np.concatenate([states, control]).ravel(),
        }
    )
    return rte.outcome_moments(keyed(rows, number), unit="id", time="t", cohort="g", outcome="y", **options)


def released(exact: rte.OutcomeMoments) -> tuple[rte.OutcomeMoments, int]:
    """Return the protected table, and which of its cells is of the treated."""
    safe, _ = protect_moments("m", exact, rules(), register(), {})
    return safe, int(np.flatnonzero(safe.cells["cohort"].notna())[0])


def scatter(safe: rte.OutcomeMoments, cell: int) -> Floats:
    """Return sums of squares about the mean as an attacker has them: less the variance of changed counts."""
    first, block = safe.first[cell], safe.second[cell, cell].copy()
    block[0, 0] -= V
    about = np.eye(len(first))
    about[1:, 0] = -first[1:] / first[0]
    found: Floats = (about @ block @ about.T)[1:, 1:]
    return found - V * np.diag(first[1:] > 0)


def solved(squares: Floats, n: float) -> Floats:
    """Return the k of which k (1 − k / n) are these squares."""
    found: Floats = (n - np.sqrt((n * n - 4 * n * squares).clip(0))) / 2
    return found


def test_small_counts_do_not_follow_from_squares() -> None:
    """From squares in proportion to the count it followed in every case."""
    right, off = 0, list[float]()
    for draw in range(12):
        rng = np.random.default_rng(draw)
        k = np.array([2, 4, 7, 9, 30, 400])
        states = np.column_stack([rng.permutation(N) < many for many in k]).astype(int)
        safe, cell = released(table(states, draw))
        guess = solved(np.diag(scatter(safe, cell)), float(safe.cells["n"].iloc[cell]))
        published = safe.first[cell, 1:] > 0
        right += int((np.round(guess) == k)[:4][published[:4]].sum())
        off += (guess - k)[:5][published[:5]].tolist()
    assert right <= 14  # of about 45
    assert np.std(off) > 1.5  # less than WORTH·√2, because squares are not negative


def test_people_between_two_edges_do_not_follow_from_cross_products() -> None:
    """Of bands of pay, so many earn at most one edge and not the one below."""
    off = list[float]()
    for draw in range(12):
        pay = np.random.default_rng(draw).permutation(N)
        edges = np.array([300, 303, 310, 600])
        safe, cell = released(table((pay[:, None] < edges).astype(int), draw))
        c, n = scatter(safe, cell), float(safe.cells["n"].iloc[cell])
        between = np.array([c[i, i] + c[i + 1, i + 1] - 2 * c[i, i + 1] for i in (0, 1)])
        off += (solved(between, n) - [3, 7]).tolist()
    assert np.std(off) > 2.0


def test_a_mean_over_periods_of_the_same_few_tells_them_no_better() -> None:
    """Six people have a state in all of ten periods, and one more joins them in each."""
    off = list[float]()
    for draw in range(16):
        states = np.zeros((N, 10), dtype=np.int64)
        states[:6] = 1
        states[10 + np.arange(10), np.arange(10)] = 1
        safe, cell = released(table(states, draw))
        every = scatter(safe, cell)
        off.append(float(every.mean()) - 6.1)
    assert np.std(off) > 1.3


def test_a_count_published_as_none_has_no_squares() -> None:
    """Also where it is one or two, which are published as none or three."""
    none = 0
    for draw in range(12):
        rng = np.random.default_rng(draw)
        states = np.column_stack([rng.permutation(N) < many for many in (1, 2, 0, N, N - 1, 400)]).astype(int)
        safe, cell = released(table(states, draw))
        mean, squares = safe.first[cell, 1:] / safe.first[cell, 0], scatter(safe, cell)
        for t in np.flatnonzero(mean == 0):
            none += 1
            assert not np.abs(safe.second[cell, cell][1 + t]).any()
        for t in np.flatnonzero(np.isclose(mean, 1)):
            assert np.abs(squares[t]).max() < 1e-6
    assert none > 12


@pytest.mark.parametrize("kind", ["binary", "score"])
def test_scatter_of_counts_is_positive_semidefinite_and_the_same_again(kind: str) -> None:
    rng = np.random.default_rng(3)
    states = (rng.random((N, 6)) < [0.5, 0.52, 0.01, 0.99, 0.4, 0.02]).astype(int)
    exact = table(states, 1, kind=kind)
    safe, cell = released(exact)
    again, _ = released(exact)
    assert np.array_equal(safe.second[cell, cell], again.second[cell, cell])
    for block in (safe.second[c, c] for c in range(2)):
        assert np.linalg.eigvalsh(block).min() > -1e-8 * np.trace(block)
