"""Net benefits and ratios against known truth, at the level of tables.

Each draw is a table of outcome moments of two arms over two quarters before and twelve from the start, whose paths
have a known mean and covariance. The intervals of the net benefit of each perspective, and Fieller's of the marginal
value of public funds (MVPF), are compared with the truth, and an effect that is zero is looked for. The last check
compares the ledger of 1,000 sets of cost records, split among funders, with their sum.

    python benchmarks/questions_money.py [draws] [people per arm]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.estimates import COUNTS, KEYS
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.estimators.money.net_benefit import net_benefit
from retrain_eval.estimators.money.ratios import value_for_money
from retrain_eval.tables.ledger import Ledger

BEFORE, AFTER = 2, 12
RATES = {"tax_rate": 0.22, "employer_tax_rate": 0.0765, "benefit_withdrawal": 0.1, "fringe": 0.1}
TERMS = {"discount_rate": 0.03, "per_year": 4}
LOCK_IN = np.array([-900.0, -700.0, -300.0])
SEED = 20260101
TOGETHER = 50  # draws that are estimated in one call

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """What was found in a share of the draws, and within which bounds it should be."""

    name: str
    share: float
    low: float
    high: float
    draws: int

    def __str__(self) -> str:
        """Return the line that is printed."""
        held = "ok" if self.low <= self.share <= self.high else "OUT OF BOUNDS"
        return f"{self.name:60} {self.share:6.1%} of {self.draws:,} (bounds {self.low:.0%} to {self.high:.0%}): {held}"


def path(gain: float) -> Floats:
    """Return the true effects from the start: lock-in, then a gain; none at all if the gain is zero."""
    return np.concatenate([LOCK_IN if gain else np.zeros(len(LOCK_IN)), np.full(AFTER - len(LOCK_IN), gain)])


def moments(rng: np.random.Generator, effects: Floats, people: int, draws: int) -> OutcomeMoments:
    """Draw the people of two arms, whose earnings differ for good and move with a shock that fades, and sum them.

    Draws are the levels of a stratum, and share no one.
    """
    n_times, size = BEFORE + AFTER, (draws, 2, people)
    shock = rng.normal(0, 1500, (*size, n_times))
    for t in range(1, n_times):
        shock[..., t] += 0.6 * shock[..., t - 1]
    y = rng.normal(0, 2500, (*size, 1)) + shock
    y[:, 0, :, BEFORE:] += effects
    z = np.concatenate([np.ones((*size, 1)), y], axis=-1).reshape(2 * draws, people, 1 + n_times)
    names = [f"{draw:03}" for draw in range(draws) for _ in range(2)]
    cells = pd.DataFrame({"cohort": pd.array([1, None] * draws, dtype="Int64"), "draw": names, "n": people})
    return OutcomeMoments(
        outcome="earnings",
        times=tuple(range(1 - BEFORE, AFTER + 1)),  # treated from period 1 on
        strata=("draw",),
        cells=cells,
        first=z.sum(axis=1),
        second={(c, c): arm.T @ arm for c, arm in enumerate(z)},
        reference=np.full(n_times, 6000.0),
        n_clusters=2 * people * draws,
    )


def event_studies(rng: np.random.Generator, effects: Floats, people: int, draws: int) -> Iterator[EffectTable]:
    """Yield the event study of each draw."""
    for start in range(0, draws, TOGETHER):
        table = moments(rng, effects, people, min(TOGETHER, draws - start))
        found = table.att_gt(control="never_treated").by("draw").aggregate("dynamic")
        for _, rows in found.frame.groupby("level", sort=False):
            at = rows.index.to_numpy()
            yield EffectTable.build(rows.assign(level=pd.NA, subgroup=pd.NA)[[*KEYS, "estimate", *COUNTS]],
                                    found.vcov[np.ix_(at, at)])  # fmt: skip


def truth(effects: Floats, outlays: dict[str, float]) -> tuple[dict[str, float], float]:
    """Return the true net benefits by perspective, and the MVPF; written out here, not computed by the package."""
    present = float((effects * 1.03 ** (-np.arange(AFTER) / 4)).sum())
    participants = (1 - 0.22 - 0.1 + 0.1) * present + outlays["stipends"]
    taxpayers = (0.22 + 0.0765 + 0.1) * present - outlays["government"]
    society = 1.1765 * present - outlays["government"] - outlays["others"] + outlays["stipends"]
    return {"participants": participants, "taxpayers": taxpayers, "society": society}, participants / -taxpayers


def scenario(name: str, gain: float, outlays: dict[str, float], draws: int, people: int) -> Iterator[Check]:
    """Yield the checks of one truth."""
    rng, effects = np.random.default_rng([SEED, *name.encode()]), path(gain)
    nets, mvpf = truth(effects, outlays)
    covered, ratio, found, open_ended = dict.fromkeys(nets, 0), 0, 0, 0
    for over_time in event_studies(rng, effects, people, draws):
        worth = net_benefit(over_time, RATES, outlays, **TERMS)
        rows = worth.frame.set_index("estimand")
        for who, value in nets.items():
            row = rows.loc[f"{who}: net benefit"]
            covered[who] += row["ci_low"] <= value <= row["ci_high"]
        found += rows.loc["earnings gained, observed", "p_value"] < 0.05
        row = value_for_money(worth).iloc[0]
        low, high = row[["ci_low", "ci_high"]].astype(float)
        inside = not (low > mvpf) and not (high < mvpf)
        if row["interval"] == "the cost is at most zero throughout":
            inside = False  # the truth has a cost
        ratio += inside
        open_ended += row["interval"] != "bounded"
    for who, n in covered.items():
        yield Check(f"{name}: net benefit of {who} covered", n / draws, *_bounds(draws), draws)
    yield Check(f"{name}: MVPF of {mvpf:.2f} covered, {open_ended / draws:.0%} open-ended", ratio / draws,
                *_bounds(draws), draws)  # fmt: skip
    if gain == 0:
        yield Check(
            f"{name}: an effect found where there is none", found / draws, 0.0, 0.07 if draws >= 1_000 else 0.09, draws
        )


def _bounds(draws: int) -> tuple[float, float]:
    """Return the bounds of coverage: those asked for with 1,000 draws, wider with fewer."""
    return (0.93, 0.97) if draws >= 1_000 else (0.91, 0.985)


def ledgers(sets: int) -> Check:
    """Compare ledgers that are added up from agencies, whole and per person, with the sum of their records."""
    rng, exact = np.random.default_rng(SEED), 0
    names = [(funder, part) for funder in ("employer", "fund", "state") for part in ("stipend", "tuition")]
    for _ in range(sets):
        agencies = [rng.integers(0, 10**9, len(names)) for _ in range(4)]
        funders, parts = zip(*names, strict=True)
        added = [Ledger(funders, parts, cents, int(rng.integers(10, 900))) for cents in agencies]
        whole = added[0] + added[1] + (added[2] + added[3])
        total = sum(int(cents.sum()) for cents in agencies)
        each = whole.per_person()
        exact += whole.total == total == int(whole.cents.sum()) and abs(int(each.sum()) - total / whole.people) <= 0.5
    return Check("ledgers that add up to the cent", exact / sets, 1.0, 1.0, sets)


def checks(draws: int = 1_000, people: int = 400) -> Iterator[Check]:
    """Yield all checks."""
    costs = {"government": 4_000.0, "others": 1_000.0, "stipends": 1_200.0}
    yield from scenario("gain", 500.0, costs, draws, people)
    yield from scenario("no effect", 0.0, costs, draws, people)
    yield from scenario("a net cost near zero", 500.0, {**costs, "government": 1_400.0}, draws, people)
    yield ledgers(1_000)


if __name__ == "__main__":
    for line in checks(*map(int, sys.argv[1:])):
        print(line, flush=True)
