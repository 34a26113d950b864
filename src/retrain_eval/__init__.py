"""Long-run impact evaluation of retraining, from two small additive tables.

The two tables are `OutcomeMoments` (from `outcome_moments`) and `LifeTable` (from `Spells`). Every published number
follows from them.
"""

from retrain_eval.effects import EffectTable
from retrain_eval.flow import Run, Study
from retrain_eval.lifetable import LifeTable
from retrain_eval.moments import OutcomeMoments, outcome_moments
from retrain_eval.panel import baseline, build_panel
from retrain_eval.release.verify import verify
from retrain_eval.sample.match import match
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.survival.spells import Spells

__all__ = [
    "EffectTable",
    "LifeTable",
    "MatchedSample",
    "OutcomeMoments",
    "Run",
    "Spells",
    "Study",
    "baseline",
    "build_panel",
    "match",
    "outcome_moments",
    "verify",
]
