"""Tolerated refusals: whose numbers they leave unknown, who leaves the study, and what a later row mends."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrain_eval.common.errors import InputError
from retrain_eval.panel.panel import build_panel
from retrain_eval.records.store import Store
from retrain_eval.sample.record_flow import people_left_out

FILES = {
    "person": ["person_id,age", "A,30", "B,31", "C,32", "D,33"],
    "programme": ["programme_id,name", "T,Welding"],
    "enrolment": ["person_id,programme_id,entry,start", "A,T,2019,", "B,T,2019,"],
    "wage_record": ["person_id,period,employer_id,wages", *(f"{who},{year},E1,{year}" for who in "ABCD"
                                                            for year in (2018, 2019, 2020))],
    "displacement": ["person_id,displaced_on", "A,2018-01-31", "C,2018-01-31"],
    "linkage": ["person_id,source,status", *(f"{who},ui,linked" for who in "ABCD")],
    "observation": ["person_id,from,to,reason", "A,,2020,moved"],
}  # fmt: skip
ALL = {who: [2018.0, 2019.0, 2020.0] for who in "ABCD"}


def write(folder: Path, **rows: list[str]) -> dict[str, Path]:
    for name, lines in rows.items():
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {name: folder / f"{name}.csv" for name in rows}


def load(folder: Path, **more: list[str]) -> Store:
    """Load the records with further rows: at the end, or in place of those that begin as they do."""
    rows = {name: list(lines) for name, lines in FILES.items()}
    for name, lines in more.items():
        rows[name] += lines
    store = Store.open(folder / "s.duckdb", frequency="year")
    store.ingest_all(write(folder, **rows), tolerate=0.6)
    return store


def earnings(store: Store, no_record: str = "zero") -> dict[str, list[float | None]]:
    rows = build_panel(store.con, no_record=no_record).order("person_id, period").fetchall()
    found: dict[str, list[float | None]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(row[2])
    return found


@pytest.mark.parametrize(
    ("row", "unknown"),
    [
        ("C,2019,E2,x", [1]),  # not the sum of the rows that remain
        ("C,2019,E2,-1", [1]),
        ("C,2019,E1,2020", [1]),  # two rows with one key: neither is right
        (" C ,2019,E2,5", [1]),  # spaces around an id do not make it another person's
        ("C,20199,E2,5", [0, 1, 2]),  # of a record nobody knows when it was
        ("C,,E2,5", [0, 1, 2]),
        ("C,2019,E2", [0, 1, 2]),  # a row that lacks a field: nothing can be said of its period
        ("C,2019,E1,2019", []),  # an exact duplicate is one row
        ("X,2019,E2,5", []),  # of somebody who is not on the register
        (",2019,E2,5", []),
    ],
)
def test_a_period_with_a_refused_wage_record_is_unknown(tmp_path: Path, row: str, unknown: list[int]) -> None:
    with load(tmp_path, wage_record=[row]) as store:
        for no_record in ("zero", "missing"):
            expected = [None if i in unknown else value for i, value in enumerate(ALL["C"])]
            assert earnings(store, no_record) == {**ALL, "C": expected}
        assert bool(store.incomplete()) == (row not in ("C,2019,E1,2019", "X,2019,E2,5"))


def test_people_without_a_row_of_linkage_are_counted(tmp_path: Path) -> None:
    with load(tmp_path) as store:
        assert store.incomplete() == []
    (tmp_path / "l2.csv").write_text("person_id,source,status\nA,ui,linked\nB,ui,unlinked\n")
    with Store.open(tmp_path / "s.duckdb") as store:
        store.ingest("linkage", tmp_path / "l2.csv", mode="replace")
        assert store.incomplete() == ["people without a row of linkage, whose periods are unknown: 2"]
        assert earnings(store)["C"] == [None] * 3
    with Store.open(tmp_path / "s.duckdb", as_of=1) as store:
        assert store.incomplete() == []


@pytest.mark.parametrize(
    ("name", "row", "who"),
    [
        ("enrolment", "D,T,2019,03/15/2018", "D"),  # a trainee is no possible control
        ("enrolment", "A,T,2018,20180315", "A"),  # the first of two entries
        ("enrolment", "D,U,2019,", "D"),  # in a programme that is not there
        ("displacement", "D,31.01.2018", "D"),
        ("linkage", "C,tax,maybe", "C"),
        ("linkage", "C,ui,unlinked", "C"),
        ("person", "D,44", "D"),
        ("person", "E,abc", "E"),
        ("observation", "D,2020,2018,", "D"),
    ],
)
def test_a_refused_row_that_decides_takes_its_person_out_of_the_study(
    tmp_path: Path, name: str, row: str, who: str
) -> None:
    with load(tmp_path, **{name: [row]}) as store:
        assert earnings(store) == {person: values for person, values in ALL.items() if person != who}
        group = "treated" if name == "enrolment" or who in "AB" else "control"
        assert people_left_out(store.con).to_dict("records") == [
            {"group": group, "reason": f"a row of {name} was refused", "n": 1}
        ]
        for table in ("person", "enrolment", "wage_record", "linkage", "displacement"):
            assert (who,) not in store.con.sql(f"SELECT DISTINCT person_id FROM {table}").fetchall()
        assert store.incomplete()[0] == f"people who leave the study: 1 (1 with a refused row of {name})"


def test_records_of_somebody_whose_row_was_refused_are_of_nobody(tmp_path: Path) -> None:
    files = {name: list(lines) for name, lines in FILES.items()}
    files["person"][3] = "C,thirty"
    with Store.open(tmp_path / "s.duckdb", frequency="year") as store:
        store.ingest_all(write(tmp_path, **files), tolerate=0.99)
        assert earnings(store) == {who: ALL[who] for who in "ABD"}
        assert people_left_out(store.con).to_numpy().tolist() == [["control", "a row of person was refused", 1]]


@pytest.mark.parametrize("name", ["enrolment", "displacement", "linkage", "observation"])
@pytest.mark.parametrize("row", [",x,2019,", "?", "123-45-6789,x,y,z"])
def test_a_row_that_decides_and_names_nobody_is_not_tolerated(tmp_path: Path, name: str, row: str) -> None:
    if row.startswith("123"):
        with load(tmp_path, **{name: [",".join(row.split(",")[: FILES[name][0].count(",") + 1])]}) as store:
            assert earnings(store) == ALL  # nobody with such an id is in a store of plain identifiers
        return
    row = ",".join(row.split(",")[: FILES[name][0].count(",") + 1])
    with pytest.raises(InputError, match=f"1 refused rows of {name} name no person") as refused:
        load(tmp_path, **{name: [row]})
    assert "tolerate does not cover them" in str(refused.value)
    with Store.open(tmp_path / "s.duckdb") as store:
        assert store.tables() == {}
        assert set(store.rejects()["resource"]) == {name}


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("price", ["period,cpi", "2018,100", "2019,x"]),
        ("employer_link", ["from_employer_id,to_employer_id,period,share", "E1,E2,2019,1", "E2,E3,2019,2"]),
        ("cost", ["programme_id,funder,component,period,amount", "T,state,tuition,2019,100", "T,state,stipend,2019,x"]),
    ],
)
def test_a_row_that_changes_anybodys_numbers_is_not_tolerated(tmp_path: Path, name: str, rows: list[str]) -> None:
    with Store.open(tmp_path / "s.duckdb", frequency="year") as store:
        files = write(tmp_path, programme=FILES["programme"], **{name: rows})
        with pytest.raises(InputError, match=f"a refused row of {name} changes numbers of people"):
            store.ingest_all(files, tolerate=0.9)
        assert store.tables() == {}


def test_a_later_row_with_the_key_mends_what_was_refused_and_the_past_stays(tmp_path: Path) -> None:
    bad = {"wage_record": ["C,2019,E2,x", "D,2019, E2,x"], "enrolment": ["D,T,2019,soon"]}
    load(tmp_path, **bad).close()
    with Store.open(tmp_path / "s.duckdb", frequency="year") as store:
        first = earnings(store)
        assert first == {**{who: ALL[who] for who in "AB"}, "C": [2018.0, None, 2020.0]}
        (tmp_path / "w2.csv").write_text("person_id,period,employer_id,wages\nC,2019,E2,1\nD,2019,E2,2\n")
        (tmp_path / "e2.csv").write_text("person_id,programme_id,entry\nD,T,2019\n")
        store.ingest("wage_record", tmp_path / "w2.csv", mode="update")
        assert earnings(store) == {**{who: ALL[who] for who in "AB"}, "C": [2018.0, 2020.0, 2020.0]}
        store.ingest("enrolment", tmp_path / "e2.csv", mode="update")
        assert earnings(store) == {**ALL, "C": [2018.0, 2020.0, 2020.0], "D": [2018.0, 2021.0, 2020.0]}
        assert store.incomplete() == []
        (tmp_path / "w3.csv").write_text("person_id,period,employer_id,wages\nC,2019,E2,y\nA,2020,E7,7\nA,2018,E7,7\n")
        store.ingest(
            "wage_record", tmp_path / "w3.csv", mode="update", tolerate=0.5
        )  # and a correction nobody can read
        assert earnings(store)["C"] == [2018.0, None, 2020.0]
    with Store.open(tmp_path / "s.duckdb", as_of=1) as store:
        assert earnings(store) == first


def test_hashed_identifiers_meet_their_refused_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_EVAL_KEY", "5bd1e995c2b2ae3d27d4eb4f165667c5")
    files = write(
        tmp_path,
        person=["person_id", "123-45-6789", "P2"],
        enrolment=["person_id,programme_id,entry,start", "123456789,T,2019,soon"],
        programme=FILES["programme"],
        wage_record=["person_id,period,wages", "123-45-6789,2018,5", "P2,2018,7", " P2,2019,8"],
    )
    with Store.open(tmp_path / "s.duckdb", frequency="year", identifiers="hmac") as store:
        with pytest.raises(InputError):
            store.ingest_all(files, tolerate=0.9)  # all rows of enrolment are refused
        files |= write(tmp_path, enrolment=[*FILES["enrolment"][:1], "123456789,T,2019,soon", "P2,T,2019,"])
        store.ingest_all(files, tolerate=0.9)
        assert [values for values in earnings(store).values()] == [[7.0, None]]
    content = (tmp_path / "s.duckdb").read_bytes()
    assert b"123456789" not in content
    assert b"123-45-6789" not in content


def test_rows_refused_by_an_earlier_version_are_loaded_again(tmp_path: Path) -> None:
    """It did not keep whose they were."""
    load(tmp_path, wage_record=["C,2019,E2,x"]).close()
    with Store.open(tmp_path / "s.duckdb", frequency="year") as store:
        store.con.execute("DROP TABLE archive.refused")
    with Store.open(tmp_path / "s.duckdb", as_of=1, read_only=True) as store:
        assert store.incomplete() == ["1 refused rows of wage_record were loaded by an earlier version, which did "
                                             "not keep whose they were: they count as absent"]  # fmt: skip
    with Store.open(tmp_path / "s.duckdb", frequency="year") as store:
        [report] = store.ingest_all({"wage_record": tmp_path / "wage_record.csv"}, tolerate=0.5)
        assert not report.already_loaded
        assert earnings(store)["C"] == [2018.0, None, 2020.0]
