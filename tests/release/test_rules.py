"""Disclosure: nothing leaves that rests on fewer people than the rule allows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from retrain_eval.common.errors import DisclosureError
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.estimates import COUNTS, NUMBERS
from retrain_eval.plan.study_file import Release
from retrain_eval.release.layout import TABLES
from retrain_eval.release.protection.protect import protect
from retrain_eval.release.results import Results


def test_an_estimate_from_nine_people_is_withheld_and_its_keys_stay() -> None:
    results = Results()
    rows = [
        {"event_time": 0, "level": "small", "estimate": 1.5, "n_treated": 9, "n_control": 50},
        {"event_time": 0, "level": "large", "estimate": 2.5, "n_treated": 10, "n_control": 10},
        {"event_time": 0, "level": "few controls", "estimate": 3.5, "n_treated": 99, "n_control": 3},
        {"event_time": 0, "level": "one count", "estimate": 4.5, "n_treated": 99},
    ]
    results.add_effects("att", EffectTable.build(rows, np.eye(4)))
    safe, record = protect(results, Release())
    frame = safe.tables["effects"].set_index("level")
    for level in ("small", "few controls"):
        assert frame.loc[level, [*NUMBERS, *COUNTS]].isna().all()
        assert frame.loc[level, "note"] == "withheld: fewer than 10"
    for level in ("large", "one count"):
        assert frame.loc[level, "estimate"] in (2.5, 4.5)
        assert frame.loc[level, "note"] == ""
    assert record == ["Effects: 2 estimate(s) of att rest on fewer than 10 and are withheld."]
    assert results.tables["effects"]["estimate"].notna().all()  # the run's own results are not touched


def test_small_counts_are_withheld_with_the_mean_beside_them() -> None:
    means = pd.DataFrame({"outcome": "y", "group": ["treated", "control"], "time": 1, "mean": [5.0, 6.0], "n": [9, 10]})
    safe = protect(Results(tables={"means": means}), Release())[0].tables["means"]
    assert safe["n"].isna().tolist() == safe["mean"].isna().tolist() == [True, False]


def test_an_estimate_from_nobody_knows_how_many_is_withheld() -> None:
    results = Results()
    results.add_effects("att", EffectTable.build([{"level": "?", "estimate": 1.5}], np.eye(1)))
    means = pd.DataFrame({"outcome": "y", "group": ["a", "b", "c"], "time": 1, "mean": 7.5, "n": [np.nan, 3, 30]})
    results.add_table("means", means)
    safe, record = protect(results, Release())
    assert safe.tables["effects"].loc[0, [*NUMBERS, *COUNTS]].isna().all()
    assert safe.tables["means"]["mean"].isna().tolist() == [True, True, False]
    assert len(record) == 2


def test_a_test_goes_with_the_estimates_it_is_of() -> None:
    results = Results()
    for name, n in (("small", 9), ("large", 90)):
        results.add_effects(name, EffectTable.build([{"estimate": 1.0, "n_treated": n}], np.eye(1)))
    tests = pd.DataFrame(
        {
            "result": ["small", "large", "unknown"],
            "test": "Wald",
            "statistic": 4.25,
            "df": 1,
            "df_denominator": np.nan,
            "p_value": 0.04,
        }
    )
    results.add_table("tests", tests)
    safe, record = protect(results, Release())
    assert safe.tables["tests"]["result"].tolist() == ["large"]
    assert record[-1] == "Tests: those of small, unknown are withheld: not all their estimates are published."


@pytest.mark.parametrize("name", ["balance", "flow", "matching", "overlap", "linkage"])
def test_what_follows_from_no_sums_does_not_leave(name: str) -> None:
    results = Results(tables={name: pd.DataFrame([dict.fromkeys(TABLES[name], 99)])})
    with pytest.raises(DisclosureError, match=f"the table '{name}' follows from no sums over people"):
        protect(results, Release())


@pytest.mark.parametrize("name", ["rosenbaum", "e_values", "oster"])
def test_sensitivity_of_a_withheld_estimate_is_withheld(name: str) -> None:
    results = Results()
    for result, n in (("large", 99), ("small", 9)):
        results.add_effects(result, EffectTable.build([{"estimate": 1.5, "n_treated": n}], np.eye(1)))
        row = {column: 50 if column.startswith("n") else 0.5 for column in TABLES[name]}
        results.add_table(name, pd.DataFrame([{**row, "result": result}]))
    safe, record = protect(results, Release())
    assert safe.tables[name]["result"].tolist() == ["large"]
    assert "small are withheld" in record[-1]
