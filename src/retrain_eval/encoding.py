"""UTF-8 wherever the locale has another encoding: names of files, arguments and what is printed."""

from __future__ import annotations

import os
import sys


def use_utf8() -> None:
    """Start Python anew in its UTF-8 mode (PEP 540) where a locale such as ``C`` would have it use another encoding.

    DuckDB and Arrow take names of files as UTF-8 whatever the locale is, so that Python has to as well: else a folder
    with an accent in its name could not be opened, or would be another folder.
    """
    if os.name == "posix" and not sys.flags.utf8_mode and sys.getfilesystemencoding().lower() not in ("utf-8", "utf8"):
        os.environ["PYTHONUTF8"] = "1"  # for programs that are started as well
        os.execv(sys.executable, [sys.executable, "-X", "utf8", "-m", "retrain_eval", *sys.argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and getattr(stream, "errors", "") == "strict":
            reconfigure(errors="backslashreplace")  # a terminal of another encoding shows what it cannot as \\u2026
