"""The raw files of a study: which ones there are, and those that its ``run.py`` writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from retrain_eval.common.errors import InputError, together
from retrain_eval.common.files import PRIVATE, new_folder, set_modes
from retrain_eval.plan.study_file import FILE, StudyFile
from retrain_eval.records.file_order import matching
from retrain_eval.records.layouts.sources import BySource, open_sources
from retrain_eval.records.loading.deliveries import deliveries
from retrain_eval.records.schema.table_schema import Package
from retrain_eval.records.store import Store

Given = Mapping[str, str | Sequence[str]]


def record_files(folder: Path, records: Given) -> dict[str, list[Path]]:
    """Return the deliveries of each record type, in the order of the study file.

    Raises
    ------
    InputError
        If an entry matches no file; all that do not are named.
    """
    found: dict[str, list[Path]] = {}
    faults: list[InputError] = []
    for name, given in records.items():
        try:
            found[name] = deliveries(folder, name, given)
        except InputError as error:
            faults.append(error)
    if faults:
        raise together(faults, "{n} entries of [records] match no file")
    return found


@contextmanager
def all_deliveries(folder: Path, study: StudyFile, package: Package) -> Iterator[dict[str, list[Path] | BySource]]:
    """Yield the deliveries of a study by record type: its files, and what layouts make of raw files.

    Raises
    ------
    InputError
        If the study names no records, or a file of it cannot be read.
    """
    if not study.records and not study.sources:
        fix = "add [records], or let a layout read raw files: retrain-eval import"
        raise InputError("the study names no records", file=folder / FILE, fix=fix)
    files = record_files(folder, study.records)
    with open_sources(folder, study.sources, package, files.get("person", ())) as sources:
        yield sources.with_files(files)


def write_missing(folder: Path, records: Given, script: ModuleType | None, say: Callable[[str], object]) -> None:
    """Let ``run.py`` write the raw files, where it offers to and they are not there; no other file is touched."""
    given = [[item] if isinstance(item, str) else item for item in records.values()]
    missing = [text for texts in given for text in texts if not any(path.exists() for path in matching(folder, text))]
    if missing and script is not None and hasattr(script, "prepare"):
        say(f"writing the raw files: {', '.join(missing)}")
        data = folder / "data"
        with new_folder(data, access="as written") as work:  # records about people: 0700, like every new folder
            script.prepare(work)
            set_modes(work, *PRIVATE)
            if data.is_dir():  # existing files are kept as they are, modes included
                shutil.copytree(data, work, symlinks=True, dirs_exist_ok=True)


def loaded_files(store: Store) -> list[dict[str, object]]:
    """Return name, file, SHA-256 and row counts of every file that the store's records come from."""
    found: list[dict[str, object]] = json.loads(store.files().to_json(orient="records"))
    return found
