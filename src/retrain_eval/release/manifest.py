"""The manifest of a bundle: typed, checked, sealed, and in canonical form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from retrain_eval.common.errors import ReleaseError
from retrain_eval.common.text.file_names import RULE, is_plain_name
from retrain_eval.common.untrusted import read_json, read_text, shown
from retrain_eval.release.opening import MANIFEST, is_bundle_file, limit_of

BUNDLE_VERSION = 2  # version 1 has no seal, does not say what results are made of, and lists SHA-256 of record files
READABLE = (1, 2)
SEAL = "seal"

Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Mark = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9:+/=._-]{0,200}\Z")]  # a keyed fingerprint
Line = Annotated[str, msgspec.Meta(max_length=20_000)]
Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The types of what the manifest says about the study; `retrain_eval.plan.study_file.About` has the rules."""

    name: str
    title: Line = ""
    question: Line = ""
    data: Line = ""
    unit: Line = ""
    frequency: Line = ""
    currency: Line = ""
    citation: Line | None = ""
    limitations: tuple[Line, ...] = ()
    synthetic: bool = False
    seed: Count = 0


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """A record file that was loaded."""

    name: Line
    file: Line
    rows_in: Count | None = None
    rows_rejected: Count | None = None
    vintage: Count | None = None
    sha256: Digest | None = None
    fingerprint: Mark | None = None


class Artefact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rule that was applied to a file, and the fewest people in it."""

    rule: Line
    smallest_n: Count | None = None


class MadeOf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table from which the rows of a result are made; empty if it is not released."""

    table: Line
    result: Line = ""
    of: Line = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The types of the manifest; readers use the parsed file itself."""

    bundle_version: int
    edition: str
    study: Facts
    files: dict[str, Digest]
    study_sha256: Line = ""
    script_sha256: Line = ""
    approved_by: Line = ""
    corrects: dict[str, Line] = {}
    inputs: list[Input] = []
    packages: dict[str, Line] = {}
    python: Line = ""
    seed: Count = 0
    rules: dict[str, str | bool | int | float] = {}
    artefacts: dict[str, Artefact] = {}
    protection: list[Line] = []
    plan: list[dict[str, Any]] = []
    made_of: list[MadeOf] = []
    own_schemas: list[Line] = []
    seal: str = ""


def spelt(manifest: Mapping[str, Any]) -> str:
    """Return a manifest in its canonical form."""
    return json.dumps(manifest, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest with the SHA-256 of everything in it.

    It detects damage, as a checksum does. Anyone can compute it, so it does not prove origin; a signature does.

    Examples
    --------
    >>> sealed({"edition": "2026"})["seal"][:8]
    'e925d903'
    """
    rest = {key: value for key, value in manifest.items() if key != SEAL}
    return {**rest, SEAL: hashlib.sha256(spelt(rest).encode()).hexdigest()}


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of an edition without checking the files it lists.

    Raises
    ------
    ReleaseError
        If there is none, or it is not valid: a key or a type that a manifest does not have, names that are not plain,
        files that a bundle does not have, or a version that this program does not read.
    """
    raw = read_json(path, MANIFEST, limit_of(MANIFEST))
    where = f"the manifest of {path}"
    for key in ("bundle_version", "edition", "study", "files"):
        if not isinstance(raw, dict) or key not in raw:
            raise ReleaseError(f"{where} lacks {key!r}")
    if raw["bundle_version"] not in READABLE or isinstance(raw["bundle_version"], (bool, float)):
        raise ReleaseError(
            f"the bundle {path} is of version {shown(raw['bundle_version'])} according to its {MANIFEST}; "
            f"this program reads {' and '.join(map(str, READABLE))}"
        )
    try:
        typed = msgspec.convert(raw, Manifest, strict=True)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ReleaseError(f"{where} is not valid: {shown(error)}") from None
    for what, name in (("the edition", typed.edition), ("the study", typed.study.name)):
        if not is_plain_name(name):
            raise ReleaseError(f"{where} is not valid: {shown(name)!r} cannot name {what}; {RULE}")
    for name in typed.files:
        if not is_bundle_file(name):
            raise ReleaseError(f"{where} is not valid: {shown(name)!r} is not a file of a bundle")
    corrected = typed.corrects.get("edition")
    if set(typed.corrects) - {"edition", "sha256", "reason"} or not (corrected is None or is_plain_name(corrected)):
        raise ReleaseError(f"{where} is not valid: corrects may have only edition, sha256 and reason")
    manifest: dict[str, Any] = raw
    return manifest


def manifest_problems(path: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Return evidence that a byte of the manifest was changed after it was written."""
    if read_text(path, MANIFEST, limit_of(MANIFEST)) != spelt(manifest):
        return [f"altered: {MANIFEST}: not as a release writes it, byte for byte"]
    if (manifest["bundle_version"] > 1 or SEAL in manifest) and manifest.get(SEAL) != sealed(manifest)[SEAL]:
        return [f"altered: {MANIFEST}: its seal does not match its content"]
    return []
