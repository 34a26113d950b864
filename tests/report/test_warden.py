"""Nothing that a build started outlives it, or outlives whoever asked for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retrain_eval.report.building.book import _run_group

# a program that starts another one and reports its process id, as the engine does with its Jupyter server
STARTS_ANOTHER = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(float(sys.argv[2]))
"""
ASKS = "import os, pathlib, sys; from retrain_eval.report.building.book import _run_group; "
ASKS += "_run_group([sys.executable, *sys.argv[1:]], pathlib.Path(os.environ['WORK']), dict(os.environ))"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int, within: float = 10) -> bool:
    end = time.monotonic() + within
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to look at processes")
def test_what_a_finished_program_left_running_is_ended(tmp_path: Path) -> None:
    work, note = tmp_path / "work", tmp_path / "pid"
    work.mkdir()
    status, _ = _run_group([sys.executable, "-c", STARTS_ANOTHER, str(note), "0"], work, dict(os.environ))
    assert status == 0
    assert gone(int(note.read_text()))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to look at processes")
def test_a_killed_asker_leaves_nothing_behind(tmp_path: Path) -> None:
    work, note = tmp_path / "work", tmp_path / "pid"
    work.mkdir()
    asker = subprocess.Popen(
        [sys.executable, "-c", ASKS, "-c", STARTS_ANOTHER, str(note), "120"], env={**os.environ, "WORK": str(work)}
    )
    end = time.monotonic() + 30
    while not (note.exists() and note.read_text()) and time.monotonic() < end:
        time.sleep(0.05)
    pid = int(note.read_text())
    assert alive(pid)
    asker.send_signal(signal.SIGKILL)
    asker.wait()
    assert gone(pid)
