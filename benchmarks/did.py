"""From a long DuckDB table to the event study with standard errors and bands, beside diff-diff and moderndid.

    python benchmarks/did.py --peer-python /path/to/python      # one that has duckdb, diff-diff, moderndid
    python benchmarks/did.py --peer-python /path/to/python --peers diff-diff
    python benchmarks/did.py --scale                            # 0.5 and 5 million people × 40 quarters within 4 GB

All read the same DuckDB file; each task runs in a process of its own, its imports are not counted, and the peers' load
from the file is. Their bands would need a bootstrap, so they are timed without. From the long table DuckDB is held
to 160 MB, beyond which it spills to disk; the peers hold the long table in memory, so they cannot be.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

MEMORY, LITTLE_MEMORY, THREADS = "4GB", "160MB", 2
BEGIN = "start, before = time.perf_counter(), time.process_time()"
END = """
import resource
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
print(json.dumps([time.perf_counter() - start, time.process_time() - before, peak, rows]))
"""
Found = tuple[float, float, float, int]  # seconds, seconds of processors, peak in GB, rows
PEERS = {
    "diff-diff": """
import json, sys, time, warnings
import duckdb, diff_diff
warnings.simplefilter("ignore")
BEGIN
with duckdb.connect(sys.argv[1], read_only=True) as con:
    data = con.sql("SELECT person_id, period, coalesce(cohort, 0) AS cohort, earnings FROM panel").df()
fit = diff_diff.CallawaySantAnna(estimation_method="reg", base_period="universal").fit(
    data, outcome="earnings", unit="person_id", time="period", first_treat="cohort", aggregate="event_study")
rows = len(fit.event_study_effects)
""",
    "moderndid": """
import json, sys, time, warnings
import duckdb, moderndid, polars
warnings.simplefilter("ignore")
BEGIN
with duckdb.connect(sys.argv[1], read_only=True) as con:
    data = con.sql("SELECT person_id, period, coalesce(cohort, 0) AS cohort, earnings FROM panel").pl()
fit = moderndid.att_gt(data=data, yname="earnings", tname="period", idname="person_id", gname="cohort",
    est_method="reg", base_period="universal", boot=False)
rows = len(moderndid.aggte(fit, type="dynamic").event_times)
""",
}


def generate(file: Path, people: int, quarters: int) -> None:
    """Write the long table: eight cohorts, a third never treated, five age bands, four levels of education."""
    first = 8064 + quarters // 2
    with duckdb.connect(str(file), config={"memory_limit": MEMORY, "threads": THREADS}) as con:
        con.execute(
            f"""
            CREATE TABLE panel AS
            SELECT n AS person_id, CAST(8064 + t AS INTEGER) AS period, round(pay * 12000, 2) AS earnings,
              CASE WHEN n % 3 > 0 THEN CAST({first} + n // 3 % 8 AS INTEGER) END AS cohort,
              ['16-24', '25-34', '35-44', '45-54', '55+'][1 + n // 24 % 5] AS age_band,
              ['primary', 'secondary', 'tertiary', 'unknown'][1 + n // 120 % 4] AS education
            FROM (SELECT n, t, (hash(n, t) % 1000) / 1000.0 + (hash(n) % 1000) / 500.0 AS pay
                  FROM range({people}) AS a(n), range({quarters}) AS b(t))
            """
        )


def make(file: Path, people: int, quarters: int) -> None:
    """Generate in a process of its own: a process takes over its parent's peak of memory, so this one stays small."""
    size = [str(people), str(quarters)]
    subprocess.run([sys.executable, __file__, "--file", str(file), "--generate", *size], check=True)


def measure(file: Path, task: str, memory: str) -> None:
    """Print seconds, peak memory in GB and rows of one task."""
    import resource

    import retrain_eval as rte

    # imported when first used: not timed
    build, periods, sums = rte.build_outcome_paths, rte.path_periods, rte.outcome_moments
    with duckdb.connect(str(file), config={"memory_limit": memory, "threads": THREADS}) as con:
        table = "paths" if task == "from stored paths" else "panel"
        strata = ("age_band", "education") if task == "by 20 cells" else ()
        if task == "store paths":
            start, before = time.perf_counter(), time.process_time()
            build(con, ["earnings"])
            rows = 0
        else:
            start, before = time.perf_counter(), time.process_time()
            period = periods(con) if table == "paths" else "period"
            moments = sums(
                con.table(table), unit="person_id", time=period, cohort="cohort", outcome="earnings", by=strata
            )
            effects = moments.att_gt()
            rows = len((effects.by(*strata) if strata else effects).aggregate("dynamic").to_frame())
    seconds, busy = time.perf_counter() - start, time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(json.dumps([seconds, busy, peak, rows]))


def child(*command: str) -> Found:
    done = subprocess.run(list(command), stdout=subprocess.PIPE, text=True, check=True)
    seconds, busy, peak, rows = json.loads(done.stdout.splitlines()[-1])
    return seconds, busy, peak, rows


def show(name: str, found: Found, beside: str = "") -> None:
    seconds, busy, peak, rows = found
    print(f"{name:<22}{seconds:>8.2f} s{busy:>8.2f} s of CPU{peak:>7.2f} GB{rows:>6} rows  {beside}", flush=True)


def compare(folder: Path, people: int, python: str | None, peers: list[str]) -> None:
    """The four tasks on one file, then the peers and their ratios."""
    file = folder / "panel.duckdb"
    make(file, people, 20)
    print(f"{people:,} people × 20 quarters")
    own: dict[str, Found] = {}
    for task in ("from the long table", "by 20 cells", "store paths", "from stored paths"):
        memory = MEMORY if "paths" in task else LITTLE_MEMORY
        own[task] = child(sys.executable, __file__, "--file", str(file), "--memory", memory, "--task", task)
        ratio = own[task][0] / own["from the long table"][0]
        show(task, own[task], f"{ratio:.2f} times the cost of no subgroups" if task == "by 20 cells" else "")
    for name in peers if python else ():
        try:
            peer = child(str(python), "-c", PEERS[name].replace("BEGIN", BEGIN) + END, str(file))
        except subprocess.CalledProcessError as error:
            print(f"{name:<34} stopped with exit {error.returncode}")
            continue
        long, paths = own["from the long table"], own["from stored paths"]
        show(name, peer, f"{peer[0] / long[0]:.1f} times as long, {peer[2] / long[2]:.1f} times the memory; "
                         f"{peer[0] / paths[0]:.1f} times as long as from stored paths")  # fmt: skip


def scale(folder: Path) -> None:
    """Cost per row at 0.5 and 5 million people × 40 quarters."""
    cost = []
    for people in (500_000, 5_000_000):
        file = folder / f"panel_{people}.duckdb"
        make(file, people, 40)
        found = child(sys.executable, __file__, "--file", str(file), "--task", "from the long table")
        cost.append(found[0] / (people * 40) * 1e6)
        show(f"{people:,} people × 40 quarters", found, f"{cost[-1]:.3f} µs a row")
        file.unlink()
    print(f"cost per row, large / small: {cost[1] / cost[0]:.2f}")


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=500_000)
    parser.add_argument("--peer-python", help="a Python that has the peers")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--scale", action="store_true", help="run the two large sizes instead")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--generate", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--memory", default=MEMORY, help=argparse.SUPPRESS)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.generate:
        generate(options.file, *options.generate)
        return
    if options.task:
        measure(options.file, options.task, options.memory)
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.scale:
            scale(Path(folder))
        else:
            compare(Path(folder), options.people, options.peer_python, options.peers)


if __name__ == "__main__":
    main()
