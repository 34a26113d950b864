"""What must not be shown: identities, and text that contains what looks like a social-security number.

Messages say how many rows are wrong and how to list them where the data are (`rows_where`, `units_having`); they name
no one. What is shown of a delivered file is decided in `retrain_eval.records.schema.dictionary.safe_value`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import duckdb

from retrain_eval.common.sql import sql_name, sql_text

# three, two and four digits, one after the other or with a space or any hyphen between
SSN = "[0-9]{3}[- \u00a0\u2010-\u2015\u2212]?[0-9]{2}[- \u00a0\u2010-\u2015\u2212]?[0-9]{4}"
WITHHELD = "(withheld)"
_WITHIN = rf"\b{SSN}\b"
_MANY = 9  # digits of a number that may be a person's
_KNOWN = r"(?i)[+-]?infinity|[+-]?[0-9]{1,7}[.,][0-9]+|[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:.+Z-]+"  # decimals; a time
_DATE = r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}"
_VALUE, _NO_NAME = re.compile(rf"[+-]?\d+\.?\d*|{_DATE}"), re.compile(rf"[+-]?\d{{5,}}\.?\d*|{_DATE}")  # no names


def withhold_sql(value: str, *, number: bool = False) -> str:
    """Return SQL for a text as messages and ``rejects`` may hold it: ``(withheld)`` if it holds what looks like an SSN.

    An identifier with a letter right before or after the digits is shown.

    Parameters
    ----------
    value : str
        SQL of the text.
    number : bool
        Whether the column is not a text column. If so, a value is also withheld if it has nine digits or more, in any
        script and with anything between them, and is neither a number of at most seven digits with decimals nor a point
        in time; or if it has a capitalised word of four letters or more, which may be a name.

    Examples
    --------
    >>> import duckdb
    >>> texts = ["id 123-45-6789", "P1, 123456789", "P123456789", "2024-02-29", "E1"]
    >>> sql = f"SELECT {withhold_sql('text')} FROM (SELECT unnest($1) AS text)"
    >>> [found for (found,) in duckdb.execute(sql, [texts]).fetchall()]
    ['(withheld)', '(withheld)', 'P123456789', '2024-02-29', 'E1']
    >>> sql = f"SELECT {withhold_sql('text', number=True)} FROM (SELECT unnest($1) AS text)"
    >>> [found for (found,) in duckdb.execute(sql, [["219/09/9999", "Jones", "12,5", "-Infinity"]]).fetchall()]
    ['(withheld)', '(withheld)', '12,5', '-Infinity']
    """
    secret = f"regexp_matches({value}, {sql_text(_WITHIN)})"
    if number:
        many = f"length(regexp_replace({value}, '[^\\p{{Nd}}]', '', 'g')) >= {_MANY}"
        odd = f"{many} OR regexp_matches({value}, '\\p{{Lu}}\\p{{L}}{{3}}')"
        secret += f" OR (({odd}) AND NOT regexp_full_match({value}, {sql_text(_KNOWN)}))"
    return f"CASE WHEN {secret} THEN {sql_text(WITHHELD)} ELSE {value} END"


def withhold(text: str) -> str:
    """Return a text as a message may hold it; see `withhold_sql`.

    Examples
    --------
    >>> withhold("123-45-6789"), withhold("age")
    ('(withheld)', 'age')
    """
    return WITHHELD if re.search(_WITHIN, text, re.ASCII) else text


def rows_where(condition: str, table: str = "source") -> str:
    """Return the query that lists rows for those who may see them; a message holds it instead of an identifier.

    ``source`` is what the caller gave: a frame, a relation or a file.

    Examples
    --------
    >>> rows_where('"age" IS NULL')
    'SELECT * FROM source WHERE "age" IS NULL'
    """
    return f"SELECT * FROM {table} WHERE {condition}"


def units_having(unit: str, condition: str, table: str = "source") -> str:
    """Return the query that lists units, such as people, whose rows together break a rule; see `rows_where`.

    Examples
    --------
    >>> units_having("person", "count(*) > 1")
    'SELECT "person" FROM source GROUP BY "person" HAVING count(*) > 1'
    """
    return f"SELECT {sql_name(unit)} FROM {table} GROUP BY {sql_name(unit)} HAVING {condition}"


def engine_says(error: duckdb.Error) -> str:
    """Return the first line of a DuckDB error, without the data values that conversion errors quote.

    Examples
    --------
    >>> engine_says(duckdb.ConversionException("Conversion Error: Could not convert string 'Ann Lee' to INT32"))
    "Conversion Error: Could not convert string '(withheld)' to INT32"
    """
    text = (str(error).splitlines() or [""])[0]
    if isinstance(error, (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.TransactionException)):
        return text  # they quote file names
    return re.sub(r"'[^']*'|\"[^\"]*\"", f"'{WITHHELD}'", text)


def withhold_header(names: Sequence[str], known: Collection[str] = ()) -> list[str]:
    """Return column names as a message may list them: without a header, a file begins with a person's data.

    Numbers of more than four digits, dates, and texts with what looks like a social-security number are withheld; and
    all names, if none is ``known`` and one of them is a number or a date.

    Examples
    --------
    >>> withhold_header(["age", "1975", "100234", "1975-03-01"])
    ['age', '1975', '(withheld)', '(withheld)']
    >>> withhold_header(["P17", "Ann Lee", "31"], known=["person_id", "age"])
    ['(withheld)', '(withheld)', '(withheld)']
    """
    no_header = bool(known) and not set(names) & set(known) and any(map(_VALUE.fullmatch, map(str.strip, names)))
    return [WITHHELD if no_header or _NO_NAME.fullmatch(name.strip()) else withhold(name) for name in names]
