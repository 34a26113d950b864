"""Checks of the design that the estimates themselves can answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from retrain_eval.effects import EffectTable
from retrain_eval.errors import DesignError


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
        as independent pre-treatment estimates.

    Raises
    ------
    DesignError
        If there is no estimate before treatment besides the reference period.

    Notes
    -----
    W = θ' V⁻ θ over event times below zero. Not rejecting is weak evidence where the test has little power
    (Roth 2022).

    Examples
    --------
    >>> es = EffectTable.build([{"event_time": -2, "estimate": 1.0}, {"event_time": -1, "estimate": 0.0}],
    ...                        np.diag([0.25, 0.0]))
    >>> pretrend_test(es)["statistic"].item()
    4.0
    """
    frame = effects.to_frame()
    before = ((frame["event_time"] < 0).fillna(value=False) & frame["std_error"].notna()).to_numpy(dtype=bool)
    if not before.any():
        raise DesignError("there is no estimate before treatment to test")
    theta, vcov = frame["estimate"].to_numpy()[before], effects.vcov[np.ix_(before, before)]
    statistic = float(theta @ np.linalg.pinv(vcov) @ theta)
    df = int(np.linalg.matrix_rank(vcov))
    return pd.DataFrame(
        [{"test": "pre-trend", "statistic": statistic, "df": df, "p_value": float(stats.chi2.sf(statistic, df))}]
    )
