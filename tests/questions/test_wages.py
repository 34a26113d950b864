"""The questions on log earnings and on employment quality by dimension: by hand, where they refuse, in a study."""

from __future__ import annotations

from math import exp, log
from pathlib import Path

import numpy as np
import pytest

import wages_study
from question_cases import PAY, ask, cohort, effects, records, study, withheld
from retrain_eval.estimators.inference.lee_bounds import (
    AMONG,
    EMPLOYED,
    EMPLOYED_CONTROL,
    INTERVAL,
    LOWER,
    TRIMMED,
    UPPER,
)
from retrain_eval.estimators.stacked_outcomes import stacked_outcome
from retrain_eval.plan.designs import AnyDesign, Calendar, Entry, Randomised
from retrain_eval.plan.questions import JobQuality, Questions, WagePath
from retrain_eval.plan.study_file import Match, Panel, Quality
from retrain_eval.questions.answers import Answers
from retrain_eval.questions.jobs.job_quality import contributions
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.verification.answering import answer
from retrain_eval.release.verification.verify import verify
from retrain_eval.report.page import open_release
from retrain_eval.report.pages.jobs import growth, pay, quality_parts
from retrain_eval.study.folder import Study

CALENDAR = Calendar(start=2020, before=2, after=1, history=2)
SPAN = {"before": 2, "after": 1, "history": 2}
GROWTH = {
    **PAY,
    "t1": (10, 10, 12, 10 * exp(0.3)),
    "t2": (20, 20, 22, 20 * exp(0.5)),
    "c1": (10, 10, 11, 10 * exp(0.1)),
    "c2": (20, 20, 20, 20 * exp(0.1)),
}  # late and c3 are nobody's match
BANDS = WagePath(lowest=2.0, highest=200.0, width=0.02)


def asked(
    pay: dict[str, tuple[float | None, ...]], design: AnyDesign = CALENDAR, options: WagePath = BANDS, **file: object
) -> Answers:
    given = study(design, Questions(wage_path=options), **file)
    return ask(cohort(given, records(pay)), "wage_path", options)[1]


# ---- log earnings ----------------------------------------------------------------------------------------------------


def test_log_earnings_by_hand() -> None:
    """Logs of t1 and t2 grow by .3 and .5 to 2021, those of c1 and c2 by .1; all four have a job."""
    answers = asked(GROWTH)
    assert effects(answers, "wage_path")[1] == pytest.approx(0.4 - 0.1)
    bounds = effects(answers, "wage_path_bounds")
    assert (bounds[EMPLOYED], bounds[EMPLOYED_CONTROL], bounds[TRIMMED]) == (1, 1, 0)
    gap = log(10 * 20) / 2 + 0.4 - log(10 * 20) / 2 - 0.1
    for name in (AMONG, LOWER, UPPER):
        assert bounds[name] == pytest.approx(gap, abs=0.02)  # a band


def test_who_has_no_job_at_the_end_is_trimmed_from_the_other_group() -> None:
    """c2 earns nothing in 2021: half of the controls work. Of the trained, t1 is the lower half, t2 the higher one."""
    pay = GROWTH | {"c2": (20, 20, 20, None)}
    answers = asked(pay, panel=Panel(no_record="zero"))
    assert effects(answers, "wage_path")[1] == pytest.approx(0.4 - 0.1)  # c2 is not in it
    bounds = effects(answers, "wage_path_bounds")
    assert (bounds[EMPLOYED_CONTROL], bounds[TRIMMED]) == (0.5, 0.5)
    c1 = log(10) + 0.1
    assert bounds[LOWER] == pytest.approx(log(10) + 0.3 - c1, abs=0.04)
    assert bounds[UPPER] == pytest.approx(log(20) + 0.5 - c1, abs=0.04)


def test_the_periods_compared_are_those_of_the_section() -> None:
    """Over 2020 and 2021 together, the mean of both logs."""
    options = WagePath(last=2, lowest=2.0, highest=200.0)
    expected = (log(1.2) + 0.3 + log(1.1) + 0.5) / 4 - (log(1.1) + 0.1 + 0 + 0.1) / 4
    assert effects(asked(GROWTH, options=options), "wage_path")[1] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("design", "more"),
    [
        (Entry(**SPAN), {"match": Match(formula="trained ~ earnings_m1", distance="earnings_m1", exact=("start",))}),
        (Calendar(start=2020, **SPAN), {}),
        (Randomised(start=2020, treated="completed", **SPAN), {}),
    ],
)
def test_it_is_answered_in_each_design(design: AnyDesign, more: dict[str, object]) -> None:
    answers = asked(GROWTH, design, **more)
    assert withheld(answers) == {}
    assert set(answers.names()) == {"wage_path", "wage_path_bounds", "wage_path_fixed"}
    fits = [item.result.to_frame() for item in answers.items if item.name == "wage_path_fixed"]  # type: ignore[union-attr]
    one, other = (fit.set_index("estimand")[["estimate", "std_error"]] for fit in fits)
    np.testing.assert_allclose(one.to_numpy(float), other.to_numpy(float), rtol=1e-6, atol=1e-9)


def test_where_no_trainee_has_a_job_each_part_says_so() -> None:
    pay = GROWTH | {"t1": (10, 10, None, None), "t2": (20, 20, None, None)}
    reasons = withheld(asked(pay, panel=Panel(no_record="zero")))
    assert set(reasons) == {"wage_path", "wage_path_bounds", "wage_path_fixed"}
    assert "fewer than 3 treated are employed" in reasons["wage_path_bounds"]
    assert "in one of the groups no one is employed" in reasons["wage_path"]


def test_where_no_one_worked_before_the_bounds_are_left() -> None:
    """People who register without any pay before: growth cannot be compared, pay at the end can."""
    pay = {name: path if name == "late" else (None, None, *path[2:]) for name, path in GROWTH.items()}
    by_age = Match(formula="trained ~ age", distance="age", m_order="data")
    answers = asked(pay, panel=Panel(no_record="zero"), match=by_age)
    reason = "in one of the groups no one is employed both before the start and at the end"
    assert withheld(answers) == {"wage_path": reason}
    assert EMPLOYED in effects(answers, "wage_path_bounds")


def test_bands_that_do_not_reach_are_named() -> None:
    options = WagePath(lowest=1000.0, highest=100_000.0)
    reasons = withheld(asked(GROWTH, options=options))
    assert "set `lowest` and `highest` of [questions.wage_path]" in reasons["wage_path_bounds"]


@pytest.mark.parametrize(
    "bands", [{"lowest": 10.0, "highest": 5.0}, {"lowest": 10.0, "highest": 11.0}, {"lowest": 1e-9, "width": 0.02}]
)
def test_bands_that_no_table_can_hold_are_refused(bands: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="bands of log earnings; use 10 to 390"):
        WagePath(**bands)  # type: ignore[arg-type]


# ---- employment quality ----------------------------------------------------------------------------------------------

SCORES = """
    SELECT person_id, period, d_tenure, d_stability, d_tenure + d_stability AS deprivations,
      CAST(d_tenure + d_stability >= 1 AS DOUBLE) AS deprived, (d_tenure + d_stability) / 2 AS m0
    FROM (
      SELECT person_id, period, 1.0 AS d_tenure,
        CASE WHEN period >= 2020 AND person_id[1:1] = 't' THEN 0.0 ELSE 1.0 END AS d_stability FROM wage_record
    )"""


def many(copies: int = 12) -> object:
    """Return the records of twelve times as many people."""
    con = records()
    for table in ("person", "enrolment", "registrant", "wage_record"):
        con.execute(f"CREATE TABLE more AS SELECT * REPLACE (person_id || '_' || k AS person_id) FROM {table}, "
                    f"range({copies}) t(k)")  # fmt: skip
        names = ", ".join(name for name, *_ in con.execute(f"DESCRIBE {table}").fetchall())
        con.execute(f"DELETE FROM {table}; INSERT INTO {table} SELECT {names} FROM more; DROP TABLE more")
    return con


def quality_of(con: object) -> Answers:
    file = study(
        CALENDAR, Questions(job_quality=JobQuality()), quality=Quality(dimensions=("tenure", "stability"), cutoff_k=0.5)
    )
    return ask(cohort(file, con, quality=SCORES), "job_quality", JobQuality())[1]  # type: ignore[arg-type]


def test_intensity_by_hand() -> None:
    """Everyone is deprived in both dimensions before; trainees in one from 2020. So H stays 1, and A falls to 1/2."""
    answers = quality_of(many())
    assert effects(answers, "event_study_intensity") == pytest.approx({-2: 0, -1: 0, 0: -0.5, 1: -0.5})
    assert effects(answers, "event_study_deprived")[1] == pytest.approx(0)
    assert effects(answers, "event_study_quality_stability")[1] == pytest.approx(-0.5)
    assert effects(answers, "event_study_quality_tenure")[1] == pytest.approx(0)


def test_of_six_people_no_intensity_is_told() -> None:
    reasons = withheld(quality_of(records()))
    assert list(reasons) == ["event_study_intensity"]
    assert "there is no ratio to compare" in reasons["event_study_intensity"]


# ---- a whole study ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["default", "open"])
def released(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = wages_study.make(tmp_path_factory.mktemp("wages") / request.param, 3_000, profile=request.param)
    made = Study.open(folder)
    made.run()
    return made.release("draft")


@pytest.mark.slow
def test_a_study_is_released_and_verified(released: Bundle) -> None:
    checked = verify(released.path)
    assert checked.ok, str(checked)
    assert released.withheld == {}
    # single rows alone give the growth models, and nothing else
    assert set(checked.stated) <= {f"wage_path_{name}" for name in ("fixed", "first_differences", "correlated_random")}
    again, published = answer(released, "wage_path"), released.effects
    assert published is not None
    for name in ("wage_path", "wage_path_bounds"):
        one, other = (frame[frame["result"] == name] for frame in (again, published))
        assert one["estimand"].tolist() == other["estimand"].tolist()
        np.testing.assert_allclose(one["estimate"].astype(float), other["estimate"].astype(float), rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_contributions_add_up_to_m0_in_a_release(released: Bundle) -> None:
    """Exactly in what is made from the released table; in what is printed but for its four digits."""
    table = released.moments("quality_parts")
    dimensions = contributions(released.study_file)
    parts = [stacked_outcome(table, part, (k,)).att_gt().aggregate("dynamic") for k, part in enumerate(dimensions)]
    whole = stacked_outcome(table, "m0", range(len(dimensions))).att_gt().aggregate("dynamic")
    total = sum(part.to_frame()["estimate"] for part in parts)
    np.testing.assert_allclose(total, whole.to_frame()["estimate"], atol=1e-12)
    assert released.effects is not None
    printed = released.effects.pivot_table(index="event_time", columns="result", values="estimate")
    sums = printed[[f"event_study_{part}" for part in dimensions]].sum(axis=1)
    np.testing.assert_allclose(sums, printed["event_study_m0"], atol=1e-4)


@pytest.mark.slow
def test_the_pages_say_it(released: Bundle) -> None:
    one = open_release([released.path])
    shown = one.main
    assert {"wage_path_asked", "wage_models", "quality_parts"} <= one.parts()
    assert shown.other_outcomes == ["m0", "deprived"]
    assert "in the last 4 quarters of follow-up" in pay.say_pay(shown)
    assert "is between" in pay.say_bounds(shown)
    assert "less than a millionth of a standard error" in growth.say_models(shown)
    assert quality_parts.say_parts(shown).startswith("8 quarters after the start of training")
    assert "(A) differs by" in quality_parts.say_intensity(shown)
    for table in (pay.tabulate_pay(shown), growth.tabulate_models(shown), quality_parts.tabulate_parts(shown)):
        assert "nan" not in table.html()
    for figure in (pay.draw_pay(shown), quality_parts.draw_parts(shown)):
        assert figure.svg(narrow=True).count("<svg") == 1


@pytest.mark.slow
@pytest.mark.parametrize("design", list(wages_study.DESIGNS))
def test_with_noise_each_design_is_released_and_verified(design: str, tmp_path: Path) -> None:
    """Training raises log earnings by .15; noise moves estimates by less than the standard errors allow for."""
    made = Study.open(wages_study.make_yearly(tmp_path / design, design))
    made.run()
    bundle = made.release("draft")
    checked = verify(bundle.path)
    assert checked.ok, str(checked)
    assert bundle.withheld == {}
    assert bundle.effects is not None
    rows = bundle.effects.set_index("result")
    change = rows.loc[["wage_path"]].iloc[0]
    assert abs(change["estimate"] - wages_study.GAIN) < 4 * change["std_error"]
    assert change["std_error"] < 0.05
    bounds = rows.loc["wage_path_bounds"].set_index("estimand")
    assert bounds.loc[INTERVAL, "ci_low"] < wages_study.GAIN < bounds.loc[INTERVAL, "ci_high"]
    assert set(rows.loc["wage_path_fixed", "estimator"]) == {"wage_trajectory_fixed", "pyfixest"}
    assert pay.say_pay(open_release([bundle.path]).main).startswith("Pay grew faster with training")


@pytest.mark.slow
def test_where_groups_are_small_there_are_sentences(tmp_path: Path) -> None:
    """Of 300 people a few dozen are compared: what rests on fewer than ten is withheld, with the reason."""
    made = Study.open(wages_study.make(tmp_path / "small", 300))
    made.run()
    bundle = made.release("draft")
    assert verify(bundle.path).ok
    assert {"wage_path_bounds", "event_study_m0", "event_study_intensity"} <= set(bundle.withheld)
    release = open_release([bundle.path])
    assert "wage_path_asked" in release.parts()
    assert "cannot be bounded: in a cohort, fewer than 10 people" in pay.say_bounds(release.main)
    assert pay.say_pay(release.main)
    assert "too few people to be published" in quality_parts.say_parts(release.main)
