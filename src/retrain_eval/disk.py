"""Errors of the disk, in words: full, not to be written, gone; which path it was, and how much space is left."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from retrain_eval.errors import RetrainEvalError, StoreError
from retrain_eval.withholding import engine_says

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}
_FULL_TEXT = re.compile(
    "No space left on device|Disk quota exceeded|File too large|ENOSPC|database or disk is full|"
    "max_temp_directory_size|There is not enough space on the disk"
)
_NAMED = re.compile(r'(?:file|database) "([^"\n]+)"')
# what DuckDB raises where the machine, not the SQL, is to blame
OF_THE_MACHINE = (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.FatalException)


def is_full(error: BaseException | str) -> bool:
    """Return whether an error, or a program's output, says that a disk or a quota is full.

    Examples
    --------
    >>> is_full(OSError(28, "No space left on device")), is_full("ENOSPC: no space"), is_full(OSError(13, "denied"))
    (True, True, False)
    """
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return bool(_FULL_TEXT.search(str(error)))


def reason(error: BaseException, path: Path | None = None) -> str:
    """Return what an error of the disk says, in one line; of a full disk, with the space that is left on it.

    Parameters
    ----------
    error : OSError or an error of DuckDB
    path : Path, optional
        Where it happened, if the error does not name it.
    """
    if is_full(error):
        named = getattr(error, "filename", None) or path
        return f"the disk is full{_space(Path(os.fsdecode(named)) if named else None)}"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return engine_says(error) if isinstance(error, duckdb.Error) else str(error).splitlines()[0]


def _space(path: Path | None) -> str:
    if path is None:
        return ""
    there = path.absolute()
    try:
        while not there.exists():
            there = there.parent
        free = shutil.disk_usage(there).free
    except OSError:
        return ""
    return f" ({free / 2**20:,.1f} MB are free where {path} lies)"


def store_error(error: BaseException, place: Path, what: str = "") -> StoreError:
    """Return the package's error for one of the disk.

    Parameters
    ----------
    error : OSError or an error of DuckDB
    place : Path
        The folder that was worked on, where the error names no file.
    what : str
        What it means for the user, such as ``"the last results stand"``.

    Examples
    --------
    >>> print(store_error(PermissionError(13, "Permission denied", "/x/plan.json"), Path("/x")))
    /x/plan.json: Permission denied
    """
    named = getattr(error, "filename", None)
    found = _NAMED.search(str(error)) if isinstance(error, duckdb.Error) else None
    path = Path(os.fsdecode(named)) if isinstance(named, (str, bytes)) else Path(found[1]) if found else place
    return StoreError(f"{path}: {reason(error, path)}{f'; {what}' if what else ''}")


@contextmanager
def disk_errors(place: Path, what: str = "") -> Iterator[None]:
    """Turn every error of the disk in a block into a `StoreError` that names the path; see `store_error`."""
    try:
        yield
    except RetrainEvalError:
        raise
    except (OSError, *OF_THE_MACHINE) as error:
        raise store_error(error, place, what) from error
