"""Is this person, whose pay is known, in one published cell and not in the other? The attacks on promise 3."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).parent))
import design as de
from design import KEYS, Row, row

Array = npt.NDArray[np.float64]


def leverage(path: Array, jobs: npt.NDArray[np.int64], difference: Array) -> float:
    """Return how badly a person's known path fits the difference of two second moments (0 is a perfect fit).

    The path is tried with each pattern of signs of its longest three jobs; what the size of the noise moves by period
    is added as a diagonal, and negative eigenvalues count by their size, which undoes ghosts of low rank.
    """
    values, vectors = np.linalg.eigh(difference)
    body = (vectors * np.abs(values)) @ vectors.T + np.diag((0.024 * path) ** 2 + (0.002 * path.mean()) ** 2)
    inverse = np.linalg.inv(body)
    work = jobs[path > 0]
    names, counts = np.unique(work, return_counts=True)
    longest = names[np.argsort(-counts)][:3]
    best = np.inf
    for pattern in product((-1.0, 1.0), repeat=len(longest)):
        factor = np.ones(len(path))
        for name, sign in zip(longest, pattern, strict=True):
            factor[jobs == name] += 0.0833 * sign
        known = path * factor
        best = min(best, float(known @ inverse @ known))
    return best


def from_sums(path: Array, difference: Array, rest: de.Cell, k: int, ghosts: float) -> float:
    """Return −2 log likelihood ratio that a known path is one of the k whose sums differ, from first moments alone.

    The others, and ghosts worth ``ghosts`` people, vary as the cell does; the noise is taken as independent, 8.7%.
    """
    spread, mean = rest.scatter() / rest.n, rest.mean()
    with_it = spread * (k - 1 + ghosts) + np.diag((0.087 * path) ** 2 + (0.002 * path.mean()) ** 2)
    without = spread * (k + ghosts)
    a, b = difference - (k - 1) * mean - path, difference - k * mean
    size = np.linalg.slogdet(with_it)[1] - np.linalg.slogdet(without)[1]
    return float(a @ np.linalg.solve(with_it, a) - b @ np.linalg.solve(without, b) + size)


def auc(member: Array, other: Array) -> float:
    """Return the probability that a member's misfit is the smaller one."""
    return float((member[:, None] < other).mean() + 0.5 * (member[:, None] == other).mean())


def accuracy(member: Array, other: Array) -> npt.NDArray[np.bool_]:
    """Return whether members and others are distinguished if both are as likely: threshold from half of the draws."""
    half = len(member) // 2
    cuts = np.sort(np.r_[member[:half], other[:half]])
    right = [(member[:half] <= cut).mean() + (other[:half] > cut).mean() for cut in cuts]
    cut = cuts[int(np.argmax(right))]
    return np.asarray(np.r_[member[half:] <= cut, other[half:] > cut])


def membership(n: int = 150, repeats: int = KEYS) -> list[Row]:
    """Two published cells differ by k people. Was this person, whose true path is known, one of them?

    Success is the share of right answers where yes and no are as likely (chance: one half); ``recognised`` is the share
    of members who are named when 5% of the others are.
    """
    out = []
    wishart = {"ghosts": 1, "spectrum": 6.0}
    settings: list[tuple[str, int, int, dict[str, float]]] = [
        ("k = 1, no ghost", 1, 1, {}),
        ("k = 1, one ghost of 3 sd (decision 1)", 1, 1, {"ghosts": 1}),
        ("k = 1, ghost and Wishart h = 6", 1, 1, wishart),
        ("k = 1, ghost and Wishart h = 6, 10 pairs", 1, 10, wishart),
        ("k = 10, no ghost", 10, 1, {}),
        ("k = 10, Wishart h = 6", 10, 1, {"spectrum": 6.0}),
        ("k = 10, Wishart h = 6, noise by person", 10, 1, {"spectrum": 6.0}),
        ("k = 22, Wishart h = 6, noise by person", 22, 1, {"spectrum": 6.0}),
        ("k = 10, Wishart h = 6, noise by person, pay 4 times the usual", 10, 1, {"spectrum": 6.0}),
        ("k = 22 = T + 1, no ghost", 22, 1, {}),
        ("k = 44 = 2(T + 1), no ghost", 44, 1, {}),
    ]
    for label, k, pairs, options in settings:
        misfit, sums = np.zeros((2, repeats)), np.zeros((2, repeats))
        for r in range(repeats):
            p = de.people(n, seed=r, secret=f"key {r}".encode())
            p.pay[[0, -1]] *= 4.0 if "4 times" in label else 1.0
            by: de.Sign = "person" if "person" in label else "job"
            noisy = p.pay * de.noise(p.keys, p.jobs, by, "person" if by == "person" else "period")
            rng, first, second = np.random.default_rng(r), np.zeros(noisy.shape[1]), np.zeros((noisy.shape[1],) * 2)
            for pair in range(pairs):
                outside = (np.arange(n) >= k) & ((rng.random(n) < 0.5) | (pair == 0))
                outside[-1] = True  # the person who is in both
                tables = []
                for members in (outside | (np.arange(n) < k), outside):
                    key = int(de.key_sum(p.keys, members[:, None])[0])
                    tables.append(de.protected_cell(noisy[members], key, int(members.sum()), **options))  # type: ignore[arg-type]
                rest = tables[1]
                first += (tables[0].first[1:] - tables[1].first[1:]) / pairs
                second += (tables[0].second[1:, 1:] - tables[1].second[1:, 1:]) / pairs
            ghosts = 18.0 / pairs if "ghosts" in options else 0.0
            for world, i in enumerate((0, -1)):
                path, jobs = p.pay[i], p.jobs[i] * (by == "job")
                whole = leverage(path, jobs, rest.second[1:, 1:])
                misfit[world, r] = leverage(path, jobs, second) / whole
                sums[world, r] = from_sums(path, first, rest, k, ghosts)
        for table, (member, other) in (("second moments", misfit), ("sums", sums)):
            figure = row("1 membership, path known", f"{label}: {table}", accuracy(member, other))
            recognised = float((member < np.quantile(other, 0.05)).mean())
            out.append(figure | {"recognised": recognised, "auc": auc(member, other)})
    return out


def same_or_not(repeats: int = KEYS) -> list[Row]:
    """Only this person can have been added, corrected or dropped: the tables are equal if nothing was done."""
    hits: dict[str, list[bool]] = {"ghosts and cell keys": [], "count ñ alone": []}
    for r in range(repeats):
        p = de.people(60, seed=r, secret=f"key {r}".encode())
        noisy = p.pay * de.noise(p.keys, p.jobs)
        sums = []
        for members in (np.ones(60, bool), np.arange(60) > 0):
            key = de.key_sum(p.keys, members[:, None])
            n = int(de.perturb([int(members.sum())], key)[0])
            sums.append((de.protected_cell(noisy[members], int(key[0]), n, ghosts=1).first[1:].sum(), n))
        hits["ghosts and cell keys"].append(bool(sums[0][0] != sums[1][0]))
        hits["count ñ alone"].append(bool(sums[0][1] != sums[1][1]))
    return [row("1 was anything done to this person?", label, successes) for label, successes in hits.items()]
