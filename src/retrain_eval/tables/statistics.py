"""The kinds of statistic. The docstring of each states what adding two of them means.

Fields that are None in a release never leave the agency.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.errors import InputError
from retrain_eval.common.shown import summarised
from retrain_eval.tables.cross_products import CrossProducts as CrossProducts
from retrain_eval.tables.largest import largest_of
from retrain_eval.tables.ledger import Ledger as Ledger
from retrain_eval.tables.noise.cell_keys import Keys

# re-exported here so that importing it registers every subclass
from retrain_eval.tables.statistic import Statistic as Statistic
from retrain_eval.tables.statistic import both


@summarised
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
    noisy_n, noisy_positive : int and float, optional
        The same from noisy amounts.
    keys : uint64 ndarray, shape (1,), optional
        Sum of the keys of the people of the ``noisy_n`` pairs.
    """

    kind: ClassVar[str] = "signed_ranks"
    inside: ClassVar[tuple[str, ...]] = ("noisy_n", "noisy_positive", "keys")
    keyed: ClassVar[tuple[str, ...]] = ("keys",)
    n: int
    positive: float
    total: float
    squares: float
    noisy_n: int | None = None
    noisy_positive: float | None = None
    keys: Keys | None = None

    @property
    def parts(self) -> tuple[Sequence[str], Ints]:
        """All pairs."""
        return ("pairs",), np.array([self.n])

    def sound(self) -> bool:
        """Return whether the sums can be sums of ranks."""
        return super().sound() and 0 <= self.positive <= self.total and 0 <= self.total <= self.squares < np.inf

    def _plus(self, other: Self) -> Self:
        """Return the sums over the pairs of both, with ranks within each; those of noisy amounts are not added."""
        return replace(
            self.released(),
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
    per_cent : bool
        Whether a release left only the share: ``tied`` of 100.
    noisy : bool, optional
        Whether the effects were computed from noisy amounts.
    """

    kind: ClassVar[str] = "ties"
    same: ClassVar[tuple[str, ...]] = ("per_cent",)
    inside: ClassVar[tuple[str, ...]] = ("noisy",)
    choices: int
    tied: int
    relabellings: int
    sd: float
    spread: float
    per_cent: bool = False
    noisy: bool | None = None

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
        shares = self.per_cent is False or (self.per_cent is True and self.choices == 100)
        return super().sound() and 0 <= self.tied <= self.choices and bool(known.all()) and shares

    def _plus(self, other: Self) -> Self:
        """Return the counts of both; of shares alone, there is no sum.

        Raises
        ------
        InputError
            If a release left only the shares.
        """
        if self.per_cent:
            raise InputError("ties of which only the share is known cannot be added", column="per_cent")
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
    keys : uint64 ndarray, optional
        Cell keys of the arms.
    noisy_wy, noisy_wy2 : ndarray, optional
        ``sum_wy`` and ``sum_wy2`` of noisy amounts; None if the outcome is 0 or 1.
    hits, hit_keys : ndarray, optional
        People with a 1, and their keys; None if the outcome is an amount.
    """

    kind: ClassVar[str] = "spread"
    same: ClassVar[tuple[str, ...]] = ("outcome", "arms")
    scales: ClassVar[tuple[str, ...]] = ("reference",)
    inside: ClassVar[tuple[str, ...]] = ("largest", "absolute", "keys", "noisy_wy", "noisy_wy2", "hits", "hit_keys")
    keyed: ClassVar[tuple[str, ...]] = ("keys", "hit_keys")
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
    keys: Keys | None = None
    noisy_wy: Floats | None = None
    noisy_wy2: Floats | None = None
    hits: Ints | None = None
    hit_keys: Keys | None = None

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
        noisy = (self.noisy_wy, other.noisy_wy, self.noisy_wy2, other.noisy_wy2)
        wy, wy2 = None, None
        if noisy[0] is not None and noisy[1] is not None and noisy[2] is not None and noisy[3] is not None:
            wy = noisy[0] + noisy[1] + shift * other.sum_w
            wy2 = noisy[2] + noisy[3] + 2 * shift * noisy[1] + shift**2 * other.sum_w
        return replace(
            self,
            keys=both(operator.add, self.keys, other.keys),
            hits=both(operator.add, self.hits, other.hits),
            hit_keys=both(operator.add, self.hit_keys, other.hit_keys),
            noisy_wy=wy,
            noisy_wy2=wy2,
            n=self.n + other.n,
            sum_w=self.sum_w + other.sum_w,
            sum_w2=self.sum_w2 + other.sum_w2,
            sum_wy=self.sum_wy + other.sum_wy + shift * other.sum_w,
            sum_wy2=self.sum_wy2 + other.sum_wy2 + 2 * shift * other.sum_wy + shift**2 * other.sum_w,
            largest=both(largest_of, self.largest, other.largest),
            absolute=both(operator.add, self.absolute, other.absolute),
        )


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
    life_table : str, optional
        Signature of the life table that they were computed from, if its cells have keys.
    rho, gamma, strata, robust : optional
        How they were computed.
    """

    kind: ClassVar[str] = "scores"
    same: ClassVar[tuple[str, ...]] = ("test", "levels")
    inside: ClassVar[tuple[str, ...]] = ("life_table", "rho", "gamma", "strata", "robust")
    test: str
    levels: tuple[str, ...]
    n: Ints
    deviation: Floats
    covariance: Floats
    clusters: int = 0
    life_table: str | None = None
    rho: float | None = None
    gamma: float | None = None
    strata: tuple[str, ...] | None = None
    robust: bool | None = None

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
            self.released(),
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
    keys, hit_keys : uint64 ndarray, optional
        Cell keys of the people counted, and of those with the property.
    """

    kind: ClassVar[str] = "shares"
    same: ClassVar[tuple[str, ...]] = ("outcome", "subgroup", "level", "estimand", "time")
    inside: ClassVar[tuple[str, ...]] = ("hits", "keys", "hit_keys")
    keyed: ClassVar[tuple[str, ...]] = ("keys", "hit_keys")
    outcome: str
    subgroup: str
    level: tuple[str, ...]
    estimand: tuple[str, ...]
    time: Ints
    n: Ints
    sum_w: Floats
    sum_wx: Floats
    hits: Ints | None = None
    keys: Keys | None = None
    hit_keys: Keys | None = None

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
            hits=both(operator.add, self.hits, other.hits),
            keys=both(operator.add, self.keys, other.keys),
            hit_keys=both(operator.add, self.hit_keys, other.hit_keys),
        )


@summarised
@dataclass(frozen=True, eq=False)
class Costs(Statistic):
    """What training cost in all, and the people who entered it. They can be added directly.

    Attributes
    ----------
    amount : float
        In the currency of the study, and prices of its base period.
    people : int
    keys : uint64 ndarray, shape (1,), optional
        The cell key of the people.
    """

    kind: ClassVar[str] = "costs"
    inside: ClassVar[tuple[str, ...]] = ("keys",)
    keyed: ClassVar[tuple[str, ...]] = ("keys",)
    amount: float
    people: int
    keys: Keys | None = None

    @property
    def parts(self) -> tuple[Sequence[str], Ints]:
        """Everyone who entered."""
        return ("people",), np.array([self.people])

    @property
    def per_person(self) -> float:
        """The cost per person, to two digits: with a public budget, more would tell how many people entered."""
        return float(f"{self.amount / self.people:.2g}")

    def sound(self) -> bool:
        """Return whether the amount is a finite number that is not negative, of at least one person."""
        return super().sound() and 0 <= self.amount < np.inf and (self.people > 0 or self.amount == 0)

    def _plus(self, other: Self) -> Self:
        """Return the amounts and people of both."""
        keys = both(operator.add, self.keys, other.keys)
        return replace(self, amount=self.amount + other.amount, people=self.people + other.people, keys=keys)
