"""A sample as arrays (units, weights and matched sets), which tables, balance and inference are computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import duckdb
import numpy as np

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.shown import summarised
from retrain_eval.sample.models.formula import TreatmentFormula
from retrain_eval.sample.pairs import Pairs
from retrain_eval.sample.units import Units


@summarised
@dataclass(frozen=True, eq=False)
class Drawn:
    """Rows of a sample's weights, in their order.

    Attributes
    ----------
    relation : DuckDBPyRelation
        The source.
    unit : str
        Its column of ids.
    formula : TreatmentFormula
    units : Units
        All units of the source.
    rows : int ndarray, shape (R,)
        Number of the unit in each row.
    treated : bool ndarray, shape (R,)
        Whether the row is a treated unit.
    weight : ndarray, shape (R,)
    subclass : int ndarray, shape (R,), optional
        0 = in none, or in several. None where the method makes no sets.
    pairs : Pairs, optional
        None where the method makes none.
    score : callable, optional
        Returns the score of each cell; None where units were compared by their covariates alone.
    influence : callable, optional
        Takes outcomes, shape (R, K), and returns the influence of each row on the K effects, including the estimation
        of the weights. None if weights are not estimated.
    """

    relation: duckdb.DuckDBPyRelation
    unit: str
    formula: TreatmentFormula
    units: Units
    rows: Ints
    treated: Bools
    weight: Floats
    subclass: Ints | None = None
    pairs: Pairs | None = None
    score: Callable[[], Floats] | None = None
    influence: Callable[[Floats], Floats] | None = None

    @classmethod
    def of_units(
        cls,
        relation: duckdb.DuckDBPyRelation,
        unit: str,
        formula: TreatmentFormula,
        units: Units,
        weight: Floats,
        *,
        subclass: Ints | None = None,
        pairs: Pairs | None = None,
        score: Callable[[], Floats] | None = None,
        influence: Callable[[Floats], Floats] | None = None,
    ) -> Drawn:
        """Draw the units with a weight; arrays are over all units, ``influence`` is over those drawn."""
        rows = np.flatnonzero(weight)
        return cls(
            relation,
            unit,
            formula,
            units,
            rows,
            units.treated[rows],
            weight[rows],
            None if subclass is None else subclass[rows],
            pairs,
            score,
            influence,
        )
