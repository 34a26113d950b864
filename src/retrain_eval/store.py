"""The DuckDB store of validated records, and its vintages.

A load is all or nothing: files are checked in temporary tables, then one transaction appends them. A process
killed at any moment leaves the last complete vintage.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import duckdb
import pandas as pd

from retrain_eval import identifiers, loads
from retrain_eval import ingest as validation
from retrain_eval.errors import InputError, StoreError, unknown
from retrain_eval.ingest import Staged
from retrain_eval.loads import Mode
from retrain_eval.rawfile import RawFile, open_raw
from retrain_eval.resources import resource as shipped
from retrain_eval.schemas import Reading
from retrain_eval.sources import sql_name
from retrain_eval.table_schema import Package, load_package

# a store of person records asks nothing of a network
_OFFLINE: dict[str, str | bool | int | float | list[str]] = {"autoinstall_known_extensions": False}
IDENTIFIERS = ("plain", "hmac")
Files = Mapping[str, "str | Path | Sequence[str | Path]"]


@dataclass(frozen=True)
class IngestReport:
    """What became of one file.

    Attributes
    ----------
    resource, file, sha256 : str
        Record type, name of the file, hash of its bytes.
    rows_in, rows_loaded, rows_rejected, rows_superseded : int
        Rows of the file; how many of them stand in the store and in ``rejects``; rows of earlier loads that
        they supersede.
    vintage : int
        Vintage that the load made, or by which the file was loaded before.
    already_loaded : bool
        True if the store held this very file, so that nothing was done.
    dry_run : bool
        True if nothing was to be written.
    absent : tuple of str
        Declared columns that the file does not have; they are missing in every row.
    """

    resource: str
    file: str
    sha256: str
    rows_in: int
    rows_loaded: int
    rows_rejected: int
    rows_superseded: int = 0
    vintage: int = 0
    already_loaded: bool = False
    dry_run: bool = False
    absent: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.already_loaded:
            rows = f"{self.rows_loaded:,} rows"
            return f"{self.resource}: {self.file} is already loaded ({rows}, vintage {self.vintage}), nothing to do"
        refused = f", {self.rows_rejected:,} refused" if self.rows_rejected else ""
        superseded = f", {self.rows_superseded:,} earlier rows superseded" if self.rows_superseded else ""
        does = "would be loaded" if self.dry_run else "loaded"
        return f"{self.resource}: {self.rows_loaded:,} rows {does} from {self.file}{refused}{superseded}"


class Store:
    r"""A DuckDB file of records; use as a context manager.

    Attributes
    ----------
    con : DuckDBPyConnection
        The connection, for SQL: a view per record type with the rows in force, and the tables ``loads`` (every load
        with its file's SHA-256) and ``rejects`` (every refused row).
    path : Path
        The file.
    package : Package
        The record types that the store can hold.
    vintage : int
        What the views show: the vintage asked for, or the latest. 0 if nothing is loaded.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "person.csv").write_text("person_id,age\nP1,31\nP2,27\n")
    >>> with Store.open(folder / "records.duckdb") as store:
    ...     print(store.ingest("person", folder / "person.csv"))
    ...     print(store.ingest("person", folder / "person.csv"))
    person: 2 rows loaded from person.csv
    person: person.csv is already loaded (2 rows, vintage 1), nothing to do
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        path: Path,
        package: Package,
        reading: Reading,
        as_of: int | None,
    ) -> None:
        self.con, self.path, self.package, self.reading = con, path, package, reading
        self.as_of = as_of
        self.vintage = loads.last_vintage(con) if as_of is None else as_of
        self._show()

    @classmethod
    def open(
        cls,
        path: str | Path,
        create: bool = True,
        memory_limit: str = "2GB",
        package: Package | None = None,
        *,
        as_of: int | None = None,
        frequency: str | None = None,
        identifiers: str = "plain",
        read_only: bool = False,
    ) -> Store:
        """Open a store, or make a new one.

        Parameters
        ----------
        path : str or Path
            The DuckDB file. Its folder is made if need be.
        create : bool
            Make the store if it does not exist.
        memory_limit : str
            DuckDB's bound; beyond it, work goes to a temporary folder beside the store.
        package : Package, optional
            Record types (`load_package`); by default those that ship with the package.
        as_of : int, optional
            Show the records as they stood at this vintage; nothing can then be loaded.
        frequency : str, optional
            ``"year"`` or ``"quarter"``: what periods in files are. None takes either.
        identifiers : {"plain", "hmac"}
            Keep identifiers as they are, or only their keyed hash (`retrain_eval.identifiers`).
        read_only : bool
            Open without the right to write; several processes can do so at once.

        Raises
        ------
        StoreError
            If the file is missing and ``create`` is false, is in use by another process, is not a DuckDB
            file, was written by a newer DuckDB or an older retrain_eval, cannot be written, or has no such vintage.
        """
        path = Path(path)
        if identifiers not in IDENTIFIERS:
            raise unknown("identifiers", identifiers, IDENTIFIERS)
        if (not create or read_only) and not path.exists():
            raise StoreError(f"there is no store at {path}; ingest records first")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not _is_duckdb(path):
                raise StoreError(f"{path} is not a store: it is no DuckDB file; ingest into a new one")
            con = duckdb.connect(str(path), config={"memory_limit": memory_limit, **_OFFLINE}, read_only=read_only)
        except OSError as error:
            raise StoreError(f"the store {path} cannot be made: {error.strerror}") from error
        except duckdb.Error as error:
            raise _open_error(path, str(error)) from error
        try:
            if not read_only:
                _sweep(path)
                con.execute(loads.TABLES)
            _check_layout(con, path, as_of)
        except duckdb.Error as error:
            con.close()
            raise StoreError(f"the store {path} cannot be written: {error}") from error
        except StoreError:
            con.close()
            raise
        package = package if package is not None else load_package(shipped("data_schemas"))
        return cls(con, path, package, Reading(frequency, identifiers == "hmac"), as_of)

    @classmethod
    def in_memory(cls, package: Package, frequency: str | None = None, identifiers: str = "plain") -> Store:
        """Make an empty store that leaves nothing behind: what a file would meet in a new one."""
        con = duckdb.connect(config=_OFFLINE)
        con.execute(loads.TABLES)
        return cls(con, Path(":memory:"), package, Reading(frequency, identifiers == "hmac"), None)

    def close(self) -> None:
        """Close the connection; the file can then be opened by another process."""
        self.con.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ingest(
        self,
        resource: str,
        file: str | Path,
        *,
        mode: Mode = "replace",
        tolerate: float = 0.0,
        dry_run: bool = False,
    ) -> IngestReport:
        """Validate one file and load it; see `ingest_all`."""
        return self.ingest_all({resource: file}, mode=mode, tolerate=tolerate, dry_run=dry_run)[0]

    def ingest_all(
        self, files: Files, *, mode: Mode = "replace", tolerate: float = 0.0, dry_run: bool = False
    ) -> list[IngestReport]:
        """Validate files and load all of them as one vintage, or none.

        Parameters
        ----------
        files : mapping
            File (CSV or Parquet) by record type, or a sequence of files: deliveries in their order, of which those
            that are loaded already are kept. Record types may come in any order.
        mode : {"replace", "update"}
            A file takes the place of what was loaded for its record type before, or comes on top of it: a row with the
            key of an earlier one then supersedes it. Nothing is ever deleted.
        tolerate : float
            Largest share of a file's rows that may be refused while the others are loaded. By default a
            single refused row stops the load.
        dry_run : bool
            Check everything, write nothing.

        Returns
        -------
        list of IngestReport
            In load order. A file whose SHA-256 the store already holds is not loaded again.

        Raises
        ------
        InputError
            If a file cannot be read or rows break a rule (then ``rejects`` lists every one of them), or if
            rows that stay in the store would refer to rows that a file no longer has.
        StoreError
            If the store cannot be written. In every case its content is as it was.
        """
        if not 0 <= tolerate < 1:
            raise InputError("tolerate is a share", column="tolerate", value=tolerate, rule="0 <= tolerate < 1")
        if mode not in ("replace", "update"):
            raise unknown("mode", mode, ("replace", "update"))
        if self.as_of is not None:
            raise StoreError(f"the store is open as of vintage {self.as_of}: nothing can be loaded into the past")
        for name in files:
            self.package[name]
        raws = {one.name: _listed(files[one.name]) for one in self.package if one.name in files}
        done: dict[tuple[str, str], IngestReport] = {}
        todo: list[tuple[str, RawFile, bool]] = []
        for name, deliveries in raws.items():
            kept, rest = self._plan(name, deliveries, mode, tolerate)
            done |= {(name, report.sha256): report for report in kept}
            todo += [(name, raw, update) for raw, update in rest]
        if todo:
            with self._scratch():
                done |= self._load(todo, tolerate, dry_run)
        return [done[name, raw.sha256] for name, deliveries in raws.items() for raw in deliveries]

    def tables(self) -> dict[str, int]:
        """Return the number of rows in force of each record type that has been loaded."""
        return {name: self._count(sql_name(name)) for name in self.package.names if self._has(name)}

    def rejects(self) -> pd.DataFrame:
        """Return the refused rows: ``load_id, resource, file, line, column, value, rule, message``.

        ``line`` is the line of the file on which the row starts, header included, counted from 1; in a
        Parquet file the row, counted from 1. One row of the frame per rule that a row broke. A file that
        was refused twice is listed once. An identifier that could be a social-security number is withheld.
        """
        return self.con.execute('SELECT * FROM rejects ORDER BY load_id, line, "column", rule').df()

    def loads(self) -> pd.DataFrame:
        """Return the loads, oldest first, each with the status ``loaded``, ``replaced`` or ``refused``.

        A load is replaced when a later one of its record type took its place; its rows stay in the archive.
        """
        replaced = "max(id) FILTER (vintage IS NOT NULL AND mode = 'replace') OVER (PARTITION BY resource)"
        status = f"CASE WHEN status = 'loaded' AND id < {replaced} THEN 'replaced' ELSE status END AS status"
        return self.con.execute(f"SELECT * REPLACE ({status}) FROM loads ORDER BY id").df()

    def vintages(self) -> pd.DataFrame:
        """Return the vintages, oldest first: ``vintage, time, files, rows_in, rows_loaded, rows_rejected``."""
        return self.con.execute(
            """
            SELECT vintage, max(time) AS time, string_agg(resource || ': ' || file, ', ' ORDER BY id) AS files,
              CAST(sum(rows_in) AS BIGINT) AS rows_in, CAST(sum(rows_loaded) AS BIGINT) AS rows_loaded,
              CAST(sum(rows_rejected) AS BIGINT) AS rows_rejected
            FROM loads WHERE vintage IS NOT NULL GROUP BY vintage ORDER BY vintage
            """
        ).df()

    def files(self) -> pd.DataFrame:
        """Return the files whose rows are shown: ``name, file, sha256, rows_in, rows_rejected``, in a fixed order."""
        ids = [file.id for name in self.package.names for file in loads.held(self.con, name, self.vintage)]
        return self.con.execute(
            "SELECT resource AS name, file, sha256, rows_in, rows_rejected FROM loads "
            "WHERE list_contains($1::INTEGER[], id) ORDER BY name, id",
            [ids],
        ).df()

    def fingerprint(self) -> str:
        """Return a hash of what the store shows: the files, the schemas and the number of rows loaded.

        It does not depend on when or in which order record types were loaded, nor on what came later.
        """
        return loads.fingerprint(self.con, self.package.names, self.vintage)

    # ---- inside ----------------------------------------------------------------------------------------------

    def _plan(
        self, name: str, deliveries: Sequence[RawFile], mode: Mode, tolerate: float
    ) -> tuple[list[IngestReport], list[tuple[RawFile, bool]]]:
        """Say which deliveries are held already, and which are to be loaded, each with whether it is an update."""
        schema = self.package[name].sha256
        held = [
            file if file.schema_sha256 == schema and file.rows_rejected <= tolerate * file.rows_in else None
            for file in loads.held(self.con, name, self.vintage)
        ]
        same = {file.sha256: file for file in held if file is not None}
        prefix = [raw.sha256 for raw in deliveries[: len(held)]] == [file.sha256 if file else "" for file in held]
        if mode == "update" or (held and prefix):
            if None in held:
                raise InputError(
                    f"the schema of {name} has changed since its rows were loaded",
                    file=deliveries[0].path,
                    fix='load all its files again, the first one with mode="replace"',
                )
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
        self, todo: Sequence[tuple[str, RawFile, bool]], tolerate: float, dry_run: bool
    ) -> dict[tuple[str, str], IngestReport]:
        con = self.con
        if self.reading.hashed:
            identifiers.use_key(con, key := identifiers.read_key())
        kind = identifiers.key_check(key) if self.reading.hashed else "plain"
        self._check_identifiers(kind)
        validation.begin(con)
        batch: list[Staged] = []
        for number, (name, raw, update) in enumerate(todo):
            resource = self.package[name]
            staged = validation.stage(con, resource, raw, number=number, update=update, reading=self.reading)
            validation.check_unique(con, staged)
            batch.append(staged)  # before its references, which may be to itself
        for staged in batch:
            for key_ in staged.resource.foreign_keys:
                validation.check_reference(con, staged, key_, self._rows(key_.reference.resource, batch))
        validation.find_lines(con, batch)
        counts = con.execute(f"SELECT staged, count(DISTINCT record) FROM {validation.REFUSED} GROUP BY ALL").fetchall()
        refused = dict.fromkeys(range(len(batch)), 0) | dict(counts)
        if any(refused[one.number] > tolerate * one.raw.rows for one in batch):
            if not dry_run:
                with self._transaction():
                    for one in batch:
                        if refused[one.number]:
                            loads.enter_refused(con, one, refused[one.number])
            raise validation.refusal(con, batch, refused)
        loaded = {one.resource.name for one in batch}
        for resource in self.package:
            if resource.name not in loaded and self._has(resource.name):
                validation.check_kept(con, resource, {name: self._rows(name, batch) for name in loaded})
        vintage = self.vintage + 1
        if dry_run:
            superseded = [loads.count_superseded(con, one, self.vintage) for one in batch]
        else:
            with self._transaction():
                con.execute("INSERT OR REPLACE INTO settings VALUES ('identifiers', $1)", [kind])
                superseded = [loads.write(con, one, vintage, refused[one.number]) for one in batch]
            self.vintage = vintage
            self._show()
        return {
            (one.resource.name, one.raw.sha256): IngestReport(
                resource=one.resource.name,
                file=one.raw.path.name,
                sha256=one.raw.sha256,
                rows_in=one.raw.rows,
                rows_loaded=one.raw.rows - refused[one.number],
                rows_rejected=refused[one.number],
                rows_superseded=gone,
                vintage=vintage,
                dry_run=dry_run,
                absent=tuple(column for column in one.resource.columns if column not in one.raw.columns),
            )
            for one, gone in zip(batch, superseded, strict=True)
        }

    def _check_identifiers(self, kind: str) -> None:
        """Refuse to mix plain and hashed identifiers, or hashes by two keys: nobody would meet their own records."""
        known = self.con.execute("SELECT value FROM settings WHERE name = 'identifiers'").fetchall()
        if known and known[0][0] != kind and loads.last_vintage(self.con):
            was = (
                "as they are" if known[0][0] == "plain" else "as hashes by another key" if kind != "plain" else "hashed"
            )
            raise StoreError(
                f"the store {self.path} holds identifiers {was}: records of one person would not meet; "
                f"use the setting and the key ({identifiers.ENVIRONMENT}) of the first load, or a new store"
            )

    def _rows(self, name: str, batch: Sequence[Staged]) -> str | None:
        """Return SQL for the rows of a record type as they will stand after the load; None if it has none."""
        mine = [staged for staged in batch if staged.resource.name == name]
        parts = [staged.rows() for staged in mine]
        if self._has(name) and (not mine or mine[0].update):
            parts.append(f"SELECT * FROM {sql_name(name)}")
        return " UNION ALL BY NAME ".join(parts) or None

    def _show(self) -> None:
        """Let the record types' names stand for the rows in force at the vintage shown."""
        for name in self.package.names:
            rows = loads.in_force(self.con, name, self.vintage)
            if rows is not None:
                # temporary, so that another vintage of the same file can be looked at in another process
                self.con.execute(f"CREATE OR REPLACE TEMP VIEW {sql_name(name)} AS {rows}")

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
    def _scratch(self) -> Iterator[None]:
        """Drop the temporary tables at the end, and say that DuckDB stopped where it did."""
        try:
            yield
        except duckdb.Error as error:
            text = str(error).splitlines()[0]
            raise StoreError(f"the load stopped, the store {self.path} is as it was: {text}") from error
        finally:
            with suppress(duckdb.Error):
                mine = self.con.execute(
                    "SELECT table_name FROM duckdb_tables() WHERE temporary AND starts_with(table_name, $1)",
                    [validation.SCRATCH],
                ).fetchall()
                for (table,) in mine:
                    self.con.execute(f"DROP TABLE temp.{sql_name(table)}")

    def _has(self, name: str) -> bool:
        return bool(loads.held(self.con, name, self.vintage))

    def _count(self, table: str) -> int:
        return int(self.con.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


def _listed(files: str | Path | Sequence[str | Path]) -> list[RawFile]:
    """Open the deliveries of a record type; the same file twice is one delivery."""
    paths = [files] if isinstance(files, (str, Path)) else list(files)
    raws = {raw.sha256: raw for raw in map(open_raw, paths)}
    return list(raws.values())


def _check_layout(con: duckdb.DuckDBPyConnection, path: Path, as_of: int | None) -> None:
    """Refuse a store of an earlier layout, and a vintage that does not exist."""
    columns = con.sql("FROM loads LIMIT 0").columns
    if "vintage" not in columns:
        raise StoreError(
            f"the store {path} was made by an earlier version, without vintages; "
            "delete it and load the record files again"
        )
    last = loads.last_vintage(con)
    if as_of is not None and not 1 <= as_of <= last:
        have = f"1 to {last}" if last > 1 else "1" if last else "none: nothing is loaded"
        raise StoreError(f"the store {path} has no vintage {as_of}; it has {have}")


def _is_duckdb(path: Path) -> bool:
    """Look for DuckDB's mark; DuckDB itself would open a CSV file, and fetch an extension for a SQLite one."""
    with path.open("rb") as file:
        return file.read(12)[8:] == b"DUCK"


def _sweep(path: Path) -> None:
    """Remove what a killed process had spilled to disk: the store is ours, so no other process can be using it."""
    for file in Path(f"{path}.tmp").glob("duckdb_temp_*"):
        owner = re.match(r"duckdb_temp_(\d+)_", file.name)
        if owner and int(owner[1]) != os.getpid():
            file.unlink(missing_ok=True)


def _open_error(path: Path, text: str) -> StoreError:
    """Say why DuckDB could not open the file."""
    if "Could not set lock" in text:
        holder = re.search(r"PID (\d+)", text)
        who = f"process {holder[1]}" if holder else "another process"
        return StoreError(f"the store {path} is in use by {who}; wait until it has finished, or stop it")
    if "different configuration" in text:
        return StoreError(f"the store {path} is already open in this process with another memory limit")
    if "version" in text.lower() and "newer" in text.lower():
        return StoreError(f"the store {path} was written by a newer DuckDB than {duckdb.__version__}; upgrade duckdb")
    first = text.splitlines()[0]
    return StoreError(f"the store {path} cannot be opened: {first}; if the file is damaged, ingest into a new store")
