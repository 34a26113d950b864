"""UTF-8 for file names, arguments and output, whatever the locale."""

from __future__ import annotations

import os
import sys


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
