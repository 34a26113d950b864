"""The DuckDB store of validated records: opening it, and looking at a vintage of it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

import duckdb
import pandas as pd

from retrain_eval.common.disk import reason
from retrain_eval.common.errors import InputError, StoreError, unknown
from retrain_eval.common.files import scratch_folder
from retrain_eval.common.periods import check_frequency
from retrain_eval.common.resources import resource as shipped
from retrain_eval.common.sources import keep_texts, sql_name
from retrain_eval.common.sql import OFFLINE
from retrain_eval.records import store_file
from retrain_eval.records.loading import loads, refused
from retrain_eval.records.loading.loading import Files, IngestReport, Loader
from retrain_eval.records.loading.loads import Mode
from retrain_eval.records.loading.progress import Watch, unsaid, unwatched
from retrain_eval.records.schema.dictionary import Reading
from retrain_eval.records.schema.table_schema import Package, load_package
from retrain_eval.records.views import drop_broken_views, drop_passing_views

__all__ = ["IngestReport", "Store"]

IDENTIFIERS = ("plain", "hmac")


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
        as_of: int | None = None,
        only: Collection[str] | None = None,
    ) -> None:
        self.con, self.path, self.package, self.reading = con, path, package, reading
        self.as_of = as_of
        self.names = tuple(name for name in package.names if only is None or name in only)
        self.vintage = loads.last_vintage(con) if as_of is None else as_of
        keep_texts(con)
        self._spill: ExitStack | None = None
        self._writable = False
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
        only: Collection[str] | None = None,
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
            What periods in files are: ``"year"``, ``"quarter"``, ``"month"``, ``"week"`` or
            ``"two-week interval"`` (`retrain_eval.common.periods`). None takes any of them.
        identifiers : {"plain", "hmac"}
            Keep identifiers as they are, or only their keyed hash (`retrain_eval.records.identifiers`).
        read_only : bool
            Open without the right to write; several processes can do so at once.
        only : collection of str, optional
            Show these record types alone; by default every one that is loaded.

        Raises
        ------
        InputError
            For a keyword or a memory limit that is none.
        StoreError
            If the file is missing and ``create`` is false, is in use by another process, is not a DuckDB
            file, was written by a newer DuckDB or an older retrain_eval, cannot be written, or has no such vintage.
        """
        path = Path(path)
        if identifiers not in IDENTIFIERS:
            raise unknown("identifiers", identifiers, IDENTIFIERS)
        check_frequency(frequency)
        if (not create or read_only) and not path.exists():
            raise StoreError(f"there is no store at {path}; ingest records first")
        try:
            con = store_file.connect(path, {"memory_limit": memory_limit, **OFFLINE}, read_only=read_only)
        except OSError as error:
            raise StoreError(f"the store {path} cannot be created: {reason(error, path)}") from error
        except duckdb.ParserException as error:
            raise InputError("this is no memory limit", value=memory_limit, rule="a size such as 2GB") from error
        except duckdb.Error as error:
            raise store_file.open_error(path, str(error)) from error
        try:
            new = store_file.check_layout(con, path)
            if new and read_only:
                raise StoreError(f"there is nothing in the store {path}; ingest records first")
            if not read_only:
                store_file.sweep(path)
                con.execute(loads.TABLES)
                store_file.make_private(path)
            store_file.check_vintage(con, path, as_of)
        except duckdb.Error as error:
            con.close()
            raise StoreError(f"the store {path} cannot be written: {reason(error, path)}") from error
        except StoreError:
            con.close()
            raise
        package = package if package is not None else load_package(shipped("data_schemas"))
        store = cls(con, path, package, Reading(frequency, identifiers == "hmac"), as_of, only)
        store._writable = not read_only
        if store._writable:
            drop_broken_views(con, package.names)
        return store

    @classmethod
    def in_memory(
        cls,
        package: Package,
        frequency: str | None = None,
        identifiers: str = "plain",
        memory_limit: str = "2GB",
    ) -> Store:
        """Make an empty store that leaves nothing behind: what a file would meet in a new one."""
        check_frequency(frequency)
        spill = ExitStack()
        folder = spill.enter_context(scratch_folder("retrain_eval_check_"))
        con = duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": str(folder), **OFFLINE})
        con.execute(loads.TABLES)
        store = cls(con, Path(":memory:"), package, Reading(frequency, identifiers == "hmac"))
        store._spill = spill
        return store

    def close(self) -> None:
        """Close the connection; the file can then be opened by another process.

        Views on temporary tables, which end with the connection, are dropped first.
        """
        if self._writable:
            with suppress(duckdb.Error):  # closed already, or in a transaction that failed
                drop_passing_views(self.con)
            store_file.make_private(self.path)
        self.con.close()
        if self._spill is not None:
            self._spill.close()

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
        refusals: str | Path | None = None,
    ) -> IngestReport:
        """Validate one file and load it; see `ingest_all`."""
        files = {resource: file}
        return self.ingest_all(files, mode=mode, tolerate=tolerate, dry_run=dry_run, refusals=refusals)[0]

    def ingest_all(
        self,
        files: Files,
        *,
        mode: Mode = "replace",
        tolerate: float = 0.0,
        dry_run: bool = False,
        refusals: str | Path | None = None,
        watch: Watch = unwatched,
        announce: Callable[[str], None] = unsaid,
    ) -> list[IngestReport]:
        """Validate files and load all of them as one vintage, or none.

        Parameters
        ----------
        files : mapping
            File (CSV or Parquet, or what a layout makes of one) by record type, or a sequence of files: deliveries in
            their order, of which those that are loaded already are kept. Record types may come in any order. Files that
            a pattern of a study found are in the order in which they arrived
            (`retrain_eval.records.loading.deliveries.Unordered`).
        mode : {"replace", "update"}
            A file takes the place of what was loaded for its record type before, or comes on top of it: a row with the
            key of an earlier one then supersedes it. Nothing is ever deleted.
        tolerate : float
            Largest share of a file's rows that may be refused while the others are loaded. By default a
            single refused row stops the load. What a tolerated row leaves unknown is unknown: a period of a person,
            or the whole person, who then leaves the study (`retrain_eval.records.loading.refused`). Refused rows of
            which it is not known whose numbers they change are not tolerated.
        dry_run : bool
            Check everything, write nothing but the list of refusals.
        refusals : str or Path, optional
            CSV file in which every refused row is listed, in a dry run too; removed where no row is refused.
        watch : callable
            Given what is being done, and the share of the load that is done, from 0 to 1.
        announce : callable
            Given, line by line and before anything is stored, what layouts made of raw files.

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
        if self.as_of is not None:
            raise StoreError(f"the store is open as of vintage {self.as_of}: nothing can be loaded into the past")
        latest = loads.last_vintage(self.con)  # another Store of this process may have loaded
        listed = None if refusals is None else Path(refusals)
        loader = Loader(self.con, self.path, self.package, self.reading, latest, listed, watch, announce)
        reports = loader.load(files, mode, tolerate, dry_run)
        if self.vintage != (latest := loads.last_vintage(self.con)):
            self.vintage = latest
            self._show()
        return reports

    def tables(self) -> dict[str, int]:
        """Return the number of rows in force of each record type that has been loaded."""
        rows = {name: loads.in_force(self.con, self.package[name], self.vintage) for name in self.names}
        return {name: self._count(f"({sql})") for name, sql in rows.items() if sql is not None}

    def filled(self) -> dict[str, list[str]]:
        """Return, by record type, the columns that have a value in some row in force."""
        found = {}
        for name in self.tables():
            columns = self.con.table(name).columns
            some = ", ".join(f"EXISTS (FROM {sql_name(name)} WHERE {sql_name(c)} IS NOT NULL)" for c in columns)
            [there] = self.con.sql(f"SELECT {some}").fetchall()
            found[name] = [column for column, value in zip(columns, there, strict=True) if value]
        return found

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
        ``rows_repeated`` are exact duplicates, of which the first was loaded.
        """
        replaced = "max(id) FILTER (vintage IS NOT NULL AND mode = 'replace') OVER (PARTITION BY resource)"
        status = f"CASE WHEN status = 'loaded' AND id < {replaced} THEN 'replaced' ELSE status END AS status"
        repeated = "CASE WHEN vintage IS NULL THEN 0 ELSE rows_in - rows_loaded - rows_rejected END AS rows_repeated"
        return self.con.execute(f"SELECT * REPLACE ({status}), {repeated} FROM loads ORDER BY id").df()

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
        ids = [file.id for name in self.names for file in loads.held(self.con, name, self.vintage)]
        return self.con.execute(
            "SELECT resource AS name, file, sha256, rows_in, rows_rejected FROM loads "
            "WHERE list_contains($1::INTEGER[], id) ORDER BY name, id",
            [ids],
        ).df()

    def incomplete(self) -> list[str]:
        """Return lines on what refusals and missing rows of linkage leave unknown; empty if nothing."""
        return refused.say(self.con, self.names, self.vintage)

    def key(self) -> bytes:
        """Return the key in the environment that hashes identifiers, if it is the store's; otherwise refuse it."""
        return store_file.key_of(self.con, self.path)

    def fingerprint(self) -> str:
        """Return a hash of what the store shows: the files, the schemas and the number of rows loaded.

        It does not depend on when or in which order record types were loaded, nor on what came later.
        """
        return loads.fingerprint(self.con, self.names, self.vintage)

    # ---- inside ----------------------------------------------------------------------------------------------

    def _show(self) -> None:
        """Let the record types' names stand for the rows in force at the vintage shown."""
        left = refused.show(self.con, self.package, self.names, self.vintage)
        for name in self.names:
            rows = loads.in_force(self.con, self.package[name], self.vintage)
            if rows is not None:
                if left and "person_id" in self.package[name].columns:
                    rows = f"SELECT t.* FROM ({rows}) t ANTI JOIN {refused.LEAVERS} l ON t.person_id = l.person_id"
                # temporary, so that another vintage of the same file can be looked at in another process
                self.con.execute(f"CREATE OR REPLACE TEMP VIEW {sql_name(name)} AS {rows}")

    def _count(self, table: str) -> int:
        return int(self.con.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])
