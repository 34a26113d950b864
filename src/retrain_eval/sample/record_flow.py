"""Sample flow from the register to the candidates: people lost to refused rows, linkage and observation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd

from retrain_eval.common.sources import Source, as_relation, query, require_columns
from retrain_eval.common.sql import loaded
from retrain_eval.sample.composition import sets_of_groups
from retrain_eval.sample.matched import MatchedSample
from retrain_eval.tables.counts import SampleCounts
from retrain_eval.tables.noise.cell_keys import N_SUMS, CellKeys
from retrain_eval.tables.noise.person_keys import PRIME, has_keys
from retrain_eval.tables.noise.sums import key_sum_sql, powers_sql, sketch_sql

REASON = "earnings are unknown in a period that counts"
_SUMS, _NO_SUMS = f"{key_sum_sql()} AS key, {sketch_sql()} AS sketch", "0 AS key, NULL AS sketch"
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
    reason: str = REASON,
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
        are observed in no period; the candidates; and the matched people. Steps that lose no one are omitted. It
        cannot be protected: `count_sample_flow` can.

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
    return _counted(con, candidates, sample, reason, None)[0]


def count_sample_flow(
    con: duckdb.DuckDBPyConnection,
    candidates: Source,
    sample: MatchedSample,
    reason: str = REASON,
    *,
    keyed: Callable[[duckdb.DuckDBPyRelation], duckdb.DuckDBPyRelation],
) -> SampleCounts:
    """Return the counts that `sample_flow` prints, with the keys of the people counted, so that they can be released.

    Parameters
    ----------
    con, candidates, sample, reason
        As in `sample_flow`.
    keyed : callable
        Gives rows with ``person_id`` the keys of their people: ``run.keyed``.

    Raises
    ------
    InputError
        If ``keyed`` gives keys and the sample was drawn from people without them.

    Examples
    --------
    In a study's ``run.py``::

        run.publish("flow", rte.count_sample_flow(con, people, sample, keyed=run.keyed))
    """
    frame, of = _counted(con, candidates, sample, reason, keyed)
    if of is None:
        return SampleCounts.of("flow", frame)
    return SampleCounts.of("flow", frame, keys={"n": of.key}, sketches={"n": of.rows})


def _counted(
    con: duckdb.DuckDBPyConnection,
    candidates: Source,
    sample: MatchedSample,
    reason: str,
    keyed: Callable[[duckdb.DuckDBPyRelation], duckdb.DuckDBPyRelation] | None,
) -> tuple[pd.DataFrame, CellKeys | None]:
    """Return the flow and, if the register has keys, the keys and sketches of the people at each step."""
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
    register = con.sql("SELECT person_id FROM person")
    register = register if keyed is None else keyed(register)
    of_key = has_keys(register)
    source = powers_sql("source") if of_key else "source"
    lost = query(
        register,
        f"""
        SELECT coalesce(c.treat, CAST(p.person_id IN (SELECT person_id FROM enrolment) AS INTEGER)) = 1 AS treated,
          CASE WHEN c.person_id IS NOT NULL THEN 'candidate' {cases} ELSE 'other' END AS stopped, count(*) AS n,
          {_SUMS if of_key else _NO_SUMS}
        FROM {source} p LEFT JOIN flow_candidates c USING (person_id) {joins} GROUP BY ALL
        """,
    ).fetchall()
    con.unregister("flow_candidates")
    counts = {(_GROUPS[treated], stopped): _sums(*sums) for treated, stopped, *sums in lost}
    left = _left_out(con, keyed)
    for group, why, *sums in left:
        counts[group, why] = _sums(*sums)
    refused = {why: (f"Rows of {why.split()[3]} accepted", why) for why in sorted({why for _, why, *_ in left})}
    none = _sums(0, 0, None)
    remaining = {group: sum((c for (of, _), c in counts.items() if of == group), none) for group in _GROUPS.values()}
    rows = [("On the register", group, n[0], "") for group, n in remaining.items()]
    of_steps = list(remaining.values())
    for stopped, (step, why) in (refused | steps).items():
        if any((group, stopped) in counts for group in remaining):
            for group in remaining:
                remaining[group] = remaining[group] - counts.get((group, stopped), none)
                rows.append((step, group, remaining[group][0], why))
                of_steps.append(remaining[group])
    matched = sample.flow()
    first = matched["step"] == matched["step"].iloc[0]
    for group in remaining:
        if (group, "other") in counts:
            matched.loc[first & (matched["group"] == group), "reason"] = reason
    before = pd.DataFrame(rows, columns=["step", "group", "n", "reason"]).astype({"n": "int64"})
    found = pd.concat([before[list(matched.columns)], matched], ignore_index=True)
    if not of_key:
        return found, None
    of_sample = sets_of_groups(sample)
    keys = np.array([int(sums[1]) % 2**64 for sums in of_steps], dtype=np.uint64)
    sketches = np.array([[int(term) % PRIME for term in sums[2:]] for sums in of_steps], dtype=np.int64)
    matched_sets = [of_sample[name] for name in ("treated", "control before", "treated matched", "control matched")]
    return found, CellKeys.stacked([CellKeys(keys, sketches, sketches), *matched_sets])


def _sums(n: int, key: int, sketch: Sequence[int] | None) -> npt.NDArray[np.object_]:
    """Return the number of people, their key and their sketch as whole numbers of any size, which can be added."""
    return np.array([n, key, *(sketch or [0] * N_SUMS)], dtype=object)


def _left_out(
    con: duckdb.DuckDBPyConnection, keyed: Callable[[duckdb.DuckDBPyRelation], duckdb.DuckDBPyRelation] | None
) -> list[tuple[Any, ...]]:
    """Return group, reason, number, key and sketch of the people who are not in the study; see `people_left_out`."""
    if not loaded(con, "left_out"):
        return []
    rows = con.table("left_out")
    rows = rows if keyed is None else keyed(rows)
    sums, source = (_SUMS, powers_sql("source")) if has_keys(rows) else (_NO_SUMS, "source")
    return query(
        rows,
        "SELECT CASE WHEN enrolled THEN 'treated' ELSE 'control' END AS \"group\", "
        f"'a row of ' || resource || ' was refused' AS reason, count(*), {sums} "
        f"FROM {source} GROUP BY ALL ORDER BY 1, 2",
    ).fetchall()
