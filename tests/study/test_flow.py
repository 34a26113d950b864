"""From a study folder to an edition: scripts as people write them, and folders as a kill leaves them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import own_study
from retrain_eval.common.errors import InputError, StoreError
from retrain_eval.study.folder import Study
from retrain_eval.study.script import SCRIPT

NOTHING = "def analyse(run):\n    pass\n"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = own_study.make(tmp_path_factory.mktemp("studies") / "mine", own_study.records(20, 60))
    (folder / SCRIPT).write_text(NOTHING)
    return folder


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "mine"))


def test_a_study_without_its_script_says_so(folder: Path) -> None:
    (folder / SCRIPT).unlink()
    with pytest.raises(InputError, match=f"no {SCRIPT}"):
        Study.open(folder).run()


@pytest.mark.parametrize("text", ["x = 1\n", "analyse = 3\n"])
def test_a_script_without_analyse_says_so(folder: Path, text: str) -> None:
    (folder / SCRIPT).write_text(text)
    with pytest.raises(InputError, match=r"does not define analyse\(run\)"):
        Study.open(folder).run()


@pytest.mark.parametrize(
    "line", ["from retrain_eval.did.means import mean_paths", "from retrain_eval.panel.panel import build_pannel"]
)
def test_a_script_that_imports_what_is_no_longer_there_says_what_to_do(folder: Path, line: str) -> None:
    (folder / "run.py").write_text(f"{line}\n\n\ndef analyse(run):\n    pass\n")
    with pytest.raises(InputError, match=r"run\.py imports what this version does not have") as error:
        Study.open(folder).run()
    assert "import retrain_eval as rte" in str(error.value)


def test_a_script_may_define_dataclasses(folder: Path) -> None:
    made = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n\n@dataclass\nclass A:\n    x: int\n"
    )
    (folder / SCRIPT).write_text(made + NOTHING)
    assert list(Study.open(folder).run().tables) == ["dictionary"]


def test_prepare_writes_what_is_missing_and_touches_nothing_else(folder: Path) -> None:
    data = folder / "data"
    (data / "programme.csv").rename(folder / "kept.csv")
    (data / "notes.txt").write_text("mine")
    before = (data / "person.csv").read_bytes()
    script = 'def prepare(to):\n    (to / "person.csv").write_text("other")\n'
    script += f'    (to / "programme.csv").write_text({(folder / "kept.csv").read_text()!r})\n'
    (folder / SCRIPT).write_text(script + NOTHING)
    Study.open(folder).run()
    assert (data / "programme.csv").read_text() == (folder / "kept.csv").read_text()
    assert (data / "notes.txt").read_text() == "mine"
    assert (data / "person.csv").read_bytes() == before


def test_a_kill_between_two_renames_loses_no_run_and_no_edition(folder: Path) -> None:
    study = Study.open(folder)
    study.run()
    sha256 = study.release("2026").sha256
    for path in (folder / "store" / "results", folder / "release" / "2026"):
        path.rename(path.with_name(f".{path.name}.previous"))
    assert study.bundle().sha256 == sha256
    assert study.release("2026").sha256 == sha256


def test_a_disk_that_gives_out_during_the_run_leaves_the_last_results(folder: Path) -> None:
    study = Study.open(folder)
    study.run()
    stands = (folder / "store" / "results" / "key.json").read_bytes()
    # DuckDB's own bound on what it may spill stands for a full disk
    script = "    run.con.execute(\"SET memory_limit = '20MB'; SET max_temp_directory_size = '1MB'\")\n"
    script += '    run.con.execute("CREATE TABLE big AS SELECT i, hash(i) h FROM range(20_000_000) t(i) ORDER BY h")\n'
    (folder / SCRIPT).write_text(f"def analyse(run):\n{script}")
    with pytest.raises(StoreError, match="the last results are kept"):
        Study.open(folder).run()
    assert (folder / "store" / "results" / "key.json").read_bytes() == stands
