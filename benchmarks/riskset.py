"""Risk-set matching beside static matching on a register where training is assigned as unemployment lasts.

    python benchmarks/riskset.py --repetitions 200

Estimates the effect of training on having found work one year after becoming unemployed. Static matching compares
trainees with people who were never trained, many of whom were not because they had found work. The truth is
simulated: the same trainees, entering, and waiting or never entering.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import duckdb
import numpy as np

import retrain_eval as rte
from retrain_eval.sample.followup.censoring import follow_spells

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
from waiting_times import HORIZON, kaplan_meier, paired, register, truth

SPELL = {"start": "start", "entry": "entry", "end": "until"}


def estimates(n: int, seed: int) -> dict[str, tuple[float, float]]:
    """Return estimate and standard error by design."""
    people = register(n, seed)
    with duckdb.connect(config={"threads": 2}) as con:
        con.from_df(people).create("people")
        source = con.table("people")
        worked = people.set_index("id")["until"].notna()
        sample = rte.match(source, "trained ~ x", unit="id", method="riskset", exact="x", **SPELL)
        pairs = sample.pairs.df()
        waiting = paired(worked[pairs["treated_id"]].to_numpy(), worked[pairs["control_id"]].to_numpy())

        spells = follow_spells(sample, source, end="until", last=HORIZON).df()
        spells = spells.merge(sample.weights.df()[["match_id", "elapsed"]], on="match_id").merge(people, on="id")
        spells["stratum"] = spells["x"] * 100 + spells["elapsed"]
        spells["at"] = HORIZON - spells["elapsed"]
        never = kaplan_meier(spells, "at")

        con.execute("CREATE TABLE static AS SELECT *, entry IS NOT NULL AS trained FROM people")
        pairs = rte.match(con.table("static"), "trained ~ x", unit="id", exact="x").pairs.df()
        static = paired(worked[pairs["treated_id"]].to_numpy(), worked[pairs["control_id"]].to_numpy())
    return {"risk sets, waiting": waiting, "risk sets, censored": never, "static": static}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--people", type=int, default=8_000)
    options = parser.parse_args()
    true = truth(2_000_000, seed=0)
    goal = {"risk sets, waiting": "waiting", "risk sets, censored": "never", "static": "never"}
    runs = [estimates(options.people, seed) for seed in range(1, options.repetitions + 1)]
    print(
        f"{options.repetitions} registers of {options.people:,} people; effect on having work after {HORIZON} periods\n"
    )
    print(f"{'design':<22}{'against':<10}{'truth':>8}{'mean':>8}{'bias':>8}{'SD':>8}{'mean SE':>9}{'coverage':>10}")
    for name, against in goal.items():
        estimate, error = np.array([run[name] for run in runs]).T
        covered = np.abs(estimate - true[against]) <= 1.96 * error
        bias = estimate.mean() - true[against]
        print(
            f"{name:<22}{against:<10}{true[against]:>8.4f}{estimate.mean():>8.4f}{bias:>8.4f}"
            f"{estimate.std(ddof=1):>8.4f}{error.mean():>9.4f}{covered.mean():>10.3f}"
        )


if __name__ == "__main__":
    main()
