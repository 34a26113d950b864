"""Raw files as agencies hold them, written small; and a store that is filled from them by layouts alone."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from retrain_eval.common.resources import resource
from retrain_eval.plan.sources import Source
from retrain_eval.records.layouts.sources import open_sources
from retrain_eval.records.schema.table_schema import load_package
from retrain_eval.records.store import IngestReport, Store

Rows = Sequence[Mapping[str, str]]


def write_csv(path: Path, rows: Rows, delimiter: str = ",") -> Path:
    """Write rows under the names that any of them has, in the order in which they come up."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def lehd_line(ssn: str, account: str, period: str, wage: str, unit: str = "00000") -> str:
    """Return a line of fixed width with the positions of the LEHD format."""
    return f"{ssn:<9}{'':36}99{account:>010}{unit}{'0' * 9}{period[:4]}{period[-1]}{wage:>10}"


def write_people(folder: Path, *people: str) -> Path:
    return write_csv(folder / "person.csv", [{"person_id": person} for person in people])


@contextmanager
def loaded(
    folder: Path,
    sources: Mapping[str, Source],
    people: Path | None = None,
    *,
    frequency: str = "quarter",
    tolerate: float = 0.0,
    identifiers: str = "plain",
    say: list[str] | None = None,
) -> Iterator[tuple[Store, list[IngestReport]]]:
    """Load sources into the store of a folder, which may have been filled before."""
    package = load_package(resource("data_schemas"))
    files = {} if people is None else {"person": [people]}
    lines = [] if say is None else say
    with Store.open(folder / "store.duckdb", frequency=frequency, identifiers=identifiers) as store:
        with open_sources(folder, sources, package, files.get("person", ())) as opened:
            reports = store.ingest_all(opened.with_files(files), tolerate=tolerate, announce=lines.append)
        yield store, reports


def values(store: Store, column: str) -> list[str]:
    """Return the values of ``record.column`` as text, sorted."""
    record, name = column.split(".")
    found = store.con.execute(f'SELECT CAST("{name}" AS VARCHAR) FROM "{record}"').fetchall()
    return sorted("-" if value is None else str(value) for (value,) in found)
