"""Keys of people: HMAC-SHA256 as the standard library has it, noise with the distribution of its source, refusals."""

from __future__ import annotations

import hashlib
import hmac

import duckdb
import numpy as np
import pytest

from retrain_eval.common.errors import InputError
from retrain_eval.tables.noise.person_keys import PRIME, ReleaseKey, has_keys, with_keys

SECRET = b"0123456789abcdef0123456789abcdef"


def keyed(n: int, secret: bytes = SECRET) -> dict[str, np.ndarray]:
    con = duckdb.connect()
    people = con.sql(f"SELECT 'é' || i AS id FROM range({n}) AS t(i)")
    rows = with_keys(con, people, "id", ReleaseKey(secret))
    return (
        rows.project("id, person_key.record AS record, person_key.factor AS factor, person_key.element AS element")
        .order("id")
        .fetchnumpy()
    )


@pytest.mark.parametrize("secret", [SECRET, b"k" * 64, b"longer than a block " * 5])
def test_the_record_key_is_the_start_of_an_hmac(secret: bytes) -> None:
    found = keyed(50, secret)
    for name, record in zip(found["id"], found["record"], strict=True):
        digest = hmac.new(secret, str(name).encode(), hashlib.sha256).digest()
        assert int(record) == int.from_bytes(digest[:8], "big")


def test_noise_has_the_ramp_of_its_source() -> None:
    found = keyed(40_000)
    size = np.abs(found["factor"] - 1)
    assert size.min() >= 0.05
    assert size.max() <= 0.15
    # density 2(b − d)/(b − a)²: mean a + (b − a)/3, and a quarter of people beyond the middle
    assert size.mean() == pytest.approx(0.05 + 0.10 / 3, abs=5 * 0.0236 / 200)
    assert (size > 0.10).mean() == pytest.approx(0.25, abs=5 * 0.433 / 200)
    assert (found["factor"] > 1).mean() == pytest.approx(0.5, abs=5 * 0.5 / 200)
    assert np.abs(np.corrcoef([found["factor"], found["element"], found["record"].astype(float)])[0, 1:]).max() < 0.02
    assert (found["element"] >= 1).all()
    assert (found["element"] < PRIME).all()
    assert len(np.unique(found["record"])) == 40_000


def test_another_key_gives_unrelated_noise() -> None:
    one, other = keyed(5_000)["factor"], keyed(5_000, b"f" * 16 + b"0123456789abcdef")["factor"]
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.06


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="8 bytes"):
        ReleaseKey(b"tooshort")
    for sizes in ((0.2, 0.1), (-0.1, 0.1), (0.1, 1.0)):
        with pytest.raises(InputError, match="out of order"):
            ReleaseKey(SECRET, *sizes)
    con, key = duckdb.connect(), ReleaseKey(SECRET)
    with pytest.raises(InputError, match="name no person"):
        with_keys(con, con.sql("SELECT NULL::VARCHAR AS id"), "id", key)
    with pytest.raises(InputError, match="unknown column"):
        with_keys(con, con.sql("SELECT 1 AS x"), "id", key)
    with pytest.raises(InputError, match="have keys already"):
        with_keys(con, with_keys(con, con.sql("SELECT 1 AS id"), "id", key), "id", key)
    with pytest.raises(InputError, match="holds no keys"):
        has_keys(con.sql("SELECT 1 AS person_key"))
    assert "0123456789" not in repr(key)
