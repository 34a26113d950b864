"""One row per person, as matching and stratifying need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from retrain_eval.common.errors import DesignError, InputError, unknown
from retrain_eval.common.periods import stored_period
from retrain_eval.common.sources import sql_name
from retrain_eval.plan.strata import Stratum


def baseline(
    con: duckdb.DuckDBPyConnection, strata: Mapping[str, Stratum], periods: Sequence[int | str] = ()
) -> duckdb.DuckDBPyRelation:
    """Create the table ``baseline``: one row per person, as matching and stratifying need it.

    Parameters
    ----------
    con : DuckDBPyConnection
        Connection on which `build_panel` has run.
    strata : mapping of str to Stratum
        Subgroups of the study file; each becomes a column of levels.
    periods : sequence of int or str
        Periods, as stored or written ``2019Q1``, before entry; each becomes a column ``earnings_<period>``.

    Returns
    -------
    DuckDBPyRelation
        The columns of person, ``treat`` (1 if ever enrolled), the strata, the earnings. A stratum
        that has the name of a column of person takes its place. ``cohort`` stays in the panel, so that
        ``panel JOIN baseline USING (person_id)`` has it once.

    Raises
    ------
    InputError
        If a period does not occur in the wage records; if a stratum names a column that person does not have.
    DesignError
        If a stratum leaves somebody without a level, or somebody had entered by one of ``periods``.
    """
    periods = [stored_period(period) for period in periods]
    people = con.table("person").columns
    made = {*con.table("panel").columns, *(f"earnings_{int(p)}" for p in periods), "treat", "weight", "subclass"}
    for name in strata:
        if name.casefold() in made:
            rule = f"none of {', '.join(sorted(made))}: columns that the study makes itself"
            raise InputError(f"the name of stratum {name!r} is taken", rule=rule, fix="rename [strata." + name + "]")
    types = dict(zip(people, con.table("person").types, strict=True))
    for name, stratum in strata.items():
        if stratum.column not in people:
            raise unknown("column of person", stratum.column, people)
        if stratum.cuts and str(types[stratum.column]) in {"VARCHAR", "BOOLEAN", "DATE", "TIMESTAMP"}:
            rule = f"cuts need numbers; this column is {types[stratum.column]}"
            raise InputError(f"stratum {name!r} cannot be cut", column=stratum.column, rule=rule, fix="give labels")
    known = [row[0] for row in con.sql("SELECT DISTINCT period FROM panel ORDER BY period").fetchall()]
    for period in periods:
        if period not in known:
            raise unknown("period before entry", period, known)
    if periods:
        late, first = con.sql(
            "SELECT count(*), min(cohort) FROM (SELECT DISTINCT person_id, cohort FROM panel) "
            f"WHERE cohort <= {int(max(periods))}"
        ).fetchall()[0]
        if late:
            raise DesignError(
                f"period {max(periods)} is not before entry for {late} trained person(s), the first of {first}: "
                "to match on what training may have changed would hide its effect. Name earlier periods, or study "
                "these people apart",
                public="people enter before the last period that is matched on",
            )
    levels = "".join(f", {stratum.sql()} AS {sql_name(name)}" for name, stratum in strata.items())
    same = [sql_name(name) for name in strata if name in people]
    taken = f"EXCLUDE ({', '.join(same)})" if same else ""
    earnings = "".join(f", max(earnings) FILTER (WHERE period = {int(p)}) AS earnings_{int(p)}" for p in periods)
    con.execute(
        f"""
        CREATE OR REPLACE TABLE baseline AS
        WITH history AS (SELECT person_id, any_value(cohort) AS cohort {earnings} FROM panel GROUP BY person_id)
        SELECT
          person.* {taken}, history.* EXCLUDE (person_id, cohort),
          CAST(cohort IS NOT NULL AS INTEGER) AS treat {levels}
        FROM person JOIN history USING (person_id)
        """
    )
    for name, stratum in strata.items():
        lost = con.sql(
            f"SELECT {sql_name(stratum.column)}, count(*) OVER () FROM person "
            f"WHERE {stratum.sql()} IS NULL ORDER BY 1 LIMIT 1"
        ).fetchall()
        if lost:
            raise DesignError(
                f"{lost[0][1]} person(s) have no level of {name!r}; the first has {stratum.column} = {lost[0][0]!r}. "
                "Give every value a label in study.toml, or leave these people out",
                public=f"some people have no level of {name}",
            )
    return con.table("baseline")
