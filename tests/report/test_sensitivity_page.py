from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import bundles
from retrain_eval.release.bundle import Bundle
from retrain_eval.report.group_verdicts import tabulate_verdicts, verdict_rows
from retrain_eval.report.page import Release, Study
from retrain_eval.report.pages.sensitivity import (
    bound_rows,
    say_base_moved_back,
    say_bounds,
    say_placebo_starts,
    say_pretest_power,
    tabulate_bounds,
    timing_rows,
)
from retrain_eval.report.pages.subgroups import say_verdicts


@pytest.fixture
def with_bounds(tmp_path: Path):
    """Return a function that makes the study with other bounds of the mean effect."""

    def make(includes_zero: dict[float, bool]) -> Study:
        parts = bundles.training_tables()
        row = parts["bounds"].iloc[0]
        rows = [row.to_dict() | {"m": m, "includes_zero": found} for m, found in includes_zero.items()]
        parts["bounds"] = pd.DataFrame(rows)
        facts = {"name": "x", "title": "T", "question": "Q", "data": "D", "unit": "person", "frequency": "year",
                 "currency": "USD", "limitations": [], "citation": ""}  # fmt: skip
        toml = '[did]\noutcome = "earnings"\n'
        return Study(Bundle.open(bundles.write_bundle(tmp_path / "bundle", parts, facts, toml)))

    return make


@pytest.mark.parametrize(
    ("includes_zero", "says"),
    [
        ({0.0: True, 0.5: True}, "no conclusion that a drift could overturn"),
        ({0.0: False, 0.5: True, 1.0: True}, "no longer so if they could have drifted apart 0.5 times as fast"),
        ({0.0: False, 0.5: False, 1.0: True}, "drifted apart 0.5 times as fast as they ever did between two periods "
         "before, and no longer so at 1 times"),
        ({0.0: False, 0.5: False, 2.0: False}, "even if, after training, the paths drifted apart 2 times as fast"),
    ],
)  # fmt: skip
def test_how_far_paths_may_drift_is_told_from_the_bounds(with_bounds, includes_zero, says: str) -> None:
    assert says in say_bounds(with_bounds(includes_zero))


def test_a_drift_is_held_against_the_event_study_and_not_another_estimate(release: Release) -> None:
    told = say_pretest_power(release.main)
    assert "$647 per year would have been noticed before training only 50% of the time" in told
    assert "add $1,940 to the mean effect, against the $1,581 that the event study estimates" in told


def test_bases_and_placebos_are_named_by_their_distance(release: Release) -> None:
    assert timing_rows(release.main, "base_moved_back")["label"].tolist() == [
        "The usual base",
        "A base 1 year earlier",
    ]
    assert "between $881 and $1,581" in say_base_moved_back(release.main)
    told = say_placebo_starts(release.main)
    assert told == "A start at which nothing started should have no effect. This one has none."


def test_bounds_are_named_by_their_assumption_and_give_the_range(release: Release) -> None:
    rows = bound_rows(release.main)
    assert rows["label"].tolist() == ["Parallel paths", "No faster than 0.5 times before", "Straight line"]
    html = tabulate_bounds(rows, release.main.words).html()
    assert "$1,418 to $1,744" in html
    assert "−$273 to $3,159" in html


def test_verdicts_are_told_for_each_kind_and_name_who_would_settle_them(release: Release) -> None:
    told = say_verdicts(release.main)
    assert told.startswith("The plan calls an effect of $500 a year the smallest that would matter.")
    assert "There is an effect for 25 and over" in told or "There is an effect for 25+" in told
    assert "too small to matter for no degree" in told
    assert "found four times in five, <25 would need 1,694 trained people" in told
    html = tabulate_verdicts(verdict_rows(release.main), release.main.words).html()
    assert html.count("inconclusive") == 1


def test_a_study_without_them_has_no_page_on_them(release: Release) -> None:
    grants = Release(release.companions[1]).parts()
    assert "sensitivity" not in grants
    assert {"sensitivity", "bounds", "verdicts", "base_moved_back"} <= release.parts()
    assert replace(release).parts() == release.parts()
