"""The sources of a study: every raw file that a layout reads, opened and checked, as deliveries by record type."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from retrain_eval.common.errors import InputError, together, unknown
from retrain_eval.common.files import sha256
from retrain_eval.plan.sources import Source
from retrain_eval.records.file_order import is_pattern, matching
from retrain_eval.records.layouts.delivery import LayoutDelivery
from retrain_eval.records.layouts.description import Layout
from retrain_eval.records.layouts.headers import find_fields
from retrain_eval.records.layouts.library import find_layout, read_layout
from retrain_eval.records.layouts.raw_table import open_table
from retrain_eval.records.layouts.source import SourceFile, Translation, find_crosswalk, identity_of, read_lookup
from retrain_eval.records.schema.table_schema import Package

PERSON = "person"


class BySource(list[Path | LayoutDelivery]):
    """Deliveries of one record type: files of the study, then those of its sources, in the order of the study file.

    Those that are loaded stay in the order in which they arrived; new ones come after them.
    """


@dataclass
class Sources:
    """The opened sources of a study.

    Attributes
    ----------
    files : list of SourceFile
    by_record : dict
        Deliveries by record type.
    """

    files: list[SourceFile] = field(default_factory=list)
    by_record: dict[str, list[LayoutDelivery]] = field(default_factory=dict)

    def with_files(self, given: Mapping[str, list[Path]]) -> dict[str, list[Path] | BySource]:
        """Return all deliveries of a study, by record type: its own files, and those of its sources after them."""
        found: dict[str, list[Path] | BySource] = dict(given)
        for name, deliveries in self.by_record.items():
            found[name] = BySource([*given.get(name, ()), *deliveries])
        return found


def record_types(folder: Path, sources: Mapping[str, Source]) -> tuple[str, ...]:
    """Return the record types that the sources of a study make, each once."""
    names: dict[str, None] = {}
    for source in sources.values():
        layout, _ = read_layout(find_layout(source.layout, folder), source.options)
        names |= dict.fromkeys(_wanted(source, layout))
    return tuple(names)


@contextmanager
def open_sources(
    folder: Path, sources: Mapping[str, Source], package: Package, people: Iterable[Path] = ()
) -> Iterator[Sources]:
    """Open every raw file of the sources, find its fields, and yield deliveries; converted copies end with the block.

    Parameters
    ----------
    folder : Path
        Of the study.
    sources : mapping
        ``[sources]`` of the study file.
    package : Package
        The record types.
    people : iterable of Path
        The study's own files of people.

    Raises
    ------
    InputError
        If a file, a layout or a field is missing; all faults are named at once.
    """
    found, faults = Sources(), list[InputError]()
    with ExitStack() as scratch:
        for name, source in sources.items():
            try:
                layout, layout_hash = read_layout(path := find_layout(source.layout, folder), source.options)
                _check_columns(layout, package, path)
                found.files += _open(folder, name, source, (layout, layout_hash, path), scratch, len(found.files))
            except InputError as error:
                faults.append(error)
        if faults:
            raise together(faults, "{n} faults in sources and their files; nothing was loaded")
        hashes = sorted(sha256(file) for file in people if file.is_file())
        hashes += sorted(LayoutDelivery.of(one, PERSON).sha256 for one in found.files if PERSON in one.records)
        stand_for = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
        for one in found.files:
            for record in one.records:
                found.by_record.setdefault(record, []).append(LayoutDelivery.of(one, record, stand_for))
        yield found


def _open(
    folder: Path, name: str, source: Source, read: tuple[Layout, str, Path], scratch: ExitStack, number: int
) -> list[SourceFile]:
    """Return the files of one source; ``read`` is its layout, with its hash and its file."""
    layout, layout_hash, path = read
    texts = (source.file,) if isinstance(source.file, str) else source.file
    paths: list[Path] = []
    for text in texts:
        matched = matching(folder, text)
        if not matched:
            raise InputError(f"no file matches the pattern for the source {name}", file=folder / text)
        paths += [path for path in matched if path not in paths]
    if not paths:
        raise InputError(f"no file is given for the source {name}", file="study.toml", column="file")
    crosswalk = _crosswalk(folder, source, layout, scratch)
    lookups = {one.lookup: read_lookup(one.lookup, path.parent) for one in layout.fields.values() if one.lookup}
    tables = sorted((table, sorted(codes.items())) for table, codes in lookups.items())
    columns = crosswalk and (crosswalk.source, crosswalk.target)
    chosen = (source.records, sorted(source.fields.items()), tables, columns)
    identity = identity_of(layout_hash, chosen, crosswalk.raw.sha256 if crosswalk is not None else "")
    unordered = any(is_pattern(folder, text) for text in texts)
    opened, faults = list[SourceFile](), list[InputError]()
    for place, file in enumerate(paths):
        try:
            raw = open_table(file, layout.file.kind, scratch, encoding=source.encoding, sheet=source.sheet)
            where = find_fields(layout, raw, source.fields)
            wanted = _wanted(source, layout)
            opened.append(
                SourceFile(name, number + place, layout, identity, raw, where, wanted, lookups, crosswalk, unordered)
            )
        except InputError as error:
            faults.append(error)
    if faults:
        raise together(faults, "{n} files of the source cannot be read")
    return opened


def _crosswalk(folder: Path, source: Source, layout: Layout, scratch: ExitStack) -> Translation | None:
    if source.crosswalk is None:
        return None
    given = source.crosswalk
    raw = open_table(folder / given.file, "table", scratch, encoding=source.encoding)
    return find_crosswalk(layout, raw, given.source, given.target, given.file)


def _wanted(source: Source, layout: Layout) -> tuple[str, ...]:
    for name in source.records:
        if name not in layout.records:
            error = unknown(f"record type of the layout {layout.name}", name, layout.records)
            raise InputError(str(error).splitlines()[0], file="study.toml", column="records", fix=error.fix)
    return tuple(name for name in layout.records if not source.records or name in source.records)


def _check_columns(layout: Layout, package: Package, path: Path) -> None:
    """Refuse a layout that makes a record type or a column that no schema declares."""
    for name, rule in layout.records.items():
        known = package[name].columns
        made = [*rule.columns, *((rule.splitting.period, rule.splitting.amount) if rule.splitting else ())]
        for column in made:
            if column not in known:
                error = unknown(f"column of {name}", column, known)
                raise InputError(str(error).splitlines()[0], file=path, column=f"records.{name}", fix=error.fix)
