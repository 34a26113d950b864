"""A propensity formula: the treatment column and the covariates.

Scores are computed once per distinct covariate row, so a term may not look at other rows: ``scale(age)`` or
``age - age.mean()`` would silently mean something else there. The grammar has only functions of the row itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import InputError
from retrain_eval.common.formulas.matrix import has_levels, model_matrix, model_spec
from retrain_eval.common.formulas.parser import read_formula
from retrain_eval.common.formulas.tree import Formula, category, columns_of


@dataclass(frozen=True)
class TreatmentFormula:
    """``treat ~ covariates``.

    Attributes
    ----------
    treat : str
        Column of the treatment.
    right : Formula
        The right-hand side, parsed.
    """

    treat: str
    right: Formula

    @property
    def text(self) -> str:
        """The formula as the user wrote it."""
        return self.right.text

    @property
    def covariates(self) -> tuple[str, ...]:
        """Columns used on the right, in order of first appearance."""
        return self.right.columns

    @property
    def by_type(self) -> tuple[str, ...]:
        """Columns whose type decides whether they are numbers or categories: those not in ``C()``."""
        categories = {category(factor) for factor in self.right.factors}
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
        for factor in self.right.factors:
            if has_levels(factor, cells):
                chosen |= ~cells[list(dict.fromkeys(columns_of(factor)))].duplicated().to_numpy()  # the first of each
        text = {name: "str" for name in cells if isinstance(cells[name].dtype, pd.CategoricalDtype)}
        examples = cells[chosen].astype(text)  # levels that no row has are none
        return model_spec(self.right, examples, full_rank=full_rank)

    def design(
        self, cells: pd.DataFrame, *, full_rank: bool = True, spec: Any = None
    ) -> tuple[tuple[str, ...], Floats]:
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
        spec = self.spec(cells, full_rank=full_rank) if spec is None else spec
        names, values = model_matrix(self.right, cells, spec)
        finite = np.isfinite(values).all(axis=0)
        if not finite.all():
            name = names[int(np.argmin(finite))]
            raise InputError(
                f"term {name!r} is not a finite number for some units",
                column=name,
                rule="every term is finite for every unit",
                fix="change the term, such as log1p(x) for log(x), or leave these units out",
            )
        return names, values


def parse_formula(text: str) -> TreatmentFormula:
    """Read ``treat ~ age + C(region) + I(age**2) + ...``.

    Raises
    ------
    InputError
        If it is not a formula (`read_formula` has the grammar), has no single treatment column on the left, or the
        treatment is a covariate too.

    Examples
    --------
    >>> parse_formula("treat ~ age + I(age**2) + race:married").covariates
    ('age', 'race', 'married')
    """
    formula = read_formula(text)
    if formula.left is None:
        raise InputError(
            "the formula needs one ~ with a treatment on its left", value=text, fix="such as 'treat ~ age + education'"
        )
    if formula.left in formula.columns:
        raise InputError(
            "the treatment is also a covariate", column=formula.left, value=text, fix="leave it out on the right"
        )
    return TreatmentFormula(formula.left, formula)
