"""Verify an edition in a separate process with limited memory and time.

Sizes are checked before anything is read, and options before anything is repeated. What such checks cannot exclude,
such as a file that unpacks to more than it declares or a model that never converges, ends with the process, and the
caller reports it. A process takes about a second and a half, mostly for imports.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from retrain_eval.common.errors import ReleaseError, RetrainEvalError
from retrain_eval.common.limits import MEMORY, ONE_THREAD, SECONDS, limit_process
from retrain_eval.common.untrusted import shown
from retrain_eval.release.manifest import read_manifest
from retrain_eval.release.verification.verify import Verification, verify

_PROBLEMS = 1_000  # returned; any more are only counted


def verify_within(
    path: str | Path, *, seconds: float = SECONDS, memory: int = MEMORY, **options: str | None
) -> Verification:
    """Do what `retrain_eval.release.verification.verify.verify` does, within limits of time and memory.

    Parameters
    ----------
    path : str or Path
        Folder of an edition.
    seconds : float
    memory : int
        In bytes, if the system can limit it (Linux).
    **options : str
        Options of ``verify``.

    Raises
    ------
    ReleaseError
        If there is no manifest, it cannot be read, or a limit is exceeded.
    """
    command = [sys.executable, "-P", "-m", "retrain_eval.release.verification.within", str(Path(path).absolute())]
    command += [json.dumps([options, seconds, memory])]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            env={**os.environ, **ONE_THREAD},
        )  # fmt: skip
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ReleaseError(f"verifying {path} was stopped after {seconds:g} seconds") from None
        finally:
            with suppress(ProcessLookupError, PermissionError, AttributeError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        answer = _answer(out)
        if answer is None:
            last_line = _last_line(err)
            raise ReleaseError(
                f"verifying {path} was stopped: it needs more than {memory / 2**30:g} GB, or its contents end the "
                f"program (status {process.returncode}){': ' + last_line if last_line else ''}"
            )
    if "error" in answer:
        raise ReleaseError(str(answer["error"]))
    return Verification(
        **{**answer, "path": Path(path), "problems": tuple(answer["problems"]), "unchecked": tuple(answer["unchecked"])}
    )


def check_edition(edition: Path) -> Verification:
    """Verify an edition that a report is made from.

    Raises
    ------
    ReleaseError
        If it is not as it was released, or its folder has another name.
    """
    verification = verify_within(edition)
    if not verification.ok:
        raise ReleaseError(f"no report: {verification}")
    named = read_manifest(edition)["edition"]
    if named != edition.name:
        raise ReleaseError(f"no report: the folder {edition} holds an edition named {named}")
    return verification


def _answer(out: IO[bytes]) -> dict[str, Any] | None:
    out.seek(0)
    try:
        answer: dict[str, Any] = json.loads(out.read().splitlines()[-1])
    except (ValueError, IndexError):
        return None
    return answer


def _last_line(err: IO[bytes]) -> str:
    err.seek(0)
    lines = err.read(2**20).decode("utf-8", "replace").split("\n")
    return shown(next((line for line in reversed(lines) if line.strip()), "").strip())


def main(path: str, asked: str) -> None:
    """Verify in this process and print the result as JSON."""
    options, seconds, memory = json.loads(asked)
    limit_process(seconds, memory)
    try:
        verification = verify(path, **options)
        problems = list(verification.problems)
        if len(problems) > _PROBLEMS:
            problems = [*problems[:_PROBLEMS], f"and {len(problems) - _PROBLEMS:,} more"]
        answer = {**dataclasses.asdict(verification), "path": "", "problems": problems}
    except RetrainEvalError as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
