"""Coverage and size by simulation: every estimator, level of clustering and subgroup, on moments made in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import retrain_eval as rte
from did_cases import MOMENTS
from retrain_eval.estimators.inference.pretrend import pretrend_test
from retrain_eval.tables.clusters import Collector

TIMES = (1, 2, 3, 4)
CLUSTERS = ("person", "school", "matched set")
DRAWS, SIZE_DRAWS = 200, 400


def near(share: pd.Series[float], nominal: float, draws: int) -> bool:
    """Whether shares are within three standard errors, and one point, of what they should be."""
    margin = 3 * np.sqrt(nominal * (1 - nominal) / draws) + 0.01
    return bool(share.between(nominal - margin, nominal + margin).all())


def draw(rng: np.random.Generator, level: str, effect: float, n: int = 600) -> dict[str, Any]:
    """Cohorts 3, 4 and never; persons' levels, shocks shared where clusters are, one effect for all.

    Schools of four are treated together; a matched set is one trainee and two who never are, hit by the same shocks.
    """
    size = {"person": 1, "school": 4, "matched set": 3}[level]
    cluster = np.arange(n) // size
    band = np.array(["a", "b"])[cluster % 2]
    cohort = rng.choice([0, 3, 4], n // size)[cluster]
    if level == "matched set":
        cohort = np.where(np.arange(n) % 3 == 0, rng.choice([3, 4], n // size)[cluster], 0)
    y = rng.normal(0, 1, n)[:, None] + 0.3 * np.array(TIMES) + rng.normal(0, 1, (n, len(TIMES)))
    if size > 1:
        y += rng.normal(0, 1, (n // size, len(TIMES)))[cluster]
    y += effect * ((cohort[:, None] > 0) & (np.array(TIMES) >= cohort[:, None]))
    return {"cohort": cohort, "band": band, "y": y, "cluster": None if level == "person" else cluster}


def moments_of(cohort: np.ndarray, band: np.ndarray, y: np.ndarray, cluster: np.ndarray | None) -> rte.OutcomeMoments:
    """The moments that `outcome_moments` makes of these people, without DuckDB."""
    keys = list(zip(band, np.where(cohort > 0, cohort, np.inf), strict=True))
    order = sorted(set(keys))
    cell = np.array([order.index(key) for key in keys])
    reference = y.mean(axis=0).round(1)
    z = np.column_stack([np.ones(len(y)), y - reference])
    unit = np.arange(len(y)) if cluster is None else cluster
    first = np.stack([z[cell == c].sum(axis=0) for c in range(len(order))])
    sums = np.zeros((int(unit.max()) + 1, len(order), z.shape[1]))
    np.add.at(sums, (unit, cell), z)
    second = {}
    for c in range(len(order)):
        for d in range(c, len(order)):
            block = sums[:, c].T @ sums[:, d]
            if block[0, 0] > 0:
                second[c, d] = block
    cells = pd.DataFrame({"cohort": pd.array([None if np.isinf(g) else g for _, g in order], dtype="Float64")})
    cells["band"] = pd.Series([level for level, _ in order], dtype="str")
    cells["n"] = np.bincount(cell)
    lie = Collector()
    people = np.zeros(sums.shape[:2], dtype=np.int64)
    np.add.at(people, (unit, cell), 1)
    where = np.nonzero(people)
    lie.add(where[0], where[1], people[where], sums[where])
    return rte.OutcomeMoments(
        outcome="y", times=TIMES, strata=("band",), cells=cells, first=first, second=second, reference=reference,
        cluster=None if cluster is None else "cluster", n_clusters=len(sums),
        clusters=None if cluster is None else lie.clusters(),
    )  # fmt: skip


@pytest.mark.parametrize("level", CLUSTERS)
def test_these_moments_are_those_of_the_rows(level: str) -> None:
    people = draw(np.random.default_rng(1), level, 1.0)
    n, rows = len(people["y"]), len(people["y"]) * len(TIMES)
    long = pd.DataFrame({"id": np.repeat(np.arange(n), len(TIMES)), "t": np.tile(TIMES, n), "y": people["y"].ravel()})
    long["g"], long["band"] = np.repeat(people["cohort"], len(TIMES)), np.repeat(people["band"], len(TIMES))
    cluster = None
    if people["cluster"] is not None:
        long["cluster"], cluster = np.repeat(people["cluster"], len(TIMES)), "cluster"
    assert len(long) == rows
    one, other = rte.outcome_moments(long, **MOMENTS, by="band", cluster=cluster), moments_of(**people)
    for name, estimate in ESTIMATORS.items():
        a, b = estimate(one).frame, estimate(other).frame
        np.testing.assert_allclose(a["estimate"], b["estimate"], rtol=1e-9, err_msg=name)
        np.testing.assert_allclose(a["std_error"], b["std_error"], rtol=1e-9, err_msg=name)


BAND = ("band",)
ESTIMATORS: dict[str, Callable[[rte.OutcomeMoments], rte.EffectTable]] = {
    "reg": lambda m: m.att_gt(method="reg", covariates=BAND).aggregate("simple"),
    "ipw": lambda m: m.att_gt(method="ipw", covariates=BAND).aggregate("simple"),
    "dr": lambda m: m.att_gt(method="dr", covariates=BAND).aggregate("simple"),
    "not yet treated": lambda m: m.att_gt("not_yet_treated", method="dr", covariates=BAND).aggregate("simple"),
    "by band": lambda m: m.att_gt().by("band").aggregate("simple"),
    "twfe": lambda m: m.twfe(),
    "sun_abraham by band": lambda m: m.sun_abraham("simple", by="band"),
    "imputation by band": lambda m: m.imputation("simple", by="band"),
    "etwfe by band": lambda m: m.etwfe("simple", by="band"),
}


@pytest.mark.slow
@pytest.mark.parametrize("level", CLUSTERS)
def test_intervals_cover_the_effect_for_every_estimator_and_subgroup(level: str) -> None:
    """95% intervals cover 95%, for all and in either band, whoever is hit by the same shocks."""
    rng = np.random.default_rng(31)
    covered: dict[str, int] = {}
    for _ in range(DRAWS):
        moments = moments_of(**draw(rng, level, 1.0))
        for name, estimate in ESTIMATORS.items():
            for row in estimate(moments).frame.itertuples():
                key = name if pd.isna(row.level) else f"{name}: {row.level}"
                covered[key] = covered.get(key, 0) + (row.ci_low <= 1.0 <= row.ci_high)
    share = pd.Series(covered) / DRAWS
    assert len(share) == len(ESTIMATORS) + 4
    assert near(share, 0.95, DRAWS), share.to_dict()


@pytest.mark.slow
def test_clusters_that_are_ignored_do_not_cover() -> None:
    """The same draws by person: what the clusters above are for."""
    rng = np.random.default_rng(31)
    covered = 0
    for _ in range(200):
        people = draw(rng, "school", 1.0) | {"cluster": None}
        row = moments_of(**people).att_gt().aggregate("simple").frame.iloc[0]
        covered += row["ci_low"] <= 1.0 <= row["ci_high"]
    assert covered / 200 < 0.85


@pytest.mark.slow
@pytest.mark.parametrize("level", CLUSTERS)
def test_size_under_no_effect(level: str) -> None:
    """Draws of nothing: tests of no effect, no trend before, equal subgroups, and verdicts err in 5%."""
    rng = np.random.default_rng(32)
    rejected = dict.fromkeys(("no effect", "a band", "no trend before", "equal bands", "any verdict of an effect"), 0)
    for i in range(SIZE_DRAWS):
        moments = moments_of(**draw(rng, level, 0.0))
        effects = moments.att_gt(method="dr", covariates=BAND)
        rejected["no effect"] += effects.aggregate("simple").frame["p_value"].item() < 0.05
        rejected["no trend before"] += pretrend_test(effects.aggregate()).iloc[0]["p_value"] < 0.05
        by_band = effects.by("band").aggregate("simple")
        rejected["a band"] += by_band.frame["p_value"].iloc[0] < 0.05
        found = by_band.heterogeneity(1e-6)  # no effect can be shown to be so small
        rejected["equal bands"] += found.equality["p_value"].item() < 0.05
        rejected["any verdict of an effect"] += (found.levels["verdict"] == "effect").any()
        if i < 20:  # and any is shown to be below ten
            assert set(by_band.heterogeneity(10.0).levels["verdict"]) == {"equivalent to none"}
    share = pd.Series(rejected) / SIZE_DRAWS
    assert near(share, 0.05, SIZE_DRAWS), share.to_dict()
