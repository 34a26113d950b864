"""Cross products of a treatment, covariates and an outcome: the statistic from which regressions are computed."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.shown import summarised
from retrain_eval.tables.largest import largest_of
from retrain_eval.tables.statistic import Statistic, both


@summarised
@dataclass(frozen=True, eq=False)
class CrossProducts(Statistic):
    """Cross products for a regression: `retrain_eval.sample.hidden_bias.cross_products.cross_products`.

    They can be added directly, which gives the regression over the people of both.

    Attributes
    ----------
    outcome, treatment : str
    columns : tuple of str
        Covariates of the design.
    n : int
        People.
    reference, scale : ndarray, shape (2 + k,)
        Origin and scale of the treatment, the covariates and the outcome: z = (x − reference) / scale.
    products : ndarray, shape (3 + k, 3 + k)
        Σ v vᵀ of v = (1, z).
    smallest : int, optional
        The smallest number of people in a cell of two columns with few values.
    missing : int, optional
        People left out, because they have no outcome.
    largest, amounts : ndarray, optional
        The largest |x| of amounts in each group of a column with few values, and the sums of |x|.
    """

    kind: ClassVar[str] = "cross_products"
    same: ClassVar[tuple[str, ...]] = ("outcome", "treatment", "columns")
    scales: ClassVar[tuple[str, ...]] = ("reference", "scale")
    inside: ClassVar[tuple[str, ...]] = ("smallest", "missing", "largest", "amounts")
    outcome: str
    treatment: str
    columns: tuple[str, ...]
    n: int
    reference: Floats
    scale: Floats
    products: Floats
    smallest: int | None = None
    missing: int | None = None
    largest: Floats | None = None
    amounts: Floats | None = None

    @property
    def parts(self) -> tuple[Sequence[str], Ints]:
        """Everyone, as a single group."""
        return ("all",), np.array([self.n])

    def sound(self) -> bool:
        """Return whether there is a finite product for each pair of columns."""
        size = 2 + len(self.columns)
        shapes = self.reference.shape == self.scale.shape == (size,) and self.products.shape == (size + 1, size + 1)
        return super().sound() and shapes and bool(np.isfinite(self.products).all() and (self.scale > 0).all())

    def _plus(self, other: Self) -> Self:
        """Return the sums over the people of both; internal fields are kept only if both have them."""
        shift = np.diag([1.0, *(other.scale / self.scale)])
        shift[1:, 0] = (other.reference - self.reference) / self.scale
        mine, theirs = (None if item.amounts is None else item.amounts.shape for item in (self, other))
        alike = mine == theirs
        return replace(
            self,
            n=self.n + other.n,
            products=self.products + shift @ other.products @ shift.T,
            # a cell of the sum has at least as many people as in either part
            smallest=both(min, self.smallest, other.smallest),
            missing=both(operator.add, self.missing, other.missing),
            largest=both(largest_of, self.largest, other.largest) if alike else None,
            amounts=both(operator.add, self.amounts, other.amounts) if alike else None,
        )
