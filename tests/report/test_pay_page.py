"""The pages on pay and on employment quality by dimension: the first sentence of each answer, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import bundles
from bundles import effect
from retrain_eval.estimators.inference import lee_bounds as lee
from retrain_eval.report.language.catalogue import speaking
from retrain_eval.report.page import Study, open_release
from retrain_eval.report.pages.jobs import growth, pay, quality_parts

FACTS = {"name": "x", "title": "T", "question": "Q", "data": "D", "unit": "person", "currency": "USD",
         "frequency": "year", "limitations": []}  # fmt: skip

FILE = """[study]
name = "x"
title = "T"
question = "Q"
data = "D"
[records]
person = "p.csv"
[designs.calendar]
start = 2020
before = 2
after = 4
[questions.wage_path]
"""


def opened(folder: Path, rows: list[dict[str, Any]], withheld: dict[str, str] | None = None) -> Study:
    tables = {"effects": pd.DataFrame(rows)}
    if withheld:
        listed = [{"result": name, "table": "effects", "reason": reason} for name, reason in withheld.items()]
        tables["withheld"] = pd.DataFrame(listed)
    return open_release([bundles.write_bundle(folder / "x", tables, FACTS, FILE)]).main


def of_pay(gain: float, se: float) -> list[dict[str, Any]]:
    """Return published rows: 80% and 70% have a job, an eighth is trimmed, bounds .05 to either side of the gain."""
    shares = {lee.EMPLOYED: 0.8, lee.EMPLOYED_CONTROL: 0.7, lee.GAP: 0.1, lee.TRIMMED: 0.125}
    logs = {lee.AMONG: gain, lee.LOWER: gain - 0.05, lee.UPPER: gain + 0.05}
    rows = [effect("wage_path", gain, se, outcome="log_earnings")]
    for name, value in (shares | logs).items():
        rows.append(effect("wage_path_bounds", value, se, outcome="log_earnings", estimand=name))
    ends = {"ci_low": gain - 0.05 - 2 * se, "ci_high": gain + 0.05 + 2 * se}
    rows.append(effect("wage_path_bounds", None, None, estimand=lee.INTERVAL) | ends)
    rows.append(effect("wage_path_bounds", 0.002, None, estimand=lee.COARSER))
    for estimator, shift in (("wage_trajectory_fixed", 0.0), ("pyfixest", 0.001)):
        for name in ("since_exit", "treated:since_exit", "since_exit^2", "treated:since_exit^2"):
            row = effect("wage_path_fixed", 0.02 + shift, 0.01, estimator=estimator, estimand=name)
            rows.append(row | {"outcome": "log_earnings"})
    return rows


@pytest.mark.parametrize(
    ("gain", "se", "begins"),
    [
        (0.0953, 0.01, "Pay grew faster with training: people who had a job before it and have one in the last 1 year"),
        (-0.0953, 0.01, "Pay grew more slowly with training"),
        (0.0953, 0.2, "Whether pay grows faster with training is not settled: the pay in a year of people"),
    ],
)
def test_the_first_sentence_is_the_answer(tmp_path: Path, gain: float, se: float, begins: str) -> None:
    one = opened(tmp_path, of_pay(gain, se))
    told = pay.say_pay(one)
    assert told.startswith(begins)
    assert {0.0953: "10.0%", -0.0953: "9.1%"}[gain] in told
    assert "80% of the trained and 70% of controls" in pay.say_bounds(one)
    for table in (pay.tabulate_pay(one), growth.tabulate_models(one)):
        assert "nan" not in table.html()
    cells = pay.tabulate_pay(one).cells.set_index("label")
    assert cells.loc["Share left out of the group with more jobs", "estimate"] == "12.5%"
    assert cells.loc["Effect on pay, between the bounds", "estimate"] == "—"
    figure = pay.draw_pay(one)
    assert "<svg" in figure.svg(narrow=True)
    assert figure.alt.count("95% interval") == 3


def test_programs_that_differ_are_said_to(tmp_path: Path) -> None:
    told = growth.say_models(opened(tmp_path, of_pay(0.1, 0.01)))
    assert "make 4 estimates each. The largest difference between them is 0.1 of a standard error" in told


def test_one_program_alone_is_compared_with_none(tmp_path: Path) -> None:
    rows = [row for row in of_pay(0.1, 0.01) if row["estimator"] != "pyfixest"]
    assert growth.say_models(opened(tmp_path, rows)) == ""


def test_what_is_withheld_is_a_sentence(tmp_path: Path) -> None:
    rows = bundles.training_effects().to_dict("records")
    one = opened(tmp_path / "a", rows, {"wage_path": "the records give no earnings", "wage_path_bounds": "none"})
    assert pay.say_pay(one) == "Whether pay grows faster with training cannot be said: the records give no earnings."
    assert pay.say_bounds(one).endswith("would have a job either way cannot be bounded: none.")
    assert pay.say_limits(one) == ""
    two = opened(tmp_path / "b", [effect("wage_path", None, None)])
    assert pay.say_pay(two).endswith("it rests on too few people to be published.")
    bounds = [effect("wage_path_bounds", None, None, estimand=name) for name in (*lee.ESTIMANDS, lee.INTERVAL)]
    three = opened(tmp_path / "c", [effect("wage_path", 0.1, 0.2), *bounds])
    assert len(pay.tabulate_pay(three).cells) == 1
    four = opened(tmp_path / "d", [effect("wage_path", None, None), *bounds])
    parts = open_release([four.bundle.path]).parts()
    assert "wage_path_asked" in parts  # the page is there, and says why there is no figure
    assert "pay" not in parts


def test_bounds_alone_are_shown(tmp_path: Path) -> None:
    rows = [row for row in of_pay(0.1, 0.02) if row["result"] == "wage_path_bounds"]
    one = opened(tmp_path, rows)
    assert len(pay.draw_pay(one).data) == 2
    assert len(pay.tabulate_pay(one).cells) == len(rows)
    change = [row for row in of_pay(0.1, 0.02) if row["result"] == "wage_path"]
    two = opened(tmp_path / "two", change)
    assert "<svg" in pay.draw_pay(two).svg()
    assert len(pay.tabulate_pay(two).cells) == 1


def test_the_page_speaks_chinese(tmp_path: Path) -> None:
    one = opened(tmp_path, of_pay(0.0953, 0.01))
    with speaking("zh"):
        assert pay.say_pay(one).startswith("接受培训后收入增长更快")
        assert "无论是否培训都会有工作的人" in pay.draw_pay(one).alt


# ---- employment quality ----------------------------------------------------------------------------------------------


def of_quality(m0: float, se: float, intensity: float | None = -0.03) -> list[dict[str, Any]]:
    """Return published rows, in which three quarters of the effect are on earnings and a quarter on tenure."""
    rows = []
    values = {"quality_earnings": 0.75 * m0, "quality_tenure": 0.25 * m0, "m0": m0, "deprived": 2 * m0}
    for name, value in (values | {"intensity": intensity}).items():
        if value is not None:
            rows.append(effect(f"event_study_{name}", value, se, outcome=name, event_time=3.0))
    return rows


def test_the_dimension_with_the_largest_part_is_named(tmp_path: Path) -> None:
    one = opened(tmp_path, of_quality(-0.08, 0.01))
    assert quality_parts.say_parts(one) == (
        "3 years after the start of training, the effect on M0 is −0.080 (−0.100 to −0.060). The dimensions add up to "
        "it; the largest part, −0.060 (−0.080 to −0.040), comes from this one: earnings below the living wage."
    )
    assert "(A) differs by −0.030 (−0.050 to −0.010)" in quality_parts.say_intensity(one)
    assert one.other_outcomes == ["m0", "deprived"]
    assert quality_parts.tabulate_parts(one).cells["label"].tolist()[:2] == [
        "Earnings below the living wage",
        "Short tenure",
    ]
    assert "<svg" in quality_parts.draw_parts(one).svg()


def test_no_dimension_is_named_where_there_is_no_effect(tmp_path: Path) -> None:
    one = opened(tmp_path, of_quality(-0.01, 0.02, None), {"event_study_intensity": "too few are deprived"})
    assert "an effect on M0 is not established" in quality_parts.say_parts(one)
    assert quality_parts.say_intensity(one).endswith("fare (A) cannot be compared: too few are deprived.")
