"""Who released an edition: an Ed25519 signature over its manifest, which has the SHA-256 of everything else.

``manifest.sig`` stands beside the manifest and is not listed in it, so that an edition can be signed after it is
approved. Ed25519 is RFC 8032; what is signed is a fixed prefix and the bytes of the manifest, so that no signature
made for something else is taken for one.
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

from retrain_eval.errors import InputError, ReleaseError
from retrain_eval.files import write_text
from retrain_eval.release.opening import MANIFEST, SIGNATURE, limit_of
from retrain_eval.untrusted import read_bytes

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
    """What is known of who released an edition.

    Attributes
    ----------
    text : str
        In one line.
    problem : bool
        Whether a signature was asked for and there is none that holds.
    """

    text: str
    problem: bool = False


def ask_no_one() -> str:
    """Return no password: what a script that has none in its environment can give."""
    return ""


def read_private_key(path: str | Path, ask: Callable[[], str] = ask_no_one) -> Ed25519PrivateKey:
    """Read the key that signs.

    Parameters
    ----------
    path : str or Path
        A PEM (PKCS #8) or OpenSSH file of an Ed25519 private key that only its owner can read.
    ask : callable
        Asked for the password of an encrypted key where the environment variable ``RETRAIN_EVAL_SIGN_PASSWORD`` has
        none.

    Raises
    ------
    InputError
        If there is no such file, others can read it, it is no Ed25519 private key, or the password is wrong.
    """
    path = Path(path)
    content = _content(path, "the key that signs")
    mode = path.stat().st_mode
    if os.name == "posix" and mode & 0o077:
        raise InputError(
            "others can read the key that signs", file=path, value=f"{stat.S_IMODE(mode):04o}",
            rule="only its owner can read it", fix=f"chmod 600 {path}; if others may have copied it, make a new pair",
        )  # fmt: skip
    try:
        key = _load_private(content, None)
    except TypeError:  # encrypted
        password = os.environ.get(PASSWORD) or ask()
        if not password:
            raise InputError("the key that signs is encrypted", file=path, fix=f"set {PASSWORD}") from None
        try:
            key = _load_private(content, password.encode())
        except (ValueError, TypeError):
            raise InputError("the password does not open the key that signs", file=path) from None
        except UnsupportedAlgorithm as error:
            raise _no_key(path, "private", str(error)) from None
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key(path, "private") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, "private", f"this is {type(key).__name__.strip('_')}")
    return key


def read_public_key(path: str | Path) -> Ed25519PublicKey:
    """Read the key that a signature is checked with: a PEM or an OpenSSH file (``ssh-ed25519 AAAA…``).

    Raises
    ------
    InputError
        If there is no such file, or it is no Ed25519 public key.
    """
    path = Path(path)
    content = _content(path, "the public key")
    try:
        load = serialization.load_ssh_public_key if content.lstrip().startswith(b"ssh-") else None
        key = load(content.strip()) if load else serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        fix = "this is a private key: keep it, and give its public half" if b"PRIVATE KEY" in content else ""
        raise _no_key(path, "public", fix) from None
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(path, "public", f"this is {type(key).__name__.strip('_')}")
    return key


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return what people compare, as ``ssh-keygen -lf`` prints it: ``SHA256:…``."""
    text = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    digest = hashlib.sha256(base64.b64decode(text.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def sign(edition: Path, key: Ed25519PrivateKey) -> str:
    """Write the signature of an edition beside its manifest, in place of any other; return the key's fingerprint."""
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
        File of the public key. Left out: nothing is checked, and the text says so, to be read after what is proved.

    Raises
    ------
    InputError
        If the public key cannot be read.
    """
    path = edition / SIGNATURE
    there = path.exists() or path.is_symlink()
    if public_key is None:
        what = "its signature was not checked (--signed-by PUBKEY)" if there else "it has no signature"
        return Origin(f"{UNPROVED}: {what}")
    key = read_public_key(public_key)
    name = fingerprint(key)
    if not there:
        return Origin(f"no signature: {SIGNATURE} is missing, and {name} was to have signed", problem=True)
    try:
        signature, signer = _read_signature(edition)
        key.verify(signature, _PREFIX + read_bytes(edition, MANIFEST, limit_of(MANIFEST)))
    except ReleaseError as error:
        return Origin(str(error), problem=True)
    except InvalidSignature:
        if signer != name:
            return Origin(f"wrong key: {SIGNATURE} names {signer}, not {name}", problem=True)
        return Origin(f"wrong signature: {SIGNATURE} is not one of {name} over this {MANIFEST}", problem=True)
    return Origin(f"signed by {name}")


def _read_signature(edition: Path) -> tuple[bytes, str]:
    """Return the signature and the fingerprint that a file states; refuse any other file."""
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
    return InputError(f"this is no Ed25519 {half} key, in PEM or as OpenSSH writes it", file=path, rule=rule or None,
                      fix=_MAKE)  # fmt: skip
