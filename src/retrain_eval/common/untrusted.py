"""Untrusted files: read without following links, and limited before they are parsed.

Bundles are opened through `retrain_eval.release.opening`, which knows what a bundle may hold; this is what its readers
of texts, JSON and TOML share with those of a study's own folder.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from retrain_eval.common.errors import InputError, ReleaseError, RetrainEvalError

MIB = 2**20
MAX_BYTES = 32 * MIB  # of a file, unless its reader sets another limit
MAX_DEPTH = 32  # brackets within brackets, of JSON and TOML


def refuse(folder: Path, name: str, what: str, rule: str) -> NoReturn:
    """Refuse a file of a folder."""
    raise ReleaseError(f"{folder}, {shown(name)}: {what}; {rule}")


def shown(name: object, longest: int = 80) -> str:
    r"""Return untrusted text made safe for a message: one line, no control characters, not too long.

    Examples
    --------
    >>> shown("a\x1b[31m\nb")
    'a\\x1b[31m\\nb'
    """
    text = str(name)
    text = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text[:longest])
    return text + ("…" if len(str(name)) > longest else "")


def in_a_line(error: BaseException) -> str:
    """Return an error's message in one line; for an error from outside this package, also its type and place.

    A file with the right hash may still hold anything, so an error in reading it is usually the file's fault. If it is
    a bug in this package, the type and the place are what to report.

    Examples
    --------
    >>> in_a_line(InputError("unknown column")), in_a_line(KeyError("pay"))
    ('unknown column', "KeyError: 'pay'")
    """
    if isinstance(error, RetrainEvalError):
        return shown("; ".join(" ".join(line.split()) for line in str(error).splitlines()), 500)
    text = shown(next(iter(str(error).splitlines()), ""), 500)
    place, own = "", Path(__file__).parents[1]
    trace = error.__traceback__
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.is_relative_to(own):
            place = f" ({file.relative_to(own).as_posix()}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return f"{type(error).__name__}{': ' + text if text else ''}{place}"


def read_bytes(folder: Path, name: str, limit: int = MAX_BYTES) -> bytes:
    """Return the bytes of a file; refuse a link, and anything but a plain file of at most ``limit`` bytes."""
    path = folder / name
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise ReleaseError(f"no release bundle at {folder}: it has no {shown(name)}") from None
    except OSError as error:
        raise ReleaseError(f"{folder}, {shown(name)}: cannot be read ({error.strerror}); links are refused") from None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            refuse(folder, name, "not a plain file", "plain files only")
        content = file.read(limit + 1)
    if len(content) > limit:
        refuse(folder, name, "too large", f"at most {limit:,} bytes")
    return content


def read_text(folder: Path, name: str, limit: int = MAX_BYTES) -> str:
    """Return the text of a file, which must be UTF-8 and nested no deeper than `MAX_DEPTH`."""
    content = read_bytes(folder, name, limit)
    if depth_of(content) > MAX_DEPTH:
        refuse(folder, name, "nested too deeply", f"at most {MAX_DEPTH} brackets within each other")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ReleaseError(f"{folder}, {shown(name)}: not UTF-8 ({error.reason} at byte {error.start})") from None


def depth_of(content: bytes) -> int:
    """Return the nesting depth of brackets outside quoted texts.

    Examples
    --------
    >>> depth_of(b'{"a": ["[[[", {}]}')
    3
    """
    signs = np.frombuffer(_unquoted(content), dtype=np.uint8)
    opens, closes = np.isin(signs, list(b"[{")), np.isin(signs, list(b"]}"))
    return int(np.cumsum(opens.astype(np.int64) - closes).max(initial=0))


def _unquoted(content: bytes) -> bytes:
    return b"s".join(content.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])


def read_json(folder: Path, name: str, limit: int = MAX_BYTES, *, missing_numbers: bool = False) -> Any:
    """Return what a JSON file holds.

    Raises
    ------
    ReleaseError
        If it is not JSON, is nested too deeply, or has a key twice or a number that is not finite. ``missing_numbers``
        allows NaN.
    """
    text = read_text(folder, name, limit)
    try:
        return parse_json(text, missing_numbers=missing_numbers)
    except (ValueError, RecursionError) as error:
        raise ReleaseError(f"{folder}, {shown(name)}: cannot be read as JSON: {shown(error)}") from None


def parse_json(text: str, *, missing_numbers: bool = False) -> Any:
    """Return what a JSON text holds.

    Raises
    ------
    ValueError
        If it is not JSON, is nested too deeply, or has a key twice or a number that is not finite. ``missing_numbers``
        allows NaN.
    """

    def constant(word: str) -> float:
        if word == "NaN" and missing_numbers:
            return math.nan
        raise ValueError(f"{word} is not a number")

    if depth_of(text.encode()) > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} brackets within each other")
    return json.loads(text, object_pairs_hook=_once, parse_constant=constant, parse_float=_finite)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    items = dict(pairs)
    if len(items) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise ValueError(f"the key {shown(twice)!r} appears twice")
    return items


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a number")
    return number


# this many names in a row, each followed by a dot
_DOTTED = re.compile(rb"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){%d}" % MAX_DEPTH)


def read_toml(folder: Path, name: str, limit: int = MAX_BYTES) -> dict[str, Any]:
    """Return what a TOML file holds; refuse what `read_json` does."""
    content = read_bytes(folder, name, limit)
    try:
        return parse_toml(content)
    except (ValueError, RecursionError) as error:
        raise ReleaseError(f"{folder}, {shown(name)}: cannot be read as TOML: {shown(error)}") from None


def parse_toml(content: bytes) -> dict[str, Any]:
    """Return what TOML holds; nesting is checked before parsing, because the parser calls itself at each level.

    Raises
    ------
    ValueError
        If it is not TOML in UTF-8, or nested deeper than `MAX_DEPTH`.

    Examples
    --------
    >>> parse_toml(b"a.b = [1]")
    {'a': {'b': [1]}}
    >>> parse_toml(b"a = " + b"[" * 1000)
    Traceback (most recent call last):
    ...
    ValueError: nested too deeply: at most 32 brackets or names within each other
    """
    if depth_of(content) > MAX_DEPTH or _DOTTED.search(_unquoted(content)):
        raise ValueError(f"nested too deeply: at most {MAX_DEPTH} brackets or names within each other")
    return tomllib.loads(content.decode("utf-8"))


def own_bytes(path: Path, what: str, limit: int = MIB) -> bytes:
    """Return the bytes of a file in a study's own folder; links are followed, pipes and devices refused.

    Raises
    ------
    InputError
        If it is not a plain file, or is larger than ``limit`` bytes.
    OSError
        If it is missing or cannot be read.
    """
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InputError(f"{what} cannot be read", file=path, rule="a plain file, not a pipe, device or folder")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise InputError(f"{what} is too large", file=path, rule=f"at most {limit:,} bytes")
    return content
