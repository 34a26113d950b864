"""Load the units to be matched: one row each, checked, sorted by id, with their covariates as shared cells.

A cell is a distinct row of covariates. Units with equal covariates share a cell, so they get the same score to
the last bit, and everything that depends on covariates alone is computed once per cell. With continuous covariates
nearly every unit would be a cell; beyond `MAX_CELLS` of them each unit becomes its own, in the order of ids, which
spares the search for distinct rows.

The source is read once; only what is refused is looked for again. Integer ids are put in order here, column by column,
which takes less processor time and memory than to let DuckDB sort whole rows; text is sorted there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from retrain_eval.common.arrays import AnyArray, Bools, Floats, Ints
from retrain_eval.common.errors import DesignError, InputError
from retrain_eval.common.shown import summarised
from retrain_eval.common.sources import query, require_columns, sql_name
from retrain_eval.common.withholding import rows_where, units_having
from retrain_eval.tables.noise.held import HeldKeys
from retrain_eval.tables.noise.person_keys import PERSON_KEY, has_keys

MAX_LEVELS = 100
MAX_CELLS = 250_000
BATCH = 16_384  # rows at a time; changes nothing but memory
INTEGER = re.compile(r"U?(TINYINT|SMALLINT|INTEGER|BIGINT)$")
NUMBER = re.compile(r"(U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|FLOAT|DOUBLE|BOOLEAN|DECIMAL\(.*\))$")
_KEY_TYPES: dict[str, Any] = {"kr": np.uint64, "ke": np.int32}  # 64 bits do not fit into a float
_HELD = {"kr": "record", "kf": "factor", "ke": "element"}  # columns of keys → part of the key
_TEXT = re.compile(r"(VARCHAR|ENUM\(.*\))$", re.DOTALL)


@summarised
@dataclass(frozen=True)
class Units:
    """The units in ascending order of id: integers by value, text by code point.

    Attributes
    ----------
    ids : pyarrow.ChunkedArray, length n
    treated : bool ndarray, shape (n,)
    cell : int ndarray, shape (n,)
        Row of ``cells``.
    cells : DataFrame
        Rows of the columns asked for, numbers as float64, the rest as text: distinct ones in ascending order, or
        (beyond `MAX_CELLS`) those of all units in theirs, with text as categories.
    more : dict of ndarray, each of shape (n,)
        Columns outside the cells, float64 with NaN where missing.
    apart : bool
        Whether each unit is a cell of its own, in their order.
    keys : HeldKeys, optional
        The keys of each unit, if the source has them.
    """

    ids: pa.ChunkedArray
    treated: Bools
    cell: Ints
    cells: pd.DataFrame
    more: dict[str, Floats]
    apart: bool = False
    keys: HeldKeys | None = None

    def of_units(self, of_cells: AnyArray) -> AnyArray:
        """Return the cells' values for each unit; no copy is made if each unit is a cell."""
        return of_cells if self.apart else of_cells[self.cell]


def load_units(
    relation: duckdb.DuckDBPyRelation,
    unit: str,
    treat: str,
    covariates: Sequence[str],
    others: Sequence[str],
    more: Sequence[str] = (),
    *,
    both_arms: bool = True,
) -> Units:
    """Read units, treatment and cells from a relation with one row per unit.

    Parameters
    ----------
    relation : DuckDBPyRelation
        One row per unit.
    unit, treat : str
        Columns of the id (integer or text) and of the treatment (0/1 or boolean).
    covariates, others : sequence of str
        Columns that make the cells. Covariates are numbers, booleans or text; the others (a given score, exact
        strata) may be of any type.
    more : sequence of str
        Further columns of whole numbers, which may be missing.
    both_arms : bool
        Refuse a source in which no unit, or every unit, is treated.

    Raises
    ------
    InputError
        For a column that does not exist or has no usable type, a missing or repeated id, a treatment that is not
        0 or 1, a covariate that is missing or not finite, or a text covariate with
        more than `MAX_LEVELS` values.
    DesignError
        If there is no row, no treated unit, or no control.
    """
    names = list(dict.fromkeys([*covariates, *others]))
    types = {name: str(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}
    require_columns(relation, (unit, treat, *names, *more))
    _check_types(types, unit, treat, covariates)
    # adding zero turns -0.0 into 0.0, which would otherwise be a cell of its own
    keys = {
        name: f"CAST({sql_name(name)} AS DOUBLE) + 0.0"
        if NUMBER.match(types[name])
        else f"CAST({sql_name(name)} AS VARCHAR)"
        for name in names
    }
    columns = {f"k{i}": name for i, name in enumerate(names)}
    chosen = [f"{keys[name]} AS {column}" for column, name in columns.items()]
    chosen.extend(f"CAST({sql_name(name)} AS DOUBLE) AS m{i}" for i, name in enumerate(more))
    chosen = [f"{sql_name(unit)} AS id", f"CAST({sql_name(treat)} AS DOUBLE) AS t", *chosen]
    held = list(_HELD) if has_keys(relation) else []
    chosen.extend(f"{PERSON_KEY}.{_HELD[column]} AS {column}" for column in held)
    rows = f"SELECT {', '.join(chosen)} FROM source"
    numbers = {column for column, name in columns.items() if NUMBER.match(types[name])}
    further = [*(f"m{i}" for i in range(len(more))), *held]
    flow = _Flow(relation, rows, bool(INTEGER.match(types[unit])), numbers, set(columns) - numbers, further)
    if not flow.sound:
        raise _broken_rule(relation, rows, unit, treat, columns, numbers)
    if flow.n == 0:
        raise DesignError("the source has no rows")
    frame = pd.DataFrame({name: flow.column(column) for column, name in columns.items()}, copy=False)
    extra = {name: flow.numbers[f"m{i}"] for i, name in enumerate(more)}
    shared = share_cells(frame)
    if shared is None:
        units = Units(flow.ids, flow.treated, np.arange(flow.n), frame, extra, True, _held_keys(flow, held))
    else:
        units = Units(flow.ids, flow.treated, shared[1], shared[0], extra, False, _held_keys(flow, held))
    _check_levels(units.cells, [name for name in covariates if _TEXT.match(types[name])])
    _check_units(units, unit, treat, both_arms)
    return units


class _Flow:
    """Columns of a query in the order of ids, read batch by batch into arrays, so that they are in memory once.

    ``sound`` is true if no id is missing, all treatments are 0 or 1, and all values of cells are present and finite.
    """

    def __init__(
        self,
        relation: duckdb.DuckDBPyRelation,
        sql: str,
        whole: bool,
        numbers: set[str],
        texts: set[str],
        further: Sequence[str],
    ) -> None:
        self.n, self.sound = 0, True
        treated: list[Bools] = [np.empty(0, dtype=np.bool_)]
        parts: dict[str, list[AnyArray]] = {
            name: [np.empty(0, _KEY_TYPES.get(name, np.float64))] for name in (*numbers, *further)
        }
        self._texts: dict[str, list[pa.DictionaryArray]] = {name: [] for name in texts}
        ids: list[pa.Array] = []
        reader = query(relation, sql if whole else f"{sql} ORDER BY id ASC").to_arrow_reader(BATCH)
        for batch in reader:
            id_, treatment = batch.column("id"), batch.column("t").to_numpy(zero_copy_only=False)
            ids.append(pa.concat_arrays([id_[:1], id_[1:]]))  # a copy: a column keeps its whole batch in memory
            treated.append(treatment == 1)
            sound = id_.null_count == 0 and bool((treated[-1] | (treatment == 0)).all())
            for name, part in parts.items():
                part.append(batch.column(name).to_numpy(zero_copy_only=False).copy())
                sound &= name not in numbers or bool(np.isfinite(part[-1]).all())
                if name in _HELD and batch.column(name).null_count:
                    raise InputError("a unit has no keys", column=PERSON_KEY, fix="give keys to all people: with_keys")
            for name, found in self._texts.items():
                text = batch.column(name)
                sound &= text.null_count == 0
                found.append(text.dictionary_encode())
            self.sound &= sound
            self.n += batch.num_rows
        self.ids = pa.chunked_array(ids, type=reader.schema.field("id").type)
        self._order: Ints | None = None
        if whole and self.sound and self.n:
            self._order = ascending(self.ids.to_numpy())
            self.ids = pa.chunked_array([pa.array(self._sorted(self.ids.to_numpy()))])
        self.treated = self._sorted(np.concatenate(treated))
        self.numbers: dict[str, AnyArray] = {}
        for name, part in parts.items():
            self.numbers[name] = self._sorted(np.concatenate(part))
            part.clear()

    def _sorted(self, column: AnyArray) -> AnyArray:
        return column if self._order is None else column[self._order]

    def column(self, name: str) -> Floats | pd.Categorical:
        """Return a column: numbers, or text as categories in the order of code points."""
        if name in self.numbers:
            return self.numbers[name]
        parts = pa.chunked_array(self._texts.pop(name)).unify_dictionaries().chunks
        found = parts[0].dictionary.to_pylist()
        levels = sorted(found)
        kind = np.min_scalar_type(-len(levels))  # as narrow as a category's numbers are
        rank = pd.Index(levels).get_indexer(found).astype(kind)
        codes = self._sorted(np.concatenate([rank[part.indices.to_numpy()] for part in parts]))
        return pd.Categorical.from_codes(codes, pd.Index(levels, dtype="str"))


def _held_keys(flow: _Flow, held: Sequence[str]) -> HeldKeys | None:
    """Return the keys of the units, if they were read."""
    if not held:
        return None
    record, factor, element = (flow.numbers[column] for column in held)
    return HeldKeys(record.astype(np.uint64), factor, element.astype(np.int64))


def ascending(ids: AnyArray) -> Ints:
    """Return the order of whole numbers, sorted by 16 bits at a time, lowest first: NumPy then sorts by counting."""
    above = ids.astype(np.uint64) - np.uint64(int(ids.min()) % 2**64)  # modulo 2^64, which is right below zero too
    order: Ints = np.argsort(above.astype(np.uint16), kind="stable")
    for shift in range(16, int(above.max()).bit_length(), 16):
        digit = (above >> np.uint64(shift)).astype(np.uint16)
        order = order[np.argsort(digit[order], kind="stable")]
    return order


def share_cells(frame: pd.DataFrame) -> tuple[pd.DataFrame, Ints] | None:
    """Return the distinct rows in ascending order, text as text, and which of them each row is.

    None beyond `MAX_CELLS`; the first rows usually show this, because rows with different hashes are different.
    """
    first = frame.iloc[: MAX_CELLS * 6 // 5]
    if len(first) > MAX_CELLS and pd.util.hash_pandas_object(first, index=False).nunique() > MAX_CELLS:
        return None
    code: Ints = np.zeros(len(frame), dtype=np.int64)
    for name in frame.columns:
        code = _refined(code, frame[name])
        if code.max() >= MAX_CELLS:
            return None
    example = np.empty(int(code.max()) + 1, dtype=np.int64)
    example[code] = np.arange(len(code))  # whichever comes last: they are equal
    cells = frame.iloc[example].reset_index(drop=True)
    return cells.astype({name: "str" for name in cells if isinstance(cells[name].dtype, pd.CategoricalDtype)}), code


def strata(cells: pd.DataFrame, exact: Sequence[str]) -> Ints:
    """Return the number of each row's combination of the exact columns, from 0 and without gaps, ascending."""
    code = np.zeros(len(cells), dtype=np.int64)
    for name in exact:
        code = _refined(code, cells[name])
    return code


def _refined(code: Ints, column: pd.Series[Any]) -> Ints:
    """Return the numbers of the combinations of a code and a column, ascending.

    They have no gaps, so that the product of many levels cannot overflow.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):  # its codes are in the order of its levels
        level, n_levels = column.cat.codes.to_numpy(), len(column.cat.categories)
    else:
        level, levels = pd.factorize(column, sort=True)
        n_levels = len(levels)
    code = code * n_levels + level
    if (possible := int(code.max(initial=0)) + 1) <= 4 * len(code):
        there = np.bincount(code, minlength=possible) > 0
        return code if there.all() else (np.cumsum(there) - 1)[code]
    return np.unique(code, return_inverse=True)[1]


def _check_types(types: dict[str, str], unit: str, treat: str, covariates: Sequence[str]) -> None:
    if not INTEGER.match(types[unit]) and types[unit] != "VARCHAR":
        raise InputError(
            f"a unit id of type {types[unit]} has no exact order",
            column=unit,
            rule="ids are integers or text",
            fix=f"CAST({unit} AS BIGINT) or CAST({unit} AS VARCHAR)",
        )
    if not NUMBER.match(types[treat]):
        raise InputError(f"the treatment is of type {types[treat]}", column=treat, rule="0/1 or boolean")
    for name in covariates:
        if not NUMBER.match(types[name]) and not _TEXT.match(types[name]):
            raise InputError(
                f"a covariate of type {types[name]} has no meaning in a logit",
                column=name,
                rule="numbers, booleans or text",
                fix="compute a number from it first, such as the age at entry from a date",
            )


def _broken_rule(
    relation: duckdb.DuckDBPyRelation, rows: str, unit: str, treat: str, names: dict[str, str], numbers: set[str]
) -> InputError:
    """Return the error for units that break a rule: how many, and the query that lists them."""
    rules = {
        "the unit id must not be missing": (unit, "id", "id IS NULL"),
        "the treatment must be 0 or 1": (treat, "t", "t IS NULL OR t NOT IN (0, 1)"),
    }
    for key, name in names.items():
        broken = f"{key} IS NULL" + (f" OR NOT isfinite({key})" if key in numbers else "")
        rules[f"{name} must be present and finite for every unit"] = (name, key, broken)
    counts = ", ".join(f"count(*) FILTER (WHERE {condition})" for _, _, condition in rules.values())
    found = query(relation, f"SELECT {counts} FROM ({rows})").fetchall()[0]
    for (rule, (column, key, condition)), n_bad in zip(rules.items(), found, strict=True):
        if n_bad:
            first = f"SELECT {key} FROM ({rows}) WHERE {condition} ORDER BY id ASC LIMIT 1"
            [(value,)] = query(relation, first).fetchall()
            return InputError(
                f"{n_bad} unit(s) break a rule",
                row=rows_where(condition.replace(key, sql_name(column))),
                column=column,
                value="missing" if value is None else value,
                rule=rule,
                fix="correct these rows, leave them out, or give missing values a category of their own",
            )
    return InputError(
        "a unit breaks a rule, but not when the source is read again",
        rule="a source gives the same rows each time",
        fix="keep it as a table first: source.create(...)",
    )


def _check_levels(cells: pd.DataFrame, texts: Sequence[str]) -> None:
    for name in texts:
        n_levels = cells[name].nunique()
        if n_levels > MAX_LEVELS:
            raise InputError(
                f"text covariate with {n_levels} different values",
                column=name,
                rule=f"at most {MAX_LEVELS} categories",
                fix="if it is meant to be a number, one value is not; else group the categories",
            )


def _check_units(units: Units, unit: str, treat: str, both_arms: bool) -> None:
    n = len(units.treated)
    repeated = pc.equal(units.ids.slice(1), units.ids.slice(0, n - 1)).to_numpy()
    if repeated.any():
        raise InputError(
            f"{int(repeated.sum())} row(s) repeat a unit id",
            row=units_having(unit, "count(*) > 1"),
            column=unit,
            rule="one row per unit",
            fix="match on one row per person, with covariates as they were before treatment",
        )
    for present, who in ((units.treated.any(), "treated unit"), (not units.treated.all(), "control")):
        if both_arms and not present:
            raise DesignError(
                f"no {who}: {treat!r} is {int(units.treated[0])} for all {n} units",
                public=f"there is no {who} among the people compared",
            )
