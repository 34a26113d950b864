"""Which files a study names: one by its name, or several by a pattern, in the order they were numbered."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from retrain_eval.errors import InputError


def deliveries(folder: Path, record_type: str, given: str | Iterable[str]) -> list[Path]:
    """Return the files of a record type, in the order of the study file and of `matching`.

    Raises
    ------
    InputError
        If no file matches a pattern.
    """
    found: list[Path] = []
    for text in (given,) if isinstance(given, str) else given:
        files = matching(folder, text)
        if not files:
            raise InputError(f"no file matches the pattern for {record_type}", file=folder / text)
        found += files
    return found


def matching(folder: Path, text: str) -> list[Path]:
    """Return the file of this name, or the files of this pattern; ``w_2`` comes before ``w_10``.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("w_10.csv", "w_2.csv", ".w_1.csv", "w[3].csv"):
    ...     (folder / name).touch()
    >>> [path.name for path in matching(folder, "w_*.csv")], [path.name for path in matching(folder, "w[3].csv")]
    (['w_2.csv', 'w_10.csv'], ['w[3].csv'])
    """
    path = folder / text
    if not set(text) & set("*?[") or path.exists():
        return [path]
    start = Path(path.anchor) if Path(text).is_absolute() else folder
    files = [file for file in start.glob(str(path.relative_to(start))) if not file.name.startswith(".")]

    def order(file: Path) -> tuple[list[str | int], str]:
        parts = re.split(r"(\d+)", str(file))
        return [int(part) if part.isdecimal() else part for part in parts], str(file)

    return sorted(files, key=order)
