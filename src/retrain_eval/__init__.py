"""Long-run impact evaluation of retraining, from two small additive tables.

The two tables are `OutcomeMoments` (from `outcome_moments`) and `LifeTable` (from `Spells`). Every published number
follows from them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retrain_eval.baseline import baseline
    from retrain_eval.effects import EffectTable
    from retrain_eval.flow import Run, Study
    from retrain_eval.lifetable import LifeTable
    from retrain_eval.moments import OutcomeMoments, outcome_moments
    from retrain_eval.panel import build_panel
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

_HOME = {
    "EffectTable": "effects",
    "LifeTable": "lifetable",
    "MatchedSample": "sample.matched",
    "OutcomeMoments": "moments",
    "Run": "flow",
    "Spells": "survival.spells",
    "Study": "flow",
    "baseline": "baseline",
    "build_panel": "panel",
    "match": "sample.match",
    "outcome_moments": "moments",
    "verify": "release.verify",
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
