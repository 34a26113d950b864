"""One raw file of a source: its layout, where its fields stand, its crosswalk, and its lines while they are needed."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from retrain_eval.common.errors import InputError
from retrain_eval.common.shown import summarised
from retrain_eval.common.sql import sql_name
from retrain_eval.common.untrusted import MAX_BYTES, own_bytes, shown
from retrain_eval.common.withholding import withhold_header
from retrain_eval.records.layouts.account import recodes
from retrain_eval.records.layouts.description import Field, Layout
from retrain_eval.records.layouts.headers import Found, normal
from retrain_eval.records.layouts.raw_table import RawTable
from retrain_eval.records.layouts.rules import trimmed, without_missing
from retrain_eval.records.layouts.steps import CROSSWALK, RAW, Making, lines_sql, raw_sql
from retrain_eval.records.schema.dictionary import Reading
from retrain_eval.records.schema.resource import Resource


@summarised
@dataclass(frozen=True)
class Translation:
    """A crosswalk: a file, and the columns that it is read from and to."""

    raw: RawTable
    source: str
    target: str


@summarised
@dataclass(frozen=True)
class SourceFile:
    """A raw file that a layout reads.

    Attributes
    ----------
    name : str
        Of the source in the study file.
    number : int
        Of the file within the load.
    layout : Layout
    identity : str
        Hash of everything besides the file that its records depend on.
    raw : RawTable
    found : Found
    records : tuple of str
        Record types that are wanted of it.
    lookups : mapping
        Reference tables by name.
    crosswalk : Translation, optional
    unordered : bool
        Whether a pattern found the files of the source, so that their names say in which order they count.
    """

    name: str
    number: int
    layout: Layout
    identity: str
    raw: RawTable
    found: Found
    records: tuple[str, ...]
    lookups: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    crosswalk: Translation | None = None
    unordered: bool = False
    _kept: dict[str, str] = field(default_factory=dict)

    def making(self, con: duckdb.DuckDBPyConnection, record: str, resource: Resource, reading: Reading) -> Making:
        """Return what is compiled for a record type; the lines of a file with several are read once."""
        identifiers = tuple(one.name for one in resource.fields if one.identifier)
        if self.crosswalk is not None:
            self._translate(con, self.crosswalk)
        making = Making(self.layout, record, self.found, self.raw, reading.frequency, identifiers, reading.hashed,
                        self.crosswalk is not None, self.lookups)  # fmt: skip
        if len(self.records) == 1:
            return making
        table = f"_layout_lines_{self.number}"
        if "lines" not in self._kept:
            used = dict.fromkeys(name for one in self.records for name in Making(
                self.layout, one, self.found, self.raw, reading.frequency, ()).used())  # fmt: skip
            con.execute(f"CREATE OR REPLACE TEMP TABLE {RAW} AS {raw_sql(making, tuple(used))}")
            con.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {lines_sql(making, tuple(used), RAW)}")
            con.execute(f"DROP TABLE temp.{RAW}")
            self._kept["lines"] = f"FROM {table}"
        return Making(self.layout, record, self.found, self.raw, reading.frequency, identifiers, reading.hashed,
                      self.crosswalk is not None, self.lookups, self._kept["lines"])  # fmt: skip

    def recoded(self, con: duckdb.DuckDBPyConnection, making: Making) -> list[str]:
        """Return how often each code occurs and what it became."""
        codes = []
        for name in making.used():
            one, places = self.layout.fields[name], self.found.places[name]
            known = one.recode or self.lookups.get(one.lookup, {})
            if known:
                for number, place in enumerate(places):
                    if place is not None:
                        column = f"{name}__{number}" if len(places) > 1 else name
                        where = place if isinstance(place, str) else f"positions {place[0]}-{place[1]}"
                        codes.append((column, where, known))
        used = making.used()
        return recodes(con, making.lines or lines_sql(making, used, f"({raw_sql(making, used)})"), codes)

    def _translate(self, con: duckdb.DuckDBPyConnection, crosswalk: Translation) -> None:
        """Make the table of the crosswalk; refuse one that gives two answers."""
        rule = self.layout.crosswalk
        assert rule is not None
        one, other = self.layout.fields[rule.field], Field(names=("target",), pad=rule.pad, digits=rule.digits)
        source = without_missing(one, trimmed(one, sql_name(crosswalk.source)), self.layout.file.missing)
        target = without_missing(other, trimmed(other, sql_name(crosswalk.target)), ())
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE {CROSSWALK} AS "
            "SELECT source, any_value(target) AS target, min(_record) AS first, "
            f"count(DISTINCT target) AS n FROM (SELECT _record, {source} AS source, {target} AS target "
            f"FROM ({crosswalk.raw.sql()})) WHERE source IS NOT NULL AND target IS NOT NULL GROUP BY source"
        )
        [(twice, first)] = con.execute(f"SELECT count(*), min(first) FROM {CROSSWALK} WHERE n > 1").fetchall()
        if twice:
            import numpy as np

            line = int(crosswalk.raw.lines(np.array([first], dtype=np.int64))[0])
            raise InputError(f"the crosswalk translates {twice:,} identifiers in two ways", file=crosswalk.raw.path,
                             row=line, column=crosswalk.source, rule="one answer for each identifier")  # fmt: skip


def find_crosswalk(layout: Layout, raw: RawTable, source: str, target: str, file: str) -> Translation:
    """Return a crosswalk with its two columns found: as the study names them, or in a spelling of the layout.

    Raises
    ------
    InputError
        If the layout takes no crosswalk, or a column cannot be found.
    """
    rule = layout.crosswalk
    if rule is None:
        raise InputError(
            f"the layout {layout.name} takes no crosswalk", file="study.toml", column="crosswalk", value=file
        )
    one = layout.fields[rule.field]
    elements = (one.element,) if isinstance(one.element, str) else one.element
    spelled = [text.replace("{}", element) for element in elements if element for text in layout.file.spellings]
    columns = []
    for what, name, spellings in (
        ("source", source, (*rule.source, *one.names, *spelled)),
        ("target", target, rule.target),
    ):
        wanted = [name] if name else list(spellings)
        known = {normal(text) for text in wanted}
        found = [header for header in raw.columns if header in wanted] or [
            header for header in raw.columns if normal(header) in known]  # fmt: skip
        if len(found) != 1:
            raise InputError(f"the {what} column of the crosswalk cannot be found", file=raw.path, row=1,
                             value=", ".join(withhold_header(raw.columns)),
                             fix='name it: crosswalk = {file = "…", source = "…", target = "…"}')  # fmt: skip
        columns.append(found[0])
    if columns[0] == columns[1]:
        raise InputError("the crosswalk has one column for both identifiers", file=raw.path, row=1)
    return Translation(raw, columns[0], columns[1])


def read_lookup(name: str, folder: Path) -> dict[str, str]:
    """Return a reference table: what each code stands for.

    It is ``NAME.csv`` next to the layout, or one that ships: a header, then a code and what it stands for in each row.

    Raises
    ------
    InputError
        If there is no such table, it is not CSV of two columns, or a code stands in it twice.
    """
    file = next((one for one in (folder / f"{name}.csv", folder / "tables" / f"{name}.csv") if one.is_file()), None)
    if file is None:
        raise InputError("there is no such reference table", file=folder / f"{name}.csv", column="lookup", value=name)
    try:
        text = own_bytes(file, "the reference table", MAX_BYTES).decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row and not row[0].startswith("#")]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError("the reference table cannot be read", file=file, rule=shown(error)) from None
    found: dict[str, str] = {}
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != 2 or row[0].strip() in found:
            rule = "a code and what it stands for, each code once"
            raise InputError("a row of the reference table does not hold", file=file, row=number, rule=rule)
        found[row[0].strip()] = row[1].strip()
    return found


def identity_of(layout_sha256: str, study: object, crosswalk: str) -> str:
    """Return the hash of everything besides the file that records depend on."""
    return hashlib.sha256("\n".join((layout_sha256, repr(study), crosswalk)).encode()).hexdigest()
