"""Refused rows leave no zero and no control: the person-period is unknown, or the person leaves and is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

import retrain_eval as rte
from further_cases import panel_of, refusal_of, study_folder, wages_of

Q1 = 2018 * 4  # 2018Q1
BASE = {
    "person.csv": "person_id,age\n" + "".join(f"A{i},{30 + i}\n" for i in range(1, 7)),
    "programme.csv": "programme_id,name\nW,Welding\n",
    "enrolment.csv": "person_id,programme_id,entry\nA1,W,2019Q1\n",
}
HEAD = "person_id,period,employer_id,wages\n"


def study(folder: Path, tolerate: float = 0.5, no_record: str = "zero", **files: str) -> Path:
    given = {**BASE, **{f"{name}.csv": text for name, text in files.items()}}
    return study_folder(folder, given, tolerate=tolerate, no_record=no_record)


def good(*people: str, quarters: int = 3) -> str:
    return "".join(f"{person},2018Q{q},E1,1000\n" for person in people for q in range(1, quarters + 1))


REFUSED = {
    "a negative amount": "A2,2018Q2,E1,-5\n",
    "a text": "A2,2018Q2,E1,about 900\n",
    "too many digits": "A2,2018Q2,E1,123.4567\n",
    "a missing amount": "A2,2018Q2,E1,\n",
    "an employer with two blanks": "A2,2018Q2,E  1,900\n",
    "a field too many": "A2,2018Q2,E1,900,x\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_quarter_with_a_refused_wage_row_is_unknown(tmp_path, name):
    folder = study(tmp_path / "s", wage_record=HEAD + good("A1", "A3", "A4") + "A2,2018Q1,E1,700\n" + REFUSED[name])
    if "field" in name and refusal_of(lambda: panel_of(folder)) is not None:
        return  # a row of which nobody knows whose it is may stop the load
    found = panel_of(folder)
    assert found["A2", Q1 + 1] is None
    # fields of a row with one too many may have shifted: its period isn't known, and all of the person's are unknown
    assert found["A2", Q1] == (None if "field" in name else 700.0)
    assert found["A2", Q1 + 2] == (None if "field" in name else 0.0)
    assert found["A3", Q1 + 1] == 1000.0


def test_a_quarter_of_which_another_row_is_good_is_unknown_as_well(tmp_path):
    folder = study(tmp_path / "s", wage_record=HEAD + good("A1", "A3") + "A2,2018Q2,E2,400\nA2,2018Q2,E1,abc\n")
    assert panel_of(folder)["A2", Q1 + 1] is None


@pytest.mark.parametrize("amounts", [("500", "600"), ("500", "-500"), ("0", "500")])
def test_rows_of_one_key_that_differ_leave_their_quarter_unknown(tmp_path, amounts):
    rows = "".join(f"A2,2018Q2,E1,{amount}\n" for amount in amounts)
    found = panel_of(study(tmp_path / "s", wage_record=HEAD + good("A1", "A3", "A4") + rows))
    assert found["A2", Q1 + 1] is None
    assert found["A1", Q1 + 1] == 1000.0


def test_a_quarter_with_a_refused_row_in_a_later_delivery_is_unknown(tmp_path):
    folder = study_folder(
        tmp_path / "s",
        {**BASE, "w1.csv": HEAD + good("A1", "A2", "A3"), "w2.csv": HEAD + good("A4", "A5") + "A2,2018Q2,E1,x\n"},
        {
            **{k: f"data/{k}.csv" for k in ("person", "programme", "enrolment")},
            "wage_record": ["data/w1.csv", "data/w2.csv"],
        },
        tolerate=0.5,
    )
    assert panel_of(folder)["A2", Q1 + 1] is None


@pytest.mark.parametrize("copies", [2, 3])
@pytest.mark.parametrize("tolerate", [0.0, 0.5])
def test_exact_duplicates_are_one_row_and_are_counted(tmp_path, copies, tolerate):
    folder = study(tmp_path / "s", tolerate, wage_record=HEAD + good("A1") + "A2,2018Q2,E1,800\n" * copies)
    said: list[str] = []
    with rte.Study.open(folder).ingest(said.append) as store:
        rows = store.con.sql("SELECT wages FROM wage_record WHERE person_id = 'A2'").fetchall()
        told = " ".join([*said, store.loads().astype(str).to_csv(), " ".join(store.loads().columns)])
    assert [float(w) for (w,) in rows] == [800.0]
    assert "duplicate" in told.lower()
    assert panel_of(folder)["A2", Q1 + 1] == 800.0


@pytest.mark.parametrize("name", ["person", "programme", "enrolment"])
def test_exact_duplicates_in_any_record_type_are_one_row(tmp_path, name):
    lines = BASE[f"{name}.csv"].splitlines(keepends=True)
    folder = study(tmp_path / "s", 0.0, **{name: "".join([*lines, lines[1]])}, wage_record=HEAD + good("A1"))
    with rte.Study.open(folder).ingest() as store:
        assert store.tables()[name] == len(lines) - 1


def test_duplicates_that_differ_in_a_blank_column_are_no_duplicates(tmp_path):
    head = "person_id,period,employer_id,wages,hours\n"
    rows = "A2,2018Q2,E1,800,\nA2,2018Q2,E1,800,40\n"
    folder = study(tmp_path / "s", 0.0, wage_record=head + "A1,2018Q1,E1,5,\n" + rows)
    assert refusal_of(lambda: wages_of(folder)) is not None


def controls(folder: Path) -> set[str]:
    """Return who could be a control: people of the baseline who are not treated."""
    with rte.Study.open(folder).ingest() as store:
        study = rte.Study.open(folder).file
        rte.build_panel(store.con, no_record=study.panel.no_record)
        rows = rte.baseline(store.con, {}).project("person_id, treat").fetchall()
    return {person for person, treat in rows if treat == 0}


ENROLMENTS = {
    "a date as Americans write it": ("person_id,programme_id,entry,start\nA1,W,2018Q3,\n", "A2,W,2018Q3,07/15/2018\n"),
    "a period that is none": ("person_id,programme_id,entry,start\nA1,W,2018Q3,\n", "A2,W,2018Q5,\n"),
    "a missing period": ("person_id,programme_id,entry,start\nA1,W,2018Q3,\n", "A2,W,,\n"),
    "an unknown programme": ("person_id,programme_id,entry,start\nA1,W,2018Q3,\n", "A2,X,2018Q3,\n"),
    "an unknown reason": ("person_id,programme_id,entry,exit_reason\nA1,W,2018Q3,\n", "A2,W,2018Q3,bored\n"),
}


@pytest.mark.parametrize("name", ENROLMENTS)
def test_whose_enrolment_is_refused_is_no_control(tmp_path, name):
    rows, bad = ENROLMENTS[name]
    folder = study(tmp_path / "s", enrolment=rows + bad, wage_record=HEAD + good("A1", "A2", "A3"))
    found = controls(folder)
    assert "A2" not in found
    assert "A3" in found


def test_whose_displacement_is_refused_is_no_control(tmp_path):
    rows = "person_id,displaced_on,tenure\nA1,2018-02-01,4\nA3,2018-02-01,4\nA2,2018-02-30,4\nA4,2018-02-01,9999\n"
    found = controls(study(tmp_path / "s", displacement=rows, wage_record=HEAD + good("A1", "A2", "A3", "A4", "A5")))
    assert not {"A2", "A4"} & found
    assert {"A3", "A5"} <= found


def test_whose_linkage_is_refused_is_no_control(tmp_path):
    linkage = "person_id,source,status\nA1,UI,linked\nA3,UI,linked\nA2,UI,maybe\n"
    coverage = "source,period,available\n" + "".join(f"UI,2018Q{q},true\n" for q in (1, 2, 3))
    folder = study(
        tmp_path / "s",
        no_record="coverage",
        linkage=linkage,
        coverage=coverage,
        wage_record=HEAD + good("A1", "A2", "A3"),
    )
    found = controls(folder)
    assert "A2" not in found
    assert "A3" in found


def test_who_leaves_is_counted_with_the_reason(tmp_path):
    """Assumed: the flow of the sample has a row about people whose rows were refused, or the run says so."""
    people = "person_id,age\n" + "".join(f"A{i},{30 + i % 7}\n" for i in range(1, 25))
    enrolled = (
        "person_id,programme_id,entry,start\n"
        + "".join(f"A{i},W,2018Q3,\n" for i in (1, 5, 9, 13))
        + "A2,W,2018Q3,15.7.2018\n"
    )
    script = (
        "import retrain_eval as rte\ndef analyse(run):\n"
        "    rte.build_panel(run.con, no_record=run.study.panel.no_record)\n"
        "    people = rte.baseline(run.con, {})\n"
        "    sample = rte.match(people, unit='person_id', **run.study.match_options())\n"
        "    run.publish('flow', sample.flow())\n"
    )
    files = {
        **BASE,
        "person.csv": people,
        "enrolment.csv": enrolled,
        "wage_record.csv": HEAD + good(*(f"A{i}" for i in range(1, 25))),
    }
    folder = study_folder(tmp_path / "s", files, tolerate=0.5, script=script)
    said: list[str] = []
    results = rte.Study.open(folder).run(say=said.append)
    told = " ".join([results.tables["flow"].astype(str).to_csv(), *said])
    assert "refused" in results.tables["flow"].astype(str).to_csv() or "leave" in told
