"""Two-way fixed effects from moments: against regressions on rows, by simulation, and where they must refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datasets
import retrain_eval as rte
from did_cases import MOMENTS, sandwich, staggered
from retrain_eval.common.errors import DesignError, InputError


def rows_regression(data: pd.DataFrame, names: list[str], cluster: str, weights: str | None) -> tuple[Any, Any]:
    """Coefficients and CR0 covariance with pyfixest on rows."""
    import pyfixest as pf

    ssc = pf.ssc(k_adj=False, G_adj=False, k_fixef="none")
    fit = pf.feols(f"y ~ {' + '.join(names)} | id + t", data, vcov={"CRV1": cluster}, weights=weights, ssc=ssc)
    order = [list(fit._coefnames).index(name) for name in names]
    return np.asarray(fit._beta_hat)[order], np.asarray(fit._vcov)[np.ix_(order, order)]


def factor(data: pd.DataFrame, n_regressors: int, cluster: str) -> float:
    """G/(G−1) · (N−1)/(N−K), period effects counted, unit effects not."""
    groups, n, k = data[cluster].nunique(), len(data), n_regressors + data["t"].nunique()
    return groups / (groups - 1) * (n - 1) / (n - k)


COUNTIES = datasets.mpdta().rename(
    columns={"countyreal": "id", "year": "t", "first_treat": "g", "lemp": "y"}
)  # 500 counties, five years
PANELS = {
    "counties": COUNTIES.assign(w=COUNTIES["lpop"].rank() / 1000 + 0.5, school=COUNTIES["id"] // 100),
    "simulated": staggered(np.random.default_rng(1)),
}


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("cluster", [None, "school"])
@pytest.mark.parametrize("panel", PANELS)
def test_static_and_event_study_equal_rows(panel: str, cluster: str | None, weights: str | None) -> None:
    """pyfixest on rows, to 1e-8, standard errors under the one small-sample factor."""
    data = PANELS[panel].copy()
    moments = sandwich(rte.outcome_moments(data, **MOMENTS, weights=weights, cluster=cluster))
    by = cluster or "id"
    data["d"] = ((data["g"] > 0) & (data["t"] >= data["g"])).astype(float)
    beta, vcov = rows_regression(data, ["d"], by, weights)
    static = moments.twfe()
    assert static.frame["estimate"].item() == pytest.approx(beta[0], abs=1e-9)
    assert static.vcov[0, 0] == pytest.approx(vcov[0, 0] * factor(data, 1, by), rel=1e-8)

    low, high = -2, 2
    event = np.where(data["g"] > 0, np.clip(data["t"] - data["g"], low, high), -1)
    keys = [e for e in range(low, high + 1) if e != -1]
    for j, e in enumerate(keys):
        data[f"d{j}"] = (event == e).astype(float)
    beta, vcov = rows_regression(data, [f"d{j}" for j in range(len(keys))], by, weights)
    table = moments.twfe((low, high))
    place = [list(table.frame["event_time"][:-1]).index(e) for e in keys]
    np.testing.assert_allclose(table.frame["estimate"].to_numpy()[place], beta, atol=1e-9)
    expected = vcov * factor(data, len(keys), by)
    error = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(table.frame["std_error"].to_numpy()[place], error, rtol=1e-8)
    scale = np.outer(error, error)
    np.testing.assert_allclose(table.vcov[np.ix_(place, place)] / scale, expected / scale, atol=1e-8)
    overall = [j for j, e in enumerate(keys) if e >= 0]
    assert table.frame["estimate"].iloc[-1] == pytest.approx(beta[overall].mean(), abs=1e-9)
    assert table.frame.set_index("event_time").loc[-1, "estimate"] == 0
    plain = moments.twfe(small_sample=False)
    assert plain.vcov[0, 0] * factor(data, 1, by) == pytest.approx(static.vcov[0, 0])


# ---- decomposition ---------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), never=st.booleans(), weighted=st.booleans())
@settings(max_examples=15, deadline=None)
def test_decompositions_add_up(seed: int, *, never: bool, weighted: bool) -> None:
    """Σ weight · comparison is the static estimate; Σ weight · ATT(g, t) is, where paths are parallel exactly."""
    data = staggered(np.random.default_rng(seed), never=never)
    moments = rte.outcome_moments(data, **MOMENTS, weights="w" if weighted else None)
    static = moments.twfe().frame["estimate"].item()
    parts = moments.bacon()
    assert (parts["weight"] > 0).all()
    assert parts["weight"].sum() == pytest.approx(1)
    assert (parts["weight"] * parts["estimate"]).sum() == pytest.approx(static, abs=1e-9)

    event = data["t"] - data["g"]
    effect = ((data["g"] > 0) & (event >= 0)) * (1 + event) * data["g"]
    exact = data.assign(y=data["id"] % 7 + 0.5 * data["t"] + effect)
    moments = rte.outcome_moments(exact, **MOMENTS, weights="w" if weighted else None)
    weights = moments.twfe_weights()
    assert weights["weight"].sum() == pytest.approx(1)
    truth = (1 + weights["event_time"]) * weights["cohort"]
    assert (weights["weight"] * truth).sum() == pytest.approx(moments.twfe().frame["estimate"].item(), abs=1e-9)


def test_two_by_two_comparisons_by_hand() -> None:
    """Every comparison is a difference of differences of plain means."""
    data = staggered(np.random.default_rng(3))
    mean = data.pivot_table(index="g", columns="t", values="y")
    parts = rte.outcome_moments(data, **MOMENTS).bacon().set_index(["kind", "cohort", "control_cohort"])["estimate"]
    change = mean[[4, 5]].mean(axis=1) - mean[[1, 2, 3]].mean(axis=1)
    assert parts["earlier vs later treated", 4, 6] == pytest.approx(change[4] - change[6])
    change = mean[[6]].mean(axis=1) - mean[[4, 5]].mean(axis=1)
    assert parts["later vs earlier treated", 6, 4] == pytest.approx(change[6] - change[4])
    change = mean[[6]].mean(axis=1) - mean[[1, 2, 3, 4, 5]].mean(axis=1)
    assert parts.loc["treated vs untreated"].loc[6].item() == pytest.approx(change[6] - change[0])
    assert len(parts) == 9


def test_negative_weights_are_shown() -> None:
    """Without never-treated units, late periods of early cohorts weigh negatively; the sign may be wrong."""
    cohort = np.repeat([2, 2, 2, 5, 5, 5], 6)
    data = pd.DataFrame({"id": np.repeat(np.arange(6), 6), "t": np.tile(np.arange(1, 7), 6), "g": cohort})
    event = data["t"] - data["g"]
    data["y"] = np.where(event >= 0, 1.0 + 3 * event, 0.0)
    moments = rte.outcome_moments(data, **MOMENTS)
    assert moments.twfe().frame["estimate"].item() < 0  # though every effect is positive
    weights = moments.twfe_weights()
    assert set(weights.loc[weights["weight"] < 0, "cohort"]) == {2}
    assert moments.twfe().meta["negative_weight"] == pytest.approx(weights["weight"].clip(upper=0).sum())


# ---- designs ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 1000), shift=st.floats(-1e4, 1e4))
@settings(max_examples=10, deadline=None)
def test_units_of_the_outcome_and_order_of_rows(seed: int, scale: float, shift: float) -> None:
    data = staggered(np.random.default_rng(seed))
    one = rte.outcome_moments(data, **MOMENTS).twfe((-3, 2))
    other = data.assign(y=scale * data["y"] + shift).sample(frac=1, random_state=seed)
    two = rte.outcome_moments(other, **MOMENTS).twfe((-3, 2))
    tolerance = {"rtol": 1e-7, "atol": 1e-9 * scale + 1e-11 * abs(shift)}
    np.testing.assert_allclose(two.frame["estimate"], scale * one.frame["estimate"], **tolerance)
    np.testing.assert_allclose(two.frame["std_error"], scale * one.frame["std_error"], **tolerance)


def test_a_missing_wave_shifts_nothing() -> None:
    """The reference is the last wave that exists before treatment, whatever its event time."""
    data = staggered(np.random.default_rng(4))
    data = data[(data["t"] != 2) & data["g"].isin([0, 3])]
    table = rte.outcome_moments(data, **MOMENTS).twfe((-2, 3)).frame
    assert list(table["event_time"][:-1]) == [-2, 0, 1, 2, 3]
    assert table["estimate"].iloc[0] == 0
    gap = data.pivot_table(index="g", columns="t", values="y").diff().loc[3]
    assert table["estimate"].iloc[1] == pytest.approx(gap[3] - gap[1])


@pytest.mark.parametrize(
    ("change", "call", "words"),
    [
        (lambda d: d.assign(g=0), {}, "no unit is first treated"),
        (lambda d: d.assign(g=1), {}, "cohort 1 is treated from the first period on"),
        (lambda d: d[d["g"] == 4], {}, "collinear with the other effects: treated"),
        (lambda d: d[d["g"] == 4], {"event_window": (-3, 2)}, "no unit is never treated"),
        (lambda d: d[d["id"] < 2], {}, "collinear|too few"),
        (lambda d: d[(d["g"] != 3) | (d["id"] == 0)], {"event_window": (-2, 3)}, "1 unit is seen at event time 3"),
        (lambda d: d[d["id"].isin([0, 6])], {}, "1 unit is treated, which gives no standard error"),
    ],
)
def test_designs_without_an_answer_are_refused(change: Any, call: dict[str, Any], words: str) -> None:
    data = change(staggered(np.random.default_rng(5)))
    with pytest.raises(DesignError, match=words):
        rte.outcome_moments(data, **MOMENTS).twfe(**call)


def test_windows_that_make_no_sense_are_refused() -> None:
    moments = rte.outcome_moments(staggered(np.random.default_rng(5)), **MOMENTS)
    for window in [(0, 3), (2, -2), (-4, -1)]:
        with pytest.raises(InputError, match="event window"):
            moments.twfe(window)
    with pytest.raises(InputError, match="anticipation"):
        moments.twfe((-3, 2), anticipation=-1)


def test_an_all_zero_outcome_gives_zero_without_a_standard_error() -> None:
    data = staggered(np.random.default_rng(5)).assign(y=0.0)
    table = rte.outcome_moments(data, **MOMENTS).twfe((-3, 2)).frame
    assert (table["estimate"].abs() < 1e-12).all()
    assert table["std_error"].isna().all()


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [None, "school"])
def test_intervals_cover_a_constant_effect(cluster: str | None) -> None:
    """500 draws with one effect for all: 95% intervals of the static estimate and of event time 1 cover 93 to 97%."""
    rng = np.random.default_rng(12)
    covered = np.zeros(2)
    for _ in range(500):
        data = staggered(rng, n=240, growth=0)
        data["y"] -= ((data["g"] == 4) & (data["t"] >= 4)) * 1.0  # cohort 4 doubles it
        if cluster:
            data["y"] += rng.normal(0, 1, 60)[data["school"]] * (data["t"] > 3)
        moments = rte.outcome_moments(data, **MOMENTS, cluster=cluster)
        static, event = moments.twfe().frame.iloc[0], moments.twfe((-5, 3)).frame.set_index("event_time").loc[1]
        covered += [row["ci_low"] <= 1 <= row["ci_high"] for row in (static, event)]
    assert ((covered / 500 >= 0.93) & (covered / 500 <= 0.97)).all(), covered / 500
