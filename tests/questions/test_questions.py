"""Each question on people few enough to calculate by hand, and what it says where the records do not give it."""

from __future__ import annotations

from math import exp

import duckdb
import pandas as pd
import pytest

from question_cases import COPIES, PAY, ask, cohort, effects, records, study, withheld
from retrain_eval.common.errors import DesignError
from retrain_eval.estimators.survival.spells import Spells
from retrain_eval.plan.designs import Calendar, Observed
from retrain_eval.plan.questions import (
    Balance,
    EffectOverTime,
    ForWhom,
    JobQuality,
    JobStability,
    Questions,
    Sensitivity,
    WagePath,
)
from retrain_eval.plan.strata import Stratum
from retrain_eval.plan.study_file import About, Did, Match, Panel, Plan, Quality
from retrain_eval.questions.effects.costs import COST
from retrain_eval.questions.jobs.job_stability import _mean_until, _observed
from retrain_eval.tables.statistics import Costs

CALENDAR = Calendar(start=2020, before=2, after=1, history=2)
BY_SEX = {"sex": Stratum(column="sex", title="Sex", labels={"female": "women", "male": "men"})}


def with_men() -> duckdb.DuckDBPyConnection:
    """t1 and c1 are men; pairs within sex are the same as over all."""
    con = records()
    con.execute("UPDATE person SET sex = 'male' WHERE person_id[1:2] IN ('t1', 'c1')")
    return con


def test_effect_over_time_pays_back_when_gains_exceed_the_cost() -> None:
    """Costs of 8 over 3 kinds of people who entered: 2.7 each, to two digits. Gains are 2, then 4 more."""
    con = records()
    con.execute(f"UPDATE cost SET amount = amount * {COPIES}")
    tables, answers = ask(cohort(study(CALENDAR), con), "effect_over_time", EffectOverTime())
    assert tables.need(COST, Costs).per_person == 2.7
    assert effects(answers, "did").popitem()[1] == pytest.approx(3)
    [item] = [item for item in answers.items if item.name == "payback"]
    rows = item.result.to_frame().set_index("estimand")["estimate"]  # type: ignore[union-attr]
    assert rows["cumulative effect"].tolist() == pytest.approx([2, 6])
    assert rows["cost per participant"] == 2.7
    assert (rows["break-even"], rows["payback"]) == (0, 1)


def test_costs_are_in_prices_of_the_base_period() -> None:
    """5 of 2020 and 3 of 2021, when prices had doubled: 5 + 1.5 in prices of 2020."""
    con = records()
    con.execute("CREATE TABLE price (period INTEGER, cpi DOUBLE, region VARCHAR)")
    con.execute("INSERT INTO price SELECT y, CASE WHEN y = 2021 THEN 2 ELSE 1 END, NULL FROM range(2018, 2022) t(y)")
    file = study(CALENDAR, panel=Panel(no_record="missing", base_period=2020))
    tables, _ = ask(cohort(file, con), "effect_over_time", EffectOverTime())
    assert tables.need(COST, Costs).amount == pytest.approx(6.5)
    tables, _ = ask(cohort(study(CALENDAR), con), "effect_over_time", EffectOverTime())
    assert tables.need(COST, Costs).amount == pytest.approx(13)  # of the last period, as earnings are


def test_costs_of_a_period_without_a_price_are_not_left_out_in_silence() -> None:
    con = records()
    con.execute("INSERT INTO cost VALUES ('P', 2025, 100)")
    con.execute("CREATE TABLE price (period INTEGER, cpi DOUBLE, region VARCHAR)")
    con.execute("INSERT INTO price SELECT y, 1, NULL FROM range(2018, 2022) t(y)")
    file = study(CALENDAR, panel=Panel(no_record="missing", base_period=2020))
    tables, answers = ask(cohort(file, con), "effect_over_time", EffectOverTime())
    assert withheld(answers) == {"payback": "records of cost are of periods without a price index"}
    assert COST not in tables


def test_without_records_of_cost_payback_alone_is_withheld() -> None:
    con = records()
    con.execute("DROP TABLE cost")
    _, answers = ask(cohort(study(CALENDAR), con), "effect_over_time", EffectOverTime())
    assert withheld(answers) == {"payback": "no records of cost say what training cost"}
    _, answers = ask(cohort(study(CALENDAR), con), "effect_over_time", EffectOverTime(payback=False))
    assert withheld(answers) == {}


def test_for_whom_matches_within_the_levels_of_a_stratum() -> None:
    """Men: t1 gains 4 and 6, c1 1 and 2. Women: t2 2 and 6, c2 1 and 2."""
    file = study(CALENDAR, strata=BY_SEX)
    tables, answers = ask(cohort(file, with_men()), "for_whom", ForWhom())
    assert set(tables) == {"moments/matched_by_sex"}
    assert effects(answers, "att_by_sex") == pytest.approx({"women": (1 + 4) / 2, "men": (3 + 4) / 2})
    assert effects(answers, "difference_by_sex") == pytest.approx({"men minus women": 1})


def test_for_whom_puts_a_pair_into_the_programme_of_its_trainee() -> None:
    con = records()
    con.execute("INSERT INTO programme VALUES ('Q', 'transition')")
    con.execute("UPDATE enrolment SET programme_id = 'Q' WHERE person_id[1:2] = 't2'")
    _, answers = ask(cohort(study(CALENDAR), con), "for_whom", ForWhom(programmes=("tier",)))
    assert effects(answers, "att_by_tier") == pytest.approx({"foundation": 3.5, "transition": 2.5})


def test_a_stratum_of_one_level_is_not_compared() -> None:
    _, answers = ask(cohort(study(CALENDAR, strata=BY_SEX)), "for_whom", ForWhom())
    reason = "fewer than two levels of sex are left to compare"
    assert withheld(answers) == {"att_by_sex": reason, "difference_by_sex": reason}


def test_a_level_that_cannot_be_matched_is_a_reason_not_a_traceback() -> None:
    con = records()
    con.execute("UPDATE person SET sex = 'male' WHERE person_id[1:1] = 'c'")  # no woman is a control
    _, answers = ask(cohort(study(CALENDAR, strata=BY_SEX), con), "for_whom", ForWhom())
    assert set(withheld(answers)) == {"att_by_sex", "difference_by_sex"}


def test_balance_of_a_design_that_matches_no_one_is_refused_in_a_sentence() -> None:
    tables, answers = ask(cohort(study(Observed())), "balance", Balance())
    assert not tables
    assert "matches no one" in next(iter(tables.absent.values()))
    assert list(withheld(answers)) == ["balance"]


def test_sensitivity_withholds_what_a_missing_outcome_does_not_give() -> None:
    file = study(CALENDAR, did=Did(outcome="m0"), quality=Quality(dimensions=("occupation",)))
    _, answers = ask(cohort(file), "sensitivity", Sensitivity())
    assert {item.table for item in answers.items} == {"bounds", "pretest_power", "rosenbaum", "e_values", "oster"}  # type: ignore[union-attr]


# ---- job quality -------------------------------------------------------------------------------------------------


def test_contributions_of_dimensions_add_up_to_the_effect_on_m0() -> None:
    """Deprived in one of two dimensions or both: at a cut-off of one half each is counted."""
    people = cohort(
        study(
            CALENDAR,
            questions=Questions(job_quality=JobQuality()),
            quality=Quality(dimensions=("tenure", "stability")),
        ),
        quality=QUALITY,
    )
    _, answers = ask(people, "job_quality", JobQuality())
    m0, tenure, stability = (
        effects(answers, f"event_study_{name}") for name in ("m0", "quality_tenure", "quality_stability")
    )
    # trainees: deprived in tenure until 2020, in none in 2021; controls: in tenure, and from 2021 in both
    assert m0 == pytest.approx({-2: 0, -1: 0, 0: 0, 1: (0 - 0.5) - (1 - 0.5)})
    assert tenure == pytest.approx({-2: 0, -1: 0, 0: 0, 1: -0.5})
    assert stability == pytest.approx({-2: 0, -1: 0, 0: 0, 1: -0.5})
    for time, effect in m0.items():
        assert tenure[time] + stability[time] == pytest.approx(effect, abs=1e-12)
    assert effects(answers, "event_study_deprived")[1] == pytest.approx(-1)


QUALITY = """
    SELECT person_id, period, d_tenure, d_stability, d_tenure + d_stability AS deprivations,
      CAST((d_tenure + d_stability) / 2 >= 0.5 AS DOUBLE) AS deprived,
      CASE WHEN (d_tenure + d_stability) / 2 >= 0.5 THEN (d_tenure + d_stability) / 2 ELSE 0 END AS m0
    FROM (
      SELECT person_id, period, CASE WHEN period = 2021 AND person_id[1:1] = 't' THEN 0.0 ELSE 1.0 END AS d_tenure,
        CASE WHEN period = 2021 AND person_id[1:1] <> 't' THEN 1.0 ELSE 0.0 END AS d_stability
      FROM wage_record
    )"""


# ---- job stability -----------------------------------------------------------------------------------------------


def quarterly(patterns: dict[str, str]) -> duckdb.DuckDBPyConnection:
    """Return records of the quarters 8076 to 8087, all covered: a letter is an employer. ``t…`` enter in 8080."""
    con = duckdb.connect()
    con.execute("CREATE TABLE person (person_id VARCHAR, age INTEGER)")
    con.execute("CREATE TABLE enrolment (person_id VARCHAR, programme_id VARCHAR, entry INTEGER)")
    con.execute("CREATE TABLE wage_record (person_id VARCHAR, period INTEGER, wages DOUBLE, employer_id VARCHAR)")
    con.execute(
        "CREATE TABLE coverage AS SELECT 'UI' AS source, NULL::VARCHAR AS region, q AS period, true AS available "
        "FROM range(8076, 8088) t(q)"
    )
    for kind, pattern in patterns.items():
        for n in range(COPIES):
            person = f"{kind}_{n}"
            con.execute("INSERT INTO person VALUES (?, 30)", [person])
            if kind.startswith("t"):
                con.execute("INSERT INTO enrolment VALUES (?, 'P', 8080)", [person])
            for at, letter in enumerate(pattern):
                if letter != ".":
                    con.execute("INSERT INTO wage_record VALUES (?, ?, 1000, ?)", [person, 8076 + at, letter])
    return con


def test_job_stability_counts_time_to_a_job_and_how_long_it_lasts() -> None:
    """Quarter 8080 is the fifth. Without a job in 8079: t1 finds one in 8080 (1 quarter), t2 in 8082 (3).

    c1 finds one in 8081 (2 quarters), c2 none within four. t1 and c1 keep it 2 quarters, t2 for good.
    """
    con = quarterly({"t1": "AA..BB......", "t2": "AA....BBBBBB", "c1": "AA...CC.....", "c2": "AA.........."})
    file = study(
        Calendar(start=8080, before=2, after=7, history=2),
        study=About(name="s", title="T", question="Q", data="D", frequency="quarter"),
        panel=Panel(no_record="coverage"),
        match=Match(formula="trained ~ age", distance="age", m_order="data"),
    )
    asked = JobStability(followed=4, begun_within=3, held_for=4)
    tables, answers = ask(cohort(file, con), "job_stability", asked)
    [jobless] = [item for item in answers.items if item.name == "jobless_since_start"]
    curve = jobless.result.to_frame()  # type: ignore[union-attr]
    by_arm = {arm: dict(zip(rows["time"], rows["estimate"], strict=True)) for arm, rows in curve.groupby("level")}
    assert by_arm["trained"] == pytest.approx({1: 0.5, 3: 0})
    assert by_arm["matched controls"] == pytest.approx({2: 0.5, 4: 0.5})
    [job] = [item for item in answers.items if item.name == "first_job"]
    curve = job.result.to_frame()  # type: ignore[union-attr]
    last = curve.groupby("level")["estimate"].last().to_dict()
    assert last == pytest.approx({"trained": 0.5, "matched controls": 0})
    assert "statistics/indicators_employed" in tables
    # four quarters after the start: one of two trainees works, no control does
    shares = effects_by_level(answers, "indicators_employed", 4)
    assert shares == pytest.approx({"trained": 0.5, "matched controls": 0})


def test_where_every_spell_has_ended_the_mean_is_over_as_long_as_is_asked() -> None:
    """Everyone finds a job within the periods of records, so that no curve ends while someone is still at risk."""
    rows = pd.DataFrame({"id": range(6), "quarters": [1, 2, 3, 2, 3, 3], "cause": 1, "arm": ["a"] * 3 + ["b"] * 3})
    ended = Spells(rows, id="id", by="arm")
    assert _mean_until(ended, 8) == 8
    assert ended.rmst(tau=_mean_until(ended, 8)).to_frame()["estimate"].tolist() == pytest.approx([2, 8 / 3])
    unknown = Spells(rows.assign(arm=None), id="id", by="arm")
    for use in (lambda: _mean_until(unknown, 8), lambda: _observed(unknown, (2,))):
        with pytest.raises(DesignError, match="groups of these people are not known"):
            use()


def test_where_no_one_is_without_a_job_that_is_a_reason_not_the_end_of_the_run() -> None:
    con = quarterly({"t1": "AAAAAAAAAAAA", "t2": "AAAABBBBBBBB", "c1": "AAAACCCCCCCC", "c2": "AAAAAAAAAAAA"})
    file = study(
        Calendar(start=8080, before=2, after=7, history=2),
        study=About(name="s", title="T", question="Q", data="D", frequency="quarter"),
        panel=Panel(no_record="coverage"),
        match=Match(formula="trained ~ age", distance="age", m_order="data"),
    )
    _, answers = ask(cohort(file, con), "job_stability", JobStability(followed=150, begun_within=3, held_for=4))
    assert withheld(answers)["jobless_since_start"] == "there are no spells to count"
    assert answers.has("first_job")


def effects_by_level(answers: object, name: str, time: int) -> dict[str, float]:
    [item] = [item for item in answers.items if item.name == name]  # type: ignore[attr-defined]
    rows = item.result.to_frame().query("time == @time and estimand == 'employed'")
    return dict(zip(rows["level"], rows["estimate"], strict=True))


def test_without_employers_job_stability_says_so() -> None:
    _, answers = ask(cohort(study(CALENDAR)), "job_stability", JobStability())
    assert set(withheld(answers).values()) == {"the wage records name no employer, so that there are no jobs"}


# ---- wage paths --------------------------------------------------------------------------------------------------


def test_wage_paths_grow_by_a_rate_that_is_calculated_by_hand() -> None:
    """Log pay of controls grows by 0.1 a year, that of trainees by 0.3, so the difference is 0.2."""
    pay = {
        **PAY,
        **{name: (10, 10, 10, 10 * exp(0.3)) for name in ("t1", "t2")},
        **{name: (10, 10, 10, 10 * exp(0.1)) for name in ("c1", "c2", "c3")},
    }
    _, answers = ask(cohort(study(CALENDAR), records(pay)), "wage_path", WagePath())
    fits = [item.result.to_frame() for item in answers.items if item.name == "wage_path_fixed"]  # type: ignore[union-attr]
    assert [fit["estimator"].iloc[0] for fit in fits] == ["wage_trajectory_fixed", "pyfixest"]
    for fit in fits:
        rows = fit.set_index("estimand")["estimate"]
        assert rows.to_dict() == pytest.approx({"since_exit": 0.1, "treated:since_exit": 0.2})


def test_outcomes_are_those_of_the_plan_unless_the_question_names_its_own() -> None:
    file = study(CALENDAR, plan=Plan(outcomes=("employed",)))
    tables, _ = ask(cohort(file), "effect_over_time", EffectOverTime())
    assert {"moments/matched_earnings", "moments/matched_employed"} <= set(tables)
    tables, _ = ask(cohort(file), "effect_over_time", EffectOverTime(outcomes=("employed",)))
    assert "moments/matched_earnings" not in tables
