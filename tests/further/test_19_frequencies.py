"""Every frequency that is offered can be loaded, from the file to the panel; any other is refused with the choices."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import retrain_eval as rte
from further_cases import panel_of, refused, study_folder, wages_of
from retrain_eval.common.periods import parse_period


def study(
    folder: Path, frequency: str, periods: list[str], entry: str, more: str = "", no_record: str = "missing"
) -> Path:
    wages = "person_id,period,employer_id,wages\n" + "".join(f"P1,{p},E1,{100 + i}\n" for i, p in enumerate(periods))
    files = {
        "person.csv": "person_id,age\nP1,40\nP2,41\n",
        "programme.csv": "programme_id,name\nT,Welding\n",
        "enrolment.csv": f"person_id,programme_id,entry\nP1,T,{entry}\n",
        "wage_record.csv": wages,
    }
    return study_folder(folder, files, frequency=frequency, more=more, no_record=no_record)


MARCH = 2019 * 12 + 2


@pytest.mark.parametrize("text", ["2019-03", "2019M03", "201903"])
def test_a_month_is_year_times_twelve_and_its_number(tmp_path, text):
    folder = study(tmp_path / "s", "month", [text], text)
    assert [(p, n) for p, n, _ in wages_of(folder)] == [("P1", MARCH)]


@pytest.mark.parametrize(
    ("periods", "numbers"),
    [
        (["2018-12", "2019-01", "2019-02"], [2018 * 12 + 11, 2019 * 12, 2019 * 12 + 1]),
        (["1999M12", "2000M01"], [1999 * 12 + 11, 2000 * 12]),
        (["202010", "202011", "202012"], [2020 * 12 + 9, 2020 * 12 + 10, 2020 * 12 + 11]),
    ],
)
def test_months_follow_one_another_over_the_turn_of_a_year(tmp_path, periods, numbers):
    panel = panel_of(study(tmp_path / "s", "month", periods, periods[-1]))
    assert [period for person, period in sorted(panel) if person == "P1"] == numbers
    assert [panel["P1", n] for n in numbers] == [100.0 + i for i in range(len(numbers))]


def test_event_time_is_counted_in_months(tmp_path):
    folder = study(tmp_path / "s", "month", ["2019-11", "2019-12", "2020-01", "2020-02"], "2020-01")
    with rte.Study.open(folder).ingest() as store:
        panel = rte.build_panel(store.con, no_record="missing")
        assert panel.filter("person_id = 'P1'").order("period").project("to_entry").fetchall() == [
            (-2,),
            (-1,),
            (0,),
            (1,),
        ]


@pytest.mark.parametrize("text", ["2019-13", "2019M00", "201913", "2019M3x", "2019Q1", "2019"])
def test_what_is_no_month_is_refused_with_its_place(tmp_path, text):
    folder = study(tmp_path / "s", "month", ["2019-03", text], "2019-03")
    refused(lambda: wages_of(folder), text, "line 3", "period")


@pytest.mark.parametrize("text", ["2019-03", "2019M03"])
def test_a_month_in_a_quarterly_study_is_refused(tmp_path, text):
    folder = study(tmp_path / "s", "quarter", ["2019Q1", text], "2019Q1")
    refused(lambda: wages_of(folder), text, "line 3")


def test_a_month_in_a_parquet_file_is_read_like_one_in_a_csv(tmp_path):
    folder = study(tmp_path / "s", "month", ["2019-03"], "2019-03")
    frame = pd.DataFrame(
        {"person_id": ["P1", "P1"], "period": ["2019M03", "2019-04"], "employer_id": "E1", "wages": [1.0, 2.0]}
    )
    frame.to_parquet(folder / "data" / "w.parquet", index=False)
    text = (folder / "study.toml").read_text().replace("data/wage_record.csv", "data/w.parquet")
    (folder / "study.toml").write_text(text)
    assert [n for _, n, _ in wages_of(folder)] == [MARCH, MARCH + 1]


@pytest.mark.parametrize("text", ["2019-03", "2019M03"])
def test_a_month_is_parsed_wherever_a_period_is_given(text):
    assert parse_period(text) == MARCH


def test_the_window_of_a_monthly_panel_may_be_written_in_months(tmp_path):
    folder = study(tmp_path / "s", "month", ["2019-02", "2019-03", "2019-04", "2019-05"], "2019-04")
    panel = panel_of(folder, window=("2019-03", "2019M04"))
    assert {period for _, period in panel} == {MARCH, MARCH + 1}


@pytest.mark.parametrize("frequency", ["week", "two-week interval"])
@pytest.mark.parametrize("numbers", [[1, 2, 3], [51, 52, 53, 54], [998, 999, 1000]])
def test_weeks_and_two_week_intervals_are_numbered_periods(tmp_path, frequency, numbers):
    panel = panel_of(study(tmp_path / "s", frequency, [str(n) for n in numbers], str(numbers[-1])))
    assert sorted(period for person, period in panel if person == "P1") == numbers


@pytest.mark.parametrize("text", ["2019Q1", "2019-03", "1.5", "-2"])
def test_what_is_no_number_of_a_week_is_refused(tmp_path, text):
    folder = study(tmp_path / "s", "week", ["4", text], "4")
    refused(lambda: wages_of(folder), text, "line 3")


@pytest.mark.parametrize("frequency", ["fortnight", "monthly", "day", "Quarter"])
def test_an_unknown_frequency_is_refused_with_the_choices(tmp_path, frequency):
    folder = study(tmp_path / "s", frequency, ["2019"], "2019")
    refused(lambda: rte.Study.open(folder), "frequency", "year", "quarter", "month", "two-week interval", "week")


def test_the_effect_of_a_monthly_study_is_estimated_from_its_panel(tmp_path):
    people = [f"P{i}" for i in range(20)]
    months = ["2019-10", "2019M11", "201912", "2020-01", "2020M02"]
    wages = "person_id,period,employer_id,wages\n" + "".join(
        f"{p},{m},E1,{1000 + 10 * i + 7 * t + (50 if i % 2 and t >= 3 else 0)}\n"
        for i, p in enumerate(people)
        for t, m in enumerate(months)
    )
    files = {
        "person.csv": "person_id\n" + "".join(f"{p}\n" for p in people),
        "programme.csv": "programme_id,name\nT,Welding\n",
        "enrolment.csv": "person_id,programme_id,entry\n" + "".join(f"{p},T,2020M01\n" for p in people[1::2]),
        "wage_record.csv": wages,
    }
    folder = study_folder(tmp_path / "s", files, frequency="month", no_record="missing")
    with rte.Study.open(folder).ingest() as store:
        panel = rte.build_panel(store.con, no_record="missing")
        m = rte.outcome_moments(panel, unit="person_id", time="period", cohort="cohort", outcome="earnings")
    frame = m.att_gt().aggregate("dynamic").to_frame().set_index("event_time")["estimate"]
    assert frame.loc[[0, 1]].tolist() == pytest.approx([50.0, 50.0])
    assert m.times == tuple(range(2019 * 12 + 9, 2020 * 12 + 2))
