"""Life tables without small counts: which durations to keep, and where to move censored spells.

Durations are processed in ascending order, on one grid for all groups. A duration is kept if both conditions hold, and
otherwise merged with the next:

1. since the last kept duration, each group × cause has no spell or at least ``min_cell``;
2. after it, each group has no spell or at least ``min_cell`` still at risk.

Events of a merged interval move to its end, the kept duration. Spells censored inside the interval were at risk for a
part of it: if all were counted at its end, the curve would be too high; if all before it, too low. They are therefore
split between its end and the previous kept duration such that the Kaplan–Meier curve has its exact value at the end, up
to the rounding that keeps both parts at zero or at least ``min_cell``. Before the first interval, they are placed at
half of the first duration, before any event. If no further duration can be kept, the remaining spells are censored at
the last one; by (2) there are enough of them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.tables.life_table.event_codes import CENSORED
from retrain_eval.tables.life_table.spell_cells import COUNTS
from retrain_eval.tables.life_table.spell_keys import SpellKeys


def publishable_durations(cells: pd.DataFrame, group: Ints, min_cell: int) -> list[float]:
    """Return the durations to keep, ascending, by the rules above; an empty list if none can be kept.

    Parameters
    ----------
    cells : DataFrame
        Columns ``duration``, ``cause``, ``n``.
    group : int ndarray
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


def move_to_grid(
    cells: pd.DataFrame, group: Ints, kept: list[float], min_cell: int, keys: SpellKeys | None = None
) -> tuple[pd.DataFrame, sparse.csr_array, SpellKeys | None]:
    """Return the cells with their spells moved to the kept durations; several rows may describe one cell.

    The second return value is the share of each old cell's weight in each new row, shape (rows, C); the third, the keys
    of the new rows.
    """
    grid = np.array(kept)
    interval = np.searchsorted(grid, cells["duration"].to_numpy())
    work = cells.assign(_group=group, _interval=interval, _cell=np.arange(len(cells)))
    within, censored = interval < len(grid), (cells["cause"] == CENSORED).to_numpy(dtype=bool)

    events = work[within & ~censored].assign(duration=grid[interval[within & ~censored]])
    went_on = work[~within].assign(duration=grid[-1], cause=CENSORED)
    sums = dict.fromkeys(cells.columns, "first") | dict.fromkeys(COUNTS, "sum")
    grouped = work[within & censored].groupby(["_group", "_interval"])
    pooled = grouped.agg(sums).reset_index()

    of_group, of_interval = pooled["_group"].to_numpy(), pooled["_interval"].to_numpy()
    wanted = _share_censored_before(work, len(grid))[of_interval, of_group] * pooled["n"].to_numpy()
    n_before = _nearest_allowed(wanted, pooled["n"].to_numpy(), min_cell)
    share = n_before / pooled["n"].to_numpy()
    starts = np.append(cells["duration"].min() / 2, grid[:-1])
    parts = [
        pooled.assign(duration=place[of_interval], n=n, **{name: pooled[name] * part for name in ("sum_w", "sum_w2")})
        for place, n, part in ((starts, n_before, share), (grid, pooled["n"] - n_before, 1 - share))
    ]
    moved = pd.concat([events, *parts, went_on], ignore_index=True)[list(cells.columns)]
    pool = grouped.ngroup().to_numpy().astype(np.int64)
    pooled_cells = work.loc[within & censored, "_cell"].to_numpy()
    origin = sparse.csr_array(
        sparse.vstack(
            [
                _placed(events["_cell"].to_numpy(), np.arange(len(events)), len(events), len(cells)),
                *(
                    sparse.diags_array(part) @ _placed(pooled_cells, pool, len(pooled), len(cells))
                    for part in (share, 1 - share)
                ),
                _placed(went_on["_cell"].to_numpy(), np.arange(len(went_on)), len(went_on), len(cells)),
            ]
        )
    )
    filled = (moved["n"] > 0).to_numpy(dtype=bool)
    if keys is not None:
        whole = keys.take(pooled_cells).merged(pool, len(pooled))
        both = (n_before > 0) & (n_before < pooled["n"].to_numpy())
        first, second = (whole.key.copy(), whole.key.copy())  # where all are placed at one time
        first[both], second[both] = (whole.split(np.flatnonzero(both), share) for share in (0, 1))
        of_events, of_others = (keys.key[part["_cell"].to_numpy()] for part in (events, went_on))
        rows = None
        if keys.rows is not None and whole.rows is not None:
            # who is censored in which part is not known; in a group, where sketches are compared, they add up
            none = np.zeros_like(whole.rows)
            early, late = (np.where((n > 0)[:, None], whole.rows, none) for n in (n_before, n_before == 0))
            of_cells = [keys.rows[part["_cell"].to_numpy()] for part in (events, went_on)]
            rows = np.concatenate([of_cells[0], early, late, of_cells[1]])[filled]
        keys = SpellKeys(np.concatenate([of_events, first, second, of_others])[filled], keys.most, rows)
    return moved[filled].reset_index(drop=True), sparse.csr_array(origin[filled]), keys


def _placed(cell: Ints, row: Ints, n_rows: int, n_cells: int) -> sparse.csr_array:
    """Return a matrix of ones at (row, cell)."""
    return sparse.csr_array((np.ones(len(cell)), (row, cell)), shape=(n_rows, n_cells))


def _share_censored_before(work: pd.DataFrame, n_intervals: int) -> Floats:
    """Return, by interval × group, the share of censored spells to count as not at risk in the merged interval.

    With ``Y`` at risk at the start, ``D`` ending and the survival ratio ``q`` over the interval, one step from
    ``Y − c`` at risk gives the same ratio if ``1 − D/(Y − c) = q``.
    """
    event = work["cause"] != CENSORED
    leaving, ending = (
        part.pivot_table("sum_w", "duration", "_group", aggfunc="sum", fill_value=0.0).to_numpy()
        for part in (work, work.assign(sum_w=work["sum_w"].where(event, 0.0)))
    )
    at_risk = leaving[::-1].cumsum(axis=0)[::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        stay = np.where(at_risk > 0, 1 - ending / at_risk, 1.0)
    interval = work.groupby("duration")["_interval"].first().to_numpy()
    share = np.zeros((n_intervals, leaving.shape[1]))
    for number in range(n_intervals):
        rows = interval == number
        start, lost, ended = at_risk[rows][0], 1 - stay[rows].prod(axis=0), ending[rows].sum(axis=0)
        censored = leaving[rows].sum(axis=0) - ended
        both = (ended > 0) & (censored > 0)
        share[number, both] = (start[both] - ended[both] / lost[both]) / censored[both]
    return np.clip(share, 0, 1)


def _nearest_allowed(wanted: Floats, count: Ints, min_cell: int) -> Ints:
    """Return the number nearest to ``wanted`` such that it and the rest of ``count`` are 0 or at least ``min_cell``."""
    between = np.where(count >= 2 * min_cell, np.clip(np.rint(wanted), min_cell, count - min_cell), 0)
    options = np.stack([np.zeros(len(count)), count, between])
    nearest = np.abs(options - wanted).argmin(axis=0)
    chosen: Ints = options[nearest, np.arange(len(count))].astype(np.int64)
    return chosen
