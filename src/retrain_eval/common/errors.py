"""The errors a user can meet. Each says what was found, which rule it breaks and how to fix it.

Messages are passed on: to colleagues, into logs, to those who maintain this package. So a message names file, line,
column, rule, fix and counts, and the wrong value only if it identifies no one: no identifier and no hash of one, no
name, employer or other free text, and never two values of one person together. An amount is shown with its line and
without its person. Rows of a frame or table, which have no lines, are described by the query that lists them
(`retrain_eval.common.withholding.rows_where`); values of delivered files go through
`retrain_eval.records.schema.dictionary.safe_value`. SECURITY.md promises this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
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
        self.parts: tuple[InputError, ...] = ()  # of an error that says several: each
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
        first = (message.splitlines() or [""])[0].removesuffix(":")
        plain = bool(first) and not any(letter.isdigit() for letter in first)
        self.public = public or (first if plain else self._says)


class DesignError(_Unanswerable):
    """The data cannot answer the question: no controls, no pre-period, a singular design."""

    _says = "these records do not suffice, and the reason in full stays with the agency, because it states numbers"


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


def too_small(name: object) -> DesignError:
    """Return the error for groups that a protected table has not: they were added up, because they are of few people.

    Examples
    --------
    >>> print(too_small("education_level"))
    groups by education level are too small to be shown
    """
    said = f"groups by {str(name).replace('_', ' ')} are too small to be shown"
    return DesignError(said, public=said)


def unknown_columns(
    names: Iterable[str], known: Iterable[object], *, defaults: Mapping[str, str] | None = None, kind: str = "column"
) -> InputError:
    """Return the error for columns that do not exist: all of them at once.

    Parameters
    ----------
    names : iterable of str
        The columns that are missing.
    known : iterable
        Those that exist.
    defaults : mapping of str to str, optional
        The parameter by column, where the column is the default of a parameter.
    kind : str
        What they are.

    Examples
    --------
    >>> print(unknown_columns(["arm", "wage"], ["id", "wages"], defaults={"arm": "by"}))
    unknown columns 'arm', 'wage'
      rule:   'arm' is the default of by=
      fix:    name your own column with by=; did you mean 'wages' for 'wage'? known: id, wages
    """
    wanted, have = list(dict.fromkeys(names)), [str(item) for item in known]
    unasked = {name: defaults[name] for name in wanted if name in (defaults or {})} if defaults else {}
    close = {name: get_close_matches(name, have, n=1) for name in wanted}
    several = len(wanted) > 1
    hints = [
        f"did you mean {found[0]!r}{f' for {name!r}' if several else ''}?" for name, found in close.items() if found
    ]
    own = f"name your own column with {', '.join(f'{one}=' for one in dict.fromkeys(unasked.values()))}; "
    what = re.sub(r"^\w+", lambda word: f"{word[0]}s", kind) if several else kind
    return InputError(
        f"unknown {what} {', '.join(map(repr, wanted))}",
        rule="; ".join(f"{name!r} is the default of {one}=" for name, one in unasked.items()) or None,
        fix=f"{own if unasked else ''}{' '.join([*hints, 'known:'])} {', '.join(have)}",
    )


def together(errors: Sequence[InputError], message: str = "there are {n} faults") -> InputError:
    """Return one error that lists all faults, so that one attempt is enough to fix them.

    Parameters
    ----------
    errors : sequence of InputError
        At least one; a single one is returned as it is.
    message : str
        Its first line; ``{n}`` is their number.

    Examples
    --------
    >>> print(together([InputError("no file", file="a.csv"), InputError("no header", file="b.csv")]))
    there are 2 faults
      1. no file
         file:   a.csv
      2. no header
         file:   b.csv
    """
    errors = [part for error in errors for part in error.parts or (error,)]
    if len(errors) == 1:
        return errors[0]
    lines = [message.format(n=len(errors))]
    for number, error in enumerate(errors, start=1):
        first, *rest = str(error).splitlines()
        lines += [f"  {number}. {first}", *(f"   {line}" for line in rest)]
    found = InputError("\n".join(lines))
    found.parts = tuple(errors)
    one = errors[0]
    found.file, found.row, found.column, found.value = one.file, one.row, one.column, one.value
    found.rule, found.fix = one.rule, one.fix
    return found
