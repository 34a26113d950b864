r"""Sets of people that are too alike: no two released sets behind sums of amounts differ by one to nine people.

Sums of two such sets would differ by those of these few people. A set has a key and a sketch (`CellKeys`), so that the
people in one of two sets only, or with another weight there, can be counted without knowing who they are. Every cell
and every margin of a table with sums of amounts is a set: of outcome moments of amounts and their logarithms, and of
covariate moments with an amount. Sums may be multiplied before they are subtracted, so sets are also compared after
division by the weights that most of the people in them have. Weights that were estimated again change a little for
everyone, so sets are also compared by their people alone.

Within an edition, outcomes with few values, counts and life tables are exempt: they are protected by changed counts, in
which two sets that differ by one person have unrelated changes. Between editions their sets are compared as well, by
the people counted (`retrain_eval.tables.noise.counted_sets`): a count that did not change tells that no one joined.
The same people with other values, as of a corrected row, are not counted again: counts that changed are hers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from typing import TypeVar

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Ints
from retrain_eval.common.errors import DisclosureError
from retrain_eval.common.shown import summarised
from retrain_eval.estimators.moments import OutcomeMoments
from retrain_eval.plan.study_file import Release
from retrain_eval.release.protection.merging import JOIN, relabel
from retrain_eval.release.protection.moments import WITHHELD_CELL
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.covariates.covariates import AFTER, AMOUNT, ARMS, BEFORE, CovariateMoments
from retrain_eval.tables.life_table.life_table import LifeTable
from retrain_eval.tables.moments.edges import of_times
from retrain_eval.tables.moments.withheld_cells import with_cells_of, withholds_cells, without_cell
from retrain_eval.tables.noise.cell_keys import APART, UNIT, add_keys
from retrain_eval.tables.noise.counted_sets import CountedSets
from retrain_eval.tables.noise.released_sets import (
    NO_ONE,
    Conflict,
    ReleasedSet,
    digest,
    digest_of_values,
    too_alike,
    with_other_values,
)

# one reason for both cases: which of them it is tells of a correction
ALIKE = f"its people, or their amounts, differ from published ones by fewer than {APART} people"
Table = TypeVar("Table", OutcomeMoments, CovariateMoments)


# ---- the sets of a table -----------------------------------------------------------------------------------------


def sets_of(tables: Mapping[str, Additive]) -> list[ReleasedSet]:
    """Return the sets of people behind sums of amounts: each cell and margin of each table, equal sets once.

    Parameters
    ----------
    tables : mapping of str → additive table
        With keyed sums. Tables without sums of amounts have no sets.
    """
    return once([one for name, table in tables.items() for one in _sets(name, table) if one.sums])


def once(sets: Sequence[ReleasedSet]) -> list[ReleasedSet]:
    """Return the sets without repetition; the first of equal ones stays."""
    by_content = {
        (one.key, one.sketch, one.rows, *(tuple(sorted(of.items())) for of in (one.sums, one.divided))): one
        for one in sets[::-1]
    }
    return list(by_content.values())[::-1]


def _sets(name: str, table: Additive) -> Iterator[ReleasedSet]:
    if isinstance(table, OutcomeMoments) and table.keyed is not None:
        yield from _of_moments(name, table)
    if isinstance(table, CovariateMoments) and table.keyed:
        yield from _of_covariates(name, table)


def _of_moments(name: str, moments: OutcomeMoments) -> Iterator[ReleasedSet]:
    keyed = moments.keyed
    assert keyed is not None
    totals, labels = np.zeros((len(moments.cells), 0)), list[str]()
    names_of = [f"{keyed.kind} {moments.outcome} {time}" for time in moments.times]
    if keyed.noisy:
        assert keyed.first is not None
        # sums of multiples of the weights' base, which are those that the sketches are of
        totals = (keyed.first[:, 1:] + keyed.first[:, :1] * moments.reference) / keyed.bases()[:, None]
        labels = names_of
    arms = moments.cells["cohort"].isna().map({True: "never treated", False: "treated"})
    columns = {"cohort": moments.cells["cohort"].astype("str").fillna("never treated"), "arm": arms}
    columns |= {stratum: moments.cells[stratum].astype("str") for stratum in moments.strata}
    for names, cell, group in margins(pd.DataFrame(columns), [(), ("arm",), ("cohort",)], moments.strata):
        of, sums = keyed.cells.merged(group, len(cell)), np.zeros((len(cell), totals.shape[1]))
        by_value = add_keys(keyed.key, group, len(cell))
        np.add.at(sums, group, totals)
        n = np.bincount(group, moments.cells["n"].to_numpy(), len(cell)).astype(int)
        for number, levels in enumerate(cell):
            text = ", ".join(f"{column} {level}" for column, level in zip(names, levels, strict=True)) or "everyone"
            facts = dict(zip(labels, map(digest, sums[number]), strict=True))
            sketch, rows = tuple(of.sketch[number].tolist()), tuple(of.rows[number].tolist())
            values = [] if keyed.noisy else by_value[number].tolist()
            yield ReleasedSet(
                f"{name}: {text}",
                int(n[number]),
                int(of.key[number]),
                sketch,
                keyed.usual,
                facts,
                () if rows == sketch else rows,
                keyed.most,
                {label: digest_of_values(int(of.key[number]), k) for label, k in zip(names_of, values, strict=False)},
            )


def margins(
    columns: pd.DataFrame, choices: Sequence[tuple[str, ...]], strata: Sequence[str]
) -> Iterator[tuple[list[str], list[tuple[str, ...]], Ints]]:
    """Yield the margins of a table: their columns, the levels of each cell, and the number of the cell of each row.

    Parameters
    ----------
    columns : DataFrame
        Levels as text.
    choices : sequence of tuple of str
        Columns by which margins may be, one choice at a time.
    strata : sequence of str
        Columns of which each subset is added to each choice.
    """
    subsets = [part for size in range(len(strata) + 1) for part in combinations(strata, size)]
    for choice, part in product(choices, subsets):
        names = [*choice, *part]
        rows = list(zip(*(columns[name].tolist() for name in names), strict=True)) if names else [()] * len(columns)
        number = {levels: place for place, levels in enumerate(dict.fromkeys(rows))}
        yield names, list(number), np.array([number[levels] for levels in rows], dtype=np.int64)


def _of_covariates(name: str, moments: CovariateMoments) -> Iterator[ReleasedSet]:
    for (arm, stage), cells in moments.cells.groupby(["arm", "stage"], sort=False):
        row = cells.iloc[0]
        amounts = cells[cells["kind"] == AMOUNT]
        sums = {
            f"covariate {covariate.replace(' ', '_')}": digest(total / float(row["base"]))
            for covariate, total in zip(amounts["covariate"], amounts["noisy_wx"], strict=True)
        }
        weights = tuple(dict.fromkeys([UNIT, *map(int, row["usual"])]))
        sketch, rows = (tuple(int(term) for term in row[of]) for of in ("sketch", "rows"))
        yield ReleasedSet(
            f"{name}: {arm} {stage} matching",
            int(row["people"]),
            int(row["key"]),
            sketch,
            weights,
            sums,
            () if rows == sketch else rows,
        )


def sets_of_life_table(name: str, table: LifeTable) -> list[ReleasedSet]:
    """Return the sets of people at risk at the start: of each curve, and of each margin over columns of levels."""
    keys, found = table.keys, list[ReleasedSet]()
    if keys is None or keys.rows is None:
        return found
    columns = table.cells[list(table.by)].astype("str")
    for names, cell, group in margins(columns, [()], table.by):
        of = keys.merged(group, len(cell))
        n = np.bincount(group, table.cells["n"].to_numpy(), len(cell)).astype(int)
        assert of.rows is not None
        for levels, size, key, rows in zip(cell, n.tolist(), of.key.tolist(), of.rows.tolist(), strict=True):
            text = ", ".join(f"{column} {level}" for column, level in zip(names, levels, strict=True)) or "everyone"
            found.append(ReleasedSet(f"{name}: {text}", size, key, tuple(rows), most=keys.most))
    return found


# ---- keeping sets apart ------------------------------------------------------------------------------------------


@summarised
@dataclass
class Apart:
    """The sets that are published, or were: tables are admitted one by one, and made coarser or withheld.

    Attributes
    ----------
    counted : CountedSets
        The sets of all earlier editions, and where those of the tables admitted that are only counted are noted.
    sets : list of ReleasedSet
        Of the tables admitted, behind sums.
    """

    counted: CountedSets = field(default_factory=CountedSets)
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
        summed = [one for one in self.counted.earlier if one.sums]
        while True:
            safe, notes = make(name.partition("/")[2], table, rules)
            every = list(_sets(name, as_released(table, safe)))
            sets = [one for one in every if one.sums]
            # within an edition, all sums are of the same records
            inside = [pair for pair in too_alike(sets, [NO_ONE, *self.sets]) if pair.people > 0]
            inside += CountedSets(self.sets).alike(sets) + _within(sets)
            found = too_alike(sets, summed) + inside + self.counted.alike(every)
            found += with_other_values(every, self.counted.earlier)
            if not found:
                self.sets += sets
                self.counted.sets += [one for one in every if not one.sums]
                return safe, [*notes, *record]
            table, line = _coarser(name, table, safe, found)
            record.append(f"{name}: {line}: {ALIKE}.")


def _within(sets: Sequence[ReleasedSet]) -> list[Conflict]:
    """Return the pairs within one table."""
    found = list[Conflict]()
    for place, one in enumerate(sets):
        before = sets[:place]
        found += [pair for pair in too_alike([one], before) if pair.people > 0] + CountedSets(before).alike([one])
    return found


def as_released(table: Table, safe: Table) -> Table:
    """Return an exact table with the levels, strata, edges and rows of its protected version."""
    if isinstance(table, OutcomeMoments) and isinstance(safe, OutcomeMoments):
        if table.times != safe.times:
            table = of_times(table, np.array([table.times.index(time) for time in safe.times]))
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
    error = DisclosureError(f"{name}: {ALIKE}:\n  " + "\n  ".join(map(str, found[:5])), public=ALIKE)
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
