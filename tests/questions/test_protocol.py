"""What all questions have in common: tables that add up, answers that need nothing else, names that are known."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import duckdb
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from places import ROOT
from question_cases import PAY, ask, cohort, records, study
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.designs import KINDS, Calendar, Observed
from retrain_eval.plan.questions import EffectOverTime, Questions, Sample
from retrain_eval.plan.rules import Release
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.catalogue import COHORTS, QUESTIONS, what_is_missing
from retrain_eval.questions.cohort import PROGRAMME
from retrain_eval.questions.protocol import Inquiry
from retrain_eval.questions.tables import CLUSTERED, Tables, safe_tables
from retrain_eval.tables.life_table.counting import life_table
from retrain_eval.tables.statistics import Costs

CALENDAR = Calendar(start=2020, before=2, after=1, history=2)
RULES = Release(min_contributors=3)  # neither noise nor exact numbers: small counts are merged


def test_the_catalogue_and_the_study_file_name_the_same_questions_in_one_order() -> None:
    assert list(QUESTIONS) == [field.name for field in msgspec.structs.fields(Questions)]
    assert set(COHORTS) == set(KINDS)


@pytest.mark.parametrize("name", list(QUESTIONS))
def test_a_question_says_what_it_asks_and_needs(name: str) -> None:
    question = QUESTIONS[name]
    assert question.asks.endswith("?")
    schemas = {file.stem for file in (ROOT / "data_schemas").glob("*.json")}
    for record, columns in question.needs.records.items():
        assert record in schemas
        known = {field["name"] for field in json.loads((ROOT / f"data_schemas/{record}.json").read_text())["fields"]}
        assert set(columns) <= known
    assert set(question.needs.kinds) <= set(KINDS)


def test_answers_see_tables_and_the_study_file_only() -> None:
    for question in QUESTIONS.values():
        assert list(inspect.signature(question.answer).parameters) == ["tables", "inquiry"]


def test_attributes_of_programmes_have_the_levels_of_the_schema() -> None:
    fields = json.loads((ROOT / "data_schemas/programme.json").read_text())["fields"]
    levels = {field["name"]: tuple(field.get("constraints", {}).get("enum", ())) for field in fields}
    for name, known in PROGRAMME.items():
        assert set(known) == set(levels[name])


def test_a_result_that_the_catalogue_does_not_name_is_refused() -> None:
    inquiry = Inquiry(study(CALENDAR), "d", Sample())
    answers = Answers()
    answers.withhold("flwo", DesignError("no one"))
    with pytest.raises(InputError, match="the question sample has no result 'flwo'"):
        QUESTIONS["sample"].check(answers, inquiry)


def test_an_attempt_withholds_only_what_is_not_given_yet() -> None:
    tables, given_ = ask(cohort(study(CALENDAR)), "effect_over_time", EffectOverTime(payback=False))
    effects = next(item for item in given_.items if item.name == "did").result  # type: ignore[union-attr]
    answers = Answers()
    with answers.attempt("did", "payback"):
        answers.effects("did", effects)  # type: ignore[arg-type]
        raise DesignError("no cost")
    assert [item.name for item in answers.items] == ["did", "payback"]
    assert tables["moments/matched_earnings"].cells["n"].sum() == 12


# ---- tables ------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(sorted(PAY)), min_size=2, max_size=5, unique=True))
@settings(max_examples=12, deadline=None)
def test_tables_of_two_groups_of_people_add_up_to_those_of_all(kinds: list[str]) -> None:
    """Where no one is matched, collect is a sum over people: the halves' moments add up to the whole's."""
    halves = [{kind: PAY[kind] for kind in some} for some in (kinds, [k for k in PAY if k not in kinds])]
    if any(not {"t1", "t2"} & set(half) or not {"c1", "c2", "c3"} & set(half) for half in halves):
        return  # everyone of a half is of one arm
    file = study(Observed())
    one, other, whole = (
        ask(cohort(file, records(pay)), "effect_over_time", EffectOverTime(payback=False))[0][
            "moments/matched_earnings"
        ]
        for pay in (*halves, PAY)
    )
    assert isinstance(whole, OutcomeMoments)
    added = one + other
    assert added.cells["n"].sum() == whole.cells["n"].sum()
    paths = [table.att_gt().aggregate("simple").to_frame()["estimate"].item() for table in (added, whole)]
    assert paths[0] == pytest.approx(paths[1], abs=1e-9)


def test_costs_add_up_and_come_back_from_a_file(tmp_path: Path) -> None:
    both = Costs(30.0, 10) + Costs(70.0, 10)
    assert (both.amount, both.people, both.per_person) == (100.0, 20, 5.0)
    Costs(30.0, 10, np.array([7], dtype=np.uint64)).released().to_parquet(tmp_path / "cost.parquet")
    again = Costs.read_parquet(tmp_path / "cost.parquet")
    assert isinstance(again, Costs)
    assert (again.amount, again.people, again.keys) == (30.0, 10, None)


def test_life_tables_are_made_safe_after_they_are_added_up() -> None:
    """Two agencies with two spells of one length each: alone too few to keep it apart, together enough."""
    con = duckdb.connect()
    rows = con.sql("SELECT i AS id, 1 + i % 2 AS quarters, 1 AS cause, i AS pair FROM range(4) t(i)")
    one = life_table(rows, id="id", duration="quarters", cause="cause", cluster="pair")
    alone = safe_tables(Tables({"life_tables/job": one}), RULES)
    assert alone["life_tables/job"].grid == (2.0,)  # type: ignore[attr-defined]
    together = safe_tables(Tables({"life_tables/job": one + one}), RULES)
    assert together["life_tables/job"].grid == (1.0, 2.0)  # type: ignore[attr-defined]
    assert together[CLUSTERED + "job"].cluster == "pair"  # type: ignore[attr-defined]
    assert together["life_tables/job"].cluster is None  # type: ignore[attr-defined]


@pytest.mark.parametrize("rules", [Release(exact=True), Release(count_variance=2.0, noise_largest=0.15)])
def test_with_noise_or_exact_numbers_nothing_is_merged(rules: Release) -> None:
    con = duckdb.connect()
    rows = con.sql("SELECT i AS id, 1 + i % 2 AS quarters, 1 AS cause FROM range(4) t(i)")
    table = life_table(rows, id="id", duration="quarters", cause="cause")
    assert safe_tables(Tables({"life_tables/job": table}), rules)["life_tables/job"] is table


def test_what_is_too_small_for_any_duration_is_absent_with_the_reason() -> None:
    con = duckdb.connect()
    rows = con.sql("SELECT 1 AS id, 1 AS quarters, 1 AS cause")
    found = safe_tables(Tables({"life_tables/job": life_table(rows, "id", duration="quarters", cause="cause")}), RULES)
    assert not found
    assert "3 or more" in found.absent["life_tables/job"]


# ---- what is missing ---------------------------------------------------------------------------------------------


def test_what_some_results_need_besides_are_columns_of_the_schemas() -> None:
    fields = {
        f"{file.stem}.{field['name']}"
        for file in (ROOT / "data_schemas").glob("*.json")
        for field in json.loads(file.read_text(encoding="utf-8")).get("fields", [])
    }
    also = {name: question.needs.also for name, question in QUESTIONS.items()}
    named = {column for parts in also.values() for columns in parts.values() for column in columns.split(" or ")}
    assert named <= fields
    assert "person.literacy_score" in also["digital_divide"].values()
    needs = QUESTIONS["digital_divide"].needs
    assert needs.parts_missing({"person": ["digital_access"], "programme": ["delivery"]}) == {
        "results by literacy": "person.literacy_score"
    }
    assert set(QUESTIONS["not_retrainable"].needs.parts_missing({}).values()) == {"programme.tier", "cost.amount"}


def test_what_is_missing_names_records_columns_sections_and_designs() -> None:
    have = {"person": ["person_id", "age"], "enrolment": ["person_id", "entry"], "wage_record": ["wages"]}
    found = what_is_missing(study(CALENDAR), have)
    assert found["effect_over_time"] == []
    assert found["job_stability"] == ["wage_record.employer_id"]
    assert found["job_quality"] == ["records of price", "wage_record.employer_id", "wage_record.isco"]
    found = what_is_missing(study(Observed(), did=None), have)
    assert found["balance"] == ["a design of the kind waiting or entry or calendar"]
    assert found["effect_over_time"] == ["the section [did] of the study file"]
