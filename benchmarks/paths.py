"""Outcome paths and moments of 5 million people × 40 quarters within 4 GB, with the cost per row at a tenth of it.

    python benchmarks/paths.py --people 500000 5000000

The panel is generated in a DuckDB file by SQL. Each size runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

QUARTERS, MEMORY, THREADS = 40, "4GB", 2


def generate(file: Path, people: int) -> None:
    with duckdb.connect(str(file), config={"memory_limit": MEMORY, "threads": THREADS}) as con:
        con.execute(
            f"""
            CREATE TABLE panel AS
            SELECT 'A' || lpad(n::VARCHAR, 8, '0') AS person_id, CAST(8064 + t AS INTEGER) AS period,
              round(pay * 12000, 2) AS earnings, CAST(pay > 0 AS DOUBLE) AS employed,
              CASE WHEN n % 4 = 0 THEN CAST(8076 + n // 4 % 12 AS INTEGER) END AS cohort
            FROM (SELECT n, t, greatest((hash(n, t) % 1000) / 1000.0 - .2, 0) AS pay
                  FROM range({people}) AS a(n), range({QUARTERS}) AS b(t))
            """
        )


def measure(file: Path) -> None:
    import retrain_eval as rte

    with duckdb.connect(str(file), config={"memory_limit": MEMORY, "threads": THREADS}) as con:

        def stage(name: str, work: Callable[[], object]) -> None:
            start = time.perf_counter()
            work()
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
            print(json.dumps({"stage": name, "seconds": time.perf_counter() - start, "peak_gb": peak}), flush=True)

        stage("paths of one outcome", lambda: rte.build_outcome_paths(con, ["earnings"]))
        names = {"unit": "person_id", "time": rte.path_periods(con), "cohort": "cohort", "outcome": "earnings"}
        stage("moments from paths", lambda: rte.outcome_moments(con.table("paths"), **names))
        stage("paths of two outcomes", lambda: rte.build_outcome_paths(con, ["earnings", "employed"]))


def child(*arguments: str) -> list[dict[str, float]]:
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="+", default=[500_000, 5_000_000])
    parser.add_argument("--generate", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.generate:
        return generate(options.file, options.generate)
    if options.file:
        return measure(options.file)
    cost: dict[str, list[float]] = {}
    for people in options.people:
        rows = people * QUARTERS
        with tempfile.TemporaryDirectory() as name:
            file = str(Path(name) / "panel.duckdb")
            child("--file", file, "--generate", str(people))
            print(
                f"\n{people:,} people × {QUARTERS} quarters = {rows:,} rows, memory limit {MEMORY}, {THREADS} threads"
            )
            print(f"{'stage':<24}{'seconds':>9}{'ns per row':>12}{'peak GB':>9}")
            for line in child("--file", file):
                per_row = line["seconds"] / rows * 1e9
                cost.setdefault(str(line["stage"]), []).append(per_row)
                print(f"{line['stage']:<24}{line['seconds']:>9.1f}{per_row:>12.0f}{line['peak_gb']:>9.2f}")
    if len(options.people) > 1:
        print(f"\ncost per row at {options.people[-1]:,} over {options.people[0]:,} people")
        for name, values in cost.items():
            print(f"{name:<24}{values[-1] / values[0]:>9.2f}")


if __name__ == "__main__":
    main()
