"""Designs on six kinds of people: who is compared with whom, from when, and what the effect is, calculated by hand."""

from __future__ import annotations

import duckdb
import pytest

from question_cases import COPIES, MATCH, PAY, ask, cohort, effects, records, study, withheld
from retrain_eval.common.errors import InputError
from retrain_eval.plan.designs import AnyDesign, Calendar, Entry, Observed, Randomised
from retrain_eval.plan.questions import EffectOverTime, Sample
from retrain_eval.plan.study_file import Match
from retrain_eval.tables.counts import SampleCounts, counted

SPAN = {"before": 2, "after": 1, "history": 2}


def path(design: AnyDesign, con: duckdb.DuckDBPyConnection | None = None, **more: object) -> dict[float, float]:
    _, answers = ask(cohort(study(design, **more), con), "effect_over_time", EffectOverTime(payback=False))
    return effects(answers, "event_study")


def test_calendar_compares_the_nearest_of_those_who_do_not_enter() -> None:
    """Pairs t1 with c1 and t2 with c2: trainees gain 3 and 6 since 2019, controls 1 and 2."""
    assert path(Calendar(start=2020, **SPAN)) == pytest.approx({-2: 0, -1: 0, 0: 2, 1: 4})


def test_people_who_enter_at_another_time_are_no_controls() -> None:
    people = cohort(study(Calendar(start=2020, **SPAN))).people
    kinds = people.project("split_part(person_id, '_', 1) AS kind, treat, outside, eligible").distinct()
    rows = kinds.order("kind").fetchall()
    assert rows == [
        ("c1", 0, False, True), ("c2", 0, False, True), ("c3", 0, False, True), ("late", 0, True, False),
        ("t1", 1, False, True), ("t2", 1, False, True),
    ]  # fmt: skip


def test_entry_starts_at_the_first_entry_or_at_registration() -> None:
    """People register in 2019 to 2021; t1 registers in 2019 and enters in 2020, so that is the start."""
    design = Entry(**SPAN)
    match = Match(formula=MATCH.formula, distance=MATCH.distance, m_order="data", exact=("start",))
    file = study(design, match=match)
    starts = dict(cohort(file).people.project("split_part(person_id, '_', 1), \"start\"").fetchall())
    assert starts == {"t1": 2020, "t2": 2020, "c1": 2020, "c2": 2020, "c3": 2020, "late": 2021}
    assert path(design, match=match) == pytest.approx({-2: 0, -1: 0, 0: 2, 1: 4})


@pytest.mark.parametrize(
    ("treated", "expected"),
    [
        ("offered", {-2: 0, -1: 0, 0: 2 - 2 / 3, 1: 4 - 4 / 3}),  # t1, t2, c3 against c1, c2, late
        ("entered", {-2: 0, -1: 0, 0: 2 - 2 / 3, 1: 4 - 4 / 3}),  # t1, t2, late against c1, c2, c3
        ("completed", {-2: 0, -1: 0, 0: 3 - 2 / 4, 1: 6 - 4 / 4}),  # t1, t2 against everyone else
    ],
)
def test_randomised_compares_everyone_as_they_are(treated: str, expected: dict[float, float]) -> None:
    assert path(Randomised(start=2020, treated=treated, **SPAN)) == pytest.approx(expected)


def test_observed_is_on_the_calendar_and_by_cohort() -> None:
    """2020: trainees 3, controls 2/3; the cohort of 2021 has 0 against 2/3. At time 0 two of three are of 2020."""
    found = path(Observed())
    assert found[0] == pytest.approx((2 * (3 - 2 / 3) + (0 - 2 / 3)) / 3)
    assert found[1] == pytest.approx(6 - 4 / 3)


def test_the_flow_counts_each_loss_with_its_reason() -> None:
    tables, _ = ask(cohort(study(Calendar(start=2020, **SPAN))), "sample", Sample())
    flow, linkage = (counted(tables.need(f"counts/{name}", SampleCounts)) for name in ("flow", "linkage"))
    counts = flow.pivot_table("n", "step", "group", sort=False) / COPIES
    assert counts["treated"].tolist() == [2] * 7
    assert counts["control"].tolist() == [4, 3, 3, 3, 3, 3, 2]
    assert linkage["n_linked"].tolist() == [6 * COPIES]
    reasons = dict(zip(flow["step"], flow["reason"], strict=True))
    assert reasons["Entered at the start, or not at all"] == "entered before the start, or while they would be controls"


def test_a_person_with_an_unknown_outcome_is_no_candidate() -> None:
    """The nearest of t1 is then c2, and c3 is left for t2: controls gain 1/2 and 1."""
    con = records({**PAY, "c1": (10, 10, 11, None)})
    assert path(Calendar(start=2020, **SPAN), con) == pytest.approx({-2: 0, -1: 0, 0: 3 - 0.5, 1: 6 - 1})


def test_records_that_do_not_reach_far_enough_are_a_refusal_not_a_traceback() -> None:
    _, answers = ask(
        cohort(study(Calendar(start=2020, before=2, after=9, history=2))), "effect_over_time", EffectOverTime()
    )
    assert set(withheld(answers)) == {"event_study", "did", "payback"}


def test_a_register_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="needs records of roll") as raised:
        cohort(study(Entry(register="roll")))
    assert "[records]" in str(raised.value)


def test_an_offer_that_no_column_holds_is_named() -> None:
    with pytest.raises(InputError, match="unknown column of person 'ofered'"):
        cohort(study(Randomised(start=2020, offered="ofered")))
