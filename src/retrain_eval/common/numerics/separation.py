"""Which columns separate the treated from the controls by themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Bools, Floats

Range = tuple[Floats, Floats]  # smallest and largest value of each column


def ranges_apart(treated: Range, control: Range, *, touching: bool = False) -> Bools:
    """Return, for each column, whether the values of the arms do not overlap.

    Parameters
    ----------
    treated, control : tuple of ndarray
        Smallest and largest values of the columns in each arm.
    touching : bool
        Whether ranges with one common end count as well. A single common value does not separate.

    Examples
    --------
    >>> low, high = np.array([1.0, 1.0, 5.0]), np.array([3.0, 2.0, 5.0])
    >>> other = np.array([2.0, 2.0, 5.0]), np.array([4.0, 4.0, 5.0])
    >>> ranges_apart((low, high), other).tolist(), ranges_apart((low, high), other, touching=True).tolist()
    ([False, False, False], [False, True, False])
    """
    apart: Bools = (treated[1] < control[0]) | (treated[0] > control[1])
    if touching:
        same = (treated[0] == control[1]) & (treated[1] == control[0])
        apart = apart | ((treated[1] == control[0]) | (treated[0] == control[1])) & ~same
    return apart


def separating_columns(names: Sequence[str], binary: Bools, treated: Range, control: Range) -> str:
    """Name the columns in which the treated have no counterpart among the controls.

    Parameters
    ----------
    names : sequence of str
    binary : bool ndarray
        Columns of 0 and 1: a level. It separates if treated have it and no control does.
    treated, control : tuple of ndarray
        Smallest and largest values of the columns in each arm.

    Examples
    --------
    >>> one, none = np.array([0.0, 20.0]), np.array([0.0, 30.0])
    >>> separating_columns(["f", "age"], np.array([True, False]), (one, np.array([1.0, 40.0])), (none, none))
    'f'
    """
    level = (treated[1] > 0) & (control[1] == 0)
    separates = np.where(binary, level, ranges_apart(treated, control))
    alone = [name for name, does in zip(names, separates, strict=True) if does]
    return ", ".join(alone) if alone else "a combination of the covariates"


def arms_by_level(values: pd.Series[str], has_treated: Bools, has_control: Bools) -> pd.DataFrame:
    """Return whether each level of a column has treated units, and controls.

    Parameters
    ----------
    values : Series
    has_treated, has_control : bool ndarray
        Whether each row stands for treated units, and for controls.

    Returns
    -------
    DataFrame
        ``treated, control`` by level.

    Examples
    --------
    >>> arms = arms_by_level(pd.Series(["f", "f", "m"]), np.array([True, False, True]), np.array([False, True, False]))
    >>> arms.to_dict("index")
    {'f': {'treated': True, 'control': True}, 'm': {'treated': True, 'control': False}}
    """
    arms = pd.DataFrame({"treated": has_treated, "control": has_control}, index=values.index)
    return arms.groupby(values, observed=True).any()
