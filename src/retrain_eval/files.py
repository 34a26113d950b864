"""Writing so that a kill at any moment leaves the last good state."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from retrain_eval.errors import StoreError


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``target`` when the block ends without error.

    An existing ``target`` is set aside and removed only after the new one stands in its place; if the
    process dies between the two renames, `put_back` restores it.

    Raises
    ------
    StoreError
        If the folder cannot be written: read-only, no space.
    """
    aside = _aside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        put_back(target)
        if aside.exists():
            shutil.rmtree(aside)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise StoreError(f"cannot write to {target.parent}: {error.strerror}; nothing was changed") from error
    try:
        yield work
        work.chmod(0o755)
        if target.exists():
            target.rename(aside)
        work.rename(target)
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise StoreError(f"cannot write {target}: {error.strerror}; the previous state stands") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_writable(folder: Path) -> None:
    """Raise ``StoreError`` if nothing can be written in a folder, or the folder not be made: before long work."""
    there = folder
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK):
        raise StoreError(f"cannot write to {folder}: {os.strerror(errno.EACCES)}; nothing was changed")


def put_back(target: Path) -> None:
    """Restore a folder whose writer died between its two renames; do nothing otherwise."""
    with suppress(OSError):  # read-only: the reader finds no folder, and says so
        if not target.exists() and _aside(target).exists():
            _aside(target).rename(target)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.previous")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(name).chmod(0o644)  # a temporary file is for its owner alone, an edition is for every reader
    Path(name).replace(path)
