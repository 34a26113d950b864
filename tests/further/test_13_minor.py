"""Smaller faults: rounding printed as digits, defaults, zero pairs, closed forms, periods as text, sums that add."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

import retrain_eval as rte
from further_cases import long_panel, moments
from retrain_eval.common.errors import RetrainEvalError
from retrain_eval.common.resources import resource
from retrain_eval.estimators.did.means import mean_difference
from retrain_eval.estimators.inference.pretest_power import pretest_power
from retrain_eval.tables.covariates.covariates import covariate_balance

TINY = re.compile(r"\de-1[2-9]|\de-[2-9]\d")


def equal_arms(scale: float, seed: int = 1) -> pd.DataFrame:
    """Every treated unit has an untreated twin with the same path: all effects are zero."""
    base = np.random.default_rng(seed).normal(0.1, scale, (40, 4)).round(3)
    return long_panel(np.repeat(base, 2, axis=0), np.tile([3, 0], 40))


@pytest.mark.parametrize("scale", [0.7, 1234.567, 3e-3])
@pytest.mark.parametrize("name", ["att_gt", "sun_abraham", "imputation", "etwfe", "twfe", "mean"])
def test_an_effect_that_is_zero_is_printed_as_zero(name, scale):
    m = moments(equal_arms(scale))
    table = {
        "att_gt": lambda: m.att_gt().aggregate("dynamic"),
        "sun_abraham": lambda: m.sun_abraham(),
        "imputation": lambda: m.imputation(pretrends=1),
        "etwfe": lambda: m.etwfe(),
        "twfe": lambda: m.twfe(),
        "mean": lambda: mean_difference(m, 4),
    }[name]()
    assert np.abs(table.to_frame()["estimate"]).max() < 1e-9 * scale
    assert not TINY.search(repr(table))
    assert "-0.0000 " not in repr(table)


def test_survival_differences_of_equal_arms_are_printed_as_zero():
    q = np.random.default_rng(2).integers(1, 8, 50)
    frame = pd.DataFrame({"id": range(100), "arm": ["a", "b"] * 50, "q": np.repeat(q, 2), "e": 1})
    s = rte.Spells(frame, id="id", duration="q", cause="e", by="arm")
    for table in (s.survival_difference(times=(2, 4)), s.rmst_difference(tau=5), s.cox("arm")):
        assert not TINY.search(repr(table))


def people(seed: int, n: int = 500, sd: float = 4.0) -> pd.DataFrame:
    """Outcomes follow the covariates closely, so that balancing takes most of their noise away."""
    rng = np.random.default_rng(seed)
    age, school = rng.normal(40, 10, n), rng.integers(8, 18, n).astype(float)
    treat = (rng.random(n) < 1 / (1 + np.exp(1.2 + 0.03 * (age - 40)))).astype(int)
    return pd.DataFrame(
        {"id": range(n), "treat": treat, "age": age, "school": school, "y": sd * age + 9 * school + rng.normal(size=n)}
    )


@pytest.mark.parametrize(("seed", "moments_"), [(3, 1), (4, 2), (5, 1)])
def test_entropy_balancing_has_the_error_of_its_estimating_equations_by_default(seed, moments_):
    sample = rte.match(people(seed), "treat ~ age + school", unit="id", method="ebal", moments=moments_)
    default, asked, robust = (
        sample.att("y", **options).to_frame().iloc[0] for options in ({}, {"vce": "M"}, {"vce": "HC1"})
    )
    assert default["std_error"] == pytest.approx(asked["std_error"])
    assert default["std_error"] < robust["std_error"]


@pytest.mark.parametrize("zeros", [1, 5, 40])
def test_pairs_without_a_difference_are_left_out_and_this_is_said(zeros):
    differences = [5.0, 4, -1, 3, 6, 2, 7, 8]
    plain, mixed = (rte.rosenbaum_bounds([*differences, *[0.0] * k], gammas=[1, 2]) for k in (0, zeros))
    assert mixed.table["p_value"].to_numpy() == pytest.approx(plain.table["p_value"].to_numpy())
    said = " ".join(
        [str(mixed), str(vars(mixed) if hasattr(mixed, "__dict__") else ""), (rte.rosenbaum_bounds.__doc__ or "")]
        + [(resource("book") / page).read_text(encoding="utf-8") for page in ("sensitivity.md", "methods.md")]
    )
    assert "without a difference" in said or "zero" in said


def test_pairs_that_are_all_equal_are_refused():
    with pytest.raises(RetrainEvalError, match="differ"):
        rte.rosenbaum_bounds([0.0] * 12)


def study(before: float, after: float, covariance: float = 0.0) -> rte.EffectTable:
    rows = [
        {"event_time": -2, "estimate": 0.0},
        {"event_time": -1, "estimate": 0.0},
        {"event_time": 0, "estimate": 1.0},
    ]
    vcov = np.array([[before, 0, covariance], [0, 0, 0], [covariance, 0, after]])
    return rte.EffectTable.build(rows, vcov)


@pytest.mark.parametrize("power", [0.3, 0.5, 0.8, 0.95])
@pytest.mark.parametrize(("before", "after", "covariance"), [(0.01, 0.02, 0.0), (4.0, 3.0, 2.0), (1e-4, 1e-4, -5e-5)])
def test_power_with_one_period_before_is_the_closed_form(power, before, after, covariance):
    c, se = stats.norm.ppf(0.975), np.sqrt(before)
    shift = optimize.brentq(lambda d: stats.norm.sf(c - d) + stats.norm.cdf(-c - d) - power, 0, 10)
    found = pretest_power(study(before, after, covariance), (power,)).iloc[0]
    assert found["slope"] == pytest.approx(shift * se, rel=1e-4)
    # the mean of a coefficient that passed: a normal about −shift, cut at ± c
    mean = stats.truncnorm.mean(-c + shift, c + shift, loc=-shift)
    assert found["bias_if_passed"] == pytest.approx(shift * se + covariance / se * (mean + shift), rel=1e-3)


def wages(periods: list[int]) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("CREATE TABLE person AS SELECT 'a' AS person_id, NULL::VARCHAR AS region")
    con.execute("CREATE TABLE enrolment AS SELECT 'a' AS person_id, 8100 AS entry")
    con.register("w", pd.DataFrame({"person_id": "a", "period": periods, "wages": 100.0}))
    con.execute("CREATE TABLE wage_record AS FROM w")
    con.register(
        "p",
        pd.DataFrame(
            {
                "region": pd.Series([None] * len(periods), dtype="str"),
                "period": periods,
                "cpi": [100.0 * 2**i for i in range(len(periods))],
            }
        ),
    )
    con.execute("CREATE TABLE price AS FROM p")
    return con


@pytest.mark.parametrize(
    ("text", "number", "periods"),
    [("2025Q4", 8103, [8102, 8103]), ("2024-Q1", 8096, [8096, 8097]), ("2021", 2021, [2020, 2021])],
)
def test_a_base_period_may_be_written_as_periods_are(text, number, periods):
    written, stored = (
        rte.build_panel(wages(periods), base_period=p).order("period").project("earnings").fetchall()
        for p in (text, number)
    )
    assert written == stored
    assert stored[periods.index(number)] == (100.0,)


def test_a_window_may_be_written_as_periods_are():
    panel = rte.build_panel(wages([8096, 8097, 8098, 8099]), window=("2024Q2", "2024Q3"))
    assert panel.order("period").project("period").fetchall() == [(8097,), (8098,)]


@pytest.mark.parametrize("text", ["2025Q5", "25Q4", "last year"])
def test_a_base_period_that_is_none_is_refused_by_its_text(text):
    with pytest.raises(RetrainEvalError, match=re.escape(text)):
        rte.build_panel(wages([8102, 8103]), base_period=text)


def test_the_page_on_limits_does_not_deny_the_adjustment_that_is_made():
    page = (resource("book") / "limitations.md").read_text(encoding="utf-8")
    assert "comparisons of subgroups are not adjusted" not in re.sub(r"\s+", " ", page)


def test_the_description_of_winsorise_is_what_is_done():
    """Two periods on different scales: by period, the largest of the small period is capped; over all, it is not."""
    n = 200
    low = np.linspace(1, 2, n)
    paths = np.column_stack([low, 1000 * low])
    plain, capped = (moments(long_panel(paths, np.arange(n) % 2 * 2), **o) for o in ({}, {"winsorise": 0.9}))
    by_period = not np.isclose(plain.means()[:, 0].sum(), capped.means()[:, 0].sum(), rtol=1e-6)
    docs = Path(str(resource("book"))).parent / "docs" / "study-file.md"
    (line,) = [line for line in docs.read_text(encoding="utf-8").splitlines() if line.startswith("| `winsorise`")]
    assert ("all person-periods" in line) != by_period


def halves(seed: int, cut: int) -> tuple[pd.DataFrame, list[rte.MatchedSample]]:
    frame = people(seed, 300)
    return frame, [
        rte.match(part, "treat ~ age + school", unit="id", caliper=None) for part in (frame[:cut], frame[cut:])
    ]


@pytest.mark.parametrize(("seed", "cut"), [(6, 150), (7, 90), (8, 220)])
def test_covariate_moments_of_two_agencies_add_up(seed, cut):
    frame, (one, other) = halves(seed, cut)
    total = one.covariate_moments() + other.covariate_moments()
    for arm, value in (("treated", 1), ("control", 0)):
        rows = frame[frame["treat"] == value]
        for name in ("age", "school"):
            found = total.summary(name, arm, "before")
            assert found is not None
            n, mean, variance = (getattr(found, field) for field in found.__dataclass_fields__)
            assert (n, mean, variance) == pytest.approx((len(rows), rows[name].mean(), rows[name].var(ddof=1)))
    smd = covariate_balance(total).set_index("covariate")["smd_before"]
    treated, control = frame[frame["treat"] == 1], frame[frame["treat"] == 0]
    assert smd["age"] == pytest.approx(
        (treated["age"].mean() - control["age"].mean()) / treated["age"].std(ddof=1), rel=1e-6
    )


def test_adding_covariate_moments_does_not_depend_on_their_order():
    _, (one, other) = halves(9, 120)
    a, b = one.covariate_moments(), other.covariate_moments()
    columns = ["n", "sum_w", "sum_wx"]
    first, second = (
        (a + b).cells.sort_values(["covariate", "arm", "stage"]),
        (b + a).cells.sort_values(["covariate", "arm", "stage"]),
    )
    assert first[columns[:2]].to_numpy() == pytest.approx(second[columns[:2]].to_numpy())


def test_covariate_moments_of_different_covariates_do_not_add():
    _, (one, _) = halves(10, 150)
    other = rte.match(people(11, 200), "treat ~ age", unit="id", caliper=None)
    with pytest.raises(RetrainEvalError, match="school"):
        one.covariate_moments() + other.covariate_moments()
