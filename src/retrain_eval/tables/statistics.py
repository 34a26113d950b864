"""The kinds of statistic. The docstring of each states what adding two of them means.

Fields that are None in a release never leave the agency.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self, TypeVar

import numpy as np

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.shown import summarised

# re-exported here so that importing it registers every subclass
from retrain_eval.tables.largest import largest_of
from retrain_eval.tables.statistic import Statistic as Statistic

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class SignedRanks(Statistic):
    """Sums of Wilcoxon's signed ranks of matched pairs, from which the Rosenbaum bounds are computed.

    The sums of two agencies add up to those of the signed-rank test stratified by agency, with pairs ranked within it.

    Attributes
    ----------
    n : int
        Pairs whose outcomes differ.
    positive, total, squares : float
        Sum of the ranks of pairs with a positive difference, of all ranks, and of their squares.
    """

    kind: ClassVar[str] = "signed_ranks"
    n: int
    positive: float
    total: float
    squares: float

    @property
    def parts(self) -> tuple[Sequence[str], Ints]:
        """All pairs."""
        return ("pairs",), np.array([self.n])

    def sound(self) -> bool:
        """Return whether the sums can be sums of ranks."""
        return super().sound() and 0 <= self.positive <= self.total and 0 <= self.total <= self.squares < np.inf

    def _plus(self, other: Self) -> Self:
        """Return the sums over the pairs of both, with ranks within each."""
        return replace(
            self,
            n=self.n + other.n,
            positive=self.positive + other.positive,
            total=self.total + other.total,
            squares=self.squares + other.squares,
        )


@dataclass(frozen=True, eq=False)
class Ties(Statistic):
    """Choices of a control in which another one was equally near: `retrain_eval.sample.ties`.

    The counts of two agencies add up. The change in an effect over both does not follow from the parts.

    Attributes
    ----------
    choices, tied : int
    relabellings : int
        Number of times the effect was computed with identifiers in another order; 0 for none.
    sd, spread : float
        Standard deviation and range of these effects.
    """

    kind: ClassVar[str] = "ties"
    choices: int
    tied: int
    relabellings: int
    sd: float
    spread: float

    @property
    def share(self) -> float:
        """Tied choices as a share of all."""
        return self.tied / self.choices if self.choices else 0.0

    @property
    def parts(self) -> tuple[Sequence[str], Ints]:
        """All choices."""
        return ("choices",), np.array([self.choices])

    def sound(self) -> bool:
        """Return whether ties do not exceed choices, and the spread of effects, if computed, is finite."""
        moves = np.array([self.sd, self.spread])
        known = ((moves >= 0) & (moves < np.inf)) if self.relabellings > 0 else np.isnan(moves)
        return super().sound() and 0 <= self.tied <= self.choices and bool(known.all())

    def _plus(self, other: Self) -> Self:
        """Return the counts of both."""
        return replace(self.empty(), choices=self.choices + other.choices, tied=self.tied + other.tied)

    def empty(self) -> Self:
        """Return no choices; the effect was not computed under other orders."""
        return replace(self, choices=0, tied=0, relabellings=0, sd=np.nan, spread=np.nan)


@summarised
@dataclass(frozen=True, eq=False)
class Spread(Statistic):
    """Weighted sums of an outcome within arms, for its pooled standard deviation. They can be added directly.

    Attributes
    ----------
    outcome : str
    arms : tuple of str
    n : int ndarray
        People of each arm.
    sum_w, sum_w2, sum_wy, sum_wy2 : ndarray
        Σw, Σw², Σwd and Σwd² of d = y − ``reference``, by arm.
    reference : float
    largest : ndarray, shape (arms, 1, 5), optional
        The largest contributions w·|y| to each arm.
    absolute : ndarray, shape (arms, 1), optional
        Σ w·|y| of each arm.
    """

    kind: ClassVar[str] = "spread"
    same: ClassVar[tuple[str, ...]] = ("outcome", "arms")
    scales: ClassVar[tuple[str, ...]] = ("reference",)
    inside: ClassVar[tuple[str, ...]] = ("largest", "absolute")
    outcome: str
    arms: tuple[str, ...]
    n: Ints
    sum_w: Floats
    sum_w2: Floats
    sum_wy: Floats
    sum_wy2: Floats
    reference: float
    largest: Floats | None = None
    absolute: Floats | None = None

    @property
    def parts(self) -> tuple[Sequence[str], Ints]:
        """The arms."""
        return self.arms, self.n

    def sound(self) -> bool:
        """Return whether there is a finite sum for each arm."""
        sums = (self.sum_w, self.sum_w2, self.sum_wy, self.sum_wy2)
        alike = all(len(item) == len(self.n) and np.isfinite(item).all() for item in sums)
        return super().sound() and alike and bool(np.isfinite(self.reference))

    def _plus(self, other: Self) -> Self:
        """Return the sums over the people of both."""
        shift = other.reference - self.reference
        return replace(
            self,
            n=self.n + other.n,
            sum_w=self.sum_w + other.sum_w,
            sum_w2=self.sum_w2 + other.sum_w2,
            sum_wy=self.sum_wy + other.sum_wy + shift * other.sum_w,
            sum_wy2=self.sum_wy2 + other.sum_wy2 + 2 * shift * other.sum_wy + shift**2 * other.sum_w,
            largest=_both(largest_of, self.largest, other.largest),
            absolute=_both(operator.add, self.absolute, other.absolute),
        )


def _both(join: Callable[[T, T], T], one: T | None, other: T | None) -> T | None:
    """Combine a field of two statistics if both have it."""
    return None if one is None or other is None else join(one, other)


@summarised
@dataclass(frozen=True, eq=False)
class Scores(Statistic):
    """Observed minus expected events by group, and their covariance, from which log-rank tests are computed.

    The scores of two agencies add up to those of the test stratified by agency, with risk sets compared within it.

    Attributes
    ----------
    test : str
        Its name.
    levels : tuple of str
        Groups at risk at event times; deviations add up to zero over them.
    n : int ndarray
        Spells of each group.
    deviation : ndarray, shape (G,)
    covariance : ndarray, shape (G, G)
    clusters : int
        Number of clusters behind the covariance if it is small; 0 if spells are independent or clusters are many.
    """

    kind: ClassVar[str] = "scores"
    same: ClassVar[tuple[str, ...]] = ("test", "levels")
    test: str
    levels: tuple[str, ...]
    n: Ints
    deviation: Floats
    covariance: Floats
    clusters: int = 0

    @property
    def parts(self) -> tuple[Sequence[str], Ints]:
        """The groups."""
        return self.levels, self.n

    def sound(self) -> bool:
        """Return whether there is a finite deviation for each group, and a covariance for each pair."""
        shape = self.deviation.shape == self.n.shape and self.covariance.shape == (len(self.n), len(self.n))
        return super().sound() and shape and bool(np.isfinite([*self.deviation, *self.covariance.ravel()]).all())

    def _plus(self, other: Self) -> Self:
        """Return the scores stratified by the two."""
        return replace(
            self,
            n=self.n + other.n,
            deviation=self.deviation + other.deviation,
            covariance=self.covariance + other.covariance,
            clusters=self.clusters + other.clusters if self.clusters and other.clusters else 0,
        )


@summarised
@dataclass(frozen=True, eq=False)
class Shares(Statistic):
    """Sums of weights of the people counted and of those with a property, such as being employed.

    They can be added directly.

    Attributes
    ----------
    outcome, subgroup : str
        ``subgroup`` is empty where there are no groups.
    level, estimand : tuple of str
        The group and the property of each row.
    time : int ndarray
        Quarters after the event.
    n : int ndarray
        People counted.
    sum_w, sum_wx : ndarray
        Their weights, and those of the people with the property.
    hits : int ndarray, optional
        People with the property.
    """

    kind: ClassVar[str] = "shares"
    same: ClassVar[tuple[str, ...]] = ("outcome", "subgroup", "level", "estimand", "time")
    inside: ClassVar[tuple[str, ...]] = ("hits",)
    outcome: str
    subgroup: str
    level: tuple[str, ...]
    estimand: tuple[str, ...]
    time: Ints
    n: Ints
    sum_w: Floats
    sum_wx: Floats
    hits: Ints | None = None

    @property
    def parts(self) -> tuple[Sequence[str], Ints]:
        """The rows."""
        keys = zip(self.level, self.estimand, self.time, strict=True)
        return [f"{level}, {estimand}, {time}".lstrip(", ") for level, estimand, time in keys], self.n

    def sound(self) -> bool:
        """Return whether the weight with the property is at most the total weight in each row."""
        sums = len(self.sum_w) == len(self.n) == len(self.sum_wx)
        return super().sound() and sums and bool(((self.sum_wx >= 0) & (self.sum_wx <= self.sum_w)).all())

    def _plus(self, other: Self) -> Self:
        """Return the sums over the people of both."""
        return replace(
            self,
            n=self.n + other.n,
            sum_w=self.sum_w + other.sum_w,
            sum_wx=self.sum_wx + other.sum_wx,
            hits=_both(operator.add, self.hits, other.hits),
        )


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
            smallest=_both(min, self.smallest, other.smallest),
            missing=_both(operator.add, self.missing, other.missing),
            largest=_both(largest_of, self.largest, other.largest) if alike else None,
            amounts=_both(operator.add, self.amounts, other.amounts) if alike else None,
        )
