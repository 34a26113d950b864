"""The errors a user can meet. Each says what was found, which rule it breaks and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class RetrainEvalError(Exception):
    """Base of every error this package raises on purpose.

    The command line prints these on one screen, without a traceback, and exits with a non-zero code.
    """


class InputError(RetrainEvalError, ValueError):
    """Something the user handed over (a file, a column, a keyword, a study field) is not usable.

    Parameters
    ----------
    message : str
        What is wrong, naming the thing as the user wrote it.
    file, row, column, value, rule, fix : optional
        Where it was found, and how to mend it. Those given are printed one to a line.
    """

    def __init__(
        self,
        message: str,
        *,
        file: object = None,
        row: object = None,
        column: object = None,
        value: object = None,
        rule: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.file, self.row, self.column = file, row, column
        self.value, self.rule, self.fix = value, rule, fix
        places = {"file": file, "row": row, "column": column, "value": value, "rule": rule, "fix": fix}
        lines = [f"  {name + ':':<8}{place}" for name, place in places.items() if place is not None]
        super().__init__("\n".join([message, *lines]))


class _Unanswerable(RetrainEvalError):
    """A result cannot be had of these data.

    Parameters
    ----------
    message : str
        What is wrong, for the agency; it may count people.
    public : str, optional
        The same as a release may state it. Left out: the first line of the message or, if that has a number, which
        could be a count of few people, what the class says.
    """

    _says: ClassVar[str]

    def __init__(self, message: str, *, public: str = "") -> None:
        super().__init__(message)
        first = (message.splitlines() or [""])[0]
        plain = bool(first) and not any(letter.isdigit() for letter in first)
        self.public = public or (first if plain else self._says)


class DesignError(_Unanswerable):
    """The data cannot answer the question: no controls, no pre-period, a singular design."""

    _says = "the records cannot answer it"


class StoreError(RetrainEvalError):
    """The DuckDB store cannot be opened, read or written; its last good state is untouched."""


class DisclosureError(_Unanswerable):
    """A result rests on fewer people than the disclosure rule allows."""

    _says = "too few people stand behind it"


class ReleaseError(RetrainEvalError):
    """A release bundle is incomplete, altered, or would overwrite an edition."""


class ReportError(RetrainEvalError):
    """The book could not be built; the last good build is untouched."""


def unknown(kind: str, name: object, known: Iterable[object]) -> InputError:
    """Return the error for a keyword, column or level that does not exist.

    Examples
    --------
    >>> print(unknown("column", "earning", ["earnings", "quarter"]))
    unknown column 'earning'
      fix:    did you mean 'earnings'? known: earnings, quarter
    """
    names = [str(item) for item in known]
    close = get_close_matches(name, names, n=1) if isinstance(name, str) else []  # numbers are not misspelt
    hint = f"did you mean {close[0]!r}? " if close else ""
    return InputError(f"unknown {kind} {str(name)!r}", fix=f"{hint}known: {', '.join(names)}")
