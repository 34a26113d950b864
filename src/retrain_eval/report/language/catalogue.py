"""The language of a report: English sentences are messages, and the catalogues of gettext hold their translations.

Pages and code are written once, in English. ``_("…")`` marks a sentence of the code, and `ngettext` one that depends on
a number; the paragraphs of the book's pages are messages themselves. ``locale/zh.po`` has the Chinese of each and
is compiled in memory. What a catalogue lacks stays English in the report, and fails the tests.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path
from typing import Final

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from retrain_eval.common.errors import unknown

LOCALE = Path(__file__).parent / "locale"
ENGLISH: Final = "en"
LANGUAGES = (ENGLISH, *sorted(file.stem for file in LOCALE.glob("*.po")))
TAGS = {"en": "en", "zh": "zh-Hans"}  # of HTML
_current: ContextVar[str] = ContextVar("language", default=ENGLISH)


@functools.cache
def catalogue(language: str) -> NullTranslations:
    """Return the translations of a language; those of English are the messages themselves.

    Raises
    ------
    InputError
        If there is no such language.
    """
    if language not in LANGUAGES:
        raise unknown("language", language, LANGUAGES)
    if language == ENGLISH:
        return NullTranslations()
    compiled = BytesIO()
    with (LOCALE / f"{language}.po").open("rb") as file:
        write_mo(compiled, read_po(file))
    compiled.seek(0)
    return GNUTranslations(compiled)


def language() -> str:
    """Return the current language."""
    return _current.get()


def speak(name: str) -> None:
    """Set the language from here on: for a program that makes one report."""
    catalogue(name)
    _current.set(name)


@contextmanager
def speaking(name: str) -> Iterator[None]:
    """Set the language within a block.

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
    """Return a message in the current language, with its values filled in.

    Parameters
    ----------
    message : str
        In English; ``{name}`` is the place of a value.
    **values : object
        The values by name.

    Examples
    --------
    >>> _("An average over {count}", count="185 people")
    'An average over 185 people'
    """
    text = catalogue(_current.get()).gettext(message) if message else ""  # the empty message is the file's header
    return text.format(**values) if values else text


def ngettext(one: str, several: str, n: int, /, **values: object) -> str:
    """Return the message for a number of things, in the plural form that the language has for it.

    Examples
    --------
    >>> [ngettext("{n} group differs", "{n} groups differ", n, n=n) for n in (1, 2)]
    ['1 group differs', '2 groups differ']
    """
    return catalogue(_current.get()).ngettext(one, several, n).format(**values)


def N_(message: str) -> str:
    """Mark a message that is translated where it is used: where it is written, no language has been chosen yet."""
    return message
