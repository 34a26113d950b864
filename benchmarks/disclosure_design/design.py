r"""A numpy model of the protection that issue 19 designs, with the sums that the package's tables hold.

Amounts carry permanent multiplicative noise (Evans, Zayatz and Slanta 1998, J. Official Statistics 14(4); Abowd,
Stephens and Vilhuber 2006, Census TP-2006-02, §5). Counts are changed by cell keys (Thompson, Broadfoot and Elazar
2013, UNECE work session; Marley and Leaver 2011, ISI) through a table of probabilities as in Giessing and Tent (2019,
UNECE). `Register` keeps one published count for one set of people, against averaging (Asghar and Kaafar 2020, PoPETs).
It is a model for simulation, not product code: `attacks.py` attacks it, `costs.py` measures what it costs.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Keys = npt.NDArray[np.uint64]
Sign = Literal["period", "job", "person"]
Row = dict[str, object]

A, B, C = 0.05, 0.15, 0.05  # sizes of the noise, and the c of the promise
V, JS, D = 2.0, 2, 5  # variance of a changed count, results that never occur, largest change
KEYS = 200  # secrets that an attack is repeated over
RECORD, SIGN, SIZE, TABLE, GHOST, SPECTRUM = range(6)  # what a key is used for


# ---- keys ----------------------------------------------------------------------------------------------------


def person_keys(secret: bytes, ids: Sequence[str]) -> Keys:
    """Return one 64-bit key per person: HMAC-SHA256 of the identifier as delivered."""
    digests = b"".join(hmac.digest(secret, name.encode(), hashlib.sha256)[:8] for name in ids)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def mix(key: Keys, *counters: int | npt.NDArray[np.integer]) -> Keys:
    """Return keys of keys by counter: the finaliser of SplitMix64 (Steele, Lea and Flood 2014, OOPSLA, fig. 17)."""
    with np.errstate(over="ignore"):
        for counter in counters:
            key = key + np.uint64(0x9E3779B97F4A7C15) * (np.asarray(counter).astype(np.uint64) + np.uint64(1))
            key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            key = key ^ (key >> np.uint64(31))
    return key


def uniform(key: Keys) -> Array:
    """Return the number in (0, 1) that a key represents."""
    return ((key >> np.uint64(11)).astype(float) + 0.5) / 2.0**53


def generator(key: int, purpose: int) -> np.random.Generator:
    """Return the generator of a cell: the same people give the same draws."""
    return np.random.Generator(np.random.Philox(key=[key, purpose]))


# ---- amounts -------------------------------------------------------------------------------------------------


def ramp(u: Array, a: float = A, b: float = B) -> Array:
    """Return sizes with density 2(b − d)/(b − a)² on [a, b] (Abowd, Stephens and Vilhuber 2006, §5.1)."""
    return b - (b - a) * np.sqrt(1 - u)


def noise(
    keys: Keys, jobs: npt.NDArray[np.int64], sign: Sign = "person", size: Sign = "person", a: float = A, b: float = B
) -> Array:
    """Return δ = 1 ± d of each person and period; ``jobs`` (people × periods) numbers a person's employers.

    As first designed, the sign is by job and the size by period; the defaults are what the simulation led to.
    """
    key = np.repeat(keys[:, None], jobs.shape[1], 1)
    times = np.broadcast_to(np.arange(jobs.shape[1]), jobs.shape)
    unit = {"period": times, "job": jobs, "person": np.zeros_like(jobs)}
    plus = uniform(mix(key, SIGN, unit[sign])) < 0.5
    d = ramp(uniform(mix(key, SIZE, unit[size])), a, b)
    return 1 + np.where(plus, d, -d)


# ---- counts --------------------------------------------------------------------------------------------------


def change_probabilities(count: int, v: float = V, js: int = JS, d: int = D) -> Array:
    """Return p(change) for changes −d..d: mean 0, variance v, no result in 1..js or below 0, largest entropy.

    Giessing and Tent (2019, §3): the smallest variance that mean 0 allows is a linear programme; where v is above it,
    the entropy is largest for p ∝ exp(λx + μx²) on the changes that are allowed. Where v cannot be reached, the
    programme's own solution is kept.
    """
    change = np.arange(-d, d + 1)
    p = np.zeros(2 * d + 1)
    if count == 0:
        p[d] = 1.0
        return p
    allowed = (count + change == 0) | (count + change > js)
    x = change[allowed].astype(float)
    least = optimize.linprog(x**2, A_eq=np.vstack([np.ones_like(x), x]), b_eq=[1, 0])
    if not least.success or least.fun is None:
        raise ValueError(f"no change of mean 0 within {d} of {count} avoids 1..{js}")
    if least.fun >= v - 1e-9:
        p[allowed] = least.x
        return p
    target, stats = np.array([0.0, v]), np.vstack([x, x**2])

    def dual(multipliers: Array) -> tuple[float, Array]:
        exponent = multipliers @ stats
        top = exponent.max()
        weight = np.exp(exponent - top)
        gap = stats @ weight / weight.sum() - target
        return float(top + np.log(weight.sum()) - multipliers @ target), gap

    best = optimize.minimize(dual, np.array([0.0, -1 / (2 * v)]), jac=True, method="BFGS", options={"gtol": 1e-11})
    exponent = best.x @ stats
    p[allowed] = np.exp(exponent - exponent.max())
    return np.asarray(p / p.sum())


def change_table(v: float = V, js: int = JS, d: int = D) -> Array:
    """Return the table of probabilities: one row per count 0..d + js + 1, the last for all larger ones."""
    return np.array([change_probabilities(count, v, js, d) for count in range(d + js + 2)])


TABLE_DEFAULT = change_table()


def perturb(counts: npt.ArrayLike, keys: Keys, table: Array = TABLE_DEFAULT) -> npt.NDArray[np.int64]:
    """Return published counts: the change is looked up by the cell's key (Thompson, Broadfoot and Elazar 2013, §3)."""
    counts = np.asarray(counts, dtype=np.int64)
    d = table.shape[1] // 2
    cumulative = table.cumsum(1)[np.minimum(counts, len(table) - 1)]
    place = (uniform(mix(keys, TABLE))[..., None] > cumulative[..., :-1]).sum(-1)
    return np.asarray(counts + np.where(counts == 0, 0, place - d))


def key_sum(keys: Keys, members: npt.ArrayLike) -> Keys:
    """Return the cell keys of sets of people, modulo 2^64; ``members`` is people × cells, 0 or 1."""
    records = mix(keys, RECORD)
    with np.errstate(over="ignore"):
        return np.asarray(np.asarray(members).T.astype(np.uint64) @ records, dtype=np.uint64)


@dataclass
class Register:
    """Key sum → published count, first come first served; the cells of a total are made to add up to it."""

    table: Array = field(default_factory=lambda: TABLE_DEFAULT)
    js: int = JS
    published: dict[int, int] = field(default_factory=dict)

    def publish(self, count: int, key: int) -> int:
        """Return the published count of a set, the same wherever the set comes up."""
        if key not in self.published:
            self.published[key] = int(perturb([count], np.array([key], dtype=np.uint64), self.table)[0])
        return self.published[key]

    def publish_cells(self, total: int, counts: Sequence[int], keys: Keys) -> list[int] | None:
        """Return counts of the cells of one stratification that add up to a published total.

        Largest cells absorb the difference first, each by at most 2, and none may end up in 1..js. None: the
        cells cannot be fitted and the stratification is withheld.
        """
        known = [int(key) in self.published for key in keys]
        values = [self.publish(count, int(key)) for count, key in zip(counts, keys, strict=True)]
        for c in sorted(range(len(counts)), key=lambda c: -counts[c]):
            left = total - sum(values)
            step = int(np.clip(left, -2, 2))
            if step and not known[c] and values[c] > 0 and values[c] + step > self.js:
                values[c] += step
        if sum(values) != total:
            return None
        self.published |= {int(key): value for key, value in zip(keys, values, strict=True)}
        return values


# ---- moments -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One cell of `OutcomeMoments`: Σw, Σ(1, Y) and Σ(1, Y)(1, Y)ᵀ about a reference path."""

    n: float
    first: Array
    second: Array

    def mean(self) -> Array:
        """Return the mean path, from its reference."""
        return self.first[1:] / self.n

    def scatter(self) -> Array:
        """Return Σ(Y − mean)(Y − mean)ᵀ, from which covariances come."""
        return self.second[1:, 1:] - np.outer(self.first[1:], self.first[1:]) / self.n


def cell(paths: Array, reference: Array | float = 0.0) -> Cell:
    """Return the exact moments of a cell's paths (people × periods)."""
    z = np.column_stack([np.ones(len(paths)), paths - reference])
    return Cell(float(len(paths)), z.sum(0), z.T @ z)


def protected_cell(
    noisy: Array,
    key: int,
    n_published: int,
    *,
    ghosts: int = 0,
    size: float = 3.0,
    spectrum: float = 0.0,
) -> Cell:
    """Return the released moments: noisy paths, ñ for n everywhere, and ghosts or a redrawn scatter if asked for.

    Paths are centred with ñ, not n: S̃ = Σyδ − ñ·reference, here with reference 0. Otherwise a period in which all
    are out of work gives n. The scatter about the mean is kept and S̃S̃ᵀ/ñ added, which is positive semidefinite for
    every ñ.

    Parameters
    ----------
    ghosts : int
        Paths drawn from the cell's own covariance, together as large as ``size`` standard deviations, that are added
        to both moments (decision 1).
    spectrum : float
        h > 0: the scatter is replaced by a Wishart draw around it with (n/h)² degrees of freedom, so that every entry
        moves by about h² variances and no rank is left to read.
    """
    n, total = len(noisy), noisy.sum(0)
    centred = noisy - noisy.mean(0)
    scatter = centred.T @ centred
    if ghosts:
        half = _root(scatter / n)
        paths = generator(key, GHOST).standard_normal((ghosts, noisy.shape[1])) @ half * size / np.sqrt(ghosts)
        total = total + paths.sum(0)
        scatter = scatter + paths.T @ paths
    if spectrum:
        freedom = int(max((n / spectrum) ** 2, noisy.shape[1] + 1))
        scatter = _wishart(scatter, freedom, generator(key, SPECTRUM))
    m = float(n_published)
    first = np.concatenate([[m], total])
    second = np.outer(first, first) / m
    second[1:, 1:] += scatter
    return Cell(m, first, second)


def _root(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(values.clip(0))) @ vectors.T)


def _wishart(scale: Array, freedom: int, rng: np.random.Generator) -> Array:
    """Return a Wishart draw with mean ``scale``, by Bartlett's decomposition."""
    t = len(scale)
    lower = np.tril(rng.standard_normal((t, t)), -1) + np.diag(np.sqrt(rng.chisquare(freedom - np.arange(t))))
    half = _root(scale) @ lower
    return np.asarray(half @ half.T / freedom)


def binary_cell(
    outcomes: npt.NDArray[np.int64], keys: Keys, n_published: int, *, spectrum: float = 0.0, v: float = V
) -> Cell:
    """Return Σw, counts of ones and their cross-tabulation over periods, each changed by its own cell key.

    The matrix is made positive semidefinite afterwards by raising negative eigenvalues of the scatter to 0. With
    ``spectrum`` the cross-tabulation is not released at all: the exact scatter plus v on its diagonal, which is the
    variance of the changed counts, is redrawn as in `protected_cell`.
    """
    records = mix(keys, RECORD)
    ones = outcomes.astype(np.uint64)
    with np.errstate(over="ignore"):
        cross_keys = (ones * records[:, None]).T @ ones
    cross = perturb(outcomes.T @ outcomes, cross_keys).astype(float)
    m, first = float(n_published), np.diag(cross).copy()
    second = np.outer(np.r_[m, first], np.r_[m, first]) / m
    if spectrum:
        scatter = cell(outcomes.astype(float)).scatter() + v * np.eye(len(first))
        freedom = int(max((len(outcomes) / spectrum) ** 2, len(first) + 1))
        with np.errstate(over="ignore"):
            key = int(records.sum(dtype=np.uint64))
        second[1:, 1:] += _wishart(scatter, freedom, generator(key, SPECTRUM))
        return Cell(m, np.r_[m, first], second)
    values, vectors = np.linalg.eigh(cross - np.outer(first, first) / m)
    second[1:, 1:] += (vectors * values.clip(0)) @ vectors.T
    return Cell(m, np.r_[m, first], second)


# ---- life tables ---------------------------------------------------------------------------------------------


def survivors(durations: Array, keys: Keys, grid: Array, table: Array = TABLE_DEFAULT) -> npt.NDArray[np.int64]:
    """Return published numbers of survivors beyond each time: nested sets, each by its key, then made monotone.

    The running minimum would be biased downwards; the nearest non-increasing sequence (isotonic regression) is not.
    """
    beyond = durations[:, None] > grid
    changed = perturb(beyond.sum(0), key_sum(keys, beyond), table)
    return np.rint(optimize.isotonic_regression(changed, increasing=False).x).astype(np.int64)


# ---- people --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class People:
    """Synthetic wage records: pay, employer and employment by person and period."""

    pay: Array
    jobs: npt.NDArray[np.int64]
    keys: Keys

    @property
    def employed(self) -> npt.NDArray[np.int64]:
        """Whether there is pay."""
        return (self.pay > 0).astype(np.int64)


def people(
    n: int,
    periods: int = 21,
    *,
    seed: int,
    spread: float = 0.5,
    shock: float = 0.15,
    out: float = 0.06,
    back: float = 0.25,
    move: float = 0.04,
    step: float = 0.10,
    secret: bytes = b"secret",
) -> People:
    """Draw quarterly pay: lognormal levels, AR(1) shocks with ρ = .7, jobs that end, and spells out of work.

    `STABLE` is a register with stable pay, `VERY_STABLE` one of salaries that hardly move.
    """
    rng = np.random.default_rng(seed)
    level = rng.normal(8.9, spread, n)
    at_work, job, deviation = rng.random(n) < (back / (back + out) if out else 1.0), np.zeros(n, np.int64), np.zeros(n)
    pay, jobs = np.zeros((n, periods)), np.zeros((n, periods), np.int64)
    for t in range(periods):
        deviation = 0.7 * deviation + rng.normal(0, shock * np.sqrt(1 - 0.49 * (t > 0)), n)
        stays = np.where(at_work, rng.random(n) >= out, rng.random(n) < back)
        moves = stays & (~at_work | (rng.random(n) < move))
        job, at_work = job + moves, stays
        level = level + np.where(moves, rng.normal(0, step, n), 0.0)
        pay[:, t] = np.where(at_work, np.round(np.exp(level + deviation), 2), 0.0)
        jobs[:, t] = job
    return People(pay, jobs, person_keys(secret, [f"{seed}/{i}" for i in range(n)]))


STABLE = {"shock": 0.05, "out": 0.01, "move": 0.02, "step": 0.05}
VERY_STABLE = {"shock": 0.02, "out": 0.0, "move": 0.01, "step": 0.02}


# ---- figures -------------------------------------------------------------------------------------------------


def row(attack: str, variant: str, hits: npt.ArrayLike) -> Row:
    """Return a share of successes with its Monte Carlo error."""
    share = np.asarray(hits, dtype=float)
    return {"attack": attack, "variant": variant, "success": share.mean(), "mc_se": share.std() / np.sqrt(len(share))}
