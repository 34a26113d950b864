"""``[sources.NAME]``: raw files that become records through a layout."""

from __future__ import annotations

from typing import Annotated

import msgspec

Word = Annotated[str, msgspec.Meta(max_length=200)]


class Crosswalk(msgspec.Struct, frozen=True, kw_only=True):
    """``[sources.NAME.crosswalk]``: the file that translates one identifier into another, and its two columns."""

    file: str
    source: Word = ""
    target: Word = ""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """``[sources.NAME]``: which layout reads which files; see `retrain_eval.records.layouts`."""

    layout: Word
    file: str | tuple[str, ...]
    records: tuple[Word, ...] = ()
    options: dict[str, Word | int | float | tuple[Word, ...]] = {}
    fields: dict[str, Word] = {}
    crosswalk: Crosswalk | None = None
    encoding: Word = "utf-8"
    sheet: Word = ""
