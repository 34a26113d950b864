"""Stored paths: what the panel says, built once, and the same moments as from long rows."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval import outcome_moments
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.panel.outcome_paths import build_outcome_paths, built, path_periods
from retrain_eval.panel.panel import build_panel

PERIODS = [8076, 8077, 8079]  # a wave is missing


@pytest.fixture
def con() -> duckdb.DuckDBPyConnection:
    """Return 40 people in three cohorts, one of them with a gap."""
    con = duckdb.connect()
    con.execute("SET threads = 2")
    con.execute("SELECT setseed(.5)")
    con.execute(
        """
        CREATE TABLE panel AS
        SELECT 'P' || lpad(n::VARCHAR, 2, '0') AS person_id, t AS period, CASE WHEN n = 7 AND t = 8077 THEN NULL
          ELSE round(hash(n, t) % 100000 / 7.0, 3) END AS earnings, CAST(hash(n, t) % 2 AS DOUBLE) AS employed,
          CASE n % 3 WHEN 0 THEN 8077 WHEN 1 THEN 8079 END AS cohort, n % 2 AS band, 1.0 + n % 4 AS w, n // 4 AS set,
          'x' AS name
        FROM range(40) AS a(n), (VALUES (8076), (8079), (8077)) AS b(t)
        """
    )
    return con


def test_paths_hold_what_the_panel_says(con: duckdb.DuckDBPyConnection) -> None:
    paths = build_outcome_paths(con, ("earnings", "employed"))
    assert path_periods(con) == PERIODS
    assert [str(kind) for kind in paths.types[2:]] == ["DOUBLE[3]", "DOUBLE[3]"]
    wide = {row[0]: row[1:] for row in paths.fetchall()}
    for person, period, earnings, employed, cohort in con.sql(
        "SELECT person_id, period, earnings, employed, cohort FROM panel"
    ).fetchall():
        place = PERIODS.index(period)
        assert (wide[person][0], wide[person][1][place], wide[person][2][place]) == (cohort, earnings, employed)


@pytest.mark.parametrize(
    "options", [{}, {"by": "band"}, {"weights": "w"}, {"cluster": "set", "weights": "w", "by": "band"}]
)
def test_moments_from_paths_are_those_from_rows_bit_for_bit(
    con: duckdb.DuckDBPyConnection, options: dict[str, str]
) -> None:
    build_outcome_paths(con, ["earnings"])
    names = {"unit": "person_id", "cohort": "cohort", "outcome": "earnings", "unbalanced": "drop"}
    facts = con.sql("SELECT DISTINCT person_id, band, w, set FROM panel")
    wide = con.sql("SELECT paths.*, facts.* EXCLUDE (person_id) FROM paths JOIN facts USING (person_id)")
    from_paths = outcome_moments(wide, time=PERIODS, **names, **options)
    from_rows = outcome_moments(con.table("panel"), time="period", **names, **options)
    assert facts is not None
    assert from_paths.n_dropped == from_rows.n_dropped == 1
    assert from_paths.cells.equals(from_rows.cells)
    assert (from_paths.first == from_rows.first).all()
    assert from_paths.second.keys() == from_rows.second.keys()
    for pair, block in from_rows.second.items():
        # within a cluster sums are in no order
        assert from_paths.second[pair] == pytest.approx(block, rel=1e-12 if "cluster" in options else 0, abs=0)
    assert from_paths.times == from_rows.times


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(120)), st.sampled_from([1, 2]))
def test_order_of_rows_and_threads_change_no_bit(order: list[int], threads: int) -> None:
    assert sums_of(order, threads) == sums_of(list(range(120)), 1)


def sums_of(order: list[int], threads: int) -> list[str]:
    """Sum a panel whose rows stand in some order; every bit of the sums."""
    con = duckdb.connect()
    con.execute(f"SET threads = {threads}")
    con.execute("CREATE TABLE rank(i INTEGER, place INTEGER)")
    con.executemany("INSERT INTO rank VALUES (?, ?)", list(enumerate(order)))
    con.execute(
        "CREATE TABLE panel AS SELECT 'P' || (i % 40) AS person_id, i // 40 AS period, sin(i) * 1e4 AS earnings, "
        "CASE WHEN i % 40 % 2 = 0 THEN 2 END AS cohort FROM rank ORDER BY place"
    )
    build_outcome_paths(con, ["earnings"])
    m = outcome_moments(con.table("paths"), "person_id", path_periods(con), "cohort", "earnings")
    return [float(value).hex() for value in m.first.ravel()]


def test_paths_are_built_once_and_again_for_another_panel() -> None:
    con = duckdb.connect()
    con.execute("CREATE TABLE person AS SELECT 'a' AS person_id")
    con.execute("CREATE TABLE enrolment AS SELECT 'a' AS person_id, 2021 AS entry WHERE false")
    con.execute("CREATE TABLE wage_record AS SELECT 'a' AS person_id, 2020 AS period, 5 AS wages")
    build_panel(con)
    build_outcome_paths(con, ["earnings"])
    first = built(con, "paths")
    con.execute("UPDATE paths SET cohort = 1")
    build_outcome_paths(con, ["earnings"])
    assert con.sql("SELECT cohort FROM paths").fetchall() == [(1,)]  # left as it was
    build_outcome_paths(con, ["earnings", "employed"])
    assert con.sql("SELECT cohort, employed FROM paths").fetchall() == [(None, (1.0,))]
    build_panel(con)
    build_outcome_paths(con, ["earnings"])
    assert built(con, "paths") != first


def test_what_cannot_be_right_is_refused(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(InputError, match="unknown outcome 'name'"):
        build_outcome_paths(con, ["name"])
    with pytest.raises(InputError, match="named once"):
        build_outcome_paths(con, [])
    build_outcome_paths(con, ["earnings"])
    names = {"unit": "person_id", "cohort": "cohort", "outcome": "earnings"}
    paths = con.table("paths")
    for times in ([8076, 8077], [8077, 8076, 8079], [8076, 8076, 8079]):
        with pytest.raises(InputError, match="one ascending period for each value"):
            outcome_moments(paths, time=times, **names)
    with pytest.raises(InputError, match="so time is not a column"):
        outcome_moments(paths, time="period", **names)
    with pytest.raises(InputError, match="not a fixed-size array"):
        outcome_moments(con.table("panel"), time=PERIODS, **names)
    with pytest.raises(DesignError, match=r"1 unit.* not observed in all 3 periods"):
        outcome_moments(paths, time=PERIODS, **names)
    twice = con.sql("FROM paths UNION ALL FROM paths WHERE person_id = 'P03'")
    with pytest.raises(InputError, match=r"1 unit\(s\) have more than one row"):
        outcome_moments(twice, time=PERIODS, **names)
    for bad in ("'nan'", "'inf'"):
        path = f"CASE WHEN person_id = 'P05' THEN [1, {bad}::DOUBLE, 2] ELSE earnings END"
        wrong = con.sql(f"SELECT * REPLACE (CAST({path} AS DOUBLE[3]) AS earnings) FROM paths")
        with pytest.raises(InputError, match="the outcome must be finite"):
            outcome_moments(wrong, time=PERIODS, **names)
    weighted = con.sql("SELECT *, -1.0 AS w FROM paths")
    with pytest.raises(InputError, match="the weight must be a finite number"):
        outcome_moments(weighted, time=PERIODS, weights="w", **names)


def test_somebody_without_any_value_has_an_empty_path(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "CREATE TABLE quality AS SELECT person_id, period, employed / 2 AS m0 FROM panel WHERE person_id > 'P19'"
    )
    build_outcome_paths(con, ["earnings", "m0", "employed"])
    rows = con.sql("SELECT m0, [x / 2 FOR x IN CAST(employed AS DOUBLE[])] FROM paths ORDER BY person_id").fetchall()
    assert [m0 for m0, _ in rows[:20]] == [(None,) * 3] * 20
    assert [list(m0) for m0, _ in rows[20:]] == [half for _, half in rows[20:]]


def test_two_rows_for_a_period_are_refused_and_the_last_paths_stand(con: duckdb.DuckDBPyConnection) -> None:
    build_outcome_paths(con, ["earnings"])
    con.execute("INSERT INTO panel SELECT * FROM panel WHERE person_id = 'P03'")
    with pytest.raises(InputError, match="two rows for a period"):
        build_outcome_paths(con, ["earnings"])
    assert con.sql("SELECT count(*) FROM paths").fetchall() == [(40,)]
    assert np.isfinite(con.sql("SELECT earnings[1] FROM paths").fetchall()).all()
