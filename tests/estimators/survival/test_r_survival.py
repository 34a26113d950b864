"""Every figure of R survival 3.5-3 and cmprsk 2.2.11 that is of curves and tests, one test per key.

The figures stand in ``tests/oracles/survival``. Keys of models are in ``COX_KEYS`` and tested with the models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import stats

from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.survival.curves import INTERVALS, with_scaled_interval
from retrain_eval.estimators.survival.grouptest import GroupTest
from retrain_eval.estimators.survival.risk import risk_sets
from retrain_eval.estimators.survival.spells import Spells
from survival_cases import LUNG, PROBABILITY, lung, mgus2, oracle, progression

TOLERANCE = 1e-10
COLUMN = {"surv": "estimate", "se": "std_error", "lo": "ci_low", "hi": "ci_high"}

# Cox models, frailty, Fine–Gray and the complementary log-log hazard
COX_KEYS = ("rossi.", "lt.cox.", "crr", "finegray")


@cache
def lung_curve(case: str, conf_type: str) -> EffectTable:
    weights = {} if case == "km" else PROBABILITY
    cluster = "cl" if case.endswith("cl") else None
    return Spells(lung(), **LUNG, **weights).kaplan_meier(conf_type, cluster, times=(100, 300, 500, 700))


@cache
def age_curve(case: str) -> EffectTable:
    weights = {} if case == "km" else PROBABILITY
    spells = Spells(mgus2(), "id", entry="age", duration="exit_age", cause="death", by=(), **weights)
    return spells.kaplan_meier(times=(65, 75, 85, 92))


@cache
def lung_by_sex(weighted: bool = False) -> Spells:
    return Spells(lung(), **(LUNG | {"by": "sex"}), **(PROBABILITY if weighted else {}))


@cache
def incidence(scale: str, case: str) -> EffectTable:
    spells = Spells(
        progression(), "id", duration=scale, cause="ev", censored=(), by=(), **(PROBABILITY if "w" in case else {})
    )
    times = {"etime": (30, 120, 240, 330), "q": (10, 40, 80, 110)}[scale]
    # the figures called clustered are clustered by the person, who has one spell: they equal the others
    cluster = "id" if case == "ajw.cl" else None
    return spells.cumulative_incidence(
        times=times, cluster=cluster, variance="aalen" if case == "cuminc" else "jackknife"
    )


def by_normal(table: EffectTable) -> EffectTable:
    """R's interval of a clustered curve: of the normal distribution, where ours is of t."""
    assert table.df[0] == 49
    return with_scaled_interval(replace(table, meta={**table.meta, "df": None}), INTERVALS["log-log"])


def curve_figure(case: Callable[[], EffectTable], quantity: str) -> Callable[[], object]:
    return lambda: case().frame[COLUMN[quantity]]


def incidence_figure(scale: str, case: str, quantity: str) -> Callable[[], object]:
    def figure() -> object:
        frame = incidence(scale, case).frame
        own = frame[frame["estimand"] == f"CIF({quantity[-1]})"]
        return own["estimate" if quantity.startswith("cif") else "std_error"]

    return figure


def model_weighted(quantity: str) -> object:
    """R's variance of weighted rows taken for repeated ones: that of 10 w repeated rows, times 10."""
    spells = Spells(lung(), **LUNG, weights="tenths", weight_type="frequency")
    frame = spells.kaplan_meier(times=(100, 300, 500, 700)).frame
    survival, error = frame["estimate"].to_numpy(), np.sqrt(10) * frame["std_error"].to_numpy()
    if quantity in ("surv", "se"):
        return survival if quantity == "surv" else error
    sign = 1 if quantity == "hi" else -1
    half = sign * stats.norm.ppf(0.975) * error / (survival * np.log(survival))
    return np.exp(-np.exp(np.log(-np.log(survival)) + half))


def restricted_mean(row: int) -> object:
    return lung_by_sex().rmst(tau=365).frame.loc[row, ["estimate", "std_error"]].to_numpy(dtype=float)


def score_test(spells: Spells, test: GroupTest) -> float:
    """The model-based score test of a Cox model with Breslow's ties: our deviation over Σ d p (1 − p)."""
    one, other = risk_sets(spells.table, np.unique(spells.table.cells["duration"]))
    ended, at_risk = one.events + other.events, one.weight + other.weight
    some = ended > 0
    share = one.weight[some] / at_risk[some]
    deviation = (test.groups["observed"] - test.groups["expected"])[0]
    return deviation**2 / (ended[some] * share * (1 - share)).sum()


def truncated_score_test() -> float:
    spells = Spells(mgus2(), "id", entry="age", duration="exit_age", cause="death", by="sex")
    return score_test(spells, spells.logrank())


def gray_tests(scale: str) -> object:
    spells = Spells(progression(), "id", duration=scale, cause="ev", censored=(), by="sex")
    return [spells.gray("1").chi2, spells.gray("2").chi2]


FIGURES: dict[str, Callable[[], object]] = {
    "lung.median": lambda: lung_by_sex().from_table(lung_by_sex().table.collapse("sex")).quantile().frame["estimate"],
    "lung.rmst.1": lambda: restricted_mean(0),
    "lung.rmst.2": lambda: restricted_mean(1),
    "lung.logrank": lambda: lung_by_sex().logrank().chi2,
    "lung.peto": lambda: lung_by_sex().logrank(rho=1).chi2,
    "lung.wlogrank.robustscore": lambda: lung_by_sex(weighted=True).logrank().chi2,
    "lung.wlogrank.modelscore": lambda: score_test(lung_by_sex(True), lung_by_sex(True).logrank()),
    "lt.nrisk": lambda: age_curve("km").frame["n_treated"],
    "lt.logrank.scoretest": truncated_score_test,
}
for q in COLUMN:
    FIGURES[f"lung.km.loglog.{q}"] = curve_figure(lambda: lung_curve("km", "log-log"), q)
    FIGURES[f"lung.km.plain.{q}"] = curve_figure(lambda: lung_curve("km", "plain"), q)
    FIGURES[f"lung.kmw.loglog.{q}"] = lambda q=q: model_weighted(q)
    FIGURES[f"lung.kmw.rob.loglog.{q}"] = curve_figure(lambda: lung_curve("kmw", "log-log"), q)
    FIGURES[f"lung.kmw.cl.loglog.{q}"] = curve_figure(lambda: by_normal(lung_curve("kmw.cl", "log-log")), q)
    FIGURES[f"lt.km.{q}"] = curve_figure(lambda: age_curve("km"), q)
    FIGURES[f"lt.kmw.rob.{q}"] = curve_figure(lambda: age_curve("kmw"), q)
for scale in ("etime", "q"):
    FIGURES[f"mgus2.{scale}.gray"] = lambda scale=scale: gray_tests(scale)
    for case in ("aj", "ajw", "ajw.cl", "cuminc"):
        for q in ("cif1", "se1") if case == "cuminc" else ("cif1", "cif2", "se1", "se2"):
            FIGURES[f"mgus2.{scale}.{case}.{q}"] = incidence_figure(scale, case, q)


@pytest.mark.oracle
@pytest.mark.parametrize("key", FIGURES)
def test_equals_r(key: str) -> None:
    """To 1e-10; the curves agree to 1e-14."""
    found = np.atleast_1d(np.asarray(FIGURES[key](), dtype=float))
    np.testing.assert_allclose(found, oracle()[key], rtol=0, atol=TOLERANCE)


def test_no_key_is_left_out() -> None:
    models = {key for key in oracle().index if any(name in key for name in COX_KEYS)}
    assert set(FIGURES) | models == set(oracle().index)
    assert not set(FIGURES) & models
