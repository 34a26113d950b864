"""Coarsened life tables: no small count, nobody lost, curves in place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import DisclosureError, InputError
from retrain_eval.estimators.survival.curves import kaplan_meier
from retrain_eval.tables.life_table.counting import life_table
from retrain_eval.tables.life_table.life_table import LifeTable

NAMES = {"id": "id", "duration": "quarters", "cause": "cause", "censored": ()}


def spells(n: int, seed: int, longest: int = 12, censored: float = 0.4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    ended = 1 + np.minimum(rng.geometric(0.2, n), longest)
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "quarters": ended,
            "cause": np.where(rng.random(n) < censored, "0", rng.choice(["job", "recall"], n, p=[0.7, 0.3])),
            "arm": rng.choice(["trained", "control"], n),
            "w": rng.uniform(0.5, 2, n),
        }
    )


def survival_at(table: LifeTable, arm: str, times: tuple[float, ...]) -> np.ndarray:
    frame = kaplan_meier(table).to_frame()
    frame = frame[frame["level"] == arm]
    place = np.searchsorted(frame["time"].to_numpy(dtype=float), times, side="right")
    return np.append(1.0, frame["estimate"].to_numpy())[place]


def one_step_is_safe(table: LifeTable, time: float, min_cell: int) -> bool:
    """Whether the table could be published with all that happened until ``time`` as one step."""
    until = table.cells[table.cells["duration"] <= time].groupby(["arm", "cause"])["n"].sum()
    after = table.cells[table.cells["duration"] > time].groupby("arm")["n"].sum()
    return bool((until >= min_cell).all() and (after >= min_cell).all())


def totals(table: LifeTable) -> pd.DataFrame:
    return table.cells.groupby("arm")[["n", "sum_w", "sum_w2"]].sum()


@given(seed=st.integers(0, 10_000), n=st.integers(60, 600), min_cell=st.integers(2, 12), weighted=st.booleans())
@settings(max_examples=25, deadline=None)
def test_no_small_count_nobody_lost_and_twice_is_once(seed: int, n: int, min_cell: int, weighted: bool) -> None:
    weights = {"weights": "w", "weight_type": "probability"} if weighted else {}
    table = life_table(spells(n, seed), **NAMES, by="arm", **weights)
    try:
        safe = table.coarsen(min_cell)
    except DisclosureError:
        assert not any(one_step_is_safe(table, time, min_cell) for time in table.cells["duration"].unique())
        return
    assert safe.cells["n"].min() >= min_cell
    pd.testing.assert_frame_equal(totals(safe), totals(table))
    assert set(safe.cells["duration"]) == set(safe.grid)
    assert kaplan_meier(safe).frame["n_treated"].min() >= min_cell
    again = safe.coarsen(min_cell)
    pd.testing.assert_frame_equal(again.cells, safe.cells)
    assert (again.grid, again.stopped) == (safe.grid, safe.stopped)


@given(seed=st.integers(0, 10_000), n=st.integers(400, 900), weighted=st.booleans())
@settings(max_examples=20, deadline=None)
def test_curves_keep_their_value_at_the_durations_kept(seed: int, n: int, weighted: bool) -> None:
    """Moving c people in or out of a risk set of Y of whom D end moves a step by at most D c / (Y − c)²."""
    weights = {"weights": "w", "weight_type": "probability"} if weighted else {}
    table = life_table(spells(n, seed), **NAMES, by="arm", **weights)
    safe = table.coarsen(10)
    for arm in ("trained", "control"):
        curve = kaplan_meier(safe.subset(arm=arm)).frame
        at_risk = curve["n_treated"].to_numpy(dtype=float)
        ended = safe.cells[(safe.cells["arm"] == arm) & (safe.cells["cause"] != "0")].groupby("duration")["n"].sum()
        ended = ended.reindex(curve["time"].to_numpy(dtype=float), fill_value=0).to_numpy()
        # at most ten people are rounded away (fewer than min_cell), and a weight is at most four times another
        rounding = 10 * (4 if weighted else 1)
        bound = (ended * rounding / np.clip(at_risk - rounding, 1, None) ** 2).cumsum()
        times = tuple(curve["time"].to_numpy(dtype=float))
        moved = np.abs(survival_at(safe, arm, times) - survival_at(table, arm, times))
        assert (moved <= bound + 1e-12).all()


def test_curves_stay_in_place_in_a_large_sample() -> None:
    """With the censored all at the ends of intervals, these curves would lie up to 0.025 too high."""
    data = spells(4_000, 5).assign(quarters=lambda f: f["quarters"] + np.arange(4_000) % 50 / 50)
    table = life_table(data, **NAMES, by="arm")
    safe = table.coarsen(10)
    assert len(safe.grid) < len(table.cells["duration"].unique()) / 3
    for arm in ("trained", "control"):
        moved = survival_at(safe, arm, safe.grid) - survival_at(table, arm, safe.grid)
        assert np.abs(moved).max() < 0.002


def test_a_table_without_small_counts_is_unchanged() -> None:
    data = pd.concat([spells(80, 3)] * 10).assign(id=lambda f: np.arange(len(f)))
    table = life_table(data, **NAMES, by="arm")
    safe = table.coarsen(10)
    pd.testing.assert_frame_equal(safe.cells, table.cells)
    assert safe.grid == tuple(sorted(set(data["quarters"])))
    assert not safe.stopped


def test_the_rule_on_a_table_one_can_read() -> None:
    """Quarters 1 and 2 are merged, for one event at 1; at 3 one would be left, so the four at 3 and 4 go on to 4."""
    data = pd.DataFrame({"id": range(10), "quarters": [1, 2, 2, 2, 3, 3, 3, 4, 5, 5], "cause": [1] * 4 + [0] * 6})
    safe = life_table(data, **NAMES).coarsen(3)
    assert safe.cells[["duration", "cause", "n"]].to_numpy().tolist() == [[2.0, "1", 4], [3.0, "0", 3], [5.0, "0", 3]]
    assert (safe.grid, safe.stopped) == ((2.0, 3.0, 5.0), False)


def test_the_table_stops_where_the_rest_is_too_few() -> None:
    """The last event, at 6, is alone: the five who went on are counted as censored at 2."""
    data = pd.DataFrame({"id": range(9), "quarters": [2] * 4 + [3, 4, 5, 6, 6], "cause": [1] * 4 + [0, 0, 0, 0, 1]})
    safe = life_table(data, **NAMES).coarsen(3)
    assert safe.cells[["duration", "cause", "n"]].to_numpy().tolist() == [[2.0, "0", 5], [2.0, "1", 4]]
    assert safe.stopped


def test_grid_survives_parquet_and_keeps_tables_apart(tmp_path: Path) -> None:
    table = life_table(spells(500, 1), **NAMES, by="arm")
    safe = table.coarsen(10)
    safe.to_parquet(tmp_path / "t.parquet")
    back = LifeTable.read_parquet(tmp_path / "t.parquet")
    assert (back.grid, back.stopped) == (safe.grid, safe.stopped)
    pd.testing.assert_frame_equal(kaplan_meier(back).frame, kaplan_meier(safe).frame)
    with pytest.raises(InputError, match="grid differ"):
        table + safe


def test_what_cannot_be_protected_is_refused() -> None:
    data = spells(300, 1)
    with pytest.raises(DisclosureError, match=r"smallest group, control, has 1 spell"):
        life_table(data.assign(arm=["control"] + ["trained"] * 299), **NAMES, by="arm").coarsen(10)
    with pytest.raises(DisclosureError, match="several spells"):
        life_table(data.assign(id=0), **NAMES).coarsen(10)
    with pytest.raises(DisclosureError, match="does not protect entries"):
        life_table(data.assign(entry=0.5), **NAMES, entry="entry").coarsen(10)
    with pytest.raises(InputError, match="min_cell must be at least 1"):
        life_table(data, **NAMES).coarsen(0)


@pytest.mark.parametrize("weighted", [False, True])
def test_clusters_move_with_their_cells(weighted: bool) -> None:
    """Where nothing is censored within, a coarsened clustered table is that of the rows with coarsened durations."""
    data = spells(400, 3, censored=0.0).assign(pair=lambda f: f["id"] // 2)
    weights = {"weights": "w", "weight_type": "probability"} if weighted else {}
    safe = life_table(data, **NAMES, by="arm", cluster="pair", **weights).coarsen(10)
    grid = np.array(safe.grid)
    at = np.searchsorted(grid, data["quarters"])
    went_on = at == len(grid)
    moved = data.assign(quarters=grid[np.where(went_on, len(grid) - 1, at)], cause=data["cause"].where(~went_on, "0"))
    expected = kaplan_meier(life_table(moved, **NAMES, by="arm", cluster="pair", **weights))
    found = kaplan_meier(safe)
    np.testing.assert_allclose(found.frame["estimate"], expected.frame["estimate"], rtol=1e-12)
    np.testing.assert_allclose(found.vcov, expected.vcov, rtol=1e-10, atol=1e-16)
    assert np.abs(found.vcov[: len(grid), len(grid) :]).max() > 0  # pairs reach over both arms
    plain = kaplan_meier(safe.without_clusters())
    np.testing.assert_array_equal(plain.frame["estimate"], found.frame["estimate"])


def test_split_censoring_keeps_every_cluster_whole() -> None:
    """Totals of weight by pair do not change: what is split stays with its pair."""
    data = spells(600, 4).assign(pair=lambda f: f["id"] // 2)
    table = life_table(data, **NAMES, by="arm", cluster="pair", weights="w", weight_type="probability")
    safe = table.coarsen(10)
    assert safe.products is not None
    assert safe.products.sum() == pytest.approx(table.products.sum(), rel=1e-12)
    assert len(safe.cells) < len(table.cells)
    np.testing.assert_allclose(
        kaplan_meier(safe).frame["estimate"], kaplan_meier(table.without_clusters().coarsen(10)).frame["estimate"]
    )


def test_rare_causes_and_levels_are_merged_before_durations() -> None:
    rng = np.random.default_rng(3)
    rows = [
        (arm, q, cause) for arm in "ab" for q, cause in zip(rng.integers(1, 6, 300), ["job", "0"] * 150, strict=True)
    ]
    rows += [("a", 2, "recall"), ("b", 3, "recall"), ("c", 1, "job"), ("c", 2, "job")]
    data = pd.DataFrame(rows, columns=["arm", "quarters", "cause"]).reset_index(names="id")
    table = life_table(data, id="id", duration="quarters", cause="cause", by="arm", censored="0")
    safe = table.coarsen(10, merge=True)
    assert safe.merged == ("causes", "b + c")
    assert safe.grid == (1.0, 2.0, 3.0, 4.0, 5.0)
    assert safe.n_spells == len(data)
    assert set(safe.cells["cause"]) == {"0", "any"}
