"""Covariate moments, from which balance is computed: one row per covariate, arm and stage of matching.

Like outcome moments, they are additive sums over people and small enough to protect, so that every mean and
standardised difference of a balance table can be computed from them without records of people.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import pandas as pd
import pyarrow as pa

from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.shown import summarised
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.covariates.adding import add_cells
from retrain_eval.tables.covariates.balance_rows import COLUMNS, Summary, balance_row
from retrain_eval.tables.covariates.distributions import ecdf_distances
from retrain_eval.tables.file import read_table, write_table
from retrain_eval.tables.recipe import Recipe, recorded

ARMS = ("treated", "control")
BEFORE, AFTER = "before", "after"
AMOUNT, BINARY, NUMBER = "amount", "binary", "number"
SUMS = ("sum_w", "sum_w2", "sum_wx", "sum_wx2")
RELEASED = ("covariate", "column", "binary", "arm", "stage", "n", "people", "reference", *SUMS, "edges", "sum_below")
# what the protected sums are made from, where people have keys; these columns never leave the agency
INSIDE = (
    "kind",
    "whole",
    "implied",
    "key",
    "sketch",
    "rows",
    "base",
    "usual",
    "ones",
    "ones_key",
    "ones_rows",
    "ones_w",
    "noisy_wx",
    "noisy_wx2",
    "largest",
    "absolute",
    "people_below",
    "below_key",
    "below_rows",
)
BASELINE_GROUPS = {
    "treated": ("treated", BEFORE),
    "treated matched": ("treated", AFTER),
    "control before": ("control", BEFORE),
    "control matched": ("control", AFTER),
}
_ROUNDING = 1e-12
_KIND = "covariate_moments"


@summarised
@dataclass(frozen=True)
class CovariateMoments(Additive):
    """Sums of covariates by arm, before and after matching, returned by `MatchedSample.covariate_moments`.

    Attributes
    ----------
    cells : DataFrame
        One row per covariate, arm and stage. ``covariate`` is the row of the balance table; ``column`` is the column it
        comes from, the same for all levels of a text column; ``binary`` is whether it is 0 or 1. ``n`` counts rows of
        the sample and ``people`` the people in them; ``sum_w, sum_w2, sum_wx, sum_wx2`` are Σw, Σw², Σwd and Σwd² of
        d = x − ``reference``. For numbers, ``sum_below`` is Σw below each of ``edges``, which are round numbers.

        Inside the agency, if people have keys, there are the columns `INSIDE`: the ``kind`` of covariate, the ``key``
        of the people of the arm and stage, their sketches with weights divided by ``base`` and with each person once
        (``sketch, rows``), and the weights that most of them have (``usual``), as in
        `retrain_eval.tables.noise.cell_keys`; the people with 1, or with an amount other than zero (``ones``), their
        key, their sketch (with 1 only) and their weight; Σwxδ and Σw(xδ)² of noisy amounts; the largest contributions;
        and the people below each edge, their keys and, one after the other, their sketches. ``implied`` says that
        zeros, or equal values, follow from the sample's definition.
    withheld : tuple of str
        Covariates that cannot be published.
    stamp : dict of str
        What the numbers mean beyond these fields; see `Additive`.
    """

    noun = "covariate moments"

    cells: pd.DataFrame
    withheld: tuple[str, ...] = ()
    stamp: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    recipe: Recipe | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def keyed(self) -> bool:
        """Whether the sums that a protected table is made from are there."""
        return "key" in self.cells.columns

    @property
    def alike(self) -> Mapping[str, object]:
        """No fields; `add_cells` compares the covariates, levels and arms of the rows."""
        return {}

    def empty(self) -> Self:
        """Return the same moments with no people."""
        return replace(self, cells=self.cells.iloc[:0])

    def __add__(self, other: Self) -> Self:
        """Return the moments of the union of two disjoint samples (no person in both).

        Distribution functions are kept at the edges that both have. Keyed sums are kept if both have them, so that the
        sum can be protected like any other table. A covariate withheld in one is withheld in the sum.

        Raises
        ------
        InputError
            If the two do not describe the same covariates, levels and arms.

        Examples
        --------
        >>> from retrain_eval.sample.match import match
        >>> people = pd.DataFrame({"id": range(4), "treat": [1, 0] * 2, "age": [20, 21, 30, 31]})
        >>> one = match(people, "treat ~ age", "id").covariate_moments()
        >>> (one + one).summary("age", "treated", "after").n
        4
        """
        return super().__add__(other)

    def _plus_empty(self, empty: Self) -> Self:
        withheld = tuple(dict.fromkeys([*self.withheld, *empty.withheld]))
        return replace(self, cells=self.cells[~self.cells["covariate"].isin(withheld)], withheld=withheld)

    def _plus(self, other: Self) -> Self:
        withheld = tuple(dict.fromkeys([*self.withheld, *other.withheld]))
        return replace(self, cells=add_cells(self.cells, other.cells, withheld), withheld=withheld)

    def summary(self, covariate: str, arm: str, stage: str) -> Summary | None:
        """Return the summary of a covariate in an arm; None if there is no such row."""
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
        """Return a distribution function, edge → share below it; empty if it was withheld."""
        rows = self.cells
        found = rows[(rows["covariate"] == covariate) & (rows["arm"] == arm) & (rows["stage"] == stage)]
        if found.empty:
            return {}
        row = found.iloc[0]
        return dict(zip(row["edges"], np.asarray(row["sum_below"], dtype=float) / float(row["sum_w"]), strict=True))

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the cells."""
        rows = pa.Table.from_pandas(self.cells, preserve_index=False)
        write_table(path, _KIND, rows, {"withheld": self.withheld}, self.stamp)

    @classmethod
    def read_parquet(cls, path: str | os.PathLike[str]) -> CovariateMoments:
        """Read what `to_parquet` wrote.

        Raises
        ------
        InputError
            If the file holds something else.
        """
        table, facts, stamp = read_table(path, _KIND)
        if missing := [name for name in RELEASED if name not in table.column_names]:
            raise InputError("the file lacks a column", file=path, column=missing[0])
        cells = pd.DataFrame({name: table[name].to_pylist() for name in table.column_names})
        return cls(cells.astype({"covariate": "str", "column": "str"}), tuple(facts["withheld"]), stamp)


@recorded
def covariate_balance(moments: CovariateMoments) -> pd.DataFrame:
    """Compute the balance table from covariate moments.

    Parameters
    ----------
    moments : CovariateMoments
        If an arm has no sums before matching, because matching dropped too few people, the sums after matching
        represent them.

    Returns
    -------
    DataFrame
        As `retrain_eval.sample.balance.balance.balance_table`, except for the distances between distribution functions
        of numbers: these are evaluated at the published edges, and NaN if there are none. The largest distance is
        therefore a lower bound on the largest distance at any value, and is printed as "at least".

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
    """Return the mean and the largest distance of two distribution functions; after matching may replace before."""
    treated, control = (
        moments.distribution(covariate, arm, stage) or moments.distribution(covariate, arm, AFTER) for arm in ARMS
    )
    both = sorted(set(treated) & set(control))
    return ecdf_distances(np.array([treated[edge] for edge in both]), np.array([control[edge] for edge in both]))


@recorded
def covariate_paths(moments: CovariateMoments, outcome: str, columns: Mapping[str, int]) -> pd.DataFrame:
    """Return the mean outcome before the programme, if its periods are among the covariates.

    Parameters
    ----------
    moments : CovariateMoments
    outcome : str
        The outcome in the columns.
    columns : mapping of str to int
        Covariate → period, or distance from the start of training.

    Returns
    -------
    DataFrame
        As `retrain_eval.sample.composition.baseline_paths`, without withheld periods.

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
