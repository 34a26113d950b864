"""Effects on matched and weighted samples: against plain calculations, simulations, and what they refuse."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrain_eval as rte
from matching_samples import LALONDE, lalonde
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.did.means import mean_difference
from retrain_eval.sample.effect.abadie_imbens import matching_variance, nearest_controls

FORMULA = "t ~ x + z"


def draw(n: int, seed: int, effect: float = 1.0) -> pd.DataFrame:
    """People whose treatment and outcome depend on x and z; the effect is one number, so ATT = ATE = ATO."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(0, 1, n), rng.integers(0, 2, n)
    e = 1 / (1 + np.exp(1.2 - 0.6 * x - 0.6 * z))
    t = (rng.random(n) < e).astype(int)
    y = 1 + x + z + effect * t + rng.normal(0, 1 + 0.5 * z, n)
    return pd.DataFrame({"id": np.arange(n), "x": x, "z": z, "t": t, "y": y, "y2": 2 * y - x})


def figures(table: rte.EffectTable) -> tuple[float, float]:
    return float(table.frame["estimate"].iloc[0]), float(table.frame["std_error"].iloc[0])


# ---- plain calculations ---------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 1000), ties=st.sampled_from(["all", "first"]), ratio=st.integers(1, 3))
@settings(max_examples=8, deadline=None)
def test_abadie_imbens_by_hand(seed: int, ties: str, ratio: int) -> None:
    data = draw(80, seed).round({"x": 1})
    sample = rte.match(data, FORMULA, "id", replace=True, ties=ties, ratio=ratio)
    y = data.set_index("id")["y"]
    own, used, squares, spread, n1 = [], dict.fromkeys(y.index, 0.0), dict.fromkeys(y.index, 0.0), 0.0, 0
    pairs = sample.pairs.df()
    for treated, block in pairs.groupby("treated_id"):
        own.append(y[treated] - y[block["control_id"]].mean())
        for control in block["control_id"]:
            used[control] += 1 / len(block)
            squares[control] += 1 / len(block) ** 2
        n1 += 1
    effect = np.mean(own)
    for treated, block in pairs.groupby("treated_id"):
        spread += ((y[treated] - y[block["control_id"]] - effect) ** 2).mean() / (2 * n1)
    variance = sum((tau - effect) ** 2 for tau in own) + spread * sum(used[i] ** 2 - squares[i] for i in used)
    assert figures(sample.att("y")) == pytest.approx((effect, np.sqrt(variance) / n1))

    score = sample._score() if sample._score is not None else None
    assert score is not None
    of_unit = pd.Series(score[sample._drawn.units.cell], index=sample._drawn.units.ids.to_pylist())
    controls = data.loc[data["t"] == 0, "id"].to_numpy()
    robust = sum((tau - effect) ** 2 for tau in own)
    for i in (i for i in used if used[i]):
        others = controls[controls != i]
        gap = np.abs(of_unit[others].to_numpy() - of_unit[i])
        if (np.diff(np.sort(gap)[:3]) == 0).any():  # whom a tie leaves out is a matter of order
            return
        near = others[np.argsort(gap)[:2]]
        robust += (used[i] ** 2 - squares[i]) * 2 / 3 * (y[i] - y[near].mean()) ** 2
    assert figures(sample.att("y", vce="AI-robust")) == pytest.approx((effect, np.sqrt(robust) / n1))


def test_without_replacement_abadie_imbens_is_the_variance_of_differences() -> None:
    data = lalonde()
    sample = rte.match(data, LALONDE, "id")
    y = data.set_index("id")["re78"]
    pairs = sample.pairs.df()
    gap = y[pairs["treated_id"]].to_numpy() - y[pairs["control_id"]].to_numpy()
    assert figures(sample.att("re78", vce="AI")) == pytest.approx((gap.mean(), gap.std() / np.sqrt(len(gap))))


@pytest.mark.parametrize(
    "options",
    [
        {"method": "ipw"},
        {"method": "ipw", "exact": "z"},
        {"method": "ipw", "estimand": "ATE"},
        {"method": "ipw", "estimand": "ATO"},
        {"method": "ebal"},
        {"method": "ebal", "exact": "z"},
    ],
    ids=lambda options: " ".join(options.values()),
)
def test_m_estimation_is_the_infinitesimal_jackknife(options: dict[str, Any]) -> None:
    """Re-estimated with one person counted a little less, the effect moves by that person's influence."""
    data = draw(150, 5).round({"x": 1})
    sample = rte.match(data, FORMULA, "id", **options)
    psi = _influence(sample, data)
    step = 20  # copies of everybody; one person has one copy fewer
    for i in (0, 7, 40, 99):
        copies = data.loc[data.index.repeat(np.where(data.index == i, step - 1, step))]
        copies = copies.assign(id=np.arange(len(copies)))
        moved = figures(rte.match(copies, FORMULA, "id", **options).att("y"))[0]
        plus = data.loc[data.index.repeat(np.where(data.index == i, step + 1, step))]
        plus = plus.assign(id=np.arange(len(plus)))
        derivative = (figures(rte.match(plus, FORMULA, "id", **options).att("y"))[0] - moved) * step / 2
        assert psi[i] == pytest.approx(derivative, rel=2e-3, abs=2e-5)
    assert figures(sample.att("y", vce="M"))[1] == pytest.approx(np.sqrt((psi**2).sum()))


def test_balancing_weights_count_their_estimation_unless_asked_otherwise() -> None:
    sample = rte.match(draw(300, 8), FORMULA, "id", method="ebal")
    assert sample.att("y").meta["vce"] == "M"
    assert figures(sample.att("y")) == figures(sample.att("y", vce="M"))
    assert figures(sample.att("y", vce="HC1"))[1] > 1.1 * figures(sample.att("y"))[1]


def _influence(sample: rte.MatchedSample, data: pd.DataFrame) -> np.ndarray:
    assert sample._drawn.influence is not None
    return sample._drawn.influence(data[["y"]].to_numpy())[:, 0]


def test_bias_adjustment_by_hand() -> None:
    data = lalonde()
    sample = rte.match(data, "treat ~ age + educ + re74", "id", replace=True)
    rows = data.merge(sample.weights.df()[["id", "weight"]], on="id").set_index("id")
    control = rows[rows["treat"] == 0]
    x = np.column_stack([np.ones(len(control)), control[["age", "educ", "re74"]]])
    root = np.sqrt(control["weight"].to_numpy())[:, None]
    beta = np.linalg.lstsq(x * root, control["re78"].to_numpy() * root[:, 0], rcond=None)[0]
    fitted = rows[["age", "educ", "re74"]].to_numpy() @ beta[1:]
    mu = pd.Series(beta[0] + fitted, index=rows.index)
    pairs = sample.pairs.df()
    adjusted = (
        rows["re78"][pairs["treated_id"]].to_numpy()
        - rows["re78"][pairs["control_id"]].to_numpy()
        - mu[pairs["treated_id"]].to_numpy()
        + mu[pairs["control_id"]].to_numpy()
    )
    effect = (adjusted * pairs["weight"]).sum() / pairs["subclass"].max()
    table = sample.att("re78", bias_adjust=True)
    assert figures(table)[0] == pytest.approx(effect)
    assert table.meta["bias_adjusted"] is True


def test_bias_adjustment_removes_what_is_linear() -> None:
    """An outcome that is linear in the covariates has an effect of exactly nothing, however poor the matches."""
    data = lalonde().assign(line=lambda d: 3 * d["age"] - d["educ"] + 5 * (d["race"] == "hispan"))
    for options in ({}, {"replace": True}, {"method": "cem", "cutpoints": {"age": 2}}):
        sample = rte.match(data, "treat ~ age + educ + race", "id", **options)
        assert abs(figures(sample.att("line"))[0]) > 0.01
        assert figures(sample.att("line", bias_adjust=True))[0] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("options", [{}, {"replace": True}, {"method": "cem"}, {"method": "ebal"}, {"method": "ipw"}])
def test_outcomes_together_keep_their_covariance(options: dict[str, Any]) -> None:
    data = draw(200, 3).assign(sum=lambda d: d["y"] + d["y2"])
    sample = rte.match(data, FORMULA, "id", **options)
    table = sample.att(["y", "y2", "sum"])
    one = [figures(sample.att(name)) for name in ("y", "y2", "sum")]
    assert table.frame[["estimate", "std_error"]].to_numpy() == pytest.approx(np.array(one))
    total = np.array([1.0, 1.0, -1.0])
    assert total @ table.vcov @ total == pytest.approx(0, abs=1e-10)
    assert table.frame["estimator"].tolist() == [sample.audit["method"]] * 3


# ---- where outcomes come from ---------------------------------------------------------------------------------------


def test_one_period_of_a_panel_a_frame_a_file_and_another_connection(tmp_path: Any) -> None:
    data = draw(60, 1).assign(id=lambda d: [f"ü{i}" for i in d["id"]])
    panel = pd.concat([data[["id"]].assign(year=year, pay=data["y"] + year) for year in (1, 2)])
    panel.to_parquet(tmp_path / "panel.parquet")
    with duckdb.connect() as con, duckdb.connect() as other:
        con.from_df(data).create("people")
        con.from_df(panel).create("panel")
        other.from_df(panel).create("panel")
        sample = rte.match(con.table("people"), FORMULA, "id", replace=True)
        expected = figures(sample.att("y"))
        year_2 = panel[panel["year"] == 2]
        year_2.to_csv(tmp_path / "two.csv", index=False)
        for source in (con.sql("FROM panel WHERE year = 2"), other.sql("FROM panel WHERE year = 2"), year_2,
                       tmp_path / "two.csv"):  # fmt: skip
            assert figures(sample.att("pay", source)) == pytest.approx(expected)
            assert figures(sample.att("pay", source, vce="AI-robust"))[0] == pytest.approx(expected[0])
        with pytest.raises(InputError, match=r"(?s)several rows.*HAVING.*choose the period"):
            sample.att("pay", con.table("panel"))
        left = [name for (name,) in con.sql("SHOW TABLES").fetchall() if "outcomes" in name]
        assert left == []


def test_risk_sets_read_outcomes_by_match_and_cluster_by_person() -> None:
    rng = np.random.default_rng(2)
    n = 300
    people = pd.DataFrame({"id": np.arange(n), "x": rng.normal(0, 1, n), "began": rng.integers(0, 4, n)})
    people["ended"] = people["began"] + rng.geometric(0.15, n) + 1
    enters = people["began"] + rng.geometric(0.08, n)
    people["entry"] = enters.where(enters < people["ended"]).astype("Int64")
    sample = rte.match(people, "t ~ x", "id", method="riskset", start="began", entry="entry", end="ended")
    assert sample.cluster == "id"
    rows = sample.weights.df()
    assert rows["id"].duplicated().any()  # trainees who were controls before
    rows["pay"] = rows["id"] % 7 + rows["elapsed"] * 1.0
    table = sample.att("pay", rows[["match_id", "pay"]])
    moments = rte.outcome_moments(
        rows.assign(year=1, cohort=rows["treat"].where(rows["treat"] == 1)), unit="match_id", time="year",
        cohort="cohort", outcome="pay", weights="weight", cluster=sample.cluster,
    )  # fmt: skip
    assert figures(table) == pytest.approx(figures(mean_difference(moments, 1)))
    with pytest.raises(InputError, match="follow_outcomes"):
        sample.att("x")
    with pytest.raises(InputError, match="a person may be in several roles"):
        sample.att("pay", rows, vce="HC1")


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "vce", "message"),
    [
        ({}, "HC3", r"unknown vce 'HC3'.*\n.*CR1, HC1, AI, AI-robust, M"),
        ({}, "M", "needs estimated weights.*\n.*\n.*CR1, HC1, AI, AI-robust"),
        ({"replace": True}, "CR1", "needs matched sets"),
        ({"method": "ipw"}, "AI", "needs pairs"),
        ({"method": "cem"}, "AI", "needs pairs"),
        ({"distance": "mahalanobis"}, "AI-robust", "made on a score"),
    ],
)
def test_standard_errors_that_do_not_fit(options: dict[str, Any], vce: str, message: str) -> None:
    sample = rte.match(draw(100, 1), FORMULA, "id", **options)
    with pytest.raises(InputError, match=message):
        sample.att("y", vce=vce)


def test_outcomes_that_cannot_be_used() -> None:
    data = draw(60, 1).assign(word="a", date=pd.Timestamp("2020-01-01"))
    sample = rte.match(data, FORMULA, "id")
    member = int(sample.weights.df()["id"].iloc[3])
    with pytest.raises(InputError, match=r"unknown column 'wage'"):
        sample.att("wage")
    with pytest.raises(InputError, match=r"(?s)outcome of type VARCHAR.*word"):
        sample.att("word")
    for value in (np.nan, np.inf):
        with pytest.raises(InputError, match=r"1 unit\(s\) of the sample have missing or not finite in y"):
            sample.att("y", data.assign(y=data["y"].where(data["id"] != member, value)))
    with pytest.raises(InputError, match=r"1 unit\(s\) of the sample have no row"):
        sample.att("y", data[data["id"] != member])
    with pytest.raises(InputError, match=r"ids are of type int64, this column is VARCHAR"):
        sample.att("y", data.assign(id=data["id"].astype(str)))
    # an outcome nobody in the sample needs may be missing
    outside = sorted(set(data["id"]) - set(sample.weights.df()["id"]))
    data.loc[data["id"].isin(outside), "y"] = np.nan
    assert figures(sample.att("y", data)) == figures(sample.att("y"))
    with pytest.raises(InputError, match="bias_adjust is for matched samples"):
        rte.match(draw(60, 1), FORMULA, "id", method="ipw").att("y", bias_adjust=True)


def test_too_few_for_a_standard_error() -> None:
    data = pd.DataFrame({"id": range(5), "t": [1, 0, 0, 1, 0], "x": [1.0, 1, 2, 9, 9], "y": range(5)})
    with pytest.raises(DesignError, match="1 treated and 1 controls are too few"):
        rte.match(data.iloc[:3], "t ~ x", "id", distance="x").att("y")
    with pytest.raises(DesignError, match="2 cluster"):
        rte.match(data, "t ~ x", "id", distance="x").att("y")
    with pytest.raises(DesignError, match="controls are too few to see how outcomes scatter"):
        nearest_controls(np.array([0.1, 0.2]), np.array([True, True]), np.array([0]))
    assert matching_variance(np.array([0]), np.array([1]), np.array([[2.0], [1.0]]))[0, 0] == 0


# ---- simulation -----------------------------------------------------------------------------------------------------

REPETITIONS = 250
DESIGNS: dict[str, tuple[dict[str, Any], dict[str, tuple[float, float]]]] = {  # standard error / spread of estimates
    "ipw": ({"method": "ipw"}, {"M": (0.87, 1.13)}),
    "ipw ATE": ({"method": "ipw", "estimand": "ATE"}, {"M": (0.87, 1.13)}),
    "ipw ATO": ({"method": "ipw", "estimand": "ATO"}, {"M": (0.87, 1.13)}),
    # HC1 takes for noise what balancing has removed
    "ebal": ({"method": "ebal"}, {"M": (0.87, 1.13), "HC1": (1.1, 1.6)}),
    "with replacement": ({"replace": True}, {"AI": (0.87, 1.13), "AI-robust": (0.87, 1.13)}),
}


@pytest.mark.slow
@pytest.mark.parametrize("design", DESIGNS)
def test_standard_errors_say_how_estimates_spread(design: str) -> None:
    """Over 250 samples of 600 people; the ratio's own error is .045 and that of the coverage .014."""
    options, kinds = DESIGNS[design]
    found: dict[str, list[tuple[float, float, bool]]] = {vce: [] for vce in kinds}
    for seed in range(REPETITIONS):
        sample = rte.match(draw(600, seed), FORMULA, "id", **options)
        for vce, rows in found.items():
            row = sample.att("y", vce=vce, bias_adjust=vce.startswith("AI")).frame.iloc[0]
            rows.append((row["estimate"], row["std_error"], row["ci_low"] <= 1.0 <= row["ci_high"]))
    for vce, (low, high) in kinds.items():
        estimates, errors, covered = (np.array(column) for column in zip(*found[vce], strict=True))
        ratio = np.sqrt((errors**2).mean()) / estimates.std(ddof=1)
        assert low <= ratio <= high, (vce, ratio)
        assert abs(estimates.mean() - 1.0) < 4 * estimates.std() / np.sqrt(REPETITIONS), (vce, estimates.mean())
        assert covered.mean() >= 0.91, (vce, covered.mean())
