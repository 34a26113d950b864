"""Whose rows were refused: what is unknown of a person because of them, and who leaves the study.

A tolerated row that was refused is no absent row. A refused wage record makes its person and period unknown, and all
periods where its period cannot be read. A refused row of a record type that decides treatment, displacement, linkage
or observation takes its person out of the study. Each refused row of a load is kept with its person, its period and as
much of its key as could be read, so that a later row with that key can supersede it like any other.
"""

from __future__ import annotations

from collections.abc import Collection

import duckdb

from retrain_eval.common.errors import InputError
from retrain_eval.common.sources import sql_name, sql_text
from retrain_eval.common.withholding import withhold_sql
from retrain_eval.records.loading.loads import Held, held, in_force, key_of
from retrain_eval.records.loading.staging import REFUSED, Staged
from retrain_eval.records.schema.table_schema import Package

DECIDES = ("person", "enrolment", "displacement", "linkage", "observation")
# of these no person is set apart: a refused row would change numbers of people that no one can name
STRICT = ("employer_link", "price", "cost")
ROWS, LEAVERS = "refused_row", "left_out"  # temporary tables of a store, for the vintage that it shows
_KEYS = ("primaryKey", "uniqueKeys", "foreignKeys")


def check_tolerable(con: duckdb.DuckDBPyConnection, staged: Staged) -> InputError | None:
    """Return the error for refused rows that cannot be tolerated, because it is not known whose numbers they change."""
    name = staged.resource.name
    if name in STRICT:
        error = InputError(
            f"a refused row of {name} changes numbers of people who cannot be told from others: tolerate does not "
            "cover it",
            file=staged.raw.path,
            fix="correct or delete the refused rows",
        )
        return error
    if name not in DECIDES[1:] or "person_id" not in staged.resource.columns:
        return None
    broken = f"SELECT DISTINCT record FROM {REFUSED} WHERE staged = {staged.number}"
    [(count,)] = con.execute(
        f"SELECT count(*) FROM {staged.table} s JOIN ({broken}) r ON s._record = r.record "
        "WHERE s.person_id IS NULL OR s._ragged"
    ).fetchall()
    if not count:
        return None
    return InputError(
        f"{count:,} refused rows of {name} name no person that could be read: who has to leave the study is not known, "
        "and tolerate does not cover them",
        file=staged.raw.path,
        column="person_id",
        fix="correct these rows, or delete them",
    )


def keep(con: duckdb.DuckDBPyConnection, staged: Staged, load_id: int) -> None:
    """Keep the refused rows of a load, inside the caller's transaction; no identifier stands in it that may not."""
    resource = staged.resource
    alone = ", ".join(map(sql_text, _KEYS))

    def text(column: str) -> str:
        value = f"CAST(s.{sql_name(column)} AS VARCHAR)"
        if resource.field(column).type == "string":
            return withhold_sql(f"trim(regexp_replace({value}, '\\s+', ' ', 'g'))")
        return f"CASE WHEN NOT s._ragged AND NOT list_contains(r.broken, {sql_text(column)}) THEN {value} END"

    columns = dict.fromkeys((*key_of(resource), *(c for c in ("person_id", "period") if c in resource.columns)))
    values = {column: text(column) for column in columns}
    person, period = values.get("person_id", "NULL"), values.get("period", "NULL")
    key = ", ".join(f"{sql_text(column)}: {values[column]}" for column in key_of(resource))
    con.execute(
        f"""
        INSERT INTO archive.refused
        SELECT {sql_text(resource.name)}, {load_id}, s._record, {person}, TRY_CAST({period} AS INTEGER), MAP {{{key}}}
        FROM {staged.table} s JOIN (
          SELECT record, coalesce(list("column") FILTER (rule NOT IN ({alone})), []) AS broken
          FROM {REFUSED} WHERE staged = {staged.number} GROUP BY record
        ) r ON s._record = r.record
        """
    )


def supersede(con: duckdb.DuckDBPyConnection, staged: Staged, load_id: int, files: Collection[Held]) -> None:
    """Let the rows of a load take the place of refused rows with their keys, inside the caller's transaction."""
    key, name = key_of(staged.resource), staged.resource.name
    ids = ", ".join(str(file.id) for file in files if file.rows_rejected)
    if not key or not ids:
        return
    same = " AND ".join(
        f"r.key[{sql_text(column)}] IS NOT DISTINCT FROM CAST(s.{sql_name(column)} AS VARCHAR)" for column in key
    )
    con.execute(
        f"INSERT INTO archive.superseded SELECT r.resource, r._load, r._record, {load_id} FROM archive.refused r "
        f"SEMI JOIN ({staged.rows()}) s ON {same} WHERE r.resource = {sql_text(name)} AND r._load IN ({ids})"
    )


def known(con: duckdb.DuckDBPyConnection, file: Held) -> bool:
    """Return whether the store knows whose rows of a load were refused; loads of earlier versions do not say."""
    if not file.rows_rejected:
        return True
    if not _exists(con):
        return False
    found = con.execute("SELECT count(*) FROM archive.refused WHERE _load = $1", [file.id]).fetchall()
    return bool(found == [(file.rows_rejected,)])


def show(con: duckdb.DuckDBPyConnection, package: Package, names: Collection[str], vintage: int) -> bool:
    """Make the temporary tables of refused rows in force at a vintage, and of people who leave the study.

    ``refused_row`` has ``resource, person_id, period, key``; ``left_out`` has ``person_id, resource`` (the first record
    type with a refused row of theirs) and ``enrolled`` (whether there is any enrolment of theirs, refused or not). Both
    are there only if there are such rows; whether anybody leaves is returned.
    """
    con.execute(f"DROP TABLE IF EXISTS temp.{LEAVERS}; DROP TABLE IF EXISTS temp.{ROWS}")
    if not _exists(con):
        return False
    parts = []
    for name in names:
        files = held(con, name, vintage)
        if any(file.rows_rejected for file in files):
            parts.append(
                f"SELECT r.resource, r.person_id, r.period, r.key FROM archive.refused r ANTI JOIN (FROM "
                f"archive.superseded WHERE by_load <= {files[-1].id}) s "
                "ON r.resource = s.resource AND r._load = s._load AND r._record = s._record "
                f"WHERE r.resource = {sql_text(name)} AND r._load BETWEEN {files[0].id} AND {files[-1].id}"
            )
    if not parts:
        return False
    con.execute(f"CREATE TEMP TABLE {ROWS} AS {' UNION ALL '.join(parts)}")
    people = in_force(con, package["person"], vintage) if "person" in names else None
    if people is None:
        return False
    enrolled = f"SELECT person_id FROM {ROWS} WHERE resource = 'enrolment'"
    accepted = in_force(con, package["enrolment"], vintage) if "enrolment" in names else None
    if accepted is not None:
        enrolled += f" UNION ALL SELECT person_id FROM ({accepted})"
    deciding = ", ".join(map(sql_text, DECIDES))
    con.execute(
        f"""
        CREATE TEMP TABLE {LEAVERS} AS
        SELECT person_id, arg_min(resource, list_position([{deciding}], resource)) AS resource,
          person_id IN (SELECT person_id FROM ({enrolled}) WHERE person_id IS NOT NULL) AS enrolled
        FROM {ROWS} WHERE resource IN ({deciding}) AND person_id IS NOT NULL
          AND (resource = 'person' OR person_id IN (SELECT person_id FROM ({people})))
        GROUP BY person_id
        """
    )
    if con.execute(f"SELECT count(*) FROM {LEAVERS}").fetchall() == [(0,)]:
        con.execute(f"DROP TABLE temp.{LEAVERS}")
        return False
    return True


def say(con: duckdb.DuckDBPyConnection, names: Collection[str], vintage: int) -> list[str]:
    """Return lines on what is unknown at the vintage that is shown, by refused rows or without a row of linkage."""
    lines = []
    have = {name for (name,) in con.execute("SELECT table_name FROM duckdb_tables() WHERE temporary").fetchall()}
    if LEAVERS in have:
        found = con.execute(f"SELECT resource, count(*) FROM {LEAVERS} GROUP BY ALL ORDER BY ALL").fetchall()
        why = ", ".join(f"{count:,} with a refused row of {name}" for name, count in found)
        lines.append(f"people who leave the study: {sum(count for _, count in found):,} ({why})")
    if ROWS in have:
        wages = f"{ROWS} r WHERE resource = 'wage_record'"
        mine = f"{wages} AND EXISTS (FROM person p WHERE p.person_id = r.person_id)" if "person" in names else wages
        periods, always = con.execute(
            "SELECT count(DISTINCT (person_id, period)) FILTER (period IS NOT NULL), count(DISTINCT person_id) FILTER "
            f"(period IS NULL) FROM {mine}"
        ).fetchall()[0]
        [(nameless,)] = con.execute(f"SELECT count(*) FROM {wages} AND person_id IS NULL").fetchall()
        if periods or always:
            lines.append(
                f"person-periods that are unknown because a wage record was refused: {periods:,}"
                + (f", and every period of {always:,} people (the period of the row could not be read)" * bool(always))
            )
        if nameless:
            lines.append(
                f"refused wage records that name no person that could be read, so count for no one: {nameless:,}"
            )
    if {"person", "linkage"} <= set(names) and held(con, "linkage", vintage):
        [(unsought,)] = con.execute("SELECT count(*) FROM person ANTI JOIN linkage USING (person_id)").fetchall()
        if unsought:
            lines.append(f"people without a row of linkage, whose periods are unknown: {unsought:,}")
    for name in names:
        lost = sum(file.rows_rejected for file in held(con, name, vintage) if not known(con, file))
        if lost:
            lines.append(
                f"{lost:,} refused rows of {name} were loaded by an earlier version, which did not keep whose they "
                "were: they count as absent"
            )
    return lines


def _exists(con: duckdb.DuckDBPyConnection) -> bool:
    found = con.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'archive' AND table_name = 'refused'"
    ).fetchall()
    return bool(found != [(0,)])
