"""Kaplan–Meier and Nelson–Aalen curves against rows, identities and simulation; for R see `test_r_survival`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.effects.estimates import COLUMNS
from retrain_eval.estimators.survival.curves import kaplan_meier, nelson_aalen
from retrain_eval.estimators.survival.spells import Spells
from retrain_eval.tables.life_table.counting import life_table
from retrain_eval.tables.life_table.life_table import LifeTable
from survival_cases import NAMES, PROBABILITY, one, sandwich, spells

# ---- rows ----------------------------------------------------------------------------------------------------------


def by_rows(data: pd.DataFrame, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kaplan–Meier and Nelson–Aalen by the definition, spell by spell; returns durations, S and H."""
    times = np.unique(data["quarters"])
    survival, hazard, s, h = [], [], 1.0, 0.0
    for time in times:
        at_risk = weight[((data["entry"] < time) & (data["quarters"] >= time)).to_numpy()].sum()
        ended = weight[((data["quarters"] == time) & (data["cause"] != "0")).to_numpy()].sum()
        s, h = s * (1 - ended / at_risk), h + ended / at_risk
        survival.append(s)
        hazard.append(h)
    return times, np.array(survival), np.array(hazard)


@given(seed=st.integers(0, 10_000), truncated=st.booleans(), weighted=st.booleans())
@settings(max_examples=25, deadline=None)
def test_cells_equal_rows(seed: int, truncated: bool, weighted: bool) -> None:
    data = spells(seed=seed, truncated=truncated)
    weights = PROBABILITY if weighted else {}
    table = life_table(data, **NAMES, entry="entry", by="arm", **weights)
    for arm, rows in data.groupby("arm"):
        weight = rows["w"].to_numpy() if weighted else np.ones(len(rows))
        times, survival, hazard = by_rows(rows, weight)
        for curve, expected in ((kaplan_meier(table), survival), (nelson_aalen(table), hazard)):
            frame = curve.to_frame()
            frame = frame[frame["level"] == arm]
            np.testing.assert_array_equal(frame["time"].to_numpy(dtype=float), times)
            np.testing.assert_allclose(frame["estimate"], expected, rtol=0, atol=1e-12)


@given(seed=st.integers(0, 10_000), truncated=st.booleans(), clustered=st.booleans(), hazard=st.booleans())
@settings(max_examples=8, deadline=None)
def test_robust_covariance_is_that_of_the_rows_influence(
    seed: int, truncated: bool, clustered: bool, hazard: bool
) -> None:
    """The influence of a row is the derivative of the curve by its weight: here by central differences."""
    data = spells(40, seed, truncated)
    options = PROBABILITY | ({"cluster": "provider"} if clustered else {})
    with sandwich():
        curve = (nelson_aalen if hazard else kaplan_meier)(life_table(data, **NAMES, entry="entry", **options))
    weight, step = data["w"].to_numpy(), 1e-5
    influence = []
    for row in range(len(data)):
        shift = step * (np.arange(len(data)) == row)
        low, high = (by_rows(data, weight + sign * shift)[2 if hazard else 1] for sign in (-1, 1))
        influence.append(weight[row] * (high - low) / (2 * step))
    total = np.array(influence)
    if clustered:
        total = pd.DataFrame(total).groupby(data["provider"].to_numpy()).sum().to_numpy()
    np.testing.assert_allclose(curve.vcov, total.T @ total, rtol=0, atol=2e-8)


# ---- identities ----------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_greenwood_is_the_jackknife_without_weights_and_truncation(seed: int) -> None:
    data = spells(seed=seed).assign(w=1.0)
    plain = kaplan_meier(life_table(data, **NAMES, by="arm"))
    for robust in (PROBABILITY, {"cluster": "id"}):
        other = kaplan_meier(life_table(data, **NAMES, by="arm", **robust))
        np.testing.assert_allclose(other.vcov, plain.vcov, rtol=0, atol=1e-12)


@given(seed=st.integers(0, 10_000), truncated=st.booleans(), weighted=st.booleans())
@settings(max_examples=20, deadline=None)
def test_survival_falls_from_one_and_intervals_hold_it(seed: int, truncated: bool, weighted: bool) -> None:
    table = life_table(
        spells(seed=seed, truncated=truncated), **NAMES, entry="entry", by="arm", **(PROBABILITY if weighted else {})
    )
    for conf_type in ("log-log", "log", "plain"):
        curve = kaplan_meier(table, conf_type)
        frame = curve.to_frame()
        assert tuple(frame.columns) == COLUMNS
        assert frame["estimate"].between(0, 1).all()
        assert (frame.groupby("level")["estimate"].diff().dropna() <= 1e-15).all()
        known = frame.dropna(subset="ci_low")
        assert ((known["ci_low"] >= 0) & (known["ci_high"] <= 1)).all()
        assert ((known["ci_low"] <= known["estimate"]) & (known["estimate"] <= known["ci_high"])).all()
        assert frame["p_value"].isna().all()
        assert frame["n_control"].isna().all()
        assert np.linalg.eigvalsh(curve.vcov).min() > -1e-12
        arms = frame["level"].to_numpy()
        assert (curve.vcov[arms[:, None] != arms] == 0).all()


@given(seed=st.integers(0, 10_000), scale=st.floats(1e-6, 1e6))
@settings(max_examples=15, deadline=None)
def test_rescaled_probability_weights_change_nothing(seed: int, scale: float) -> None:
    data = spells(seed=seed)
    options = PROBABILITY | {"by": "arm", "cluster": "provider"}
    a, b = (kaplan_meier(life_table(d, **NAMES, **options)) for d in (data, data.assign(w=data["w"] * scale)))
    pd.testing.assert_frame_equal(a.frame, b.frame, rtol=1e-8)
    np.testing.assert_allclose(a.vcov, b.vcov, rtol=1e-8, atol=1e-14)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_frequency_weights_and_row_order(seed: int) -> None:
    data = spells(seed=seed)
    repeated = data.loc[data.index.repeat(data["copies"])].assign(id=lambda f: np.arange(len(f)))
    weighted = kaplan_meier(life_table(data, **NAMES, by="arm", weights="copies", weight_type="frequency"))
    shuffled = repeated.sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(weighted.frame, kaplan_meier(life_table(shuffled, **NAMES, by="arm")).frame)


def test_a_published_table_gives_the_same_curves(tmp_path: Path) -> None:
    rows = Spells(spells(), **NAMES, by=("arm",), **PROBABILITY)
    rows.table.to_parquet(tmp_path / "t.parquet")
    read = Spells.from_table(LifeTable.read_parquet(tmp_path / "t.parquet"))
    a, b = rows.kaplan_meier(), read.kaplan_meier()
    pd.testing.assert_frame_equal(a.frame, b.frame)
    np.testing.assert_array_equal(a.vcov, b.vcov)
    with pytest.raises(InputError, match="not clustered"):
        read.kaplan_meier(cluster="provider")


def test_times_asked_for_are_steps_of_the_whole_curve() -> None:
    table = one([1, 2, 2, 5, 3, 4], [1, 1, 0, 1, 1, 0], arm=list("aaaabb"))
    frame = kaplan_meier(table, times=(4.5, 0.5, 2)).to_frame()
    assert frame[["level", "time"]].to_numpy().tolist() == [["a", 0.5], ["a", 2.0], ["a", 4.5], ["b", 0.5], ["b", 2.0]]
    assert frame["estimate"].tolist() == [1.0, 0.5, 0.5, 1.0, 1.0]
    assert frame["n_treated"].tolist() == [4, 3, 1, 2, 2]
    with pytest.raises(InputError, match="no group is observed"):
        kaplan_meier(table, times=(9,))
    with pytest.raises(InputError, match="finite and above zero"):
        kaplan_meier(table, times=(0, 1))


def test_groups_are_combinations_of_levels() -> None:
    data = spells().assign(age=lambda f: np.where(f["id"] % 2, "25–54 岁", "<25"))
    frame = kaplan_meier(life_table(data, **NAMES, by=("arm", "age"))).to_frame()
    assert set(frame["subgroup"]) == {"arm × age"}
    assert set(frame["level"]) == {f"{arm} × {age}" for arm in ("trained", "control") for age in ("25–54 岁", "<25")}
    whole = kaplan_meier(life_table(data, **NAMES)).to_frame()
    assert whole["subgroup"].isna().all()
    assert whole["level"].isna().all()
    assert set(whole["outcome"]) == {"quarters"}


# ---- hard inputs ---------------------------------------------------------------------------------------------------


def test_all_censored_stays_at_one_with_no_spread() -> None:
    frame = kaplan_meier(one([1, 2, 3], [0, None, 0])).to_frame()
    assert frame["estimate"].tolist() == [1.0, 1.0, 1.0]
    assert frame[["std_error", "ci_low", "ci_high"]].isna().all(axis=None)


def test_everybody_ends_at_once() -> None:
    for weights in (np.ones(3), np.array([0.1, 0.2, 0.7])):
        data = pd.DataFrame({"id": range(3), "quarters": 4, "cause": "job", "w": weights})
        curve = kaplan_meier(life_table(data, **NAMES, **PROBABILITY))
        assert curve.frame["estimate"].item() == 0.0
        assert np.isnan(curve.frame["std_error"].item())
        assert curve.vcov.item() == 0.0


def test_the_last_of_many_odd_weights_brings_the_curve_to_zero() -> None:
    rng = np.random.default_rng(3)
    data = pd.DataFrame(
        {"id": range(500), "quarters": rng.integers(1, 40, 500), "cause": 1, "w": rng.lognormal(0, 4, 500)}
    )
    assert kaplan_meier(life_table(data, **NAMES, **PROBABILITY)).frame["estimate"].iloc[-1] == 0.0


def test_one_person() -> None:
    assert kaplan_meier(one([2.5], ["job"])).frame["estimate"].tolist() == [0.0]
    assert nelson_aalen(one([2.5], ["job"])).frame["estimate"].tolist() == [1.0]


def test_several_spells_of_a_person_need_a_cluster() -> None:
    data = spells().assign(person=lambda f: f["id"] // 2)
    rows = Spells(data, id="person", by=("arm",), censored=())
    with pytest.raises(DesignError, match="60 spells of 30 people"):
        rows.kaplan_meier()
    curve = rows.kaplan_meier(cluster="person")
    assert curve.meta["variance"] == "cluster jackknife (CV3)"  # of thirty
    # a person with a spell in both arms ties the two curves together
    arms = curve.frame["level"].to_numpy()
    assert (curve.vcov[arms[:, None] != arms] != 0).any()


def test_unknown_interval_and_too_many_rows_are_refused() -> None:
    with pytest.raises(InputError, match="unknown conf_type 'loglog'"):
        kaplan_meier(one([1, 2], [1, 1]), "loglog")
    with pytest.raises(InputError, match="unknown conf_type 'log-log'"):
        nelson_aalen(one([1, 2], [1, 1]), "log-log")
    data = pd.DataFrame({"id": range(6_000), "quarters": np.arange(1, 6_001) / 7, "cause": 1})
    table = life_table(data, **NAMES)
    with pytest.raises(InputError, match="6,000 rows"):
        kaplan_meier(table)
    assert kaplan_meier(table, times=(100, 400)).frame["estimate"].round(2).tolist() == [0.88, 0.53]


@pytest.mark.parametrize("weighted", [False, True])
def test_intervals_cover_the_truth(weighted: bool) -> None:
    """400 samples of 400: 95% intervals at three durations cover 0.8**t; ±3 simulation errors is ±0.033."""
    rng = np.random.default_rng(11)
    n = 400 * 400
    ended, left = rng.geometric(0.2, n), rng.integers(2, 12, n)
    columns = {"quarters": np.minimum(ended, left), "cause": (ended <= left).astype(int), "w": rng.uniform(0.2, 3, n)}
    data = pd.DataFrame({"id": np.arange(n), "sample": np.arange(n) % 400, **columns})
    table = life_table(data, **NAMES, by="sample", **(PROBABILITY if weighted else {}))
    frame = kaplan_meier(table, times=(2, 5, 8)).frame
    truth = 0.8 ** frame["time"].astype(float)
    covered = ((frame["ci_low"] <= truth) & (truth <= frame["ci_high"])).groupby(frame["time"]).mean()
    assert (np.abs(covered - 0.95) < 0.033).all(), covered
