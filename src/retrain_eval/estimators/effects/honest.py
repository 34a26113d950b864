"""Bounds when trends need not be parallel: relative magnitudes and smoothness (Rambachan and Roth 2023).

Event-study coefficients are β = τ + δ: an effect, zero before treatment, and a difference in trends. Restrictions on δ
that the periods before treatment make credible bound the effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize, stats

from retrain_eval.common.arrays import Floats, Index
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.numerics.joint import t_quantile
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.effects.estimates import EstimateTable

COLUMNS = ["restriction", "m", "low", "high", "ci_low", "ci_high", "includes_zero"]
_FRONTIER = 41  # points between the least biased and the least variable estimator


@summarised
@dataclass(frozen=True)
class EventStudy:
    """The coefficients of an event study in order of event time, the reference left out.

    Attributes
    ----------
    before, after : ndarray, shapes (K,) and (M,)
        Places of the coefficients before and after treatment in ``estimate``.
    df : float
        Degrees of freedom of the covariance; infinite for the normal distribution.
    ago, ahead : ndarray, shapes (K,) and (M,)
        Periods from the reference, both positive. They are 1, 2, … only where no wave is missing.
    """

    estimate: Floats
    vcov: Floats
    df: float
    before: Index
    after: Index
    ago: Floats
    ahead: Floats

    @classmethod
    def read(cls, effects: EstimateTable) -> EventStudy:
        """Take the coefficients from a table.

        Raises
        ------
        DesignError
            If it holds subgroups, no reference period, or no coefficient before or after treatment.
        """
        frame = effects.frame
        if frame["level"].notna().any():
            raise DesignError("bounds are for one event study: take the table of one level")
        rows = frame[frame["event_time"].notna()].sort_values("event_time")
        event = rows["event_time"].to_numpy(dtype=float)
        fixed = rows["std_error"].isna().to_numpy() & (rows["estimate"] == 0).to_numpy()
        if fixed.sum() != 1:
            raise DesignError("bounds need an event study with one reference period: base_period='universal'")
        base = int(np.flatnonzero(fixed)[0])
        place = rows.index.to_numpy()
        distance = event - event[base]
        before, after = distance < 0, (distance > 0) & (event >= 0)
        if not before.any() or not after.any():
            raise DesignError("bounds need a coefficient before the reference period and one after treatment")
        return cls(
            frame["estimate"].to_numpy(),
            effects.vcov,
            float(effects.df[place[before | after]].min()),
            place[before],
            place[after],
            -distance[before],
            distance[after],
        )


def relative_magnitude(
    effects: EstimateTable,
    m: Sequence[float] = (0.5, 1.0, 1.5, 2.0),
    *,
    event_time: int | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Bound an effect if trends diverge no faster after treatment than ``m`` times the most they did before.

    Parameters
    ----------
    effects : EffectTable
        ``aggregate("dynamic")`` with a universal base period.
    m : sequence of float
        Largest step of δ per period after treatment, relative to the largest between two waves before.
    event_time : int, optional
        Effect wanted; the mean over event times ≥ 0 by default.
    level : float
        Coverage of the identified set.

    Returns
    -------
    DataFrame
        One row per m: ``restriction, m, low, high`` (identified set at the estimates), ``ci_low, ci_high``,
        ``includes_zero``.

    Raises
    ------
    InputError, DesignError
        For a negative m, an event time that does not occur, or a table that is not an event study.

    Notes
    -----
    Rambachan and Roth (2023, section 2.4.1, Δ^RM). The step that is largest is one of the steps before, with one sign:
    a union of restrictions, each of which makes the ends of the set linear in β. The interval is the union of theirs,
    each end at ``1 − (1 − level)/2``: it covers the set at least so often, whichever step is the largest one. It does
    not use, as their conditional intervals do, that steps that look small are probably not the largest, so it can be
    wider.

    Examples
    --------
    >>> from retrain_eval.estimators.effects.effects import EffectTable
    >>> table = EffectTable.build(
    ...     [{"event_time": e, "estimate": b} for e, b in ((-2, 0.1), (-1, 0.0), (0, 1.0))], np.diag([0.01, 0, 0.01]))
    >>> relative_magnitude(table, (1.0,))[["low", "high"]].round(2).to_numpy().tolist()
    [[0.9, 1.1]]
    """
    study = EventStudy.read(effects)
    target = _target(effects, study, event_time)
    _check(m, level)
    z = float(t_quantile(np.array(study.df), 0.5 + level / 2))
    # a step of δ is the difference of neighbouring waves for each period between them; the reference is zero
    k = len(study.before)
    gaps = -np.diff(np.append(study.ago, 0.0))
    steps = np.zeros((k, len(study.estimate)))
    steps[np.arange(k), study.before] -= 1 / gaps
    steps[np.arange(k - 1), study.before[1:]] += 1 / gaps[:-1]
    # a step after treatment moves every later coefficient
    later = np.cumsum(target[study.after][::-1])[::-1]
    reach = float(np.abs(later) @ np.diff(np.insert(study.ahead, 0, 0.0)))
    rows = []
    for value in m:
        ends = np.concatenate([target + value * reach * sign * steps for sign in (-1.0, 1.0)])
        centre, error = ends @ study.estimate, np.sqrt(np.einsum("ij,jk,ik->i", ends, study.vcov, ends))
        rows.append(
            _row("relative magnitude", value, centre.min(), centre.max(), (centre - z * error).min(),
                 (centre + z * error).max())
        )  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def smoothness(
    effects: EstimateTable, m: Sequence[float] = (0.0,), *, event_time: int | None = None, level: float = 0.95
) -> pd.DataFrame:
    """Bound an effect if the slope of diverging trends changes by at most ``m`` from one period to the next.

    Parameters
    ----------
    effects, event_time, level
        See `relative_magnitude`.
    m : sequence of float
        Largest change of slope per period, in the outcome's unit; 0 lets trends diverge linearly.

    Returns
    -------
    DataFrame
        As `relative_magnitude`; ``low`` and ``high`` are the ends of the interval's largest bias around its centre.

    Raises
    ------
    InputError, DesignError
        See `relative_magnitude`.

    Notes
    -----
    Rambachan and Roth (2023, sections 2.4.1 and 3.3, Δ^SD): the shortest interval of fixed length around an estimator
    linear in β, whose half length is cv(b/σ) σ with b the largest bias, σ the standard error and cv(t) the quantile
    of the absolute value of N(t, 1). Written by changes of slope, the largest bias is a sum of absolute values. Where
    waves are missing, δ is taken as straight between those that exist.

    Examples
    --------
    >>> from retrain_eval.estimators.effects.effects import EffectTable
    >>> table = EffectTable.build(
    ...     [{"event_time": e, "estimate": b} for e, b in ((-2, -0.1), (-1, 0.0), (0, 1.0))], np.diag([0.01, 0, 0.01]))
    >>> float(smoothness(table)["low"].round(2).item())
    0.9
    """
    study = EventStudy.read(effects)
    target = _target(effects, study, event_time)
    _check(m, level)
    back, ahead = study.ago, study.ahead
    weight = target[study.after]
    # δ bends at the waves, each by m times the periods that it represents: half of those on either side
    waves = np.concatenate([-back, [0.0], ahead])
    share = np.append((waves[2:] - waves[:-2]) / 2, 0.0)
    bends = dict(zip(waves[1:].tolist(), share.tolist(), strict=True))
    # largest bias = m (Σ|after| + Σ|C v|) for estimators target'β + v'β_before with Σ v back = Σ weight ahead
    curve_after = sum(abs(float(weight @ np.clip(ahead - x, 0, None))) * h for x, h in bends.items() if x > 0)
    curve = np.array([np.clip(back + x, 0, None) * h for x, h in bends.items() if x <= 0])
    slope = float(weight @ ahead)
    vcov_before = study.vcov[np.ix_(study.before, study.before)]
    cross = study.vcov[np.ix_(study.before, np.arange(len(target)))] @ target
    base_variance = float(target @ study.vcov @ target)

    def variance(v: Floats) -> float:
        return max(base_variance + 2 * float(v @ cross) + float(v @ vcov_before @ v), 0.0)

    frontier = [v for v in _frontier(curve, back, slope, vcov_before, cross) if variance(v) > 0]
    if not frontier:
        raise DesignError("the event study has no sampling error to bound with")
    rows = []
    for value in m:
        best = min(
            frontier,
            key=lambda v: _half_length(value * (curve_after + np.abs(curve @ v).sum()), variance(v), level, study.df),
        )
        bias = float(value * (curve_after + np.abs(curve @ best).sum()))
        half = _half_length(bias, variance(best), level, study.df)
        centre = float(target @ study.estimate + best @ study.estimate[study.before])
        rows.append(_row("smoothness", value, centre - bias, centre + bias, centre - half, centre + half))
    return pd.DataFrame(rows, columns=COLUMNS)


def breakdown(
    effects: EstimateTable, *, event_time: int | None = None, level: float = 0.95, largest: float = 100.0
) -> float:
    """Return the largest relative magnitude at which the interval still excludes zero; NaN if it never does.

    Parameters
    ----------
    effects, event_time, level
        See `relative_magnitude`.
    largest : float
        Where to stop looking: the interval still excludes zero there, and this is returned.

    Examples
    --------
    >>> from retrain_eval.estimators.effects.effects import EffectTable
    >>> table = EffectTable.build(
    ...     [{"event_time": e, "estimate": b} for e, b in ((-2, 0.1), (-1, 0.0), (0, 1.0))], np.diag([0.01, 0, 0.01]))
    >>> round(breakdown(table), 2)
    3.28
    """

    def excludes(value: float) -> bool:
        return not bool(
            relative_magnitude(effects, (value,), event_time=event_time, level=level)["includes_zero"].item()
        )

    if not excludes(0.0):
        return float("nan")
    low, high = 0.0, largest
    if excludes(high):
        return high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if excludes(middle) else (low, middle)
    return low


def _row(name: str, m: float, low: float, high: float, ci_low: float, ci_high: float) -> dict[str, object]:
    zero = bool(ci_low <= 0 <= ci_high)
    return dict(zip(COLUMNS, (name, float(m), low, high, ci_low, ci_high, zero), strict=True))


def _check(m: Sequence[float], level: float) -> None:
    if any(not np.isfinite(value) or value < 0 for value in m):
        raise InputError("m is zero or more", column="m", value=list(m))
    if not 0 < level < 1:
        raise InputError("level must lie between 0 and 1", column="level", value=level)


def _target(effects: EstimateTable, study: EventStudy, event_time: int | None) -> Floats:
    """Coefficients of the effect wanted, over the rows of the table."""
    event = effects.frame["event_time"].to_numpy(dtype=float, na_value=np.nan)
    chosen = study.after if event_time is None else study.after[event[study.after] == event_time]
    if len(chosen) == 0:
        known = ", ".join(f"{e:g}" for e in event[study.after])
        raise InputError(
            "no effect at this event time", column="event_time", value=event_time, fix=f"use one of {known}"
        )
    out = np.zeros(len(event))
    out[chosen] = 1 / len(chosen)
    return out


def _half_length(bias: float, variance: float, level: float, df: float) -> float:
    """Half the length of the interval: the quantile of |N(bias/σ, 1)| times σ, or of t with that bias added."""
    sigma = float(np.sqrt(variance))
    if np.isfinite(df):
        t, shift = stats.t(df), bias / sigma
        widest = shift + float(t.ppf(0.5 + level / 2))
        return sigma * float(optimize.brentq(lambda c: t.cdf(c - shift) - t.cdf(-c - shift) - level, 0, widest))
    return sigma * float(np.sqrt(stats.ncx2.ppf(level, 1, (bias / sigma) ** 2)))


def _frontier(curve: Floats, back: Floats, slope: float, vcov: Floats, cross: Floats) -> list[Floats]:
    """Weights on the coefficients before treatment, from the least biased to the least variable."""
    k = len(back)
    # least bias: Σ|C v| is a linear programme in (v, u), u ≥ |C v|
    rows = np.block([[curve, -np.eye(len(curve))], [-curve, -np.eye(len(curve))]])
    cost = np.concatenate([np.zeros(k), np.ones(len(curve))])
    equality = np.concatenate([back, np.zeros(len(curve))])[None]
    bounds = [(None, None)] * k + [(0, None)] * len(curve)
    least = optimize.linprog(cost, rows, np.zeros(len(rows)), equality, [slope], bounds=bounds)
    if least.x is None or least.fun is None:
        raise DesignError(f"the least biased estimator cannot be found: {least.message}")
    inverse = np.linalg.pinv(vcov, hermitian=True)
    steady = -inverse @ cross
    direction = inverse @ back
    steadiest = steady + direction * (slope - back @ steady) / (back @ direction)
    biased = float(np.abs(curve @ steadiest).sum())
    out = [steadiest]
    scale = float(np.trace(vcov)) / k
    straightest: Floats = least.x[:k]
    start = np.concatenate([straightest, np.abs(curve @ straightest)])
    effort: Any = {"maxiter": 300, "ftol": 1e-12}
    limits: Any = [
        {"type": "eq", "fun": lambda x: equality @ x - slope, "jac": lambda x: equality},
        {"type": "ineq", "fun": lambda x: -rows @ x, "jac": lambda x: -rows},
    ]

    def spread(x: Floats) -> float:
        return float(x[:k] @ vcov @ x[:k] + 2 * x[:k] @ cross) / scale

    def spread_slope(x: Floats) -> Floats:
        return np.concatenate([2 * (vcov @ x[:k] + cross), np.zeros(len(curve))]) / scale

    for share in np.linspace(0, 1, _FRONTIER)[:-1]:
        budget = float(least.fun + share * (biased - least.fun))
        spent: Any = {"type": "ineq", "fun": lambda x, b=budget: b - cost @ x, "jac": lambda x: -cost[None]}
        found = optimize.minimize(
            spread,
            start,
            jac=spread_slope,
            method="SLSQP",
            constraints=[*limits, spent],
            options=effort,
        )
        candidate = found.x[:k] if found.success else straightest
        # back onto the constraint that makes the bias finite
        out.append(candidate + back * (slope - back @ candidate) / (back @ back))
        start = found.x if found.success else start
    return out
