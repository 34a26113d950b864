"""Where protection has added up groups that are too small, a question withholds what is by group, and says so."""

from __future__ import annotations

from dataclasses import replace

import duckdb
import msgspec
import pytest

from question_cases import cohort, records, study
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.designs import Calendar
from retrain_eval.plan.questions import DigitalDivide, ForWhom, NotRetrainable, Providers, Questions
from retrain_eval.plan.strata import Stratum
from retrain_eval.plan.study_file import About, Did, Match
from retrain_eval.questions.answers import Withheld
from retrain_eval.questions.asking import gather
from retrain_eval.questions.catalogue import QUESTIONS
from retrain_eval.questions.protocol import Inquiry
from retrain_eval.questions.tables import Tables
from retrain_eval.tables.life_table.life_table import LifeTable

CALENDAR = Calendar(start=2020, before=2, after=1, history=2)
STRATA = {
    "sex": Stratum(column="sex", labels={"female": "women", "male": "men"}),
    "age_band": Stratum(column="age", cuts=(25.0,), labels=("under 25", "25 and over")),
}
ASKED = {
    "for_whom": ForWhom(strata=("sex",), programmes=("tier",), together=(("sex", "age_band"),)),
    "not_retrainable": NotRetrainable(groups={"sex": ("women",)}, covariates=("sex", "age_band"), cost_retraining=1.0,
                                      cost_alternative=1.0),
    "providers": Providers(adjust="sex"),
    "digital_divide": DigitalDivide(followed=4, literacy_cuts=(250.0,)),
}  # fmt: skip


def people() -> duckdb.DuckDBPyConnection:
    """t1 and c1 are men with digital access and good scores, who go to another provider than t2."""
    con = records()
    con.execute("UPDATE person SET sex = 'male' WHERE person_id[1:2] IN ('t1', 'c1')")
    con.execute("ALTER TABLE person ADD COLUMN digital_access BOOLEAN")
    con.execute("ALTER TABLE person ADD COLUMN literacy_score DOUBLE")
    con.execute("UPDATE person SET digital_access = sex = 'male', literacy_score = CASE sex WHEN 'male' THEN 300 END")
    con.execute("UPDATE person SET literacy_score = 200 WHERE literacy_score IS NULL")
    con.execute("ALTER TABLE programme ADD COLUMN provider VARCHAR")
    con.execute("ALTER TABLE programme ADD COLUMN delivery VARCHAR")
    con.execute("UPDATE programme SET provider = 'Acme', delivery = 'public'")
    con.execute("INSERT INTO programme VALUES ('Q', 'substitution', 'Bolt', 'employer')")
    con.execute("UPDATE enrolment SET programme_id = 'Q' WHERE person_id[1:2] = 't2'")
    con.execute("ALTER TABLE enrolment ADD COLUMN exit INTEGER")
    con.execute("UPDATE enrolment SET exit = entry, completed = person_id[4:4] = '0'")
    return con


def summed_over(tables: Tables) -> Tables:
    """Return the tables as protection leaves them at worst: without any group."""
    found = Tables(absent=tables.absent)
    for name, table in tables.items():
        if isinstance(table, OutcomeMoments):
            whole = table.collapse(table.strata)
            found[name] = replace(whole, stamp={**whole.stamp, "noise": "1"})
        elif isinstance(table, LifeTable):
            found[name] = replace(table.collapse(table.by), merged=table.by)
        else:
            found[name] = table
    return found


@pytest.mark.parametrize("name", list(ASKED))
def test_groups_that_were_added_up_are_withheld_with_a_reason(name: str) -> None:
    asked: msgspec.Struct = ASKED[name]
    file = study(
        CALENDAR,
        Questions(**{name: asked}),
        strata=STRATA,
        study=About(name="s", title="T", question="Q", data="D", frequency="year"),
        match=Match(formula="trained ~ earnings_m1", distance="earnings_m1", m_order="data"),
        did=Did(outcome="earnings", smallest_worthwhile=1.0),
    )
    group = cohort(file, people())
    inquiry = Inquiry(file, "d", asked)  # type: ignore[arg-type]
    tables = gather(QUESTIONS[name], group, inquiry)
    assert any(table.strata for table in tables.values() if isinstance(table, OutcomeMoments))
    answers = QUESTIONS[name].answer(summed_over(tables), inquiry)
    reasons = {item.error.public for item in answers.items if isinstance(item, Withheld)}
    assert any("are too small to be shown" in reason or "too few to be shown" in reason for reason in reasons)
    assert not any(part in reason for reason in reasons for part in ("unknown", "_", "'"))


def test_only_a_protected_table_says_that_groups_are_too_small() -> None:
    file = study(CALENDAR, Questions(for_whom=ForWhom(strata=("sex",))), strata=STRATA)
    inquiry = Inquiry(file, "d", file.questions.for_whom)  # type: ignore[arg-type]
    table = gather(QUESTIONS["for_whom"], cohort(file, people()), inquiry)["moments/matched_by_sex"]
    assert isinstance(table, OutcomeMoments)
    whole = table.collapse("sex")
    for options in ({}, {"covariates": ("sex",)}):
        with pytest.raises(InputError, match=r"unknown (stratum|covariate) 'sex'"):
            whole.att_gt(**options).by("sex")  # type: ignore[arg-type]
        safe = replace(whole, stamp={**whole.stamp, "noise": "1"})
        with pytest.raises(DesignError, match="groups by sex are too small to be shown"):
            safe.att_gt(**options).by("sex")  # type: ignore[arg-type]
