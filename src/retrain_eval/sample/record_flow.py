"""Sample flow from the register to the candidates: people lost to refused rows, linkage and observation."""

from __future__ import annotations

import duckdb
import pandas as pd

from retrain_eval.common.sources import Source, as_relation, query, require_columns
from retrain_eval.common.sql import loaded
from retrain_eval.sample.matched import MatchedSample

_GROUPS = {True: "treated", False: "control"}


def people_left_out(con: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Return the people who are not in the study because a row of theirs was refused: ``group, reason, n``.

    Where ``[ingest] tolerate`` lets a load go on, a person with a refused row of a record type that decides treatment,
    displacement, linkage or observation is in no record type that a store shows. ``group`` is ``treated`` if the person
    has any enrolment, refused or not.

    Parameters
    ----------
    con : DuckDBPyConnection
        Connection of a store.

    Examples
    --------
    >>> con = duckdb.connect()
    >>> people_left_out(con).to_dict("list")
    {'group': [], 'reason': [], 'n': []}
    >>> _ = con.execute("CREATE TABLE left_out AS SELECT 'a' AS person_id, 'enrolment' AS resource, true AS enrolled")
    >>> people_left_out(con).to_dict("records")
    [{'group': 'treated', 'reason': 'a row of enrolment was refused', 'n': 1}]
    """
    if not loaded(con, "left_out"):
        return pd.DataFrame(columns=["group", "reason", "n"])
    found: pd.DataFrame = con.execute(
        "SELECT CASE WHEN enrolled THEN 'treated' ELSE 'control' END AS \"group\", "
        "'a row of ' || resource || ' was refused' AS reason, count(*) AS n FROM left_out GROUP BY ALL ORDER BY ALL"
    ).df()
    return found


def sample_flow(
    con: duckdb.DuckDBPyConnection,
    candidates: Source,
    sample: MatchedSample,
    reason: str = "earnings are unknown in a period that counts",
) -> pd.DataFrame:
    """Return the sample flow from the register to the people matched, with the reason for each loss.

    Parameters
    ----------
    con : DuckDBPyConnection
        Connection on which `retrain_eval.build_panel` has run.
    candidates : DuckDB relation, DataFrame, Arrow table or path
        The people given to ``match``, one row each, with ``person_id`` and ``treat``.
    sample : MatchedSample
        What it returned.
    reason : str
        Why people who were observed are not candidates.

    Returns
    -------
    DataFrame
        ``step, group, n, reason``. The steps are: everyone on the register; minus people with a refused row, one step
        per record type; minus people without a row in ``linkage``; minus people who were not linked; minus people who
        are observed in no period; the candidates; and the matched people. Steps that lose no one are omitted.

    Examples
    --------
    >>> from retrain_eval.sample.match import match
    >>> con = duckdb.connect()
    >>> _ = con.execute("CREATE TABLE person AS SELECT unnest(['a', 'b', 'c']) AS person_id")
    >>> _ = con.execute("CREATE TABLE enrolment AS SELECT 'a' AS person_id")
    >>> _ = con.execute("CREATE TABLE linkage AS SELECT unnest(['a', 'b']) AS person_id, 'linked' AS status")
    >>> _ = con.execute("CREATE TABLE panel AS SELECT unnest(['a', 'b', 'c']) AS person_id, 1.0 AS earnings")
    >>> people = pd.DataFrame({"person_id": ["a", "b"], "treat": [1, 0], "age": [30, 31]})
    >>> sample = match(people, "treat ~ age", unit="person_id", distance="age")
    >>> sample_flow(con, people, sample).query("group == 'control'")[["step", "n", "reason"]].values.tolist()[:2]
    [['On the register', 2, ''], ['Looked for in wage records', 1, 'no row of linkage says whether they were found']]
    """
    relation = as_relation(candidates, numbers="treat", keys="person_id")
    require_columns(relation, ["person_id", "treat"])
    chosen = query(relation, "SELECT person_id, CAST(treat AS INTEGER) AS treat FROM source").df()
    con.register("flow_candidates", chosen)
    steps = {"observed": ("Observed", "observed in no period")}
    cases = "WHEN seen.known = 0 THEN 'observed'"
    joins = (
        "LEFT JOIN (SELECT person_id, count(earnings) AS known FROM panel GROUP BY person_id) seen USING (person_id)"
    )
    if loaded(con, "linkage"):
        joins += (
            " LEFT JOIN (SELECT person_id, bool_or(status = 'linked') AS linked FROM linkage GROUP BY person_id) l "
            "USING (person_id)"
        )
        cases = "WHEN l.linked IS NULL THEN 'sought' WHEN NOT l.linked THEN 'linked' " + cases
        steps = {
            "sought": ("Looked for in wage records", "no row of linkage says whether they were found"),
            "linked": ("Linked", "not found in the wage records"),
        } | steps
    lost = con.execute(
        f"""
        SELECT coalesce(c.treat, CAST(p.person_id IN (SELECT person_id FROM enrolment) AS INTEGER)) = 1 AS treated,
          CASE WHEN c.person_id IS NOT NULL THEN 'candidate' {cases} ELSE 'other' END AS stopped, count(*) AS n
        FROM (SELECT person_id FROM person) p LEFT JOIN flow_candidates c USING (person_id) {joins} GROUP BY ALL
        """
    ).fetchall()
    con.unregister("flow_candidates")
    counts = {(_GROUPS[treated], stopped): n for treated, stopped, n in lost}
    left = people_left_out(con)
    for group, why, n in left[["group", "reason", "n"]].itertuples(index=False, name=None):
        counts[group, why] = n
    refused = {why: (f"Rows of {why.split()[3]} accepted", why) for why in sorted(set(left["reason"]))}
    remaining = {group: sum(n for (of, _), n in counts.items() if of == group) for group in _GROUPS.values()}
    rows = [("On the register", group, n, "") for group, n in remaining.items()]
    for stopped, (step, why) in (refused | steps).items():
        if any(counts.get((group, stopped)) for group in remaining):
            for group in remaining:
                remaining[group] -= counts.get((group, stopped), 0)
                rows.append((step, group, remaining[group], why))
    matched = sample.flow()
    first = matched["step"] == matched["step"].iloc[0]
    for group in remaining:
        if counts.get((group, "other")):
            matched.loc[first & (matched["group"] == group), "reason"] = reason
    return pd.concat([pd.DataFrame(rows, columns=list(matched.columns)), matched], ignore_index=True)
