"""The public verb: what it returns, what it never depends on, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matching_samples import LALONDE, lalonde
from places import TESTS
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.sample import units
from retrain_eval.sample.match import MatchedSample, match
from retrain_eval.sample.models import design, propensity
from retrain_eval.sample.options import M_ORDERS

SMALL = "treat ~ x + g"


def people(n: int = 60, seed: int = 0) -> pd.DataFrame:
    """Few distinct covariates, so that most scores are shared."""
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"id": np.arange(n), "x": rng.integers(0, 5, n), "g": rng.choice(["α", "b"], n)})
    data["treat"] = (rng.random(n) < 0.2 + 0.1 * data["x"] * (data["g"] == "b")).astype(int)
    data.loc[:7, "treat"] = [0, 1] * 4
    data.loc[:7, "x"] = [0, 0, 4, 4, 0, 0, 4, 4]
    data.loc[:7, "g"] = ["α"] * 4 + ["b"] * 4
    return data


def identity(sample: MatchedSample) -> tuple[object, list[Any], list[Any]]:
    pairs, weights = sample.pairs.fetchall(), sample.weights.fetchall()
    return sample.audit["pairs_sha256"], pairs, weights


# ---- what it never depends on ---------------------------------------------------------------------------------------

OPTIONS = st.fixed_dictionaries(
    {
        "m_order": st.sampled_from(M_ORDERS),
        "replace": st.booleans(),
        "ties": st.sampled_from(["all", "first"]),
        "ratio": st.integers(1, 3),
        "exact": st.sampled_from([(), ("g",)]),
        "caliper": st.sampled_from([None, 0.3]),
    }
)


@pytest.mark.slow
@given(options=OPTIONS, seed=st.integers(0, 1000), shuffle=st.integers(0, 1000), text_ids=st.booleans())
@settings(max_examples=40, deadline=None)
def test_row_order_and_threads_change_nothing(options: dict[str, Any], seed: int, shuffle: int, text_ids: bool) -> None:
    data = people(seed=seed)
    if text_ids:
        data["id"] = [f"{'ж' if i % 3 else 'A'}{i}" for i in data["id"]]
    results = []
    for threads, frame in ((1, data), (2, data.sample(frac=1, random_state=shuffle))):
        with duckdb.connect() as con:
            con.execute(f"SET threads = {threads}")
            con.execute("SET preserve_insertion_order = false")
            con.from_df(frame).create("people")
            sample = match(con.table("people"), SMALL, "id", **options)
            results.append((*identity(sample), sample.balance().to_dict(), sample.overlap().to_dict("list")))
    assert repr(results[0]) == repr(results[1])  # repr, since NaN is not itself


@given(options=OPTIONS, link=st.sampled_from(["logit", "linear.logit"]), seed=st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_cells_rows_and_sizes_of_chunks_change_no_pair(options: dict[str, Any], link: str, seed: int) -> None:
    """As cells of equal covariates, or a row per unit, in chunks of some sizes, started on fewer rows or not."""
    data = people(200, seed=seed)
    first = match(data, SMALL, "id", **options, link=link)
    for max_cells, batch, block, read, fewer in ((0, 2048, 64, 128, 100), (0, 10**6, 7, 50, 10**9), (99, 1, 33, 34, 1)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(units, "MAX_CELLS", max_cells)
            patch.setattr(units, "BATCH", batch)
            patch.setattr(design, "BLOCK", block)
            patch.setattr(design, "READ", read)
            patch.setattr(propensity, "START_ON_FEWER", fewer)
            again = match(data.sample(frac=1, random_state=seed), SMALL, "id", **options, link=link)
            assert again.audit["pairs_sha256"] == first.audit["pairs_sha256"]
            pd.testing.assert_frame_equal(again.pairs.df(), first.pairs.df(), rtol=1e-9)
            pd.testing.assert_frame_equal(again.balance(), first.balance(), rtol=1e-9)
            pd.testing.assert_frame_equal(again.overlap(), first.overlap())


@pytest.mark.parametrize("options", [{}, {"caliper": 0.2}, {"exact": "race"}, {"replace": True}, {"ratio": 3}])
def test_lalonde_by_rows_keeps_every_pair(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    cells = match(lalonde(), LALONDE, "name", **options).audit
    monkeypatch.setattr(units, "MAX_CELLS", 0)
    rows = match(lalonde(), LALONDE, "name", **options).audit
    assert rows["pairs_sha256"] == cells["pairs_sha256"]
    assert rows["propensity"]["coefficients"] == cells["propensity"]["coefficients"]


def test_shuffled_lalonde_keeps_every_pair_and_every_bit() -> None:
    first = identity(match(lalonde(), LALONDE, "name"))
    for seed in range(3):
        assert identity(match(lalonde().sample(frac=1, random_state=seed), LALONDE, "name")) == first


@pytest.mark.slow
def test_threads_of_linear_algebra_change_no_bit() -> None:
    """The number of BLAS threads is fixed at import, so each gets a process of its own."""
    program = (
        "from matching_samples import LALONDE, lalonde; from retrain_eval.sample.match import match; "
        "s = match(lalonde(), LALONDE, 'id'); print(s.audit['propensity']['coefficients'], s.pairs.fetchall())"
    )
    path = os.pathsep.join([str(TESTS), *sys.path])
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": threads},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(outputs) == 1


def test_text_ids_are_sorted_by_code_point_and_integers_by_value() -> None:
    data = pd.DataFrame({"id": [1, 2, 10], "treat": [1, 0, 0], "s": [0.5, 0.5, 0.5], "x": 1.0})
    assert match(data, "treat ~ x", "id", distance="s").pairs.fetchall()[0][2] == 2
    data["id"] = ["1", "2", "10"]
    assert match(data, "treat ~ x", "id", distance="s").pairs.fetchall()[0][2] == "10"


def test_equal_covariates_share_a_score_to_the_last_bit() -> None:
    data = lalonde()
    sample = match(data, LALONDE, "id", replace=True)
    rows = sample.pairs.df().merge(data, left_on="treated_id", right_on="id")
    rows = rows.merge(data, left_on="control_id", right_on="id", suffixes=("", "_c"))
    names = ["age", "educ", "race", "married", "nodegree", "re74", "re75"]
    same = (rows[names].to_numpy() == rows[[f"{name}_c" for name in names]].to_numpy()).all(axis=1)
    assert same.sum() > 10
    assert (rows.loc[same, "distance"] == 0).all()


# ---- what it returns ------------------------------------------------------------------------------------------------


@given(options=OPTIONS, seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_weights_follow_from_pairs(options: dict[str, Any], seed: int) -> None:
    data = people(seed=seed)
    sample = match(data, SMALL, "id", **options)
    pairs, weights = sample.pairs.df(), sample.weights.df()
    audit = sample.audit
    assert list(pairs.columns) == ["subclass", "treated_id", "control_id", "distance", "weight"]
    assert list(weights.columns) == ["id", "treat", "weight", "subclass"]
    assert set(weights["id"]) == set(pairs["treated_id"]) | set(pairs["control_id"])
    assert pairs.groupby("subclass")["weight"].sum().to_numpy() == pytest.approx(1)
    assert sorted(pairs["subclass"].unique()) == list(range(1, audit["n_treated_matched"] + 1))
    controls = weights[weights["treat"] == 0].set_index("id")
    assert (weights.loc[weights["treat"] == 1, "weight"] == 1).all()
    assert controls["weight"].sum() == pytest.approx(len(controls))
    shares = pairs.groupby("control_id")["weight"].sum()
    assert (controls["weight"] / shares).to_numpy() == pytest.approx(
        audit["n_control_matched"] / pairs["subclass"].max()
    )
    used = pairs["control_id"].value_counts()
    assert (controls["subclass"].isna() == (used.reindex(controls.index) > 1)).all()
    if not options["replace"]:
        assert used.max() == 1
    if options["exact"]:
        group = data.set_index("id")["g"]
        assert (group[pairs["treated_id"]].to_numpy() == group[pairs["control_id"]].to_numpy()).all()
    if options["caliper"]:
        assert pairs["distance"].max() <= audit["caliper_width"]


def test_tables_live_beside_the_source_and_can_be_kept() -> None:
    with duckdb.connect() as con:
        con.from_df(lalonde()).create("people")
        sample = match(con.table("people"), LALONDE, "id", caliper=0.2)
        sample.pairs.create("pairs")
        sample.weights.create("weights")
        mean = "SELECT treat, sum(weight * re78) / sum(weight) FROM people JOIN weights USING (id, treat) GROUP BY 1"
        means = dict(con.sql(mean).fetchall())
        assert means[1] - means[0] == pytest.approx(1571.7445, abs=1e-4)
        assert con.sql("SELECT count(*) FROM pairs").fetchall() == [(113,)]
        # a later match on the same connection leaves the first one alone
        match(con.table("people"), LALONDE, "id")
        assert len(sample.pairs.fetchall()) == 113
        assert {name for (name,) in con.sql("SHOW TABLES").fetchall() if not name.startswith("retrain_match")} == {
            "people",
            "pairs",
            "weights",
        }


def test_sources_of_every_kind_agree(tmp_path: Any) -> None:
    frame = lalonde()
    frame.to_csv(tmp_path / "people.csv", index=False)
    frame.to_parquet(tmp_path / "people.parquet")
    hashes = {match(s, LALONDE, "id").audit["pairs_sha256"] for s in (frame, *sorted(tmp_path.iterdir()))}
    assert len(hashes) == 1


def test_hash_is_that_of_the_pairs() -> None:
    sample = match(lalonde(), LALONDE, "name")
    lines = "".join(f"{t}\t{c}\n" for _, t, c, _, _ in sample.pairs.fetchall())
    assert sample.audit["pairs_sha256"] == hashlib.sha256(lines.encode()).hexdigest()


def test_audit_is_json_and_names_every_choice() -> None:
    audit = match(lalonde(), LALONDE, "id", exact="race", caliper=0.2, ratio=2).audit
    assert json.loads(json.dumps(audit)) == audit
    assert (audit["exact"], audit["caliper"], audit["ratio"], audit["m_order"]) == (["race"], 0.2, 2, "largest")
    assert audit["n_treated_matched"] + audit["n_treated_unmatched"] == audit["n_treated"] == 185
    assert set(audit["propensity"]["coefficients"]) >= {"Intercept", "race[T.hispan]"}


def test_given_score_replaces_the_model() -> None:
    data = lalonde().assign(black=lambda d: d["race"] == "black", score=lambda d: d["re74"] / 1000 - d["age"])
    sample = match(data, "treat ~ age + black", "id", distance="score")
    assert sample.audit["propensity"] is None
    assert sample.pairs.df()["distance"].max() > 1
    assert sample.overlap(10)["n"].sum() == 185 + 429 + 185
    assert list(sample.balance()["covariate"]) == ["distance", "age", "black"]


def test_pooled_caliper() -> None:
    data = pd.DataFrame(
        {"id": range(6), "treat": [1, 1, 1, 0, 0, 0], "s": [0.0, 1.0, 2.0, 0.0, 2.0, 4.0], "x": range(6)}
    )
    audit = match(data, "treat ~ x", "id", distance="s", caliper=0.5, caliper_sd="pooled").audit
    assert audit["caliper_width"] == pytest.approx(0.5 * np.sqrt((1 + 4) / 2))


def test_linear_predictor_orders_as_the_probability_does() -> None:
    probability = match(lalonde(), LALONDE, "id", caliper=0.2)
    linear = match(lalonde(), LALONDE, "id", caliper=0.2, link="linear.logit")
    assert (probability.audit["link"], linear.audit["link"]) == ("logit", "linear.logit")
    beta = linear.audit["propensity"]["coefficients"]
    assert beta == probability.audit["propensity"]["coefficients"]
    data = lalonde()
    x = beta["Intercept"] + sum(
        beta[name] * data[name] for name in ("age", "educ", "married", "nodegree", "re74", "re75")
    )
    x = x + data["race"].map({"black": 0.0, "hispan": beta["race[T.hispan]"], "white": beta["race[T.white]"]})
    assert linear.audit["caliper_width"] == pytest.approx(0.2 * x.std(), rel=1e-9)
    pairs = linear.pairs.df()
    x.index = data["id"]
    gap = np.abs(x[pairs["treated_id"]].to_numpy() - x[pairs["control_id"]].to_numpy())
    assert pairs["distance"].to_numpy() == pytest.approx(gap, abs=1e-9)
    data["score"] = x.to_numpy()
    given = match(data, LALONDE, "id", caliper=0.2, distance="score").audit
    assert given["pairs_sha256"] == linear.audit["pairs_sha256"]
    # without replacement and without a caliper the order of choices is the same, the nearest side may differ
    assert match(data, LALONDE, "id", link="logit").audit["n_pairs"] == 185


@pytest.mark.parametrize(("discard", "treated", "control"), [("treated", 2, 0), ("control", 0, 3), ("both", 2, 3)])
def test_common_support(discard: str, treated: int, control: int) -> None:
    data = pd.DataFrame(
        {
            "id": range(12),
            "t": [1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
            "s": [0.3, 0.4, 0.5, 0.8, 0.9, 0.1, 0.2, 0.25, 0.3, 0.35, 0.45, 0.6],
            "x": 1.0,
        }
    )
    sample = match(data, "t ~ x", "id", distance="s", discard=discard, caliper=1)
    assert (sample.audit["n_treated_discarded"], sample.audit["n_control_discarded"]) == (treated, control)
    pairs, s = sample.pairs.df(), data.set_index("id")["s"]
    low = s[data["t"] == 1].min() if control else 0
    high = s[data["t"] == 0].max() if treated else 1
    stay = s[((data["t"] == 1) | (s >= low)) & ((data["t"] == 0) | (s <= high))]
    assert sample.audit["caliper_width"] == pytest.approx(stay.std())
    assert set(pairs["treated_id"]) | set(pairs["control_id"]) <= set(stay.index)
    by_hand = match(data[data["id"].isin(stay.index)], "t ~ x", "id", distance="s", caliper=1)
    assert by_hand.audit["pairs_sha256"] == sample.audit["pairs_sha256"]
    if treated:
        assert "outside the common support" in sample.flow()["reason"].iloc[2]


def test_scores_that_do_not_overlap() -> None:
    data = pd.DataFrame({"id": range(4), "t": [1, 1, 0, 0], "s": [0.8, 0.9, 0.1, 0.2], "x": 1.0})
    with pytest.raises(DesignError, match="leaves no treated units"):
        match(data, "t ~ x", "id", distance="s", discard="treated")
    assert match(data, "t ~ x", "id", distance="s").audit["n_pairs"] == 2


def test_random_order_follows_its_seed_and_not_the_rows() -> None:
    hashes = [
        match(frame, LALONDE, "id", m_order="random", seed=seed).audit["pairs_sha256"]
        for seed, frame in ((1, lalonde()), (1, lalonde().sample(frac=1, random_state=0)), (2, lalonde()))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_boolean_treatment_and_odd_names() -> None:
    data = people().rename(columns={"x": 'größe "cm"', "g": "re'gion x", "id": "person id"})
    data["treat"] = data["treat"] == 1
    sample = match(data, 'treat ~ `größe "cm"` + `re\'gion x`', "person id", exact=["re'gion x"])
    plain = match(people(), SMALL, "id", exact=["g"])
    assert sample.audit["pairs_sha256"] == plain.audit["pairs_sha256"]
    assert sample.weights.columns[0] == "person id"


# ---- few units ------------------------------------------------------------------------------------------------------


def test_one_treated_unit() -> None:
    data = pd.DataFrame({"id": [1, 2, 3, 4], "treat": [1, 0, 0, 0], "x": [2.0, 1.0, 3.0, 9.0]})
    sample = match(data, "treat ~ x", "id", distance="x")
    assert sample.pairs.fetchall() == [(1, 1, 2, 1.0, 1.0)]
    assert sample.audit["ties_broken"] == 1
    assert sample.balance()["smd_after"].isna().all()  # one unit has no standard deviation


def test_fewer_controls_than_treated() -> None:
    data = pd.DataFrame({"id": range(5), "treat": [1, 1, 1, 0, 0], "x": [1.0, 2.0, 3.0, 1.0, 2.0]})
    audit = match(data, "treat ~ x", "id", distance="x").audit
    assert (audit["n_treated_matched"], audit["n_treated_unmatched"]) == (2, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"treat": 0}, "no treated unit: 'treat' is 0 for all 60 units"),
        ({"treat": 1}, "no control: 'treat' is 1"),
        (
            {"x": 3, "g": "b", "s": 0.5, "exact": ["id2"], "distance": "s"},
            "no treated unit has a control with equal id2",
        ),
        ({"exact": ["g"], "caliper": 1e-12, "distance": "s"}, "with equal g and within the caliper"),
    ],
)
def test_designs_without_an_answer(change: dict[str, Any], message: str) -> None:
    data = people().assign(id2=lambda d: d["id"], s=lambda d: d["id"] * 0.01)
    columns = {name: value for name, value in change.items() if name in data.columns}
    options = {name: value for name, value in change.items() if name not in data.columns}
    with pytest.raises(DesignError, match=message):
        match(data.assign(**columns), SMALL, "id", **options)


def test_no_rows() -> None:
    with pytest.raises(DesignError, match="no rows"):
        match(people().iloc[:0].astype({"g": "str"}), SMALL, "id")


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "optimal"}, "unknown matching method 'optimal'.*\n.*known: nearest, riskset"),
        ({"distance": "euclid"}, "unknown distance 'euclid'.*\n.*glm, mahalanobis"),
        ({"distance": "g"}, r"(?s)not a number.*row:\s+1\n.*column:\s+g.*value:\s+'\(withheld\)'.*used as a number"),
        ({"exact": ["region"]}, "unknown column 'region'"),
        ({"m_order": "biggest"}, "unknown m_order 'biggest'"),
        ({"ties": "none"}, "unknown ties"),
        ({"caliper_sd": "treated"}, "unknown caliper_sd"),
        ({"caliper": 0}, "caliper must be a positive number"),
        ({"caliper": float("nan")}, "caliper must be a positive number"),
        ({"caliper": "0.2"}, "caliper must be a positive number"),
        ({"link": "probit"}, "unknown link 'probit'.*\n.*logit, linear.logit"),
        ({"link": "logit", "distance": "x"}, "link is read by the estimated score only"),
        ({"discard": "outside"}, "unknown discard"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"ratio": 0}, "ratio must be a whole number"),
        ({"ratio": 1.5}, "ratio must be a whole number"),
        ({"ratio": 60}, "ratio is 60, but there are only"),
        ({"replace": "yes"}, "replace must be True or False"),
        ({"formula": "treat ~ x + age"}, "unknown column 'age'"),
        ({"formula": "treated ~ x"}, "unknown column 'treated'"),
        ({"formula": "treat ~ 1"}, "needs a covariate"),
        ({"formula": "treat ~ x + id"}, "id is part of the formula"),
        ({"unit": "person"}, "unknown column 'person'"),
    ],
)
def test_unknown_or_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        match(people(), **{"formula": SMALL, "unit": "id", **options})


def broken(column: str, value: object, row: int = 5) -> pd.DataFrame:
    data = people()
    data[column] = data[column].astype(object)
    data.loc[row, column] = value
    if column != "g" and not isinstance(value, str):
        data[column] = data[column].astype(float if column != "id" else "Int64")
    return data


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("x", None, r"(?s)1 unit\(s\).*WHERE.*column:\s+x.*missing.*x must be present and finite"),
        ("x", float("inf"), r"(?s)1 unit\(s\).*WHERE.*column:\s+x.*inf.*finite"),
        ("x", float("nan"), r"(?s)1 unit\(s\).*WHERE.*column:\s+x.*finite"),
        ("g", None, r"(?s)1 unit\(s\).*WHERE.*column:\s+g.*missing"),
        ("treat", 2, r"(?s)1 unit\(s\).*WHERE.*column:\s+treat.*2.*treatment must be 0 or 1"),
        ("treat", None, r"(?s)1 unit\(s\).*WHERE.*column:\s+treat.*missing"),
        ("treat", "yes", r"(?s)not a number.*row:\s+6\n.*column:\s+treat.*value:\s+'yes'.*used as a number"),
        ("id", 7, "repeat a unit id"),
        ("id", None, r"(?s)column:\s+id.*id must not be missing"),
    ],
)
def test_bad_values_are_named(column: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        match(broken(column, value), SMALL, "id")


def test_missing_exact_value_is_named() -> None:
    data = people().assign(e=lambda d: d["g"].where(d["id"] != 9))
    with pytest.raises(InputError, match=r"(?s)WHERE \"e\" IS NULL.*column:\s+e"):
        match(data, SMALL, "id", exact=["e"])


def test_text_like_infinity_is_only_text() -> None:
    data = people().assign(g=lambda d: d["g"].replace("b", "inf"))
    assert match(data, SMALL, "id").audit["n_pairs"] == match(people(), SMALL, "id").audit["n_pairs"]


def test_a_number_column_with_a_typo_is_refused() -> None:
    data = people(300).assign(x=lambda d: [*map(str, range(299)), "1o"])
    with pytest.raises(InputError, match="text covariate with 300 different values"):
        match(data, SMALL, "id")


@pytest.mark.parametrize(("kind", "value"), [("DOUBLE", "i"), ("DATE", "DATE '2020-01-01' + i")])
def test_ids_without_an_exact_order_are_refused(kind: str, value: str) -> None:
    with duckdb.connect() as con:
        numbers = "SELECT CAST(range AS INTEGER) AS i FROM range(9)"
        source = con.sql(f"SELECT CAST({value} AS {kind}) AS id, i % 2 AS treat, i AS x FROM ({numbers})")
        with pytest.raises(InputError, match=f"id of type {kind}"):
            match(source, "treat ~ x", "id")


def test_nothing_is_left_behind_after_a_refusal() -> None:
    with duckdb.connect() as con:
        con.from_df(broken("x", None)).create("people")
        with pytest.raises(InputError):
            match(con.table("people"), SMALL, "id")
        assert con.sql("SHOW TABLES").fetchall() == [("people",)]


@pytest.mark.parametrize("name", ["treat", "Weight", "subclass", "period"])
def test_reserved_unit_names(name: str) -> None:
    with pytest.raises(InputError, match="cannot be called"):
        match(people().rename(columns={"id": name}), SMALL, name)


def test_flow_counts_people_before_and_after_with_the_reason() -> None:
    sample = match(lalonde(), LALONDE, unit="id", caliper=0.2)
    flow = sample.flow().set_index(["step", "group"])
    assert flow["n"].tolist() == [185, 429, 113, 113]
    assert flow.loc[("Matched and analysed", "treated"), "reason"] == "no control within reach"
