"""Write files so that a kill at any moment leaves the last good state, readable only by those who may read it."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

from retrain_eval.common.disk import reason
from retrain_eval.common.errors import StoreError
from retrain_eval.common.locks import hold, is_free, locked, unlock

PRIVATE, PUBLIC = (0o700, 0o600), (0o755, 0o644)  # modes of a folder and of a file in it
Access = Literal["public", "private", "as written"]
_OWNER = ".owner.lock"  # in a temporary folder: locked while its process runs


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def new_folder(target: Path, *, access: Access = "public") -> Iterator[Path]:
    """Yield an empty folder that becomes ``target`` when the block ends without error.

    An existing ``target`` is set aside and removed only after the new one is in its place; if the process dies between
    the two renames, `put_back` restores it. Processes write the same target one at a time, and what a killed one left
    behind is removed.

    Parameters
    ----------
    target : Path
    access : {"public", "private", "as written"}
        Who may read it, whatever the umask: anyone (0755, 0644), its owner (0700, 0600), or as set in the block.

    Raises
    ------
    StoreError
        If the folder cannot be written: read-only, no space.
    """
    with ExitStack() as stack:
        try:
            _make_folder(target.parent, PRIVATE[0] if access == "private" else PUBLIC[0])
            stack.enter_context(locked(target))
            _put_back(target)
            _sweep(target)
            work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        except OSError as error:
            raise StoreError(
                f"cannot write to {target.parent}: {reason(error, target)}; nothing was changed"
            ) from error
        try:
            yield work
            if access != "as written":
                set_modes(work, *(PRIVATE if access == "private" else PUBLIC))
            aside = _aside(target)
            if target.exists():
                target.rename(aside)
            work.rename(target)
            shutil.rmtree(aside, ignore_errors=True)
        except OSError as error:
            raise StoreError(f"cannot write {target}: {reason(error, target)}; the previous state is kept") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Yield a temporary folder that only its owner can read; if this process is killed, the next call removes it.

    Parameters
    ----------
    prefix : str
        Prefix of its name; folders with the same prefix and owner whose process has ended are removed first.
    """
    with suppress(OSError):
        for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
            pid = re.match(r"(\d+)_", left.name.removeprefix(prefix))
            if not (pid and left.is_dir() and not left.is_symlink() and _mine(left)):
                continue
            owner = left / _OWNER
            if is_free(owner) if owner.exists() else not _alive(int(pid[1])):
                shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}_"))
    handle = None
    try:
        handle = hold(work / _OWNER)
        inner = work / "work"
        inner.mkdir(mode=PRIVATE[0])
        yield inner
    finally:
        if handle is not None:
            unlock(handle)
        shutil.rmtree(work, ignore_errors=True)


def check_writable(folder: Path) -> None:
    """Raise ``StoreError`` if nothing can be written in a folder, or the folder not be made: before long work."""
    there = folder
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK):
        raise StoreError(f"cannot write to {folder}: {os.strerror(errno.EACCES)}; nothing was changed")


def _make_folder(folder: Path, mode: int) -> None:
    """Create a folder and any missing parents with this mode, whatever the umask."""
    if not folder.exists():
        _make_folder(folder.parent, mode)
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)


def put_back(target: Path) -> None:
    """Restore a folder whose writer died between its two renames; do nothing otherwise."""
    if not target.exists() and _aside(target).exists():
        with suppress(OSError, StoreError), locked(target):  # read-only: the reader reports the missing folder
            _put_back(target)


def _put_back(target: Path) -> None:
    if not target.exists() and _aside(target).exists():
        _aside(target).rename(target)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.previous")


def _sweep(target: Path) -> None:
    """Remove what killed writers of a target left behind; the caller holds its lock, so none of them is running."""
    left = re.compile(rf"\.{re.escape(target.name)}\.(?:previous|staged|[a-z0-9_]{{8}})")
    for path in target.parent.iterdir():
        if left.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def write_text(path: Path, text: str, *, access: Access = "public") -> None:
    """Write a text file completely or not at all; remove what a killed writer of it left behind."""
    left = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}")
    with locked(path):
        for other in path.parent.glob(".*"):
            if left.fullmatch(other.name) and other.is_file() and not other.is_symlink():
                with suppress(OSError):
                    other.unlink()
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).chmod(PRIVATE[1] if access == "private" else PUBLIC[1])
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise


def set_modes(folder: Path, of_folder: int, of_file: int) -> None:
    """Set the modes of a folder and of everything in it, whatever the umask was; symbolic links are left alone."""
    for root, _, files in os.walk(folder):
        os.chmod(root, of_folder)
        for name in files:
            if not (path := Path(root, name)).is_symlink():
                path.chmod(of_file)


def private_folder(folder: Path) -> str:
    """Create a folder that only its owner can read, or tighten one; return a line if that changed anything.

    A folder that belongs to someone else is left as it is, and the line says so.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE[0])
    if os.name != "posix":  # pragma: no cover
        return ""
    wide = not is_new and bool(folder.stat().st_mode & 0o077)
    try:
        for root, folders, files in os.walk(folder):
            for name, mode in [("", PRIVATE[0]), *((name, PRIVATE[1]) for name in files)]:
                path = Path(root, name)
                if not path.is_symlink() and path.stat().st_mode & 0o777 != mode:
                    path.chmod(mode)
            folders[:] = [name for name in folders if not Path(root, name).is_symlink()]
    except FileNotFoundError:  # removed by another process
        pass
    except OSError:
        return f"{folder} can be read by others and cannot be changed: its owner should run chmod -R go= on it"
    return f"{folder} could be read by others; now only its owner can read it" if wide else ""


def private_file(path: Path) -> None:
    """Make a file readable only by its owner, if it exists and is ours."""
    with suppress(OSError):
        if path.is_file():
            path.chmod(PRIVATE[1])


def _mine(path: Path) -> bool:
    return os.name != "posix" or path.stat().st_uid == os.getuid()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
