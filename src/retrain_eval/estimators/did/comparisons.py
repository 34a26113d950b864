"""Which cohorts and periods are compared, with whom and with which base period; and how influence is collected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from retrain_eval.common.arrays import Bools, Floats, Index
from retrain_eval.common.errors import InputError
from retrain_eval.common.shown import summarised

CONTROLS = ("never_treated", "not_yet_treated")
METHODS = ("reg", "ipw", "dr")
BASE_PERIODS = ("universal", "varying")


@dataclass(frozen=True)
class AttGtOptions:
    """Keywords of `att_gt`, in the order in which results list them.

    Raises
    ------
    InputError
        If one is not among those that exist, or the anticipation is negative.

    Examples
    --------
    >>> list(AttGtOptions("never_treated", "dr", (), 0, "universal", 1).facts)
    ['control', 'method', 'covariates', 'anticipation', 'base_period', 'seed']
    """

    control: str
    method: str
    covariates: tuple[str, ...]
    anticipation: int
    base_period: str
    seed: int

    def __post_init__(self) -> None:
        for name, known in (("control", CONTROLS), ("method", METHODS), ("base_period", BASE_PERIODS)):
            require_known(name, str(self.facts[name]), known)
        if self.anticipation < 0:
            raise InputError("anticipation is a number of periods, zero or more", value=self.anticipation)

    @property
    def facts(self) -> Mapping[str, object]:
        """What results say of how they were made."""
        return dict(vars(self))


def require_known(name: str, value: str, known: Sequence[str]) -> None:
    """Refuse a keyword's value that does not exist."""
    if value not in known:
        raise InputError(f"unknown {name}={value!r}", fix=f"use one of {', '.join(known)}")


@summarised
@dataclass(frozen=True)
class Comparison:
    """One ATT(g, t) to estimate: periods as positions in ``times``, cells as masks."""

    cohort: float
    time: int
    base: int
    treated: Bools
    control: Bools


def comparisons(
    periods: Sequence[int], cells: pd.DataFrame, mask: Bools, options: AttGtOptions, notes: list[str], where: str
) -> Iterator[Comparison]:
    """Yield every (cohort, period) that can be estimated; append to ``notes`` what cannot."""
    times, n = np.array(periods), cells["n"].to_numpy()
    anticipation = options.anticipation
    cohort = cells["cohort"].to_numpy(dtype=float, na_value=np.inf)
    # a cohort that starts after the last period is untreated throughout
    never = mask & (cohort > times[-1] + anticipation)
    treated_cohorts = sorted({float(g) for g in cohort[mask & ~never]})
    if not treated_cohorts:
        notes.append(f"no unit is treated{where}")
    if options.control == "never_treated" and not never.any():
        notes.append(f'there are no never-treated controls{where}; try control="not_yet_treated"')
        return
    for g in treated_cohorts:
        before = np.flatnonzero(times < g - anticipation)
        if len(before) == 0:
            notes.append(f"cohort {g:g}{where} has no period before treatment and is left out")
            continue
        treated = mask & (cohort == g)
        n_units = int(n[treated].sum())
        if n_units < 2:
            notes.append(f"cohort {g:g}{where} has {n_units} unit, which gives no standard error, and is left out")
            continue
        for t in range(len(times)):
            base = int(before[-1])
            if options.base_period == "varying" and times[t] < g - anticipation:
                if t == 0:
                    continue
                base = t - 1
            control = never
            if options.control == "not_yet_treated":
                control = mask & (cohort > max(times[t], times[base]) + anticipation) & (cohort != g)
            n_control = int(n[control].sum())
            if n_control < 2:
                left = "no untreated unit" if n_control == 0 else "only one untreated unit"
                notes.append(f"cohort {g:g}, period {times[t]}{where}: {left} is left to compare with")
                continue
            yield Comparison(g, t, base, treated, control)


class Coefficients:
    """Collects influence coefficients φ by (row, cell, coordinate)."""

    def __init__(self, size: int, n_cells: int) -> None:
        self.size, self.n_cells = size, n_cells
        self.index: list[tuple[int, Index, Floats]] = []

    def add(self, row: int, cells: Index, coordinate: int, values: Floats) -> None:
        """Add values at one coordinate of some cells."""
        self.index.append((row, cells * self.size + coordinate, values))

    def matrix(self, n_rows: int) -> sparse.csr_array:
        """Return what was added, shape (n_rows, C · (1 + T))."""
        rows = np.concatenate([np.full(len(columns), row) for row, columns, _ in self.index])
        columns, values = (np.concatenate([part[i] for part in self.index]) for i in (1, 2))
        return sparse.csr_array((values, (rows, columns)), shape=(n_rows, self.n_cells * self.size))
