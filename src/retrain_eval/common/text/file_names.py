"""Names that become file names: of editions, and of studies in a manifest. One rule, wherever a name comes from."""

from __future__ import annotations

import re

from retrain_eval.common.errors import InputError

LONGEST = 64  # characters
RULE = (
    f"1 to {LONGEST} of the characters A-Z a-z 0-9 . _ -, starting with a letter or a digit, not ending with "
    "a dot, and not a name that Windows reserves, such as nul"
)
_PLAIN = re.compile(rf"[A-Za-z0-9](?:[A-Za-z0-9._-]{{0,{LONGEST - 2}}}[A-Za-z0-9_-])?", re.ASCII)
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.ASCII | re.IGNORECASE)


def is_plain_name(name: object) -> bool:
    """Return whether a name is a plain file name on every system, and not a path.

    Parameters
    ----------
    name : object
        A value that is not text, which a manifest may hold, is not a plain name.

    Examples
    --------
    >>> [is_plain_name(name) for name in ("2026", "2026-1", "2026.1_b", "..", "../x", ".ssh", "nul.txt", "", 2026)]
    [True, True, True, False, False, False, False, False, False]
    """
    return isinstance(name, str) and bool(_PLAIN.fullmatch(name)) and not _RESERVED.fullmatch(name)


def check_plain_name(name: str, kind: str) -> str:
    """Return a name if it is plain.

    Parameters
    ----------
    name : str
    kind : str
        What it names, for the message: ``"an edition"``.

    Raises
    ------
    InputError
        If it is not plain.

    Examples
    --------
    >>> check_plain_name("../2026", "an edition")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    retrain_eval.common.errors.InputError: '../2026' cannot name an edition
      rule:   1 to 64 of the characters A-Z a-z 0-9 . _ -, ...
      fix:    use a plain name such as 2026
    """
    if not is_plain_name(name):
        shown = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
        raise InputError(f"{shown!r} cannot name {kind}", rule=RULE, fix="use a plain name such as 2026")
    return name
