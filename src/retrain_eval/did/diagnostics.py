"""Checks of the design that the estimates themselves can answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from retrain_eval.effects import EffectTable

_SINGULAR = 1e-10  # variance of a direction, as a share of the largest, that is rounding


def pretrend_test(effects: EffectTable) -> pd.DataFrame:
    """Test jointly that effects before treatment are zero.

    Parameters
    ----------
    effects : EffectTable
        An event study (``aggregate("dynamic")``) without subgroups.

    Returns
    -------
    DataFrame
        One row: ``test, statistic, df, p_value``; the Wald statistic is χ² with as many degrees of freedom
        as independent pre-treatment estimates. No row where the design has no such estimate besides the
        reference period: there is nothing to test.

    Notes
    -----
    W = θ' V⁻ θ over event times below zero, less those in which treatment was anticipated: an effect there is no
    sign of different paths. Not rejecting is weak evidence where the test has little power
    (Roth 2022).

    Examples
    --------
    >>> es = EffectTable.build([{"event_time": -2, "estimate": 1.0}, {"event_time": -1, "estimate": 0.0}],
    ...                        np.diag([0.25, 0.0]))
    >>> pretrend_test(es)["statistic"].item()
    4.0
    """
    frame = effects.to_frame()
    start = -float(str(effects.meta.get("anticipation", 0)))
    before = ((frame["event_time"] < start).fillna(value=False) & frame["std_error"].notna()).to_numpy(dtype=bool)
    theta, vcov = frame["estimate"].to_numpy()[before], effects.vcov[np.ix_(before, before)]
    # one tolerance for both, or the inverse would blow up a direction that the rank does not count
    statistic = float(theta @ np.linalg.pinv(vcov, rcond=_SINGULAR, hermitian=True) @ theta)
    df = int(np.linalg.matrix_rank(vcov, rtol=_SINGULAR, hermitian=True))
    row = {"test": "pre-trend", "statistic": statistic, "df": df, "p_value": float(stats.chi2.sf(statistic, df))}
    return pd.DataFrame([row] if df else [], columns=list(row))
