"""Risk-set matching beside static matching on many synthetic agencies, against the truth they were made with.

    python benchmarks/riskset_vs_static.py --agencies 100 --people 3000

The effect is that on quarterly earnings, averaged over the quarter in which training begins and the twelve after it,
for those trained. Three designs on the same records, with the same covariates and the same caliper:

* risk sets: `analyses/agency`, its own functions. Controls are as long without a job and untrained; who trains later is
  cut, and those who stay untrained are weighted by one over their chance to.
* risk sets, unweighted: the same without the weights.
* static: trainees with people of the same quarter of displacement who never trained, as if that were known beforehand.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

import retrain_eval as rte
from retrain_eval.sample.censoring import follow_outcomes
from retrain_eval.study import read_study

AGENCY = Path(__file__).parents[1] / "analyses" / "agency"
DESIGNS = ("risk sets", "risk sets, unweighted", "static")


def script() -> ModuleType:
    """Return the agency study's run.py."""
    spec = importlib.util.spec_from_file_location("agency_run", AGENCY / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def estimates(people: int, seed: int) -> dict[str, tuple[float, float, float]]:
    """Return estimate, standard error and truth by design."""
    study, agency = script(), rte.simulate(people=people, seed=seed)
    store: Any = SimpleNamespace(con=agency.con)
    run = rte.Run(read_study(AGENCY), store, lambda _: None)
    con, after = run.con, study.AFTER
    rte.build_panel(con, **run.study.panel_options())
    con.execute("CREATE TABLE quality AS SELECT person_id, period FROM panel LIMIT 0")
    study.build_candidates(run)
    candidates = con.sql("FROM candidate WHERE eligible")
    options = run.study.match_options()
    sample = rte.match(candidates, unit="person_id", **options)

    def effect(rows: Any) -> tuple[float, float]:
        found = study.event_moments(run, rows, "earnings").att_gt().aggregate("simple").to_frame().iloc[0]
        return float(found["estimate"]), float(found["std_error"])

    found = {"risk sets": effect(study.follow(run, sample, ["earnings"]))}
    between = (-study.BEFORE, after)
    found["risk sets, unweighted"] = effect(
        follow_outcomes(sample, con.table("panel"), time="period", outcomes=["earnings"], between=between)
    )

    for name in ("start", "entry", "end"):
        del options[name]
    options |= {"method": "nearest", "formula": options["formula"].replace("trained", "trainee")}
    static = rte.match(
        con.sql("FROM candidate WHERE eligible AND (trainee OR training IS NULL)"), unit="person_id", **options
    )
    static.pairs.create_view("static_pairs")
    difference = con.sql(
        f"""
        SELECT avg(t.earnings) - avg(c.earnings) AS d, subclass
        FROM static_pairs JOIN candidate ON person_id = treated_id
        JOIN panel t ON t.person_id = treated_id AND t.period BETWEEN training AND training + {after}
        JOIN panel c ON c.person_id = control_id AND c.period = t.period GROUP BY subclass
        """
    ).df()["d"]
    found["static"] = float(difference.mean()), float(difference.std() / np.sqrt(len(difference)))

    true = agency.truth.query(f"outcome == 'earnings' and subgroup.isna() and 0 <= event_time <= {after}")
    truth = float((true["att"] * true["n"]).sum() / true["n"].sum())
    agency.con.close()
    return {name: (*pair, truth) for name, pair in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agencies", type=int, default=100)
    parser.add_argument("--people", type=int, default=3_000)
    parser.add_argument("--first-seed", type=int, default=1)
    options = parser.parse_args()
    runs = []
    for seed in range(options.first_seed, options.first_seed + options.agencies):
        runs.append(estimates(options.people, seed))
        print(f"\r{len(runs)} of {options.agencies}", end="", file=sys.stderr, flush=True)
    truth = np.mean([run["risk sets"][2] for run in runs])
    print(f"\n{options.agencies} agencies of {options.people:,} people; truth {truth:,.0f} a quarter\n")
    print(f"{'design':<24}{'mean':>8}{'bias':>8}{'± s.e.':>8}{'RMSE':>8}{'SD':>8}{'mean SE':>9}{'coverage':>10}")
    for name in DESIGNS:
        estimate, error, true = np.array([run[name] for run in runs]).T
        off = estimate - true
        covered = np.abs(off) <= 1.96 * error
        print(
            f"{name:<24}{estimate.mean():>8.0f}{off.mean():>8.0f}{off.std(ddof=1) / np.sqrt(len(off)):>8.0f}"
            f"{np.sqrt((off**2).mean()):>8.0f}{off.std(ddof=1):>8.0f}{error.mean():>9.0f}{covered.mean():>10.2f}"
        )


if __name__ == "__main__":
    main()
