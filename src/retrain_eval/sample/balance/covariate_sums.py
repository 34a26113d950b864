"""Sum covariates by arm and stage of matching, from the cells of equal covariates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.shown import summarised
from retrain_eval.sample.balance.balance import numeric
from retrain_eval.tables.covariates.covariates import AFTER, APART, ARMS, BEFORE, INSIDE, RELEASED, CovariateMoments
from retrain_eval.tables.covariates.distributions import Points, rarest
from retrain_eval.tables.largest import N_LARGEST, largest_of, padded
from retrain_eval.tables.stamps import winsorise_stamp
from retrain_eval.tables.winsorise import check_quantile, limits

_FEW = 3  # with so few values, their frequencies follow from a count, a sum and a sum of squares


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

    @classmethod
    def build(cls, rows: Ints, weight: Floats, cell: Ints, n_cells: int) -> _Stage:
        people, place = np.unique(rows, return_inverse=True)
        return cls(
            len(rows),
            cell[people],
            np.bincount(place, weights=weight, minlength=len(people)).astype(float),
            np.bincount(cell[rows], weights=weight, minlength=n_cells).astype(float),
            np.bincount(cell[people], minlength=n_cells),
            float((weight**2).sum()),
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
    cuts: Mapping[str, Sequence[float]] = MappingProxyType({}),
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
    cuts : mapping of str → sequence of float
        Column → the values at which it is cut into strata.

    Raises
    ------
    InputError
        If the quantile does not lie above one half and at most at one.
    """
    check_quantile(winsorise)
    stages = {(arm, stage): made for arm in ARMS for stage, made in _stages(before[arm], *after[arm], cell, len(cells))}
    everybody = cell[np.concatenate([before[arm] for arm in ARMS])]
    rows: list[dict[str, object]] = []
    listed: list[tuple[str, str, Floats, bool]] = [] if score is None else [("distance", "distance", score, False)]
    listed += numeric(cells, covariates)
    there = np.unique(everybody)
    bound = _bound(listed, there)
    for column, name, values, binary in listed:
        x = values if binary or winsorise == 1 else np.clip(values, *limits(values[everybody], winsorise))
        reference = 0.0 if binary else float(f"{x[everybody].mean():.3g}")
        points = Points.none()
        if not binary:
            levels = (level[there] == 1 for _, _, level, is_level in listed if is_level)
            matched = stages["treated", AFTER].by_cell[there]
            points = Points.choose(x[there], matched, cuts.get(column, ()), levels)
        for (arm, stage), of in stages.items():
            d = x - reference
            rows.append(
                {
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
                    "ones": int(of.people_by_cell[x == 1].sum()) if binary else 0,
                    "smallest": _smallest(x, of.people_by_cell),
                    "largest": padded([]) if binary else _largest(x[of.cell], of.weight),
                    "absolute": float(of.by_cell @ np.abs(x)),
                    "edges": points.edges.tolist(),
                    "sum_below": points.below(x, of.by_cell),
                    "forced": points.forced.tolist(),
                    "people_below": points.below(x, of.people_by_cell),
                    "values_below": points.values_below(x, of.people_by_cell),
                    "rarest": 0 if binary else rarest(x, of.people_by_cell),
                    "beside": [other for other, _ in bound.get(name, ())],
                    "fewest_beside": [_fewest(x, y, of.people_by_cell) for _, y in bound.get(name, ())],
                }
            )
    cells = pd.DataFrame(rows, columns=[*RELEASED, *INSIDE]).astype({"covariate": "str", "column": "str"})
    return CovariateMoments(cells, stamp=winsorise_stamp(winsorise if winsorise < 1 else None))


def _stages(before: Ints, rows: Ints, weight: Floats, cell: Ints, n_cells: int) -> Iterator[tuple[str, _Stage]]:
    """Yield the people before matching, the people after it, and the people whose sums follow by subtraction.

    Subtracting a multiple of one sum from the other leaves the people whose weight is not the most common one.
    """
    of_unit = np.bincount(rows, weights=weight, minlength=len(cell)).astype(float)
    listed, counts = np.unique(np.round(of_unit[np.unique(rows)], 9), return_counts=True)
    usual = listed[counts.argmax()]
    either = np.union1d(before, rows)
    alike = np.isclose(of_unit[either], usual, rtol=1e-8, atol=0) & np.isin(either, before)
    apart = either[~alike]
    yield BEFORE, _Stage.build(before, np.ones(len(before)), cell, n_cells)
    yield AFTER, _Stage.build(rows, weight, cell, n_cells)
    yield APART, _Stage.build(apart, np.ones(len(apart)), cell, n_cells)


def _bound(listed: Sequence[tuple[str, str, Floats, bool]], there: Ints) -> dict[str, list[tuple[str, Floats]]]:
    """Return, for each 0/1 covariate, the covariates with which it has an empty combination.

    Anyone who knows that a combination is impossible, such as being both over 50 and under 25, can compute the counts
    of the other combinations by subtraction.
    """
    found: dict[str, list[tuple[str, Floats]]] = {}
    shares = [(column, name, x, x[there] == 1) for column, name, x, binary in listed if binary]
    for one, (column, name, x, has) in enumerate(shares):
        for other_column, other, y, has_other in shares[:one]:
            if column == other_column:
                continue  # levels of one text column, each of which is published or merged
            if not all((a & b).any() for a in (has, ~has) for b in (has_other, ~has_other)):
                found.setdefault(name, []).append((other, y))
                found.setdefault(other, []).append((name, x))
    return found


def _fewest(x: Floats, y: Floats, people: Ints) -> int:
    """Return the smallest non-zero number of people with a combination of two 0/1 covariates."""
    n = np.bincount((2 * (x == 1) + (y == 1)).astype(np.int64), weights=people, minlength=4)
    return int(n[n > 0].min(initial=people.sum()))


def _smallest(x: Floats, people: Ints) -> int:
    """Return the smallest number of people sharing a value, if there are so few values that sums reveal the counts."""
    held = people > 0
    if len(np.unique(x[held][: 10 * _FEW])) > _FEW:  # a cheap check before sorting millions of values
        return int(people.sum())
    values, place = np.unique(x[held], return_inverse=True)
    if not 1 < len(values) <= _FEW:
        return int(people.sum())
    return int(np.bincount(place, weights=people[held]).min())


def _largest(x: Floats, weight: Floats) -> list[float]:
    """Return the largest contributions w·|x| to a sum of amounts."""
    amount = weight * np.abs(x)
    # partition instead of sorting millions of values
    top = np.partition(amount, len(amount) - min(N_LARGEST, len(amount)))[-N_LARGEST:]
    return padded(largest_of(top).tolist())
