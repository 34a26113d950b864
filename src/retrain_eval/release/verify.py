"""Check that a release bundle is what was released."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrain_eval.release.bundle import Bundle, read_manifest


@dataclass(frozen=True)
class Verification:
    """What `verify` found: the number of files checked and one line for each that differs."""

    path: Path
    n_files: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every file is as released."""
        return not self.problems


def verify(path: str | Path) -> Verification:
    """Compare every file of a bundle with the SHA-256 in its manifest.

    Parameters
    ----------
    path : str or Path
        Folder of an edition.

    Returns
    -------
    Verification
        Missing, altered and extra files, by name. This version checks hashes; it does not recompute estimates.

    Raises
    ------
    ReleaseError
        If there is no manifest, or it cannot be read.

    Examples
    --------
    >>> verify("no/such/edition")
    Traceback (most recent call last):
    ...
    retrain_eval.errors.ReleaseError: no release bundle at no/such/edition: it has no manifest.json
    """
    bundle = Bundle(Path(path), read_manifest(Path(path)))
    return Verification(bundle.path, len(bundle.manifest["files"]), tuple(bundle.problems()))
