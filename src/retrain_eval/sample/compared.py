"""The people whose covariates are compared before and after matching, for balance and covariate moments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.shown import summarised
from retrain_eval.sample.balance.balance import Arm, Arms, balance_table
from retrain_eval.sample.balance.covariate_sums import sum_covariates
from retrain_eval.sample.units import Units
from retrain_eval.tables.covariates.covariates import CovariateMoments


@summarised
@dataclass(frozen=True, eq=False)
class Compared:
    """Who is compared on what.

    Attributes
    ----------
    units : Units
    covariates : sequence of str
        Columns of the cells.
    score : ndarray, shape (C,), optional
        Of each cell, for the first row of the balance table.
    before : mapping of str → int ndarray
        ``treated`` and ``control`` → units before matching.
    after : mapping of str → (int ndarray, ndarray)
        The same → rows of the sample: the unit and its weight. A unit may be in several rows.
    """

    units: Units
    covariates: Sequence[str]
    score: Floats | None
    before: Mapping[str, Ints]
    after: Mapping[str, tuple[Ints, Floats]]

    @cached_property
    def balance(self) -> pd.DataFrame:
        """The balance table, computed on first access: for millions of cells this takes longer than matching."""
        cell, n_cells = self.units.cell, len(self.units.cells)

        def arm(who: Ints, weight: Floats) -> Arm:
            return Arm.build(cell[who], weight, n_cells)

        everybody = {name: arm(who, np.ones(len(who))) for name, who in self.before.items()}
        matched = {name: arm(*rows) for name, rows in self.after.items()}
        arms = Arms(everybody["treated"], matched["treated"], everybody["control"], matched["control"])
        score = np.zeros(n_cells) if self.score is None else self.score
        table = balance_table(self.units.cells, self.covariates, score, arms)
        return table.iloc[1:].reset_index(drop=True) if self.score is None else table

    def moments(
        self,
        winsorise: float,
        cuts: Mapping[str, Sequence[float]],
        caps: Mapping[str, float],
        amounts: Sequence[str] = (),
        implied: Sequence[str] = (),
    ) -> CovariateMoments:
        """Return the sums that the balance table follows from."""
        return sum_covariates(
            self.units.cells,
            self.units.cell,
            self.covariates,
            self.score,
            self.before,
            self.after,
            winsorise=winsorise,
            cuts=cuts,
            caps=caps,
            amounts=amounts,
            implied=implied,
            keys=self.units.keys,
        )
