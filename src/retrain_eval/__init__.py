"""Long-run impact evaluation of retraining, from two small additive tables."""

from retrain_eval.effects import EffectTable
from retrain_eval.moments import OutcomeMoments, outcome_moments

__all__ = ["EffectTable", "OutcomeMoments", "outcome_moments"]
