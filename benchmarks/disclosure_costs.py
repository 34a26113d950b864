"""What protection costs: exact next to protected, on synthetic agencies and on registers of more or less stable pay.

``agencies``: the agency study on draws of a synthetic agency, released as shipped; of each result the standard error as
a multiple of the exact one, the shift of the estimate in standard errors, and how often the interval holds the truth.
``registers``: two arms of n people over 21 quarters, as in `disclosure_design`, through the package's own tables.

    python benchmarks/disclosure_costs.py agencies --people 8000 --draws 100
    python benchmarks/disclosure_costs.py registers --draws 100
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

import retrain_eval as rte
from retrain_eval.plan.rules import Release
from retrain_eval.release.editions.officer import compared
from retrain_eval.release.protection.moments import protect_moments
from retrain_eval.release.results import Results
from retrain_eval.study.folder import Study
from retrain_eval.study.template import new_study
from retrain_eval.tables.noise.changes import Changes
from retrain_eval.tables.noise.person_keys import ReleaseKey, with_keys
from retrain_eval.tables.noise.register import Register

sys.path.insert(0, str(Path(__file__).parent / "disclosure_design"))
import design as de

AS_SHIPPED = 'rte.simulate(people=20_000, quarters=40, start="2016Q1", seed=20260101)'
# sections of the study file that ask for more than effects over time
OTHERS = re.compile(r"^\[questions\.(?!effect_over_time\]).*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
RULES = Release(noise_smallest=0.05, noise_largest=0.15, count_variance=2.0, count_gap=2)
START, EFFECT = 8, 800.0


def agency(people: int, seed: int, *, whole: bool) -> pd.DataFrame:
    """Run and release the agency study; return the estimates, exact next to published, with the truth of the draw."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "agency"
        new_study(folder, "agency")
        script = folder / "run.py"
        text = script.read_text(encoding="utf-8")
        assert AS_SHIPPED in text
        text = text.replace(AS_SHIPPED, f'rte.simulate(people={people}, quarters=40, start="2016Q1", seed={seed})')
        script.write_text(text, encoding="utf-8")
        if not whole:
            plan = folder / "study.toml"
            plan.write_text(OTHERS.sub("", plan.read_text(encoding="utf-8")), encoding="utf-8")
        study = Study.open(folder)
        exact = study.run()
        bundle = study.release("draft")
        rows = compared(exact, Results.read(bundle.path))
    effects = exact.tables["effects"]
    truth = {
        "did": effects.loc[effects["result"] == "truth", "estimate"].mean(),
    }
    wide = rows[rows["table"] == "effects"].pivot_table(
        index=["result", "row"], columns="number", values=["exact", "published"], sort=False
    )
    found = pd.DataFrame(
        {
            "people": rows[rows["table"] == "effects"].groupby(["result", "row"], sort=False)["people"].min(),
            "se_ratio": wide["published"]["std_error"] / wide["exact"]["std_error"],
            "shift": (wide["published"]["estimate"] - wide["exact"]["estimate"]).abs() / wide["exact"]["std_error"],
            "low": wide["published"]["ci_low"],
            "high": wide["published"]["ci_high"],
        }
    ).reset_index()
    found["truth"] = found["result"].map(truth)
    return found.assign(covered=(found["low"] <= found["truth"]) & (found["truth"] <= found["high"]))


def agencies(people: int, draws: int, first: int, *, whole: bool) -> None:
    """Print the costs of each result over draws of the agency."""
    found = []
    for seed in range(first, first + draws):
        found.append(agency(people, seed, whole=whole))
        did = found[-1].query("result == 'did'").iloc[0]
        print(f"seed {seed}: n {did['people']:.0f}, se {did['se_ratio']:.3f}, shift {did['shift']:.3f}", flush=True)
    every = pd.concat(found)
    table = every.groupby("result", sort=False).agg(
        people=("people", "median"),
        se_ratio=("se_ratio", "median"),
        se_largest=("se_ratio", "max"),
        shift=("shift", "median"),
        shift_95=("shift", lambda x: x.quantile(0.95)),
    )
    print(table.round(3).to_markdown())
    did = every[every["result"] == "did"]
    print(f"headline: the interval holds the truth in {did['covered'].mean():.0%} of {len(did)} draws")


def register(n: int, seed: int, kind: str) -> tuple[float, float, float, float]:
    """Return error and standard error of the effect, exact and protected, in two arms of n people."""
    pay = de.people(2 * n, 21, seed=seed, **KINDS[kind]).pay.copy()
    at_work = pay[:n, START:] > 0
    pay[:n, START:] += EFFECT * at_work
    person = np.repeat(np.arange(2 * n), 21)
    frame = pd.DataFrame(
        {
            "person": np.char.add(f"{seed}/", person.astype(str)),
            "time": np.tile(np.arange(21), 2 * n),
            "cohort": np.where(person < n, START, 0),
            "pay": pay.ravel(),
        }
    )
    con = duckdb.connect()
    con.register("rows_of_people", frame)
    con.execute("CREATE TABLE r AS FROM rows_of_people")
    keyed = with_keys(con, con.table("r"), "person", ReleaseKey(f"a key for the draw {seed:06d}".encode()))
    moments = rte.outcome_moments(keyed, "person", "time", "cohort", "pay", kind="amount")
    safe, _ = protect_moments("x", moments, RULES, Register(Changes(2.0, 2)), {})
    both = [m.att_gt(base_period="universal").aggregate("simple").to_frame().iloc[0] for m in (moments, safe)]
    truth = EFFECT * at_work.mean()
    (one, se), (other, other_se) = ((row["estimate"] - truth, row["std_error"]) for row in both)
    return float(one), float(se), float(other), float(other_se)


KINDS: dict[str, dict[str, float]] = {"usual pay": {}, "stable pay": de.STABLE, "very stable pay": de.VERY_STABLE}


def registers(draws: int) -> None:
    """Print the costs by size and by how stable pay is."""
    rows = []
    for kind in KINDS:
        for n in (60, 150, 700):
            exact, se, error, protected_se = np.array([register(n, seed, kind) for seed in range(draws)]).T
            rows.append(
                {
                    "register": kind,
                    "people per arm": n,
                    "se ratio": np.median(protected_se / se),
                    "sd ratio": error.std() / exact.std(),
                    "median shift / se": np.median(np.abs(error - exact) / se),
                    "coverage": (np.abs(error) <= 1.96 * protected_se).mean(),
                    "coverage, exact": (np.abs(exact) <= 1.96 * se).mean(),
                }
            )
            print(rows[-1], flush=True)
    print(pd.DataFrame(rows).round(3).to_markdown(index=False))


def main() -> None:
    """Run one part."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("part", choices=["agencies", "registers"])
    options.add_argument("--people", type=int, default=8_000)
    options.add_argument("--draws", type=int, default=100)
    options.add_argument("--first", type=int, default=1, help="seed of the first agency")
    options.add_argument("--whole", action="store_true", help="all results, not only effects over time")
    given = options.parse_args()
    if given.part == "agencies":
        agencies(given.people, given.draws, given.first, whole=given.whole)
    else:
        registers(given.draws)


if __name__ == "__main__":
    main()
