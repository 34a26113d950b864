"""A fixed-effects regression on treatment and its lags, from outcome moments: the twin of `fixed_effects` on rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import sparse

from retrain_eval.common.errors import DesignError, InputError, unknown
from retrain_eval.common.periods import stored_period
from retrain_eval.estimators.did.few_clusters import infer, leave_each_out
from retrain_eval.estimators.did.twfe import least_squares, panel
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.tables.moments.moments import MomentTable
from retrain_eval.tables.recipe import recorded


@recorded
def treatment_lags(moments: MomentTable, lags: Mapping[str, int], periods: Mapping[str, int | str]) -> EffectTable:
    """Regress the outcome on unit effects, period effects, and dummies of the first treated period and later ones.

    Parameters
    ----------
    moments : MomentTable
    lags : mapping of str → int
        Name of a dummy → distance from the first treated period at which it is one: ``{"grant": 0, "grant_1": 1}``.
    periods : mapping of str → int or str
        Name of a period's dummy → period; the first period has none, all others have one.

    Returns
    -------
    EffectTable
        One row per period, then one per lag, its name in ``estimand``. Standard errors are clustered by unit, or by
        the moments' cluster, without a small-sample factor. ``n_treated`` counts all units.

    Raises
    ------
    InputError
        If the periods named are not all but the first.
    DesignError
        If the dummies are collinear.

    Notes
    -----
    The within estimator of Wooldridge (2020, ch. 14, eq. 14.5). Where treatment lasts one period, "treated now" and
    "treated in the period before" are functions of cohort and period, so cell means give the coefficients exactly.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.estimators.outcome_moments import outcome_moments
    >>> long = pd.DataFrame({"i": [1, 1, 2, 2, 3, 3], "t": [1, 2] * 3, "g": [2, 2, 2, 2, 0, 0],
    ...                      "y": [1.0, 3.0, 2.0, 4.5, 1.0, 1.5]})
    >>> m = outcome_moments(long, unit="i", time="t", cohort="g", outcome="y")
    >>> treatment_lags(m, {"d": 0}, {"t": 2}).to_frame()["estimate"].round(2).tolist()
    [0.5, 1.75]
    """
    times = list(moments.times)
    named = {name: stored_period(period) for name, period in periods.items()}
    for name, period in named.items():
        if period not in times:
            raise unknown(f"period of {name!r}", period, times)
    if sorted(named.values()) != times[1:]:
        raise InputError("each period but the first has one dummy", column="periods", value=dict(named))
    rows, influence = _regress(moments, lags, named)
    without = leave_each_out(moments, rows, lambda part: _regress(part, lags, named)[0])
    found = infer(moments, influence, rows, without)
    return EffectTable.build(
        rows, found.vcov, df=found.df, n_clusters=found.n_clusters, scale=found.scale, meta=found.meta({})
    )


def _regress(
    moments: MomentTable, lags: Mapping[str, int], periods: Mapping[str, int]
) -> tuple[pd.DataFrame, sparse.csr_array]:
    """Return the rows of `treatment_lags` without inference, and their influence."""
    times = list(moments.times)
    data = panel(moments)
    if len(data.cohort) < len(np.unique(moments.cells["cohort"].to_numpy(dtype=float, na_value=np.inf))):
        raise DesignError("a cohort is treated from the first period on: its lags are not known")
    event = data.times - data.cohort[:, None]
    dummies = np.stack([event == lag for lag in lags.values()], axis=2).astype(float)
    fit = least_squares(data, dummies, list(lags))
    place = [times.index(period) for period in periods.values()]
    own = fit.period_effects + moments.reference - moments.reference[0]
    influence = np.concatenate([fit.period_influence[place], fit.influence])
    n = int(data.n.sum())
    rows = [
        {"outcome": moments.outcome, "estimator": "moments", "estimand": name, "estimate": estimate, "n_treated": n}
        for name, estimate in zip([*periods, *lags], [*own[place], *fit.estimate], strict=True)
    ]
    return pd.DataFrame(rows), data.spread(influence)
