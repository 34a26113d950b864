"""The rule for controls equally near, as the report states it from the recorded options, and what ties matter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import bundles
from retrain_eval.report.matching_rule import say_choice, say_ties
from retrain_eval.report.page import Study, open_release

FACTS: dict[str, Any] = {"name": "x", "title": "T", "question": "Q", "data": "D", "unit": "person",
                         "frequency": "year", "currency": "USD", "limitations": [], "citation": ""}  # fmt: skip

STEPS = "the one fewer places away from the trained person is taken; if both are as many places away"
OUTERMOST = "counted from the outermost control that the person has on that side"
LOWEST = "the one with the lowest identifier is taken"
KEPT = "all of them are kept and share the weight"


@pytest.fixture
def study_with(tmp_path: Path) -> Callable[..., Study]:
    def make(options: str = "", **tables: pd.DataFrame | None) -> Study:
        made = {**bundles.training_tables(), **tables}
        kept = {name: frame for name, frame in made.items() if frame is not None}
        toml = f'[match]\nformula = "treat ~ age"\n{options}\n'
        return open_release([bundles.write_bundle(tmp_path / "x", kept, FACTS, toml)]).main

    return make


@pytest.mark.parametrize(
    ("options", "says", "silent"),
    [
        ("", ["largest score choose first", STEPS], [OUTERMOST, LOWEST, KEPT]),
        ('m_order = "smallest"', ["smallest score choose first", STEPS], []),
        ('m_order = "data"', ["in the order of identifiers", STEPS], []),
        ('m_order = "closest"', ["closest to each other is formed first", STEPS], []),
        ('m_order = "farthest"', ["farthest from each other is formed first", STEPS], []),
        ('m_order = "random"', ["in a random order", STEPS], []),
        ("ratio = 3", ["until each has 3 controls", STEPS, OUTERMOST], []),
        ('distance = "mahalanobis"', ["in the order of identifiers", LOWEST], [STEPS]),
        ("replace = true", ["nearest untrained people, 1 of them or, with ties, more", KEPT], [STEPS, LOWEST]),
        ('replace = true\nties = "first"\nratio = 2', ["2 of them; a control may serve several", STEPS], [OUTERMOST]),
    ],
)
def test_the_rule_is_that_of_the_options(
    study_with: Callable[..., Study], options: str, says: list[str], silent: list[str]
) -> None:
    told = say_choice(study_with(options))
    assert [text for text in says if text not in told] == []
    assert [text for text in silent if text in told] == []


def test_ties_are_counted_and_the_effect_moves(study_with: Callable[..., Study]) -> None:
    told = say_ties(study_with()).replace("\xa0", " ")
    assert STEPS in told
    assert "Choices in which another control was as near: 21 of 185 (11%)." in told
    assert "Over 25 random orders of the identifiers the effect has a standard deviation of $74" in told
    assert told.endswith("its largest and its smallest value differ by $300.")


def test_few_ties_move_nothing_and_many_say_what_is_not_known(study_with: Callable[..., Study]) -> None:
    counted = bundles.hidden_bias_tables()["ties"].head(1)
    study = study_with(ties=counted)
    assert "was not computed" in say_ties(study)
    few = counted.assign(n_tied=12, share=12 / 185)
    Path(study.bundle.path, "ties.csv").write_text(few.to_csv(index=False), encoding="utf-8")
    again = Study(type(study.bundle)(study.bundle.path, study.bundle.manifest))
    assert say_ties(again).endswith("Choices in which another control was as near: 12 of 185 (6%).")
