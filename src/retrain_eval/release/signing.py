"""Who released an edition: an Ed25519 signature over its manifest, which has the SHA-256 of everything else.

``manifest.sig`` is next to the manifest and not listed in it, so an edition can be signed after it is approved. Ed25519
is RFC 8032; what is signed is a fixed prefix and the bytes of the manifest, so a signature made for another purpose is
not accepted.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from retrain_eval.common.errors import InputError, ReleaseError
from retrain_eval.common.files import write_text
from retrain_eval.common.untrusted import read_bytes
from retrain_eval.release.opening import MANIFEST, SIGNATURE, limit_of

PASSWORD = "RETRAIN_EVAL_SIGN_PASSWORD"
UNPROVED = "origin is not proved"
_PREFIX = b"retrain-eval release manifest, signature version 1\n"
_VERSION = "retrain-eval-ed25519-v1"
_LONGEST = 65_536  # bytes of a key file
_MAKE = (
    "make a pair: openssl genpkey -algorithm ed25519 -out release.key; "
    "openssl pkey -in release.key -pubout -out release.pub"
)


@dataclass(frozen=True)
class Origin:
    """What is known about who released an edition.

    Attributes
    ----------
    text : str
        In one line.
    problem : bool
        Whether a signature was required and there is no valid one.
    """

    text: str
    problem: bool = False


def ask_no_one() -> str:
    """Return no password: a script can only set one in its environment."""
    return ""


def read_private_key(path: str | Path, ask: Callable[[], str] = ask_no_one) -> Ed25519PrivateKey:
    """Read the signing key.

    Parameters
    ----------
    path : str or Path
        A PEM (PKCS #8) or OpenSSH file of an Ed25519 private key that only its owner can read.
    ask : callable
        Called for the password of an encrypted key if the environment variable ``RETRAIN_EVAL_SIGN_PASSWORD`` is not
        set.

    Raises
    ------
    InputError
        If there is no such file, others can read it, it is not an Ed25519 private key, or the password is wrong.
    """
    path = Path(path)
    content = _content(path, "the signing key")
    mode = path.stat().st_mode
    if os.name == "posix" and mode & 0o077:
        raise InputError(
            "others can read the signing key", file=path, value=f"{stat.S_IMODE(mode):04o}",
            rule="only its owner can read it", fix=f"chmod 600 {path}; if others may have copied it, make a new pair",
        )  # fmt: skip
    try:
        key = _load_private(content, None)
    except TypeError:  # encrypted
        password = os.environ.get(PASSWORD) or ask()
        if not password:
            raise InputError("the signing key is encrypted", file=path, fix=f"set {PASSWORD}") from None
        try:
            key = _load_private(content, password.encode())
        except (ValueError, TypeError):
            raise InputError("the password does not decrypt the signing key", file=path) from None
        except UnsupportedAlgorithm as error:
            raise _no_key(path, "private", str(error)) from None
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key(path, "private") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, "private", f"this is {type(key).__name__.strip('_')}")
    return key


def read_public_key(path: str | Path) -> Ed25519PublicKey:
    """Read the key that checks a signature: a PEM or an OpenSSH file (``ssh-ed25519 AAAA…``).

    Raises
    ------
    InputError
        If there is no such file, or it is not an Ed25519 public key.
    """
    path = Path(path)
    content = _content(path, "the public key")
    try:
        load = serialization.load_ssh_public_key if content.lstrip().startswith(b"ssh-") else None
        key = load(content.strip()) if load else serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        fix = "this is a private key: keep it secret, and give the public key" if b"PRIVATE KEY" in content else ""
        raise _no_key(path, "public", fix) from None
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(path, "public", f"this is {type(key).__name__.strip('_')}")
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return the fingerprint that people compare, as ``ssh-keygen -lf`` prints it: ``SHA256:…``."""
    text = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    digest = hashlib.sha256(base64.b64decode(text.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def sign(edition: Path, key: Ed25519PrivateKey) -> str:
    """Write the signature of an edition next to its manifest, replacing any other; return the key's fingerprint."""
    signature = base64.b64encode(key.sign(_PREFIX + (edition / MANIFEST).read_bytes())).decode()
    name = fingerprint(key.public_key())
    write_text(edition / SIGNATURE, f"{_VERSION}\n{signature}\n{name}\n")
    return name


def check_origin(edition: Path, public_key: str | Path | None = None) -> Origin:
    """Say whether an edition was signed with a key.

    Parameters
    ----------
    edition : Path
    public_key : str or Path, optional
        File of the public key. If omitted, the signature is not checked, and the text says so.

    Raises
    ------
    InputError
        If the public key cannot be read.
    """
    path = edition / SIGNATURE
    is_signed = path.exists() or path.is_symlink()
    if public_key is None:
        what = "its signature was not checked (--signed-by PUBKEY)" if is_signed else "it has no signature"
        return Origin(f"{UNPROVED}: {what}")
    key = read_public_key(public_key)
    name = fingerprint(key)
    if not is_signed:
        return Origin(f"no signature: {SIGNATURE} is missing; {name} must have signed", problem=True)
    try:
        signature, signer = _read_signature(edition)
        key.verify(signature, _PREFIX + read_bytes(edition, MANIFEST, limit_of(MANIFEST)))
    except ReleaseError as error:
        return Origin(str(error), problem=True)
    except InvalidSignature:
        if signer != name:
            return Origin(f"wrong key: {SIGNATURE} names {signer}, not {name}", problem=True)
        return Origin(f"wrong signature: {SIGNATURE} is not a signature by {name} of this {MANIFEST}", problem=True)
    return Origin(f"signed by {name}")


def _read_signature(edition: Path) -> tuple[bytes, str]:
    """Return the signature and the fingerprint in the signature file; refuse a malformed one."""
    damaged = ReleaseError(f"damaged signature: {SIGNATURE} is not three lines of {_VERSION}")
    try:
        version, text, name = read_bytes(edition, SIGNATURE, limit_of(SIGNATURE)).decode("ascii").splitlines()
        signature = base64.b64decode(text, validate=True)
    except ValueError:
        raise damaged from None
    if version != _VERSION or len(signature) != 64 or not name.startswith("SHA256:") or not name.isprintable():
        raise damaged
    return signature, name[:60]


def _content(path: Path, what: str) -> bytes:
    try:
        if path.stat().st_size > _LONGEST:
            raise InputError(f"{what} cannot be read", file=path, rule=f"at most {_LONGEST} bytes")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{what} cannot be read", file=path, rule=error.strerror, fix=_MAKE) from None


def _load_private(content: bytes, password: bytes | None) -> object:
    if b"OPENSSH PRIVATE KEY" in content:
        try:
            return serialization.load_ssh_private_key(content, password)
        except ValueError as error:
            if password is None and "password" in str(error).lower():  # older releases of cryptography
                raise TypeError(str(error)) from error
            raise
    return serialization.load_pem_private_key(content, password)


def _no_key(path: Path, half: str, rule: str = "") -> InputError:
    return InputError(f"this is not an Ed25519 {half} key in PEM or OpenSSH format", file=path, rule=rule or None,
                      fix=_MAKE)  # fmt: skip
