"""Coarsened exact matching: compare people whose coarsened covariates are equal.

Bins, strata and their members are computed on distinct rows of covariates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import duckdb
import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.errors import DesignError, InputError, unknown
from retrain_eval.common.formulas.tree import Call
from retrain_eval.common.numerics.separation import arms_by_level
from retrain_eval.sample.drawn import Drawn
from retrain_eval.sample.matched import MatchedSample, assemble_weighted
from retrain_eval.sample.models.formula import TreatmentFormula
from retrain_eval.sample.models.propensity import cell_counts, pooled_score
from retrain_eval.sample.options import Cutpoints, Options, is_whole
from retrain_eval.sample.units import Units, load_units, strata

STURGES = "sturges"


def match_cem(
    relation: duckdb.DuckDBPyRelation, formula: TreatmentFormula, unit: str, options: Options
) -> MatchedSample:
    """Match people in the same stratum of coarsened covariates.

    Called through ``retrain_eval.match(..., method="cem")``.

    Parameters
    ----------
    relation : DuckDBPyRelation
    formula : TreatmentFormula
        Its right-hand side lists columns; terms such as ``I(age**2)`` are refused: they change no stratum.
    unit : str
    options : Options
        ``cutpoints`` coarsens numbers: a number of bins of equal width between the smallest and the largest value,
        the cuts themselves, or ``"sturges"`` (the default), ⌈log₂ n + 1⌉ bins for n units. A bin holds its lower
        end, the last one both. Text is compared as it is, or by ``grouping``: values listed together are one, others
        stay by themselves. Columns in ``exact`` are not coarsened.

    Returns
    -------
    MatchedSample
        No pairs. In ``weights``, ``subclass`` numbers the strata, by the id of their first trainee. Controls of a
        stratum with n₁ treated and n₀ controls weigh n₁/n₀, times matched controls / matched treated. Strata with
        one arm only are left out: the effect is that on the treated who have a counterpart.

    Raises
    ------
    InputError
        For cutpoints or a grouping whose column is not in the formula, or that do not fit the column's type.
    DesignError
        If no stratum has both arms.

    References
    ----------
    Iacus, S., King, G. and Porro, G. (2012), Political Analysis 20(1), 1-24. Bins and weights are those of MatchIt.

    Examples
    --------
    >>> import retrain_eval as rte
    >>> people = pd.DataFrame({"id": range(6), "trained": [1, 1, 0, 0, 0, 0], "age": [21, 39, 22, 25, 38, 60]})
    >>> sample = rte.match(people, "trained ~ age", unit="id", method="cem", cutpoints={"age": [30, 50]})
    >>> sample.weights.fetchall()
    [(0, 1, 1.0, 1), (1, 1, 1.0, 2), (2, 0, 0.75, 1), (3, 0, 0.75, 1), (4, 0, 1.5, 2)]
    """
    for term in formula.right.terms:
        if len(term) > 1 or any(isinstance(factor, Call) for factor in term):
            raise InputError(
                f"cem compares columns, and {':'.join(map(str, term))!r} is a term made of them",
                value=formula.text,
                fix="list the columns, such as treat ~ age + education; give categories that are numbers to exact",
            )
    units = load_units(relation, unit, formula.treat, formula.covariates, options.exact)
    cuts = bounds(units.cells, formula.covariates, options, len(units.treated))
    coarse = _coarse(units.cells, formula.covariates, options, cuts)
    stratum = strata(coarse, coarse.columns.tolist())[units.cell]
    weight, subclass = stratum_weights(units.treated, stratum)
    if not weight.any():
        raise DesignError(_separated(coarse, units))
    choices = {
        "unit": unit,
        "formula": formula.text,
        "estimand": "ATT",
        "method": "cem",
        "exact": list(options.exact),
        "cutpoints": cuts,
        "grouping": {name: [list(group) for group in groups] for name, groups in (options.grouping or {}).items()},
    }
    facts = {
        "cluster": "subclass",
        "n_strata": len(np.unique(stratum)),
        "n_strata_matched": int(subclass.max()),
    }
    score = pooled_score(formula, units)
    drawn = Drawn.of_units(relation, unit, formula, units, weight, subclass=subclass, score=score)
    return assemble_weighted(drawn, None, choices, facts)


def stratum_weights(treated: Bools, stratum: Ints) -> tuple[Floats, Ints]:
    """Return the weight and the subclass of each unit, both 0 in strata with one arm only.

    Parameters
    ----------
    treated : bool ndarray, shape (n,)
    stratum : int ndarray, shape (n,)
        From 0.

    Examples
    --------
    >>> weight, subclass = stratum_weights(np.array([True, False, False, True]), np.array([0, 0, 0, 1]))
    >>> weight.tolist(), subclass.tolist()
    ([1.0, 1.0, 1.0, 0.0], [1, 1, 1, 0])
    """
    n_strata = int(stratum.max()) + 1
    n1 = np.bincount(stratum[treated], minlength=n_strata)
    n0 = np.bincount(stratum[~treated], minlength=n_strata)
    both = (n1 > 0) & (n0 > 0)
    if not both.any():
        return np.zeros(len(stratum)), np.zeros(len(stratum), dtype=np.int64)
    ratio = np.divide(n1, n0, out=np.zeros(n_strata), where=both) * (n0[both].sum() / n1[both].sum())
    weight = np.where(treated, both[stratum].astype(float), ratio[stratum])
    numbered = np.zeros(n_strata, dtype=np.int64)
    first = np.full(n_strata, len(stratum))
    order = np.flatnonzero(treated)[::-1]
    first[stratum[order]] = order  # the last one written is the first by id
    by_first = np.argsort(first, kind="stable")
    numbered[by_first[both[by_first]]] = np.arange(1, int(both.sum()) + 1)
    return weight, numbered[stratum]


def bounds(cells: pd.DataFrame, covariates: Sequence[str], options: Options, n: int) -> dict[str, list[float]]:
    """Return the inner cuts of each number among the covariates.

    Raises
    ------
    InputError
        Naming the column, and what cutpoints may be.
    """
    given: Mapping[str, object] = _by_column(options.cutpoints, cells, covariates)
    cuts: dict[str, list[float]] = {}
    for name in covariates:
        if name in options.exact:
            continue
        if not pd.api.types.is_numeric_dtype(cells[name]):
            if name in given:
                raise InputError(
                    "cutpoints coarsen numbers, and this column is text",
                    column=name,
                    fix="use grouping for it",
                )
            continue
        x = cells[name].to_numpy(dtype=float)
        asked = given.get(name, STURGES)
        if asked == STURGES:
            asked = math.ceil(math.log2(n) + 1)
        if is_whole(asked) and isinstance(asked, int) and asked >= 1:
            cuts[name] = np.linspace(x.min(), x.max(), asked + 1)[1:-1].tolist()
        elif isinstance(asked, (list, tuple)) and _ascending(asked):
            cuts[name] = [float(cut) for cut in asked]
        else:
            raise InputError(
                "cutpoints that cannot be used",
                column=name,
                value=asked,
                rule='a number of bins, cuts that ascend, or "sturges"',
            )
    return cuts


def _by_column(cutpoints: Cutpoints, cells: pd.DataFrame, covariates: Sequence[str]) -> Mapping[str, object]:
    if isinstance(cutpoints, str):
        if cutpoints != STURGES:
            raise unknown("cutpoints", cutpoints, [STURGES])
        return {}
    if not isinstance(cutpoints, Mapping):
        raise InputError(
            "cutpoints are given by column", column="cutpoints", value=cutpoints, fix='such as {"age": [25, 40]}'
        )
    for name in cutpoints:
        if name not in covariates:
            raise unknown("column in cutpoints", name, covariates)
    return cutpoints


def _ascending(cuts: Sequence[object]) -> bool:
    numbers = [
        cut for cut in cuts if isinstance(cut, (int, float)) and not isinstance(cut, bool) and math.isfinite(cut)
    ]
    return len(numbers) == len(cuts) > 0 and all(a < b for a, b in pairwise(numbers))


def _coarse(
    cells: pd.DataFrame, covariates: Sequence[str], options: Options, cuts: Mapping[str, Sequence[float]]
) -> pd.DataFrame:
    """Return the coarsened values that must be equal, by cell."""
    grouping = options.grouping or {}
    for name in grouping:
        if name not in covariates:
            raise unknown("column in grouping", name, covariates)
        if name in cuts:
            raise InputError("grouping is for text, and this column is a number", column=name, fix="use cutpoints")
    coarse: dict[str, object] = {name: cells[name] for name in options.exact}
    for name in covariates:
        if name in cuts:
            coarse[name] = np.searchsorted(np.array(cuts[name]), cells[name].to_numpy(dtype=float), side="right")
        elif name not in options.exact:
            coarse[name] = _grouped(cells[name], grouping.get(name, ()))
    return pd.DataFrame(coarse, copy=False)


def _separated(coarse: pd.DataFrame, units: Units) -> str:
    """Return the message that names the columns which separate the arms."""
    treated, total = cell_counts(units)
    arms = {name: arms_by_level(coarse[name], treated > 0, treated < total) for name in coarse}
    alone = [repr(name) for name, levels in arms.items() if not levels.all(axis=1).any()]
    what = f"{' and '.join(alone)} alone" if alone else f"the combination of {', '.join(map(repr, coarse))}"
    return (
        f"no stratum holds both a treated unit and a control: {what} keeps them apart. "
        "Use fewer bins, group categories, or leave covariates out."
    )


def _grouped(column: pd.Series[str], groups: Sequence[Sequence[str]]) -> pd.Series[str]:
    """Replace the values of each group by its first value."""
    known = sorted(set(column))
    first: dict[str, str] = {}
    for group in groups:
        if isinstance(group, str) or not group:
            raise InputError("a group is a list of values", column=str(column.name), value=group)
        for value in group:
            if value not in known:
                raise unknown(f"value of {column.name} in grouping", value, known)
            if value in first:
                raise InputError("a value is in two groups", column=str(column.name), value=value)
            first[value] = group[0]
    return column.astype("str").map(lambda value: first.get(value, value)) if first else column
