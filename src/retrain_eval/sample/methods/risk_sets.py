"""Risk sets: the people unemployed and untrained at each elapsed duration, and the nearest ones for each trainee."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.shown import bound, summarised
from retrain_eval.sample.methods.line import Line, sequence, sort_within
from retrain_eval.sample.methods.nearest_search import match_with_replacement, match_without_replacement
from retrain_eval.sample.pairs import Pairs
from retrain_eval.sample.units import Units

MAX_DURATIONS = 600
NEVER = np.iinfo(np.int64).max


@summarised
@dataclass(frozen=True)
class WaitingTimes:
    """Elapsed durations, by person in the order of ids.

    Attributes
    ----------
    start : int ndarray, shape (n,)
    entered : int ndarray, shape (n,)
        Elapsed duration at entry; −1 for people who do not enter from this spell.
    eligible : int ndarray, shape (n,)
        Last elapsed duration at which the person can be a control; −1 for never.
    exposed : int ndarray, shape (n,)
        Last elapsed duration at which the person could enter.
    trained_at : int ndarray, shape (n,)
        Period of entry; `NEVER` if none is known.
    last_period : int
        Last one on record.
    """

    start: Ints
    entered: Ints
    eligible: Ints
    exposed: Ints
    trained_at: Ints
    last_period: int

    @classmethod
    def build(cls, units: Units, start: str, entry: str, end: str, later: bool) -> WaitingTimes:
        """Count periods from the beginning of unemployment."""
        began = units.more[start].astype(np.int64)
        trained_at, ended = (_or_never(units.more[name]) for name in (entry, end))
        known = [began, trained_at[trained_at < NEVER], ended[ended < NEVER]]
        last_period = max(int(periods.max(initial=int(began.min()))) for periods in known)
        entered = np.where(units.treated, trained_at - began, -1)
        if not units.treated.any():
            raise DesignError(f"no treated unit: {entry!r} is nowhere given, or always after {end!r}")
        if len(durations := np.unique(entered[units.treated])) > MAX_DURATIONS:
            raise InputError(
                f"people enter after {len(durations)} different durations",
                column=entry,
                rule=f"at most {MAX_DURATIONS}",
                fix="count in weeks, months or quarters",
            )
        unemployed = np.minimum(ended - 1, last_period) - began
        untrained = np.where(trained_at < NEVER, trained_at - 1 - began, NEVER)
        eligible = np.minimum(unemployed, untrained)
        if not later:
            eligible[trained_at < NEVER] = -1
        exposed = np.where(units.treated, entered, np.minimum(unemployed, untrained))
        return cls(began, entered, np.maximum(eligible, -1), exposed, trained_at, last_period)

    @property
    def durations(self) -> Ints:
        """Elapsed durations at which at least one person enters."""
        return np.unique(self.entered[self.entered >= 0])


def _or_never(periods: Floats) -> Ints:
    missing = np.isnan(periods)
    return np.where(missing, NEVER, np.where(missing, 0, periods).astype(np.int64))


def match_waiting(
    spells: WaitingTimes,
    score: Floats,
    stratum: Ints,
    *,
    ratio: int,
    replace: bool,
    ties: str,
    caliper: float,
    tie: float,
) -> Pairs:
    """Match duration by duration. All people are sorted once; those who leave the risk set never come back.

    Ties are settled as in `retrain_eval.sample.methods.nearest_search`. The sequence in which steps are counted is that
    of all people: those outside the risk set count as used controls do.
    """
    order = sort_within(score, stratum)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    ends = np.cumsum(np.bincount(stratum))
    begins = ends - np.bincount(stratum)
    eligible = spells.eligible[order]
    waiting = np.flatnonzero(eligible >= 0)
    found: list[Pairs] = []

    @cache
    def place() -> Ints:
        return sequence(score)

    def positions(treated: Ints, control: Ints) -> tuple[Ints, Ints]:
        return place()[treated], place()[control]

    for duration in spells.durations.tolist():
        waiting = waiting[eligible[waiting] >= duration]
        who = np.flatnonzero(spells.entered == duration)
        control = order[waiting]
        line = Line(
            treated=who,
            treated_score=score[who],
            control=control,
            control_score=score[control],
            place=np.searchsorted(waiting, rank[who]),
            low=np.searchsorted(waiting, begins[stratum[who]]),
            high=np.searchsorted(waiting, ends[stratum[who]]),
            positions=cache(bound(positions, who, control)),
            tie=tie,
        )
        if replace:
            found.append(match_with_replacement(line, ratio=ratio, ties=ties, caliper=caliper))
        else:
            found.append(match_without_replacement(line, ratio=ratio, m_order="data", caliper=caliper, seed=0))
            eligible[rank[found[-1].control]] = -1
    treated = np.concatenate([pairs.treated for pairs in found])
    by_id = np.argsort(treated, kind="stable")
    return Pairs(
        treated[by_id],
        np.concatenate([pairs.control for pairs in found])[by_id],
        np.concatenate([pairs.distance for pairs in found])[by_id],
        sum(pairs.choices for pairs in found),
        sum(pairs.ties_broken for pairs in found),
    )
