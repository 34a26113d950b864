"""The page on groups for whom retraining may not work: first sentences, the rule, who would be turned away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bundles
from retrain_eval.estimators.effects.allocation import PROGRAMMES, policy_leaves, policy_value
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.groups import adjust_groups, judged_groups
from retrain_eval.release.layout import effects_frame
from retrain_eval.report.language.catalogue import speaking
from retrain_eval.report.page import Study, open_release
from retrain_eval.report.pages.alternatives import (
    draw_groups,
    say_alternative,
    say_covariates,
    say_groups,
    say_policy,
    tabulate_alternative,
    tabulate_groups,
    tabulate_leaves,
    tabulate_policy,
)

FACTS = {"name": "x", "title": "T", "question": "Q", "data": "D", "unit": "person", "currency": "USD",
         "frequency": "quarter", "limitations": []}  # fmt: skip
TOML = """[strata.age]
column = "age"
title = "Age"
cuts = [55]
labels = ["under 55", "55 and over"]
[questions.not_retrainable]
groups = {age = ["55 and over"], spell = ["long"], capacity = ["limited"]}
covariates = ["age"]
"""
NAMED = (("age", "55 and over"), ("spell", "long"))


def study(folder: Path, groups: tuple[float, float], error: float = 100.0, *, rule: tuple[float, float] = (300.0, 50.0),
          cost: float = 900.0, difference: float = 400.0) -> Study:  # fmt: skip
    """Return a study with two of three groups, one of them withheld, and a rule by age."""
    keys = {"outcome": "earnings", "n_treated": 400, "n_control": 400}
    parts, judged = [], []
    for (name, level), b in zip(NAMED, groups, strict=True):
        of = {**keys, "subgroup": f"{name} × programme_kind", "level": f"{level} × retraining", "estimate": b}
        table = EffectTable.build([of], np.array([[error**2]]))
        parts.append(effects_frame(f"programmes_in_{name}", table))
        rows = judged_groups(table, [f"{level} × retraining"], 500.0, 3)
        judged.append(rows.assign(result=f"programmes_in_{name}"))
    effects = dict(zip((*PROGRAMMES, "difference"), (0.0, difference, difference), strict=True))
    compared = [{**keys, "subgroup": "age", "level": "55 and over", "estimand": kind, "estimate": b}
                for kind, b in effects.items()]  # fmt: skip
    parts.append(effects_frame("alternative_by_age", EffectTable.build(compared, np.eye(3) * error**2)))
    cells = EffectTable.build(
        [{**keys, "subgroup": "age × programme_kind × half", "level": f"{age} × {kind} × {half}",
          "estimate": (gain if kind == "retraining" else 60.0)}
         for age, gain in zip(("under 55", "55 and over"), rule, strict=True)
         for kind in PROGRAMMES for half in ("first", "second")], np.eye(8) * 400.0)  # fmt: skip
    options = ({"age": ("under 55", "55 and over")}, 10, (cost, cost))
    parts.append(effects_frame("policy", policy_value(cells, *options)))
    tables = {
        "effects": pd.concat(parts),
        "groups": adjust_groups(pd.concat(judged, ignore_index=True)),
        "allocation": policy_leaves(cells, *options).assign(result="policy"),
    }
    return open_release([bundles.write_bundle(folder / "x", tables, FACTS, TOML)]).main


def test_the_first_sentence_says_in_how_many_groups_an_effect_is_too_small_to_matter(tmp_path: Path) -> None:
    one = study(tmp_path, (20.0, 2_000.0))
    told = say_groups(one)
    assert told.startswith(
        "In 1 of the 3 groups that the plan names, any effect of retraining is too small to matter: smaller than $500 a"
        " quarter in either direction."
    )
    assert "That is so for age: 55 and over (+$20, 90% interval −$145 to $185)." in told
    assert "Retraining brings a gain that matters for" in told
    assert "1 group has too few people to be published." in told
    assert "it is not known who does" in told
    for table in (tabulate_groups(one), tabulate_alternative(one), tabulate_policy(one), tabulate_leaves(one)):
        assert "nan" not in table.html()
    assert "<svg" in draw_groups(one).svg(narrow=True)


def test_where_no_effect_is_ruled_out_the_page_says_that_there_is_no_answer(tmp_path: Path) -> None:
    told = say_groups(study(tmp_path, (20.0, -700.0), error=900.0))
    assert told.startswith("In none of the 3 groups that the plan names can an effect of retraining that matters")
    assert "there is no answer yet" in told


@pytest.mark.parametrize(("difference", "said"), [
    (400.0, "For 55 and over the alternative brings $400 a quarter more than retraining"),
    (-400.0, "For 55 and over the alternative brings $400 a quarter less than retraining"),
    (10.0, "For 55 and over these data show no clear difference between the alternative and retraining: "
           "the difference is +$10"),
])  # fmt: skip
def test_the_alternative_is_compared(tmp_path: Path, difference: float, said: str) -> None:
    assert say_alternative(study(tmp_path, (0.0, 0.0), difference=difference)).startswith(said)


def test_who_would_be_turned_away_is_said_and_tabulated(tmp_path: Path) -> None:
    """Retraining gains 2,100 after cost under 55 and loses 400 over; the alternative loses 300."""
    one = study(tmp_path, (0.0, 0.0))
    told = say_policy(one)
    assert told.startswith("Offering programmes by this rule would be worth +$1,050 per person net of cost")
    assert "Under the rule of each half, some people would be offered no programme" in told
    html = tabulate_leaves(one).html()
    assert "age: 55 and over" in html.lower()
    assert "No programme" in html
    assert "retraining, the alternative or no programme" in say_covariates(one)


def test_where_all_gain_no_one_is_turned_away(tmp_path: Path) -> None:
    told = say_policy(study(tmp_path, (0.0, 0.0), cost=0.0))
    assert "Under the rule no one would be turned away." in told
    assert "These data do not show that the rule does better" in told


def test_no_sentence_labels_a_person(tmp_path: Path) -> None:
    one = study(tmp_path, (20.0, 2_000.0))
    said = " ".join(say(one) for say in (say_groups, say_alternative, say_policy, say_covariates)).lower()
    for word in ("not retrainable", "unretrainable", "untrainable", "hopeless", "unable"):
        assert word not in said


def test_in_chinese(tmp_path: Path) -> None:
    one = study(tmp_path, (20.0, 2_000.0))
    with speaking("zh"):
        said = " ".join(say(one) for say in (say_groups, say_alternative, say_policy, say_covariates))
    assert "retraining" not in said
    assert "再培训" in said
