"""Refusals name all that is wrong at once, where it is, and nothing the user did not write; what is allowed is read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from typer.testing import CliRunner

import retrain_eval as rte
from further_cases import refusal_of, refused, study_folder, wages_of
from places import ROOT
from retrain_eval import cli
from retrain_eval.common.resources import resource
from retrain_eval.records.schema.dictionary import load_package
from retrain_eval.records.store import Store

BASE = {
    "person.csv": "person_id,age\nA1,30\nA2,40\n",
    "programme.csv": "programme_id,name\nW,Welding\n",
    "enrolment.csv": "person_id,programme_id,entry\nA1,W,2018Q2\n",
    "wage_record.csv": "person_id,period,employer_id,wages\nA1,2018Q1,E1,100\nA2,2018Q1,E1,100\n",
}


def study(folder: Path, more: str = "", **files: str) -> Path:
    return study_folder(folder, {**BASE, **{f"{name}.csv": text for name, text in files.items()}}, more=more)


BAD = {
    "a wage": (
        "wage_record",
        "person_id,period,employer_id,wages\nA1,2018Q1,E1,100\nA2,2018Q1,E1,hundred\n",
        "hundred",
        3,
    ),
    "an age": ("person", "person_id,age\nA1,30\nA2,40\nA3,3\n", "3", 4),
    "a programme": ("enrolment", "person_id,programme_id,entry\nA1,W,2018Q2\nA2,Z,2018Q2\n", "Z", 3),
}


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("name", BAD)
def test_refused_rows_are_written_to_a_file_that_the_message_names(tmp_path, name, dry_run):
    kind, text, value, line = BAD[name]
    folder = study(tmp_path / "s", **{kind: text})
    before = {path for path in tmp_path.rglob("*.csv")}
    found = CliRunner().invoke(cli.app, ["ingest", str(folder), *(["--dry-run"] if dry_run else [])])
    assert found.exit_code != 0
    said = found.output + str(found.exception or "")
    written = [path for path in tmp_path.rglob("*.csv") if path not in before]
    assert len(written) == 1
    assert written[0].name in said
    rows = pd.read_csv(written[0], dtype=str)
    columns = {c.lower() for c in rows.columns}
    assert {"file", "line", "column", "value"} <= columns
    assert rows.loc[0, "line"] == str(line)
    assert rows.loc[0, "value"] == value
    if dry_run:
        assert "table rejects" not in said


@pytest.mark.parametrize("n", [3, 12, 36])
def test_all_unknown_columns_are_named_at_once(tmp_path, n):
    extra = [f"zz_{i:02d}" for i in range(n)]
    text = ",".join(["person_id", "age", *extra]) + "\n" + ",".join(["A1", "30", *["1"] * n]) + "\n"
    said = refused(lambda: wages_of(study(tmp_path / "s", person=text)), "person.csv")
    assert all(name in said for name in extra)


def test_header_faults_of_all_files_are_named_at_once(tmp_path):
    folder = study(
        tmp_path / "s",
        person="person_id,agee\nA1,30\n",
        programme="programme,name\nW,Welding\n",
        wage_record="person_id,period,employer,wage\nA1,2018Q1,E1,100\n",
    )
    refused(
        lambda: wages_of(folder),
        "person.csv",
        "agee",
        "programme.csv",
        "programme_id",
        "wage_record.csv",
        "employer",
        "wage",
    )


def test_a_header_fault_of_the_first_file_does_not_hide_another(tmp_path):
    folder = study(
        tmp_path / "s", person="person_id,agee\nA1,30\n", enrolment="person_id,programme_id,entri\nA1,W,2018Q2\n"
    )
    refused(lambda: wages_of(folder), "agee", "entri")


@pytest.mark.parametrize("identifiers", ["plain", "hmac"])
def test_a_duplicate_key_is_shown_with_its_period(tmp_path, monkeypatch, identifiers):
    monkeypatch.setenv("RETRAIN_EVAL_KEY", "243f6a8885a308d313198a2e03707344")
    folder = study(tmp_path / "s", wage_record=BASE["wage_record.csv"] + "A2,2018Q3,E7,5\nA2,2018Q3,E7,6\n")
    toml = folder / "study.toml"
    toml.write_text(toml.read_text().replace("[ingest]\n", f'[ingest]\nidentifiers = "{identifiers}"\n'))
    text = refused(lambda: wages_of(folder), "2018Q3|8074", "line 4")
    assert not any(f"'{name}'" in text or f"={name}" in text for name in ("A2", "E7"))  # the line says where to look


def schema(**more: object) -> str:
    fields = [{"name": "person_id", "type": "string"}, {"name": "score", "type": "number"}]
    described = [{"title": "-", "description": "-", **field} for field in fields]
    return json.dumps({"fields": described, "primaryKey": ["person_id"], **more})


STANDARD = {
    "without fieldsMatch": {},
    "with name and title": {"fieldsMatch": "superset", "name": "test_score", "title": "Scores of a test"},
    "with a description": {"fieldsMatch": "superset", "description": "One row per person."},
    "with all of them": {"name": "test_score", "title": "Scores", "description": "One row per person."},
    "with its profile": {"$schema": "https://datapackage.org/profiles/2.0/tableschema.json", "title": "Scores"},
}


@pytest.mark.parametrize("name", STANDARD)
def test_a_schema_that_the_standard_allows_is_read(tmp_path, name):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "test_score.json").write_text(schema(**STANDARD[name]), encoding="utf-8")
    package = load_package(resource("data_schemas"), tmp_path / "own")
    (tmp_path / "test_score.csv").write_text("person_id,score\nA1,0.5\n", encoding="utf-8")
    with Store.open(tmp_path / "s.duckdb", package=package) as store:
        store.ingest("test_score", tmp_path / "test_score.csv")
        assert [float(s) for (s,) in store.con.sql("SELECT score FROM test_score").fetchall()] == [0.5]


@pytest.mark.parametrize("left", [(), ("README.md",), (".gitkeep",)])
def test_an_emptied_folder_of_schemas_stops_nothing(tmp_path, left):
    folder = study(tmp_path / "s")
    (folder / "data_schemas").mkdir()
    for name in left:
        (folder / "data_schemas" / name).write_text("nothing yet\n")
    assert len(wages_of(folder)) == 2


STRATA = {
    "a number with one cut": '[strata.band]\ncolumn = "age"\ncuts = [35]\n',
    "a number with two cuts": '[strata.band]\ncolumn = "age"\ncuts = [20, 35]\nlabels = []\n',
    "a text": '[strata.place]\ncolumn = "region"\n',
    "a text with a title": '[strata.place]\ncolumn = "region"\ntitle = "Where they live"\nlabels = []\n',
}


@pytest.mark.parametrize("name", STRATA)
def test_strata_need_no_labels(tmp_path, name):
    folder = study(tmp_path / "s", "\n" + STRATA[name], person="person_id,age,region\nA1,30,North\nA2,40,South\n")
    opened = rte.Study.open(folder)
    with opened.ingest() as store:
        rte.build_panel(store.con, no_record="zero")
        people = rte.baseline(store.con, opened.file.strata)
        (stratum,) = opened.file.strata
        found = dict(people.project(f'person_id, CAST("{stratum}" AS VARCHAR)').fetchall())
    assert None not in found.values()
    if "text" in name:
        assert found == {"A1": "North", "A2": "South"}
    else:
        assert found["A1"] != found["A2"]
        assert all("35" in level for level in found.values())


SPELLS = pd.DataFrame({"id": [1, 2, 3, 4], "quarters": [1, 2, 2, 3], "cause": [1, 1, 0, 1], "group": list("xxyy")})


@pytest.mark.parametrize("options", [{}, {"duration": "quarters"}, {"cause": "cause"}])
def test_a_default_column_that_is_not_there_is_no_typing_error_of_the_user(options):
    text = refusal_of(lambda: rte.Spells(SPELLS, id="id", **options))
    if text is None:
        assert rte.Spells(SPELLS, id="id", **options).table.groups() == [()]
    else:  # the keyword whose default it is
        assert re.search(r"\bby\b", text)


def test_a_default_of_the_durations_names_the_keyword():
    frame = SPELLS.rename(columns={"quarters": "weeks"})
    text = refusal_of(lambda: rte.Spells(frame, id="id", by="group"))
    assert text is not None
    assert "duration" in text


SCRIPT = """
import retrain_eval as rte
def analyse(run):
    rte.build_panel(run.con, no_record="zero")
    people = rte.baseline(run.con, {})
    for name in ("weights", "weights_within", "weights_of_women"):
        sample = rte.match(people, unit="person_id", **run.study.match_options())
        sample.weights.create_view(name)
"""


def test_no_view_is_left_in_the_store_whose_tables_are_gone(tmp_path):
    people = [f"P{i}" for i in range(12)]
    files = {
        **BASE,
        "person.csv": "person_id,age\n" + "".join(f"{p},{30 + i * 7 % 12}\n" for i, p in enumerate(people)),
        "enrolment.csv": "person_id,programme_id,entry\n" + "".join(f"{p},W,2018Q2\n" for p in people[::3]),
        "wage_record.csv": "person_id,period,employer_id,wages\n" + "".join(f"{p},2018Q1,E1,100\n" for p in people),
    }
    folder = study_folder(tmp_path / "s", files, script=SCRIPT)
    rte.Study.open(folder).run()
    with duckdb.connect(str(folder / "store" / "study.duckdb"), read_only=True) as con:
        views = [name for (name,) in con.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()]
        broken = []
        for name in views:
            try:
                con.execute(f'SELECT * FROM "{name}" LIMIT 1')
            except duckdb.Error:
                broken.append(name)
    assert not broken


@pytest.mark.parametrize("name", ["joblessness", "agency", "training_grants", "nsw"])
def test_the_studies_name_the_folder_they_write_to(name):
    text = (ROOT / "analyses" / name / "run.py").read_text(encoding="utf-8")
    assert "fage_group" not in text
    assert "def prepare(folder: Path)" in text or "def prepare" not in text
