"""Which files a study names: one by its name, or several by a pattern; and the order in which new ones are loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, groupby
from pathlib import Path

from retrain_eval.common.errors import InputError, together
from retrain_eval.common.text.raw_file import RawFile, open_raw

_YEARS = range(1900, 2101)


class Unordered(list[Path]):
    """Files that a pattern found: no one has said in which order they belong.

    Those that are loaded stay in the order in which they arrived; new ones come after them, by `order_of_name`.
    """


def deliveries(folder: Path, record_type: str, given: str | Iterable[str]) -> list[Path]:
    """Return the files of a record type, in the order of the study file and of `matching`.

    A list of names states an order. Where a pattern is among them, the result is `Unordered`.

    Raises
    ------
    InputError
        If no file matches a pattern.
    """
    texts = (given,) if isinstance(given, str) else tuple(given)
    found: list[Path] = []
    for text in texts:
        files = matching(folder, text)
        if not files:
            raise InputError(f"no file matches the pattern for {record_type}", file=folder / text)
        found += [file for file in files if file not in found]
    return Unordered(found) if any(_is_pattern(folder, text) for text in texts) else found


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
    if not _is_pattern(folder, text):
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
    name = _stem(path)
    numbers: list[int] = []
    for text in re.findall(r"[0-9]+", name):
        numbers += _date(text) or [int(text)]
    place = next((i for i, number in enumerate(numbers) if number in _YEARS), 0)
    if place > 1:
        return (numbers[place],), 0
    return (*numbers[place : place + 1], *numbers[:place], *numbers[place + 1 :]), len(name)


def _stem(path: Path) -> str:
    return re.sub(r"\.(csv|tsv|txt|parquet)(\.gz)?$", "", str(path), flags=re.IGNORECASE)


def in_order(deliveries: Sequence[RawFile], held: Sequence[str]) -> tuple[list[RawFile], list[set[str]]]:
    """Return deliveries in the order in which they count, and the hashes of those whose names leave it open.

    What is loaded stays in the order in which it arrived, whatever it is called; a delivery that is new, or whose
    content is, comes after it. New ones are in the order of their names.
    """
    paths = {raw.sha256: Path(os.path.abspath(raw.path)) for raw in deliveries}  # some may be given as relative ones
    start = Path(os.path.commonpath([path.parent for path in paths.values()]))
    place = {sha256: number for number, sha256 in enumerate(held)}
    new = [raw for raw in deliveries if raw.sha256 not in place]
    names = {raw.sha256: order_of_name(paths[raw.sha256].relative_to(start)) for raw in new}
    ordered = sorted(new, key=lambda raw: (names[raw.sha256], str(raw.path)))
    stems = {raw.sha256: _stem(paths[raw.sha256].relative_to(start)) for raw in new}
    ties = [open_order for _, rows in groupby(ordered, key=lambda raw: names[raw.sha256][0])
            if (open_order := _in_no_order([raw.sha256 for raw in rows], names, stems))]  # fmt: skip
    return sorted((raw for raw in deliveries if raw.sha256 in place), key=lambda raw: place[raw.sha256]) + ordered, ties


def _in_no_order(
    alike: Sequence[str], names: Mapping[str, tuple[tuple[int, ...], int]], stems: Mapping[str, str]
) -> set[str]:
    """Return those of files with the same numbers whose names do not say which of two is the later one."""
    pairs = combinations(alike, 2)
    return {
        sha256
        for one, other in pairs
        if names[one] == names[other] or not stems[other].startswith(stems[one])
        for sha256 in (one, other)
    }


def open_deliveries(
    name: str, files: str | Path | Sequence[str | Path]
) -> tuple[list[RawFile], list[tuple[RawFile, RawFile]]]:
    """Open the deliveries of a record type; return them, and pairs of a copy and the delivery that it is a copy of.

    Two in a list that are alike are refused: the second would be taken for loaded, where it may be meant to undo what
    came between them. Of two that a pattern finds, one is a copy.
    """
    raws: list[RawFile] = []
    faults: list[InputError] = []
    for file in [files] if isinstance(files, (str, Path)) else files:
        try:
            raws.append(open_raw(file))
        except InputError as error:
            faults.append(error)
    if faults:
        raise together(faults, "{n} files cannot be read")
    if not raws:
        raise InputError(f"no file is given for {name}", fix="name one, or drop the record type")
    seen: dict[str, RawFile] = {}
    copies: list[tuple[RawFile, RawFile]] = []
    for raw in raws:
        first = seen.setdefault(raw.sha256, raw)
        if first is not raw and isinstance(files, Unordered):
            copies.append((raw, first))
        elif first is not raw:
            raise InputError(
                f"two deliveries of {name} are the same file, byte for byte",
                file=raw.path,
                rule=f"the first is {first.path}",
                fix="give one of them",
            )
    return list(seen.values()), copies


def _date(text: str) -> list[int]:
    """Return year, month and, where it is there, day of six or eight digits; nothing if they are no date."""
    parts = [int(part) for part in (text[:4], text[4:6], text[6:8]) if part]
    date = len(text) in (6, 8) and parts[0] in _YEARS and 1 <= parts[1] <= 12 and (len(parts) < 3 or parts[2] <= 31)
    return parts if date else []


def _is_pattern(folder: Path, text: str) -> bool:
    return bool(set(text) & set("*?[")) and not (folder / text).exists()
