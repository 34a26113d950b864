"""Log earnings and job quality against known truth: coverage of Lee bounds, and of the effect on the intensity A.

People are drawn from a known distribution and summed to the additive table; everything else follows from the table.

    python benchmarks/questions_wages.py --draws 1000
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from scipy import integrate, optimize, stats

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.estimators.inference.lee_bounds import INTERVAL, LOWER, UPPER, lee_bounds
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.estimators.stacked_outcomes import effect_on_ratio, stacked_time
from retrain_eval.plan.questions import WagePath
from retrain_eval.questions.jobs.log_earnings import band_edges
from retrain_eval.tables.clusters import Clusters

EDGES = np.array(band_edges(WagePath(lowest=100.0, highest=10_000_000.0)))


def table(
    paths: tuple[Floats, Floats], times: Ints, *, paired: bool = False, weight: Floats | None = None
) -> OutcomeMoments:
    """Sum the paths of treated and controls, shape (n, T); pairs are the rows of equal number."""
    z = [np.column_stack([np.ones(len(path)), path]) * (1.0 if weight is None else weight[:, None]) for path in paths]
    second = {(0, 0): z[0].T @ z[0], (1, 1): z[1].T @ z[1]}
    n = [len(path) for path in paths]
    if paired:
        second[0, 1] = z[0].T @ z[1]
    return OutcomeMoments(
        outcome="y",
        times=tuple(int(t) for t in times),
        strata=(),
        cells=pd.DataFrame({"cohort": pd.array([1, pd.NA], "Float64"), "n": n}),
        first=np.array([part.sum(axis=0) for part in z]),
        second=dict(sorted(second.items())),
        reference=np.zeros(len(times)),
        cluster="pair" if paired else None,
        n_clusters=n[0] if paired else sum(n),
        weighted=weight is not None,
        clusters=Clusters(np.array([0, 0]), np.array([0, 1]), np.array([n[0]])) if paired else None,
    )


def to_bands(employed: Bools, log: Floats) -> Floats:
    """Return whether each person is employed and has at most each edge, shape (n, K)."""
    capped = np.minimum(log, EDGES[-1] / 1000)
    found: Floats = (employed[:, None] & (capped[:, None] <= EDGES / 1000)).astype(float)
    return found


# ---- Lee bounds ----------------------------------------------------------------------------------------------------

ALWAYS = 0.6  # share who would be employed either way


class World:
    """Log earnings of those employed either way, N(8.5 + effect, 0.6²), and of those whom training employs, lower.

    Parameters
    ----------
    effect : float
        On log earnings of those who would be employed either way.
    moved : float
        Share whom training moves into employment; if negative, out of it.
    common : float
        Correlation of log earnings within pairs.
    """

    def __init__(self, effect: float, moved: float, common: float = 0.0) -> None:
        self.effect, self.moved, self.common = effect, moved, common
        self.always = stats.norm(8.5 + (effect if moved >= 0 else 0.0), 0.6)
        self.others = stats.norm(8.2, 0.5)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[tuple[Bools, Floats], ...]:
        shared, arms = rng.standard_normal(n), []
        for treated in (True, False):
            kind = rng.random(n)
            own = np.sqrt(self.common) * shared + np.sqrt(1 - self.common) * rng.standard_normal(n)
            moved = abs(self.moved) if treated == (self.moved > 0) else 0.0
            log = np.where(kind < ALWAYS, 8.5 + self.effect * treated + 0.6 * own, 8.2 + 0.5 * own)
            arms.append((kind < ALWAYS + moved, log))
        return tuple(arms)

    def bounds(self) -> tuple[float, float]:
        """Return the bounds that the distributions imply."""
        share, extra = ALWAYS, abs(self.moved)
        keep = share / (share + extra)

        def density(y: float) -> float:
            return float((share * self.always.pdf(y) + extra * self.others.pdf(y)) / (share + extra))

        def cdf(y: float) -> float:
            return float((share * self.always.cdf(y) + extra * self.others.cdf(y)) / (share + extra))

        means = []
        for part, upper in ((keep, False), (1 - keep, True)):
            cut = 20.0 if part >= 1 else 0.0 if part <= 0 else optimize.brentq(lambda y: cdf(y) - part, 0, 20)  # noqa: B023
            ends = (cut, 20.0) if upper else (0.0, cut)
            total, _ = integrate.quad(
                lambda y: y * density(y), *ends, points=[p for p in (8.2, 8.5) if ends[0] < p < ends[1]]
            )
            means.append(total / keep)
        other = 8.5 if self.moved >= 0 else 8.5 + self.effect
        return (means[0] - other, means[1] - other) if self.moved >= 0 else (other - means[1], other - means[0])


def lee(draws: int, n: int, world: World, seed: int = 1, *, paired: bool = False) -> dict[str, float]:
    """Return coverage of each bound and of the effect, how often 0 is excluded, and errors against their spread."""
    rng, true = np.random.default_rng(seed), world.bounds()
    rows = []
    for _ in range(draws):
        arms = world.draw(rng, n)
        found = lee_bounds(table(tuple(to_bands(*arm) for arm in arms), EDGES, paired=paired))  # type: ignore[arg-type]
        frame = found.to_frame().set_index("estimand")
        inside = [
            frame.loc[name, "ci_low"] <= t <= frame.loc[name, "ci_high"]
            for name, t in zip((LOWER, UPPER), true, strict=True)
        ]
        low, high = frame.loc[INTERVAL, ["ci_low", "ci_high"]]
        rows.append(
            [*inside, low <= world.effect <= high, low > 0 or high < 0,
             *frame.loc[[LOWER, UPPER], "estimate"], *frame.loc[[LOWER, UPPER], "std_error"],
             low <= true[0] <= high, low <= true[1] <= high]
        )  # fmt: skip
    of = np.array(rows, dtype=float)
    return {
        "lower": of[:, 0].mean(),
        "upper": of[:, 1].mean(),
        "effect": of[:, 2].mean(),
        "effect, were it at the lower": of[:, 8].mean(),
        "at the upper": of[:, 9].mean(),
        "excludes 0": of[:, 3].mean(),
        "error of lower, of its spread": of[:, 6].mean() / of[:, 4].std(),
        "error of upper, of its spread": of[:, 7].mean() / of[:, 5].std(),
        "bias of lower": of[:, 4].mean() - true[0],
        "bias of upper": of[:, 5].mean() - true[1],
    }


# ---- the intensity A -------------------------------------------------------------------------------------------------

CHANCES = (0.9, 0.7, 0.5, 0.4)  # of being deprived in a dimension; at two of four someone is deprived


def quality(rng: np.random.Generator, n: int, chances: tuple[float, ...]) -> Floats:
    """Return contributions of four dimensions to M0, and H, of n people in one period, shape (n, 5)."""
    flags = rng.random((n, len(chances))) < np.array(chances)
    deprived = flags.sum(axis=1) >= 2
    return np.column_stack([flags * deprived[:, None] / len(chances), deprived]).astype(float)


def true_ratio(chances: tuple[float, ...]) -> float:
    """Return A when dimensions are independent."""
    whole = np.indices((2,) * len(chances)).reshape(len(chances), -1)
    weight = np.prod(np.where(whole == 1, np.array(chances)[:, None], 1 - np.array(chances)[:, None]), axis=0)
    deprived = whole.sum(axis=0) >= 2
    return float((weight * whole.sum(axis=0) * deprived).sum() / len(chances) / (weight * deprived).sum())


def intensity(draws: int, n: int, after: tuple[float, ...], seed: int = 2) -> dict[str, float]:
    """Return coverage of the effect on A, and how often 0 is excluded."""
    rng, true = np.random.default_rng(seed), true_ratio(after) - true_ratio(CHANCES)
    times = np.array([stacked_time(block, clock) for clock in (0, 1) for block in range(5)])
    order = np.argsort(times)
    rows = []
    for _ in range(draws):
        arms = [
            np.hstack([quality(rng, n, CHANCES), quality(rng, n, chances)])[:, order] for chances in (after, CHANCES)
        ]
        frame = effect_on_ratio(table((arms[0], arms[1]), times[order]), "intensity", (0, 1, 2, 3), 4).to_frame()
        one = frame[frame["event_time"] == 0].iloc[0]
        rows.append(
            [
                one["ci_low"] <= true <= one["ci_high"],
                one["ci_low"] > 0 or one["ci_high"] < 0,
                one["estimate"],
                one["std_error"],
            ]
        )
    of = np.array(rows, dtype=float)
    return {
        "effect": of[:, 0].mean(),
        "excludes 0": of[:, 1].mean(),
        "error, of its spread": of[:, 3].mean() / of[:, 2].std(),
        "bias": of[:, 2].mean() - true,
    }


WORLDS = {
    "gain .10, training employs 10 points more": World(0.1, 0.1),
    "no gain, training employs 10 points more": World(0.0, 0.1),
    "no gain, training employs 10 points fewer": World(0.0, -0.1),
    "no gain, no one moved": World(0.0, 0.0),
    "gain .10, no one moved": World(0.1, 0.0),
}


def main() -> None:
    """Print a line per check."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--draws", type=int, default=1_000)
    options.add_argument("--people", type=int, default=700, help="in each arm")
    given = options.parse_args()
    for name, world in WORLDS.items():
        print(f"Lee bounds, {name}: {spelt(lee(given.draws, given.people, world))}", flush=True)
    world = World(0.1, 0.1, common=0.5)
    print(f"Lee bounds, pairs alike: {spelt(lee(given.draws, given.people, world, paired=True))}", flush=True)
    print(f"A, an effect: {spelt(intensity(given.draws, given.people, (0.8, 0.5, 0.4, 0.2)))}", flush=True)
    print(f"A, none: {spelt(intensity(given.draws, given.people, CHANCES))}", flush=True)


def spelt(found: dict[str, float]) -> str:
    """Return the figures of a check in a line."""
    return ", ".join(f"{name} {value:.3f}" for name, value in found.items())


if __name__ == "__main__":
    main()
