"""Which files a study names: one by its name, or several by a pattern; and the order in which new ones are loaded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations, groupby
from pathlib import Path

from retrain_eval.common.errors import InputError, together
from retrain_eval.common.text.raw_file import RawFile, open_raw
from retrain_eval.records.file_order import is_pattern, matching, order_of_name, stem
from retrain_eval.records.layouts.delivery import LayoutDelivery
from retrain_eval.records.layouts.sources import BySource


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
    return Unordered(found) if any(is_pattern(folder, text) for text in texts) else found


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
    stems = {raw.sha256: stem(paths[raw.sha256].relative_to(start)) for raw in new}
    ties = [open_order for _, rows in groupby(ordered, key=lambda raw: names[raw.sha256][0])
            if (open_order := _in_no_order([raw.sha256 for raw in rows], names, stems))]  # fmt: skip
    return sorted((raw for raw in deliveries if raw.sha256 in place), key=lambda raw: place[raw.sha256]) + ordered, ties


def held_first(deliveries: Sequence[RawFile], held: Sequence[str]) -> tuple[list[RawFile], list[set[str]]]:
    """Return deliveries of several sources in the order in which they count, and hashes as `in_order` does.

    What is loaded stays as it arrived; new ones follow as the study file has their sources, and within one whose files
    a pattern found by their names.
    """
    place = {sha256: number for number, sha256 in enumerate(held)}
    by_source: dict[str, list[RawFile]] = {}
    for raw in deliveries:
        if isinstance(raw, LayoutDelivery) and raw.origin.unordered:
            by_source.setdefault(raw.origin.name, []).append(raw)
    ties = [unclear for rows in by_source.values() for unclear in in_order(rows, held)[1]]
    return sorted(deliveries, key=lambda raw: place.get(raw.sha256, len(held))), ties


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
    name: str, files: str | Path | Sequence[str | Path | RawFile]
) -> tuple[list[RawFile], list[tuple[RawFile, RawFile]]]:
    """Open the deliveries of a record type; return them, and pairs of a copy and the delivery that it is a copy of.

    Two in a list that are alike are refused: the second would be taken for loaded, where it may be meant to undo what
    came between them. Of two that a pattern finds, one is a copy.
    """
    raws: list[RawFile] = []
    faults: list[InputError] = []
    for file in [files] if isinstance(files, (str, Path)) else files:
        try:
            raws.append(file if isinstance(file, RawFile) else open_raw(file))
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
        if first is not raw and isinstance(files, (Unordered, BySource)):
            copies.append((raw, first))
        elif first is not raw:
            raise InputError(
                f"two deliveries of {name} are the same file, byte for byte",
                file=raw.path,
                rule=f"the first is {first.path}",
                fix="give one of them",
            )
    return list(seen.values()), copies
