"""Run and release the agency study on synthetic agencies of many seeds: does every draw run to its end?

A study of 8,000 people has groups that are too small for some of its results. Those are listed as withheld with their
reasons, and the others are published; no draw may stop.

    python benchmarks/agency_draws.py --people 8000 --draws 39
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from retrain_eval.release.verification.verify import verify
from retrain_eval.study.folder import Study
from retrain_eval.study.template import new_study

AS_SHIPPED = 'rte.simulate(people=20_000, quarters=40, start="2016Q1", seed=20260101)'


def draw(folder: Path, people: int, seed: int) -> dict[str, str]:
    """Run, release a draft and verify it; return what is withheld."""
    new_study(folder, "agency")
    script = folder / "run.py"
    text = script.read_text(encoding="utf-8")
    assert AS_SHIPPED in text
    changed = f'rte.simulate(people={people}, quarters=40, start="2016Q1", seed={seed})'
    script.write_text(text.replace(AS_SHIPPED, changed), encoding="utf-8")
    study = Study.open(folder)
    study.run()
    bundle = study.release("draft")
    checked = verify(bundle.path)
    assert checked.ok, str(checked)
    return bundle.withheld


def main() -> None:
    """Print a line per draw, and what was withheld how often."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--people", type=int, default=8_000)
    options.add_argument("--draws", type=int, default=39)
    options.add_argument("--first", type=int, default=1, help="seed of the first draw")
    given = options.parse_args()
    often, some, failed = Counter[tuple[str, str]](), 0, 0
    for seed in range(given.first, given.first + given.draws):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                withheld = draw(Path(folder) / "agency", given.people, seed)
            except Exception as error:  # every failure is to be seen
                failed += 1
                print(f"seed {seed}: failed, {type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
                continue
        some += bool(withheld)
        often.update(withheld.items())
        names = ", ".join(withheld) or "nothing"
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s, withheld: {names}", flush=True)
    print(f"{given.draws} draws of {given.people:,} people: {failed} failed, {some} with results withheld")
    for (name, reason), n in often.most_common():
        print(f"  {n:3} {name}: {reason}")


if __name__ == "__main__":
    main()
