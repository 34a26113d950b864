"""Risk-set matching beside static matching on many synthetic agencies, against the truth they were made with.

    python benchmarks/riskset_vs_static.py --agencies 100 --people 20000 --processes 2

The effect is that on quarterly earnings, averaged over the quarter in which training begins and the twelve after it.
The truth is that of the trained who were matched, person by person (table ``effect`` of the simulation). Four designs
on the same records, with the same covariates and the same caliper:

* risk sets: the design of `analyses/agency`. Controls are as long without a job and untrained; who trains later is
  cut, and those who stay untrained are weighted by one over their chance to. Earnings are capped as for release.
* risk sets, uncapped: the same without the cap.
* risk sets, unweighted: the same without the weights, nor the cap.
* static: trainees with people of the same quarter of displacement who never trained, as if that were known beforehand.

The last column says how far the truth of those matched lies from that of all who entered training.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import retrain_eval as rte
from retrain_eval.plan.study_file import read_study
from retrain_eval.questions.cohort import Group
from retrain_eval.questions.designs.waiting import WaitingCohort
from retrain_eval.sample.followup.censoring import follow_outcomes

AGENCY = Path(__file__).parents[1] / "analyses" / "agency"
DESIGNS = ("risk sets", "risk sets, uncapped", "risk sets, unweighted", "static")


class Found(NamedTuple):
    """What a design finds, and the truth: over the trained it has matched, and over all."""

    estimate: float
    error: float
    truth: float
    truth_of_all: float


def estimates(people: int, seed: int) -> dict[str, Found]:
    """Return what each design finds in one agency."""
    agency, study = rte.simulate(people=people, seed=seed), read_study(AGENCY)
    con = agency.con
    con.execute("SET enable_progress_bar = false")
    rte.build_panel(con, **study.panel_options())
    waiting = study.designs["waiting"]
    cohort = WaitingCohort(con, study, "waiting", waiting, lambda _: None, None, {"quality": "not asked"})
    after, before = waiting.after, waiting.before
    cohort.people.create_view("candidate")
    options = study.match_options()
    sample = cohort.sample(cohort.spec())

    def effect(rows: Any, outcome: str) -> tuple[float, float]:
        moments = cohort.moments_of(Group(sample, rows, rows, "subclass"), outcome)
        found = moments.att_gt().aggregate("simple").to_frame().iloc[0]
        return float(found["estimate"]), float(found["std_error"])

    def truth(trained: str) -> float:
        [(found,)] = con.sql(
            f"SELECT avg(on_earnings) FROM effect WHERE event_time BETWEEN 0 AND {after} AND person_id IN ({trained})"
        ).fetchall()
        return float(found)

    everybody = truth("SELECT person_id FROM effect")
    sample.pairs.create_view("riskset_pairs")
    matched = truth("SELECT treated_id FROM riskset_pairs")
    followed = cohort.follow(sample, ["earnings"]).rows
    unweighted = follow_outcomes(
        sample, con.table("panel"), time="period", outcomes=["earnings"], between=(-before, after)
    )
    # the study caps what is called earnings
    rows = {
        "risk sets": (followed, "earnings"),
        "risk sets, uncapped": (followed.project("*, earnings AS amount"), "amount"),
        "risk sets, unweighted": (unweighted.project("*, earnings AS amount"), "amount"),
    }
    found = {name: Found(*effect(*what), matched, everybody) for name, what in rows.items()}

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
    error = float(difference.std() / np.sqrt(len(difference)))
    true = truth("SELECT treated_id FROM static_pairs")
    found["static"] = Found(float(difference.mean()), error, true, everybody)
    agency.con.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agencies", type=int, default=100)
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.agencies)
    runs = []
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        for found in pool.map(partial(estimates, options.people), seeds):
            runs.append(found)
            print(f"\r{len(runs)} of {options.agencies}", end="", file=sys.stderr, flush=True)
    truth = np.mean([run["risk sets"].truth for run in runs])
    print(f"\n{options.agencies} agencies of {options.people:,} people; truth {truth:,.0f} a quarter\n")
    columns = ("mean", "bias", "± s.e.", "RMSE", "SD", "mean SE")
    print(f"{'design':<24}{''.join(f'{column:>9}' for column in columns)}{'coverage':>10}{'truth − all':>13}")
    for name in DESIGNS:
        estimate, error, true, everybody = np.array([run[name] for run in runs]).T
        off = estimate - true
        spread = off.std(ddof=1)
        shown = (
            estimate.mean(),
            off.mean(),
            spread / np.sqrt(len(off)),
            np.sqrt((off**2).mean()),
            spread,
            error.mean(),
        )
        covered = (np.abs(off) <= 1.96 * error).mean()
        apart = (true - everybody).mean()
        print(f"{name:<24}{''.join(f'{value:>9.0f}' for value in shown)}{covered:>10.2f}{apart:>13.1f}")


if __name__ == "__main__":
    main()
