"""Tables of many small cells: in a release a cell of few people is withheld, instead of merged with its neighbours.

Merging levels until every cell has enough people would leave little of a table by several strata. A table that is
marked loses the cells that may not be released, in all arms, and keeps the others as they are. Margins of such a table
would lack people, so that nothing may be summed over its strata.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Bools
from retrain_eval.tables.moments.moments import MomentTable

Moments = TypeVar("Moments", bound=MomentTable)
MARK = {"cells of few people": "withheld"}


def withholds_cells(moments: MomentTable) -> bool:
    """Return whether the table is marked with ``MARK``, and has strata."""
    return bool(moments.strata) and MARK.items() <= moments.stamp.items()


def combinations(moments: MomentTable) -> pd.MultiIndex:
    """Return the combination of levels of each cell."""
    return pd.MultiIndex.from_frame(moments.cells[list(moments.strata)].astype("str"))


def without_cell(moments: Moments, cell: int) -> Moments | None:
    """Return the moments without the combination of levels of a cell, in all cohorts; None if nothing is left.

    Examples
    --------
    >>> from retrain_eval.estimators.outcome_moments import outcome_moments
    >>> long = pd.DataFrame({"id": [1, 1, 2, 2], "t": [1, 2] * 2, "g": 2, "y": [1.0, 3.0, 1.0, 2.0],
    ...                      "sex": ["f", "f", "m", "m"]})
    >>> moments = outcome_moments(long, unit="id", time="t", cohort="g", outcome="y", by="sex")
    >>> without_cell(moments, 0).cells["sex"].tolist()
    ['m']
    """
    levels = combinations(moments)
    keep: Bools = np.asarray(levels != levels[cell])
    return moments.of_cells(keep) if keep.any() else None


def with_cells_of(moments: Moments, other: MomentTable) -> Moments:
    """Return the moments of the combinations of levels that another table has as well."""
    keep: Bools = np.asarray(combinations(moments).isin(combinations(other)))
    return moments if keep.all() else moments.of_cells(keep)
