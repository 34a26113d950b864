"""Outcomes stacked in one table: their sums, and the effect on a ratio, by hand and against single people."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.estimators.outcome_moments import outcome_moments
from retrain_eval.estimators.stacked_outcomes import effect_on_ratio, stacked_outcome, stacked_time

PARTS, HEAD = 3, 3  # three contributions, then H


def people(n: int = 400, seed: int = 1) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return rows of n people in the periods 0 and 1, who is treated, and their outcomes, shape (n, 2, 4)."""
    rng = np.random.default_rng(seed)
    treated = np.arange(n) % 2 == 0
    chance = np.array([0.8, 0.6, 0.5]) - 0.2 * treated[:, None, None] * np.array([0.0, 1.0])[:, None]
    flags = rng.random((n, 2, PARTS)) < chance
    deprived = flags.sum(axis=2) >= 2
    values = np.concatenate([flags * deprived[..., None] / PARTS, deprived[..., None]], axis=2).astype(float)
    unit, clock, block = np.indices(values.shape)
    rows = pd.DataFrame(
        {
            "id": unit.ravel(),
            "t": np.array([stacked_time(b, c) for b, c in zip(block.ravel(), clock.ravel(), strict=True)]),
            "g": np.where(treated, 1, 0)[unit.ravel()],
            "pair": unit.ravel() // 2,
            "y": values.ravel(),
        }
    )
    return rows, treated, values


def stack(rows: pd.DataFrame, cluster: str | None = None) -> OutcomeMoments:
    return outcome_moments(rows, unit="id", time="t", cohort="g", outcome="y", cluster=cluster)


def test_a_sum_of_outcomes_is_what_its_own_rows_give() -> None:
    rows, treated, values = people()
    whole = stacked_outcome(stack(rows), "m0", range(PARTS))
    own = pd.DataFrame(
        {
            "id": np.repeat(np.arange(len(treated)), 2),
            "t": np.tile([0, 1], len(treated)),
            "g": np.repeat(np.where(treated, 1, 0), 2),
            "y": values[:, :, :PARTS].sum(axis=2).ravel(),
        }
    )
    expected = outcome_moments(own, unit="id", time="t", cohort="g", outcome="y").att_gt().to_frame()
    found = whole.att_gt().to_frame()
    for column in ("estimate", "std_error"):
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-9)


def test_parts_add_up_to_the_whole() -> None:
    table = stack(people()[0])
    parts = [stacked_outcome(table, str(k), (k,)).att_gt().to_frame()["estimate"] for k in range(PARTS)]
    whole = stacked_outcome(table, "m0", range(PARTS)).att_gt().to_frame()["estimate"]
    np.testing.assert_allclose(sum(parts), whole, atol=1e-14)


def ratio(treated: np.ndarray, values: np.ndarray) -> float:
    """Return the effect on A from single people."""
    m, h = values[:, :, :PARTS].sum(axis=2), values[:, :, HEAD]
    (m1, h1), (m0, h0) = ((m[arm].mean(axis=0), h[arm].mean(axis=0)) for arm in (treated, ~treated))
    return float(m1[1] / h1[1] - (m1[0] + m0[1] - m0[0]) / (h1[0] + h0[1] - h0[0]))


@pytest.mark.parametrize("cluster", [None, "pair"])
def test_the_effect_on_a_ratio_and_its_error_are_those_of_single_people(cluster: str | None) -> None:
    """The delta method against the jackknife, which agree to first order."""
    rows, treated, values = people()
    found = effect_on_ratio(stack(rows, cluster), "a", range(PARTS), HEAD).to_frame().set_index("event_time")
    assert found.loc[0, "estimate"] == pytest.approx(ratio(treated, values), abs=1e-12)
    assert found.loc[-1, "estimate"] == 0
    group = np.arange(len(treated)) // (2 if cluster else 1)
    without = np.array([ratio(treated[group != g], values[group != g]) for g in np.unique(group)])
    n = len(without)
    expected = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    assert found.loc[0, "std_error"] == pytest.approx(expected, rel=0.03)


def test_a_ratio_by_hand() -> None:
    """In period 0 everyone has 1/2. In period 1 half of the treated are deprived, in all; all controls, in half."""
    rows = []
    for unit in range(80):
        treated = unit < 40
        after = (1.0, 1.0) if treated and unit < 20 else (0.0, 0.0) if treated else (0.5, 1.0)
        for clock, values in enumerate(((0.5, 1.0), after)):
            rows += [{"id": unit, "t": stacked_time(b, clock), "g": int(treated), "y": y} for b, y in enumerate(values)]
    found = effect_on_ratio(stack(pd.DataFrame(rows)), "a", (0,), 1).to_frame().set_index("event_time")
    assert found.loc[0, "estimate"] == pytest.approx(1 - 0.5)


def test_where_few_are_deprived_there_is_no_ratio() -> None:
    rows, _, _ = people(40)
    rows.loc[(rows["t"] == stacked_time(HEAD, 1)) & (rows["g"] == 1), "y"] = 0.0
    with pytest.raises(DesignError, match="there is no ratio to compare"):
        effect_on_ratio(stack(rows), "a", range(PARTS), HEAD)


def test_unknown_outcomes_and_bases_are_refused() -> None:
    table = stack(people(40)[0])
    with pytest.raises(InputError, match="no such outcome"):
        stacked_outcome(table, "m0", (7,))
    with pytest.raises(InputError, match="no such outcome"):
        effect_on_ratio(table, "a", (0,), 7)
    with pytest.raises(DesignError, match="base period -4"):
        effect_on_ratio(table, "a", (0,), 1, base=-4)


def test_added_tables_give_the_ratio_of_all_people() -> None:
    rows, _, _ = people()
    parts = [stack(rows[rows["id"] < 150]), stack(rows[rows["id"] >= 150])]
    one, other = (
        effect_on_ratio(table, "a", range(PARTS), HEAD).to_frame() for table in (parts[0] + parts[1], stack(rows))
    )
    pd.testing.assert_frame_equal(one, other, rtol=1e-9, atol=1e-9)
