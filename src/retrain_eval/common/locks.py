"""One process at a time: a lock file that the system releases when its holder ends, however it ends."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from retrain_eval.common.disk import reason
from retrain_eval.common.errors import StoreError

if sys.platform == "win32":  # pragma: no cover
    import msvcrt
else:
    import fcntl

_PAUSE = 0.05  # seconds between two attempts
PATIENCE = 600.0  # seconds after which waiting is given up
_held: dict[str, tuple[int, int]] = {}  # path → thread and depth: a thread does not wait for a lock that it holds


def lock_file(target: Path) -> Path:
    """Return the lock file of a folder or file: hidden, next to it."""
    return target.with_name(f".{target.name}.lock")


@contextmanager
def locked(
    target: Path, *, say: Callable[[str], object] = lambda _: None, patience: float = PATIENCE
) -> Iterator[None]:
    """Hold the lock of a folder while the block runs; wait for another process that holds it.

    The lock is the system's (``flock``), so a killed process holds none. A block may take a lock again that it already
    holds.

    Parameters
    ----------
    target : Path
        What to lock; its parent must exist.
    say : callable
        Called with one line if another process holds the lock.
    patience : float
        Seconds after which waiting is given up.

    Raises
    ------
    StoreError
        If another process holds the lock for longer than that, or the file system has no locks.
    """
    path = lock_file(target.absolute())
    key, me = str(path), threading.get_ident()
    holder, depth = _held.get(key, (0, 0))
    if depth and holder == me:
        _held[key] = (me, depth + 1)
        try:
            yield
        finally:
            _held[key] = (me, depth)
        return
    handle = _acquire(path, target, say, patience)
    _held[key] = (me, 1)
    try:
        yield
    finally:
        del _held[key]
        _release(path, handle)


def is_free(path: Path) -> bool:
    """Return whether no living process holds a lock file; True where there is none."""
    try:
        handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        return _try(handle)
    except OSError:
        return False
    finally:
        os.close(handle)


def hold(path: Path) -> int:
    """Create a lock file and hold it until the process ends or `unlock` is called with the handle that is returned."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    _try(handle)
    return handle


def unlock(handle: int) -> None:
    """Release what `hold` returned."""
    os.close(handle)


def _acquire(path: Path, target: Path, say: Callable[[str], object], patience: float) -> int:
    waited, until = False, time.monotonic() + patience
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        except OSError as error:
            raise StoreError(f"cannot write to {path.parent}: {reason(error, path)}; nothing was changed") from error
        try:
            # the previous holder may have removed the file after we opened it: then it is not a lock
            if _try(handle) and _same(handle, path):
                with suppress(OSError):  # on a full disk the holder is not recorded
                    os.ftruncate(handle, 0)
                    os.write(handle, f"{os.getpid()}\n".encode())
                return handle
        except OSError as error:
            os.close(handle)
            raise StoreError(f"{path} cannot be locked: {error.strerror}; use a file system with locks") from error
        who = _holder(handle)
        os.close(handle)
        if time.monotonic() > until:
            raise StoreError(f"{target} is being written by {who}; wait until it has finished, or stop it")
        if not waited and time.monotonic() > until - patience + 4 * _PAUSE:
            say(f"waiting for {who}, which is writing {target}")
            waited = True
        time.sleep(_PAUSE)


def _holder(handle: int) -> str:
    with suppress(OSError, ValueError):
        return f"process {int(os.read(handle, 20))}"
    return "another process"


def _same(handle: int, path: Path) -> bool:
    try:
        current = os.stat(path)
    except OSError:
        return False
    return os.path.samestat(current, os.fstat(handle))


def _release(path: Path, handle: int) -> None:
    with suppress(OSError):  # an open file cannot be removed on Windows
        path.unlink()
    os.close(handle)


def _try(handle: int) -> bool:
    """Take the lock of an open file if no one holds it."""
    try:
        if sys.platform == "win32":  # pragma: no cover
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True
