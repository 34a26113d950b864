"""The tables of the report: HTML, styled by the book's style sheet, with the data for download."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from retrain_eval.common.shown import summarised
from retrain_eval.report.language.catalogue import N_, _
from retrain_eval.report.words import csv, sentence

SUPPRESSED = N_("suppressed")
_TEMPLATE = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
).get_template("table.html.j2")  # fmt: skip


@summarised
@dataclass(frozen=True)
class Table:
    """A table that a page displays by ending a cell with it.

    Attributes
    ----------
    cells : DataFrame
        The cells as they are printed.
    data : DataFrame
        The same, unrounded; offered for download.
    stub : str, optional
        The column of row headings; by default the first.
    labels : mapping, optional
        Column headings, where they are not the columns' own names.
    left : collection of str
        Columns of words; the others are numbers and are aligned right.
    spanners : mapping, optional
        Headings over several adjacent columns.
    groups : str, optional
        The column whose values head groups of rows.
    code : collection of str
        Columns of file names, hashes and other names that are set as code.
    links : mapping, optional
        For a column, the address that each of its cells links to.
    note : str
        A sentence below the table.
    """

    cells: pd.DataFrame
    data: pd.DataFrame
    stub: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    left: Collection[str] = ()
    spanners: Mapping[str, Sequence[str]] = field(default_factory=dict)
    groups: str | None = None
    code: Collection[str] = ()
    links: Mapping[str, Sequence[str]] = field(default_factory=dict)
    note: str = ""

    def html(self) -> str:
        """Return the table; text in it is escaped."""
        stub = self.stub or str(self.cells.columns[0])
        columns = [stub, *(name for name in self.cells.columns if name not in (stub, self.groups))]
        numbers = pd.Series(range(len(self.cells)))
        blocks: Iterable[tuple[Hashable, pd.Series[int]]] = [(None, numbers)]
        if self.groups:
            blocks = numbers.groupby(self.cells[self.groups].to_numpy(), sort=False, dropna=False)
        return _TEMPLATE.render(
            columns=columns,
            numbers={column: number for number, column in enumerate(columns)},
            sides={column: "gt_left" if column in (stub, *self.left) else "gt_right" for column in columns},
            headings={column: self.labels.get(column) or _heading(column) for column in columns},
            spanners=self.spanners,
            above={column: heading for heading, covered in self.spanners.items() for column in covered},
            blocks=blocks,
            cells={column: self.cells[column].tolist() for column in columns},
            code=self.code,
            links=self.links,
            note=self.note,
        )

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/html": self.html(), "text/csv": csv(self.data)}


# columns that name themselves, and verdicts
_NAMED = (
    N_("Covariate"),
    N_("Step"),
    N_("Test"),
    N_("Statistic"),
    N_("Column"),
    N_("Required"),
    N_("Constraints"),
    N_("Description"),
    N_("Bytes"),
    N_("File"),
    N_("Package"),
    N_("Version"),
    N_("Coefficient"),
    N_("Estimate"),
    N_("Interval"),
    N_("Check"),
    N_("Light"),
)


def _heading(column: str) -> str:
    """Return a column's name as a heading."""
    return _(sentence(column.replace("_", " ")))
