"""The design matrix of a logit on millions of rows: column by column, in blocks, as narrow as its values allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from retrain_eval.common.arrays import AnyArray, Floats, Ints
from retrain_eval.common.numerics.linear_algebra import independent_columns
from retrain_eval.common.shown import summarised

if TYPE_CHECKING:
    from retrain_eval.sample.models.formula import TreatmentFormula


BLOCK = 1 << 15  # rows whose columns fit a processor's cache; a constant, since sums are taken block by block
READ = 1 << 17  # rows for which the terms of a formula are computed at a time
INTERCEPT = "Intercept"
_ALIASED = 1e-10  # share of a column's length that earlier columns leave unexplained


@summarised
@dataclass(frozen=True)
class Design:
    """Columns of a model, one value per row.

    Attributes
    ----------
    names : tuple of str
    columns : tuple of ndarray, each of shape (n,)
        float64, or uint8 where all values are 0 or 1.
    n : int
    """

    names: tuple[str, ...]
    columns: tuple[AnyArray, ...]
    n: int

    @classmethod
    def build(cls, formula: TreatmentFormula, cells: pd.DataFrame) -> Design:
        """Compute the terms of a formula block by block; a plain covariate is shared with ``cells``, not copied.

        The levels of categories are those of all rows, so blocks have the same columns.

        Raises
        ------
        InputError
            If a term cannot be computed, or is not finite somewhere.
        """
        n, spec = len(cells), formula.spec(cells)
        names = tuple(str(name) for name in spec.column_names)
        if all(name in cells.columns or name == INTERCEPT for name in names):
            # no term to compute: a fifth of the time of five million rows
            plain = [cells[x].to_numpy() if x in cells.columns else np.ones(n, dtype=np.uint8) for x in names]
            return cls(names, tuple(plain), n)
        parts: list[list[AnyArray]] = [[] for _ in names]
        for start in range(0, max(n, 1), READ):
            values = formula.design(cells.iloc[start : start + READ], spec=spec)[1]
            for part, name, column in zip(parts, names, values.T, strict=True):
                if name not in cells.columns:
                    binary = bool(((column == 0) | (column == 1)).all())
                    part.append(column.astype(np.uint8 if binary else np.float64))
        columns: list[AnyArray] = []
        for name, part in zip(names, parts, strict=True):
            columns.append(np.concatenate(part) if part else cells[name].to_numpy())
            part.clear()
        return cls(names, tuple(columns), n)

    def keep(self, columns: Sequence[int]) -> Design:
        """Return the design with these columns only."""
        return Design(tuple(self.names[j] for j in columns), tuple(self.columns[j] for j in columns), self.n)

    def rows(self, rows: Ints) -> Design:
        """Return the design of some rows."""
        return Design(self.names, tuple(column[rows] for column in self.columns), len(rows))

    def blocks(self, size: int | None = None) -> Iterator[slice]:
        """Cut the rows into blocks."""
        step = BLOCK if size is None else size
        yield from (slice(start, min(start + step, self.n)) for start in range(0, self.n, step))

    def values(self, rows: slice) -> Floats:
        """Return some rows as an array of shape (columns, rows)."""
        return np.array([column[rows] for column in self.columns], dtype=float).reshape(len(self.columns), -1)

    def independent(self, total: Floats) -> list[int]:
        """Return the columns that earlier columns do not determine, as R's pivoting keeps them.

        The triangles of the blocks' QR factors are factored again, which loses no digits as inner products would.
        """
        triangle: Floats = np.zeros((0, len(self.columns)))
        independent: list[int] = []
        for rows in self.blocks(READ):
            weighted = (self.values(rows) * np.sqrt(total[rows])).T
            triangle = np.asarray(np.linalg.qr(np.vstack([triangle, weighted]), mode="r"))
            independent, _ = independent_columns(triangle, _ALIASED)
            if len(independent) == len(self.columns):  # more rows make no column depend on others
                break
        return independent

    def constant(self) -> int | None:
        """Return the first column of ones."""
        return next((j for j, column in enumerate(self.columns) if (column == 1).all()), None)

    def standardise(self, total: Floats) -> tuple[Floats, Floats]:
        """Return centre and scale by weighted mean and SD; without a constant column the origin must stay.

        They only condition the equations, so they are rounded: two processors then standardise alike.
        """
        n, one = float(total.sum()), self.constant()
        centre, scale = np.zeros(len(self.columns)), np.ones(len(self.columns))
        for j, column in enumerate(self.columns):
            if j == one:
                continue
            if one is not None:
                centre[j] = _rounded(_total(column, total, self.blocks()) / n)
            spread = _rounded(np.sqrt(_total(column, total, self.blocks(), float(centre[j])) / n))
            scale[j] = spread if spread > 0 else 1.0
        return centre, scale

    def linear(self, beta: Floats) -> Floats:
        """Return xᵀβ, added column by column: BLAS may round equal rows differently, depending on where they stand."""
        out = np.zeros(self.n)
        for rows in self.blocks():
            part = out[rows]
            for column, value in zip(self.columns, beta, strict=True):
                part += column[rows] * value
        return out


def _total(column: AnyArray, total: Floats, blocks: Iterator[slice], centre: float | None = None) -> float:
    """Add up wx or, about a centre, w(x − centre)²."""
    parts = []
    for rows in blocks:
        x = column[rows].astype(float)
        parts.append(float((total[rows] * (x if centre is None else (x - centre) ** 2)).sum()))
    return float(np.sum(parts))


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
