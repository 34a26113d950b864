"""Nearest and risk-set matching at the size of a country, from a DuckDB file, with seconds and peak memory.

    python benchmarks/matching.py
    python benchmarks/matching.py --peer-python /path/to/python    # a Python that has pymatchit-causal and duckdb

Continuous covariates, 480 exact strata, caliper .2. Every figure comes from a process of its own that opens the
file, matches and reads the pairs back; imports are not counted. CPU seconds are those of all threads: on a machine
shared with others they say more than the clock. The peer's cost depends on the number of strata, so it is compared
with 480, with 20, and with none.
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

THREADS = 2
FORMULA = "treat ~ age + educ + earnings_1 + earnings_2"
EXACT = ("region", "sex", "cohort")
TASKS = ("without replacement", "with replacement", "riskset")

PEER = """
import resource, sys, time, warnings
import duckdb
from pymatchit import MatchIt
warnings.simplefilter("ignore")
file, replace, exact = sys.argv[1], sys.argv[2] == "True", sys.argv[3:]
start, cpu = time.perf_counter(), time.process_time()
data = duckdb.connect(file, read_only=True).sql("FROM people ORDER BY person_id").df()
match = MatchIt(data, method="nearest", caliper=0.2, replace=replace, exact=exact or None)
match.fit("treat ~ age + educ + earnings_1 + earnings_2")
pairs = len(match.matches())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
print(f'{{"seconds": {seconds}, "cpu": {cpu}, "peak_gb": {peak}, "pairs": {pairs}}}')
"""


def generate(file: Path, treated: int, controls: int) -> None:
    """Treated are younger and earned less; text and numbers in strata; rows in no order."""
    draws = ", ".join(f"(hash(n, {k}) % 1000000) / 1e6 AS u{k}" for k in range(1, 8))
    with duckdb.connect(str(file), config={"threads": THREADS}) as con:
        con.execute(
            f"""
            CREATE TABLE people AS
            SELECT n AS person_id, CAST(t AS INTEGER) AS treat, 18 + floor(45 * u1 * if(t, u1, 1)) AS age,
              8 + floor(10 * u2) AS educ, round(20000 * sqrt(u3) * if(t, .8, 1), 2) AS earnings_1,
              round(22000 * u4 * if(t, .7, 1), 2) AS earnings_2, 'region ' || floor(20 * u5) AS region,
              if(u6 < .5, 'f', 'm') AS sex, CAST(8064 + floor(12 * u7) AS INTEGER) AS cohort
            FROM (SELECT n, n < {treated} AS t, {draws} FROM range({treated + controls}) AS r(n)) ORDER BY hash(n, 99)
            """
        )
        # waiting times: about one in fifty enters training, after 24 durations; half have left after six periods
        con.execute(
            """
            CREATE TABLE spells AS
            SELECT * EXCLUDE (length, wait), began + length AS ended, if(wait < least(length, 24), began + wait, NULL) AS entry
            FROM (SELECT person_id, age, educ, earnings_1, region, sex, cohort AS began,
                    CAST(1 - 8 * ln(hash(person_id, 8) % 1000000 / 1e6 + 1e-9) AS INTEGER) AS length,
                    CAST(-(300 + earnings_1 / 100) * ln(hash(person_id, 9) % 1000000 / 1e6 + 1e-9) AS INTEGER) AS wait
                  FROM people)
            """  # noqa: E501
        )


def measure(file: Path, task: str, exact: list[str]) -> None:
    import retrain_eval as rte

    match = rte.match  # imported when first used: not timed
    start, cpu = time.perf_counter(), time.process_time()
    with duckdb.connect(str(file), config={"threads": THREADS}) as con:
        if task == "riskset":
            sample = match(
                con.table("spells"), "trained ~ age + educ + earnings_1", "person_id", method="riskset", start="began",
                entry="entry", end="ended", exact=("region", "sex", "began"), caliper=0.2,
            )  # fmt: skip
        else:
            people, replace = con.table("people"), task == "with replacement"
            sample = match(people, FORMULA, "person_id", exact=exact, caliper=0.2, replace=replace)
        pairs = len(sample.pairs.fetchall())
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        sample.balance()
        balance = time.perf_counter() - start - seconds
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_gb": peak, "pairs": pairs, "balance": balance}))


def child(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ChildProcessError((done.stderr.strip().splitlines() or [f"ended by signal {-done.returncode}"])[-1])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["10000x1000000", "50000x5000000"], help="treated x controls")
    parser.add_argument("--peer-python", help="compares the first size with pymatchit-causal")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--exact", nargs="*", default=list(EXACT), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file:
        return measure(options.file, options.task, options.exact)
    for size in options.sizes:
        treated, controls = map(int, size.split("x"))
        with tempfile.TemporaryDirectory() as name:
            file = Path(name) / "people.duckdb"
            generate(file, treated, controls)
            print(f"\n{treated:,} treated × {controls:,} controls, 480 strata; spells of all of them for riskset")
            print(f"{'task':<30}{'pairs':>9}{'seconds':>9}{'CPU s':>9}{'peak GB':>9}{'balance s':>11}")
            for task in TASKS:
                line = ours(file, task, EXACT)
                print(f"{task:<30}{row(line)}{line['balance']:>11.1f}", flush=True)
            if options.peer_python and size == options.sizes[0]:
                compare(options.peer_python, file)
    return None


def compare(python: str, file: Path) -> None:
    """Both on the same file, with fewer and fewer strata."""
    for exact in (EXACT, ("region",), ()):
        for task in TASKS[:2]:
            line = ours(file, task, exact)
            print(f"\n{task}, exact: {', '.join(exact) or 'none'}\n{'retrain_eval':<30}{row(line)}", flush=True)
            try:
                peer = child([python, "-c", PEER, str(file), str(task == "with replacement"), *exact])
                times, cpu = peer["seconds"] / line["seconds"], peer["cpu"] / line["cpu"]
                print(f"{'pymatchit-causal':<30}{row(peer)}  {times:.0f} times as long, {cpu:.0f} times the CPU time")
            except ChildProcessError as error:
                print(f"{'pymatchit-causal':<30}fails: {error}", flush=True)


def ours(file: Path, task: str, exact: tuple[str, ...]) -> dict[str, float]:
    return child([sys.executable, __file__, "--file", str(file), "--task", task, "--exact", *exact])


def row(line: dict[str, float]) -> str:
    return f"{line['pairs']:>9,.0f}{line['seconds']:>9.1f}{line['cpu']:>9.1f}{line['peak_gb']:>9.2f}"


if __name__ == "__main__":
    main()
