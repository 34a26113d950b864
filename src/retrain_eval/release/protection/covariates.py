"""Protect covariate moments: noisy sums of amounts, and everything else from changed counts of people.

A number that is not an amount, such as age, is often known of a person, so it does not get the person's factor: the
product would reveal the factor, and with it the person's pay. Its mean, variance and distribution function are computed
from published counts of people below round values. The mean is a sum of these counts, so with K values at steps of
h its error is about h·√(Kv) people's worth: 2.5 standard deviations / n, with the grid of `Points` and v = 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize

from retrain_eval.common.arrays import Bools, Floats, Ints
from retrain_eval.common.errors import DisclosureError
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.rare_levels import (
    few_dropped_in_a_band,
    merge_rare_levels,
    published_edges,
    without_few_dropped,
)
from retrain_eval.release.protection.rules import noise_stamp
from retrain_eval.release.protection.weights import published_weights, weighted_counts
from retrain_eval.tables.covariates.covariates import (
    AFTER,
    AMOUNT,
    ARMS,
    BEFORE,
    BINARY,
    RELEASED,
    CovariateMoments,
)
from retrain_eval.tables.covariates.distributions import middles
from retrain_eval.tables.moments.dominance import dominated
from retrain_eval.tables.noise.cell_keys import APART, N_SUMS, Keys
from retrain_eval.tables.noise.person_keys import PRIME
from retrain_eval.tables.noise.register import Register
from retrain_eval.tables.noise.scatter import redrawn

WITHOUT_KEYS = "it was summed without keys of people"
_MODULUS = 2**64


def protect_covariates(
    name: str, moments: CovariateMoments, rules: Release, register: Register
) -> tuple[CovariateMoments, list[str]]:
    """Return covariate moments as they may be published.

    Parameters
    ----------
    name : str
        Name of the table, for the record.
    moments : CovariateMoments
        The unprotected moments, with keyed sums.
    rules : Release
    register : Register
        Published counts of the edition.

    Returns
    -------
    CovariateMoments, list of str
        The moments without keyed sums, and a record of what was done. Without noise (public data), the exact moments.

    Notes
    -----
    People are counted by the register. Sums of amounts are those of noisy amounts, unscaled, and sums of squares are
    redrawn about them. Of a 0/1 covariate, the people with and without it are counted by the register, and so are the
    levels of a text; each must be of `min_contributors` people, or of none where the sample's definition implies it. An
    amount needs so many people whose amount is not zero, and no few of them may dominate it. If matching dropped fewer
    people of an arm than that, or fewer with a value, without it or with an amount, those after matching represent
    those before it, as the table of matching withholds such counts. Points of distribution functions are published if
    so many people are between two of them, in each arm and stage; if few of those dropped are, the function before
    matching is that after it.

    Raises
    ------
    DisclosureError
        If the table has no keyed sums, or an arm has fewer people than the minimum.
    """
    rows = moments.cells
    if not rules.noisy:
        return replace(moments, cells=rows[list(RELEASED)]), []
    if not moments.keyed:
        raise DisclosureError(f"the covariate moments {name!r} were summed without keys", public=WITHOUT_KEYS)
    minimum = rules.min_contributors
    for arm in ARMS:
        of = rows[rows["arm"] == arm]
        if len(of) and (fewest := int(of["people"].min())) < minimum:
            raise DisclosureError(
                f"the covariate moments {name!r} compare {fewest} people of group {arm!r}, fewer than {minimum}",
                public=f"an arm has fewer than {minimum} people",
            )
    record: list[str] = []
    for arm in ARMS:
        before, after = (rows[(rows["arm"] == arm) & (rows["stage"] == stage)] for stage in (BEFORE, AFTER))
        if len(before) and len(after) and 0 < before["people"].iloc[0] - after["people"].iloc[0] < minimum:
            rows = rows.drop(before.index)
            record.append(
                f"Covariates {name}: {arm} before matching are taken to be those after it; fewer than {minimum} were "
                "dropped."
            )
    wholes = {key: _Whole.of(cells.iloc[0], register) for key, cells in rows.groupby(["arm", "stage"], sort=False)}
    if min(whole.published for whole in wholes.values()) < minimum:
        raise DisclosureError(
            f"the covariate moments {name!r} compare a group whose published count is below {minimum}",
            public=f"an arm has fewer than {minimum} people",
        )
    kept: list[pd.DataFrame] = []
    withheld, as_after, alike = list(moments.withheld), dict[str, list[str]](), dict[str, list[str]]()
    for column, every in rows.groupby("column", sort=False):
        block, notes = merge_rare_levels(every, minimum)
        record += [f"Covariates {name}: {column} {note}" for note in notes]
        block, without = without_few_dropped(block, minimum)
        same = few_dropped_in_a_band(block, minimum)
        for noted, arms in ((as_after, without), (alike, same)):
            for of_arm in arms:
                noted.setdefault(of_arm, []).append(str(column))
        made = None if _few(block, rules).any() else _protected(name, block, wholes, minimum, register, same)
        if made is None:
            withheld += [str(covariate) for covariate in block["covariate"].unique()]
        else:
            kept.append(made)
    why = f"of the people dropped, fewer than {minimum}"
    for arm, columns in as_after.items():
        record.append(
            f"Covariates {name}: {', '.join(columns)} of {arm} before matching are taken to be those after it; "
            f"{why} have a value, or do not have it, or an amount."
        )
    for arm, columns in alike.items():
        record.append(
            f"Covariates {name}: {', '.join(columns)} of {arm} are distributed before matching as after it, but for "
            f"mean and spread; {why} are between two points."
        )
    if len(withheld) > len(moments.withheld):
        listed = ", ".join(withheld[len(moments.withheld) :])
        record.append(
            f"Covariates {name}: {listed} withheld, of which fewer than {minimum} people have a value or do not have "
            "it, or an amount; or which few people dominate; or whose counts, once they are changed, are too small or "
            "do not add up, or are of people who differ from those of an earlier edition by fewer than "
            f"{APART}."
        )
    safe = pd.concat(kept, ignore_index=True) if kept else rows.iloc[:0]
    stamp = {**moments.stamp, "noise": noise_stamp(rules)}
    return replace(moments, cells=safe[list(RELEASED)], withheld=tuple(withheld), stamp=stamp), record


@dataclass(frozen=True)
class _Whole:
    """The people of an arm and stage, exactly and as published."""

    people: int
    published: int
    weight: float
    published_weight: float
    published_squares: float
    keys: tuple[int, ...]

    @classmethod
    def of(cls, row: pd.Series[Any], register: Register) -> _Whole:
        people, keys = int(row["people"]), (int(row["key"]), *(int(term) for term in row["sketch"]))
        published = register.count(people, keys[0])
        weight, squares = published_weights(
            float(row["sum_w"]), float(row["sum_w2"]), people, published, keys, whole=True
        )
        return cls(people, published, float(row["sum_w"]), weight, squares, keys)


def _protected(
    name: str,
    block: pd.DataFrame,
    wholes: Mapping[Any, _Whole],
    minimum: int,
    register: Register,
    same: Sequence[str],
) -> pd.DataFrame | None:
    """Return the published rows of the covariates of one column; None if counts cannot be made to add up.

    Arms in ``same`` have the distribution after matching before it too. None as well if people with a level differ from
    those of an earlier edition by fewer than ten; edges below or above which they do are not published.
    """
    kind = block["kind"].iloc[0]
    edges = np.array([], dtype=np.int64) if kind == BINARY else published_edges(block, minimum)
    counted = [_counted(row, edges) for _, row in block.iterrows()]
    near = np.array([register.counted.few_apart(*sets) for sets in counted])  # each level, or below and above each edge
    if kind == BINARY and near.any():
        return None
    if kind != BINARY:
        stay = ~near.reshape(len(block), len(edges), 2).any(axis=(0, 2))
        edges = edges[stay]
        counted = [_counted(row, edges) for _, row in block.iterrows()]
    parts = []
    for key, cells in block.groupby(["arm", "stage"], sort=False):
        whole = wholes[key]
        if kind == BINARY:
            shares = _levels(cells, whole, minimum, register)
            if shares is None:
                return None
            sums = [(share, share) for share in shares * (whole.published_weight / whole.published)]
            below: list[list[float]] = [[] for _ in sums]
        else:
            row = cells.iloc[0]
            counts = _below(row, whole, register)
            sums = [_of_amounts(row, whole) if kind == AMOUNT else _of_counts(row, counts, whole)]
            share = counts / whole.published
            if key[1] == BEFORE and key[0] in same:
                [after] = block.index[(block["arm"] == key[0]) & (block["stage"] == AFTER)]
                of = wholes[key[0], AFTER]
                share = _below(block.loc[after], of, register) / of.published
            below = [(share[edges] * whole.published_weight).tolist()]
        n = [round(int(rows) * whole.published / whole.people) for rows in cells["n"]]
        facts = {"people": whole.published, "sum_w": whole.published_weight, "sum_w2": whole.published_squares}
        listed = [[float(edge) for edge in np.asarray(row)[edges]] if len(edges) else [] for row in cells["edges"]]
        parts.append(
            cells.assign(
                **facts,
                n=n,
                reference=0.0,
                sum_wx=[first for first, _ in sums],
                sum_wx2=[second for _, second in sums],
                edges=pd.Series(listed, cells.index),
                sum_below=pd.Series(below, cells.index),
            )
        )
    for (_, row), sets in zip(block.iterrows(), counted, strict=True):
        text = f"covariates/{name}: {row['arm']} {row['stage']} matching, {row['covariate']}"
        register.counted.add([f"{text}, set {number}" for number in range(len(sets[0]))], *sets)
    return pd.concat(parts).sort_index(kind="stable")


def _counted(row: pd.Series[Any], edges: Ints) -> tuple[Ints, Keys, Ints]:
    """Return numbers, keys and sketches of the people counted: with and without a level; below and above each edge."""
    people, key, rows = int(row["people"]), np.uint64(row["key"]), np.asarray(row["rows"], np.int64)
    if row["kind"] == BINARY:
        n, keys = np.array([row["ones"]], np.int64), np.array([row["ones_key"]], np.uint64)
        sketches = np.asarray(row["ones_rows"], np.int64)[None]
    else:
        n, keys = np.asarray(row["people_below"], np.int64)[edges], np.asarray(row["below_key"], np.uint64)[edges]
        sketches = np.asarray(row["below_rows"], np.int64).reshape(-1, N_SUMS)[edges]
    with np.errstate(over="ignore"):
        every = np.column_stack([keys, key - keys]).astype(np.uint64)
    both = np.stack([sketches, (rows - sketches) % PRIME], axis=1)
    return np.column_stack([n, people - n]).ravel(), every.ravel(), both.reshape(-1, N_SUMS)


def _levels(cells: pd.DataFrame, whole: _Whole, minimum: int, register: Register) -> Floats | None:
    """Return the published, weighted counts of people with each level of a text, or with 1."""
    ones, weight = cells["ones"].to_numpy(dtype=np.int64), cells["ones_w"].to_numpy(dtype=float)
    keys = [int(key) for key in cells["ones_key"]]
    single = len(cells) == 1
    if single:  # those without it are the other part
        ones, weight = np.append(ones, whole.people - ones[0]), np.append(weight, whole.weight - weight[0])
        keys.append((whole.keys[0] - keys[0]) % _MODULUS)
    published = register.parts(whole.published, ones.tolist(), np.array(keys, dtype=np.uint64))
    if published is None or ((published < minimum) & (ones > 0)).any():
        return None
    counts = weighted_counts(published, ones, weight, whole.people, whole.weight)
    counts = np.where(ones == 0, 0.0, counts.clip(min=1.0))
    counts[np.argmax(counts)] += whole.published - counts.sum()
    return counts[:1] if single else counts


def _below(row: pd.Series[Any], whole: _Whole, register: Register) -> Floats:
    """Return the published, weighted counts of people below each edge, which do not fall.

    Above the middle, those not below the edge are counted, so that the change of the whole count lies in the middle.
    """
    exact = np.asarray(row["people_below"], dtype=np.int64)
    published = np.array(
        [
            register.count(n, key)
            if 2 * n <= whole.people
            else whole.published - register.count(whole.people - n, (whole.keys[0] - key) % _MODULUS)
            for n, key in zip(exact.tolist(), map(int, row["below_key"]), strict=True)
        ],
        dtype=np.int64,
    )
    weight = np.asarray(row["sum_below"], dtype=float)
    counts = weighted_counts(published, exact, weight, whole.people, whole.weight)
    if not len(counts):
        return counts
    rising: Floats = optimize.isotonic_regression(counts).x
    return np.where(exact == 0, 0.0, np.where(exact == whole.people, whole.published, rising.clip(0, whole.published)))


def _of_amounts(row: pd.Series[Any], whole: _Whole) -> tuple[float, float]:
    """Return Σwxδ, and Σw(xδ)² whose part about the mean is redrawn."""
    total = float(row["noisy_wx"])
    scatter = max(float(row["noisy_wx2"]) - total**2 / whole.weight, 0.0)
    drawn = redrawn(np.array([[scatter]]), whole.people, whole.keys, f"covariate {row['covariate']}")
    return total, float(drawn[0, 0]) + total**2 / whole.published_weight


def _of_counts(row: pd.Series[Any], below: Floats, whole: _Whole) -> tuple[float, float]:
    """Return the sum and the sum of squares of a number, from counts of people in bands and the middles of these."""
    values = middles(np.asarray(row["edges"], dtype=float), whole=bool(row["whole"]))
    band = np.diff(below, prepend=0.0, append=whole.published) * (whole.published_weight / whole.published)
    return float(band @ values), float(band @ values**2)


def _few(cells: pd.DataFrame, rules: Release) -> Bools:
    """Return the rows of few people: with a value, without it, or with an amount; or whose amounts few dominate."""
    minimum, kind = rules.min_contributors, cells["kind"].iloc[0]
    ones, people = cells["ones"].to_numpy(dtype=np.int64), cells["people"].to_numpy(dtype=np.int64)
    implied = cells["implied"].to_numpy(dtype=bool)
    if kind == BINARY:
        fewest = np.minimum(ones, people - ones)
        return np.asarray((fewest < minimum) & ~((fewest == 0) & implied))
    if kind == AMOUNT:
        top = np.array(cells["largest"].tolist(), dtype=float)[:, None, :]
        total = cells["absolute"].to_numpy(dtype=float)[:, None]
        rule = {"n": rules.dominance_n, "share": rules.dominance_share, "p_percent": rules.p_percent}
        held = dominated(top, total, **rule) & (top.sum(axis=(1, 2)) > 0)
        return np.asarray(((ones < minimum) & ~((ones == 0) & implied)) | held)
    sides = [
        np.minimum(below, of - below).max(initial=0)
        for below, of in zip((np.asarray(counts) for counts in cells["people_below"]), people, strict=True)
    ]
    constant = np.array(sides) == 0
    return np.asarray((np.array(sides) < minimum) & ~(constant & implied & (cells["edges"].map(len) > 0).to_numpy()))
