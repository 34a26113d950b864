"""What must not be shown: a text that holds what looks like a social-security number."""

from __future__ import annotations

import re

from retrain_eval.sql import sql_text

# three, two and four digits, one after the other or with a space or any hyphen between
SSN = "[0-9]{3}[- \u00a0\u2010-\u2015\u2212]?[0-9]{2}[- \u00a0\u2010-\u2015\u2212]?[0-9]{4}"
WITHHELD = "(withheld)"
_WITHIN = rf"\b{SSN}\b"


def withhold_sql(value: str) -> str:
    """Return SQL for a text as messages and ``rejects`` may hold it: ``(withheld)`` if it holds what looks like an SSN.

    An identifier with a letter right before or after the digits is shown.

    Examples
    --------
    >>> import duckdb
    >>> texts = ["id 123-45-6789", "P1, 123456789", "P123456789", "2024-02-29", "E1"]
    >>> sql = f"SELECT {withhold_sql('text')} FROM (SELECT unnest($1) AS text)"
    >>> [found for (found,) in duckdb.execute(sql, [texts]).fetchall()]
    ['(withheld)', '(withheld)', 'P123456789', '2024-02-29', 'E1']
    """
    return f"CASE WHEN regexp_matches({value}, {sql_text(_WITHIN)}) THEN {sql_text(WITHHELD)} ELSE {value} END"


def withhold(text: str) -> str:
    """Return a text as a message may hold it; see `withhold_sql`.

    Examples
    --------
    >>> withhold("123-45-6789"), withhold("age")
    ('(withheld)', 'age')
    """
    return WITHHELD if re.search(_WITHIN, text, re.ASCII) else text
