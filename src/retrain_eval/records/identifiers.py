"""Identifiers of persons: social-security numbers are refused or withheld, and hashed with a key.

The hash is HMAC-SHA-256 (RFC 2104), computed inside DuckDB. The key comes from the environment, is held in
variables of the connection, and never stands in SQL, in the store or in a message. Whoever holds the connection
can find it out (``EXPLAIN`` shows variables), as can whoever reads the environment.
"""

from __future__ import annotations

import hashlib
import hmac
import os

import duckdb

from retrain_eval.common.errors import InputError
from retrain_eval.common.sql import sql_text
from retrain_eval.common.withholding import SSN
from retrain_eval.records.key_strength import BITS, weakness

ENVIRONMENT = "RETRAIN_EVAL_KEY"
_WHOLE = rf"\s*{SSN}\s*"
_SHORTEST = 16  # bytes of a key
_MAKE = 'make one and keep it safe: python -c "import secrets; print(secrets.token_hex(32))"'
_BLOCK = 64  # bytes of a block of SHA-256
_INNER, _OUTER = "retrain_eval_inner_pad", "retrain_eval_outer_pad"


def read_key() -> bytes:
    """Return the key that the environment holds.

    Raises
    ------
    InputError
        If there is none, it is shorter than 16 bytes, or it can be guessed (`retrain_eval.records.key_strength`).
    """
    key = os.fsencode(os.environ.get(ENVIRONMENT, ""))
    if len(key) < _SHORTEST:
        raise InputError(
            f"identifiers are to be hashed, and the environment variable {ENVIRONMENT} holds "
            + ("too short a key" if key else "no key"),
            rule=f"at least {_SHORTEST} bytes, the same for every load of the store",
            fix=_MAKE,
        )
    if weak := weakness(key):
        raise InputError(
            f"the environment variable {ENVIRONMENT} holds a weak key: {weak}",
            rule=f"at least {BITS} bits of material, such as 32 random hexadecimal digits; no repetition or pattern",
            fix=f"{_MAKE}; a store that was filled under a weak key must be filled again",
        )
    return key


def use_key(con: duckdb.DuckDBPyConnection, key: bytes) -> None:
    """Let the connection hash with this key: `hmac_sql` works on it from now on."""
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    for name, pad in ((_INNER, 0x36), (_OUTER, 0x5C)):
        con.execute(f"SET VARIABLE {name} = $1::BLOB", [bytes(byte ^ pad for byte in block)])


def hmac_sql(expression: str) -> str:
    """Return SQL for the HMAC-SHA-256 of a text, as 64 hexadecimal digits; NULL for NULL.

    With K padded to 64 bytes it is H(K ⊕ opad, H(K ⊕ ipad, text)), RFC 2104 section 2. Run on a connection
    without a key (`use_key`), the SQL fails; it never gives a hash by no key.

    Examples
    --------
    >>> con = duckdb.connect()
    >>> use_key(con, b"a key of sixteen")
    >>> [(found,)] = con.sql("SELECT " + hmac_sql("'P1'")).fetchall()
    >>> found == hmac.new(b"a key of sixteen", b"P1", "sha256").hexdigest()
    True
    """
    return f"sha256({_pad(_OUTER)} || unhex(sha256({_pad(_INNER)} || encode({expression}))))"


def _pad(name: str) -> str:
    missing = f"error('no key is set for hashing ({ENVIRONMENT})')::BLOB"
    return f"CASE WHEN getvariable('{name}') IS NULL THEN {missing} ELSE getvariable('{name}')::BLOB END"


def looks_like_ssn_sql(value: str) -> str:
    """Return the SQL condition that a text, spaces around it aside, looks like a social-security number.

    Examples
    --------
    >>> texts = ["123-45-6789", "123456789", " 123 45 6789 ", "P123456789", "1234567890", "12-3456789"]
    >>> sql = f"SELECT {looks_like_ssn_sql('text')} FROM (SELECT unnest($1) AS text)"
    >>> [found for (found,) in duckdb.execute(sql, [texts]).fetchall()]
    [True, True, True, False, False, False]
    """
    return f"regexp_full_match({value}, {sql_text(_WHOLE)})"


def pseudonym_sql(column: str) -> str:
    """Return SQL for the pseudonym of an identifier: its HMAC, spaces around it aside.

    Of what looks like a social-security number only the digits count: 123-45-6789 and 123456789 are one person.
    """
    digits = f"regexp_replace({column}, '[^0-9]', '', 'g')"
    return hmac_sql(f"CASE WHEN {looks_like_ssn_sql(column)} THEN {digits} ELSE trim({column}) END")


def key_check(key: bytes) -> str:
    """Return what a store keeps to recognise its key: an HMAC of a fixed text.

    Examples
    --------
    >>> key_check(b"a key of sixteen") == key_check(b"a key of sixteen")
    True
    >>> key_check(b"a key of sixteen") == key_check(b"another key of it")
    False
    """
    return hmac.new(key, b"retrain_eval key check", "sha256").hexdigest()
