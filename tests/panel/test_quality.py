"""Employment quality: each dimension by hand, and the algebra of Alkire and Foster."""

from __future__ import annotations

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.panel.panel import build_panel
from retrain_eval.panel.quality import DIMENSIONS, alkire_foster, build_quality
from retrain_eval.simulation.agency import simulate

START = 8076


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    """Return one person with eight quarters as a programmer, two without work, four as a cleaner; and others."""
    con = duckdb.connect()
    con.execute("CREATE TABLE person AS FROM (VALUES ('a', 'N'), ('b', 'N'), ('c', 'S')) AS t(person_id, region)")
    con.execute("CREATE TABLE enrolment(person_id VARCHAR, programme_id VARCHAR, entry INTEGER, exit INTEGER)")
    con.execute("CREATE TABLE displacement AS SELECT 'a' AS person_id, DATE '2020-12-15' AS displaced_on, NULL AS isco")
    con.execute(
        f"CREATE TABLE coverage AS SELECT 'ui' AS source, NULL::VARCHAR AS region, {START} + t AS period, "
        "true AS available FROM range(14) AS t(t)"
    )
    con.execute(
        f"""
        CREATE TABLE wage_record AS
        SELECT 'a' AS person_id, {START} + t AS period, 'X' AS employer_id, 1000.0 AS wages, '2512' AS isco
        FROM range(8) AS t(t)
        UNION ALL SELECT 'a', {START} + t, 'Y', 400.0 + 200 * (t - 10), '9112' FROM range(10, 14) AS t(t)
        UNION ALL SELECT 'b', {START} + t, 'Z', 300.0, '9112' FROM range(14) AS t(t)
        """
    )
    con.execute(
        f"CREATE TABLE price AS SELECT NULL::VARCHAR AS region, {START} + t AS period, 100.0 AS cpi, "
        f"500.0 AS living_wage FROM range(14) AS t(t) UNION ALL SELECT 'S', {START}, 100.0, 9000.0"
    )
    build_panel(con)
    return con


def column(con: duckdb.DuckDBPyConnection, name: str, person: str = "a") -> list[float | None]:
    rows = con.sql(f"SELECT {name} FROM quality WHERE person_id = '{person}' ORDER BY period").fetchall()
    return [row[0] for row in rows]


def test_each_dimension_by_hand(con: duckdb.DuckDBPyConnection) -> None:
    build_quality(con, min_tenure=4, max_cv=0.3, cutoff_k=0.5)
    assert column(con, "d_earnings") == [0.0] * 8 + [1.0] * 2 + [
        1.0,
        0.0,
        0.0,
        0.0,
    ]  # 400, then 600 and more, against 500
    # before the fourth quarter nobody knows how long the first job had lasted
    assert column(con, "d_tenure") == [None] * 3 + [0.0] * 5 + [1.0] * 2 + [1.0, 1.0, 1.0, 0.0]
    # zeros until the fourth quarter back in work; 400, 600, 800, 1000 have a coefficient of variation of .32
    assert column(con, "d_stability") == [None] * 3 + [0.0] * 5 + [1.0] * 2 + [1.0] * 4
    assert column(con, "d_occupation") == [0.0] * 8 + [1.0] * 2 + [1.0] * 4
    assert column(con, "deprivations") == [None] * 3 + [0] * 5 + [4] * 2 + [4, 3, 3, 2]
    assert column(con, "deprived") == [None] * 3 + [0.0] * 5 + [1.0] * 6
    assert column(con, "m0") == [None] * 3 + [0.0] * 5 + [1.0] * 2 + [1.0, 0.75, 0.75, 0.5]
    build_quality(con, max_cv=0.33)
    assert column(con, "d_stability")[-1] == 0.0
    build_quality(con, cutoff_k=0.75)
    assert column(con, "deprived")[-1] == 0.0
    assert column(con, "m0")[-1] == 0.0


def test_people_without_a_job_are_deprived_or_left_out(con: duckdb.DuckDBPyConnection) -> None:
    build_quality(con, non_employed="excluded")
    assert column(con, "m0")[8:10] == [None, None]
    build_quality(con, dimensions=("earnings", "tenure", "stability"))
    assert column(con, "m0", "c") == [None] * 3 + [1.0] * 11  # never in work


def test_somebody_without_an_occupation_before_has_no_score(con: duckdb.DuckDBPyConnection) -> None:
    build_quality(con)
    assert column(con, "d_occupation", "b") == [None] * 14
    assert set(column(con, "m0", "b")) == {None}
    build_quality(con, dimensions=("earnings", "tenure"))
    assert column(con, "m0", "b")[3:] == [0.5] * 11


def test_whether_there_is_a_score_does_not_depend_on_having_a_job(con: duckdb.DuckDBPyConnection) -> None:
    # c, like b, was neither displaced nor trained: no occupation before, with a job or without one
    build_quality(con)
    assert column(con, "m0", "c") == column(con, "d_occupation", "c") == [None] * 14
    # d and e have the same coverage; one is out of work in the first quarters, in which tenure is not known yet
    con.execute("INSERT INTO person VALUES ('d', 'N'), ('e', 'N')")
    con.execute(
        f"INSERT INTO wage_record SELECT 'd', {START} + t, 'X', 900.0, '2512' FROM range(2, 14) AS t(t) "
        f"UNION ALL SELECT 'e', {START} + t, 'X', 900.0, '2512' FROM range(14) AS t(t)"
    )
    build_panel(con)
    build_quality(con, dimensions=("tenure", "stability"))
    for name in ("d_tenure", "d_stability", "m0"):
        scored = [[value is not None for value in column(con, name, person)] for person in "abcde"]
        assert scored == [[False] * 3 + [True] * 11] * 5, name
    assert column(con, "d_tenure", "d") == [None] * 3 + [1.0] * 2 + [0.0] * 9


def test_a_person_with_an_unknown_quarter_has_no_score_in_any(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(f"UPDATE wage_record SET isco = NULL WHERE person_id = 'a' AND period = {START + 12}")
    build_panel(con)
    build_quality(con)
    assert column(con, "m0") == column(con, "d_occupation") == [None] * 14
    assert column(con, "d_tenure") == [None] * 3 + [0.0] * 5 + [1.0] * 5 + [0.0]  # the others are as they were
    # in a quarter in which no score is possible an unknown occupation costs nothing
    con.execute(f"UPDATE wage_record SET isco = '9112' WHERE period = {START + 12}")
    con.execute(f"UPDATE wage_record SET isco = NULL WHERE person_id = 'a' AND period = {START + 1}")
    build_panel(con)
    build_quality(con)
    whole = [None] * 3 + [0.0] * 5 + [1.0] * 2 + [1.0, 0.75, 0.75, 0.0]
    assert column(con, "m0") == whole
    # without a living wage nobody has a score, in work or not
    con.execute(f"DELETE FROM price WHERE period IN ({START + 5}, {START + 8})")
    build_quality(con)
    assert [i for i, value in enumerate(column(con, "m0")) if value is None] == [0, 1, 2, 5, 8]


def test_in_a_register_a_person_has_a_score_in_all_quarters_in_which_there_can_be_one_or_in_none() -> None:
    con = simulate(people=600, seed=5).con
    build_panel(con, no_record="coverage")
    found = {}
    for dimensions in (DIMENSIONS, DIMENSIONS[:3]):
        build_quality(con, dimensions=dimensions)
        scored = (
            "SELECT *, coalesce(lag(period, 3) OVER w = period - 3, false) AS possible, m0 IS NOT NULL AS scored, "
            "bool_or(m0 IS NOT NULL) OVER (PARTITION BY person_id) AS ever FROM quality "
            "WINDOW w AS (PARTITION BY person_id ORDER BY period)"
        )
        assert con.sql(f"SELECT count(*) FROM ({scored}) WHERE scored <> (ever AND possible)").fetchall() == [(0,)]
        found[len(dimensions)] = con.sql(
            "SELECT count(deprived), avg(deprived) FROM quality JOIN panel USING (person_id, period) "
            "WHERE to_displacement IS NULL AND to_entry IS NULL"
        ).fetchall()[0]
    assert found[4] == (0, None)  # without displacement or training there is no occupation before
    assert found[3][0] > 1_000
    assert 0.2 < found[3][1] < 0.9


def test_what_the_records_cannot_show_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(InputError, match="unknown dimension of employment quality 'pay'"):
        build_quality(con, dimensions=["pay"])
    for options in (
        {"dimensions": []},
        {"dimensions": ["tenure", "tenure"]},
        {"cutoff_k": 0},
        {"non_employed": "zero"},
    ):
        with pytest.raises(InputError):
            build_quality(con, **options)
    con.execute("UPDATE wage_record SET isco = NULL")
    build_panel(con)
    with pytest.raises(DesignError, match="leave occupation out"):
        build_quality(con)
    con.execute("DROP TABLE price")
    with pytest.raises(DesignError, match="leave earnings out"):
        build_quality(con)
    con.execute("ALTER TABLE wage_record DROP COLUMN employer_id")
    build_panel(con)
    with pytest.raises(DesignError, match="leave tenure out"):
        build_quality(con, dimensions=["tenure"])
    with pytest.raises(InputError, match="there is no panel"):
        build_quality(duckdb.connect())


SCORES = st.lists(st.tuples(st.sampled_from("AB"), *[st.sampled_from([0.0, 1.0])] * 4), min_size=1, max_size=30)


@settings(max_examples=40, deadline=None)
@given(SCORES, st.sampled_from([0.25, 0.5, 0.75, 1.0]))
def test_the_algebra_of_alkire_and_foster(scores: list[tuple[object, ...]], k: float) -> None:
    rows = pd.DataFrame(scores, columns=["group", *(f"d_{name}" for name in DIMENSIONS)])
    rows["deprivations"] = rows.filter(like="d_").sum(axis=1)
    rows["deprived"] = (rows["deprivations"] >= 4 * k).astype(float)
    rows["m0"] = rows["deprivations"] / 4 * rows["deprived"]
    whole = alkire_foster(rows).iloc[0]
    assert whole["M0"] == pytest.approx(whole["H"] * (whole["A"] if whole["H"] else 0))
    shares = whole[[f"share_{name}" for name in DIMENSIONS]].astype(float)
    assert shares.sum() == pytest.approx(1) if whole["H"] else shares.isna().all()
    parts = alkire_foster(rows.sample(frac=1, random_state=1), by="group")
    assert parts["n"].sum() == len(rows)
    assert (parts["M0"] * parts["n"]).sum() / len(rows) == pytest.approx(whole["M0"])
