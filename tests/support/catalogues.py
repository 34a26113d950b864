"""Every message of the report, from the sources themselves: code, pages, templates, titles of record types."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

import retrain_eval
from retrain_eval.common.resources import resource
from retrain_eval.report.language.catalogue import LOCALE
from retrain_eval.report.language.messages import book_messages

REPORT = Path(retrain_eval.__file__).parent / "report"


def messages() -> list[str]:
    """Return each message once, in the order of the sources."""
    keywords = {"_": None, "N_": None, "ngettext": (1, 2)}
    found = [
        last_form(message)
        for _, _, message, _, _ in extract_from_dir(REPORT, [("**.py", "python")], keywords=keywords)
        if message
    ]
    found += book_messages(resource("book"))
    for file in sorted(resource("data_schemas").glob("*.json")):
        schema = json.loads(file.read_text(encoding="utf-8"))
        found += [field["title"] for field in schema.get("fields", []) if field.get("title")]
    return list(dict.fromkeys(found))


def translations(language: str) -> dict[str, str]:
    """Return what a catalogue holds, entries without a translation too."""
    with (LOCALE / f"{language}.po").open("rb") as file:
        return {last_form(entry.id): last_form(entry.string) for entry in read_po(file) if entry.id}


def last_form(text: str | Sequence[str]) -> str:
    """Return a text, or its plural form, which names every value that the singular names."""
    return text if isinstance(text, str) else text[-1]
