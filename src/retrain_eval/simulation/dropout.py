"""Dropping out of training for lack of digital access or of literacy, and what is true of it.

In each quarter of training a person without a job drops out with the probability `quits_sql`, which is zero unless
`Parameters.dropout_by_access` or `Parameters.dropout_by_literacy` is not. A person who drops out gains as much as one
who leaves early for another reason: two fifths of what completing would have given.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pandas as pd

from retrain_eval.plan.questions import ACCESS, LITERACY, DigitalDivide
from retrain_eval.simulation.parameters import Parameters

DIGITAL_ACCESS = "draw('digital', n, 0) < .75 + .1 * school"
LITERACY_SCORE = "round(least(500, greatest(0, 250 + 25 * school + 45 * normal('literacy', n, 0))), 1)"
BASIC = 276.0  # score at which level 3 of PIAAC begins; the lack of literacy counts from here


def quits_sql(p: Parameters) -> str:
    """Return SQL of the probability to drop out in a quarter of training.

    Examples
    --------
    >>> quits_sql(Parameters())
    '0.0'
    """
    parts = []
    if p.dropout_by_access:
        parts.append(f"{p.dropout_by_access} * (NOT ({DIGITAL_ACCESS}))::INT")
    if p.dropout_by_literacy:
        parts.append(f"{p.dropout_by_literacy} * greatest({BASIC} - {LITERACY_SCORE}, 0) / 100")
    return f"least(1.0, {' + '.join(parts)})" if parts else "0.0"


def true_dropout(con: duckdb.DuckDBPyConnection, cuts: Sequence[float] = DigitalDivide().literacy_cuts) -> pd.DataFrame:
    """Return how time in training ended, of everyone who entered, by digital access and by literacy.

    Parameters
    ----------
    con : DuckDBPyConnection
        That of `Simulation`.
    cuts : sequence of float
        Scores at which bands of literacy begin.

    Returns
    -------
    DataFrame
        ``subgroup, level`` (missing for everyone), ``time`` (quarters from entry, that of entry the first), ``cause``
        (completed, dropped_out, employed), ``incidence`` (share of the group that has left so by then) and ``n``.
        The few who are in training when the records end have left by no cause.

    Examples
    --------
    >>> from retrain_eval.simulation import simulate
    >>> true_dropout(simulate(people=500).con).columns.tolist()
    ['subgroup', 'level', 'time', 'cause', 'incidence', 'n']
    """
    frame: pd.DataFrame = con.sql(
        f"""
        WITH person_level AS ({_levels(cuts)}),
        left_by AS (
          SELECT person_id, exit - entry + 1 AS length, exit_reason AS cause FROM enrolment
        ),
        grid AS (SELECT t AS time, cause FROM range(1, 5) AS a(t),
          (VALUES ('completed'), ('dropped_out'), ('employed')) AS b(cause))
        SELECT subgroup, level, CAST(time AS INTEGER) AS time, grid.cause AS cause,
          avg(coalesce(left_by.cause = grid.cause AND length <= time, false)::INT) AS incidence, count(*) AS n
        FROM person_level JOIN left_by USING (person_id) CROSS JOIN grid
        GROUP BY ALL ORDER BY subgroup NULLS FIRST, level, cause, time"""
    ).df()
    return frame


def true_effects_by_access(
    con: duckdb.DuckDBPyConnection, last: int = 12, cuts: Sequence[float] = DigitalDivide().literacy_cuts
) -> pd.DataFrame:
    """Return what training changed, on everyone who entered and on completers, by digital access and by literacy.

    Parameters
    ----------
    con : DuckDBPyConnection
        That of `Simulation`.
    last : int
        The last quarter after entry of the mean, which begins with that of entry. People who are not followed as long
        count with the quarters that there are.
    cuts : sequence of float
        Scores at which bands of literacy begin.

    Returns
    -------
    DataFrame
        ``subgroup, level`` (missing for everyone), ``people`` (everyone, completers), ``outcome`` (earnings, employed),
        ``att`` (mean effect per quarter) and ``n``.

    Examples
    --------
    >>> from retrain_eval.simulation import simulate
    >>> found = true_effects_by_access(simulate(people=500).con)
    >>> sorted(found["people"].unique())
    ['completers', 'everyone']
    """
    frame: pd.DataFrame = con.sql(
        f"""
        WITH person_level AS ({_levels(cuts)}),
        mean_effect AS (
          SELECT person_id, avg(on_earnings) AS earnings, avg(on_employed) AS employed
          FROM effect WHERE event_time BETWEEN 0 AND {int(last)} GROUP BY person_id
        ),
        entered AS (
          SELECT *, unnest(CASE WHEN coalesce(completed, false) THEN ['everyone', 'completers'] ELSE ['everyone'] END)
            AS people FROM enrolment
        ),
        long AS (UNPIVOT mean_effect ON earnings, employed INTO NAME outcome VALUE att)
        SELECT subgroup, level, people, outcome, avg(long.att) AS att, count(*) AS n
        FROM entered JOIN person_level USING (person_id) JOIN long USING (person_id)
        GROUP BY ALL ORDER BY outcome, subgroup NULLS FIRST, level, people"""
    ).df()
    return frame


def _levels(cuts: Sequence[float]) -> str:
    """Return a SELECT of ``person_id, subgroup, level``: everyone, and their levels of access and literacy."""
    strata = DigitalDivide(literacy_cuts=tuple(cuts)).strata()
    parts = ["SELECT person_id, NULL::VARCHAR AS subgroup, NULL::VARCHAR AS level FROM person"]
    parts += [
        f"SELECT person_id, '{name}', CAST({strata[name].sql()} AS VARCHAR) FROM person" for name in (ACCESS, LITERACY)
    ]
    return " UNION ALL ".join(parts)
