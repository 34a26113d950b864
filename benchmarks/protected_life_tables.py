"""What protection costs in life tables: size of the log-rank test, coverage of curves and means, exact and protected.

``python benchmarks/protected_life_tables.py [draws] [design] [n]`` prints one row per design and size. Two
arms of n people have one distribution: geometric durations with a hazard of .08 a quarter, follow-up of 20 quarters.
``"censored"`` adds censoring at a rate of .04 a quarter in between, ``"causes"`` two causes of ending as well,
``"weighted"`` weights between .5 and 2. Keys are drawn at random, as those of a release key are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from retrain_eval.common.errors import InputError
from retrain_eval.estimators.survival.curves import kaplan_meier
from retrain_eval.estimators.survival.logrank import logrank
from retrain_eval.estimators.survival.summaries import rmst
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.life_tables import protect_life_table
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.life_table.spell_keys import SpellKeys
from retrain_eval.tables.life_table.spell_table import merge_cells
from retrain_eval.tables.noise.changes import Changes
from retrain_eval.tables.noise.register import Register

HAZARD, LEAVING, FOLLOWED = 0.08, 0.04, 20
DESIGNS = ("plain", "censored", "causes", "weighted")
SIZES = (60, 150, 700)
RULES = Release(count_variance=2.0, count_gap=2, noise_smallest=0.05, noise_largest=0.15)
TAU, TIMES = 12.0, (4.0, 8.0, 12.0)


def draw(n: int, design: str, seed: int) -> LifeTable:
    """Return a life table of two arms of n people with random keys."""
    rng = np.random.default_rng([seed, n])
    people = 2 * n
    ends = rng.geometric(HAZARD, people)
    gone = rng.geometric(LEAVING, people) if design != "plain" else np.full(people, FOLLOWED)
    last = np.minimum(gone, FOLLOWED)
    cause = np.where(rng.random(people) < 0.25, "recall", "job") if design == "causes" else np.full(people, "job")
    weight = rng.uniform(0.5, 2, people) if design == "weighted" else np.ones(people)
    cells = pd.DataFrame(
        {
            "arm": pd.array(np.repeat(["control", "trained"], n), dtype="str"),
            "entry": 0.0,
            "duration": np.minimum(ends, last).astype(float),
            "cause": pd.array(np.where(ends <= last, cause, "0"), dtype="str"),
            "n": 1,
            "sum_w": weight,
            "sum_w2": weight**2,
        }
    )
    keys = SpellKeys(rng.integers(0, 2**64, people, dtype=np.uint64, endpoint=False), 1)
    table = LifeTable("quarters", ("arm",), cells, weighted=design == "weighted", n_people=people, keys=keys)
    return merge_cells(table, cells, ("arm",))


def protected(table: LifeTable) -> LifeTable:
    """Return the table as a release would publish it."""
    register = Register(Changes(RULES.count_variance, RULES.count_gap))
    return protect_life_table("table", table, RULES, register)[0]


def figures(table: LifeTable) -> dict[str, float]:
    """Return z of the log-rank test, and of one arm the curve, the mean and whether their intervals cover the truth."""
    own = kaplan_meier(table, times=TIMES).frame
    own = own[own["level"] == "trained"]
    truth = sum((1 - HAZARD) ** t for t in range(int(TAU)))
    try:
        mean = rmst(table, TAU).frame.iloc[-1]
    except InputError:  # a release ends the curve where too few are at risk
        mean = pd.Series({"estimate": np.nan, "std_error": np.nan, "ci_low": np.nan, "ci_high": np.nan})
    found = {
        "z": _z(table),
        "mean": float(mean["estimate"]) - truth,
        "mean_se": float(mean["std_error"]),
        "covered": _covers(mean["ci_low"], truth, mean["ci_high"]),
    }
    for row in own.itertuples():
        value = (1 - HAZARD) ** row.time
        found |= {f"error_{row.time:g}": row.estimate - value, f"se_{row.time:g}": row.std_error}
        found[f"covered_{row.time:g}"] = _covers(row.ci_low, value, row.ci_high)
    return found


def _z(table: LifeTable) -> float:
    test = logrank(table)
    return float(np.sign(test.groups["observed"].iloc[0] - test.groups["expected"].iloc[0]) * np.sqrt(test.chi2))


def _covers(low: float, value: float, high: float) -> float:
    return float(low <= value <= high) if np.isfinite([low, high]).all() else np.nan


def simulate(n: int, design: str, draws: int) -> Iterator[pd.DataFrame]:
    """Yield the figures of the exact table, the protected one, and the protected one without v in its errors."""
    exact, safe, narrow = [], [], []
    for seed in range(draws):
        table = draw(n, design, seed)
        published = protected(table)
        exact.append(figures(table))
        safe.append(figures(published))
        narrow.append({"z": _z(replace(published, noise=None))})
    yield from (pd.DataFrame(rows) for rows in (exact, safe, narrow))


def summary(n: int, design: str, draws: int) -> dict[str, object]:
    """Return one row of the table of costs."""
    exact, safe, narrow = simulate(n, design, draws)
    size = {name: float((of["z"].abs() > 1.96).mean()) for name, of in (("exact", exact), ("", safe), ("no v", narrow))}
    moves = (safe["z"] - exact["z"]).abs()
    row: dict[str, object] = {"design": design, "n": n, "size exact": size["exact"], "size": size[""]}
    row |= {"without v": size["no v"], "z moves, 95%": float(moves.quantile(0.95))}
    row |= {
        "RMST withheld": safe["mean"].isna().mean(),
        "RMST covered": safe["covered"].mean(),
        "exact ": exact["covered"].mean(),
        "bias / se": float(((safe["mean"] - exact["mean"]) / exact["mean_se"]).mean()),
        "sd / se": float(((safe["mean"] - exact["mean"]) / exact["mean_se"]).std()),
        "se ratio": float((safe["mean_se"] / exact["mean_se"]).median()),
    }
    for t in TIMES:
        row[f"S({t:g}) covered"] = safe[f"covered_{t:g}"].mean()
        row[f"bias({t:g}) / se"] = float(((safe[f"error_{t:g}"] - exact[f"error_{t:g}"]) / exact[f"se_{t:g}"]).mean())
    return row


if __name__ == "__main__":
    n_draws = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    designs, sizes = sys.argv[2:3] or DESIGNS, [int(n) for n in sys.argv[3:4]] or SIZES
    rows = [summary(n, design, n_draws) for design in designs for n in sizes]
    with pd.option_context("display.width", 240, "display.max_columns", 30):
        print(pd.DataFrame(rows).round(3).to_string(index=False))
