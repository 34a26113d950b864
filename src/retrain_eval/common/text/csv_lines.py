"""A CSV file as bytes: is it text, where does each record start, and what is wrong with it.

A line break ends a record if an even number of quotes stands before it (RFC 4180).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from retrain_eval.common.arrays import Ints
from retrain_eval.common.errors import InputError

PADDED = "\x01"  # DuckDB's mark of a missing value, which no text file holds: only padding is then NULL
_CHUNK = 1 << 22
_LONGEST_LINE = 1 << 21  # DuckDB reads lines up to 2 MB


def open_bytes(path: Path) -> BinaryIO:
    """Open a file, compressed or not, to be read as bytes."""
    return cast(BinaryIO, gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


class Part(NamedTuple):
    """Whole lines of a CSV file."""

    text: bytes
    first_line: int
    starts: Ints  # line on which each record that ends in this part starts
    blanks: Ints  # lines that are blank and no part of a quoted value
    open_quote: int | None  # line of the record that is still open when the part ends

    def __repr__(self) -> str:
        """Return the size and the first line, not the text, which is rows about people."""
        return f"Part({len(self.text):,} bytes from line {self.first_line})"


def scan(path: Path) -> Iterator[Part]:
    """Yield a CSV file in parts, with the lines on which records start.

    A line break ends a record if an even number of quotes stands before it: RFC 4180 doubles a quote inside
    a value, and allows none in a value that is not quoted.
    """
    line, start, quotes = 1, 1, 0
    with open_bytes(path) as file:
        while text := file.read(_CHUNK):
            text += file.readline(_LONGEST_LINE)
            whole = text if text.endswith(b"\n") else text + b"\n"
            if text is not whole and file.read(1):
                raise _too_long(path, line + text.count(b"\n"))
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
            if len(width) and width.max() > _LONGEST_LINE:
                raise _too_long(path, line + int(width.argmax()))
            blank = (width == 0) | ((width == 1) & (data[breaks - 1] == ord("\r")))
            closing = numbers[ends]
            starts = np.concatenate([[start], closing[:-1] + 1]) if len(closing) else closing
            empty = (starts == closing) & blank[ends]
            quotes = (quotes + len(marks)) % 2
            start = int(closing[-1]) + 1 if len(closing) else start
            yield Part(text, line, starts[~empty], starts[empty], start if quotes else None)
            line += len(breaks)


def _too_long(path: Path, line: int) -> InputError:
    fix = "is this text with lines that end in LF or CR LF?"
    return InputError("a line is longer than 2 MB", file=path, row=line, fix=fix)


def check_text(part: Part, path: Path) -> None:
    """Refuse bytes that are not UTF-8 text with line feeds."""
    try:
        part.text.decode("utf-8")
        at = part.text.find(b"\0")
        what, fix = "the file holds a NUL byte", "is this a text file? UTF-16 must be saved as UTF-8"
        if at < 0:
            at = part.text.find(PADDED.encode())
            what, fix = "the file holds a control character", "is this a text file? remove the character"
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


def quote_error(path: Path, line: int | None) -> InputError:
    """Return the error for quotes that do not pair."""
    return InputError(
        "a quote is opened and not closed, or stands inside a value that is not quoted",
        file=path,
        row=line,
        rule='a value with a quote, a delimiter or a line break is quoted: "so ""called"" value"',
    )


def line_of(path: Path, logical: int) -> int | None:
    """Translate a line number that counts quoted line breaks as nothing into a line of the file."""
    seen = 0
    for part in scan(path):
        lines = np.sort(np.concatenate([part.starts, part.blanks]))
        if logical <= seen + len(lines):
            return int(lines[logical - seen - 1])
        seen += len(lines)
    return None


def mixed_ending(path: Path) -> int | None:
    """Return the first line that ends as line 1 does not, or has a carriage return that is not quoted; or None."""
    with open_bytes(path) as file:
        first = file.readline().endswith(b"\r\n")
        for number, line in enumerate(file, start=2):
            other = line.endswith(b"\n") and line.endswith(b"\r\n") != first
            if other or (b"\r" in line.rstrip(b"\r\n") and b'"' not in line):
                return number
    return None
