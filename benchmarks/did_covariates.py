"""Doubly robust event study with three continuous covariates, from a DuckDB file to effects, errors and bands.

    python benchmarks/did_covariates.py
    python benchmarks/did_covariates.py --peer-python /path/to/python    # a Python that has diff-diff and duckdb

500,000 people × 20 quarters, ten cohorts, half of them never treated. Every figure comes from a process of its own that
opens the file, reads it and ends with the table; imports are not counted. Both as a panel is kept, by person, and in no
order at all. The peer's bands are a bootstrap, so it is timed without them as well.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

THREADS, QUARTERS = 2, 20
COVARIATES = ("x1", "x2", "x3")

PEER = """
import resource, sys, time, warnings
import duckdb, numpy, pandas
from diff_diff import CallawaySantAnna
warnings.simplefilter("ignore")
start = time.perf_counter()
with duckdb.connect(sys.argv[1], read_only=True, config={"threads": 2}) as con:
    data = con.sql("FROM panel").df()
model = CallawaySantAnna(estimation_method="dr", base_period="universal", n_bootstrap=int(sys.argv[2]), seed=1)
found = model.fit(data, outcome="y", unit="id", time="t", first_treat="g", covariates=["x1", "x2", "x3"],
                  aggregate="event_study")
effect = found.event_study_effects[5]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
print(f'{{"seconds": {time.perf_counter() - start}, "peak_gb": {peak}, "estimate": {effect["effect"]}, '
      f'"std_error": {effect["se"]}}}')
"""


def generate(file: Path, people: int, order: str) -> None:
    """Trends and the chance of being treated both follow the covariates."""
    normal = "sqrt(-2 * ln((hash(n, {a}) % 1000000 + 1) / 1000001.0)) * cos(2 * pi() * (hash(n, {b}) % 1000000) / 1e6)"
    with duckdb.connect(str(file), config={"threads": THREADS}) as con:
        con.execute(
            f"""
            CREATE TABLE panel AS
            WITH people AS (
              SELECT n AS id, {normal.format(a=1, b=2)} AS x1, {normal.format(a=3, b=4)} AS x2,
                (hash(n, 5) % 1000000) / 1e6 AS x3, (hash(n, 6) % 1000000) / 1e6 AS u
              FROM range({people}) AS r(n))
            SELECT id, CAST(t AS INTEGER) AS t,
              CASE WHEN u < 1 / (1 + exp(.3 - .4 * x1 + .3 * x2)) THEN 6 + CAST(hash(id, 7) % 10 AS INTEGER) ELSE 0 END
                AS g,
              x1, x2, x3,
              .1 * t * x1 + .05 * t * x2 + (hash(id, t, 8) % 1000000) / 5e5 + (hash(id, 9) % 1000) / 500.0 AS y
            FROM people, range(1, {QUARTERS + 1}) AS q(t) ORDER BY {order}
            """
        )


def measure(file: Path, memory: str) -> None:
    import pyarrow  # noqa: F401  # imports are not timed, the peer's neither

    import retrain_eval as rte
    from retrain_eval.estimators.rows.att_gt import att_gt

    start = time.perf_counter()
    with duckdb.connect(str(file), read_only=True, config={"threads": THREADS, "memory_limit": memory}) as con:
        names = {"unit": "id", "time": "t", "cohort": "g", "outcome": "y", "covariates": COVARIATES}
        table: rte.EffectTable = att_gt(con.table("panel"), **names, method="dr").aggregate("dynamic")
    frame = table.to_frame()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    effect = frame[frame["event_time"] == 5].iloc[0]
    line = {"seconds": seconds, "peak_gb": peak, "estimate": effect["estimate"], "std_error": effect["std_error"]}
    print(json.dumps(line))


def child(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ChildProcessError((done.stderr.strip().splitlines() or [f"ended by signal {-done.returncode}"])[-1])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[500_000])
    parser.add_argument("--peer-python", help="compares with diff-diff")
    parser.add_argument("--memory", default="4GB", help="DuckDB's limit in our process")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--generate", nargs=2, metavar=("PEOPLE", "ORDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.generate:
        return generate(options.file, int(options.generate[0]), options.generate[1])
    if options.file:
        return measure(options.file, options.memory)
    for people in options.people:
        for order, said in (("id, t", "by person"), ("hash(id, t)", "in no order")):
            with tempfile.TemporaryDirectory() as name:
                file = Path(name) / "panel.duckdb"
                # a process takes over its parent's peak of memory, so that the parent must stay small
                subprocess.run([sys.executable, __file__, "--file", file, "--generate", str(people), order], check=True)
                print(f"\n{people:,} people × {QUARTERS} quarters, rows {said}")
                print(f"{'':<28}{'seconds':>9}{'peak GB':>9}{'effect at 5':>13}{'std. error':>12}")
                ours = child([sys.executable, __file__, "--file", str(file), "--memory", options.memory])
                print(f"{'retrain_eval, with bands':<28}{row(ours)}", flush=True)
                if options.peer_python:
                    compare(options.peer_python, file, ours)
    return None


def compare(python: str, file: Path, ours: dict[str, float]) -> None:
    for draws, what in ((0, "diff-diff, no bands"), (999, "diff-diff, with bands")):
        try:
            peer = child([python, "-c", PEER, str(file), str(draws)])
        except ChildProcessError as error:
            print(f"{what:<28}fails: {error}", flush=True)
            continue
        times, memory = peer["seconds"] / ours["seconds"], ours["peak_gb"] / peer["peak_gb"]
        print(f"{what:<28}{row(peer)}   we: {times:.1f} times as fast, {memory:.2f} of the memory", flush=True)


def row(line: dict[str, float]) -> str:
    return f"{line['seconds']:>9.1f}{line['peak_gb']:>9.2f}{line['estimate']:>13.6f}{line['std_error']:>12.6f}"


if __name__ == "__main__":
    main()
