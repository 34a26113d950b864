"""Long-run impact evaluation of retraining, from two small additive tables.

The two tables are `OutcomeMoments` (from `outcome_moments`) and `LifeTable` (from `Spells`). Every published number
follows from them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrain_eval.cells.summing import outcome_moments
    from retrain_eval.confounding import e_value, oster_bounds, rosenbaum_bounds
    from retrain_eval.did.unit_level import att_gt
    from retrain_eval.effects import EffectTable
    from retrain_eval.flow import Study
    from retrain_eval.lifetable import LifeTable
    from retrain_eval.linkage.exact import Linkage, link_exactly
    from retrain_eval.linkage.probabilistic import choose_links, score_pairs
    from retrain_eval.linkage.quality import linkage_rates, match_quality
    from retrain_eval.moments import OutcomeMoments
    from retrain_eval.outcomes.history import baseline
    from retrain_eval.outcomes.jobs import build_jobs
    from retrain_eval.outcomes.outcome_paths import build_outcome_paths, path_periods
    from retrain_eval.outcomes.quality import alkire_foster, build_quality
    from retrain_eval.panel import build_panel
    from retrain_eval.release.verify import verify
    from retrain_eval.run import Run
    from retrain_eval.sample.composition import baseline_paths, matching_table
    from retrain_eval.sample.hidden_bias import HiddenBias
    from retrain_eval.sample.match import match
    from retrain_eval.sample.matched import MatchedSample
    from retrain_eval.sample.record_flow import people_left_out, sample_flow
    from retrain_eval.sample.verdict import balance_verdict
    from retrain_eval.spells import build_spells
    from retrain_eval.survival.spells import Spells
    from retrain_eval.synthetic.agency import Simulation, simulate
    from retrain_eval.trajectories import wage_trajectory


__all__ = [
    "EffectTable",
    "HiddenBias",
    "LifeTable",
    "Linkage",
    "MatchedSample",
    "OutcomeMoments",
    "Run",
    "Simulation",
    "Spells",
    "Study",
    "alkire_foster",
    "att_gt",
    "balance_verdict",
    "baseline",
    "baseline_paths",
    "build_jobs",
    "build_outcome_paths",
    "build_panel",
    "build_quality",
    "build_spells",
    "choose_links",
    "e_value",
    "link_exactly",
    "linkage_rates",
    "match",
    "match_quality",
    "matching_table",
    "oster_bounds",
    "outcome_moments",
    "path_periods",
    "people_left_out",
    "rosenbaum_bounds",
    "sample_flow",
    "score_pairs",
    "simulate",
    "verify",
    "wage_trajectory",
]

_HOME = {
    "EffectTable": "effects",
    "HiddenBias": "sample.hidden_bias",
    "LifeTable": "lifetable",
    "Linkage": "linkage.exact",
    "MatchedSample": "sample.matched",
    "OutcomeMoments": "moments",
    "Run": "run",
    "Simulation": "synthetic.agency",
    "Spells": "survival.spells",
    "Study": "flow",
    "alkire_foster": "outcomes.quality",
    "att_gt": "did.unit_level",
    "balance_verdict": "sample.verdict",
    "baseline": "outcomes.history",
    "baseline_paths": "sample.composition",
    "build_jobs": "outcomes.jobs",
    "build_outcome_paths": "outcomes.outcome_paths",
    "build_panel": "panel",
    "build_quality": "outcomes.quality",
    "build_spells": "spells",
    "choose_links": "linkage.probabilistic",
    "e_value": "confounding",
    "link_exactly": "linkage.exact",
    "linkage_rates": "linkage.quality",
    "match": "sample.match",
    "match_quality": "linkage.quality",
    "matching_table": "sample.composition",
    "oster_bounds": "confounding",
    "outcome_moments": "cells.summing",
    "path_periods": "outcomes.outcome_paths",
    "people_left_out": "sample.record_flow",
    "rosenbaum_bounds": "confounding",
    "sample_flow": "sample.record_flow",
    "score_pairs": "linkage.probabilistic",
    "simulate": "synthetic.agency",
    "verify": "release.verify",
    "wage_trajectory": "trajectories",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562): ``retrain-eval --help`` need not wait for SciPy."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
