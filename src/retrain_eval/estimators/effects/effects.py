"""EffectTable: the one tidy result type, whatever the estimator.

Difference-in-differences, survival and matched contrasts all return it, so that every table, figure and
disclosure rule is written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from retrain_eval.estimators.effects.estimates import EstimateTable
from retrain_eval.estimators.effects.heterogeneity import Heterogeneity, heterogeneity
from retrain_eval.estimators.effects.honest import relative_magnitude, smoothness


@dataclass(frozen=True, repr=False)
class EffectTable(EstimateTable):
    """Estimates with intervals, simultaneous bands and their full covariance, and what reads them further.

    The fields are those of `EstimateTable`: ``frame`` (one row per estimate), ``vcov`` and ``meta``.
    """

    def heterogeneity(
        self, smallest_worthwhile: float, *, level: float = 0.95, power: float = 0.8, seed: int = 20260101
    ) -> Heterogeneity:
        """Judge effects by subgroup together; see `retrain_eval.estimators.effects.heterogeneity.heterogeneity`."""
        return heterogeneity(self, smallest_worthwhile, level=level, power=power, seed=seed)

    def relative_magnitude(
        self, m: Sequence[float] = (0.5, 1.0, 1.5, 2.0), *, event_time: int | None = None, level: float = 0.95
    ) -> pd.DataFrame:
        """Bound an effect when trends diverge; see `retrain_eval.estimators.effects.honest.relative_magnitude`."""
        return relative_magnitude(self, m, event_time=event_time, level=level)

    def smoothness(
        self, m: Sequence[float] = (0.0,), *, event_time: int | None = None, level: float = 0.95
    ) -> pd.DataFrame:
        """Bound an effect when trends diverge smoothly; see `retrain_eval.estimators.effects.honest.smoothness`."""
        return smoothness(self, m, event_time=event_time, level=level)

    def plot(self, title: str = "") -> Any:
        """Draw the table: an event study where it has event times, else a forest plot.

        Parameters
        ----------
        title : str

        Returns
        -------
        plotnine.ggplot
            Points, pointwise intervals and, where the table has one, the simultaneous band.

        Raises
        ------
        InputError
            If the table has no rows.

        Examples
        --------
        >>> import numpy as np
        >>> table = EffectTable.build([{"event_time": 0, "estimate": 1.0}], np.array([[0.04]]))
        >>> type(table.plot()).__name__
        'ggplot'
        """
        from retrain_eval.estimators.effects.plots import plot  # with plotnine, which estimates need not wait for

        return plot(self, title)
