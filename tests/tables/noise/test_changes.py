"""Changed counts have mean 0, the stated variance and no result from 1 to js; the register keeps one count per set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import InputError
from retrain_eval.tables.noise.changes import MAX_CHANGE, Changes
from retrain_eval.tables.noise.register import Register

CHANGE = np.arange(-MAX_CHANGE, MAX_CHANGE + 1)


@pytest.mark.parametrize("count", range(1, 30))
@pytest.mark.parametrize(("variance", "never"), [(2.0, 2), (1.0, 0), (3.0, 2), (2.5, 1)])
def test_probabilities_have_the_stated_moments(count: int, variance: float, never: int) -> None:
    p = Changes(variance, never).probabilities(count)
    assert p.min() >= 0
    assert p.sum() == pytest.approx(1, abs=1e-12)
    assert p @ CHANGE == pytest.approx(0, abs=1e-6)
    assert p @ CHANGE**2 >= variance - 1e-5  # more where the gap demands it
    if count > MAX_CHANGE + never:
        assert p @ CHANGE**2 == pytest.approx(variance, abs=1e-5)
    result = count + CHANGE[p > 0]
    assert ((result == 0) | (result > never)).all()


def test_counts_follow_their_probabilities() -> None:
    changes, keys = Changes(2.0, 2), np.random.default_rng(5).integers(0, 2**64, 40_000, dtype=np.uint64)
    for count in (1, 2, 4, 60):
        shift = changes.change(np.full(40_000, count), keys) - count
        found = np.bincount(shift + MAX_CHANGE, minlength=11) / 40_000
        assert np.abs(found - changes.probabilities(count)).max() < 5 * 0.5 / 200
    assert not changes.change(np.zeros(40_000, int), keys).any()
    # a count and the keys decide, not the place in the array
    assert changes.change(np.array([[9, 9]]), keys[:2].reshape(1, 2)).tolist() == [
        changes.change(np.array([9, 9]), keys[:2]).tolist()
    ]
    assert Changes(0.0, 0).change(np.array([1, 2]), keys[:2]).tolist() == [1, 2]


def test_a_gap_that_cannot_be_kept_is_refused() -> None:
    with pytest.raises(InputError, match="lower js"):
        Changes(2.0, 9).probabilities(3)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 500), min_size=1, max_size=6), st.integers(0, 2**32))
def test_parts_add_up_or_are_withheld(counts: list[int], seed: int) -> None:
    keys = np.random.default_rng(seed).integers(1, 2**64, len(counts), dtype=np.uint64)
    register = Register(Changes(2.0, 2))
    with np.errstate(over="ignore"):
        whole = register.count(sum(counts), int(keys.sum(dtype=np.uint64)))
    parts = register.parts(whole, counts, keys)
    if parts is None:
        assert all(int(key) not in register.published for key in keys) or len(counts) == 1
        return
    assert parts.sum() == whole
    assert ((parts == 0) | (parts > 2)).all()
    assert (parts[np.array(counts) == 0] == 0).all()
    assert np.abs(parts - counts).max() <= MAX_CHANGE + 4
    again = register.parts(whole, counts[::-1], keys[::-1])
    assert again is not None
    assert again[::-1].tolist() == parts.tolist()
    assert [register.count(n, int(key)) for n, key in zip(counts, keys, strict=True)] == parts.tolist()


def test_most_parts_can_be_fitted() -> None:
    """Two, three and five parts of a whole: withheld in less than one of fifty."""
    for k in (2, 3, 5):
        failed = 0
        for seed in range(600):
            rng = np.random.default_rng(seed)
            counts, keys = rng.integers(12, 300, k).tolist(), rng.integers(1, 2**64, k, dtype=np.uint64)
            register = Register(Changes(2.0, 2))
            with np.errstate(over="ignore"):
                whole = register.count(sum(counts), int(keys.sum(dtype=np.uint64)))
            failed += register.parts(whole, counts, keys) is None
        assert failed < 12, (k, failed)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 500), min_size=1, max_size=6), st.integers(0, 2**32), st.sampled_from([2, 5, 10]))
def test_counts_of_owners_who_want_them_rounded_are_multiples_and_add_up(
    counts: list[int], seed: int, base: int
) -> None:
    keys = np.random.default_rng(seed).integers(1, 2**64, len(counts), dtype=np.uint64)
    register = Register(Changes(2.0, 2, base))
    with np.errstate(over="ignore"):
        whole = register.count(sum(counts), int(keys.sum(dtype=np.uint64)))
    assert whole % base == 0
    parts = register.parts(whole, counts, keys)
    if parts is not None:
        assert parts.sum() == whole
        assert (parts % base == 0).all()
        assert ((parts == 0) | (parts > 2)).all()


def test_rounding_adds_to_the_spread_of_a_count() -> None:
    keys = np.random.default_rng(7).integers(0, 2**64, 20_000, dtype=np.uint64)
    changes, counts = Changes(2.0, 2, 5), np.random.default_rng(8).integers(60, 160, 20_000)
    off = changes.change(counts, keys) - counts
    assert off.mean() == pytest.approx(0, abs=0.06)
    assert off.var() == pytest.approx(changes.spread, rel=0.05) == 4.0


def test_what_editions_tell_of_one_count_when_known_people_join_before_each() -> None:
    """The most likely count, from all editions: docs/protect-a-release.md prints how often it is right."""
    changes, draws, right = Changes(2.0, 2), 6000, []
    rng = np.random.default_rng(1)
    candidates = np.arange(385, 416)
    likelihood = np.ones((len(candidates), draws))
    for edition in range(6):
        joined = 10 * edition
        published = changes.change(np.full(draws, 400 + joined), rng.integers(0, 2**64, draws, dtype=np.uint64))
        of = changes.probabilities(400)
        place = published - candidates[:, None] - joined + 5
        likelihood *= np.where((place >= 0) & (place <= 10), of[place.clip(0, 10)], 0.0)
        ties = likelihood * (1 + 1e-9 * rng.random(likelihood.shape))
        right.append(float((candidates[ties.argmax(axis=0)] == 400).mean()))
    assert right == pytest.approx([0.28, 0.38, 0.47, 0.52, 0.57, 0.61], abs=0.03)
