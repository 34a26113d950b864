"""Last year's report can be made again, byte for byte, after corrections have come in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pytest

import own_study
from retrain_eval.common.errors import DisclosureError
from retrain_eval.study.folder import Study


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Return a study of public records, whose wage records come in deliveries."""
    folder = own_study.make(tmp_path / "mine")
    (folder / "data" / "wage_record.csv").rename(folder / "data" / "wages_1.csv")
    plan = folder / "study.toml"
    text = plan.read_text().replace('"data/wage_record.csv"', '"data/wages_*.csv"')
    plan.write_text(text.replace('profile = "default"', 'profile = "open"'))
    assert 'profile = "open"' in plan.read_text()
    return Study.open(folder)


def correct(study: Study) -> None:
    """Let a second delivery double the earnings of ten trainees in 2021."""
    wages = pd.read_csv(study.folder / "data" / "wages_1.csv")
    wrong = wages[(wages["period"] == 2021) & wages["person_id"].isin([f"P-{i:05d}" for i in range(10)])]
    wrong.assign(wages=lambda d: (d["wages"] * 2).round(2)).to_csv(study.folder / "data" / "wages_2.csv", index=False)


@pytest.mark.slow
def test_an_edition_of_vintage_1_is_the_same_after_vintage_2(study: Study) -> None:
    study.run()
    before = hashes(study.release("2026").path)
    correct(study)
    said: list[str] = []
    study.run(say=said.append)
    assert "vintage 2 is complete" in said
    assert any("10 rows loaded from wages_2.csv, 10 earlier rows superseded" in line for line in said)
    changed = hashes(study.release("2027").path)
    assert changed["effects.csv"] != before["effects.csv"]
    study.run(as_of=1)
    assert hashes(study.release("2026").path) == before
    assert hashes(study.release("2026-again").path)["effects.csv"] == before["effects.csv"]
    study.run(as_of=2)
    assert hashes(study.release("2027").path) == changed


def test_of_people_who_are_protected_an_edition_with_a_correction_of_ten_is_refused(study: Study) -> None:
    """The same people's sums with other values tell the correction, whatever the vintage; the old edition stands."""
    plan = study.folder / "study.toml"
    plan.write_text(plan.read_text().replace('profile = "open"', 'profile = "default"'))
    study = Study.open(study.folder)
    study.run()
    before = hashes(study.release("2026").path)
    correct(study)
    study.run()
    with pytest.raises(DisclosureError, match="its people, or their amounts, differ from published ones"):
        study.release("2027")
    study.run(as_of=1)
    assert hashes(study.release("2026").path) == before


@pytest.mark.slow
def test_the_report_of_vintage_1_is_the_same_after_vintage_2(study: Study) -> None:
    study.run()
    study.release("2026")
    study.report("2026")
    before = hashes(study.folder / "report" / "2026")
    correct(study)
    study.run()
    study.release("2027")
    study.run(as_of=1)
    study.release("2026")
    study.report("2026", force=True)
    assert hashes(study.folder / "report" / "2026") == before
