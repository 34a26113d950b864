"""Join outcomes to a risk-set matched sample, and censor them when a control enters training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import duckdb

from retrain_eval.common.errors import InputError
from retrain_eval.common.sources import Source, as_relation, query, require_columns, sql_name
from retrain_eval.common.sql import scratch_name
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.sample.scratch import keep_table, store_table, weights_hash
from retrain_eval.tables.noise.person_keys import PERSON_KEY

ENTRY = 1  # since 0 would mean never
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE")
_BROUGHT = ("match_id", "treat", "weight", "subclass", "event_time", "clock", "cohort")


def follow_outcomes(
    sample: MatchedSample,
    panel: Source,
    *,
    time: str,
    outcomes: Sequence[str],
    between: tuple[int, int] | None = None,
    censor: bool = True,
) -> duckdb.DuckDBPyRelation:
    """Return the panel of the matched people in time since entry; outcomes after a control's own entry are NULL.

    Parameters
    ----------
    sample : MatchedSample
        From ``match(method="riskset")``.
    panel : DuckDB relation, DataFrame, Arrow table or path
        One row per person and period; the person's column is called as in the sample.
    time : str
        Its period, on the calendar of the sample's.
    outcomes : sequence of str
        Columns to bring along.
    between : (int, int), optional
        First and last ``event_time`` wanted; otherwise all that the panel has.
    censor : bool
        Whether to blank outcomes from ``censored_at`` on. Otherwise, the comparison is with waiting longer, and
        includes the effect of later training.

    Returns
    -------
    DuckDBPyRelation
        ``match_id, clock`` (unit and time for `retrain_eval.outcome_moments`), the person, ``treat, weight, subclass``,
        ``event_time`` (periods since entry or, for a control, since the same elapsed duration), ``clock`` (the same
        on a calendar on which everyone enters in period `ENTRY`), ``cohort`` (`ENTRY` for trainees, NULL for controls),
        the period, the outcomes and, if the sample has them, ``person_key``; as many rows as the panel has for each
        ``match_id``.

    Raises
    ------
    InputError
        If the sample is not from risk sets, or a column does not exist or would be there twice.

    Notes
    -----
    Controls who are censored at k were unemployed until then. Uncensored controls are in work more often, so a plain
    mean of uncensored outcomes is not the mean of what all controls would have earned: weight them first with
    `retrain_eval.sample.followup.censoring_weights.weight_for_censoring`, use survival methods on `follow_spells` for
    the effect on leaving unemployment, or ``censor=False`` for the effect against waiting.

    Examples
    --------
    >>> import duckdb, retrain_eval as rte
    >>> con = duckdb.connect()
    >>> people = con.sql(
    ...     "SELECT * FROM (VALUES (1, .5, 8, 10, 12), (2, .4, 8, 11, 14)) AS t(id, score, began, entry, ended)"
    ... )
    >>> sample = rte.match(people, "trained ~ score", unit="id", method="riskset", distance="score",
    ...                    start="began", entry="entry", end="ended")
    >>> panel = con.sql("SELECT id, q, 100 * id + q AS pay FROM range(1, 3) AS a(id), range(9, 13) AS b(q)")
    >>> rows = follow_outcomes(sample, panel, time="q", outcomes=["pay"])
    >>> rows.filter("treat = 0").project("event_time, pay").order("event_time").fetchall()
    [(-1, 209), (0, 210), (1, None), (2, None)]
    """
    unit = matched_unit(sample)
    relation = as_relation(panel, numbers=(time, *outcomes), keys=unit)
    require_columns(relation, [unit, time, *outcomes])
    for name in (time, *outcomes):
        if name in _BROUGHT or name == unit:
            raise InputError(f"the result has a column {name!r} of its own", column=name, fix="rename it in the panel")
    cut = "m.censored_at <= p." + sql_name(time) if censor else "false"
    columns = "".join(f", CASE WHEN {cut} THEN NULL ELSE p.{sql_name(y)} END AS {sql_name(y)}" for y in outcomes)
    person, period = sql_name(unit), sql_name(time)
    within = "" if between is None else f" AND p.{period} - m.period BETWEEN {int(between[0])} AND {int(between[1])}"
    weights = bring_weights(sample, relation)
    return query(
        relation,
        f"SELECT m.match_id, m.{person}, m.treat, m.weight, m.subclass, p.{period} - m.period AS event_time, "
        f"p.{period} - m.period + {ENTRY} AS clock, CASE WHEN m.treat = 1 THEN {ENTRY} END AS cohort, "
        f"p.{period}{columns}{_keys_of(sample)} "
        f"FROM {weights} AS m JOIN source AS p ON m.{person} = p.{person}{within}",
    )


def follow_spells(
    sample: MatchedSample, source: Source, *, end: str, last: int, cause: str | None = None, censor: bool = True
) -> duckdb.DuckDBPyRelation:
    """Return the durations of matched people after entry; a control's own entry censors them.

    Parameters
    ----------
    sample : MatchedSample
        From ``match(method="riskset")``.
    source : DuckDB relation, DataFrame, Arrow table or path
        One row per person.
    end : str
        The period in which the event happened, such as the first period in a job; NULL = not yet.
    last : int
        Last period on record; nothing is known after it.
    cause : str, optional
        Column with the code of the cause, for competing risks: any value but NULL, 0 and false, which mean censored.
    censor : bool
        Whether ``censored_at`` ends a control's follow-up.

    Returns
    -------
    DuckDBPyRelation
        ``match_id``, the person, ``treat, weight, subclass``, ``duration`` (periods from ``period``), and ``event``:
        0 = censored, else 1 or the cause. Ready for `retrain_eval.Spells`, with ``censored=()`` where causes are given.

    Raises
    ------
    InputError
        If the sample is not from risk sets, a column does not exist, or a matched person has no row, several, or an
        end that is not after the period from which follow-up counts, or lies beyond the records, or an end without a
        cause. The first is named.
    """
    unit = matched_unit(sample)
    relation = as_relation(source, numbers=end, keys=unit, codes=cause)
    require_columns(relation, [unit, end, *([cause] if cause else [])])
    weights, person, ended = bring_weights(sample, relation), sql_name(unit), f"s.{sql_name(end)}"
    joined = f"FROM {weights} AS m LEFT JOIN source AS s ON m.{person} = s.{person}"
    rules = (
        (f"count(s.{person}) = 0", "every matched person has a row"),
        ("count(*) > 1", "every matched person has one row"),
        (f"min({ended}) <= any_value(m.period)", "the end comes after the period from which follow-up counts"),
        (f"any_value(m.period) > {int(last)}", "records reach the period from which follow-up counts"),
    )
    for broken, rule in rules:
        first = (
            f"SELECT min({ended}), count(*) OVER () {joined} GROUP BY m.match_id, m.{person} HAVING {broken} "
            f"ORDER BY m.{person} LIMIT 1"
        )
        for period, n in query(relation, first).fetchall():
            raise InputError(
                f"{n} matched people cannot be followed" if n > 1 else "a matched person cannot be followed",
                row=f"the rows of source whose {unit} is in sample.weights",
                column=end,
                value="missing" if period is None else period,
                rule=rule,
            )
    horizon = f"least(m.censored_at, {last})" if censor else str(int(last))
    happened = f"({ended} IS NOT NULL AND {ended} <= {int(last)}" + (
        f" AND (m.censored_at IS NULL OR {ended} < m.censored_at))" if censor else ")"
    )
    what, none = "1", "0"
    if cause:
        code = f"CAST(s.{sql_name(cause)} AS VARCHAR)"
        number = str(relation.types[relation.columns.index(cause)]) in _NUMBERS
        what, none = (f"s.{sql_name(cause)}", "0") if number else (code, "'0'")
        without = f"lower(trim(coalesce({code}, '0'))) IN ('', '0', '0.0', 'false')"
        bad = f"{joined} WHERE {happened} AND {without}"
        first = f"SELECT {code}, count(*) OVER () {bad} ORDER BY m.{person} LIMIT 1"
        for value, n in query(relation, first).fetchall():
            raise InputError(
                f"the waits of {n} matched people have an end but no cause"
                if n > 1
                else "a matched person's wait has an end but no cause",
                row=f"the rows of source whose {unit} is in sample.weights",
                column=cause,
                value="missing" if value is None else value,
                rule="where there is an end there is a cause; NULL, 0 and false mean censored",
            )
    return query(
        relation,
        f"SELECT m.match_id, m.{person}, m.treat, m.weight, m.subclass, "
        f"CASE WHEN {happened} THEN {ended} ELSE {horizon} END - m.period AS duration, "
        f"CASE WHEN {happened} THEN {what} ELSE {none} END AS event{_keys_of(sample)} {joined}",
    )


def by_role(sample: MatchedSample) -> MatchedSample:
    """Return the same pairs and weights by role, ``match_id``, instead of by person, who may have several roles.

    Parameters
    ----------
    sample : MatchedSample
        From ``match(method="riskset")``.

    Returns
    -------
    MatchedSample
        Its unit is ``match_id`` and its treatment ``treat``, as in the result of `follow_outcomes`; unmatched people
        have no role.

    Examples
    --------
    >>> import duckdb, retrain_eval as rte
    >>> people = duckdb.sql(
    ...     "SELECT * FROM (VALUES (1, .5, 8, 10, 12), (2, .4, 8, 11, 14)) AS t(id, score, began, entry, ended)"
    ... )
    >>> sample = rte.match(people, "trained ~ score", unit="id", method="riskset", distance="score",
    ...                    start="began", entry="entry", end="ended")
    >>> by_role(sample).pairs.project("treated_id, control_id").fetchall()
    [(1, 2)]
    """
    person = sql_name(matched_unit(sample))
    weights = bring_weights(sample, sample.pairs)
    pairs = query(
        sample.pairs,
        "SELECT p.* REPLACE (t.match_id AS treated_id, c.match_id AS control_id) FROM source p "
        f"JOIN {weights} t ON t.treat = 1 AND t.{person} = p.treated_id "
        f"JOIN {weights} c ON c.treat = 0 AND c.{person} = p.control_id AND c.elapsed = p.elapsed "
        "ORDER BY p.subclass ASC, c.match_id ASC",
    ).to_arrow_table()
    rows = query(sample.weights, f"SELECT * EXCLUDE ({person}) FROM source ORDER BY match_id ASC").to_arrow_table()
    _, tilde, right = str(sample.audit["formula"]).partition("~")
    return replace(
        sample,
        _again=None,
        pairs=keep_table(sample.pairs, dict(zip(pairs.column_names, pairs.columns, strict=True)), "pairs"),
        weights=keep_table(sample.weights, dict(zip(rows.column_names, rows.columns, strict=True)), "weights"),
        audit={
            **sample.audit,
            "unit": "match_id",
            "method": "riskset by role",
            "formula": f"treat {tilde}{right}",
            "weights_sha256": weights_hash(rows["match_id"], rows["weight"].to_numpy()),
        },
    )


def matched_unit(sample: MatchedSample) -> str:
    """Return the person's column of a sample from risk sets; refuse any other sample."""
    if sample.audit["method"] != "riskset":
        raise InputError(
            "only a sample from risk sets has a period from which to follow its controls",
            value=sample.audit["method"],
            fix='match(..., method="riskset")',
        )
    return str(sample.audit["unit"])


def _keys_of(sample: MatchedSample) -> str:
    """Return SQL of the column of the keys of people, if the sample has them."""
    return f", m.{PERSON_KEY}" if PERSON_KEY in sample.weights.columns else ""


def bring_weights(sample: MatchedSample, relation: duckdb.DuckDBPyRelation) -> str:
    """Copy the weights to the connection of the outcomes, which may be another one; return the table's name."""
    table, name = sample.weights.to_arrow_table(), scratch_name("match_follow")
    store_table(relation, {column: table[column] for column in table.column_names}, name)
    return name
