"""Whether the key that hashes identifiers can be guessed: at least 128 bits of material, and no pattern.

An identifier has so few possible values that all of them can be tried; only the key protects the person behind a hash.
A key that a person made up can be tried too.
"""

from __future__ import annotations

import base64
import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

BITS = 128
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm", "1234567890", "abcdefghijklmnopqrstuvwxyz", "0123456789abcdef")
_WORDS = ("password", "passwort", "secret", "letmein", "welcome", "admin", "changeme", "retrain", "identifier", "key",
          "hash", "test", "hmac")  # fmt: skip
_REPEATED = 4  # characters repeated in the same order add nothing
_FEWEST = 8  # different characters of a key


def weakness(key: bytes) -> str:
    """Return why a key can be guessed; nothing if it has 128 bits of material.

    A hexadecimal digit counts 4 bits, a decimal digit 3.3, a letter of words (letters and spaces only) 2, and a
    character of any other mixture the logarithm of the number of characters to choose from. Characters that continue a
    sequence, a keyboard row or a common word, or repeat earlier ones, count nothing. Fewer than eight different
    characters are refused.

    Examples
    --------
    >>> weakness(b"a" * 64)
    'only 1 different character'
    >>> weakness(b"1234567890123456")
    'bytes that count up or down'
    >>> weakness(b"6f1d2f9a3b7c4e5d80c1e2932a5d1e07"), weakness(b"YELLOW submarine")
    ('', '32 bits of material, by estimate')
    """
    try:
        text = key.decode("utf-8")
    except UnicodeDecodeError:
        text = key.decode("latin-1")
    if (different := len(set(text))) < _FEWEST:
        return f"only {different} different character{'s' * (different > 1)}"
    if any(word in text for word in ("token_hex", "RETRAIN_EVAL")):
        return "the instructions for making a key"
    if any(_counts(decoded) for decoded in _decoded(text)):
        return "bytes that count up or down"
    bits = math.floor(_bits_each(text) * _new_characters(text))
    return "" if bits >= BITS else f"{bits} bits of material, by estimate"


def _decoded(text: str) -> Iterator[bytes]:
    """Yield the bytes that a key may encode."""
    with suppress(ValueError):
        yield bytes.fromhex(text)
    with suppress(ValueError):
        yield base64.b64decode(text, validate=True)


def _counts(material: bytes) -> bool:
    """Return whether more than a quarter of the steps between bytes are the same: in random bytes, few are."""
    steps = Counter((later - earlier) % 256 for earlier, later in pairwise(material))
    return len(material) > 4 and max(steps.values()) > len(material) / 4


def _bits_each(text: str) -> float:
    plain = text.strip()
    if re.fullmatch(r"[0-9]+", plain):
        return math.log2(10)
    if re.fullmatch(r"[0-9a-f]+|[0-9A-F]+", plain):
        return 4.0
    if all(letter.isalpha() or letter.isspace() for letter in plain):
        return 2.0
    classes = ((r"[a-z]", 26), (r"[A-Z]", 26), (r"[0-9]", 10), (r"[^A-Za-z0-9]", 32))
    return math.log2(sum(size for pattern, size in classes if re.search(pattern, plain)))


def _new_characters(text: str) -> int:
    """Count the characters that do not follow from those before them."""
    low = text.lower()
    idle = set()
    for word in _WORDS:
        for match in re.finditer(word, low):
            idle |= set(range(match.start() + 1, match.end()))
    for i in range(len(low) - _REPEATED + 1):
        if low.find(low[i : i + _REPEATED]) < i:
            idle |= set(range(i, i + _REPEATED))
    for i in range(2, len(low)):
        if low[i - 1] == low[i] == low[i - 2] or any(low[i - 2 : i + 1] in row or low[i - 2 : i + 1] in row[::-1]
                                                     for row in _ROWS):  # fmt: skip
            idle.add(i)
    # in a random key a few characters do so as well
    return len(low) - (len(idle) if len(idle) > len(low) / 4 else 0)
