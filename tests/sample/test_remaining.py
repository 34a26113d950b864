"""Controls who stay untrained stand for those whom training has cut: weights, refusals, and what they repair."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.genmod.families import Binomial

import retrain_eval as rte
from matching_samples import LALONDE, lalonde
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.sample.followup.censoring import by_role, follow_outcomes
from retrain_eval.sample.followup.censoring_weights import weight_for_censoring
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.sample.scratch import weights_hash
from waiting_times import ENTRIES, HORIZON, register, truth

SPELL = {"start": "start", "entry": "entry", "end": "until"}


def sample(people: pd.DataFrame, **options: Any) -> MatchedSample:
    return rte.match(people, "trained ~ x", "id", method="riskset", distance="x", exact="x", **SPELL, **options)


def waiting(people: pd.DataFrame) -> pd.DataFrame:
    """One row per person and period, unemployed and untrained, in which entry is possible."""
    rows = people.merge(pd.DataFrame({"t": range(ENTRIES)}), how="cross")
    rows = rows[
        (rows["until"].isna() | (rows["t"] < rows["until"])) & (rows["entry"].isna() | (rows["t"] <= rows["entry"]))
    ]
    return rows.assign(enters=(rows["t"] == rows["entry"]).fillna(False).astype(bool))


@given(st.integers(0, 1000), st.booleans(), st.integers(1, HORIZON))
@settings(max_examples=4, deadline=None)
def test_weights_are_one_over_the_chance_to_remain(seed: int, replace: bool, follow: int) -> None:
    """Against a logit of statsmodels on the same rows, multiplied up person by person."""
    people = register(500, seed)
    matched, at_risk = sample(people, replace=replace), waiting(people)
    weighted = weight_for_censoring(matched, at_risk, "enters ~ x + C(t)", time="t", follow=follow)
    fit = smf.glm("enters ~ x + C(t)", at_risk.assign(enters=at_risk["enters"].astype(int)), family=Binomial()).fit(
        tol=1e-12
    )
    at_risk = at_risk.assign(hazard=fit.predict(at_risk))
    before, after = (s.weights.df().set_index("match_id") for s in (matched, weighted))
    assert before.drop(columns="weight").equals(after.drop(columns="weight"))
    assert (before.loc[before["treat"] == 1, "weight"] == after.loc[after["treat"] == 1, "weight"]).all()
    lost = before["censored_at"].notna() & (before["censored_at"] <= before["period"] + follow) & (before["treat"] == 0)
    rows = before.reset_index().merge(at_risk[["id", "t", "hazard"]], on="id")
    rows = rows[(rows["t"] > rows["period"]) & (rows["t"] <= rows["period"] + follow)]
    factor = (
        (1 / (1 - rows["hazard"]).groupby(rows["match_id"]).prod()).reindex(before.index).fillna(1.0).mask(lost, 0.0)
    )
    controls = before["treat"] == 0
    assert after.loc[controls, "weight"].to_numpy() == pytest.approx((before["weight"] * factor)[controls], abs=2e-6)
    found: Any = weighted.audit["remaining"]
    assert (found["n_control_lost"], found["follow"]) == (lost.sum(), follow)
    assert found["ess_control"] <= (controls & ~lost).sum() + 1e-9
    assert weighted.audit["pairs_sha256"] == matched.audit["pairs_sha256"]
    rows = weighted.weights.to_arrow_table()
    assert weighted.audit["weights_sha256"] == weights_hash(rows["id"], rows["weight"].to_numpy())


def test_order_of_rows_threads_and_connection_change_nothing() -> None:
    people = register(3_000, 5)
    matched, at_risk, found = sample(people), waiting(people), []
    for threads in (1, 2):
        with duckdb.connect(config={"threads": threads}) as con:
            con.from_df(at_risk.sample(frac=1, random_state=threads)).create("rows")
            weighted = weight_for_censoring(matched, con.table("rows"), "enters ~ x + C(t)", time="t", follow=6)
            found.append((weighted.weights.fetchall(), weighted.audit))
    assert found[0] == found[1]


def test_what_those_lost_would_have_done_is_recovered() -> None:
    """The share of controls in work at the horizon, had nobody been trained: without weights it is far too high."""
    people, true = register(60_000, 2), truth(400_000, 0)
    matched = sample(people)
    weighted = weight_for_censoring(matched, waiting(people), "enters ~ C(x)", time="t", follow=HORIZON)
    worked = people.assign(work=people["until"].notna().astype(float)).set_index("id")["work"]

    def effect(weights: pd.DataFrame) -> tuple[float, float]:
        rows = weights.assign(work=worked[weights["id"]].to_numpy())
        arms = [rows[rows["treat"] == arm] for arm in (1, 0)]
        means = [np.average(arm["work"], weights=arm["weight"]) for arm in arms]
        squares = [
            ((arm["weight"] * (arm["work"] - m)) ** 2).sum() / arm["weight"].sum() ** 2
            for arm, m in zip(arms, means, strict=True)
        ]
        return means[0] - means[1], float(np.sqrt(sum(squares)))

    estimate, error = effect(weighted.weights.df())
    assert abs(estimate - true["never"]) < 4 * error
    stayed = matched.weights.df()
    naive, error = effect(stayed[(stayed["treat"] == 1) | stayed["censored_at"].isna()])
    assert naive < true["never"] - 4 * error


def test_moments_leave_out_who_is_lost_and_weigh_who_stays() -> None:
    people = register(4_000, 3)
    at_risk, matched = waiting(people), sample(people)
    weighted = weight_for_censoring(matched, at_risk, "enters ~ C(x)", time="t", follow=4)
    months = duckdb.sql(
        f"SELECT id, t, coalesce(t >= until, false)::INT AS work FROM people, range(-1, {HORIZON + 1}) r(t)"
    )
    rows = follow_outcomes(weighted, months, time="t", outcomes=["work"], between=(-1, 4))
    moments = rte.outcome_moments(rows, "match_id", "clock", "cohort", "work", weights="weight", unbalanced="drop")
    kept = weighted.weights.df().query("weight > 0")
    assert moments.cells["n"].sum() == len(kept) < len(matched.weights.fetchall())
    frame = rows.df().merge(kept[["match_id"]], on="match_id")
    last = frame[frame["event_time"] == 4]
    means = [
        np.average(arm["work"], weights=arm["weight"]) for arm in (last[last["treat"] == 1], last[last["treat"] == 0])
    ]
    effect = moments.att_gt().aggregate("dynamic").to_frame().set_index("event_time")["estimate"]
    assert effect[4] == pytest.approx(means[0] - means[1])
    assert sorted(frame["event_time"].unique()) == list(range(-1, 5))


def test_roles_keep_a_person_apart_who_was_a_control_before_training() -> None:
    people = register(2_000, 4)
    matched = sample(people)
    roles = by_role(matched)
    was, now = matched.pairs.df(), roles.pairs.df()
    weights = matched.weights.df().set_index("match_id")
    assert matched.audit["n_control_also_treated"] > 0
    assert weights.loc[now["treated_id"], "id"].tolist() == was["treated_id"].tolist()
    assert weights.loc[now["control_id"], "id"].tolist() == was["control_id"].tolist()
    assert not set(now["treated_id"]) & set(now["control_id"])
    assert roles.audit["unit"] == "match_id"


def test_periods_at_risk_that_cannot_be_are_refused() -> None:
    people = register(400, 1)
    matched, at_risk = sample(people), waiting(people)

    def weigh(rows: pd.DataFrame, formula: str = "enters ~ x", who: MatchedSample = matched) -> object:
        return weight_for_censoring(who, rows, formula, time="t", follow=HORIZON)

    lost = matched.weights.df().query("treat == 0 and censored_at.notna()").iloc[0]
    missing = at_risk[~((at_risk["id"] == lost["id"]) & at_risk["enters"])]
    with pytest.raises(InputError, match="who enters training is at risk in that period"):
        weigh(missing)
    with pytest.raises(InputError, match="at risk once a period"):
        weigh(pd.concat([at_risk, at_risk]))
    with pytest.raises(InputError, match="unknown column 'elapsed'"):
        weigh(at_risk, "enters ~ C(elapsed)")
    with pytest.raises(DesignError, match="separate"):
        weigh(at_risk.assign(entrant=at_risk["enters"].astype(float)), "enters ~ entrant")
    with pytest.raises(InputError, match="only a sample from risk sets"):
        weigh(at_risk, who=rte.match(lalonde(), LALONDE, "id"))


def test_every_control_trained_leaves_nobody_to_compare_with() -> None:
    data = pd.DataFrame({"id": range(4), "x": 0.0, "start": 0, "entry": [1, 2, 3, 4], "until": 9})
    rows = pd.DataFrame(
        [(i, t, t == i + 1, float(t)) for i in range(4) for t in range(1, i + 2)], columns=["id", "t", "enters", "z"]
    )
    rows = pd.concat(
        [rows, pd.DataFrame({"id": [9, 9, 9, 9], "t": [1, 2, 3, 4], "enters": False, "z": [1.0, 2, 3, 4]})]
    )
    with pytest.raises(DesignError, match="every control enters training within 9 periods"):
        weight_for_censoring(sample(data), rows, "enters ~ z", time="t", follow=9)
