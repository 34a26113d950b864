"""Clustered Cox model of 5 categorical covariates from 1 and 10 million spells, beside the Rust package `survival`.

    python benchmarks/cox.py --survival-python /path/to/venv/bin/python --spells 1000000 10000000

Each run is a process of its own and starts from spells in a DuckDB file; imports are not counted, exports are.
`survival` 2.0.0 is run in two ways: with text columns, as a user would, and with dummies and a numbered cluster that
are prepared in SQL, the fastest input we found. Its virtual environment needs `survival` and `duckdb`. At more than
``--peer-limit`` spells only our own run is made.
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

THREADS, MEMORY = 2, "2GB"
LEVELS = {
    "arm": ("control", "trained"),
    "age_band": ("<25", "25-54", "55-64", "65+"),
    "education": ("low", "middle", "high"),
    "sex": ("f", "m"),
    "region": ("R0", "R1", "R2", "R3", "R4"),
}
FORMULA = "arm + age_band + education + sex + region"


def generate(file: Path, spells: int, repeats: int) -> None:
    """Write quarterly spells with heavy ties, ``repeats`` to a person."""
    columns = ", ".join(
        f"{list(levels)}[1 + CAST(hash(10 * i + {place}) % {len(levels)} AS INTEGER)] AS {name}"
        for place, (name, levels) in enumerate(LEVELS.items())
    )
    with duckdb.connect(str(file), config={"threads": THREADS}) as con:
        con.execute(
            f"""
            CREATE TABLE spells AS
            SELECT *, least(40, 1 + floor(-ln(luck) * 12 * exp(CASE arm WHEN 'trained' THEN -.2 ELSE 0 END)))::INTEGER
                AS quarters,
              CASE WHEN hash(10 * i + 8) % 10 < 6 THEN 'job' WHEN hash(10 * i + 8) % 10 < 8 THEN 'exit' END AS cause,
              'P' || lpad((i // {repeats})::VARCHAR, 8, '0') AS person,
              'V' || hash(10 * i + 7) % 1000 AS provider
            FROM (SELECT i, (hash(10 * i + 9) % 1000000 + .5) / 1000000 AS luck, {columns} FROM range({spells}) t(i))
            """
        )


def ours(con: duckdb.DuckDBPyConnection, cluster: str) -> tuple[float, list[float]]:
    import retrain_eval as rte
    from retrain_eval.survival import cox, hazard  # noqa: F401

    start = time.perf_counter()
    spells = rte.Spells(con.table("spells"), id="person", by=tuple(LEVELS))
    fit = spells.cox(FORMULA, cluster=cluster)
    return time.perf_counter() - start, [*fit.frame["estimate"][:1], *fit.frame["std_error"][:1]]


PEER = """
import json, resource, sys, time
import duckdb, survival
file, prepared, cluster, columns, formula = json.loads(sys.argv[1])
con = duckdb.connect(file, read_only=True, config={"threads": 2})
start = time.perf_counter()
who = f"dense_rank() OVER (ORDER BY {cluster})" if prepared else cluster
event = "CAST(cause IS NOT NULL AS INTEGER) AS event"
data = con.sql(f"SELECT {who} AS cluster, quarters, {event}, {columns} FROM spells").fetchnumpy()
if not prepared:
    data = {name: values.tolist() for name, values in data.items()}
fit = survival.coxph(f"Surv(quarters, event) ~ {formula}", data=data, cluster=data["cluster"])
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
first = [fit.coefficients[0], survival.vcov(fit)[0][0] ** 0.5]
print(json.dumps({"seconds": seconds, "peak_gb": peak, "first": first}))
"""


def peer(python: str, file: str, prepared: bool, cluster: str) -> dict[str, object]:
    columns, formula = ", ".join(LEVELS), FORMULA
    if prepared:
        dummies = [(name, level) for name, levels in LEVELS.items() for level in levels[1:]]
        columns = ", ".join(f"CAST({name} = '{level}' AS DOUBLE) AS x{i}" for i, (name, level) in enumerate(dummies))
        formula = " + ".join(f"x{i}" for i in range(len(dummies)))
    argument = json.dumps([file, prepared, cluster, columns, formula])
    return run([python, "-c", PEER, argument])


def run(command: list[str]) -> dict[str, object]:
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spells", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--repeats", type=int, default=1, help="spells of one person")
    parser.add_argument("--cluster", choices=("person", "provider"), default="person")
    parser.add_argument("--survival-python", help="interpreter of an environment with survival and duckdb")
    parser.add_argument("--peer-limit", type=int, default=2_000_000)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file:
        with duckdb.connect(options.file, read_only=True, config={"threads": THREADS, "memory_limit": MEMORY}) as con:
            seconds, first = ours(con, options.cluster)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        return print(json.dumps({"seconds": seconds, "peak_gb": peak, "first": first}))
    for spells in options.spells:
        with tempfile.TemporaryDirectory() as name:
            file = str(Path(name) / "spells.duckdb")
            generate(Path(file), spells, options.repeats)
            print(f"\n{spells:,} spells, {options.repeats} to a person, clustered by {options.cluster}")
            print(f"{'':<34}{'seconds':>9}{'ratio':>8}{'peak GB':>9}  first coefficient and its SE")
            own = run([sys.executable, __file__, "--file", file, "--cluster", options.cluster])
            runs = {"retrain_eval": own}
            if options.survival_python and spells <= options.peer_limit:
                for label, prepared in (("survival, text columns", False), ("survival, dummies made in SQL", True)):
                    runs[label] = peer(options.survival_python, file, prepared, options.cluster)
            for label, found in runs.items():
                ratio = found["seconds"] / own["seconds"]
                first = ", ".join(f"{value:.8f}" for value in found["first"])
                print(f"{label:<34}{found['seconds']:>9.2f}{ratio:>8.1f}{found['peak_gb']:>9.2f}  {first}")


if __name__ == "__main__":
    main()
