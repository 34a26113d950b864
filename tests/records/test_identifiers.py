"""Identifiers are hashed inside DuckDB as Python's hmac does it; social-security numbers are recognised."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_eval.common.errors import InputError
from retrain_eval.common.withholding import withhold_sql
from retrain_eval.records.identifiers import (
    ENVIRONMENT,
    hmac_sql,
    key_check,
    looks_like_ssn_sql,
    pseudonym_sql,
    read_key,
    use_key,
)

KEY = b"sixteen bytes ok"


def expected(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def run(sql: str, texts: list[str | None], key: bytes | None = KEY) -> list[object]:
    """Evaluate SQL on a column ``text``, in the order of the texts."""
    with duckdb.connect() as con:
        if key is not None:
            use_key(con, key)
        rows = con.execute(
            f"SELECT {sql} FROM (SELECT unnest($1::VARCHAR[]) AS text, generate_subscripts($1::VARCHAR[], 1) AS i) "
            "ORDER BY i",
            [texts],
        ).fetchall()
    return [value for (value,) in rows]


def test_a_published_test_vector() -> None:
    # RFC 4231, test case 2
    found = run(hmac_sql("text"), ["what do ya want for nothing?"], b"Jefe")
    assert found == ["5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"]


TEXTS = ["", "P1", "Zoë 2", "李", "x" * 200, "a\0b", "O'Neil", "\\x00", "🙂"]
KEYS = [b"", b"\0", b"k" * 63, b"k" * 64, b"k" * 65, b"k" * 200, bytes(range(256)), "schlüssel".encode()]


@pytest.mark.parametrize("key", KEYS)
def test_equals_the_standard_library(key: bytes) -> None:
    assert run(hmac_sql("text"), list(TEXTS), key) == [expected(key, text) for text in TEXTS]


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=130), st.lists(st.text(max_size=150), min_size=1, max_size=20))
def test_equals_the_standard_library_for_any_key_and_texts(key: bytes, texts: list[str]) -> None:
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    assert run(hmac_sql("text"), [*texts, None], key) == [*(expected(key, text) for text in texts), None]


def test_the_last_key_counts() -> None:
    with duckdb.connect() as con:
        use_key(con, b"one")
        use_key(con, b"two")
        assert con.sql("SELECT " + hmac_sql("'P1'")).fetchall() == [(expected(b"two", "P1"),)]


@pytest.mark.parametrize("rows", [["P1"], ["P1", None]])
def test_no_key_is_an_error_and_not_a_missing_value(rows: list[str | None]) -> None:
    with pytest.raises(duckdb.Error, match=f"no key is set for hashing \\({ENVIRONMENT}\\)"):
        run(pseudonym_sql("text"), rows, key=None)


def test_a_cursor_has_no_key_of_its_own() -> None:
    with duckdb.connect() as con:
        use_key(con, KEY)
        con.execute("CREATE TABLE t AS SELECT 'P1' AS text")
        with pytest.raises(duckdb.Error, match="no key"):
            con.cursor().execute(f"SELECT {hmac_sql('text')} FROM t").fetchall()


SSNS = ["123456789", "123-45-6789", "123 45 6789", "123–45–6789", "123-456789", " 123-45-6789", "123456789\t"]


def test_ways_to_write_a_social_security_number_are_one_person() -> None:
    assert set(run(pseudonym_sql("text"), list(SSNS))) == {expected(KEY, "123456789")}


def test_other_identifiers_are_hashed_as_they_are_but_for_spaces_around_them() -> None:
    texts: list[str | None] = ["P1", " P1 ", "A-1", "A1", "12-3456789", "1234567890", "Zoë  2", None]
    plain = ["P1", "P1", "A-1", "A1", "12-3456789", "1234567890", "Zoë  2"]
    assert run(pseudonym_sql("text"), texts) == [*(expected(KEY, text) for text in plain), None]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.from_regex(r"[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}", fullmatch=True), min_size=1, max_size=20))
def test_whatever_looks_like_a_social_security_number_is_refused_and_withheld(numbers: list[str]) -> None:
    digits = [number.replace("-", "").replace(" ", "") for number in numbers]
    assert run(pseudonym_sql("text"), list(numbers)) == [expected(KEY, text) for text in digits]
    for around, refused in (("{}", True), (" {} ", True), ("P{}", False), ("{}0", False), ("P1, {}", False)):
        texts: list[str | None] = [around.format(number) for number in numbers]
        assert set(run(looks_like_ssn_sql("text"), texts)) == {refused}
    around_it = ("{}", " {}", "P1, {}", "({})", "{}, 8076", "id:{}.")
    texts = [around.format(number) for number in numbers for around in around_it]
    assert set(run(withhold_sql("text"), texts)) == {"(withheld)"}


SHOWN: list[str | None] = [
    "P123456789",
    "1234567890",
    "2024-02-29",
    "12345.6789",
    "9930.0459",
    "8076",
    "-0.01",
    "",
    None,
]


def test_what_does_not_look_like_one_is_shown() -> None:
    assert run(withhold_sql("text"), SHOWN) == SHOWN
    assert run(looks_like_ssn_sql("text"), SHOWN) == [False] * (len(SHOWN) - 1) + [None]


def test_no_pseudonym_looks_like_a_social_security_number() -> None:
    hashes = [expected(KEY, f"P{i}") for i in range(2000)]
    assert run(withhold_sql("text"), list(hashes)) == hashes


def test_key_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "Zwölf Boxkämpfer jagen 7 Viktor quer über 19 Sylter Deiche!"
    monkeypatch.setenv(ENVIRONMENT, text)
    assert read_key() == text.encode()
    if os.supports_bytes_environ:
        key = hashlib.sha256(b"any bytes").digest().replace(b"\0", b"\1")
        monkeypatch.setitem(os.environb, ENVIRONMENT.encode(), key)
        assert read_key() == key


WEAK = ["a" * 16, "a" * 64, "abcd" * 16, "1234567890123456", "12345678901234567890123456789012", "password" * 8,
        "qwertyuiopasdfghjklzxcvbnm1234567890", "YELLOW submarine", "0123456789abcdef" * 4, "secret key of the agency",
        "Password1234567!" * 4, "fedcba9876543210fedcba9876543210", "\xff" * 16, "correct horse battery staple",
        "0" * 31 + "1"]  # fmt: skip


@pytest.mark.parametrize("key", WEAK)
def test_a_weak_key_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv(ENVIRONMENT, key)
    with pytest.raises(InputError, match="holds a weak key") as refused:
        read_key()
    assert "128 bits" in str(refused.value)
    assert "secrets.token_hex(32)" in str(refused.value)
    assert key not in str(refused.value)


@pytest.mark.parametrize("size", [16, 32])
def test_keys_drawn_by_chance_are_taken(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    for number in range(200):
        drawn = hashlib.sha256(f"{size} {number}".encode()).digest()[:size]
        for text in (drawn.hex(), drawn.hex().upper(), base64.b64encode(drawn).decode()):
            monkeypatch.setenv(ENVIRONMENT, text)
            assert read_key() == text.encode()


@pytest.mark.parametrize(
    ("value", "says"), [(None, "holds no key"), ("", "holds no key"), ("k" * 15, "too short a key")]
)
def test_a_key_that_is_none_is_refused_with_how_to_make_one(
    monkeypatch: pytest.MonkeyPatch, value: str | None, says: str
) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    if value is not None:
        monkeypatch.setenv(ENVIRONMENT, value)
    with pytest.raises(InputError, match=says) as refused:
        read_key()
    assert "secrets.token_hex(32)" in str(refused.value)
    assert not value or value not in str(refused.value)


def test_a_key_is_recognised_without_being_kept() -> None:
    assert key_check(KEY) == key_check(KEY) != key_check(KEY + b"!")
    assert KEY.decode() not in key_check(KEY)
