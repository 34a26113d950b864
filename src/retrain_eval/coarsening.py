"""Which durations of a life table may be published."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd


def publishable_durations(cells: pd.DataFrame, group: npt.NDArray[np.int64], min_cell: int) -> list[float]:
    """Return the durations to keep, ascending, so that no count from 1 to ``min_cell`` − 1 remains.

    The durations are walked in ascending order. One is kept when both hold, and otherwise merged with the next:

    1. since the last duration kept, each group × cause has no spell or at least ``min_cell``;
    2. after it, each group has no spell or at least ``min_cell`` still at risk.

    By (2), the spells that go on after the last duration kept may be counted as censored there.

    Parameters
    ----------
    cells : DataFrame
        Columns ``duration``, ``cause``, ``n``.
    group : ndarray
        Number of the group of each cell.
    min_cell : int
        Smallest count that may be published.

    Examples
    --------
    >>> cells = pd.DataFrame({"duration": [1.0, 2.0, 3.0, 4.0, 5.0], "cause": "1", "n": [1, 3, 1, 1, 2]})
    >>> publishable_durations(cells, np.zeros(5, dtype=int), min_cell=3)
    [2.0, 5.0]
    """
    keyed = cells.assign(group=group)
    ending = keyed.pivot_table("n", "duration", ["group", "cause"], aggfunc="sum", fill_value=0)
    leaving = keyed.pivot_table("n", "duration", "group", aggfunc="sum", fill_value=0).to_numpy()
    at_risk_after = leaving.sum(axis=0) - leaving.cumsum(axis=0)
    may_stop = ((at_risk_after == 0) | (at_risk_after >= min_cell)).all(axis=1)
    since = np.zeros(ending.shape[1])
    kept: list[float] = []
    for duration, counts, allowed in zip(ending.index, ending.to_numpy(), may_stop, strict=True):
        since += counts
        if allowed and ((since == 0) | (since >= min_cell)).all():
            kept.append(float(duration))
            since[:] = 0
    return kept
