"""Alter a bundle as somebody would who knows how its manifest is made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from retrain_eval.common.files import sha256
from retrain_eval.release.manifest import sealed, spelt


def rehash(folder: Path, *, seal: bool = True) -> None:
    """Make the manifest fit what is in the folder: hashes and, unless it is to stay, the seal."""
    path = folder / "manifest.json"
    facts = json.loads(path.read_text())
    there = (file for file in sorted(folder.rglob("*")) if file.is_file() and file != path)
    facts["files"] = {file.relative_to(folder).as_posix(): sha256(file) for file in there}
    path.write_text(spelt(sealed(facts) if seal and facts["bundle_version"] > 1 else facts))


def numbers(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """Return, by table of results, a row that holds a number in each of its columns."""
    found: dict[str, list[tuple[int, str]]] = {}
    for path in sorted(folder.glob("*.csv")):
        frame = pd.read_csv(path, dtype="str", keep_default_na=False)
        if path.stem == "dictionary":
            continue
        for column in frame.columns:
            rows = np.flatnonzero(pd.to_numeric(frame[column], errors="coerce").notna())
            if len(rows) and column not in ("level", "subgroup"):
                found.setdefault(path.stem, []).append((int(rows[len(rows) // 2]), column))
    return found


def alter(folder: Path, table: str, row: int, column: str) -> None:
    """Change the third digit of a number, or its last one if it has fewer."""
    path = folder / f"{table}.csv"
    frame = pd.read_csv(path, dtype="str", keep_default_na=False)
    text = str(frame.loc[row, column])
    digits = [place for place, sign in enumerate(text.split("e")[0]) if sign.isdigit()]
    significant = [place for place in digits if text[: place + 1].strip("-0.")] or digits
    place = significant[:3][-1]
    frame.loc[row, column] = text[:place] + ("3" if text[place] != "3" else "5") + text[place + 1 :]
    frame.to_csv(path, index=False, lineterminator="\n")


def rounds(folder: Path) -> Iterator[dict[str, tuple[int, str]]]:
    """Yield one number of each table at a time, until each kind of number of each table has had its turn."""
    every = numbers(folder)
    for turn in range(max(map(len, every.values()))):
        yield {table: places[turn] for table, places in every.items() if turn < len(places)}
