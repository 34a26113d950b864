"""Additive counts of people: the sample flow, matched and linked people, and the distribution of scores.

They are the additive tables behind the sample flow, the matching table, common support and linkage rates. The sums over
people are kept, so that the counts of two agencies can be added, and the printed tables are computed from them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, Self, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from retrain_eval.common.arrays import Ints
from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.shown import summarised
from retrain_eval.tables.additive import Additive
from retrain_eval.tables.file import read_table, write_table
from retrain_eval.tables.noise.cell_keys import N_SUMS, Keys, add_keys, add_sketches
from retrain_eval.tables.noise.person_keys import PRIME
from retrain_eval.tables.recipe import Recipe, recorded
from retrain_eval.tables.stamps import in_order

# for each kind, the key columns of its rows, and the columns that are summed
KEYS: Mapping[str, tuple[str, ...]] = {
    "flow": ("step", "group", "reason"),
    "matching": ("subgroup", "level"),
    "overlap": ("bin_low", "bin_high", "group"),
    "linkage": ("subgroup", "level"),
}
SUMS: Mapping[str, tuple[str, ...]] = {
    "flow": ("stopped",),
    "matching": (
        "n_treated", "n_treated_matched", "n_control", "n_control_matched", "comparisons", "sum_w", "sum_w2",
    ),
    "overlap": ("n",),
    "linkage": ("n", "n_linked"),
}  # fmt: skip
MATCHING = (
    "subgroup",
    "level",
    "n_treated",
    "n_treated_matched",
    "n_control",
    "n_control_matched",
    "ess_control",
    "reuse_mean",
)
COUNTED: Mapping[str, tuple[str, ...]] = {
    kind: tuple(name for name in sums if name not in ("comparisons", "sum_w", "sum_w2")) for kind, sums in SUMS.items()
}
_NO_COUNTS = ("comparisons", "sum_w", "sum_w2")  # sums that need not be whole
_KIND = "sample_counts"
_KEY, _SKETCH = "key_of_", "sketch_of_"  # of a column, in the run's own files

Sums = TypeVar("Sums", bound=np.ndarray[Any, Any])


@summarised
@dataclass(frozen=True)
class SampleCounts(Additive):
    """Counts of people, of one of four kinds.

    Attributes
    ----------
    kind : {"flow", "matching", "overlap", "linkage"}
    cells : DataFrame
        ``flow``: ``step, group, reason, stopped``, where ``stopped`` is the number of people for whom this was the last
        step, and ``reason`` is why people stopped at the step before. ``matching``: ``subgroup, level, n_treated,
        n_treated_matched, n_control, n_control_matched`` and, for matched controls, the number of ``comparisons`` and
        the sums ``sum_w, sum_w2`` of their weights. ``overlap``: ``bin_low, bin_high, group, n``. ``linkage``:
        ``subgroup, level, n, n_linked``. A missing count was withheld.
    keys : mapping of str → uint64 ndarray, optional
        For each column of counts, the cell keys of the people who are counted (of ``stopped`` too). Never released.
    sketches : mapping of str → int ndarray, optional
        Their sketches, shape (rows, 20), by which editions are compared. Never released.

    Examples
    --------
    >>> flow = pd.DataFrame({"step": ["On the register", "Matched"], "group": "treated", "n": [185, 150], "reason": ""})
    >>> counts = SampleCounts.of("flow", flow)
    >>> counts.cells["stopped"].tolist(), counted(counts)["n"].tolist()
    ([35, 150], [185, 150])
    >>> counted(counts + counts)["n"].tolist()
    [370, 300]
    """

    kind: str
    cells: pd.DataFrame
    stamp: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    keys: Mapping[str, Keys] | None = field(default=None, compare=False, repr=False)
    sketches: Mapping[str, Ints] | None = field(default=None, compare=False, repr=False)
    recipe: Recipe | None = field(default=None, init=False, compare=False, repr=False)

    @classmethod
    def of(
        cls,
        kind: str,
        frame: pd.DataFrame,
        stamp: Mapping[str, str] | None = None,
        keys: Mapping[str, Keys] | None = None,
        sketches: Mapping[str, Ints] | None = None,
    ) -> Self:
        """Return the additive counts behind a printed table; for a flow, the people who stop at each step.

        ``keys`` and ``sketches`` are of the printed counts; for a flow, those of ``n``, or of ``stopped`` if the frame
        has that.

        Raises
        ------
        InputError
            If a column is missing, or a step of a flow has more people than the one before.
        """
        if kind not in KEYS:
            raise unknown("kind of counts", kind, KEYS)
        if kind == "flow" and "stopped" not in frame.columns:
            if keys is not None and "n" in keys:
                keys = {"stopped": _not_after(frame, keys["n"])}
            if sketches is not None and "n" in sketches:
                sketches = {"stopped": _not_after(frame, sketches["n"]) % PRIME}
            frame = frame.assign(stopped=_stopped(frame))
        missing = [name for name in (*KEYS[kind], *SUMS[kind]) if name not in frame.columns]
        if missing:
            raise InputError(f"counts of the kind {kind} lack a column", column=missing[0])
        cells = frame[[*KEYS[kind], *SUMS[kind]]].reset_index(drop=True)
        for name in SUMS[kind]:
            cells[name] = cells[name].astype("Float64" if name in _NO_COUNTS else "Int64")
        if kind != "overlap":
            cells = cells.astype(dict.fromkeys(KEYS[kind], "str"))
        if keys is not None and (lacking := [name for name in COUNTED[kind] if len(keys.get(name, ())) != len(cells)]):
            raise InputError(f"counts of the kind {kind} lack the keys of a column", column=lacking[0])
        return cls(kind, cells, dict(stamp or {}), keys, sketches)

    @property
    def noun(self) -> str:
        """The name of the counts in messages."""
        return f"counts of {self.kind}"

    @property
    def alike(self) -> Mapping[str, object]:
        """Nothing beyond the kind; steps and bins are compared when they are added."""
        return {}

    def empty(self) -> Self:
        """Return the same table with all counts zero."""
        none = None if self.keys is None else {name: key[:0] for name, key in self.keys.items()}
        gone = None if self.sketches is None else {name: sketch[:0] for name, sketch in self.sketches.items()}
        return replace(self, cells=self.cells.iloc[:0], keys=none, sketches=gone)

    def _plus(self, other: Self) -> Self:
        """Add the counts of other people; a count that one of the two withholds is withheld."""
        if self.kind in ("flow", "overlap"):  # a step or a bin has a meaning only among the others
            for group in dict.fromkeys([*self.cells["group"], *other.cells["group"]]):
                mine, theirs = (_steps(cells, str(group), self.kind) for cells in (self.cells, other.cells))
                if mine != theirs:
                    differ = next((a, b) for a, b in zip_longest(mine, theirs) if a != b)
                    raise InputError(
                        f"cannot add counts of {self.kind} whose {'steps' if self.kind == 'flow' else 'bins'} differ",
                        column=str(group),
                        value=f"{differ[0]} and {differ[1]}",
                        fix="count both alike, before anything is merged",
                    )
        keys, sums = list(KEYS[self.kind]), list(SUMS[self.kind])
        both = pd.concat([self.cells, other.cells], ignore_index=True)
        grouped = both.groupby(keys, sort=False, dropna=False)[sums]
        hidden = both[sums].isna().groupby([both[key] for key in keys], sort=False, dropna=False).any()
        rows = grouped.sum().mask(hidden).reset_index()
        rows["_row"] = range(len(rows))
        added, sketched = None, None
        group = grouped.ngroup().to_numpy()
        if self.sketches is not None and other.sketches is not None:
            sketched = {
                name: add_sketches(np.concatenate([sketch, other.sketches[name]]), group, len(rows))
                for name, sketch in self.sketches.items()
            }
        if self.keys is not None and other.keys is not None:
            added = {
                name: add_keys(np.concatenate([key, other.keys[name]]), group, len(rows))
                for name, key in self.keys.items()
            }
        if self.kind not in ("flow", "overlap"):
            subgroup, level = keys
            everyone, others = rows[rows[subgroup].isna()], rows[rows[subgroup].notna()]
            blocks = [
                block.set_index(level, drop=False).loc[in_order(block[level], str(name), self.stamp)]
                for name, block in others.groupby(subgroup, sort=False)
            ]
            rows = pd.concat([everyone, *blocks], ignore_index=True)
        order = rows["_row"].to_numpy()
        keyed = None if added is None else {name: key[order] for name, key in added.items()}
        of_rows = None if sketched is None else {name: sketch[order] for name, sketch in sketched.items()}
        return self.of(self.kind, rows, self.stamp, keyed, of_rows)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the cells."""
        rows = pa.Table.from_pandas(self.cells, preserve_index=False)
        for name, key in (self.keys or {}).items():
            rows = rows.append_column(f"{_KEY}{name}", pa.array(key))
        for name, sketch in (self.sketches or {}).items():
            rows = rows.append_column(f"{_SKETCH}{name}", pa.array(sketch.tolist(), pa.list_(pa.int64())))
        write_table(path, _KIND, rows, {"kind": self.kind}, self.stamp)

    @classmethod
    def read_parquet(cls, path: str | os.PathLike[str]) -> SampleCounts:
        """Read what `to_parquet` wrote.

        Raises
        ------
        InputError
            If the file holds something else.
        """
        table, facts, stamp = read_table(path, _KIND)
        names = [name for name in table.column_names if not name.startswith((_KEY, _SKETCH))]
        cells = pd.DataFrame({name: table[name].to_pylist() for name in names})
        keys, sketches = (
            {name.removeprefix(of): table[name] for name in table.column_names if name.startswith(of)}
            for of in (_KEY, _SKETCH)
        )
        return cls.of(
            str(facts["kind"]),
            cells,
            stamp,
            {name: key.to_numpy() for name, key in keys.items()} or None,
            {name: np.array(of.to_pylist(), dtype=np.int64).reshape(-1, N_SUMS) for name, of in sketches.items()}
            or None,
        )


def _steps(cells: pd.DataFrame, group: str, kind: str) -> list[tuple[object, ...]]:
    keys = [name for name in KEYS[kind] if name != "group"]
    return list(cells.loc[cells["group"] == group, keys].fillna("").itertuples(index=False, name=None))


@recorded
def counted(counts: SampleCounts) -> pd.DataFrame:
    """Return the printed table of counts.

    Parameters
    ----------
    counts : SampleCounts

    Returns
    -------
    DataFrame
        ``flow``: ``step, group, n, reason``, where ``n`` is the number of people who reached the step. ``matching``:
        ``subgroup, level, n_treated, n_treated_matched, n_control, n_control_matched, ess_control, reuse_mean``; the
        last two are Kish's effective number of controls, (Σw)²/Σw², and the mean number of comparisons per matched
        control. ``overlap``: ``bin_low, bin_high, group, n``. ``linkage``: ``subgroup, level, n, n_linked, rate``.
    """
    return _PRINTED[counts.kind](counts.cells)


def _stopped(flow: pd.DataFrame) -> pd.Series[int]:
    """Return, for each step, the number of people who do not reach a later one."""
    after = flow.groupby("group", sort=False)["n"].shift(-1).fillna(0)
    stopped: pd.Series[int] = (flow["n"] - after).astype("int64")
    if (stopped < 0).any():
        at = int(stopped.to_numpy().argmin())
        raise InputError(
            f"the flow of group {flow['group'].iloc[at]!r} grows after step {flow['step'].iloc[at]!r}",
            column="n",
            value=int(flow["n"].iloc[at]),
            rule="a step counts people of the step before",
            fix="begin the group with all who could come to any step",
        )
    return stopped


def _not_after(flow: pd.DataFrame, reached: Sums) -> Sums:
    """Return the keys or sketches of people who do not reach a later step, from those of the people at each step."""
    stopped = reached.copy()
    for _, rows in flow.reset_index(drop=True).groupby("group", sort=False):
        at = rows.index.to_numpy()
        with np.errstate(over="ignore"):
            stopped[at[:-1]] = reached[at[:-1]] - reached[at[1:]]
    return stopped


def _flow(cells: pd.DataFrame) -> pd.DataFrame:
    backwards = cells["stopped"].fillna(0).iloc[::-1].groupby(cells["group"].iloc[::-1], sort=False).cumsum()
    n = backwards.iloc[::-1].astype("Int64").mask(cells["stopped"].isna())
    return cells.assign(n=n)[["step", "group", "n", "reason"]]


def _matching(cells: pd.DataFrame) -> pd.DataFrame:
    matched = cells["n_control_matched"].astype("Float64")
    return cells.assign(
        ess_control=(cells["sum_w"] ** 2 / cells["sum_w2"].mask(cells["sum_w2"] == 0)).astype("float64"),
        # weighting methods have no one-to-one comparisons
        reuse_mean=(cells["comparisons"].mask(cells["comparisons"] == 0) / matched).astype("float64"),
    )[list(MATCHING)]


def _overlap(cells: pd.DataFrame) -> pd.DataFrame:
    return cells.copy()


def _linkage(cells: pd.DataFrame) -> pd.DataFrame:
    return cells.assign(rate=(cells["n_linked"] / cells["n"]).astype("Float64"))


_PRINTED: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "flow": _flow,
    "matching": _matching,
    "overlap": _overlap,
    "linkage": _linkage,
}
