"""The part of the page on groups about several strata together: words, heat map and table, also of 60 cells."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bundles
from retrain_eval.estimators.effects.cells import cell_verdicts, interactions
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.heterogeneity import equal_effects
from retrain_eval.release.layout import effects_frame
from retrain_eval.report.language.catalogue import speaking
from retrain_eval.report.page import Study, open_release
from retrain_eval.report.pages.cells import cell_rows, draw_cells, heading, say_cells, say_joint_tests, tabulate_cells

FACTS = {"name": "x", "title": "T", "question": "Q", "data": "D", "unit": "person", "currency": "USD",
         "frequency": "quarter", "limitations": []}  # fmt: skip
AGE, SCHOOL = ("under 25", "25 to 39", "40 to 54", "55 and over"), ("low", "middle", "high")
SPELL = ("under a quarter", "up to half a year", "up to a year", "up to two years", "longer")
RESULT = "cells_by_age_band_and_schooling"
STRATA = "".join(
    f'[strata.{name}]\ncolumn = "{name}"\ntitle = "{title}"\nlabels = {{{pairs}}}\n'
    for name, title, levels in (
        ("age_band", "Age", AGE), ("schooling", "Education", SCHOOL), ("spell", "Time without work", SPELL))
    for pairs in [", ".join(f'"{n}" = "{level}"' for n, level in enumerate(levels))]
)  # fmt: skip


def study(folder: Path, effects: dict[str, float], error: float = 100.0, *, result: str = RESULT, worth: float = 500.0,
          names: tuple[str, ...] = ("age_band", "schooling"), withheld: tuple[str, ...] = ()) -> Study:  # fmt: skip
    rows = [
        {"outcome": "earnings", "estimand": "ATT", "subgroup": " × ".join(names), "level": level, "estimate": b,
         "n_treated": 120, "n_control": 120}
        for level, b in effects.items()
    ]  # fmt: skip
    table = EffectTable.build(rows, np.eye(len(rows)) * error**2)
    frame = effects_frame(result, table)
    hidden = frame["level"].isin(withheld)
    frame.loc[hidden, ["estimate", "std_error", "ci_low", "ci_high", "p_value"]] = np.nan
    verdicts = cell_verdicts(table, worth).assign(result=result)
    tables = {
        "effects": frame,
        "cells": verdicts[~verdicts["level"].isin(withheld)],
        "tests": pd.concat([equal_effects(table), interactions(table)]).assign(result=result),
    }
    return open_release([bundles.write_bundle(folder / "x", tables, FACTS, STRATA)]).main


def by_age_and_school(*estimates: float) -> dict[str, float]:
    return dict(zip((" × ".join(cell) for cell in product(AGE[2:], SCHOOL[::2])), estimates, strict=True))


def test_the_first_sentence_says_in_how_many_groups_the_gain_matters(tmp_path: Path) -> None:
    one = study(tmp_path, by_age_and_school(1_200.0, 400.0, 0.0, -400.0))
    told = say_cells(one, RESULT)
    assert told.startswith("In 1 of 4 groups the gain is above $500 a quarter, the smallest that would matter.")
    assert "The gain is worthwhile for 40 to 54, low (+$1,200, $1,004 to $1,396)." in told
    assert "There is some gain for 40 to 54, high" in told
    assert "There is some loss for 55 and over, high" in told
    assert "Any effect is too small to matter for 55 and over, low" in told
    assert "8 groups are not shown" in told  # of levels in which no one is
    assert told.endswith("Figures are averages for groups and say nothing about any one person.")
    assert say_joint_tests(one, RESULT).startswith("The groups differ in their effects by more than chance")
    assert heading(one, RESULT) == "Age and education"


def test_where_nothing_is_settled_the_people_needed_are_in_the_table(tmp_path: Path) -> None:
    one = study(tmp_path, by_age_and_school(100.0, 90.0, 80.0, 70.0), error=900.0)
    assert say_cells(one, RESULT).startswith("None of the groups shows a gain above $500 a quarter")
    assert "4 groups have too few people for an answer." in say_cells(one, RESULT)
    html = tabulate_cells(one, RESULT).html()
    assert "Needed" in html
    assert "nan" not in html


def test_withheld_cells_are_dashes_and_never_numbers(tmp_path: Path) -> None:
    one = study(tmp_path, by_age_and_school(1_200.0, 400.0, 0.0, -400.0), withheld=("40 to 54 × low",))
    rows = cell_rows(one, RESULT).set_index("level")
    assert rows.loc["40 to 54 × low", ["estimate", "verdict"]].isna().all()
    assert "1,200" not in say_cells(one, RESULT) + tabulate_cells(one, RESULT).html() + draw_cells(one, RESULT).svg()


def test_sixty_cells_stay_readable_on_a_phone(tmp_path: Path) -> None:
    names = ("age_band", "schooling", "spell")
    rng = np.random.default_rng(1)
    effects = {" × ".join(cell): float(rng.normal(200, 400)) for cell in product(AGE, SCHOOL, SPELL)}
    result = "cells_by_age_band_and_schooling_and_spell"
    one = study(tmp_path, effects, error=250.0, result=result, names=names)
    figure = draw_cells(one, result)
    assert figure.narrow_height > figure.height > 6
    assert len(figure.data) == 60
    svg = figure.svg(narrow=True)
    assert "<svg" in svg
    assert len(say_cells(one, result)) < 4_000
    assert tabulate_cells(one, result).html().count("<tr") >= 60


@pytest.mark.parametrize("language", ["zh"])
def test_in_another_language(tmp_path: Path, language: str) -> None:
    one = study(tmp_path, by_age_and_school(1_200.0, 400.0, 0.0, -400.0))
    with speaking(language):
        told = say_cells(one, RESULT) + say_joint_tests(one, RESULT)
    assert "groups" not in told
