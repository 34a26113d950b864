"""What outside attackers recover from protected tables stays below the promise; a benchmark has 200 keys."""

from __future__ import annotations

import numpy as np
import pytest

from attackers import ATTACKS, recovered

FEW, MANY = 4, 20


@pytest.mark.parametrize("name", [name for name, (_, most) in ATTACKS.items() if most < 0.5])
def test_what_works_on_exact_tables_works_on_protected_ones_by_chance_alone(name: str) -> None:
    attack, most = ATTACKS[name]
    exact, released = recovered(attack, FEW)
    assert exact > 0.9, "the attack fails on exact tables, so that it shows nothing"
    assert released <= most + 0.3


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attacker_recovers_no_more_than_the_promise_allows(name: str) -> None:
    attack, most = ATTACKS[name]
    exact, released = recovered(attack, MANY)
    assert exact > 0.9
    assert released <= most + 3 * np.sqrt(max(most, 0.02) * (1 - most) / MANY)
