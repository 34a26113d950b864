"""Formulas are computed in blocks of rows: what a block holds by chance decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

import retrain_eval as rte
from retrain_eval.common.sources import as_relation, query
from retrain_eval.sample import units
from retrain_eval.sample.followup.censoring_weights import weight_for_censoring
from retrain_eval.sample.match import match
from retrain_eval.sample.models import design
from retrain_eval.sample.models.design import READ, Design
from retrain_eval.sample.models.formula import parse_formula
from retrain_eval.sample.support import rows_of


def people(n: int, seed: int = 1) -> pd.DataFrame:
    """Regions side by side, as ids that begin with a region's number would have it, and no two people alike."""
    rng = np.random.default_rng(seed)
    region = np.array(["east", "north", "south", "west"])[np.arange(n) * 4 // n]
    x = rng.normal(size=n)
    effect = pd.Series(region).map({"east": 0.0, "north": 1.0, "south": -1.0, "west": 0.5}).to_numpy()
    treat = rng.random(n) < expit(-1 + effect + 0.5 * x)
    return pd.DataFrame(
        {"id": np.arange(n), "treat": treat.astype(int), "region": region, "size": np.arange(n) * 4 // n, "x": x}
    )


def by_hand(data: pd.DataFrame) -> np.ndarray:
    """The logit on regions and x, by Newton's method on one matrix."""
    dummies = [data["region"] == name for name in ("north", "south", "west")]
    z = np.column_stack([np.ones(len(data)), *dummies, data["x"]]).astype(float)
    beta = np.zeros(z.shape[1])
    for _ in range(12):
        p = expit(z @ beta)
        beta += np.linalg.solve(z.T @ (z * (p * (1 - p))[:, None]), z.T @ (data["treat"] - p))
    return beta


def test_levels_are_those_of_all_rows_at_the_true_size_of_a_block() -> None:
    """One row more than a block, which holds the last of a region alone: the coefficients are those by hand."""
    data = people(READ + 1)
    fit = match(data, "treat ~ region + x", "id", distance="glm").audit["propensity"]
    assert isinstance(fit, dict)
    names = ["Intercept", "region[T.north]", "region[T.south]", "region[T.west]", "x"]
    assert list(fit["coefficients"]) == names
    assert [fit["coefficients"][name] for name in names] == pytest.approx(by_hand(data).tolist(), abs=1e-8)


def waiting_times(data: pd.DataFrame) -> pd.DataFrame:
    """The same people, waiting: treated ones enter after 1 to 3 periods."""
    rng = np.random.default_rng(2)
    entry = pd.array(np.where(data["treat"] == 1, 10 + rng.integers(1, 4, len(data)), -1), dtype="Int64")
    entry[entry == -1] = pd.NA
    return data.assign(began=10, entry=entry, ended=10 + rng.integers(4, 9, len(data))).drop(columns="treat")


def waiting(data: pd.DataFrame, formula: str) -> Any:
    return match(
        waiting_times(data), f"treat ~ {formula}", "id", method="riskset", start="began", entry="entry", end="ended"
    )


def remaining(data: pd.DataFrame, formula: str) -> Any:
    rows = waiting_times(data)
    risk = pd.concat(
        [
            rows[(rows["entry"].isna() | (rows["entry"] >= period)) & (rows["ended"] > period)].assign(
                period=period, enters=lambda d, at=period: (d["entry"] == at).fillna(value=False).astype(int)
            )
            for period in range(11, 16)
        ]
    )
    return weight_for_censoring(waiting(data, formula), risk, f"enters ~ {formula}", time="period", follow=3)


CALLERS: dict[str, Callable[[pd.DataFrame, str], Any]] = {
    "nearest": lambda data, formula: match(data, f"treat ~ {formula}", "id"),
    "linear predictor": lambda data, formula: match(data, f"treat ~ {formula}", "id", link="linear.logit"),
    "mahalanobis": lambda data, formula: match(data, f"treat ~ {formula}", "id", distance="mahalanobis"),
    "ipw": lambda data, formula: match(data, f"treat ~ {formula}", "id", method="ipw"),
    "ipw in strata": lambda data, formula: match(data, f"treat ~ {formula}", "id", method="ipw", exact="half"),
    "ebal": lambda data, formula: match(data, f"treat ~ {formula}", "id", method="ebal", moments=2),
    "riskset": waiting,
    "weight_for_censoring": remaining,
}


def found(sample: Any, data: pd.DataFrame) -> dict[str, Any]:
    """Everything that a sample says, with the effect under its own standard error."""
    out = {"audit": dict(sample.audit), "balance": sample.balance().round(12).to_dict("list")}
    if sample.audit["method"] != "riskset":
        out["att"] = sample.att("y", data[["id", "y"]]).to_frame().round(10).to_dict("list")
        if sample.audit["n_pairs"]:
            adjusted = sample.att("y", data[["id", "y"]], bias_adjust=True)
            out["adjusted"] = adjusted.to_frame().round(10).to_dict("list")
    return out


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("formula", ["region + x", "C(size) + region:x + C(size > 1)"])
@pytest.mark.parametrize("name", CALLERS)
def test_the_size_of_a_block_changes_nothing(
    name: str, formula: str, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks that lack levels, or have but one of them, beside one block of all; also where each unit is a cell."""
    data = people(240)
    data = data.assign(half=np.arange(240) % 2, y=data["x"] + data["size"])
    if apart:
        monkeypatch.setattr(units, "MAX_CELLS", 20)
    results = []
    for size in (1000, 239, 7):
        monkeypatch.setattr(design, "READ", size)
        results.append(found(CALLERS[name](data, formula), data))
    assert str(results[0]) == str(results[1]) == str(results[2])


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["u", "v"]), st.integers(0, 3)), min_size=1, max_size=30
    ),
    st.integers(1, 8),
)
@settings(max_examples=20, deadline=None)
def test_columns_are_those_of_one_block(rows: list[tuple[str, str, int]], size: int) -> None:
    cells = pd.DataFrame(rows, columns=["g", "h", "k"]).astype({"k": float})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(design, "READ", size)
        for text in ("treat ~ g + h + k", "treat ~ g:h + C(k)", "treat ~ C(k // 2) + I(k**2)", "treat ~ g"):
            formula = parse_formula(text)
            names, values = formula.design(cells)
            more = pd.concat([pd.DataFrame({"g": ["0"], "h": ["u"], "k": [0.0]}), cells], ignore_index=True)
            subset = rows_of(more.astype({"g": "category"}), np.arange(1, len(more)))  # without the level "0"
            for frame in (cells, subset):
                built = Design.build(formula, frame)
                assert built.names == names
                np.testing.assert_array_equal(built.values(slice(0, len(cells))).T, values)


def test_a_chunk_of_units_that_are_all_left_out_is_skipped() -> None:
    """Of 60,000 units, all but the first and last 5,000 have no weight."""
    rng = np.random.default_rng(3)
    n = 60_000
    wide = pd.DataFrame({"id": np.arange(n), "g": np.where(rng.random(n) < 0.3, 2, 0), "x": rng.normal(size=n)})
    wide["w"] = ((wide["id"] < 5_000) | (wide["id"] >= n - 5_000)).astype(float)
    rows = pd.concat([wide.assign(t=t, y=rng.normal(size=n) + wide["x"] * t) for t in (1, 2)])
    options: dict[str, Any] = {"unit": "id", "time": "t", "cohort": "g", "outcome": "y", "covariates": ["x"]}
    whole, kept = (rte.att_gt(part, **options, weights="w").to_frame() for part in (rows, rows[rows["w"] > 0]))
    pd.testing.assert_frame_equal(whole, kept, rtol=1e-9)


def test_a_column_of_objects_has_the_type_of_all_its_rows() -> None:
    """59,999 whole numbers and then a half: a sample of rows would make it zero."""
    frame = pd.DataFrame({"v": pd.Series([1] * 59_999 + [0.5], dtype=object)})
    assert query(as_relation(frame), "SELECT sum(v), min(v) FROM source").fetchall() == [(59_999.5, 0.5)]
