"""What outside attackers recover from protected tables stays below the promise; a benchmark has the full run."""

from __future__ import annotations

import numpy as np
import pytest

from attackers import ATTACKS, recovered


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attacker_recovers_no_more_than_the_promise_allows(name: str) -> None:
    attack, most = ATTACKS[name]
    keys = 12
    exact, released = recovered(attack, keys)
    assert exact > 0.9, "the attack fails on exact tables, so that it shows nothing"
    assert released <= most + 3 * np.sqrt(most * (1 - most) / keys)
