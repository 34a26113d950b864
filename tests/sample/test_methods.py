"""What holds for every method: no order, threads or chunks matter, tables fit together, bad data is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrain_eval as rte
from matching_samples import LALONDE, lalonde
from own_study import make
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.plan.study_file import read_study
from retrain_eval.sample import units
from retrain_eval.sample.models import design, propensity
from retrain_eval.sample.options import METHODS
from retrain_eval.study.folder import Study

SMALL = "treat ~ x + g"
WEIGHTING: list[dict[str, Any]] = [
    {"method": "cem", "cutpoints": {"x": 3}},
    {"method": "cem", "exact": ("g",)},
    {"method": "ebal"},
    {"method": "ebal", "moments": 2},
    {"method": "ebal", "exact": ("g",)},
    {"method": "ipw"},
    {"method": "ipw", "exact": ("g",)},
    {"method": "ipw", "estimand": "ATE"},
    {"method": "ipw", "estimand": "ATO"},
]
ids = [" ".join(map(str, options.values())) for options in WEIGHTING]


def people(n: int = 200, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(
        {"id": [f"ж{i:04d}" for i in range(n)], "x": rng.integers(0, 6, n), "g": rng.choice(["α", "b"], n)}
    )
    data["treat"] = (rng.random(n) < 0.1 + 0.1 * data["x"] * (data["g"] == "b")).astype(int)
    data.loc[:23, "x"] = [0, 1, 2, 3, 4, 5] * 4
    data.loc[:23, "g"] = ["α"] * 12 + ["b"] * 12
    data.loc[:23, "treat"] = ([0] * 6 + [1] * 6) * 2
    data["y"] = data["x"] * 2.0 + (data["g"] == "b") + data["treat"] + rng.normal(0, 1, n)
    return data


# ---- what a sample never depends on ---------------------------------------------------------------------------------


@given(options=st.sampled_from(WEIGHTING), seed=st.integers(0, 1000), shuffle=st.integers(0, 1000))
@settings(max_examples=12, deadline=None)
def test_row_order_and_threads_change_no_bit(options: dict[str, Any], seed: int, shuffle: int) -> None:
    data = people(seed=seed)
    results = []
    for threads, frame in ((1, data), (2, data.sample(frac=1, random_state=shuffle))):
        with duckdb.connect() as con:
            con.execute(f"SET threads = {threads}")
            con.execute("SET preserve_insertion_order = false")
            con.from_df(frame).create("people")
            sample = rte.match(con.table("people"), SMALL, "id", **options)
            effect = sample.att("y")
            results.append(
                (
                    sample.audit,
                    sample.weights.fetchall(),
                    sample.balance().to_dict(),
                    effect.frame.to_dict(),
                    effect.vcov,
                )
            )
    assert repr(results[0]) == repr(results[1])


@given(options=st.sampled_from(WEIGHTING), seed=st.integers(0, 1000))
@settings(max_examples=5, deadline=None)
def test_cells_rows_and_sizes_of_chunks_change_no_weight(options: dict[str, Any], seed: int) -> None:
    data = people(seed=seed)
    first = rte.match(data, SMALL, "id", **options)
    for max_cells, batch, block, read, fewer in ((0, 2048, 64, 128, 100), (0, 10**6, 7, 50, 10**9), (99, 1, 33, 34, 1)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(units, "MAX_CELLS", max_cells)
            patch.setattr(units, "BATCH", batch)
            patch.setattr(design, "BLOCK", block)
            patch.setattr(design, "READ", read)
            patch.setattr(propensity, "START_ON_FEWER", fewer)
            again = rte.match(data.sample(frac=1, random_state=seed), SMALL, "id", **options)
            pd.testing.assert_frame_equal(again.weights.df(), first.weights.df(), rtol=1e-9)
            assert again.audit["n_treated_matched"] == first.audit["n_treated_matched"]
            one, other = (sample.att("y").frame[["estimate", "std_error"]] for sample in (first, again))
            pd.testing.assert_frame_equal(one, other, rtol=1e-8)


# ---- how the tables fit together ------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", WEIGHTING, ids=ids)
def test_tables_fit_together(options: dict[str, Any]) -> None:
    data = people()
    sample = rte.match(data, SMALL, "id", **options)
    weights, audit = sample.weights.df(), sample.audit
    assert json.loads(json.dumps(audit)) == audit
    assert weights["id"].is_monotonic_increasing
    assert weights["id"].is_unique
    for treat, n in ((1, audit["n_treated_matched"]), (0, audit["n_control_matched"])):
        arm = weights[weights["treat"] == treat]
        assert len(arm) == n
        assert arm["weight"].sum() == pytest.approx(n)
        assert (arm["weight"] > 0).all()
    if audit["estimand"] == "ATT":
        assert (weights.loc[weights["treat"] == 1, "weight"] == 1).all()
    control = weights.loc[weights["treat"] == 0, "weight"]
    assert audit["ess_control"] == pytest.approx(control.sum() ** 2 / (control**2).sum())
    assert sample.pairs.fetchall() == []
    assert sample.pairs.columns == rte.match(data, SMALL, "id").pairs.columns
    assert sample.cluster == ("subclass" if options["method"] == "cem" else None)
    assert ("subclass" in weights.columns) == (options["method"] == "cem")
    assert sample.overlap()["n"].sum() == len(data) + audit["n_control_matched"]
    assert sample.flow()["n"].tolist() == [
        audit[n] for n in ("n_treated", "n_control", "n_treated_matched", "n_control_matched")
    ]
    assert f"method {options['method']}" in repr(sample)
    rows = data.merge(weights, on=["id", "treat"])
    table = sample.balance().set_index("covariate")
    for treat, column in ((1, "mean_treated_after"), (0, "mean_control_after")):
        arm = rows[rows["treat"] == treat]
        assert table.loc["x", column] == pytest.approx(np.average(arm["x"], weights=arm["weight"]))


@pytest.mark.parametrize("options", WEIGHTING, ids=ids)
def test_moments_and_spells_read_the_weights(options: dict[str, Any]) -> None:
    with duckdb.connect() as con:
        con.from_df(people()).create("people")
        sample = rte.match(con.table("people"), SMALL, "id", **options)
        sample.weights.create_view("weights")
        rows = con.sql(
            "SELECT *, t AS year, y + t * treat AS pay, CASE WHEN treat = 1 THEN 1 END AS cohort "
            "FROM people JOIN weights USING (id, treat), range(0, 2) AS r(t)"
        )
        moments = rte.outcome_moments(
            rows, unit="id", time="year", cohort="cohort", outcome="pay", weights="weight", cluster=sample.cluster
        )
        effect = moments.att_gt().aggregate("simple").frame
        assert effect["estimate"].item() == pytest.approx(1.0)
        joined = "FROM people JOIN weights USING (id, treat)"
        spells = rte.Spells(
            con.sql(f"SELECT *, 1 + x AS quarters, 1 AS ends, treat::VARCHAR AS arm {joined}"),
            id="id", duration="quarters", cause="ends", by="arm", weights="weight", weight_type="probability",
        )  # fmt: skip
        rmst = spells.rmst(tau=6).frame.set_index("level")["estimate"]
        means = f"SELECT treat::VARCHAR, sum(weight * (1 + x)) / sum(weight) {joined} GROUP BY 1"
        for arm, mean in con.sql(means).fetchall():
            assert rmst[arm] == pytest.approx(mean)


# ---- bad data -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["cem", "ebal", "ipw"])
@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("x", np.nan, r"(?s)1 unit\(s\).*column:\s+x.*finite"),
        ("x", -np.inf, r"(?s)1 unit\(s\).*column:\s+x.*finite"),
        ("g", None, r"(?s)1 unit\(s\).*column:\s+g.*missing"),
        ("id", "ж0007", "repeat a unit id"),
    ],
)
def test_bad_values_are_named(method: str, column: str, value: object, message: str) -> None:
    data = people().astype({"x": float})
    data.loc[5, column] = value
    with pytest.raises(InputError, match=message):
        rte.match(data, SMALL, "id", method=method)


@pytest.mark.parametrize("method", ["cem", "ebal", "ipw"])
@pytest.mark.parametrize(("treat", "message"), [(1, "no control"), (0, "no treated unit")])
def test_one_arm_only(method: str, treat: int, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        rte.match(people().assign(treat=treat), SMALL, "id", method=method)
    with pytest.raises(DesignError, match=message):
        rte.match(people().assign(treat=treat).iloc[:1], SMALL, "id", method=method)


@pytest.mark.parametrize("method", ["cem", "ebal", "ipw"])
def test_separated_covariates_are_named(method: str) -> None:
    data = people().assign(region=lambda d: np.where(d["treat"] == 1, "north", "south"))
    with pytest.raises(DesignError, match="region"):
        rte.match(data, "treat ~ x + region", "id", method=method)


@pytest.mark.parametrize("method", ["cem", "ebal", "ipw"])
def test_strata_of_one_arm_are_left_out_and_counted(method: str) -> None:
    data = people()
    alone = pd.DataFrame({"id": ["zz1", "zz2"], "x": [1, 1], "g": ["only treated", "only control"], "treat": [1, 0]})
    both = pd.concat([data, alone], ignore_index=True)
    sample = rte.match(both, "treat ~ x", "id", method=method, exact="g")
    assert sample.audit["n_treated_unmatched"] == 1
    assert not {"zz1", "zz2"} & set(sample.weights.df()["id"])
    assert sample.flow()["reason"].tolist()[2:] == ["no control in the same stratum", "no trainee in the same stratum"]
    pd.testing.assert_frame_equal(
        sample.weights.df(), rte.match(data, "treat ~ x", "id", method=method, exact="g").weights.df(), rtol=1e-9
    )
    with pytest.raises(DesignError, match=r"g in|equal g|both a treated"):
        rte.match(data.assign(g=data["id"]), "treat ~ x", "id", method=method, exact="g")


@pytest.mark.parametrize("method", ["cem", "ebal", "ipw"])
def test_a_constant_covariate_changes_nothing(method: str) -> None:
    data = people().assign(site=3.0)
    one, two = (rte.match(data, f, "id", method=method).weights.df() for f in (SMALL, SMALL + " + site"))
    pd.testing.assert_frame_equal(one, two, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "ipw", "caliper": 0.2}, r"caliper is read by nearest and riskset only"),
        ({"method": "ebal", "replace": True}, r"replace is read by nearest and riskset only"),
        ({"method": "cem", "ratio": 2}, r"ratio is read by"),
        ({"method": "nearest", "moments": 2}, r"moments is read by ebal only"),
        ({"method": "nearest", "cutpoints": {"x": 2}}, r"cutpoints is read by cem only"),
        ({"method": "ebal", "estimand": "ATE"}, r"estimand is read by ipw only"),
        ({"method": "ebal", "start": "x"}, r"start is read by riskset only"),
        ({"method": "ipw", "estimand": "LATE"}, r"unknown estimand 'LATE'.*\n.*ATT, ATE, ATO"),
        ({"method": "ebal", "moments": 4}, r"from 1 to 3"),
        ({"method": "ebal", "moments": True}, r"from 1 to 3"),
        ({"method": "entropy"}, r"unknown matching method 'entropy'.*\n.*nearest, riskset, cem, ebal, ipw"),
    ],
)
def test_keywords_a_method_does_not_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        rte.match(people(), SMALL, "id", **options)


# ---- from a study file ----------------------------------------------------------------------------------------------

STUDY = """
[study]
name = "x"
title = "T"
question = "Q?"
data = "D"
[records]
person = "p.csv"
[match]
formula = "treat ~ age + educ + race"
method = "cem"
exact = ["married"]
cutpoints = {age = [25, 35.5], educ = 4}
grouping = {race = [["white", "hispan"]]}
"""


def test_a_study_file_says_how_to_coarsen(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    audit = rte.match(lalonde(), unit="id", **read_study(tmp_path).match_options()).audit
    assert audit["cutpoints"]["age"] == [25.0, 35.5]
    assert len(audit["cutpoints"]["educ"]) == 3
    assert audit["grouping"] == {"race": [["white", "hispan"]]}
    (tmp_path / "study.toml").write_text(STUDY.replace('method = "cem"', 'method = "ipw"'))
    with pytest.raises(InputError, match="cutpoints is read by cem only"):
        rte.match(lalonde(), unit="id", **read_study(tmp_path).match_options())


@pytest.mark.parametrize("method", [method for method in METHODS if method not in ("nearest", "riskset")])
def test_a_study_runs_with_any_method(method: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "mine")
    toml = folder / "study.toml"
    lines = [
        line for line in toml.read_text().splitlines() if not line.startswith(("ratio", "replace", "m_order", "cal"))
    ]
    toml.write_text("\n".join(lines).replace('method = "nearest"', f'method = "{method}"'))
    Study.open(folder).run()
    assert (folder / "study.toml").exists()


def test_lalonde_means_are_equal_after_balancing() -> None:
    sample = rte.match(lalonde(), LALONDE, "id", method="ebal")
    assert sample.balance()["smd_after"].abs().max() < 1e-9
