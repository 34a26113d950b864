r"""Protect outcome moments: noisy amounts or changed counts, centred with published counts, and a redrawn scatter.

With n people in a cell of whom ñ are published, weights ``Σw`` become ``W = Σw · ñ/n``, and sums are taken about the
reference path with W, so that the mean is ``Σ w Y δ / W`` and no quarter without amounts tells n. The scatter about the
mean is redrawn (`redrawn`), that of counts by whole people, and put back about the released mean; the variance of
changed counts is added, so that standard errors know it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from retrain_eval.common.arrays import AnyInts, Floats, Index, Ints
from retrain_eval.common.errors import DisclosureError
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.merging import merge_smallest_level, relabel
from retrain_eval.release.protection.rare_levels import pooled_edges
from retrain_eval.release.protection.rules import noise_stamp
from retrain_eval.tables.moments.dominance import dominated
from retrain_eval.tables.moments.keyed_sums import KeyedSums
from retrain_eval.tables.moments.withheld_cells import withholds_cells, without_cell
from retrain_eval.tables.noise.cell_keys import Keys, add_keys
from retrain_eval.tables.noise.mean_weights import VARIANCE as WEIGHTS
from retrain_eval.tables.noise.mean_weights import all_ones, loosened
from retrain_eval.tables.noise.register import Register
from retrain_eval.tables.noise.scatter import redrawn

NO_CELL, WITHHELD_CELL = "no cell has enough people", "a cell is withheld"
POOLED = "edges of bands are left out"
_TENS = 10  # numbers of clusters are told in tens
MANY = 10  # times the smallest number of people: that all or none of so many have a value tells of no one


def protect_moments(
    name: str, moments: OutcomeMoments, rules: Release, register: Register, order: Mapping[str, Sequence[str]]
) -> tuple[OutcomeMoments, list[str]]:
    """Return the moments as they may be released, and a record of what was merged.

    Parameters
    ----------
    name : str
        Of the table, for the record and for errors.
    moments : OutcomeMoments
        With keyed sums. Of a table marked as in `retrain_eval.tables.moments.withheld_cells`, cells are withheld;
        levels of others are merged.
    rules : Release
    register : Register
        The counts of this edition.
    order : mapping of str → sequence of str
        Levels of strata from low to high: a level with too few people joins a neighbour.

    Raises
    ------
    DisclosureError
        If the source had no keys of people; if a cell has too few people, too few with an amount or with a value, or is
        dominated by few of them, and no stratum is left to merge.
    """
    if not rules.noisy:
        return replace(moments, largest=None, absolute=None, keyed=None, source=None), []
    if moments.keyed is None:
        raise DisclosureError(
            f"the moments {name!r} were summed without the keys of people; give them to the source: run.keyed(rows)",
            public="it was summed without the keys of people",
        )
    record: list[str] = []
    withheld: dict[str, int] = {}
    every, moments = moments.times, pooled_edges(moments, rules)
    if len(moments.times) < len(every):
        record.append(f"Moments {name}: {POOLED}, because between them are fewer than {rules.min_contributors} people.")
    while True:
        fault = _fault(moments, rules)
        published = None if fault else _published(moments, register)
        if published is not None:
            break
        fault = fault or Fault(int(moments.cells["n"].to_numpy().argmin()), "counts cannot be made to add up")
        if not moments.strata:
            raise DisclosureError(
                f"the moments {name!r}: in a cohort of {int(moments.cells['n'].iloc[fault.cell])} units, {fault.why}",
                public=f"in a cohort, {fault.why}",
            )
        if withholds_cells(moments):
            left = without_cell(moments, fault.cell)
            if left is None:
                raise DisclosureError(f"the moments {name!r}: in every cell, {fault.why}", public=NO_CELL)
            moments, withheld[fault.why] = left, withheld.get(fault.why, 0) + 1
        else:
            moments, line = _coarser(moments, fault, order)
            record.append(f"Moments {name}: {line}, because in a cell {fault.why}.")
    record += [f"Moments {name}: cells are withheld ({n}), because in each {why}." for why, n in withheld.items()]
    return _protected(moments, published, rules, register), record


@dataclass(frozen=True)
class Fault:
    """A cell that breaks a rule, and why, without numbers of people."""

    cell: int
    why: str


def _fault(moments: OutcomeMoments, rules: Release) -> Fault | None:
    """Return the smallest cell that breaks a rule."""
    assert moments.keyed is not None
    fewest, n = rules.min_contributors * moments.keyed.most, moments.cells["n"].to_numpy()
    if n.min() < fewest:
        return Fault(int(n.argmin()), f"there are fewer than {rules.min_contributors} people")
    few = _few(moments.keyed, n)
    # what is so of everyone in the sample, such as being without work before the start, tells of no one
    implied = (few.sum(axis=0) == 0) & (n.sum() >= MANY * fewest)
    small_group = (n < MANY * fewest)[:, None]
    small = (few < fewest) & ~implied & small_group
    if moments.keyed.noisy:  # the sum of a few people's amounts is theirs
        small |= (few > 0) & (few < fewest)
    if small.any():
        smallest = np.where(small, few, n.max() + 1).min(axis=1)
        what = "have an amount" if moments.keyed.noisy else "have another value than the others"
        return Fault(int(smallest.argmin()), f"fewer than {rules.min_contributors} people {what}")
    if moments.largest is not None and moments.absolute is not None:
        rule = {"n": rules.dominance_n, "share": rules.dominance_share, "p_percent": rules.p_percent}
        over = np.flatnonzero(dominated(moments.largest, moments.absolute, **rule))
        if len(over):
            return Fault(int(over[n[over].argmin()]), "few people dominate the amounts; set a cap for the outcome")
    return None


def _few(keyed: KeyedSums, n: Ints) -> Ints:
    """Return the people with an amount, or without the most frequent value, by cell and period, shape (C, T)."""
    if keyed.noisy:
        return keyed.count[:, :, 0]
    rest = n[:, None] - keyed.count.sum(axis=2)
    few: Ints = n[:, None] - np.maximum(keyed.count.max(axis=2), rest)
    return few


def _coarser(moments: OutcomeMoments, fault: Fault, order: Mapping[str, Sequence[str]]) -> tuple[OutcomeMoments, str]:
    """Merge the level of a cell with a neighbour, or sum over the last stratum; say what was done."""
    stratum = moments.strata[-1]
    if stratum not in moments.numbers:  # values of a number are no levels
        names = merge_smallest_level(moments, stratum, (fault.cell,), order.get(stratum, ()))
        if len(set(names.values())) > 1:
            merged = ", ".join(dict.fromkeys(new for old, new in names.items() if old != new))
            return relabel(moments, stratum, names), f"{stratum} {merged} merged"
    return moments.collapse(over=stratum), f"summed over {stratum}"


@summarised
@dataclass(frozen=True)
class _Published:
    """Published counts of units by cell, shape (C,), and of units with each value, shape (C, T, V)."""

    n: Ints
    count: Ints


def _published(moments: OutcomeMoments, register: Register) -> _Published | None:
    """Return published counts, fitted from arms and cohorts down to cells; None if they do not fit."""
    keyed = moments.keyed
    assert keyed is not None
    n, key = moments.cells["n"].to_numpy(np.int64), keyed.cells.key
    groups = _margins(moments)
    found = _fitted(register, groups, n, key)
    counts = keyed.count.copy()
    for t, v in np.ndindex(*counts.shape[1:]) if not keyed.noisy else ():
        fitted = _fitted(register, groups, keyed.count[:, t, v], keyed.key[:, t, v])
        if fitted is None:
            return None
        counts[:, t, v] = fitted
    if found is None:
        return None
    if not keyed.noisy:  # the others, who have no value, are none or more than js
        others, never = found[:, None] - counts.sum(axis=2), register.changes.never
        none_or_more = np.where(others > never, others, np.where(2 * others <= never, 0, never + 1))
        largest = counts.argmax(axis=2)[..., None]
        moved = np.take_along_axis(counts, largest, 2) + (others - none_or_more)[..., None]
        np.put_along_axis(counts, largest, moved, 2)
    return _Published(found, counts)


def _fitted(register: Register, groups: Sequence[AnyInts], n: Ints, key: Keys) -> Ints | None:
    """Return published counts of cells, margin by margin from coarse to fine, the parts of each fitted to it.

    ``groups`` has, for each step, the number of each cell's margin; the last one has the cells.
    """
    margins = [_sums(group, n, key) for group in groups]
    counts = np.array(
        [register.count(*one) for one in zip(margins[0][0].tolist(), margins[0][1].tolist(), strict=True)]
    )
    for coarse, fine, (size, keys) in zip(groups, groups[1:], margins[1:], strict=False):
        below = np.zeros(len(size), np.int64)
        for number, whole in enumerate(counts.tolist()):
            parts = np.unique(fine[coarse == number])
            if len(parts) == 1:
                below[parts] = whole
                continue
            fitted = register.parts(whole, size[parts].tolist(), keys[parts])
            if fitted is None:
                return None
            below[parts] = fitted
        counts = below
    return counts[groups[-1]]


def _sums(group: AnyInts, n: Ints, key: Keys) -> tuple[Ints, Keys]:
    n_groups = int(group.max()) + 1
    return np.bincount(group, n, n_groups).astype(np.int64), add_keys(key, group, n_groups)


def _margins(moments: OutcomeMoments) -> list[AnyInts]:
    """Return the number of each cell's arm, then cohort, then level of the first stratum in it, and so on."""
    cohort = moments.cells["cohort"].to_numpy(dtype=float, na_value=np.inf)
    columns = [np.isinf(cohort), cohort, *(moments.cells[name].astype(str).to_numpy() for name in moments.strata)]
    frame = pd.DataFrame({str(place): column for place, column in enumerate(columns)})
    steps = [list(frame.columns[: place + 1]) for place in range(len(columns))]
    return [frame.groupby(step, sort=False).ngroup().to_numpy() for step in steps]


def _protected(moments: OutcomeMoments, published: _Published, rules: Release, register: Register) -> OutcomeMoments:
    """Return the released table: its sums are those of noisy paths or changed counts, about ñ."""
    keyed = moments.keyed
    assert keyed is not None
    n = moments.cells["n"].to_numpy(np.int64)
    factor = published.n / n
    first, second = (keyed.first, keyed.second) if keyed.noisy else (moments.first, moments.second)
    assert first is not None
    assert second is not None
    arm = _margins(moments)[0]
    mean_weight = first[:, 0] / n
    mean_weight = loosened(mean_weight, n, keyed.cells.key.tolist(), "weights", all_ones(mean_weight, arm))
    weight = mean_weight * published.n
    totals = first[:, 1:] + first[:, :1] * moments.reference
    loose = WEIGHTS if moments.weighted else 0.0
    ones = np.zeros_like(totals)  # variance of Σw of those who are counted by value
    if not keyed.noisy:
        share = np.divide(keyed.weight, keyed.count, out=np.full_like(keyed.weight, np.nan), where=keyed.count > 0)
        kept = all_ones(share.ravel(), np.repeat(arm, share[0].size))
        share = loosened(share.ravel(), keyed.count.ravel(), keyed.key.ravel().tolist(), "values", kept)
        share = np.nan_to_num(share).reshape(keyed.weight.shape)
        worth = share * keyed.values  # noqa: PD011
        totals = (worth * published.count).sum(axis=2)
        ones = (worth**2 * (published.count > 0) * (register.variance(keyed.key) + loose)).sum(axis=2)
    # the reference path of the run is a mean of exact amounts; that of the release follows from released means
    means = totals.sum(axis=0) / weight.sum()
    reference = np.array([float(f"{mean:.2g}") for mean in means]) if keyed.noisy else np.zeros(len(means))
    released = np.column_stack([weight, totals - weight[:, None] * reference])
    blocks = _redrawn(moments, first, dict(second), released, factor, published)
    variance = register.variance(keyed.cells.key) + loose
    for c in range(len(n)):
        direction = mean_weight[c] * np.concatenate([[1.0], -reference])
        noise = variance[c] * np.outer(direction, direction)
        noise[1:, 1:] += np.diag(ones[c])
        blocks[c, c] = blocks[c, c] + noise
    total = int(published.n.sum())
    # a row for each set of cells; where the run kept no sums either, errors of few clusters are the sandwich's in both
    clusters = moments.clusters and moments.clusters.without_sums(withheld=moments.leaves_out)
    if clusters:
        clusters = clusters.frequent(rules.min_contributors)  # sets of cells that few clusters reach over are not told
        count = np.maximum(np.rint(clusters.count * (total / n.sum()) / _TENS), 1).astype(np.int64) * _TENS
        clusters = replace(clusters, count=count)
    with np.errstate(over="ignore"):
        key = keyed.cells.key.sum(dtype=np.uint64, keepdims=True) + np.uint64(1)
    [dropped] = register.changes.change([moments.n_dropped], key).tolist()
    return replace(
        moments,
        cells=moments.cells.assign(n=published.n),
        first=released,
        second=dict(sorted(blocks.items())),
        reference=reference,
        n_clusters=total if clusters is None else clusters.total,
        n_dropped=dropped if moments.n_dropped >= rules.min_contributors else 0,
        clusters=clusters,
        largest=None,
        absolute=None,
        keyed=None,
        source=None,
        stamp={**moments.stamp, "noise": noise_stamp(rules)},
    )


def _redrawn(
    moments: OutcomeMoments,
    first: Floats,
    second: dict[tuple[int, int], Floats],
    released: Floats,
    factor: Floats,
    published: _Published,
) -> dict[tuple[int, int], Floats]:
    """Redraw the scatter about the mean of cells that share clusters together, and put it about the released means.

    With residuals r = w (Y − mean), the coordinates are (w, r); w stays apart where it is 1 for everyone. Of counts,
    entries move by people's worth too, and those of a value that no one or everyone is published to have are zero,
    whether or not it is so: otherwise they would tell how many have it.
    """
    keyed = moments.keyed
    assert keyed is not None
    size, n = first.shape[1], moments.cells["n"].to_numpy()
    own = moments.weighted or moments.cluster is not None
    independent = np.inf if moments.clusters is None else float(moments.clusters.total)
    blocks: dict[tuple[int, int], Floats] = {}
    for cells in _together(len(n), list(second)):
        joint = np.zeros((len(cells) * size, len(cells) * size))
        place = {int(c): slice(i * size, (i + 1) * size) for i, c in enumerate(cells)}
        for (c, d), block in second.items():
            if c in place:
                inner = _about(-first[c, 1:] / first[c, 0]) @ block @ _about(-first[d, 1:] / first[d, 0]).T
                joint[place[c], place[d]] = inner
                joint[place[d], place[c]] = inner.T
        used, ones = np.ones(len(joint), dtype=bool), np.zeros(len(joint), dtype=bool)
        ones[::size] = not own
        used &= ~ones
        counts: dict[str, Any] = {}
        if not keyed.noisy:
            worth = np.column_stack([np.ones(len(cells)), _ranges(keyed, published)[cells]])
            used &= worth.ravel() > 0
            weight = np.sqrt([max(second[c, c][0, 0], 0.0) / n[c] for c in cells.tolist()])
            who = np.column_stack([keyed.cells.key[cells], _keys_of_values(keyed)[cells]])
            counts = {"unit": (worth * weight[:, None]).ravel()[used], "rows": who.ravel()[used]}
        keys = keyed.cells.key[cells].tolist()
        drawn = np.where(np.outer(ones, ones), joint, 0.0)
        drawn[np.ix_(used, used)] = redrawn(
            joint[np.ix_(used, used)],
            min(float(n[cells].min()), independent),
            keys,
            f"{moments.outcome} {moments.times}",
            **counts,
        )
        for c, d in second:
            if c in place:
                inner = drawn[place[c], place[d]] * np.sqrt(factor[c] * factor[d])
                blocks[c, d] = (
                    _about(released[c, 1:] / released[c, 0]) @ inner @ _about(released[d, 1:] / released[d, 0]).T
                )
    return blocks


def _ranges(keyed: KeyedSums, published: _Published) -> Floats:
    """Return how far apart the published values of people are, by cell and period, shape (C, T): what one can change.

    Within a period the range is that over all cells; it is 0 where all people of a cell are published with one value.
    """
    others = published.n[:, None] - published.count.sum(axis=2)
    count, values = np.dstack([published.count, others]), np.append(keyed.values, 0.0)
    had = (count > 0).any(axis=0)
    spread = np.where(had, values, -np.inf).max(axis=1) - np.where(had, values, np.inf).min(axis=1)
    found: Floats = spread * ((count > 0).sum(axis=2) > 1)
    return found


def _keys_of_values(keyed: KeyedSums) -> Keys:
    """Return a key of who has which value, by cell and period, shape (C, T): that of those counted, if it is one."""
    place = (keyed.count > 0).any(axis=0).cumsum(axis=1).clip(1).astype(np.uint64) * np.uint64(2) - np.uint64(1)
    with np.errstate(over="ignore"):
        found: Keys = (keyed.key * place).sum(axis=2, dtype=np.uint64)
    return found


def _about(mean: Floats) -> Floats:
    """Return the map of (w, r) to (w, r + w · mean)."""
    found = np.eye(1 + len(mean))
    found[1:, 0] = mean
    return found


def _together(n_cells: int, pairs: list[tuple[int, int]]) -> list[Index]:
    """Return the cells that share clusters, directly or through others."""
    rows, columns = np.array(pairs).reshape(-1, 2).T
    graph = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(n_cells, n_cells))
    _, labels = sparse.csgraph.connected_components(graph, directed=False)
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]
