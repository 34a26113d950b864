"""Deliveries: one that arrives later is loaded later, whatever it is called, and no file is loaded twice."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from retrain_eval.common.errors import InputError
from retrain_eval.records.loading.deliveries import Unordered, deliveries
from retrain_eval.records.store import Store

HEADER = "person_id,period,wages"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "person.csv").write_text("person_id\nA\nB\nC\n")
    return tmp_path


def deliver(folder: Path, name: str, **wages: int) -> None:
    """Write a file with the wages of people in 2018, ``A=100``, or in another year, ``A2017=100``."""
    rows = [f"{who[0]},{who[1:] or 2018},{pay}" for who, pay in wages.items()]
    (folder / name).write_text("\n".join([HEADER, *rows]) + "\n")


def load(folder: Path, pattern: str | list[str] = "w*.csv") -> list[str]:
    with Store.open(folder / "s.duckdb", frequency="year") as store:
        files = {"person": [folder / "person.csv"], "wage_record": deliveries(folder, "wage_record", pattern)}
        return [str(report) for report in store.ingest_all(files) if report.resource == "wage_record"]


def shown(folder: Path, as_of: int | None = None) -> dict[str, int]:
    with Store.open(folder / "s.duckdb", as_of=as_of) as store:
        rows = store.con.sql("SELECT person_id, period, wages FROM wage_record ORDER BY ALL").fetchall()
    return {f"{who}{'' if year == 2018 else year}": int(pay) for who, year, pay in rows}


@pytest.mark.parametrize("name", ["w_2018-corrected.csv", "w_2018 (2).csv", "w_2018_v2.csv", "w_2018.corrected.csv"])
def test_a_correction_supersedes_what_it_corrects(folder: Path, name: str) -> None:
    deliver(folder, name, A=999)
    deliver(folder, "w_2018.csv", A=100, B=100)
    load(folder)
    assert shown(folder) == {"A": 999, "B": 100}


def test_a_late_delivery_comes_on_top_and_nothing_older_is_loaded_again(folder: Path) -> None:
    deliver(folder, "w_2018q1.csv", A=1, B=2)
    deliver(folder, "w_2018q2.csv", C=3)
    load(folder)
    deliver(folder, "w_2017q4_late.csv", A=7, A2017=5)
    said = load(folder)
    assert [line.split(" rows")[0].rsplit(" ", 1)[-1] for line in said[:2]] == ["already" in said[0] and "(2", "(1"]
    assert "w_2017q4_late.csv, 1 earlier rows superseded" in said[2]
    assert shown(folder) == {"A2017": 5, "A": 7, "B": 2, "C": 3}
    assert shown(folder, as_of=1) == {"A": 1, "B": 2, "C": 3}
    assert all("already loaded" in line for line in load(folder))


def test_arrival_decides_however_the_names_sort(folder: Path) -> None:
    for number, name in enumerate(("w_30.csv", "w_2.csv", "w_0.csv", "w_100.csv", "w_1.csv")):
        deliver(folder, name, A=number, B2017=number)
        load(folder)
        assert shown(folder) == {"A": number, "B2017": number}


def test_a_file_replaced_under_its_name_is_a_new_delivery(folder: Path) -> None:
    """Its old rows are gone, also those that the new file no longer has; corrections of other files before it too."""
    deliver(folder, "w_1.csv", A=1, B=1)
    load(folder)
    deliver(folder, "w_2.csv", A=2, C=2)
    load(folder)
    deliver(folder, "w_1.csv", A=3)
    load(folder)
    assert shown(folder) == {"A": 3, "C": 2}
    deliver(folder, "w_1.csv", A=1, B=1)  # and back again
    load(folder)
    assert shown(folder) == {"A": 1, "B": 1, "C": 2}
    assert [shown(folder, as_of=n) for n in (1, 2, 3)] == [{"A": 1, "B": 1}, {"A": 2, "B": 1, "C": 2}, {"A": 3, "C": 2}]


def test_a_file_that_is_taken_away_takes_its_rows_along_and_the_others_keep_their_order(folder: Path) -> None:
    for name, pay in (("w_9.csv", 1), ("w_5.csv", 2), ("w_1.csv", 3)):
        deliver(folder, name, A=pay, **{"B" if pay == 3 else "C": pay})
        load(folder)
    (folder / "w_1.csv").unlink()
    load(folder)
    assert shown(folder) == {"A": 2, "C": 2}


def test_a_copy_or_a_new_name_is_not_loaded_again(folder: Path) -> None:
    deliver(folder, "w_2018.csv", A=1)
    deliver(folder, "w_2018 (1).csv", A=1)
    said = load(folder)
    assert said[1] == "wage_record: w_2018 (1).csv is the same file as w_2018.csv, which is loaded once"
    deliver(folder, "w_2018-corrected.csv", A=2)
    load(folder)
    (folder / "w_2018.csv").rename(folder / "w_9999.csv")  # would be the latest, by its name
    assert not [line for line in load(folder) if "rows loaded" in line]
    assert shown(folder) == {"A": 2}
    with pytest.raises(InputError, match="are the same file, byte for byte"):  # in a list it may be meant to undo
        load(folder, ["w_9999.csv", "w_2018-corrected.csv", "w_2018 (1).csv"])


def test_an_order_that_matters_and_is_not_clear_is_asked_for(folder: Path) -> None:
    deliver(folder, "w_2018.csv", A=1, B=1)
    deliver(folder, "w_2018-north.csv", A=2)
    deliver(folder, "w_2018-south.csv", B=2)
    load(folder)  # neither has a row of the other: any order is right
    assert shown(folder) == {"A": 2, "B": 2}
    deliver(folder, "w_2019-north.csv", C=1, A=5)
    deliver(folder, "w_2019-south.csv", C=2)
    with pytest.raises(InputError, match=r"which of w_2019-north.* and w_2019-south.* is the later") as refused:
        load(folder)
    assert (refused.value.value, "list all files" in str(refused.value)) == (
        "person_id=(withheld), period=2018, employer_id=(missing), unit_id=(missing)",
        True,
    )
    assert shown(folder) == {"A": 2, "B": 2}
    first = ["w_2018.csv", "w_2018-north.csv", "w_2018-south.csv"]
    load(folder, [*first, "w_2019-south.csv", "w_2019-north.csv"])
    assert shown(folder) == {"A": 5, "B": 2, "C": 1}


def test_the_same_row_in_both_is_no_matter_of_order(folder: Path) -> None:
    deliver(folder, "w_2019-north.csv", C=1, A=5)
    deliver(folder, "w_2019-south.csv", C=1)
    load(folder)
    assert shown(folder) == {"A": 5, "C": 1}


def test_a_list_is_an_order_and_a_pattern_is_none(folder: Path) -> None:
    for name in ("w_1.csv", "w_2.csv"):
        deliver(folder, name, A=int(name[2]))
    load(folder, ["w_2.csv", "w_1.csv"])
    assert shown(folder) == {"A": 1}
    assert not isinstance(deliveries(folder, "wage_record", ["w_2.csv", "w_1.csv"]), Unordered)
    mixed = deliveries(folder, "wage_record", ["w_2.csv", "w_*.csv"])
    assert isinstance(mixed, Unordered)
    assert [path.name for path in mixed] == ["w_2.csv", "w_1.csv"]
    load(folder, "w_*.csv")  # what is loaded stays in the order in which it was
    assert shown(folder) == {"A": 1}


def test_the_folder_does_not_count(tmp_path: Path) -> None:
    """A number in the path to the study says nothing about its files."""
    folder = tmp_path / "study 2031"
    folder.mkdir()
    (folder / "person.csv").write_text("person_id\nA\nB\nC\n")
    deliver(folder, "w_Q1_2018.csv", A=2)
    deliver(folder, "w_Q4_2017.csv", A=1)
    load(folder)
    assert shown(folder) == {"A": 2}


@pytest.mark.parametrize("names", list(itertools.permutations(["2018/w.csv", "2019/w.csv", "2019/w-2.csv"]))[:3])
def test_files_of_one_name_in_several_folders_are_several_files(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        deliver(folder, name, A={"2018/w.csv": 1, "2019/w.csv": 2, "2019/w-2.csv": 3}[name])
    load(folder, "*/w*.csv")
    assert shown(folder) == {"A": 3}


def test_relative_and_absolute_paths_may_be_mixed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(folder, "w_2018.csv", A=100)
    deliver(folder, "w_2018-corrected.csv", A=120)
    monkeypatch.chdir(folder)
    files = Unordered([folder / "w_2018-corrected.csv", Path("w_2018.csv")])
    with Store.open(folder / "s.duckdb", frequency="year") as store:
        store.ingest_all({"person": [folder / "person.csv"], "wage_record": files})
    assert shown(folder) == {"A": 120}
