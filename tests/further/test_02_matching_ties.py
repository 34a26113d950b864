"""Ties of the score are settled by the steps between units in the sorted sequence of all units (MatchIt 4.7.2)."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte

Pairs = list[tuple[int, int]]


def walk(
    score: np.ndarray,
    treat: np.ndarray,
    stratum: np.ndarray | None = None,
    *,
    order: str = "largest",
    ratio: int = 1,
    replace: bool = False,
    caliper: float = np.inf,
) -> Pairs:
    """Pair units by the rule as it is stated: sort all by (score, id), walk left and right, ids being 0, 1, …"""
    n = len(score)
    stratum = np.zeros(n, dtype=int) if stratum is None else stratum
    line = sorted(range(n), key=lambda i: (score[i], i))
    place = {unit: at for at, unit in enumerate(line)}
    chooses = [i for i in range(n) if treat[i]]
    if order != "data":
        sign = -1 if order == "largest" else 1
        chooses.sort(key=lambda i: (sign * score[i], i))
    used: set[int] = set()
    mine: dict[int, list[int]] = {t: [] for t in chooses}
    for _ in range(ratio):
        for t in chooses:
            # beyond the matches that it has already
            at = [place[t], *(place[c] for c in mine[t])]
            found: list[tuple[float, int, int, int]] = []
            for side, start, step in ((0, min(at), -1), (1, max(at), 1)):
                steps, here = 1, start + step
                while 0 <= here < n:
                    unit = line[here]
                    if not treat[unit] and unit not in used and unit not in mine[t] and stratum[unit] == stratum[t]:
                        found.append((abs(score[unit] - score[t]), steps, side, unit))
                        break
                    steps, here = steps + 1, here + step
            if found and min(found)[0] <= caliper:
                mine[t].append(min(found)[3])
                if not replace:
                    used.add(mine[t][-1])
    return sorted((t, c) for t, cs in mine.items() for c in cs)


def pairs(score: np.ndarray, treat: np.ndarray, stratum: np.ndarray | None = None, **options: object) -> Pairs:
    frame = pd.DataFrame({"id": np.arange(len(score)), "treat": treat, "score": np.asarray(score, dtype=float)})
    if stratum is not None:
        frame["s"] = stratum
        options["exact"] = ["s"]
    sample = rte.match(frame, "treat ~ score", unit="id", distance="score", **{"caliper": None, **options})
    return sorted(map(tuple, sample.pairs.df()[["treated_id", "control_id"]].to_numpy().tolist()))


def draw(seed: int, n: int = 40, levels: int = 4, share: float = 0.35) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    treat = (rng.random(n) < share).astype(int)
    treat[:2] = 0, 1
    return rng.integers(0, levels, n), treat


def test_the_stated_rule_pairs_the_published_example():
    assert walk(np.full(6, 0.5), np.array([0, 0, 1, 1, 0, 0])) == [(2, 1), (3, 4)]


@pytest.mark.parametrize(("seed", "order"), list(itertools.product(range(4), ("largest", "smallest", "data"))))
def test_without_replacement_the_fewer_steps_win(seed, order):
    score, treat = draw(seed)
    assert pairs(score, treat, m_order=order) == walk(score, treat, order=order)


def test_equal_distances_on_both_sides_go_to_the_nearer_in_steps():
    # left at 3: three units stand between; right at 7: one does
    score, treat = np.array([3, 4, 4, 5, 6, 7]), np.array([0, 1, 1, 1, 1, 0])
    assert pairs(score, treat, m_order="data")[0] == walk(score, treat, order="data")[0]
    # of the last to choose, both at distance 2: the right one is fewer steps away
    only = np.array([1, 2, 2, 3, 5])
    assert pairs(only, np.array([0, 1, 1, 1, 0]), m_order="largest") == walk(only, np.array([0, 1, 1, 1, 0]))


@pytest.mark.parametrize("seed", range(4))
def test_with_replacement_the_first_of_ties_is_the_fewest_steps_away(seed):
    score, treat = draw(seed + 50, levels=3, share=0.5)
    assert pairs(score, treat, replace=True, ties="first") == walk(score, treat, replace=True)


@pytest.mark.parametrize("seed", range(4))
def test_with_two_controls_each_the_walk_continues_beyond_the_first(seed):
    score, treat = draw(seed + 90, n=36, levels=3, share=0.25)
    assert pairs(score, treat, ratio=2) == walk(score, treat, ratio=2)


@pytest.mark.parametrize("seed", range(3))
def test_units_of_other_strata_count_as_steps(seed):
    score, treat = draw(seed + 130, n=60, levels=3)
    stratum = np.random.default_rng(seed).integers(0, 3, 60)
    assert pairs(score, treat, stratum) == walk(score, treat, stratum)


def test_a_caliper_does_not_change_which_of_equal_controls_is_taken():
    score, treat = draw(170, n=50, levels=6)
    caliper = 1.0 / score.std(ddof=1) + 1e-9  # in standard deviations of all units
    assert pairs(score, treat, caliper=caliper) == walk(score, treat, caliper=1.0 + 1e-6)


def test_identifiers_that_are_texts_are_sorted_as_texts():
    treat = np.array([0, 0, 1, 1, 0, 0])
    names = ["a", "b", "c", "d", "e", "f"]
    frame = pd.DataFrame({"id": names, "treat": treat, "score": 2.5}).sample(frac=1, random_state=3)
    sample = rte.match(frame, "treat ~ score", unit="id", distance="score", caliper=None)
    found = sample.pairs.order("treated_id").project("treated_id, control_id").fetchall()
    assert found == [("c", "b"), ("d", "e")]


def test_rows_in_another_order_give_the_same_pairs():
    score, treat = draw(190)
    frame = pd.DataFrame({"id": np.arange(40), "treat": treat, "score": score.astype(float)})
    turned = frame.sample(frac=1, random_state=1)
    found = rte.match(turned, "treat ~ score", unit="id", distance="score", caliper=None).pairs.df()
    assert sorted(map(tuple, found[["treated_id", "control_id"]].to_numpy().tolist())) == walk(score, treat)


def counted_ties(frame: pd.DataFrame, **options: object) -> int:
    """Return the one number of the audit that is about ties (assumed: a key with ``tie``, a whole number)."""
    audit = rte.match(frame, "treat ~ score", unit="id", distance="score", caliper=None, **options).audit
    json.dumps({key: value for key, value in audit.items() if "tie" in key})
    found = [value for key, value in audit.items() if "tie" in key and type(value) is int]
    assert len(found) == 1, audit.keys()
    return found[0]


def test_the_audit_counts_choices_that_were_ties():
    # two choices between equals, on both sides and on one; one choice of a single nearest
    frame = pd.DataFrame(
        {
            "treat": [1, 0, 0, 1, 0, 0, 1, 0, 0],
            "score": [10.0, 9.0, 11.0, 30.0, 31.0, 31.0, 50.0, 51.0, 53.0],
        }
    ).reset_index(names="id")
    assert counted_ties(frame) == 2
    assert counted_ties(frame, replace=True, ties="first") == 2
    assert counted_ties(frame.assign(score=[10.0, 9.5, 11.0, 30.0, 31.0, 31.5, 50.0, 51.0, 53.0])) == 0
