"""for_whom by several strata together, and not_retrainable: by hand, at the edges, against known truth, in a study."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from types import ModuleType

import duckdb
import numpy as np
import pandas as pd
import pytest

import groups_study
from keyed_people import keyed
from question_cases import COPIES, ask, cohort, effects, records, study, withheld
from retrain_eval.common.errors import InputError
from retrain_eval.estimators.effects.allocation import HALF, HALVES, KIND, PROGRAMMES
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.designs import Calendar
from retrain_eval.plan.questions import ForWhom, NotRetrainable, Questions, check_strata
from retrain_eval.plan.strata import Stratum
from retrain_eval.plan.study_file import Did, StudyFile
from retrain_eval.questions.alternatives.not_retrainable import ANY, in_halves
from retrain_eval.questions.answers import Answer, Answers
from retrain_eval.questions.catalogue import QUESTIONS
from retrain_eval.questions.cohort import Group
from retrain_eval.questions.protocol import Inquiry
from retrain_eval.questions.tables import Tables
from retrain_eval.release.verification.answering import answer
from retrain_eval.release.verification.verify import verify
from retrain_eval.report.page import open_release
from retrain_eval.report.pages import alternatives, cells
from retrain_eval.study.folder import Study
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.statistics import Costs

ROOT = Path(__file__).parents[2]
CALENDAR = Calendar(start=2020, before=2, after=1, history=2)
STRATA = {
    "sex": Stratum(column="sex", title="Sex", labels={"female": "women", "male": "men"}),
    "age_band": Stratum(column="age", title="Age", cuts=(55,), labels=("under 55", "55 and over")),
    "spell": Stratum(column="periods_without_work", title="Time without work", cuts=(1,), labels=("none", "some")),
    "trade": Stratum(column="isco_left", title="Occupation left"),
}
NAMED = NotRetrainable(groups={"sex": ("women",)}, covariates=("sex",), cost_retraining=1.0, cost_alternative=2.0)


def benchmark() -> ModuleType:
    if "questions_groups" not in sys.modules:
        spec = importlib.util.spec_from_file_location("questions_groups", ROOT / "benchmarks" / "questions_groups.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules["questions_groups"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["questions_groups"])
    return sys.modules["questions_groups"]


def with_alternative() -> duckdb.DuckDBPyConnection:
    """t1 and c1 are men; t2, a woman, enters a programme of the tier substitution."""
    con = records()
    con.execute("UPDATE person SET sex = 'male' WHERE person_id[1:2] IN ('t1', 'c1')")
    con.execute("INSERT INTO programme VALUES ('Q', 'substitution')")
    con.execute("UPDATE enrolment SET programme_id = 'Q' WHERE person_id[1:2] = 't2'")
    return con


def file_of(asked: ForWhom | NotRetrainable, *strata: str, worth: float | None = 1.0) -> StudyFile:
    name = "for_whom" if isinstance(asked, ForWhom) else "not_retrainable"
    did = Did(outcome="earnings", smallest_worthwhile=worth)
    return study(CALENDAR, Questions(**{name: asked}), strata={key: STRATA[key] for key in strata}, did=did)


def asked_of(
    con: duckdb.DuckDBPyConnection, asked: ForWhom | NotRetrainable, *strata: str, worth: float | None = 1.0
) -> tuple[Tables, Answers]:
    name = "for_whom" if isinstance(asked, ForWhom) else "not_retrainable"
    return ask(cohort(file_of(asked, *strata, worth=worth), con), name, asked)


# ---- by hand -----------------------------------------------------------------------------------------------------


def test_effects_by_several_strata_are_those_of_their_cells() -> None:
    """t1 gains 4 and 6 against 1 and 2 of its control, t2 2 and 6 against 1 and 2; t1 and c1 are men over 55."""
    con = with_alternative()
    con.execute("UPDATE person SET age = 60 WHERE person_id[1:2] IN ('t1', 'c1')")
    asked = ForWhom(strata=("sex",), together=(("sex", "age_band"),))
    tables, answers = asked_of(con, asked, "sex", "age_band")
    name = "cells_by_sex_and_age_band"
    assert effects(answers, name) == pytest.approx({"women × under 55": 2.5, "men × 55 and over": 3.5})
    assert tables.need(f"moments/{name}", OutcomeMoments).strata == ("sex", "age_band")
    assert name in set(QUESTIONS["for_whom"].publishes(Inquiry(file_of(asked, "sex", "age_band"), "d", asked)))


def test_a_pair_belongs_to_the_kind_of_programme_of_its_trainee() -> None:
    tables, answers = asked_of(with_alternative(), NAMED, "sex")
    assert effects(answers, "programmes_in_sex") == pytest.approx({"women × alternative": 2.5, "men × retraining": 3.5})
    halves = tables.need("moments/allocation", OutcomeMoments).cells
    assert halves["n"].sum() == 4 * COPIES
    # both of a pair are in one half
    by_arm = halves.pivot_table(index=["sex", KIND, HALF], columns=halves["cohort"].notna(), values="n", observed=True)
    assert (by_arm[True] == by_arm[False]).all()


def test_occupations_left_and_time_without_work_are_strata() -> None:
    con = with_alternative()
    con.execute("CREATE TABLE displacement (person_id VARCHAR, displaced_on DATE, isco VARCHAR)")
    con.execute("INSERT INTO displacement SELECT person_id, DATE '2018-05-01', '7212' FROM person")
    con.execute("INSERT INTO displacement SELECT person_id, DATE '2019-05-01', '9111' FROM person")
    tables, _ = asked_of(con, ForWhom(strata=("trade", "spell")), "trade", "spell")
    assert set(tables.need("moments/matched_by_trade", OutcomeMoments).cells["trade"]) == {"7"}
    assert set(tables.need("moments/matched_by_spell", OutcomeMoments).cells["spell"]) == {"none"}


def test_costs_by_kind_of_programme() -> None:
    """5 and 3 for P, of six people: three t1 and three late; 9 for Q, of three."""
    con = with_alternative()
    con.execute("INSERT INTO cost VALUES ('Q', 2020, 9)")
    asked = NotRetrainable(groups={"sex": ("women",)}, covariates=("sex",))
    tables, _ = asked_of(con, asked, "sex")
    each = {kind: tables.need(f"statistics/cost_{kind}", Costs) for kind in PROGRAMMES}
    assert {kind: (of.amount, of.people) for kind, of in each.items()} == {"retraining": (8, 6), "alternative": (9, 3)}


def test_costs_by_kind_are_refused_where_a_price_is_not_known() -> None:
    con = with_alternative()
    con.execute("INSERT INTO cost VALUES ('Q', 2020, 9)")
    con.execute("CREATE TABLE price (period INTEGER, cpi DOUBLE, region VARCHAR)")
    con.execute("INSERT INTO price SELECT y, 1, NULL FROM range(2018, 2022) t(y)")
    asked = NotRetrainable(groups={"sex": ("women",)}, covariates=("sex",))
    file = file_of(asked, "sex")
    people = cohort(file, con)
    con.execute("DELETE FROM price WHERE period = 2021")  # the 3 that P cost then
    tables, _ = ask(people, "not_retrainable", asked)
    assert tables.absent["statistics/cost_retraining"] == "records of cost are of periods without a price index"
    assert tables.need("statistics/cost_alternative", Costs).amount == 9


# ---- where the records do not give it ----------------------------------------------------------------------------


def test_without_a_column_the_stratum_is_named() -> None:
    strata = {"capacity": Stratum(column="disability", labels={"true": "limited"})}
    file = study(CALENDAR, Questions(not_retrainable=NotRetrainable(groups={"capacity": ("limited",)})), strata=strata)
    with pytest.raises(InputError, match=r"no column for \[strata.capacity\]") as error:
        cohort(file)
    assert "disability" in str(error.value)


def test_without_substitution_programmes_there_is_no_comparison() -> None:
    _, answers = asked_of(records(), NAMED, "sex")
    assert withheld(answers)["alternative_by_sex"] == "too few people, or none, entered the alternative"
    assert set(effects(answers, "programmes_in_sex")) == {"women × retraining"}


@pytest.mark.parametrize("change", ["ALTER TABLE programme DROP COLUMN tier", "UPDATE programme SET tier = NULL"])
def test_where_programmes_have_no_tier_everyone_is_in_any_programme(change: str) -> None:
    con = with_alternative()
    con.execute(change)
    asked = NotRetrainable(groups={"sex": ("women",)}, covariates=("sex",))
    _, answers = asked_of(con, asked, "sex")
    assert effects(answers, "programmes_in_sex") == pytest.approx({f"women × {ANY}": 2.5, f"men × {ANY}": 3.5})
    reason = "kinds of programmes cannot be told apart, so that there is no alternative to compare"
    found = withheld(answers)
    assert (found["alternative_by_sex"], found["policy"]) == (reason, reason)


def test_without_a_smallest_worthwhile_effect_no_group_is_tested() -> None:
    _, answers = asked_of(with_alternative(), NAMED, "sex", worth=None)
    assert "groups" not in {item.name for item in answers.items if isinstance(item, Answer)}
    assert any("smallest worthwhile" in note for note in answers.notes)


def test_levels_that_cannot_be_told_apart_are_refused() -> None:
    con = with_alternative()
    con.execute("UPDATE person SET sex = 'x × y' WHERE sex = 'male'")
    strata = {"sex": Stratum(column="sex"), "age_band": STRATA["age_band"]}
    asked = ForWhom(strata=("age_band",), together=(("sex", "age_band"),))
    file = study(CALENDAR, Questions(for_whom=asked), strata=strata)
    tables, answers = ask(cohort(file, con), "for_whom", asked)
    assert "moments/cells_by_sex_and_age_band" not in tables
    assert "a level of sex contains '×'" in withheld(answers)["cells_by_sex_and_age_band"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Questions(for_whom=ForWhom(together=(("sex",),))), "not several"),
        (Questions(for_whom=ForWhom(together=(("sex", "sex"),))), "not several"),
        (Questions(for_whom=ForWhom(together=(("sex", "age"),))), "unknown stratum"),
        (Questions(for_whom=ForWhom(together=(("sex", "age_band"), ("age_band", "sex")))), "repeats sex and age_band"),
        (Questions(for_whom=ForWhom(strata=("agge_band",))), "did you mean 'age_band'"),
        (Questions(for_whom=ForWhom(strata=("sex", "sex"))), "strata in .* repeats 'sex'"),
        (Questions(for_whom=ForWhom(programmes=("teir",))), "did you mean 'tier'"),
        (Questions(not_retrainable=NotRetrainable()), "names no group"),
        (Questions(not_retrainable=NotRetrainable(groups={"sex": ("women", "women")})), "groups of sex in .* repeats"),
        (Questions(not_retrainable=NotRetrainable(groups={"sex": ("men",), "age_band": ()})), "no level of age_band"),
        (Questions(not_retrainable=NotRetrainable(groups={"sex": ("woman",)})), "did you mean 'women'"),
        (Questions(not_retrainable=NotRetrainable(groups={"trade": ("7",)})), "needs the levels of the stratum trade"),
        (Questions(not_retrainable=NotRetrainable(groups={"sex": ("women",)}, covariates=("sx",))), "unknown stratum"),
        (Questions(not_retrainable=NotRetrainable(groups={"sex": ("women",)}, alternative=())), "no alternative"),
        (Questions(not_retrainable=NotRetrainable(groups={"sex": ("women",)}, covariates=("sex", "sex"))), "repeats"),
    ],
)
def test_options_that_cannot_be_are_refused(asked: Questions, said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_strata(asked, STRATA)


# ---- tables of a known distribution ------------------------------------------------------------------------------


def drawn(effect: Mapping[str, float] | float, people: int = 200, ages: tuple[str, ...] | None = None,
          kinds: tuple[str, ...] = PROGRAMMES) -> OutcomeMoments:  # fmt: skip
    """Return moments by age × education × kind × half; an effect for each kind."""
    bench = benchmark()
    strata = {"age": ages or bench.AGE, "education": bench.EDUCATION, KIND: kinds, HALF: HALVES}
    every = list(product(*strata.values()))
    sizes = dict.fromkeys(every, people)
    effects = {cell: effect if isinstance(effect, float) else effect[cell[2]] for cell in every}
    moments: OutcomeMoments = bench.drawn_moments(np.random.default_rng(1), strata, effects, sizes)
    return moments


def answers_of_tables(tables: Mapping[str, Additive], **options: object) -> Answers:
    given = {"groups": {"age": ("55 and over",)}, "covariates": ("age", "education"), "cost_retraining": 5.0,
             "cost_alternative": 8.0} | options  # fmt: skip
    return QUESTIONS["not_retrainable"].answer(Tables(tables), benchmark().inquiry(NotRetrainable(**given)))  # type: ignore[arg-type]


def rows_of(answers: Answers, name: str) -> pd.DataFrame:
    table: pd.DataFrame = benchmark().table_of(answers, name)
    return table


def test_the_programme_that_is_better_is_offered_and_worth_what_it_gains() -> None:
    answers = answers_of_tables({"moments/allocation": drawn({"retraining": 0.0, "alternative": 4.0}, people=600)})
    found = benchmark().effects_of(answers, "policy").frame.set_index("level")
    assert found.loc["rule", "ci_low"] < 4.0 * 10 - 8.0 < found.loc["rule", "ci_high"]
    assert set(rows_of(answers, "allocation")["action"]) == {"alternative"}
    compared = benchmark().effects_of(answers, "alternative_by_age").frame.set_index("estimand")
    assert compared.loc["difference", "ci_low"] < 4.0 < compared.loc["difference", "ci_high"]


def test_one_level_of_a_covariate_gives_a_rule_without_a_split() -> None:
    answers = answers_of_tables(
        {"moments/allocation": drawn({"retraining": 3.0, "alternative": 0.0}, ages=("55 and over",))}
    )
    assert set(rows_of(answers, "allocation")["action"]) == {"retraining"}


def test_no_programme_is_offered_where_none_is_worth_its_cost() -> None:
    answers = answers_of_tables({"moments/allocation": drawn(-1.0)})
    assert set(rows_of(answers, "allocation")["action"]) == {"no programme"}
    found = benchmark().effects_of(answers, "policy").frame.set_index("level")
    assert found.loc["rule", "estimate"] == 0.0


def test_twelve_person_groups_are_inconclusive_and_never_a_label() -> None:
    bench = benchmark()
    strata = {"age": bench.AGE, KIND: PROGRAMMES}
    every = list(product(*strata.values()))
    moments = bench.drawn_moments(np.random.default_rng(3), strata, dict.fromkeys(every, 0.0), dict.fromkeys(every, 12))
    rows = rows_of(answers_of_tables({"moments/programmes_in_age": moments}, covariates=()), "groups")
    assert rows["verdict"].tolist() == ["inconclusive"]
    assert rows["n_needed"].iloc[0] > 12
    small = drawn(0.0, people=12)
    value = benchmark().effects_of(answers_of_tables({"moments/allocation": small}), "policy").frame
    assert np.isfinite(value[["estimate", "std_error"]].to_numpy(dtype=float)).all()


def test_without_an_alternative_its_cost_is_not_needed() -> None:
    tables = {"moments/allocation": drawn(3.0, kinds=("retraining",))}
    answers = answers_of_tables(tables, cost_alternative=None)
    assert set(rows_of(answers, "allocation")["action"]) == {"retraining"}
    assert withheld(answers)["alternative_by_age"] == "too few people, or none, entered the alternative"


def test_where_people_do_not_overlap_there_is_no_comparison_and_still_a_rule() -> None:
    """The alternative is given to no one over 55."""
    whole = drawn(3.0)
    keep = ~((whole.cells["age"] == "55 and over") & (whole.cells[KIND] == "alternative")).to_numpy(dtype=bool)
    answers = answers_of_tables({"moments/allocation": whole.of_cells(keep)})
    assert "do not overlap enough" in withheld(answers)["alternative_by_age"]
    assert rows_of(answers, "allocation")["n"].sum() > 0


def test_one_cell_gives_an_effect_and_says_that_there_is_no_verdict() -> None:
    bench = benchmark()
    strata = {"age": ("55 and over",), "education": ("low",)}
    moments = bench.drawn_moments(
        np.random.default_rng(3), strata, {("55 and over", "low"): 2.0}, {("55 and over", "low"): 90}
    )
    asked = bench.inquiry(ForWhom(strata=("age",), together=(("age", "education"),)))
    answers = QUESTIONS["for_whom"].answer(Tables({"moments/cells_by_age_and_education": moments}), asked)
    assert len(effects(answers, "cells_by_age_and_education")) == 1
    assert any("no verdicts on cells_by_age_and_education" in note for note in answers.notes)


@pytest.mark.slow
def test_known_truth_at_the_level_of_tables() -> None:
    bench = benchmark()
    cells_alike = bench.cells_together(60)
    assert 0.92 <= cells_alike["covered"] <= 0.98
    assert max(cells_alike[name] for name in ("an effect in any", "equal effects", "no interaction")) <= 0.15
    assert bench.groups(60, bench.WORTH)["any"] <= 0.15
    assert bench.policy(40, 0.5)["covered"] >= 0.85


# ---- a whole study -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["default", "open"])
def test_a_study_runs_is_released_verified_and_reported(tmp_path: Path, profile: str) -> None:
    made = Study.open(groups_study.make(tmp_path / "groups", 5_000, profile=profile))
    made.run()
    bundle = made.release("draft")
    checked = verify(bundle.path)
    assert checked.ok, str(checked)
    assert bundle.cells is not None
    assert (bundle.cells["n_treated"] >= (10 if profile == "default" else 3)).all()
    for question in ("for_whom", "not_retrainable"):
        assert len(answer(bundle, question)) > 1
    shown = open_release([bundle.path])
    main = shown.main
    for result in main.together:
        said = cells.say_cells(main, result) + cells.say_joint_tests(main, result)
        assert "nan" not in said
        assert "nan" not in cells.tabulate_cells(main, result).html()
        assert "<svg" in cells.draw_cells(main, result).svg(narrow=True)
    if profile == "open":
        assert bundle.groups is not None
        assert bundle.allocation is not None
        assert bundle.withheld == {}
        assert {"groups", "alternative", "policy", "allocation", "programmes"} <= shown.parts()
        assert "the 4 groups that the plan names" in alternatives.say_groups(main)
        said = " ".join(say(main) for say in (alternatives.say_alternative, alternatives.say_policy))
        assert "nan" not in said
        assert "per person net of cost" in said
    else:
        # of the groups of the plan too few people are left: withheld with a reason, and never a number
        assert any("too few people" in reason for reason in bundle.withheld.values())


# ---- halves ------------------------------------------------------------------------------------------------------


def halves_of(key: int | None, seed: int = 1) -> list[str]:
    """Return the halves of 200 pairs whose rows have keys of this secret, or none."""
    rows = pd.DataFrame({"person_id": range(400), "subclass": [*range(200)] * 2, "treat": [1] * 200 + [0] * 200})
    source = duckdb.from_df(rows) if key is None else keyed(rows, key, "person_id")
    found = in_halves(Group(None, source, source, "subclass"), seed).rows.order("person_id").df()
    pairs = found.groupby("subclass")[HALF].agg(["first", "nunique"])
    assert (pairs["nunique"] == 1).all()  # both of a pair are in one
    return [str(half) for half in pairs["first"]]


def test_halves_follow_from_the_release_key_and_not_from_seed_and_identifiers() -> None:
    known, of_one, of_other = halves_of(None), halves_of(1), halves_of(2)
    assert of_one == halves_of(1)
    assert halves_of(None, seed=2) != known
    for one, other in ((known, of_one), (of_one, of_other)):
        assert 60 < sum(a == b for a, b in zip(one, other, strict=True)) < 140
    assert 60 < of_one.count(HALVES[0]) < 140
