"""Sentences and tables on what something unseen would have to be like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import bundles
from retrain_eval.report.page import Study, open_release
from retrain_eval.report.pages.sensitivity import (
    say_e_value,
    say_oster,
    say_rosenbaum,
    tabulate_oster,
    tabulate_rosenbaum,
)

FACTS: dict[str, Any] = {"name": "x", "title": "T", "question": "Q", "data": "D", "unit": "person",
                         "frequency": "year", "currency": "USD", "limitations": [], "citation": ""}  # fmt: skip


@pytest.fixture
def study_with(tmp_path: Path) -> Callable[..., Study]:
    def make(**tables: pd.DataFrame) -> Study:
        made = bundles.training_tables()
        for name, frame in tables.items():
            made[name] = made[name].assign(**frame)
        return open_release([bundles.write_bundle(tmp_path / "x", made, FACTS)]).main

    return make


def test_what_a_release_says(study: Study) -> None:
    assert say_rosenbaum(study).replace("\xa0", " ") == (
        "Over 172 pairs whose outcomes differ, without hidden bias the test gives p = 0.007. If, of two matched "
        "people, one had more than 15% higher odds of training for reasons unseen that also decide the outcome, "
        "the p‑value could be above 0.05."
    )
    assert say_e_value(study).startswith(
        "Something unseen would have to go with training and with the outcome by a risk ratio of 1.81 each"
    )
    assert "of 1.28 each to move its interval" in say_e_value(study)
    told = say_oster(study)
    assert "the raw difference is −$8,498 and that with the matching's covariates in a regression $699" in told
    assert "moves the estimate up, away from no effect" in told
    assert "0.23 times as strong" in told
    html = tabulate_oster(study).html() + tabulate_rosenbaum(study).html()
    for text in ("$3,863", "−0.23", "0.080", "1.15"):
        assert text in html


@pytest.mark.parametrize(
    ("p", "says"),
    [
        ([0.2, 0.3, 0.4], "finds no effect even if matching left no hidden bias"),
        ([0.001, 0.002, 0.003], "stays below 0.05 even if, of two matched people, one had 1.2 times the odds"),
    ],
)
def test_bounds_that_overturn_nothing_and_that_nothing_overturns(
    study_with: Callable[..., Study], p: list[float], says: str
) -> None:
    assert says in say_rosenbaum(study_with(rosenbaum={"p_value": p}))


def test_an_interval_with_no_effect_needs_no_confounder(study_with: Callable[..., Study]) -> None:
    assert say_e_value(study_with(e_values={"e_value_limit": 1.0})).endswith("holds no effect as it is.")


@pytest.mark.parametrize(
    ("delta", "says"),
    [
        (1.7, "would have to be 1.70 times as strong as on what is, to explain it away"),
        (float("inf"), "the covariates move nothing"),
    ],
)
def test_selection_in_the_same_direction_and_none(study_with: Callable[..., Study], delta: float, says: str) -> None:
    assert says in say_oster(study_with(oster={"delta": delta}))
