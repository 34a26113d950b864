"""Editions: approved ones stay as they are, drafts may change, a correction names what it corrects."""

from __future__ import annotations

from pathlib import Path

import pytest

import own_study
from retrain_eval.common.errors import InputError, ReleaseError
from retrain_eval.release.bundle import Bundle
from retrain_eval.release.editions.editions import corrections, edition_names, origin
from retrain_eval.release.manifest import sealed
from retrain_eval.study.folder import Study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = own_study.make(tmp_path_factory.mktemp("editions") / "mine")
    study = Study.open(folder)
    study.run()
    return study


def rerun(study: Study, seed: int) -> Study:
    """Run the study again under another seed, so that every bundle differs."""
    file = study.folder / "study.toml"
    lines = [f"seed = {seed}" if line.startswith("seed") else line for line in file.read_text().splitlines()]
    file.write_text("\n".join(lines) + "\n")
    again = Study.open(study.folder)
    again.run()
    return again


def test_the_life_of_an_edition(study: Study) -> None:
    draft = study.release("2026")
    assert draft.approved_by == ""
    approved = study.release("2026", approved_by="  Ada \n Lovelace ")  # needs no --replace: only its approval differs
    assert approved.approved_by == "Ada Lovelace"
    assert sealed({**draft.manifest, "approved_by": "Ada Lovelace"}) == approved.manifest
    assert study.release("2026", approved_by="Ada Lovelace").sha256 == approved.sha256  # again: the same bytes

    for options in ({"replace": True}, {"approved_by": "Someone Else"}, {"approved_by": "", "replace": True}):
        with pytest.raises(ReleaseError, match="approved by Ada Lovelace and stays as it is"):
            study.release("2026", **options)
    study = rerun(study, 7)
    with pytest.raises(ReleaseError, match="--edition 2026-1 --corrects 2026"):
        study.release("2026", approved_by="Ada Lovelace", replace=True)
    assert Bundle.open(approved.path).sha256 == approved.sha256

    folder = study.folder / "release"
    fixed = study.release("2026-1", approved_by="Ada", corrects="2026", reason="The seed was wrong.")
    assert dict(fixed.corrects) == {"edition": "2026", "sha256": approved.sha256, "reason": "The seed was wrong."}
    assert study.release("2026-1", approved_by="Ada", corrects="2026", reason="The seed was wrong.") == fixed
    assert Bundle.open(approved.path).sha256 == approved.sha256  # the old one stands
    assert corrections(folder) == {"2026": "2026-1"}
    assert origin(folder, "2026-1") == ["2026-1", "2026"]
    assert study.bundle().edition == "2026-1"
    with pytest.raises(ReleaseError, match="corrected by 2026-1 already"):
        study.release("2026-2", approved_by="Ada", corrects="2026")

    study.release("2027")
    with pytest.raises(ReleaseError, match="2027 is a draft"):
        study.release("2027-1", corrects="2027")
    study = rerun(study, 8)
    with pytest.raises(ReleaseError, match="replace a draft with --replace"):
        study.release("2027")
    assert study.release("2027", replace=True).approved_by == ""
    assert edition_names(folder) == ["2026", "2026-1", "2027"]


@pytest.mark.parametrize(
    ("corrects", "reason", "says"),
    [("1999", "", "editions: "), ("2030", "", "a name of its own"), (None, "wrong", "--corrects")],
)
def test_a_correction_names_another_edition_that_exists(
    study: Study, corrects: str | None, reason: str, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        Study.open(study.folder).release("2030", corrects=corrects, reason=reason)
    assert not (study.folder / "release" / "2030").exists()


def test_the_plan_travels_with_the_edition(study: Study) -> None:
    registration, _ = Study.open(study.folder).plan()
    bundle = Study.open(study.folder).release("2040")
    assert bundle.plan == (registration,)
    assert "plan.json" in bundle.manifest["files"]
    inputs = bundle.manifest["inputs"]
    assert bundle.manifest["plan"] == [{"sha256": registration.sha256, "binds": False, "opened": len(inputs)}]


def test_rows_of_record_files_are_told_in_tens(tmp_path: Path) -> None:
    study = Study.open(own_study.make(tmp_path / "mine"))
    study.run()
    facts = {item["name"]: item for item in study.release("rows").manifest["inputs"]}
    assert facts["person"]["rows_in"] == 680
    assert all(item["rows_in"] % 10 == 0 for item in facts.values())
    assert facts["programme"]["rows_in"] == 0  # one row
