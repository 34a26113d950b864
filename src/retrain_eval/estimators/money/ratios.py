"""The benefit–cost ratio and the marginal value of public funds, with Fieller's intervals; never an infinite ratio."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import DesignError
from retrain_eval.common.numerics.joint import t_quantile
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.money.accounts import NET, SAVED, SOCIETY, TRAINING
from retrain_eval.tables.ledger import OTHERS, PARTICIPANTS, TAXPAYERS
from retrain_eval.tables.recipe import recorded

RATIOS = ("ratio", "benefit", "cost", "estimate", "ci_low", "ci_high", "interval", "verdict")  # columns
MVPF, BCR = "marginal value of public funds", "benefit–cost ratio"
RATIO, PAYS_FOR_ITSELF, NO_COST, NO_RATIO = "ratio", "pays for itself", "no cost", "no ratio"
ROUNDING = 1e-12  # share of what was spent, below which a cost on net is zero
BOUNDED, NO_UPPER, NO_LOWER, UNBOUNDED, ALL_OF_IT, NONE = (
    "bounded", "no upper limit", "no lower limit", "no limits", "the cost is at most zero throughout", "none",
)  # fmt: skip


@recorded
def value_for_money(effects: EffectTable, /, *, level: float = 0.95) -> pd.DataFrame:
    r"""Return the benefit–cost ratio of society and the marginal value of public funds (MVPF).

    Parameters
    ----------
    effects : EffectTable
        What `retrain_eval.estimators.money.net_benefit.net_benefit` returned.
    level : float
        Confidence level.

    Returns
    -------
    DataFrame
        A row per ratio, columns ``RATIOS``. ``verdict`` is

        * ``ratio``: ``estimate`` is benefit by cost;
        * ``pays for itself``: the cost is zero or less, and the benefit is not negative: there is no ratio;
        * ``no ratio``: the cost is zero or less, and so is the benefit: money is saved at the expense of participants;
        * ``no cost``: nothing was spent on training, by anyone (benefit–cost ratio) or by taxpayers (MVPF). What was
          paid out to participants, or saved elsewhere, was spent nonetheless.

        ``interval`` says what ``ci_low`` and ``ci_high`` bound: ``bounded``; ``no upper limit``, where the interval
        reaches from ``ci_low`` to where the programme pays for itself; ``no lower limit``, where it reaches down from
        ``ci_high`` without end; ``no limits``; ``the cost is at most zero throughout``; ``none``.

    Raises
    ------
    DesignError
        If the table lacks a line that a ratio needs.

    Notes
    -----
    MVPF = willingness to pay / net cost: the net benefit of participants, by what taxpayers spend less what they get
    back (Hendren and Sprung-Keyser 2020, equation 1). The benefit–cost ratio is what society gains by what it spends.
    The interval is Fieller's (1954): all r with ``|b − r c| ≤ t · se(b − r c)``, from the joint covariance of both.

    Examples
    --------
    >>> from retrain_eval.estimators.money.net_benefit import net_benefit
    >>> path = EffectTable.build([{"event_time": 0, "estimate": 200.0}], np.eye(1) * 100)
    >>> made = net_benefit(path, {"tax_rate": 0.2}, {"government": 150.0}, discount_rate=0.0, per_year=1)
    >>> value_for_money(made)[["ratio", "estimate", "ci_low", "ci_high"]].round(2).values.tolist()
    [['marginal value of public funds', 1.45, 1.27, 1.66], ['benefit–cost ratio', 1.33, 1.2, 1.46]]
    """
    frame = effects.frame
    names = frame["estimand"].astype("str")
    place = {name: position for position, name in enumerate(names)}

    def line(perspective: str, item: str, *, needed: bool = True) -> Floats:
        """Return the contrast that picks a line."""
        found: Floats = np.zeros(len(frame))
        at = place.get(f"{perspective}: {item}")
        if at is None and needed:
            raise DesignError(f"the table has no line of {perspective}, {item}")
        if at is not None:
            found[at] = 1.0
        return found

    spent = -line(SOCIETY, TRAINING, needed=False) - line(SOCIETY, SAVED, needed=False)
    paid = -line(TAXPAYERS, TRAINING, needed=False)
    by_all = paid - line(PARTICIPANTS, TRAINING, needed=False) - line(OTHERS, TRAINING, needed=False)
    pairs = {
        MVPF: (line(PARTICIPANTS, NET), -line(TAXPAYERS, NET), paid),
        BCR: (line(SOCIETY, NET) + spent, spent, by_all),
    }
    estimates, rows = frame["estimate"].fillna(0.0).to_numpy(), []
    for name, (benefit, cost, outlay) in pairs.items():
        both = np.vstack([benefit, cost])
        numerator, denominator = (both @ estimates).tolist()
        gross = float(outlay @ estimates)
        if abs(denominator) <= ROUNDING * gross:  # all of it was paid out to participants, or saved elsewhere
            denominator = 0.0
        quantile = float(t_quantile(effects.inference_of(both[:1])["df"], 0.5 + level / 2)[0])
        covariance = effects.vcov_of(both)
        found = _ratio(numerator, denominator, covariance, quantile, nothing_spent=not gross > 0)
        values = (found.estimate, found.low, found.high, found.interval, found.verdict)
        rows.append((name, numerator, denominator, *values))
    return pd.DataFrame(rows, columns=list(RATIOS)).astype({"ratio": "str", "interval": "str", "verdict": "str"})


@dataclass(frozen=True)
class _Ratio:
    """A ratio as it may be printed."""

    verdict: str
    interval: str = NONE
    estimate: float = nan
    low: float = nan
    high: float = nan


def _ratio(benefit: float, cost: float, covariance: Floats, quantile: float, *, nothing_spent: bool) -> _Ratio:
    """Say what can be said of a ratio, with its interval."""
    if nothing_spent:
        return _Ratio(NO_COST)
    low, high, interval = fieller(benefit, cost, covariance, quantile)
    if cost > 0:
        return _Ratio(RATIO, interval, benefit / cost, low, high)
    if benefit < 0:
        return _Ratio(NO_RATIO)
    if interval == BOUNDED or covariance[1, 1] == 0:  # significantly without cost, or known to be
        return _Ratio(PAYS_FOR_ITSELF, ALL_OF_IT)
    return _Ratio(PAYS_FOR_ITSELF, interval, low=low, high=high)


def fieller(benefit: float, cost: float, covariance: Floats, quantile: float) -> tuple[float, float, str]:
    """Return Fieller's interval of a ratio: its ends, NaN where it has none, and of what kind it is.

    Parameters
    ----------
    benefit, cost : float
    covariance : ndarray, shape (2, 2)
        Of the two.
    quantile : float
        Of Student's t or the normal distribution.

    Notes
    -----
    The set is where a r² − 2 b r + c ≤ 0, with a = cost² − q² V_cost, b = benefit cost − q² C, c = benefit² − q² V. If
    a > 0 it is an interval. If not, the cost may be zero: the set is the outside of an interval, and its two parts meet
    where the cost is zero. The part with a positive cost is returned: that of the estimate, or the other one if the
    estimated cost is negative. Without roots the set is all numbers.

    Examples
    --------
    >>> [round(float(end), 3) for end in fieller(2.0, 1.0, np.diag([0.04, 0.01]), 2.0)[:2]]
    [1.5, 2.667]
    >>> fieller(2.0, 1.0, np.diag([0.04, 0.36]), 2.0)[1:]
    (nan, 'no upper limit')
    >>> fieller(0.1, 0.1, np.eye(2), 2.0)
    (nan, nan, 'no limits')
    """
    of_both = (quantile**2 * covariance).tolist()
    if not np.isfinite(covariance).all():
        return nan, nan, NONE
    a, b, c = cost**2 - of_both[1][1], benefit * cost - of_both[0][1], benefit**2 - of_both[0][0]
    discriminant = b**2 - a * c
    scale = cost**2 + of_both[1][1]
    if abs(a) <= 1e-12 * scale or (a < 0 and discriminant <= 0):
        return nan, nan, UNBOUNDED
    root = sqrt(max(discriminant, 0.0))
    low, high = sorted(((b - root) / a, (b + root) / a))
    if a > 0:
        return low, high, BOUNDED
    above = benefit >= 0 if cost == 0 else (benefit / cost >= high) == (cost > 0)
    return (high, nan, NO_UPPER) if above else (nan, low, NO_LOWER)
