"""Tables of many cells: those of few people are withheld, others stay as they are, no difference tells of few."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from keyed_people import keyed, rules
from retrain_eval.common.errors import DisclosureError
from retrain_eval.release.protection.protect import protect
from retrain_eval.release.results import Results
from retrain_eval.tables.moments.withheld_cells import MARK, combinations, withholds_cells
from retrain_eval.tables.noise.released_sets import NO_ONE, too_alike

SMALL = ("b1", "s1")


def rows_of(small: int, n: int = 60) -> pd.DataFrame:
    """Return people by two strata of three and two levels: n in each cell and arm, but few trained in one."""
    cells = [(band, school, g) for band in ("b0", "b1", "b2") for school in ("s0", "s1") for g in (2, 0)]
    counts = [small if (band, school) == SMALL and g == 2 else n for band, school, g in cells]
    people = pd.DataFrame(cells, columns=["band", "school", "g"]).loc[np.repeat(range(len(cells)), counts)]
    people = people.reset_index(drop=True).assign(id=range(sum(counts)))
    rows = people.merge(pd.DataFrame({"t": [1, 2, 3]}), how="cross")
    rows["y"] = np.random.default_rng(1).gamma(4, 1000, len(rows)).round(2)
    return rows


def moments(rows: pd.DataFrame, by: Any = ("band", "school"), *, marked: bool = True) -> rte.OutcomeMoments:
    found = rte.outcome_moments(keyed(rows), unit="id", time="t", cohort="g", outcome="y", by=by, winsorise=1.0)
    if marked:
        found.mark(MARK)
    return found


def test_a_cell_of_few_is_withheld_and_the_others_are_not_merged() -> None:
    rows = rows_of(5)
    safe, record = protect(Results(moments={"cells": moments(rows)}), rules())
    left = set(combinations(safe.moments["cells"]))
    assert SMALL not in left
    assert len(left) == 5
    assert any("cells are withheld (1), because in each there are fewer than 10 people" in line for line in record)
    plain, record = protect(Results(moments={"cells": moments(rows, marked=False)}), rules())
    assert any("summed over school" in line for line in record)
    assert len(set(combinations(plain.moments["cells"]))) < 5


def test_effects_of_the_cells_that_are_left_are_about_what_they_were() -> None:
    exact = moments(rows_of(5))
    safe, _ = protect(Results(moments={"cells": exact}), rules())
    one, other = (table.att_gt().by("band", "school").aggregate("simple").frame.set_index("level")
                  for table in (exact, safe.moments["cells"]))  # fmt: skip
    assert "b1 × s1" not in other.index
    gap = (one.loc[other.index, "estimate"] - other["estimate"]).abs()
    assert (gap < one.loc[other.index, "std_error"]).all()


@pytest.mark.parametrize("margin", ["band", "school"])
def test_no_difference_with_a_margin_is_of_few_people(margin: str) -> None:
    """A margin less the cells that are left is the withheld cell: a second one is withheld, or the margin."""
    rows = rows_of(5)
    tables = {"margin": moments(rows, (margin,), marked=False), "cells": moments(rows)}
    safe, _ = protect(Results(moments=tables), rules())
    assert too_alike(safe.sets, [NO_ONE]) == []
    assert too_alike(safe.sets, safe.sets) == []
    if "cells" in safe.moments and margin in safe.moments["margin"].strata:
        kept = set(combinations(safe.moments["cells"]))
        level, place, others = {"band": ("b1", 0, 1), "school": ("s1", 1, 2)}[margin]
        assert len([cell for cell in kept if cell[place] == level]) < others


def test_where_every_cell_is_of_few_nothing_is_released() -> None:
    few = rows_of(5, n=6)
    tables = {"everyone": moments(few, (), marked=False), "cells": moments(few)}
    safe, record = protect(Results(moments=tables), rules())
    assert list(safe.moments) == ["everyone"]
    assert any("no cell has enough people" in line for line in record)
    with pytest.raises(DisclosureError, match="fewer than 10 people"):  # nothing else to publish
        protect(Results(moments={"cells": moments(few)}), rules())


def test_the_mark_is_kept_when_tables_are_added_and_collapsed() -> None:
    table = moments(rows_of(30))
    assert withholds_cells(table)
    assert not withholds_cells(moments(rows_of(30), marked=False))
    again = table.of_cells(np.ones(len(table.cells), dtype=bool))
    assert withholds_cells(again)
