"""Attacks on published tables: small counts from sums, a path from products.

The attacker knows the rules, the names of all levels, and that counts are whole and not negative. `protect` runs the
attack on counts before anything is written, and a release runs the comparison with earlier editions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from scipy.optimize import linprog

from retrain_eval.common.arrays import Floats
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.release.protection.merging import JOIN

Levels = Mapping[str, frozenset[str]]

COHORT = "cohort"
ARMS = ("treated", "control")
_WHOLE = 1e-6


@dataclass(frozen=True)
class Count:
    """One published count of the people in an arm with the given levels; strata that are not given are summed over.

    Attributes
    ----------
    arm : {"treated", "control"}
    total : int
        Total of its table. Tables with the same total are assumed to cover the same people.
    levels : mapping of str → frozenset of str
    n : int
    """

    arm: str
    total: int
    levels: Levels
    n: int


def counts(tables: Iterable[OutcomeMoments]) -> list[Count]:
    """Return the counts of cells; a merged level represents the levels it was merged from."""
    found = []
    for table in tables:
        treated = table.cells["cohort"].notna().to_numpy()
        n = table.cells["n"].to_numpy()
        for row, is_treated in enumerate(treated):
            levels = {name: frozenset(str(table.cells[name].iloc[row]).split(JOIN)) for name in table.strata}
            if is_treated:
                levels[COHORT] = frozenset([str(table.cells["cohort"].iloc[row])])
            arm = ARMS[0] if is_treated else ARMS[1]
            found.append(Count(arm, int(n[treated == is_treated].sum()), levels, int(n[row])))
    return found


def counts_of_matching(frame: pd.DataFrame) -> list[Count]:
    """Return the counts by stratum in a matching table."""
    found = []
    everybody = frame[frame["subgroup"].isna()]
    for arm in ARMS:
        for column in (f"n_{arm}", f"n_{arm}_matched"):
            if len(everybody) != 1 or pd.isna(everybody[column].iloc[0]):
                continue
            for row in frame[frame["subgroup"].notna() & frame[column].notna()].to_dict("records"):
                levels = {str(row["subgroup"]): frozenset([str(row["level"])])}
                found.append(Count(arm, int(everybody[column].iloc[0]), levels, int(row[column])))
    return found


def every_level(found: Iterable[Count]) -> dict[str, frozenset[str]]:
    """Return the levels that occur in counts, by stratum."""
    every: dict[str, frozenset[str]] = {}
    for count in found:
        for name, levels in count.levels.items():
            every[name] = every.get(name, frozenset()) | levels
    return every


def recoverable(published: Sequence[Count], small: Sequence[Count], every: Levels, base: int = 1) -> pd.DataFrame:
    """Bound small counts by linear programmes over all published counts of the same people.

    Parameters
    ----------
    published : sequence of Count
    small : sequence of Count
        Counts that are not published and must not be recoverable.
    every : mapping of str → frozenset of str
        All levels of each stratum; the attacker reads them in the study file.
    base : int
        Multiple that published counts are rounded to.

    Returns
    -------
    DataFrame
        One row per small count: ``arm, levels, n, low, high, exact``; ``exact`` is true if only one whole number is
        possible. A count that contradicts the published ones (its table covers other people) has no bounds.

    Notes
    -----
    The unknowns are the numbers of people in each combination of levels; each published count is a sum of them, known
    up to its rounding. The smallest and largest possible values of a small count are the solutions of two linear
    programmes (Fischetti and Salazar 2001 call the pair the attacker's subproblems).

    Examples
    --------
    >>> def of(n, *ages):
    ...     return Count("treated", 20, {"age": frozenset(ages)}, n)
    >>> every = {"age": frozenset(["old", "young"])}
    >>> recoverable([of(16, "old"), of(20, "old", "young")], [of(4, "young")], every)[["low", "high"]].iloc[0].tolist()
    [4, 4]
    >>> recoverable([of(20, "old", "young")], [of(4, "young")], every)[["low", "high"]].iloc[0].tolist()
    [0, 20]
    """
    rows = []
    for target in small:
        same = [count for count in published if (count.arm, count.total) == (target.arm, target.total)]
        names = sorted({name for count in (*same, target) for name in count.levels})
        universe = list(product(*(sorted(every[name]) for name in names)))
        matrix = np.array([_members(count.levels, names, universe) for count in same]).reshape(len(same), len(universe))
        slack = (base - 1) / 2
        sizes = np.array([count.n for count in same], dtype=float)
        # everyone in the table is in one of the cells
        matrix = np.vstack([matrix, np.ones(len(universe))])
        sizes = np.append(sizes, target.total)
        goal = _members(target.levels, names, universe)
        bounds = [_extreme(sign * goal, matrix, sizes, slack) for sign in (1.0, -1.0)]
        low, high = 0.0, float(target.total)
        if bounds[0] is not None and bounds[1] is not None:
            low, high = bounds[0], -bounds[1]
        least, most = int(np.ceil(low - _WHOLE)), int(np.floor(high + _WHOLE))
        described = ", ".join(f"{name} {' or '.join(sorted(values))}" for name, values in target.levels.items())
        rows.append((target.arm, described, target.n, least, most, least == most))
    return pd.DataFrame(rows, columns=["arm", "levels", "n", "low", "high", "exact"])


def _members(levels: Levels, names: Sequence[str], universe: Sequence[tuple[str, ...]]) -> Floats:
    return np.array(
        [
            float(all(level in levels.get(name, (level,)) for name, level in zip(names, cell, strict=True)))
            for cell in universe
        ]
    )


def _extreme(goal: Floats, matrix: Floats, value: Floats, slack: float) -> float | None:
    """Return the smallest value of ``goal``; None if nothing satisfies the published counts."""
    limits = np.concatenate([value + slack, -(value - slack)])
    found = linprog(goal, A_ub=np.vstack([matrix, -matrix]), b_ub=limits, bounds=(0, None), method="highs")
    return None if found.fun is None else float(found.fun)


def complete_path(products: Floats, known: Mapping[int, float]) -> Floats:
    """Complete a partly known path from the products of the paths in its cell.

    Parameters
    ----------
    products : ndarray, shape (1 + T, 1 + T)
        Σ z zᵀ with z = (1, Y − reference), of unit weights.
    known : mapping of int → float
        Coordinates of z that the attacker knows; coordinate 0 is the constant 1.

    Returns
    -------
    ndarray, shape (1 + T,)
        The z in the span of the cell's paths that agrees with the known coordinates; if several do, the shortest.

    Notes
    -----
    The column space of ``Σ z zᵀ`` is the span of the paths. If there are fewer people than coordinates, it is a proper
    subspace, and knowing as many coordinates as there are people determines the others.
    """
    values, vectors = np.linalg.eigh(products)
    span = vectors[:, values > values.max() * 1e-10]
    index = list(known)
    weight = np.linalg.lstsq(span[index], np.array([known[i] for i in index]), rcond=None)[0]
    path: Floats = span @ weight
    return path


def path_interval(products: Floats, path: Floats, unknown: int) -> float:
    """Return half the width of the interval to which the products confine one unknown coordinate of a path.

    No person's leverage ``zᵀ (Σ z zᵀ)⁻¹ z`` exceeds one, which bounds the coordinate given all others.
    """
    inverse = np.linalg.pinv(products, rcond=1e-12, hermitian=True)
    others = np.arange(len(path)) != unknown
    z = path[others]
    # minimised over the unknown coordinate, the leverage is that of the other coordinates alone
    block = np.linalg.pinv(products[np.ix_(others, others)], rcond=1e-12, hermitian=True)
    slack = max(1.0 - float(z @ block @ z), 0.0)
    return float(np.sqrt(slack / inverse[unknown, unknown]))
