"""What a layout makes of a raw file, as a delivery that is validated, vintaged and superseded like any other.

Its lines are those of the raw file, and so are the file and the fields that refusals name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import duckdb

from retrain_eval.common.arrays import Ints
from retrain_eval.common.errors import InputError
from retrain_eval.common.shown import summarised
from retrain_eval.common.sql import sql_name, sql_text
from retrain_eval.common.text.raw_file import RawFile
from retrain_eval.records.layouts.account import Account, account_of
from retrain_eval.records.layouts.library import fields_of
from retrain_eval.records.layouts.netting import NettingSteps
from retrain_eval.records.layouts.rules import NO_FAULT, may_show
from retrain_eval.records.layouts.source import SourceFile
from retrain_eval.records.layouts.splitting import SplittingSteps
from retrain_eval.records.layouts.steps import (
    KEPT,
    KNOWN,
    PEOPLE,
    RAGGED,
    ROWS,
    LayoutSteps,
    Making,
    fault_name,
    multiplier,
)
from retrain_eval.records.schema.dictionary import Check, Reading, typed, withheld_fields
from retrain_eval.records.schema.resource import Resource

RECORDS = "_layout_records"
_UNREAD = "_unread"


@summarised
@dataclass(frozen=True)
class LayoutDelivery(RawFile):
    """The records of one type that a layout makes of one raw file.

    Attributes
    ----------
    source : SourceFile
        The raw file and its layout.
    record : str
        The record type.
    making : Making, optional
        What was compiled, once `made` has run.
    account : Account, optional
        What became of the rows.
    recoded : tuple of str
        How often each code occurs, and what it became.
    """

    source: SourceFile | None = None
    record: str = ""
    making: Making | None = field(default=None, repr=False)
    account: Account | None = None
    recoded: tuple[str, ...] = ()

    @classmethod
    def of(cls, source: SourceFile, record: str, people: str = "") -> LayoutDelivery:
        """Return the delivery of a record type; ``people`` stands for the people that its rows are filtered to.

        Its hash is of the file, the layout with its options, the crosswalk and the people: when one of them changes, so
        may the records, and the file is read again.
        """
        rule = source.layout.records[record]
        columns = list(rule.columns)
        if rule.splitting is not None:
            columns += [rule.splitting.period, rule.splitting.amount]
        parts = (source.raw.sha256, source.identity, record, people if rule.people else "")
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return cls(source.raw.path, digest, tuple(columns), 0, ",", (), False, (0, 0), source=source, record=record)

    @property
    def origin(self) -> SourceFile:
        """The raw file and its layout."""
        assert self.source is not None
        return self.source

    def sql(self, _native: object = ()) -> str:
        """Return SQL for the records as text."""
        names = ", ".join(map(sql_name, (*self.columns, *self.hidden)))
        return f"SELECT _record, {RAGGED} AS _ragged, {names} FROM {RECORDS}"

    def lines(self, records: Ints) -> Ints:
        """Return the line of the raw file behind each record."""
        assert self.making is not None
        return self.origin.raw.lines(records // multiplier(self.making))

    def check_unchanged(self) -> None:
        """Raise ``InputError`` if the raw file was written to since it was opened."""
        self.origin.raw.check_unchanged()

    def parse_error(self, error: duckdb.Error) -> InputError | None:
        """Return the error for a raw file that cannot be read to its end; None if the file is not to blame."""
        return self.origin.raw.parse_error(error)

    @property
    def ragged_rule(self) -> str:
        """What a row with other fields than the header breaks."""
        raw = self.origin.raw
        return (
            "the line is too short"
            if raw.fixed_width
            else f"the row must have {len(raw.columns)} fields, as the header has"
        )

    def made(
        self,
        con: duckdb.DuckDBPyConnection,
        resource: Resource,
        reading: Reading,
        before: str | None,
        people: str | None,
    ) -> LayoutDelivery:
        """Run the layout and return the delivery with its records counted.

        Parameters
        ----------
        con : DuckDBPyConnection
            The store.
        resource : Resource
            The record type.
        reading : Reading
            What periods are, and whether identifiers are hashed.
        before : str, optional
            SQL for the records of earlier deliveries, with ``_place``.
        people : str, optional
            SQL for the people of the study.

        Raises
        ------
        InputError
            If the file cannot be read to its end, or the layout filters to people and the study has none.
        """
        source, rule = self.origin, self.origin.layout.records[self.record]
        if rule.people:
            if people is None:
                raise InputError(f"the layout {source.layout.name} keeps only people of the study, and there are none",
                                 file=self.path, fix="name a source of person in study.toml")  # fmt: skip
            con.execute(f"CREATE OR REPLACE TEMP TABLE {PEOPLE} AS SELECT DISTINCT person_id FROM ({people})")
        steps: NettingSteps | SplittingSteps | None = None
        key = resource.primary_key or (resource.unique_keys[0] if resource.unique_keys else ())
        try:
            making = source.making(con, self.record, resource, reading)
            LayoutSteps(making).build(con)
            if before is not None and rule.known == "keep" and key:
                _drop_known(con, making, resource, reading, key, before)
            if rule.netting is not None:
                keys = {name: _typed(resource, reading, name, making) for name in key}
                empty = f"SELECT {', '.join(f'NULL::{_sql_type(resource, name)} AS {sql_name(name)}' for name in key)}"
                none = f"{empty}, NULL::DECIMAL(12,2) AS {sql_name(rule.netting.amount)}, 0 AS _place WHERE false"
                steps = NettingSteps(making, rule.netting, keys, before or none)
            elif rule.splitting is not None:
                steps = SplittingSteps(making, rule.splitting)
            if steps is not None:
                steps.build(con)
            rows = steps.records() if steps is not None else f"SELECT * FROM {ROWS} WHERE _drop = {KEPT}"
            unread = " OR ".join(["false", *(f"{name} IS NOT NULL" for name in _faults(making, steps))])
            con.execute(f"CREATE OR REPLACE TEMP VIEW {RECORDS} AS SELECT *, {unread} AS {_UNREAD} FROM ({rows})")
            account = account_of(con, making, steps, RECORDS)
            recoded = tuple(source.recoded(con, making))
        except duckdb.Error as error:
            raise self.parse_error(error) or error from None  # the engine quotes the line
        account.check(self.path)
        hidden = (*(name.strip('"') for name in _faults(making, steps)), _UNREAD)
        return replace(self, rows=account.records.rows, making=making, account=account, recoded=recoded, hidden=hidden)

    def checks(self, resource: Resource, rules: Sequence[Check]) -> list[Check]:
        """Return the rules of a record type with those of the layout before them.

        Of a row with a field that cannot be read, only that is refused. Each message names the field of the raw file.
        """
        assert self.making is not None
        found, secret, layout = [], withheld_fields(resource), self.origin.layout
        for name in self.making.columns:
            if f"_fault_{name}" not in self.hidden:
                continue
            fault, fields = fault_name(name), self.making.fields_behind(name)
            hidden = name in secret or not may_show(fields, layout.fields)
            shown = sql_text("(withheld)") if hidden and name != self.making.columns[0] else fault
            if name == self.making.columns[0] and hidden:
                shown = f"CASE WHEN {fault} = 'not in the crosswalk' THEN {fault} ELSE '(withheld)' END"
            words = f"cannot be read as the layout {layout.name} says: {self._where(fields)}"
            found.append(Check("layout", name, f"{fault} IS NOT NULL", words, shown, True))
        for check in rules:
            named = [name for name in check.column.split(", ") if name in self.making.columns]
            where = self._where([field for name in named for field in fields_of(self.making.rule.columns[name])])
            message = f"{check.message} ({where})" if where else check.message
            condition = f"NOT {_UNREAD} AND ({check.condition})"
            found.append(check._replace(message=message, condition=condition))
        return found

    def _where(self, fields: Sequence[str]) -> str:
        where = [self.origin.found.where(name) for name in fields]
        return ", ".join(dict.fromkeys(text for text in where if text))


def drop_tables(con: duckdb.DuckDBPyConnection) -> None:
    """Drop what the records of a delivery are read from, once they have been checked."""
    with suppress(duckdb.Error):
        con.execute(f"DROP VIEW IF EXISTS temp.{RECORDS}")
    for table in ("_layout_netted", "_layout_paid", "_layout_spells", "_layout_rows"):
        with suppress(duckdb.Error):
            con.execute(f"DROP TABLE IF EXISTS temp.{table}")


def _faults(making: Making, steps: NettingSteps | SplittingSteps | None) -> list[str]:
    faults = [fault_name(name) for name, one in making.expressions().items() if one.fault != NO_FAULT]
    first = fault_name(making.columns[0])
    return list(dict.fromkeys([*faults, first] if isinstance(steps, SplittingSteps) else faults))


def _sql_type(resource: Resource, name: str) -> str:
    return resource.field(name).sql_type


def _typed(resource: Resource, reading: Reading, name: str, making: Making) -> str:
    """Return SQL for a column of rows in the type that it has in the store; identifiers are hashed already."""
    if name not in making.columns:
        return f"NULL::{_sql_type(resource, name)}"
    return f"({typed(resource.field(name), replace(reading, hashed=False))})"


def _drop_known(
    con: duckdb.DuckDBPyConnection,
    making: Making,
    resource: Resource,
    reading: Reading,
    key: Sequence[str],
    before: str,
) -> None:
    """Drop the rows whose key an earlier delivery has."""
    same = " AND ".join(
        f"{_typed(resource, reading, name, making)} IS NOT DISTINCT FROM b.{sql_name('_b_' + name)}" for name in key
    )
    names = ", ".join(f"{sql_name(name)} AS {sql_name('_b_' + name)}" for name in key)
    con.execute(
        f"UPDATE {ROWS} SET _drop = {KNOWN} WHERE _drop = {KEPT} AND _record IN ("
        f"SELECT r._record FROM {ROWS} r SEMI JOIN (SELECT {names} FROM ({before})) b ON {same})"
    )
