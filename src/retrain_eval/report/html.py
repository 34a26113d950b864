"""A piece of a page that is neither a figure nor a table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Html:
    """A piece of the page, displayed by ending a cell with it."""

    text: str

    def _repr_html_(self) -> str:
        return self.text
