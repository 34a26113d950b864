"""What a test of pre-trends would have found, and what it does to those who pass (Roth 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import optimize, stats

from retrain_eval.common.arrays import Bools, Floats
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.numerics.joint import symmetric_root, t_quantile
from retrain_eval.estimators.effects.effects import EffectTable
from retrain_eval.estimators.effects.honest import EventStudy
from retrain_eval.tables.recipe import recorded


@recorded
def pretest_power(
    effects: EffectTable,
    power: Sequence[float] = (0.5, 0.8),
    *,
    level: float = 0.95,
    draws: int = 50_000,
    seed: int = 20260101,
) -> pd.DataFrame:
    """Return the linear differences in trends that a look at the pre-trends would have found so often.

    Parameters
    ----------
    effects : EffectTable
        ``aggregate("dynamic")`` with a universal base period.
    power : sequence of float
        Chances of finding it: of any coefficient before treatment being significant.
    level : float
        Of these tests.
    draws, seed : int
        Size and seed of the Gaussian sample, where there are several periods before treatment.

    Returns
    -------
    DataFrame
        One row per power: ``slope`` (outcome's unit per period), ``bias`` of the mean effect over event times ≥ 0 under
        it, and ``bias_if_passed``, the bias among those samples in which nothing was found.

    Raises
    ------
    InputError
        For a power outside (1 − level, 1).
    DesignError
        If the table is not an event study, or has no sampling error.

    Notes
    -----
    Roth (2022, section III): under slope γ the coefficients are N(γ · periods, Σ), and passing truncates those before
    treatment to a box; the bias after treatment follows from their correlation. With one period before, all of it is in
    closed form. With several, adding the same draws to every slope makes the power rise with it, and figures are
    rounded to the digits that the draws settle. A coefficient is tested as its interval is, by Student's t where
    clusters are counted; its standard error is taken as known.

    Examples
    --------
    >>> table = EffectTable.build(
    ...     [{"event_time": e, "estimate": b} for e, b in ((-2, 0.0), (-1, 0.0), (0, 1.0))], np.diag([0.01, 0, 0.01]))
    >>> pretest_power(table, (0.5,))["slope"].round(2).tolist()
    [0.2]
    """
    study = EventStudy.read(effects)
    for value in power:
        if not 1 - level < value < 1:
            raise InputError("power lies between the size of the test and 1", column="power", value=value)
    places = np.concatenate([study.before, study.after])
    periods = np.concatenate([-study.ago, study.ahead])
    vcov = study.vcov[np.ix_(places, places)]
    error = np.sqrt(np.diag(vcov))[: len(study.before)]
    if not (error > 0).all():
        raise DesignError("a coefficient before treatment has no sampling error")
    critical = float(t_quantile(np.array(study.df), 0.5 + level / 2))
    if len(study.before) == 1:
        return pd.DataFrame([_one_period(value, vcov, periods, critical) for value in power])
    noise: Floats = np.random.default_rng(seed).standard_normal((draws, len(vcov))) @ symmetric_root(vcov)
    return pd.DataFrame([_drawn(value, noise, periods, error, critical) for value in power])


def _one_period(power: float, vcov: Floats, periods: Floats, critical: float) -> dict[str, float]:
    """Return a row in closed form: a normal coefficient outside a symmetric interval, and its truncated mean inside."""
    error, norm = float(np.sqrt(vcov[0, 0])), stats.norm

    def found(shift: float) -> float:
        return float(norm.cdf(-critical - shift) + norm.sf(critical - shift)) - power

    shift = float(optimize.brentq(found, 0.0, critical + 40.0, xtol=1e-14, rtol=1e-14))
    slope = shift * error / abs(float(periods[0]))
    mean = float(slope * periods[0] / error)  # of the standardised coefficient
    inside = float(norm.pdf(-critical - mean) - norm.pdf(critical - mean)) / (1 - power)  # noise, given it passed
    bias = float(slope * periods[1:].mean())
    after = float(vcov[0, 1:].mean()) / error * inside
    return {"power": float(power), "slope": slope, "bias": bias, "bias_if_passed": bias + after}


def _drawn(power: float, noise: Floats, periods: Floats, error: Floats, critical: float) -> dict[str, float]:
    """Return a row from draws, to as many digits as they settle."""
    k, draws = len(error), len(noise)

    def passed(slope: float) -> Bools:
        found: Bools = np.all(np.abs(noise[:, :k] + slope * periods[:k]) <= critical * error, axis=1)
        return found

    low, high = 0.0, float((error / np.abs(periods[:k])).max()) * 10
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - passed(middle).mean() < power else (low, middle)
    slope, through, after = high, passed(high), noise[:, k:].mean(axis=1)
    # the error of the share that passes, over how fast it falls, is that of the slope
    falls = float(passed(0.95 * slope).mean() - passed(1.05 * slope).mean()) / (0.1 * slope)
    of_slope = float(np.sqrt(power * (1 - power) / draws)) / max(falls, 1e-300)
    ahead, printed = float(periods[k:].mean()), accurate(slope, of_slope)
    shift = float(after[through].mean()) if through.any() else float("nan")
    of_shift = float(after[through].std()) / float(np.sqrt(max(through.sum(), 1))) if through.any() else 0.0
    return {
        "power": float(power),
        "slope": printed,
        "bias": printed * ahead,
        "bias_if_passed": accurate(slope * ahead + shift, float(np.hypot(of_slope * ahead, of_shift))),
    }


def accurate(value: float, error: float) -> float:
    """Return a simulated value rounded to the decimal place that two standard errors of it leave alone.

    Examples
    --------
    >>> accurate(812.34, 2.1), accurate(0.034567, 0.0001), accurate(3.0, 0.0)
    (810.0, 0.035, 3.0)
    """
    if not (np.isfinite(value) and error > 0):
        return value
    return float(round(value, -int(np.ceil(np.log10(2 * error)))))
