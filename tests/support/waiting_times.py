"""An unemployment register in which training is assigned as time passes, with the truth about its effect.

Everybody becomes unemployed in period 0. In each period, somebody still unemployed and untrained enters training
with a hazard that depends on x; then whoever is unemployed finds work with a hazard that depends on x, falls with
duration, and is halved during two periods of training and raised afterwards. The outcome is having work by `HORIZON`.
Entry is possible in the first `ENTRIES` periods.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

HORIZON, ENTRIES = 12, 6
ENTRY = np.array([0.04, 0.08, 0.12])
EXIT = np.array([0.16, 0.10, 0.06])
LOCK_IN, LIFT = 0.5, 1.8

Ints = npt.NDArray[np.int64]


def register(n: int, seed: int) -> pd.DataFrame:
    """One row per person: id, x (observed), start, entry, until (first period in work), NULL where it is not known."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, n)
    entry, until = live(rng, x, np.zeros(n, dtype=np.int64), np.full(n, -1), may_enter=0)
    known = until <= HORIZON
    return pd.DataFrame(
        {
            "id": rng.permutation(n),
            "x": x,
            "start": 0,
            "entry": pd.array(np.where(entry >= 0, entry, 0), dtype="Int64").copy(),
            "until": pd.array(np.where(known, until, 0), dtype="Int64").copy(),
        }
    ).assign(
        entry=lambda d: d["entry"].mask(entry < 0),
        until=lambda d: d["until"].mask(~known),
    )


def live(rng: np.random.Generator, x: Ints, since: Ints, entered: Ints, *, may_enter: int) -> tuple[Ints, Ints]:
    """Go on from period ``since``, unemployed; who has not entered may do so from ``may_enter`` periods after it."""
    n = len(x)
    entry, until = entered.copy(), np.full(n, HORIZON + 1)
    for period in range(HORIZON):
        here = (since <= period) & (until > period)
        enters = here & (entry < 0) & (period < ENTRIES) & (period >= since + may_enter)
        enters &= rng.random(n) < ENTRY[x]
        entry[enters] = period
        trained_for = np.where(entry >= 0, period - entry, -1)
        factor = np.where(trained_for < 0, 1.0, np.where(trained_for < 2, LOCK_IN, LIFT))
        leaves = here & (rng.random(n) < EXIT[x] * 0.97**period * factor)
        until[leaves] = period + 1
    return entry, until


def truth(n: int, seed: int) -> dict[str, float]:
    """Effect on having work by `HORIZON`, over those who enter: against waiting longer, and against never entering."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, n)
    entry, until = live(rng, x, np.zeros(n, dtype=np.int64), np.full(n, -1), may_enter=0)
    who = entry >= 0
    x, entry, worked = x[who], entry[who], until[who] <= HORIZON
    waiting = live(rng, x, entry, np.full(len(x), -1), may_enter=1)[1] <= HORIZON
    never = live(rng, x, entry, np.full(len(x), -1), may_enter=HORIZON)[1] <= HORIZON
    return {"waiting": worked.mean() - waiting.mean(), "never": worked.mean() - never.mean()}


def paired(worked_treated: npt.NDArray[np.bool_], worked_control: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Mean difference within pairs and its standard error."""
    difference = worked_treated.astype(float) - worked_control
    return float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))


def kaplan_meier(spells: pd.DataFrame, at: str) -> tuple[float, float]:
    """Difference in P(work by the horizon), trained less not, over the trained's mix of strata.

    Columns: treat, stratum, duration, event, and the duration ``at`` which survival is read, the same in a stratum.
    Greenwood's variance within strata, and that of the mix of strata.
    """
    shares = spells[spells["treat"] == 1].groupby("stratum").size()
    gaps, variances = [], []
    for stratum in shares.index:
        here = spells[spells["stratum"] == stratum]
        gap, variance = 0.0, 0.0
        for sign, arm in ((-1, here[here["treat"] == 1]), (1, here[here["treat"] == 0])):
            survival, greenwood = 1.0, 0.0
            for t in range(1, int(here[at].iloc[0]) + 1):
                risk = int((arm["duration"] >= t).sum())
                events = int(((arm["duration"] == t) & (arm["event"] == 1)).sum())
                if events:
                    survival *= 1 - events / risk
                    greenwood += events / (risk * (risk - events)) if risk > events else 0.0
            gap += sign * survival
            variance += survival**2 * greenwood
        gaps.append(gap)
        variances.append(variance)
    p = (shares / shares.sum()).to_numpy()
    mean = float(p @ np.array(gaps))
    mix = float(p @ (np.array(gaps) - mean) ** 2) / shares.sum()
    return mean, float(np.sqrt(p**2 @ np.array(variances) + mix))
