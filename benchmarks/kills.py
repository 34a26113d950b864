"""Kill every verb at random moments: afterwards the next command works, and editions have the same bytes.

    python benchmarks/kills.py [KILLS [VERB ...]]

Each kill (SIGKILL, at a moment drawn between 0 and the time the verb takes) is followed by the commands that an
evaluator would give next, by a comparison of every byte of the edition with one made without interruption, by a search
for files left over in the study and among temporary folders, and by `verify`.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
import small_study

# verb → share of the kills; a report takes longest
SHARES = {"init": 10, "ingest": 20, "plan": 8, "run": 24, "release": 24, "verify": 8, "report": 6}


def edition(folder: Path) -> dict[str, bytes]:
    root = folder / "release" / "2026"
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def must(*arguments: str | Path) -> None:
    code, said = small_study.cli(*arguments)
    if code:
        raise SystemExit(f"{arguments}: exit code {code}\n{said}")


def commands(folder: Path) -> dict[str, list[str | Path]]:
    """Return the command line of each verb."""
    return {
        "init": ["init", folder.parent / "new"],
        "ingest": ["ingest", folder],
        "plan": ["plan", folder, "--reason", "again"],
        "run": ["run", folder, "--force"],
        "release": ["release", folder, "--edition", "2026", "--approved-by", "Ada"],
        "verify": ["verify", folder / "release" / "2026"],
        "report": ["report", folder, "--edition", "2026", "--force"],
    }


def left_over(folder: Path) -> list[str]:
    """Return hidden files in the folder of the study, and temporary folders of killed processes."""
    hidden = [path.relative_to(folder.parent).as_posix() for path in folder.parent.rglob(".*")]
    return hidden + [path.name for path in Path(tempfile.gettempdir()).glob("retrain_eval_*_*")]


def main(kills: int, only: list[str]) -> None:
    chance = random.Random(20261130)
    with tempfile.TemporaryDirectory(prefix="kills_") as name:
        os.environ["TMPDIR"] = tempfile.tempdir = str(Path(name) / "tmp")  # used by this process only
        Path(tempfile.tempdir).mkdir()
        folder = small_study.make(Path(name) / "study" / "tiny", tables=small_study.records(60, 2_000))
        verbs = {
            verb: given
            for verb, given in commands(folder).items()
            if verb in only or verb in ("run", "release", "verify")
        }
        must("plan", folder)
        took: dict[str, float] = {}
        for verb, arguments in verbs.items():
            begun = time.monotonic()
            must(*arguments)
            took[verb] = time.monotonic() - begun
        shutil.rmtree(folder.parent / "new", ignore_errors=True)
        expected = edition(folder)
        plan = (folder / "plan.json").read_bytes()
        died: Counter[str] = Counter()
        done: Counter[str] = Counter()
        for verb, share in SHARES.items():
            if verb not in only:
                continue
            for _ in range(round(share * kills / 100)):
                if verb in ("ingest", "run") and chance.random() < 0.5:
                    small_study.empty_store(folder)
                if verb == "plan":
                    (folder / "plan.json").unlink()
                if verb == "release":
                    shutil.rmtree(folder / "release")
                if verb == "report" and chance.random() < 0.5:
                    shutil.rmtree(folder / "report", ignore_errors=True)
                if verb == "release" or not (folder / "store" / "results").exists():
                    must("run", folder) if verb not in ("ingest", "run") else None
                process = small_study.start(*verbs[verb])
                time.sleep(chance.uniform(0, took[verb]))
                process.kill()
                process.communicate(timeout=60)
                died[verb] += process.returncode == -9
                done[verb] += 1
                if verb == "init":
                    if not (folder.parent / "new").exists():
                        must(*verbs["init"])
                    shutil.rmtree(folder.parent / "new")
                elif verb == "plan":
                    must("plan", folder)
                    (folder / "plan.json").write_bytes(plan)  # it has the time in it
                if verb == "report":
                    must(*verbs["report"])
                must("run", folder)
                must(*verbs["release"])
                must(*verbs["verify"])
                assert edition(folder) == expected, f"{verb}: the edition has other bytes"
                assert not left_over(folder), f"{verb}: left over: {left_over(folder)}"
            facts = f"{done[verb]:>3} kills, {died[verb]:>3} while it ran (it takes {took[verb]:.1f} s)"
            print(f"{verb:<8} {facts}: the next commands worked, same bytes, nothing left over", flush=True)
        print(f"{done.total()} kills, {died.total()} of them of a running process")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100, sys.argv[2:] or list(SHARES))
