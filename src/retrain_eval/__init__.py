"""Long-run impact evaluation of retraining, from two small additive tables.

The two tables are `OutcomeMoments` (from `outcome_moments`) and `LifeTable` (from `Spells`). Every published number
follows from them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrain_eval.estimators.effects.effects import EffectTable
    from retrain_eval.estimators.inference.hidden_bias_bounds import e_value, oster_bounds, rosenbaum_bounds
    from retrain_eval.estimators.moments import OutcomeMoments
    from retrain_eval.estimators.outcome_moments import outcome_moments
    from retrain_eval.estimators.rows.att_gt import att_gt
    from retrain_eval.estimators.rows.wage_trajectory import wage_trajectory
    from retrain_eval.estimators.survival.spells import Spells
    from retrain_eval.panel.baseline import baseline
    from retrain_eval.panel.jobs import build_jobs
    from retrain_eval.panel.outcome_paths import build_outcome_paths, path_periods
    from retrain_eval.panel.panel import build_panel
    from retrain_eval.panel.quality import alkire_foster, build_quality
    from retrain_eval.panel.spells import build_spells
    from retrain_eval.records.linkage.exact import Linkage, link_exactly
    from retrain_eval.records.linkage.probabilistic import choose_links, score_pairs
    from retrain_eval.records.linkage.quality import linkage_rates, match_quality
    from retrain_eval.release.verification.verify import verify
    from retrain_eval.sample.balance.rating import balance_verdict
    from retrain_eval.sample.composition import baseline_paths, matching_table
    from retrain_eval.sample.hidden_bias.hidden_bias import HiddenBias
    from retrain_eval.sample.match import match
    from retrain_eval.sample.matched import MatchedSample
    from retrain_eval.sample.record_flow import people_left_out, sample_flow
    from retrain_eval.simulate.agency import Simulation, simulate
    from retrain_eval.study.folder import Study
    from retrain_eval.study.run import Run
    from retrain_eval.tables.life_table.life_table import LifeTable


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
    "EffectTable": "estimators.effects.effects",
    "HiddenBias": "sample.hidden_bias.hidden_bias",
    "LifeTable": "tables.life_table.life_table",
    "Linkage": "records.linkage.exact",
    "MatchedSample": "sample.matched",
    "OutcomeMoments": "estimators.moments",
    "Run": "study.run",
    "Simulation": "simulate.agency",
    "Spells": "estimators.survival.spells",
    "Study": "study.folder",
    "alkire_foster": "panel.quality",
    "att_gt": "estimators.rows.att_gt",
    "balance_verdict": "sample.balance.rating",
    "baseline": "panel.baseline",
    "baseline_paths": "sample.composition",
    "build_jobs": "panel.jobs",
    "build_outcome_paths": "panel.outcome_paths",
    "build_panel": "panel.panel",
    "build_quality": "panel.quality",
    "build_spells": "panel.spells",
    "choose_links": "records.linkage.probabilistic",
    "e_value": "estimators.inference.hidden_bias_bounds",
    "link_exactly": "records.linkage.exact",
    "linkage_rates": "records.linkage.quality",
    "match": "sample.match",
    "match_quality": "records.linkage.quality",
    "matching_table": "sample.composition",
    "oster_bounds": "estimators.inference.hidden_bias_bounds",
    "outcome_moments": "estimators.outcome_moments",
    "path_periods": "panel.outcome_paths",
    "people_left_out": "sample.record_flow",
    "rosenbaum_bounds": "estimators.inference.hidden_bias_bounds",
    "sample_flow": "sample.record_flow",
    "score_pairs": "records.linkage.probabilistic",
    "simulate": "simulate.agency",
    "verify": "release.verification.verify",
    "wage_trajectory": "estimators.rows.wage_trajectory",
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
