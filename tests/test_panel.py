"""The panel: no record is not zero, several employers add up, entry is the first enrolment."""

from __future__ import annotations

import duckdb
import pytest

from retrain_eval.baseline import baseline
from retrain_eval.errors import DesignError, InputError
from retrain_eval.panel import build_panel
from retrain_eval.study import Stratum


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("CREATE TABLE person AS FROM (VALUES ('a', 30), ('b', 60), ('Å', 20)) AS t(person_id, age)")
    con.execute("CREATE TABLE enrolment AS FROM (VALUES ('a', 2022), ('a', 2021)) AS t(person_id, entry)")
    con.execute(
        """
        CREATE TABLE wage_record AS FROM (VALUES
          ('a', 2020, 'e1', 10.10), ('a', 2020, 'e2', 0.20), ('a', 2021, 'e1', 0.0),
          ('b', 2020, NULL, 5.0), ('b', 2021, NULL, 6.0), ('Å', 2021, NULL, 1.0)
        ) AS t(person_id, period, employer_id, wages)
        """
    )
    return con


def test_rules(con: duckdb.DuckDBPyConnection) -> None:
    panel = build_panel(con).order("person_id, period").project("person_id, period, earnings, employed, cohort")
    assert panel.fetchall() == [
        ("a", 2020, 10.3, 1.0, 2021),
        ("a", 2021, 0.0, 0.0, 2021),
        ("b", 2020, 5.0, 1.0, None),
        ("b", 2021, 6.0, 1.0, None),
        ("Å", 2020, None, None, None),
        ("Å", 2021, 1.0, 1.0, None),
    ]


def test_building_twice_gives_the_same_table(con: duckdb.DuckDBPyConnection) -> None:
    first = build_panel(con).order("ALL").fetchall()
    assert build_panel(con).order("ALL").fetchall() == first


def test_baseline_has_one_row_per_person(con: duckdb.DuckDBPyConnection) -> None:
    build_panel(con)
    band = Stratum(column="age", cuts=(25, 55), labels=("<25", "25–54", "55+"))
    frame = baseline(con, {"age_band": band}, periods=[2020]).order("person_id").df()
    assert list(frame.columns) == ["person_id", "age", "earnings_2020", "treat", "age_band"]
    assert frame["treat"].tolist() == [1, 0, 0]
    assert frame["age_band"].tolist() == ["25–54", "55+", "<25"]
    assert frame["earnings_2020"].tolist()[:2] == [10.3, 5.0]


def test_a_person_without_a_level_is_named(con: duckdb.DuckDBPyConnection) -> None:
    build_panel(con)
    with pytest.raises(DesignError, match=r"1 person\(s\) have no level of 'age'; the first has age = 20"):
        baseline(con, {"age": Stratum(column="age", labels={"30": "x", "60": "y"})})


def test_a_stratum_of_an_unknown_column_is_named(con: duckdb.DuckDBPyConnection) -> None:
    build_panel(con)
    with pytest.raises(InputError, match="unknown column of person 'agee'"):
        baseline(con, {"age_band": Stratum(column="agee", cuts=(25,), labels=("y", "o"))})


def test_a_stratum_takes_the_place_of_the_column_it_is_named_after(con: duckdb.DuckDBPyConnection) -> None:
    build_panel(con)
    frame = baseline(con, {"age": Stratum(column="age", cuts=(25,), labels=("young", "old"))}).order("person_id").df()
    assert list(frame.columns) == ["person_id", "treat", "age"]
    assert frame["age"].tolist() == ["old", "old", "young"]


@pytest.mark.parametrize("name", ["period", "earnings", "cohort", "treat", "weight", "Subclass", "earnings_2020"])
def test_a_stratum_cannot_take_the_name_of_a_column_made_here(con: duckdb.DuckDBPyConnection, name: str) -> None:
    build_panel(con)
    with pytest.raises(InputError, match="is taken"):
        baseline(con, {name: Stratum(column="age", cuts=(40,), labels=("young", "old"))}, periods=(2020,))


def test_text_cannot_be_cut(con: duckdb.DuckDBPyConnection) -> None:
    build_panel(con)
    with pytest.raises(InputError, match="cuts need numbers"):
        baseline(con, {"band": Stratum(column="person_id", cuts=(40,), labels=("young", "old"))})


def test_a_period_that_the_records_lack_is_named(con: duckdb.DuckDBPyConnection) -> None:
    build_panel(con)
    with pytest.raises(InputError, match="unknown period before entry '2018'"):
        baseline(con, {}, periods=[2018, 2020])


def test_a_period_after_entry_is_no_baseline(con: duckdb.DuckDBPyConnection) -> None:
    build_panel(con)
    with pytest.raises(DesignError, match="period 2021 is not before entry for 1 trained"):
        baseline(con, {}, periods=[2020, 2021])


@pytest.mark.parametrize("name", ["person", "enrolment", "wage_record"])
def test_records_that_are_not_there_are_named(con: duckdb.DuckDBPyConnection, name: str) -> None:
    con.execute(f"DROP TABLE {name}")
    with pytest.raises(InputError, match=f"no records of {name} are loaded"):
        build_panel(con)


def test_no_record_is_zero_only_where_the_study_says_so(con: duckdb.DuckDBPyConnection) -> None:
    panel = build_panel(con, no_record="zero").filter("person_id = 'Å'").order("period")
    rows = panel.project("person_id, period, earnings, employed, cohort").fetchall()
    assert rows == [("Å", 2020, 0.0, 0.0, None), ("Å", 2021, 1.0, 1.0, None)]
    with pytest.raises(InputError, match="unknown no_record 'none'"):
        build_panel(con, no_record="none")
