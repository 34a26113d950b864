"""A delivered file before anything in it is believed: its bytes, its header, and where each record stands.

A CSV file is read twice: once here, as bytes, to learn its hash, whether it is text, and on which line each
record starts; once by DuckDB. The two counts of records must agree, so that no row is lost to a stray quote.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np

from retrain_eval.common.arrays import Ints
from retrain_eval.common.errors import InputError
from retrain_eval.common.files import sha256
from retrain_eval.common.sql import connect, sql_name, sql_text
from retrain_eval.common.text.csv_lines import PADDED, check_text, line_of, mixed_ending, open_bytes, quote_error, scan
from retrain_eval.common.withholding import withhold

SURPLUS = 8  # fields beyond the header that a row may have and still be refused as a row, not as a file
_RESERVED = {"_record", "_ragged", *(f"_surplus_{i}" for i in range(SURPLUS))}
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_CSV_ERROR = "CSV (Error|Parser)"  # how DuckDB speaks of a file that is not CSV
_KNOWN = "UTF-8 text, .csv or .tsv (or .csv.gz) with a header line, or .parquet"


@dataclass(frozen=True)
class RawFile:
    """A file that can be read as records.

    Attributes
    ----------
    path : Path
        As given.
    sha256 : str
        Hash of its bytes; empty where none was asked for.
    columns : tuple of str
        Names in the header.
    rows : int
        Records after the header; blank lines do not count.
    delimiter : str
        Of a CSV file, as its header shows: comma, semicolon, tab or bar; empty for Parquet.
    types : tuple of str
        DuckDB's types of a Parquet file's columns; empty for CSV.
    plain : bool
        Whether record ``r`` stands on line ``r + 1`` (CSV: no blank line, no line break in quotes).
    hidden : tuple of str
        Columns of `sql` that no record has: what cannot be read, of a file that a layout reads.
    """

    path: Path
    sha256: str
    columns: tuple[str, ...]
    rows: int
    delimiter: str
    types: tuple[str, ...]
    plain: bool
    stamp: tuple[int, int]
    hidden: tuple[str, ...] = ()

    @property
    def ragged_rule(self) -> str:
        """What a row with other fields than the header breaks."""
        return f"the row must have {len(self.columns)} fields, as the header has"

    def sql(self, native: Collection[str] = ()) -> str:
        """Return SQL that reads the file as text: ``_record`` (from 1), ``_ragged``, and the columns.

        ``_ragged`` is true where a row has fewer or more fields than the header. ``native`` columns of a Parquet file
        keep their own type.
        """
        names = [sql_name(name) for name in self.columns]
        if not self.delimiter:
            values = ", ".join(
                sql_name(name) if name in native else f"CAST({sql_name(name)} AS VARCHAR) AS {sql_name(name)}"
                for name in self.columns
            )
            return (
                f"SELECT file_row_number + 1 AS _record, false AS _ragged, {values} "
                f"FROM {_parquet(self.path, 'file_row_number = true')}"
            )
        surplus = [f"_surplus_{i}" for i in range(SURPLUS)]
        columns = ", ".join(f"{sql_text(name)}: 'VARCHAR'" for name in (*self.columns, *surplus))
        path = _literal(self.path)
        return (
            f"SELECT row_number() OVER () AS _record, "
            f"{names[-1]} IS NULL OR _surplus_0 IS NOT NULL AS _ragged, "
            f"{', '.join(names)} FROM read_csv({path}, columns = {{{columns}}}, auto_detect = false, header = true, "
            f"""delim = {sql_text(self.delimiter)}, quote = '"', escape = '"', null_padding = true, """
            f"nullstr = {sql_text(PADDED)}, parallel = false)"  # only the serial reader pads and keeps quoted breaks
        )

    def parquet(self) -> str:
        """Return the table function of a Parquet file: that one file, without columns from the names of folders."""
        return _parquet(self.path)

    def fast_sql(self, missing: Sequence[str]) -> str:
        """Return SQL that reads the columns of a plain CSV file as text, in parallel; ``missing`` texts are NULL.

        A row with fewer or more fields than the header is an error of DuckDB, which `row_error` explains.
        """
        columns = ", ".join(f"{sql_text(name)}: 'VARCHAR'" for name in self.columns)
        return (
            f"SELECT * FROM read_csv({_literal(self.path)}, columns = {{{columns}}}, auto_detect = false, "
            f"""header = true, delim = {sql_text(self.delimiter)}, quote = '"', escape = '"', """
            f"nullstr = [{', '.join(map(sql_text, missing))}])"
        )

    def row_error(self, con: duckdb.DuckDBPyConnection) -> InputError | None:
        """Return the error for the first row that has other fields than the header; None if there is none."""
        try:
            found = con.execute(f"SELECT _record FROM ({self.sql()}) WHERE _ragged ORDER BY 1 LIMIT 1").fetchall()
        except duckdb.Error as error:
            return self.parse_error(error)
        for (record,) in found:
            return InputError(
                f"a row has other fields than the header, which has {len(self.columns)}",
                file=self.path,
                row=self.line(record),
                rule="fields",
                fix="a value that holds the separator is quoted",
            )
        return None

    def line(self, record: int) -> int:
        """Return the line on which one record starts; see `lines`."""
        return int(self.lines(np.array([record], dtype=np.int64))[0])

    def lines(self, records: Ints) -> Ints:
        """Return the line on which each record starts, header included, from 1; a Parquet file's row number.

        Parameters
        ----------
        records : int ndarray, shape (n,)
            Record numbers from 1, ascending.
        """
        if not self.delimiter:
            return records
        if self.plain:
            return records + 1
        found = []
        seen = 0  # the header is record 0
        for part in scan(self.path):
            starts = part.starts
            mine = records[(records >= seen) & (records < seen + len(starts))]
            found.append(starts[mine - seen])
            seen += len(starts)
        return np.concatenate(found)

    def check_unchanged(self) -> None:
        """Raise ``InputError`` if the file was written to since it was opened."""
        if _stamp(self.path) != self.stamp:
            raise InputError(
                "the file changed while it was being read", file=self.path, fix="load it when it is complete"
            )

    def parse_error(self, error: duckdb.Error) -> InputError | None:
        """Return the error for a file that DuckDB cannot read to its end; None if the file is not to blame."""
        text = str(error)
        full = isinstance(error, duckdb.OutOfMemoryException) or "Could not write" in text
        if full or (self.delimiter and not re.search(_CSV_ERROR, text)):
            return None
        if not self.delimiter:
            return InputError("the Parquet file cannot be read", file=self.path, rule=text.splitlines()[0])
        found = re.search(r"CSV Error on Line: (\d+)", text)
        line = line_of(self.path, int(found[1])) if found else None
        if "unterminated quote" in text:
            return quote_error(self.path, line)
        if "Expected Number of Columns" in text:
            return InputError(
                f"a row has many more fields than the header's {len(self.columns)}",
                file=self.path,
                row=line,
                rule="fields",
            )
        ending = mixed_ending(self.path)
        if ending is not None:
            return InputError(
                "lines end in different ways",
                file=self.path,
                row=ending,
                rule="every line ends with LF, or every line with CR LF",
                fix="save the file with one kind of line ending",
            )
        return InputError("the file is not valid CSV", file=self.path, row=line, rule=text.splitlines()[0])


def open_raw(path: str | Path, *, hashed: bool = True, is_text: bool = False) -> RawFile:
    """Look at a file as bytes and return what is needed to read it; without ``hashed`` its hash is left out.

    ``is_text`` reads a file whose name says no type, such as ``extract.txt``, as CSV.

    Raises
    ------
    InputError
        If it is missing, a folder, of an unknown type, empty, not UTF-8, holds NUL bytes, leaves a quote open,
        or has a header with a missing or repeated name. The line and byte are named where they are known.
    """
    path = Path(path)
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = str(path).encode(errors="replace").decode()
        raise InputError("the file's name is not UTF-8", file=shown, fix="rename it") from None
    if path.is_dir():
        raise InputError("this is a folder, not a file", file=path, fix=f"give one file: {_KNOWN}")
    if not path.exists():
        raise InputError("file not found", file=path)
    kind = _kind(path) or ("csv" if is_text else None)
    if kind is None:
        raise InputError("unknown file type", file=path, fix=_KNOWN)
    try:
        stamp = _stamp(path)
        if stamp[1] == 0:
            raise InputError("the file is empty (0 bytes)", file=path, rule="a header and at least one row")
        path.open("rb").close()  # DuckDB would blame the content
        found = _open_parquet(path, stamp, hashed) if kind == "parquet" else _open_csv(path, stamp)
        return found if hashed or kind == "parquet" else replace(found, sha256="")
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"the file cannot be read: {getattr(error, 'strerror', None) or error}", file=path) from error


def _kind(path: Path) -> str | None:
    """Return what a file's name says that it is: csv, tsv or parquet."""
    found = re.search(r"\.(?:(csv|tsv)(?:\.gz)?|(parquet))$", path.name, re.IGNORECASE)
    return (found[1] or found[2]).lower() if found else None


def _stamp(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size


def _open_parquet(path: Path, stamp: tuple[int, int], hashed: bool) -> RawFile:
    with connect() as con:
        try:
            relation = con.sql(f"FROM {_parquet(path)}")
            columns, types = tuple(relation.columns), tuple(map(str, relation.types))
            counted = relation.aggregate("count(*)").fetchall()
        except duckdb.Error as error:
            raise InputError(
                "the file is not valid Parquet", file=path, rule=str(error).splitlines()[0], fix="write the file again"
            ) from None
    digest = sha256(path) if hashed else ""
    return RawFile(path, digest, columns, _some_rows(path, int(counted[0][0])), "", types, True, stamp)


def _parquet(path: Path, *options: str) -> str:
    """Return the table function of a Parquet file; its columns are those in it, whatever the folders are called."""
    return f"read_parquet({', '.join((_literal(path), 'hive_partitioning = false', *options))})"


def _literal(path: Path) -> str:
    """Return a path in SQL: that one file, whatever is in its name."""
    return sql_text(re.sub(r"([\[*?])", r"[\1]", str(path)))


def _open_csv(path: Path, stamp: tuple[int, int]) -> RawFile:
    digest = hashlib.sha256()
    records = lines = 0
    open_quote = None
    for part in scan(path):
        digest.update(part.text)
        check_text(part, path)
        if 1 in part.blanks:
            raise InputError("the file begins with a blank line", file=path, row=1, fix="put the header on line 1")
        records += len(part.starts)
        lines = part.first_line + part.text.count(b"\n") - part.text.endswith(b"\n")
        open_quote = part.open_quote
    if open_quote is not None:
        raise quote_error(path, open_quote)
    delimiter, header = _header(path)
    for place, name in enumerate(header, start=1):
        if not name.strip():
            fix = "name the column or drop it; R's write.csv adds one unless row.names = FALSE"
            raise InputError(f"column {place} has no name", file=path, row=1, rule="header", fix=fix)
        if header.count(name) > 1:
            raise InputError(f"column {withhold(name)!r} stands twice in the header", file=path, row=1, rule="header")
        if name.lower() in _RESERVED:
            raise InputError(
                f"a column is called {name!r}", file=path, row=1, rule="this name is used in reading", fix="rename it"
            )
        first = next(other for other in header if other.encode().lower() == name.encode().lower())
        if first != name:
            raise InputError(
                f"columns {withhold(first)!r} and {withhold(name)!r} differ only in capital letters",
                file=path,
                row=1,
                rule="names in SQL are the same in capital and in small letters",
                fix="rename one of them",
            )
    rows = _some_rows(path, records - 1)
    hashed = sha256(path) if path.suffix.lower() == ".gz" else digest.hexdigest()
    return RawFile(path, hashed, tuple(header), rows, delimiter, (), lines == records, stamp)


def _header(path: Path) -> tuple[str, list[str]]:
    """Return the separator and the names of the first record; no row after it decides what separates."""
    with open_bytes(path) as file:
        text = file.readline()
        while text.count(b'"') % 2:
            text += file.readline()
    record = text.decode("utf-8-sig")
    bare = re.sub(r'"[^"]*"', "", record)
    found = [mark for mark in _DELIMITERS if mark in bare] if _kind(path) != "tsv" else ["\t"]
    if len(found) > 1:
        raise InputError(
            f"the header holds {' and '.join(_DELIMITERS[mark] for mark in found)}: what separates the columns?",
            file=path,
            row=1,
            rule="one of comma, semicolon, tab and bar stands between names",
            fix="quote the names that hold another of them",
        )
    delimiter = found[0] if found else ","
    try:
        return delimiter, next(csv.reader(io.StringIO(record, newline=""), delimiter=delimiter))
    except csv.Error as error:  # a name of more than 128 kB
        raise InputError("the header cannot be read", file=path, row=1, rule=str(error)) from error


def _some_rows(path: Path, rows: int) -> int:
    if rows < 1:
        raise InputError("the file has no rows", file=path, rule="a header and at least one row")
    return rows
