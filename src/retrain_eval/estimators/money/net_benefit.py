"""Net benefits by perspective: the present value of an event study of earnings, put into the accounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.estimates import COUNTS
from retrain_eval.estimators.inference.payback import after_start
from retrain_eval.estimators.money.accounts import (
    BENEFITS,
    EMPLOYER_TAX,
    INCOME_TAX,
    SALES_TAX,
    SOCIETY,
    Outlays,
    Rates,
    accounts,
)
from retrain_eval.tables.ledger import TAXPAYERS
from retrain_eval.tables.recipe import recorded

OBSERVED, EXTRAPOLATED = "earnings gained, observed", "earnings gained, extrapolated"
BEYOND = ", extrapolated"  # after the name of a path, where nothing was observed


@recorded
def net_benefit(
    effects: EffectTable,
    /,
    rates: Mapping[str, float],
    outlays: Mapping[str, float],
    *,
    discount_rate: float,
    per_year: int,
    horizon: int | None = None,
    carried: int = 0,
    fade: float = 0.0,
    level: float = 0.95,
) -> EffectTable:
    r"""Return what training is worth to participants, taxpayers, others and society, per participant.

    Parameters
    ----------
    effects : EffectTable
        ``aggregate("dynamic")`` of earnings per period in prices of one period.
    rates : mapping of str → float
        Fields of `retrain_eval.estimators.money.accounts.Rates`, such as ``tax_rate``.
    outlays : mapping of str → float
        Fields of `retrain_eval.estimators.money.accounts.Outlays`, per participant in the same prices; taken as known,
        and as paid at the start.
    discount_rate : float
        Per year, from the start of training.
    per_year : int
        Periods in a year.
    horizon : int, optional
        Periods from the start of training that count, the first included. None: those that are observed.
    carried : int
        The mean effect of the last so many observed periods is carried forward up to the horizon; 0: it is not.
    fade : float
        Share by which a carried effect falls each year.
    level : float
        Confidence level.

    Returns
    -------
    EffectTable
        A row for each line of the accounts; its ``estimand`` is ``"perspective: line"``, as in ``"taxpayers: net
        benefit"``. Lines of each perspective add up to its net benefit, and the net benefits of participants, taxpayers
        and others to that of society. Before them, the present values of earnings gained, observed and extrapolated.
        Lines that do not depend on the effect have no standard error.

    Raises
    ------
    InputError
        If a rate or an outlay is not known, or out of range.
    DesignError
        If a period is missing, or the horizon is longer than what is observed and nothing is carried forward.

    Notes
    -----
    With effects θ_e and δ = (1 + r)^(−1/m) for m periods a year, E = Σ_{e<H} δ^e θ_e is observed. Beyond the last
    observed period K − 1 it is Σ_{K≤e<H} δ^e (1 − f)^((e−K+1)/m) θ̄, where θ̄ is the mean of the last periods. Each
    line is s·E + a, so the covariance of all of them is linear in that of θ (delta method, exact here). Intervals
    beyond the follow-up contain the sampling error of θ̄, not the error of the assumption that it lasts.

    Examples
    --------
    >>> rows = [{"event_time": e, "estimate": b} for e, b in enumerate([-100.0, 300.0])]
    >>> found = net_benefit(EffectTable.build(rows, np.diag([25.0, 25.0])), {"tax_rate": 0.2},
    ...                     {"government": 150.0}, discount_rate=0.0, per_year=1)
    >>> found.frame.set_index("estimand")["estimate"].filter(like="net benefit").to_dict()
    {'participants: net benefit': 160.0, 'taxpayers: net benefit': -110.0, 'society: net benefit': 50.0}
    """
    values = _PresentValues.of(effects, discount_rate, per_year, horizon, carried, fade)
    lines = accounts(Rates.of(rates), Outlays.of(outlays))
    observed, beyond = values.observed.sum(axis=0), values.beyond.sum(axis=0)
    named: list[tuple[str, Floats, float]] = [(OBSERVED, observed, 0.0)]
    if len(values.beyond):
        named.append((EXTRAPOLATED, beyond, 0.0))
    named += [(line.name, line.share * (observed + beyond), line.amount) for line in lines]
    return _built(effects, named, values, level=level)


@recorded
def benefit_over_time(
    effects: EffectTable,
    /,
    rates: Mapping[str, float],
    *,
    discount_rate: float,
    per_year: int,
    horizon: int | None = None,
    carried: int = 0,
    fade: float = 0.0,
    level: float = 0.95,
    seed: int = 20260101,
) -> EffectTable:
    """Return the present value of benefits up to each period: of society, and what taxpayers get back.

    Parameters
    ----------
    effects, rates, discount_rate, per_year, horizon, carried, fade, level
        As for `net_benefit`.
    seed : int
        Of the draws behind the critical value of the bands.

    Returns
    -------
    EffectTable
        Rows by ``event_time`` with ``estimand`` ``"society"`` and ``"taxpayers"``, and ``"society, extrapolated"`` and
        so on beyond the follow-up; with intervals, and simultaneous bands over all of them. No cost is taken off.

    Raises
    ------
    InputError, DesignError
        As `net_benefit`.

    Examples
    --------
    >>> rows = [{"event_time": e, "estimate": b} for e, b in enumerate([-100.0, 300.0])]
    >>> found = benefit_over_time(EffectTable.build(rows, np.diag([25.0, 25.0])), {"tax_rate": 0.2}, discount_rate=0.0,
    ...                           per_year=1, horizon=3, carried=1)
    >>> found.frame[["estimand", "event_time", "estimate"]].values.tolist()[1:4]
    [['society', 1.0, 200.0], ['society, extrapolated', 2.0, 500.0], ['taxpayers', 0.0, -20.0]]
    """
    values = _PresentValues.of(effects, discount_rate, per_year, horizon, carried, fade)
    gains = (INCOME_TAX, EMPLOYER_TAX, SALES_TAX, BENEFITS)
    lines = accounts(Rates.of(rates), Outlays())
    shares = {
        SOCIETY: sum(line.share for line in lines if line.perspective == SOCIETY and line.item != "net benefit"),
        TAXPAYERS: sum(line.share for line in lines if line.perspective == TAXPAYERS and line.item in gains),
    }
    paths = np.cumsum(np.vstack([values.observed, values.beyond]), axis=0)
    n = len(values.observed)
    named = [
        (name + (BEYOND if time >= n else ""), share * row, 0.0)
        for name, share in shares.items()
        for time, row in enumerate(paths)
    ]
    times = [float(time) for _ in shares for time in range(len(paths))]
    return _built(effects, named, values, level=level, times=times, seed=seed)


@summarised
@dataclass(frozen=True)
class _PresentValues:
    """How present values follow from effects: a row per period that counts, a column per effect of the table."""

    observed: Floats
    beyond: Floats

    @classmethod
    def of(
        cls, effects: EffectTable, discount_rate: float, per_year: int, horizon: int | None, carried: int, fade: float
    ) -> _PresentValues:
        for name, value, high in (("discount_rate", discount_rate, np.inf), ("fade", fade, 1.0)):
            if not (isfinite(value) and 0 <= value <= high):
                raise InputError(f"{name} is a rate per year", column=name, value=value, rule=f"0 to {high:g}")
        for name, number, low in (("per_year", per_year, 1), ("horizon", horizon, 1), ("carried", carried, 0)):
            if number is not None and number < low:
                raise InputError(f"{name} is a number of periods", column=name, value=number, rule=f"at least {low}")
        _, at = after_start(effects)
        n, size = len(at), len(effects)
        each = np.eye(size)[at]
        factor = (1 + discount_rate) ** (-np.arange(max(n, horizon or 0)) / per_year)
        last = n if horizon is None else horizon
        if last <= n:
            return cls(factor[:last, None] * each[:last], np.zeros((0, size)))
        if carried == 0:
            raise DesignError(
                f"the effect is observed for {n} periods and the horizon is {last}: say with extrapolate = true that "
                "its last mean is to be carried forward, or shorten the horizon",
                public="the horizon is longer than the follow-up, and the study does not say how to extrapolate",
            )
        if carried > n:
            raise DesignError(
                f"the mean of the last {carried} periods is to be carried forward, and {n} are observed",
                public="fewer periods are observed than the mean to carry forward is of",
            )
        later = np.arange(n, last)
        mean = each[n - carried :].mean(axis=0)
        weight = factor[later] * (1 - fade) ** ((later - n + 1) / per_year)
        return cls(factor[:n, None] * each, weight[:, None] * mean)


def _built(
    effects: EffectTable,
    named: list[tuple[str, Floats, float]],
    values: _PresentValues,
    *,
    level: float,
    times: list[float] | None = None,
    seed: int = 20260101,
) -> EffectTable:
    """Build the table of estimates that are linear in the effects: ``coefficients @ effects + amount``."""
    frame, _ = after_start(effects)
    keys = {key: frame[key].iloc[0] for key in ("outcome", "estimator")}
    counts = {name: frame[name].min(skipna=False) for name in COUNTS}
    estimates = effects.frame["estimate"].fillna(0.0).to_numpy()
    matrix = np.vstack([coefficients for _, coefficients, _ in named])
    rows = [
        {**keys, "estimand": name, "estimate": float(coefficients @ estimates) + amount, **counts}
        for name, coefficients, amount in named
    ]
    if times is not None:
        rows = [{**row, "event_time": time} for row, time in zip(rows, times, strict=True)]
    # lines without sampling error have the degrees of freedom of the others
    whole = np.vstack([values.observed, values.beyond]).sum(axis=0)
    return EffectTable.build(
        rows,
        effects.vcov_of(matrix),
        band=None if times is None else np.ones(len(rows), dtype=bool),
        level=level,
        seed=seed,
        **effects.inference_of(np.tile(whole, (len(rows), 1))),
    )
