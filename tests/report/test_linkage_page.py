"""Who could be found, as the page on the sample prints it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bundles
from retrain_eval.report.page import Study, open_release
from retrain_eval.report.pages.sample.linkage import say_linkage, tabulate_linkage

FACTS: dict[str, Any] = {"name": "x", "title": "T", "question": "Q", "data": "D", "unit": "person",
                         "frequency": "year", "currency": "USD", "limitations": [], "citation": ""}  # fmt: skip


@pytest.fixture
def study_with(tmp_path: Path) -> Callable[..., Study]:
    def make(old: float, n_linked: float = 170.0) -> Study:
        rows = [(None, None, 200, n_linked), ("age_band", "old", 100, old), ("age_band", "young", 100, 90.0)]
        frame = pd.DataFrame(rows, columns=["subgroup", "level", "n", "n_linked"])
        frame["rate"] = frame["n_linked"] / frame["n"]
        toml = '[strata.age_band]\ncolumn = "age_band"\ntitle = "Age"\nlabels = ["young", "old"]\n'
        return open_release([bundles.write_bundle(tmp_path / "x", {"linkage": frame}, FACTS, toml)]).main

    return make


def test_a_gap_between_groups_is_said_to_bias(study_with: Callable[..., Study]) -> None:
    told = say_linkage(study_with(old=80.0))
    assert told.startswith("Of 200 people looked for, 85.0% were found.")
    assert "differs by age, from 80.0% (old) to 90.0% (young): those missing are not like those found" in told


def test_a_small_gap_is_said_to_be_small(study_with: Callable[..., Study]) -> None:
    assert "differs little between groups: most by age, from 88.0% (old)" in say_linkage(study_with(old=88.0))


def test_withheld_rates_say_so(study_with: Callable[..., Study]) -> None:
    study = study_with(old=88.0, n_linked=np.nan)
    assert say_linkage(study).startswith("How many could be found is withheld.")
    html = tabulate_linkage(study).html()
    assert "suppressed" in html
    assert "nan" not in html.lower()
    assert html.index("young") < html.index("old")  # the order of the study file


def test_intervals_are_wilsons(study_with: Callable[..., Study]) -> None:
    """Wilson (1927), by hand: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)."""
    n, z = 200, 1.959964
    p = 170 / n
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = ((p + z**2 / (2 * n) + side) / (1 + z**2 / n) for side in (-half, half))
    assert f"{low:.1%} to {high:.1%}" in tabulate_linkage(study_with(old=80.0)).html().replace("\u00a0", " ")
