"""Long-run impact evaluation of retraining, from two small additive tables.

The two tables are `OutcomeMoments` (from `outcome_moments`) and `LifeTable` (from `Spells`). Every published number
follows from them.

``__init__.pyi`` next to this file lists the public names, in groups. Each is imported when it is first used:
``retrain-eval --help`` need not wait for SciPy.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
