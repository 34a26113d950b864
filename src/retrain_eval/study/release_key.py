"""The release key of a study: where it comes from, and that it is still the one that earlier runs used.

Noise is attached to people by the key, so that the same people carry the same noise in every table and edition. Another
key would give them new noise, and two editions together would tell what one does not. The store's folder keeps a
fingerprint, from which the key cannot be found, so that a lost or changed key is refused before anything is released.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from retrain_eval.common.errors import InputError, StoreError
from retrain_eval.common.files import write_text
from retrain_eval.common.untrusted import read_json
from retrain_eval.plan.registered import read_plan
from retrain_eval.plan.rules import retired_rules
from retrain_eval.plan.study_file import FILE, Release
from retrain_eval.records.key_strength import BITS, weakness
from retrain_eval.records.store import Store
from retrain_eval.release.editions.editions import edition_names
from retrain_eval.tables.noise.person_keys import ReleaseKey

ENVIRONMENT = "RETRAIN_EVAL_RELEASE_KEY"
KEY_FILE, FINGERPRINT = "release.key", "release_key.json"
_PUBLIC = "public_use"  # a profile that meant exact numbers before noise was attached to people
_MEANT = "it attaches noise to amounts and changes counts; it once meant exact numbers, for records that are public"


def older_rules(folder: Path, rules: Release) -> list[str]:
    """Return what to tell of rules that do nothing any more, or mean something else than they did once.

    Parameters
    ----------
    folder : Path
        Of the study.
    rules : Release

    Raises
    ------
    InputError
        If the profile is ``public_use`` and the latest plan, or an edition, of the study was made when that meant exact
        numbers: with noise from now on, the two would contradict each other.
    """
    notes = retired_rules(folder / FILE)
    if rules.profile != _PUBLIC:
        return notes
    plans = [("the plan registered on " + plan.time, plan.study.get("release")) for plan in read_plan(folder)[-1:]]
    editions = [
        (f"the edition {name}", read_json(folder / "release" / name, "manifest.json").get("rules"))
        for name in edition_names(folder / "release")
        if (folder / "release" / name / "manifest.json").exists()
    ]
    for what, made in (*plans, *editions):
        if isinstance(made, dict) and made.get("profile") == _PUBLIC and "count_variance" not in made:
            raise InputError(
                f"{what} is of a time when the profile {_PUBLIC} had another meaning",
                file=folder / FILE, column="profile", value=_PUBLIC, rule=_MEANT,
                fix='for records that are public already write profile = "open"; for noise, amend the plan '
                "(retrain-eval plan --reason …) and withdraw the editions with exact numbers",
            )  # fmt: skip
    if not (folder / "store" / FINGERPRINT).exists():
        notes.append(f'profile = "{_PUBLIC}": {_MEANT}, which is profile = "open" now')
    return notes


def release_key(folder: Path, rules: Release, store: Store, say: Callable[[str], None]) -> ReleaseKey | None:
    """Return the key that a study's releases are made with; None if its rules attach no noise.

    The key is that in the environment variable ``RETRAIN_EVAL_RELEASE_KEY``, else the one in ``release.key`` of the
    store's folder, which the first run makes and only its owner can read.

    Parameters
    ----------
    folder : Path
        The folder of the store.
    rules : Release
    store : Store
        Where identifiers are hashed, their key belongs to the fingerprint.
    say : callable
        Told that a key was made.

    Raises
    ------
    StoreError
        If the key is not the one of earlier runs, if there is none although there was, or if it can be guessed.
    """
    if not rules.noisy:
        return None
    known = _known(folder / FINGERPRINT)
    secret, place = _secret(folder, known, say)
    key = ReleaseKey(secret, rules.noise_smallest, rules.noise_largest)
    found = {"release_key": key.fingerprint(), "identifiers": _of_identifiers(secret, store, known)}
    if not known:
        write_text(folder / FINGERPRINT, json.dumps(found, indent=1), access="private")
    for name, what in (("release_key", "release key"), ("identifiers", "key that hashes identifiers")):
        if known and known.get(name) != found[name]:
            raise StoreError(
                f"the {what} is not the one that earlier runs of this study used ({place})\n"
                "  rule:   the same people carry the same noise in all editions, or two tell what one does not\n"
                f"  fix:    bring back the key; if it is lost, withdraw all editions, remove {folder / FINGERPRINT}, "
                "and publish under a new key what overlaps with none of them"
            )
    return key


def _known(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    known: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return known


def _secret(folder: Path, known: dict[str, str], say: Callable[[str], None]) -> tuple[bytes, str]:
    """Return the secret, and where it lies; make one for a study without any."""
    kept = folder / KEY_FILE
    if given := os.fsencode(os.environ.get(ENVIRONMENT, "")):
        secret, place = given, f"the environment variable {ENVIRONMENT}"
    elif kept.exists():
        secret, place = kept.read_bytes().strip(), str(kept)
    elif known:
        raise StoreError(
            "the release key of this study is not here\n"
            f"  rule:   it is in the environment variable {ENVIRONMENT}, or in {kept}\n"
            "  fix:    bring back the copy that was kept apart from the store"
        )
    else:
        secret, place = secrets.token_hex(32).encode(), str(kept)
        write_text(kept, secret.decode() + "\n", access="private")
        say(f"a release key was made, {kept}: keep a copy in a safe place, without it no later edition can be released")
    if weak := weakness(secret):
        raise StoreError(
            f"the release key can be guessed ({place}): {weak}\n"
            f"  rule:   at least {BITS} bits of material, such as 32 random hexadecimal digits\n"
            '  fix:    make one: python3 -c "import secrets; print(secrets.token_hex(32))"'
        )
    return secret, place


def _of_identifiers(secret: bytes, store: Store, known: dict[str, str]) -> str:
    """Return what tells keys of identifiers apart: another would be another identifier for the same person.

    Where the key is not at hand, nothing was hashed in this run, and identifiers are those of earlier ones.
    """
    if not store.reading.hashed:
        return "plain"
    try:
        key = store.key()
    except InputError:
        if "identifiers" in known:
            return known["identifiers"]
        raise
    return hmac.new(secret, key, "sha256").hexdigest()
