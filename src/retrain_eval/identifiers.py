"""Keyed hashing of what could name a person: HMAC-SHA-256 (RFC 2104), computed inside DuckDB.

The key comes from the environment, is held in variables of the connection, and never stands in SQL, in the
store or in a message.
"""

from __future__ import annotations

import hashlib
import hmac
import os

import duckdb

from retrain_eval.errors import InputError

ENVIRONMENT = "RETRAIN_EVAL_KEY"
SSN = r"\d{3}-\d{2}-\d{4}|\d{9}"  # what a social-security number looks like
WITHHELD = "(withheld)"
_SHORTEST = 16  # bytes of a key
_BLOCK = 64  # bytes of a block of SHA-256
_INNER, _OUTER = "retrain_eval_inner_pad", "retrain_eval_outer_pad"


def read_key() -> bytes:
    """Return the key that the environment holds.

    Raises
    ------
    InputError
        If there is none, or it is shorter than 16 bytes.
    """
    key = os.environ.get(ENVIRONMENT, "").encode()
    if len(key) < _SHORTEST:
        raise InputError(
            f"identifiers are to be hashed, and the environment variable {ENVIRONMENT} holds "
            + ("too short a key" if key else "no key"),
            rule=f"at least {_SHORTEST} bytes, the same for every load of the store",
            fix='make one and keep it safe: python -c "import secrets; print(secrets.token_hex(32))"',
        )
    return key


def use_key(con: duckdb.DuckDBPyConnection, key: bytes) -> None:
    """Let the connection hash with this key: `hmac_sql` works on it from now on."""
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    for name, pad in ((_INNER, 0x36), (_OUTER, 0x5C)):
        con.execute(f"SET VARIABLE {name} = $1::BLOB", [bytes(byte ^ pad for byte in block)])


def hmac_sql(expression: str) -> str:
    """Return SQL for the HMAC-SHA-256 of a text, as 64 hexadecimal digits; NULL for NULL.

    Examples
    --------
    >>> con = duckdb.connect()
    >>> use_key(con, b"a key of sixteen")
    >>> [(found,)] = con.sql("SELECT " + hmac_sql("'P1'")).fetchall()
    >>> found == hmac.new(b"a key of sixteen", b"P1", "sha256").hexdigest()
    True
    """
    inner = f"sha256(getvariable('{_INNER}') || encode({expression}))"
    return f"sha256(getvariable('{_OUTER}') || unhex({inner}))"


def pseudonym_sql(column: str) -> str:
    """Return SQL for the pseudonym of an identifier; 123-45-6789 and 123456789 are one person."""
    plain = f"CASE WHEN regexp_full_match({column}, '{SSN}') THEN replace({column}, '-', '') ELSE {column} END"
    return hmac_sql(plain)


def key_check(key: bytes) -> str:
    """Return what a store keeps to recognise its key: an HMAC of a fixed text."""
    return hmac.new(key, b"retrain_eval key check", "sha256").hexdigest()
