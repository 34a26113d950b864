"""When a programme has paid for itself: cumulative effects of an event study, lock-in depth, break-even and payback."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import AnyArray, Bools, Floats, Index
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.estimates import COLUMNS, COUNTS, plain_or_list
from retrain_eval.tables.recipe import recorded

CUMULATIVE, COST = "cumulative effect", "cost per participant"
LOCK_IN, BREAK_EVEN, PAYBACK = "lock-in depth", "break-even", "payback"


@recorded
def payback(
    effects: EffectTable, /, cost: float, *, discount: float = 0.0, level: float = 0.95, seed: int = 20260101
) -> EffectTable:
    r"""Add up the effects of an event study from the start of treatment, and say when they exceed what it cost.

    Parameters
    ----------
    effects : EffectTable
        ``aggregate("dynamic")`` of an outcome that is a flow per period, such as quarterly earnings.
    cost : float
        Cost per treated unit, in the outcome's unit. Taken as known.
    discount : float
        Discount rate per period, applied from the start of treatment.
    level : float
        Confidence level.
    seed : int
        Seed of the draws behind the critical values of the bands.

    Returns
    -------
    EffectTable
        Rows by ``estimand``: the ``cumulative effect`` at each event time, with interval and simultaneous band;
        ``lock-in depth``, the lowest effect of any period, and its ``event_time``; ``break-even`` and ``payback``, the
        event times by which the cumulative effect has first reached zero and ``cost``: their ``estimate`` and interval
        are event times, NaN where it does not within the periods observed; and the ``cost per participant``. Only
        the cumulative effects have a standard error.

    Raises
    ------
    InputError
        If ``cost`` or ``discount`` is negative or no finite number.
    DesignError
        If the table has subgroups, no event time from 0 on, or a gap among them: a sum over periods needs them all.

    Notes
    -----
    With A the lower triangle of discount factors, C = Aθ has covariance AΣAᵀ. Milestones are functions of the whole
    path, so their intervals come from simultaneous bands. If lower ≤ C ≤ upper at all event times, the first time at
    which C reaches c lies between the first at which upper does and the first at which lower does, and the minimum
    of θ between the minima of its bands. Such intervals cover with at least ``level`` in large samples, and are wide
    rather than wrong where the path runs close to c.

    Examples
    --------
    >>> rows = [{"event_time": e, "estimate": b} for e, b in enumerate([-200.0, 100.0, 400.0, 400.0])]
    >>> table = payback(EffectTable.build(rows, np.diag([100.0] * 4)), cost=500)
    >>> table.to_frame().set_index("estimand")["estimate"].loc[["lock-in depth", "break-even", "payback"]].tolist()
    [-200.0, 2.0, 3.0]
    """
    for name, value in (("cost", cost), ("discount", discount)):
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name} is a number that is not negative", column=name, value=value)
    frame, at = after_start(effects)
    vcov = effects.vcov[np.ix_(at, at)]
    times = frame["event_time"].to_numpy(dtype=float)
    factor = (1 + discount) ** -times
    matrix = np.tril(np.broadcast_to(factor, (len(times), len(times))))

    keys = {key: frame[key].iloc[0] for key in ("outcome", "estimator")}
    counts = {name: frame[name].min(skipna=False) for name in COUNTS}
    whole = np.ones(len(times), dtype=bool)
    build = partial(EffectTable.build, band=whole, level=level, seed=seed)
    rows = [
        {**keys, "estimand": CUMULATIVE, "event_time": time, "estimate": value, **counts}
        for time, value in zip(times, matrix @ frame["estimate"].to_numpy(), strict=True)
    ]
    each = np.eye(len(effects))[at]
    total = build(rows, matrix @ vcov @ matrix.T, **effects.inference_of(matrix @ each))
    same = [{**row, "estimate": b} for row, b in zip(rows, frame["estimate"], strict=True)]
    path = build(same, vcov, **effects.inference_of(each))
    low, high = _bands(path)
    lowest = int(path.frame["estimate"].to_numpy().argmin())
    marks: list[dict[str, object]] = [
        {
            "estimand": LOCK_IN,
            "event_time": times[lowest],
            "estimate": path.frame["estimate"].iloc[lowest],
            "ci_low": low.min(),
            "ci_high": high.min(),
        }
    ]
    low, high = _bands(total)
    for name, target in ((BREAK_EVEN, 0.0), (PAYBACK, cost)):
        reached = [_first(times, values >= target) for values in (total.frame["estimate"].to_numpy(), high, low)]
        marks.append({"estimand": name, **dict(zip(("estimate", "ci_low", "ci_high"), reached, strict=True))})
    marks.append({"estimand": COST, "estimate": cost})
    added = pd.DataFrame([{**keys, **counts, **mark} for mark in marks]).reindex(columns=list(COLUMNS))
    covariance = np.zeros((len(times) + len(added),) * 2)
    covariance[: len(times), : len(times)] = total.vcov
    shown = pd.concat([total.frame, added.astype(total.frame.dtypes.to_dict())], ignore_index=True)
    # the marks have no variance, so that any degrees of freedom do for them
    clusters = total.n_clusters
    facts = {
        "df": _with(total.df, len(added)),
        "n_clusters": None if clusters is None else _with(clusters, len(added)),
        "cost": cost,
        "discount": discount,
    }
    return EffectTable(shown, covariance, {**effects.meta, **total.meta, **facts})


def _with(values: AnyArray, more: int) -> object:
    """Return degrees of freedom, or numbers of clusters, for rows that are added."""
    return plain_or_list(np.append(values, np.repeat(values[-1:], more)))


def after_start(effects: EffectTable) -> tuple[pd.DataFrame, Index]:
    """Return the rows from the start of treatment in their order, and their places in the table.

    Raises
    ------
    DesignError
        If the table has subgroups, no event time 0, or a gap after it.
    """
    frame = effects.to_frame()
    if frame["level"].notna().any():
        raise DesignError("payback is for one event study: choose a level first")
    at = np.flatnonzero((frame["event_time"] >= 0).fillna(value=False).to_numpy(dtype=bool))
    at = at[np.argsort(frame["event_time"].to_numpy(dtype=float, na_value=np.nan)[at], kind="stable")]
    rows = frame.iloc[at].reset_index(drop=True)
    times = rows["event_time"].to_numpy(dtype=float)
    if len(times) == 0 or times[0] != 0:
        raise DesignError(
            "a cumulative effect starts at event time 0, which this event study does not have",
            public="a cumulative effect begins with the start, which this event study does not have",
        )
    if not (np.diff(times) == 1).all() or rows["estimate"].isna().any():
        raise DesignError("a cumulative effect needs every period from the start of treatment, and one is missing")
    return rows, at


def _bands(table: EffectTable) -> tuple[Floats, Floats]:
    """Return the simultaneous band; an estimate without sampling error is its own."""
    estimate = table.frame["estimate"]
    low, high = (table.frame[f"band_{end}"].fillna(estimate).to_numpy(dtype=float) for end in ("low", "high"))
    return low, high


def _first(times: Floats, reached: Bools) -> float:
    return float(times[reached.argmax()]) if reached.any() else math.nan
