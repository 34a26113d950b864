"""Groups whom retraining does not help: the factor of their gains, as SQL. The alternative works for them."""

from __future__ import annotations

import duckdb
import pandas as pd

from retrain_eval.common.sources import sql_text
from retrain_eval.simulation.parameters import NO_GAIN_GROUPS, Parameters

LONG_TERM = 4  # quarters without work
DISABILITY = "draw('disability', n, 0) < .08"
_RETRAINING = "tier < 2"  # foundation and transition


def factor(p: Parameters, entry: str) -> str:
    """Return SQL that multiplies the gain of a person, to follow it; empty where no group loses anything.

    Parameters
    ----------
    p : Parameters
    entry : str
        SQL of the quarter of entry, of a row that has ``n, band, tier, lost``.

    Examples
    --------
    >>> factor(Parameters(), "entry")
    ''
    >>> factor(Parameters(no_gain_for=(1.0, 0.0, 0.0)), "entry")
    ' * CASE WHEN tier < 2 AND band = 3 THEN 0.0 ELSE 1 END'
    """
    conditions = ("band = 3", f"{entry} - lost >= {LONG_TERM}", DISABILITY)
    return "".join(
        f" * CASE WHEN {_RETRAINING} AND {condition} THEN {1 - strength} ELSE 1 END"
        for condition, strength in zip(conditions, p.no_gain_for, strict=True)
        if strength
    )


def true_effects_of_groups(con: duckdb.DuckDBPyConnection, last: int = 12) -> pd.DataFrame:
    """Return what programmes changed in the groups of ``NO_GAIN_GROUPS``, by kind of programme.

    Parameters
    ----------
    con : DuckDBPyConnection
        That of `Simulation`.
    last : int
        The last quarter after entry of the mean, which begins with that of entry. People who are not followed as long
        count with the quarters that there are.

    Returns
    -------
    DataFrame
        ``level`` (a group, or "others": people in none of them), ``programme_kind`` (retraining, alternative:
        programmes of the tier substitution), ``outcome`` (earnings, employed), ``att`` (mean effect per quarter) and
        ``n``. Who is in several groups counts in each.

    Examples
    --------
    >>> from retrain_eval.simulation import simulate
    >>> found = true_effects_of_groups(simulate(people=500).con)
    >>> sorted(found["level"].unique())
    ['55 and over', 'limited capacity', 'long-term unemployed', 'others']
    """
    old, long, limited = map(sql_text, NO_GAIN_GROUPS)
    frame: pd.DataFrame = con.sql(
        f"""
        WITH known AS (
          SELECT e.person_id,
            CASE WHEN tier = 'substitution' THEN 'alternative' ELSE 'retraining' END AS programme_kind,
            list_filter([
              CASE WHEN year(displaced_on) - birth_year >= 55 THEN {old} END,
              CASE WHEN entry - (year(displaced_on) * 4 + quarter(displaced_on) - 1) >= {LONG_TERM} THEN {long} END,
              CASE WHEN disability THEN {limited} END], lambda name: name IS NOT NULL) AS groups
          FROM enrolment e JOIN programme USING (programme_id) JOIN person USING (person_id)
            JOIN displacement USING (person_id)
        ),
        of_group AS (
          SELECT person_id, programme_kind, unnest(CASE WHEN len(groups) = 0 THEN ['others'] ELSE groups END) AS level
          FROM known
        ),
        mean_effect AS (
          SELECT person_id, avg(on_earnings) AS earnings, avg(on_employed) AS employed
          FROM effect WHERE event_time BETWEEN 0 AND {int(last)} GROUP BY person_id
        ),
        long AS (UNPIVOT mean_effect ON earnings, employed INTO NAME outcome VALUE att)
        SELECT level, programme_kind, outcome, avg(att) AS att, count(*) AS n
        FROM of_group JOIN long USING (person_id)
        GROUP BY ALL ORDER BY outcome, level, programme_kind"""
    ).df()
    return frame
