"""The time from an event to the first job after it, from the panel."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.sources import Source, as_relation, query, require_columns, sql_name

EVENTS = ("to_exit", "to_entry", "to_displacement")
EVENT_DEFAULTS = {"to_exit": "since", "person_id": "id"}  # columns that the caller need not name


def first_job_spells(
    panel: Source, since: str = "to_exit", id: str = "person_id", keep: Sequence[str] = ()
) -> duckdb.DuckDBPyRelation:
    """Return spells from an event to the first job after it, one per person, ready for `retrain_eval.Spells`.

    Parameters
    ----------
    panel : DuckDB relation, DataFrame, Arrow table or path
        One row per person and quarter with the columns ``id``, ``since`` and ``employed``.
    since : {"to_exit", "to_entry", "to_displacement"}
        Column of the quarters since the event.
    id : str
        Column of the person.
    keep : sequence of str
        Columns to carry along that do not change within a person: levels, weights, cluster.

    Returns
    -------
    DuckDBPyRelation
        ``id``, ``quarters`` (the first quarter after the event, from 1, with employment; or the last one known to be
        without, from the first on), ``cause`` ("job", or NULL if censored) and ``keep``. The quarter of the event
        itself does not count. `retrain_eval.Spells` reads them with ``event="job"``, or with ``censored=()`` if it is
        possible that no one has found a job. People whose first quarter is unknown are left out.

    Raises
    ------
    InputError
        If a column is missing, a keyword unknown, or a column of ``keep`` changes within a person.

    Notes
    -----
    What is unknown censors: a job that began in a gap of coverage would otherwise be taken for a later one. The time to
    the first job is then ``cumulative_incidence()`` or ``quantile()`` of the spells.

    Examples
    --------
    >>> import pandas as pd
    >>> panel = pd.DataFrame({"person_id": [1] * 3 + [2] * 3, "to_exit": [1, 2, 3] * 2,
    ...                       "employed": [0.0, 0.0, 1.0, 0.0, None, 1.0]})
    >>> first_job_spells(panel).order("person_id").fetchall()
    [(1, 3, 'job'), (2, 1, None)]
    """
    if since not in EVENTS:
        raise unknown("event", since, EVENTS)
    relation = as_relation(panel, numbers=(since, "employed"), keys=id)
    require_columns(relation, [id, since, "employed", *keep], EVENT_DEFAULTS)
    carried = [sql_name(name) for name in dict.fromkeys(keep)]
    person, quarter = sql_name(id), sql_name(since)
    groups = ", ".join([person, *carried])
    require_constant(relation, since, id, keep)
    # a quarter that is missing from the panel is not known either, so the n-th row has to be the n-th quarter
    return query(
        relation,
        f"WITH numbered AS (SELECT {groups}, {quarter} AS q, CAST(employed AS DOUBLE) AS employed, "
        f"row_number() OVER (PARTITION BY {person} ORDER BY {quarter}) AS n FROM source WHERE {quarter} >= 1), "
        f"ends AS (SELECT {groups}, min(q) FILTER (employed > 0) AS job, max(q) AS final, "
        "min(n) FILTER (employed IS NULL OR isnan(employed) OR q <> n) AS gap FROM numbered "
        f"GROUP BY {groups}), "
        f"spells AS (SELECT *, coalesce(job < coalesce(gap, job + 1), false) AS found FROM ends) "
        f"SELECT {person}, CAST(CASE WHEN found THEN job ELSE coalesce(gap - 1, final) END AS INTEGER) AS quarters, "
        f"CASE WHEN found THEN 'job' END AS cause{''.join(', ' + name for name in carried)} "
        "FROM spells WHERE found OR coalesce(gap - 1, final) >= 1",
    )


def require_constant(relation: duckdb.DuckDBPyRelation, since: str, id: str, keep: Sequence[str]) -> None:
    """Refuse columns that change within a person, and two rows of a person for one quarter."""
    person, quarter = sql_name(id), sql_name(since)
    rows = f"FROM source WHERE {quarter} IS NOT NULL"
    twice = f"SELECT {person}, {quarter} {rows} GROUP BY ALL HAVING count(*) > 1"
    [(n,)] = query(relation, f"SELECT count(*) FROM ({twice})").fetchall()
    if n:
        raise InputError(
            f"two rows of a person for one quarter, {n} time(s)",
            row=twice,
            column=since,
            rule="one row per person and quarter",
        )
    for name in keep:
        changed = (
            f"SELECT {person} {rows} GROUP BY {person} HAVING min({sql_name(name)}) <> max({sql_name(name)}) "
            f"OR count({sql_name(name)}) NOT IN (0, count(*))"
        )
        [(n,)] = query(relation, f"SELECT count(*) FROM ({changed})").fetchall()
        if n:
            raise InputError(
                f"{name} changes within {n} person(s)",
                row=changed,
                column=name,
                fix="use its value at the event for all quarters",
            )
