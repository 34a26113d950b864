"""One load: which deliveries are new, whether all of them hold together, and the transaction that writes them.

A load is all or nothing: files are checked in temporary tables, then one transaction appends them. A process
killed at any moment leaves the last complete vintage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from retrain_eval.common.disk import reason
from retrain_eval.common.errors import InputError, StoreError, together, unknown
from retrain_eval.common.shown import summarised
from retrain_eval.common.sources import sql_name
from retrain_eval.common.text.raw_file import RawFile
from retrain_eval.records import identifiers
from retrain_eval.records.layouts.delivery import LayoutDelivery, drop_tables
from retrain_eval.records.layouts.sources import BySource
from retrain_eval.records.loading import imports, loads, refused, staging
from retrain_eval.records.loading import keys as validation
from retrain_eval.records.loading.deliveries import Unordered, held_first, in_order, open_deliveries
from retrain_eval.records.loading.loads import Mode
from retrain_eval.records.loading.progress import CHECKING, READING, REFERRING, WRITING, Watch, unsaid, unwatched
from retrain_eval.records.loading.report import IngestReport as IngestReport
from retrain_eval.records.loading.staging import Staged
from retrain_eval.records.schema.dictionary import Reading
from retrain_eval.records.schema.resource import Resource
from retrain_eval.records.schema.table_schema import Package

_FAULTS = "{n} faults in files and their headers; nothing was loaded"
Files = Mapping[str, "str | Path | Sequence[str | Path | RawFile]"]


@summarised
@dataclass(frozen=True)
class Loader:
    """Loads files into a store, on top of its latest vintage.

    Attributes
    ----------
    con : DuckDBPyConnection
        The store.
    path : Path
        Its file, for messages.
    package : Package
        The record types that it can hold.
    reading : Reading
        How files are read.
    vintage : int
        The latest vintage.
    refusals : Path, optional
        CSV file in which refused rows are listed.
    watch : callable
        Given what is being done, and the share of the load that is done: see `retrain_eval.records.loading.progress`.
    announce : callable
        Given what layouts made of raw files, before anything is stored.
    """

    con: duckdb.DuckDBPyConnection
    path: Path
    package: Package
    reading: Reading
    vintage: int
    refusals: Path | None = None
    watch: Watch = unwatched
    announce: Callable[[str], None] = unsaid

    def load(self, files: Files, mode: Mode, tolerate: float, dry_run: bool) -> list[IngestReport]:
        """Validate files and load all of them as one vintage, or none; see `Store.ingest_all`."""
        if not 0 <= tolerate < 1:
            raise InputError("tolerate is a share", column="tolerate", value=tolerate, rule="0 <= tolerate < 1")
        if mode not in ("replace", "update"):
            raise unknown("mode", mode, ("replace", "update"))
        for name in files:
            self.package[name]
        opened = _open({one.name: files[one.name] for one in self.package if one.name in files}, self)
        with self._saying_where_it_stopped():
            self._check_settings()
            done: dict[tuple[str, str], IngestReport] = {}
            todo: list[tuple[str, RawFile, bool]] = []
            raws: dict[str, list[RawFile]] = {}
            ties: list[tuple[str, set[str]]] = []
            for name, (deliveries, _) in opened.items():
                raws[name] = deliveries
                if isinstance(files[name], Unordered):
                    held = [file.sha256 for file in loads.held(self.con, name, self.vintage)]
                    raws[name], unclear = in_order(deliveries, held)
                    ties += [(name, hashes) for hashes in unclear]
                elif isinstance(files[name], BySource):
                    held = [file.sha256 for file in loads.held(self.con, name, self.vintage)]
                    raws[name], unclear = held_first(deliveries, held)
                    ties += [(name, hashes) for hashes in unclear]
                kept, rest = self._plan(name, raws[name], mode, tolerate)
                done |= {(name, report.sha256): report for report in kept}
                todo += [(name, raw, update) for raw, update in rest]
            if todo:
                done |= self._load(todo, ties, tolerate, dry_run)
        reports = []
        for name, deliveries in raws.items():
            reports += [done[name, raw.sha256] for raw in deliveries]
            for copy, first in opened[name][1]:
                report = done[name, first.sha256]
                reports.append(replace(report, file=copy.path.name, copy_of=first.path.name))
        return reports

    def _plan(
        self, name: str, deliveries: Sequence[RawFile], mode: Mode, tolerate: float
    ) -> tuple[list[IngestReport], list[tuple[RawFile, bool]]]:
        """Say which deliveries are held already, and which are to be loaded, each with whether it is an update."""
        held = loads.held(self.con, name, self.vintage)
        change = loads.change(self.con, self.package[name], held)
        prefix = [raw.sha256 for raw in deliveries[: len(held)]] == [file.sha256 for file in held]
        accepted = all(file.rows_rejected <= tolerate * file.rows_in and refused.known(self.con, file) for file in held)
        if mode == "update" or (held and prefix and accepted and change is None):
            if change is not None:
                raise InputError(
                    f"the schema of {name} has changed since its rows were loaded: {change}",
                    file=deliveries[0].path,
                    fix='load all its files again, the first one with mode="replace"',
                )
            same = {file.sha256: file for file in held}
            kept = [
                IngestReport(
                    name, raw.path.name, raw.sha256, file.rows_in, file.rows_loaded, file.rows_rejected,
                    vintage=file.vintage, already_loaded=True,
                )
                for raw in deliveries
                if (file := same.get(raw.sha256))
            ]  # fmt: skip
            rest = [raw for raw in deliveries if raw.sha256 not in same]
            return kept, [(raw, bool(held) or place > 0) for place, raw in enumerate(rest)]
        return [], [(raw, place > 0) for place, raw in enumerate(deliveries)]

    def _load(
        self,
        todo: Sequence[tuple[str, RawFile, bool]],
        ties: Sequence[tuple[str, set[str]]],
        tolerate: float,
        dry_run: bool,
    ) -> dict[tuple[str, str], IngestReport]:
        con = self.con
        settings = self._settings()
        batch = self._validate(todo)
        counts = con.execute(f"SELECT staged, count(DISTINCT record) FROM {staging.REFUSED} GROUP BY ALL").fetchall()
        rejected = dict.fromkeys(range(len(batch)), 0) | dict(counts)
        for line in imports.report(con, batch, rejected):
            self.announce(line)
        error = None
        if any(rejected[one.number] > tolerate * one.raw.rows for one in batch):
            error = validation.refusal(con, batch, rejected, self._listed(dry_run))
        for one in batch:
            if error is None and rejected[one.number]:
                error = refused.check_tolerable(con, one)
        if error is not None:
            if self.refusals:
                validation.write_refusals(con, batch, self.refusals)
            if not dry_run:
                with self._transaction():
                    for one in batch:
                        if rejected[one.number]:
                            loads.enter_refused(con, one, rejected[one.number])
            raise error
        listed = validation.write_refusals(con, batch, self.refusals) if self.refusals else False
        for name, hashes in ties:
            validation.check_order(
                [one for one in batch if one.resource.name == name and one.raw.sha256 in hashes], con
            )
        self._check_kept(batch)
        vintage = self.vintage + 1
        if dry_run:
            superseded = [self._would_supersede(one, batch) for one in batch]
        else:
            with self._transaction():
                for name, value in settings.items():
                    con.execute("INSERT OR REPLACE INTO settings VALUES ($1, $2)", [name, value])
                superseded = []
                for place, one in enumerate(batch):
                    self.watch(f"writing {one.raw.path.name}", WRITING.at(place, len(batch)))
                    superseded.append(self._write(one, vintage, rejected[one.number]))
                for staged in batch:
                    if staged.update:
                        self._check_other_keys(staged, vintage)
        return {
            (one.resource.name, one.raw.sha256): IngestReport(
                resource=one.resource.name,
                file=one.raw.path.name,
                sha256=one.raw.sha256,
                rows_in=one.raw.rows,
                rows_loaded=one.raw.rows - rejected[one.number] - loads.repeated(con, one),
                rows_rejected=rejected[one.number],
                rows_superseded=gone,
                vintage=vintage,
                dry_run=dry_run,
                absent=tuple(column for column in one.resource.columns if column not in one.raw.columns),
                refusals=str(self.refusals) if listed and rejected[one.number] else "",
            )
            for one, gone in zip(batch, superseded, strict=True)
        }

    def _write(self, staged: Staged, vintage: int, rejected: int) -> int:
        """Append a checked file and what it refuses, inside the transaction; return how many rows it supersedes."""
        before = loads.held(self.con, staged.resource.name, vintage) if staged.update else []
        load_id, superseded = loads.write(self.con, staged, vintage, rejected)
        refused.supersede(self.con, staged, load_id, before)
        imports.enter(self.con, staged, load_id, rejected)
        if rejected:
            refused.keep(self.con, staged, load_id)
        return superseded

    def _validate(self, todo: Sequence[tuple[str, RawFile, bool]]) -> list[Staged]:
        """Check every file, and what they refer to, in temporary tables."""
        faults = [fault for name, raw, _ in todo if (fault := staging.header_fault(self.package[name], raw))]
        if faults:
            raise together(faults, _FAULTS)
        staging.begin(self.con)
        batch: list[Staged] = []
        for number, (name, raw, update) in enumerate(todo):
            resource = self.package[name]
            if isinstance(raw, LayoutDelivery):
                self.watch(f"reading {raw.path.name} for {name}", CHECKING.at(number, len(todo)))
                before = imports.before(self.con, resource, self.vintage, batch, update=update)
                raw = raw.made(self.con, resource, self.reading, before, self._after("person", batch))
            self.watch(f"checking the {raw.rows:,} rows of {raw.path.name}", CHECKING.at(number, len(todo)))
            staged = staging.stage(self.con, resource, raw, number=number, update=update, reading=self.reading)
            drop_tables(self.con)
            self.watch(f"checking the keys of {raw.path.name}", CHECKING.at(number + 0.7, len(todo)))
            validation.check_unique(self.con, staged)
            batch.append(staged)  # before its references, which may be to itself
        for place, staged in enumerate(batch):
            self.watch(f"checking what {staged.raw.path.name} refers to", REFERRING.at(place, len(batch)))
            for key in staged.resource.foreign_keys:
                validation.check_reference(self.con, staged, key, self._after(key.reference.resource, batch))
        self.con.execute(  # of rows that refer to nothing, each is named
            f"DELETE FROM {staging.REPEATED} WHERE (staged, record) IN (SELECT (staged, record) FROM {staging.REFUSED})"
        )
        validation.find_lines(self.con, batch)
        return batch

    def _listed(self, dry_run: bool) -> str:
        """Say where every refused row is listed."""
        where = [f"the file {self.refusals}"] if self.refusals else []
        where += [] if dry_run else ["the table rejects of the store"]
        if where:
            return f"every refused row is listed in {' and in '.join(where)}"
        return "with refusals=PATH every refused row is listed in a CSV file"

    def _check_kept(self, batch: Sequence[Staged]) -> None:
        """Refuse to take away what rows that stay in the store refer to."""
        targets = {one.resource.name: self._after(one.resource.name, batch) for one in batch}
        for resource in self.package:
            rows = self._kept(resource, batch)
            if rows is not None:
                validation.check_kept(self.con, resource, rows, targets, self.reading)

    def _check_other_keys(self, staged: Staged, vintage: int) -> None:
        """Refuse a load that leaves two rows with one unique key; by the first key, the later row supersedes."""
        resource = staged.resource
        for key in resource.unique_keys:
            if key != loads.key_of(resource):
                columns = ", ".join(map(sql_name, key))
                rows = loads.in_force(self.con, resource, vintage)
                twice = f"SELECT {columns} FROM ({rows}) GROUP BY ALL HAVING count(*) > 1"
                shown = validation.shown_key(resource, key, "t", self.reading)
                [(count, example)] = self.con.execute(f"SELECT count(*), min({shown}) FROM ({twice}) t").fetchall()
                if count:
                    raise InputError(
                        f"rows of this file share {count:,} unique key(s) with rows loaded before",
                        file=staged.raw.path,
                        column=", ".join(key),
                        value=example,
                        rule="uniqueKeys",
                    )

    def _kept(self, resource: Resource, batch: Sequence[Staged]) -> str | None:
        """Return SQL for the rows in the store that a load leaves in force; None if there are none."""
        mine = [staged for staged in batch if staged.resource.name == resource.name]
        rows = loads.in_force(self.con, resource, self.vintage)
        if rows is None or (mine and not mine[0].update):
            return None
        key = loads.key_of(resource)
        for staged in mine if key else ():
            rows = f"SELECT * FROM ({rows}) t ANTI JOIN ({staged.rows()}) s ON {validation.same_key(key, 't', 's')}"
        return rows

    def _after(self, name: str, batch: Sequence[Staged]) -> str | None:
        """Return SQL for the rows of a record type as they will stand after the load; None if it has none."""
        mine = [staged for staged in batch if staged.resource.name == name]
        parts = [staged.rows() for staged in mine]
        if not mine or mine[0].update:
            before = loads.in_force(self.con, self.package[name], self.vintage)
            parts += [] if before is None else [before]
        return " UNION ALL BY NAME ".join(parts) or None

    def _would_supersede(self, staged: Staged, batch: Sequence[Staged]) -> int:
        """Return how many rows a delivery supersedes: its keys that the store or a delivery before it has."""
        key = loads.key_of(staged.resource)
        before = self._after(staged.resource.name, batch[: staged.number])
        if not staged.update or before is None or not key:
            return 0
        same = validation.same_key(key, "s", "t")
        found = self.con.execute(f"SELECT count(*) FROM ({staged.rows()}) s SEMI JOIN ({before}) t ON {same}")
        return int(found.fetchall()[0][0])

    def _settings(self) -> dict[str, str]:
        """Return what later loads must agree with; refuse another key."""
        kind = "plain"
        if self.reading.hashed:
            key = identifiers.read_key()
            identifiers.use_key(self.con, key)
            kind = identifiers.key_check(key)
            known = self._known("identifiers")
            if known not in (None, kind):
                raise self._other_identifiers("as hashes by another key")
        return {"identifiers": kind} | ({"frequency": self.reading.frequency} if self.reading.frequency else {})

    def _check_settings(self) -> None:
        """Refuse to go on otherwise than the store was begun, also where no file is new.

        Plain and hashed identifiers do not meet, and what a plan with hashes promises would not hold of plain ones.
        """
        kind, frequency = self._known("identifiers"), self._known("frequency")
        if kind is not None and (kind == "plain") == self.reading.hashed:
            raise self._other_identifiers("as they are" if kind == "plain" else "hashed")
        if None not in (frequency, self.reading.frequency) and frequency != self.reading.frequency:
            raise StoreError(
                f"the periods in the store {self.path} are by {frequency}, those of this load by "
                f"{self.reading.frequency}; put the frequency back, or use a new store"
            )

    def _other_identifiers(self, was: str) -> StoreError:
        return StoreError(
            f"the store {self.path} holds identifiers {was}: records of one person would not meet; "
            f"use the setting and the key ({identifiers.ENVIRONMENT}) of the first load, or a new store"
        )

    def _known(self, setting: str) -> str | None:
        """Return a setting of the loads before; None if nothing is loaded."""
        found = self.con.execute("SELECT value FROM settings WHERE name = $1", [setting]).fetchall()
        return str(found[0][0]) if found and self.vintage else None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.con.execute("BEGIN")
        try:
            yield
            self.con.execute("COMMIT")
        except BaseException:
            with suppress(duckdb.Error):  # a failed COMMIT has rolled back already
                self.con.execute("ROLLBACK")
            raise

    @contextmanager
    def _saying_where_it_stopped(self) -> Iterator[None]:
        """Drop the temporary tables at the end, and say that DuckDB stopped where it did."""
        try:
            yield
        except duckdb.Error as error:
            text = f"the load stopped; the store {self.path} is unchanged: {reason(error, self.path)}"
            raise StoreError(text) from None  # a traceback would print what the engine quotes
        finally:
            with suppress(duckdb.Error):
                drop_tables(self.con)
                mine = self.con.execute(
                    "SELECT table_name FROM duckdb_tables() WHERE temporary AND "
                    "(starts_with(table_name, $1) OR starts_with(table_name, '_layout_'))",
                    [staging.SCRATCH],
                ).fetchall()
                for (table,) in mine:
                    self.con.execute(f"DROP TABLE temp.{sql_name(table)}")


Opened = dict[str, tuple[list[RawFile], list[tuple[RawFile, RawFile]]]]


def _open(files: Files, loader: Loader) -> Opened:
    """Open the deliveries of every record type; say of all of them at once which cannot be read as what they are."""
    opened: Opened = {}
    faults: list[InputError] = []
    for place, (name, given) in enumerate(files.items()):
        loader.watch(f"reading the files of {name}", READING.at(place, len(files)))
        try:
            opened[name] = open_deliveries(name, given)
        except InputError as error:
            faults.append(error)
    if faults:
        each = ((loader.package[name], raw) for name, (found, _) in opened.items() for raw in found)
        faults += [fault for resource, raw in each if (fault := staging.header_fault(resource, raw))]
        raise together(faults, _FAULTS)
    return opened
