"""The single entry point for opening a bundle: its folder may come from anyone, so nothing in it is trusted.

The folder is listed without following links. A link, a pipe, a device, or a file that the layout of a bundle does not
have is refused. Sizes are checked before a file is read, nesting before it is parsed, and what a Parquet file declares
before its columns are read. Every refusal is a `ReleaseError` that names the place and the limit.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from retrain_eval.common.errors import InputError, ReleaseError
from retrain_eval.common.untrusted import MIB, in_a_line, read_bytes, refuse, shown
from retrain_eval.plan.registered import PLAN
from retrain_eval.plan.study_file import FILE
from retrain_eval.release.layout import ADDITIVE, TABLES, check_name
from retrain_eval.release.question_file import ANSWERED
from retrain_eval.release.recipe_file import RECIPES

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"  # over the manifest, which therefore does not list it

# limits: several times what the largest edition of the shipped studies needs
MAX_FILES = 1_000
MAX_NAME = 255  # characters of a path inside the folder
MAX_TOTAL = 512 * MIB
MAX_BYTES: Mapping[str, int] = {
    MANIFEST: 4 * MIB,
    SIGNATURE: MIB // 16,
    FILE: MIB,
    PLAN: 16 * MIB,
    RECIPES: 32 * MIB,
    ANSWERED: MIB,
    ".csv": 16 * MIB,
    ".parquet": 128 * MIB,
}
MAX_LINES = 200_000  # of a CSV
MAX_LINE = 100_000  # bytes of a line of a CSV
MAX_ROWS, MAX_COLUMNS, MAX_ROW_GROUPS, MAX_LEVELS = 200_000, 500, 1_000, 2  # of a Parquet file; lists within lists
MAX_VALUES = 10_000_000  # values in a Parquet file; twice that in all of them together
MAX_UNPACKED = 256 * MIB  # bytes that a Parquet file declares for its columns


def is_bundle_file(name: str) -> bool:
    """Return whether the layout of a bundle has a file of this name, other than its manifest and signature.

    Examples
    --------
    >>> [is_bundle_file(name) for name in ("effects.csv", "moments/a.parquet", "moments/../a.parquet", "a.sh")]
    [True, True, False, False]
    """
    if name in (FILE, PLAN, RECIPES, ANSWERED) or name in {f"{table}.csv" for table in TABLES}:
        return True
    kind, _, file = name.partition("/")
    if kind not in ADDITIVE or not file.endswith(".parquet") or len(name) > MAX_NAME:
        return False
    try:
        check_name(file.removesuffix(".parquet"))
    except InputError:
        return False
    return True


def inventory(folder: Path) -> dict[str, int]:
    """Return the size of every file in a folder, by its path inside; links are refused, not followed.

    Raises
    ------
    ReleaseError
        If something in it is not a plain file or folder, or there are more, deeper or larger files than a bundle has.
    """
    sizes: dict[str, int] = {}
    for entry, name in _walk(folder, "", 0):
        facts = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(facts.st_mode):
            refuse(folder, name, "a symbolic link", "a bundle has plain files only")
        if not stat.S_ISREG(facts.st_mode):
            refuse(folder, name, "not a plain file", "a bundle has no pipes, sockets or devices")
        limit = limit_of(name)
        if facts.st_size > limit:
            refuse(folder, name, f"{facts.st_size:,} bytes", f"at most {limit:,} bytes")
        sizes[name] = facts.st_size
        if len(sizes) > MAX_FILES:
            raise ReleaseError(f"the bundle {folder} has more than {MAX_FILES:,} files")
    if (total := sum(sizes.values())) > MAX_TOTAL:
        raise ReleaseError(f"the bundle {folder} has {total:,} bytes; the limit is {MAX_TOTAL:,}")
    return sizes


def _walk(folder: Path, above: str, depth: int) -> Iterator[tuple[os.DirEntry[str], str]]:
    try:
        with os.scandir(folder / above) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise ReleaseError(f"{folder / above} cannot be listed: {error.strerror}") from None
    for number, entry in enumerate(inside):
        name = f"{above}/{entry.name}" if above else entry.name
        if number > MAX_FILES:
            raise ReleaseError(f"the bundle {folder} has more than {MAX_FILES:,} files")
        if len(name) > MAX_NAME:
            refuse(folder, name[:60] + "…", "its name is too long", f"at most {MAX_NAME} characters")
        if entry.is_dir(follow_symlinks=False):
            if depth:
                refuse(folder, name, "a folder within a folder", f"folders of a bundle are {', '.join(ADDITIVE)}")
            yield from _walk(folder, name, depth + 1)
        else:
            yield entry, name


def limit_of(name: str) -> int:
    """Return how many bytes a file of a bundle may have."""
    return MAX_BYTES.get(name) or MAX_BYTES.get(Path(name).suffix) or MAX_BYTES[".csv"]


def check_csv(folder: Path, name: str) -> None:
    """Refuse a CSV with more or longer lines than a table of results has, or that is not UTF-8 text."""
    content = read_bytes(folder, name, limit_of(name))
    if content.count(b"\n") > MAX_LINES:
        refuse(folder, name, f"{content.count(10):,} lines", f"at most {MAX_LINES:,}")
    if max(map(len, content.split(b"\n"))) > MAX_LINE:
        refuse(folder, name, "a line is too long", f"at most {MAX_LINE:,} bytes")
    if b"\0" in content:
        refuse(folder, name, "a null byte", "text in UTF-8")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ReleaseError(f"{folder}, {shown(name)}: not UTF-8 ({error.reason} at byte {error.start})") from None


def check_parquet(folder: Path, name: str) -> int:
    """Return how many values the footer of a Parquet file declares; refuse too many before any are read.

    Raises
    ------
    ReleaseError
        If there is no footer, or it declares too many rows, columns, row groups, values or bytes, or columns other than
        numbers, texts, booleans and lists of them.
    """
    try:
        with pq.ParquetFile(pa.BufferReader(read_bytes(folder, name, limit_of(name)))) as file:
            footer, schema = file.metadata, file.schema_arrow
    except (OSError, ValueError, pa.ArrowException, RecursionError, MemoryError) as error:
        raise ReleaseError(f"{folder}, {shown(name)}: cannot be read as Parquet: {in_a_line(error)}") from None
    for what, number, limit in (
        ("rows", footer.num_rows, MAX_ROWS),
        ("columns", footer.num_columns, MAX_COLUMNS),
        ("row groups", footer.num_row_groups, MAX_ROW_GROUPS),
    ):
        if not 0 <= number <= limit:
            refuse(folder, name, f"declares {number:,} {what}", f"at most {limit:,}")
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    columns = [group.column(j) for group in groups for j in range(group.num_columns)]
    values = sum(max(column.num_values, 0) for column in columns)
    unpacked = sum(max(column.total_uncompressed_size, 0) for column in columns)
    if values > MAX_VALUES:
        refuse(folder, name, f"declares {values:,} values", f"at most {MAX_VALUES:,}")
    if unpacked > MAX_UNPACKED:
        refuse(folder, name, f"declares {unpacked:,} bytes", f"at most {MAX_UNPACKED:,}")
    for field in schema:
        if not _plain_type(field.type):
            refuse(folder, name, f"the column {shown(field.name)} has the type {shown(field.type)}",
                    "only numbers, texts, and lists of them")  # fmt: skip
    return int(values)


def _plain_type(kind: pa.DataType, depth: int = 0) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return depth < MAX_LEVELS and _plain_type(kind.value_type, depth + 1)
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string,
             pa.types.is_large_string, pa.types.is_null)  # fmt: skip
    return any(test(kind) for test in tests)


def check_files(folder: Path, names: Mapping[str, object]) -> None:
    """Check every file of a bundle against its limits before any is read into a table."""
    values = 0
    for name in sorted(names):
        if name.endswith(".csv"):
            check_csv(folder, name)
        elif name.endswith(".parquet"):
            values += check_parquet(folder, name)
            if values > 2 * MAX_VALUES:
                raise ReleaseError(f"the tables of {folder} declare more than {2 * MAX_VALUES:,} values")
