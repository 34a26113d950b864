"""Few clusters: the jackknife, its degrees of freedom, how many clusters each estimate has, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import retrain_eval as rte
from retrain_eval.common.errors import DesignError
from retrain_eval.tables.life_table.life_table import LifeTable

NAMES = {"id": "id", "duration": "quarters", "cause": "cause", "by": "arm", "cluster": "region"}


def spells(clusters: int, each: int = 24, seed: int = 1) -> pd.DataFrame:
    """Two arms in every region, whose hazards vary by region and arm; a fifth is censored."""
    rng = np.random.default_rng(seed)
    n = clusters * each
    region, arm = np.arange(n) % clusters, (np.arange(n) // clusters) % 2
    hazard = 0.2 * np.exp(rng.normal(0, 0.5, (clusters, 2))[region, arm])
    duration = np.ceil(rng.exponential(1 / hazard)).clip(1, 12)
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "region": region,
            "arm": np.where(arm == 1, "trained", "control"),
            "quarters": duration,
            "cause": (rng.random(n) < 0.8).astype(int),
        }
    )


def without_each(data: pd.DataFrame, estimate: object) -> tuple[np.ndarray, np.ndarray]:
    """Return an estimate, and its cluster jackknife variance, both from the rows."""
    whole = estimate(data.drop(columns="region"))
    parts = np.array([estimate(data[data["region"] != r].drop(columns="region")) for r in data["region"].unique()])
    clusters = len(parts)
    return whole, (clusters - 1) / clusters * ((parts - whole) ** 2).sum(axis=0)


def front(data: pd.DataFrame) -> rte.Spells:
    return rte.Spells(data, **{**NAMES, "cluster": "region" if "region" in data else None})


def survival(data: pd.DataFrame) -> np.ndarray:
    return front(data).survival_difference(times=(2, 4)).to_frame()["estimate"].to_numpy()


def restricted(data: pd.DataFrame) -> np.ndarray:
    return front(data).rmst_difference(tau=4).to_frame()["estimate"].to_numpy()


def incidence(data: pd.DataFrame) -> np.ndarray:
    return front(data).incidence_difference(times=(2, 4)).to_frame()["estimate"].to_numpy()


def hazard_ratio(data: pd.DataFrame) -> np.ndarray:
    return front(data).cox("arm").to_frame()["estimate"].to_numpy()


def odds(data: pd.DataFrame) -> np.ndarray:
    found = front(data).discrete_hazard("arm", bins=(2, 4)).to_frame()
    return found["estimate"].to_numpy()[:1]


@pytest.mark.parametrize(
    ("estimate", "table"),
    [
        (survival, lambda s: s.survival_difference(times=(2, 4))),
        (restricted, lambda s: s.rmst_difference(tau=4)),
        (incidence, lambda s: s.incidence_difference(times=(2, 4))),
        (hazard_ratio, lambda s: s.cox("arm")),
        (odds, lambda s: s.discrete_hazard("arm", bins=(2, 4))),
    ],
)
def test_errors_of_few_clusters_are_the_jackknife_of_the_rows(estimate: object, table: object) -> None:
    data = spells(6)
    whole, variance = without_each(data, estimate)
    found = table(front(data))
    frame = found.to_frame().iloc[: len(whole)]
    np.testing.assert_allclose(frame["estimate"], whole)
    np.testing.assert_allclose(frame["std_error"], np.sqrt(variance), rtol=1e-6)
    half = frame["ci_high"] - frame["estimate"]
    np.testing.assert_allclose(half, stats.t(5).ppf(0.975) * frame["std_error"])
    assert found.n_clusters is not None
    assert set(found.n_clusters) == {6}
    assert "CV3" in str(found.meta["variance"])


@pytest.mark.parametrize("clusters", [1, 2])
def test_fewer_than_three_clusters_are_refused(clusters: int) -> None:
    s = front(spells(clusters, each=60))
    for ask in (
        lambda: s.survival_difference(times=(2,)),
        s.kaplan_meier,
        lambda: s.cox("arm"),
        lambda: s.discrete_hazard("arm"),
        lambda: s.rmst_difference(tau=4),
        s.cumulative_incidence,
        s.logrank,
    ):
        with pytest.raises(DesignError, match=rf"{clusters} cluster"):
            ask()


def test_an_arm_in_one_cluster_has_no_standard_error() -> None:
    """Left out, that cluster leaves nobody to compare with: nothing is guessed."""
    data = spells(6)
    data = data[(data["arm"] == "control") | (data["region"] == 0)]
    with pytest.raises(DesignError, match="cluster"):
        front(data[data["arm"] == "trained"]).kaplan_meier()
    frame = front(data).survival_difference(times=(2,)).to_frame()
    assert frame["std_error"].isna().all()
    curves = front(data).kaplan_meier(times=(2,)).to_frame().set_index("level")
    assert np.isnan(curves.loc["trained", "std_error"])
    assert curves.loc["control", "std_error"] > 0


def test_clusters_are_counted_in_the_groups_that_an_estimate_uses() -> None:
    data = spells(60, each=24)
    data["state"] = np.where(data["region"] < 4, "small", "large")
    both = rte.Spells(data, **{**NAMES, "by": ("arm", "state")})
    found = both.survival_difference(times=(2,))
    assert dict(zip(found.frame["level"], found.n_clusters, strict=True)) == {"large": 56, "small": 4}
    small = rte.Spells.from_table(both.table.subset(state="small")).survival_difference(times=(2,))
    assert set(small.n_clusters) == {4}
    alone = rte.Spells(data[data["state"] == "small"], **NAMES).survival_difference(times=(2,))
    for one in (found.frame[found.frame["level"] == "small"], small.frame):
        np.testing.assert_allclose(one["std_error"], alone.frame["std_error"])
        np.testing.assert_allclose(one["ci_low"], alone.frame["ci_low"])
    pooled = rte.Spells.from_table(both.table.collapse("state")).survival_difference(times=(2,))
    assert set(pooled.n_clusters) == {60}


def test_tables_keep_their_clusters_when_added_and_written(tmp_path: Path) -> None:
    data = spells(8)
    whole = front(data).table
    parts = [front(data[data["region"] % 2 == side]).table for side in (0, 1)]
    whole.to_parquet(tmp_path / "table.parquet")
    for table in (parts[0] + parts[1], LifeTable.read_parquet(tmp_path / "table.parquet")):
        again = rte.Spells.from_table(table).survival_difference(times=(2,))
        expected = front(data).survival_difference(times=(2,))
        np.testing.assert_allclose(again.frame["std_error"], expected.frame["std_error"])
        assert set(again.n_clusters) == {8}


def test_many_clusters_keep_the_sandwich_with_t() -> None:
    data = spells(80, each=6)
    found = front(data).cox("arm")
    frame = found.to_frame()
    assert set(found.n_clusters) == {80}
    assert str(found.meta["variance"]).startswith("sandwich")
    np.testing.assert_allclose(frame["ci_high"] - frame["estimate"], stats.t(79).ppf(0.975) * frame["std_error"])


@pytest.mark.slow
def test_the_log_rank_test_of_few_clusters_is_an_f_test() -> None:
    """Regions drawn anew, one hazard per region and arm, no effect: rejected in one of twenty."""
    rejected, draws = 0, 80
    for seed in range(draws):
        test = front(spells(6, each=40, seed=seed)).logrank()
        assert test.df_denominator == 5
        rejected += test.p_value < 0.05
    assert rejected / draws <= 0.125


def test_an_arm_in_one_cluster_is_refused_and_the_difference_says_why() -> None:
    data = spells(5).assign(arm=lambda rows: np.where(rows["region"] == 0, "trained", "control"))
    with pytest.raises(DesignError, match="without 1 of the 5 clusters"):
        front(data).cox("arm")
    difference = front(data).survival_difference(times=(2,))
    assert difference.frame["std_error"].isna().all()
    assert any("trained: 1 cluster(s)" in note for note in difference.meta["notes"])


def test_clusters_of_unknown_level_do_not_count_in_a_test() -> None:
    data = spells(12)
    known = data[data["region"] < 8]
    apart = data.assign(arm=data["arm"].where(data["region"] < 8))
    assert front(apart).logrank().p_value == pytest.approx(front(known).logrank().p_value, rel=1e-12)


def test_clusters_without_a_spell_that_long_do_not_count() -> None:
    data = spells(12)
    data["quarters"] = data["quarters"].where(data["region"] < 9, 1.0)
    long = front(data[data["region"] < 9]).conditional_survival(2, times=(4,))
    given = front(data).conditional_survival(2, times=(4,))
    assert given.meta["n_clusters"] == 9
    pd.testing.assert_frame_equal(given.frame, long.frame)


def test_merged_durations_of_few_large_clusters_have_no_sandwich_instead() -> None:
    table = front(spells(6, each=200)).table.coarsen(10)
    with pytest.raises(DesignError, match="estimate before coarsen"):
        rte.Spells.from_table(table).survival_difference(times=(table.grid[-1],))
