"""On synthetic agencies the agency study finds the truth, and static matching does not: the benchmark, smaller."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import numpy as np
import pytest

import retrain_eval as rte
from places import ROOT
from retrain_eval.plan.study_file import read_study
from retrain_eval.questions.designs.waiting import WaitingCohort
from retrain_eval.simulation import Parameters

BENCHMARK = ROOT / "benchmarks" / "riskset_vs_static.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("riskset_vs_static", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_who_never_finds_a_job_nor_trains_may_be_a_control(benchmark: ModuleType) -> None:
    """Whoever is left out by what came later conditions on the future: without them controls are the luckier ones."""
    agency = rte.simulate(people=1_000, seed=2, parameters=Parameters(finding_displaced=0.05))
    study = read_study(benchmark.AGENCY)
    rte.build_panel(agency.con, **study.panel_options())
    without = {"quality": "not asked"}
    cohort = WaitingCohort(agency.con, study, "waiting", study.designs["waiting"], lambda _: None, None, without)
    rows = cohort.people.df()
    waited = rows[rows["complete"] & rows["back_at_work"].isna() & rows["training"].isna()]
    assert len(waited) >= 10
    assert waited["eligible"].all()
    assert rows.loc[rows["complete"] & (rows["training"] != rows["back_at_work"]), "eligible"].all()
    sample = cohort.sample(cohort.spec())
    assert set(waited["person_id"]) & set(sample.pairs.df()["control_id"])


@pytest.mark.slow
def test_risk_sets_find_the_truth_and_static_matching_does_not(benchmark: ModuleType) -> None:
    """With 14 agencies, at least 11 of the 95% intervals cover in all but four of 1,000 runs; the benchmark has 40.

    Controls who must have found a job some day would earn some 80 dollars more.
    """
    runs = [benchmark.estimates(20_000, seed) for seed in range(1001, 1015)]
    off = {name: np.array([run[name].estimate - run[name].truth for run in runs]) for name in benchmark.DESIGNS}
    errors = {name: np.array([run[name].error for run in runs]) for name in benchmark.DESIGNS}
    spread = off["risk sets"].std(ddof=1) / np.sqrt(len(runs))
    assert abs(off["risk sets"].mean()) < 3 * spread
    assert (np.abs(off["risk sets"]) <= 1.96 * errors["risk sets"]).mean() >= 11 / 14
    assert off["risk sets, unweighted"].mean() < -2.5 * spread
    assert off["static"].mean() < -5 * spread
    assert (np.abs(off["static"]) <= 1.96 * errors["static"]).mean() < 0.3
