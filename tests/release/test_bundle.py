"""The bundle: complete, hashed, atomic, and readable without the store."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from retrain_eval.common.errors import ReleaseError
from retrain_eval.common.files import new_folder, put_back
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.plan.study_file import StudyFile, read_study
from retrain_eval.release import writing
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.results import Results
from retrain_eval.release.verification.verify import verify

INPUTS = [{"name": "person", "file": "p.csv"}]

STUDY = (
    '[study]\nname = "x"\ntitle = "T"\nquestion = "Q"\ndata = "D"\n\n[records]\nperson = "p.csv"\n\n'
    '[release]\nprofile = "open"\n'
)


@pytest.fixture
def study(tmp_path: Path) -> StudyFile:
    (tmp_path / "study.toml").write_text(STUDY)
    return read_study(tmp_path)


def results(estimate: float = 1 / 3) -> Results:
    found = Results()
    rows = [{"estimate": estimate, "level": "NA", "n_treated": 50, "n_control": 50}]
    found.add_effects("att", EffectTable.build(rows, np.eye(1)))
    long = pd.DataFrame(
        {"id": np.repeat(range(40), 2), "t": [1, 2] * 40, "g": np.repeat([2, 0], 40), "y": np.arange(80.0)}
    )
    found.moments["m"] = rte.outcome_moments(long, unit="id", time="t", cohort="g", outcome="y")
    return found


def write(tmp_path: Path, study: StudyFile, found: Results, **options: bool) -> Bundle:
    return writing.write(found, tmp_path, study, tmp_path / "release" / "2026", inputs=INPUTS, **options)


def test_it_reads_back_what_was_found(tmp_path: Path, study: StudyFile) -> None:
    bundle = write(tmp_path, study, results())
    assert bundle.effects is not None
    assert bundle.effects["estimate"].item() == pytest.approx(1 / 3, abs=1e-10)
    assert bundle.effects["level"].item() == "NA"  # a level, not a missing value
    assert bundle.balance is None
    assert bundle.study["study"]["title"] == "T"
    again = bundle.moments("m").att_gt().to_frame()
    pd.testing.assert_frame_equal(again, results().moments["m"].att_gt().to_frame())
    assert sorted(bundle.manifest["files"]) == ["effects.csv", "moments/m.parquet", "recipes.json", "study.toml"]
    assert bundle.manifest["packages"]["duckdb"]
    with pytest.raises(ReleaseError, match=r"has no moments/z\.parquet"):
        bundle.moments("z")


def test_the_same_results_give_the_same_bytes(tmp_path: Path, study: StudyFile) -> None:
    first = write(tmp_path, study, results())
    content = {f.relative_to(first.path): f.read_bytes() for f in first.path.rglob("*") if f.is_file()}
    second = writing.write(results(), tmp_path, study, tmp_path / "elsewhere" / "2026", inputs=INPUTS)
    assert content == {f.relative_to(second.path): f.read_bytes() for f in second.path.rglob("*") if f.is_file()}


def test_an_edition_is_not_overwritten_unless_told(tmp_path: Path, study: StudyFile) -> None:
    first = write(tmp_path, study, results())
    assert write(tmp_path, study, results()).sha256 == first.sha256
    with pytest.raises(ReleaseError, match="exists and differs"):
        write(tmp_path, study, results(2.0))
    assert verify(first.path).ok
    assert write(tmp_path, study, results(2.0), replace=True).sha256 != first.sha256
    assert [path.name for path in (tmp_path / "release").iterdir()] == ["2026"]


@pytest.mark.parametrize("name", ["effects.csv", "moments/m.parquet", "study.toml"])
def test_one_changed_byte_is_named_and_refused(tmp_path: Path, study: StudyFile, name: str) -> None:
    bundle = write(tmp_path, study, results())
    content = bytearray((bundle.path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle.path / name).write_bytes(content)
    assert verify(bundle.path).problems == (f"altered: {name}",)
    with pytest.raises(ReleaseError, match=f"altered: {name}"):
        Bundle.open(bundle.path)


def test_a_manifest_that_cannot_be_read_says_so(tmp_path: Path, study: StudyFile) -> None:
    bundle = write(tmp_path, study, results())
    manifest = bundle.path / "manifest.json"
    facts = json.loads(manifest.read_text())
    for text, words in (
        ("{", "cannot be read"),
        ("[]", "lacks 'bundle_version'"),
        (json.dumps({**facts, "bundle_version": 99}), "version 99"),
    ):
        manifest.write_text(text)
        with pytest.raises(ReleaseError, match=words):
            Bundle.open(bundle.path)
    manifest.unlink()
    with pytest.raises(ReleaseError, match="no release bundle"):
        verify(bundle.path)


class Stop(BaseException):
    """Stands for a kill: not an Exception that code might catch."""


def test_a_failure_while_writing_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with new_folder(target) as work:
        (work / "a").write_text("old")
    with pytest.raises(Stop), new_folder(target) as work:  # noqa: PT012
        (work / "a").write_text("new")
        raise Stop
    assert (target / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_kill_between_the_two_renames_is_mended_by_the_next_write(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with new_folder(target) as work:
        (work / "a").write_text("old")
    target.rename(tmp_path / ".out.previous")
    with pytest.raises(Stop), new_folder(target):
        raise Stop
    assert (target / "a").read_text() == "old"


def test_a_kill_between_the_two_renames_is_mended_by_the_next_read(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    target.rename(tmp_path / ".out.previous")
    put_back(target)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    put_back(target)  # nothing to do


def test_every_file_of_an_edition_can_be_read_by_others(tmp_path: Path, study: StudyFile) -> None:
    bundle = write(tmp_path, study, results())
    assert {file.name for file in bundle.path.rglob("*") if file.is_file() and not file.stat().st_mode & 0o004} == set()
