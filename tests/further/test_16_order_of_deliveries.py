"""A delivery that arrives later is loaded later, whatever its name; at first numbers decide, then the shorter name."""

from __future__ import annotations

from pathlib import Path

import pytest

import retrain_eval as rte
from further_cases import refused, study_folder, wages_of

BASE = {
    "person.csv": "person_id\nA1\nA2\n",
    "programme.csv": "programme_id,name\nW,Welding\n",
    "enrolment.csv": "person_id,programme_id,entry\nA1,W,2019Q1\n",
}


def wages(amount: int, person: str = "A1", period: str = "2018Q1") -> str:
    return f"person_id,period,employer_id,wages\n{person},{period},E1,{amount}\n"


def study(folder: Path, files: dict[str, str], given: object = "data/w*.csv") -> Path:
    records = {kind: f"data/{kind}.csv" for kind in ("person", "programme", "enrolment")}
    return study_folder(folder, {**BASE, **files}, {**records, "wage_record": given})


def deliver(folder: Path, name: str, text: str) -> None:
    (folder / "data" / name).write_text(text, encoding="utf-8")


def in_force(folder: Path) -> list[float]:
    return [float(row[2]) for row in wages_of(folder)]


def loaded(folder: Path) -> list[str]:
    """Return the files of wage records in the order in which they were loaded."""
    with rte.Study.open(folder).ingest() as store:
        frame = store.loads()
    return frame.loc[frame["resource"] == "wage_record", "file"].tolist()


@pytest.mark.parametrize(
    ("original", "correction"),
    [
        ("w2019.csv", "w2019 final.csv"),
        ("w_2019_q3.csv", "w_2019_q3+fix.csv"),
        ("wages.csv", "wages Kopie.csv"),
        ("w_2019.csv", "w_2019-v2.csv"),
    ],
)
def test_in_a_first_load_the_longer_name_corrects_the_shorter(tmp_path, original, correction):
    folder = study(tmp_path / "s", {original: wages(100), correction: wages(999)})
    assert in_force(folder) == [999.0]


@pytest.mark.parametrize(
    "names",
    [
        ["w_2.csv", "w_10.csv", "w_100.csv"],
        ["w2017q4.csv", "w2018q1.csv", "w2018q3.csv"],
        ["w_008.csv", "w_9.csv", "w_011.csv"],
    ],
)
def test_in_a_first_load_numbers_decide(tmp_path, names):
    folder = study(tmp_path / "s", {name: wages(100 + i) for i, name in reversed(list(enumerate(names)))})
    assert loaded(folder) == names
    assert in_force(folder) == [102.0]


@pytest.mark.parametrize("late", ["w_2016_nachtrag.csv", "w_2018q1 (0).csv", "w.csv"])
def test_a_file_that_arrives_later_is_loaded_last_and_alone(tmp_path, late):
    folder = study(tmp_path / "s", {"w_2018q1.csv": wages(100), "w_2018q2.csv": wages(150, period="2018Q2")})
    assert loaded(folder) == ["w_2018q1.csv", "w_2018q2.csv"]
    deliver(folder, late, wages(999))
    assert loaded(folder) == ["w_2018q1.csv", "w_2018q2.csv", late]
    assert in_force(folder) == [999.0, 150.0]


def test_two_late_files_are_ordered_between_themselves(tmp_path):
    folder = study(tmp_path / "s", {"w_9.csv": wages(100)})
    assert in_force(folder) == [100.0]
    deliver(folder, "w_3.csv", wages(300))
    deliver(folder, "w_12.csv", wages(1200))
    assert loaded(folder) == ["w_9.csv", "w_3.csv", "w_12.csv"]
    assert in_force(folder) == [1200.0]


def test_each_later_delivery_adds_one_vintage_and_old_ones_stay(tmp_path):
    folder = study(tmp_path / "s", {"w_5.csv": wages(5)})
    for number in (4, 3, 2):
        in_force(folder)
        deliver(folder, f"w_{number}.csv", wages(number))
    assert in_force(folder) == [2.0]
    with rte.Study.open(folder).ingest() as store:
        assert store.vintage == 4
        assert (store.loads()["resource"] == "wage_record").sum() == 4


@pytest.mark.parametrize(
    "names",
    [
        ("w_a.csv", "w_b.csv"),
        ("w_2018a.csv", "w_2018b.csv"),
        ("w_2018_nord.csv", "w_2018_west.csv"),
    ],
)
def test_an_unclear_order_is_refused_and_a_list_settles_it(tmp_path, names):
    files = {names[0]: wages(100), names[1]: wages(200)}
    refused(lambda: in_force(study(tmp_path / "s", files)), names[0], names[1], "list|order")
    assert in_force(study(tmp_path / "t", files, [f"data/{name}" for name in names])) == [200.0]
    assert in_force(study(tmp_path / "u", files, [f"data/{name}" for name in reversed(names)])) == [100.0]


def test_a_file_under_another_name_is_not_loaded_twice(tmp_path):
    folder = study(tmp_path / "s", {"w_1.csv": wages(100), "w_2.csv": wages(200)})
    assert in_force(folder) == [200.0]
    (folder / "data" / "w_1.csv").rename(folder / "data" / "w_3.csv")
    assert in_force(folder) == [200.0]
    with rte.Study.open(folder).ingest() as store:
        assert (store.loads()["resource"] == "wage_record").sum() == 2


def test_a_late_file_does_not_undo_a_correction_of_another_person(tmp_path):
    folder = study(tmp_path / "s", {"w_2018.csv": wages(100) + "A2,2018Q1,E1,100\n"})
    assert in_force(folder) == [100.0, 100.0]
    deliver(folder, "w_2018 korr.csv", wages(777, "A2"))
    assert in_force(folder) == [100.0, 777.0]
    deliver(folder, "w_2017 nachtrag.csv", wages(50, period="2017Q4"))
    assert in_force(folder) == [50.0, 100.0, 777.0]
