"""Runs a program, and ends it and everything it started when the process that asked for it is gone.

``python -m retrain_eval.report.building.process_group COMMAND...`` runs in a process group of its own. Its standard
input is a pipe whose other end the asking process holds: when that process ends, however suddenly, the pipe closes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def _end_when_alone() -> None:
    os.read(0, 1)  # nothing is ever written: this returns when the pipe closes
    os.killpg(0, signal.SIGTERM)


if __name__ == "__main__":
    program = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_when_alone, daemon=True).start()
    os._exit(program.wait())
