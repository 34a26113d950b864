"""Survival estimates from 1 and 10 million spells in DuckDB, beside lifelines, statsmodels and `survival` (Rust).

    python benchmarks/survival.py --peer-python /path/to/venv/bin/python --spells 1000000 10000000

The other environment needs duckdb, lifelines, statsmodels and survival (lifelines wants an older pandas, hence an
environment of its own). Each run is a process of its own and starts from spells in a DuckDB file. Imports are not
counted, exports are. Peers are given text columns, as a user would, and where marked numbers made in SQL, the fastest
input we found. They take it on trust that each person has one spell; we read the ids to see it, most quickly where they
are numbers. At more than ``--peer-limit`` spells only our own runs are made.

Curves and tests compare two arms, or with ``--groups`` the 24 groups of arm, age and education.
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
FORMULA = " + ".join(LEVELS)
TASKS = ("Kaplan-Meier", "log-rank", "Aalen-Johansen", "clustered Cox")


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
              i // {repeats} AS person_number, 'V' || hash(10 * i + 7) % 1000 AS provider
            FROM (SELECT i, (hash(10 * i + 9) % 1000000 + .5) / 1000000 AS luck, {columns} FROM range({spells}) t(i))
            """
        )


def ours(con: duckdb.DuckDBPyConnection, task: str, by: list[str], cluster: str, person: str) -> dict[str, object]:
    """Return wall and processor seconds, and two numbers to compare."""
    from retrain_eval.estimators.survival.spells import Spells

    start = time.perf_counter(), time.process_time()
    numbers: list[float]
    if task == "clustered Cox":
        by_person = person if cluster == "person" else cluster
        fit = Spells(con.table("spells"), id=person, by=tuple(LEVELS), censored=()).cox(FORMULA, cluster=by_person)
        numbers = [fit.frame["estimate"][0], fit.frame["std_error"][0]]
    else:
        spells = Spells(con.table("spells"), id=person, by=tuple(by), censored=())
        if task == "log-rank":
            test = spells.logrank()
            numbers = [test.chi2, test.df]
        else:
            curve = spells.kaplan_meier() if task == "Kaplan-Meier" else spells.cumulative_incidence()
            row = curve.frame["time"].eq(8).to_numpy().nonzero()[0][0]
            numbers = curve.frame.loc[row, ["estimate", "std_error"]].tolist()
    return {"seconds": time.perf_counter() - start[0], "cpu": time.process_time() - start[1], "found": numbers}


# each peer script sets `found`: two numbers to compare
HEAD = """
import json, resource, sys, time, warnings
import duckdb, numpy as np
file, by, cluster, levels = json.loads(sys.argv[1])
con = duckdb.connect(file, read_only=True, config={"threads": 2})
key = " || '|' || ".join(by)
text = f"SELECT {key} AS grp, quarters, cause FROM spells"
numbers = f"SELECT quarters, CASE cause WHEN 'job' THEN 1 WHEN 'exit' THEN 2 ELSE 0 END AS state, "
numbers += f"CAST(dense_rank() OVER (ORDER BY {key}) AS INTEGER) AS grp FROM spells"
if by == ["arm"]:
    numbers = numbers.replace("dense_rank() OVER (ORDER BY arm)", "arm = 'trained'")
code = {"job": 1, "exit": 2}
warnings.simplefilter("ignore")
def prepared():
    data = con.sql(numbers).fetchnumpy()
    return data["quarters"], data["state"], data["grp"]
"""
TAIL = """
seconds, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_gb": peak, "found": [float(x) for x in found]}))
"""
FRAME = "start = time.perf_counter(), time.process_time(); data = con.sql(text).df(); ended = data['cause'].notna()\n"
ARRAYS = "start = time.perf_counter(), time.process_time(); t, state, grp = prepared(); groups = np.unique(grp)\n"
CODES = "data['state'] = data['cause'].map(code).fillna(0).astype(int)\n"
IMPORT = "from statsmodels.duration.survfunc import CumIncidenceRight\n"
PEERS: dict[str, dict[str, str]] = {
    "Kaplan-Meier": {
        "lifelines": "from lifelines import KaplanMeierFitter\n" + FRAME + """
fits = [KaplanMeierFitter().fit(d["quarters"], d["cause"].notna()) for _, d in data.groupby("grp")]
found = fits[0].survival_function_.loc[8].iloc[0], 0
""",
        "statsmodels": "from statsmodels.duration.survfunc import SurvfuncRight\n" + FRAME + """
fits = [SurvfuncRight(d["quarters"], d["cause"].notna()) for _, d in data.groupby("grp")]
found = fits[0].surv_prob[7], fits[0].surv_prob_se[7]
""",
        "statsmodels, numbers made in SQL": "from statsmodels.duration.survfunc import SurvfuncRight\n" + ARRAYS + """
fits = [SurvfuncRight(t[grp == g], state[grp == g] > 0) for g in groups]
found = fits[0].surv_prob[7], fits[0].surv_prob_se[7]
""",
        "survival, numbers made in SQL": "import survival\n" + ARRAYS + """
fit = survival.survfit("Surv(t, e) ~ g", data={"t": t, "e": (state > 0).astype(int), "g": grp})
found = fit.surv[7], fit.std_err[7]
""",
    },
    "log-rank": {
        "lifelines": "from lifelines.statistics import multivariate_logrank_test\n" + FRAME + """
found = multivariate_logrank_test(data["quarters"], data["grp"], ended).test_statistic, 0
""",
        "statsmodels": "from statsmodels.duration.survfunc import survdiff\n" + FRAME + """
found = survdiff(data["quarters"], ended, data["grp"])[0], 0
""",
        "statsmodels, numbers made in SQL": "from statsmodels.duration.survfunc import survdiff\n" + ARRAYS + """
found = survdiff(t, state > 0, grp)[0], 0
""",
        "survival, numbers made in SQL": "import survival\n" + ARRAYS + """
found = survival.survdiff("Surv(t, e) ~ g", data={"t": t, "e": (state > 0).astype(int), "g": grp}).chisq, 0
""",
    },
    "Aalen-Johansen": {
        "lifelines": "from lifelines import AalenJohansenFitter\n" + FRAME + CODES + """
fits = [AalenJohansenFitter().fit(d["quarters"], d["state"], event_of_interest=k)
        for _, d in data.groupby("grp") for k in (1, 2)]
found = fits[0].cumulative_density_.iloc[:, 0].loc[:8.5].iloc[-1], 0
""",
        "statsmodels": IMPORT + FRAME + CODES + """
fits = [CumIncidenceRight(d["quarters"].to_numpy(), d["state"].to_numpy()) for _, d in data.groupby("grp")]
found = fits[0].cinc[0][7], fits[0].cinc_se[0][7]
""",
        "statsmodels, numbers made in SQL": IMPORT + ARRAYS + """
fits = [CumIncidenceRight(t[grp == g], state[grp == g]) for g in groups]
found = fits[0].cinc[0][7], fits[0].cinc_se[0][7]
""",
        "survival, numbers made in SQL": "import survival\n" + ARRAYS + """
fit = survival.survfit("Surv(t, factor(e)) ~ g", data={"t": t, "e": state, "g": grp})
found = 0, 0
""",
    },
    "clustered Cox": {
        "survival": "import survival\n" + """
start = time.perf_counter(), time.process_time()
columns = ", ".join(levels)
sql = f"SELECT {cluster} AS cluster, quarters, CAST(cause IS NOT NULL AS INTEGER) AS event, {columns} FROM spells"
data = {name: values.tolist() for name, values in con.sql(sql).fetchnumpy().items()}
fit = survival.coxph("Surv(quarters, event) ~ " + " + ".join(levels), data=data, cluster=data["cluster"])
found = fit.coefficients[0], survival.vcov(fit)[0][0] ** 0.5
""",
        "survival, numbers made in SQL": "import survival\n" + """
start = time.perf_counter(), time.process_time()
dummies = [(name, level) for name, values in levels.items() for level in values[1:]]
columns = ", ".join(f"CAST({name} = '{level}' AS DOUBLE) AS x{i}" for i, (name, level) in enumerate(dummies))
data = con.sql(f"SELECT dense_rank() OVER (ORDER BY {cluster}) AS cluster, quarters, "
               f"CAST(cause IS NOT NULL AS INTEGER) AS event, {columns} FROM spells").fetchnumpy()
formula = " + ".join(f"x{i}" for i in range(len(dummies)))
fit = survival.coxph(f"Surv(quarters, event) ~ {formula}", data=data, cluster=data["cluster"])
found = fit.coefficients[0], survival.vcov(fit)[0][0] ** 0.5
""",
    },
}  # fmt: skip


def run(command: list[str], repeats: int) -> dict[str, object]:
    """Return the fastest of several processes, or the reason why there is none."""
    best: dict[str, object] = {}
    for _ in range(repeats):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return {"failed": (done.stderr.strip().splitlines() or ["killed"])[-1][:90]}
        found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
        if not best or float(str(found["seconds"])) < float(str(best["seconds"])):
            best = found
    return best


def show(label: str, found: dict[str, object], own: dict[str, object]) -> None:
    """Print one line; ratios are to our own wall and processor seconds."""
    if "failed" in found:
        print(f"  {label:<34}{found['failed']}", flush=True)
        return
    times = " ".join(
        f"{float(str(found[kind])):>9.3f}{float(str(found[kind])) / float(str(own.get(kind, 1))):>7.1f}"
        for kind in ("seconds", "cpu")
    )
    numbers = ", ".join(f"{value:.8g}" for value in found["found"])
    print(f"  {label:<34}{times}{float(str(found['peak_gb'])):>9.2f}  {numbers}", flush=True)


def compare(options: argparse.Namespace, spells: int) -> None:
    """All tasks on one file, each beside its peers."""
    with tempfile.TemporaryDirectory() as name:
        file = str(Path(name) / "spells.duckdb")
        generate(Path(file), spells, options.repeats)
        print(f"\n{spells:,} spells, {options.repeats} to a person, clustered by {options.cluster}, by {options.by}")
        print(f"  {'':<34}{'seconds':>9}{'ratio':>7} {'cpu s':>9}{'ratio':>7}{'peak GB':>9}  numbers to compare")
        for task in options.tasks:
            print(task, flush=True)
            command = [sys.executable, __file__, "--file", file, "--task", task, "--cluster", options.cluster]
            command += ["--groups"] if options.groups else []
            own = run(command, options.times)
            show("retrain_eval", own, own)
            show("retrain_eval, ids that are numbers", run([*command, "--id", "person_number"], options.times), own)
            if options.peer_python and spells <= options.peer_limit:
                argument = json.dumps([file, options.by, options.cluster, LEVELS])
                for label, script in PEERS[task].items():
                    found = run([options.peer_python, "-c", HEAD + script + TAIL, argument], options.times)
                    show(label, found, own)


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spells", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--groups", action="store_true", help="24 groups instead of two arms")
    parser.add_argument("--repeats", type=int, default=1, help="spells of one person")
    parser.add_argument("--times", type=int, default=3, help="processes of which the fastest counts")
    parser.add_argument("--cluster", choices=("person", "provider"), default="person")
    parser.add_argument("--peer-python", help="interpreter of an environment with duckdb and the peers")
    parser.add_argument("--peer-limit", type=int, default=2_000_000)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    parser.add_argument("--id", default="person", help=argparse.SUPPRESS)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.by = ["arm", "age_band", "education"] if options.groups else ["arm"]
    if options.file:
        with duckdb.connect(options.file, read_only=True, config={"threads": THREADS, "memory_limit": MEMORY}) as con:
            found = ours(con, options.task, options.by, options.cluster, options.id)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        return print(json.dumps({**found, "peak_gb": peak}, default=float))
    for spells in options.spells:
        compare(options, spells)


if __name__ == "__main__":
    main()
