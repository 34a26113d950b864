"""Keys of the cells of a life table: sums over people, whatever is added, left out or merged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyed_rows import keyed
from retrain_eval.common.errors import InputError
from retrain_eval.tables.life_table.counting import life_table
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.life_table.spell_keys import SpellKeys

NAMES = {"id": "id", "duration": "quarters", "cause": "cause", "censored": ()}


def spells(n: int = 300, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "quarters": 1 + np.minimum(rng.geometric(0.2, n), 11),
            "cause": np.where(rng.random(n) < 0.4, "0", rng.choice(["job", "recall"], n)),
            "arm": rng.choice(["trained", "control"], n),
            "area": rng.choice(["north", "south"], n),
            "w": rng.choice([0.0, 0.5, 2.0], n),
        }
    )


def record_keys(rows: pd.DataFrame) -> dict[int, int]:
    return dict(keyed(rows).project("id, person_key.record AS record").fetchall())


def keys_by_cell(table: LifeTable) -> dict[tuple[object, ...], int]:
    assert table.keys is not None
    columns = [*table.by, "entry", "duration", "cause"]
    return dict(zip(table.cells[columns].itertuples(index=False, name=None), table.keys.key.tolist(), strict=True))


@pytest.mark.parametrize("weights", [{}, {"weights": "w", "weight_type": "probability"}])
def test_a_cell_has_the_sum_of_its_peoples_keys(weights: dict[str, str]) -> None:
    rows = spells()
    records = record_keys(rows)
    table = life_table(keyed(rows), **NAMES, by="arm", **weights)
    kept = rows[rows["w"] > 0] if weights else rows
    expected = {
        (arm, 0.0, float(quarters), cause): sum(records[i] for i in own["id"]) % 2**64
        for (arm, quarters, cause), own in kept.groupby(["arm", "quarters", "cause"])
    }
    assert keys_by_cell(table) == expected
    assert table.keys is not None
    assert table.keys.most == 1


def test_codes_that_mean_the_same_share_a_key_and_repeated_matches_are_counted() -> None:
    rows = spells(40).assign(cause=["0", "false"] * 20, quarters=3)
    person = rows["id"] // 4  # a control that is matched four times has four spells
    table = life_table(keyed(rows.assign(person=person), "person"), **NAMES)
    assert len(table.cells) == 1
    assert table.keys is not None
    assert table.keys.most == 4
    records = [row[0] for row in keyed(rows.assign(person=person), "person").project("person_key.record").fetchall()]
    assert table.keys.key.tolist() == [sum(records) % 2**64]


@given(seed=st.integers(0, 10_000), n=st.integers(40, 300))
@settings(max_examples=10, deadline=None)
def test_keys_add_up_as_counts_do(seed: int, n: int) -> None:
    rows = spells(n, seed)
    whole = life_table(keyed(rows), **NAMES, by=("arm", "area"))
    halves = [life_table(keyed(rows[rows["id"] % 2 == half]), **NAMES, by=("arm", "area")) for half in (0, 1)]
    assert keys_by_cell(halves[0] + halves[1]) == keys_by_cell(whole)
    assert keys_by_cell(whole.collapse("area")) == keys_by_cell(life_table(keyed(rows), **NAMES, by="arm"))
    north = life_table(keyed(rows[rows["area"] == "north"]), **NAMES, by=("arm", "area"))
    assert keys_by_cell(whole.subset(area="north")) == keys_by_cell(north)
    both = halves[0] + whole.empty()
    assert keys_by_cell(both) == keys_by_cell(halves[0])


@given(seed=st.integers(0, 10_000), n=st.integers(80, 400))
@settings(max_examples=10, deadline=None)
def test_coarsening_keeps_the_key_of_each_group(seed: int, n: int) -> None:
    table = life_table(keyed(spells(n, seed)), **NAMES, by="arm")
    coarse = table.coarsen(3, merge=True)
    assert coarse.keys is not None
    totals = [
        {group: sum(key for cell, key in keys_by_cell(of).items() if cell[: len(of.by)] == group) % 2**64}
        for of in (coarse.collapse(coarse.by), table.collapse("arm"))
        for group in [()]
    ]
    assert totals[0] == totals[1]


def test_a_file_holds_keys_and_noise(tmp_path: Path) -> None:
    table = life_table(keyed(spells()), **NAMES, by="arm")
    table.to_parquet(tmp_path / "x.parquet")
    again = LifeTable.read_parquet(tmp_path / "x.parquet")
    assert keys_by_cell(again) == keys_by_cell(table)
    assert again.signature == table.signature
    plain = life_table(spells(), **NAMES, by="arm")
    plain.to_parquet(tmp_path / "y.parquet")
    assert "key" not in pq.read_table(tmp_path / "y.parquet").column_names
    assert LifeTable.read_parquet(tmp_path / "y.parquet").keys is None


def test_a_signature_tells_tables_of_other_people_or_durations_apart() -> None:
    rows = spells()
    table = life_table(keyed(rows), **NAMES, by="arm")
    longer = life_table(keyed(rows.assign(quarters=rows["quarters"] + 1)), **NAMES, by="arm")
    fewer = life_table(keyed(rows[rows["id"] != 7]), **NAMES, by="arm")
    paired = life_table(keyed(rows.assign(pair=rows["id"] // 2)), **NAMES, by="arm", cluster="pair")
    assert len({table.signature, longer.signature, fewer.signature}) == 3
    assert paired.signature == table.signature == paired.without_clusters().signature
    assert life_table(rows, **NAMES, by="arm").signature is None


def test_frequency_weights_say_nothing_of_whom_they_repeat() -> None:
    with pytest.raises(InputError, match="frequency weights do not say whose spells"):
        life_table(keyed(spells().assign(k=2)), **NAMES, weights="k", weight_type="frequency")


def test_shares_of_a_cell_have_keys_that_add_up() -> None:
    keys = SpellKeys(np.array([5, 2**64 - 1], np.uint64), 1)
    first, second = (keys.split(np.array([0, 1]), share).tolist() for share in (0, 1))
    assert [(a + b) % 2**64 for a, b in zip(first, second, strict=True)] == [5, 2**64 - 1]
    assert first != [5, 2**64 - 1]
