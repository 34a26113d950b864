"""How often a true null is rejected at the 5% level, by the number of clusters.

Shocks are common to a cluster × arm in each period. First every cluster holds people of both arms, then half of the
clusters are treated as a whole. A refusal is an estimate for which no standard error was given. ``python
benchmarks/few_clusters.py [draws] [draws of survival]`` prints the table; `few_clusters.md` has the figures.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

import retrain_eval as rte
import retrain_eval.estimators.effects.estimates
from retrain_eval.common.errors import RetrainEvalError
from retrain_eval.estimators.did.means import mean_difference
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.tables.clusters import Clusters

CLUSTERS = (3, 5, 10, 20, 30)
PEOPLE = 40  # of a cluster
TIMES = 4
TOGETHER = 50  # draws that are estimated in one call, as levels that share nothing
MOST_OF_COX = 500

Tally = dict[str, Counter[str]]


def moments(rng: np.random.Generator, n_clusters: int, draws: int, *, whole: bool) -> OutcomeMoments:
    """Draw several samples of people and sum them: the levels of a stratum, each with clusters of its own."""
    n_all = n_clusters * draws
    cluster = np.repeat(np.arange(n_all), PEOPLE)
    person, draw = np.tile(np.arange(PEOPLE), n_all), cluster // n_clusters
    treated = (cluster % n_clusters < n_clusters // 2) if whole else person % 2 == 0
    shock = rng.normal(0, 0.5, (n_all, 2, TIMES))
    y = rng.normal(size=(len(cluster), 1)) + rng.normal(size=(len(cluster), TIMES))
    z = np.column_stack([np.ones(len(cluster)), y + shock[cluster, treated.astype(int)]])
    cell = 4 * draw + 2 * (~treated).astype(int) + person // 2 % 2
    key, place = np.unique(cluster * 4 * draws + cell, return_inverse=True)
    row, at = np.divmod(key, 4 * draws)
    sums = np.zeros((len(key), 1 + TIMES))
    np.add.at(sums, place, z)
    first = np.zeros((4 * draws, 1 + TIMES))
    np.add.at(first, at, sums)
    second: dict[tuple[int, int], npt.NDArray[np.float64]] = {}
    own = [sums[at == c] for c in range(4 * draws)]
    rows = [row[at == c] for c in range(4 * draws)]
    for a in range(4 * draws):
        for b in range(a, 4 * (a // 4) + 4):
            if np.array_equal(rows[a], rows[b]):
                second[a, b] = own[a].T @ own[b]
    cells = pd.DataFrame(
        {
            "cohort": pd.array([2.0, 2.0, None, None] * draws, "Float64"),
            "draw": np.repeat([f"d{i}" for i in range(draws)], 4),
            "part": ["a", "b", "a", "b"] * draws,
        }
    )
    return OutcomeMoments(
        outcome="y",
        times=tuple(range(TIMES)),
        strata=("draw", "part"),
        cells=cells.assign(n=np.bincount(cell)),
        first=first,
        second=second,
        reference=np.zeros(TIMES),
        cluster="cluster",
        n_clusters=n_all,
        clusters=Clusters(row, at, np.ones(n_all, dtype=np.int64), np.bincount(place), sums),
    )


def spells(rng: np.random.Generator, n_clusters: int, *, whole: bool) -> rte.Spells:
    """Draw spells whose hazard varies by cluster × arm, with one hazard in both arms on average."""
    cluster = np.repeat(np.arange(n_clusters), PEOPLE)
    person = np.tile(np.arange(PEOPLE), n_clusters)
    treated = (cluster < n_clusters // 2) if whole else person % 2 == 0
    rate = 0.15 * np.exp(rng.normal(0, 0.4, (n_clusters, 2)))[cluster, treated.astype(int)]
    duration = np.ceil(rng.exponential(1 / rate))
    people = pd.DataFrame(
        {
            "id": np.arange(len(cluster)),
            "arm": np.where(treated, "trained", "control"),
            "cluster": cluster,
            "quarters": np.minimum(duration, 12),
            "event": (duration <= 12).astype(int),
        }
    )
    return rte.Spells(people, id="id", duration="quarters", cause="event", by="arm", cluster="cluster")


def on_moments(drawn: OutcomeMoments) -> Iterator[tuple[str, Callable[[], EffectTable]]]:
    """Yield what is asked of moments: a name, and a function that returns one effect for each draw, or more."""
    effects = drawn.att_gt()
    each, parts = effects.by("draw"), effects.by("draw", "part")
    yield "att_gt simple", lambda: each.aggregate("simple")
    yield "att_gt dynamic", lambda: each.aggregate("dynamic")
    yield "att_gt simple, by", lambda: parts.aggregate("simple")
    yield "att_gt dynamic, by", lambda: parts.aggregate("dynamic")
    yield "mean_difference", lambda: mean_difference(drawn, TIMES - 1, by="draw")
    yield "mean_difference, by", lambda: mean_difference(drawn, TIMES - 1, by=("draw", "part"))


def on_spells(drawn: rte.Spells, *, cox: bool) -> Iterator[tuple[str, Callable[[], EffectTable]]]:
    """Yield what is asked of spells."""
    if cox:
        yield "Cox", lambda: drawn.cox("arm")
    yield "survival_difference", lambda: drawn.survival_difference([8])


def count(wanted: Iterator[tuple[str, Callable[[], EffectTable]]], draws: int, tally: Tally) -> None:
    """Count estimates without a standard error, and rejections; of a dynamic table the overall effects count."""
    for name, estimate in wanted:
        try:
            frame = estimate().frame
        except RetrainEvalError:
            p = np.full(draws, np.nan)
        else:
            p = frame.loc[frame["event_time"].isna(), "p_value"].to_numpy()
        tally["asked"][name] += len(p)
        tally["refused"][name] += int(np.isnan(p).sum())
        tally["rejected"][name] += int((p < 0.05).sum())


def main(draws: int, draws_of_survival: int) -> None:
    """Print rejections and refusals."""
    print("| design | estimate | clusters | estimates | refused | rejected of the others |")
    print("|---|---|---|---|---|---|")
    for whole, design in ((False, "both arms in every cluster"), (True, "whole clusters treated")):
        for n_clusters in CLUSTERS:
            tally: Tally = {name: Counter() for name in ("asked", "refused", "rejected")}
            rng = np.random.default_rng([n_clusters, whole])
            for _ in range(draws // TOGETHER):
                count(on_moments(moments(rng, n_clusters, TOGETHER, whole=whole)), TOGETHER, tally)
            for draw in range(draws_of_survival):
                drawn = spells(np.random.default_rng([n_clusters, whole, draw]), n_clusters, whole=whole)
                count(on_spells(drawn, cox=draw < MOST_OF_COX), 1, tally)
            for name, n in tally["asked"].items():
                refused = tally["refused"][name]
                share = f"{tally['rejected'][name] / (n - refused):.1%}" if n > refused else "—"
                print(f"| {design} | {name} | {n_clusters} | {n:,} | {refused / n:.0%} | {share} |", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    # simultaneous bands take most of the time, and are not looked at
    retrain_eval.estimators.effects.estimates.critical_values = lambda vcov, df, **_: np.full(len(vcov), np.nan)
    start = time.perf_counter()
    given = [int(value) for value in sys.argv[1:]]
    main(*(given if len(given) == 2 else (2000, 2000)))
    print(f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
