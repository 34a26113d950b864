"""A delivered file before anything in it is believed: its bytes, its header, and where each record stands.

A CSV file is read twice: once here, as bytes, to learn its hash, whether it is text, and on which line each
record starts; once by DuckDB. The two counts of records must agree, so that no row is lost to a stray quote.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt

from retrain_eval.errors import InputError
from retrain_eval.files import sha256
from retrain_eval.records.identifiers import withhold
from retrain_eval.sources import sql_name, sql_text

SURPLUS = 8  # fields beyond the header that a row may have and still be refused as a row, not as a file
_CHUNK = 1 << 22
_LONGEST_LINE = 1 << 21  # DuckDB reads lines up to 2 MB
_PADDED = "\x01"  # DuckDB's mark of a missing value, which no text file holds: only padding is then NULL
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_CSV_ERROR = "CSV (Error|Parser)"  # how DuckDB speaks of a file that is not CSV
_KNOWN = "UTF-8 text, .csv or .tsv with a header line, or .parquet"


@dataclass(frozen=True)
class RawFile:
    """A file that can be read as records.

    Attributes
    ----------
    path : Path
        As given.
    sha256 : str
        Hash of its bytes.
    columns : tuple of str
        Names in the header.
    rows : int
        Records after the header; blank lines do not count.
    delimiter : str
        Of a CSV file; empty for Parquet.
    types : tuple of str
        DuckDB's types of a Parquet file's columns; empty for CSV.
    plain : bool
        Whether record ``r`` stands on line ``r + 1`` (CSV: no blank line, no line break in quotes).
    """

    path: Path
    sha256: str
    columns: tuple[str, ...]
    rows: int
    delimiter: str
    types: tuple[str, ...]
    plain: bool
    stamp: tuple[int, int]

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
            f"nullstr = {sql_text(_PADDED)}, parallel = false)"  # only the serial reader pads and keeps quoted breaks
        )

    def lines(self, records: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
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
        for part in _scan(self.path):
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
        line = _line_of(self.path, int(found[1])) if found else None
        if "unterminated quote" in text:
            return _quote_error(self.path, line)
        if "Expected Number of Columns" in text:
            return InputError(
                f"a row has many more fields than the header's {len(self.columns)}",
                file=self.path,
                row=line,
                rule="fields",
            )
        ending = _mixed_ending(self.path)
        if ending is not None:
            return InputError(
                "lines end in different ways",
                file=self.path,
                row=ending,
                rule="every line ends with LF, or every line with CR LF",
                fix="save the file with one kind of line ending",
            )
        return InputError("the file is not valid CSV", file=self.path, row=line, rule=text.splitlines()[0])


def open_raw(path: str | Path) -> RawFile:
    """Look at a file as bytes and return what is needed to read it.

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
    if path.suffix != ".parquet" and path.suffix not in _DELIMITERS:
        raise InputError("unknown file type", file=path, fix=_KNOWN)
    try:
        stamp = _stamp(path)
        if stamp[1] == 0:
            raise InputError("the file is empty (0 bytes)", file=path, rule="a header and at least one row")
        path.open("rb").close()  # DuckDB would blame the content
        return _open_parquet(path, stamp) if path.suffix == ".parquet" else _open_csv(path, stamp)
    except OSError as error:
        raise InputError(f"the file cannot be read: {error.strerror}", file=path) from error


def _stamp(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size


def _open_parquet(path: Path, stamp: tuple[int, int]) -> RawFile:
    with duckdb.connect() as con:
        try:
            relation = con.sql(f"FROM {_parquet(path)}")
            columns, types = tuple(relation.columns), tuple(map(str, relation.types))
            counted = relation.aggregate("count(*)").fetchall()
        except duckdb.Error as error:
            raise InputError(
                "the file is not valid Parquet", file=path, rule=str(error).splitlines()[0], fix="write the file again"
            ) from None
    return RawFile(path, sha256(path), columns, _some_rows(path, int(counted[0][0])), "", types, True, stamp)


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
    for part in _scan(path):
        digest.update(part.text)
        _check_text(part, path)
        if 1 in part.blanks:
            raise InputError("the file begins with a blank line", file=path, row=1, fix="put the header on line 1")
        records += len(part.starts)
        lines = part.first_line + part.text.count(b"\n") - part.text.endswith(b"\n")
        open_quote = part.open_quote
    if open_quote is not None:
        raise _quote_error(path, open_quote)
    delimiter = _DELIMITERS[path.suffix]
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next((row for row in csv.reader(file, delimiter=delimiter) if row), [])
    for place, name in enumerate(header, start=1):
        if not name.strip():
            fix = "name the column or drop it; R's write.csv adds one unless row.names = FALSE"
            raise InputError(f"column {place} has no name", file=path, row=1, rule="header", fix=fix)
        if header.count(name) > 1:
            raise InputError(f"column {withhold(name)!r} stands twice in the header", file=path, row=1, rule="header")
    rows = _some_rows(path, records - 1)
    return RawFile(path, digest.hexdigest(), tuple(header), rows, delimiter, (), lines == records, stamp)


def _some_rows(path: Path, rows: int) -> int:
    if rows < 1:
        raise InputError("the file has no rows", file=path, rule="a header and at least one row")
    return rows


class _Part(NamedTuple):
    """Whole lines of a CSV file."""

    text: bytes
    first_line: int
    starts: npt.NDArray[np.int64]  # line on which each record that ends in this part starts
    blanks: npt.NDArray[np.int64]  # lines that are blank and no part of a quoted value
    open_quote: int | None  # line of the record that is still open when the part ends


def _scan(path: Path) -> Iterator[_Part]:
    """Yield a CSV file in parts, with the lines on which records start.

    A line break ends a record if an even number of quotes stands before it: RFC 4180 doubles a quote inside
    a value, and allows none in a value that is not quoted.
    """
    line, start, quotes = 1, 1, 0
    with path.open("rb") as file:
        while text := file.read(_CHUNK):
            text += file.readline(_LONGEST_LINE)
            whole = text if text.endswith(b"\n") else text + b"\n"
            if text is not whole and file.read(1):
                raise InputError(
                    "a line is longer than 2 MB",
                    file=path,
                    row=line + text.count(b"\n"),
                    fix="is this text with lines that end in LF or CR LF?",
                )
            data = np.frombuffer(whole, dtype=np.uint8)
            breaks = np.flatnonzero(data == ord("\n"))
            before = np.zeros(len(breaks), dtype=np.int64)
            marks = np.flatnonzero(data == ord('"'))
            if quotes or len(marks):
                before = np.searchsorted(marks, breaks)
            ends = (before + quotes) % 2 == 0
            numbers = line + np.arange(len(breaks))  # the line that each break closes
            previous = np.concatenate([[-1], breaks[:-1]])
            width = breaks - previous - 1
            blank = (width == 0) | ((width == 1) & (data[breaks - 1] == ord("\r")))
            closing = numbers[ends]
            starts = np.concatenate([[start], closing[:-1] + 1]) if len(closing) else closing
            empty = (starts == closing) & blank[ends]
            quotes = (quotes + len(marks)) % 2
            start = int(closing[-1]) + 1 if len(closing) else start
            yield _Part(text, line, starts[~empty], starts[empty], start if quotes else None)
            line += len(breaks)


def _check_text(part: _Part, path: Path) -> None:
    """Refuse bytes that are not UTF-8 text with line feeds."""
    try:
        part.text.decode("utf-8")
        at = part.text.find(b"\0")
        what, fix = "the file holds a NUL byte", "is this a text file? UTF-16 must be saved as UTF-8"
    except UnicodeDecodeError as error:
        at, what, fix = error.start, "the file is not UTF-8", "save it as UTF-8"
    if at >= 0:
        line = part.first_line + part.text.count(b"\n", 0, at)
        byte = at - part.text.rfind(b"\n", 0, at)
        place = f"byte {byte} of the line is 0x{part.text[at]:02x}"
        raise InputError(what, file=path, row=line, value=place, rule="UTF-8 text", fix=fix)
    if b"\r" in part.text and b"\n" not in part.text:
        rule = "lines end in LF or CR LF"
        raise InputError("the lines end in bare CR", file=path, rule=rule, fix="save it with LF line endings")


def _quote_error(path: Path, line: int | None) -> InputError:
    return InputError(
        "a quote is opened and not closed, or stands inside a value that is not quoted",
        file=path,
        row=line,
        rule='a value with a quote, a delimiter or a line break is quoted: "so ""called"" value"',
    )


def _line_of(path: Path, logical: int) -> int | None:
    """Translate a line number that counts quoted line breaks as nothing into a line of the file."""
    seen = 0
    for part in _scan(path):
        lines = np.sort(np.concatenate([part.starts, part.blanks]))
        if logical <= seen + len(lines):
            return int(lines[logical - seen - 1])
        seen += len(lines)
    return None


def _mixed_ending(path: Path) -> int | None:
    """Return the first line that ends as line 1 does not, or has a carriage return that is not quoted; or None."""
    with path.open("rb") as file:
        first = file.readline().endswith(b"\r\n")
        for number, line in enumerate(file, start=2):
            other = line.endswith(b"\n") and line.endswith(b"\r\n") != first
            if other or (b"\r" in line.rstrip(b"\r\n") and b'"' not in line):
                return number
    return None
