"""Providers on six kinds of people, calculated by hand; who is pooled, and what cannot be answered."""

from __future__ import annotations

import importlib.util
import sys

import duckdb
import pytest

from places import ROOT
from question_cases import COPIES, ask, cohort, effects, records, study, withheld
from retrain_eval.common.errors import InputError
from retrain_eval.common.levels import OTHERS
from retrain_eval.plan.designs import Calendar, Observed
from retrain_eval.plan.questions import Providers, Questions, check_strata
from retrain_eval.plan.strata import Stratum
from retrain_eval.plan.study_file import Release
from retrain_eval.questions.answers import Answer, Answers
from retrain_eval.questions.catalogue import QUESTIONS, what_is_missing
from retrain_eval.questions.providing.providers import ADJUSTED, EFFECTS, MOST, _names
from retrain_eval.sample.counting import count_linked


@pytest.fixture(autouse=True)
def three_people_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases calculated by hand have three people of each kind."""
    monkeypatch.setattr("retrain_eval.questions.providing.providers.FEWEST_PEOPLE", 3)


CALENDAR = Calendar(start=2020, before=2, after=1, history=2)
ASKED = Questions(providers=Providers())


def with_providers(one: str | None = "Acme", other: str | None = "Bolt") -> duckdb.DuckDBPyConnection:
    """t1 and t2 enter programmes of two providers."""
    con = records()
    con.execute("ALTER TABLE programme ADD COLUMN provider VARCHAR")
    con.execute("UPDATE programme SET provider = ?", [one])
    con.execute("INSERT INTO programme VALUES ('Q', 'transition', ?)", [other])
    con.execute("UPDATE enrolment SET programme_id = 'Q' WHERE person_id[1:2] = 't2'")
    return con


def answer(con: duckdb.DuckDBPyConnection, options: Providers = Providers(), **more: object) -> Answers:  # noqa: B008
    file = study(CALENDAR, Questions(providers=options), **more)
    return ask(cohort(file, con), "providers", options)[1]


def shares(answers: Answers, outcome: str) -> dict[str, tuple[float, int]]:
    tables = [item.result for item in answers.items if isinstance(item, Answer) and item.name == "shares"]
    rows = [row for table in tables for row in table.to_dict("records") if row["outcome"] == outcome]  # type: ignore[union-attr]
    return {row["level"]: (row["mean"], row["n"]) for row in rows}


def test_a_pair_belongs_to_the_provider_of_its_trainee() -> None:
    """t1 gains 4 and 6 against 1 and 2 of its control, t2 2 and 6 against 1 and 2."""
    answers = answer(with_providers())
    assert effects(answers, EFFECTS) == pytest.approx({"Acme": 3.5, "Bolt": 2.5})
    # the three copies of each pair are alike, so that no effect has a standard error
    assert withheld(answers) == {EFFECTS: "fewer than two providers have an effect with a standard error"}
    reasons = {item.table for item in answers.items if not isinstance(item, Answer)}
    assert reasons == {"tests", "providers", "provider_spread"}


def test_completion_and_employment_are_counted_alongside() -> None:
    con = with_providers()
    con.execute("UPDATE enrolment SET completed = false WHERE person_id = 't1_0'")
    con.execute("UPDATE enrolment SET completed = NULL WHERE person_id = 't1_1'")
    con.execute("UPDATE wage_record SET wages = 0 WHERE person_id = 't2_0' AND period = 2021")
    answers = answer(con, Providers(placed_after=1))
    assert shares(answers, "completed") == {"Acme": (0.5, 2), "Bolt": (1.0, COPIES)}
    assert shares(answers, "employed") == {"Acme": (1.0, COPIES), "Bolt": (pytest.approx(2 / 3), COPIES)}


def test_where_no_one_is_followed_so_long_the_share_employed_is_withheld_or_empty() -> None:
    answers = answer(with_providers(), Providers(placed_after=9))
    assert shares(answers, "employed") == {}


def test_small_providers_are_pooled_and_never_a_number() -> None:
    """t2_0 alone enters a programme of a third provider; with at least three people, one more has to join it."""
    con = with_providers()
    con.execute("INSERT INTO programme VALUES ('R', 'transition', 'Tiny')")
    con.execute("UPDATE enrolment SET programme_id = 'R' WHERE person_id = 't2_0'")
    answers = answer(con)
    found = effects(answers, EFFECTS)
    assert set(found) == {"Acme", OTHERS}
    assert found["Acme"] == pytest.approx(3.5)
    assert found[OTHERS] == pytest.approx(2.5)


def test_if_all_providers_are_small_nothing_is_shown() -> None:
    answers = answer(with_providers(), release=Release(exact=True, min_contributors=7, profile="open"))
    assert withheld(answers)[EFFECTS] == "no provider has enough trainees, and enough controls, to be shown"


def test_whatever_the_profile_fewer_than_ten_are_not_shown_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert withheld(answer(with_providers()))[EFFECTS].startswith("no provider has enough trainees")


def test_one_provider_has_an_effect_and_no_comparison() -> None:
    answers = answer(with_providers("Acme", "Acme"))
    assert effects(answers, EFFECTS) == pytest.approx({"Acme": 3.0})
    reasons = {item.table: str(item.error) for item in answers.items if not isinstance(item, Answer)}
    assert set(reasons) == {"tests", "providers", "provider_spread"}
    assert set(reasons.values()) == {"fewer than two providers have an effect with a standard error"}


@pytest.mark.parametrize("name", [None, "", " \n", "(missing)"])
def test_people_whose_provider_is_not_known_are_shown_apart(name: str | None) -> None:
    assert effects(answer(with_providers(other=name)), EFFECTS) == pytest.approx({"Acme": 3.5, "(missing)": 2.5})


def test_names_that_differ_in_spaces_alone_are_one_name() -> None:
    assert effects(answer(with_providers("Acme \n Ltd", " Acme Ltd ")), EFFECTS) == pytest.approx({"Acme Ltd": 3.0})


def test_quotes_and_signs_of_names_stay_as_they_are() -> None:
    name = "O'Neil & Sons × Co minus $x$ (a); DROP TABLE person; --"
    assert set(effects(answer(with_providers(name)), EFFECTS)) == {name, "Bolt"}


def test_adjusted_effects_are_of_one_mix_of_people() -> None:
    """Both providers train men who gain 3 and women who gain nothing, in other shares."""
    con = with_providers()
    con.execute("UPDATE person SET sex = 'male' WHERE person_id[1:1] = 't' AND person_id[4:4] = '0'")
    file = {"strata": {"sex": Stratum(column="sex", title="Sex")}}
    answers = answer(con, Providers(adjust="sex"), **file)
    # every group has one man of each kind, too few for a standard error: withheld in a sentence
    assert ADJUSTED in withheld(answers)
    assert effects(answers, EFFECTS) == pytest.approx({"Acme": 3.5, "Bolt": 2.5})


def test_an_unknown_stratum_to_adjust_for_is_named() -> None:
    with pytest.raises(InputError, match="sx"):
        check_strata(Questions(providers=Providers(adjust="sx")), {"sex": Stratum(column="sex")})


def test_without_pairs_the_question_says_so() -> None:
    lacking = QUESTIONS["providers"].missing(
        {"enrolment": ["entry"], "programme": ["provider"], "wage_record": ["wages"]}, study(Observed()), "observed"
    )
    assert lacking == ["a design of the kind waiting or entry or calendar"]


def test_the_catalogue_says_that_providers_are_missing() -> None:
    have = {"person": ["age"], "enrolment": ["entry"], "wage_record": ["wages"], "programme": ["tier"]}
    assert what_is_missing(study(CALENDAR), have)["providers"] == ["programme.provider"]


def test_people_do_not_get_a_provider_unless_it_is_asked() -> None:
    """What other questions see of people, and the bytes of what they publish, stay as they were."""
    assert "provider" not in cohort(study(CALENDAR), with_providers()).people.columns
    assert "provider" in cohort(study(CALENDAR, ASKED), with_providers()).people.columns


def test_of_more_than_200_providers_the_smallest_are_pooled() -> None:
    rows = duckdb.sql("SELECT 'P' || j AS provider, true AS found FROM range(250) t(j), range(10 + j)")
    names = _names(count_linked(rows, "found", ["provider"]), 10)
    assert sum(shown != OTHERS for shown in names.values()) == MOST
    assert (names["P0"], names["P249"]) == (OTHERS, "P249")


@pytest.mark.slow
def test_with_few_people_no_spread_is_found_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 60 draws one or two are expected; 17% to 51% found one while variances were taken as known."""
    monkeypatch.undo()
    place = ROOT / "benchmarks" / "questions_providers.py"
    spec = importlib.util.spec_from_file_location("questions_providers", place)
    assert spec is not None
    assert spec.loader is not None
    checks = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = checks  # a dataclass looks its module up
    spec.loader.exec_module(checks)
    for arms in (checks.SMALL, checks.FEW_CONTROLS):
        assert sum(checks.check(60, 12, 0.0, arms).spread_found) <= 4
