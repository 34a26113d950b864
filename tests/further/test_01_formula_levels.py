"""Levels of texts and of ``C()`` are those of all rows, however many rows a formula is computed for at a time."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from further_cases import logit
from retrain_eval.sample.followup.censoring_weights import weight_for_censoring

BLOCK = 131_072
N = BLOCK + 400


def people(level: np.ndarray, effect: dict[object, float], seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=len(level))
    p = 1 / (1 + np.exp(-(-1.5 + pd.Series(level).map(effect).to_numpy() + 0.4 * x)))
    return pd.DataFrame(
        {"id": np.arange(len(level)), "treat": (rng.random(len(level)) < p).astype(int), "g": level, "x": x}
    )


def by_hand(frame: pd.DataFrame, levels: list[object]) -> np.ndarray:
    """Logit coefficients in the order intercept, all levels but the first, x."""
    dummies = [frame["g"] == level for level in levels[1:]]
    return logit(np.column_stack([np.ones(len(frame)), *dummies, frame["x"]]).astype(float), frame["treat"].to_numpy())


def late(seed: int, common: list[object], rare: object, last: int = 350) -> np.ndarray:
    """Return levels of which ``rare`` occurs only among the last rows."""
    level = np.random.default_rng(seed).choice(np.array(common, dtype=object), N)
    level[-last:][::2] = rare
    return level


def test_a_text_level_among_the_last_rows_only_gets_its_own_coefficient():
    frame = people(late(3, ["大阪", "名古屋"], "東京"), {"大阪": 0.0, "名古屋": 0.7, "東京": -0.9}, 4)
    sample = rte.match(frame, "treat ~ g + x", unit="id", method="ipw")
    found = sample.audit["propensity"]["coefficients"]
    levels = sorted(set(frame["g"]))
    want = by_hand(frame, levels)
    names = ["Intercept", *(f"g[T.{level}]" for level in levels[1:]), "x"]
    assert [found[name] for name in names] == pytest.approx(want, abs=1e-4)


def test_a_whole_number_as_category_that_occurs_first_only_gets_its_own_coefficient():
    level = np.random.default_rng(5).choice([1, 2, 30], N)
    level[:900] = np.where(np.arange(900) % 2, 4, level[:900])
    frame = people(level, {1: 0.0, 2: 0.5, 4: -1.2, 30: 0.9}, 6)
    sample = rte.match(frame, "treat ~ C(g) + x", unit="id", method="nearest", caliper=0.05)
    found = sample.audit["propensity"]["coefficients"]
    assert len(found) == 5
    assert list(found.values()) == pytest.approx(by_hand(frame, [1, 2, 4, 30]), abs=1e-4)


def test_entropy_balancing_balances_a_boolean_that_is_false_in_the_first_rows():
    rng = np.random.default_rng(7)
    flag = np.where(np.arange(N) < BLOCK, False, rng.random(N) < 0.5)
    text = np.where(np.arange(N) < N // 2, "b", "a")
    frame = people(text, {"a": 0.0, "b": 0.6}, 8).assign(flag=flag)
    sample = rte.match(frame, "treat ~ C(flag) + g + x", unit="id", method="ebal")
    weights = sample.weights.df()[["id", "weight"]].merge(frame, on="id")
    means = [
        [np.average(arm[name], weights=arm["weight"]) for name in ("flag", "is_b", "x")]
        for _, arm in weights.assign(is_b=weights["g"] == "b").groupby("treat")
    ]
    assert means[0] == pytest.approx(means[1], abs=1e-4)


def test_risk_sets_read_a_late_text_level_as_its_dummies():
    rng = np.random.default_rng(9)
    n = N
    level = late(10, ["low", "mid"], "high")
    waits = rng.integers(1, 3, n)
    enters = rng.random(n) < np.where(level == "high", 0.3, np.where(level == "mid", 0.04, 0.02))
    frame = pd.DataFrame({"id": np.arange(n), "g": level, "x": rng.normal(size=n), "began": 100})
    frame["entry"] = pd.array(np.where(enters, 100 + waits, -1), dtype="Int64")
    frame.loc[frame["entry"] < 0, "entry"] = pd.NA
    frame["ended"] = 104
    for name in ("low", "mid"):
        frame[f"is_{name}"] = (frame["g"] == name).astype(int)
    options = {"unit": "id", "method": "riskset", "start": "began", "entry": "entry", "end": "ended", "caliper": None}
    as_text = rte.match(frame, "treat ~ g + x", **options)
    as_numbers = rte.match(frame, "treat ~ is_low + is_mid + x", **options)

    def effects(sample: rte.MatchedSample) -> dict[str, float]:
        (key,) = [
            name
            for name in sample.audit
            if isinstance(sample.audit[name], dict) and "coefficients" in sample.audit[name]
        ]
        return sample.audit[key]["coefficients"]

    text, number = effects(as_text), effects(as_numbers)
    got = {name.removeprefix("g[T.").rstrip("]"): value for name, value in text.items() if name.startswith("g[")}
    assert set(got) == {"low", "mid"}
    assert [got["low"], got["mid"], text["x"]] == pytest.approx(
        [number["is_low"], number["is_mid"], number["x"]], abs=1e-4
    )


def test_weights_for_those_who_remain_do_not_depend_on_how_a_level_is_written():
    """At least one block of rows at risk; ``C(elapsed)`` grows with the row, so that blocks differ in their levels."""
    n = 70_000
    rng = np.random.default_rng(11)
    entry = np.where(np.arange(n) % 29 == 0, 11, np.where(np.arange(n) % 7 == 0, 12, -1))
    frame = pd.DataFrame(
        {"id": np.arange(n), "x": rng.normal(size=n).round(6), "g": np.where(np.arange(n) < 66_000, "a", "b")}
    )
    frame["began"], frame["ended"] = 10, 15
    frame["entry"] = pd.array(entry, dtype="Int64")
    frame.loc[entry < 0, "entry"] = pd.NA
    sample = rte.match(
        frame,
        "t ~ x",
        unit="id",
        method="riskset",
        distance="x",
        start="began",
        entry="entry",
        end="ended",
        caliper=None,
    )
    at_risk = pd.concat(
        [
            frame.loc[(entry < 0) | (entry >= now), ["id", "x", "g"]].assign(
                now=now, enters=(entry == now)[(entry < 0) | (entry >= now)]
            )
            for now in (11, 12)
        ]
    )
    at_risk["enters"] = at_risk["enters"].astype(int)
    at_risk["late"] = (at_risk["now"] == 12).astype(int)
    at_risk["is_b"] = (at_risk["g"] == "b").astype(int)
    assert len(at_risk) > BLOCK

    def weights(formula: str) -> np.ndarray:
        weighed = weight_for_censoring(sample, at_risk, formula, time="now", follow=3)
        return weighed.weights.order("match_id").df()["weight"].to_numpy()

    assert weights("enters ~ C(now) + g + x") == pytest.approx(weights("enters ~ late + is_b + x"), rel=1e-4)


def test_levels_do_not_depend_on_the_order_of_ids():
    level = late(12, ["n", "s"], "w")
    frame = people(level, {"n": 0.0, "s": 0.4, "w": 1.5}, 13)
    con = duckdb.connect()
    con.register("people", frame.assign(id=frame["id"].iloc[::-1].to_numpy()))
    turned = rte.match(con.table("people"), "treat ~ g + x", unit="id", method="ipw")
    found = turned.audit["propensity"]["coefficients"]
    assert [found[k] for k in ("Intercept", "g[T.s]", "g[T.w]", "x")] == pytest.approx(
        by_hand(frame, ["n", "s", "w"]), abs=1e-4
    )
