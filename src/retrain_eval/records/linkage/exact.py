"""Deterministic linkage: equal identifiers, in ordered passes, and only where they are unique."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pandas as pd

from retrain_eval.common.errors import InputError
from retrain_eval.common.sources import sql_name, sql_text
from retrain_eval.common.sql import scratch
from retrain_eval.records.linkage.normal import normalise

SEVERAL_RECORDS = "several records agree"
SEVERAL_PEOPLE = "several people share these identifiers"
TAKEN = "the only record that agrees is linked already"
NOTHING = "no record agrees"
INCOMPLETE = "identifiers are missing"


@dataclass(frozen=True, eq=False)
class Linkage:
    """Who was found in a register, and why the others were not.

    Attributes
    ----------
    links : DuckDBPyRelation
        ``person_id, record_id, step, rule, score, disagrees``: one row per link, a person and a record once at most.
        ``step`` numbers the pass from 1, and ``rule`` names it; ``score`` is the probability of a match, NULL where
        linkage is exact; ``disagrees`` lists other identifiers that both have and that differ.
    unresolved : DuckDBPyRelation
        ``person_id, status, reason, n_candidates``: everybody else, ``ambiguous`` or ``unlinked``.
    steps : DataFrame
        One row per pass: ``step, rule, n_complete`` (people with every identifier of it), ``n_linked,
        n_ambiguous`` (not linked in this pass or a later one), ``n_disagreeing`` (links with another identifier
        that differs).

    Notes
    -----
    Both relations are temporary tables of the connection.
    """

    links: duckdb.DuckDBPyRelation
    unresolved: duckdb.DuckDBPyRelation
    steps: pd.DataFrame
    _con: duckdb.DuckDBPyConnection
    _tables: tuple[str, str]

    def __repr__(self) -> str:
        """Return how many were linked in which pass; who they are is in ``links`` and ``unresolved``."""
        passes = ", ".join(f"{rule}: {n}" for rule, n in zip(self.steps["rule"], self.steps["n_linked"], strict=True))
        return f"Linkage of {int(self.steps['n_linked'].sum())} people by {len(self.steps)} pass(es) ({passes})"

    def records(self, source: str) -> duckdb.DuckDBPyRelation:
        """Return everybody as records of the type ``linkage``: ``person_id, source, status, score``.

        Parameters
        ----------
        source : str
            The register, named as in the coverage records.
        """
        links, rest = self._tables
        return self._con.sql(
            f"SELECT CAST(person_id AS VARCHAR) AS person_id, {sql_text(source)} AS source, 'linked' AS status, score "
            f"FROM {links} UNION ALL SELECT CAST(person_id AS VARCHAR), {sql_text(source)}, status, NULL FROM {rest} "
            "ORDER BY person_id ASC"
        )


def link_exactly(
    con: duckdb.DuckDBPyConnection,
    people: str,
    records: str,
    passes: Mapping[str, Mapping[str, str]],
    *,
    person: str = "person_id",
    record: str = "record_id",
    missing: Sequence[str] = (),
) -> Linkage:
    """Link people to the records that agree with them in every identifier of a pass, if it is one to one.

    Parameters
    ----------
    con : DuckDBPyConnection
        Where both registers are.
    people, records : str
        Tables or views with one row per person; identifiers have the same names in both.
    passes : mapping
        Name of a pass → its identifiers, field → normal form, tried in order: ``{"identifier": {"id_hash": "exact"},
        "name and birth date": {"surname": "name", "given_name": "name", "birth_date": "date"}}``. Forms: ``exact``;
        ``identifier`` (letters and digits only, capitals); ``name`` (letters only, without accents,
        capitals); ``date``.
    person, record : str
        Keys of the two registers.
    missing : sequence of str
        Values, in normal form, that stand for no value.

    Returns
    -------
    Linkage

    Raises
    ------
    InputError
        If a table, column or normal form does not exist, a key is missing or repeated, a date cannot be read, or a
        field has two normal forms.

    Notes
    -----
    A pass links a person whom no earlier pass has linked, if all its identifiers are there and, over the whole of both
    registers, they belong to this person and to one record only, which is not linked yet. That others who share them
    are linked already does not make them unique: they may be duplicates of one person.

    Examples
    --------
    >>> con = duckdb.connect()
    >>> con.execute("CREATE TABLE trainee AS FROM (VALUES (1, '12-34', 'Ann Lee'), (2, NULL, 'Bo Ray'), "
    ...             "(3, '9', 'Cy')) t(person_id, tax_id, name)") and None
    >>> con.execute("CREATE TABLE payroll AS FROM (VALUES (70, '1234', 'ANN  LEE'), (71, '55', 'bo ray')) "
    ...             "t(record_id, tax_id, name)") and None
    >>> found = link_exactly(con, "trainee", "payroll", {"id": {"tax_id": "identifier"}, "name": {"name": "name"}})
    >>> found.links.fetchall()
    [(1, 70, 1, 'id', None, ''), (2, 71, 2, 'name', None, '')]
    >>> found.unresolved.fetchall()
    [(3, 'unlinked', 'no record agrees', 0)]
    """
    forms = _forms(passes)
    complete = {name: " AND ".join(f"{sql_name(f)} IS NOT NULL" for f in fields) for name, fields in passes.items()}
    with scratch(con) as tables:
        left, right, links, tried, rest, seen = (tables.name("link") for _ in range(6))
        normalise(con, people, person, forms, missing, left)
        normalise(con, records, record, forms, missing, right)
        kinds = [str(con.table(table).types[0]) for table in (left, right)]
        con.execute(
            f"CREATE TEMP TABLE {links} (person_id {kinds[0]}, record_id {kinds[1]}, step INTEGER, rule VARCHAR, score "
            "DOUBLE, disagrees VARCHAR)"
        )
        con.execute(f"CREATE TEMP TABLE {tried} (id {kinds[0]}, step INTEGER, reason VARCHAR, n_candidates BIGINT)")
        for step, (name, fields) in enumerate(passes.items(), start=1):
            others = [field for field in forms if field not in fields]
            _run_pass(con, (left, right, links, tried, seen), step, name, list(fields), others, complete[name])
        anything = " OR ".join(f"({condition})" for condition in complete.values())
        con.execute(
            f"""
            CREATE TEMP TABLE {rest} AS
            WITH first AS (
              SELECT id, min_by(reason, step) AS reason, min_by(n_candidates, step) AS n_candidates FROM {tried}
              GROUP BY id
            )
            SELECT p.id AS person_id, CASE WHEN f.id IS NULL THEN 'unlinked' ELSE 'ambiguous' END AS status,
              coalesce(f.reason, CASE WHEN {anything} THEN {sql_text(NOTHING)} ELSE {sql_text(INCOMPLETE)} END)
                AS reason,
              coalesce(f.n_candidates, 0) AS n_candidates
            FROM {left} p LEFT JOIN first f ON f.id = p.id
            WHERE NOT EXISTS (FROM {links} k WHERE k.person_id = p.id)
            """
        )
        steps = _count_steps(con, (left, links, tried), complete)
        tables.keep(links, rest)
    return Linkage(
        links=con.sql(f"FROM {links} ORDER BY person_id ASC"),
        unresolved=con.sql(f"FROM {rest} ORDER BY person_id ASC"),
        steps=steps,
        _con=con,
        _tables=(links, rest),
    )


def _forms(passes: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    if not passes:
        raise InputError("no pass to link by", column="passes", fix='such as {"identifier": {"id_hash": "exact"}}')
    forms: dict[str, str] = {}
    for name, fields in passes.items():
        if not fields:
            raise InputError("a pass needs an identifier", column="passes", value=name)
        for field, form in fields.items():
            if forms.setdefault(field, form) != form:
                raise InputError(
                    f"{field!r} has two normal forms, {forms[field]!r} and {form!r}",
                    column="passes",
                    value=name,
                    fix="give it one, or add the other as a column of its own",
                )
    return forms


def _run_pass(
    con: duckdb.DuckDBPyConnection,
    tables: tuple[str, str, str, str, str],
    step: int,
    name: str,
    fields: list[str],
    others: list[str],
    complete: str,
) -> None:
    """Link what is one to one in this pass, and note whom it found several candidates for."""
    left, right, links, tried, seen = tables
    key = ", ".join(map(sql_name, fields))
    differ = "".join(
        f" || CASE WHEN p.{f} <> r.{f} THEN {sql_text(', ' + field)} ELSE '' END"
        for field, f in ((field, sql_name(field)) for field in others)
    )
    alone = "n_people = 1 AND n_records = 1 AND NOT taken"
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {seen} AS
        WITH l AS (SELECT {key}, count(*) AS n_people FROM {left} WHERE {complete} GROUP BY {key}),
        r AS (SELECT {key}, count(*) AS n_records, min(id) AS record FROM {right} WHERE {complete} GROUP BY {key})
        SELECT p.id, n_people, n_records, record, k.record_id IS NOT NULL AS taken
        FROM {left} p JOIN l USING ({key}) JOIN r USING ({key}) LEFT JOIN {links} k ON k.record_id = r.record
        WHERE NOT EXISTS (FROM {links} k WHERE k.person_id = p.id)
        """
    )
    con.execute(
        f"INSERT INTO {links} SELECT p.id, r.id, {step}, {sql_text(name)}, NULL, substr(''{differ}, 3) FROM {seen} s "
        f"JOIN {left} p ON p.id = s.id JOIN {right} r ON r.id = s.record WHERE {alone}"
    )
    con.execute(
        f"INSERT INTO {tried} SELECT id, {step}, CASE WHEN n_records > 1 THEN {sql_text(SEVERAL_RECORDS)} "
        f"WHEN n_people > 1 THEN {sql_text(SEVERAL_PEOPLE)} ELSE {sql_text(TAKEN)} END, n_records FROM {seen} "
        f"WHERE NOT ({alone})"
    )


def _count_steps(
    con: duckdb.DuckDBPyConnection, tables: tuple[str, str, str], complete: Mapping[str, str]
) -> pd.DataFrame:
    left, links, tried = tables
    rows = []
    for step, (name, condition) in enumerate(complete.items(), start=1):
        counts = con.execute(
            f"""
            SELECT (SELECT count(*) FROM {left} WHERE {condition}),
              (SELECT count(*) FROM {links} WHERE step = {step}),
              (SELECT count(*) FROM {tried} t WHERE step = {step}
                AND NOT EXISTS (FROM {links} k WHERE k.person_id = t.id)),
              (SELECT count(*) FROM {links} WHERE step = {step} AND disagrees <> '')
            """
        ).fetchall()[0]
        rows.append((step, name, *counts))
    columns = ["step", "rule", "n_complete", "n_linked", "n_ambiguous", "n_disagreeing"]
    return pd.DataFrame(rows, columns=columns)
