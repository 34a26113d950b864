"""The ledger adds up to the cent: over lines, over agencies, per person, and after protection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import DesignError, DisclosureError, InputError
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.statistics import protect_statistic
from retrain_eval.tables.ledger import Ledger, ledger_rows
from retrain_eval.tables.noise.changes import Changes
from retrain_eval.tables.noise.register import Register
from retrain_eval.tables.statistics import Statistic

NOISY = Release(count_variance=2.0, count_gap=2, noise_smallest=0.05, noise_largest=0.15)
PAYERS = {"taxpayers": ("state",), "participants": ("participant",), "others": ("employer", "fund")}
NAMES = [(funder, part) for funder in ("employer", "fund", "state") for part in ("stipend", "support", "tuition")]


def ledger(cents: list[int], people: int, keys: int | None = None) -> Ledger:
    funders, components = zip(*NAMES[: len(cents)], strict=True)
    key = None if keys is None else np.array([keys], dtype=np.uint64)
    return Ledger(tuple(funders), tuple(components), np.array(cents, dtype=np.int64), people, key)


CENTS = st.lists(st.integers(0, 10**12), min_size=1, max_size=9)


@given(CENTS, CENTS, st.integers(1, 10**5), st.integers(1, 10**5))
@settings(max_examples=80, deadline=None)
def test_ledgers_add_exactly(one: list[int], other: list[int], n: int, m: int) -> None:
    both = ledger(one, n) + ledger(other, m)
    assert both.total == sum(one) + sum(other)
    assert both.people == n + m
    assert both.sound()


@given(CENTS, st.integers(1, 10**5), st.sampled_from([None, 1, 2, 3]))
@settings(max_examples=200, deadline=None)
def test_lines_per_person_add_up_to_the_total_per_person(cents: list[int], people: int, digits: int | None) -> None:
    found = ledger(cents, people)
    each = found.per_person(digits)
    if digits is None:
        assert abs(each.sum() - found.total / people) <= 0.5 + 1e-6
    else:
        assert len(str(each.sum()).rstrip("0")) <= digits
        assert each.sum() == pytest.approx(found.total / people, rel=0.51 * 10 ** (1 - digits), abs=0.51)
    assert (each >= 0).all()
    again = Ledger(found.funder, found.component, each * people, people)
    assert again.per_person(digits).tolist() == each.tolist()


@pytest.mark.parametrize("seed", range(8))
def test_a_released_ledger_tells_the_cost_per_person_to_two_digits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = ledger(rng.integers(0, 10**9, 9).tolist(), int(rng.integers(40, 3_000)), 7 + seed)
    safe, _ = protect_statistic("ledger", found, NOISY, Register(Changes()), {})
    assert isinstance(safe, Ledger)
    assert safe.keys is None
    assert safe.per_person(2).tolist() == found.per_person(2).tolist()
    assert (safe.cents == safe.per_person(2) * safe.people).all()
    again, _ = protect_statistic("ledger", found, NOISY, Register(Changes()), {})
    assert isinstance(again, Ledger)
    assert again.people == safe.people


def test_what_a_few_people_were_paid_does_not_show() -> None:
    """One payment of 700 to one person among 500 who cost 4,000 each: less than the last digit, whoever got it."""
    plain, with_one = ledger([0, 0, 200_000_000], 500, 7), ledger([70_000, 0, 200_000_000], 500, 7)
    one, other = (protect_statistic("ledger", item, NOISY, Register(Changes()), {})[0] for item in (plain, with_one))
    assert isinstance(one, Ledger)
    assert isinstance(other, Ledger)
    assert one.cents.tolist() == other.cents.tolist()


@pytest.mark.parametrize(("people", "keys"), [(9, 7), (500, None)])
def test_a_ledger_of_few_people_or_without_keys_is_withheld(people: int, keys: int | None) -> None:
    with pytest.raises(DisclosureError):
        protect_statistic("ledger", ledger([100_000], people, keys), NOISY, Register(Changes()), {})


def test_exact_amounts_stay_exact_in_open_data(tmp_path: Path) -> None:
    safe, _ = protect_statistic("ledger", ledger([123, 456_789], 3), Release(exact=True), Register(Changes()), {})
    safe.to_parquet(tmp_path / "ledger.parquet")
    again = Statistic.read_parquet(tmp_path / "ledger.parquet")
    assert isinstance(again, Ledger)
    assert (again.funder, again.cents.tolist(), again.people) == (("employer", "employer"), [123, 456_789], 3)
    assert ledger_rows(again, PAYERS)["cents_per_person"].tolist() == [41, 152_263]


def test_a_ledger_that_cannot_be_is_refused(tmp_path: Path) -> None:
    for wrong in (
        ledger([-5, 10], 3),
        ledger([5, 10], 0),
        Ledger(("a", "a"), ("x", "x"), np.array([1, 2]), 3),
    ):
        wrong.to_parquet(tmp_path / "ledger.parquet")
        with pytest.raises(InputError, match="not valid ledger"):
            Statistic.read_parquet(tmp_path / "ledger.parquet")


def test_nothing_paid_is_a_ledger_too(tmp_path: Path) -> None:
    none = ledger([0, 0], 12)
    assert none.per_person().tolist() == none.per_person(2).tolist() == [0, 0]
    assert (none + none.empty()).people == 12
    assert none.empty().is_empty


def test_a_funder_without_an_account_is_named() -> None:
    with pytest.raises(DesignError, match=r"on whose account fund pays: .* have employer, participant, state"):
        ledger_rows(ledger([1, 1, 1, 1], 3), {**PAYERS, "others": ("employer",)})
