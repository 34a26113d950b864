"""Distribution functions leave the agency at points between which are enough people, or nobody."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.covariates import protect_covariates
from retrain_eval.sample.balance.balance import ecdf_distance
from retrain_eval.sample.balance.covariate_sums import sum_covariates
from retrain_eval.tables.covariates.covariates import AFTER, APART, BEFORE, CovariateMoments, covariate_balance

Floats = npt.NDArray[np.float64]
ARMS = ("treated", "control")


def sums(
    treated: Floats, control: Floats, found: int, chosen: int, cuts: tuple[float, ...] = (), old: float | None = None
) -> CovariateMoments:
    """Sum an amount of trained people, of whom the first ``found`` are matched to the first ``chosen`` controls."""
    x = np.concatenate([treated, control])
    cells = pd.DataFrame({"x": x})
    if old is not None:
        cells["old"] = (x >= old).astype(float)
    one, other = np.arange(len(treated)), len(treated) + np.arange(len(control))
    return sum_covariates(
        cells, np.arange(len(x)), list(cells), None, {"treated": one, "control": other},
        {"treated": (one[:found], np.ones(found)), "control": (other[:chosen], np.ones(chosen))}, cuts={"x": cuts},
    )  # fmt: skip


def told(moments: CovariateMoments, arm: str, stage: str) -> dict[float, float]:
    return moments.distribution("x", arm, stage)


def enough(n: int) -> bool:
    return n == 0 or n >= 10


numbers = st.one_of(
    st.lists(st.integers(15, 64).map(float), min_size=60, max_size=120),
    st.lists(st.floats(0, 40_000).map(lambda v: round(v, 2)), min_size=60, max_size=120),
    st.lists(st.sampled_from([0.0, 0.0, 120.5, 950.25, 4_800.0, 11_000.0]), min_size=60, max_size=120),
)


@given(treated=numbers, control=numbers, left=st.sampled_from([0, 3, 12, 30]), cut=st.sampled_from([25.0, 1000.0]))
@settings(max_examples=120, deadline=None)
def test_between_two_points_are_enough_people_or_nobody(
    treated: list[float], control: list[float], left: int, cut: float
) -> None:
    x = {"treated": np.array(treated), "control": np.array([*control, *control])}
    found = {"treated": len(treated) - left, "control": len(control)}
    fine = sums(x["treated"], x["control"], found["treated"], found["control"], (cut,))
    safe, _ = protect_covariates("m", fine, Release())
    for arm in ARMS:
        stages = {BEFORE: x[arm], AFTER: x[arm][: found[arm]], APART: x[arm][found[arm] :]}
        known = {stage: told(safe, arm, stage) for stage in (BEFORE, AFTER)}
        for stage, edges in known.items():
            below = [np.count_nonzero(stages[stage] < edge) for edge in edges]
            share = np.array(below) / len(stages[stage])
            assert list(edges.values()) == pytest.approx(share)
            assert all(map(enough, np.diff([0, *below, len(stages[stage])])))
        both = sorted(set(known[BEFORE]) & set(known[AFTER]))  # whoever subtracts is left with the others
        below = [np.count_nonzero(stages[APART] < edge) for edge in both]
        assert not both or all(map(enough, np.diff([0, *below, len(stages[APART])])))
        # strata of enough people are published, so that all below a cut are known
        if all(np.count_nonzero(part < cut) >= 10 <= np.count_nonzero(part >= cut) for part in stages.values()):
            for edges, part in ((known[AFTER], stages[AFTER]), (known[BEFORE], stages[BEFORE])):
                points = [-np.inf, *sorted({*edges, cut}), np.inf] if edges else [-np.inf, np.inf]
                assert all(enough(np.count_nonzero((part >= low) & (part < high))) for low, high in pairwise(points)), (
                    points,
                    arm,
                )


def test_the_few_between_a_decile_and_another_covariate_do_not_follow() -> None:
    """All from 50 on are old: beside a point at 52, the share of the old would tell how many are 50 or 51."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.integers(20, 50, 57), [50, 51, 51], rng.integers(53, 60, 40)]).astype(float)
    fine = sums(x, x, 100, 100, old=50)
    rows = fine.cells[fine.cells["covariate"] == "x"]
    edges = np.array(rows["edges"].iloc[0])
    assert 50 in edges
    assert np.array(rows["forced"].iloc[0])[edges == 50].all()
    crowded = [
        edge for edge in edges if edge != 50 and np.count_nonzero((x >= min(edge, 50)) & (x < max(edge, 50))) < 10
    ]
    assert crowded  # what the deciles alone would have given away
    safe, _ = protect_covariates("m", fine, Release())
    assert 50 in told(safe, "treated", AFTER)
    assert not set(crowded) & set(told(safe, "treated", AFTER))


def test_few_values_do_not_follow_from_counts_and_sums() -> None:
    """Of 0 … 4 children, counts below 1 and 2 with the sums tell how few have three and four."""
    x = np.repeat([0.0, 1, 2, 3, 4], [40, 20, 14, 3, 4])
    fine = sums(x, x, len(x), len(x))
    counts = [(x < 1).sum(), (x < 2).sum(), len(x), x.sum(), (x**2).sum()]
    values = np.arange(5.0)
    matrix = [values < 1, values < 2, values >= 0, values, values**2]
    assert np.linalg.solve(np.array(matrix, dtype=float), counts).round(6).tolist() == [40, 20, 14, 3, 4]  # the attack
    safe, record = protect_covariates("m", fine, Release())
    assert told(safe, "treated", AFTER) == {}
    assert "distribution functions of x are withheld" in record[0]
    assert covariate_balance(safe)[["ecdf_mean_after", "ecdf_max_after"]].isna().all(axis=None)
    frequent = np.repeat([0.0, 1, 2, 3], [40, 20, 14, 13])  # each value may be told
    safe, record = protect_covariates("m", sums(frequent, frequent, 87, 87), Release())
    assert len(told(safe, "treated", AFTER)) == 3
    assert record == []


def test_where_few_were_not_matched_those_matched_stand_for_all() -> None:
    rng = np.random.default_rng(1)
    treated, control = rng.gamma(4, 1000, 103).round(2), rng.gamma(5, 1000, 900).round(2)
    safe, record = protect_covariates("m", sums(treated, control, 100, 100), Release())
    assert told(safe, "treated", BEFORE) == {}
    assert "treated before matching are taken to be those after it" in record[0]
    row = covariate_balance(safe).iloc[0]
    expected = [abs(share - np.mean(control < edge)) for edge, share in told(safe, "treated", AFTER).items()]
    assert row["ecdf_max_before"] == pytest.approx(max(expected))
    assert row["ecdf_mean_before"] == pytest.approx(np.mean(expected))


def test_distances_are_near_those_of_all_values_and_no_point_is_a_value() -> None:
    rng = np.random.default_rng(2)
    treated, control = rng.lognormal(8, 1, 400).round(2), rng.lognormal(8.6, 1, 4000).round(2)
    safe, _ = protect_covariates("m", sums(treated, control, 400, 400), Release())
    x = np.concatenate([treated, control])
    arm = (np.arange(len(x)) < 400).astype(float)
    whole = ecdf_distance(x, arm, 1 - arm)
    row = covariate_balance(safe).iloc[0]
    assert 0.9 * whole[1] <= row["ecdf_max_before"] <= whole[1]
    assert row["ecdf_mean_before"] == pytest.approx(whole[0], rel=0.5)
    edges = list(told(safe, "treated", AFTER))
    assert len(edges) == 9
    assert not set(edges) & set(x)


def test_rounded_counts_keep_the_shares() -> None:
    rng = np.random.default_rng(3)
    treated, control = rng.gamma(4, 1000, 103), rng.gamma(5, 1000, 412)
    exact, _ = protect_covariates("m", sums(treated, control, 103, 103), Release())
    rounded, _ = protect_covariates("m", sums(treated, control, 103, 103), Release(round_counts=5))
    assert told(rounded, "control", AFTER) == pytest.approx(told(exact, "control", AFTER))
    assert rounded.cells["people"].tolist() == [105, 105, 410, 105]
