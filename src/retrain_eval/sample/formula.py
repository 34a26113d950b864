"""Read a propensity formula: who is treated, which covariates, and that every term is a function of its own row.

Scores are computed once per distinct covariate row, so a term may not look at other rows: ``scale(age)`` or
``age - age.mean()`` would silently mean something else there. Only the functions in `FUNCTIONS` are read.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from formulaic import Formula
from formulaic.errors import FormulaicError

from retrain_eval.errors import InputError, unknown

Array = npt.NDArray[np.float64]

FUNCTIONS = ("I", "C", "log", "log10", "log2", "log1p", "exp", "sqrt", "abs")
CONTEXT = {"log1p": np.log1p, "sqrt": np.sqrt, "abs": np.abs}  # formulaic brings the others
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.FloorDiv, ast.Mod)
_PLAIN = (ast.Expression, ast.Name, ast.Load, ast.Constant, ast.BinOp, ast.UnaryOp, ast.USub, ast.UAdd)
_COMPARE = (ast.Compare, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)
_ALLOWED = (*_PLAIN, *_ARITHMETIC, *_COMPARE, ast.Call)
_CATEGORY = re.compile(r"\bC\(\s*(?:`([^`]+)`|([^\s()`]+))\s*\)")
_LEVELS = re.compile(r"\bC\(")
_QUOTED = re.compile(r"`([^`]*)`")
ANSI = re.compile(r"\x1b\[[0-9;]*m|[⧛⧚]")


@dataclass(frozen=True)
class TreatmentFormula:
    """``treat ~ covariates``.

    Attributes
    ----------
    text : str
        As the user wrote it.
    treat : str
        Column of the treatment.
    covariates : tuple of str
        Columns used on the right, in order of first appearance.
    right : formulaic.Formula
        The right-hand side.
    """

    text: str
    treat: str
    covariates: tuple[str, ...]
    right: Any

    @property
    def by_type(self) -> tuple[str, ...]:
        """Columns whose type decides whether they are numbers or categories: those not in ``C()``."""
        categories = {quoted or plain for quoted, plain in _CATEGORY.findall(self.text)}
        return tuple(name for name in self.covariates if name not in categories)

    def spec(self, cells: pd.DataFrame, *, full_rank: bool = True) -> Any:
        """Return the columns of the design with the levels of all rows, from which any part of the rows is computed.

        A part of the rows may lack a level, or have only one. So the levels of text columns, and of ``C(...)``, are
        those of all rows, in ascending order, and the first one overall is the reference.

        Raises
        ------
        InputError
            If a term cannot be computed.

        Examples
        --------
        >>> cells = pd.DataFrame({"race": ["white", "black", "hispan"]})
        >>> formula = parse_formula("treat ~ race")
        >>> formula.design(cells.head(1), spec=formula.spec(cells))
        (('Intercept', 'race[T.hispan]', 'race[T.white]'), array([[1., 0., 1.]]))
        """
        chosen = np.zeros(len(cells), dtype=bool)
        chosen[:1] = True
        for columns in self._with_levels(cells):
            chosen |= ~cells[columns].duplicated().to_numpy()  # the first row of each level
        text = {name: "str" for name in cells if isinstance(cells[name].dtype, pd.CategoricalDtype)}
        examples = cells[chosen].astype(text)  # levels that no row has are none
        options = {"na_action": "ignore", "output": "numpy", "ensure_full_rank": full_rank}
        return self._computed(self.right, examples, **options).model_spec

    def _with_levels(self, cells: pd.DataFrame) -> Iterator[list[str]]:
        """Yield the columns behind each factor that has levels."""
        for factor in {factor for term in self.right for factor in term.factors}:
            expression = str(factor.expr)
            if factor.eval_method.value == "python" and _LEVELS.search(expression):
                yield list(dict.fromkeys(_names(expression, self.text)))
            elif factor.eval_method.value == "lookup" and not pd.api.types.is_numeric_dtype(cells[expression]):
                yield [expression]

    def _computed(self, of: Any, cells: pd.DataFrame, **options: Any) -> Any:
        try:
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # reported below, with the unit
                return of.get_model_matrix(cells, context=CONTEXT, **options)
        except FormulaicError as error:
            raise InputError(f"the formula cannot be computed: {ANSI.sub('', str(error))}", value=self.text) from error

    def design(self, cells: pd.DataFrame, *, full_rank: bool = True, spec: Any = None) -> tuple[tuple[str, ...], Array]:
        """Return the names and the values of the design's columns, one row per row of ``cells``.

        Text columns become treatment-coded dummies, the first level in code-point order being the reference;
        without ``full_rank`` every level has its column.

        Parameters
        ----------
        cells : DataFrame
        full_rank : bool
        spec : optional
            From `spec`, where ``cells`` are a part of the rows.

        Raises
        ------
        InputError
            If a term cannot be computed, or is not finite somewhere (the logarithm of zero).
        """
        matrix = self._computed(self.spec(cells, full_rank=full_rank) if spec is None else spec, cells)
        names = tuple(str(name) for name in matrix.model_spec.column_names)
        values = np.asarray(matrix, dtype=float).reshape(len(cells), len(names))
        finite = np.isfinite(values)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            example = ", ".join(f"{name}={cells[name].iloc[row]!r}" for name in self.covariates)
            raise InputError(
                f"term {names[column]!r} is not a finite number for some units, for example {example}",
                column=names[column],
                rule="every term is finite for every unit",
                fix="change the term, such as log1p(x) for log(x), or leave these units out",
            )
        return names, values


def parse_formula(text: str) -> TreatmentFormula:
    """Read ``treat ~ age + C(region) + I(age**2) + ...``.

    Raises
    ------
    InputError
        If it is not a formula, has no single treatment column on the left, or a term uses a function that is
        not in `FUNCTIONS`.

    Examples
    --------
    >>> parse_formula("treat ~ age + I(age**2) + race:married").covariates
    ('age', 'race', 'married')
    """
    shape = "treat ~ age + education"
    try:
        formula = Formula(text)
    except (FormulaicError, TypeError, AttributeError) as error:
        reason = ANSI.sub("", str(error)).splitlines()
        raise InputError(
            f"the formula cannot be read: {reason[0] if reason else error}", value=text, fix=f"write it as {shape!r}"
        ) from error
    left, right = getattr(formula, "lhs", None), getattr(formula, "rhs", None)
    if left is None or right is None or isinstance(right, tuple):
        raise InputError("the formula needs one ~ with a treatment on its left", value=text, fix=f"such as {shape!r}")
    factors = [factor for term in left for factor in term.factors]
    if len(factors) != 1 or factors[0].eval_method.value != "lookup":
        raise InputError("the left of ~ must be one treatment column", value=text, fix=f"such as {shape!r}")
    covariates = columns_read(right, text)
    treat = str(factors[0].expr)
    if treat in covariates:
        raise InputError("the treatment is also a covariate", column=treat, value=text, fix="leave it out on the right")
    return TreatmentFormula(text, treat, covariates, right)


def columns_read(terms: Iterable[Any], text: str) -> tuple[str, ...]:
    """Return the columns that the terms of a formula read, in order of first appearance.

    Raises
    ------
    InputError
        If a term is not row-wise arithmetic with the functions in `FUNCTIONS`.
    """
    found: list[str] = []
    for term in terms:
        for factor in term.factors:
            if factor.eval_method.value == "lookup":
                found.append(str(factor.expr))
            elif factor.eval_method.value == "python":
                found.extend(_names(str(factor.expr), text))
    return tuple(dict.fromkeys(found))


def _names(expression: str, text: str) -> list[str]:
    """Return the columns an expression reads; refuse what is not row-wise arithmetic."""
    quoted: dict[str, str] = {}

    def hide(match: re.Match[str]) -> str:
        stand_in = f"_quoted_{len(quoted)}_"
        quoted[stand_in] = match[1]
        return stand_in

    try:
        tree = ast.parse(_QUOTED.sub(hide, expression), mode="eval")
    except SyntaxError as error:
        raise InputError(f"term {expression!r} cannot be read", value=text) from error
    functions = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for function in functions:
        name = ast.unparse(function)
        if name not in FUNCTIONS:
            raise unknown("function in a formula", name, FUNCTIONS)
    for node in ast.walk(tree):
        if isinstance(node, ast.BitXor):
            raise InputError(f"term {expression!r} uses ^", value=text, fix="write powers as age**2")
        if not isinstance(node, _ALLOWED) or (isinstance(node, ast.Call) and (len(node.args) != 1 or node.keywords)):
            raise InputError(
                f"term {expression!r} is not plain arithmetic on columns",
                value=text,
                rule=f"arithmetic, comparisons and one-argument functions: {', '.join(FUNCTIONS)}",
                fix="compute it as a column first",
            )
    callees = {id(function) for function in functions}
    found = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in callees]
    return [quoted.get(name, name) for name in found]
