"""The variance of counts that absorb what parts and their whole differ by, against counts of the register."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from retrain_eval.common.arrays import Floats
from retrain_eval.tables.noise.absorbed import absorbed_variances
from retrain_eval.tables.noise.changes import Changes
from retrain_eval.tables.noise.register import MOST, ROUNDS, Register


def draws(cohorts: list[list[int]], changes: Changes, repetitions: int = 800) -> tuple[Floats, Floats]:
    """Return errors of published counts of cells, fitted by cohort and then by cell, and variances stated for them."""
    rng = np.random.default_rng(3)
    errors, stated = [], []
    for _ in range(repetitions):
        register = Register(changes)
        keys = [rng.integers(0, 2**64, len(cells), dtype=np.uint64) for cells in cohorts]
        of = np.array([key.sum(dtype=np.uint64) for key in keys])
        sizes = [sum(cells) for cells in cohorts]
        whole = register.count(sum(sizes), int(of.sum(dtype=np.uint64)))
        counts = register.parts(whole, sizes, of) if len(sizes) > 1 else np.array([whole])
        assert counts is not None
        cells = [register.parts(int(n), *each) for n, each in zip(counts, zip(cohorts, keys, strict=True), strict=True)]
        published = np.concatenate([found for found in cells if found is not None])
        if len(published) == sum(map(len, cohorts)):
            errors.append(published - np.concatenate(cohorts))
            stated.append(register.variance(np.concatenate(keys)))
    assert len(errors) > 0.97 * repetitions
    return np.array(errors, dtype=np.float64), np.mean(stated, axis=0)


@pytest.mark.parametrize(
    "cohorts",
    [[[30, 30]], [[60, 40, 20, 15]], [[12, 12, 12]], [[100, 50], [60, 40], [30, 20]], [[350, 350], [700, 80]]],
)
def test_no_count_and_no_difference_varies_more_than_is_stated(cohorts: list[list[int]]) -> None:
    errors, stated = draws(cohorts, Changes(2.0, 2))
    noise = 4 * np.sqrt(2 / len(errors))  # of a variance, relative
    actual = errors.var(axis=0)
    assert (actual < stated * (1 + noise)).all()
    assert (stated < 2 * actual).all()
    assert (abs(errors.mean(axis=0)) < 4 * np.sqrt(actual / len(errors))).all()
    for one, other in combinations(range(len(stated)), 2):
        between = (errors[:, one] - errors[:, other]).var()
        assert between < (stated[one] + stated[other]) * (1 + noise)


def test_the_largest_part_varies_more_than_v() -> None:
    errors, stated = draws([[60, 40, 20, 15]], Changes(2.0, 2))
    assert errors.var(axis=0)[0] > 2.4  # v is 2
    assert stated[0] == max(stated)


def test_of_counts_that_are_not_changed_the_variance_is_zero() -> None:
    assert absorbed_variances(Changes(0.0, 0), 3, 3, MOST, ROUNDS) == (0.0, 0.0, 0.0)
    assert absorbed_variances(Changes(2.0, 2), 3, 0, MOST, ROUNDS) == ()


def test_multiples_vary_with_their_rounding() -> None:
    changes = Changes(2.0, 2, 5)
    errors, stated = draws([[82, 63, 41]], changes)
    assert (errors.var(axis=0) < stated * (1 + 4 * np.sqrt(2 / len(errors)))).all()
    assert (stated >= changes.spread).all()
