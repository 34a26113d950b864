"""Lee bounds from bands: by hand, against an implementation on single people, by simulation, and where refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.arrays import Bools, Floats
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.inference.lee_bounds import (
    AMONG,
    COARSER,
    EMPLOYED,
    ESTIMANDS,
    GAP,
    INTERVAL,
    LOWER,
    TRIMMED,
    UPPER,
    lee_bounds,
)
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.estimators.outcome_moments import outcome_moments

EDGES = tuple(range(5000, 12001, 50))


def banded(
    treated: Bools,
    employed: Bools,
    log: Floats,
    *,
    edges: tuple[int, ...] = EDGES,
    weight: Floats | None = None,
    pair: Floats | None = None,
) -> OutcomeMoments:
    """Sum people to the table that the bounds are made from."""
    n, size = len(treated), len(edges)
    rows = pd.DataFrame({"id": np.repeat(np.arange(n), size), "edge": np.tile(edges, n)})
    below = np.minimum(log, edges[-1] / 1000)[:, None] <= np.array(edges) / 1000
    rows["y"] = (employed[:, None] & below).ravel().astype(float)
    rows["cohort"] = np.repeat(np.where(treated, 1, 0), size)
    options = {}
    for name, values in (("weights", weight), ("cluster", pair)):
        if values is not None:
            rows[name] = np.repeat(values, size)
            options[name] = name
    return outcome_moments(rows, unit="id", time="edge", cohort="cohort", outcome="y", **options)  # type: ignore[arg-type]


def people(seed: int, n: int = 4_000, more: float = 0.1) -> tuple[Bools, Bools, Floats]:
    rng = np.random.default_rng(seed)
    treated = np.arange(n) % 2 == 0
    log = rng.normal(8.5 + 0.1 * treated, 0.6)
    return treated, rng.random(n) < 0.6 + more * treated + 0.1 * (log > 8.5), log


def trimmed(treated: Bools, employed: Bools, log: Floats, weight: Floats) -> np.ndarray:
    """Return the estimates from single people, who are sorted, and of whom the marginal one counts in part."""
    arms = []
    for arm in (treated, ~treated):
        w, y = weight[arm & employed], log[arm & employed]
        order = np.argsort(y)
        arms.append((w.sum() / weight[arm].sum(), y[order], w[order] / weight[arm].sum()))
    (p1, y1, w1), (p0, y0, w0) = arms
    cut, (y, w, mass) = (1, (y1, w1, p0)) if p1 >= p0 else (0, (y0, w0, p1))

    def kept(y: Floats, w: Floats) -> float:
        part = np.clip(mass - (np.cumsum(w) - w), 0, w)
        return float((part * y).sum() / mass)

    means = [float((w * y).sum() / w.sum()) for _, y, w in arms]
    low, high = kept(y, w), kept(y[::-1], w[::-1])
    ends = (low - means[1], high - means[1]) if cut else (means[0] - high, means[0] - low)
    return np.array([p1, p0, p1 - p0, 1 - mass / max(p1, p0), means[0] - means[1], *ends])


def proposition_3(treated: Bools, employed: Bools, log: Floats, *, upper: bool) -> float:
    """Return the standard error of a bound by Lee's formula, where the treated are trimmed."""
    n, arm = len(log), treated & employed
    share = treated.mean()
    p1, p0 = employed[treated].mean(), employed[~treated].mean()
    p = 1 - p0 / p1
    y = log[arm]
    at = np.quantile(y, p if upper else 1 - p)
    kept = y[y >= at] if upper else y[y <= at]
    joint = arm.mean()
    v_p = (1 - p) ** 2 * ((1 - p0 / (1 - p)) / (share * p0 / (1 - p)) + (1 - p0) / ((1 - share) * p0))
    v = kept.var() / (joint * (1 - p)) + (at - kept.mean()) ** 2 * p / (joint * (1 - p))
    v += ((at - kept.mean()) / (1 - p)) ** 2 * v_p
    v_control = log[~treated & employed].var() / (~treated & employed).mean()
    return float(np.sqrt((v + v_control) / n))


# ---- by hand -----------------------------------------------------------------------------------------------------


def test_bounds_by_hand() -> None:
    """Ten of ten treated work, at 6.05, 6.15 … 6.95; eight of ten controls, all at 6.45: a fifth is trimmed.

    The lowest eight average 6.40, the highest eight 6.60; the controls in a band from 6.4 to 6.5 average 6.45.
    """
    treated = np.repeat([True, False], 10)
    log = np.r_[6.05 + 0.1 * np.arange(10), np.full(10, 6.45)]
    employed = np.r_[np.ones(10, bool), np.ones(8, bool), np.zeros(2, bool)]
    found = lee_bounds(banded(treated, employed, log, edges=tuple(range(5900, 7301, 100)))).to_frame()
    of = found.set_index("estimand")["estimate"]
    expected = {EMPLOYED: 1.0, GAP: 0.2, TRIMMED: 0.2, AMONG: 6.5 - 6.45, LOWER: 6.4 - 6.45, UPPER: 6.6 - 6.45}
    assert of[list(expected)].to_dict() == pytest.approx(expected)


def test_where_as_many_are_employed_there_is_nothing_to_trim() -> None:
    treated, _, log = people(1, 400)
    of = lee_bounds(banded(treated, np.ones(400, bool), log)).to_frame().set_index("estimand")
    assert of.loc[TRIMMED, "estimate"] == 0
    assert of.loc[LOWER, "estimate"] == pytest.approx(of.loc[UPPER, "estimate"])
    assert of.loc[LOWER, "estimate"] == pytest.approx(log[treated].mean() - log[~treated].mean(), abs=0.001)
    assert of.loc[INTERVAL, "ci_low"] == pytest.approx(of.loc[LOWER, "ci_low"], abs=1e-6)


# ---- against single people ---------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), more=st.sampled_from([0.1, -0.2, 0.02]))
@settings(max_examples=8, deadline=None)
def test_bands_give_what_single_people_give(seed: int, more: float) -> None:
    """Within a hundredth of the width of a band times ten; the table itself says by how much it may be off."""
    treated, employed, log = people(seed, 2_000, more)
    found = lee_bounds(banded(treated, employed, log)).to_frame().set_index("estimand")["estimate"]
    expected = trimmed(treated, employed, log, np.ones(len(log)))
    np.testing.assert_allclose(found[list(ESTIMANDS[:4])], expected[:4], atol=1e-12)
    np.testing.assert_allclose(found[list(ESTIMANDS[4:])], expected[4:], atol=0.005)  # a tenth of the width of .05
    assert np.abs(found[[LOWER, UPPER]] - expected[5:]).max() < found[COARSER] + 0.003


def test_errors_are_those_of_proposition_3() -> None:
    treated, employed, log = people(3, 8_000)
    found = lee_bounds(banded(treated, employed, log)).to_frame().set_index("estimand")["std_error"]
    for name, upper in ((LOWER, False), (UPPER, True)):
        assert found[name] == pytest.approx(proposition_3(treated, employed, log, upper=upper), rel=0.01)


def test_errors_of_weighted_pairs_are_those_of_a_jackknife_of_single_people() -> None:
    rng = np.random.default_rng(4)
    pair = np.arange(600) // 2
    shared = rng.normal(0, 0.4, 300)[pair]
    treated = np.arange(600) % 2 == 0
    weight = np.where(treated, 1.0, rng.uniform(0.5, 2.0, 600))
    log = 8.5 + 0.1 * treated + shared + rng.normal(0, 0.4, 600)
    employed = rng.random(600) < 0.65 + 0.15 * treated + 0.2 * shared
    found = lee_bounds(banded(treated, employed, log, weight=weight, pair=pair.astype(float))).to_frame()
    whole = trimmed(treated, employed, log, weight)
    without = np.array([
        trimmed(*(values[pair != g] for values in (treated, employed, log, weight))) for g in range(300)
    ])  # fmt: skip
    expected = np.sqrt(299 / 300 * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    np.testing.assert_allclose(found["estimate"][:7].to_numpy(float), whole, atol=0.005)
    np.testing.assert_allclose(found["std_error"][:7].to_numpy(float), expected, rtol=0.06)


def test_few_clusters_have_the_jackknife() -> None:
    rng = np.random.default_rng(5)
    treated, employed, log = people(5, 1_200)
    school = (np.arange(1_200) // 2 % 20).astype(float)
    log = log + rng.normal(0, 0.2, 20)[school.astype(int)]
    found = lee_bounds(banded(treated, employed, log, pair=school))
    assert found.meta["variance"] == "CV3"
    without = np.array([
        trimmed(*(v[school != g] for v in (treated, employed, log, np.ones(1_200)))) for g in range(20)
    ])  # fmt: skip
    whole = trimmed(treated, employed, log, np.ones(1_200))
    expected = np.sqrt(19 / 20 * ((without - whole) ** 2).sum(axis=0))
    np.testing.assert_allclose(found.frame["std_error"][:7].to_numpy(float), expected, rtol=0.05)


def test_added_tables_give_the_bounds_of_all_people() -> None:
    treated, employed, log = people(6, 2_000)
    part = np.arange(2_000) < 900
    parts = [banded(treated[m], employed[m], log[m]) for m in (part, ~part)]
    one, other = (lee_bounds(m).to_frame() for m in (parts[0] + parts[1], banded(treated, employed, log)))
    pd.testing.assert_frame_equal(one, other, rtol=1e-9, atol=1e-9)


# ---- refusals ----------------------------------------------------------------------------------------------------


def test_earnings_outside_the_bands_are_not_guessed() -> None:
    treated, employed, log = people(7, 400)
    with pytest.raises(DesignError, match="set `lowest` and `highest`") as raised:
        lee_bounds(banded(treated, employed, log, edges=tuple(range(8000, 9001, 100))))
    assert "bands" in raised.value.public


def test_without_pay_there_are_no_bounds() -> None:
    treated, employed, log = people(8, 400)
    with pytest.raises(DesignError, match="fewer than 3 controls are employed"):
        lee_bounds(banded(treated, employed & treated, log))


def test_other_moments_are_refused() -> None:
    rows = pd.DataFrame({"id": [1, 2, 3, 4], "t": 1, "g": [1, 1, 0, 0], "y": [1.0, 0.0, 1.0, 0.0]})
    with pytest.raises(InputError, match="no edges of bands"):
        lee_bounds(outcome_moments(rows, unit="id", time="t", cohort="g", outcome="y"))


# ---- simulation --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_coverage_at_the_level_of_tables() -> None:
    """As ``benchmarks/questions_wages.py``, with fewer draws: 95% within what so many draws allow."""
    sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
    try:
        import questions_wages as benchmark
    finally:
        sys.path.pop(0)
    found = benchmark.lee(150, 500, benchmark.World(0.1, 0.1), seed=11)
    assert min(found["lower"], found["upper"]) > 0.9
    assert found["effect"] > 0.93
    none = benchmark.lee(150, 500, benchmark.World(0.0, -0.1), seed=12)
    assert none["excludes 0"] <= 0.07
    ratio = benchmark.intensity(400, 500, (0.8, 0.5, 0.4, 0.2), seed=13)
    assert 0.92 < ratio["effect"] < 0.98
    assert benchmark.intensity(400, 500, benchmark.CHANCES, seed=14)["excludes 0"] <= 0.08
