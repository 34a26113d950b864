"""Why a result is withheld is a sentence for readers: no name of a step, and no words of the program."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from keyed_panels import RULES, keyed, panel
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.survival.gray import gray_test
from retrain_eval.release.derive import Deriver
from retrain_eval.release.protection.protect import protect
from retrain_eval.release.protection.publishing import NOT_RELEASED, _why
from retrain_eval.release.results import Results
from retrain_eval.tables.life_table.counting import life_table

ROLES: dict[str, Any] = {"unit": "person", "time": "time", "cohort": "cohort", "outcome": "pay"}


def test_what_needs_groups_that_are_merged_is_withheld_in_a_sentence() -> None:
    frame = panel(300)
    few = frame["person"].str[1:].astype(int) < 12
    frame["band"] = np.where(few, "few", "many")
    table = rte.outcome_moments(keyed(frame), by="band", **ROLES)
    by_band = table.att_gt().by("band").aggregate("simple")
    results = Results(moments={"m": table})
    results.add_effects("by_band", by_band)
    results.add_effects("apart", by_band.difference())
    results.add_effects("of_few", table.subset(band="few").att_gt().aggregate("simple"))
    results.add_effects("all", table.att_gt().aggregate("simple"))
    safe, _ = protect(results, RULES)
    found = safe.tables["withheld"].set_index("result")["reason"].to_dict()
    small = "the protected tables do not give it: groups by band are too small to be shown"
    merged = "the protected tables do not give it: groups that it needs are merged, because they are too small"
    assert found == {"by_band": small, "apart": small, "of_few": merged}


def test_what_follows_from_a_withheld_result_names_it() -> None:
    gone = InputError("unknown table 'effects/att_by_tier'")
    said = _why("effects/att_by_tier", Deriver({}), gone, "it")
    assert said == "it follows from att_by_tier, of which numbers are withheld"
    assert _why("moments/m", Deriver({}), gone, "it") == NOT_RELEASED


def test_reasons_have_no_words_of_the_program() -> None:
    frame = panel(60)
    table = rte.outcome_moments(keyed(frame), **ROLES)
    with pytest.raises(DesignError, match="no group-time effect") as caught:
        table.of_cells(table.cells["cohort"].notna().to_numpy()).att_gt()
    public = "those who start cannot be compared with others who are observed over the same periods"
    assert caught.value.public == public
    assert "agency" in DesignError("2 people").public
    assert DesignError("no trainee has a control").public == "no trainee has a control"


def test_a_test_of_nothing_gives_a_reason_without_counts() -> None:
    spells = pd.DataFrame({"id": [1, 2], "t": [1, 1], "c": [1, 1], "arm": ["a", "b"]})
    with pytest.raises(DesignError, match="nothing to compare") as caught:
        gray_test(life_table(spells, id="id", duration="t", cause="c", by="arm"), "1")
    assert not any(letter.isdigit() for letter in caught.value.public)
    assert "agency" not in caught.value.public
