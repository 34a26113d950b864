"""Who was matched by stratum, and paths before the programme, against a plain calculation on rows."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from matching_samples import LALONDE, lalonde
from retrain_eval.common.errors import InputError
from retrain_eval.sample.composition import BASELINE_PATHS, baseline_paths, matching_table
from retrain_eval.sample.match import match
from retrain_eval.tables.counts import MATCHING

OPTIONS: list[dict[str, Any]] = [
    {},
    {"caliper": 0.2},
    {"replace": True},
    {"replace": True, "ratio": 3, "ties": "first"},
    {"method": "ipw"},
    {"method": "cem"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_counts_equal_rows(options: dict[str, Any]) -> None:
    data = lalonde()
    sample = match(data, LALONDE, "id", **options)
    table = matching_table(data, sample, by=["race", "married"])
    assert tuple(table.columns) == MATCHING
    rows = data.merge(sample.weights.df()[["id", "weight"]], on="id", how="left").fillna({"weight": 0.0})
    rows["uses"] = rows["id"].map(sample.pairs.df()["control_id"].value_counts())
    keys = [(None, None), *(("race", r) for r in ("black", "hispan", "white")), ("married", "0"), ("married", "1")]
    assert [(s if isinstance(s, str) else None, v if isinstance(v, str) else None)
            for s, v in zip(table["subgroup"], table["level"], strict=True)] == keys  # fmt: skip
    for (subgroup, level), (_, found) in zip(keys, table.iterrows(), strict=True):
        here = rows if subgroup is None else rows[rows[subgroup].astype(str) == level]
        treated, control = here[here["treat"] == 1], here[here["treat"] == 0]
        weight = control["weight"]
        counts = [len(treated), (treated["weight"] > 0).sum(), len(control), (weight > 0).sum()]
        assert found[list(MATCHING[2:6])].tolist() == counts
        assert found["ess_control"] == pytest.approx(weight.sum() ** 2 / (weight**2).sum())
        if len(sample.pairs.df()) == 0:  # weighting uses nobody twice
            assert pd.isna(found["reuse_mean"])
            continue
        assert found["reuse_mean"] == pytest.approx(control["uses"].mean())
    assert table.loc[0, "ess_control"] == pytest.approx(sample.audit["ess_control"])


@pytest.mark.parametrize("options", OPTIONS)
def test_paths_before_equal_rows(options: dict[str, Any]) -> None:
    data = lalonde().assign(re74=lambda d: d["re74"].where(d["id"] % 7 != 0))  # some are not observed
    sample = match(data.fillna({"re74": 0.0}), LALONDE, "id", **options)
    table = baseline_paths(data, sample, "earnings", {1975: "re75", 1974: "re74"})
    assert tuple(table.columns) == BASELINE_PATHS
    assert table["time"].tolist() == [1974, 1975] * 4
    rows = data.merge(sample.weights.df()[["id", "weight"]], on="id", how="left").fillna({"weight": 0.0})
    for _, found in table.iterrows():
        here = rows[(rows["treat"] == 1) == found["group"].startswith("treated")]
        here = here[here[f"re{found['time'] % 100}"].notna()]
        weight = here["weight"] if found["group"].endswith("matched") else pd.Series(1.0, here.index)
        assert found["mean"] == pytest.approx(np.average(here[f"re{found['time'] % 100}"], weights=weight))
        assert found["n"] == (weight > 0).sum()


def test_people_in_a_database_and_columns_with_any_name() -> None:
    """Names of our own must not clash with those of strata, nor a person who is matched twice be counted twice."""
    con = duckdb.connect()
    con.register("frame", lalonde().assign(person=lambda d: d["race"], uses=lambda d: d["married"]))
    con.execute("CREATE TABLE people AS SELECT * FROM frame")
    sample = match(con.table("people"), LALONDE, "id", replace=True)
    table = matching_table(con.table("people"), sample, by=["person", "uses"])
    assert table[table["subgroup"] == "person"]["n_control"].sum() == 429
    assert table[table["subgroup"] == "uses"]["n_control_matched"].sum() == sample.audit["n_control_matched"]
    left = [name for (name,) in con.sql("SHOW TABLES").fetchall() if "roles" in name]
    assert left == []


def test_risk_sets_say_what_they_cannot() -> None:
    data = pd.DataFrame({
        "id": range(12), "sex": list("fm") * 6, "age": [30.0, 31, 40, 41, 30, 32, 39, 42, 33, 35, 45, 50],
        "start": 0, "entry": [2, 3, 2, 4] + [None] * 7 + [5], "end": [None, 9] * 6,
    }).astype({"entry": "Int64", "end": "Int64"})  # fmt: skip
    sample = match(data, "treat ~ age", "id", method="riskset", start="start", entry="entry", end="end", distance="age")
    table = matching_table(data, sample, by=["sex"])
    assert table["n_treated"].tolist() == [5, 2, 3]
    assert table.loc[0, "n_control"] == sample.audit["n_control"]
    assert table.loc[1:, "n_control"].isna().all()
    assert table.loc[1:, "n_control_matched"].sum() == table.loc[0, "n_control_matched"]


def test_other_people_and_unknown_columns_are_refused() -> None:
    data = lalonde()
    sample = match(data, LALONDE, "id")
    with pytest.raises(InputError, match="the candidates hold 100 treated people"):
        matching_table(data[(data["treat"] == 0) | (data["id"] <= 100)], sample)
    with pytest.raises(InputError, match="rase"):
        matching_table(data, sample, by=["rase"])
    with pytest.raises(InputError, match="no period before"):
        baseline_paths(data, sample, "earnings", {})
