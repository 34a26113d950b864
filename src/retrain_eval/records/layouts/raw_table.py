"""A raw file as a table of text: CSV, fixed width, Parquet, Excel, Stata and SAS, also zipped or in another encoding.

What DuckDB cannot read itself is written once to a private scratch folder, as Parquet or as UTF-8 text; messages name
the file as it was delivered.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np

from retrain_eval.common.arrays import Ints
from retrain_eval.common.errors import InputError
from retrain_eval.common.files import sha256
from retrain_eval.common.sql import sql_name, sql_text
from retrain_eval.common.text.csv_lines import Part, check_text, open_bytes
from retrain_eval.common.text.raw_file import RawFile, open_raw
from retrain_eval.records.layouts import other_formats

Kind = str
_CHUNK = 1 << 24
_NONE = np.zeros(0, dtype=np.int64)
_TABLES = r"\.(csv|tsv|parquet)(\.gz)?$"
_FLOATS = ("FLOAT", "DOUBLE")


@dataclass(frozen=True)
class RawTable:
    """A delivered file that can be read as rows of text.

    Attributes
    ----------
    path : Path
        The file as delivered, for messages.
    sha256 : str
        Hash of its bytes.
    columns : tuple of str
        Its header; empty for fixed width.
    rows : int
        Rows after the header, or lines; blank ones do not count.
    file : RawFile, optional
        How the table is read; none for fixed width.
    text : Path
        The lines of a file of fixed width.
    first : int
        Number of the first row in messages, where rows are numbered and not lines.
    """

    path: Path
    sha256: str
    columns: tuple[str, ...]
    rows: int
    file: RawFile | None = None
    text: Path = Path()
    first: int = 1

    @property
    def fixed_width(self) -> bool:
        """Whether fields are positions in lines."""
        return self.file is None

    def sql(self) -> str:
        """Return SQL for the rows: ``_record`` (from 1), ``_ragged``, and the columns as text, or ``line``."""
        if self.file is None:
            path = sql_text(re.sub(r"([\[*?])", r"[\1]", str(self.text)))
            return (
                f"SELECT row_number() OVER () AS _record, false AS _ragged, line FROM read_csv({path}, "
                "columns = {'line': 'VARCHAR'}, auto_detect = false, header = false, delim = '\x01', quote = '', "
                "escape = '', parallel = false)"
            )
        if self.file.delimiter:
            return self.file.sql()
        floats = {name for name, kind in zip(self.columns, self.file.types, strict=True) if kind in _FLOATS}
        whole = "{0} = trunc({0}) AND abs({0}) < 1e15"
        values = ", ".join(
            f"CASE WHEN {whole.format(sql_name(name))} THEN CAST(CAST({sql_name(name)} AS BIGINT) AS VARCHAR) "
            f"WHEN NOT isnan({sql_name(name)}) THEN CAST({sql_name(name)} AS VARCHAR) END AS {sql_name(name)}"
            if name in floats
            else sql_name(name)
            for name in self.columns
        )
        return f"SELECT _record, _ragged, {values} FROM ({self.file.sql(native=floats)})"

    def lines(self, records: Ints) -> Ints:
        """Return the line on which each row starts, ascending; of a table without lines, the number of the row."""
        if self.file is None:
            return records
        if not self.file.delimiter:
            return records + (self.first - 1)
        unique, place = np.unique(records, return_inverse=True)
        return self.file.lines(unique)[place]

    def check_unchanged(self) -> None:
        """Raise ``InputError`` if the file was written to since it was opened."""
        if self.file is not None:
            self.file.check_unchanged()

    def parse_error(self, error: duckdb.Error) -> InputError | None:
        """Return the error for a file that cannot be read to its end; None if the file is not to blame."""
        if self.file is None:
            rule = "every line ends with LF, or every line with CR LF"
            blamed = re.search("CSV (Error|Parser)", str(error))
            return InputError("the lines of the file cannot be read", file=self.path, rule=rule) if blamed else None
        found = self.file.parse_error(error)
        if found is not None and self.path != self.file.path:
            return InputError(str(found).splitlines()[0], file=self.path, row=found.row, rule=found.rule)
        return found


def open_table(path: Path, kind: Kind, scratch: ExitStack, *, encoding: str = "utf-8", sheet: str = "") -> RawTable:
    """Look at a raw file and return what is needed to read it.

    Parameters
    ----------
    path : Path
        The file; its name says what it is.
    kind : {"table", "fixed_width", "either"}
        What the layout takes. Of ``either``, a file called .csv, .tsv or .parquet is a table, as are those of Excel,
        Stata and SAS; any other is of fixed width.
    scratch : ExitStack
        Keeps the folder of what had to be unpacked or converted.
    encoding : str
        Of text.
    sheet : str
        Of an Excel workbook with several.

    Raises
    ------
    InputError
        If the file is missing, cannot be read, is empty, or is of a type that the layout does not take.
    """
    if path.is_dir():
        raise InputError("this is a folder, not a file", file=path)
    if not path.exists():
        raise InputError("file not found", file=path)
    try:
        size = path.stat().st_size
        if not size:
            raise InputError("the file is empty (0 bytes)", file=path)
        inner = other_formats.unpacked(path, scratch)
        inner = other_formats.in_utf8(inner, encoding, scratch, path)
        found = _open(inner, path, kind, scratch, sheet)
    except OSError as error:
        raise InputError(f"the file cannot be read: {error.strerror or error}", file=path) from None
    if inner != path or not found.sha256:
        found = replace(found, sha256=sha256(path))
    return found


def _open(inner: Path, path: Path, kind: Kind, scratch: ExitStack, sheet: str) -> RawTable:
    is_table = bool(re.search(_TABLES, inner.name, re.IGNORECASE)) or other_formats.is_known(inner)
    if kind == "fixed_width" and is_table:
        raise InputError("the layout reads files of fixed width", file=path, fix="use a layout of tables")
    if kind == "fixed_width" or (kind == "either" and not is_table):
        return _lines(inner, path)
    first = 1
    if other_formats.is_known(inner):
        inner, first = other_formats.as_parquet(inner, scratch, path, sheet), other_formats.first_row(inner)
    try:
        raw = open_raw(inner, is_text=True)
    except InputError as error:
        if inner == path:
            raise
        raise InputError(str(error).splitlines()[0], file=path, row=error.row, rule=error.rule, fix=error.fix) from None
    return RawTable(path, raw.sha256 if inner == path else "", raw.columns, raw.rows, raw, first=first)


def _lines(inner: Path, path: Path) -> RawTable:
    """Look at a file of fixed width: its hash, whether it is text, and how many lines are not blank."""
    digest, rows, number = hashlib.sha256(), 0, 1
    endings: set[bool] = set()
    for text in _whole_lines(inner):
        digest.update(text)
        check_text(Part(text, number, _NONE, _NONE, None), path)
        breaks, returns = text.count(b"\n"), text.count(b"\r\n")
        endings |= {True} if returns == breaks and breaks else {False} if not returns else {True, False}
        doubled = b"\n\n" in text or b"\n\r\n" in text or text.startswith((b"\n", b"\r\n"))
        blank = len(re.findall(rb"(?m)^\r?\n", text)) if doubled else 0
        rows += breaks + (not text.endswith(b"\n")) - blank
        number += breaks
    if len(endings) > 1:
        raise InputError(
            "lines end in different ways",
            file=path,
            rule="every line ends with LF, or every line with CR LF",
            fix="save the file with one kind of line ending",
        )
    if not rows:
        raise InputError("the file has no rows", file=path, rule="at least one line that is not blank")
    return RawTable(path, digest.hexdigest() if inner == path and path.suffix.lower() != ".gz" else "", (), rows,
                    text=inner)  # fmt: skip


def _whole_lines(path: Path) -> Iterator[bytes]:
    with open_bytes(path) as file:
        while text := file.read(_CHUNK):
            yield text + file.readline()
