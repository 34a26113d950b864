"""Who drops out: few people, calculated by hand; what is said where records lack something; known truth, by tables."""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from question_cases import ask, cohort, records, study
from retrain_eval.common.errors import InputError
from retrain_eval.estimators.survival.risk import risk_sets
from retrain_eval.plan.designs import Calendar, Observed
from retrain_eval.plan.questions import DigitalDivide, Questions
from retrain_eval.plan.strata import Stratum
from retrain_eval.plan.study_file import StudyFile, read_study
from retrain_eval.questions.answers import Answers, Withheld
from retrain_eval.questions.catalogue import QUESTIONS
from retrain_eval.questions.cohort import Cohort
from retrain_eval.tables.life_table.life_table import LifeTable

CALENDAR = Calendar(start=2020, before=2, after=1, history=2)
WITH, WITHOUT = "with digital access", "without digital access"
ASKED = DigitalDivide(followed=4, literacy_cuts=(250.0,))


def divided() -> duckdb.DuckDBPyConnection:
    """Return three people of each kind: t1, c1, c3 and late have access and good scores, t2 and c2 neither.

    t1 complete in the year of entry. Of t2, one drops out in it and earns less than the others in 2021, two complete in
    the next. Late enter in 2021, and are in the programme when the records end.
    """
    con = records()
    con.execute("ALTER TABLE person ADD COLUMN digital_access BOOLEAN")
    con.execute("ALTER TABLE person ADD COLUMN literacy_score DOUBLE")
    con.execute("UPDATE person SET digital_access = person_id[1:2] NOT IN ('t2', 'c2')")
    con.execute("UPDATE person SET literacy_score = CASE WHEN digital_access THEN 300 ELSE 200 END")
    con.execute("ALTER TABLE programme ADD COLUMN delivery VARCHAR")
    con.execute("UPDATE programme SET delivery = 'public'")
    con.execute("ALTER TABLE enrolment ADD COLUMN exit INTEGER")
    con.execute("ALTER TABLE enrolment ADD COLUMN exit_reason VARCHAR")
    con.execute("UPDATE enrolment SET exit = 2020, exit_reason = 'completed' WHERE person_id[1:2] = 't1'")
    con.execute("UPDATE enrolment SET exit = 2021, exit_reason = 'completed' WHERE person_id[1:2] = 't2'")
    con.execute("UPDATE enrolment SET completed = NULL WHERE person_id[1:4] = 'late'")
    dropped = "SET exit = 2020, exit_reason = 'dropped_out', completed = false WHERE person_id = 't2_0'"
    con.execute(f"UPDATE enrolment {dropped}")
    con.execute("UPDATE wage_record SET wages = 23 WHERE person_id = 't2_0' AND period = 2021")
    return con


def asking(con: duckdb.DuckDBPyConnection, options: DigitalDivide = ASKED, **more: object) -> tuple[Cohort, StudyFile]:
    file = study(more.pop("design", CALENDAR), Questions(digital_divide=options), **more)  # type: ignore[arg-type]
    return cohort(file, con), file


def answered(con: duckdb.DuckDBPyConnection, **more: object) -> Answers:
    return ask(asking(con, **more)[0], "digital_divide", ASKED)[1]


def withheld(answers: Answers) -> dict[str, str]:
    """Return the effects that are withheld, with the reason."""
    return {
        item.name: str(item.error) for item in answers.items if isinstance(item, Withheld) and item.table == "effects"
    }


def rows(answers: Answers, name: str) -> pd.DataFrame:
    [item] = [item for item in answers.items if not isinstance(item, Withheld) and item.name == name]
    return item.result.to_frame()  # type: ignore[union-attr]


# ---- by hand -----------------------------------------------------------------------------------------------------


def test_ways_of_leaving_compete() -> None:
    """Nine entered. In the first year 3 completed, 1 dropped out and 3 are censored; of the 2 left both completed.

    So S(1) = 5/9, and the share that completed is 3/9 + 5/9 · 2/2.
    """
    found = rows(answered(divided()), "programme_ends").set_index(["estimand", "time"])["estimate"]
    assert found["CIF(completed)", 1] == pytest.approx(3 / 9)
    assert found["CIF(completed)", 2] == pytest.approx(8 / 9)
    assert found["CIF(dropped_out)", 1] == found["CIF(dropped_out)", 2] == pytest.approx(1 / 9)


def test_by_access_everyone_who_entered_counts_matched_or_not() -> None:
    found = rows(answered(divided()), "programme_ends_by_access_level").set_index(["level", "estimand", "time"])
    assert found.loc[(WITH, "CIF(completed)", 1), "estimate"] == pytest.approx(3 / 6)
    assert found.loc[(WITHOUT, "CIF(dropped_out)", 1), "estimate"] == pytest.approx(1 / 3)
    assert found.loc[(WITHOUT, "CIF(completed)", 2), "estimate"] == pytest.approx(2 / 3)
    assert found.loc[(WITH, "CIF(completed)", 1), "n_treated"] == 6


def test_a_difference_has_no_error_where_no_one_of_a_group_left_so() -> None:
    """Of those with access no one dropped out: how far chance goes there cannot be estimated from zero of six."""
    found = rows(answered(divided()), "programme_ends_by_access_level_difference").set_index("estimand")
    apart = found.loc[f"difference in CIF(dropped_out): {WITHOUT} minus {WITH}"]
    assert apart["estimate"] == pytest.approx(1 / 3)
    assert pd.isna(apart["std_error"])
    assert pd.isna(apart["ci_low"])


def test_a_person_who_enters_another_programme_soon_was_transferred() -> None:
    con = divided()
    con.execute("INSERT INTO programme VALUES ('Q', 'transition', 'employer')")
    con.execute("INSERT INTO enrolment VALUES ('t2_0', 'Q', 2021, NULL, NULL, NULL)")
    found = rows(answered(con), "programme_ends").set_index(["estimand", "time"])["estimate"]
    assert found["CIF(transferred)", 1] == pytest.approx(1 / 9)
    assert ("CIF(dropped_out)", 1) not in found.index
    people, _ = asking(con, DigitalDivide(transfer_within=0))
    _, answers = ask(people, "digital_divide", DigitalDivide(transfer_within=0))
    assert "CIF(dropped_out)" in set(rows(answers, "programme_ends")["estimand"])


def test_reasons_are_those_of_the_records_and_completion_counts_first() -> None:
    con = divided()
    con.execute("UPDATE enrolment SET exit_reason = 'employed' WHERE person_id = 't1_0'")  # and completed is true
    con.execute("UPDATE enrolment SET exit_reason = 'health', completed = false WHERE person_id = 't1_1'")
    con.execute("UPDATE enrolment SET exit_reason = NULL, completed = false WHERE person_id = 't1_2'")
    con.execute("UPDATE enrolment SET exit_reason = 'employed', completed = NULL WHERE person_id = 't2_1'")
    found = rows(answered(con), "programme_ends").set_index(["estimand", "time"])["estimate"]
    at_first = {name: found[f"CIF({name})", 1] for name in ("completed", "other_reason", "no_reason", "dropped_out")}
    assert at_first == pytest.approx(dict.fromkeys(at_first, 1 / 9))
    assert found["CIF(employed)", 2] == pytest.approx(5 / 9 / 2)


def test_effects_are_on_everyone_who_entered_and_completers_are_beside_them() -> None:
    """Per year t1 gain (3 + 4)/2; t2 (1 + 4)/2, but t2_0, who dropped out, (1 + 1)/2."""
    answers = answered(divided())
    everyone = rows(answers, "entrants_by_access_level").set_index("level")["estimate"]
    assert everyone.to_dict() == pytest.approx({WITH: 3.5, WITHOUT: (1 + 2.5 + 2.5) / 3})
    [apart] = rows(answers, "entrants_by_access_level_difference")["estimate"]
    assert apart == pytest.approx(2 - 3.5)
    found = rows(answers, "completers").set_index("estimand")["estimate"]
    assert found["ATT"] == pytest.approx((3 * 3.5 + 6) / 6)
    assert found["among the selected"] == pytest.approx((3 * 3.5 + 2 * 2.5) / 5)
    assert found["among the selected minus ATT"] == pytest.approx(3.1 - 2.75)
    by_access = rows(answers, "completers_by_access_level").set_index(["level", "estimand"])["estimate"]
    assert by_access[WITHOUT, "among the selected minus ATT"] == pytest.approx(0.5)
    assert by_access[WITH, "among the selected minus ATT"] == pytest.approx(0, abs=1e-9)


def test_where_no_one_is_matched_completers_are_compared_with_all_controls() -> None:
    """Untrained have in 2020 (11, 21, 90), in 2021 (12, 22, 90) after (10, 20, 90): they gain 2/3, then 4/3."""
    answers = answered(divided(), design=Observed())
    found = rows(answers, "completers").set_index("estimand")["estimate"]
    assert found["among the selected"] != pytest.approx(found["ATT"])
    assert found["among the selected minus ATT"] == pytest.approx(found["among the selected"] - found["ATT"])
    gains = {"t1": (4, 6), "t2": (2, 6)}
    of_completers = [(sum(gains[kind]) - 2 / 3 - 4 / 3) / 2 for kind in ("t1", "t1", "t1", "t2", "t2")]
    assert found["among the selected"] == pytest.approx(sum(of_completers) / 5)


# ---- what the records do not give --------------------------------------------------------------------------------


def test_the_catalogue_says_what_is_missing() -> None:
    file = study(CALENDAR, Questions(digital_divide=ASKED))
    question = QUESTIONS["digital_divide"]
    have = {"person": ["person_id"], "enrolment": ["person_id", "entry", "exit"], "wage_record": ["wages"]}
    assert question.missing(have, file) == ["enrolment.completed", "person.digital_access or person.literacy_score"]
    have["person"].append("literacy_score")
    have["enrolment"].append("completed")
    assert question.missing(have, file) == []


def test_without_access_the_rest_is_answered() -> None:
    con = divided()
    con.execute("ALTER TABLE person DROP COLUMN digital_access")
    answers = answered(con)
    reasons = withheld(answers)
    assert "programme_ends_by_literacy_band" not in reasons
    assert "entrants_by_literacy_band" not in reasons
    for name in ("programme_ends_by_access_level", "entrants_by_access_level", "completers_by_access_level"):
        assert reasons[name] == "no one's digital access is recorded (person.digital_access)"


def test_one_level_of_access_is_not_compared() -> None:
    con = divided()
    con.execute("UPDATE person SET digital_access = true")
    reasons = withheld(answered(con))
    assert "nothing to compare" in reasons["programme_ends_by_access_level_difference"]
    assert reasons["entrants_by_access_level_difference"] == "fewer than two levels of access_level are left to compare"
    assert "programme_ends_by_access_level" not in reasons


def test_people_whose_access_is_not_recorded_are_shown_apart() -> None:
    con = divided()
    con.execute("UPDATE person SET digital_access = NULL WHERE person_id[1:4] = 'late'")
    answers = answered(con)
    assert "(missing)" in set(rows(answers, "programme_ends_by_access_level")["level"])
    assert not rows(answers, "programme_ends_by_access_level_difference")["estimand"].str.contains("missing").any()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("completed = false, exit_reason = 'dropped_out', exit = 2020", "no one who entered and is compared"),
        ("completed = true, exit_reason = 'completed', exit = 2020", "everyone who is compared completed"),
    ],
)
def test_everyone_or_no_one_drops_out(change: str, reason: str) -> None:
    con = divided()
    con.execute(f"UPDATE enrolment SET {change}")
    answers = answered(con)
    assert reason in withheld(answers)["completers"]
    assert "entrants_by_access_level" not in withheld(answers)
    ends = rows(answers, "programme_ends")
    assert ends["estimate"].tolist() == [1]
    assert rows(answers, "programme_ends_by_access_level_difference")["estimate"].tolist() == [0]


def test_exits_without_a_period_are_no_censored_spells() -> None:
    con = divided()
    con.execute("UPDATE enrolment SET exit = NULL WHERE person_id = 't2_0'")
    reasons = withheld(answered(con))
    assert "not in which period" in reasons["programme_ends"]
    assert "of 1 of" not in reasons["programme_ends"]
    assert "entrants_by_access_level" not in reasons


def test_no_one_has_left_yet() -> None:
    con = divided()
    con.execute("UPDATE enrolment SET exit = NULL, completed = NULL, exit_reason = NULL")
    reasons = withheld(answered(con))
    assert "no cause" in reasons["programme_ends"]


def test_cuts_that_do_not_ascend_and_a_stratum_of_the_same_name_are_refused(tmp_path: Path) -> None:
    text = """
        [study]
        name = "s"
        title = "T"
        question = "Q"
        data = "D"
        frequency = "year"
        limitations = ["none"]
        [records]
        person = "p.csv"
        [did]
        outcome = "earnings"
        [designs.observed]
        [questions.digital_divide]
        """
    (tmp_path / "study.toml").write_text(text + "literacy_cuts = [276.0, 226.0]\n")
    with pytest.raises(InputError, match=r"literacy_cuts of \[questions.digital_divide\] do not ascend"):
        read_study(tmp_path)
    (tmp_path / "study.toml").write_text(text + '[strata.access_level]\ncolumn = "sex"\n')
    with pytest.raises(InputError, match=r"\[strata.access_level\] is taken"):
        read_study(tmp_path)


def test_the_study_that_does_not_ask_it_has_no_strata_of_it() -> None:
    people = cohort(study(CALENDAR, strata={"sex": Stratum(column="sex")}), divided())
    assert people.levels == ["sex"]
    assert "access_level" not in people.people.columns
    people, _ = asking(divided(), strata={"sex": Stratum(column="sex")})
    assert people.levels == ["sex", "access_level", "literacy_band"]
    assert people.strata == ["sex"]


def test_life_tables_count_each_person_once() -> None:
    con = divided()
    con.execute(
        "INSERT INTO enrolment SELECT * REPLACE ('Q' AS programme_id, 2021 AS entry, NULL AS exit) FROM enrolment"
    )
    con.execute("INSERT INTO programme VALUES ('Q', 'transition', 'employer')")
    tables, _ = ask(asking(con)[0], "digital_divide", ASKED)
    table = tables.need("life_tables/programme_ends_by_access_level_and_delivery", LifeTable)
    assert table.n_spells == table.n_people == 9
    assert {risk.level for risk in risk_sets(table)} == {(WITH, "public"), (WITHOUT, "public")}


# ---- known truth -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_known_truth_at_the_level_of_tables() -> None:
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    from questions_digital_divide import checks

    for name, share, low, high in checks(draws=18, people=1_500):
        assert low <= share <= high, (name, share)
