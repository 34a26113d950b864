"""The columns of a formula: factors are computed from the tree, and formulaic only codes and multiplies them.

Formulaic is given terms of looked-up columns and never the user's text, so nothing can be evaluated.
Numbers are computed in double precision: squares of small integers cannot overflow.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from formulaic.errors import FormulaicError
from formulaic.formula import SimpleFormula
from formulaic.parser.types import Factor as _Factor
from formulaic.parser.types import Term as _Term

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import InputError
from retrain_eval.common.formulas.tree import Call, Column, Expression, Factor, Formula, Number, Operation, category

MOST_COLUMNS = 20_000  # of a design
_FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "log": np.log,
    "log10": np.log10,
    "log2": np.log2,
    "log1p": np.log1p,
    "exp": np.exp,
    "sqrt": np.sqrt,
    "abs": np.abs,
}
_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def has_levels(factor: Factor, frame: pd.DataFrame) -> bool:
    """Return whether a factor has a column for each level: ``C(...)``, and a column that is not of numbers."""
    if isinstance(factor, Column):
        return not pd.api.types.is_numeric_dtype(frame[factor.name])
    return factor.function == "C"


def model_spec(formula: Formula, frame: pd.DataFrame, *, full_rank: bool = True) -> Any:
    """Return how the formula is coded with the levels of these rows, from which any rows can be computed.

    Raises
    ------
    InputError
        If a factor cannot be computed, or the design would have more than 20,000 columns.
    """
    factors = _computed(formula, frame)
    _check_size(formula, frame, factors)
    of = SimpleFormula([_Term([_factor(one) for one in term] or [_ONE]) for term in formula.terms])
    options = {"na_action": "ignore", "output": "numpy", "ensure_full_rank": full_rank}
    return _matrix(of, factors, formula, **options).model_spec


def model_matrix(formula: Formula, frame: pd.DataFrame, spec: Any) -> tuple[tuple[str, ...], Floats]:
    """Return the names and the values of the design's columns, one row per row of ``frame``; not all need be finite."""
    matrix = _matrix(spec, _computed(formula, frame), formula)
    names = tuple(str(name) for name in matrix.model_spec.column_names)
    return names, np.asarray(matrix, dtype=float).reshape(len(frame), len(names))


_ONE = _Factor("1", eval_method="literal")


def _factor(factor: Factor) -> _Factor:
    """Return a factor that is only ever looked up."""
    return _Factor(_key(factor), eval_method="lookup")


def _key(factor: Factor) -> str:
    return factor.name if isinstance(factor, Column) else str(factor)


def _matrix(of: Any, factors: pd.DataFrame, formula: Formula, **options: Any) -> Any:
    try:
        return of.get_model_matrix(factors, context={}, **options)
    except FormulaicError as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"the formula cannot be computed: {why}", value=formula.text) from error


def _computed(formula: Formula, frame: pd.DataFrame) -> pd.DataFrame:
    """Return one column per factor, under the factor's text."""
    found: dict[str, Any] = {}
    for factor in formula.factors:
        if _key(factor) in found:
            raise InputError(
                f"a column has the same name as a term of the formula: {_key(factor)}",
                column=_key(factor),
                value=formula.text,
                fix="rename the column",
            )
        found[_key(factor)] = _values(factor, frame, formula)
    return pd.DataFrame(found, index=frame.index)


def _values(factor: Factor, frame: pd.DataFrame, formula: Formula) -> Any:
    if isinstance(factor, Column):
        return frame[factor.name]
    if (name := category(factor)) is not None:
        values = frame[name]
        if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
            return pd.Categorical(values)
        return values
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # the caller reports what is not finite
        found = _arithmetic(factor.argument if factor.function == "C" else factor, frame, formula)
    found = np.broadcast_to(found, len(frame))
    return pd.Categorical(found) if factor.function == "C" else found


def _arithmetic(expression: Expression, frame: pd.DataFrame, formula: Formula) -> Any:
    """Compute an expression in double precision; a comparison gives truth values."""
    match expression:
        case Number(text):
            return np.float64(text)
        case Column(name):
            values = frame[name]
            if not (pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values)):
                raise InputError(
                    f"the formula cannot be computed: the column {name!r} is not of numbers",
                    column=name,
                    value=formula.text,
                    fix=f"use C({Column(name)}) as a term, or make a column of numbers",
                )
            return values.to_numpy(dtype=np.float64, na_value=np.nan)
        case Call(function, argument):
            values = _arithmetic(argument, frame, formula)
            return values if function == "I" else _FUNCTIONS[function](values * 1.0)
        case Operation(sign, _, None, right):
            values = _arithmetic(right, frame, formula) * 1.0
            return -values if sign == "-" else values
        case Operation(sign, _, left, right):
            assert left is not None
            one, other = _arithmetic(left, frame, formula), _arithmetic(right, frame, formula)
            return _OPERATORS[sign](one * 1.0, other * 1.0)


def _check_size(formula: Formula, frame: pd.DataFrame, factors: pd.DataFrame) -> None:
    """Refuse a design of more columns than can be meant, before it is made."""
    levels = {factor: factors[_key(factor)].nunique() if has_levels(factor, frame) else 1 for factor in formula.factors}
    n = sum(math.prod(levels[factor] for factor in term) for term in formula.terms)
    if n > MOST_COLUMNS:
        raise InputError(
            f"the design would have {n:,} columns, more than {MOST_COLUMNS:,}",
            value=formula.text,
            fix="use bands in place of columns with many values, or fewer interactions",
        )
