"""Disk errors in words: full, not writable, missing; with the path and the free space."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from retrain_eval.common.errors import RetrainEvalError, StoreError
from retrain_eval.common.withholding import engine_says

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}
_FULL_TEXT = re.compile(
    "No space left on device|Disk quota exceeded|File too large|ENOSPC|database or disk is full|"
    "max_temp_directory_size|There is not enough space on the disk"
)
_NAMED = re.compile(r'(?:file|database) "([^"\n]+)"')
# what DuckDB raises if the machine, not the SQL, is the cause
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
    """Return the message of a disk error in one line; for a full disk, with the free space.

    Parameters
    ----------
    error : OSError or DuckDB error
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
    folder = path.absolute()
    try:
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
    except OSError:
        return ""
    return f" ({free / 2**20:,.1f} MB are free at {path})"


def store_error(error: BaseException, place: Path, what: str = "") -> StoreError:
    """Return the package's error for a disk error.

    Parameters
    ----------
    error : OSError or DuckDB error
    place : Path
        The folder in use, if the error does not name a file.
    what : str
        What it means for the user, such as ``"the last results are kept"``.

    Examples
    --------
    >>> print(store_error(PermissionError(13, "Permission denied", "/x/plan.json"), Path("/x")))
    /x/plan.json: Permission denied
    """
    named = getattr(error, "filename", None)
    match = _NAMED.search(str(error)) if isinstance(error, duckdb.Error) else None
    path = Path(os.fsdecode(named)) if isinstance(named, (str, bytes)) else Path(match[1]) if match else place
    return StoreError(f"{path}: {reason(error, path)}{f'; {what}' if what else ''}")


@contextmanager
def disk_errors(place: Path, what: str = "") -> Iterator[None]:
    """Turn every disk error in a block into a `StoreError` that names the path; see `store_error`."""
    try:
        yield
    except RetrainEvalError:
        raise
    except (OSError, *OF_THE_MACHINE) as error:
        raise store_error(error, place, what) from error
