"""The synthetic agency from outside: threads, the truth against a world without effects, selection, any seed.

`test_synthetic.py` holds what it writes, adds up and refuses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import retrain_eval as rte
from retrain_eval.common.errors import InputError
from retrain_eval.panel.panel import build_panel
from retrain_eval.simulation import Parameters, Simulation
from retrain_eval.simulation.agency import RECORDS

# training that changes nothing: no lock-in, and no gain in any group
NO_EFFECT = {"lock_in": 1.0, "age_gain": (0.0, 0.0, 0.0, 0.0), "ai_gain": 0.0}


@pytest.fixture(scope="module")
def agency() -> Iterator[Simulation]:
    made = rte.simulate(people=3_500, seed=7)
    yield made
    made.con.close()


def digests(made: Simulation, folder: Path) -> dict[str, str]:
    """Hash every table as it is written, order of rows included, and the truth."""
    folder.mkdir()
    files = made.write(folder, format="csv")
    hashes = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, (file,) in files.items()}
    return hashes | {"truth": hashlib.sha256(made.truth.to_csv().encode()).hexdigest()}


def with_threads(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    connect = duckdb.connect

    def connected(database: str = ":memory:", *, config: dict[str, str]) -> duckdb.DuckDBPyConnection:
        return connect(database, config={**config, "threads": str(threads)})

    monkeypatch.setattr("retrain_eval.simulation.agency.duckdb.connect", connected)


def test_the_same_seed_gives_the_same_bits_for_any_number_of_threads(agency, tmp_path, monkeypatch):
    first = digests(agency, tmp_path / "default")
    assert set(first) == {*RECORDS, "truth"}
    for threads in (1, 3):
        with monkeypatch.context() as patch:
            with_threads(patch, threads)
            again = rte.simulate(people=3_500, seed=7)
        assert again.con.sql("SELECT current_setting('threads')").fetchall() == [(threads,)]
        assert digests(again, tmp_path / str(threads)) == first


def test_calibration_says_which_moments_lie_within_tolerance(agency):
    table = agency.calibration()
    assert list(table.columns) == ["moment", "source", "target", "tolerance", "simulated", "ok"]
    assert table["moment"].is_unique
    assert (table["tolerance"] > 0).all()
    assert (table["ok"] == ((table["simulated"] - table["target"]).abs() <= table["tolerance"])).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_moments_are_those_published(seed):
    # at the size of the shipped study: in smaller agencies the noise of a moment reaches its tolerance
    table = rte.simulate(people=20_000, seed=seed).calibration()
    assert table["ok"].all(), table.to_string()


# --- the truth


def effect(truth: pd.DataFrame, outcome: str, low: int, high: int) -> float:
    rows = truth[(truth["outcome"] == outcome) & truth["event_time"].between(low, high)]
    return float(np.average(rows["att"], weights=rows["n"]))


@pytest.mark.parametrize(
    ("subgroup", "less", "more"),
    [("tier", "foundation", "substitution"), ("education_level", "below upper secondary", "tertiary")],
)
def test_effects_differ_as_the_parameters_say(agency, subgroup, less, more):
    levels = agency.truth[agency.truth["subgroup"] == subgroup].groupby("level")
    assert effect(levels.get_group(less), "earnings", 8, 16) < effect(levels.get_group(more), "earnings", 8, 16)


def observed(made: Simulation) -> pd.DataFrame:
    build_panel(made.con)
    return made.con.sql(
        "SELECT person_id, period, cohort, earnings, employed FROM panel ORDER BY person_id, period"
    ).df()


def test_the_truth_is_the_difference_of_the_two_worlds():
    # the same seed where training changes nothing gives everybody's outcome without training: what was observed
    # there is the missing potential outcome, person by person, reached without the generator's own bookkeeping
    trained = rte.simulate(people=1_000, seed=3, parameters=Parameters(trained=0.3))
    untrained = rte.simulate(people=1_000, seed=3, parameters=Parameters(trained=0.3, **NO_EFFECT))
    assert (untrained.truth["att"] == 0).all()
    one, zero = observed(trained), observed(untrained)
    pd.testing.assert_frame_equal(one[["person_id", "period", "cohort"]], zero[["person_id", "period", "cohort"]])
    never = one["cohort"].isna()
    pd.testing.assert_frame_equal(one[never], zero[never])

    rows = one.assign(event_time=one["period"] - one["cohort"])
    truth = trained.truth[trained.truth["subgroup"].isna()]
    compared = 0
    for outcome in ("earnings", "employed"):
        rows["difference"] = one[outcome] - zero[outcome]
        cells = rows[~never].groupby(["cohort", "event_time"])["difference"].agg(["mean", "count"]).reset_index()
        both = truth[truth["outcome"] == outcome].merge(cells, on=["cohort", "event_time"])
        covered = both[both["count"] == both["n"]]  # every trainee of the cell was found, where the source was
        np.testing.assert_allclose(covered["mean"], covered["att"], rtol=0, atol=1e-4)
        compared += len(covered)
    assert compared > 200


def test_the_truth_is_the_mean_of_the_effects_of_the_trained(agency):
    people = agency.con.sql(
        "FROM effect JOIN (SELECT person_id, entry AS cohort FROM enrolment) USING (person_id)"
    ).df()
    truth = agency.truth[agency.truth["subgroup"].isna()].set_index(["cohort", "event_time"])
    for outcome in ("earnings", "employed"):
        cells = people.groupby(["cohort", "event_time"])[f"on_{outcome}"].agg(["mean", "count"])
        known = truth[truth["outcome"] == outcome]
        assert (known["n"] == cells["count"]).all()
        np.testing.assert_allclose(known["att"], cells["mean"], rtol=0, atol=1e-9)
    assert people["person_id"].nunique() == agency.con.sql("FROM enrolment").count("*").fetchall()[0][0]


@pytest.mark.slow
def test_without_effects_trained_and_like_untrained_go_the_same_way():
    # entry depends on what records show: those who enter in a quarter, and those who could have but did not, with the
    # same history, have the same mean outcomes where training changes nothing
    made = rte.simulate(people=100_000, seed=5, parameters=Parameters(**NO_EFFECT), memory_limit="4GB")
    build_panel(made.con)
    rows = made.con.sql(
        """
        WITH people AS (
          SELECT person_id, any_value(period - to_displacement) AS lost, any_value(cohort) AS cohort,
            min(period) AS first, list(earnings ORDER BY period) AS y, list(employed ORDER BY period) AS e
          FROM panel WHERE to_displacement IS NOT NULL GROUP BY person_id HAVING count(earnings) = 40
        )
        SELECT people.*, education, sex = 'female' AS female, ln(prior_wage) AS prior, lost // 4 - birth_year AS age
        FROM people JOIN person USING (person_id) JOIN displacement USING (person_id) ORDER BY person_id
        """
    ).df()
    earnings, works = np.array(rows["y"].tolist()), np.array(rows["e"].tolist())
    lost, cohort = (rows["lost"] - rows["first"]).to_numpy(), (rows["cohort"] - rows["first"]).to_numpy(float)
    raw, adjusted, weights = [], [], []
    for wait in range(2, 7):
        entry = lost + wait
        at_risk = (np.isnan(cohort) | (cohort >= entry)) & (works[np.arange(len(rows)), entry - 1] == 0)
        who = np.flatnonzero(at_risk & (entry + 8 < 40))
        enters = (cohort[who] == entry[who]).astype(float)
        after = np.stack([earnings[who, entry[who] + k] for k in range(8)], axis=1).mean(axis=1)
        history = np.stack([earnings[who, lost[who] - k] for k in range(1, 9)], axis=1) / 1000
        wages = rows["prior"].to_numpy()[who]
        since = [block[who, lost[who] + k] for block in (earnings / 1000, works) for k in range(1, wait)]
        groups = pd.get_dummies(rows.loc[who, ["education", "female"]].astype(str)).to_numpy(float)
        bands = np.stack([rows["age"].to_numpy()[who] >= cut for cut in (25, 40, 55)], axis=1)
        quarters = pd.get_dummies(lost[who]).to_numpy(float)
        design = np.column_stack([history, history**2, wages, np.exp(wages) / 1000, *since, groups, bands, quarters])
        for result, known in ((raw, np.ones((len(who), 1))), (adjusted, design)):
            rest = np.column_stack([enters, after])
            rest = rest - known @ np.linalg.lstsq(known, rest, rcond=None)[0]
            slope = rest[:, 0] @ rest[:, 1] / (rest[:, 0] @ rest[:, 0])
            residual = rest[:, 1] - slope * rest[:, 0]
            error = np.sqrt(((rest[:, 0] * residual) ** 2).sum()) / (rest[:, 0] @ rest[:, 0])
            result.append((slope, error))
        weights.append(1 / adjusted[-1][1] ** 2)
    chance = 1 / np.sqrt(np.sum(weights))
    gap = np.average([slope for slope, _ in adjusted], weights=weights)
    assert np.average([slope for slope, _ in raw], weights=weights) < -5 * chance  # the poorer enter, and it shows
    assert abs(gap) < 3 * chance


# --- the records


def test_whom_the_records_describe(agency):
    con = agency.con
    assert con.sql("SELECT count(*), count(DISTINCT person_id), count(DISTINCT region) FROM person").fetchall() == [
        (3_500, 3_500, 8)
    ]
    waits = con.sql(
        "SELECT DISTINCT entry - (year(displaced_on) * 4 + quarter(displaced_on) - 1) AS wait "
        "FROM enrolment JOIN displacement USING (person_id) ORDER BY wait"
    ).fetchall()
    assert {wait for (wait,) in waits} <= set(range(2, 7))
    # nobody works for pay while in training: it ends with a job
    assert not con.sql(
        "SELECT * FROM enrolment e JOIN wage_record w ON w.person_id = e.person_id AND w.period >= e.entry "
        "AND w.period < e.exit"
    ).fetchall()
    status = dict(con.sql("SELECT status, count(*) FROM linkage GROUP BY status").fetchall())
    assert set(status) == {"linked", "ambiguous", "unlinked"}
    assert 0.01 < 1 - status["linked"] / 3_500 < 0.03
    assert con.sql("SELECT count(*) > 0, count(DISTINCT region) FROM coverage WHERE NOT available").fetchall() == [
        (True, 2)
    ]
    # no record lies where the source was not there
    assert not con.sql(
        "SELECT * FROM wage_record JOIN person USING (person_id) JOIN coverage USING (region, period) "
        "WHERE NOT available"
    ).fetchall()
    awarded = con.sql("SELECT count(*) FROM credential JOIN enrolment USING (person_id) WHERE completed").fetchall()
    assert awarded == con.sql("SELECT count(*) FROM enrolment WHERE completed").fetchall()
    assert len(con.sql("SELECT DISTINCT tier, delivery, ai_assisted FROM programme").fetchall()) == 18
    assert con.sql("SELECT count(*) FROM wage_record WHERE imputed").fetchall()[0][0] > 0
    assert con.sql("SELECT max(n) FROM (SELECT count(*) AS n FROM wage_record GROUP BY person_id, period)").fetchall()[
        0
    ] == (2,)  # a second job


def test_firms_that_only_change_their_name_cost_nobody_a_job(agency):
    build_panel(agency.con)
    rte.build_spells(agency.con)
    assert agency.con.sql("SELECT count(*) FROM job WHERE successor").fetchall()[0][0] > 0
    # nowhere does a move end at the successor that the job before turned into
    moved = agency.con.sql(
        """
        SELECT count(*) FROM spells a
        JOIN spells b ON b.person_id = a.person_id AND b.spell = a.spell + 1 AND a.cause = 'job_to_job'
        JOIN job ON job.person_id = a.person_id AND job.job = a.job
        JOIN employer_link l ON l.from_employer_id = job.last_employer_id AND l.to_employer_id = b.employer_id
          AND l.period = b.entry AND share >= .8
        """
    ).fetchall()
    assert moved == [(0,)]


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(-(2**31), 2**62),
    people=st.integers(100, 300),
    quarters=st.integers(29, 34),
    displaced=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_any_agency_holds_together(seed, people, quarters, displaced):
    made = rte.simulate(people, quarters, "2001Q3", seed, parameters=Parameters(displaced=displaced))
    con, first = made.con, 2001 * 4 + 2
    assert con.sql("SELECT count(*) FROM person").fetchall() == [(people,)]
    assert con.sql(
        f"SELECT count(*) FROM wage_record WHERE period NOT BETWEEN {first} AND {first + quarters - 1} OR wages <= 0"
    ).fetchall() == [(0,)]
    assert not con.sql(
        "SELECT 1 FROM wage_record GROUP BY person_id, period, employer_id, unit_id HAVING count(*) > 1"
    ).fetchall()
    assert not con.sql('SELECT 1 FROM enrolment WHERE exit < entry OR "end" < start').fetchall()
    assert (displaced > 0) == bool(con.sql("SELECT count(*) FROM displacement").fetchall()[0][0])
    assert list(made.truth.columns) == ["outcome", "cohort", "event_time", "subgroup", "level", "att", "n"]
    assert made.truth["att"].notna().all()
    con.close()


@pytest.mark.parametrize("unlinked", [0.0, 0.3])
def test_no_wages_are_held_of_the_unlinked_and_all_of_the_others(unlinked):
    # somebody displaced had a job: without any record, linked, the panel would take them for jobless all along
    con = rte.simulate(people=300, parameters=Parameters(displaced=1.0, unlinked=unlinked)).con
    found = con.sql(
        "SELECT status = 'unlinked', count(*) FROM linkage WHERE person_id NOT IN (SELECT person_id FROM wage_record) "
        "GROUP BY ALL"
    ).fetchall()
    without = con.sql("SELECT count(*) FROM linkage WHERE status = 'unlinked'").fetchall()[0][0]
    assert found == ([(True, without)] if unlinked else [])


@pytest.mark.parametrize("missing", [{"trained": 0.0}, {"displaced": 0.0}, {"displaced": 1.0}])
def test_a_moment_of_nobody_is_missing_and_not_ok(missing):
    table = rte.simulate(people=100, parameters=Parameters(**missing)).calibration()
    assert table["simulated"].isna().any()
    assert not table.loc[table["simulated"].isna(), "ok"].any()


@pytest.mark.parametrize(
    ("arguments", "column"),
    [
        ({"people": 1e4}, "people"),
        ({"people": "many"}, "people"),
        ({"quarters": 40.0}, "quarters"),
        ({"seed": 1.7}, "seed"),
        ({"seed": "abc"}, "seed"),
        ({"parameters": {}}, "parameters"),
        ({"database": "no/such/folder/agency.duckdb"}, "folder not found"),
    ],
)
def test_what_is_no_number_or_no_folder_is_refused(arguments, column):
    with pytest.raises(InputError, match=column):
        rte.simulate(**({"people": 100} | arguments))


@pytest.mark.parametrize(
    "wrong",
    [
        {"age_gain": (1.0,)},
        {"tier_gain": 1.0},
        {"dip_quarters": 0},
        {"training_quarters": (0, 0, 0)},
        {"training_quarters": (2, 3, 4.5)},
        {"wage_gain": "much"},
        {"trained": True},
    ],
)
def test_parameters_of_the_wrong_kind_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Parameters(**wrong)


def test_a_folder_that_is_missing_is_named(agency, tmp_path):
    with pytest.raises(InputError, match="folder not found"):
        agency.write(tmp_path / "none")
