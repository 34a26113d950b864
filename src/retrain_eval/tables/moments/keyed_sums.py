r"""Keyed sums of outcome moments: what their protected version is made from. They never leave the agency.

An *amount* enters with its person's noise, ``Y·δ``, and a *log* amount as ``Y + ln δ``: moments of noisy paths are kept
beside the exact ones, and people with an amount are counted in each period. Of a *score*, which has few values, and of
a *binary* outcome, people are counted by value and period; each count has its cell key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa

from retrain_eval.common.arrays import AnyInts, Floats, Index, Ints
from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.shown import summarised
from retrain_eval.tables.moments.cell_sums import merge_cells
from retrain_eval.tables.moments.numbering import Cells
from retrain_eval.tables.moments.paths import Paths
from retrain_eval.tables.moments.products import Pairs, cluster_moments, parts_of, unit_moments
from retrain_eval.tables.noise.cell_keys import UNIT, CellKeys, Keys, add_keys, common_weight, key_sums, rescaled

AMOUNT, LOG, BINARY, SCORE = KINDS = ("amount", "log", "binary", "score")
MAX_VALUES = 20  # of a score
_MOST_WEIGHTS, _DIGITS = 2000, 9  # different weights, up to so many digits, that may be multiples of one
_GUESSED = 12  # an outcome with so many values is taken for a score if its kind is not given


@summarised
@dataclass(frozen=True)
class KeyedSums:
    """Keys of the people in C cells, counts with keys in T periods by V values, and noisy moments of amounts.

    Attributes
    ----------
    kind : {"amount", "log", "binary", "score"}
    cells : CellKeys
        Of the units of each cell, with weights divided by ``base``.
    values : ndarray, shape (V,)
        The values of a score other than 0; 1 for a binary outcome; NaN for amounts, of which any but 0 counts.
    count : int ndarray, shape (C, T, V)
        Units with the value.
    key : uint64 ndarray, shape (C, T, V)
        Their cell keys.
    weight : ndarray, shape (C, T, V)
        Their weights.
    first, second
        Of noisy amounts, like the exact ones of `MomentTable`; None for a score or a binary outcome.
    most : int
        The largest number of units that one person is: N units are at least N / most people.
    base : ndarray, shape (C,), or None
        The weight that those of the cell's arm are multiples of (`common_weight`); None if it is 1 for all.
    usual : tuple of int
        Usual weights, in units of ``base``.
    """

    kind: str
    cells: CellKeys
    values: Floats
    count: Ints
    key: Keys
    weight: Floats
    first: Floats | None = None
    second: Pairs | None = None
    most: int = 1
    base: Floats | None = None
    usual: tuple[int, ...] = (UNIT,)

    @property
    def noisy(self) -> bool:
        """Whether the outcome is an amount, and carries noise."""
        return self.kind in (AMOUNT, LOG)

    def subset(self, index: Index, place: Index) -> Self:
        """Return the sums of some cells; ``place`` is the new number of each cell, −1 if it is left out."""
        second = self.second
        if second is not None:
            second = {
                (int(place[a]), int(place[b])): block
                for (a, b), block in second.items()
                if place[a] >= 0 and place[b] >= 0
            }
        return replace(
            self,
            cells=self.cells.take(index),
            count=self.count[index],
            key=self.key[index],
            weight=self.weight[index],
            first=None if self.first is None else self.first[index],
            second=second,
            base=None if self.base is None else self.base[index],
        )

    def merged(self, group: AnyInts, n_groups: int) -> Self:
        """Return the sums of the unions of cells with equal numbers."""
        first, second = self.first, self.second
        if first is not None and second is not None:
            numbers = pd.DataFrame({"group": group, "n": 0})
            _, first, second, _ = merge_cells(numbers, ["group"], first, second, _ascending)
        cells, bases = self.cells, self.bases()
        base = bases[np.unique(group, return_index=True)[1]]  # one within an arm, unless tables of two were added
        if (bases != base[group]).any():
            cells = replace(cells, sketch=rescaled(cells.sketch, bases, base[group]))
        return replace(
            self,
            cells=cells.merged(group, n_groups),
            count=_added(self.count, group, n_groups),
            key=add_keys(self.key, group, n_groups),
            weight=_added(self.weight, group, n_groups),
            first=first,
            second=second,
            base=base,
        )

    def beside(self, other: Self, shift: Floats) -> Self:
        """Return the sums of the cells of both, those of ``other`` moved to this reference path by ``shift``."""
        if self.kind != other.kind:
            raise InputError(
                "cannot add moments of two kinds of outcome",
                column="kind",
                value=f"{self.kind} and {other.kind}",
                fix="give kind= to both",
            )
        mine, theirs, offset = self, other, len(self.count)
        if self.kind == SCORE:
            values = np.union1d(self.values, other.values)
            mine, theirs = self._with_values(values), other._with_values(values)
        first, second = self.first, self.second
        if first is not None and second is not None and other.first is not None and other.second is not None:
            first = np.vstack([first, other.first @ shift.T])
            moved = {(a + offset, b + offset): shift @ block @ shift.T for (a, b), block in other.second.items()}
            second = {**second, **moved}
        return replace(
            mine,
            most=max(self.most, other.most),
            cells=CellKeys.stacked([self.cells, other.cells]),
            count=np.concatenate([mine.count, theirs.count]),
            key=np.concatenate([mine.key, theirs.key]),
            weight=np.concatenate([mine.weight, theirs.weight]),
            first=first,
            second=second,
            base=np.concatenate([self.bases(), other.bases()]),
            usual=tuple(dict.fromkeys([*self.usual, *other.usual])),
        )

    def bases(self) -> Floats:
        """Return ``base``, of all cells."""
        return np.ones(len(self.count)) if self.base is None else self.base

    def _with_values(self, values: Floats) -> Self:
        place = np.searchsorted(values, self.values)
        shape = (*self.count.shape[:2], len(values))
        count, key, weight = np.zeros(shape, np.int64), np.zeros(shape, np.uint64), np.zeros(shape)
        count[:, :, place], key[:, :, place], weight[:, :, place] = self.count, self.key, self.weight
        return replace(self, values=values, count=count, key=key, weight=weight)

    # ---- keeping ---------------------------------------------------------------------------------------------

    def columns(self) -> dict[str, pa.Array]:
        """Return the columns of a Parquet file with one row per cell; `facts` goes with them."""
        found = {
            "keyed_cell": pa.array(self.cells.key, pa.uint64()),
            "keyed_sketch": pa.array(self.cells.sketch.tolist(), pa.list_(pa.int64())),
            "keyed_rows": pa.array(self.cells.rows.tolist(), pa.list_(pa.int64())),
            "keyed_base": pa.array(self.bases(), pa.float64()),
            "keyed_count": _lists(self.count, pa.int64()),
            "keyed_key": _lists(self.key, pa.uint64()),
            "keyed_weight": _lists(self.weight, pa.float64()),
        }
        if self.first is not None and self.second is not None:
            beside = [[b for a, b in sorted(self.second) if a == c] for c in range(len(self.count))]
            blocks = [[self.second[c, b].ravel().tolist() for b in found_] for c, found_ in enumerate(beside)]
            found["keyed_first"] = pa.array(self.first.tolist(), pa.list_(pa.float64()))
            found["keyed_second_with"] = pa.array(beside, pa.list_(pa.int32()))
            found["keyed_second"] = pa.array(blocks, pa.list_(pa.list_(pa.float64())))
        return found

    def facts(self) -> dict[str, Any]:
        """Return the facts that go into the file's metadata."""
        return {
            "kind": self.kind,
            "most": self.most,
            "usual": self.usual,
            "values": [None if np.isnan(value) else value for value in self.values.tolist()],
        }

    @classmethod
    def read(cls, table: pa.Table, facts: Mapping[str, Any], n_times: int) -> Self:
        """Read what `columns` and `facts` gave."""
        values = np.array([np.nan if value is None else value for value in facts["values"]], dtype=float)
        n_cells, size = table.num_rows, 1 + n_times
        shape = (n_cells, n_times, len(values))
        first = second = None
        if "keyed_first" in table.column_names:
            first = np.array(table["keyed_first"].to_pylist(), dtype=float).reshape(n_cells, size)
            pairs = zip(table["keyed_second_with"].to_pylist(), table["keyed_second"].to_pylist(), strict=True)
            second = {
                (c, d): np.array(block).reshape(size, size)
                for c, (beside, blocks) in enumerate(pairs)
                for d, block in zip(beside, blocks, strict=True)
            }
        sketch, rows = (
            np.array(table[name].to_pylist(), dtype=np.int64).reshape(n_cells, -1)
            for name in ("keyed_sketch", "keyed_rows")
        )
        return cls(
            kind=str(facts["kind"]),
            cells=CellKeys(np.array(table["keyed_cell"].to_pylist(), dtype=np.uint64), sketch, rows),
            values=values,
            count=np.array(table["keyed_count"].to_pylist(), dtype=np.int64).reshape(shape),
            key=np.array(table["keyed_key"].to_pylist(), dtype=np.uint64).reshape(shape),
            weight=np.array(table["keyed_weight"].to_pylist(), dtype=float).reshape(shape),
            first=first,
            second=second,
            most=int(facts["most"]),
            base=np.array(table["keyed_base"].to_pylist(), dtype=float),
            usual=tuple(map(int, facts["usual"])),
        )


def _ascending(groups: pd.DataFrame) -> Index:
    return np.argsort(groups["group"].to_numpy(), kind="stable")


def _added(values: Any, group: AnyInts, n_groups: int) -> Any:
    total = np.zeros((n_groups, *values.shape[1:]), values.dtype)
    np.add.at(total, group, values)
    return total


def _lists(values: Any, kind: pa.DataType) -> pa.Array:
    return pa.array([row.ravel().tolist() for row in values], pa.list_(kind))


# ---- from people -------------------------------------------------------------------------------------------------


def kind_of(paths: Paths, outcome: str, kind: str | None) -> tuple[str, Floats]:
    """Return the kind of an outcome, guessed from its values if it is not given, and the values to count.

    Raises
    ------
    InputError
        For an unknown kind; for a binary outcome with other values than 0 and 1, or a score with many.
    """
    if kind is not None and kind not in KINDS:
        raise unknown("kind of outcome", kind, KINDS)
    if kind in (AMOUNT, LOG):
        return kind, np.array([np.nan])
    every = " UNION ".join(f"SELECT DISTINCT {y} AS y FROM {paths.table}" for y in paths.per_period)
    rows = paths.query(f"SELECT y FROM ({every}) ORDER BY y LIMIT {MAX_VALUES + 2}").fetchall()
    values = np.array([row[0] for row in rows], dtype=float)
    values = values[values != 0]
    if kind == BINARY or (kind is None and set(values.tolist()) <= {1.0}):
        if set(values.tolist()) - {1.0}:
            raise InputError("a binary outcome has another value than 0 and 1", column=outcome, fix='kind="score"')
        return BINARY, np.ones(1)
    if kind == SCORE or len(values) <= _GUESSED:
        if len(values) > MAX_VALUES:
            raise InputError(
                f"a score has more than {MAX_VALUES} values", column=outcome, fix='round it, or use kind="amount"'
            )
        return SCORE, values
    return AMOUNT, np.array([np.nan])


def keyed_sums(
    paths: Paths, cells: Cells, reference: Floats, outcome: str, kind: str | None, *, clustered: bool
) -> KeyedSums:
    """Sum the keys of a path table whose source has them, and the noisy paths of amounts."""
    kind, values = kind_of(paths, outcome, kind)
    n_cells, shape = len(cells.table), (len(cells.table), len(paths.times), len(values))
    of = CellKeys.none(n_cells)
    count, key, weight = np.zeros(shape, np.int64), np.zeros(shape, np.uint64), np.zeros(shape)
    everyone = np.tile(np.arange(n_cells), 2)
    base, usual = _common_weights(paths, cells)
    for cell, units in _units(paths, cells):
        record, element = units["record"].to_numpy(), units["element"].to_numpy()
        w = np.asarray(units["w"].to_numpy(), np.float64)
        part = CellKeys.of(cell, record, element, w / base[cell], n_cells)
        of = CellKeys.stacked([of, part]).merged(everyone, n_cells)
        for t in range(len(paths.times)):
            y = np.asarray(units[f"y_{t}"].to_numpy(), np.float64)
            for v, value in enumerate(values):
                has = y != 0 if np.isnan(value) else y == value
                count[:, t, v] += np.bincount(cell[has], minlength=n_cells)
                weight[:, t, v] += np.bincount(cell[has], w[has], n_cells)
                with np.errstate(over="ignore"):
                    key[:, t, v] += key_sums(cell[has], record[has], n_cells)
    rows = f"SELECT count(*) AS units FROM {paths.table} GROUP BY record"
    [(most,)] = paths.query(f"SELECT max(units) FROM ({rows})").fetchall()
    found = KeyedSums(kind, of, values, count, key, weight, most=int(most), base=base, usual=usual)
    if not found.noisy:
        return found
    first, second = unit_moments(paths, cells, reference, kind)
    if clustered:
        second, _ = cluster_moments(paths, cells, reference, kind)
    return replace(found, first=first, second=second)


def _common_weights(paths: Paths, cells: Cells) -> tuple[Floats, tuple[int, ...]]:
    """Return the weight that those of each cell's arm are multiples of, and the usual weights of both arms."""
    listed = paths.query(
        f"SELECT cohort IS NULL AS never, min(w) AS w, count(*) AS n FROM {paths.table} "
        f"GROUP BY never, round(w, {_DIGITS}) ORDER BY never, w LIMIT {_MOST_WEIGHTS + 1}"
    ).df()
    n_cells = len(cells.table)
    if len(listed) > _MOST_WEIGHTS:  # they are no multiples
        return np.ones(n_cells), (UNIT,)
    of, usual = dict[bool, float](), [UNIT]
    for never, weights in listed.groupby("never"):
        of[bool(never)], often = common_weight(weights["w"].to_numpy(np.float64), weights["n"].to_numpy(np.int64))
        usual += often
    never_treated = cells.table["cohort"].isna().tolist()
    return np.array([of[never] for never in never_treated]), tuple(dict.fromkeys(usual))


def _units(paths: Paths, cells: Cells) -> Iterator[tuple[Index, pa.Table]]:
    for units in parts_of(paths, cells, ["record", "element"]):
        yield cells.of(units), units
