"""Spells in discrete time: one Bernoulli trial per period at risk, counted by group and period."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.shown import summarised
from retrain_eval.tables.life_table.life_table import LifeTable

_MAX_PERIODS = 1_000


@summarised
@dataclass(frozen=True)
class Trials:
    """Group × period cells with spells at risk, ordered by group, then period.

    ``period`` is the position among the periods kept and ``label`` its interval; ``at_risk`` and ``events`` are sums of
    weights; ``periods`` are the periods kept.
    """

    group: Ints
    period: Ints
    label: list[str]
    at_risk: Floats
    events: Floats
    periods: Floats

    def ever(self, table: LifeTable, where: Bools) -> Bools:
        """Return whether the spells of each cell are at risk in one of the trials selected by ``where``."""
        group = table.group_numbers()
        last, first = _places(table)
        marked = np.zeros((int(group.max()) + 1, len(self.periods) + 1))
        marked[self.group, self.period + 1] = where
        sums = marked.cumsum(axis=1)
        found: Bools = sums[group, last + 1] > sums[group, first]
        return found


def intervals_of(table: LifeTable, bins: Sequence[float] | None) -> tuple[Floats, list[str]]:
    """Return the periods from 1 on, and the interval that each belongs to."""
    duration = table.cells["duration"].to_numpy()
    if (duration != np.rint(duration)).any():
        if table.grid is not None:
            raise DesignError("the first periods are merged, so that a hazard by period cannot be estimated")
        raise InputError(
            "a discrete-time hazard needs durations in whole periods",
            column=table.duration,
            value=float(duration[duration != np.rint(duration)][0]),
            fix="round the durations up to the period in which the spell ended",
        )
    last = int(duration.max())
    if last > _MAX_PERIODS:
        raise InputError(
            f"the longest spell has {last:,} periods",
            column=table.duration,
            rule=f"at most {_MAX_PERIODS:,}",
            fix="measure the duration in a coarser unit, or fit a Cox model",
        )
    periods = np.arange(1, last + 1)
    edges = periods.astype(float) if bins is None else np.asarray(bins, dtype=float)
    if not len(edges) and table.grid is not None:
        raise DesignError("none of the requested periods is kept in the coarsened table")
    if not len(edges) or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any() or edges[0] < 1:
        raise InputError(
            "bins must be periods from 1 on, ascending", column="bins", value=bins, fix="such as (2, 4, 8)"
        )
    upper = np.append(np.floor(edges[edges < last]), last)
    lower = np.append(0, upper[:-1]) + 1
    place = np.searchsorted(upper, periods)
    names = [f"{low:g}" if low == high else f"{low:g}–{high:g}" for low, high in zip(lower, upper, strict=True)]
    return periods.astype(float), [names[i] for i in place]


def trials_of(table: LifeTable, event: Bools, intervals: tuple[Floats, list[str]]) -> tuple[Trials, list[str]]:
    """Expand cells to group × period, dropping the intervals in which none or all of the spells end."""
    periods, labels = intervals
    group = table.group_numbers()
    shape = (int(group.max()) + 1, len(periods) + 1)
    weight = table.cells["sum_w"].to_numpy()
    last, first = _places(table)
    # at risk in period t (place t − 1): entered before it and not gone before it
    leaving, entering, ended = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    np.add.at(leaving, (group, last), weight)
    np.add.at(entering, (group, first), weight)
    np.add.at(ended, (group[event], last[event]), weight[event])
    later = np.pad(entering[:, 1:], ((0, 0), (0, 1)))
    at_risk = (leaving[:, ::-1].cumsum(axis=1) - later[:, ::-1].cumsum(axis=1))[:, ::-1][:, :-1]
    # whether spells are at risk is decided by counts, not by rounded sums of weights
    n, count, ends = table.cells["n"].to_numpy(), np.zeros(shape, dtype=np.int64), np.zeros(shape[1], dtype=np.int64)
    np.add.at(count, (group, first), n)
    np.add.at(count, (group, last + 1), -n)
    np.add.at(ends, last[event], n[event])
    by_interval = (
        pd.DataFrame({"at_risk": count.cumsum(axis=1).sum(axis=0)[:-1], "ends": ends[:-1]}).groupby(labels).sum()
    )
    none_end, all_end = by_interval["ends"] == 0, by_interval["ends"] == by_interval["at_risk"]
    kept = (count.cumsum(axis=1)[:, :-1] > 0) & ~np.array([none_end[label] or all_end[label] for label in labels])
    rows, columns = np.nonzero(kept)
    if not len(rows):
        raise DesignError("there is no period in which some spells end and others continue, so nothing can be modelled")
    notes = []
    for who, dropped, value in (("no spell", none_end, "zero"), ("every spell", all_end & ~none_end, "one")):
        found = list(dict.fromkeys(label for label in labels if dropped[label]))
        if found:
            notes.append(f"{who} at risk ends in period {', '.join(found)}, left out because the hazard is {value}")
    events = ended[:, :-1][kept]
    # rounding can make the sum over spells at risk smaller than that over the events
    return Trials(
        rows, columns, [labels[c] for c in columns], np.maximum(at_risk[kept], events), events, periods
    ), notes


def score(table: LifeTable, event: Bools, trials: Trials, x: Floats, hazard: Floats, rate: Floats) -> Floats:
    """Return the score of a unit of weight in each cell, shape (C, p)."""
    group = table.group_numbers()
    last, first = _places(table)
    # sums over the periods of a group in which the spell does not end, by position of the period
    place = np.full((int(group.max()) + 1, len(trials.periods)), -1)
    place[trials.group, trials.period] = np.arange(len(x))
    stay = np.zeros((*place.shape, x.shape[1]))
    stay[trials.group, trials.period] = -(rate / (1 - hazard))[:, None] * x
    sums = np.pad(stay.cumsum(axis=1), ((0, 0), (1, 0), (0, 0)))
    score = sums[group, last + 1] - sums[group, first]
    ending = place[group[event], last[event]]
    # a spell that ends in a dropped period has its last trial there, which carries no information
    counted = ending >= 0
    ended = (rate / (hazard * (1 - hazard)))[ending, None] * x[ending]
    score[event] += np.where(counted[:, None], ended, 0.0)
    return np.asarray(score, dtype=float)


def _places(table: LifeTable) -> tuple[Ints, Ints]:
    """Return the positions of each cell's last period and of its first, entry + 1 rounded down."""
    cells = table.cells
    return (
        cells["duration"].to_numpy().astype(np.int64) - 1,
        np.floor(cells["entry"].to_numpy()).astype(np.int64),
    )
