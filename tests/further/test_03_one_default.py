"""A verb has one default wherever it is called: on tables, on people, in the study file."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from further_cases import long_panel, moments, refused, study_folder

NAMES = {"unit": "id", "time": "t", "cohort": "g", "outcome": "y"}


def panel(seed: int, cohorts: tuple[int, ...], periods: int = 4, n: int = 900) -> pd.DataFrame:
    """People whose chance of treatment and whose trends depend on age and sex together."""
    rng = np.random.default_rng(seed)
    age, sex = rng.choice(["16-24", "25-54", "55+"], n), rng.choice(["f", "m"], n)
    chance = 0.15 + 0.35 * (age == "16-24") + 0.25 * (sex == "f") * (age == "55+")
    g = np.where(rng.random(n) < chance, rng.choice(cohorts, n), 0)
    t = np.arange(1, periods + 1)
    trend = 1.3 * (age == "16-24") * (sex == "f") - 0.8 * (age == "55+") * (sex == "m")
    y = rng.normal(size=(n, periods)) + trend[:, None] * t + ((t >= g[:, None]) & (g[:, None] > 0))
    return long_panel(y, g, age=age, sex=sex, w=rng.integers(1, 4, n))


def effect(table: rte.EffectTable) -> np.ndarray:
    return table.to_frame()[["estimate", "std_error"]].to_numpy(dtype=float)


@pytest.mark.parametrize(("cohorts", "aggregation"), [((2, 3), "dynamic"), ((3, 4), "group"), ((2,), "calendar")])
def test_people_and_tables_give_one_effect_by_default(cohorts, aggregation):
    long = panel(len(aggregation), cohorts)
    table = moments(long, covariates=("age", "sex")).att_gt(covariates=("age", "sex"))
    people = rte.att_gt(long, **NAMES, covariates=("age", "sex"))
    assert effect(table.aggregate(aggregation)) == pytest.approx(
        effect(people.aggregate(aggregation)), rel=1e-6, nan_ok=True
    )


def test_weights_and_controls_not_yet_treated_change_no_default():
    long = panel(77, (2, 3))
    options = {"covariates": ("sex", "age"), "control": "not_yet_treated"}
    table = moments(long, covariates=("sex", "age"), weights="w").att_gt(**options)
    people = rte.att_gt(long, **NAMES, weights="w", **options)
    assert effect(table.aggregate("simple")) == pytest.approx(effect(people.aggregate("simple")), rel=1e-6)


def test_the_default_is_the_doubly_robust_one():
    m = moments(panel(5, (3,)), covariates=("age", "sex"))
    plain = effect(m.att_gt(covariates=("age", "sex")).aggregate("simple"))
    assert plain == pytest.approx(effect(m.att_gt(covariates=("age", "sex"), method="dr").aggregate("simple")))
    assert plain != pytest.approx(effect(m.att_gt(covariates=("age", "sex"), method="reg").aggregate("simple")))


def facades() -> list[tuple[str, object, object]]:
    found = []
    for cls in (rte.OutcomeMoments, rte.Spells, rte.EffectTable, rte.MatchedSample, rte.LifeTable, rte.HiddenBias):
        for name, verb in vars(cls).items():
            named = re.search(r"[Ss]ee `(retrain_eval\.[\w.]+)`", getattr(verb, "__doc__", None) or "")
            if name.startswith("_") or not inspect.isfunction(verb) or not named:
                continue
            home, _, function = named[1].rpartition(".")
            try:
                below = getattr(importlib.import_module(home), function)
            except (ImportError, AttributeError):
                continue
            if inspect.isfunction(below):
                found.append((f"{cls.__name__}.{name}", verb, below))
    return found


def test_a_method_and_the_function_it_calls_agree_in_every_default():
    pairs = facades()
    assert len(pairs) > 8
    wrong = []
    for name, above, below in pairs:
        mine, theirs = inspect.signature(above).parameters, inspect.signature(below).parameters
        wrong += [
            f"{name}: {key} is {p.default!r} there and {theirs[key].default!r} below"
            for key, p in mine.items()
            if key in theirs and p.default is not p.empty and p.default != theirs[key].default
        ]
    assert not wrong


def test_the_doors_for_people_and_for_tables_share_their_defaults():
    mine = inspect.signature(rte.OutcomeMoments.att_gt).parameters
    theirs = inspect.signature(rte.att_gt).parameters
    shared = [key for key in mine if key in theirs and key != "self"]
    assert {"method", "control", "anticipation", "base_period"} <= set(shared)
    assert {key: mine[key].default for key in shared} == {key: theirs[key].default for key in shared}


def did_options(folder: Path, more: str) -> dict[str, object]:
    folder = study_folder(folder, {"person.csv": "person_id\nP1\n"}, more=more)
    return rte.Study.open(folder).file.did_options()


def test_the_study_file_says_the_method_and_the_covariates(tmp_path):
    options = did_options(tmp_path / "a", 'method = "ipw"\ncovariates = ["age", "sex"]')
    assert options["method"] == "ipw"
    assert list(options["covariates"]) == ["age", "sex"]


def test_the_study_file_has_the_default_of_the_verb(tmp_path):
    options = did_options(tmp_path / "b", "")
    assert options.get("method", inspect.signature(rte.OutcomeMoments.att_gt).parameters["method"].default) == "dr"


def test_an_unknown_method_of_the_study_file_is_named(tmp_path):
    text = refused(lambda: did_options(tmp_path / "c", 'method = "dobly_robust"'), "dobly_robust")
    assert all(name in text for name in ("dr", "ipw", "reg"))
