"""The DuckDB store of validated records.

A load is all or nothing: files are checked in temporary tables, then one transaction replaces the content of
the tables. A process killed at any moment leaves the last complete load.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import duckdb
import pandas as pd

from retrain_eval import ingest as validation
from retrain_eval import loads
from retrain_eval.errors import InputError, StoreError
from retrain_eval.ingest import Staged
from retrain_eval.rawfile import RawFile, open_raw
from retrain_eval.resources import resource as shipped
from retrain_eval.schemas import ddl
from retrain_eval.sources import sql_name
from retrain_eval.table_schema import Package, load_package

_OFFLINE = {"autoinstall_known_extensions": False}  # a store of person records asks nothing of a network


@dataclass(frozen=True)
class IngestReport:
    """What became of one file.

    Attributes
    ----------
    resource, file, sha256 : str
        Record type, name of the file, hash of its bytes.
    rows_in, rows_loaded, rows_rejected : int
        Rows of the file, and how many of them stand in the store and in ``rejects``.
    already_loaded : bool
        True if the store held this very file, so that nothing was done.
    absent : tuple of str
        Declared columns that the file does not have; they are missing in every row.
    """

    resource: str
    file: str
    sha256: str
    rows_in: int
    rows_loaded: int
    rows_rejected: int
    already_loaded: bool = False
    absent: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.already_loaded:
            return f"{self.resource}: {self.file} is already loaded ({self.rows_loaded:,} rows), nothing to do"
        refused = f", {self.rows_rejected:,} refused" if self.rows_rejected else ""
        return f"{self.resource}: {self.rows_loaded:,} rows loaded from {self.file}{refused}"


class Store:
    r"""A DuckDB file of records; use as a context manager.

    Attributes
    ----------
    con : DuckDBPyConnection
        The connection, for SQL on the tables: one per record type, ``loads`` (every load with its file's
        SHA-256) and ``rejects`` (every refused row).
    path : Path
        The file.
    package : Package
        The record types that the store can hold.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "person.csv").write_text("person_id,age\nP1,31\nP2,27\n")
    >>> with Store.open(folder / "records.duckdb") as store:
    ...     print(store.ingest("person", folder / "person.csv"))
    ...     print(store.ingest("person", folder / "person.csv"))
    person: 2 rows loaded from person.csv
    person: person.csv is already loaded (2 rows), nothing to do
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, path: Path, package: Package) -> None:
        self.con, self.path, self.package = con, path, package

    @classmethod
    def open(
        cls,
        path: str | Path,
        create: bool = True,
        memory_limit: str = "2GB",
        package: Package | None = None,
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

        Raises
        ------
        StoreError
            If the file is missing and ``create`` is false, is in use by another process, is not a DuckDB
            file, was written by a newer DuckDB, or cannot be written.
        """
        path = Path(path)
        if not create and not path.exists():
            raise StoreError(f"there is no store at {path}; ingest records first")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not _is_duckdb(path):
                raise StoreError(f"{path} is not a store: it is no DuckDB file; ingest into a new one")
            con = duckdb.connect(str(path), config={"memory_limit": memory_limit, **_OFFLINE})
        except OSError as error:
            raise StoreError(f"the store {path} cannot be made: {error.strerror}") from error
        except duckdb.Error as error:
            raise _open_error(path, str(error)) from error
        _sweep(path)
        try:
            con.execute(loads.TABLES)
        except duckdb.Error as error:
            con.close()
            raise StoreError(f"the store {path} cannot be written: {error}") from error
        return cls(con, path, package if package is not None else load_package(shipped("data_schemas")))

    def close(self) -> None:
        """Close the connection; the file can then be opened by another process."""
        self.con.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ingest(self, resource: str, file: str | Path, *, tolerate: float = 0.0, append: bool = False) -> IngestReport:
        """Validate one file and load it; see `ingest_all`."""
        return self.ingest_all({resource: file}, tolerate=tolerate, append=append)[0]

    def ingest_all(
        self, files: Mapping[str, str | Path], *, tolerate: float = 0.0, append: bool = False
    ) -> list[IngestReport]:
        """Validate files and load all of them, or none.

        Parameters
        ----------
        files : mapping
            File (CSV or Parquet) by record type. Order does not matter: what is referred to comes first.
        tolerate : float
            Largest share of a file's rows that may be refused while the others are loaded. By default a
            single refused row stops the load.
        append : bool
            Add the rows to those in the store. By default a file takes the place of what was loaded for
            its record type before.

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
        for name in files:
            self.package[name]
        raws = {resource.name: open_raw(files[resource.name]) for resource in self.package if resource.name in files}
        done = {name: report for name, raw in raws.items() if (report := self._loaded(name, raw, tolerate, append))}
        todo = {name: raw for name, raw in raws.items() if name not in done}
        if todo:
            with self._scratch():
                done |= self._load(todo, tolerate, append)
        return [done[name] for name in raws]

    def tables(self) -> dict[str, int]:
        """Return the number of rows of each record type that has been loaded."""
        return {name: self._count(sql_name(name)) for name in self.package.names if self._has(name)}

    def rejects(self) -> pd.DataFrame:
        """Return the refused rows: ``load_id, resource, file, line, column, value, rule, message``.

        ``line`` is the line of the file on which the row starts, header included, counted from 1; in a
        Parquet file the row, counted from 1. One row of the frame per rule that a row broke. A file that
        was refused twice is listed once.
        """
        return self.con.execute('SELECT * FROM rejects ORDER BY load_id, line, "column", rule').df()

    def loads(self) -> pd.DataFrame:
        """Return the loads, oldest first, each with the status ``loaded``, ``replaced`` or ``refused``."""
        return self.con.execute("SELECT * FROM loads ORDER BY id").df()

    def fingerprint(self) -> str:
        """Return a hash of what the store holds: the files, the schemas and the number of rows loaded.

        It does not depend on when or in which order the files were loaded.
        """
        return loads.fingerprint(self.con)

    def _load(self, raws: Mapping[str, RawFile], tolerate: float, append: bool) -> dict[str, IngestReport]:
        con, batch = self.con, dict[str, Staged]()
        validation.begin(con)
        for name, raw in raws.items():
            resource = self.package[name]
            on_top = append and self._has(name)
            if on_top:
                self._check_schema(name, raw)
            staged = validation.stage(con, resource, raw, append=on_top)
            validation.check_unique(con, staged)
            batch[name] = staged  # before its references, which may be to itself
            for key in resource.foreign_keys:
                validation.check_reference(con, staged, key, self._rows(key.reference.resource, batch))
        validation.find_lines(con, list(batch.values()))
        counts = con.execute(
            f"SELECT resource, count(DISTINCT record) FROM {validation.REFUSED} GROUP BY ALL"
        ).fetchall()
        refused = dict.fromkeys(raws, 0) | dict(counts)
        if any(refused[name] > tolerate * raw.rows for name, raw in raws.items()):
            with self._transaction():
                for name, staged in batch.items():
                    if refused[name]:
                        loads.enter(con, staged, refused[name], "refused")
            raise validation.refusal(con, list(batch.values()), refused)
        for resource in self.package:
            if resource.name not in batch and self._has(resource.name):
                targets = {name: self._rows(name, batch) for name in batch}
                validation.check_kept(con, resource, targets)
        with self._transaction():
            for name, staged in batch.items():
                self._write(staged)
                loads.enter(con, staged, refused[name], "loaded")
        return {
            name: IngestReport(
                resource=name,
                file=raw.path.name,
                sha256=raw.sha256,
                rows_in=raw.rows,
                rows_loaded=raw.rows - refused[name],
                rows_rejected=refused[name],
                absent=tuple(column for column in self.package[name].columns if column not in raw.columns),
            )
            for name, raw in raws.items()
        }

    def _loaded(self, name: str, raw: RawFile, tolerate: float, append: bool) -> IngestReport | None:
        """Return a report if loading the file would change nothing."""
        held = loads.held(self.con, name)
        if not append and len(held) != 1:  # several files were appended, and only one of them is wanted
            return None
        for file in held:
            same = (file.sha256, file.schema_sha256) == (raw.sha256, self.package[name].sha256)
            if same and file.rows_rejected <= tolerate * file.rows_in:
                counts = (file.rows_in, file.rows_loaded, file.rows_rejected)
                return IngestReport(name, raw.path.name, raw.sha256, *counts, already_loaded=True)
        return None

    def _rows(self, name: str, batch: Mapping[str, Staged]) -> str | None:
        """Return SQL for the rows of a record type as they will stand after the load; None if it has none."""
        parts = []
        if name in batch:
            parts.append(batch[name].rows())
        if self._has(name) and (name not in batch or batch[name].append):
            parts.append(f"SELECT * FROM {sql_name(name)}")
        return " UNION ALL ".join(parts) or None

    def _check_schema(self, name: str, raw: RawFile) -> None:
        """Refuse to append to rows that were loaded under another schema."""
        if any(file.schema_sha256 != self.package[name].sha256 for file in loads.held(self.con, name)):
            raise InputError(
                f"the schema of {name} has changed since its rows were loaded",
                file=raw.path,
                fix="load all its files again, the first one without append",
            )

    def _write(self, staged: Staged) -> None:
        resource = staged.resource
        if not staged.append:
            self.con.execute(f"DROP TABLE IF EXISTS {sql_name(resource.name)}")
            self.con.execute(ddl(resource))
        self.con.execute(f"INSERT INTO {sql_name(resource.name)} {staged.rows()}")

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
        found = self.con.execute(
            "SELECT count(*) FROM duckdb_tables() WHERE database_name = current_database() AND table_name = $1", [name]
        ).fetchall()
        return bool(found[0][0])

    def _count(self, table: str) -> int:
        return int(self.con.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


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
