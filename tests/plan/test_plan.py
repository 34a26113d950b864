"""The registered plan: never changed, bound to records whose outcomes were closed, and compared field by field."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain_eval.common.errors import InputError, ReleaseError
from retrain_eval.plan.registered import (
    PLAN,
    Registration,
    deviations,
    exploratory,
    in_force,
    plan_standing,
    public_plan,
    read_plan,
    register,
)
from retrain_eval.plan.rules import Release
from retrain_eval.plan.study_file import About, StudyFile, read_study

STUDY = """
[study]
name = "x"
title = "T"
question = "Q"
data = "D"
[records]
person = "p.csv"
[strata.age_band]
column = "age"
cuts = [25]
labels = ["young", "old"]
[did]
outcome = "earnings"
[plan]
outcomes = ["employed"]
subgroups = ["tier"]
"""


def study(folder: Path, text: str = STUDY) -> StudyFile:
    (folder / "study.toml").write_text(text)
    return read_study(folder)


def test_a_plan_is_registered_once_and_amended_by_a_new_entry(tmp_path: Path) -> None:
    first, new = register(tmp_path, study(tmp_path), "a")
    assert new
    before = (tmp_path / PLAN).read_bytes()
    assert register(tmp_path, study(tmp_path, STUDY + "# a remark\n"), "a") == (first, False)
    assert (tmp_path / PLAN).read_bytes() == before
    changed = study(tmp_path, STUDY.replace("cuts = [25]", "cuts = [30]"))
    with pytest.raises(InputError, match=r"differs from the study: strata\.age_band\.cuts"):
        register(tmp_path, changed, "a", reason="  ")
    assert (tmp_path / PLAN).read_bytes() == before
    second, new = register(tmp_path, changed, "a", reason="bands of the law")
    assert new
    assert second.amends == first.sha256
    assert read_plan(tmp_path) == (first, second)
    assert json.loads(before)["registrations"][0] == json.loads((tmp_path / PLAN).read_text())["registrations"][0]


def test_another_script_is_another_plan(tmp_path: Path) -> None:
    first, _ = register(tmp_path, study(tmp_path), "a" * 64)
    with pytest.raises(InputError, match=r"run\.py"):
        register(tmp_path, study(tmp_path), "b" * 64)
    assert deviations(first, study(tmp_path), "b" * 64)["field"].tolist() == ["run.py"]
    assert deviations(first, study(tmp_path)).empty  # not known: not said to differ


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan["registrations"][0].update(time="2020-01-01 00:00:00 UTC"),
        lambda plan: plan["registrations"][0]["study"]["did"].update(outcome="employed"),
        lambda plan: plan["registrations"].pop(0),
        lambda plan: plan["registrations"].reverse(),
        lambda plan: plan["registrations"][1].update(opened_files=0),
    ],
)
def test_a_past_that_was_changed_is_found(tmp_path: Path, change: object) -> None:
    register(tmp_path, study(tmp_path), "a")
    register(tmp_path, study(tmp_path), "b", opened=["r"], reason="another script")
    plan = json.loads((tmp_path / PLAN).read_text())
    change(plan)
    (tmp_path / PLAN).write_text(json.dumps(plan))
    with pytest.raises(ReleaseError, match="is not as it was registered"):
        read_plan(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"plan_version": 1}', '{"plan_version": 9, "registrations": []}'])
def test_a_plan_that_cannot_be_read_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / PLAN).write_text(text)
    with pytest.raises(ReleaseError, match=r"cannot be read|version 9"):
        read_plan(tmp_path)


def test_a_plan_binds_only_records_that_no_run_had_read(tmp_path: Path) -> None:
    first, _ = register(tmp_path, study(tmp_path), "a")
    late, _ = register(tmp_path, study(tmp_path), "b", opened=["one", "two"], reason="after a look")
    made = read_plan(tmp_path)
    opened = {late.sha256: ["one", "two"]}

    def binding(plans: Sequence[Registration], records: list[str]) -> Registration | None:
        return in_force(plans, plan_standing(plans, records, opened))

    assert binding(made, ["one", "two"]) == first
    assert binding(made, ["one"]) == first
    assert binding(made, ["one", "two", "next year's"]) == late
    assert binding(made[1:], ["two"]) is None
    assert binding((), ["one"]) is None
    assert plan_standing(made, ["one", "next year's"], opened)[late.sha256] == (True, 1)


def test_where_the_store_has_forgotten_what_was_read_a_plan_does_not_bind(tmp_path: Path) -> None:
    late, _ = register(tmp_path, study(tmp_path), "b", opened=["one"])
    assert plan_standing([late], ["one", "two"]) == {late.sha256: (False, 2)}


def test_a_plan_holds_no_hash_of_a_record_file_and_an_older_one_loses_them_in_an_edition(tmp_path: Path) -> None:
    digest = "ab" * 32
    register(tmp_path, study(tmp_path), "b", opened=[digest])
    assert digest not in (tmp_path / PLAN).read_text()
    made = read_plan(tmp_path)
    older = msgspec.structs.replace(made[0], opened=(digest,), opened_files=0)  # as version 0.1.0 wrote it
    (tmp_path / PLAN).write_text(public_plan([older]))
    text = (tmp_path / PLAN).read_text()
    again = read_plan(tmp_path, released=True)
    assert digest not in text
    assert [one.sha256 for one in again] == [older.sha256]
    assert again[0].n_opened == 1
    assert plan_standing([older], [digest]) == {older.sha256: (False, 1)}


def test_a_registration_altered_under_its_old_hash_is_found(tmp_path: Path) -> None:
    made, _ = register(tmp_path, study(tmp_path), "a")
    entries = json.loads((tmp_path / PLAN).read_text())
    entries["registrations"][0] |= {"study": {**made.study, "seed": 9}, "withheld_sha256": made.sha256}
    for facts in ({}, {"opened_files": 1}):
        entries["registrations"][0] |= facts
        (tmp_path / PLAN).write_text(json.dumps(entries))
        with pytest.raises(ReleaseError, match="lacks fields that its hash covers"):
            read_plan(tmp_path)
    # an edition may leave out hashes of record files, and nothing else
    entries["registrations"][0]["opened_files"] = 0
    (tmp_path / PLAN).write_text(json.dumps(entries))
    with pytest.raises(ReleaseError, match="lacks fields that its hash covers"):
        read_plan(tmp_path, released=True)


def test_every_kind_of_departure_is_a_line_of_its_own(tmp_path: Path) -> None:
    plan, _ = register(tmp_path, study(tmp_path), "a")
    used = STUDY.replace('outcome = "earnings"', 'outcome = "employed"\nanticipation = 1').replace("[25]", "[30]")
    used = used.replace('data = "D"', 'data = "D"\nlimitations = ["new"]') + '[match]\nformula = "treat ~ age"\n'
    used += '[report]\ncompanions = ["../y"]\n'
    found = deviations(plan, study(tmp_path, used)).set_index("field")
    assert found.loc["did.outcome"].tolist() == ["earnings", "employed"]
    assert found.loc["strata.age_band.cuts"].tolist() == ["[25.0]", "[30.0]"]
    assert found.loc["did.anticipation"].tolist() == ["0", "1"]
    assert found.loc["study.limitations"].tolist() == ["[]", '["new"]']
    assert found.loc["match.formula"].tolist() == ["", "treat ~ age"]
    assert not [field for field in found.index if field.startswith("report")]


@given(cut=st.integers(1, 99), cell=st.integers(3, 99), seed=st.integers(0, 9))
def test_a_study_deviates_exactly_where_it_differs(cut: int, cell: int, seed: int) -> None:
    def file(cut: float, cell: int, seed: int) -> StudyFile:
        raw = {
            "study": {"name": "x", "title": "T", "question": "Q", "data": "D", "seed": seed},
            "records": {"person": "p.csv"},
            "strata": {"age": {"column": "age", "cuts": [cut], "labels": ["a", "b"]}},
            "release": {"min_contributors": cell},
        }
        return msgspec.convert(raw, StudyFile, strict=True)

    import tempfile

    with tempfile.TemporaryDirectory() as name:
        plan, _ = register(Path(name), file(25.0, 10, 0), "a")
    expected = {"strata.age.cuts"} if cut != 25 else set()
    expected |= ({"release.min_contributors"} if cell != 10 else set()) | ({"study.seed"} if seed else set())
    assert set(deviations(plan, file(float(cut), cell, seed))["field"]) == expected


def test_what_the_plan_does_not_name_is_exploratory(tmp_path: Path) -> None:
    effects = pd.DataFrame(
        [
            ("event_study", "earnings", None),
            ("event_study_employed", "employed", ""),
            ("event_study_m0", "m0", ""),
            ("att_by_age_band", "earnings", "age_band"),
            ("att_by_tier", "earnings", "tier"),
            ("att_by_sex", "earnings", "sex"),
            ("placebo_starts", "earnings", "pretended start"),
            ("indicators_employed", "employed", "arm"),
        ],
        columns=["result", "outcome", "subgroup"],
    )
    assert exploratory(effects, study(tmp_path)) == {"event_study_m0", "att_by_sex"}


def test_a_plan_of_an_earlier_version_reads_with_the_defaults_of_this_one(tmp_path: Path) -> None:
    made, _ = register(tmp_path, study(tmp_path), "a")
    del made.study["quality"]
    assert made.plan.quality == read_study(tmp_path).quality
    assert deviations(made, read_study(tmp_path)).empty


def test_a_plan_of_an_earlier_version_names_its_rules_as_it_did(tmp_path: Path) -> None:
    about = About(name="x", title="T", question="Q", data="D")
    today = StudyFile(study=about, records={"person": "p.csv"}, release=Release(min_contributors=20))
    made, _ = register(tmp_path, today, "a")
    older = {**made.study, "release": {"min_cell": 20}}
    assert msgspec.structs.replace(made, study=older).plan.release.min_contributors == 20
