"""The published moments that the synthetic agency is held against, and how they are measured on its panel."""

from __future__ import annotations

from math import nan
from typing import NamedTuple

import duckdb
import pandas as pd

from retrain_eval.panel.panel import build_panel
from retrain_eval.panel.spells import build_spells


class Moment(NamedTuple):
    """A published figure, and how far from it the synthetic agency may lie."""

    name: str
    source: str
    target: float
    tolerance: float


_RECORDS = "quarterly matched employer-employee records, low-wage workers"
_JLS = "Jacobson, LaLonde and Sullivan (1993), figures 1 and 2"
_CKW = "Card, Kluve and Weber (2018), table 3"
MOMENTS = (
    Moment("P(employed → employed)", _RECORDS, 0.90, 0.02),
    Moment("P(non-employed → employed)", _RECORDS, 0.19, 0.02),
    Moment("SD of log earnings, full quarters", _RECORDS, 0.54, 0.03),
    Moment("lag-1 autocorrelation of log earnings, full quarters", _RECORDS, 0.83, 0.03),
    Moment("earnings 16–20 quarters after displacement, untrained, 12 quarters of tenure", _JLS, -0.25, 0.05),
    Moment("earnings in the year before displacement, 12 quarters of tenure", _JLS, -0.08, 0.04),
    Moment(
        "earnings of trainees, 1–4 over 9–12 quarters before entry, less 1",
        "Ashenfelter (1978): a fall before entry; its size is that of displacement",
        -0.55,
        0.2,
    ),
    Moment("effect on employment, quarters 0–2", "Heinrich et al. (2013), figure 1: negative", -0.06, 0.05),
    Moment("effect on employment, quarters 5–8", _CKW, 0.054, 0.03),
    Moment("effect on employment, quarters 9–12", _CKW, 0.087, 0.04),
    Moment(
        "share of non-employment ended by recall, never displaced", "Fujita and Moscarini (2017), table 2", 0.40, 0.08
    ),
)


def measure(con: duckdb.DuckDBPyConnection, truth: pd.DataFrame) -> dict[str, float]:
    """Build the panel and the spells, and return every moment of ``MOMENTS`` as it stands in them and in the truth."""
    build_panel(con)
    build_spells(con)
    moves = con.sql(
        """
        WITH pairs AS (
          SELECT employed, lead(employed) OVER w AS next, lead(period) OVER w = period + 1 AS adjacent
          FROM panel WINDOW w AS (PARTITION BY person_id ORDER BY period)
        )
        SELECT avg(next) FILTER (employed = 1), avg(next) FILTER (employed = 0) FROM pairs WHERE adjacent
        """
    ).fetchall()[0]
    logs = con.sql(
        """
        WITH full_quarters AS (SELECT person_id, period, ln(earnings) AS y FROM panel WHERE full_quarter = 1 AND
          earnings > 0)
        SELECT (SELECT stddev(y) FROM full_quarters),
          (SELECT corr(a.y, b.y) FROM full_quarters a JOIN full_quarters b ON a.person_id = b.person_id AND b.period
            = a.period + 1)
        """
    ).fetchall()[0]
    # against the time three years before and the growth of workers never displaced, for workers with some tenure, as
    # Jacobson, LaLonde and Sullivan compare them
    around = con.sql(
        """
        WITH displaced AS (
          SELECT to_displacement AS k, avg(earnings) AS y
          FROM panel JOIN displacement USING (person_id) WHERE cohort IS NULL AND displacement.tenure >= 12 GROUP BY k
        )
        SELECT avg(y) FILTER (k BETWEEN -12 AND -10), avg(y) FILTER (k BETWEEN -4 AND -1), avg(y) FILTER (k BETWEEN
          16 AND 20)
        FROM displaced
        """
    ).fetchall()[0]
    growth = con.sql("SELECT regr_slope(ln(y), period) FROM (SELECT period, avg(earnings) AS y FROM panel "
                     "WHERE to_displacement IS NULL GROUP BY period)").fetchall()[0][0]  # fmt: skip
    before = con.sql(
        "SELECT avg(earnings) FILTER (to_entry BETWEEN -4 AND -1) "
        "/ avg(earnings) FILTER (to_entry BETWEEN -12 AND -9) - 1 FROM panel"
    ).fetchall()[0][0]
    recalls = con.sql(
        "SELECT avg((cause = 'recall')::INTEGER) FROM spells JOIN person USING (person_id) WHERE state = 'nonemployed' "
        "AND cause <> 'censored' AND NOT left_truncated AND person_id NOT IN (SELECT person_id FROM displacement)"
    ).fetchall()[0][0]
    employed = truth[(truth["outcome"] == "employed") & truth["subgroup"].isna()]

    def effect(low: int, high: int) -> float:
        rows = employed[employed["event_time"].between(low, high)]
        return float((rows["att"] * rows["n"]).sum() / rows["n"].sum()) if len(rows) else nan

    # where nobody of a kind exists, the moment is missing
    around = tuple(nan if value is None else value for value in around)
    moves, logs = (tuple(nan if value is None else value for value in found) for found in (moves, logs))
    growth, before, recalls = (nan if value is None else value for value in (growth, before, recalls))
    values = (
        *moves,
        *logs,
        around[2] / around[0] / (1 + growth) ** 29 - 1,
        around[1] / around[0] / (1 + growth) ** 8.5 - 1,
        before,
        effect(0, 2),
        effect(5, 8),
        effect(9, 12),
        recalls,
    )
    return {moment.name: float(value) for moment, value in zip(MOMENTS, values, strict=True)}
