"""Protect life tables: nested numbers of survivors by cell key, fitted so that they decrease and causes add up to ends.

In each group those still at risk after each duration are nested sets. The register gives each its published count, the
whole before the groups; the nearest non-increasing sequence is kept (`retrain_eval.tables.noise.nested_counts`), and
the steps between are the ends, each none or more than js. Censored spells are then separated from ends, and ends by
cause, each by the nested numbers of those who end so at the same step or later. Sums of weights are scaled to the new
counts, cell by cell, and moved by up to half a person's weight (`retrain_eval.tables.noise.mean_weights`).

Where fewer than the minimum number of people are at risk, a group's table ends: those who go on are censored there, as
where follow-up ends, which leaves every estimate before unbiased. A cell that is empty stays empty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from retrain_eval.common.arrays import Floats, Ints
from retrain_eval.common.errors import DisclosureError
from retrain_eval.common.shown import summarised
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.alike import ALIKE, sets_of_life_table
from retrain_eval.release.protection.rules import noise_stamp
from retrain_eval.tables.life_table.event_codes import CENSORED
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.life_table.rare_levels import JOIN, without_rare_levels
from retrain_eval.tables.life_table.spell_table import merge_cells
from retrain_eval.tables.noise.cell_keys import Keys, add_keys
from retrain_eval.tables.noise.mean_weights import VARIANCE as WEIGHTS
from retrain_eval.tables.noise.mean_weights import loosened
from retrain_eval.tables.noise.nested_counts import (
    Row,
    events_within,
    less,
    matrix_of,
    rows_of_survivors,
    rows_within,
    survivors,
)
from retrain_eval.tables.noise.register import Register

Number = TypeVar("Number", np.int64, np.uint64)


def protect_life_table(name: str, table: LifeTable, rules: Release, register: Register) -> tuple[LifeTable, list[str]]:
    """Return the life table as it may be published, and a record of what was done.

    Parameters
    ----------
    name : str
        Name of the table, for the record.
    table : LifeTable
        With keys of its cells.
    rules : Release
    register : Register
        Of the edition.

    Returns
    -------
    LifeTable, list of str
        The table has no keys; its ``noise`` is the covariance that the changes of its counts add to estimates, a
        function of v, the published counts and the mean weights.

    Raises
    ------
    DisclosureError
        If the table is clustered, was summed without keys, or has several spells of one person; or if a group is small
        and there are no levels to merge.

    Notes
    -----
    A person who is matched m times has m spells, so m times the minimum number of spells has to be at risk, m being the
    largest such number. A cell whose changed count is 0 is dropped with its weight: other cells grow by as much on
    average, because the changes have mean 0.
    """
    if table.cluster is not None:
        raise DisclosureError(
            f"the life table {name!r} says how its cells share values of {table.cluster!r}, such as matched pairs; "
            "keep table.without_clusters() for the release"
        )
    if not rules.noisy:
        return replace(table, keys=None), []
    if table.keys is None:
        raise DisclosureError(
            f"the life table {name!r} was summed without keys; give its rows keys of people before they are counted",
            public="it was summed without keys of people",
        )
    if table.repeated:
        raise DisclosureError(
            f"people have several spells in the life table {name!r}, so a count of spells is not a count of people"
        )
    if table.keys.rows is None and register.counted.earlier:
        raise DisclosureError(
            f"the life table {name!r} was counted by an earlier version, so it cannot be compared with other editions; "
            "run the study again",
            public="it was summed without keys of people",
        )
    table, groups, record = _grouped(name, table, rules, register)
    blocks = _blocks(name, table, groups, rules, register)
    parts = [_Block(table, *block).protected(rules, register) for block in blocks]
    cells = pd.concat([part.cells for part in parts], ignore_index=True)
    noise = None
    if register.changes.spread > 0:
        noise = sparse.csr_array(sparse.block_diag([part.noise for part in parts], format="csr"))
    stopped = sum(part.stopped for part in parts)
    if stopped:
        record.append(
            f"Life table {name}: in {stopped} of {len(parts)} group(s) spells are censored where fewer than "
            f"{rules.min_contributors} are left."
        )
    register.counted.sets += sets_of_life_table(f"life_tables/{name}", table)
    found = replace(
        table,
        keys=None,
        noise=noise,
        n_people=int(cells["n"].sum()),
        stamp={**table.stamp, "noise": noise_stamp(rules)},
        stopped=table.stopped or stopped > 0,
    )
    return merge_cells(found, cells, table.by), record


# ---- groups ------------------------------------------------------------------------------------------------------


def _grouped(name: str, table: LifeTable, rules: Release, register: Register) -> tuple[LifeTable, Ints, list[str]]:
    """Return the table with groups that are large enough, and their published counts, which add up to the whole."""
    most = 1 if table.keys is None else table.keys.most
    needed, before, record = rules.min_contributors * most, table.merged, list[str]()
    while found := register.counted.alike(sets_of_life_table(f"life_tables/{name}", table)):
        if not table.by:
            raise DisclosureError(f"{ALIKE}:\n  " + "\n  ".join(map(str, found[:5])), public=ALIKE)
        record.append(f"Life table {name}: summed over {table.by[-1]}: {ALIKE}.")
        before = (*table.merged, table.by[-1])
        table = replace(table.collapse(table.by[-1]), merged=before)
    while True:
        n, keys = _totals(table, table.group_numbers(), len(table.groups()))
        if n.sum() < needed:
            raise DisclosureError(
                f"the life table {name!r} is of {n.sum()} spells, fewer than {needed}",
                public=f"it is of fewer than {needed} spells",
            )
        counts = published_parts(n, keys, register) if n.min() >= needed else None
        small = n if counts is None else np.where(counts < rules.min_contributors, 0, n)
        if counts is not None and small.min() >= needed:
            break
        if not table.by:
            raise DisclosureError(
                f"the life table {name!r} has a published count below {rules.min_contributors}",
                public=f"it is of about {rules.min_contributors} spells",
            )
        merged = table if small.min() >= needed else without_rare_levels(table, small, needed)
        if merged is table:
            gone = table.by[-1]
            merged = replace(table.collapse(gone), merged=(*table.merged, gone))
        table = merged
    what = ", ".join(
        f"{part} merged" if JOIN in part else f"summed over {part}" for part in table.merged[len(before) :]
    )
    if not what:
        return table, counts, record
    record.append(f"Life table {name}: {what}, so that no group is of few.")
    if found := register.counted.alike(sets_of_life_table(f"life_tables/{name}", table)):
        raise DisclosureError(f"{ALIKE}:\n  " + "\n  ".join(map(str, found[:5])), public=ALIKE)
    return table, counts, record


def published_parts(n: Ints, keys: Keys, register: Register) -> Ints | None:
    """Return published counts of disjoint sets that add up to that of their union; None if they cannot be made to.

    If the union has no count yet, and its own does not fit, its count is what the parts add up to.
    """
    if len(n) == 1:
        return np.array([register.count(int(n[0]), int(keys[0]))])
    [union] = add_keys(keys, np.zeros(len(keys), np.int64), 1).tolist()
    known = union in register.published
    parts = register.parts(register.count(int(n.sum()), union), n.tolist(), keys)
    if parts is None and not known:
        parts = np.array([register.count(count, key) for count, key in zip(n.tolist(), keys.tolist(), strict=True)])
        register.published[union] = int(parts.sum())
    return parts


def _totals(table: LifeTable, group: Ints, n_groups: int) -> tuple[Ints, Keys]:
    assert table.keys is not None
    n = np.bincount(group, table.cells["n"].to_numpy(), n_groups).astype(np.int64)
    return n, add_keys(table.keys.key, group, n_groups)


def _blocks(name: str, table: LifeTable, groups: Ints, rules: Release, register: Register) -> list[tuple[Ints, int]]:
    """Return the cells of each group, by entry, and their published count."""
    group, entry = table.group_numbers(), table.cells["entry"].to_numpy()
    found: list[tuple[Ints, int]] = []
    for number, count in enumerate(groups.tolist()):
        own = np.flatnonzero(group == number)
        entries, of = np.unique(entry[own], return_inverse=True)
        if len(entries) == 1:
            found.append((own, count))
            continue
        assert table.keys is not None
        n = np.bincount(of, table.cells["n"].to_numpy()[own]).astype(np.int64)
        keys = add_keys(table.keys.key[own], of.astype(np.int64), len(entries))
        parts = None
        if n.min() >= rules.min_contributors * table.keys.most:
            parts = register.parts(count, n.tolist(), keys)
        if parts is None or parts.min() < rules.min_contributors:
            raise DisclosureError(
                f"too few spells of the life table {name!r} come under observation at one duration; leave entry out, "
                "or round it",
                public="few spells come under observation at one duration",
            )
        found += [(own[of == place], part) for place, part in enumerate(parts.tolist())]
    return found


# ---- one group ---------------------------------------------------------------------------------------------------


@summarised
@dataclass(frozen=True)
class _Protected:
    cells: pd.DataFrame
    noise: sparse.csr_array
    stopped: bool


class _Block:
    """Spells of one group that come under observation together, as arrays of causes × durations.

    Parameters
    ----------
    table : LifeTable
    own : int ndarray
        Rows of its cells.
    count : int
        Their published number.
    """

    def __init__(self, table: LifeTable, own: Ints, count: int) -> None:
        assert table.keys is not None
        cells = table.cells.iloc[own]
        self.count, self.most = count, table.keys.most
        self.level = {name: cells[name].iloc[0] for name in (*table.by, "entry")}
        self.durations, when = np.unique(cells["duration"].to_numpy(), return_inverse=True)
        sizes = cells["n"].groupby(cells["cause"]).sum()
        events = [str(cause) for cause in sizes.index if cause != CENSORED]
        # censored first, so that tables with fewer causes share its counts; then the causes, the largest first
        self.causes = [CENSORED, *sorted(events, key=lambda cause: (-int(sizes[cause]), cause))]
        place = np.array([self.causes.index(cause) for cause in cells["cause"]], dtype=np.int64)
        shape = (len(self.causes), len(self.durations))
        self.n, self.key = np.zeros(shape, np.int64), np.zeros(shape, np.uint64)
        self.weight = np.zeros((2, *shape))
        self.n[place, when], self.key[place, when] = cells["n"].to_numpy(), table.keys.key[own]
        self.weight[:, place, when] = cells[["sum_w", "sum_w2"]].to_numpy().T

    def protected(self, rules: Release, register: Register) -> _Protected:
        """Return the cells with changed counts, and the covariance of the changes."""
        left, keys = _later(self.n.sum(axis=0)), _later(self.key.sum(axis=0, dtype=np.uint64))
        after = np.append(left[1:], 0)
        counts = np.array([register.count(n, key) for n, key in zip(left[1:].tolist(), keys[1:].tolist(), strict=True)])
        few = (after < rules.min_contributors * self.most) | (np.append(counts, 0) < rules.min_contributors)
        last = int(np.flatnonzero(few)[0])
        stopped = bool(after[last] > 0)
        self._stop(last)
        base = register.changes.base  # where a data owner asks for multiples, steps are multiples too
        fitted = base * survivors(
            self.count // base,
            counts[:last].astype(np.int64) // base,
            never=register.changes.never // base,
            least=-(-rules.min_contributors // base),
        )
        ending = -np.diff([self.count, *fitted.tolist(), 0])
        rows = rows_of_survivors(self.count, fitted, 0)
        found, changes, size = self._causes(ending, rows, last + 1, register)
        variance = np.full(size, register.changes.spread)
        variance[: last + 1] = register.variance(keys[: last + 1])
        never = register.changes.never // base
        # steps that are none or more than js lie as on a grid: Sheppard's variance, where they are small
        near = float((found[found > 0] <= 2 * never + 1).mean()) if never else 0.0  # of published cells alone
        return self._cells(found, changes, variance + near * ((never + 1) ** 2 - 1) / 12, stopped)

    def _stop(self, last: int) -> None:
        """Censor at a duration all that goes on after it."""
        with np.errstate(over="ignore"):  # keys are numbers modulo 2⁶⁴
            for item in (self.n, self.key, *self.weight):
                item[0, last] += item[:, last + 1 :].sum(dtype=item.dtype)
        self.n, self.key = self.n[:, : last + 1], self.key[:, : last + 1]
        self.weight = self.weight[:, :, : last + 1]
        self.durations = self.durations[: last + 1]

    def _causes(
        self, ending: Ints, rows: list[Row], size: int, register: Register
    ) -> tuple[Ints, list[list[Row]], int]:
        """Return the counts by cause and step, their changes, and the number of counts that were changed."""
        found, changes = np.zeros_like(self.n), list[list[Row]]()
        for cause in range(len(self.causes)):
            n, others = self.n[cause], self.n[cause + 1 :].sum(axis=0)
            both = np.flatnonzero((n > 0) & (others > 0))
            own = np.where(others > 0, 0, ending)
            changed_by: list[Row] = [{} if others[step] > 0 else rows[step] for step in range(len(rows))]
            if len(both):
                numbers, keys = _later(n[both]).tolist(), _later(self.key[cause, both]).tolist()
                changed = np.array([register.count(*of) for of in zip(numbers, keys, strict=True)])
                base = register.changes.base
                never = register.changes.never // base
                own[both] = base * events_within(changed // base, ending[both] // base, never=never)
                within = rows_within(own[both], ending[both], [rows[step] for step in both], size)
                for step, row in zip(both.tolist(), within, strict=True):
                    changed_by[step] = row
                size += len(both)
            found[cause] = own
            changes.append(changed_by)
            ending = ending - own
            rows = [less(of, mine) for of, mine in zip(rows, changed_by, strict=True)]
        return found, changes, size

    def _cells(self, found: Ints, changes: list[list[Row]], variance: Floats, stopped: bool) -> _Protected:
        step, cause = np.nonzero(found.T)
        n, exact = found[cause, step], self.n[cause, step]
        mean, squares = self.weight[:, cause, step] / exact
        keys = self.key[cause, step].tolist()
        exactly = bool((self.weight == self.n).all())  # no one of the group has a weight other than 1
        if not exactly:
            mean, squares = (loosened(of, exact, keys, name) for of, name in ((mean, "weights"), (squares, "squares")))
        cells = pd.DataFrame(
            {
                **{name: [level] * len(step) for name, level in self.level.items()},
                "duration": self.durations[step],
                "cause": pd.array([self.causes[c] for c in cause], dtype="str"),
                "n": n,
                "sum_w": mean * n,
                "sum_w2": squares * n,
            }
        )
        moved = matrix_of([changes[c][k] for c, k in zip(cause.tolist(), step.tolist(), strict=True)], len(variance))
        scaled = sparse.diags_array(mean) @ moved
        loose = sparse.diags_array(0.0 * mean if exactly else WEIGHTS * mean**2)
        noise = scaled @ sparse.diags_array(variance) @ scaled.T + loose
        return _Protected(cells, sparse.csr_array(noise), stopped)


def _later(values: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Return the sums from each step on."""
    return np.asarray(values[::-1].cumsum(dtype=values.dtype)[::-1])
