"""Which codes in a column of endings are events, and which mean that a spell was censored.

Nothing is guessed. If neither ``event=`` nor ``censored=`` is given, only unambiguous codes are accepted: 0/1,
true/false and NULL. Otherwise R's 1/2, or a text ``"no"`` or ``"NA"``, would count as events, and no spell as censored.
"""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence

import duckdb

from retrain_eval.common.errors import InputError, unknown
from retrain_eval.common.sources import sql_name, sql_text

CENSORED = "0"  # how a life table writes it
EVENT = "1"  # the cause of a spell that ends, where codes are 0/1 or true/false
Codes = bool | int | float | str | Sequence[bool | int | float | str]

_LISTED = 12
_ZERO, _ONE = {"0", "0.0", "false"}, {"1", "1.0", "true"}
# texts that no one means as a cause of ending: they count as events only if ``event=`` names them
_DOUBTFUL = _ZERO | {"no", "n", "none", "na", "n/a", "nan", "null", "missing", "censored", ".", "-"}


def code_sql(relation: duckdb.DuckDBPyRelation, column: str, name: str = "") -> str:
    """Return the SQL of a code as text, the same for 1, 1.0 and true; NULL and NaN are NULL.

    ``name`` is what the column is called where the text is used.
    """
    name = name or sql_name(column)
    kind = str(relation.types[relation.columns.index(column)])
    if kind == "BOOLEAN":
        return f"CAST(CAST({name} AS INTEGER) AS VARCHAR)"
    if kind in {"DOUBLE", "FLOAT"} or kind.startswith("DECIMAL"):
        whole = f"TRY_CAST({name} AS BIGINT)"
        return (
            f"CASE WHEN isnan(CAST({name} AS DOUBLE)) THEN NULL WHEN {whole} = {name} "
            f"THEN CAST({whole} AS VARCHAR) ELSE CAST({name} AS VARCHAR) END"
        )
    return f"CAST({name} AS VARCHAR)"


def read_codes(
    column: str,
    found: Mapping[str, int],
    n_null: int = 0,
    event: Codes | None = None,
    censored: Codes | None = None,
) -> dict[str, str]:
    """Return the cause that each code represents, ``"0"`` if it means censored.

    Parameters
    ----------
    column : str
        Its name, for errors.
    found : mapping of str → int
        The codes that occur, as `code_sql` writes them, and how many spells have each.
    n_null : int
        Spells without a code; they are censored.
    event, censored : code or sequence of codes, optional
        The codes that are events, and those that mean censored; see
        `retrain_eval.tables.life_table.counting.life_table`.

    Raises
    ------
    InputError
        If a code is ambiguous, or one that is named does not occur; the codes that occur are listed.

    Examples
    --------
    >>> read_codes("status", {"1": 63, "2": 165}, event=2)
    {'1': '0', '2': '2'}
    >>> read_codes("ended", {"0": 3, "1": 5}, n_null=2)
    {'0': '0', '1': '1'}
    >>> read_codes("why", {"job": 3, "recall": 5, "still out": 2}, censored="still out")
    {'job': 'job', 'recall': 'recall', 'still out': '0'}
    """
    listed = _listed(found, n_null)
    if event is None and censored is None:
        wrong = [code for code in found if code.lower() not in _ZERO | _ONE]
        if wrong:
            raise InputError(
                "these codes do not say which spells ended and which were censored",
                column=column,
                value=listed,
                rule="without event= or censored= the codes are 0/1 or true/false; NULL means censored",
                fix="is this the column of codes?"
                if len(found) > _LISTED
                else "name the codes that are events, or those that mean censored: "
                f"event={_shown(wrong[-1])}, or censored={_shown(wrong[0])}; censored=() if only NULL means censored",
            )
        return {code: EVENT if code.lower() in _ONE else CENSORED for code in found}
    events, gone = _named("event", event, found, listed), _named("censored", censored, found, listed)
    if event is not None and not events:
        raise InputError("event= names no code", column=column, value=listed, fix="name at least one of them")
    if both := [code for code in events if code in gone]:
        raise InputError("a code is named in event= and in censored=", column=column, value=", ".join(both))
    rest = [code for code in found if code not in events and code not in gone]
    zeros = [code for code in rest if code.lower() in _ZERO]
    if event is not None:
        # codes that are not events mean censored if unambiguous: 0, false, NULL, or a single other code
        unclear = [code for code in rest if code not in zeros]
        if censored is not None:
            unclear = rest
        elif len(unclear) == 1 and not zeros and not n_null:
            unclear = []
        gone = [*gone, *rest]
    else:
        # codes that are not censored are causes, unless they do not look like one; of two codes, the other is the event
        unclear = [code for code in rest if code.lower() in _DOUBTFUL and (gone or code not in zeros)]
        if gone and len(rest) == 1:
            unclear = []
        events = [code for code in rest if gone or code not in zeros]
        gone = [*gone, *(code for code in rest if code not in events)]
    if unclear:
        raise InputError(
            "these codes are named neither as events nor as censored",
            column=column,
            value=_listed({code: found[code] for code in unclear}, 0),
            rule=f"each code is one or the other; the column has {listed}",
            fix="name them in event=, or in censored=",
        )
    return {code: CENSORED if code in gone else (f"event {code}" if code == CENSORED else code) for code in found}


def cause_sql(code: str, causes: Mapping[str, str]) -> str:
    """Return the SQL that turns a code into its cause; spells without a code are censored."""
    renamed = {found: cause for found, cause in causes.items() if found != cause}
    cases = "".join(f" WHEN {sql_text(found)} THEN {sql_text(cause)}" for found, cause in renamed.items())
    return f"coalesce(CASE {code}{cases} ELSE {code} END, '{CENSORED}')" if cases else f"coalesce({code}, '{CENSORED}')"


def _named(keyword: str, given: Codes | None, found: Mapping[str, int], listed: str) -> list[str]:
    """Return the codes that a keyword names, as they are written in the column."""
    if given is None:
        return []
    values = [given] if isinstance(given, str) or not isinstance(given, Sequence) else list(given)
    codes = []
    for value in values:
        written = next((text for text in _spellings(value) if text in found), None)
        if written is None:
            error = unknown(f"code in {keyword}=", value, found if len(found) <= _LISTED else [listed])
            raise InputError(
                str(error).splitlines()[0], value=str(value), rule=f"the codes are {listed}", fix=error.fix
            )
        codes.append(written)
    return list(dict.fromkeys(codes))


def _spellings(value: object) -> list[str]:
    """Return how a code may be written in a column, the likeliest first."""
    texts = [str(value)]
    if isinstance(value, bool) or type(value).__name__ == "bool_" or texts[0].lower() in {"true", "false"}:
        texts.append("1" if texts[0].lower() == "true" else "0")
    elif isinstance(value, numbers.Real) and float(value).is_integer():
        texts.insert(0, str(int(float(value))))
    return texts


def _listed(found: Mapping[str, int], n_null: int) -> str:
    if len(found) > _LISTED:  # no codes, but identifiers for instance
        return f"{len(found):,} different values"
    shown = [f"{_shown(code)} ({n:,})" for code, n in found.items()]
    return ", ".join([*shown, *([f"NULL ({n_null:,})"] if n_null else [])]) or "none"


def _shown(code: str) -> str:
    return code if code.lstrip("-").isdigit() else repr(code)
