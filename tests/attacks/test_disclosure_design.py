"""The model of the protection keeps the rules that its note states: changes of counts, equal sets, noise, moments."""

import importlib.util
import sys
from types import ModuleType

import numpy as np
import pytest

from places import ROOT

MODEL = ROOT / "benchmarks" / "disclosure_design" / "design.py"


@pytest.fixture(scope="module")
def design() -> ModuleType:
    spec = importlib.util.spec_from_file_location("disclosure_design_model", MODEL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks its module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("v", "js", "d"), [(2.0, 2, 5), (3.0, 2, 6), (4.0, 2, 8), (1.0, 0, 3)])
def test_changes_have_mean_0_and_the_variance_and_no_forbidden_result(design, v, js, d):
    table, change = design.change_table(v, js, d), np.arange(-d, d + 1)
    counts = np.arange(len(table))
    assert table.min() >= 0
    np.testing.assert_allclose(table.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(table @ change, 0, atol=1e-6)
    np.testing.assert_allclose((table @ change**2)[1:], v, atol=1e-6)
    results = counts[:, None] + change
    assert table[(results < 0) | ((results >= 1) & (results <= js))].max(initial=0) == 0
    assert table[0, d] == 1  # zero stays zero


def test_a_variance_that_mean_0_does_not_allow_is_raised_to_the_smallest(design):
    """A count of 1 can only become 0 or 3 and more: mean 0 then needs a variance of at least (2·1 + 1·4)/3 = 2."""
    p = design.change_probabilities(1, v=1.0, js=2, d=5)
    np.testing.assert_allclose(p[[4, 7]], [2 / 3, 1 / 3], atol=1e-9)


def test_the_same_people_get_the_same_change_wherever_they_are_counted(design):
    keys = design.person_keys(b"secret", [f"P{i}" for i in range(500)])
    members = np.random.default_rng(1).random((500, 40)) < 0.1
    order = np.random.default_rng(2).permutation(500)
    one, two = design.key_sum(keys, members), design.key_sum(keys[order], members[order])
    np.testing.assert_array_equal(one, two)
    counts = members.sum(0)
    np.testing.assert_array_equal(design.perturb(counts, one), design.perturb(counts, two))


def test_sets_that_differ_by_one_person_get_unrelated_changes(design):
    keys = design.person_keys(b"secret", [f"P{i}" for i in range(4000)])
    alone = design.perturb(np.full(4000, 50), keys) - 50
    with np.errstate(over="ignore"):
        joined = design.perturb(np.full(4000, 51), keys + design.mix(keys, 9)) - 51
    assert abs(np.corrcoef(alone, joined)[0, 1]) < 4 / np.sqrt(4000)
    assert abs(alone.mean()) < 4 * np.sqrt(2 / 4000)
    assert alone.var() == pytest.approx(2, abs=0.25)


def test_cells_of_a_total_add_up_to_what_was_published_of_it(design):
    keys = design.person_keys(b"secret", [f"P{i}" for i in range(300)])
    register = design.Register()
    total = register.publish(300, int(design.key_sum(keys, np.ones((300, 1), int))[0]))
    for seed in range(20):
        members = np.eye(3, dtype=int)[np.random.default_rng(seed).integers(0, 3, 300)]
        values = register.publish_cells(total, members.sum(0).tolist(), design.key_sum(keys, members))
        assert values is None or sum(values) == total
        assert values is None or all(value == 0 or value > 2 for value in values)


def test_noise_is_never_smaller_than_a_nor_larger_than_b_and_is_the_same_again(design):
    p = design.people(800, seed=1)
    for sign, size in (("period", "period"), ("job", "period"), ("person", "person")):
        away = np.abs(design.noise(p.keys, p.jobs, sign, size) - 1)
        assert away.min() >= 0.05
        assert away.max() <= 0.15
        np.testing.assert_array_equal(away, np.abs(design.noise(p.keys, p.jobs, sign, size) - 1))
    by_person = design.noise(p.keys, p.jobs)
    assert np.ptp(by_person, axis=1).max() == 0
    assert by_person[:, 0].mean() == pytest.approx(1, abs=4 * 0.0866 / np.sqrt(800))


@pytest.mark.parametrize("published", [55, 60, 65])
def test_second_moments_are_positive_semidefinite_whatever_is_published_of_n(design, published):
    p = design.people(60, seed=3)
    for cell in (
        design.protected_cell(p.pay * design.noise(p.keys, p.jobs), 7, published, spectrum=6.0),
        design.binary_cell(p.employed, p.keys, published),
        design.binary_cell(p.employed, p.keys, published, spectrum=6.0),
    ):
        values = np.linalg.eigvalsh(cell.second)
        assert values.min() > -1e-9 * values.max()
        assert cell.second[0, 0] == cell.first[0] == published
