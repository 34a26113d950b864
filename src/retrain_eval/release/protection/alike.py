r"""Sets of people that are too alike: no two released sets behind sums of amounts differ by one to nine people.

Sums of two such sets would differ by those of these few people. A set has a key and a sketch (`CellKeys`), so that the
people in one of two sets only, or with another weight there, can be counted without knowing who they are. Every cell
and every margin of a table with sums of amounts is a set: of outcome moments of amounts and their logarithms, and of
covariate moments with an amount. Outcomes with few values, counts and life tables are protected by changed counts, in
which two sets that differ by one person have unrelated changes; they are exempt.

Sums may be multiplied before they are subtracted. Weights of controls are multiples of one weight, so sets are also
compared after division by the weight that most of the people in them have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import TypeVar

import numpy as np
import pandas as pd

from retrain_eval.common.errors import DisclosureError
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.merging import JOIN, relabel
from retrain_eval.release.protection.moments import WITHHELD_CELL
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.covariates.covariates import AFTER, AMOUNT, ARMS, BEFORE, CovariateMoments
from retrain_eval.tables.moments.withheld_cells import with_cells_of, withholds_cells, without_cell
from retrain_eval.tables.noise.cell_keys import APART, UNIT
from retrain_eval.tables.noise.released_sets import NO_ONE, Conflict, ReleasedSet, too_alike

# one reason for both cases: which of them it is tells of a correction
ALIKE = f"its people, or their amounts, differ from published ones by fewer than {APART} people"
CHANGED = ALIKE
Table = TypeVar("Table", OutcomeMoments, CovariateMoments)


# ---- the sets of a table -----------------------------------------------------------------------------------------


def sets_of(tables: Mapping[str, Additive]) -> list[ReleasedSet]:
    """Return the sets of people behind sums of amounts: each cell and margin of each table, equal sets once.

    Parameters
    ----------
    tables : mapping of str → additive table
        With keyed sums. Tables without sums of amounts have no sets.
    """
    usual = usual_weights(tables.values())
    found = [one for name, table in tables.items() for one in _sets(name, table, usual)]
    return list({(one.key, one.sketch, tuple(sorted(one.sums.items()))): one for one in found[::-1]}.values())[::-1]


def usual_weights(tables: Iterable[Additive]) -> tuple[int, ...]:
    """Return the weights that most people of an arm of a matched sample have."""
    found = {UNIT}
    for table in tables:
        if isinstance(table, CovariateMoments) and table.keyed:
            found |= {int(weight) for weight in table.cells["usual"]}
    return tuple(sorted(found))


def _sets(name: str, table: Additive, usual: tuple[int, ...]) -> Iterator[ReleasedSet]:
    if isinstance(table, OutcomeMoments) and table.keyed is not None and table.keyed.noisy:
        yield from _of_moments(name, table, usual if table.weighted else (UNIT,))
    if isinstance(table, CovariateMoments) and table.keyed:
        yield from _of_covariates(name, table)


def _of_moments(name: str, moments: OutcomeMoments, weights: tuple[int, ...]) -> Iterator[ReleasedSet]:
    keyed = moments.keyed
    assert keyed is not None
    assert keyed.first is not None
    totals = keyed.first[:, 1:] + keyed.first[:, :1] * moments.reference
    labels = [f"{keyed.kind} {moments.outcome} {time}" for time in moments.times]
    cohort = moments.cells["cohort"]
    arms = cohort.isna().map({True: "never treated", False: "treated"})
    columns = {"cohort": cohort.astype("str").fillna("never treated"), "arm": arms}
    columns |= {stratum: moments.cells[stratum].astype("str") for stratum in moments.strata}
    choices = [(), ("arm",), ("cohort",)]
    subsets = [part for size in range(len(moments.strata) + 1) for part in combinations(moments.strata, size)]
    for treated, strata in product(choices, subsets):
        names = [*treated, *strata]
        frame = pd.DataFrame({column: columns[column] for column in names}, index=moments.cells.index)
        group = (
            frame.groupby(names, sort=False, dropna=False).ngroup().to_numpy() if names else np.zeros(len(frame), int)
        )
        n_groups = int(group.max()) + 1
        of, sums = keyed.cells.merged(group, n_groups), np.zeros((n_groups, totals.shape[1]))
        np.add.at(sums, group, totals)
        n = np.bincount(group, moments.cells["n"].to_numpy(), n_groups).astype(int)
        for number in range(n_groups):
            levels = frame.iloc[int(np.argmax(group == number))]
            cell = ", ".join(f"{column} {levels[column]}" for column in names) or "everyone"
            facts = dict(zip(labels, map(_digest, sums[number]), strict=True))
            sketch = tuple(of.sketch[number].tolist())
            yield ReleasedSet(f"{name}: {cell}", int(n[number]), int(of.key[number]), sketch, weights, facts)


def _of_covariates(name: str, moments: CovariateMoments) -> Iterator[ReleasedSet]:
    amounts = moments.cells[moments.cells["kind"] == AMOUNT]
    for (arm, stage), rows in amounts.groupby(["arm", "stage"], sort=False):
        row = rows.iloc[0]
        sums = {
            f"covariate {covariate}": _digest(total)
            for covariate, total in zip(rows["covariate"], rows["noisy_wx"], strict=True)
        }
        weights = tuple(sorted({UNIT, int(row["usual"])}))
        sketch = tuple(int(term) for term in row["sketch"])
        yield ReleasedSet(f"{name}: {arm} {stage} matching", int(row["people"]), int(row["key"]), sketch, weights, sums)


def _digest(total: float) -> str:
    """Return what tells sums apart; nine digits, so that the order of addition does not matter."""
    return hashlib.sha256(f"{total:.8e}".encode()).hexdigest()[:16]


# ---- keeping sets apart ------------------------------------------------------------------------------------------


@summarised
@dataclass
class Apart:
    """The sets that are published, or were: tables are admitted one by one, and made coarser or withheld.

    Attributes
    ----------
    earlier : sequence of ReleasedSet
        Of all earlier editions.
    weights : tuple of int
        As `usual_weights` of all tables of the edition.
    sets : list of ReleasedSet
        Of the tables admitted.
    """

    earlier: Sequence[ReleasedSet] = ()
    weights: tuple[int, ...] = (UNIT,)
    sets: list[ReleasedSet] = field(default_factory=list)

    def admit(
        self,
        name: str,
        table: Table,
        make: Callable[[str, Table, Release], tuple[Table, list[str]]],
        rules: Release,
    ) -> tuple[Table, list[str]]:
        """Return the protected table and a record, once its sets are not too alike to those published.

        Parameters
        ----------
        name : str
            With the kind, such as ``moments/matched``.
        table : OutcomeMoments or CovariateMoments
            The exact table with keyed sums.
        make : callable
            Protects it: takes the name without the kind, the table and the rules.
        rules : Release

        Raises
        ------
        DisclosureError
            If no stratum is left to sum over; or what ``make`` raises.
        """
        record: list[str] = []
        safe: Table
        notes: list[str]
        while True:
            safe, notes = make(name.partition("/")[2], table, rules)
            sets = list(_sets(name, as_released(table, safe), self.weights))
            # within an edition, all sums are of the same records
            inside = [pair for pair in too_alike(sets, [NO_ONE, *self.sets]) if pair.people > 0]
            found = too_alike(sets, self.earlier) + inside + _within(sets)
            if not found:
                self.sets += sets
                return safe, [*notes, *record]
            table, line = _coarser(name, table, safe, found)
            record.append(f"{name}: {line}: {CHANGED if found[0].people == 0 else ALIKE}.")


def _within(sets: Sequence[ReleasedSet]) -> list[Conflict]:
    """Return the pairs within one table."""
    return [pair for place, one in enumerate(sets) for pair in too_alike([one], sets[:place]) if pair.people > 0]


def as_released(table: Table, safe: Table) -> Table:
    """Return an exact table with the levels, strata and rows of its protected version."""
    if isinstance(table, OutcomeMoments) and isinstance(safe, OutcomeMoments):
        if withholds_cells(table):
            return with_cells_of(table, safe)
        if gone := [stratum for stratum in table.strata if stratum not in safe.strata]:
            table = table.collapse(over=gone)
        for stratum in safe.strata:
            of = {part: level for level in safe.cells[stratum].astype("str").unique() for part in level.split(JOIN)}
            names = {level: of.get(level, level) for level in table.cells[stratum].astype("str").unique()}
            if any(old != new for old, new in names.items()):
                table = relabel(table, stratum, names)
        return table
    rows, left = table.cells, pd.MultiIndex.from_frame(safe.cells[["column", "arm", "stage"]])
    kept = pd.MultiIndex.from_frame(rows[["column", "arm", "stage"]]).isin(left)
    return replace(table, cells=rows[kept])


def _coarser(name: str, table: Table, safe: Table, found: Sequence[Conflict]) -> tuple[Table, str]:
    """Sum over the last stratum; let the people after matching represent those before it."""
    why = CHANGED if found[0].people == 0 else ALIKE
    error = DisclosureError(f"{name}: {why}:\n  " + "\n  ".join(map(str, found[:5])), public=why)
    if isinstance(table, OutcomeMoments) and isinstance(safe, OutcomeMoments):
        if not safe.strata:
            raise error
        if withholds_cells(table):  # another cell, so that the sum of those left is of fewer people
            table = with_cells_of(table, safe)
            left = without_cell(table, int(table.cells["n"].to_numpy().argmin()))
            if left is None:
                raise error
            return left, WITHHELD_CELL
        gone = [stratum for stratum in table.strata if stratum not in safe.strata[:-1]]
        return table.collapse(over=gone), f"summed over {safe.strata[-1]}"
    names = {pair.one.name for pair in found} | {pair.other.name for pair in found}
    arms = [arm for arm in ARMS if f"{name}: {arm} {BEFORE} matching" in names]
    rows = table.cells
    drop = rows["arm"].isin(arms) & (rows["stage"] == BEFORE)
    if not drop.any() or not (rows["stage"] == AFTER).any():
        raise error
    return replace(table, cells=rows[~drop]), f"{', '.join(arms)} before matching are taken to be those after it"
