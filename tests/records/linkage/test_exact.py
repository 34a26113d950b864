"""Deterministic linkage: one to one or not at all, and a reason for everybody."""

from __future__ import annotations

from collections import Counter
from typing import Any

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import InputError
from retrain_eval.records.linkage.exact import Linkage, link_exactly

PASSES = {
    "identifier": {"tax_id": "identifier"},
    "name and birth date": {"surname": "name", "given": "name", "born": "date"},
}
FIELDS = ["tax_id", "surname", "given", "born"]
CON = duckdb.connect()  # opening one takes longer than linking


def linked(people: list[tuple[Any, ...]], records: list[tuple[Any, ...]], **options: Any) -> Linkage:
    con = CON
    for table, key, rows in (("trainee", "person_id", people), ("payroll", "record_id", records)):
        frame = pd.DataFrame(rows, columns=[key, *FIELDS]).astype({name: "object" for name in FIELDS})
        con.register("given_rows", frame)
        texts = ", ".join(f"CAST({field} AS VARCHAR) AS {field}" for field in FIELDS)
        con.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT {key}, {texts} FROM given_rows")
    return link_exactly(con, "trainee", "payroll", **{"passes": PASSES, **options})


def pairs(found: Linkage) -> list[tuple[Any, Any]]:
    return found.links.project("person_id, record_id").fetchall()


def reasons(found: Linkage) -> dict[Any, tuple[str, str]]:
    return {person: (status, reason) for person, status, reason, _ in found.unresolved.fetchall()}


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        (("12-345", None, None, None), ("12 345", None, None, None), True),
        (("ab1", None, None, None), ("AB1", None, None, None), True),
        (("0123", None, None, None), ("123", None, None, None), False),
        ((None, "Müller", "José", "1990-02-01"), (None, "MULLER", "jose", "1990-02-01"), True),
        ((None, "O'Brien-Lee", "Ann Mary", "1990-02-01"), (None, "OBRIEN LEE", "AnnMary", " 1990-02-01 "), True),
        ((None, "Lee", "Ann", "1990-02-01"), (None, "Lee", "Ann", "1990-01-02"), False),
        (
            (None, "Lee", "", "1990-02-01"),
            (None, "Lee", "", "1990-02-01"),
            False,
        ),  # a missing value agrees with nothing
        ((None, "Ли", "Анна", "1990-02-01"), (None, "ЛИ", "анна", "1990-02-01"), True),
    ],
)
def test_normal_forms(ours: tuple[Any, ...], theirs: tuple[Any, ...], same: bool) -> None:
    assert pairs(linked([(1, *ours)], [(9, *theirs)])) == ([(1, 9)] if same else [])


def test_passes_come_in_order_and_say_what_disagrees() -> None:
    people = [
        (1, "11", "Lee", "Ann", "1990-02-01"),
        (2, "22", "Ray", "Bo", "1985-05-05"),
        (3, None, "Kim", "Cy", "1970-01-01"),
    ]
    records = [
        (7, "11", "Li", "Ann", "1990-02-01"),
        (8, "99", "Ray", "Bo", "1985-05-05"),
        (9, "33", "Kim", "Cy", "1970-01-01"),
    ]
    found = linked(people, records)
    assert found.links.fetchall() == [
        (1, 7, 1, "identifier", None, "surname"),
        (2, 8, 2, "name and birth date", None, "tax_id"),
        (3, 9, 2, "name and birth date", None, ""),
    ]
    assert found.steps.to_numpy().tolist() == [
        [1, "identifier", 2, 1, 0, 1],
        [2, "name and birth date", 3, 2, 0, 1],
    ]


def test_everybody_else_has_a_reason() -> None:
    twin = ("Lee", "Ann", "1990-02-01")
    people = [
        (1, None, *twin),  # two records agree
        (2, "55", "A", "B", "1980-01-01"), (3, "55", "C", "D", "1980-01-02"),  # one identifier, two people
        (4, None, "Solo", "Han", None),
        (5, "77", "X", "Y", "1981-01-01"),
        (6, "60", "First", "In", "1999-09-09"), (7, "61", "First", "In", "1999-09-09"),
    ]  # fmt: skip
    records = [
        (10, None, *twin), (11, None, *twin), (12, "55", None, None, None),
        (13, "60", "First", "In", "1999-09-09"),
    ]  # fmt: skip
    found = linked(people, records)
    assert pairs(found) == [(6, 13)]
    assert reasons(found) == {
        1: ("ambiguous", "several records agree"),
        2: ("ambiguous", "several people share these identifiers"),
        3: ("ambiguous", "several people share these identifiers"),
        4: ("unlinked", "identifiers are missing"),
        5: ("unlinked", "no record agrees"),
        7: ("ambiguous", "several people share these identifiers"),  # 6 is linked, and may be the same person
    }


def test_a_record_is_taken_once() -> None:
    people = [(1, "11", None, None, None), (2, None, "Ray", "Bo", "1985-05-05")]
    records = [(7, "11", "Ray", "Bo", "1985-05-05")]
    found = linked(people, records)
    assert pairs(found) == [(1, 7)]
    assert reasons(found) == {2: ("ambiguous", "the only record that agrees is linked already")}


def test_values_that_stand_for_nothing_link_nobody() -> None:
    people, records = [(1, "000-00", None, None, None)], [(7, "00000", None, None, None)]
    assert pairs(linked(people, records)) == [(1, 7)]
    found = linked(people, records, missing=["00000"])
    assert reasons(found) == {1: ("unlinked", "identifiers are missing")}


def test_records_of_the_store_are_written_as_the_schema_says() -> None:
    found = linked([(1, "1", *[None] * 3), (2, "2", *[None] * 3)], [(7, "1", *[None] * 3)])
    assert found.records("UI").fetchall() == [("1", "UI", "linked", None), ("2", "UI", "unlinked", None)]
    assert found.records("UI").columns == ["person_id", "source", "status", "score"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"passes": {}}, "no pass to link by"),
        ({"passes": {"x": {}}}, "a pass needs an identifier"),
        ({"passes": {"x": {"tax": "exact"}}}, "tax_id"),
        ({"passes": {"x": {"tax_id": "soundex"}}}, "soundex"),
        ({"passes": {"x": {"tax_id": "exact"}, "y": {"tax_id": "name"}}}, "two normal forms"),
        ({"person": "record_id"}, "record_id"),
    ],
)
def test_refusals_name_what_is_wrong(options: dict[str, Any], message: str) -> None:
    with pytest.raises((InputError, TypeError), match=message):
        linked([(1, "1", *[None] * 3)], [(7, "1", *[None] * 3)], **options)


def test_a_register_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="trainees"):
        link_exactly(duckdb.connect(), "trainees", "payroll", PASSES)


def test_keys_and_dates_are_checked_before_anything_is_linked() -> None:
    nothing = [None] * 3
    with pytest.raises(InputError, match=r"^1 key.* of trainee have several rows"):
        linked([(1, "1", *nothing), (1, "2", *nothing)], [(7, "1", *nothing)])
    with pytest.raises(InputError, match="payroll has a row without a key"):
        linked([(1, "1", *nothing)], [(None, "1", *nothing)])
    with pytest.raises(InputError, match=r"1 date\(s\) of payroll cannot be read"):
        linked([(1, None, "A", "B", "1990-01-31")], [(7, None, "A", "B", "31.01.1990")])
    assert pairs(linked([(1, "1", None, None, "9999")], [(7, "1", None, None, "9999")], missing=["9999"])) == [(1, 7)]


def test_nothing_is_left_behind_but_the_result() -> None:
    con = duckdb.connect()
    con.execute("CREATE TABLE a AS SELECT range AS person_id, range AS x FROM range(5)")
    con.execute("CREATE TABLE b AS SELECT range AS record_id, range AS x FROM range(5)")
    link_exactly(con, "a", "b", {"x": {"x": "exact"}})
    assert con.sql("SELECT count(*) FROM duckdb_tables() WHERE temporary").fetchall() == [(2,)]


one = st.tuples(*[st.sampled_from([None, "1", "2", "3"])] * 2, st.sampled_from([None, "A", "B"]),
                st.sampled_from([None, "1990-01-01", "1990-01-02"]))  # fmt: skip


@given(st.lists(one, min_size=1, max_size=8), st.lists(one, min_size=1, max_size=8), st.randoms())
@settings(max_examples=25, deadline=None)
def test_links_are_one_to_one_agree_and_do_not_depend_on_the_order(
    ours: list[tuple[Any, ...]], theirs: list[tuple[Any, ...]], random: Any
) -> None:
    people = [(i, a, b, c, d) for i, (a, b, c, d) in enumerate(ours)]
    records = [(100 + i, a, b, c, d) for i, (a, b, c, d) in enumerate(theirs)]
    found = linked(people, records)
    rows = found.links.fetchall()
    assert len({row[0] for row in rows}) == len({row[1] for row in rows}) == len(rows)
    person_of, record_of = {row[0]: row[1:] for row in people}, {row[0]: row[1:] for row in records}
    for person, record, _, rule, _, _ in rows:
        at = [FIELDS.index(field) for field in PASSES[rule]]
        key = [person_of[person][i] for i in at]
        assert None not in key
        assert key == [record_of[record][i] for i in at]
        # unique over the whole of both registers
        for register in (person_of, record_of):
            assert Counter(tuple(row[i] for i in at) for row in register.values())[tuple(key)] == 1
    assert {row[0] for row in rows} | set(reasons(found)) == set(person_of)
    assert not {row[0] for row in rows} & set(reasons(found))
    random.shuffle(people)
    random.shuffle(records)
    assert linked(people, records).links.fetchall() == rows
