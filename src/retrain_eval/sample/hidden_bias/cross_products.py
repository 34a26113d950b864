"""Regressions of an outcome on treatment, without and with covariates, from sums of products over people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd

from retrain_eval.common.arrays import Floats
from retrain_eval.common.errors import DesignError
from retrain_eval.common.numerics.linear_algebra import inverse_of_products
from retrain_eval.common.shown import summarised
from retrain_eval.common.sources import Source, as_relation, query, require_columns, sql_name
from retrain_eval.estimators.inference.hidden_bias_bounds import Regressions
from retrain_eval.sample.composition import treated_sql
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.sample.models.formula import TreatmentFormula, parse_formula
from retrain_eval.tables.largest import N_LARGEST, largest_of, largest_sql, padded
from retrain_eval.tables.stamps import winsorise_stamp
from retrain_eval.tables.statistics import CrossProducts
from retrain_eval.tables.winsorise import clipped_sql, limits_sql

_FEW = 3  # with so few values in a column, products reveal how many people have each


def cross_products(people: Source, sample: MatchedSample, outcome: str, *, winsorise: float = 1.0) -> CrossProducts:
    """Sum products of the treatment, the design of the matching formula and the outcome over all candidates.

    Parameters
    ----------
    people : DuckDB relation, DataFrame, Arrow table or path
        The people the sample was drawn from, with the columns of the formula and the outcome.
    sample : MatchedSample
    outcome : str
    winsorise : float
        Amounts beyond this quantile of either tail, or beyond the third largest, are set to it; 1 for none.

    Returns
    -------
    CrossProducts
        Sums over everyone with an outcome, matched or not. Columns other than 0/1 are centred near their means and
        scaled near their standard deviations, so that the normal equations keep their precision.

    Raises
    ------
    DesignError
        If no one has an outcome.

    Examples
    --------
    >>> from retrain_eval.sample.match import match
    >>> people = pd.DataFrame({"id": range(6), "treat": [1, 0] * 3, "age": [20, 21, 40, 42, 30, 29],
    ...                        "pay": [9.0, 7, 8, 5, 6, 6]})
    >>> found = cross_products(people, match(people, "treat ~ age", "id"), "pay")
    >>> found.n, round(regressions_of(found).beta_uncontrolled, 4)
    (6, 1.6667)
    """
    formula = parse_formula(str(sample.audit["formula"]))
    relation = as_relation(people, numbers=outcome, keys=str(sample.audit["unit"]))
    cells = _cells(relation, sample, formula, outcome, winsorise)
    names, x = formula.design(cells.covariates)
    varies = np.ptp(x, axis=0) > 0
    columns, x = tuple(name for name, kept in zip(names, varies, strict=True) if kept), x[:, varies]
    raw = np.column_stack([cells.treated, x])
    mean = cells.total / cells.n
    n, within = cells.n, float((cells.squares - cells.total**2 / cells.n).sum())
    places = [_place(column, n) for column in raw.T]
    spread = float(np.sqrt((cells.squares.sum() - cells.total.sum() ** 2 / n.sum()) / n.sum()))
    reference = np.array([*(at for at, _ in places), cells.middle])
    scale = np.array([*(size for _, size in places), float(f"{spread:.2g}") or 1.0])
    z = np.column_stack([(raw - reference[:-1]) / scale[:-1], mean / scale[-1]])
    v = np.column_stack([np.ones(len(z)), z])
    products = (v * n[:, None]).T @ v
    products[-1, -1] += max(within, 0.0) / scale[-1] ** 2
    few = np.column_stack([np.ones(len(n)), *_indicators(raw)])
    largest, amounts = _contributions(cells, raw, few)
    return CrossProducts(
        outcome,
        formula.treat,
        columns,
        int(n.sum()),
        reference,
        scale,
        products,
        _smallest(cells, few),
        cells.missing,
        largest,
        amounts,
        stamp=winsorise_stamp(winsorise if winsorise < 1 else None),
    )


def regressions(people: Source, sample: MatchedSample, outcome: str) -> Regressions:
    """Regress the outcome on the treatment, without and with the covariates of the matching formula.

    Everyone with an outcome counts once, matched or not, so that the raw and the adjusted comparison cover the same
    people.
    """
    return regressions_of(cross_products(people, sample, outcome))


def regressions_of(found: CrossProducts) -> Regressions:
    """Return the regressions computed from cross products, dropping collinear columns.

    Raises
    ------
    DesignError
        If the outcome or the treatment does not vary, or the treatment not beyond the covariates.

    Notes
    -----
    With S the products about the means, partialling out the covariates x leaves
    :math:`S_{ab} - S_{ax} S_{xx}^{-} S_{xb}` of the treatment and the outcome (Frisch and Waugh 1933).
    """
    total = found.products[0]
    centred = found.products - np.outer(total, total) / total[0]
    s = (centred * np.outer([1.0, *found.scale], [1.0, *found.scale]))[1:, 1:]
    s_tt, s_ty, s_yy = float(s[0, 0]), float(s[0, -1]), float(s[-1, -1])
    size = found.products.diagonal()[1:] * found.scale**2
    if s_tt <= 1e-14 * size[0] or s_yy <= 1e-14 * size[-1]:
        raise DesignError("the outcome or the treatment does not vary")
    ends = [0, len(s) - 1]
    left = s[np.ix_(ends, ends)] - s[ends, 1:-1] @ inverse_of_products(s[1:-1, 1:-1]) @ s[1:-1, ends]
    tau, tau_y, left_y = float(left[0, 0]), float(left[0, 1]), float(left[1, 1])
    if tau <= 1e-10 * s_tt:
        raise DesignError("the treatment does not vary beyond the covariates")
    return Regressions(
        beta_uncontrolled=s_ty / s_tt,
        r2_uncontrolled=s_ty**2 / s_tt / s_yy,
        beta_controlled=tau_y / tau,
        r2_controlled=1 - (left_y - tau_y**2 / tau) / s_yy,
        var_outcome=s_yy / total[0],
        var_treatment=s_tt / total[0],
        var_residual=tau / total[0],
        n=found.n,
    )


@summarised
@dataclass(frozen=True)
class _Cells:
    """Each distinct row of covariates and treatment; the outcome is measured from ``middle``.

    ``top`` holds the largest absolute outcomes of each, shape (C, N_LARGEST), and ``absolute`` their sums.
    """

    covariates: pd.DataFrame
    treated: Floats
    n: Floats
    total: Floats
    squares: Floats
    top: Floats
    absolute: Floats
    middle: float
    missing: int


def _cells(
    relation: duckdb.DuckDBPyRelation, sample: MatchedSample, formula: TreatmentFormula, outcome: str, winsorise: float
) -> _Cells:
    require_columns(relation, [outcome, *formula.covariates])
    y, names = f"CAST({sql_name(outcome)} AS DOUBLE)", list(formula.covariates)
    types = {name: str(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}
    kinds = ["VARCHAR" if types[name].startswith(("VARCHAR", "ENUM")) else "DOUBLE" for name in names]
    keys = [f"CAST({sql_name(name)} AS {kind})" for name, kind in zip(names, kinds, strict=True)]
    listed = "".join(f", {key} AS k{i}" for i, key in enumerate(keys))
    numbers = ["y", *(f"k{i}" for i, kind in enumerate(kinds) if kind == "DOUBLE")]
    capped = [
        f"CASE WHEN bool_and({c} IN (0, 1)) THEN {free} ELSE {end} END AS {side}_{c}"
        for c in numbers
        for side, free, end in zip(("low", "high"), (0, 1), limits_sql(c, winsorise), strict=True)
    ]
    replaced = ", ".join(f"{clipped_sql(f'rows.{c}', f'limits.low_{c}', f'limits.high_{c}')} AS {c}" for c in numbers)
    query_rows = "SELECT * FROM rows"
    if winsorise < 1:
        query_rows = f"SELECT rows.* REPLACE ({replaced}) FROM rows, (SELECT {', '.join(capped)} FROM rows) limits"
    table = query(
        relation,
        f"""
        WITH rows AS (
          SELECT CAST({treated_sql(sample)} AS INTEGER) AS treated, {y} AS y{listed} FROM source WHERE {y} IS NOT NULL
        ),
        capped AS ({query_rows}),
        centre AS (SELECT avg(y) AS mean FROM capped),
        fixed AS (
          SELECT CASE WHEN mean = 0 THEN 0.0
            ELSE round(mean, CAST(2 - floor(log10(abs(mean))) AS INTEGER)) END AS middle FROM centre
        )
        SELECT treated, {"".join(f"k{i}, " for i in range(len(names)))}count(*) AS n, any_value(middle) AS middle,
          fsum(y - middle) AS total, fsum((y - middle) ** 2) AS squares, {largest_sql("abs(y)")} AS top,
          fsum(abs(y)) AS absolute
        FROM capped, fixed GROUP BY ALL ORDER BY ALL
        """,
    ).df()
    if table.empty:
        raise DesignError(f"no one has a value of {outcome!r}")
    n, total, squares, treated = (table[c].to_numpy(dtype=float) for c in ("n", "total", "squares", "treated"))
    (missing,) = query(relation, f"SELECT count(*) FROM source WHERE {y} IS NULL").fetchall()[0]
    top = np.array([padded(values.tolist()) for values in table["top"]])
    covariates = table[[f"k{i}" for i in range(len(names))]].set_axis(names, axis="columns")
    middle, absolute = float(table["middle"].iloc[0]), table["absolute"].to_numpy(dtype=float)
    return _Cells(covariates, treated, n, total, squares, top, absolute, middle, int(missing))


def _place(x: Floats, n: Floats) -> tuple[float, float]:
    """Return the origin and the scale of a column: round numbers near its mean and standard deviation."""
    if np.isin(x, (0.0, 1.0)).all():
        return 0.0, 1.0
    mean = float(n @ x / n.sum())
    return float(f"{mean:.3g}"), float(f"{np.sqrt(n @ (x - mean) ** 2 / n.sum()):.2g}")


def _indicators(columns: Floats) -> Iterator[Floats]:
    """Yield which rows have each value, for the columns with few values."""
    for x in columns.T:
        values = np.unique(x)
        if len(values) <= _FEW:
            yield from ((x == value).astype(float) for value in values)


def _smallest(cells: _Cells, few: Floats) -> int:
    """Return the smallest number of people sharing the values of two columns with few values or of a 0/1 outcome."""
    counts = [(few * cells.n[:, None]).T @ few]
    ones = cells.total + cells.n * cells.middle
    if np.allclose(cells.squares + 2 * cells.middle * cells.total + cells.n * cells.middle**2, ones, atol=1e-6):
        counts += [(few * (cells.n - ones)[:, None]).T @ few, (few * ones[:, None]).T @ few]
    people = np.round(np.stack(counts), 3)
    return int(people[people > 0].min())


def _contributions(cells: _Cells, columns: Floats, few: Floats) -> tuple[Floats, Floats]:
    """Return the largest |x| of each amount in each group of people, and the sums of |x|, shapes (I, M, 5), (I, M).

    An amount is a column of many values, or the outcome.
    """
    top, sums = [], []
    repeats = np.minimum(cells.n, N_LARGEST).astype(int)
    for x in np.abs(columns.T):
        if len(np.unique(x)) > _FEW:
            order = np.argsort(-x, kind="stable")
            first = [order[who[order] > 0][:N_LARGEST] for who in few.T]
            top.append([padded(np.repeat(x[rows], repeats[rows]).tolist()) for rows in first])
            sums.append((few * cells.n[:, None]).T @ x)
    top.append([padded(largest_of(cells.top[who > 0].ravel()).tolist()) for who in few.T])
    sums.append(few.T @ cells.absolute)
    return np.array(top).swapaxes(0, 1), np.column_stack(sums)
