from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import bundles
from retrain_eval.release.bundle import Bundle
from retrain_eval.report.estimates import median_time
from retrain_eval.report.pages.index import headline_findings


def bundle_with(tmp_path: Path, effects: pd.DataFrame) -> Bundle:
    facts: dict[str, Any] = {"name": "x", "title": "T", "question": "Q", "data": "D", "unit": "person",
                             "frequency": "year", "currency": "USD", "limitations": [], "citation": ""}  # fmt: skip
    return Bundle.open(bundles.write_bundle(tmp_path / "x", {"effects": effects}, facts))


def test_three_findings_answer_whether_for_whom_and_whether_to_believe(bundle_paths: list[Path]) -> None:
    found = headline_findings(Bundle.open(bundle_paths[0]))
    assert [finding.question for finding in found] == ["Does it work?", "For whom?", "Can it be believed?"]
    effect, whom, believed = found
    assert effect.number == "+$1,707"
    assert effect.interval == "$377 to $3,036"
    assert "raised annual earnings by $1,707 a year" in effect.statement
    assert "excludes zero" in effect.statement
    assert whom.number == "+$2,432"
    assert "$260 (<25) and $2,692 (25+)" in whom.statement
    assert "includes zero" in whom.statement
    assert whom.statement.endswith("The experiment found $410 (<25) and $2,842 (25+).")
    assert "experiment found $1,794" in believed.statement
    assert "$88 below it" in believed.statement
    assert "−$8,498" in believed.statement
    assert all(finding.caveat for finding in found)


def test_an_interval_that_includes_zero_is_said(tmp_path: Path) -> None:
    effects = pd.DataFrame([bundles.effect("att_matched", -300.0, 400.0)]).reindex(columns=bundles.COLUMNS)
    (found,) = headline_findings(bundle_with(tmp_path, effects))
    assert found.number == "−$300"
    assert "lowered" in found.statement
    assert "cannot tell the effect from none" in found.statement


def test_without_an_experiment_the_time_before_training_decides(tmp_path: Path) -> None:
    rows = [
        bundles.effect("event_study", b, 100.0, event_time=e) for e, b in ((-2.0, -900.0), (0.0, 500.0), (4.0, 700.0))
    ]
    found = headline_findings(bundle_with(tmp_path, pd.DataFrame(rows).reindex(columns=bundles.COLUMNS)))
    assert [finding.question for finding in found] == ["How long does it last?", "Can it be believed?"]
    assert found[0].statement.startswith("4 years after")
    assert "already drifting apart" in found[1].statement


def test_the_truth_of_synthetic_data_is_held_against_the_estimate(tmp_path: Path) -> None:
    rows = [bundles.effect("did", 500.0, 100.0), bundles.effect("truth", 650.0, None)]
    found = headline_findings(bundle_with(tmp_path, pd.DataFrame(rows).reindex(columns=bundles.COLUMNS)))
    assert found[-1].number == "+$650"
    assert found[-1].statement.endswith("The estimate is $500, and its interval covers the truth.")
    rows[1]["estimate"] = 700.0
    found = headline_findings(bundle_with(tmp_path / "far", pd.DataFrame(rows).reindex(columns=bundles.COLUMNS)))
    assert "does not cover" in found[-1].statement


def test_no_headline_is_of_those_whose_level_is_missing(tmp_path: Path) -> None:
    apart = pd.DataFrame(
        [
            bundles.effect("att_by_age_band", 9000.0, 100.0, subgroup="age_band", level="(missing)"),
            bundles.effect("difference_by_age_band", 8000.0, 100.0, subgroup="age_band", level="(missing) minus <25"),
        ]
    )
    rows = pd.concat([bundles.training_effects(), apart], ignore_index=True)
    whom = next(finding for finding in headline_findings(bundle_with(tmp_path, rows), 9) if "whom" in finding.question)
    assert whom.number == "+$2,432"
    assert "$260 (<25) and $2,692 (25+)" in whom.statement
    assert "missing" not in whom.measure + whom.statement


def test_suppressed_numbers_make_no_finding(tmp_path: Path) -> None:
    effects = bundles.training_effects().assign(estimate=float("nan"), std_error=float("nan"))
    assert headline_findings(bundle_with(tmp_path, effects)) == []


def test_spells_alone_still_have_findings(bundle_paths: list[Path]) -> None:
    found = headline_findings(Bundle.open(bundle_paths[1]))
    assert found[0].statement == (
        "Half of the spells had ended by this number of two-week intervals: 10 (filed a claim) and 5 (filed no claim). "
        "Log-rank test: p\xa0<\xa00.001."
    )


@pytest.mark.parametrize(("shares", "median"), [([0.9, 0.5, 0.2], 2.0), ([0.9, 0.6], None), ([0.4], 1.0)])
def test_median_is_the_first_time_at_or_below_one_half(shares: list[float], median: float | None) -> None:
    curve = pd.DataFrame({"time": range(1, len(shares) + 1), "estimate": shares})
    assert median_time(curve) == median
