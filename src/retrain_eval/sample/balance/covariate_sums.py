"""Sum covariates by arm and stage of matching, from the cells of equal covariates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.errors import unknown
from retrain_eval.common.shown import summarised
from retrain_eval.sample.balance.balance import numeric
from retrain_eval.tables.covariates.covariates import (
    AFTER,
    AMOUNT,
    ARMS,
    BEFORE,
    BINARY,
    INSIDE,
    NUMBER,
    RELEASED,
    CovariateMoments,
)
from retrain_eval.tables.covariates.distributions import Points, is_whole
from retrain_eval.tables.largest import N_LARGEST, largest_of, padded
from retrain_eval.tables.noise.cell_keys import UNIT, CellKeys, common_weight, different_weights, key_sums
from retrain_eval.tables.noise.held import HeldKeys
from retrain_eval.tables.noise.person_keys import PRIME
from retrain_eval.tables.stamps import winsorise_stamp
from retrain_eval.tables.winsorise import check_quantile, limits


@summarised
@dataclass(frozen=True)
class _Stage:
    """The people in one arm and stage: rows, distinct people with their weights, and both by cell."""

    n: int
    cell: Ints  # of each person
    weight: Floats  # of each person
    by_cell: Floats
    people_by_cell: Ints
    squares: float
    keys: HeldKeys | None  # of each person
    set_of: CellKeys | None  # with weights divided by the base
    base: float  # the weight that all are multiples of
    usual: tuple[int, ...]  # weights that most people have, in units of the base

    @classmethod
    def build(cls, rows: Ints, weight: Floats, cell: Ints, n_cells: int, keys: HeldKeys | None) -> _Stage:
        people, place = np.unique(rows, return_inverse=True)
        of_person = np.bincount(place, weights=weight, minlength=len(people)).astype(float)
        held, set_of, base = None, None, 1.0
        usual: tuple[int, ...] = (UNIT,)
        if keys is not None:
            held = keys.take(people)
            base, usual = common_weight(*different_weights(of_person))
            set_of = CellKeys.of(np.zeros(len(people), np.int64), held.record, held.element, of_person / base, 1)
        return cls(
            len(rows),
            cell[people],
            of_person,
            np.bincount(cell[rows], weights=weight, minlength=n_cells).astype(float),
            np.bincount(cell[people], minlength=n_cells),
            float((weight**2).sum()),
            held,
            set_of,
            base,
            usual,
        )


def sum_covariates(
    cells: pd.DataFrame,
    cell: Ints,
    covariates: Sequence[str],
    score: Floats | None,
    before: Mapping[str, Ints],
    after: Mapping[str, tuple[Ints, Floats]],
    *,
    winsorise: float = 1.0,
    caps: Mapping[str, float] = MappingProxyType({}),
    cuts: Mapping[str, Sequence[float]] = MappingProxyType({}),
    amounts: Sequence[str] = (),
    implied: Sequence[str] = (),
    keys: HeldKeys | None = None,
) -> CovariateMoments:
    """Sum covariates by arm and stage.

    Parameters
    ----------
    cells : DataFrame, C rows
        Distinct covariate rows.
    cell : int ndarray, shape (n,)
        Cell of each unit.
    covariates : sequence of str
        Columns; text becomes one 0/1 covariate per level, as in the balance table.
    score : ndarray, shape (C,), optional
        Becomes the covariate ``distance``.
    before : mapping of str → int ndarray
        Units of each arm.
    after : mapping of str → (int ndarray, ndarray)
        Rows of the matched sample: the unit and its weight. A unit may be in several rows.
    winsorise : float
        Amounts beyond this quantile of either tail, or beyond the third largest, are set to it, as in outcome moments.
    caps : mapping of str → float
        Column → the amount that larger ones are set to, and its negative; in place of ``winsorise``.
    cuts : mapping of str → sequence of float
        Column → the values at which it is cut into strata.
    amounts : sequence of str
        Columns that hold amounts of money, whose sums get each person's noise.
    implied : sequence of str
        Columns whose zeros, or equal values, follow from the sample's definition.
    keys : HeldKeys, optional
        Of all units. Without them the moments cannot be protected.

    Raises
    ------
    InputError
        If the quantile does not lie above one half and at most at one, or an amount or an implied column is not one of
        the covariates.
    """
    check_quantile(winsorise)
    for name in (*amounts, *implied):
        if name not in covariates:
            raise unknown("covariate", name, covariates)
    stages = {}
    for arm in ARMS:
        stages[arm, BEFORE] = _Stage.build(before[arm], np.ones(len(before[arm])), cell, len(cells), keys)
        stages[arm, AFTER] = _Stage.build(*after[arm], cell, len(cells), keys)
    everyone = cell[np.concatenate([before[arm] for arm in ARMS])]
    all_of = [stages[arm, BEFORE].people_by_cell for arm in ARMS]
    rows: list[dict[str, object]] = []
    listed: list[tuple[str, str, Floats, bool]] = [] if score is None else [("distance", "distance", score, False)]
    listed += numeric(cells, covariates)
    for column, name, values, binary in listed:
        x = values if binary or winsorise == 1 else np.clip(values, *limits(values[everyone], winsorise))
        if column in caps:
            x = np.clip(values, -caps[column], caps[column])
        kind = BINARY if binary else AMOUNT if column in amounts else NUMBER
        reference = 0.0 if binary else float(f"{x[everyone].mean():.3g}")
        points = Points.none() if binary else Points.choose(x, all_of, cuts.get(column, ()))
        d = x - reference
        for (arm, stage), of in stages.items():
            row: dict[str, object] = {
                "covariate": name,
                "column": column,
                "binary": binary,
                "arm": arm,
                "stage": stage,
                "n": of.n,
                "people": len(of.cell),
                "reference": reference,
                "sum_w": float(of.by_cell.sum()),
                "sum_w2": of.squares,
                "sum_wx": float(of.by_cell @ d),
                "sum_wx2": float(of.by_cell @ d**2),
                "edges": points.edges.tolist(),
                "sum_below": points.below(x, of.by_cell),
            }
            if of.keys is not None:
                row |= _keyed(x, of, kind, points, whole=is_whole(x[everyone]), implied=column in implied)
            rows.append(row)
    columns = [*RELEASED, *(INSIDE if keys is not None else ())]
    found = pd.DataFrame(rows, columns=columns).astype({"covariate": "str", "column": "str"})
    return CovariateMoments(found, stamp=winsorise_stamp(winsorise if winsorise < 1 else None))


def _keyed(x: Floats, of: _Stage, kind: str, points: Points, *, whole: bool, implied: bool) -> dict[str, object]:
    """Return what the protected sums of a covariate are made from."""
    assert of.keys is not None
    assert of.set_of is not None
    value, record = x[of.cell], of.keys.record
    noisy = value * of.keys.factor if kind == AMOUNT else np.zeros(len(value))
    band = np.searchsorted(points.edges, value, side="right")
    n_bands = len(points.edges) + 1
    some = value != 0
    of_ones, of_bands = CellKeys.none(2), CellKeys.none(n_bands)
    ones = np.ones(len(value))
    if kind == BINARY:
        of_ones = CellKeys.of(some.astype(np.int64), record, of.keys.element, ones, 2)
    else:
        of_bands = CellKeys.of(band, record, of.keys.element, ones, n_bands)
    with np.errstate(over="ignore"):
        below = np.cumsum(of_bands.key, dtype=np.uint64)[:-1]
    return {
        "kind": kind,
        "whole": whole,
        "implied": implied,
        "key": of.set_of.key[0],
        "sketch": of.set_of.sketch[0],
        "rows": of.set_of.rows[0],
        "base": of.base,
        "usual": of.usual,
        "ones": int(some.sum()),
        "ones_key": key_sums(some.astype(np.int64), record, 2)[1],
        "ones_rows": of_ones.rows[1],
        "ones_w": float(of.weight[some].sum()),
        "noisy_wx": float(of.weight @ noisy),
        "noisy_wx2": float(of.weight @ noisy**2),
        "largest": _largest(value, of.weight) if kind == AMOUNT else padded([]),
        "absolute": float(of.weight @ np.abs(value)) if kind == AMOUNT else 0.0,
        "people_below": np.cumsum(np.bincount(band, minlength=n_bands))[:-1],
        "below_key": below,
        "below_rows": (np.cumsum(of_bands.rows, axis=0)[:-1] % PRIME).ravel(),
    }


def _largest(x: Floats, weight: Floats) -> list[float]:
    """Return the largest contributions w·|x| to a sum of amounts."""
    amount = weight * np.abs(x)
    # partition instead of sorting millions of values
    top = np.partition(amount, len(amount) - min(N_LARGEST, len(amount)))[-N_LARGEST:]
    return padded(largest_of(top).tolist())
