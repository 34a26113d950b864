"""What a test of pre-trends would have found, and what it does to those who pass (Roth 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from retrain_eval.did.honest import EventStudy
from retrain_eval.effects import EffectTable
from retrain_eval.errors import DesignError, InputError
from retrain_eval.simultaneous import symmetric_root

Array = npt.NDArray[np.float64]


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
        Size and seed of the Gaussian sample.

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
        If the table is no event study, or has no sampling error.

    Notes
    -----
    Roth (2022, section III): under slope γ the coefficients are N(γ · periods, Σ), and passing truncates those before
    treatment to a box; the bias after treatment follows from their correlation. Adding the same draws to every slope
    makes the power rise with it.

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
    noise: Array = np.random.default_rng(seed).standard_normal((draws, len(vcov))) @ symmetric_root(vcov)
    critical = float(stats.norm.ppf(0.5 + level / 2))
    k = len(study.before)

    def passed(slope: float) -> npt.NDArray[np.bool_]:
        found: npt.NDArray[np.bool_] = np.all(np.abs(noise[:, :k] + slope * periods[:k]) <= critical * error, axis=1)
        return found

    rows = []
    for value in power:
        low, high = 0.0, float((error / np.abs(periods[:k])).max()) * 10
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if 1 - passed(middle).mean() < value else (low, middle)
        through = passed(high)
        after = noise[:, k:].mean(axis=1)
        bias = float(high * periods[k:].mean())
        shift = float(after[through].mean()) if through.any() else float("nan")
        rows.append({"power": float(value), "slope": high, "bias": bias, "bias_if_passed": bias + shift})
    return pd.DataFrame(rows)
