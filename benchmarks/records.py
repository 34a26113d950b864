"""Wage records at scale: ingest, panel, spells, quality and paths in bounded memory, with cost per row at two sizes.

    python benchmarks/records.py --rows 2000000 20000000

Records come from `retrain_eval.simulation` (Parquet). Each size runs in a process of its own, so that its peak memory
is its own.
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

ROWS_PER_PERSON = 28.7  # wage records of a synthetic person over 40 quarters
MEMORY, THREADS = "4GB", 2


def generate(folder: Path, rows: int) -> None:
    import retrain_eval as rte

    agency = rte.simulate(
        people=int(rows / ROWS_PER_PERSON), memory_limit=MEMORY, database=folder / "simulation.duckdb"
    )
    agency.write(folder)


def measure(folder: Path) -> None:
    import retrain_eval as rte
    from retrain_eval.records.store import Store

    stages: dict[str, float] = {}

    def stage(name: str, work: Callable[[], object]) -> None:
        start = time.perf_counter()
        work()
        stages[name] = time.perf_counter() - start
        print(json.dumps({"stage": name, "seconds": stages[name], "peak_gb": peak()}), flush=True)

    with Store.open(folder / "store.duckdb", memory_limit=MEMORY, frequency="quarter") as store:
        con = store.con
        con.execute(f"SET threads = {THREADS}")
        files = {file.stem: file for file in sorted(folder.glob("*.parquet"))}
        stage("ingest and validate", lambda: store.ingest_all(files))
        rows = con.sql("SELECT count(*) FROM wage_record").fetchall()[0][0]
        print(json.dumps({"rows": rows}), flush=True)
        stage("panel and jobs", lambda: rte.build_panel(con))
        stage("spells", lambda: rte.build_spells(con))
        stage("employment quality", lambda: rte.build_quality(con))
        stage("outcome paths", lambda: rte.build_outcome_paths(con, ("earnings", "employed")))
        periods = rte.path_periods(con)
        names = {"unit": "person_id", "time": periods, "cohort": "cohort", "outcome": "earnings"}
        stage("outcome moments", lambda: rte.outcome_moments(con.table("paths"), **names, unbalanced="drop"))


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def child(*arguments: str) -> list[dict[str, float]]:
    done = subprocess.run([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[2_000_000, 20_000_000])
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    parser.add_argument("--generate", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.generate:
        return generate(options.folder, options.generate)
    if options.measure:
        return measure(options.folder)

    cost: dict[str, list[float]] = {}
    for rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            start = time.perf_counter()
            child("--folder", name, "--generate", str(rows))
            print(f"\n{rows:,} rows asked for; simulated and written in {time.perf_counter() - start:.0f} s")
            lines = child("--folder", name, "--measure")
            found = next(int(line["rows"]) for line in lines if "rows" in line)
            print(f"{found:,} wage records, memory limit {MEMORY}, {THREADS} threads")
            print(f"{'stage':<22}{'seconds':>9}{'µs per row':>12}{'peak GB':>9}")
            for line in (line for line in lines if "stage" in line):
                per_row = line["seconds"] / found * 1e6
                cost.setdefault(str(line["stage"]), []).append(per_row)
                print(f"{line['stage']:<22}{line['seconds']:>9.1f}{per_row:>12.2f}{line['peak_gb']:>9.2f}")
            total = sum(values[-1] for values in cost.values())
            print(f"{'all':<22}{total * found / 1e6:>9.1f}{total:>12.2f}")
    if len(options.rows) > 1:
        print(f"\ncost per row at {options.rows[-1]:,} over {options.rows[0]:,}")
        for name, values in cost.items():
            print(f"{name:<22}{values[-1] / values[0]:>9.2f}")
        first, last = (sum(values[i] for values in cost.values()) for i in (0, -1))
        print(f"{'all':<22}{last / first:>9.2f}")


if __name__ == "__main__":
    main()
