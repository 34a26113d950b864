"""Whether somebody has a score of employment quality does not depend on whether they have a job in that quarter."""

from __future__ import annotations

import duckdb
import pandas as pd
import pytest

import retrain_eval as rte

WINDOW = 4  # periods that stability and tenure look back on: the first of a person, or after a gap, may lack a score


def scores(con: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Return people and covered periods with whether they work and whether they have a score."""
    return con.sql(
        f"""
        SELECT person_id, period, employed, to_displacement IS NOT NULL AS displaced, m0 IS NOT NULL AS scored, m0,
          coalesce(period - lag(period, {WINDOW}) OVER (PARTITION BY person_id ORDER BY period) = {WINDOW}, false)
            AS late
        FROM quality JOIN panel USING (person_id, period) WHERE employed IS NOT NULL
        """
    ).df()


def assert_all_or_none(rows: pd.DataFrame) -> None:
    """Of each person all quarters have a score or none, but for the first ones and those after a gap in coverage."""
    shares = rows[rows["late"]].groupby("person_id")["scored"].agg(["min", "max"])
    mixed = shares[shares["min"] != shares["max"]]
    assert mixed.empty, f"{len(mixed)} of {len(shares)} people have a score in some quarters only"


def assert_no_selection(rows: pd.DataFrame) -> None:
    """Among people with a score, who works and who does not has one equally often."""
    late = rows[rows["late"]]
    some = late[late.groupby("person_id")["scored"].transform("max")]
    assert some[some["employed"] == 1]["scored"].all()
    assert some[some["employed"] == 0]["scored"].all()


@pytest.fixture(scope="module")
def agency():
    made = rte.simulate(people=700, seed=41)
    rte.build_panel(made.con, no_record="coverage")
    yield made.con
    made.con.close()


@pytest.mark.parametrize(
    "dimensions",
    [
        ("earnings", "tenure", "stability", "occupation"),
        ("occupation",),
        ("earnings", "occupation"),
        ("tenure",),
        ("tenure", "stability"),
    ],
)
def test_a_person_has_scores_in_all_quarters_or_in_none(agency, dimensions):
    rte.build_quality(agency, dimensions=dimensions)
    rows = scores(agency)
    assert rows["scored"].any()
    assert_all_or_none(rows)


def test_people_never_displaced_are_not_scored_in_their_jobless_quarters_alone(agency):
    rte.build_quality(agency)
    rows = scores(agency)
    assert_no_selection(rows[~rows["displaced"]])


def test_the_headcount_of_people_never_displaced_is_not_one_by_construction(agency):
    rte.build_quality(agency, dimensions=("earnings", "stability", "occupation"))
    rows = agency.sql(
        "SELECT quality.* FROM quality JOIN panel USING (person_id, period) WHERE to_displacement IS NULL"
    )
    found = rte.alkire_foster(rows)
    assert found.empty or found["n"].sum() == 0 or found["H"].iloc[0] < 0.99


def by_hand(jobs: list[tuple[str, int, float, int, bool]]) -> duckdb.DuckDBPyConnection:
    """Make a panel of (person, period, earnings, tenure, tenure_censored)."""
    con = duckdb.connect()
    frame = pd.DataFrame(jobs, columns=["person_id", "period", "earnings", "tenure", "tenure_censored"])
    frame["employed"] = (frame["earnings"] > 0).astype(float)
    frame["to_displacement"] = pd.array([None] * len(frame), dtype="Int64")
    con.register("given", frame)
    con.execute("CREATE TABLE panel AS FROM given ORDER BY person_id, period")
    return con


def test_a_job_of_unknown_length_and_joblessness_later_are_scored_alike():
    """The job began before coverage, so its length is unknown until the fourth quarter of it is seen."""
    rows = [("a", 8000 + i, 100.0, i + 1, True) for i in range(3)] + [("a", 8003 + i, 0.0, 0, False) for i in range(4)]
    rows += [("b", 8000 + i, 100.0, i + 1, False) for i in range(7)]
    con = by_hand(rows)
    rte.build_quality(con, dimensions=("tenure",))
    found = con.sql("SELECT person_id, m0 IS NOT NULL AS scored FROM quality ORDER BY ALL").df()
    assert not found.groupby("person_id").head(3)["scored"].any()  # a year of tenure can't be known yet, of anyone
    shares = found[found.groupby("person_id").cumcount() >= 3].groupby("person_id")["scored"].mean()
    assert shares["a"] in (0.0, 1.0)
    assert shares["b"] == 1.0


def test_jobless_quarters_before_a_job_of_unknown_length_count_no_more_than_that_job():
    rows = [("a", 8000 + i, 0.0, 0, False) for i in range(5)]
    rows += [("a", 8005 + i, 90.0, i + 1, True) for i in range(3)]
    rows += [("c", 8000 + i, 0.0, 0, False) for i in range(8)]
    con = by_hand(rows)
    rte.build_quality(con, dimensions=("tenure",))
    found = con.sql("SELECT person_id, m0 IS NOT NULL AS scored FROM quality ORDER BY ALL").df()
    assert not found.groupby("person_id").head(3)["scored"].any()
    shares = found[found.groupby("person_id").cumcount() >= 3].groupby("person_id")["scored"].mean()
    assert shares["a"] in (0.0, 1.0)
    assert shares["c"] == 1.0


def test_without_anything_unknown_the_score_stays_what_it_was():
    """Five jobless and five employed quarters with a steady job: by hand."""
    rows = [("a", 8000 + i, 0.0, 0, False) for i in range(5)]
    rows += [("a", 8005 + i, 100.0, i + 1, False) for i in range(5)]
    con = by_hand(rows)
    rte.build_quality(con, dimensions=("tenure",), min_tenure=4)
    found = [m0 for (m0,) in con.sql("SELECT m0 FROM quality ORDER BY period").fetchall()]
    assert found == [None] * 3 + [1.0] * 5 + [0.0] * 2  # the first three quarters are scored for no one
