"""What a run has answered, ``questions.json``: which version of a question, with which options, from which tables.

A release may come from anyone, so nothing in it is trusted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from retrain_eval.common.errors import ReleaseError
from retrain_eval.common.files import write_text
from retrain_eval.common.untrusted import read_json, shown

ANSWERED = "questions.json"
MAX_ANSWERED = 200

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class Answered(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A question that was answered: the same version, options and tables give the same results.

    Attributes
    ----------
    question : str
        Its name in the catalogue.
    version : int
        Of the question: another version may answer differently.
    design : str
        Name of the design in which it was asked.
    options : dict
        Its section ``[questions.NAME]``, with the values of what was left out.
    tables : tuple of str
        The additive tables that it was answered from.
    results : tuple of str
        The effects that it published.
    """

    question: Name
    version: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    design: Name
    options: dict[str, Any]
    tables: tuple[Name, ...]
    results: tuple[Name, ...]


def write_answered(folder: Path, answered: Sequence[Answered]) -> None:
    """Write the file, in the order in which the questions were asked; none where none was."""
    if answered:
        rows = msgspec.to_builtins(list(answered))
        write_text(folder / ANSWERED, json.dumps(rows, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def read_answered(folder: Path) -> list[Answered]:
    """Return the questions that a run or an edition has answered; none where there is no file.

    Raises
    ------
    ReleaseError
        If it is not a list of answered questions.
    """
    path = folder / ANSWERED
    if not path.exists() and not path.is_symlink():
        return []
    try:
        found = msgspec.convert(read_json(folder, ANSWERED), list[Answered], strict=True)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ReleaseError(f"{path} is not valid: {shown(error)}") from None
    if len(found) > MAX_ANSWERED:
        raise ReleaseError(f"{path} has {len(found):,} questions; the limit is {MAX_ANSWERED}")
    return found
