"""Covariate moments: what balance is computed from, one row per covariate, arm and stage of matching.

Like outcome moments they are sums over people that add up and are small enough to protect, so that every mean and
standardised difference of a balance table follows from them without the people.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from retrain_eval.cells.tablefile import read_table, write_table
from retrain_eval.contributions import N_LARGEST
from retrain_eval.errors import DesignError, InputError
from retrain_eval.recipe import Recipe
from retrain_eval.sample.balance import COLUMNS, Summary, balance_row, numeric
from retrain_eval.sample.distributions import Points, ecdf_distances, rarest

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ARMS = ("treated", "control")
BEFORE, AFTER, APART = "before", "after", "apart"
SUMS = ("sum_w", "sum_w2", "sum_wx", "sum_wx2")
RELEASED = ("covariate", "column", "binary", "arm", "stage", "n", "people", "reference", *SUMS, "edges", "sum_below")
INSIDE = ("ones", "smallest", "largest", "forced", "people_below", "values_below", "rarest")  # never leave the agency
BASELINE_GROUPS = {
    "treated": ("treated", BEFORE),
    "treated matched": ("treated", AFTER),
    "control before": ("control", BEFORE),
    "control matched": ("control", AFTER),
}
_FEW = 3  # values whose frequencies follow from a count, a sum and a sum of squares
_SHARING = 3  # people who have the value of a cap, at least
_ROUNDING = 1e-12
_KIND = "covariate_moments"


@dataclass(frozen=True)
class CovariateMoments:
    """Sums of covariates by arm, before and after matching: make them with `MatchedSample.covariate_moments`.

    Attributes
    ----------
    cells : DataFrame
        One row per covariate, arm and stage. ``covariate`` is the row of the balance table and ``column`` where it
        comes from, the same for all levels of a text; ``binary`` whether it is 0 or 1. ``n`` counts rows of the
        sample, ``people`` those in them, ``sum_w, sum_w2, sum_wx, sum_wx2`` are Σw, Σw², Σwd and Σwd² of
        d = x − ``reference``. Of numbers, ``sum_below`` is the Σw of those below each of ``edges``, which lie about
        the deciles of the treated. Inside the agency there is a third stage, ``apart``: those by whom the two others
        differ, who follow from them by subtraction; and columns that say whose number is too small.
    withheld : tuple of str
        Covariates that cannot be published.
    """

    cells: pd.DataFrame
    withheld: tuple[str, ...] = ()
    recipe: Recipe | None = field(default=None, init=False, compare=False, repr=False)

    def summary(self, covariate: str, arm: str, stage: str) -> Summary | None:
        """Return what balance reads of a covariate in an arm; None where there is no such row."""
        rows = self.cells
        found = rows[(rows["covariate"] == covariate) & (rows["arm"] == arm) & (rows["stage"] == stage)]
        if found.empty:
            return None
        row = found.iloc[0]
        weight, squares, total, total_squares = (float(row[name]) for name in SUMS)
        deviations, freedom = total_squares - total**2 / weight, weight - squares / weight
        if deviations <= _ROUNDING * total_squares:
            deviations = 0.0  # a constant
        variance = deviations / freedom if freedom > 0 else float("nan")
        return Summary(int(row["n"]), float(row["reference"]) + total / weight, variance)

    def distribution(self, covariate: str, arm: str, stage: str) -> dict[float, float]:
        """Return a distribution function: edge → share below it; empty where none is told."""
        rows = self.cells
        found = rows[(rows["covariate"] == covariate) & (rows["arm"] == arm) & (rows["stage"] == stage)]
        if found.empty:
            return {}
        row = found.iloc[0]
        return dict(zip(row["edges"], np.asarray(row["sum_below"], dtype=float) / float(row["sum_w"]), strict=True))

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the cells."""
        write_table(path, _KIND, pa.Table.from_pandas(self.cells, preserve_index=False), {"withheld": self.withheld})

    @classmethod
    def read_parquet(cls, path: str | os.PathLike[str]) -> CovariateMoments:
        """Read what `to_parquet` wrote.

        Raises
        ------
        InputError
            If the file holds something else.
        """
        table, facts = read_table(path, _KIND)
        if missing := [name for name in RELEASED if name not in table.column_names]:
            raise InputError("the file lacks a column", file=path, column=missing[0])
        cells = pd.DataFrame({name: table[name].to_pylist() for name in table.column_names})
        return cls(cells.astype({"covariate": "str", "column": "str"}), tuple(facts["withheld"]))


def covariate_balance(moments: CovariateMoments) -> pd.DataFrame:
    """Return the balance table that follows from covariate moments.

    Parameters
    ----------
    moments : CovariateMoments
        Where an arm has no sums before matching, because they differ from those after it by too few people, those
        after it stand for them.

    Returns
    -------
    DataFrame
        As `retrain_eval.sample.balance.balance_table`, but for the distances of distribution functions of numbers:
        they are those at the edges that are told, and NaN where none is.

    Raises
    ------
    DesignError
        If no covariate can be compared.

    Examples
    --------
    >>> from retrain_eval.sample.match import match
    >>> people = pd.DataFrame({"person": [1, 2, 3, 4, 5], "trained": [1, 1, 0, 0, 0], "age": [25, 41, 24, 33, 40]})
    >>> sample = match(people, "trained ~ age", unit="person", distance="age")
    >>> table = covariate_balance(sample.covariate_moments())
    >>> table.loc[table["covariate"] == "age", ["mean_treated", "mean_control_after"]].values.tolist()
    [[33.0, 32.0]]
    """
    rows = []
    for name, binary in moments.cells[["covariate", "binary"]].drop_duplicates().itertuples(index=False):
        treated, control = (moments.summary(name, arm, AFTER) for arm in ARMS)
        if treated is not None and control is not None:
            before = (moments.summary(name, "treated", BEFORE), moments.summary(name, "control", BEFORE))
            stages = {BEFORE: (before[0] or treated, before[1] or control), AFTER: (treated, control)}
            row = balance_row(name, stages, binary=bool(binary))
            if not binary:
                for stage in (BEFORE, AFTER):
                    row[f"ecdf_mean_{stage}"], row[f"ecdf_max_{stage}"] = _apart(moments, name, stage)
            rows.append(row)
    if not rows:
        raise DesignError("the moments hold no covariate of both arms")
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _apart(moments: CovariateMoments, covariate: str, stage: str) -> tuple[float, float]:
    """Return the mean and the largest distance of two distribution functions; those after matching may stand in."""
    treated, control = (
        moments.distribution(covariate, arm, stage) or moments.distribution(covariate, arm, AFTER) for arm in ARMS
    )
    both = sorted(set(treated) & set(control))
    return ecdf_distances(np.array([treated[edge] for edge in both]), np.array([control[edge] for edge in both]))


def covariate_paths(moments: CovariateMoments, outcome: str, columns: Mapping[str, int]) -> pd.DataFrame:
    """Return the mean outcome before the programme where its periods are covariates.

    Parameters
    ----------
    moments : CovariateMoments
    outcome : str
        What the columns hold.
    columns : mapping of str to int
        Covariate → period, or distance from the start of training.

    Returns
    -------
    DataFrame
        As `retrain_eval.sample.composition.baseline_paths`; periods that are withheld are not there.

    Raises
    ------
    DesignError
        If no period is left.
    """
    rows = []
    for group, (arm, stage) in BASELINE_GROUPS.items():
        for name, time in sorted(columns.items(), key=lambda item: item[1]):
            of = moments.cells[(moments.cells["covariate"] == name) & (moments.cells["arm"] == arm)]
            used = stage if stage in set(of["stage"]) else AFTER
            found = moments.summary(name, arm, used)
            if found is not None:
                people = int(of.loc[of["stage"] == used, "people"].iloc[0])
                rows.append((outcome, group, int(time), found.mean, people))
    if not rows:
        raise DesignError("no period before the programme is among the covariates")
    return pd.DataFrame(rows, columns=["outcome", "group", "time", "mean", "n"])


@dataclass(frozen=True)
class _Stage:
    """People of an arm at a stage: rows, distinct people with their weights, and both by cell."""

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
        Rows of the matched sample: the unit and its weight. A unit may stand in several.
    winsorise : float
        Values of a number above this quantile, or above the third largest, are set to it, as in outcome moments.
    cuts : mapping of str → sequence of float
        Column → where it is cut into strata.

    Raises
    ------
    InputError
        If the quantile does not lie above one half and at most at one.
    """
    if not 0.5 < winsorise <= 1:
        raise InputError("winsorise is a quantile above 0.5, at most 1", column="winsorise", value=winsorise)
    stages = {(arm, stage): made for arm in ARMS for stage, made in _stages(before[arm], *after[arm], cell, len(cells))}
    everybody = cell[np.concatenate([before[arm] for arm in ARMS])]
    rows: list[dict[str, object]] = []
    listed: list[tuple[str, str, Floats, bool]] = [] if score is None else [("distance", "distance", score, False)]
    listed += numeric(cells, covariates)
    there = np.unique(everybody)
    for column, name, values, binary in listed:
        x = values if binary or winsorise == 1 else np.minimum(values, _limit(values[everybody], winsorise))
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
                    "largest": [0.0] * N_LARGEST if binary else _largest(x[of.cell], of.weight),
                    "edges": points.edges.tolist(),
                    "sum_below": points.below(x, of.by_cell),
                    "forced": points.forced.tolist(),
                    "people_below": points.below(x, of.people_by_cell),
                    "values_below": points.values_below(x, of.people_by_cell),
                    "rarest": 0 if binary else rarest(x, of.people_by_cell),
                }
            )
    return CovariateMoments(
        pd.DataFrame(rows, columns=[*RELEASED, *INSIDE]).astype({"covariate": "str", "column": "str"})
    )


def _stages(before: Ints, rows: Ints, weight: Floats, cell: Ints, n_cells: int) -> Iterator[tuple[str, _Stage]]:
    """Yield the people before matching, those after it, and those by whom the two can be told apart.

    Whoever subtracts a multiple of one sum from the other is left with the people whose weight is not the most common.
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


def _limit(x: Floats, quantile: float) -> float:
    at = min(_SHARING, len(x))
    return float(min(np.quantile(x, quantile), np.partition(x, len(x) - at)[len(x) - at]))


def _smallest(x: Floats, people: Ints) -> int:
    """Return the fewest people who share a value, where values are so few that sums tell how many have each."""
    held = people > 0
    if len(np.unique(x[held][: 10 * _FEW])) > _FEW:  # sorting millions would tell the same
        return int(people.sum())
    values, place = np.unique(x[held], return_inverse=True)
    if not 1 < len(values) <= _FEW:
        return int(people.sum())
    return int(np.bincount(place, weights=people[held]).min())


def _largest(x: Floats, weight: Floats) -> list[float]:
    """Return the largest contributions to a sum of amounts; a covariate with negative values is none."""
    if len(x) == 0 or x.min() < 0:
        return [0.0] * N_LARGEST
    amount = weight * x
    top = -np.sort(-np.partition(amount, len(amount) - min(N_LARGEST, len(amount)))[-N_LARGEST:])
    return [*top.tolist(), *[0.0] * (N_LARGEST - len(top))]
