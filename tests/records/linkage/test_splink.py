"""Pairs scored by Splink (extra ``link``): made-up registers whose truth is known."""

from __future__ import annotations

import sys

import duckdb
import numpy as np
import pandas as pd
import pytest

from retrain_eval.common.errors import DesignError, InputError, StoreError
from retrain_eval.records.linkage.probabilistic import choose_links, score_pairs
from retrain_eval.records.linkage.quality import match_quality

FORMS = {"given": "name", "surname": "name", "born": "date", "region": "exact"}
BLOCKS = [["surname", "region"], ["born"], ["given", "region"]]
CERTAIN = [["given", "surname", "born"]]


def registers() -> tuple[duckdb.DuckDBPyConnection, set[str]]:
    """1,200 people and 2,400 records of a population of 3,000; records have typing errors, and some people moved."""
    rng = np.random.default_rng(3)
    n = 3000
    given = ["Anna", "María", "John", "Peter", "Lucy", "Omar", "Fatima", "Liam", "Noah", "Emma", "Ava", "Leo", "Nina"]
    surnames = ["".join(rng.choice(list("abcdegiklmnorstu"), rng.integers(4, 9))) for _ in range(600)]
    born = pd.Timestamp("1960-01-01") + pd.to_timedelta(rng.integers(0, 14000, n), unit="D")
    all_people = pd.DataFrame({
        "given": rng.choice(given, n), "surname": rng.choice(surnames, n), "born": born.strftime("%Y-%m-%d"),
        "region": rng.choice(list("NSEW"), n),
    })  # fmt: skip

    def misspelt(name: str) -> str:
        at = rng.integers(len(name))
        return name[:at] + str(rng.choice(list("xyzq"))) + name[at + 1 :]

    people, records = all_people.sample(1200, random_state=1).copy(), all_people.sample(2400, random_state=2).copy()
    for column, share in (("surname", 0.2), ("given", 0.1)):
        wrong = rng.random(len(records)) < share
        records.loc[wrong, column] = [misspelt(name) for name in records.loc[wrong, column]]
    moved = rng.random(len(records)) < 0.05
    records.loc[moved, "region"] = rng.choice(list("NSEW"), moved.sum())
    con = duckdb.connect()
    con.register("people_frame", people.assign(person_id=[f"P{i:05}" for i in people.index]))
    con.register("record_frame", records.assign(record_id=[f"R{i:05}" for i in records.index]))
    con.execute("CREATE TABLE people AS FROM people_frame")
    con.execute("CREATE TABLE records AS FROM record_frame")
    return con, {f"{i:05}" for i in set(people.index) & set(records.index)}


def test_links_are_right_and_the_estimated_quality_is_theirs() -> None:
    con, both = registers()
    before = con.sql("SHOW TABLES").fetchall()
    pairs = score_pairs(con, "people", "records", FORMS, BLOCKS, certain=CERTAIN, recall=0.6)
    assert pairs.columns == ["person_id", "record_id", "match_weight", "match_probability"]
    found = choose_links(con, "people", pairs, 0.9)
    links = found.links.project("person_id, record_id").fetchall()
    right = sum(person[1:] == record[1:] for person, record in links)
    precision, recall = right / len(links), right / len(both)
    assert precision > 0.99
    assert recall > 0.97
    told = match_quality(pairs, [0.9]).iloc[0]
    assert told["precision"] == pytest.approx(precision, abs=0.02)
    assert told["recall"] == pytest.approx(recall, abs=0.02)  # blocks miss next to nobody here
    left = {name for (name,) in con.sql("SHOW TABLES").fetchall()} - {name for (name,) in before}
    assert all(name.startswith("retrain_link_") for name in left)


def test_a_block_without_pairs_is_refused_with_the_reason() -> None:
    con, _ = registers()
    con.execute("UPDATE records SET region = lower(region)")
    with pytest.raises(DesignError, match="cannot be trained"):
        score_pairs(con, "people", "records", FORMS, [["surname", "region"], ["born"]], certain=CERTAIN, recall=0.6)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE records SET region = p.region, given = p.given, surname = p.surname, born = p.born FROM people AS p "
        "WHERE substr(record_id, 2) = substr(person_id, 2)",
        "DELETE FROM records WHERE substr(record_id, 2) IN (SELECT substr(person_id, 2) FROM people)",
        "UPDATE records SET born = NULL",
    ],
    ids=["fields never differ", "nobody in both", "a field without values"],
)
def test_registers_that_teach_nothing_are_refused_with_the_reason(change: str) -> None:
    con, _ = registers()
    con.execute(change)
    with pytest.raises(DesignError, match="cannot be trained"):
        score_pairs(con, "people", "records", FORMS, BLOCKS, certain=CERTAIN, recall=0.6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": [["surname"], ["surname", "born"]]}, "'surname' is in every block"),
        ({"blocks": [["town"], ["born"]]}, "'town' is not compared"),
        ({"blocks": []}, "no rule"),
        ({"recall": 0.0}, "recall is a share"),
    ],
)
def test_plans_that_cannot_be_trained_are_refused(options: dict[str, object], message: str) -> None:
    plan = {"blocks": BLOCKS, "certain": CERTAIN, "recall": 0.6} | options
    with pytest.raises(InputError, match=message):
        score_pairs(duckdb.connect(), "people", "records", FORMS, **plan)


def test_without_splink_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "splink", None)  # Python's way to say that there is no such module
    con, _ = registers()
    with pytest.raises(StoreError, match=r"retrain-eval\[link\]"):
        score_pairs(con, "people", "records", FORMS, BLOCKS, certain=CERTAIN, recall=0.6)
