"""What layouts made of raw files: reported before anything is stored, and kept as control totals in ``imports``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

import duckdb

from retrain_eval.common.sources import sql_name
from retrain_eval.records.layouts.account import counted
from retrain_eval.records.layouts.delivery import LayoutDelivery
from retrain_eval.records.loading import loads
from retrain_eval.records.loading.staging import REFUSED, REPEATED, Staged
from retrain_eval.records.schema.resource import Resource


def before(
    con: duckdb.DuckDBPyConnection, resource: Resource, vintage: int, batch: Sequence[Staged], *, update: bool
) -> str | None:
    """Return SQL for the records of earlier deliveries; a later one has a higher ``_place``. None if there are none."""
    mine = [one for one in batch if one.resource.name == resource.name]
    parts = [f"SELECT *, {one.number + 1} AS _place FROM ({one.rows()})" for one in mine]
    if update and (not mine or mine[0].update):
        held = loads.in_force(con, resource, vintage)
        parts += [] if held is None else [f"SELECT *, 0 AS _place FROM ({held})"]
    return " UNION ALL BY NAME ".join(parts) or None


def report(con: duckdb.DuckDBPyConnection, batch: Sequence[Staged], refused: Mapping[int, int]) -> Iterator[str]:
    """Yield what became of each raw file: fields not found, codes, rows dropped, netted, refused and to be stored."""
    said: set[int] = set()
    for one in batch:
        raw = one.raw
        if not isinstance(raw, LayoutDelivery) or raw.account is None or raw.making is None:
            continue
        source = raw.origin
        if source.number not in said:
            said.add(source.number)
            layout, found = source.layout, source.found
            yield f"{raw.path.name}, source {source.name}, layout {layout.name}: {counted(source.raw.rows, 'rows')}"
            absent = found.absent
            yield f"  {len(layout.fields) - len(absent)} of {len(layout.fields)} fields found" + (
                f"; not found: {', '.join(absent)}" if absent else "")  # fmt: skip
            if found.unread:
                shown = ", ".join(found.unread[:12]) + (" …" if len(found.unread) > 12 else "")
                yield f"  {counted(len(found.unread), 'columns that the layout does not read')}: {shown}"
        yield f"  {one.resource.name}:"
        for line in raw.recoded:
            yield f"    {line}"
        for line in raw.account.lines():
            yield f"    {line}"
        if raw.account.is_of_strangers:
            yield "    note: no row is of a person of the study; is it the same identifier? a crosswalk translates it"
        stored, of_stored, of_refused, copies = totals(con, one)
        has = raw.account.has_money
        yield (f"    = {stored:,} to be stored" + (f" ({of_stored:,.2f})" if has else "")
               + f" + {refused.get(one.number, 0):,} refused" + (f" ({of_refused:,.2f})" if has else "")
               + (f" + {counted(copies, 'exact duplicates')}" if copies else ""))  # fmt: skip


def totals(con: duckdb.DuckDBPyConnection, staged: Staged) -> tuple[int, Decimal, Decimal, int]:
    """Return records to be stored, their money, the money of refused ones that can be read, and exact duplicates."""
    amount = money_of(staged)
    refused = f"SELECT record FROM {REFUSED} WHERE staged = {staged.number}"
    repeated = f"SELECT record FROM {REPEATED} WHERE staged = {staged.number}"
    return _as_totals(con.execute(
        f"SELECT count(*) FILTER (NOT r AND NOT d), coalesce(sum({amount}) FILTER (NOT r AND NOT d), 0), "
        f"coalesce(sum({amount}) FILTER (r), 0), count(*) FILTER (d) FROM (SELECT *, _record IN ({refused}) AS r, "
        f"_record IN ({repeated}) AS d FROM {staged.table})"
    ).fetchall()[0])  # fmt: skip


def _as_totals(row: tuple[object, ...]) -> tuple[int, Decimal, Decimal, int]:
    return int(str(row[0])), Decimal(str(row[1])), Decimal(str(row[2])), int(str(row[3]))


def money_of(staged: Staged) -> str:
    """Return the column of a record type that its layout counts as money, or zero."""
    raw = staged.raw
    if not isinstance(raw, LayoutDelivery):
        return "0"
    rule = raw.origin.layout.records[raw.record]
    if rule.netting is not None:
        return sql_name(rule.netting.amount)
    return sql_name(rule.splitting.amount) if rule.splitting is not None else "0"


def enter(con: duckdb.DuckDBPyConnection, staged: Staged, load_id: int, refused: int) -> None:
    """Keep the control totals of a raw file, inside the caller's transaction."""
    raw = staged.raw
    if not isinstance(raw, LayoutDelivery) or raw.account is None:
        return
    stored, of_stored, of_refused, copies = totals(con, staged)
    facts = [*raw.account.facts(), ("stored", stored, of_stored), ("refused", refused, of_refused)]
    facts += [("exact duplicates among records", copies, Decimal(0))] if copies else []
    source = raw.origin
    for place, (what, records, money) in enumerate(facts):
        con.execute(
            "INSERT INTO imports VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            [load_id, source.name, source.layout.name, source.raw.sha256, place, what, records, money],
        )
