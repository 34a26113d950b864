"""Cell keys add modulo 2⁶⁴ in any order; sketches count the people by whom two sets differ, exactly up to nine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.tables.noise.cell_keys import CellKeys, key_sums, people_apart
from retrain_eval.tables.noise.person_keys import PRIME

KEYS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40)


def people(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2**64, n, dtype=np.uint64), rng.integers(1, PRIME, n)


@given(KEYS, st.data())
def test_keys_are_sums_modulo_two_to_the_64(keys: list[int], data: st.DataObject) -> None:
    cell = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(keys), max_size=len(keys))))
    found = key_sums(cell, np.array(keys, np.uint64), 3)
    assert found.tolist() == [sum(key for key, of in zip(keys, cell, strict=True) if of == c) % 2**64 for c in range(3)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 15), st.integers(0, 15), st.integers(0, 400), st.integers(0, 10**6), st.booleans())
def test_sets_are_told_apart_up_to_nine_people(left: int, right: int, both: int, seed: int, weighted: bool) -> None:
    record, element = people(left + right + both, seed)
    weight = np.random.default_rng(seed).uniform(0.2, 3.0, len(record)) if weighted else np.ones(len(record))
    everyone = np.arange(len(record))
    one, other = everyone < left + both, everyone >= left
    sketches = [
        CellKeys.of(np.zeros(part.sum(), int), record[part], element[part], weight[part], 1).sketch[0]
        for part in (one, other)
    ]
    assert people_apart(*sketches) == people_apart(*sketches[::-1]) == min(left + right, 10)


@pytest.mark.parametrize("changed", range(12))
def test_people_of_another_weight_count_as_well(changed: int) -> None:
    record, element = people(500, changed)
    weight = np.ones(500)
    other = weight.copy()
    other[:changed] = 1.5
    one, two = (CellKeys.of(np.zeros(500, int), record, element, w, 1).sketch[0] for w in (weight, other))
    assert people_apart(one, two) == min(changed, 10)


def test_shards_give_the_keys_and_sketches_of_the_whole() -> None:
    record, element = people(3_000, 1)
    cell, weight = np.arange(3_000) % 4, np.linspace(0.1, 2, 3_000)
    whole = CellKeys.of(cell, record, element, weight, 4)
    shards = [
        CellKeys.of(cell[part], record[part], element[part], weight[part], 4) for part in (slice(0, 7), slice(7, 3_000))
    ]
    added = CellKeys.stacked(shards[::-1]).merged(np.tile(np.arange(4), 2), 4)
    assert added.key.tolist() == whole.key.tolist()
    assert added.sketch.tolist() == whole.sketch.tolist()
    assert whole.take(np.array([2])).key.tolist() == [whole.key[2]]
    assert not CellKeys.none(2).sketch.any()
