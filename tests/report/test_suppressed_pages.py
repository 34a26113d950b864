"""Pages where everything of a result is withheld, or there are no effects at all: sentences, not errors."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import bundles
from retrain_eval.common.resources import resource
from retrain_eval.release.layout import TABLES
from retrain_eval.report.building import book
from retrain_eval.report.page import open_release
from retrain_eval.report.pages import digital_divide, providers
from retrain_eval.report.words import Words

FACTS = {"name": "x", "title": "T", "question": "Q", "data": "D", "unit": "person", "currency": "USD",
         "frequency": "quarter", "limitations": []}  # fmt: skip


def test_what_is_suppressed_wholly_has_a_sentence_and_no_figure(tmp_path: Path) -> None:
    effects = bundles.training_effects()
    of = effects["result"].isin(["event_study", "payback"])
    effects.loc[of, ["estimate", "std_error", "ci_low", "ci_high", "band_low", "band_high"]] = float("nan")
    release = open_release([bundles.write_bundle(tmp_path / "x", {"effects": effects}, FACTS)])
    assert "event_study" in release.parts()
    assert not {"event_study_shown", "payback_shown"} & release.parts()
    book.prepare(release, resource("book"), tmp_path / "pages")
    page = (tmp_path / "pages" / "effects.md").read_text()
    assert "draw_effects" not in page
    assert "draw_payback" not in page
    assert 'study.say_suppressed("event_study")' in page
    assert release.main.say_suppressed("event_study") == "Every estimate rests on too few people to be published."


def test_an_edition_without_effects_has_their_columns(tmp_path: Path) -> None:
    flow = pd.DataFrame({"step": ["a"], "group": ["treated"], "n": [40], "reason": [""]})
    study = open_release([bundles.write_bundle(tmp_path / "x", {"flow": flow}, FACTS)]).main
    assert list(study.effects) == list(TABLES["effects"])
    assert study.main_effect is None
    assert "cannot be said" in digital_divide.say_answer(study)
    assert providers.say_providers(study)


def test_an_estimate_without_an_interval_says_so() -> None:
    row = pd.Series({"estimate": 817.0, "ci_low": float("nan"), "ci_high": float("nan")})
    assert Words(currency="USD").with_interval(row) == "$817 (no interval)"
    assert Words(currency="USD").interval(float("nan"), float("nan")) == "not available"


def test_a_difference_without_an_interval_is_told(tmp_path: Path) -> None:
    ends, of = (
        "programme_ends_by_access_level",
        {"outcome": "programme_ends", "estimator": "aalen_johansen", "time": 4.0},
    )
    rows = [
        {"result": ends, **of, "estimand": "CIF(dropped_out)", "level": "with digital access", "estimate": 0.162},
        {"result": ends, **of, "estimand": "CIF(dropped_out)", "level": "without digital access", "estimate": 0.0},
        {"result": f"{ends}_difference", **of, "estimate": -0.162,
         "estimand": "difference in CIF(dropped_out): without digital access minus with digital access"},
    ]  # fmt: skip
    effects = pd.DataFrame(rows).reindex(columns=list(TABLES["effects"]))
    said = digital_divide.say_answer(
        open_release([bundles.write_bundle(tmp_path / "x", {"effects": effects}, FACTS)]).main
    )
    assert "0 had dropped out" in said
    assert "a difference of −16.2 percentage points, with no interval" in said
    assert "do not say" not in said
