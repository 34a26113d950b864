"""Text for a terminal: UTF-8 whatever the locale, and no control characters."""

from __future__ import annotations

import os
import sys

from rich.markup import escape


def use_utf8() -> None:
    """Restart Python in UTF-8 mode (PEP 540) if a locale such as ``C`` would make it use another encoding.

    DuckDB and Arrow read file names as UTF-8 whatever the locale, so Python must too: otherwise a folder with an accent
    in its name could not be opened, or would be a different folder.
    """
    if os.name == "posix" and not sys.flags.utf8_mode and sys.getfilesystemencoding().lower() not in ("utf-8", "utf8"):
        os.environ["PYTHONUTF8"] = "1"  # for child processes too
        os.execv(sys.executable, [sys.executable, "-X", "utf8", "-m", "retrain_eval", *sys.argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and getattr(stream, "errors", "") == "strict":
            reconfigure(errors="backslashreplace")  # a terminal with another encoding shows \\u2026


def for_terminal(text: str) -> str:
    r"""Escape control characters, which could move the cursor or reverse text, and rich's markup; lines stay lines.

    Arguments, file names and values of records reach a terminal only through this.

    Examples
    --------
    >>> print(for_terminal("edition A\x1b[2J"))
    edition A\x1b[2J
    """
    plain = "".join(
        sign if sign.isprintable() or sign in "\n\t" else sign.encode("unicode_escape").decode() for sign in text
    )
    return escape(plain)
