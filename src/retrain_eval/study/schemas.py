"""The data dictionary of the shipped record types, or of those of a study, to print."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from rich.table import Table

from retrain_eval.common.errors import unknown
from retrain_eval.common.resources import resource as folder_of
from retrain_eval.common.text.encoding import for_terminal
from retrain_eval.records.schema.dictionary import dictionary, load_package
from retrain_eval.study.folder import Study

_COLUMNS = ("column", "type", "required", "constraints", "description")


def columns_of(resource: str | None, folder: Path | None) -> pd.DataFrame:
    """Return the data dictionary of a record type, or of all; of a study, with the record types that it adds.

    Raises
    ------
    InputError
        If there is no such record type.
    """
    package = load_package(folder_of("data_schemas")) if folder is None else Study.open(folder).package
    frame = dictionary(package)
    known = list(dict.fromkeys(frame["resource"]))
    if resource is None:
        return frame
    if resource not in known:
        raise unknown("record type", resource, known)
    return frame[frame["resource"] == resource]


def printed(frame: pd.DataFrame) -> Iterator[Table]:
    """Yield a table for each record type of a data dictionary."""
    for name, block in frame.groupby("resource", sort=False):
        table = Table(title=str(name), title_justify="left", title_style="bold", show_lines=False)
        for column in _COLUMNS:
            table.add_column(column, overflow="fold")
        for row in block.fillna("").itertuples():
            required = "yes" if row.required else ""
            table.add_row(
                *(for_terminal(str(x)) for x in (row.column, row.type, required, row.constraints, row.description))
            )
        yield table
