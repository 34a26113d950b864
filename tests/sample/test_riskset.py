"""Risk sets: nobody is compared with somebody employed or trained by then, and nothing depends on the calendar."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.sample import units
from retrain_eval.sample.match import match
from retrain_eval.sample.matched import MatchedSample
from waiting_times import kaplan_meier, paired, register, truth

SPELL = {"start": "start", "entry": "entry", "end": "until"}


def spells(n: int, seed: int) -> pd.DataFrame:
    """Short spells with all that can happen: no entry, entry at once, at the end, and after it; open ones."""
    rng = np.random.default_rng(seed)
    data = pd.DataFrame({"id": np.arange(n), "x": rng.integers(0, 4, n) / 4, "g": rng.choice(["α", "b"], n)})
    data["start"] = rng.integers(100, 103, n)
    length, wait = rng.integers(0, 6, n), rng.integers(0, 8, n)
    data["entry"] = (data["start"] + wait).astype("Int64").mask(rng.random(n) < 0.5)
    data["until"] = (data["start"] + length).astype("Int64").mask(rng.random(n) < 0.2)
    # for any seed somebody enters, waits and goes on
    data.loc[0, ["start", "entry", "until", "g", "x"]] = [100, 101, 105, "b", 0.0]
    data.loc[1, ["start", "entry", "until", "g", "x"]] = [100, pd.NA, 105, "b", 0.0]
    return data


def risk_sets(data: pd.DataFrame, **options: Any) -> MatchedSample:
    return match(data, "trained ~ x", "id", method="riskset", **{**SPELL, "distance": "x", **options})


OPTIONS = st.fixed_dictionaries(
    {
        "ratio": st.integers(1, 2),
        "replace": st.booleans(),
        "ties": st.sampled_from(["all", "first"]),
        "exact": st.sampled_from([(), ("g",), ("start", "g")]),
        "caliper": st.sampled_from([None, 0.5]),
        "allow_later_treated": st.booleans(),
    }
)


@given(st.integers(0, 10_000), OPTIONS)
@settings(max_examples=40, deadline=None)
def test_controls_are_unemployed_and_untrained_at_that_duration(seed: int, options: dict[str, Any]) -> None:
    data = spells(40, seed)
    try:
        sample = risk_sets(data, **options)
    except DesignError:  # without later entrants, or within strata, nobody may be left: the first two people are
        if options["allow_later_treated"] and options["caliper"] is None:
            raise
        return
    pairs = sample.pairs.df()
    last = int(max(data[name].max() for name in ("start", "entry", "until")))
    rows = pairs.merge(data.add_prefix("t_"), left_on="treated_id", right_on="t_id")
    rows = rows.merge(data.add_prefix("c_"), left_on="control_id", right_on="c_id")
    assert len(rows) == len(pairs)
    assert (rows["elapsed"] == rows["t_entry"] - rows["t_start"]).all()
    assert (rows["t_until"].isna() | (rows["t_entry"] <= rows["t_until"])).all()
    now = rows["c_start"] + rows["elapsed"]
    assert (rows["c_until"].isna() | (now < rows["c_until"])).all()
    assert (rows["c_entry"].isna() | (now < rows["c_entry"])).all()
    assert (now <= last).all()
    assert (rows["treated_id"] != rows["control_id"]).all()
    assert rows["censored_at"].astype("Int64").equals(rows["c_entry"].astype("Int64").rename("censored_at"))
    if not options["allow_later_treated"]:
        assert rows["c_entry"].isna().all()
    for name in options["exact"]:
        assert (rows[f"t_{name}"] == rows[f"c_{name}"]).all()
    if not options["replace"]:
        assert pairs["control_id"].is_unique
    if options["caliper"]:
        assert (rows["distance"] <= sample.audit["caliper_width"]).all()
    assert pairs.groupby("subclass")["weight"].sum().to_numpy() == pytest.approx(1)


def looking_at_everyone(data: pd.DataFrame, last: int) -> dict[int, int]:
    """1:1 without replacement, exact g, in the order of duration and id; of equals fewer steps, then the left one."""
    people = data.sort_values("id").to_dict("records")
    place = {p["id"]: i for i, p in enumerate(sorted(people, key=lambda p: (p["x"], p["id"])))}
    taken, found = set[int](), dict[int, int]()
    enters = [p for p in people if pd.notna(p["entry"]) and (pd.isna(p["until"]) or p["entry"] <= p["until"])]
    for t in sorted(enters, key=lambda p: (p["entry"] - p["start"], p["id"])):
        elapsed = t["entry"] - t["start"]
        ranked = []
        for c in people:
            now = c["start"] + elapsed
            waits = (pd.isna(c["until"]) or now < c["until"]) and (pd.isna(c["entry"]) or now < c["entry"])
            if waits and now <= last and c["g"] == t["g"] and c["id"] not in taken and c["id"] != t["id"]:
                steps = place[c["id"]] - place[t["id"]]  # everyone counts, in the risk set or not
                ranked.append((abs(c["x"] - t["x"]), abs(steps), steps > 0, c["id"]))
        if ranked:
            found[t["id"]] = min(ranked)[-1]
            taken.add(found[t["id"]])
    return found


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_pairs_equal_looking_at_everyone(seed: int) -> None:
    data = spells(30, seed)
    last = int(max(data[name].max() for name in ("start", "entry", "until")))
    pairs = risk_sets(data, exact="g").pairs.df()
    assert dict(zip(pairs["treated_id"], pairs["control_id"], strict=True)) == looking_at_everyone(data, last)


@pytest.mark.slow
@given(st.integers(0, 1000), OPTIONS, st.integers(-50, 5000), st.sampled_from(["x", "glm"]))
@settings(max_examples=20, deadline=None)
def test_calendar_order_of_rows_and_threads_change_nothing(
    seed: int, options: dict[str, Any], shift: int, distance: str
) -> None:
    data = spells(60, seed)
    results = []
    later = data.assign(**{name: data[name] + shift for name in SPELL.values()})
    for threads, frame in ((1, data), (2, data.sample(frac=1, random_state=seed)), (2, later)):
        with duckdb.connect() as con:
            con.execute(f"SET threads = {threads}")
            con.execute("SET preserve_insertion_order = false")
            con.from_df(frame).create("people")
            try:
                sample = risk_sets(con.table("people"), **options, distance=distance)
            except DesignError as refused:
                results.append((str(refused), [], []))
                continue
            moved = shift if frame is later else 0
            pairs = [(*row[:6], None if row[6] is None else row[6] - moved) for row in sample.pairs.fetchall()]
            weights = [
                (*row[:6], row[6] - moved, None if row[7] is None else row[7] - moved)
                for row in sample.weights.fetchall()
            ]
            hashes = sample.audit["pairs_sha256"], sample.audit["weights_sha256"]
            results.append((hashes, pairs, weights))
    assert results[0] == results[1] == results[2]


def test_people_of_continuous_covariates_are_matched_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells or a row per person: the same pairs."""
    data = spells(400, 5).assign(x=lambda d: np.random.default_rng(1).normal(size=len(d)).round(2))
    cells = risk_sets(data, distance="glm", exact="g")
    monkeypatch.setattr(units, "MAX_CELLS", 0)
    rows = risk_sets(data, distance="glm", exact="g")
    assert rows.audit["pairs_sha256"] == cells.audit["pairs_sha256"]
    assert rows.audit["propensity"]["coefficients"] == cells.audit["propensity"]["coefficients"]
    pd.testing.assert_frame_equal(rows.balance(), cells.balance(), rtol=1e-9)
    pd.testing.assert_frame_equal(rows.overlap(), cells.overlap())


def test_weights_tell_who_when_and_until_when() -> None:
    data = pd.DataFrame(
        {
            "id": [1, 2, 3, 4],
            "x": [0.0, 0.1, 0.2, 0.9],
            "start": [10, 10, 20, 10],
            "entry": pd.array([11, 13, None, None], dtype="Int64"),
            "until": pd.array([15, 16, 26, 12], dtype="Int64"),
        }
    )
    sample = risk_sets(data, replace=True)
    assert sample.pairs.columns == [
        "subclass", "treated_id", "control_id", "distance", "weight", "elapsed", "censored_at",
    ]  # fmt: skip
    assert sample.pairs.fetchall() == [
        (1, 1, 2, pytest.approx(0.1), 1.0, 1, 13),
        (2, 2, 3, pytest.approx(0.1), 1.0, 3, None),
    ]
    columns = ["id", "treat", "weight", "subclass", "match_id", "elapsed", "period", "censored_at"]
    assert sample.weights.columns == columns
    assert sample.weights.fetchall() == [
        (1, 1, 1.0, 1, 1, 1, 11, None),
        (2, 1, 1.0, 2, 2, 3, 13, None),
        (2, 0, 1.0, 1, 3, 1, 11, 13),
        (3, 0, 1.0, 2, 4, 3, 23, None),
    ]
    assert (sample.audit["n_control_later_trained"], sample.audit["n_control_also_treated"]) == (1, 1)
    never = risk_sets(data, allow_later_treated=False).pairs.df()
    assert never[["treated_id", "control_id"]].to_numpy().tolist() == [[1, 3]]


def test_control_used_after_different_durations_is_followed_from_each() -> None:
    data = pd.DataFrame({"id": [1, 2, 3], "x": [0.0, 0.0, 0.0], "start": 0, "entry": [1, 2, None], "until": [5, 5, 9]})
    data = data.astype({"entry": "Int64"})
    sample = risk_sets(data.assign(x=[0.0, 1.0, 0.4]), replace=True)
    rows = sample.weights.df().query("treat == 0")
    assert rows[["id", "elapsed", "period", "subclass"]].to_numpy().tolist() == [[3, 1, 1, 1], [3, 2, 2, 2]]
    assert rows["weight"].sum() == pytest.approx(sample.audit["n_control_matched"]) == 1
    assert sample.audit["ess_control"] == 1


def test_everybody_enters_sooner_or_later() -> None:
    data = pd.DataFrame({"id": range(4), "x": [0.1, 0.2, 0.3, 0.4], "start": 0, "entry": [1, 2, 3, 4], "until": 9})
    pairs = risk_sets(data).pairs.df()
    assert pairs[["treated_id", "control_id", "censored_at"]].to_numpy().tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    with pytest.raises(DesignError, match="no trainee has a control"):
        risk_sets(data, allow_later_treated=False)


def test_open_spells_are_known_until_the_last_period_on_record() -> None:
    """The second person began later: at that duration the records had ended, and nobody knows."""
    data = pd.DataFrame({"id": [1, 2], "x": 0.5, "start": [0, 4], "entry": [5, None], "until": [6, None]})
    data = data.astype({"entry": "Int64", "until": "Int64"})
    with pytest.raises(DesignError, match="no trainee has a control"):
        risk_sets(data)
    assert risk_sets(data.assign(start=[0, 1])).audit["n_pairs"] == 1


def test_training_after_unemployment_makes_no_trainee_but_ends_follow_up() -> None:
    data = pd.DataFrame({"id": [1, 2], "x": 0.5, "start": 0, "entry": [1, 8], "until": [5, 4]})
    sample = risk_sets(data)
    assert sample.pairs.fetchall() == [(1, 1, 2, 0.0, 1.0, 1, 8)]
    assert (sample.audit["n_treated"], sample.audit["n_trained_after_unemployment"]) == (1, 1)


def test_audit_balance_and_overlap() -> None:
    data = spells(400, 3)
    sample = match(data, "trained ~ x + g", "id", method="riskset", exact="start", **SPELL)
    assert json.loads(json.dumps(sample.audit)) == sample.audit
    assert set(sample.audit["propensity"]["coefficients"]) == {"x", "g[T.α]"}
    balance = sample.balance()
    assert list(balance["covariate"]) == ["distance", "x", "g_b", "g_α", "start"]
    pairs = sample.pairs.df()
    x = data.set_index("id")["x"]
    row = balance.set_index("covariate").loc["x"]
    assert row["mean_treated_after"] == pytest.approx(x[pairs["treated_id"]].mean())
    assert row["mean_control_after"] == pytest.approx(x[pairs["control_id"]].mean())
    counts = sample.overlap(10).groupby("group")["n"].sum()
    assert counts["treated"] == sample.audit["n_treated"]
    assert counts["control matched"] == sample.audit["n_control_matched"]
    assert sample.flow()["n"].tolist()[0] == sample.audit["n_treated"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": None}, "needs the column start"),
        ({"entry": None}, "needs the column entry"),
        ({"end": "ended"}, "unknown column 'ended'"),
        ({"start": "x"}, "a period of type DOUBLE"),
        ({"distance": "mahalanobis"}, "riskset matches on a score"),
        ({"link": "logit", "distance": "glm"}, "no link to choose"),
        ({"m_order": "largest"}, "no m_order to choose"),
        ({"discard": "both"}, "no discard to choose"),
        ({"allow_later_treated": 1}, "must be True or False"),
        ({"distance": "g"}, r"(?s)not a number.*row:\s+1\n.*column:\s+g.*used as a number"),
        ({"caliper": -1}, "caliper must be a positive number"),
    ],
)
def test_options_that_do_not_apply(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        risk_sets(spells(40, 1), **options)


def test_periods_are_read_by_risk_sets_only() -> None:
    with pytest.raises(InputError, match="entry is read by riskset only"):
        match(spells(40, 1).assign(t=lambda d: d["x"] > 0.4), "t ~ x", "id", entry="entry")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"start": None},
            r"(?s)1 spell\(s\).*WHERE.*column:\s+start.*missing.*every spell has a beginning",
        ),
        ({"entry": 1}, r"(?s)1 spell\(s\).*WHERE.*column:\s+entry.*1.*training begins in or after"),
        ({"until": 1}, r"(?s)1 spell\(s\).*WHERE.*column:\s+until.*1.*does not end before"),
        (
            {"trained": 2},
            r"(?s)1 spell\(s\).*WHERE.*column:\s+trained.*treatment is 1 where entry is given",
        ),
        ({"trained": "yes"}, r"(?s)not a number.*row:\s+8\n.*column:\s+trained.*value:\s+'yes'.*used as a number"),
        ({"trained": None}, r"(?s)1 spell\(s\).*WHERE.*column:\s+trained.*missing"),
        ({"x": None}, r"(?s)1 unit\(s\).*WHERE.*column:\s+x.*missing"),
    ],
)
def test_spells_that_contradict_themselves(change: dict[str, Any], message: str) -> None:
    data = spells(40, 1).assign(trained=lambda d: d["entry"].notna().astype("Int64"))
    data["start"] = data["start"].astype("Int64")
    for name, value in change.items():
        if isinstance(value, str):
            data[name] = data[name].astype(str)
        data.loc[7, name] = pd.NA if value is None else value
    with pytest.raises(InputError, match=message):
        risk_sets(data)


def test_repeated_person_and_nobody_entering() -> None:
    data = spells(40, 1)
    with pytest.raises(InputError, match="repeat a unit id"):
        risk_sets(pd.concat([data, data.iloc[:1]]))
    with pytest.raises(DesignError, match="no treated unit: 'entry' is nowhere given"):
        risk_sets(data.assign(entry=pd.array([None] * 40, dtype="Int64")))
    with pytest.raises(DesignError, match="no rows"):
        risk_sets(data.iloc[:0].astype({"g": "str"}))


def test_too_many_durations(monkeypatch: pytest.MonkeyPatch) -> None:
    from retrain_eval.sample.methods import risk_sets as waiting

    monkeypatch.setattr(waiting, "MAX_DURATIONS", 2)
    with pytest.raises(InputError, match=r"different durations"):
        risk_sets(spells(40, 1))


def test_static_matching_is_biased_where_risk_sets_are_not() -> None:
    """One large register; the benchmark and the slow test below repeat it."""
    people, true = register(60_000, 1), truth(400_000, 0)
    worked = people.set_index("id")["until"].notna()
    sample = match(people, "trained ~ x", "id", method="riskset", exact="x", **SPELL)
    pairs = sample.pairs.df()
    estimate, error = paired(worked[pairs["treated_id"]].to_numpy(), worked[pairs["control_id"]].to_numpy())
    assert abs(estimate - true["waiting"]) < 4 * error
    static = match(people.assign(trained=people["entry"].notna()), "trained ~ x", "id", exact="x").pairs.df()
    wrong, error = paired(worked[static["treated_id"]].to_numpy(), worked[static["control_id"]].to_numpy())
    assert wrong < true["never"] - 10 * error


@pytest.mark.slow
def test_coverage_is_nominal() -> None:
    """150 registers: 95% intervals cover the truth 90 to 99.5% of the time, and the mean is within 4 of its errors."""
    from retrain_eval.sample.followup.censoring import follow_spells
    from waiting_times import HORIZON

    true = truth(2_000_000, 0)
    found: dict[str, list[tuple[float, float]]] = {"waiting": [], "never": []}
    for seed in range(150):
        people = register(8_000, seed)
        worked = people.set_index("id")["until"].notna()
        sample = match(people, "trained ~ x", "id", method="riskset", exact="x", **SPELL)
        pairs = sample.pairs.df()
        found["waiting"].append(paired(worked[pairs["treated_id"]].to_numpy(), worked[pairs["control_id"]].to_numpy()))
        rows = follow_spells(sample, people, end="until", last=HORIZON).df()
        rows = rows.merge(sample.weights.df()[["match_id", "elapsed"]], on="match_id").merge(people, on="id")
        rows = rows.assign(stratum=rows["x"] * 100 + rows["elapsed"], at=HORIZON - rows["elapsed"])
        found["never"].append(kaplan_meier(rows, "at"))
    for against, runs in found.items():
        estimate, error = np.array(runs).T
        covered = np.abs(estimate - true[against]) <= 1.96 * error
        assert 0.90 <= covered.mean() <= 0.995, (against, covered.mean())
        assert abs(estimate.mean() - true[against]) < 4 * estimate.std() / np.sqrt(len(estimate)), against
