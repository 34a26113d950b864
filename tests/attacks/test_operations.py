"""Who may read what, what leaves the agency, two processes at once, full disks, odd locales, and what a kill leaves."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import stat
import time
from pathlib import Path

import pandas as pd
import pytest

import small_study
from retrain_eval.common.disk import is_full
from retrain_eval.common.errors import StoreError
from retrain_eval.common.files import new_folder, private_folder, scratch_folder, sha256, write_text
from retrain_eval.common.locks import lock_file, locked
from retrain_eval.common.text.csv_cells import guard, guarded, unguarded
from retrain_eval.release.layout import read_table, write_table
from retrain_eval.release.verification.verify import verify
from retrain_eval.study.folder import Study
from retrain_eval.study.template import new_study

KEY = "9b05688c2b3e6c1f1f83d9abfb41bd6b5be0cd19137e2179"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that has been run and released, by the program, under a umask that lets everyone read."""
    folder = small_study.make(tmp_path_factory.mktemp("operations") / "tiny")
    os.chmod(folder.parent, 0o755)
    for arguments in (["plan", folder], ["run", folder], ["release", folder, "--edition", "2026"]):
        code, said = small_study.cli(*arguments)
        assert code == 0, said
    return folder


def modes(folder: Path) -> dict[str, str]:
    paths = [folder, *folder.rglob("*")]
    return {path.relative_to(folder.parent).as_posix(): oct(stat.S_IMODE(path.lstat().st_mode)) for path in paths}


# --- who may read what


def test_the_store_is_its_owners_and_an_edition_is_everyones(tiny: Path) -> None:
    for name, mode in modes(tiny / "store").items():
        assert mode == ("0o700" if (tiny / name).is_dir() else "0o600"), name
    for name, mode in modes(tiny / "release").items():
        assert mode == ("0o755" if (tiny / name).is_dir() else "0o644"), name
    assert not [path for path in tiny.rglob(".*") if path.name != ".lock"], "nothing hidden is left"


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_do_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        new_study(tmp_path / "mine")
        with new_folder(tmp_path / "a" / "public") as work:
            (work / "sub").mkdir()
            (work / "sub" / "file").write_text("x")
        with new_folder(tmp_path / "private", access="private") as work:
            (work / "sub").mkdir()
            (work / "sub" / "file").write_text("x")
        write_text(tmp_path / "secret", "x", access="private")
        with scratch_folder("retrain_eval_test_") as scratch:
            assert (
                oct(stat.S_IMODE(scratch.stat().st_mode)) == oct(stat.S_IMODE(scratch.parent.stat().st_mode)) == "0o700"
            )
        assert not scratch.exists()
    finally:
        os.umask(before)
    assert set(modes(tmp_path / "a").values()) == {"0o755", "0o644"}
    assert set(modes(tmp_path / "private").values()) == {"0o700", "0o600"}
    assert oct(stat.S_IMODE((tmp_path / "secret").stat().st_mode)) == "0o600"
    assert set(modes(tmp_path / "mine" / "data").values()) == {"0o700", "0o600"}  # for records about people
    assert oct(stat.S_IMODE((tmp_path / "mine" / "study.toml").stat().st_mode)) == "0o644"


def test_a_store_that_others_could_read_is_tightened_and_it_is_said_once(tmp_path: Path) -> None:
    study = small_study.make(tmp_path / "tiny")
    (study / "store").mkdir(mode=0o755)
    os.chmod(study / "store", 0o755)
    (study / "store" / "old.csv").write_text("x")
    os.chmod(study / "store" / "old.csv", 0o644)
    lines: list[str] = []
    Study.open(study).ingest(lines.append).close()
    Study.open(study).ingest(lines.append).close()
    assert sum("could be read by others; now only its owner can read it" in line for line in lines) == 1
    assert set(modes(study / "store").values()) == {"0o700", "0o600"}
    assert private_folder(study / "store") == ""


# --- what an edition says about person-level files


def hashes(folder: Path) -> set[str]:
    return {sha256(path) for path in (folder / "data").iterdir()}


def test_an_edition_has_no_hash_of_a_record_file_and_the_store_has_them_all(tiny: Path) -> None:
    Study.open(tiny).release("2027")
    secret = {digest.encode() for digest in hashes(tiny)}
    for root in (tiny / "release", tiny / "plan.json"):
        for path in [root] if root.is_file() else root.rglob("*"):
            if path.is_file():
                assert not [digest for digest in secret if digest in path.read_bytes()], path
    inside = json.loads((tiny / "store" / "editions.json").read_text())
    assert {item["sha256"] for item in inside["2027"][-1]["inputs"]} == hashes(tiny)
    assert inside["2027"][-1]["manifest_sha256"] == sha256(tiny / "release" / "2027" / "manifest.json")
    assert "fingerprint" not in (tiny / "release" / "2027" / "manifest.json").read_text()


@pytest.mark.slow
def test_where_identifiers_are_hashed_files_have_a_keyed_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_study.make(tmp_path / "tiny", more='[ingest]\nidentifiers = "hmac"\n')
    code, said = small_study.cli("run", folder)
    assert code == 1
    assert "RETRAIN_EVAL_KEY holds no key" in said
    for weak in ("aaaaaaaaaaaaaaaa", "1234567890123456"):
        code, said = small_study.cli("run", folder, RETRAIN_EVAL_KEY=weak)
        assert code == 1
        assert "weak key" in said
    monkeypatch.setenv("RETRAIN_EVAL_KEY", KEY)
    study = Study.open(folder)
    study.run()
    manifest = study.release("2026").manifest
    prints = {item["fingerprint"] for item in manifest["inputs"]}
    assert len(prints) == 4
    assert not prints & hashes(folder)
    text = (folder / "release" / "2026" / "manifest.json").read_text()
    assert not [digest for digest in hashes(folder) if digest in text]
    for path in folder.rglob("*"):  # neither the key nor, outside data/, an identifier as it was delivered
        if path.is_file() and "data" not in path.relative_to(folder).parts:
            assert KEY.encode() not in path.read_bytes(), path
            assert b"P00000" not in path.read_bytes(), path
    code, said = small_study.cli("ingest", folder, RETRAIN_EVAL_KEY=KEY[::-1])
    assert code == 0  # no file is new, and none is read under another key
    code, said = small_study.cli("run", folder, "--force", RETRAIN_EVAL_KEY=KEY[::-1])
    assert code == 1
    assert "a different key from that of the store" in said


# --- cells that a spreadsheet would run

FORMULAS = ["=cmd|'/c calc'!A1", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "＝1+1", "'=1", "''-x", "-1.5 to 2"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_a_text_and_comes_back_as_it_was(tmp_path: Path, text: str) -> None:
    assert guarded(text).startswith("'")
    assert unguarded(guarded(text)) == text
    frame = pd.DataFrame({"step": [text], "group": ["treated"], "n": [-5], "reason": [text]})
    write_table(frame, tmp_path / "flow.csv")
    with (tmp_path / "flow.csv").open(newline="") as file:
        row = file.read().split("\n", 1)[1]
    assert row.lstrip('"').startswith("'")
    pd.testing.assert_frame_equal(read_table(tmp_path / "flow.csv"), frame, check_dtype=False)


@pytest.mark.parametrize("text", ["-1.5", "+2", "-1e-05", "level A", "2016", "", "it's = 1", "'quoted'"])
def test_numbers_and_other_texts_stay_as_they_are(text: str) -> None:
    assert guarded(text) == unguarded(text) == text
    assert guard(pd.DataFrame({"=x": [-1.5]})).to_csv(index=False) == "'=x\n-1.5\n"


def test_names_from_records_reach_no_csv_file_as_a_formula_and_the_edition_verifies(tmp_path: Path) -> None:
    tables = small_study.records()
    tables["person"]["town"] = [("=HYPERLINK(1)", "+1|cmd", "@b")[i % 3] for i in range(160)]
    tables["person"] = tables["person"].drop(columns="town").assign(education=tables["person"]["education"] % 3 + 1)
    names = {"1": "=HYPERLINK(1)", "2": "+1|cmd", "3": "@b"}
    labels = ", ".join(f'{key} = "{name}"' for key, name in names.items())
    more = f'[strata.level]\ncolumn = "education"\ntitle = "=T"\nlabels = {{ {labels} }}\n'
    folder = small_study.make(tmp_path / "tiny", tables=tables, more=more)
    study = Study.open(folder)
    study.run()
    bundle = study.release("2026")
    for path in bundle.path.glob("*.csv"):
        for cell in pd.read_csv(path, dtype=str, keep_default_na=False).to_numpy().ravel():
            assert not cell.startswith(("=", "+", "@")), (path, cell)
    assert bundle.effects is not None
    assert set(names.values()) <= set(bundle.effects["level"].dropna())
    assert verify(bundle.path).ok


def test_refused_values_are_neutralised_too(tmp_path: Path) -> None:
    tables = small_study.records()
    tables["wage_record"] = tables["wage_record"].astype({"wages": object})
    tables["wage_record"].loc[0, "wages"] = "=cmd|'/c calc'!A1"
    folder = small_study.make(tmp_path / "tiny", tables=tables)
    code, _ = small_study.cli("ingest", folder)
    assert code == 1
    listed = folder / "store" / "refusals.csv"
    assert oct(stat.S_IMODE(listed.stat().st_mode)) == "0o600"
    assert pd.read_csv(listed)["value"].tolist() == ["'=cmd|'/c calc'!A1"]


# --- two processes


@pytest.mark.slow
def test_two_processes_make_editions_of_one_study_and_run_it_at_once(tiny: Path) -> None:
    shutil.rmtree(tiny / "release")
    jobs = [small_study.start("release", tiny, "--edition", name) for name in ("2030", "2030", "2031", "2032")]
    jobs.append(small_study.start("run", tiny, "--force"))
    ended = [(job.communicate(timeout=300)[0], job.returncode) for job in jobs]
    for said, code in ended:
        assert "Traceback" not in said, said
        assert code == 0, said
    for name in ("2030", "2031", "2032"):
        assert verify(tiny / "release" / name).ok
    assert sorted(path.name for path in (tiny / "release").iterdir()) == ["2030", "2031", "2032"]
    assert not lock_file(tiny / "release").exists()


def test_a_lock_is_waited_for_and_its_holder_named(tmp_path: Path) -> None:
    target = tmp_path / "x"
    code = f"""
import sys, time
from pathlib import Path
from retrain_eval.common.locks import locked
with locked(Path({str(target)!r})):
    print("held", flush=True); time.sleep(60)
"""
    import subprocess
    import sys

    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        lines: list[str] = []
        with (
            pytest.raises(StoreError, match=f"is being written by process {holder.pid}"),
            locked(target, say=lines.append, patience=0.5),
        ):
            pass
        assert lines == [f"waiting for process {holder.pid}, which is writing {target}"]
        holder.send_signal(signal.SIGKILL)
    with locked(target, patience=5), locked(target):  # the system has released it, and a holder may take it again
        assert lock_file(target).exists()
    assert not lock_file(target).exists()


def test_what_a_killed_writer_left_is_removed_by_the_next_and_a_living_one_is_left_alone(tmp_path: Path) -> None:
    for name in (".x.abcd_123", ".x.previous", ".x.staged"):
        (tmp_path / name).mkdir()
    (tmp_path / ".xy.abcd_123").mkdir()  # of another target
    (tmp_path / "x").mkdir()
    with new_folder(tmp_path / "x") as work:
        (work / "new").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".xy.abcd_123", "x"]
    with scratch_folder("retrain_eval_test_") as mine, scratch_folder("retrain_eval_test_"):
        assert mine.exists()  # its owner lives
    import tempfile

    dead = Path(tempfile.gettempdir()) / "retrain_eval_test_999999999_abc"
    dead.mkdir()
    with scratch_folder("retrain_eval_test_"):
        assert not dead.exists()


# --- disks


@pytest.mark.parametrize("verb", ["ingest", "run", "plan", "release", "init"])
def test_a_full_disk_is_reported_as_such(tmp_path: Path, verb: str) -> None:
    """On a disk of two megabytes, mounted for this process alone."""
    if os.system("unshare --user --map-root-user --mount true 2>/dev/null"):
        pytest.skip("no file system can be mounted here")
    import subprocess
    import sys

    folder = small_study.make(tmp_path / "tiny", tables=small_study.records(60, 600))
    if verb == "release":
        assert small_study.cli("run", folder)[0] == 0
    room = tmp_path / "disk"
    room.mkdir()
    size = {"ingest": 300, "run": 1200, "plan": 1000, "release": 4800, "init": 16}[verb]
    more = {"release": " --edition 2026"}.get(verb, "")
    target = "new" if verb == "init" else "tiny"
    fill = f"dd if=/dev/zero of={room}/filler bs=4k status=none; " if verb in ("plan", "release", "init") else ""
    script = (
        f"mount -t tmpfs -o size={size}k tmpfs {room} && "
        + ("" if verb == "init" else f"cp -a {folder} {room}/tiny && ")
        + f"({fill}true) 2>/dev/null; cd {room}; {sys.executable} -m retrain_eval {verb} {room}/{target}{more}"
    )
    done = subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
                          capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    assert done.returncode == 1, said
    assert "disk is full" in said, said
    assert "MB are free" in said, said


def test_output_that_cannot_be_written_is_no_traceback(tiny: Path) -> None:
    import subprocess
    import sys

    edition = next((tiny / "release").iterdir())
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "retrain_eval", "verify", str(edition)], stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=120, check=False)  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert "disk is full" in done.stderr


@pytest.mark.slow
def test_other_errors_of_the_disk_are_one_line(tmp_path: Path) -> None:
    folder = small_study.make(tmp_path / "tiny")
    code, said = small_study.cli("init", tmp_path / ("x" * 300))
    assert code == 1
    assert "too long" in said
    (folder / "store").write_text("a file")
    code, said = small_study.cli("run", folder)
    assert code == 1
    code, said = small_study.cli("verify", "/dev/null")
    assert code == 1
    assert is_full("x: No space left on device")


# --- names and locales


@pytest.mark.slow
def test_folders_of_any_name_work_under_an_ascii_locale(tmp_path: Path) -> None:
    env = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    parent = tmp_path / "étude 研究"
    parent.mkdir()
    code, said = small_study.cli("init", parent / "neu ß", **env)
    assert code == 0, said
    assert "neu ß" in said
    folder = small_study.make(parent / "tiny")
    for arguments in (
        ["ingest", folder], ["plan", folder], ["run", folder], ["release", folder, "--edition", "2026"],
        ["verify", folder / "release" / "2026"], ["schema", "person"],
    ):  # fmt: skip
        code, said = small_study.cli(*arguments, **env)
        assert code == 0, said
    assert sorted(path.name for path in parent.iterdir()) == ["neu ß", "tiny"]
    assert (folder / "store" / "study.duckdb").exists()


# --- kills


def reference(folder: Path, edition: str) -> dict[str, bytes]:
    root = folder / "release" / edition
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_killed_at_any_moment_the_next_command_works_and_editions_are_the_same(tmp_path: Path) -> None:
    """A few of the kills of ``benchmarks/kills.py``."""
    folder = small_study.make(tmp_path / "tiny")
    begun = time.monotonic()
    assert small_study.cli("run", folder)[0] == 0
    took = time.monotonic() - begun
    assert small_study.cli("release", folder, "--edition", "ref")[0] == 0
    expected = {name: text for name, text in reference(folder, "ref").items() if name != "manifest.json"}
    chance = random.Random(17)
    for verb in ("run", "release"):
        for _ in range(3):
            arguments = [verb, folder, "--force"] if verb == "run" else [verb, folder, "--edition", "x"]
            if verb == "run":
                small_study.empty_store(folder)
            shutil.rmtree(folder / "release" / "x", ignore_errors=True)
            process = small_study.start(*arguments)
            time.sleep(chance.uniform(0.3, 1) * took)
            process.kill()
            process.communicate(timeout=60)
            for again in (["run", folder], ["release", folder, "--edition", "x"]):
                code, said = small_study.cli(*again)
                assert code == 0, said
            now = {name: text for name, text in reference(folder, "x").items() if name != "manifest.json"}
            assert now == expected
            assert not [path.name for path in folder.rglob(".*")]
