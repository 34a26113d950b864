"""Editions side by side: the effect of each, corrections, and what changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import bundles
from retrain_eval.common.resources import resource
from retrain_eval.report.building import book
from retrain_eval.report.page import Release, open_release
from retrain_eval.report.pages.years import edition_effects, say_change, say_correction, tabulate_changes

FACTS = {"name": "x", "title": "T", "question": "Q", "data": "D", "unit": "person", "currency": "USD",
         "frequency": "year", "limitations": [], "citation": ""}  # fmt: skip
STUDY = '[study]\nname = "x"\ntitle = "T"\nquestion = "Q"\ndata = "D"\n[records]\nperson = "p.csv"\n'
STUDY += '[release]\nprofile = "open"\n'


def edition(folder: Path, name: str, shift: float = 0.0, study: str = STUDY, **facts: Any) -> Path:
    effects = bundles.training_effects()
    for column in ("estimate", "ci_low", "ci_high"):
        effects[column] += shift
    sha = {"study_sha256": str(hash(study))}
    return bundles.write_bundle(folder / name, {"effects": effects}, FACTS, study, edition=name, **sha, **facts)


@pytest.fixture
def three(tmp_path: Path) -> Release:
    corrects = {"edition": "2025", "sha256": "0" * 64, "reason": "The pool was incomplete."}
    inputs = [{"name": "p", "file": "p.csv", "sha256": "c" * 64, "rows_in": 20_000, "rows_rejected": 0}]
    first = edition(tmp_path, "2025", packages={"duckdb": "1.9.0"})
    fixed = edition(tmp_path, "2025-1", 2_000.0, corrects=corrects)
    main = edition(tmp_path, "2026", 2_100.0, STUDY + "min_contributors = 20\n", inputs=inputs)
    return open_release([main], [first, fixed])


def test_the_main_effect_of_each_edition_stands_in_order(three: Release) -> None:
    rows = edition_effects(three)
    assert rows["label"].tolist() == ["Edition 2025, corrected", "Edition 2025-1", "Edition 2026"]
    assert rows["estimate"].diff().round().tolist()[1:] == [2_000, 100]
    assert say_change(three).endswith("The new estimate lies inside the earlier interval.")
    assert say_correction(three, "2025-1") == "Edition 2025-1 corrects edition 2025. The pool was incomplete."
    outside = Release(three.earlier[1], (), three.earlier[:1])
    assert say_change(outside).endswith("lies outside the earlier interval.")


def test_what_changed_is_named(three: Release) -> None:
    data = tabulate_changes(three).data.set_index("label")
    assert data.loc["Edition 2025-1", ["records", "study"]].tolist() == ["the same", "the same"]
    assert data.loc["Edition 2025-1", "software"] == "duckdb 1.9.0 → 2.0.0"
    assert data.loc["Edition 2026", "records"] == "20,000 rows in 1 files; 1 new, 1 no longer used"
    assert data.loc["Edition 2026", "study"] == "release.min_contributors"
    assert data.loc["Edition 2026", "software"] == "the same"


def test_another_outcome_is_not_compared(three: Release) -> None:
    effects = three.main.effects
    three.main.__dict__["effects"] = effects.assign(outcome="employed")
    assert "not to be compared" in say_change(three)


def test_the_page_is_there_only_with_earlier_editions(three: Release, tmp_path: Path) -> None:
    for release, there in ((three, True), (Release(three.main), False)):
        work = tmp_path / str(there)
        book.prepare(release, resource("book"), work)
        assert (work / "years.md").exists() is there
    assert 'say_correction(release, "2025-1")' in (tmp_path / "True" / "years.md").read_text()
