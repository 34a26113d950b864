"""Six kinds of people over four years, small enough to calculate by hand, and the cohorts that designs make of them."""

from __future__ import annotations

from typing import Any

import duckdb
import msgspec

from retrain_eval.plan.designs import AnyDesign
from retrain_eval.plan.questions import Questions
from retrain_eval.plan.study_file import About, Did, Match, Panel, Release, StudyFile
from retrain_eval.questions.answers import Answers, Withheld
from retrain_eval.questions.asking import answers_of, build_cohort, gather, prepare
from retrain_eval.questions.catalogue import QUESTIONS
from retrain_eval.questions.cohort import Cohort
from retrain_eval.questions.protocol import Inquiry
from retrain_eval.questions.tables import Tables

COPIES = 3  # people of each kind: fewer than three pairs give no standard error
# earnings 2018 to 2021; t1 and t2 enter in 2020, late in 2021
PAY: dict[str, tuple[float | None, ...]] = {
    "t1": (10, 10, 14, 16),
    "t2": (20, 20, 22, 26),
    "c1": (10, 10, 11, 12),
    "c2": (20, 20, 21, 22),
    "c3": (90, 90, 90, 90),
    "late": (10, 10, 10, 10),
}
ENTRY = {"t1": 2020, "t2": 2020, "late": 2021}
OFFERED = ("t1", "t2", "c3")
MATCH = Match(formula="trained ~ earnings_m1", distance="earnings_m1", m_order="data")


def records(pay: dict[str, tuple[float | None, ...]] = PAY) -> duckdb.DuckDBPyConnection:
    """Return a connection with the records of these people."""
    con = duckdb.connect()
    people = {f"{kind}_{n}": path for kind, path in pay.items() for n in range(COPIES)}
    con.execute("CREATE TABLE person (person_id VARCHAR, age INTEGER, sex VARCHAR, offered BOOLEAN)")
    con.execute("CREATE TABLE programme (programme_id VARCHAR, tier VARCHAR)")
    con.execute("CREATE TABLE enrolment (person_id VARCHAR, programme_id VARCHAR, entry INTEGER, completed BOOLEAN)")
    con.execute("CREATE TABLE registrant (person_id VARCHAR, period INTEGER)")
    con.execute("CREATE TABLE wage_record (person_id VARCHAR, period INTEGER, wages DOUBLE)")
    con.execute("CREATE TABLE cost (programme_id VARCHAR, period INTEGER, amount DOUBLE)")
    con.execute("INSERT INTO programme VALUES ('P', 'foundation')")
    con.execute("INSERT INTO cost VALUES ('P', 2020, 5), ('P', 2021, 3)")
    for person, path in people.items():
        kind = person.partition("_")[0]
        con.execute("INSERT INTO person VALUES (?, 30, 'female', ?)", [person, kind in OFFERED])
        con.execute("INSERT INTO registrant VALUES (?, ?)", [person, {"t1": 2019, "late": 2021}.get(kind, 2020)])
        if kind in ENTRY:
            con.execute("INSERT INTO enrolment VALUES (?, 'P', ?, ?)", [person, ENTRY[kind], kind in ("t1", "t2")])
        for year, wages in enumerate(path, start=2018):
            if wages is not None:
                con.execute("INSERT INTO wage_record VALUES (?, ?, ?)", [person, year, wages])
    return con


def study(design: AnyDesign, questions: Questions | None = None, **more: Any) -> StudyFile:
    """Return a study file with one design, ``d``."""
    given: dict[str, Any] = {
        "study": About(name="s", title="T", question="Q", data="D"),
        "records": {"person": "person.csv"},
        "panel": Panel(no_record="missing"),
        "match": MATCH,
        "did": Did(outcome="earnings"),
        "release": Release(exact=True, min_contributors=3, profile="open"),
        "designs": {"d": design},
        "questions": questions or Questions(),
    }
    return StudyFile(**(given | more))


def cohort(file: StudyFile, con: duckdb.DuckDBPyConnection | None = None, quality: str = "") -> Cohort:
    """Return the cohort of the design of a study; ``quality`` is SQL that makes that table, for cases of its own."""
    con = records() if con is None else con
    unavailable = prepare(con, file, lambda _: None)
    if quality:
        con.execute(f"CREATE OR REPLACE TABLE quality AS {quality}")
        unavailable.pop("quality", None)
    return build_cohort(con, file, "d", lambda _: None, None, unavailable)


def ask(people: Cohort, name: str, options: msgspec.Struct) -> tuple[Tables, Answers]:
    """Return the tables of a question and everything it answers."""
    inquiry = Inquiry(people.study, people.name, options)  # type: ignore[arg-type]
    tables = gather(QUESTIONS[name], people, inquiry)
    found = answers_of(QUESTIONS[name], people, tables, inquiry)
    return tables, Answers(
        [item for part in found for item in part.items], [line for part in found for line in part.notes]
    )


def effects(answers: Answers, name: str) -> dict[Any, float]:
    """Return the estimates of a result, by event time, level, or time: whichever there is."""
    [item] = [item for item in answers.items if not isinstance(item, Withheld) and item.name == name]
    frame = item.result.to_frame()  # type: ignore[union-attr]
    key = next(k for k in ("event_time", "level", "time", "estimand") if frame[k].notna().any())
    frame = frame[frame[key].notna()]
    return dict(zip(frame[key], frame["estimate"], strict=True))


def withheld(answers: Answers) -> dict[str, str]:
    """Return what is withheld, with the reason."""
    return {item.name: str(item.error) for item in answers.items if isinstance(item, Withheld)}
