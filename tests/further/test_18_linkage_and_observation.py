"""Nobody is taken to earn nothing who could not have been seen earning: not linked, dead, moved away, not observed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import retrain_eval as rte
from further_cases import panel_of, refused, study_folder
from retrain_eval.common.resources import resource
from retrain_eval.records.schema.dictionary import load_package

QUARTERS = [f"{year}Q{q}" for year in (2018, 2019) for q in (1, 2, 3, 4)]
FIRST = 2018 * 4
PEOPLE = ("A1", "A2", "A3", "A4")
BASE = {
    "person.csv": "person_id,age\n" + "".join(f"{p},40\n" for p in PEOPLE),
    "programme.csv": "programme_id,name\nW,Welding\n",
    "enrolment.csv": "person_id,programme_id,entry\nA1,W,2018Q3\n",
    "wage_record.csv": "person_id,period,employer_id,wages\n"
    + "".join(f"A1,{q},E1,100\n" for q in QUARTERS)
    + "A2,2018Q1,E1,50\n",
    "coverage.csv": "source,period,available\n" + "".join(f"UI,{q},true\n" for q in QUARTERS),
}


def study(folder: Path, **files: str) -> Path:
    return study_folder(folder, {**BASE, **{f"{name}.csv": text for name, text in files.items()}}, no_record="coverage")


def path(panel: dict[tuple[str, int], Any], person: str) -> list[float | None]:
    return [panel.get((person, FIRST + i)) for i in range(len(QUARTERS))]


@pytest.mark.parametrize("linked", [("A1",), ("A1", "A2"), ("A1", "A4")])
def test_who_has_no_row_of_linkage_is_unknown(tmp_path, linked):
    rows = "person_id,source,status\n" + "".join(f"{p},UI,linked\n" for p in linked)
    panel = panel_of(study(tmp_path / "s", linkage=rows))
    for person in PEOPLE:
        if person not in linked:
            assert path(panel, person) == [None] * 8
        else:
            assert None not in path(panel, person)


def test_who_is_linked_to_one_source_only_is_unknown_where_only_the_other_is_there(tmp_path):
    coverage = BASE["coverage.csv"] + "FED,2020Q1,true\n"
    linkage = "person_id,source,status\nA1,UI,linked\nA2,UI,linked\nA3,FED,linked\nA3,UI,unlinked\n"
    panel = panel_of(study(tmp_path / "s", coverage=coverage, linkage=linkage))
    assert path(panel, "A3") == [None] * 8
    assert panel.get(("A3", 2020 * 4)) == 0.0
    assert panel.get(("A4", 2020 * 4)) is None


def test_people_without_a_row_of_linkage_are_counted(tmp_path):
    """Assumed: the run says, or the flow of the sample shows, how many people have no row of linkage."""
    people = [f"B{i}" for i in range(20)]
    script = (
        "import retrain_eval as rte\ndef analyse(run):\n"
        "    rte.build_panel(run.con, no_record='coverage')\n"
        "    people = rte.baseline(run.con, {})\n"
        "    sample = rte.match(people, unit='person_id', **run.study.match_options())\n"
        "    run.publish('flow', sample.flow())\n"
    )
    files = {
        **BASE,
        "person.csv": "person_id,age\n" + "".join(f"{p},{30 + i * 7 % 10}\n" for i, p in enumerate(people)),
        "enrolment.csv": "person_id,programme_id,entry\n" + "".join(f"{p},W,2018Q3\n" for p in people[:4]),
        "wage_record.csv": "person_id,period,employer_id,wages\n" + "".join(f"{p},2018Q1,E1,100\n" for p in people),
        "linkage.csv": "person_id,source,status\n" + "".join(f"{p},UI,linked\n" for p in people[:-3]),
    }
    folder = study_folder(tmp_path / "s", files, no_record="coverage", script=script)
    said: list[str] = []
    results = rte.Study.open(folder).run(say=said.append)
    lines = [*said, *results.tables["flow"].astype(str).to_csv().splitlines()]
    assert any("link" in line.lower() and "3" in line and "loaded from" not in line for line in lines)


def names() -> dict[str, Any]:
    """Return the fields of the record type ``observation`` by what they mean."""
    package = load_package(resource("data_schemas"))
    assert "observation" in package.names
    fields = list(package["observation"].fields)
    found: dict[str, Any] = {}
    for meaning, words in {
        "person": ("person",),
        "from": ("from", "begin", "start", "first"),
        "to": ("to", "until", "end", "last", "through"),
        "reason": ("reason", "why"),
    }.items():
        found[meaning] = next(
            f
            for f in fields
            if any(w in f.name.split("_") or f.name.startswith(w) for w in words) and f not in found.values()
        )
    return found


def when(field: Any, quarter: str, last: bool) -> str:
    """Write a quarter as the field wants it: a period, or the first or last day."""
    if not quarter:
        return ""
    if field.type == "date":
        month = 3 * int(quarter[-1]) - (0 if last else 2)
        return f"{quarter[:4]}-{month:02d}-{ ({3: 31, 6: 30, 9: 30, 12: 31}[month] if last else 1):02d}"
    return quarter


def observed(*rows: tuple[str, str, str]) -> str:
    fields = names()
    allowed = [str(v) for v in (getattr(fields["reason"].constraints, "enum", ()) or ())]
    reason = next(
        (v for v in allowed if any(w in v for w in ("moved", "died", "dead", "death"))),
        allowed[0] if allowed else "moved",
    )
    lines = [",".join(field.name for field in fields.values())]
    lines += [f"{p},{when(fields['from'], a, False)},{when(fields['to'], b, True)},{reason}" for p, a, b in rows]
    return "\n".join(lines) + "\n"


def test_after_the_end_of_observation_a_person_is_unknown(tmp_path):
    panel = panel_of(study(tmp_path / "s", observation=observed(("A2", "2018Q1", "2018Q3"))))
    assert path(panel, "A2") == [50.0, 0.0, 0.0, None, None, None, None, None]
    assert path(panel, "A3") == [0.0] * 8


def test_before_the_beginning_of_observation_a_person_is_unknown(tmp_path):
    panel = panel_of(study(tmp_path / "s", observation=observed(("A3", "2018Q4", "2019Q4"))))
    assert path(panel, "A3") == [None, None, None, 0.0, 0.0, 0.0, 0.0, 0.0]


def test_an_observation_may_have_no_end(tmp_path):
    panel = panel_of(study(tmp_path / "s", observation=observed(("A4", "2018Q2", ""))))
    assert path(panel, "A4") == [None, *[0.0] * 7]


def test_between_two_windows_a_person_is_unknown(tmp_path):
    panel = panel_of(
        study(tmp_path / "s", observation=observed(("A3", "2018Q1", "2018Q2"), ("A3", "2019Q2", "2019Q4")))
    )
    assert path(panel, "A3") == [0.0, 0.0, None, None, None, 0.0, 0.0, 0.0]


def test_where_everybody_is_covered_the_window_still_decides(tmp_path):
    files = {k: v for k, v in BASE.items() if k != "coverage.csv"}
    folder = study_folder(
        tmp_path / "s", {**files, "observation.csv": observed(("A2", "2018Q1", "2018Q2"))}, no_record="zero"
    )
    assert path(panel_of(folder), "A2") == [50.0, 0.0, *[None] * 6]


def test_a_window_that_ends_before_it_begins_is_refused(tmp_path):
    folder = study(tmp_path / "s", observation=observed(("A2", "2019Q1", "2018Q1")))
    refused(lambda: panel_of(folder), "observation", "A2|order|2018")


def test_an_observation_of_nobody_is_refused(tmp_path):
    folder = study(tmp_path / "s", observation=observed(("Z9", "2018Q1", "2018Q4")))
    refused(lambda: panel_of(folder), "line 2", "person")


def test_who_moved_away_on_leaving_a_programme_is_unknown_afterwards(tmp_path):
    """Moving is an end of observation; finishing the programme is none."""
    enrolment = (
        "person_id,programme_id,entry,exit,exit_reason\nA2,W,2018Q2,2018Q3,moved\nA3,W,2018Q2,2018Q3,completed\n"
        "A4,W,2018Q2,2018Q3,dropped_out\n"
    )
    panel = panel_of(study(tmp_path / "s", enrolment=enrolment))
    assert path(panel, "A2")[4:] == [None] * 4
    assert path(panel, "A2")[:2] == [50.0, 0.0]
    assert path(panel, "A3") == path(panel, "A4") == [0.0] * 8
