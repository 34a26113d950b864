"""What an attacker recovers exactly from fifty random studies with small cells: before protection, and after it.

    python benchmarks/disclosure.py [studies]

Of each study the tables are published that studies publish: all people, by age, by school, by both, and sums of
covariates before and after matching. Before protection only the small counts are blanked; after it the tables are those
of `retrain_eval.release.protection.protect`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from retrain_eval.common.errors import DesignError
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.covariates import protect_covariates
from retrain_eval.sample.match import match
from retrain_eval.tables.covariates.covariates import APART, ARMS, BEFORE, CovariateMoments

sys.path.append(str(Path(__file__).parents[1] / "tests" / "release"))
sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
from test_attack import audit

MINIMUM = Release().min_contributors


def people(seed: int) -> pd.DataFrame:
    """Return trained and others, with a rare trait, a region of unequal size, and pay that decides who trains."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(80, 300))
    pay = rng.gamma(4.0, 1_000.0, n).round(2)
    return pd.DataFrame({
        "id": range(n),
        "treat": (rng.uniform(size=n) < 0.35 - 0.2 * (pay > np.median(pay))).astype(int),
        "pay": pay,
        "rare": (rng.uniform(size=n) < rng.uniform(0.02, 0.3)).astype(int),
        "region": rng.choice(["north", "south", "isles"], n, p=rng.dirichlet([4.0, 3.0, 1.0])),
    })  # fmt: skip


def small(moments: CovariateMoments) -> int:
    """Count what of few people is read off sums of 0/1 covariates, with the trait or without it, or by subtraction."""
    found = 0
    cells = moments.cells[moments.cells["binary"].astype(bool)]
    for _, rows in cells[cells["stage"] != APART].groupby(["covariate", "arm"], sort=False):
        ones = rows.set_index("stage")["sum_wx"].round().astype(int)
        n = rows.set_index("stage")["people"]
        counts = [*ones, *(n - ones)]
        if BEFORE in ones and len(ones) > 1:
            counts += [ones[BEFORE] - ones["after"], (n - ones)[BEFORE] - (n - ones)["after"]]
        found += sum(0 < count < MINIMUM for count in counts)
    return found


def of_covariates(n: int) -> tuple[int, int]:
    """Return the small counts that follow from covariate moments as they are, and as they are released."""
    before = after = done = seed = 0
    while done < n:
        seed += 1
        frame = people(seed)
        try:
            sample = match(frame, "treat ~ pay + rare + region", "id", caliper=0.1)
        except DesignError:
            continue  # only the trained have some trait, or none of them: no study
        moments = sample.covariate_moments()
        matched = moments.cells[moments.cells["stage"] == "after"].groupby("arm")["people"].first()
        if min(matched[arm] for arm in ARMS) < MINIMUM:
            continue
        safe, _ = protect_covariates("m", moments, Release())
        before, after, done = before + small(moments), after + small(safe), done + 1
    return before, after


def main() -> None:
    """Print the figures."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    for base in (1, 5):
        cells, before, after = audit(n, base)
        print(
            f"{n} studies, counts rounded to {base}: {cells} small cells; {before} recovered exactly where only they "
            f"are blanked, {after} after protection"
        )
    before, after = of_covariates(n)
    print(f"{n} matched studies: {before} small counts follow from sums of covariates, {after} after protection")


if __name__ == "__main__":
    main()
