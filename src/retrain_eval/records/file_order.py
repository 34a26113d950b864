"""Files by a name or a pattern, and what their names say about their order."""

from __future__ import annotations

import re
from pathlib import Path

_YEARS = range(1900, 2101)


def matching(folder: Path, text: str) -> list[Path]:
    """Return the file of this name, or the files of this pattern in the order of their names.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("w_10.csv", "w_2.csv", ".w_1.csv", "w[3].csv", "w_2-corrected.csv"):
    ...     (folder / name).touch()
    >>> [path.name for path in matching(folder, "w_*.csv")], [path.name for path in matching(folder, "w[3].csv")]
    (['w_2.csv', 'w_2-corrected.csv', 'w_10.csv'], ['w[3].csv'])
    """
    path = folder / text
    if not is_pattern(folder, text):
        return [path]
    start = Path(path.anchor) if Path(text).is_absolute() else folder
    files = [file for file in start.glob(str(path.relative_to(start))) if not file.name.startswith(".")]
    return sorted(files, key=lambda file: (order_of_name(file.relative_to(start)), str(file)))


def order_of_name(path: Path) -> tuple[tuple[int, ...], int]:
    """Return what the name of a file says about its place among deliveries: its numbers, then its length.

    ``w_2`` comes before ``w_10``, and a name before the same name with something added. Dates of six or eight digits
    are read as year, month and day, and a year stands first wherever it is written. Of a date such as ``15-03-2018``,
    whose first two numbers could be day and month or the other way round, only the year counts. Two names that give
    the same are in no order; nor are two of the same numbers neither of which begins with the other, such as
    ``w_2018_orig`` and ``w_2018_fix``.

    Examples
    --------
    >>> names = ["w_2018-corrected.csv", "w_2018 (2).csv", "w_2018.csv", "w_Q4_2017.csv", "w_20180630.csv"]
    >>> sorted(names, key=lambda name: order_of_name(Path(name)))
    ['w_Q4_2017.csv', 'w_2018.csv', 'w_2018-corrected.csv', 'w_2018 (2).csv', 'w_20180630.csv']
    >>> order_of_name(Path("w_15-03-2018.csv")) == order_of_name(Path("w_3-15-2018.csv"))
    True
    """
    name = stem(path)
    numbers: list[int] = []
    for text in re.findall(r"[0-9]+", name):
        numbers += _date(text) or [int(text)]
    place = next((i for i, number in enumerate(numbers) if number in _YEARS), 0)
    if place > 1:
        return (numbers[place],), 0
    return (*numbers[place : place + 1], *numbers[:place], *numbers[place + 1 :]), len(name)


def stem(path: Path) -> str:
    """Return the name of a file without what says its type."""
    return re.sub(
        r"\.(csv|tsv|txt|dat|parquet|xlsx|xlsm|dta|sas7bdat|xpt|zip)(\.gz)?$", "", str(path), flags=re.IGNORECASE
    )


def _date(text: str) -> list[int]:
    """Return year, month and, where it is there, day of six or eight digits; nothing if they are no date."""
    parts = [int(part) for part in (text[:4], text[4:6], text[6:8]) if part]
    date = len(text) in (6, 8) and parts[0] in _YEARS and 1 <= parts[1] <= 12 and (len(parts) < 3 or parts[2] <= 31)
    return parts if date else []


def is_pattern(folder: Path, text: str) -> bool:
    """Return whether a text stands for several files: it has signs of a pattern, and no file is called so."""
    return bool(set(text) & set("*?[")) and not (folder / text).exists()
