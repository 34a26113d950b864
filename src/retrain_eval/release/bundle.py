"""The release bundle: one folder from which every published number follows, and nothing else is needed.

A bundle is written once, whole, by `write` and only ever read afterwards. The book, `verify` and any
outside reader go through `Bundle`, which refuses a folder whose files do not match its manifest.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from retrain_eval.errors import ReleaseError
from retrain_eval.lifetable import LifeTable
from retrain_eval.moments import OutcomeMoments

BUNDLE_VERSION = 1
MANIFEST = "manifest.json"


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Bundle:
    """A release bundle opened for reading.

    Attributes
    ----------
    path : Path
        Folder of the edition.
    manifest : dict
        The parsed manifest: edition, study, file hashes, inputs, package versions, rules.

    Examples
    --------
    >>> Bundle.open("no/such/edition")
    Traceback (most recent call last):
    ...
    retrain_eval.errors.ReleaseError: no release bundle at no/such/edition: it has no manifest.json
    """

    path: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Open a bundle and check every file against the manifest.

        Raises
        ------
        ReleaseError
            If the folder is not a bundle, is of a later version, or any file is missing, altered or extra.
        """
        path = Path(path)
        bundle = cls(path, _read_manifest(path))
        problems = bundle.problems()
        if problems:
            raise ReleaseError(f"the bundle {path} is not as it was released:\n  " + "\n  ".join(problems))
        return bundle

    def problems(self) -> list[str]:
        """Return what differs between the folder and its manifest, one line per file; empty when sound."""
        listed: dict[str, str] = self.manifest["files"]
        present = {file.relative_to(self.path).as_posix() for file in self.path.rglob("*") if file.is_file()}
        found = [f"missing: {name}" for name in sorted(set(listed) - present)]
        found += [f"not in the manifest: {name}" for name in sorted(present - set(listed) - {MANIFEST})]
        found += [
            f"altered: {name}"
            for name, digest in sorted(listed.items())
            if name in present and sha256(self.path / name) != digest
        ]
        return found

    @property
    def name(self) -> str:
        """Short name of the study."""
        return str(self.manifest["study"]["name"])

    @property
    def edition(self) -> str:
        """Name of the edition, such as ``"2026"``."""
        return str(self.manifest["edition"])

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the manifest, which holds the SHA-256 of everything else: the identity of the edition."""
        return sha256(self.path / MANIFEST)

    @cached_property
    def study(self) -> dict[str, Any]:
        """The study file as run."""
        return tomllib.loads((self.path / "study.toml").read_text(encoding="utf-8"))

    @property
    def effects(self) -> pd.DataFrame | None:
        """Every published estimate: `result`, the columns of an EffectTable, and the note of a suppression."""
        return self._table("effects.csv")

    @property
    def balance(self) -> pd.DataFrame | None:
        """Covariate balance before and after matching."""
        return self._table("balance.csv")

    @property
    def overlap(self) -> pd.DataFrame | None:
        """Counts by propensity score bin and group."""
        return self._table("overlap.csv")

    @property
    def flow(self) -> pd.DataFrame | None:
        """Sample flow from submitted to analysed."""
        return self._table("flow.csv")

    @property
    def means(self) -> pd.DataFrame | None:
        """Mean outcome path by group."""
        return self._table("means.csv")

    @property
    def tests(self) -> pd.DataFrame | None:
        """Test statistics: log-rank, pre-trend."""
        return self._table("tests.csv")

    @property
    def dictionary(self) -> pd.DataFrame | None:
        """Data dictionary of the records the study was made from."""
        return self._table("dictionary.csv")

    def moments(self, name: str) -> OutcomeMoments:
        """Return the outcome moments released under ``name``."""
        return OutcomeMoments.read_parquet(self._file(f"moments/{name}.parquet"))

    def life_table(self, name: str) -> LifeTable:
        """Return the life table released under ``name``."""
        return LifeTable.read_parquet(self._file(f"life_tables/{name}.parquet"))

    def _file(self, name: str) -> Path:
        if name not in self.manifest["files"]:
            have = ", ".join(sorted(self.manifest["files"]))
            raise ReleaseError(f"the bundle {self.path} has no {name}; it has: {have}")
        return self.path / name

    def _table(self, name: str) -> pd.DataFrame | None:
        if name not in self.manifest["files"]:
            return None
        return pd.read_csv(self.path / name, keep_default_na=False, na_values=[""])
