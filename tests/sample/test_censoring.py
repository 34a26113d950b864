"""Outcomes of a risk-set matched sample: counted from entry, and cut where a control is trained."""

from __future__ import annotations

from typing import Any

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import retrain_eval as rte
from matching_samples import LALONDE, lalonde
from retrain_eval.common.errors import InputError
from retrain_eval.sample.followup.censoring import follow_outcomes, follow_spells
from retrain_eval.sample.matched import MatchedSample
from waiting_times import HORIZON, register

SPELL = {"start": "start", "entry": "entry", "end": "until"}


def sample(people: pd.DataFrame, **options: Any) -> MatchedSample:
    return rte.match(people, "trained ~ x", "id", method="riskset", distance="x", **SPELL, **options)


def four() -> pd.DataFrame:
    data = pd.DataFrame({"id": [1, 2, 3, 4], "x": [0.0, 0.1, 0.2, 0.9], "start": [10, 10, 20, 10]})
    data["entry"] = pd.array([11, 13, None, None], dtype="Int64")
    return data.assign(until=pd.array([15, 16, 26, 12], dtype="Int64"), cause=[1, 1, 2, 1])


def panel() -> pd.DataFrame:
    rows = [(i, q, 100.0 * i + q, 1.0) for i in range(1, 5) for q in range(9, 25)]
    return pd.DataFrame(rows, columns=["id", "quarter", "pay", "employed"])


def test_outcomes_are_counted_from_entry_and_end_with_the_controls_own() -> None:
    rows = follow_outcomes(sample(four(), replace=True), panel(), time="quarter", outcomes=["pay", "employed"]).df()
    assert rows.groupby("match_id").size().tolist() == [16] * 4
    origin = {1: 11, 2: 13, 3: 11, 4: 23}
    assert (rows["event_time"] == rows["quarter"] - rows["match_id"].map(origin)).all()
    assert (rows["cohort"].notna() == (rows["treat"] == 1)).all()
    cut = (rows["match_id"] == 3) & (rows["quarter"] >= 13)
    assert rows.loc[cut, ["pay", "employed"]].isna().all(axis=None)
    assert rows.loc[~cut, "pay"].tolist() == (100.0 * rows["id"] + rows["quarter"])[~cut].tolist()
    whole = follow_outcomes(sample(four(), replace=True), panel(), time="quarter", outcomes=["pay"], censor=False).df()
    assert whole["pay"].notna().all()


def test_spells_end_with_the_controls_own_training() -> None:
    found = follow_spells(sample(four(), replace=True), four(), end="until", last=25, cause="cause").df()
    found = found.sort_values("match_id")
    # trainees leave after 4 and 3 periods; person 2 as a control is trained after 2; person 3 is on record for 2
    assert found[["id", "treat", "duration", "event"]].to_numpy().tolist() == [
        [1, 1, 4, 1], [2, 1, 3, 1], [2, 0, 2, 0], [3, 0, 2, 0],
    ]  # fmt: skip
    longer = follow_spells(sample(four(), replace=True), four(), end="until", last=30, cause="cause", censor=False).df()
    assert longer.sort_values("match_id")[["duration", "event"]].to_numpy().tolist() == [[4, 1], [3, 1], [5, 1], [3, 2]]


@pytest.mark.parametrize("none", [None, 0, "0", "", "false"])
def test_an_end_without_a_cause_is_refused_rather_than_censored(none: object) -> None:
    kind = "Int64" if none is None or none == 0 else "object"
    causes = [1, 1, none, 1] if kind == "Int64" else ["job", "job", none, "job"]
    people = four().assign(cause=pd.array(causes, dtype=kind))
    with pytest.raises(InputError, match="an end but no cause") as error:
        follow_spells(sample(four(), replace=True), people, end="until", last=30, cause="cause", censor=False)
    assert "sample.weights" in str(error.value)


def test_causes_may_be_texts() -> None:
    people = four().assign(cause=["job", "job", "recall", "job"])
    rows = follow_spells(sample(four(), replace=True), people, end="until", last=25, cause="cause")
    spells = rte.Spells(rows, id="match_id", duration="duration", cause="event", by="treat", censored=())
    assert rows.order("match_id").project("event").fetchall() == [("job",), ("job",), ("0",), ("0",)]
    assert set(spells.table.cells["cause"]) == {"0", "job"}


@given(st.integers(0, 1000), st.booleans())
@settings(max_examples=10, deadline=None)
def test_durations_and_events_follow_from_periods(seed: int, replace: bool) -> None:
    people = register(400, seed)
    matched = sample(people, exact="x", replace=replace)
    rows = follow_spells(matched, people, end="until", last=HORIZON).df()
    rows = rows.merge(matched.weights.df()[["match_id", "period", "censored_at"]], on="match_id").merge(people, on="id")
    assert len(rows) == len(matched.weights.fetchall())
    stop = rows["censored_at"].fillna(HORIZON).clip(upper=HORIZON)
    happened = rows["until"].notna() & (rows["until"] <= HORIZON)
    happened &= rows["censored_at"].isna() | (rows["until"] < rows["censored_at"])
    assert (rows["event"] == happened).all()
    assert (rows["duration"] == rows["until"].where(happened, stop) - rows["period"]).all()
    assert (rows.loc[rows["treat"] == 1, "censored_at"].isna()).all()


def test_both_tables_read_it() -> None:
    """Survival and moments on the matched sample, the panel on a connection of its own."""
    people = register(3_000, 1)
    matched = sample(people, exact="x")
    spells = follow_spells(matched, people, end="until", last=HORIZON)
    arms = rte.Spells(spells, id="match_id", duration="duration", cause="event", by=("treat",))
    assert len(arms.kaplan_meier().to_frame()) > 10
    with duckdb.connect() as con:
        con.from_df(people).create("people")
        months = con.sql(
            f"SELECT id, q, coalesce(q >= until, false)::INT AS work FROM people, range({HORIZON + 1}) t(q)"
        )
        follow_outcomes(matched, months, time="q", outcomes=["work"], censor=False).create("rows")
        con.execute(
            "CREATE TABLE followed AS SELECT *, min(event_time) OVER w <= -1 AND max(event_time) OVER w >= 5 AS whole "
            "FROM rows WINDOW w AS (PARTITION BY match_id)"
        )
        both = con.sql("FROM followed WHERE whole AND event_time BETWEEN -1 AND 5")
        moments = rte.outcome_moments(both, unit="match_id", time="clock", cohort="cohort", outcome="work")
        effect = moments.att_gt().aggregate("dynamic").to_frame()
        means = both.aggregate("treat, event_time, avg(work) AS work").df().set_index(["treat", "event_time"])["work"]
    by_event = effect.dropna(subset=["event_time"]).set_index("event_time")["estimate"]
    assert by_event[5] == pytest.approx(means[1, 5] - means[0, 5])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d[d["id"] != 3], "(?s)matched p.*every matched person has a row"),
        (lambda d: pd.concat([d, d]), "(?s)matched p.*every matched person has one row"),
        (lambda d: d.assign(until=11), "(?s)matched p.*end comes after the period"),
    ],
)
def test_people_who_cannot_be_followed(change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        follow_spells(sample(four(), replace=True), change(four()), end="until", last=30)


def test_other_samples_and_columns() -> None:
    matched = sample(four())
    with pytest.raises(InputError, match="records reach the period"):
        follow_spells(matched, four(), end="until", last=10)
    with pytest.raises(InputError, match="unknown column 'wage'"):
        follow_outcomes(matched, panel(), time="quarter", outcomes=["wage"])
    with pytest.raises(InputError, match="column 'weight' of its own"):
        follow_outcomes(matched, panel().assign(weight=1), time="quarter", outcomes=["weight"])
    with pytest.raises(InputError, match="only a sample from risk sets"):
        follow_spells(rte.match(lalonde(), LALONDE, "id"), lalonde(), end="age", last=9)
