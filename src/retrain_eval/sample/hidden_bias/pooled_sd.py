"""The standard deviation of an outcome within the matched arms, from sums by arm."""

from __future__ import annotations

import numpy as np

from retrain_eval.common.errors import DesignError
from retrain_eval.common.sources import Source, as_relation, query, sql_name
from retrain_eval.sample.composition import people_sql
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.tables.largest import largest_sql, padded
from retrain_eval.tables.noise.person_keys import PERSON_KEY, has_keys
from retrain_eval.tables.stamps import winsorise_stamp
from retrain_eval.tables.statistics import Spread
from retrain_eval.tables.winsorise import clipped_sql, limits_sql


def spread(people: Source, sample: MatchedSample, outcome: str, *, winsorise: float = 1.0) -> Spread:
    """Sum an outcome within the matched arms, by their weights; where people have keys, also the noisy amounts.

    Parameters
    ----------
    people : DuckDB relation, DataFrame, Arrow table or path
        The people the sample was drawn from, with the outcome as a column.
    sample : MatchedSample
    outcome : str
    winsorise : float
        Amounts beyond this quantile of either tail, or beyond the third largest, are set to it, as in outcome moments;
        1 for none.

    Raises
    ------
    DesignError
        If no matched person has an outcome.

    Examples
    --------
    >>> import pandas as pd
    >>> from retrain_eval.sample.match import match
    >>> people = pd.DataFrame({"id": range(4), "treat": [1, 0] * 2, "age": [20, 21, 40, 42], "pay": [9.0, 7, 8, 5]})
    >>> found = spread(people, match(people, "treat ~ age", "id"), "pay")
    >>> found.arms, found.n.tolist(), round(deviation(found), 4)
    (('control', 'treated'), [2, 2], 1.118)
    """
    relation = as_relation(people, numbers=outcome, keys=str(sample.audit["unit"]))
    y = f"CAST({sql_name(outcome)} AS DOUBLE)"
    low, high = limits_sql("y", winsorise)
    cap = "y"
    if winsorise < 1:
        cap = clipped_sql("y", f"(SELECT {low} FROM rows)", f"(SELECT {high} FROM rows)")
    keyed = has_keys(relation)
    factor, record = (f"{PERSON_KEY}.factor", f"{PERSON_KEY}.record") if keyed else ("1.0", "CAST(0 AS UBIGINT)")
    who = f", {factor} AS factor, {record} AS record"
    with people_sql(relation, sample, [outcome, *([PERSON_KEY] if keyed else [])]) as everyone:
        found = query(
            relation,
            f"""
            WITH rows AS (
              SELECT * FROM (
                SELECT true AS treated, _weight_treated AS w, {y} AS y{who} FROM ({everyone})
                UNION ALL SELECT false, _weight_control, {y}{who} FROM ({everyone})
              ) WHERE w > 0 AND y IS NOT NULL
            ),
            capped AS (SELECT treated, w, {cap} AS y, factor, record FROM rows),
            centre AS (SELECT avg(y) AS middle FROM capped),
            fixed AS (
              SELECT CASE WHEN middle = 0 THEN 0.0
                ELSE round(middle, CAST(2 - floor(log10(abs(middle))) AS INTEGER)) END AS reference FROM centre
            )
            SELECT treated, count(*), fsum(w), fsum(w ** 2), fsum(w * (y - reference)), fsum(w * (y - reference) ** 2),
              fsum(w * (y * factor - reference)), fsum(w * (y * factor - reference) ** 2),
              sum(record) % {2**64}, count(*) FILTER (y = 1), coalesce(sum(record) FILTER (y = 1), 0) % {2**64},
              bool_and(y IN (0, 1)), any_value(reference), {largest_sql("w * abs(y)")}, fsum(w * abs(y))
            FROM capped, fixed GROUP BY treated ORDER BY treated ASC
            """,
        ).fetchall()
    if not found:
        raise DesignError(f"no matched person has a value of {outcome!r}")
    treated, n, *sums, keys, ones, of_ones, of_two, reference, top, absolute = zip(*found, strict=True)
    sum_w, sum_w2, sum_wy, sum_wy2, noisy_wy, noisy_wy2 = (np.array(column, dtype=float) for column in sums)
    binary = keyed and all(of_two)
    arms = tuple("treated" if arm else "control" for arm in treated)
    largest = np.array([[padded(values)] for values in top])
    return Spread(
        outcome,
        arms,
        np.array(n, dtype=np.int64),
        sum_w,
        sum_w2,
        sum_wy,
        sum_wy2,
        float(reference[0]),
        largest,
        np.array(absolute, dtype=float)[:, None],
        np.array([int(key) for key in keys], dtype=np.uint64) if keyed else None,
        noisy_wy if keyed and not binary else None,
        noisy_wy2 if keyed and not binary else None,
        np.array(ones, dtype=np.int64) if binary else None,
        np.array([int(key) for key in of_ones], dtype=np.uint64) if binary else None,
        stamp=winsorise_stamp(winsorise if winsorise < 1 else None),
    )


def deviation(found: Spread) -> float:
    r"""Return the pooled standard deviation within the arms; NaN where each has one person.

    Notes
    -----
    Within an arm, :math:`\sum w (y - \bar y)^2 / (\sum w - \sum w^2 / \sum w)`, pooled by n − 1.
    """
    squares = found.sum_wy2 - found.sum_wy**2 / found.sum_w
    several = found.n > 1
    freedom = float((found.n - 1)[several].sum())
    variance = squares[several] / (found.sum_w - found.sum_w2 / found.sum_w)[several]
    return float(np.sqrt(((found.n - 1)[several] * variance).sum() / freedom)) if freedom else float("nan")
