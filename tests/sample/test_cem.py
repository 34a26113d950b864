"""Coarsened exact matching: bins, groups, weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrain_eval as rte
from matching_samples import LALONDE, lalonde
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.sample.methods.cem import stratum_weights


@given(
    arms=st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=60).filter(
        lambda rows: any(t for t, _ in rows) and any(not t for t, _ in rows)
    )
)
@settings(max_examples=50, deadline=None)
def test_weights_by_stratum(arms: list[tuple[bool, int]]) -> None:
    """Controls of a stratum count as much as its treated; a stratum of one arm counts for nothing."""
    treated, stratum = np.array([t for t, _ in arms]), np.array([s for _, s in arms])
    weight, subclass = stratum_weights(treated, stratum)
    rows = pd.DataFrame({"t": treated, "s": stratum, "w": weight, "c": subclass})
    both = {s for s, block in rows.groupby("s") if block["t"].nunique() == 2}
    assert set(rows.loc[rows["w"] > 0, "s"]) == both == set(rows.loc[rows["c"] > 0, "s"])
    kept = rows[rows["w"] > 0]
    if len(kept):
        assert (kept.loc[kept["t"], "w"] == 1).all()
        share = kept.pivot_table(index="s", columns="t", values="w", aggfunc="sum")
        assert (share[False] / share[False].sum()).to_numpy() == pytest.approx(
            (share[True] / share[True].sum()).to_numpy()
        )
        assert kept.loc[~kept["t"], "w"].sum() == pytest.approx((~kept["t"]).sum())
        assert kept["c"].drop_duplicates().sort_values().tolist() == list(range(1, len(both) + 1))
        assert kept.loc[kept["t"], "c"].drop_duplicates().is_monotonic_increasing  # by the first treated unit


def test_bins_hold_their_lower_end_and_the_last_one_both() -> None:
    data = pd.DataFrame({"id": range(10), "t": [1, 0] * 5, "x": [0, 4.9, 5, 9.9, 10, 0, 10, 5, 3, 7.0]})
    sample = rte.match(data, "t ~ x", "id", method="cem", cutpoints={"x": 2})
    assert sample.audit["cutpoints"] == {"x": [5.0]}
    members = sample.weights.df().merge(data, on="id").groupby("subclass")["x"].agg(["min", "max"])
    assert members.to_numpy().tolist() == [[0, 4.9], [5, 10]]
    by_cut = rte.match(data, "t ~ x", "id", method="cem", cutpoints={"x": [5]})
    assert by_cut.audit["weights_sha256"] == sample.audit["weights_sha256"]


def test_sturges_counts_units_not_distinct_values() -> None:
    assert all(
        len(cuts) == 10 for cuts in rte.match(lalonde(), LALONDE, "id", method="cem").audit["cutpoints"].values()
    )
    again = rte.match(lalonde(), LALONDE, "id", method="cem", cutpoints=dict.fromkeys(("age", "re74"), "sturges"))
    assert again.audit["weights_sha256"] == rte.match(lalonde(), LALONDE, "id", method="cem").audit["weights_sha256"]


def test_finest_coarsening_is_exact_matching_and_coarsest_is_none() -> None:
    data = lalonde()
    fine = rte.match(data, "treat ~ educ", "id", method="cem", cutpoints={"educ": list(np.arange(0.5, 18))})
    exact = rte.match(data, "treat ~ educ", "id", method="cem", exact="educ")
    assert fine.audit["weights_sha256"] == exact.audit["weights_sha256"]
    assert fine.balance()["smd_after"].abs().max() < 1e-12
    only = rte.match(data, "treat ~ 1", "id", method="cem", exact="educ")
    assert only.audit["weights_sha256"] == exact.audit["weights_sha256"]
    none = rte.match(data, "treat ~ educ", "id", method="cem", cutpoints={"educ": 1})
    assert none.audit["n_strata_matched"] == 1
    assert none.weights.df()["weight"].to_numpy() == pytest.approx(1)


def test_groups_count_as_one() -> None:
    data = lalonde()
    grouped = rte.match(
        data, "treat ~ race + married", "id", method="cem", grouping={"race": [["white", "hispan"]]}
    )  # fmt: skip
    recoded = data.assign(race=data["race"].replace("hispan", "white"))
    by_hand = rte.match(recoded, "treat ~ race + married", "id", method="cem")
    assert grouped.audit["weights_sha256"] == by_hand.audit["weights_sha256"]
    assert grouped.audit["n_strata"] == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cutpoints": "quartiles"}, "unknown cutpoints 'quartiles'.*\n.*sturges"),
        ({"cutpoints": {"aeg": 3}}, "unknown column in cutpoints 'aeg'.*\n.*did you mean 'age'"),
        ({"cutpoints": {"age": 0}}, r"(?s)column:\s+age.*a number of bins"),
        ({"cutpoints": {"age": [40, 25]}}, r"(?s)column:\s+age.*cuts that ascend"),
        ({"cutpoints": {"age": [25, np.nan]}}, r"(?s)column:\s+age.*cuts that ascend"),
        ({"cutpoints": {"race": 2}}, r"(?s)this column is text.*column:\s+race"),
        ({"cutpoints": 3}, "given by column"),
        ({"grouping": {"race": [["white", "asian"]]}}, "unknown value of race in grouping 'asian'.*\n.*black"),
        ({"grouping": {"race": [["white", "black"], ["black"]]}}, r"(?s)a value is in two groups.*black"),
        ({"grouping": {"race": ["white"]}}, "a group is a list"),
        ({"grouping": {"age": [["1"]]}}, r"(?s)this column is a number.*cutpoints"),
        ({"grouping": {"sex": [["f"]]}}, "unknown column in grouping 'sex'"),
        ({"formula": "treat ~ I(age**2)"}, r"'I\(age \*\* 2\)' is a term made of"),
        ({"formula": "treat ~ age:educ"}, "'age:educ' is a term made of"),
    ],
)
def test_what_cannot_be_coarsened(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rte.match(lalonde(), **{"formula": "treat ~ age + race", "unit": "id", "method": "cem", **options})


def test_who_keeps_the_arms_apart_is_named() -> None:
    data = pd.DataFrame({"id": range(4), "t": [1, 1, 0, 0], "x": [1, 2, 8, 9], "y": [1, 2, 1, 2]})
    with pytest.raises(DesignError, match="'x' alone keeps them apart"):
        rte.match(data, "t ~ x + y", "id", method="cem", cutpoints={"x": [5]})
    crossed = data.assign(x=[1, 2, 1, 2], y=[1, 2, 2, 1])
    with pytest.raises(DesignError, match="the combination of 'x', 'y'"):
        rte.match(crossed, "t ~ x + y", "id", method="cem", cutpoints={"x": 2, "y": 2})
