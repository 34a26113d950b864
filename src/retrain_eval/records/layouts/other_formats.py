"""Files that DuckDB does not read: zipped, in other encodings, of Excel, Stata and SAS; written to Parquet or UTF-8.

The readers are openpyxl, pandas and pyreadstat, the extra ``files``; they are imported when such a file is met.
"""

from __future__ import annotations

import codecs
import datetime
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from retrain_eval.common.errors import InputError
from retrain_eval.common.files import scratch_folder
from retrain_eval.common.untrusted import shown

_ROWS = 100_000  # that are converted at a time
_KNOWN = re.compile(r"\.(xlsx|xlsm|dta|sas7bdat|xpt)$", re.IGNORECASE)
_INSTALL = 'pip install "retrain-eval[files]"'


def is_known(path: Path) -> bool:
    """Return whether a file is one of those that are converted."""
    return _KNOWN.search(path.name) is not None


def first_row(path: Path) -> int:
    """Return the number of the first row of data as a reader counts it: in a sheet it follows the header."""
    return 2 if path.suffix.lower() in (".xlsx", ".xlsm") else 1


def unpacked(path: Path, scratch: ExitStack) -> Path:
    """Return the one file in a zip file, unpacked; any other file as it is.

    Raises
    ------
    InputError
        If the zip file is damaged, is encrypted, or holds several files or none.
    """
    if path.suffix.lower() != ".zip":
        return path
    try:
        with zipfile.ZipFile(path) as archive:
            files = [one for one in archive.infolist() if not one.is_dir() and not one.filename.startswith("__MACOSX/")]
            if len(files) != 1:
                raise InputError(f"the zip file holds {len(files)} files", file=path, rule="one file",
                                 fix="unpack it and name the files")  # fmt: skip
            (one,) = files
            folder = scratch.enter_context(scratch_folder("retrain_eval_raw_"))
            if one.file_size > shutil.disk_usage(folder).free:
                raise InputError("there is no room to unpack the zip file", file=path, value=f"{one.file_size:,} bytes")
            target = folder / f"raw{_suffix(one.filename)}"
            with archive.open(one) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise InputError("the zip file cannot be read", file=path, rule=shown(error)) from None
    return target


def _suffix(name: str) -> str:
    found = re.search(r"(\.[A-Za-z0-9]{1,10})(\.gz)?$", name)
    return found[0] if found else ".txt"


def in_utf8(path: Path, encoding: str, scratch: ExitStack, delivered: Path) -> Path:
    """Return a text file in UTF-8: itself, or a copy of one that is written in another encoding."""
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        raise InputError("no such encoding", file="study.toml", column="encoding", value=shown(encoding),
                         fix="utf-8, latin-1 or cp1252") from None  # fmt: skip
    if name in ("utf-8", "ascii") or is_known(path) or path.suffix.lower() in (".parquet", ".gz"):
        return path
    target = scratch.enter_context(scratch_folder("retrain_eval_raw_")) / f"raw{_suffix(path.name)}"
    try:
        with path.open(encoding=name, newline="") as source, target.open("w", encoding="utf-8", newline="") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    except UnicodeError as error:
        raise InputError(f"the file is not {name}", file=delivered, rule=shown(error)) from None
    return target


def as_parquet(path: Path, scratch: ExitStack, delivered: Path, sheet: str) -> Path:
    """Return a file of Excel, Stata or SAS as Parquet; numbers and texts stay as they are, dates become texts."""
    target = scratch.enter_context(scratch_folder("retrain_eval_raw_")) / "raw.parquet"
    try:
        writer: pq.ParquetWriter | None = None
        for frame in _frames(path, delivered, sheet):
            if writer is None:
                fields = [pa.field(str(name), _kind(frame[name])) for name in frame.columns]
                writer = pq.ParquetWriter(target, pa.schema(fields))
            arrays = [_array(frame[field.name], field.type) for field in writer.schema]
            writer.write_table(pa.Table.from_arrays(arrays, schema=writer.schema))
        if writer is None:
            raise InputError("the file has no rows", file=delivered)
        writer.close()
    except ImportError as error:
        raise InputError(
            f"{error.name or 'a library'} is needed to read this file", file=delivered, fix=_INSTALL
        ) from None
    except InputError:
        raise
    except Exception as error:  # readers of other formats raise whatever a damaged file leads to
        raise InputError("the file cannot be read", file=delivered, rule=shown(error, 200)) from None
    return target


def _frames(path: Path, delivered: Path, sheet: str) -> Iterator[pd.DataFrame]:
    suffix = path.suffix.lower()
    if suffix == ".dta":
        with pd.read_stata(path, chunksize=_ROWS, convert_categoricals=False) as reader:
            yield from reader
    elif suffix in (".sas7bdat", ".xpt"):
        import pyreadstat

        read = pyreadstat.read_sas7bdat if suffix == ".sas7bdat" else pyreadstat.read_xport
        for frame, _about in pyreadstat.read_file_in_chunks(read, str(path), chunksize=_ROWS):
            if len(frame):
                yield frame
    else:
        yield from _sheet(path, delivered, sheet)


def _sheet(path: Path, delivered: Path, sheet: str) -> Iterator[pd.DataFrame]:
    from openpyxl import load_workbook

    book = load_workbook(path, read_only=True, data_only=True)
    try:
        if len(book.sheetnames) > 1 and not sheet:
            raise InputError("the workbook has several sheets", file=delivered, value=shown(", ".join(book.sheetnames)),
                             fix="name one: sheet = … in [sources.NAME]")  # fmt: skip
        if sheet and sheet not in book.sheetnames:
            raise InputError("the workbook has no such sheet", file=delivered, value=shown(sheet),
                             fix=f"it has: {shown(', '.join(book.sheetnames))}")  # fmt: skip
        rows = book[sheet or book.sheetnames[0]].iter_rows(values_only=True)
        names = ["" if cell is None else str(cell).strip() for cell in next(rows, ())]
        while names and not names[-1]:
            names.pop()
        if not names or not all(names) or len(set(names)) < len(names):
            raise InputError("the first row of the sheet must name every column, each once", file=delivered, row=1)
        while block := [row[: len(names)] for _, row in zip(range(_ROWS), rows, strict=False)]:
            full = [[*row, *[None] * (len(names) - len(row))] for row in block]
            yield pd.DataFrame(full, columns=pd.Index(names), dtype=object).map(_cell)
    finally:
        book.close()


def _cell(value: Any) -> str | None:
    """Return a cell of a sheet as text: whole numbers without a point, dates as YYYY-MM-DD."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ")
    return str(value)


def _kind(column: pd.Series[Any]) -> pa.DataType:
    return pa.float64() if pd.api.types.is_numeric_dtype(column.dtype) else pa.string()


def _array(column: pd.Series[Any], kind: pa.DataType) -> pa.Array:
    if kind == pa.float64():
        return pa.array(column.to_numpy(dtype=float), type=kind, from_pandas=True)
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        column = column.dt.strftime("%Y-%m-%d")
    return pa.array([None if pd.isna(value) else str(value) for value in column], type=kind)
