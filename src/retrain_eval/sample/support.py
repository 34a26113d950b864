"""Helpers for scores and strata in matching: numbering, common support, width of a caliper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.sample.units import Units, strata

CALIPER_SDS = ("full", "pooled")
DISCARDS = ("none", "treated", "control", "both")


def by_stratum(units: Units, exact: Sequence[str]) -> Iterator[tuple[str, Ints]]:
    """Yield the name and the cells of each combination of the exact columns that has both arms.

    Raises
    ------
    DesignError
        If there is none.
    """
    if not exact:
        yield "", np.arange(len(units.cells))
        return
    of_cell = strata(units.cells, exact)
    of_unit = units.of_units(of_cell)
    n_strata = int(of_cell.max()) + 1
    both = np.bincount(of_unit[units.treated], minlength=n_strata) > 0
    both &= np.bincount(of_unit[~units.treated], minlength=n_strata) > 0
    if not both.any():
        raise DesignError(f"no treated unit has a control with equal {', '.join(exact)}. Coarsen the columns.")
    order = np.argsort(of_cell, kind="stable")
    ends = np.cumsum(np.bincount(of_cell, minlength=n_strata))
    for stratum in np.flatnonzero(both):
        cells = order[ends[stratum - 1] if stratum else 0 : ends[stratum]]
        yield ", ".join(f"{name} = {units.cells[name].iloc[cells[0]]}" for name in exact), cells


def rows_of(cells: pd.DataFrame, rows: Ints) -> pd.DataFrame:
    """Return some rows, renumbered, with only the levels that occur; no copy is made if these are all rows."""
    if len(rows) == len(cells):
        return cells
    some = cells.iloc[rows].reset_index(drop=True)
    texts = [name for name in some if isinstance(some[name].dtype, pd.CategoricalDtype)]
    return some.assign(**{str(name): some[name].cat.remove_unused_categories() for name in texts})


def given_score(units: Units, distance: str) -> Floats:
    """Return a numeric column of the cells."""
    column = units.cells[distance]
    if not pd.api.types.is_numeric_dtype(column):
        raise InputError("the distance must be a numeric column", column=distance)
    return column.to_numpy(dtype=float)


def common_support(score: Floats, treated: Bools, discard: str) -> Bools:
    """Return which units to keep: in the named arms, those with a score within the range of the other arm."""
    kept = np.ones(len(score), dtype=bool)
    for arm, name in ((treated, "treated"), (~treated, "control")):
        if discard in (name, "both"):
            other = score[~arm]
            kept &= ~arm | ((score >= other.min()) & (score <= other.max()))
    for arm, who in ((treated, "treated units"), (~treated, "controls")):
        if not (kept & arm).any():
            raise DesignError(f"the scores of the arms do not overlap: discard={discard!r} leaves no {who}")
    return kept


def caliper_width(score: Floats, treated: Bools, caliper: float | None, sd: str) -> float:
    """Return the largest distance allowed, a multiple of the standard deviation of all units or of the two arms."""
    if caliper is None:
        return float("inf")
    if sd == "full":
        deviation = float(np.std(score, ddof=1))
    else:
        arms = (score[treated], score[~treated])
        if min(len(arm) for arm in arms) < 2:
            raise DesignError('caliper_sd="pooled" needs two units in each arm; use "full"')
        deviation = float(np.sqrt(sum(np.var(arm, ddof=1) for arm in arms) / 2))
    return caliper * deviation
