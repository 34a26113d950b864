"""The language of a report: English sentences are messages, and catalogues of gettext hold their translations.

Pages and code are written once, in English. ``_("…")`` marks a sentence of the code; the paragraphs of the book's pages
are messages as they stand. ``locale/zh.po`` has the Chinese of each. What a catalogue lacks stays English in the
report, and fails the tests.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Final

from babel.messages.pofile import read_po

from retrain_eval.common.errors import unknown

LOCALE = Path(__file__).parent / "locale"
ENGLISH: Final = "en"
LANGUAGES = (ENGLISH, *sorted(file.stem for file in LOCALE.glob("*.po")))
TAGS = {"en": "en", "zh": "zh-Hans"}  # of HTML
_current: ContextVar[str] = ContextVar("language", default=ENGLISH)


@functools.cache
def catalogue(language: str) -> dict[str, str]:
    """Return message → translation; empty for English.

    Raises
    ------
    InputError
        If there is no such language.
    """
    if language not in LANGUAGES:
        raise unknown("language", language, LANGUAGES)
    if language == ENGLISH:
        return {}
    with (LOCALE / f"{language}.po").open("rb") as file:
        return {str(entry.id): str(entry.string) for entry in read_po(file) if entry.id and entry.string}


def language() -> str:
    """Return the language that is spoken now."""
    return _current.get()


def speak(name: str) -> None:
    """Speak a language from here on: for a program that makes one report."""
    catalogue(name)
    _current.set(name)


@contextmanager
def speaking(name: str) -> Iterator[None]:
    """Speak a language within a block.

    Examples
    --------
    >>> with speaking("zh"):
    ...     _("Estimate")
    '估计值'
    >>> _("Estimate")
    'Estimate'
    """
    catalogue(name)
    token = _current.set(name)
    try:
        yield
    finally:
        _current.reset(token)


def _(message: str, /, **values: object) -> str:
    """Return a message in the language spoken, with its values filled in.

    Parameters
    ----------
    message : str
        In English; ``{name}`` stands for a value where values are given.
    **values : object
        What is filled in, by name.

    Examples
    --------
    >>> _("An average over {count}", count="185 people")
    'An average over 185 people'
    """
    text = catalogue(_current.get()).get(message, message)
    return text.format(**values) if values else text


def N_(message: str) -> str:
    """Mark a message that is translated where it is used, because nobody speaks yet where it is written."""
    return message
