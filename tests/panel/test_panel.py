"""The panel: no record is not zero, several employers add up, entry is the first enrolment."""

from __future__ import annotations

import duckdb
import pytest

import retrain_eval as rte
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.panel.baseline import baseline
from retrain_eval.panel.coverage import uncovered_records
from retrain_eval.panel.panel import build_panel
from retrain_eval.plan.strata import Stratum


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


# --- coverage, linkage, prices, clocks


@pytest.fixture
def agency() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("CREATE TABLE person AS FROM (VALUES ('a', 'N'), ('b', 'S'), ('Zoë', NULL)) AS t(person_id, region)")
    con.execute("CREATE TABLE enrolment(person_id VARCHAR, programme_id VARCHAR, entry INTEGER, exit INTEGER)")
    con.execute("INSERT INTO enrolment VALUES ('a', 'p', 8079, NULL), ('a', 'q', 8078, 8079)")
    con.execute(
        "CREATE TABLE displacement AS FROM (VALUES ('a', DATE '2019-06-30'), ('a', DATE "
        "'2021-01-01')) AS t(person_id, displaced_on)"
    )
    con.execute(
        "CREATE TABLE wage_record AS SELECT p AS person_id, 8076 + t AS period, 'e' AS "
        "employer_id, 100.0::DECIMAL(12,2) AS wages, 10 AS hours, "
        "'2512' AS isco, '51' AS naics FROM (VALUES ('a'), ('b'), ('Zoë')) AS a(p), range(4) AS b(t)"
    )
    con.execute(
        "CREATE TABLE coverage AS SELECT 'ui' AS source, NULL::VARCHAR AS region, 8076 + t AS "
        "period, true AS available FROM range(4) AS a(t)"
    )
    return con


def values(con: duckdb.DuckDBPyConnection, column: str, person: str) -> list[object]:
    return [
        v for (v,) in con.sql(f"SELECT {column} FROM panel WHERE person_id = '{person}' ORDER BY period").fetchall()
    ]


def test_a_row_about_a_region_comes_before_one_about_all(agency: duckdb.DuckDBPyConnection) -> None:
    agency.execute("INSERT INTO coverage VALUES ('ui', 'S', 8077, false)")
    build_panel(agency)
    assert values(agency, "earnings", "a") == values(agency, "earnings", "Zoë") == [100.0] * 4
    assert values(agency, "earnings", "b") == [100.0, None, 100.0, 100.0]


def test_a_second_source_covers_where_the_first_does_not(agency: duckdb.DuckDBPyConnection) -> None:
    agency.execute("INSERT INTO coverage VALUES ('ui', 'S', 8077, false), ('tax', 'S', 8077, true)")
    build_panel(agency)
    assert values(agency, "earnings", "b") == [100.0] * 4
    agency.execute(
        "CREATE TABLE linkage AS SELECT person_id, 'ui' AS source, 'linked' AS status FROM (VALUES ('a'), ('b')) "
        "AS t(person_id)"
    )
    build_panel(agency)  # not linked to the second
    assert values(agency, "earnings", "b") == [100.0, None, 100.0, 100.0]


@pytest.mark.parametrize("status", ["unlinked", "ambiguous"])
def test_people_who_were_not_found_are_not_covered(agency: duckdb.DuckDBPyConnection, status: str) -> None:
    agency.execute(f"CREATE TABLE linkage AS SELECT 'b' AS person_id, 'ui' AS source, '{status}' AS status")
    with pytest.raises(DesignError, match="no person is linked to a source that coverage says was available"):
        build_panel(agency)
    agency.execute("INSERT INTO linkage VALUES ('a', 'ui', 'linked')")
    build_panel(agency)
    assert values(agency, "earnings", "b") == [None] * 4
    assert values(agency, "earnings", "Zoë") == [None] * 4  # no row says whether this one was found
    assert values(agency, "earnings", "a") == [100.0] * 4
    assert uncovered_records(agency) == 8


@pytest.mark.parametrize("no_record", ["zero", "missing"])
def test_linkage_is_not_ignored_where_there_is_no_coverage(agency: duckdb.DuckDBPyConnection, no_record: str) -> None:
    agency.execute("DROP TABLE coverage")
    agency.execute("CREATE TABLE linkage AS SELECT 'a' AS person_id, 'ui' AS source, 'linked' AS status")
    agency.execute("INSERT INTO linkage VALUES ('b', 'ui', 'unlinked')")
    agency.execute("DELETE FROM wage_record WHERE person_id = 'a' AND period > 8077")
    build_panel(agency, no_record=no_record)
    assert values(agency, "earnings", "a") == [100.0, 100.0, *([0.0, 0.0] if no_record == "zero" else [None, None])]
    assert values(agency, "earnings", "b") == values(agency, "earnings", "Zoë") == [None] * 4
    assert agency.sql("SELECT DISTINCT person_id FROM job").fetchall() == [("a",)]


@pytest.mark.parametrize("key", ["{'source': 'ui', 'region': 'S'}", "{'source': NULL, 'region': NULL}"])
@pytest.mark.parametrize("period", [8077, None])
def test_a_refused_row_of_coverage_covers_nothing(
    agency: duckdb.DuckDBPyConnection, key: str, period: int | None
) -> None:
    if "NULL" not in key:
        agency.execute("INSERT INTO coverage VALUES ('ui', 'S', 8078, true)")
    agency.execute("CREATE TABLE refused_row AS SELECT 'coverage' AS resource, NULL::VARCHAR AS person_id, "
                   f"$1::INTEGER AS period, MAP {key} AS key", [period])  # fmt: skip
    if period is None and "NULL" in key:
        with pytest.raises(DesignError, match="coverage says was available"):
            build_panel(agency)
        return
    build_panel(agency)
    everywhere = [100.0] * 4 if "NULL" not in key else [100.0, 100.0, 100.0]
    assert values(agency, "earnings", "a") == everywhere
    south = [None] * 4 if period is None else [100.0, None, 100.0, 100.0]
    assert values(agency, "earnings", "b") == (south if "NULL" not in key else everywhere)


def test_a_refused_wage_record_is_neither_zero_nor_the_rest(agency: duckdb.DuckDBPyConnection) -> None:
    agency.execute(
        "CREATE TABLE refused_row AS SELECT * FROM (VALUES ('wage_record', 'a', 8077), ('wage_record', 'b', NULL), "
        "('wage_record', NULL, 8078), ('credential', 'a', 8078)) AS t(resource, person_id, period)"
    )
    for no_record in ("zero", "missing", "coverage"):
        if no_record == "coverage":
            agency.execute("ALTER TABLE refused_row ADD COLUMN key MAP(VARCHAR, VARCHAR)")
        else:
            agency.execute("ALTER TABLE coverage RENAME TO kept")
        build_panel(agency, no_record=no_record)
        assert values(agency, "earnings", "a") == [100.0, None, 100.0, 100.0]
        assert values(agency, "earnings", "b") == [None] * 4  # of a record nobody knows when it was
        assert values(agency, "earnings", "Zoë") == [100.0] * 4
        assert values(agency, "n_employers", "a") == [1, None, 1, 1]
        assert agency.sql("SELECT first_period, last_period FROM job WHERE person_id = 'a' ORDER BY 1").fetchall() == [
            (8076, 8076), (8078, 8079)]  # fmt: skip
        if no_record != "coverage":
            agency.execute("ALTER TABLE kept RENAME TO coverage")


@pytest.mark.parametrize("reason", ["deceased", "moved", "institutionalised"])
def test_a_reason_of_exit_ends_observation_unless_something_says_otherwise(
    agency: duckdb.DuckDBPyConnection, reason: str
) -> None:
    agency.execute("ALTER TABLE enrolment ADD COLUMN exit_reason VARCHAR")
    agency.execute("DELETE FROM enrolment; DELETE FROM wage_record WHERE period > 8077")
    agency.execute(f"INSERT INTO enrolment VALUES ('a', 'p', 8076, 8077, '{reason}'), ('b', 'p', 8076, 8077, 'other')")
    build_panel(agency)
    assert values(agency, "earnings", "a") == [100.0, 100.0, None, None]
    assert values(agency, "earnings", "b") == values(agency, "earnings", "Zoë") == [100.0, 100.0, 0.0, 0.0]
    agency.execute("INSERT INTO enrolment VALUES ('a', 'q', 8079, NULL, NULL)")  # so the person came back
    build_panel(agency)
    assert values(agency, "earnings", "a") == [100.0, 100.0, 0.0, 0.0]
    agency.execute("DELETE FROM enrolment WHERE entry = 8079")
    agency.execute('CREATE TABLE observation AS SELECT \'a\' AS person_id, NULL::INTEGER AS "from", 8078 AS "to"')
    build_panel(agency)
    assert values(agency, "earnings", "a") == [100.0, 100.0, 0.0, None]
    agency.execute("UPDATE enrolment SET exit = NULL; DROP TABLE observation")
    build_panel(agency)  # when the person left is not known: some time after entry
    assert values(agency, "earnings", "a") == [100.0, None, None, None]


def test_earnings_are_in_prices_of_one_period_by_region(agency: duckdb.DuckDBPyConnection) -> None:
    agency.execute(
        "CREATE TABLE price AS SELECT NULL::VARCHAR AS region, 8076 + t AS period, 100.0 + 10 * t "
        "AS cpi FROM range(4) AS a(t)"
    )
    agency.execute("INSERT INTO price SELECT 'S', 8076 + t, 100.0 FROM range(4) AS a(t)")
    build_panel(agency)
    assert values(agency, "earnings", "a") == pytest.approx([130.0, 130 / 1.1, 130 / 1.2, 100.0])
    assert values(agency, "earnings", "b") == [100.0] * 4
    build_panel(agency, base_period=8076)
    assert values(agency, "earnings", "a") == pytest.approx([100.0, 100 / 1.1, 100 / 1.2, 100 / 1.3])
    agency.execute("DELETE FROM price WHERE period = 8077 AND region IS NULL")
    with pytest.raises(InputError, match=r"no price for region 'N' in period 2019Q2"):
        build_panel(agency)
    with pytest.raises(InputError, match="no price"):
        build_panel(agency, base_period=9000)
    agency.execute("DROP TABLE price")
    with pytest.raises(InputError, match="no records of price for base_period"):
        build_panel(agency, base_period=8076)


def test_clocks_run_from_the_first_displacement_and_the_first_entry(agency: duckdb.DuckDBPyConnection) -> None:
    build_panel(agency)
    assert values(agency, "to_displacement", "a") == [-1, 0, 1, 2]
    assert values(agency, "to_entry", "a") == [-2, -1, 0, 1]
    assert values(agency, "to_exit", "a") == [-3, -2, -1, 0]
    assert values(agency, "cohort", "a") == [8078] * 4
    assert values(agency, "to_entry", "b") == [None] * 4


def test_a_window_keeps_its_periods(agency: duckdb.DuckDBPyConnection) -> None:
    build_panel(agency, window=(8077, 8078))
    assert values(agency, "period", "a") == [8077, 8078]
    assert values(agency, "full_quarter", "a") == [1.0, 1.0]  # the neighbours are covered though not shown
    with pytest.raises(DesignError, match="no period of the records lies in the window"):
        build_panel(agency, window=(1, 2))


def test_coverage_is_not_ignored_and_not_invented(agency: duckdb.DuckDBPyConnection) -> None:
    for word in ("zero", "missing"):
        with pytest.raises(InputError, match="would ignore them"):
            build_panel(agency, no_record=word)
    agency.execute("DROP TABLE coverage")
    with pytest.raises(InputError, match="no records of coverage are loaded"):
        build_panel(agency, no_record="coverage")


def test_the_main_employer_pays_most_and_ties_go_by_key(agency: duckdb.DuckDBPyConnection) -> None:
    agency.execute(
        "INSERT INTO wage_record VALUES ('a', 8076, 'd', 100, NULL, '9112', '11'), ('a', 8077, "
        "'f', 100, 4, '9112', '11'), "
        "('a', 8078, 'f', 100.01, 4, '9112', '11'), ('a', 8079, 'f', 0, 4, '9112', '11')"
    )
    build_panel(agency)
    assert values(agency, "main_employer", "a") == ["d", "e", "f", "e"]
    assert values(agency, "isco", "a") == ["9112", "2512", "9112", "2512"]
    assert values(agency, "n_employers", "a") == [2, 2, 2, 1]
    assert values(agency, "hours", "a") == [None, 14.0, 14.0, 14.0]  # unknown if one is


def test_records_that_name_no_employer_leave_jobs_unknown(agency: duckdb.DuckDBPyConnection) -> None:
    agency.execute("INSERT INTO wage_record VALUES ('a', 8076, NULL, 7, NULL, NULL, NULL)")
    build_panel(agency)
    assert values(agency, "earnings", "a")[0] == 107.0
    for column in ("n_employers", "main_employer", "full_quarter", "tenure"):
        assert values(agency, column, "b") == [None] * 4


def test_people_are_numbered_over_chunks(agency: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = build_panel(agency).order("person_id, period").fetchall()
    monkeypatch.setattr("retrain_eval.panel.panel._CHUNK", 1)
    assert build_panel(agency).order("person_id, period").fetchall() == whole
    agency.execute("DELETE FROM person")
    with pytest.raises(DesignError, match="there are no periods"):
        build_panel(agency)


def test_periods_are_read_alike_in_every_function() -> None:
    agency = rte.simulate(people=300)
    for written, stored in (("2025Q4", 8103), ("2024-Q1", 8096)):
        one = rte.build_panel(agency.con, base_period=written, window=("2017Q1", "2019-Q4"))
        told = one.aggregate("sum(earnings), min(period), max(period)").fetchall()
        other = rte.build_panel(agency.con, base_period=stored, window=(8068, 8079))
        assert told == other.aggregate("sum(earnings), min(period), max(period)").fetchall()
    with pytest.raises(InputError, match=r"(?s)not a period.*value:\s+last"):
        rte.build_panel(agency.con, base_period="last")
    long = agency.con.sql(
        "SELECT person_id AS id, period AS t, 8070 + 4 * (hash(person_id) % 2)::INTEGER AS g, period * 1.0 AS y FROM "
        "(SELECT DISTINCT person_id FROM person), (SELECT unnest([8068, 8069, 8070]) AS period)"
    )
    moments = rte.outcome_moments(long, unit="id", time="t", cohort="g", outcome="y")
    assert moments.subset(cohort="2017Q3").cells["n"].tolist() == moments.subset(cohort=8070).cells["n"].tolist()
