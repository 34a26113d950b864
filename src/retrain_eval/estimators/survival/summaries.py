"""Medians, restricted means and conditional survival, read off Kaplan–Meier curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from retrain_eval.common.arrays import Bools, Floats
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.levels import is_missing
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.survival.curves import kaplan_meier, row_keys, with_interval
from retrain_eval.estimators.survival.risk import RiskSet, after, group_name, risk_sets
from retrain_eval.tables.life_table.life_table import LifeTable

_TIE = 1e-12  # a survival this close to a probability has reached it: products of fractions carry rounding


def quantile(table: LifeTable, p: float = 0.5, conf_type: str = "log-log", level: float = 0.95) -> EffectTable:
    """Return the duration by which a share ``p`` has ended, per group: the median for ``p=0.5``.

    Returns
    -------
    EffectTable
        One row per group: ``estimate`` is the first duration with S(t) ≤ 1 − p, NaN where the curve does not
        come down so far. The interval holds the durations whose interval for S(t) contains 1 − p (Brookmeyer and
        Crowley 1982); an upper end that is not reached is NaN. There is no standard error; ``n_treated`` counts the
        group's spells.

    Notes
    -----
    Where S(t) equals 1 − p over an interval, R and SAS report its middle; this reports its start.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> spells = pd.DataFrame({"id": [1, 2, 3, 4], "weeks": [1, 2, 2, 3], "cause": [1, 1, 0, 1]})
    >>> quantile(life_table(spells, id="id", duration="weeks", cause="cause")).to_frame()["estimate"].item()
    2.0
    """
    if not 0 < p < 1:
        raise InputError(f"a quantile lies between 0 and 1, not {p}", column="p", value=p)
    curve = kaplan_meier(table, conf_type, level=level)
    rows, bounds = [], []
    for risk, block in _blocks(risk_sets(table)):
        own = curve.frame.iloc[block]
        estimate, low, high = (
            _first(risk.times, own[column].to_numpy() <= 1 - p + _TIE) for column in ("estimate", "ci_low", "ci_high")
        )
        estimand = "median" if p == 0.5 else f"quantile {p:g}"
        rows.append(
            row_keys(table, risk, estimand)
            | {"estimate": estimate, "n_treated": table.cells["n"].iloc[risk.cells].sum()}
        )
        bounds.append((low, high))
    facts = {**curve.meta, "df": None, "n_clusters": None}
    result = EffectTable.build(rows, np.full((len(rows), len(rows)), np.nan), level=level, meta=facts)
    return with_interval(result, *np.array(bounds, dtype=float).T)


def rmst(table: LifeTable, tau: float, level: float = 0.95) -> EffectTable:
    """Return the restricted mean survival time of each group, the mean duration up to ``tau``.

    Returns
    -------
    EffectTable
        One row per group: ``estimate`` is the integral of S(t) from 0 to τ, in units of duration, ``time`` is τ. The
        variance follows from the covariance of the curve, so it is robust where the curve's is.

    Raises
    ------
    InputError
        If τ is beyond the last duration of a group whose curve has not reached zero: the mean is not
        identified there. A group of which a level is missing is left out instead.
    DesignError
        If τ is zero because the table keeps no duration exactly (see `LifeTable.exact_until`).

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> spells = pd.DataFrame({"id": [1, 2, 3, 4], "weeks": [1, 2, 2, 3], "cause": [1, 1, 0, 1]})
    >>> rmst(life_table(spells, id="id", duration="weeks", cause="cause"), tau=3).to_frame()["estimate"].item()
    2.25
    """
    if tau == 0 and table.grid and table.exact_until == 0:
        raise DesignError(
            f"no mean duration is exact: the durations up to {table.grid[0]:g} are merged into one, so that "
            "exact_until is 0. Merge levels before coarsening",
            public="its first durations are merged into one, so that no mean duration is exact",
        )
    if not 0 < tau < np.inf:
        raise InputError(f"tau must be a finite duration above zero, not {tau}", column="tau", value=tau)
    curve = kaplan_meier(table, level=level)
    survival = curve.frame["estimate"].to_numpy()
    rows: list[dict[str, object]] = []
    lengths: list[Floats] = []
    for risk, block in _blocks(risk_sets(table)):
        if tau > risk.times[-1] and survival[block][-1] > 0:
            if is_missing(group_name(risk.level)):  # it does not limit the estimates of the other groups
                continue
            raise InputError(
                f"the curve of {group_name(risk.level) or 'all'} ends at {risk.times[-1]:g} above zero",
                column="tau",
                value=tau,
                fix=f"use tau up to {risk.times[-1]:g}",
            )
        ends = np.minimum(np.append(risk.times, tau), tau)
        lengths.append(np.zeros(len(curve)))
        lengths[-1][block] = np.diff(ends)
        area = ends[0] + lengths[-1] @ survival
        keys = row_keys(table, risk, "restricted mean") | {"time": tau}
        rows.append(keys | {"estimate": area, "n_treated": table.cells["n"].iloc[risk.cells].sum()})
    areas = np.array(lengths).reshape(-1, len(curve))
    if rows and all(row["estimate"] == tau for row in rows):
        raise DesignError(
            f"no spell ends before {tau:g}, so that every mean up to it is {tau:g}: take a longer tau",
            public=f"no spell ends before {tau:g}, so that every mean up to it is {tau:g}: take a longer tau",
        )
    result = EffectTable.build(rows, curve.vcov_of(areas), level=level, **curve.inference_of(areas), meta=curve.meta)
    return with_interval(result, result.frame["ci_low"].to_numpy(), result.frame["ci_high"].to_numpy())


def conditional_survival(
    table: LifeTable,
    given: float,
    conf_type: str = "log-log",
    times: Sequence[float] | None = None,
    level: float = 0.95,
) -> EffectTable:
    """Return S(t | s) = S(t)/S(s), the survival of those who lasted longer than ``given``, s.

    Parameters
    ----------
    table : LifeTable
    given : float
        The duration s.
    conf_type, times, level
        As in `retrain_eval.estimators.survival.curves.kaplan_meier`; ``times`` beyond ``given``.

    Returns
    -------
    EffectTable
        One row per group × duration after ``given``, ``estimand`` "survival given 4". The covariance is that of the
        ratio, robust where the curve's is.

    Raises
    ------
    InputError
        If a group has no spell that lasts so long, or one of ``times`` does not lie after ``given``.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.tables.life_table.counting import life_table
    >>> spells = pd.DataFrame({"id": range(5), "weeks": [1, 2, 3, 4, 4], "cause": [1, 1, 1, 1, 0]})
    >>> table = life_table(spells, id="id", duration="weeks", cause="cause")
    >>> conditional_survival(table, given=2).to_frame()[["time", "estimate"]].round(3).to_numpy().tolist()
    [[3.0, 0.667], [4.0, 0.333]]
    """
    if times is not None and len(times) and min(times) <= given:
        raise InputError(f"times must lie after {given:g}", column="times", value=list(times))
    curve = kaplan_meier(after(table, given), conf_type, times, level)
    return replace(curve, frame=curve.frame.assign(estimand=f"survival given {given:g}"))


def _blocks(groups: Sequence[RiskSet]) -> list[tuple[RiskSet, slice]]:
    """Return each group with its rows in a curve at all durations."""
    ends = np.cumsum([len(risk.times) for risk in groups])
    return [(risk, slice(end - len(risk.times), end)) for risk, end in zip(groups, ends, strict=True)]


def _first(times: Floats, reached: Bools) -> float:
    """Return the first time at which something is reached, NaN if it never is."""
    return float(times[reached][0]) if reached.any() else float("nan")
