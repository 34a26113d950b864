"""A method that only gives a function a familiar place has the function's options: names, kinds, defaults, order."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from retrain_eval.estimators.did.group_time import GroupTimeEffects
from retrain_eval.estimators.effects import heterogeneity, honest
from retrain_eval.estimators.effects.plots import plot
from retrain_eval.estimators.survival.regression.cox import cox
from retrain_eval.estimators.survival.regression.proportionality import proportional_hazards
from retrain_eval.sample.effect import att
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.tables.life_table.counting import life_table
from retrain_eval.tables.life_table.life_table import LifeTable

CLASSES = (rte.OutcomeMoments, rte.Spells, rte.EffectTable, GroupTimeEffects, MatchedSample, LifeTable)
# facades whose docstring does not name the function by its full path
NAMED: dict[tuple[type, str], Callable[..., object]] = {
    (MatchedSample, "att"): att.att,
    (rte.EffectTable, "heterogeneity"): heterogeneity.heterogeneity,
    (rte.EffectTable, "relative_magnitude"): honest.relative_magnitude,
    (rte.EffectTable, "smoothness"): honest.smoothness,
    (rte.EffectTable, "plot"): plot,
}
OWN = {rte.Spells: {"cluster"}}  # asked of the spells, before the function is called


def facades() -> Iterator[Any]:
    for kind in CLASSES:
        for name, method in vars(kind).items():
            if name.startswith("_") or not inspect.isfunction(method):
                continue
            path = re.search(r"[Ss]ee\s+`(retrain_eval\.[\w.]+)`", method.__doc__ or "")
            function = NAMED.get((kind, name))
            if path is not None:
                module, _, last = path[1].rpartition(".")
                function = getattr(importlib.import_module(module), last)
                if isinstance(function, ModuleType):
                    function = getattr(function, name)
            if function is not None:
                yield pytest.param(kind, name, function, id=f"{kind.__name__}.{name}")


def options(function: Callable[..., object]) -> dict[str, inspect.Parameter]:
    """Return the parameters but for the first, which is the table."""
    return dict(list(inspect.signature(function).parameters.items())[1:])


FACADES = list(facades())


def test_the_facades_are_found() -> None:
    assert len(FACADES) >= 30


@pytest.mark.parametrize(("kind", "name", "function"), FACADES)
def test_a_method_has_the_options_of_the_function_it_calls(kind: type, name: str, function: Any) -> None:
    own = OWN.get(kind, set())
    mine = {key: value for key, value in options(vars(kind)[name]).items() if key not in own}
    its = options(function)
    assert list(mine) == list(its)
    assert {key: value.default for key, value in mine.items()} == {key: value.default for key, value in its.items()}
    assert {key: value.kind.name for key, value in mine.items()} == {key: value.kind.name for key, value in its.items()}


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        (rte.OutcomeMoments.att_gt, rte.att_gt, set()),
        (rte.Spells.__init__, life_table, {"duration", "cause"}),  # here these have the names of `build_spells`
        (cox, proportional_hazards, set()),
    ],
    ids=["att_gt from people", "Spells and life_table", "cox and the test of its proportionality"],
)
def test_two_doors_to_one_thing_have_the_same_defaults(
    one: Callable[..., object], other: Callable[..., object], apart: set[str]
) -> None:
    mine, its = inspect.signature(one).parameters, inspect.signature(other).parameters
    shared = [name for name in mine if name in its and name not in apart]
    assert len(shared) > 4
    assert {name: mine[name].default for name in shared} == {name: its[name].default for name in shared}


def test_moments_and_people_answer_alike_without_a_word_on_the_method() -> None:
    rng = np.random.default_rng(16)
    people = pd.DataFrame({"id": range(400), "age": rng.choice(["young", "old"], 400)})
    people["g"] = np.where(rng.random(400) < np.where(people["age"] == "old", 0.6, 0.2), 2, 0)
    people["more"] = rng.choice(["a", "b", "c"], 400)
    long = pd.concat([people.assign(t=t, y=rng.normal(size=400) + (t == 2) * (people["age"] == "old")) for t in (1, 2)])
    names = {"unit": "id", "time": "t", "cohort": "g", "outcome": "y", "covariates": ("age", "more")}
    moments = rte.outcome_moments(long, **names)
    a = moments.att_gt(covariates=("age", "more")).aggregate("simple").to_frame()
    b = rte.att_gt(long, **names).aggregate("simple").to_frame()
    reg = moments.att_gt(covariates=("age", "more"), method="reg").aggregate("simple").to_frame()
    assert a["estimate"].item() == pytest.approx(b["estimate"].item(), abs=1e-9)
    assert a["std_error"].item() == pytest.approx(b["std_error"].item(), rel=1e-6)
    assert abs(a["estimate"].item() - reg["estimate"].item()) > 1e-6
