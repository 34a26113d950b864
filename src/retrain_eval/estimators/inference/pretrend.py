"""Checks of the design that the estimates themselves can answer."""

from __future__ import annotations

import numpy as np
import pandas as pd

from retrain_eval.common.levels import missing
from retrain_eval.common.numerics.joint import joint_test, row_of_test
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.tables.recipe import recorded


@recorded
def pretrend_test(effects: EffectTable) -> pd.DataFrame:
    """Test jointly that effects before treatment are zero.

    Parameters
    ----------
    effects : EffectTable
        An event study (``aggregate("dynamic")``) without subgroups.

    Returns
    -------
    DataFrame
        One row: ``test, statistic, df, df_denominator, p_value``; as many degrees of freedom as independent
        pre-treatment estimates. No row where the design has no such estimate besides the reference period, or too few
        clusters for so many: nothing is tested.

    Notes
    -----
    W = θ' V⁻ θ over event times below zero, less those in which treatment was anticipated: an effect there is no
    sign of different paths. Clustered by G clusters, the test is Hotelling's F; see
    `retrain_eval.common.numerics.joint.joint_test`. Not rejecting is weak evidence where the test has little power
    (Roth 2022).

    Examples
    --------
    >>> es = EffectTable.build([{"event_time": -2, "estimate": 1.0}, {"event_time": -1, "estimate": 0.0}],
    ...                        np.diag([0.25, 0.0]))
    >>> pretrend_test(es)["statistic"].item()
    4.0
    """
    frame = effects.to_frame()
    start = -effects.number("anticipation", 0)
    before = ((frame["event_time"] < start).fillna(value=False) & frame["std_error"].notna()).to_numpy(dtype=bool)
    before &= ~missing(frame["level"])
    theta, vcov = frame["estimate"].to_numpy()[before], effects.vcov[np.ix_(before, before)]
    return row_of_test("pre-trend", *joint_test(theta, vcov, effects.df[before]))
