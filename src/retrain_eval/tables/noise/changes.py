r"""Changed counts: cell keys look up small random changes with mean 0, so that the same people get the same count.

A table of probabilities gives, for each count, the probability of each change from −D to D with mean 0 and variance v,
such that no result lies in 1 … js and zero stays zero (Giessing and Tent 2019, UNECE work session, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import optimize

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.errors import InputError
from retrain_eval.tables.noise.cell_keys import Keys

MAX_CHANGE = 5  # D


@dataclass(frozen=True)
class Changes:
    """How counts are changed.

    Parameters
    ----------
    variance : float
        v; 0 leaves counts as they are.
    never : int
        js: no published count lies between 1 and this.
    base : int
        Changed counts are rounded to a multiple of this, for data owners who ask for it.

    Examples
    --------
    >>> changes = Changes(2.0, 2)
    >>> changes.probabilities(1).round(2)[[4, 7]].tolist()  # a count of 1 becomes 0 or 3
    [0.67, 0.33]
    >>> changes.change(np.array([0, 1, 50]), np.array([3, 3, 3], np.uint64)).tolist()
    [0, 0, 48]
    """

    variance: float = 2.0
    never: int = 2
    base: int = 1

    @property
    def spread(self) -> float:
        """Variance of a published count about the true one: that of the change and, as Sheppard's, of rounding."""
        return self.variance + (self.base**2 - 1) / 12

    def change(self, counts: npt.ArrayLike, keys: Keys) -> Ints:
        """Return the changed counts of cells with these keys, of any shape."""
        counts = np.asarray(counts, dtype=np.int64)
        if self.variance == 0:
            return self._rounded(counts)
        table = _table(self.variance, self.never)
        cumulative = table.cumsum(axis=1)[np.minimum(counts, len(table) - 1)]
        place = (uniform(mixed(keys))[..., None] > cumulative[..., :-1]).sum(axis=-1)
        return self._rounded(np.where(counts == 0, 0, counts + place - MAX_CHANGE))

    def _rounded(self, counts: Ints) -> Ints:
        return np.asarray((2 * counts + self.base) // (2 * self.base) * self.base, dtype=np.int64)

    def probabilities(self, count: int) -> Floats:
        """Return the probabilities of the changes −5 … 5 of a count, shape (11,)."""
        table = _table(self.variance, self.never)
        found: Floats = table[min(count, len(table) - 1)]
        return found


@cache
def _table(variance: float, never: int) -> Floats:
    """Return the probabilities by count 0 … D + js + 1, the last for all larger ones."""
    return np.array([_probabilities(count, variance, never) for count in range(MAX_CHANGE + never + 2)])


def _probabilities(count: int, variance: float, never: int) -> Floats:
    """Return the distribution of largest entropy among those with mean 0 and variance v, or the least above it.

    The smallest variance that mean 0 allows is a linear programme. If v is above it, the entropy is largest for
    p ∝ exp(λx + μx²) on the allowed changes x.
    """
    change = np.arange(-MAX_CHANGE, MAX_CHANGE + 1)
    p = np.zeros(2 * MAX_CHANGE + 1)
    if count == 0:
        p[MAX_CHANGE] = 1.0
        return p
    allowed = (count + change == 0) | (count + change > never)
    x = change[allowed].astype(float)
    least = optimize.linprog(x**2, A_eq=np.vstack([np.ones_like(x), x]), b_eq=[1, 0])
    if not least.success or least.fun is None:
        raise InputError(
            f"no change of mean 0 within {MAX_CHANGE} of a count of {count} avoids 1 to {never}", fix="lower js"
        )
    if least.fun >= variance - 1e-9:
        p[allowed] = least.x
        return p
    target, statistics = np.array([0.0, variance]), np.vstack([x, x**2])

    def dual(multipliers: Floats) -> tuple[float, Floats]:
        exponent = multipliers @ statistics
        top = exponent.max()
        weight = np.exp(exponent - top)
        return float(top + np.log(weight.sum()) - multipliers @ target), statistics @ weight / weight.sum() - target

    best = optimize.minimize(
        dual, np.array([0.0, -1 / (2 * variance)]), jac=True, method="BFGS", options={"gtol": 1e-11}
    )
    exponent = best.x @ statistics
    p[allowed] = np.exp(exponent - exponent.max())
    return np.asarray(p / p.sum())


def mixed(key: Keys) -> Keys:
    """Return keys whose bits all depend on all bits: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        key = (np.asarray(key, np.uint64) ^ (np.asarray(key, np.uint64) >> np.uint64(30))) * np.uint64(
            0xBF58476D1CE4E5B9
        )
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(key ^ (key >> np.uint64(31)))


def uniform(key: Keys) -> Floats:
    """Return the number in (0, 1) that a key represents."""
    return np.asarray(((key >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53)
