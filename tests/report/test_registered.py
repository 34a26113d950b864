"""What a reader is told of the plan: that there was none, that it came too late, that the study kept to it or not."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import bundles
from retrain_eval.plan.registered import plan_standing, read_plan, register
from retrain_eval.plan.study_file import read_study
from retrain_eval.release.manifest import sealed, spelt
from retrain_eval.report.page import Release, Study, open_release
from retrain_eval.report.pages.index import headline_findings
from retrain_eval.report.pages.plan import (
    say_opened_before,
    say_standing,
    tabulate_deviations,
    tabulate_exploratory,
    tabulate_registrations,
)
from retrain_eval.report.pages.subgroups import difference_rows, group_rows

STUDY = """
[study]
name = "x"
title = "T"
question = "Q"
data = "D"
currency = "USD"
[records]
person = "p.csv"
[strata.age_band]
column = "age"
cuts = [25]
labels = ["<25", "25+"]
[strata.education]
column = "degree"
cuts = [1]
labels = ["no degree", "degree"]
[did]
outcome = "earnings"
[plan]
outcomes = ["employed"]
"""
FACTS = {"name": "x", "title": "T", "question": "Q", "data": "D", "unit": "person", "currency": "USD",
         "frequency": "year", "limitations": []}  # fmt: skip
RECORDS = "a" * 64  # what the bundles of these tests say they were made from


def study(
    folder: Path, planned: str | None, used: str = STUDY, opened: tuple[str, ...] = (), records: tuple[str, ...] = ()
) -> Study:
    """Register a plan, unless there is none, and release a study that may differ from it."""
    folder.mkdir()
    plan = None
    if planned is not None:
        (folder / "study.toml").write_text(planned)
        register(folder, read_study(folder), "s" * 64, opened=opened)
        plan = (folder / "plan.json").read_text()
    tables = {"effects": bundles.training_effects()}
    extra = {} if plan is None else {"plan.json": plan}
    bundle = bundles.write_bundle(folder / "b", tables, FACTS, used, extra)
    if plan is not None:  # as a release states it
        made = read_plan(folder)
        manifest = json.loads((bundle / "manifest.json").read_text())
        known = {made[0].sha256: opened}
        manifest["plan"] = [
            {"sha256": of, "binds": binds, "opened": n}
            for of, (binds, n) in plan_standing(made, records or [RECORDS], known).items()
        ]
        (bundle / "manifest.json").write_text(spelt(sealed(manifest)))
    return open_release([bundle]).main


def test_no_plan_is_said(tmp_path: Path) -> None:
    one = study(tmp_path / "x", None)
    assert say_standing(one).startswith("No plan was registered for this study before its outcomes were opened.")
    assert one.exploratory == set()
    assert not {"plan", "deviations", "exploratory"} & Release(one).parts()


def test_a_plan_made_after_a_look_binds_nothing(tmp_path: Path) -> None:
    one = study(tmp_path / "x", STUDY, opened=(RECORDS,))
    assert "after the outcomes had been opened. It binds nothing" in say_standing(one)
    assert "plan" in Release(one).parts()
    assert tabulate_registrations(one).data["outcomes"].tolist() == ["opened"]


def test_a_study_that_keeps_to_its_plan(tmp_path: Path) -> None:
    one = study(tmp_path / "x", STUDY, opened=("another year's",))
    assert say_standing(one).endswith("The study was carried out as planned.")
    assert say_opened_before(one) == ""
    assert one.bundle.plan[0].sha256 in tabulate_registrations(one).html()
    assert "exploratory" not in " ".join(f.caveat for f in headline_findings(one.bundle))


def test_departures_and_what_is_not_planned_are_marked_where_they_are_read(tmp_path: Path) -> None:
    planned = STUDY.replace('[plan]\noutcomes = ["employed"]\n', "").replace("cuts = [25]", "cuts = [30]")
    planned = planned[: planned.index("[strata.education]")] + '[did]\noutcome = "earnings"\n'
    one = study(tmp_path / "x", planned)
    assert set(one.deviations["field"]) >= {"strata.age_band.cuts", "strata.education.column", "plan.outcomes"}
    assert "departs from it in 5 places" in say_standing(one)
    assert one.exploratory == {
        "event_study_employed", "att_by_education", "benchmark_by_education", "difference_by_education",
    }  # fmt: skip
    panels = group_rows(one)["panel"]
    assert set(panels) == {"Age band", "Education (exploratory)"}
    assert difference_rows(one)["label"].str.contains("exploratory").tolist() == [False, True]
    assert "[30.0]" in tabulate_deviations(one).html()
    assert set(tabulate_exploratory(one).data["result"]) == one.exploratory
    caveat = next(f.caveat for f in headline_findings(one.bundle) if f.question == "For whom?")
    assert "exploratory" not in caveat  # the clearest difference is by age, which was planned


@pytest.mark.parametrize(("planned", "marked"), [("earnings", False), ("employed", True)])
def test_a_main_outcome_that_was_not_planned_is_exploratory_in_the_first_finding(
    tmp_path: Path, planned: str, marked: bool
) -> None:
    plan = STUDY.replace('outcome = "earnings"', f'outcome = "{planned}"')
    one = study(tmp_path / "x", plan)
    first = headline_findings(one.bundle)[0]
    assert first.question == "Does it work?"
    assert first.caveat.endswith("The registered plan does not name it: exploratory.") is marked


def test_a_plan_between_two_deliveries_says_what_was_known(tmp_path: Path) -> None:
    one = study(tmp_path / "x", STUDY, opened=(RECORDS,), records=(RECORDS, "b" * 64))
    one.bundle.manifest["inputs"].append({"name": "wages", "file": "w.csv"})
    again = Study(one.bundle)
    assert again.registration is not None
    assert "a run had read 1 of the 2 record files" in say_opened_before(again)
    assert isinstance(again.deviations, pd.DataFrame)
