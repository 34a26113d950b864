"""Editions of one study: an approved one stays as it is; a correction is a new edition that names the old."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrain_eval.common.errors import InputError, ReleaseError
from retrain_eval.common.files import put_back, sha256
from retrain_eval.release.manifest import read_manifest
from retrain_eval.release.opening import MANIFEST


def edition_names(folder: Path) -> list[str]:
    """Return the editions in a study's ``release`` folder, in the order of their names."""
    for aside in folder.glob(".*.previous"):
        put_back(folder / aside.name.removeprefix(".").removesuffix(".previous"))
    return sorted(path.name for path in folder.glob("[!.]*") if path.is_dir()) if folder.is_dir() else []


def edition_path(study: Path, edition: str | None = None) -> Path:
    """Return the folder of an edition of a study; the latest by default.

    Raises
    ------
    ReleaseError
        If there is none of this name.
    """
    found = edition_names(study / "release")
    if not found or (edition is not None and edition not in found):
        wanted = edition or "YEAR"
        raise ReleaseError(
            f"{study} has no release {edition or ''}".rstrip()
            + f"; make it with: retrain-eval release {study} --edition {wanted}"
        )
    return study / "release" / (edition or found[-1])


def approval(
    folder: Path, edition: str, *, approved_by: str = "", corrects: str | None = None, reason: str = ""
) -> dict[str, Any]:
    """Return the approval and correction fields of an edition's manifest.

    Parameters
    ----------
    folder : Path
        The study's ``release`` folder.
    edition : str
        Name of the edition to be written.
    approved_by : str
        Who approved it; empty for a draft.
    corrects : str, optional
        The edition that it corrects.
    reason : str
        What was wrong.

    Returns
    -------
    dict
        ``approved_by``, and ``corrects``: empty, or the other's name, the hash of its manifest and the reason.

    Raises
    ------
    InputError
        If the edition names no edition to correct, or itself.
    ReleaseError
        If it corrects an edition that is corrected already, or a draft.
    """
    approved_by = " ".join(approved_by.split())
    if corrects is None:
        if reason:
            raise InputError("a reason belongs to a correction", fix="name the edition corrected: --corrects 2026")
        return {"approved_by": approved_by, "corrects": {}}
    have = edition_names(folder)
    if corrects == edition or corrects not in have:
        rule = "the correction has a name of its own" if corrects == edition else f"editions: {', '.join(have)}"
        raise InputError(f"the edition {edition} cannot correct {corrects!r}", rule=rule)
    if not read_manifest(folder / corrects).get("approved_by"):
        raise ReleaseError(f"the edition {corrects} is a draft: write it anew with --replace instead of correcting it")
    other = corrections(folder).get(corrects, edition)
    if other != edition:
        raise ReleaseError(f"the edition {corrects} is corrected by {other} already: correct that one")
    named = {"edition": corrects, "sha256": sha256(folder / corrects / MANIFEST), "reason": reason.strip()}
    return {"approved_by": approved_by, "corrects": named}


def corrections(folder: Path) -> dict[str, str]:
    """Return which edition corrects which: corrected → correcting."""
    manifests = {name: read_manifest(folder / name) for name in edition_names(folder)}
    return {str(m["corrects"]["edition"]): name for name, m in manifests.items() if m.get("corrects")}


def origin(folder: Path, edition: str) -> list[str]:
    """Return an edition, the edition it corrects, the one that edition corrects, and so on back to the first."""
    line = [edition]
    while (found := _corrects(folder / line[-1])) and found not in line:
        line.append(found)
    return line


def _corrects(path: Path) -> str:
    named: Mapping[str, str] = read_manifest(path).get("corrects") or {} if (path / MANIFEST).exists() else {}
    return str(named.get("edition", ""))
