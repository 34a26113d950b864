"""What static two-way fixed effects average: two-by-two comparisons, and group-time effects."""

from __future__ import annotations

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Floats
from retrain_eval.estimators.did.twfe import least_squares, panel
from retrain_eval.tables.moments.moments import MomentTable

KINDS = ("treated vs untreated", "earlier vs later treated", "later vs earlier treated")


def bacon(moments: MomentTable) -> pd.DataFrame:
    """Decompose the static TWFE estimate into its two-by-two comparisons.

    Parameters
    ----------
    moments : MomentTable
        Strata are pooled.

    Returns
    -------
    DataFrame
        One row per comparison: ``kind, cohort, control_cohort`` (NA: never treated), ``estimate`` in the outcome's unit
        and ``weight``. Weights sum to one, and Σ weight · estimate is the estimate of `twfe`.

    Raises
    ------
    DesignError
        If no unit is first treated after the first period, or no comparison is possible.

    Notes
    -----
    Goodman-Bacon (2021, Theorem 1). "Later vs earlier treated" uses units as controls that are treated already: where
    effects grow with time, these comparisons are biased towards zero or beyond. Cohorts treated from the first period
    on are left out.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval import outcome_moments
    >>> long = pd.DataFrame({"id": [1, 1, 2, 2, 3, 3, 4, 4], "t": [1, 2] * 4, "g": [2, 2, 2, 2, 0, 0, 0, 0],
    ...                      "y": [1.0, 4.0, 2.0, 5.5, 1.0, 2.0, 2.0, 3.5]})
    >>> m = outcome_moments(long, unit="id", time="t", cohort="g", outcome="y")
    >>> m.bacon()[["kind", "estimate", "weight"]].to_dict("records")
    [{'kind': 'treated vs untreated', 'estimate': 2.0, 'weight': 1.0}]
    """
    data = panel(moments)
    least_squares(data, data.treated[:, :, None].astype(float), ["treated"])  # refuses where there is no estimate
    times, share = data.times, data.weight / data.weight.sum()
    rows: list[dict[str, object]] = []

    def compare(kind: str, one: int, other: int, before: Floats, after: Floats, weight: float) -> None:
        change = data.mean[:, after.astype(bool)].mean(axis=1) - data.mean[:, before.astype(bool)].mean(axis=1)
        rows.append(
            {
                "kind": kind,
                "cohort": data.cohort[one],
                "control_cohort": data.cohort[other],
                "estimate": float(change[one] - change[other]),
                "weight": float(share[one] * share[other] * weight),
            }
        )

    treated = data.treated.mean(axis=1)  # share of the periods
    for k in np.flatnonzero(np.isfinite(data.cohort)).tolist():
        on = times >= data.cohort[k]
        for other in range(len(data.cohort)):
            later = times >= data.cohort[other]
            if np.isinf(data.cohort[other]):
                compare(KINDS[0], k, other, ~on, on, treated[k] * (1 - treated[k]))
            elif data.cohort[other] > data.cohort[k] and (on & ~later).any():
                gap = treated[k] - treated[other]
                compare(KINDS[1], k, other, ~on, on & ~later, gap * (1 - treated[k]))
                compare(KINDS[2], other, k, on & ~later, later, gap * treated[other])
    frame = pd.DataFrame(rows)
    for name in ("cohort", "control_cohort"):
        frame[name] = frame[name].where(np.isfinite(frame[name]), other=np.nan).astype("Float64")
    frame["weight"] /= frame["weight"].sum()
    order = pd.Categorical(frame["kind"], KINDS)
    return (
        frame.assign(_order=order)
        .sort_values(["_order", "cohort", "control_cohort"])
        .drop(columns="_order")
        .reset_index(drop=True)
    )


def twfe_weights(moments: MomentTable) -> pd.DataFrame:
    """Return the weights with which static TWFE averages group-time effects.

    Parameters
    ----------
    moments : MomentTable
        Strata are pooled.

    Returns
    -------
    DataFrame
        One row per cohort and treated period: ``cohort, time, event_time, weight``. The weights sum to one; the sum of
        the negative ones says how far the estimate may have another sign than every effect in it.

    Raises
    ------
    DesignError
        If no unit is first treated after the first period, or treatment is collinear with the fixed effects.

    Notes
    -----
    De Chaisemartin and D'Haultfœuille (2020, Theorem 1): the weight of a cohort and period is proportional to its Σw
    and to the residual of treatment on unit and period effects.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval import outcome_moments
    >>> long = pd.DataFrame({"id": [1, 1, 2, 2, 3, 3], "t": [1, 2] * 3, "g": [2, 2, 2, 2, 0, 0],
    ...                      "y": [1.0, 4.0, 2.0, 5.5, 1.0, 2.0]})
    >>> outcome_moments(long, unit="id", time="t", cohort="g", outcome="y").twfe_weights()["weight"].tolist()
    [1.0]
    """
    data = panel(moments)
    fit = least_squares(data, data.treated[:, :, None].astype(float), ["treated"])
    linear = fit.influence[0, :, 1:]
    rows = [
        {"cohort": g, "time": data.times[t], "event_time": data.times[t] - g, "weight": linear[c, t] * data.weight[c]}
        for c, g in enumerate(data.cohort)
        for t in np.flatnonzero(data.treated[c])
    ]
    frame = pd.DataFrame(rows)
    frame["weight"] /= frame["weight"].sum()
    return frame
